/*-------------------------------------------------------------------------
 *
 * keeper.c
 *	  The background worker: owns the agent's socket, keeps an agent behind it, unless
 *	  the agent is a service of its own.
 *
 * It never ends with 0, which would mean "never start again"; any error ends it
 * with 1, takes the agent along, and the postmaster starts the next a second
 * later.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "base/crash_point.h"
#include "base/harden.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/secret_region.h"
#include "crypto/random.h"
#include "keeper/keeper.h"
#include "keeper/keeper_private.h"

#define BACKLOG		512

/*
 * The agent's program as it was when the server started: an upgrade of the
 * package under a running server must not mix versions.
 */
static int	agent_exe_fd = -1;

static void
open_agent_program(void)
{
	char		path[MAXPGPATH];
	struct stat st;

	strlcpy(path, my_exec_path, sizeof(path));
	get_parent_directory(path);
	join_path_components(path, path, "pg_envelope_agent");
	agent_exe_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (agent_exe_fd >= 0 && fstat(agent_exe_fd, &st) == 0 &&
		S_ISREG(st.st_mode) && faccessat(agent_exe_fd, "", X_OK, AT_EMPTY_PATH) == 0)
		return;
	if (agent_exe_fd >= 0)
		close(agent_exe_fd);
	agent_exe_fd = -1;
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("pg_envelope found no program \"%s\" that it can run", path),
			 errdetail("No key can be made or unwrapped while it is missing."),
			 errhint("Install the whole package and restart the server.")));
}

void
pge_keeper_register(void)
{
	BackgroundWorker worker;

	if (pge_agent == PGE_AGENT_SPAWN)
		open_agent_program();
	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_envelope keeper");
	snprintf(worker.bgw_type, BGW_MAXLEN, "pg_envelope keeper");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "pg_envelope");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "pge_keeper_main");
	RegisterBackgroundWorker(&worker);
}

/* Both ends of the socket prove that they know it. */
static void
draw_socket_secret(void)
{
	if (pge_random_bytes(pge_secret_region_socket_secret(), PGE_SOCKET_SECRET_LEN) != PGE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not draw the secret of the pg_envelope socket")));
}

/*
 * A socket file that is there belonged to a server that is gone: the lock file
 * of the data directory says that we are alone.
 */
static int
listen_on_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = PGE_SOCKET_PATH};
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t		mask;
	int			rc;

	if (unlink(PGE_SOCKET_PATH) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", PGE_SOCKET_PATH)));
	mask = umask(0177);
	rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *) &address, sizeof(address));
	umask(mask);
	if (rc != 0 || listen(fd, BACKLOG) != 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not listen on socket \"%s\": %m", PGE_SOCKET_PATH)));
	return fd;
}

static void
leave(int code, Datum arg)
{
	(void) code;
	(void) arg;
	pge_watch_stop();
	(void) unlink(PGE_SOCKET_PATH);

	/*
	 * last, for the backends that hand in their counts while they stop beside
	 * us
	 */
	pge_uses_save();
	pg_atomic_write_u32(&pge_control()->keeper_pid, 0);
}

static void
wait_for_something(void)
{
	int			events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	pgsocket	fd = pge_watch_fd();

	if (fd != PGINVALID_SOCKET)
		events |= WL_SOCKET_READABLE;
	if (pge_watch_wants_write())
		events |= WL_SOCKET_WRITEABLE;
	(void) WaitLatchOrSocket(MyLatch, events, fd, pge_watch_wait_ms(),
							 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* Said at each start: what lies there goes wherever the data go. */
static void
warn_of_keyring_inside(void)
{
	const char *file = pge_settings_keyring_file();
	char		path[MAXPGPATH];

	if (file == NULL)
		return;
	strlcpy(path, file, sizeof(path));
	canonicalize_path(path);
	if (path_is_prefix_of_path(DataDir, path))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("pg_envelope.keyring_file lies inside the data directory"),
				 errdetail("Every base backup would hold the keys beside the data that they protect."),
				 errhint("Move the keyring to a directory outside, and set pg_envelope.keyring_file to it.")));
}

/* The default of keyring_file is none that anyone has set. */
static void
warn_of_unused(void)
{
	static char told[256];
	char	   *unused = pge_settings_unused();

	if (strcmp(unused, told) != 0 && unused[0] != '\0')
		ereport(WARNING,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("settings are not used, because the pg_envelope agent is external: %s", unused),
				 errdetail("It has them in the section [agent] of its own configuration, which also names the key services."),
				 errhint("Take them out of the server's configuration.")));
	strlcpy(told, unused, sizeof(told));
	pfree(unused);
}

static void
start_agents(void)
{
	pg_atomic_write_u32(&pge_control()->agent_missing, agent_exe_fd < 0);
	warn_of_keyring_inside();
	draw_socket_secret();
	pge_watch_init(agent_exe_fd, listen_on_socket());
	PGE_CRASH_POINT("keeper.listening");
}

void
pge_keeper_main(Datum arg)
{
	MemoryContext turn;

	(void) arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	pge_harden_keeper();
	before_shmem_exit(leave, (Datum) 0);
	pg_atomic_write_u32(&pge_control()->keeper_pid, (uint32) MyProcPid);
	PGE_CRASH_POINT("keeper.started");
	pge_uses_load();
	if (pge_agent == PGE_AGENT_SPAWN)
		start_agents();
	else
		(void) unlink(PGE_SOCKET_PATH); /* of a server that was killed */
	warn_of_unused();

	turn = AllocSetContextCreate(TopMemoryContext, "pg_envelope keeper",
								 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn);
	while (!ShutdownRequestPending)
	{
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			pge_watch_reload();
			warn_of_unused();
		}
		pge_watch_turn();
		pge_replay_turn();
		(void) pge_dek_cache_expire();
		PGE_CRASH_POINT("keeper.expired");
		pge_uses_turn();
		MemoryContextReset(turn);
		wait_for_something();
	}
	proc_exit(1);
}
