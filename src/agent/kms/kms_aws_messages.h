/*
 * kms_aws_messages.h -- what is said to AWS KMS, and what its answers mean.
 *
 * Pure.  Answers come from the network: strict, and nothing of their text gets into a
 * detail but the name of an error that we know and a request's id that is a UUID.
 *
 * The binding goes as the encryption context, which AWS binds, logs in CloudTrail,
 * and lets key policies condition on:
 *	pge_keyring		the keyring's UUID
 *	pge_key_id		the tenant's name; bytes outside of 0x21 .. 0x7e, and '%', as %XX
 *	pge_dek_id, pge_version, pge_purpose, pge_algorithm		decimal (format/binding.h)
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_MESSAGES_H
#define PGE_AGENT_KMS_AWS_MESSAGES_H

#include "agent/kms/http.h"
#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/status.h"

#define AWS_CONTENT_TYPE	"application/x-amz-json-1.1"
#define AWS_ARN_MAX			PGE_KEK_URI_MAX
#define AWS_WINDOW_DAYS_MIN	7	/* until a key is deleted */
#define AWS_WINDOW_DAYS_MAX	30

typedef enum AwsOperation
{
	AWS_ENCRYPT, AWS_DECRYPT, AWS_REENCRYPT, AWS_DESCRIBE, AWS_LIST_ROTATIONS, AWS_ROTATE,
	AWS_SCHEDULE_DELETION, AWS_CANCEL_DELETION, AWS_ENABLE
} AwsOperation;

/* The value of X-Amz-Target, and the rights that a policy has to give for it. */
extern const char *pge_aws_target(AwsOperation operation);
extern const char *pge_aws_right(AwsOperation operation);

/* Bodies; freed with pge_json_text_free, which wipes them. */
extern PgeStatus pge_aws_encrypt_body(const char *key_id, PgeBytes binding, const PgeSecret *dek, PgeBuffer *body);
extern PgeStatus pge_aws_decrypt_body(const char *key_id, PgeBytes binding, PgeBytes ciphertext, PgeBuffer *body);
extern PgeStatus pge_aws_reencrypt_body(const char *from, const char *to, PgeBytes binding, PgeBytes ciphertext,
										PgeBuffer *body);

/* Of the other operations; window_days 0: not one that needs it. */
extern PgeStatus pge_aws_key_body(const char *key_id, int window_days, PgeBuffer *body);

/*
 * The rest reads answers that were classified as PGE_OK (kms_aws_errors.h).  PGE_UNAVAILABLE with *detail: it
 * is not what was asked for, or of another key than "arn".
 */
typedef struct AwsKeyInfo
{
	char		arn[AWS_ARN_MAX + 1];
	char		material[PGE_KEK_VERSION_MAX + 1];	/* CurrentKeyMaterialId;
													 * "": not told */
	char		state[32];
	char		spec[32];
	char		usage[32];		/* "": not told */
	char		origin[32];
	bool		of_aws;			/* it is managed by a service of AWS */
	bool		expires;		/* its imported material does */
	bool		multi_region;	/* other regions have it, or may */
	int64_t		deletion_s;		/* 0: none */
} AwsKeyInfo;

extern PgeStatus pge_aws_read_key(PgeBytes body, AwsKeyInfo *key, char detail[KMS_DETAIL_LEN]);

/* PGE_KEK_UNUSABLE with *detail: a key that must not, or cannot, wrap. */
extern PgeStatus pge_aws_check_key(const AwsKeyInfo *key, char detail[KMS_DETAIL_LEN]);
extern void pge_aws_tell_key(const AwsKeyInfo *key, char detail[KMS_DETAIL_LEN]);

/* "2026-12-22 14:31 UTC" */
#define AWS_DATE_LEN	24
extern void pge_aws_write_date(int64_t seconds, char date[AWS_DATE_LEN]);

/* wrapped->capacity is at least PGE_WRAPPED_MAX. */
extern PgeStatus pge_aws_read_wrapped(PgeBytes body, const char *arn, PgeBuffer *wrapped, char detail[KMS_DETAIL_LEN]);

/* PGE_WRAPPING_DAMAGED: what was wrapped is no DEK.  *dek is wiped unless PGE_OK. */
extern PgeStatus pge_aws_read_dek(PgeBytes body, const char *arn, PgeSecret *dek,
								  char kek_version[PGE_KEK_VERSION_MAX + 1], char detail[KMS_DETAIL_LEN]);
extern PgeStatus pge_aws_read_rewrapped(PgeBytes body, const char *from, const char *to, PgeBuffer *wrapped,
										char kek_version[PGE_KEK_VERSION_MAX + 1], char detail[KMS_DETAIL_LEN]);

/* How many rotations there were. */
extern PgeStatus pge_aws_read_rotations(PgeBytes body, size_t *count, char detail[KMS_DETAIL_LEN]);

/* PGE_WRAPPING_DAMAGED: a stored wrapping that is not AWS's. */
extern PgeStatus pge_aws_read_stored(PgeBytes wrapped, PgeBytes *ciphertext, char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KMS_AWS_MESSAGES_H */
