/*
 * kms_vault_messages_private.h -- parts of requests and answers, which stand
 * alone or are an item of a batch.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_VAULT_MESSAGES_PRIVATE_H
#define PGE_AGENT_KMS_VAULT_MESSAGES_PRIVATE_H

#include <jansson.h>

#include "agent/kms/kms_vault_messages.h"

/* Members of an object (which may be NULL: PGE_OUT_OF_MEMORY). */
extern PgeStatus pge_vault_put_dek(json_t *object, const PgeSecret *dek);
extern PgeStatus pge_vault_put_binding(json_t *object, PgeWrapForm form, PgeBytes binding);
extern PgeStatus pge_vault_put_text(json_t *object, const char *name, PgeBytes text);

/* The answer's "data" or "auth", which the caller gives back; NULL: it has none. */
extern json_t *pge_vault_parse_part(PgeBytes body, const char *part, char detail[KMS_DETAIL_LEN]);

/* What pge_vault_read_wrapped and pge_vault_read_dek say of "data". */
extern PgeStatus pge_vault_take_wrapped(const json_t *data, PgeWrapForm form, PgeBuffer *wrapped,
										char kek_version[PGE_KEK_VERSION_MAX + 1],
										char detail[KMS_DETAIL_LEN]);
extern PgeStatus pge_vault_take_dek(const json_t *data, PgeSecret *dek, char detail[KMS_DETAIL_LEN]);

/* An error's text, or a list of them: does one contain this? */
extern bool pge_vault_says(const json_t *said, const char *text);

/*
 * The same of an answer with this HTTP status.  false: not one
 * that means more than its number.
 */
extern bool pge_vault_is_known_error(const json_t *said, int http_status, PgeStatus *status,
									 char detail[KMS_DETAIL_LEN]);

/*
 * Is this a batch's answer, of which some or all items failed?  A 500 that says of no item
 * more than that the service has troubles is none: it is worth another try.
 */
extern bool pge_vault_holds_batch(const HttpAnswer *answer);

/* PGE_UNAVAILABLE, in our words. */
extern PgeStatus pge_vault_not_asked_for(char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KMS_VAULT_MESSAGES_PRIVATE_H */
