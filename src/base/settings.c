/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The pg_envelope.* settings, sorted by name.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/settings.h"

#define LINE_MAX_LEN		2000	/* well within a value of format/frame.h */
#define SOCKET_PATH_SIZE	sizeof(((struct sockaddr_un *) NULL)->sun_path)
#define WEEK_IN_SECONDS		(7 * 24 * 60 * 60)

int			pge_agent = PGE_AGENT_SPAWN;
char	   *pge_agent_socket = NULL;
char	   *pge_agent_user = NULL;
char	   *pge_allow_key_loss = NULL;
bool		pge_allow_materialized_views = false;
int			pge_cache_grace = 0;
int			pge_cache_idle = 0;
int			pge_cache_size = 1024;
int			pge_cache_ttl = 300;
int			pge_context_cache = 1024;
bool		pge_harden_backends = true;
char	   *pge_keyring_file = NULL;
char	   *pge_keyring_passphrase_command = NULL;
int			pge_kms_concurrency = 16;
char	   *pge_kms_config_file = NULL;
int			pge_kms_timeout = 10000;
bool		pge_require_key_id = false;
int			pge_secret_memory = PGE_SECRET_MEMORY_PREFER;

static uid_t external_uid = 0;	/* root's is nobody's: see below */

/*
 * Paths and commands travel to the agent, whose frames take lines of UTF-8
 * without control characters, those of C1 included.
 */
static bool
is_line(const char *text)
{
	size_t		len = strlen(text);

	for (const char *p = text; *p; p++)
	{
		const unsigned char *c = (const unsigned char *) p;

		if (c[0] < 0x20 || c[0] == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0))
			return false;
	}
	return len <= LINE_MAX_LEN && pg_verify_mbstr(PG_UTF8, text, (int) len, true);
}

static bool
check_line(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (*newval == NULL || is_line(*newval))
		return true;
	GUC_check_errdetail("It has to be valid UTF-8 without control characters, of at most %d bytes.",
						LINE_MAX_LEN);
	return false;
}

/* It is an address: a path that does not fit would be cut. */
static bool
check_socket(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL)
		return true;
	if (!check_line(newval, extra, source))
		return false;
	if (is_absolute_path(*newval) && strlen(*newval) < SOCKET_PATH_SIZE)
		return true;
	GUC_check_errdetail("It has to be an absolute path of at most %zu bytes.",
						SOCKET_PATH_SIZE - 1);
	return false;
}

/*
 * The leave to lose keys is for one session that asks for it: what stands in a
 * file, at a role or a database or in a connection's options is forgotten there.
 */
static bool
check_session_only(char **newval, void **extra, GucSource source)
{
	(void) extra;
	if (*newval == NULL || **newval == '\0' || source == PGC_S_SESSION)
		return true;
	GUC_check_errdetail("It is set by SET, in the session that needs it.");
	return false;
}

static const struct config_enum_entry agent_options[] = {
	{"spawn", PGE_AGENT_SPAWN, false},
	{"external", PGE_AGENT_EXTERNAL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry secret_memory_options[] = {
	{"prefer", PGE_SECRET_MEMORY_PREFER, false},
	{"require", PGE_SECRET_MEMORY_REQUIRE, false},
	{"fallback", PGE_SECRET_MEMORY_FALLBACK, false},
	{NULL, 0, false}
};

/*
 * A setting of the postmaster cannot be defined once the server runs, so a
 * library that was merely loaded (pg_upgrade, LOAD) leaves those out; it also
 * leaves the prefix unreserved, or their lines in postgresql.conf would draw
 * warnings.
 */
void
pge_settings_define(void)
{
	bool		preloading = process_shared_preload_libraries_in_progress;

	if (preloading)
	{
		DefineCustomEnumVariable("pg_envelope.agent",
								 "Whether the server starts its agent, or uses one that is a service of another user.",
								 NULL,
								 &pge_agent, PGE_AGENT_SPAWN,
								 agent_options,
								 PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomStringVariable("pg_envelope.agent_socket",
								   "Socket of an external agent.",
								   NULL,
								   &pge_agent_socket, "/run/pg_envelope/agent.sock",
								   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_socket, NULL, NULL);
		DefineCustomStringVariable("pg_envelope.agent_user",
								   "Operating-system user as whom an external agent has to run.",
								   NULL,
								   &pge_agent_user, "",
								   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_line, NULL, NULL);
	}
	DefineCustomStringVariable("pg_envelope.allow_key_loss",
							   "Lets this session lose data keys.",
							   "The uuid of the keyring that they belong to; empty: it may not.",
							   &pge_allow_key_loss, "",
							   PGC_SUSET, GUC_DISALLOW_IN_FILE, check_session_only, NULL, NULL);
	DefineCustomBoolVariable("pg_envelope.allow_materialized_views",
							 "Permits queries of materialized views to open values.",
							 "The view keeps them as plaintext.",
							 &pge_allow_materialized_views, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_envelope.cache_grace",
							"Seconds after pg_envelope.cache_ttl in which a cached data key serves while its key service is unavailable or throttles.",
							"A use of a key that was revoked meanwhile may go on for as long.",
							&pge_cache_grace, 0, 0, WEEK_IN_SECONDS,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_envelope.cache_idle",
							"Seconds after its last use when an unwrapped data key leaves the cache.",
							"0 keeps it until pg_envelope.cache_ttl.",
							&pge_cache_idle, 0, 0, WEEK_IN_SECONDS,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	if (preloading)
		DefineCustomIntVariable("pg_envelope.cache_size",
								"How many unwrapped data keys the server holds at most.",
								NULL,
								&pge_cache_size, 1024, 1, 1048576,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_envelope.cache_ttl",
							"Seconds after which an unwrapped data key leaves the cache.",
							"A use of a key that its service has revoked ends within this time.",
							&pge_cache_ttl, 300, 1, WEEK_IN_SECONDS,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_envelope.context_cache",
							"How many ready cipher contexts a session holds at most in a transaction.",
							NULL,
							&pge_context_cache, 1024, 1, 65536,
							PGC_SUSET, 0, NULL, NULL, NULL);
	if (preloading)
	{
		DefineCustomBoolVariable("pg_envelope.harden_backends",
								 "Forbids debuggers and core files in processes that have held a key.",
								 NULL,
								 &pge_harden_backends, true,
								 PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomStringVariable("pg_envelope.keyring_file",
								   "File of the local keyring.",
								   "Empty: \"keyring\" in a directory beside the data directory.",
								   &pge_keyring_file, "",
								   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_line, NULL, NULL);
	}
	DefineCustomStringVariable("pg_envelope.keyring_passphrase_command",
							   "Command that prints the passphrase of the local keyring.",
							   "Empty: the keyring file is plain.",
							   &pge_keyring_passphrase_command, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_line, NULL, NULL);
	DefineCustomIntVariable("pg_envelope.kms_concurrency",
							"How many calls to one key service may be under way.",
							NULL,
							&pge_kms_concurrency, 16, 1, 256,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("pg_envelope.kms_config_file",
							   "File that says which key services there are.",
							   "Empty: the local keyring only.",
							   &pge_kms_config_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_line, NULL, NULL);
	DefineCustomIntVariable("pg_envelope.kms_timeout",
							"How long a session waits for a key service.",
							NULL,
							&pge_kms_timeout, 10000, 100, 600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("pg_envelope.require_key_id",
							 "Refuses to open a value without naming its key.",
							 NULL,
							 &pge_require_key_id, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	if (preloading)
	{
		DefineCustomEnumVariable("pg_envelope.secret_memory",
								 "Whether memory that only the server can read holds the keys.",
								 NULL,
								 &pge_secret_memory, PGE_SECRET_MEMORY_PREFER,
								 secret_memory_options,
								 PGC_POSTMASTER, 0, NULL, NULL, NULL);
		MarkGUCPrefixReserved("pg_envelope");
	}
}

/*
 * Where the data directory is a mount of its own, what lies beside it is on
 * another file system and often goes away with a container.  (A bind mount can
 * be of the same device; kernels since 5.8 tell of it.)
 */
static bool
is_own_mount(const char *dir)
{
	char		parent[MAXPGPATH];
	struct statx mount;
	struct stat self;
	struct stat above;

	if (statx(AT_FDCWD, dir, 0, 0, &mount) == 0 &&
		(mount.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
		return true;
	snprintf(parent, sizeof(parent), "%s/..", dir);
	return stat(dir, &self) != 0 || stat(parent, &above) != 0 ||
		self.st_dev != above.st_dev;
}

/* Relative to the data directory, as the server's own settings are. */
static const char *
in_data_directory(const char *file, char path[MAXPGPATH])
{
	if (is_absolute_path(file))
		return file;
	if (snprintf(path, MAXPGPATH, "%s/%s", DataDir, file) >= MAXPGPATH)
		return NULL;
	return is_line(path) ? path : NULL;
}

const char *
pge_settings_keyring_file(void)
{
	static char path[MAXPGPATH];
	char		real[PATH_MAX];

	if (pge_keyring_file != NULL && pge_keyring_file[0] != '\0')
		return in_data_directory(pge_keyring_file, path);
	if (DataDir == NULL || realpath(DataDir, real) == NULL || is_own_mount(real))
		return NULL;
	if (snprintf(path, sizeof(path), "%s.pg_envelope/keyring", real) >= (int) sizeof(path))
		return NULL;
	return is_line(path) ? path : NULL;
}

const char *
pge_settings_kms_config_file(void)
{
	static char path[MAXPGPATH];

	if (pge_kms_config_file == NULL || pge_kms_config_file[0] == '\0')
		return "";
	return in_data_directory(pge_kms_config_file, path);
}

/* An agent that is root would have credentials that every program of the host could use. */
void
pge_settings_find_agent_user(void)
{
	struct passwd *user;

	/* who names him means the keyring to be out of the server's reach */
	if (pge_agent != PGE_AGENT_EXTERNAL && pge_agent_user[0] != '\0')
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"pg_envelope.agent_user\" is \"%s\", and \"pg_envelope.agent\" is \"spawn\"", pge_agent_user),
				 errdetail("An agent that the server starts runs as the server's own user, with the keys and credentials that this user can read."),
				 errhint("Add pg_envelope.agent = external to postgresql.conf, or take pg_envelope.agent_user out.")));
	if (pge_agent != PGE_AGENT_EXTERNAL)
		return;
	errno = 0;
	user = pge_agent_user[0] == '\0' ? NULL : getpwnam(pge_agent_user);
	if (user == NULL && errno != 0 && errno != ENOENT)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not look up operating-system user \"%s\" of the pg_envelope agent: %m", pge_agent_user)));
	if (user == NULL || user->pw_uid == 0)
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"pg_envelope.agent\" is \"external\" and \"pg_envelope.agent_user\" does not say who that is"),
				 user == NULL ? errdetail("There is no operating-system user \"%s\".", pge_agent_user) :
				 errdetail("The agent is no process of root's."),
				 errhint("Set it to the user as whom the service pg_envelope_agent runs.")));
	external_uid = user->pw_uid;
}

uid_t
pge_settings_agent_uid(void)
{
	return pge_agent == PGE_AGENT_EXTERNAL ? external_uid : geteuid();
}

char *
pge_settings_unused(void)
{
	static const char *const names[] = {
		"pg_envelope.keyring_file", "pg_envelope.keyring_passphrase_command", "pg_envelope.kms_config_file"
	};
	const char *const values[] = {
		pge_keyring_file, pge_keyring_passphrase_command, pge_kms_config_file
	};
	StringInfoData list;

	initStringInfo(&list);
	for (size_t i = 0; pge_agent == PGE_AGENT_EXTERNAL && i < lengthof(names); i++)
		if (values[i] != NULL && values[i][0] != '\0')
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", names[i]);
	return list.data;
}
