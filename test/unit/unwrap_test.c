/*-------------------------------------------------------------------------
 *
 * unwrap_test.c
 *	  A backend takes from the agent the key that it asked for, and no other.
 *
 * The agent verifies the check value as well: this is the second look, at an
 * agent that errs or lies.  The server is played by this file.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* The server's printf is in a library that this program does without. */
#undef printf
#undef vprintf
#undef fprintf

#include "base/report.h"
#include "base/settings.h"
#include "cache/control.h"
#include "check.h"
#include "client/client.h"
#include "format/binding.h"
#include "ops/unwrap.h"

static PgeControl control;
PgeControl *pge_shared_control = &control;
int			pge_cache_ttl = 300;

uint64
pge_now_ms(void)
{
	return 1;
}

PgeStatus
pge_client_call(PgeFrame *request, PgeFrame *answer)
{
	(void) request;
	(void) answer;
	abort();
}

void
pge_client_done(void)
{
}

int
pge_keyring_wrappings(uint32 dek_id, KeyringWrapping **wrappings)
{
	(void) dek_id;
	(void) wrappings;
	abort();
}

PgeStatus
pge_keyring_binding(const KeyringDek *dek, PgeBuffer *out)
{
	(void) dek;
	(void) out;
	abort();
}

void
pge_report_error(PgeStatus status, const char *what, PgeBytes detail)
{
	(void) status;
	(void) what;
	(void) detail;
	abort();
}

char *
psprintf(const char *format,...)
{
	(void) format;
	abort();
}

/* The agent answers with "given" of this length; what was taken is in *dek. */
static PgeStatus
accept_answer(const KeyringDek *row, const PgeSecret *given, size_t len, PgeSecret *dek)
{
	PgeFrame	answer = {.type = PGE_FRAME_ANSWER, .dek = pge_bytes(given->bytes, len)};

	memset(dek, 0xaa, sizeof(*dek));
	return pge_unwrap_accept(row, text_bytes("a binding"), &answer, dek);
}

int
main(void)
{
	static KeyringDek row;
	PgeSecret	right;
	PgeSecret	wrong;
	PgeSecret	dek;

	memset(&right, 7, sizeof(right));
	wrong = right;
	wrong.bytes[31] ^= 1;
	if (pge_check_value(&right, text_bytes("a binding"), row.check_value) != PGE_OK)
		abort();

	check_status(accept_answer(&row, &right, PGE_DEK_LEN, &dek), PGE_OK, "the right key is taken");
	check(memcmp(&dek, &right, sizeof(dek)) == 0, "whole");
	check(pg_atomic_read_u64(&control.unwraps) == 1, "and counted");
	check_status(accept_answer(&row, &wrong, PGE_DEK_LEN, &dek), PGE_WRAPPING_DAMAGED, "another key is not");
	check(all_zero(dek.bytes, sizeof(dek.bytes)), "and nothing of it stays");
	check_status(accept_answer(&row, &right, PGE_DEK_LEN - 1, &dek), PGE_WRAPPING_DAMAGED, "nor a part of one");
	row.check_value[0] ^= 1;
	check_status(accept_answer(&row, &right, PGE_DEK_LEN, &dek), PGE_WRAPPING_DAMAGED, "nor one that another row names");
	check(pg_atomic_read_u64(&control.unwraps) == 1, "and none of these is counted");
	return check_done();
}
