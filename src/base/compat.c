/*-------------------------------------------------------------------------
 *
 * compat.c
 *	  Server facilities that exist in some versions only.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/wait_event.h"

#include "base/compat.h"

uint32
pge_wait_event_agent(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = PGE_NEW_WAIT_EVENT("PgEnvelopeAgent");
	return event;
}
