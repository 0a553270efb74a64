/*-------------------------------------------------------------------------
 *
 * unwrap.c
 *	  A DEK's bytes from the agent, by one of its wrappings.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/report.h"
#include "base/settings.h"
#include "cache/control.h"
#include "client/client.h"
#include "format/binding.h"
#include "ops/unwrap.h"

void
pge_unwrap_request(const KeyringDek *row, PgeBytes binding,
				   const KeyringWrapping *wrapping, uint32 flush,
				   PgeFrame *request)
{
	memset(request, 0, sizeof(*request));
	request->type = PGE_FRAME_UNWRAP;
	request->flush = flush;
	request->binding = binding;
	request->check_value = pge_bytes(row->check_value, PGE_CHECK_VALUE_LEN);
	request->nuris = 1;
	request->uri[0] = pge_bytes(wrapping->uri, strlen(wrapping->uri));
	request->nwrapped = 1;
	request->wrapped[0] = pge_bytes(wrapping->wrapped, wrapping->wrapped_len);
}

PgeStatus
pge_unwrap_accept(const KeyringDek *row, PgeBytes binding,
				  const PgeFrame *answer, PgeSecret *dek)
{
	uint8		check[PGE_CHECK_VALUE_LEN];
	PgeStatus	status;

	if (answer->dek.len != PGE_DEK_LEN)
		return PGE_WRAPPING_DAMAGED;
	pge_secret_copy(dek->bytes, answer->dek.data, PGE_DEK_LEN);
	status = pge_check_value(dek, binding, check);
	if (status == PGE_OK &&
		!pge_secret_equal(check, row->check_value, PGE_CHECK_VALUE_LEN))
		status = PGE_WRAPPING_DAMAGED;
	if (status != PGE_OK)
		pge_secret_wipe(dek, sizeof(*dek));
	else
		pg_atomic_fetch_add_u64(&pge_control()->unwraps, 1);
	return status;
}

/* Could another KEK, or the same one later, do what this wrapping could not? */
static bool
another_may_help(PgeStatus status)
{
	return status != PGE_AGENT_UNREACHABLE &&	/* the deadline is used up */
		status != PGE_OUT_OF_MEMORY &&
		status != PGE_CRYPTO_FAILED;
}

static void
note_failure(UnwrapFailure *failure, PgeStatus status, PgeBytes detail)
{
	failure->status = status;
	failure->detail_len = Min(detail.len, sizeof(failure->detail));
	if (failure->detail_len > 0)
		memcpy(failure->detail, detail.data, failure->detail_len);
}

static PgeStatus
try_wrapping(const KeyringDek *row, PgeBytes binding, uint32 flush,
			 const KeyringWrapping *wrapping, PgeSecret *dek, PgeBytes *detail)
{
	PgeFrame	request;
	PgeFrame	answer;
	PgeStatus	status;

	pge_unwrap_request(row, binding, wrapping, flush, &request);
	status = pge_client_call(&request, &answer);
	*detail = answer.detail;
	if (status == PGE_OK)
	{
		*detail = pge_bytes(NULL, 0);
		status = pge_unwrap_accept(row, binding, &answer, dek);
	}
	return status;
}

static bool
same_wrappings(const KeyringWrapping *a, int na, const KeyringWrapping *b, int nb)
{
	if (na != nb)
		return false;
	for (int i = 0; i < na; i++)
	{
		if (a[i].seq != b[i].seq || a[i].wrapped_len != b[i].wrapped_len ||
			strcmp(a[i].uri, b[i].uri) != 0 ||
			memcmp(a[i].wrapped, b[i].wrapped, a[i].wrapped_len) != 0)
			return false;
	}
	return true;
}

static bool
wrappings_moved(const KeyringDek *row, const KeyringWrapping *tried, int ntried)
{
	KeyringWrapping *now;
	int			n = pge_keyring_wrappings(row->dek_id, &now);

	return !same_wrappings(tried, ntried, now, n);
}

bool
pge_unwrap(const KeyringDek *row, uint32 flush, PgeSecret *dek,
		   uint64 *deadline_ms, UnwrapFailure *failure)
{
	uint8		room[PGE_BINDING_MAX];
	PgeBuffer	binding = {room, 0, sizeof(room)};
	KeyringWrapping *wrappings;
	int			n = pge_keyring_wrappings(row->dek_id, &wrappings);
	PgeStatus	status = pge_keyring_binding(row, &binding);

	/*
	 * A row that cannot be bound is none of ours; without a wrapping: on a
	 * subscriber it may yet arrive.
	 */
	note_failure(failure, status != PGE_OK ? PGE_WRAPPING_DAMAGED : PGE_UNKNOWN_DEK,
				 pge_bytes(NULL, 0));
	for (int i = 0; status == PGE_OK && i < n; i++)
	{
		PgeBytes	detail;
		PgeStatus	tried;

		*deadline_ms = pge_now_ms() + (uint64) pge_cache_ttl * 1000;
		tried = try_wrapping(row, pge_buffer_bytes(&binding), flush,
							 &wrappings[i], dek, &detail);
		if (tried == PGE_OK)
		{
			pge_client_done();
			return true;
		}
		if (i == 0)
			note_failure(failure, tried, detail);
		pge_client_done();
		if (!another_may_help(tried))
			break;
	}
	failure->wrappings_moved = another_may_help(failure->status) &&
		wrappings_moved(row, wrappings, n);
	return false;
}

void
pge_unwrap_report(const KeyringDek *row, const UnwrapFailure *failure)
{
	pge_report_error(failure->status,
					 psprintf("could not unwrap version %d of key \"%s\"",
							  row->version, row->key_id),
					 pge_bytes(failure->detail, failure->detail_len));
}
