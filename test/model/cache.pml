/*
 * cache.pml -- the steps of protocol.md as a SPIN model, their properties, and
 * the mistakes that the properties must find.
 *
 *	./run.sh small      what "make check" runs
 *	./run.sh full       every configuration; hours of one core, 10 GB
 *
 * Reading aid.  Every access to shared memory is a step of its own, so SPIN
 * tries every interleaving of them; a d_step is one indivisible step.  W is one
 * 64-bit word, so its two halves are read and bumped in one step.  A backend
 * runs one long statement and therefore never hears sinval: the protocol may
 * not rest on it.  There are two keys: key 0 exists (its DEK is 1) and is
 * disabled, revoked and enabled by the administrator; key 1 is created, rolled
 * back and created again by backend CREATOR (its DEK is 2, then 3).
 *
 * Key bytes are two halves, so that a torn copy shows.  Each half is
 * dek * 8 + born, where "born" is the ghost time of the KMS call.
 *
 * -DMUTANT_x breaks one step; -DFIRST_x puts back one part of the first design
 * (compare, then publish); -DVARIANT_x is another correct way.
 *
 * SPDX-License-Identifier: PostgreSQL
 */

/* ---- how large ------------------------------------------------------- */

#ifndef BACKENDS
#define BACKENDS 2
#endif
#ifndef VALUES
#define VALUES 2		/* values that backend 0 opens */
#endif
#ifndef VALUES_OTHERS
#define VALUES_OTHERS 1	/* and each of the others */
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef COMMANDS
#define COMMANDS 2		/* of the administrator: disable, revoke, enable, flush, in any order */
#endif
#ifndef EXPIRIES
#define EXPIRIES 0		/* by the keeper */
#endif
#ifndef AGENT_DEATHS
#define AGENT_DEATHS 0
#endif
#ifndef CRASHES
#define CRASHES 0		/* crash restarts of the server: 0 or 1 */
#endif
#ifndef CREATOR
#define CREATOR 9		/* the backend that creates key 1; 9: nobody, and key 0 only */
#endif
#ifndef REVOCATIONS
#define REVOCATIONS 0	/* of key 0's KEK, in its service, which may grant it again: 0 or 1 */
#endif
#ifndef OUTAGES
#define OUTAGES 0		/* answers "unavailable" of the service; if any, cache_grace is on */
#endif
#ifndef ONLY
#define ONLY 0			/* 0: all properties; n: property n alone */
#endif

/* ---- the properties: every one is checked through this list ------------ */

#define HOLDS(n, claim)	assert((claim) || (ONLY != 0 && ONLY != n))

/* A value is being opened or sealed with the ready context. */
#define P1_NOT_REVOKED		HOLDS(1, began_revoked != enables + 1)
#define P2_NOT_PURGED		HOLDS(2, BORN(ctx_half1) >= began_flushes)
#define P3_NOT_TORN			HOLDS(3, ctx_half1 == ctx_half2)
#define P3_RIGHT_DEK		HOLDS(3, ctx_half1 != 0 && DEK(ctx_half1) == THE_DEK(key))
#define P8_NOT_EXPIRED		HOLDS(8, ctx_slot != 0 || began_expired == 0 || ctx_gen > began_expired)
#define P10_NOT_REFUSED		HOLDS(10, !(began_refused && ctx_old))
#define P11_ASKED_FIRST		HOLDS(11, !ctx_late || service_away)
/* A slot is being written. */
#define P4_COMMITTED		HOLDS(4, committed[0] == memo_dek || committed[1] == memo_dek)
/* A value is being refused. */
#define P6_RIGHTLY_REFUSED	HOLDS(6, !began_enabled || began_disables != disables)
/* Everybody is done.  (P5 is also: no deadlock; and the formula at the end.) */
#define P9_FLUSHED(s)		HOLDS(9, slot[s].dek == 0 || slot[s].flush == w_flush)
#define P9_WIPED(s)			HOLDS(9, slot[s].dek != 1 || usable || !must_be_wiped)
#define P9_REFUSED(s)		HOLDS(9, slot[s].dek != 1 || !refused || !slot[s].old)
#define P5_NOT_ODD(s)		HOLDS(5, !ODD(slot[s].gen))

/* P7 (a revoked grant) is P1: to a reader, no right and not enabled are one. */

#define DEK(half)		((half) / 8)
#define BORN(half)		((half) % 8)
#define THE_DEK(k)		(k == 0 -> 1 : (me == CREATOR && uncommitted != 0 -> uncommitted : committed[1]))

/* ---- shared memory, tables, sockets ------------------------------------ */

byte w_state, w_flush;			/* W */

byte refusals;					/* R, of all keys: the worst case */
/* stale: the deadline has passed, and cache_grace has not; old: a ghost */
typedef Slot { byte gen; byte dek; byte flush; byte refusals; bool stale; bool old; byte half1; byte half2 };
Slot slot[SLOTS];

byte committed[2];				/* the DEK of each key that everybody sees; 0: no row */
byte uncommitted;				/* key 1's DEK, in the creator's open transaction */
byte drawn;						/* DEKs drawn for key 1 */
bool usable = true;				/* key 0: enabled, and the reader has the right */

#define IDLE	0
#define SENT	1
#define RUNNING	2				/* the KMS call */
#define READY	3
#define CLOSED	4				/* EOF: the agent died, or closed */
#define GOOD	0
#define REFUSED	1
#define AWAY	2				/* unavailable, or throttled */
typedef Request { byte phase; byte dek; byte flush; byte born; byte answer; bool old };
Request req[BACKENDS];

/* ---- ghosts: what only the properties read ------------------------------ */

byte clock, flushes;			/* "born" of now; of the last flush that returned */
byte disables, enables;
bool revoke_answered, enable_answered = true, must_be_wiped;
byte expired_gen;				/* of slot 0 */
bool granted = true, was_revoked;	/* key 0's KEK, by its service; "old" bytes are from before */
bool refused;					/* somebody has heard so */
byte outages;
byte finished, dead;
bool crash, waiting0;

#define ODD(g)	((g) % 2 == 1)
#define PRIVATE	7				/* the "slot" of a context that is in none */

#ifdef ENDLESS_COMMITS
#define BUMP_STATE	w_state = (w_state + 1) % 3
#define WAITS(i, yes)	waiting0 = (i == 0 -> yes : waiting0)
#else
#define BUMP_STATE	w_state++
#define WAITS(i, yes)	skip
#endif
#if CRASHES > 0
#define UNLESS_CRASH unless { crash }
#else
#define UNLESS_CRASH
#endif

/* ---- slots --------------------------------------------------------------- */

inline try_to_own(s_, even, won)
{
	d_step { won = (slot[s_].gen == even); if :: won -> slot[s_].gen = even + 1 :: else fi }
}

/* Clears a slot that is still as it was at "even". */
inline wipe(s_, even, won)
{
	try_to_own(s_, even, won);
	if
	:: won ->
		d_step {
			slot[s_].dek = 0; slot[s_].flush = 0; slot[s_].half1 = 0;
			slot[s_].refusals = 0; slot[s_].stale = false; slot[s_].old = false
		};
		slot[s_].half2 = 0;
		slot[s_].gen = even + 2
	:: else
	fi
}

/*
 * D3, F2, N2 and the last part of R8, for one slot; dek_ 0: any.  Odd: someone
 * writes, and will look at W and R.  Lost: it may only have been outdated (X0).
 */
inline wipe_if_of(s_, dek_)
{
	do
	:: g = slot[s_].gen;
		if
		:: !ODD(g) && slot[s_].dek != 0 && (dek_ == 0 || slot[s_].dek == dek_) ->
			wipe(s_, g, ok);
#ifdef MUTANT_WIPER_GIVES_UP
			break
#else
			if :: ok -> break :: else fi
#endif
		:: else -> break
		fi
	od;
	g = 0; ok = false
}

inline wipe_slots_of(dek_)		/* 0: all */
{
	s = 0;
	do
	:: s == SLOTS -> break
	:: else -> wipe_if_of(s, dek_); s++
	od;
	s = 0
}

/* ---- a backend ------------------------------------------------------------- */

/* The newest committed row, or the row of one's own transaction. */
inline read_row()
{
	d_step {
		memo_own = (me == CREATOR && key == 1 && uncommitted != 0);
		memo_dek = (memo_own -> uncommitted : committed[key]);
		memo_allows = (memo_dek != 0 && (key == 1 || usable));
		memo_key = key + 1; memo_state = w_s; memo_flush = w_f;
		row_read = true; ok = false
	}
}

inline drop_context()
{
	ctx_dek = 0; ctx_slot = 0; ctx_gen = 0; ctx_flush = 0; ctx_half1 = 0; ctx_half2 = 0;
	ctx_refusals = 0; ctx_old = false; ctx_late = false
}

inline make_context(where, gen_)
{
	ctx_dek = memo_dek; ctx_slot = where; ctx_gen = gen_; ctx_flush = w_f; ctx_half1 = h1; ctx_half2 = h2;
	ctx_refusals = r; ctx_old = old
}

inline forget_work()
{
	key = 0; w_s = 0; w_f = 0; s = 0; g = 0; d = 0; f = 0; h1 = 0; h2 = 0; now_s = 0; now_f = 0;
	r = 0; now_r = 0; answer = 0; old = false; late = false; service_away = false; ctx_late = false; began_refused = false;
	ok = false; row_read = false;
	began_flushes = 0; began_disables = 0; began_revoked = 0; began_expired = 0; began_enabled = false
}

/* Between two values: what the rest of the transaction may do. */
inline transaction_life()
{
	if
	:: me == CREATOR && uncommitted == 0 && committed[1] == 0 && drawn < 2 ->	/* C1: INSERT */
		d_step { drawn++; uncommitted = 1 + drawn; memo_key = 0 }
	:: me == CREATOR && uncommitted != 0 ->										/* C2: COMMIT */
		d_step { committed[1] = uncommitted; uncommitted = 0 };
		d_step { BUMP_STATE; memo_key = 0; drop_context() }
#ifdef MUTANT_ROLLBACK_KEEPS
	:: me == CREATOR && uncommitted != 0 -> uncommitted = 0
#else
	:: me == CREATOR && uncommitted != 0 ->										/* C3: ROLLBACK [TO] */
		d_step { uncommitted = 0; memo_key = 0; drop_context() }
#endif
	:: ctx_dek != 0 -> d_step { drop_context() }								/* eviction, or the end of a transaction */
	:: true
	fi
}

inline choose_value()
{
	atomic {
		if :: key = 0 :: CREATOR < BACKENDS -> key = 1 fi;
		left--;
		began_flushes = flushes;
		began_revoked = ((key == 0 && revoke_answered) -> enables + 1 : 0);
		began_enabled = (key == 0 && enable_answered);
		began_disables = (began_enabled -> disables : 0);
		began_expired = expired_gen;
		began_refused = (key == 0 && refused);
		WAITS(me, true)
	}
}

/* R1, R2 */
inline consult_memo()
{
#ifdef MUTANT_EPOCH_AFTER_ROW
	if
	:: d_step { memo_key == key + 1 && memo_state == w_state && memo_flush == w_flush -> w_s = w_state; w_f = w_flush }
	:: d_step { !(memo_key == key + 1 && memo_state == w_state && memo_flush == w_flush) -> skip };
		read_row();
		d_step { w_s = w_state; w_f = w_flush; memo_state = w_s; memo_flush = w_f }
	fi
#else
	d_step {
		w_s = w_state; w_f = w_flush;
#if defined(FIRST_MEMO) || defined(MUTANT_MEMO_STICKY)
		ok = (memo_key == key + 1)				/* until sinval, which a long statement never hears */
#else
		ok = (memo_key == key + 1 && memo_state == w_s && memo_flush == w_f)
#endif
	};
	if :: ok -> ok = false :: else -> read_row() fi
#endif
}

/* R3 */
inline use_ready_context()
{
	if
#ifdef FIRST_STAMP
	:: ctx_dek == memo_dek ->
#else
	:: ctx_dek == memo_dek && ctx_flush == w_f ->
#endif
#ifdef MUTANT_CONTEXT_UNCHECKED
		goto use
#else
		if
#ifdef MUTANT_PRIVATE_UNCHECKED
		:: ctx_slot == PRIVATE -> goto use
#else
		:: ctx_slot == PRIVATE && ctx_refusals == refusals -> goto use
		:: ctx_slot == PRIVATE && ctx_refusals != refusals -> d_step { drop_context() }
#endif
		:: ctx_slot != PRIVATE && slot[ctx_slot].gen == ctx_gen -> goto use
		:: ctx_slot != PRIVATE && slot[ctx_slot].gen != ctx_gen -> d_step { drop_context() }
		fi;
#if defined(FIRST_MEMO) || defined(MUTANT_MEMO_STICKY)
		if :: !row_read -> memo_key = 0; goto again :: else fi
#endif
#endif
	:: else -> d_step { drop_context() }
	fi
}

/* May the copy be used?  R4, and G2 (late_), which takes one whose deadline has passed. */
#ifdef FIRST_STAMP
#define FITS(late_)		(d == memo_dek)
#elif defined(MUTANT_TTL_IGNORED)
#define FITS(late_)		(d == memo_dek && f == w_f && now_r == r)
#elif defined(MUTANT_REFUSALS_NOT_COMPARED)
#define FITS(late_)		(d == memo_dek && f == w_f && (late_ || !late))
#else
#define FITS(late_)		(d == memo_dek && f == w_f && now_r == r && (late_ || !late))
#endif

/* To "use" by R4, to "keep" by G2. */
inline copy_from_slot(late_)
{
	s = 0; r = refusals;
	do
	:: s == SLOTS -> break
	:: s < SLOTS ->
		f = 0; g = slot[s].gen;
		if
		:: ODD(g)								/* being written: absent; nobody waits for it */
		:: else ->
			d_step {
				d = slot[s].dek; f = slot[s].flush; h1 = slot[s].half1;
				now_r = slot[s].refusals; late = slot[s].stale; old = slot[s].old
			};
			if
			:: FITS(late_) ->
				h2 = slot[s].half2;
#ifdef MUTANT_GEN_NOT_REREAD
				if :: true ->
#else
				if
				:: slot[s].gen != g
				:: slot[s].gen == g ->
#endif
					if
					:: late_ -> d_step { s = 0; g = 0; d = 0; f = 0; now_r = 0 }; goto keep
					:: else -> d_step { make_context(s, g); ctx_late = late }; goto use
					fi
				fi
			:: else
			fi
		fi;
		d_step { s++; g = 0; d = 0; f = 0; h1 = 0; h2 = 0; now_r = 0; late = false; old = false }
	od
}

/* R5, A1's client side */
inline ask_agent()
{
	do
	:: d_step { s = 0; f = 0; req[me].phase = SENT; req[me].dek = memo_dek; req[me].flush = w_f };
#ifdef MUTANT_EOF_NOT_HEARD
		req[me].phase == READY -> break
#else
		if :: req[me].phase == READY -> break :: req[me].phase == CLOSED fi
#endif
	od;
	skip;									/* SPIN: no break into a d_step */
	d_step {
		h1 = req[me].dek * 8 + req[me].born; h2 = h1; answer = req[me].answer; old = req[me].old;
		req[me].phase = IDLE; req[me].dek = 0; req[me].flush = 0; req[me].born = 0; req[me].answer = 0; req[me].old = false
	}
}

/* N1, N2, N3: the service does not let us. */
inline hear_refusal()
{
#ifndef MUTANT_REFUSAL_DOES_NOT_WIPE
#ifndef MUTANT_REFUSAL_NOT_COUNTED
	refusals++;
#endif
	wipe_slots_of(memo_dek);
#endif
	refused = true;
	goto failed
}

/* G1, G2: the service is away, or has no time for us. */
inline take_in_grace()
{
	d_step { h1 = 0; h2 = 0; old = false; service_away = true };
	d_step { w_s = w_state; w_f = w_flush };
	read_row();
	if :: !memo_allows -> goto refuse :: else fi;
	copy_from_slot(true);
	goto failed
}

inline hear()
{
	if
#if REVOCATIONS > 0
#ifdef MUTANT_GRACE_FOR_REFUSED
	:: answer == REFUSED -> refused = true; take_in_grace()
#else
	:: answer == REFUSED -> hear_refusal()
#endif
#endif
#if OUTAGES > 0
	:: answer == AWAY -> take_in_grace()
#endif
	:: answer == GOOD
	fi
}

inline read_row_for_the_bytes()
{
	w_s = now_s;
	read_row();
	if :: !memo_allows || memo_dek != DEK(h1) -> goto refuse :: else fi
}

/* R6: W again, after the answer. */
inline decide_again()
{
	d_step { now_s = w_state; now_f = w_flush };
	if
#ifdef FIRST_ASK
	:: now_s != w_s || now_f != w_f -> memo_key = 0; goto again
#elif defined(MUTANT_NO_COMPARE)
	:: true -> w_f = now_f
#else
#ifdef VARIANT_USE_ONCE
	:: now_f != w_f ->
		read_row_for_the_bytes();
		d_step { make_context(PRIVATE, 0) };
		goto use
#else
	:: now_f != w_f -> memo_key = 0; goto again		/* purged: the row and the agent again */
#endif
	:: now_f == w_f && now_s != w_s -> read_row_for_the_bytes()		/* never the agent again */
#endif
	:: now_f == w_f && now_s == w_s
	fi
}

#ifdef MUTANT_REFUSALS_NOT_LOOKED_AT_AFTER
#define SAME_REFUSALS	true
#else
#define SAME_REFUSALS	refusals == r
#endif

/* R7, R8 */
inline publish()
{
	d_step { make_context(PRIVATE, 0); ctx_late = late };
#ifndef MUTANT_UNCOMMITTED_PUBLISHED
	if :: memo_own -> goto use :: else fi;
#endif
	if :: s = 0 :: SLOTS > 1 -> s = SLOTS - 1 fi;	/* any victim */
	g = slot[s].gen;
	if :: ODD(g) -> goto use :: else fi;
#ifdef MUTANT_TWO_WRITERS
	slot[s].gen = g + 1;
#else
	try_to_own(s, g, ok);
	if :: !ok -> goto use :: else fi;
#endif
	d_step {
		P4_COMMITTED; slot[s].dek = memo_dek; slot[s].flush = w_f; slot[s].half1 = h1;
		slot[s].refusals = r; slot[s].stale = false; slot[s].old = old
	};
	slot[s].half2 = h2;
#ifdef MUTANT_NO_FULL_BARRIER						/* R8's load overtakes R7's last store */
	d_step { now_s = w_state; now_f = w_flush };
	slot[s].gen = g + 2;
	d_step { ctx_slot = s; ctx_gen = g + 2 };
	if :: now_s == w_s && now_f == w_f :: else -> ctx_slot = PRIVATE; ctx_gen = 0; g = g + 2; wipe(s, g, ok) fi
#else
	slot[s].gen = g + 2;
	d_step { ctx_slot = s; ctx_gen = g + 2 };
#if !defined(FIRST_STAMP) && !defined(MUTANT_NO_LOOK_AFTER)
	if
	:: d_step { w_state == w_s && w_flush == w_f && SAME_REFUSALS -> skip }
	:: d_step { !(w_state == w_s && w_flush == w_f && SAME_REFUSALS) -> ctx_slot = PRIVATE; ctx_gen = 0 };
		wipe_if_of(s, memo_dek)
	fi
#endif
#endif
}

proctype Backend(byte me)
{
	byte left = (me == 0 -> VALUES : VALUES_OTHERS);
	byte memo_key, memo_state, memo_flush, memo_dek;	/* key + 1, or 0: empty; the W it was read under */
	bool memo_allows, memo_own;
	byte ctx_dek, ctx_slot, ctx_gen, ctx_flush, ctx_half1, ctx_half2;
	byte ctx_refusals;
	byte key, w_s, w_f, now_s, now_f, s, g, d, f, h1, h2, r, now_r, answer;
	bool ok, row_read, late;
	bool old, ctx_old, ctx_late, service_away, began_refused;			/* ghosts */
	byte began_flushes, began_disables, began_revoked, began_expired;	/* ghosts */
	bool began_enabled;

boot:
	{
	do
	:: left == 0 -> break
	:: left > 0 ->
		transaction_life();
		choose_value();
again:	skip;
		consult_memo();
		if :: !memo_allows -> goto refuse :: else fi;
		use_ready_context();
		copy_from_slot(false);
#if defined(FIRST_MEMO) || defined(MUTANT_MEMO_STICKY)
		if :: !row_read -> memo_key = 0; goto again :: else fi;
#endif
		ask_agent();
		hear();
		decide_again();
keep:	skip;
		publish();
use:	skip;
		d_step {
			P1_NOT_REVOKED; P2_NOT_PURGED; P3_NOT_TORN; P3_RIGHT_DEK; P8_NOT_EXPIRED; P10_NOT_REFUSED; P11_ASKED_FIRST;
			forget_work(); WAITS(me, false)
		};
		goto done;
refuse:	skip;
		d_step { P6_RIGHTLY_REFUSED; forget_work(); drop_context(); WAITS(me, false) };
		goto done;
failed:	skip;							/* by the service, or without it */
		d_step { forget_work(); drop_context(); WAITS(me, false) };
done:	skip
	od
	} UNLESS_CRASH;
	if
	:: crash ->
		d_step {
			dead++; forget_work(); drop_context();
			memo_key = 0; memo_state = 0; memo_flush = 0; memo_dek = 0; memo_allows = false; memo_own = false
		};
		!crash;
		goto boot
	:: left == 0 -> finished++
	fi
}

/* ---- the agent --------------------------------------------------------------- */

#ifdef FIRST_JOIN
#define JOINS(a, b)	(req[a].phase == RUNNING && req[a].dek == req[b].dek)
#else
#define JOINS(a, b)	(req[a].phase == RUNNING && req[a].dek == req[b].dek && req[a].flush == req[b].flush)
#endif

proctype Agent(byte client)
{
	byte other;
end:
	do
	:: atomic {
		req[client].phase == SENT ->
		req[client].phase = RUNNING; req[client].born = clock;
		do											/* A1: single flight */
		:: other == BACKENDS -> break
		:: else ->
			if
			:: other != client && JOINS(other, client) -> req[client].born = req[other].born
			:: else
			fi;
			other++
		od;
		other = 0
		}
	:: d_step {
		req[client].phase == RUNNING -> req[client].phase = READY;
#if REVOCATIONS > 0
		req[client].answer = ((req[client].dek != 1 || granted) -> GOOD : REFUSED);
		req[client].old = (req[client].dek == 1 && granted && !was_revoked)
#endif
		}
#if OUTAGES > 0
	:: d_step { req[client].phase == RUNNING && outages < OUTAGES -> outages++; req[client].phase = READY; req[client].answer = AWAY }
#endif
	od
}

#if REVOCATIONS > 0
proctype Service()
{
	d_step { granted = false; was_revoked = true };
	if :: skip :: granted = true fi
}
#endif

proctype AgentDies()
{
	byte client;
	if
	:: skip
	:: d_step {
		do
		:: client == BACKENDS -> break
		:: else ->
			if
			:: req[client].phase == SENT || req[client].phase == RUNNING -> req[client].phase = CLOSED; req[client].born = 0
			:: else
			fi;
			client++
		od }
	fi
}

/* ---- administrator, keeper, postmaster ------------------------------------------ */

proctype Admin()
{
	byte left = COMMANDS, s, g;
	bool ok;
boot:
	{
	do
	:: left == 0 -> break
#ifdef MUTANT_BUMP_BEFORE_COMMIT
	:: d_step { left > 0 && usable -> BUMP_STATE };
		d_step { left--; disables++; enable_answered = false; must_be_wiped = false; usable = false };
#else
	:: d_step { left > 0 && usable -> left--; disables++; enable_answered = false; must_be_wiped = false; usable = false };	/* D1 */
		BUMP_STATE;																												/* D2 */
#endif
		if
		:: wipe_slots_of(1); d_step { must_be_wiped = true; revoke_answered = true }	/* D3, D4: disable, destroy */
#ifndef NO_REVOKE
		:: revoke_answered = true														/* D4 alone: a revoked grant */
#endif
		fi
	:: d_step { left > 0 && !usable -> left--; revoke_answered = false; enables++; usable = true };	/* enable: D1 */
		d_step { BUMP_STATE; enable_answered = true }
	:: d_step { left > 0 -> left--; clock++; w_flush++ };	/* F1 */
		wipe_slots_of(0);									/* F2 */
		flushes = clock										/* F3 */
	od
	} UNLESS_CRASH;
	if
	:: crash -> d_step { dead++; s = 0; g = 0; ok = false }; !crash; goto boot
	:: left == 0 -> finished++
	fi
}

#ifdef MUTANT_NOT_OUTDATED
#define OUTDATE		expired_gen = g
#else
#define OUTDATE		expired_gen = g; slot[0].gen = g + 2
#endif

/* X1, of slot 0; with cache_grace X0 first */
proctype Keeper()
{
	byte left = EXPIRIES, g;
	bool ok;
	do
	:: left == 0 -> break
	:: left > 0 && !ODD(slot[0].gen) ->
		left--; g = slot[0].gen;
		if
#if OUTAGES > 0
		:: !ODD(g) && slot[0].dek != 0 && !slot[0].stale ->
			d_step {
				if :: slot[0].gen == g -> slot[0].stale = true; OUTDATE :: else fi
			}
		:: !ODD(g) && slot[0].stale -> wipe(0, g, ok); if :: ok -> expired_gen = g :: else fi
#else
		:: !ODD(g) -> wipe(0, g, ok); if :: ok -> expired_gen = g :: else fi
#endif
		:: else
		fi
	:: left > 0 -> left--
	od;
	finished++
}

/* All backends go, the region survives, the sockets close. */
proctype Postmaster()
{
	byte j;
	if
	:: skip
	:: crash = true;
		dead + finished == BACKENDS + 1;
		d_step {
			do
			:: j == BACKENDS -> break
			:: else -> req[j].phase = IDLE; req[j].dek = 0; req[j].flush = 0; req[j].born = 0; req[j].answer = 0; req[j].old = false; j++
			od;
			refusals = 0; refused = false;
			j = 0; w_state = 0; w_flush = 0; uncommitted = 0; clock++; flushes = clock;
#ifndef MUTANT_CRASH_NO_WIPE
			do
			:: j == SLOTS -> break
			:: else -> slot[j].gen = 0; slot[j].dek = 0; slot[j].flush = 0; slot[j].half1 = 0; slot[j].half2 = 0;
				slot[j].refusals = 0; slot[j].stale = false; slot[j].old = false; j++
			od;
			expired_gen = 0;
#endif
			j = 0; dead = 0; crash = false
		}
	fi
}

#ifdef ENDLESS_COMMITS
proctype Commits() { do :: BUMP_STATE od }
#endif

init
{
	byte j;
	atomic {
		committed[0] = 1;
		do :: j == BACKENDS -> break :: else -> run Backend(j); run Agent(j); j++ od;
		j = 0;
		run Admin();
		if :: EXPIRIES > 0 -> run Keeper() :: else fi;
#if REVOCATIONS > 0
		run Service();
#endif
		if :: AGENT_DEATHS > 0 -> run AgentDies() :: else fi;
		if :: CRASHES > 0 -> run Postmaster() :: else fi;
#ifdef ENDLESS_COMMITS
		run Commits()
#endif
	};
	finished == BACKENDS + 1 + (EXPIRIES > 0 -> 1 : 0) && !crash;
	d_step {
		do
		:: j == SLOTS -> break
		:: else -> P9_FLUSHED(j); P9_WIPED(j); P9_REFUSED(j); P5_NOT_ODD(j); j++
		od
	}
}

#ifdef ENDLESS_COMMITS
ltl p5 { [] (waiting0 -> <> !waiting0) }
#endif
