/*
 * notify.h -- what a service manager hears of us: systemd's sd_notify(3), without its library.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_NOTIFY_H
#define PGE_AGENT_NOTIFY_H

/* Takes NOTIFY_SOCKET out of the environment, where a passphrase command would find it. */
extern void pge_notify_init(void);

/* "READY=1".  Nothing if nobody asked, or nobody listens: we would go on all the same. */
extern void pge_notify(const char *state);

#endif							/* PGE_AGENT_NOTIFY_H */
