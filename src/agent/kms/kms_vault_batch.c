/*-------------------------------------------------------------------------
 *
 * kms_vault_batch.c
 *	  Wraps, unwraps and rewraps of many DEKs in one request to Vault.
 *
 * What holds for one holds for each: a wrap and a rewrap ask first how the key is,
 * and what opened with a context counts only if the key is a derived one.
 *
 * A batch that is refused as a whole is halved, down to single items, where one item
 * may be the reason, so that the others get through; but after REFUSALS_MAX of them the
 * rest is not tried: it is not one item's.  How many the service takes at once is
 * remembered for MOST_MS; then twice as many are tried, as whoever runs it may have
 * raised its limit.  If the service itself has failed, nothing more is sent.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kms/json.h"
#include "agent/kms/kms_vault_batch_messages.h"
#include "agent/kms/kms_vault_private.h"
#include "agent/kms/monotonic.h"

/* Three bad items of 500 are found by fewer. */
#define REFUSALS_MAX	64
#define MOST_MS			(10 * 60 * 1000)

/* A group of calls under way. */
typedef struct VaultBatch
{
	VaultSession *vault;
	const KmsCall *calls;
	KmsResult  *results;
	int			n;
	VaultOperation operation;
	VaultItem  *items;			/* room for n */
	int			refusals;		/* of what may be one item's fault */
	PgeStatus	ended;			/* not PGE_OK: nothing more is sent, */
	char		detail[KMS_DETAIL_LEN]; /* and why */
} VaultBatch;

static void perform_all(VaultBatch *batch);
static PgeStatus look_at_key(VaultBatch *batch, PgeWrapForm *form);
static void perform_form(VaultBatch *batch, PgeWrapForm form);
static PgeStatus look_at_call(VaultBatch *batch, int i, PgeWrapForm form, VaultItem *item);
static void send_items(VaultBatch *batch, const VaultItem *items, int n);
static PgeStatus ask(VaultBatch *batch, const VaultItem *items, int n, bool *too_much);
static PgeStatus give_up(VaultBatch *batch);
static bool may_be_one_items(PgeStatus status);
static int	items_at_once(VaultSession *vault);
static void remember_most(VaultSession *vault, int most);
static void refuse_unbound(VaultBatch *batch, int n);
static void fail(KmsResult *result, PgeStatus status, const char *detail);

bool
pge_vault_rewraps(const KeyUri *from, const KeyUri *to, PgeBytes wrapped)
{
	char		kek_version[PGE_KEK_VERSION_MAX + 1];
	char		unused[KMS_DETAIL_LEN];
	PgeBytes	ciphertext;
	PgeWrapForm form;

	return strcmp(from->path, to->path) == 0 &&
		pge_vault_read_stored(wrapped, &form, &ciphertext, kek_version, unused) == PGE_OK &&
		form == PGE_WRAP_VAULT_CONTEXT;
}

void
pge_vault_perform_batch(VaultSession *vault, const KmsCall *calls, KmsResult *results, int n)
{
	static const VaultOperation operations[] = {
		[KMS_WRAP] = VAULT_ENCRYPT,[KMS_UNWRAP] = VAULT_DECRYPT,[KMS_REWRAP] = VAULT_REWRAP
	};
	VaultItem  *items = calloc((size_t) n, sizeof(*items));
	VaultBatch	batch = {
		.vault = vault,
		.calls = calls,
		.results = results,
		.n = n,
		.operation = operations[calls[0].operation],
		.items = items,
	};

	for (int i = 0; i < n; i++)
		results[i].status = PGE_OUT_OF_MEMORY;
	if (items != NULL)
		perform_all(&batch);
	free(items);
}

static void
perform_all(VaultBatch *batch)
{
	PgeWrapForm form;
	PgeStatus	status;

	if (batch->operation == VAULT_DECRYPT)
	{
		perform_form(batch, PGE_WRAP_VAULT_CONTEXT);
		perform_form(batch, PGE_WRAP_VAULT_AAD);
		return;
	}
	status = look_at_key(batch, &form);
	if (status == PGE_OK)
		perform_form(batch, form);
	for (int i = 0; status != PGE_OK && i < batch->n; i++)
		fail(&batch->results[i], status, batch->detail);
}

/* Where its bindings go. */
static PgeStatus
look_at_key(VaultBatch *batch, PgeWrapForm *form)
{
	const KmsCall *call = &batch->calls[0];
	VaultKeyInfo key;
	PgeStatus	status;

	if (batch->operation == VAULT_REWRAP && (call->from == NULL || strcmp(call->from->path, call->key->path) != 0))
	{
		pge_kms_detail(batch->detail, "Transit rewraps under the same key only.");
		return PGE_INVALID;
	}
	status = pge_vault_ask_key(batch->vault, call, &key, batch->detail);
	if (status == PGE_OK)
		status = pge_vault_check_key(&key, batch->detail);
	if (status == PGE_OK && batch->operation == VAULT_REWRAP)
		status = pge_vault_check_derived(&key, batch->detail);
	if (status == PGE_OK)
		*form = pge_vault_form(&key);
	return status;
}

/* Those calls that are of this form. */
static void
perform_form(VaultBatch *batch, PgeWrapForm form)
{
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
	{
		PgeStatus	status = look_at_call(batch, i, form, &batch->items[n]);

		if (status != PGE_OK)
			batch->results[i].status = status;
		else if (batch->items[n].form == form)
			n++;
	}
	send_items(batch, batch->items, n);
	if (batch->operation == VAULT_DECRYPT && form == PGE_WRAP_VAULT_CONTEXT)
		refuse_unbound(batch, n);
}

/* Not PGE_OK: it is not even sent, and its result has the detail. */
static PgeStatus
look_at_call(VaultBatch *batch, int i, PgeWrapForm form, VaultItem *item)
{
	const KmsCall *call = &batch->calls[i];
	KmsResult  *result = &batch->results[i];
	PgeStatus	status;

	*item = (VaultItem)
	{
		.call = call, .form = form, .result = result
	};
	if (batch->operation == VAULT_ENCRYPT)
		return call->dek == NULL ? PGE_INVALID : PGE_OK;
	status = pge_vault_read_stored(call->wrapped, &item->form, &item->ciphertext, result->kek_version, result->detail);
	if (status != PGE_OK || batch->operation == VAULT_DECRYPT || item->form == form)
		return status;
	pge_kms_detail(result->detail, "Transit does not rewrap what is bound by associated data.");
	return PGE_INVALID;
}

static void
send_items(VaultBatch *batch, const VaultItem *items, int n)
{
	while (n > 0)
	{
		int			most = items_at_once(batch->vault);
		int			some = n < most ? n : most;
		bool		too_much = false;
		PgeStatus	status = batch->ended;

		if (status == PGE_OK)
			status = ask(batch, items, some, &too_much);
		if (some > 1 && too_much)
		{
			remember_most(batch->vault, some / 2);
			continue;
		}
		if (some > 1 && may_be_one_items(status) && batch->refusals < REFUSALS_MAX)
		{
			send_items(batch, items, some / 2);
			send_items(batch, items + some / 2, some - some / 2);
		}
		else if (status != PGE_OK)
		{
			if (some > 1 && may_be_one_items(status))
				status = give_up(batch);
			for (int i = 0; i < some; i++)
				fail(items[i].result, status, batch->detail);
			batch->ended = may_be_one_items(status) ? PGE_OK : status;
		}
		items += some;
		n -= some;
	}
}

/* PGE_OK: each has its result. */
static PgeStatus
ask(VaultBatch *batch, const VaultItem *items, int n, bool *too_much)
{
	PgeBuffer	body = {NULL, 0, 0};
	HttpAnswer	answer = {0};
	PgeStatus	status = pge_vault_batch_body(batch->operation, items, n, &body);

	batch->detail[0] = '\0';
	if (status == PGE_OK)
		status = pge_vault_exchange(batch->vault, items[0].call, batch->operation, &body, &answer, batch->detail);
	if (status == PGE_OK)
		status = pge_vault_read_batch(&answer, batch->operation, items, n, batch->detail);
	else
		*too_much = pge_vault_is_too_much(&answer);
	batch->refusals += may_be_one_items(status) && !*too_much;
	pge_http_answer_wipe(&answer);
	pge_json_text_free(&body);
	return status;
}

/* Whatever the reason is, of these items nothing is known. */
static PgeStatus
give_up(VaultBatch *batch)
{
	pge_kms_detail(batch->detail, "The service refused %d requests of a batch, so the rest of it was not tried one by one.",
				   batch->refusals);
	return PGE_UNAVAILABLE;
}

/* What the service says of bytes, and what it says in words that we do not know. */
static bool
may_be_one_items(PgeStatus status)
{
	return status == PGE_WRAPPING_DAMAGED || status == PGE_KEK_UNUSABLE || status == PGE_INVALID;
}

/* What is remembered, or after its time twice that, until it is refused again. */
static int
items_at_once(VaultSession *vault)
{
	int			most = atomic_load(&vault->batch_most);
	uint64_t	until = atomic_load(&vault->batch_most_until_ms);
	uint64_t	now = pge_monotonic_ms();

	if (most >= vault->instance->many || now < until ||
		!atomic_compare_exchange_strong(&vault->batch_most_until_ms, &until, now + MOST_MS))
		return most;
	most = 2 * most < vault->instance->many ? 2 * most : vault->instance->many;
	atomic_store(&vault->batch_most, most);
	return most;
}

static void
remember_most(VaultSession *vault, int most)
{
	if (most >= atomic_load(&vault->batch_most))
		return;
	atomic_store(&vault->batch_most_until_ms, pge_monotonic_ms() + MOST_MS);
	atomic_store(&vault->batch_most, most);
}

/* Has the context counted, with which these n have opened? */
static void
refuse_unbound(VaultBatch *batch, int n)
{
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status = PGE_OK;
	bool		asked = false;

	for (int i = 0; i < n; i++)
	{
		KmsResult  *result = batch->items[i].result;

		if (result->status != PGE_OK)
			continue;
		if (!asked)
			status = pge_vault_check_bound(batch->vault, batch->items[i].call, detail);
		asked = true;
		if (status != PGE_OK)
			fail(result, status, detail);
	}
}

static void
fail(KmsResult *result, PgeStatus status, const char *detail)
{
	pge_secret_wipe(&result->dek, sizeof(result->dek));
	result->status = status;
	snprintf(result->detail, sizeof(result->detail), "%s", detail);
}
