/*
 * keeper_private.h -- what the files of this room tell each other.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEEPER_PRIVATE_H
#define PGE_KEEPER_PRIVATE_H

#include "postgres.h"

#include <sys/types.h>

/*
 * spawn.c: starts the program behind exe_fd with the pipe as its descriptor 3
 * and the listening socket as 4, in a session of its own, with a clean
 * environment and nothing else of ours.  -1 and errno when fork fails; an exec
 * that fails is exit code 127 of the child.
 */
extern pid_t pge_spawn_agent(int exe_fd, int pipe_fd, int listen_fd);

/*
 * agent_watch.c: the life of one agent after another.
 *
 * init -> { turn; wait on the latch and pge_watch_fd() for pge_watch_wait_ms() } ... -> stop
 */
extern void pge_watch_init(int exe_fd, int listen_fd);

/* Whatever is due: start, send, hear, reap, kill. */
extern void pge_watch_turn(void);

/* The settings have changed: send them, and try at once if a start is put off. */
extern void pge_watch_reload(void);

/* The keeper's end of the pipe, PGINVALID_SOCKET while no agent runs. */
extern pgsocket pge_watch_fd(void);
extern bool pge_watch_wants_write(void);
extern long pge_watch_wait_ms(void);

/* Ends the agent within half a second and a little; for every kind of exit. */
extern void pge_watch_stop(void);

/*
 * uses.c: the use counts of AES256_GCM.
 *
 * load -> { turn } ... -> save.  None of them throws.
 */
extern void pge_uses_load(void);
extern void pge_uses_turn(void);	/* once a minute: save */
extern void pge_uses_save(void);	/* warns too */

/* replay.c: once a second and more often; nothing but on a standby. */
extern void pge_replay_turn(void);

#endif							/* PGE_KEEPER_PRIVATE_H */
