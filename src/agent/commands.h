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

#define COMMAND_OK		0
#define COMMAND_FAILED	1		/* said why on stderr */
#define COMMAND_USAGE	2

extern int	pge_command_check_config(int argc, char **argv);
extern int	pge_command_keyring(int argc, char **argv);

#endif							/* PGE_AGENT_COMMANDS_H */
