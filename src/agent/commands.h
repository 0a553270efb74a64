/*
 * commands.h -- what the agent's command line can do.
 *
 * Each command gets its own name in argv[0] and returns the exit status:
 * COMMAND_OK, COMMAND_FAILED, COMMAND_USAGE.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_COMMANDS_H
#define PGE_AGENT_COMMANDS_H

#include <stdbool.h>

#define COMMAND_OK		0
#define COMMAND_FAILED	1		/* said why on stderr */
#define COMMAND_USAGE	2

#define COMMAND_PATH_MAX	8191

/* Beside the data directory of PGDATA, as the server's default is; false: there is none. */
extern bool pge_default_keyring(char path[COMMAND_PATH_MAX + 1]);

extern int	pge_command_check_config(int argc, char **argv);
extern int	pge_command_keyring(int argc, char **argv);
extern int	pge_command_probe(int argc, char **argv);

#endif							/* PGE_AGENT_COMMANDS_H */
