/*-------------------------------------------------------------------------
 *
 * kms_vault_batch_messages.c
 *	  Builds batches for Vault's Transit engine and reads their answers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "agent/kms/json.h"
#include "agent/kms/kms_vault_batch_messages.h"
#include "agent/kms/kms_vault_messages_private.h"

#define REFERENCE_LEN	12

static json_t *new_item(VaultOperation operation, const VaultItem *item, int number, PgeStatus *status);
static void write_reference(int number, char reference[REFERENCE_LEN]);
static bool answers_item(const json_t *said, int number);
static PgeStatus read_item(const json_t *said, int http_status, VaultOperation operation, const VaultItem *item);
static PgeStatus read_error(const json_t *error, int http_status, char *detail);

PgeStatus
pge_vault_batch_body(VaultOperation operation, const VaultItem *items, int n, PgeBuffer *body)
{
	json_t	   *object = json_object();
	json_t	   *batch = json_array();
	PgeStatus	status = n > 0 && n <= KMS_MANY_MAX ? PGE_OK : PGE_INVALID;

	for (int i = 0; status == PGE_OK && i < n; i++)
	{
		json_t	   *item = NULL;

		/* a context in all items or in none */
		if (items[i].form != items[0].form)
			status = PGE_INVALID;
		else
			item = new_item(operation, &items[i], i, &status);
		if (status == PGE_OK && json_array_append_new(batch, item) != 0)
			status = PGE_OUT_OF_MEMORY;
	}
	if (json_object_set_new(object, "batch_input", batch) != 0 && status == PGE_OK)
		status = PGE_OUT_OF_MEMORY;
	return pge_json_finish(object, status, body);
}

/* NULL unless PGE_OK. */
static json_t *
new_item(VaultOperation operation, const VaultItem *item, int number, PgeStatus *status)
{
	char		reference[REFERENCE_LEN];
	json_t	   *object = json_object();

	write_reference(number, reference);
	/* "rewrap" leaves associated data out without a word */
	if (operation == VAULT_REWRAP && item->form != PGE_WRAP_VAULT_CONTEXT)
		*status = PGE_INVALID;
	else if (operation == VAULT_ENCRYPT)
		*status = item->call->dek == NULL ? PGE_INVALID : pge_vault_put_dek(object, item->call->dek);
	else
		*status = pge_vault_put_text(object, "ciphertext", item->ciphertext);
	if (*status == PGE_OK)
		*status = pge_vault_put_binding(object, item->form, item->call->binding);
	if (*status == PGE_OK)
		*status = pge_vault_put_text(object, "reference", pge_bytes(reference, strlen(reference)));
	if (*status == PGE_OK)
		return object;
	json_decref(object);
	return NULL;
}

static void
write_reference(int number, char reference[REFERENCE_LEN])
{
	snprintf(reference, REFERENCE_LEN, "%d", number);
}

PgeStatus
pge_vault_read_batch(const HttpAnswer *answer, VaultOperation operation, const VaultItem *items, int n,
					 char detail[KMS_DETAIL_LEN])
{
	json_t	   *data = pge_vault_parse_part(pge_bytes(answer->body, answer->len), "data", detail);
	json_t	   *said = pge_json_array(data, "batch_results");
	bool		sound = said != NULL && json_array_size(said) == (size_t) n;

	for (int i = 0; sound && i < n; i++)
		sound = answers_item(json_array_get(said, (size_t) i), i);
	for (int i = 0; sound && i < n; i++)
		items[i].result->status = read_item(json_array_get(said, (size_t) i), answer->status, operation, &items[i]);
	json_decref(data);
	return sound ? PGE_OK : pge_vault_not_asked_for(detail);
}

/* Without a reference only its place says so. */
static bool
answers_item(const json_t *said, int number)
{
	char		expected[REFERENCE_LEN];
	PgeBytes	reference;

	if (!json_is_object(said) || json_object_get(said, "reference") == NULL)
		return json_is_object(said);
	write_reference(number, expected);
	return pge_json_text(said, "reference", &reference) && reference.len == strlen(expected) &&
		memcmp(reference.data, expected, reference.len) == 0;
}

/* Beside an error stands a plaintext, too, which is none ("decrypt"). */
static PgeStatus
read_item(const json_t *said, int http_status, VaultOperation operation, const VaultItem *item)
{
	const json_t *error = json_object_get(said, "error");
	KmsResult  *result = item->result;
	PgeBuffer	wrapped = {result->wrapped, 0, sizeof(result->wrapped)};
	PgeStatus	status;

	if (error != NULL)
		return read_error(error, http_status, result->detail);
	if (operation == VAULT_DECRYPT)
		return pge_vault_take_dek(said, &result->dek, result->detail);
	status = pge_vault_take_wrapped(said, item->form, &wrapped, result->kek_version, result->detail);
	result->wrapped_len = wrapped.len;
	return status;
}

/* Of "rewrap" they come with HTTP 200, whatever they are. */
static PgeStatus
read_error(const json_t *error, int http_status, char *detail)
{
	PgeStatus	status;

	if (pge_vault_is_known_error(error, http_status == 500 ? 500 : 400, &status, detail))
		return status;
	pge_kms_detail(detail, "The service could not do this one, and says no more than that.");
	return PGE_UNAVAILABLE;
}

bool
pge_vault_holds_batch(const HttpAnswer *answer)
{
	char		detail[KMS_DETAIL_LEN];
	json_t	   *data;
	json_t	   *results;
	json_t	   *item;
	bool		holds;
	size_t		i;

	if (answer->status != 207 && answer->status != 400 && answer->status != 500)
		return false;
	data = pge_vault_parse_part(pge_bytes(answer->body, answer->len), "data", detail);
	results = pge_json_array(data, "batch_results");
	holds = results != NULL && answer->status != 500;
	json_array_foreach(results, i, item)
	{
		const json_t *error = json_object_get(item, "error");

		holds = holds || (json_is_object(item) && error == NULL) ||
			(error != NULL && read_error(error, 500, detail) != PGE_UNAVAILABLE);
	}
	json_decref(data);
	return holds;
}

/* OpenBao takes 1,000 strings unless it is told otherwise, which 167 items have. */
bool
pge_vault_is_too_much(const HttpAnswer *answer)
{
	char		unused[KMS_DETAIL_LEN];
	json_t	   *object = NULL;
	bool		found;

	if (answer->status != 400 || pge_json_parse(pge_bytes(answer->body, answer->len), &object, unused) != PGE_OK)
		return answer->status == 413;
	found = pge_vault_says(pge_json_array(object, "errors"), "refused JSON input due to high complexity");
	json_decref(object);
	return found;
}
