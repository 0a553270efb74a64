/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The agent's command line.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/commands.h"
#include "agent/serve.h"
#include "base/limits.h"

typedef struct Command
{
	const char *name;
	int			(*run) (int argc, char **argv);
	const char *help;
} Command;

static bool harden_process(void);
static bool open_standard_streams(void);
static int	serve(int argc, char **argv);
static int	show_version(int argc, char **argv);
static int	show_help(int argc, char **argv);

static const Command commands[] = {
	{"check-config", pge_command_check_config, "read pg_envelope.kms_config_file as the server does"},
	{"keyring", pge_command_keyring, "look after the local keyring (keyring --help)"},
	{"probe", pge_command_probe, "try each step to a KEK (probe --help)"},
	{"serve", serve, "answer the server's backends (--config FILE: as a service of its own; else started by the server only)"},
	{"--version", show_version, "print the version"},
	{"--help", show_help, "print this"},
};

#define NCOMMANDS	(sizeof(commands) / sizeof(commands[0]))

int
main(int argc, char **argv)
{
	int			result = COMMAND_USAGE;

	if (!open_standard_streams() || !harden_process())
		return COMMAND_FAILED;
	for (size_t i = 0; argc > 1 && i < NCOMMANDS; i++)
	{
		if (strcmp(argv[1], commands[i].name) == 0)
		{
			result = commands[i].run(argc - 1, argv + 1);
			/* what was not printed has not been said */
			if (fflush(stdout) != 0 || ferror(stdout))
				return COMMAND_FAILED;
			return result;
		}
	}
	fprintf(stderr, "pg_envelope_agent: %s; try \"pg_envelope_agent --help\"\n",
			argc > 1 ? "unknown command" : "no command given");
	return result;
}

/* A key file opened as descriptor 1 would be overwritten by the next printf. */
static bool
open_standard_streams(void)
{
	int			fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/*
 * Before the first key: no core file, no debugger, no /proc/self/mem for
 * others of this user, files for ourselves only.  A write over a size limit
 * comes back as an error, so that its temporary file gets removed; and how a
 * command ended can be learned even if who started us ignored SIGCHLD.
 */
static bool
harden_process(void)
{
	const struct rlimit no_core = {0, 0};

	umask(S_IRWXG | S_IRWXO);
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
		signal(SIGCHLD, SIG_DFL) == SIG_ERR ||
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 ||
		setrlimit(RLIMIT_CORE, &no_core) != 0)
	{
		perror("pg_envelope_agent: could not protect the process against being read");
		return false;
	}
	return true;
}

static int
serve(int argc, char **argv)
{
	if (argc == 1)
		return pge_agent_serve();
	if (argc == 3 && strcmp(argv[1], "--config") == 0 && argv[2][0] == '/')
		return pge_agent_serve_config(argv[2]);
	fprintf(stderr, "pg_envelope_agent: usage: serve --config FILE, with an absolute path\n");
	return COMMAND_USAGE;
}

static int
show_version(int argc, char **argv)
{
	(void) argc;
	(void) argv;
	printf("pg_envelope_agent %s\n", PGE_VERSION);
	return COMMAND_OK;
}

static int
show_help(int argc, char **argv)
{
	(void) argc;
	(void) argv;
	printf("pg_envelope_agent: talks to key services for PostgreSQL's extension pg_envelope.\n\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		printf("  pg_envelope_agent %-12s %s\n", commands[i].name, commands[i].help);
	printf("\nExit status: 0 done, 1 failed, 2 wrong usage.\n");
	return COMMAND_OK;
}
