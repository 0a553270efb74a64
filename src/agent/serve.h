/*
 * serve.h -- the agent as a daemon: "pg_envelope_agent serve [--config FILE]".
 *
 * Without --config started by the keeper with two descriptors: 3 is its pipe, 4 the listening
 * socket, bound already and non-blocking.  Lives as long as the keeper does.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_SERVE_H
#define PGE_AGENT_SERVE_H

/* Returns the exit code only if it could not start; else it does not return. */
extern int	pge_agent_serve(void);

/* The same for a service of its own (service.h). */
extern int	pge_agent_serve_config(const char *config_file);

#endif							/* PGE_AGENT_SERVE_H */
