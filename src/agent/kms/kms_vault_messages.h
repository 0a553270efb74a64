/*
 * kms_vault_messages.h -- what is said to Transit, the encryption engine of
 * HashiCorp Vault and OpenBao, and what its answers mean.
 *
 * Pure.  An answer is believed only as far as it was checked here; its text is
 * never passed on: what it says is recognised and told in our words.  An answer that
 * Vault does not give (a proxy's page, a cut one) is PGE_UNAVAILABLE, so that nothing
 * is concluded from it.
 *
 * The binding goes with each wrap and unwrap: of a derived key as "context"
 * (PGE_WRAP_VAULT_CONTEXT), of another as "associated_data"
 * (PGE_WRAP_VAULT_AAD).  Transit ignores a context for a key that is not derived,
 * which is why nobody but pge_vault_form() chooses.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_VAULT_MESSAGES_H
#define PGE_AGENT_KMS_VAULT_MESSAGES_H

#include "agent/kms/http.h"
#include "agent/kms/http_credential.h"
#include "base/limits.h"
#include "base/secret.h"
#include "format/wrapped_key.h"

#define VAULT_PATH_MAX			(PGE_KEK_URI_MAX + 16)
#define VAULT_CIPHERTEXT_MAX	(PGE_WRAPPED_MAX - PGE_WRAPPED_HEADER_LEN)

typedef enum VaultAuth
{
	VAULT_AUTH_TOKEN_FILE,
	VAULT_AUTH_APPROLE,
	VAULT_AUTH_CERT,
	VAULT_AUTH_KUBERNETES,
	VAULT_AUTH_JWT
} VaultAuth;

/* NULL: not given. */
typedef struct VaultLogin
{
	VaultAuth	auth;
	const char *role;			/* all but approle */
	const char *role_id;		/* approle */
	const char *secret;			/* the secret id or the JWT */
} VaultLogin;

/* What "describe" says of a key. */
typedef struct VaultKeyInfo
{
	char		type[32];
	bool		derived;
	bool		exportable;
	bool		plaintext_backup;
	bool		encrypts;
	bool		decrypts;
	bool		soft_deleted;
	int64_t		latest_version;
	int64_t		min_decryption_version;
} VaultKeyInfo;

/*
 * Below "/v1/", from a canonical path "<mount>/keys/<key>": "<mount>/encrypt/<key>",
 * "<mount>/decrypt/<key>", "<mount>/rewrap/<key>", "<mount>/keys/<key>/rotate" and ".../config"; what
 * describes and deletes has no verb.  PGE_INVALID: no such path.
 */
typedef enum VaultOperation
{
	VAULT_ENCRYPT, VAULT_DECRYPT, VAULT_REWRAP, VAULT_DESCRIBE, VAULT_ROTATE, VAULT_CONFIGURE, VAULT_DELETE
} VaultOperation;
extern PgeStatus pge_vault_path(const char *key_path, VaultOperation operation,
								char path[VAULT_PATH_MAX + 1]);

/* Bodies; freed with pge_json_text_free, which wipes them. */
extern PgeStatus pge_vault_encrypt_body(PgeWrapForm form, PgeBytes binding, const PgeSecret *dek,
										PgeBuffer *body);
extern PgeStatus pge_vault_decrypt_body(PgeWrapForm form, PgeBytes binding, PgeBytes ciphertext,
										PgeBuffer *body);
extern PgeStatus pge_vault_login_body(const VaultLogin *login, PgeBuffer *body);

/*
 * HttpServiceProvider.classify; PGE_OK also of a batch of which some or all items failed
 * (kms_vault_batch_messages.h), whatever HTTP says.  The other for logins and what a token says of itself,
 * where "no" is PGE_UNAUTHENTICATED, and PGE_DENIED if the service knows the token.
 */
extern PgeStatus pge_vault_classify(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);
extern PgeStatus pge_vault_classify_login(const HttpAnswer *answer, char detail[KMS_DETAIL_LEN]);

/* Of what is PGE_KEK_NOT_FOUND: is it the key alone, and not its engine or namespace? */
extern bool pge_vault_lacks_key(const HttpAnswer *answer);

/*
 * The rest reads answers that were classified as PGE_OK.  PGE_UNAVAILABLE with
 * *detail: it is not what was asked for.
 */
extern PgeStatus pge_vault_read_key(PgeBytes body, VaultKeyInfo *info, char detail[KMS_DETAIL_LEN]);

/* PGE_KEK_UNUSABLE with *detail: a key that must not wrap. */
extern PgeStatus pge_vault_check_key(const VaultKeyInfo *key, char detail[KMS_DETAIL_LEN]);
extern PgeWrapForm pge_vault_form(const VaultKeyInfo *key);

/* What an administrator should know of it, behind what is in *detail. */
extern void pge_vault_tell_key(const VaultKeyInfo *key, char detail[KMS_DETAIL_LEN]);

/* wrapped->capacity is at least PGE_WRAPPED_MAX; kek_version "1", "2", ... */
extern PgeStatus pge_vault_read_wrapped(PgeBytes body, PgeWrapForm form, PgeBuffer *wrapped,
										char kek_version[PGE_KEK_VERSION_MAX + 1],
										char detail[KMS_DETAIL_LEN]);

/* PGE_WRAPPING_DAMAGED: what was wrapped is no DEK.  *dek is wiped then. */
extern PgeStatus pge_vault_read_dek(PgeBytes body, PgeSecret *dek, char detail[KMS_DETAIL_LEN]);

/*
 * The ciphertext and the form of a stored wrapping, and the version of the key
 * that its prefix names ("" if it has none).  PGE_WRAPPING_DAMAGED: it is not ours.
 */
extern PgeStatus pge_vault_read_stored(PgeBytes wrapped, PgeWrapForm *form, PgeBytes *ciphertext,
									   char kek_version[PGE_KEK_VERSION_MAX + 1],
									   char detail[KMS_DETAIL_LEN]);

/* Of a login or a renewal; of lookup-self, which leaves credential->token alone. */
extern PgeStatus pge_vault_read_login(PgeBytes body, HttpCredential *credential,
									  char detail[KMS_DETAIL_LEN]);
extern PgeStatus pge_vault_read_self(PgeBytes body, HttpCredential *credential,
									 char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KMS_VAULT_MESSAGES_H */
