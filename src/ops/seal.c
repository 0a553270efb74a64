/*-------------------------------------------------------------------------
 *
 * seal.c
 *	  One value sealed, opened, or moved to the active version.
 *
 * Header, body and result are one palloc; nothing is copied.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "base/report.h"
#include "cache/contexts.h"
#include "format/sealed_value.h"
#include "ops/open_guard.h"
#include "ops/refuse.h"
#include "ops/seal.h"

static const PgeBytes no_detail = {NULL, 0};

/* What a sealed value may have beside its plaintext, without overflow. */
static void
check_length(size_t plain_len, size_t overhead)
{
	size_t		limit = MaxAllocSize - VARHDRSZ - PGE_SEALED_HEADER_LEN - overhead;

	if (unlikely(plain_len > limit))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the value is too long to be sealed"),
				 errdetail("A value has at most %zu bytes.", limit),
				 errhint("Seal it in parts, each bound to its place with envelope_bind.")));
}

bytea *
pge_seal(DekRequest *request, PgeBytes plain)
{
	DekReady	ready;
	size_t		overhead;
	bytea	   *result;
	PgeBuffer	body;
	PgeStatus	status;

	request->seal = true;
	request->need |= PGE_RIGHT_ENCRYPT;
	pge_dek_ready(request, &ready);

	overhead = pge_aead_overhead((PgeAlgorithm) ready.algorithm);
	check_length(plain.len, overhead);
	result = palloc(VARHDRSZ + PGE_SEALED_HEADER_LEN + overhead + plain.len);
	pge_sealed_write_header((uint8 *) VARDATA(result), ready.dek_id);
	body.data = (uint8 *) VARDATA(result) + PGE_SEALED_HEADER_LEN;
	body.len = 0;
	body.capacity = overhead + plain.len;
	if (ready.algorithm == PGE_AES_256_GCM)
		pge_contexts_count_seal();
	status = pge_aead_seal(ready.aead, request->associated, plain, &body);
	if (unlikely(status != PGE_OK))
		pge_report_error(status, "could not seal the value", no_detail);
	SET_VARSIZE(result, VARHDRSZ + PGE_SEALED_HEADER_LEN + body.len);
	return result;
}

static void refuse_malformed(void) pg_attribute_noreturn();
static void
refuse_malformed(void)
{
	pge_report_error(PGE_MALFORMED, "the value is not a sealed value", no_detail);
}

/*
 * The key is known and the caller may use it: from here on nothing that is wrong
 * with the bytes is told apart.
 */
static void refuse_open(PgeStatus status) pg_attribute_noreturn();
static void
refuse_open(PgeStatus status)
{
	if (status == PGE_NOT_AUTHENTIC || status == PGE_MALFORMED)
		pge_refuse_not_authentic();
	pge_report_error(status, "could not open the value", no_detail);
}

static bytea *
open_value(DekRequest *request, PgeBytes sealed)
{
	DekReady	ready;
	PgeBytes	body;
	size_t		overhead;
	bytea	   *result;
	PgeBuffer	plain;
	PgeStatus	status;

	if (unlikely(pge_sealed_parse(sealed, &request->dek_id, &body) != PGE_OK))
		refuse_malformed();
	request->seal = false;
	request->need |= PGE_RIGHT_DECRYPT;
	pge_dek_ready(request, &ready);

	overhead = pge_aead_overhead((PgeAlgorithm) ready.algorithm);
	if (unlikely(body.len < overhead))
		pge_refuse_not_authentic();
	result = palloc(VARHDRSZ + body.len - overhead);
	plain.data = (uint8 *) VARDATA(result);
	plain.len = 0;
	plain.capacity = body.len - overhead;
	status = pge_aead_open(ready.aead, request->associated, body, &plain);
	if (unlikely(status != PGE_OK))
		refuse_open(status);
	SET_VARSIZE(result, VARHDRSZ + plain.len);
	return result;
}

bytea *
pge_open(DekRequest *request, PgeBytes sealed)
{
	pge_open_guard();
	return open_value(request, sealed);
}

/* Nobody sees the plaintext, so the guard has nothing to keep. */
bytea *
pge_reencrypt(DekRequest *request, PgeBytes sealed)
{
	DekRequest	seal = *request;
	uint32		dek_id;
	PgeBytes	body;
	bytea	   *plain;
	bytea	   *result;

	if (pge_sealed_parse(sealed, &dek_id, &body) != PGE_OK)
		refuse_malformed();
	seal.seal = true;
	seal.need = request->need = PGE_RIGHT_ENCRYPT | PGE_RIGHT_DECRYPT;
	if (pge_dek_decide(&seal, pge_dek_load_epoch())->dek.dek_id == dek_id)
		return NULL;

	plain = open_value(request, sealed);
	result = pge_seal(&seal, pge_bytes(VARDATA(plain), VARSIZE(plain) - VARHDRSZ));
	pge_secret_wipe(VARDATA(plain), VARSIZE(plain) - VARHDRSZ);
	pfree(plain);
	return result;
}
