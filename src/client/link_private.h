/*
 * link_private.h -- one connection to the agent: bytes, handshake, whole frames.
 *
 * open -> { queue; send; receive; wait } ... -> close.  Nothing here blocks but
 * pge_link_wait, and nothing throws but that and a lack of descriptors or
 * memory.  What goes out holds no key bytes; what comes in does: the last frame
 * stays until pge_link_forget_frame or pge_link_close wipe it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_CLIENT_LINK_PRIVATE_H
#define PGE_CLIENT_LINK_PRIVATE_H

#include "postgres.h"

#include "format/frame.h"

typedef enum LinkResult
{
	PGE_LINK_FRAME,				/* an answer was taken */
	PGE_LINK_NOTHING,			/* wait for more */
	PGE_LINK_LOST				/* close it; trouble says why */
} LinkResult;

typedef struct AgentLink
{
	pgsocket	fd;				/* PGINVALID_SOCKET: closed */
	bool		proven;			/* both ends have proved the secret, or are
								 * who the kernel says, and have greeted */
	uint8		nonce[PGE_FRAME_NONCE_LEN];
	MemoryContext context;		/* of "out" */
	uint8	   *out;			/* everything queued on this connection that
								 * has not gone */
	size_t		out_len;
	size_t		out_capacity;
	uint64		queued_total;	/* bytes since the connection was opened */
	uint64		sent_total;
	size_t		in_len;
	size_t		frame_len;		/* of the frame that the caller looks at */
	char		trouble[160];	/* why it was lost or not opened, "" at first */
	uint8		in[PGE_FRAME_MAX];
} AgentLink;

extern void pge_link_init(AgentLink *link, MemoryContext context);

/* One attempt; false: not now, trouble says why. */
extern bool pge_link_open(AgentLink *link);
extern bool pge_link_is_open(const AgentLink *link);

/* An open link with nothing under way: has the other end gone, or spoken unasked? */
extern bool pge_link_is_stale(AgentLink *link);
extern void pge_link_queue(AgentLink *link, const uint8 *bytes, size_t len);
extern bool pge_link_send(AgentLink *link);
extern LinkResult pge_link_receive(AgentLink *link, PgeFrame *frame);
extern void pge_link_forget_frame(AgentLink *link);

/* Interruptible: throws on cancel and termination. */
extern void pge_link_wait(AgentLink *link, long timeout_ms);
extern void pge_link_close(AgentLink *link);

#endif							/* PGE_CLIENT_LINK_PRIVATE_H */
