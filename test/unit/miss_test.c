/*-------------------------------------------------------------------------
 *
 * miss_test.c
 *	  What a cache miss leaves of the DEK on the stack: nothing, however it ends.
 *
 * Between the agent's answer and the ready context the server's code may throw
 * (a palloc, a table that is read again), which jumps over ours.  Here the
 * server is played by this file, and throws where it is told to; the miss runs
 * on a stack of ours, which is then looked through.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* The server's printf is in a library that this program does without. */
#undef printf
#undef vprintf
#undef fprintf

#include "miscadmin.h"

#include "base/harden.h"
#include "base/report.h"
#include "cache/contexts.h"
#include "cache/control.h"
#include "check.h"
#include "ops/dek.h"
#include "ops/refuse.h"
#include "ops/unwrap.h"
#include "own_stack.h"

#define PIECE		16			/* half a key is as much as an attacker needs */

typedef enum Place
{
	NOWHERE,
	IN_UNWRAP,					/* with the DEK written already */
	IN_SECOND_READ,				/* R6: W moved, the row is read again */
	IN_CONTEXT
} Place;

static Place throw_in;
static bool in_a_slot;			/* no need to ask the agent */
static int	flushes;			/* so many, each while the agent is asked */
static bool epoch_moves;

static PgeStatus says = PGE_OK; /* the agent */
static bool in_a_late_slot;
static int	commits;			/* so many, each while it is published late */

static bool thrown;
static int	asked;
static int	refusals;
static int	late_looks;
static int	publications;
static uint64 late_deadline;
static int	rows_read;
static bool right_key;			/* came to the context */
static bool found_meanwhile;	/* the control: it was on the stack then */
static bool left_between;		/* bytes of before a flush, when it starts
								 * over */

static DekReady ready;

/* Complemented, so that our own copies are never what is found. */
static void
write_dek(PgeSecret *dek)
{
	for (int i = 0; i < PGE_DEK_LEN; i++)
		dek->bytes[i] = (uint8_t) ~(i * 5 + 1);
}

static bool
is_dek_at(const uint8_t *p, int from, int len)
{
	for (int i = 0; i < len; i++)
		if (p[i] != (uint8_t) ~((from + i) * 5 + 1))
			return false;
	return true;
}

static bool
is_on_stack(void)
{
	for (size_t at = 0; at + PIECE <= sizeof(stack); at++)
		if (is_dek_at(stack + at, 0, PIECE) || is_dek_at(stack + at, PIECE, PIECE))
			return true;
	return false;
}

/* --- the server ---------------------------------------------------------- */

static PgeControl control;
PgeControl *pge_shared_control = &control;
int			pge_cache_grace;
Oid			MyDatabaseId = 5;
sigjmp_buf *PG_exception_stack;
ErrorContextCallback *error_context_stack;

void
pg_re_throw(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

static void
throw_if_in(Place place)
{
	if (throw_in == place)
		pg_re_throw();
}

Oid
GetUserId(void)
{
	return 10;
}

bool
errstart(int elevel, const char *domain)
{
	(void) elevel;
	(void) domain;
	abort();
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	(void) filename;
	(void) lineno;
	(void) funcname;
	abort();
}

int
errmsg_internal(const char *format,...)
{
	(void) format;
	abort();
}

/* --- the other rooms ----------------------------------------------------- */

void
pge_require_preloaded(void)
{
}

void
pge_harden_process(void)
{
}

void
pge_refuse(const DekRequest *request, const KeyringMemo *memo, Oid user)
{
	(void) request;
	(void) memo;
	(void) user;
	abort();
}

void
pge_unwrap_report(const KeyringDek *row, const UnwrapFailure *failure)
{
	(void) row;
	(void) failure;
	pg_re_throw();
}

uint64
pge_now_ms(void)
{
	return 1000 + asked * 300;	/* that long an answer takes */
}

void
pg_usleep(long microsec)
{
	(void) microsec;
}

void
pge_dek_cache_refused(Oid database, uint32 dek_id)
{
	if (database == MyDatabaseId && dek_id == 1)
		refusals++;
}

bool
pge_dek_cache_get_late(const DekCacheTag *tag, uint32 flush, PgeSecret *dek,
					   DekCacheRef *ref, uint64 *ttl_ms, bool *busy)
{
	(void) tag;
	late_looks++;
	*busy = late_looks == 1;	/* comes again */
	if (!in_a_late_slot || *busy)
		return false;
	memset(ref, 0, sizeof(*ref));
	ref->flush = flush;
	*ttl_ms = 900;
	write_dek(dek);
	return true;
}

const KeyringMemo *
pge_memo_dek(uint32 dek_id, Oid user, uint64 w, uint32 need)
{
	static KeyringMemo memo;

	if (++rows_read == 2)
		throw_if_in(IN_SECOND_READ);
	memo.w = w;
	memo.user = user;
	memo.rights = need;
	memo.key_state = PGE_KEY_ENABLED;
	memo.dek.dek_id = dek_id;
	memo.dek.state = PGE_DEK_ACTIVE;
	memo.dek.algorithm = 1;
	return &memo;
}

const KeyringMemo *
pge_memo_active(const char *key_id, int key_id_len, Oid user, uint64 w, uint32 need)
{
	(void) key_id;
	(void) key_id_len;
	return pge_memo_dek(1, user, w, need);
}

bool
pge_dek_cache_get(const DekCacheTag *tag, uint32 flush, PgeSecret *dek, DekCacheRef *ref)
{
	(void) tag;
	if (asked > 0 && is_dek_at(dek->bytes, 0, PGE_DEK_LEN))
		left_between = true;
	if (!in_a_slot)
		return false;
	memset(ref, 0, sizeof(*ref));
	ref->flush = flush;
	write_dek(dek);
	return true;
}

bool
pge_dek_cache_put(const DekCacheTag *tag, const PgeSecret *dek, uint64 w,
				  uint64 ttl_ms, DekCacheRef *ref)
{
	(void) tag;
	(void) dek;
	(void) w;
	(void) ttl_ms;
	late_deadline = ref->deadline_ms;
	if (++publications > commits)
		return true;
	pg_atomic_fetch_add_u64(&control.epoch, PGE_EPOCH_STATE_BUMP);
	return false;
}

bool
pge_unwrap(const KeyringDek *row, uint32 flush, PgeSecret *dek,
		   uint64 *deadline_ms, UnwrapFailure *failure)
{
	(void) row;
	(void) flush;
	asked++;
	failure->wrappings_moved = false;
	failure->status = says;
	if (says != PGE_OK)
		return false;
	*deadline_ms = 1;
	write_dek(dek);
	throw_if_in(IN_UNWRAP);
	if (asked <= flushes)
		pg_atomic_fetch_add_u64(&control.epoch, PGE_EPOCH_FLUSH_BUMP);
	if (epoch_moves)
		pg_atomic_fetch_add_u64(&control.epoch, PGE_EPOCH_STATE_BUMP);
	return true;
}

PgeAead *
pge_contexts_find(uint32 dek_id, const uint8 *check_value, uint32 flush)
{
	(void) dek_id;
	(void) check_value;
	(void) flush;
	return NULL;
}

PgeAead *
pge_contexts_add(uint32 dek_id, const uint8 *check_value, uint8 algorithm,
				 const PgeSecret *dek, const DekCacheRef *ref)
{
	(void) dek_id;
	(void) check_value;
	(void) algorithm;
	(void) ref;
	right_key = is_dek_at(dek->bytes, 0, PGE_DEK_LEN);
	found_meanwhile = is_on_stack();
	throw_if_in(IN_CONTEXT);
	return (PgeAead *) stack;
}

/* --- the claims ---------------------------------------------------------- */

static void
open_one_value(void)
{
	DekRequest	request = {.dek_id = 1, .need = PGE_RIGHT_DECRYPT};
	sigjmp_buf	catch;

	PG_exception_stack = &catch;
	if (sigsetjmp(catch, 0) == 0)
		pge_dek_ready(&request, &ready);
	else
		thrown = true;
	PG_exception_stack = NULL;
}

static void
miss(const char *name, Place place)
{
	throw_in = place;
	thrown = right_key = found_meanwhile = left_between = false;
	asked = rows_read = refusals = late_looks = publications = 0;
	memset(&ready, 0, sizeof(ready));
	run_on_stack(open_one_value);
	check(thrown == (place != NOWHERE), "%s: %s", name, thrown ? "an error is thrown past it" : "it comes to its end");
	check(thrown || (ready.aead != NULL && right_key), "%s: with the key, if it gets there", name);
	check(!left_between, "%s: no key of before a flush stays when it starts over", name);
	check(!is_on_stack(), "%s: no piece of the key is on the stack afterwards", name);
}

static void
fail(PgeStatus status, int wanted_refusals, int wanted_looks)
{
	says = status;
	thrown = false;
	asked = rows_read = refusals = late_looks = publications = 0;
	run_on_stack(open_one_value);
	check(thrown && asked == 1, "%s: an error, after one question", pge_status_name(status));
	check(refusals == wanted_refusals, "%s: %s", pge_status_name(status),
		  wanted_refusals ? "what is cached is wiped" : "nothing is wiped");
	check(late_looks == wanted_looks, "%s: %s", pge_status_name(status),
		  wanted_looks ? "what is cached may serve" : "what is cached does not serve");
}

static void
test_failures(void)
{
	in_a_late_slot = true;
	for (int grace = 0; grace <= 60; grace += 60)
	{
		pge_cache_grace = grace;
		for (PgeStatus s = PGE_AGENT_UNREACHABLE; s <= PGE_BUSY; s++)
		{
			bool		refused = s == PGE_DENIED || s == PGE_KEK_UNUSABLE ||
			s == PGE_KEK_NOT_FOUND || s == PGE_UNAUTHENTICATED;

			if (grace == 0 || (s != PGE_UNAVAILABLE && s != PGE_THROTTLED))
				fail(s, refused, 0);
		}
	}
	in_a_late_slot = false;
	fail(PGE_UNAVAILABLE, 0, 2);
	in_a_late_slot = true;

	says = PGE_UNAVAILABLE;
	miss("in grace", NOWHERE);
	check(asked == 1 && late_looks == 2 && publications == 1 && found_meanwhile, "in grace: asked, found at the second look, published again");
	check(late_deadline == 1300 + 1000 + 300, "in grace: for a second, and as long as the answer took");
	says = PGE_THROTTLED;
	miss("throttled", NOWHERE);
	pge_cache_grace = 1;
	miss("at the end of grace", NOWHERE);
	check(late_deadline == 900 + 1000, "at the end of grace: and no longer than it");
	commits = 1;
	miss("a commit meanwhile", NOWHERE);
	check(publications == 2, "in grace: a commit meanwhile does not lose the key");
	commits = 9;
	miss("commit after commit", NOWHERE);
	check(publications == 4, "nor does one after the other");
	commits = 0;
	miss("an error while the context is made, in grace", IN_CONTEXT);
	says = PGE_OK;
}

int
main(void)
{
#ifdef NO_STACK_SCAN
	check(true, "the sanitizer's frames are elsewhere: nothing to look at here");
	return check_done();
#endif
	pg_atomic_write_u64(&control.epoch, PGE_EPOCH_FLUSH_BUMP | 1);

	miss("from the agent", NOWHERE);
	check(asked == 1 && found_meanwhile, "control: on the way the key was on the stack, and found there");
	miss("an error in the unwrap", IN_UNWRAP);
	miss("an error while the context is made", IN_CONTEXT);

	epoch_moves = true;
	miss("a change meanwhile", NOWHERE);
	check(asked == 1 && rows_read == 2, "after a change the row is read again, and the agent not asked again");
	miss("an error in the second look at the row", IN_SECOND_READ);
	epoch_moves = false;

	flushes = 1;
	miss("a flush meanwhile", NOWHERE);
	check(asked == 2, "after a flush the agent is asked again");
	flushes = 9;
	miss("flush after flush", NOWHERE);
	check(asked == 4, "and after three of them no more");
	flushes = 0;

	test_failures();

	in_a_slot = true;
	miss("from a slot", NOWHERE);
	check(asked == 0 && found_meanwhile, "control: from a slot it was on the stack too");
	miss("from a slot, and an error", IN_CONTEXT);
	return check_done();
}
