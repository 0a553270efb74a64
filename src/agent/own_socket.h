/*
 * own_socket.h -- the socket of an agent that is a service.
 *
 * Everybody may connect (mode 666), because the kernel tells who does, and all but
 * the server's user are let go before a byte of theirs is read; a group would
 * have to be kept by the administrator, and would protect nothing more.
 *
 * The directory belongs to this user or root, and others cannot write there: who
 * can may put another socket in this one's place, which the server would not
 * believe, but miss its agent by.  A lock beside the socket says that its agent
 * lives; a socket without is a dead one's, and is removed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_OWN_SOCKET_H
#define PGE_AGENT_OWN_SOCKET_H

#include <sys/un.h>

#include "agent/kms/kms_detail.h"
#include "base/status.h"

typedef struct OwnSocket
{
	int			fd;				/* listening, not blocking */
	int			lock_fd;		/* held for life */
	char		path[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
} OwnSocket;

/* Absolute; the parser has seen to its length.  PGE_BUSY: another agent has it. */
extern PgeStatus pge_own_socket_listen(OwnSocket *own, const char *path, char *detail);

/* Nobody finds it any more; who is connected stays so. */
extern void pge_own_socket_remove(OwnSocket *own);

#endif							/* PGE_AGENT_OWN_SOCKET_H */
