/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  On a standby: tells statements that are running what has been replayed.
 *
 * There nobody runs a commit callback, and a session that is busy, or that came
 * after the replay, gets no message.  So whatever was replayed since the last turn
 * counts as a change of our tables; rows that did not change are read once more.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"

#include "cache/control.h"
#include "keeper/keeper_private.h"

static bool is_standby = true;	/* until a turn sees that it is none */
static XLogRecPtr told = InvalidXLogRecPtr;

/* The position moves when a record's effects can be seen, never before. */
void
pge_replay_turn(void)
{
	XLogRecPtr	replayed;

	if (!is_standby)
		return;
	is_standby = RecoveryInProgress();
	replayed = GetXLogReplayRecPtr(NULL);
	if (is_standby && replayed == told)
		return;
	told = replayed;			/* and once more when it has been promoted */
	pg_atomic_fetch_add_u64(&pge_control()->epoch, PGE_EPOCH_STATE_BUMP);
}
