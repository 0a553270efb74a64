/*-------------------------------------------------------------------------
 *
 * keyring_memory_test.c
 *	  An administrator's commands on the keyring, each of whose allocations
 *	  fails in turn.
 *
 * A command may fail then, with its word; but the keyring must be as it was or
 * as it was to be, with every KEK that it held, and nothing may be left behind:
 * no memory, no file, no key in a block that was freed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <getopt.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failing_memory.h"

#include "agent/commands.h"
#include "agent/kms/keyring_store.h"
#include "agent/kms/kms.h"
#include "agent/kms/passphrase.h"
#include "check.h"
#include "crypto/kdf.h"
#include "crypto/selftest.h"

#define KEKS	2
#define K_MAX	20000
#define REPEATS		8

#define OLD		"echo old"
#define NEW		"echo new"

/* What an operation starts from and may leave. */
typedef struct Operation
{
	const char *name;
	bool		keyring;		/* there is one before */
	const char *command;		/* its passphrase command, "" if it is plain */
	const char *new_command;	/* that of what comes of it */
	bool		copy;			/* "copy" is there before, or comes */
	int			(*run) (void);	/* NULL: the command of these words */
	const char *words[8];
} Operation;

/* What a process of our own found. */
typedef struct Findings
{
	long		tried;
	long		felt;
	bool		done;			/* it came to its end without a failure */
	bool		whole;
	bool		tidy;
	bool		leaked;
	char		why[KMS_DETAIL_LEN];	/* if something around it did not work */
} Findings;

static char top[64];
static char directory[96];
static char file[128];
static char copy[128];
static uint8_t uuids[KEKS][PGE_UUID_LEN];
static PgeSecret keys[KEKS];
static Findings *findings;
static long next_failure;		/* counted from after the self-test */

extern PgeStatus __wrap_pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n,
								   unsigned r, unsigned p, PgeSecret *key);
extern PgeStatus __real_pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n,
								   unsigned r, unsigned p, PgeSecret *key);
extern PgeStatus __wrap_pge_passphrase_ask(const char *command, const atomic_bool *cancelled,
										   Passphrase *passphrase, char detail[KMS_DETAIL_LEN]);
extern PgeStatus __wrap_pge_crypto_selftest(const char **what);
extern PgeStatus __real_pge_crypto_selftest(const char **what);

/* The real costs would be paid once for every k, those of the disk too. */
int
fsync(int fd)
{
	return fd >= 0 ? 0 : -1;
}

PgeStatus
__wrap_pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n, unsigned r, unsigned p, PgeSecret *key)
{
	(void) log2_n;
	return __real_pge_scrypt(passphrase, salt, 4, r, p, key);
}

/* Nor need "echo" run each time: asking allocates nothing (the agent's test asks). */
PgeStatus
__wrap_pge_passphrase_ask(const char *command, const atomic_bool *cancelled,
						  Passphrase *passphrase, char detail[KMS_DETAIL_LEN])
{
	const char *says = strrchr(command, ' ') + 1;

	(void) cancelled;
	(void) detail;
	passphrase->len = strlen(says);
	memcpy(passphrase->bytes, says, passphrase->len);
	return PGE_OK;
}

/* Its own allocations fail in wipe_test.c. */
PgeStatus
__wrap_pge_crypto_selftest(const char **what)
{
	PgeStatus	status = __real_pge_crypto_selftest(what);

	memory_begin(next_failure);
	return status;
}

/* --- the keyring before and after ---------------------------------------- */

static PgeStatus
add_keks(Keyring *keyring, void *arg, char *detail)
{
	PgeStatus	status = PGE_OK;

	(void) arg;
	(void) detail;
	for (int i = 0; i < KEKS && status == PGE_OK; i++)
	{
		KeyringEntry entry = {.version = 1, .state = KEYRING_STATE_ENABLED, .key = keys[i]};

		memcpy(entry.uuid, uuids[i], PGE_UUID_LEN);
		status = pge_keyring_add(keyring, &entry);
		pge_secret_wipe(&entry, sizeof(entry));
	}
	return status;
}

static void
make_keyring(const char *path, const char *command)
{
	KeyringChange change = {KEYRING_MUST_NOT_EXIST, 0, add_keks, NULL, false};
	KeyringStore *store;
	Keyring		keyring;

	if (pge_keyring_store_new(path, command, &store, findings->why) != PGE_OK ||
		pge_keyring_store_change(store, &change, NULL, &keyring, NULL, findings->why) != PGE_OK)
		abort();
	findings->why[0] = '\0';
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(store);
}

static void
remove_all(void)
{
	char		lock[160];

	snprintf(lock, sizeof(lock), "%s.lock", file);
	unlink(lock);
	snprintf(lock, sizeof(lock), "%s.lock", copy);
	unlink(lock);
	unlink(file);
	unlink(copy);
}

static void
prepare(const Operation *operation)
{
	remove_all();
	rmdir(directory);
	if (operation->keyring || operation->copy)
		mkdir(directory, 0700);
	if (operation->keyring)
		make_keyring(file, operation->command);
	if (operation->copy)
		make_keyring(copy, operation->command);
}

static bool
there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* The number of our KEKs that this keyring holds; -1: it cannot be read. */
static int
keks_in(const char *path, const char *command)
{
	char		detail[KMS_DETAIL_LEN];
	KeyringStore *store;
	Keyring		keyring;
	int			count = -1;

	if (pge_keyring_store_new(path, command, &store, findings->why) != PGE_OK)
		abort();
	if (pge_keyring_store_load_copy(store, &keyring, detail) == PGE_OK)
	{
		count = 0;
		for (int i = 0; i < KEKS; i++)
		{
			const KeyringEntry *entry = pge_keyring_find(&keyring, uuids[i], 1);

			count += entry != NULL && memcmp(&entry->key, &keys[i], sizeof(keys[i])) == 0;
		}
	}
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(store);
	return count;
}

static bool
is_whole(const Operation *operation, bool ok)
{
	int			before = keks_in(file, operation->command);
	int			after = keks_in(file, operation->new_command);

	if (!operation->keyring)
		return !there(file) ? !ok : after == (operation->copy ? KEKS : 0);
	if (ok)
		return after == KEKS;
	return before == KEKS || after == KEKS;
}

/* A copy that a failed backup leaves would pass for one. */
static bool
is_tidy(const Operation *operation, bool ok)
{
	char		half[160];
	bool		wants_copy = operation->copy || (ok && operation->words[0] != NULL && strcmp(operation->words[0], "backup") == 0);

	snprintf(half, sizeof(half), "%s.new", file);
	if (there(half))
		return false;
	if (there(copy) && keks_in(copy, operation->command) != KEKS)
		return false;
	return there(copy) || !wants_copy;
}

/* --- operations ---------------------------------------------------------- */

static int
run_words(const char *const *words)
{
	char	   *argv[16] = {"keyring", "--keyring", file};
	int			argc = 3;

	for (; *words != NULL; words++)
		argv[argc++] = (char *) *words;
	optind = 0;					/* getopt starts anew */
	return pge_command_keyring(argc, argv);
}

/* As the agent does when it gets its settings, and then others. */
static int
open_and_reload(void)
{
	const KmsProvider *provider = pge_kms_provider_named("local");
	KmsSettings config = {.keyring_file = file, .keyring_passphrase_command = OLD};
	KmsSettings other = {.keyring_file = file, .keyring_passphrase_command = " " OLD};
	KmsSession *session;
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status;

	memory_begin(next_failure);
	status = provider->open(&config, &session, detail);
	if (status == PGE_OK)
		status = provider->reload(session, &other);
	if (session != NULL)
		provider->close(session);
	return status == PGE_OK ? COMMAND_OK : COMMAND_FAILED;
}

/* Returns how many requests for memory there were. */
static long
run_once(const Operation *operation, long k)
{
	long		requests;
	bool		ok;

	prepare(operation);
	next_failure = k;
	ok = (operation->run != NULL ? operation->run() : run_words(operation->words)) == COMMAND_OK;
	fflush(stdout);
	clearerr(stdout);
	requests = memory_end();
	findings->felt += k > 0 && !ok;
	findings->done = ok;
	findings->whole = findings->whole && is_whole(operation, ok);
	findings->tidy = findings->tidy && is_tidy(operation, ok);
	return requests;
}

/* OpenSSL may keep something when it comes further than before, but not for ever. */
static bool
loses_memory(const Operation *operation, long k)
{
	long		blocks = memory_blocks();

	for (int i = 0; i < REPEATS; i++)
	{
		long		before = blocks;

		run_once(operation, k);
		blocks = memory_blocks();
		if (blocks <= before)
			return false;
	}
	return true;
}

static void
run_each(const Operation *operation)
{
	int			null = open("/dev/null", O_WRONLY);

	if (dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
		_exit(99);
	memory_is_counted = true;
	findings->whole = findings->tidy = true;
	run_once(operation, 0);
	for (long k = 1; k < K_MAX; k++)
	{
		findings->tried = k;
		if (run_once(operation, k) < k)
			break;
		findings->leaked = loses_memory(operation, k);
		if (!findings->whole || !findings->tidy || findings->leaked)
			break;
	}
	remove_all();
	rmdir(directory);
	exit(0);
}

static void
fail_each_allocation(const Operation *operation)
{
	int			status;
	pid_t		pid;

	memset(findings, 0, sizeof(*findings));
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		run_each(operation);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	check(status == 0, "%s: never crashes (up to allocation %ld; wait status %x) %s", operation->name, findings->tried,
		  (unsigned) status, findings->why);
	check(findings->whole, "%s: the keyring is whole", operation->name);
	check(findings->tidy, "%s: nothing half done is left", operation->name);
	check(!findings->leaked, "%s: no memory is lost", operation->name);
	check(findings->done && findings->felt > 0, "%s: %ld allocations failed in turn, %ld times it was felt; then it is done",
		  operation->name, findings->tried - 1, findings->felt);
}

static const Operation operations[] = {
	{"create", false, "", "", false, NULL, {"create"}},
	{"create, under a passphrase", false, OLD, OLD, false, NULL, {"create", "--passphrase-command", OLD}},
	{"list", true, "", "", false, NULL, {"list"}},
	{"check", true, "", "", false, NULL, {"check"}},
	{"check, under a passphrase", true, OLD, OLD, false, NULL, {"check", "--passphrase-command", OLD}},
	{"backup", true, "", "", false, NULL, {"backup", copy}},
	{"restore, nothing there", false, "", "", true, NULL, {"restore", copy}},
	{"restore", true, "", "", true, NULL, {"restore", copy}},
	{"restore, under a passphrase", true, OLD, OLD, true, NULL, {"restore", copy, "--passphrase-command", OLD}},
	{"passwd", true, "", NEW, false, NULL, {"passwd", "--new-passphrase-command", NEW}},
	{"passwd, another", true, OLD, NEW, false, NULL, {"passwd", "--passphrase-command", OLD, "--new-passphrase-command", NEW}},
	{"the agent's session opened and reloaded", true, OLD, OLD, false, open_and_reload, {NULL}},
};

int
main(void)
{
	const char *place = getenv("TMPDIR");
	const char *broken;

	memory_init();
	findings = mmap(NULL, sizeof(*findings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(top, sizeof(top), "%s/pge.XXXXXX", place != NULL && strlen(place) < 48 ? place : "/tmp");
	if (findings == MAP_FAILED || mkdtemp(top) == NULL || __real_pge_crypto_selftest(&broken) != PGE_OK)
		abort();
	snprintf(directory, sizeof(directory), "%s/d", top);
	snprintf(file, sizeof(file), "%s/keyring", directory);
	snprintf(copy, sizeof(copy), "%s/copy", directory);
	for (int i = 0; i < KEKS; i++)
	{
		memset(uuids[i], 0x10 + i, PGE_UUID_LEN);
		for (int b = 0; b < PGE_DEK_LEN; b++)
			keys[i].bytes[b] = (uint8_t) (i * 32 + b * 7 + 1);
		memory_mark_key(keys[i].bytes);
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		fail_each_allocation(&operations[i]);
	check(atomic_load(&memory_ledger->freed_keys) == 0, "no key was in a block that was freed");
	check(rmdir(top) == 0, "nothing is left");
	return check_done();
}
