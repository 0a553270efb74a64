/*-------------------------------------------------------------------------
 *
 * vault_answer_fuzz.c
 *	  What comes back from Vault, or from what stands in its place.
 *
 * A line with HTTP's status, then the body.  Whatever it is, what is taken from it
 * can be stored, sent and told, alone or of a batch; the seeds are answers of OpenBao 2.7.2.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms_vault_batch_messages.h"
#include "exact_copy.h"

static void
check_detail(PgeStatus status, const char *detail)
{
	require(strlen(detail) < KMS_DETAIL_LEN);
	require(status == PGE_OK || status == PGE_OUT_OF_MEMORY || detail[0] != '\0');
}

static void
read_all(PgeBytes body)
{
	uint8_t		room[PGE_WRAPPED_MAX];
	PgeBuffer	wrapped = {room, 0, sizeof(room)};
	char		version[PGE_KEK_VERSION_MAX + 1];
	char		detail[KMS_DETAIL_LEN] = "";
	VaultKeyInfo key;
	PgeSecret	dek;
	PgeWrapForm form;
	PgeBytes	ciphertext;
	static HttpCredential credential;
	PgeStatus	status = pge_vault_read_key(body, &key, detail);

	check_detail(status, detail);
	if (status == PGE_OK)
	{
		require(key.latest_version > 0);
		(void) pge_vault_check_key(&key, detail);
		pge_vault_tell_key(&key, detail);
	}
	status = pge_vault_read_wrapped(body, PGE_WRAP_VAULT_AAD, &wrapped, version, detail);
	check_detail(status, detail);
	if (status == PGE_OK)
	{
		require(version[0] >= '1' && version[0] <= '9');
		require(pge_vault_read_stored(pge_buffer_bytes(&wrapped), &form, &ciphertext, version, detail) == PGE_OK);
		require(form == PGE_WRAP_VAULT_AAD && ciphertext.len + PGE_WRAPPED_HEADER_LEN == wrapped.len);
	}
	check_detail(pge_vault_read_dek(body, &dek, detail), detail);
	memset(&credential, 0, sizeof(credential));
	status = pge_vault_read_login(body, &credential, detail);
	check_detail(status, detail);
	require((status == PGE_OK) == (credential.token[0] != '\0'));
	check_detail(pge_vault_read_self(body, &credential, detail), detail);
}

#define ITEMS	3

/* As the answer to so many items. */
static void
read_batch(const HttpAnswer *answer, VaultOperation operation, int n)
{
	static const KmsCall call;
	static const KmsResult untouched;
	static KmsResult results[ITEMS];
	VaultItem	items[ITEMS];
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status;

	memset(results, 0, sizeof(results));
	for (int i = 0; i < n; i++)
		items[i] = (VaultItem)
	{
		.call = &call, .form = PGE_WRAP_VAULT_CONTEXT, .result = &results[i]
	};
	status = pge_vault_read_batch(answer, operation, items, n, detail);
	check_detail(status, detail);
	for (int i = 0; i < n; i++)
	{
		const KmsResult *result = &results[i];

		if (status != PGE_OK)
			require(memcmp(result, &untouched, sizeof(untouched)) == 0);
		check_detail(result->status, result->detail);
		require((result->wrapped_len > 0) == (status == PGE_OK && result->status == PGE_OK && operation != VAULT_DECRYPT));
		if (result->status != PGE_OK)
			require(memcmp(&result->dek, &untouched.dek, sizeof(result->dek)) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	char		detail[KMS_DETAIL_LEN] = "";
	HttpAnswer	answer = {0};
	PgeBuffer	body;
	PgeStatus	status;
	size_t		at = 0;

	if (!started)
		pge_json_init();
	started = true;
	for (; at < size && at < 3 && data[at] >= '0' && data[at] <= '9'; at++)
		answer.status = answer.status * 10 + (data[at] - '0');
	at += at < size ? 1 : 0;
	body = exact_copy(data + at, size - at);
	answer.body = body.data;
	answer.len = body.len;
	status = pge_vault_classify(&answer, detail);
	check_detail(status, detail);
	if (status == PGE_OK)
		require(answer.status == 200 || answer.status == 204 || answer.status == 207 || answer.status == 400 || answer.status == 500);
	status = pge_vault_classify_login(&answer, detail);
	require(status == PGE_OK || status == PGE_UNAVAILABLE || status == PGE_THROTTLED ||
			status == PGE_UNAUTHENTICATED || (status == PGE_DENIED && answer.status == 403));
	read_all(pge_buffer_bytes(&body));
	for (int n = 1; n <= ITEMS; n++)
	{
		read_batch(&answer, VAULT_DECRYPT, n);
		read_batch(&answer, VAULT_REWRAP, n);
	}
	require(!pge_vault_is_too_much(&answer) || answer.status == 400 || answer.status == 413);
	free(body.data);
	return 0;
}
