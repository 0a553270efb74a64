/*
 * fault_server.h -- starts a service that answers wrongly (test/tools/fault_*.py).
 *
 * What a program here includes it for: make_directory -> start_server -> port_of,
 * logged ... -> stop_server.  One server a program; TOOLS is given by its .mk.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef FAULT_SERVER_H
#define FAULT_SERVER_H

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORTS_MAX	32

static char directory[64];
static pid_t server = -1;
static int	server_input = -1;
static struct
{
	char		name[32];
	int			port;
}			ports[PORTS_MAX];
static int	nports;

static void
make_directory(const char *pattern)
{
	(void) snprintf(directory, sizeof(directory), "%s", pattern);
	if (mkdtemp(directory) == NULL)
		abort();
}

/*
 * "program" in the directory.  Each line that it says before "ready" is for "take" (may be
 * NULL); what that does not want says a listener and its port.
 */
static bool
start_server(const char *program, bool (*take) (const char *line))
{
	int			input[2];
	int			output[2];
	char		path[256];
	char		line[256];
	FILE	   *said;

	if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
		return false;
	(void) snprintf(path, sizeof(path), "%s/%s", TOOLS, program);
	server = fork();
	if (server == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(input[0], STDIN_FILENO);
		dup2(output[1], STDOUT_FILENO);
		execlp("python3", "python3", path, directory, (char *) NULL);
		_exit(127);
	}
	close(input[0]);
	close(output[1]);
	server_input = input[1];
	said = fdopen(output[0], "r");
	while (said != NULL && fgets(line, sizeof(line), said) != NULL && strcmp(line, "ready\n") != 0)
		if ((take == NULL || !take(line)) && nports < PORTS_MAX &&
			sscanf(line, "%31s %d", ports[nports].name, &ports[nports].port) == 2)
			nports++;
	if (said != NULL)
		fclose(said);
	return nports > 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void) st;
	(void) type;
	(void) ftw;
	return remove(path);
}

static void
stop_server(void)
{
	close(server_input);
	if (server > 0)
		(void) waitpid(server, NULL, 0);
	(void) nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* 0: there is no such listener. */
static int
find_port(const char *listener)
{
	for (int i = 0; i < nports; i++)
		if (strcmp(ports[i].name, listener) == 0)
			return ports[i].port;
	return 0;
}

/* How many lines of the service's log begin so. */
static int
__attribute__((format(printf, 1, 2)))
logged(const char *format,...)
{
	char		path[96];
	char		wanted[256];
	char		line[512];
	va_list		args;
	int			count = 0;
	FILE	   *log;

	va_start(args, format);
	(void) vsnprintf(wanted, sizeof(wanted), format, args);
	va_end(args);
	(void) snprintf(path, sizeof(path), "%s/log", directory);
	log = fopen(path, "re");
	if (log == NULL)
		abort();
	while (fgets(line, sizeof(line), log) != NULL)
		if (strncmp(line, wanted, strlen(wanted)) == 0)
			count++;
	fclose(log);
	return count;
}

#endif							/* FAULT_SERVER_H */
