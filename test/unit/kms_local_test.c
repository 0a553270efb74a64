/*-------------------------------------------------------------------------
 *
 * kms_local_test.c
 *	  The embedded key service, through the contract of kms.h.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/kms/keyring_store.h"
#include "agent/kms/kms.h"
#include "agent/kms/kms_detail.h"
#include "check.h"
#include "freed_keys.h"

#define THREADS		8
#define ROUNDS		20

static char top[64];			/* everything below it is removed at the end */
static char file[128];
static const PgeSecret dek = {"bytes that make up all of a DEK"};
static KmsSession *session;
static char opening[KMS_DETAIL_LEN];

static const KmsProvider *
provider(void)
{
	return pge_kms_provider_named("local");
}

static void
run_shell(const char *format, const char *a, const char *b)
{
	char		command[512];
	pid_t		pid;
	int			status;

	snprintf(command, sizeof(command), format, a, b);
	pid = fork();
	if (pid == 0)
	{
		execl("/bin/sh", "sh", "-c", command, (char *) NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		abort();
}

static void
open_session(const char *command)
{
	KmsSettings config = {.keyring_file = file, .keyring_passphrase_command = command};

	if (session != NULL)
		provider()->close(session);
	session = NULL;
	check_status(provider()->open(&config, &session, opening), PGE_OK, "the session opens");
}

static PgeStatus
perform(const KmsCall *call, KmsResult *result)
{
	provider()->perform(session, call, result);
	return result->status;
}

static PgeStatus
create(KmsResult *result)
{
	KmsCall		call = {.operation = KMS_CREATE};

	return perform(&call, result);
}

static PgeStatus
rotate(const char *uri, KmsResult *result)
{
	KmsCall		call = {.operation = KMS_ROTATE, .uri = text_bytes(uri)};

	return perform(&call, result);
}

static PgeStatus
wrap(const char *uri, const char *binding, KmsResult *result)
{
	KmsCall		call = {.operation = KMS_WRAP, .uri = text_bytes(uri), .binding = text_bytes(binding), .dek = &dek};

	return perform(&call, result);
}

static PgeStatus
unwrap(const char *uri, const char *binding, PgeBytes wrapped, KmsResult *result)
{
	KmsCall		call = {.operation = KMS_UNWRAP, .uri = text_bytes(uri), .binding = text_bytes(binding), .wrapped = wrapped};

	return perform(&call, result);
}

static PgeStatus
describe(const char *uri, KmsResult *result)
{
	KmsCall		call = {.operation = KMS_DESCRIBE, .uri = text_bytes(uri)};

	return perform(&call, result);
}

static PgeStatus
destroy(const char *uri, bool immediate, KmsResult *result)
{
	KmsCall		call = {.operation = KMS_DESTROY, .uri = text_bytes(uri), .immediate = immediate};

	return perform(&call, result);
}

static PgeStatus
restore(const char *uri, KmsResult *result)
{
	KmsCall		call = {.operation = KMS_RESTORE, .uri = text_bytes(uri)};

	return perform(&call, result);
}

static bool
is_dek(const KmsResult *result)
{
	return memcmp(result->dek.bytes, dek.bytes, PGE_DEK_LEN) == 0;
}

static PgeBytes
wrapped_of(const KmsResult *result)
{
	return pge_bytes(result->wrapped, result->wrapped_len);
}

static double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) (now.tv_sec - start->tv_sec) + (double) (now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Of the processor's time, which no disk and no other process takes from us. */
static double
seconds_worked(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void
check_registry(void)
{
	static const char uri[] = "local:12345678-9abc-4def-8123-456789abcdef";
	char		detail[KMS_DETAIL_LEN] = "";
	char		written[PGE_KEK_URI_MAX + 1];
	KeyUri		key;

	check(provider() != NULL && pge_kms_providers()[0] == provider(), "the local keyring is the first of the list");
	check(pge_kms_provider_named("locale") == NULL && pge_kms_provider_named("") == NULL, "a name is a whole one");
	check_status(provider()->parse_uri(text_bytes(uri), &key, detail), PGE_OK, "its URIs are local: and a UUID");
	check(strcmp(key.scheme, "local") == 0 && strcmp(key.path, uri + 6) == 0 && key.server[0] == '\0' && key.instance[0] == '\0', "in parts");
	check_status(provider()->format_uri(&key, "elsewhere", written), PGE_OK, "and together again");
	check(strcmp(written, uri) == 0, "the same");
	check_status(provider()->parse_uri(text_bytes("local:x"), &key, detail), PGE_INVALID, "anything else behind local: is wrong");
	check(strstr(detail, "UUID in lower case") != NULL, "and the detail says what is right");
	check_status(provider()->parse_uri(text_bytes("local:12345678-9ABC-4def-8123-456789abcdef"), &key, detail), PGE_INVALID, "one spelling only");
	check_status(provider()->parse_uri(text_bytes("local"), &key, detail), PGE_KEK_NOT_FOUND, "a scheme needs its colon");
	check_status(provider()->parse_uri(text_bytes("locale:x"), &key, detail), PGE_KEK_NOT_FOUND, "and its whole name");
	check_status(provider()->parse_uri(text_bytes(""), &key, detail), PGE_KEK_NOT_FOUND, "nothing is no URI");
}

/* The first KEK's key, as it stands in the file. */
static void
watch_kek(void)
{
	int			fd = open(file, O_RDONLY);
	uint8_t		key[MARKED_LEN];

	check(fd >= 0 && pread(fd, key, sizeof(key), KEYRING_HEADER_LEN + 29) == sizeof(key), "the KEK can be watched");
	mark_key(key);
	close(fd);
}

static void
check_create(char *uri)
{
	KmsResult	made;
	KmsResult	found;
	struct stat st;

	check_status(create(&made), PGE_OK, "a KEK is made, and the file and its directory for it");
	check(strncmp(made.uri, "local:", 6) == 0 && strlen(made.uri) == 42, "its URI is local:<uuid>");
	check(made.uri[20] == '4', "a random uuid (RFC 4122, version 4)");
	check(strcmp(made.kek_version, "1") == 0, "its version is 1");
	check(strstr(made.detail, file) != NULL, "the detail says where the file is");
	check(strstr(made.detail, "pg_envelope_agent keyring backup") != NULL, "and how to back it up");
	check(strstr(made.detail, "plain") != NULL, "and that it is plain");
	check(strstr(made.detail, "could not be opened") == NULL, "and nothing of the directory that was missing");
	check(stat(file, &st) == 0 && (st.st_mode & 07777) == 0600, "the file is for its owner alone");
	snprintf(uri, KEYRING_URI_LEN + 1, "%s", made.uri);
	check_status(describe(uri, &found), PGE_OK, "it is described");
	check(strcmp(found.kek_version, "1") == 0 && strcmp(found.uri, uri) == 0, "with URI and version");
	{
		KmsCall		call = {.operation = KMS_CREATE, .uri = text_bytes(uri)};

		check_status(perform(&call, &found), PGE_OK, "making a KEK that is there takes it up");
		check(strcmp(found.kek_version, "1") == 0, "as it is");
	}
}

static void
check_wrapping(const char *uri)
{
	KmsResult	one;
	KmsResult	two;
	KmsResult	three;
	KmsResult	result;
	KmsResult	other;

	check_status(wrap(uri, "row 1", &one), PGE_OK, "a DEK is wrapped");
	check(one.wrapped_len == 3 + 4 + 12 + 12 + 32 + 16 && memcmp(one.wrapped, "\1\1\0\0\0\0\1", 7) == 0,
		  "as 01, form 1, half 0, version 1 of the KEK, XAES body");
	check(strcmp(one.kek_version, "1") == 0, "and the version is told");
	check_status(rotate(uri, &result), PGE_OK, "the KEK is rotated");
	check(strcmp(result.kek_version, "2") == 0, "to version 2");
	check_status(wrap(uri, "row 1", &two), PGE_OK, "a DEK is wrapped again");
	check(two.wrapped[6] == 2 && strcmp(two.kek_version, "2") == 0, "under version 2, the newest");
	check_status(rotate(uri, &result), PGE_OK, "and once more");
	check_status(wrap(uri, "row 1", &three), PGE_OK, "under version 3");
	check(memcmp(three.wrapped, "\1\1\0\0\0\0\3", 7) == 0, "which it records");

	open_session(NULL);			/* from the file, not from memory */
	check_status(unwrap(uri, "row 1", wrapped_of(&one), &result), PGE_OK, "version 1 unwraps");
	check(is_dek(&result), "to the DEK");
	check_status(unwrap(uri, "row 1", wrapped_of(&two), &result), PGE_OK, "version 2 unwraps");
	check(is_dek(&result), "to the DEK");
	check_status(unwrap(uri, "row 1", wrapped_of(&three), &result), PGE_OK, "version 3 unwraps");
	check(is_dek(&result), "to the DEK");

	check_status(unwrap(uri, "row 2", wrapped_of(&one), &result), PGE_WRAPPING_DAMAGED, "another row's binding does not unwrap it");
	check(all_zero(result.dek.bytes, PGE_DEK_LEN), "and no key comes out");
	check_status(unwrap(uri, "row 1", pge_bytes(one.wrapped, one.wrapped_len - 1), &result), PGE_WRAPPING_DAMAGED, "a byte less is damage");
	check_status(create(&other), PGE_OK, "another KEK");
	check_status(unwrap(other.uri, "row 1", wrapped_of(&one), &result), PGE_WRAPPING_DAMAGED, "does not unwrap it");
	for (size_t i = 0; i < one.wrapped_len; i++)
		for (int bit = 0; bit < 8; bit++)
		{
			bool		version = i >= 3 && i < 7;

			one.wrapped[i] ^= (uint8_t) (1 << bit);
			unwrap(uri, "row 1", wrapped_of(&one), &result);
			check(result.status == PGE_WRAPPING_DAMAGED || (version && result.status == PGE_KEK_NOT_FOUND),
				  "byte %zu bit %d flipped does not unwrap", i, bit);
			if (!all_zero(result.dek.bytes, PGE_DEK_LEN))
				check(false, "a key came out");
			one.wrapped[i] ^= (uint8_t) (1 << bit);
		}
	check_status(wrap(uri, "", &result), PGE_INVALID, "nothing is wrapped without a binding");
	check_status(wrap("local:nonsense", "row 1", &result), PGE_INVALID, "nor under nonsense");
	check(result.detail[0] != '\0', "and it says why");
}

/* The administrator changes the file while the agent runs. */
static void
check_file_changes(const char *uri)
{
	KmsResult	old;
	KmsResult	new;
	KmsResult	result;

	check_status(wrap(uri, "row 1", &old), PGE_OK, "a DEK is wrapped");
	run_shell("cp -p %s %s/older", file, top);
	check_status(create(&new), PGE_OK, "a KEK is made after a copy was taken");
	check(new.detail[0] != '\0', "with its sentence");
	run_shell("cp -p %s %s/newer", file, top);
	check_status(describe(new.uri, &result), PGE_OK, "it is there");
	run_shell("cp -p %2$s/older %1$s.tmp && mv %1$s.tmp %1$s", file, top);
	check_status(describe(new.uri, &result), PGE_KEK_NOT_FOUND, "with the older copy in place it is gone");
	check(strstr(result.detail, new.uri) != NULL, "the detail names it");
	check(strstr(result.detail, "older copy") != NULL, "and says that an older copy was put there");
	check(result.alarm, "which is for the log");
	check_status(describe(uri, &result), PGE_OK, "another KEK is described");
	check(!result.alarm, "and the log has heard it");
	check_status(rotate(new.uri, &result), PGE_KEK_NOT_FOUND, "nor is it rotated");
	check(strstr(result.detail, new.uri) != NULL, "and it is named");
	run_shell("cp -p %2$s/newer %1$s.tmp && mv %1$s.tmp %1$s", file, top);
	check_status(describe(new.uri, &result), PGE_OK, "it is read again before a KEK is said to be missing");

	run_shell("mv %s %s/away", file, top);
	check_status(unwrap(uri, "row 1", wrapped_of(&old), &result), PGE_OK, "without its file it goes on unwrapping");
	check(is_dek(&result) && strstr(result.detail, "does not exist") != NULL, "and says what is wrong");
	check_status(wrap(uri, "row 1", &result), PGE_UNAVAILABLE, "but wraps nothing under a KEK that may be lost");
	check(result.wrapped_len == 0, "at all");
	check_status(rotate(uri, &result), PGE_UNAVAILABLE, "nor rotates it into a new file");
	check_status(create(&result), PGE_UNAVAILABLE, "nor makes a new keyring in which the KEKs in memory were missing");
	check(strstr(result.detail, "does not exist") != NULL && strstr(result.detail, "backup") != NULL, "but says what to put back");
	check_status(unwrap(uri, "row 1", wrapped_of(&old), &result), PGE_OK, "so that it still unwraps with those");
	check(access(file, F_OK) != 0, "nothing was made in its place");
	run_shell("head -c 100 %2$s/away > %1$s; chmod 600 %1$s", file, top);
	check_status(unwrap(uri, "row 1", wrapped_of(&old), &result), PGE_OK, "nor does a damaged file stop unwrapping");
	check_status(wrap(uri, "row 1", &result), PGE_UNAVAILABLE, "only wrapping");
	check_status(create(&result), PGE_UNAVAILABLE, "and no KEK is put into it");
	run_shell("mv %2$s/away %1$s", file, top);
	check_status(wrap(uri, "row 1", &result), PGE_OK, "once it is back it wraps");
	check(result.detail[0] == '\0', "and has nothing to say");
	check_status(unwrap("local:11111111-1111-4111-8111-111111111111", "row 1", wrapped_of(&old), &result), PGE_KEK_NOT_FOUND, "a KEK that never was is not found");
	check(strstr(result.detail, "local:11111111-1111-4111-8111-111111111111") != NULL, "by its name");
}

static void
check_lock(void)
{
	char		lock_path[160];
	KmsResult	result;
	struct timespec start;
	int			fd;

	snprintf(lock_path, sizeof(lock_path), "%s.lock", file);
	fd = open(lock_path, O_RDWR);
	check(fd >= 0 && flock(fd, LOCK_EX) == 0, "somebody holds the lock");
	clock_gettime(CLOCK_MONOTONIC, &start);
	check_status(create(&result), PGE_BUSY, "then no KEK is made");
	check(seconds_since(&start) >= 1.9 && seconds_since(&start) < 30, "after two seconds of patience");
	check(strstr(result.detail, "Another program") != NULL, "and the detail says so");
	close(fd);
	check_status(create(&result), PGE_OK, "with the lock free it is");
}

static void *
work(void *arg)
{
	const char *uri = arg;
	KmsResult	wrapped;
	KmsResult	result;
	intptr_t	wrong = 0;

	for (int i = 0; i < ROUNDS; i++)
	{
		if (i % 5 == 0 && rotate(uri, &result) != PGE_OK)
			wrong++;
		if (wrap(uri, "row 1", &wrapped) != PGE_OK ||
			unwrap(uri, "row 1", wrapped_of(&wrapped), &result) != PGE_OK || !is_dek(&result))
			wrong++;
	}
	return (void *) wrong;
}

static void
check_threads(void)
{
	pthread_t	threads[THREADS];
	KmsResult	made;
	KmsResult	result;
	intptr_t	wrong = 0;
	char		expected[16];

	check_status(create(&made), PGE_OK, "a KEK for threads");
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, made.uri) != 0)
			abort();
	for (int i = 0; i < THREADS; i++)
	{
		void	   *got;

		pthread_join(threads[i], &got);
		wrong += (intptr_t) got;
	}
	check(wrong == 0, "%d threads wrap, unwrap and rotate on one session", THREADS);
	snprintf(expected, sizeof(expected), "%d", 1 + THREADS * ROUNDS / 5);
	check_status(describe(made.uri, &result), PGE_OK, "and then");
	check(strcmp(result.kek_version, expected) == 0, "no rotation was lost: version %s", result.kek_version);
}

static void *
cancel_soon(void *arg)
{
	const struct timespec soon = {0, 100 * 1000000L};

	nanosleep(&soon, NULL);
	atomic_store((atomic_bool *) arg, true);
	return NULL;
}

static void *
let_go_soon(void *arg)
{
	const struct timespec soon = {0, 100 * 1000000L};

	(void) arg;
	nanosleep(&soon, NULL);
	run_shell("echo 0 > %s.delay_ms%s", file, "");
	return NULL;
}

static void
check_delay(const char *uri)
{
	atomic_bool cancelled = false;
	KmsCall		call = {.operation = KMS_DESCRIBE, .uri = text_bytes(uri), .cancelled = &cancelled};
	KmsResult	result;
	struct timespec start;
	pthread_t	thread;

	run_shell("echo 200 > %s.delay_ms%s", file, "");
	clock_gettime(CLOCK_MONOTONIC, &start);
	check_status(perform(&call, &result), PGE_OK, "a test build can be slow");
	check(seconds_since(&start) >= 0.19, "as told");
	run_shell("echo 60000 > %s.delay_ms%s", file, "");
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (pthread_create(&thread, NULL, cancel_soon, &cancelled) != 0)
		abort();
	check_status(perform(&call, &result), PGE_UNAVAILABLE, "and a call that nobody waits for ends");
	check(seconds_since(&start) < 30, "at once");
	pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &start);
	atomic_store(&cancelled, false);
	if (pthread_create(&thread, NULL, let_go_soon, NULL) != 0)
		abort();
	check_status(perform(&call, &result), PGE_OK, "one that is let go goes on");
	check(seconds_since(&start) < 30, "at once");
	pthread_join(thread, NULL);
	run_shell("rm %s.delay_ms%s", file, "");
}

/* An empty keyring, under that command's passphrase, where the session's file was. */
static void
protect_anew(const char *command)
{
	KeyringChange change = {KEYRING_MUST_NOT_EXIST, 0, NULL, NULL, false};
	char		detail[KMS_DETAIL_LEN];
	KeyringStore *store;
	Keyring		keyring;

	check_status(pge_keyring_store_new(file, command, &store, detail), PGE_OK, "a store");
	check_status(pge_keyring_store_change(store, &change, NULL, &keyring, NULL, detail), PGE_OK, "makes another file");
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(store);
}

static void
check_passphrase(void)
{
	KmsSettings config = {.keyring_file = file, .keyring_passphrase_command = "echo open sesame"};
	KmsSettings wrong = {.keyring_file = file, .keyring_passphrase_command = "echo open sesamE"};
	KmsSettings none = {.keyring_file = file, .keyring_passphrase_command = ""};
	KmsSettings elsewhere = {.keyring_file = "/elsewhere", .keyring_passphrase_command = NULL};
	KmsResult	made;
	KmsResult	wrapped;
	KmsResult	result;
	double		before;
	double		first;

	snprintf(file, sizeof(file), "%s/sealed/keyring", top);
	open_session("echo open sesame");
	check_status(create(&made), PGE_OK, "with a command a new keyring is under its passphrase");
	check(strstr(made.detail, "under a passphrase") != NULL, "as the detail says");
	check_status(wrap(made.uri, "row 1", &wrapped), PGE_OK, "and wraps");

	open_session("echo open sesame");
	before = seconds_worked();
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_OK, "another session unwraps");
	first = seconds_worked() - before;
	before = seconds_worked();
	check_status(rotate(made.uri, &result), PGE_OK, "and changes the file");
	check(seconds_worked() - before < first / 2, "without paying for the passphrase again");

	open_session("echo open sesamE");
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_UNAUTHENTICATED, "another passphrase opens nothing");
	check(strstr(result.detail, "sesam") == NULL && strstr(result.detail, "passphrase") != NULL, "and is not shown");
	check_status(provider()->reload(session, &config), PGE_OK, "the right command is configured");
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_OK, "and it unwraps");
	check_status(provider()->reload(session, &wrong), PGE_UNAUTHENTICATED, "one that does not open the file is not taken");
	check_status(provider()->reload(session, &none), PGE_UNAUTHENTICATED, "nor is none at all");
	run_shell("mv %1$s %2$s/before", file, top);
	protect_anew("echo open sesame");
	check_status(create(&result), PGE_OK, "and the one before it stays");
	run_shell("mv %2$s/before %1$s", file, top);
	check_status(provider()->reload(session, &elsewhere), PGE_INVALID, "another file is not taken without a restart");
	open_session(NULL);
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_UNAUTHENTICATED, "without a command it stays shut");
	check_status(create(&result), PGE_UNAUTHENTICATED, "and is not replaced");
}

/*
 * What saves the data must not wait for a command that is broken: the file is
 * under a new passphrase, the command is still the old one.
 */
static void
check_stale_command(void)
{
	char		command[192];
	char		counted[160];
	KmsSettings config = {.keyring_file = file, .keyring_passphrase_command = "echo new"};
	KmsResult	made;
	KmsResult	wrapped;
	KmsResult	result;
	struct stat runs;
	int			opened = 0;

	snprintf(file, sizeof(file), "%s/stale/keyring", top);
	snprintf(counted, sizeof(counted), "%s/runs", top);
	snprintf(command, sizeof(command), "printf x >> %s/runs; echo old", top);
	open_session(command);
	check_status(create(&made), PGE_OK, "a KEK is under the old passphrase");
	check_status(wrap(made.uri, "row 1", &wrapped), PGE_OK, "and wraps");
	run_shell("mv %s %s/old_keyring", file, top);
	protect_anew("echo new");
	run_shell("rm %2$s/runs", file, top);
	for (int i = 0; i < 20; i++)
		if (unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result) == PGE_OK && is_dek(&result))
			opened++;
	check(opened == 20, "under another passphrase its KEK in memory goes on unwrapping: %d of 20", opened);
	check(stat(counted, &runs) == 0 && runs.st_size >= 1, "the command was asked");
	check(runs.st_size <= 2, "but not by each unwrap: %d times", (int) runs.st_size);
	check_status(wrap(made.uri, "row 1", &result), PGE_UNAUTHENTICATED, "it does not wrap");
	check_status(provider()->reload(session, &config), PGE_OK, "the new command is configured");
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_KEK_NOT_FOUND, "then the file counts at once");
}

/* Puts those bytes in the file's place, as a program that replaces it would. */
static void
put_file(const uint8_t *bytes, size_t len)
{
	char		name[160];
	int			fd;

	snprintf(name, sizeof(name), "%s.put", file);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t) len || close(fd) != 0 || rename(name, file) != 0)
		abort();
}

static PgeStatus
load(KeyringStore *store, uint32_t *count)
{
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		keyring;
	PgeStatus	status = pge_keyring_store_load(store, NULL, &keyring, NULL, detail);

	*count = keyring.header.count;
	check(status == PGE_OK || strstr(detail, file) != NULL, "the detail names the file: %s", detail);
	pge_keyring_wipe(&keyring);
	return status;
}

/*
 * The store on files that are cut at every byte or have one byte of another
 * value, through the disk and the passphrase; nothing of them is taken.
 */
static void
check_every_byte(const char *command, PgeStatus flipped_body)
{
	char		detail[KMS_DETAIL_LEN];
	KeyringStore *store;
	KmsResult	made;
	uint8_t		good[512];
	size_t		len;
	uint32_t	count;
	int			fd;

	snprintf(file, sizeof(file), "%s/bytes_%s/keyring", top, command == NULL ? "plain" : "sealed");
	open_session(command);
	check_status(create(&made), PGE_OK, "a keyring");
	fd = open(file, O_RDONLY);
	len = (size_t) read(fd, good, sizeof(good));
	close(fd);
	check(len > 100 && len < sizeof(good), "is read: %zu", len);
	check_status(pge_keyring_store_new(file, command, &store, detail), PGE_OK, "a store");
	check_status(load(store, &count), PGE_OK, "it opens");
	for (size_t at = 0; at < len; at++)
	{
		PgeStatus	status;

		put_file(good, at);
		check_status(load(store, &count), PGE_UNAVAILABLE, "cut at %zu it does not", at);
		check(count == 0, "and nothing of it is taken");
		/* another salt costs scrypt; keyring_file_test has all of them */
		if (command != NULL && at > 18 && at < 18 + KEYRING_SALT_LEN - 1)
			continue;
		good[at] ^= (uint8_t) (1 + at % 255);
		put_file(good, len);
		status = load(store, &count);
		check(status == flipped_body || (at < KEYRING_HEADER_LEN && status == PGE_UNAVAILABLE),
			  "nor with another byte at %zu: %s", at, pge_status_name(status));
		check(count == 0, "and nothing of it is taken");
		good[at] ^= (uint8_t) (1 + at % 255);
	}
	put_file(good, len);
	check_status(load(store, &count), PGE_OK, "as it was it opens");
	check(count == 1, "whole");
	pge_secret_wipe(good, sizeof(good));
	pge_keyring_store_free(store);
}

/*
 * The file goes away (a disk is unmounted, somebody moves it) while the command
 * runs that opens it: a KEK is not written into a new file, which would be plain.
 */
static void
check_file_goes_while_it_is_read(void)
{
	char		command[512];
	KmsResult	result;

	snprintf(file, sizeof(file), "%s/goes/keyring", top);
	open_session("echo open sesame");
	check_status(create(&result), PGE_OK, "a keyring under a passphrase");
	snprintf(command, sizeof(command), "test ! -e %s || mv %s %s.gone; echo open sesame", file, file, file);
	open_session(command);
	check_status(create(&result), PGE_UNAVAILABLE, "its file goes while a KEK is made: none is");
	check(strstr(result.detail, "does not exist") != NULL, "and it is said why: %s", result.detail);
	check(access(file, F_OK) != 0, "no plain keyring takes its place");
}

/*
 * Two keys with the name of one version: what the one has wrapped is damaged
 * bytes to the other, and the file with the one never merges with the other's.
 */
static void
check_version_is_given_once(void)
{
	KmsResult	made;
	KmsResult	first;
	KmsResult	wrapped;
	KmsResult	result;

	snprintf(file, sizeof(file), "%s/once/keyring", top);
	open_session(NULL);
	check_status(create(&made), PGE_OK, "a KEK");
	check_status(wrap(made.uri, "row 1", &first), PGE_OK, "wraps a DEK");
	run_shell("cp -p %s %s/once/older", file, top);
	check_status(rotate(made.uri, &result), PGE_OK, "a second version");
	check_status(wrap(made.uri, "row 1", &wrapped), PGE_OK, "wraps a DEK");
	run_shell("cp -p %s %s/once/newer", file, top);

	run_shell("cp -p %2$s/once/older %1$s.tmp && mv %1$s.tmp %1$s", file, top);
	check_status(rotate(made.uri, &result), PGE_OK, "with an older copy in place a version is made");
	check(strcmp(result.kek_version, "3") == 0, "with a new name: %s", result.kek_version);
	check(strstr(result.detail, "Missing since the file changed: version 2") != NULL, "the one that is gone is named: %s", result.detail);
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_KEK_NOT_FOUND, "what it wrapped lacks its KEK");

	run_shell("cp -p %2$s/once/older %1$s.tmp && mv %1$s.tmp %1$s", file, top);
	check_status(unwrap(made.uri, "row 2", wrapped_of(&first), &result), PGE_WRAPPING_DAMAGED, "also when the older copy is seen before");
	check(strstr(result.detail, "older copy") != NULL && strstr(result.detail, "does not open it") != NULL, "by what fails for another reason, which does not hide it: %s", result.detail);
	check_status(rotate(made.uri, &result), PGE_OK, "a version is made");
	check(strcmp(result.kek_version, "4") == 0, "with a new name: %s", result.kek_version);
	run_shell("cp -p %2$s/once/newer %1$s.tmp && mv %1$s.tmp %1$s", file, top);
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_OK, "with the newer file it opens");
	check(is_dek(&result), "and is what it was");
}

/* Puts a file in the session's file's place in which a number was given again. */
static void
put_branch(void)
{
	run_shell("cp -p %2$s/branch/other/keyring %1$s.tmp && mv %1$s.tmp %1$s", file, top);
}

/*
 * An agent that never saw version 2 has made one in an older copy.  What the first
 * has wrapped opens with the key in memory only, so the copy does not replace it.
 */
static void
check_another_key_of_a_version(void)
{
	KmsResult	made;
	KmsResult	wrapped;
	KmsResult	result;
	char		line[PGE_KEK_URI_MAX + 64];

	snprintf(file, sizeof(file), "%s/branch/other/keyring", top);
	run_shell("mkdir -m 700 %s/branch%s", top, "");
	open_session(NULL);
	check_status(create(&made), PGE_OK, "a KEK");
	run_shell("mkdir -m 700 %2$s/branch/first && cp -p %1$s %2$s/branch/first/", file, top);
	check_status(rotate(made.uri, &result), PGE_OK, "one agent makes its version 2");
	snprintf(file, sizeof(file), "%s/branch/first/keyring", top);
	open_session(NULL);
	check_status(rotate(made.uri, &result), PGE_OK, "and another one, in a copy");
	check_status(wrap(made.uri, "row 1", &wrapped), PGE_OK, "which wraps a DEK");
	check(wrapped.wrapped[6] == 2, "under its own");
	run_shell("cp -p %s %s/branch/newest", file, top);

	put_branch();
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_OK, "with the first one's file in place it still opens");
	check(is_dek(&result), "and is what it was");
	snprintf(line, sizeof(line), "Version 2 of KEK \"%s\" has another key", made.uri);
	check(strstr(result.detail, line) != NULL && strstr(result.detail, file) != NULL, "and it is said why: %s", result.detail);
	check(strstr(result.detail, "when it ends they are gone") != NULL && result.alarm, "and how urgent it is, in the log too");
	check_status(describe(made.uri, &result), PGE_UNAVAILABLE, "the file does not count");
	check(strstr(result.detail, line) != NULL && !result.alarm, "as is said again, to who asks: %s", result.detail);
	check_status(wrap(made.uri, "row 1", &result), PGE_UNAVAILABLE, "nothing is wrapped");
	check_status(create(&result), PGE_UNAVAILABLE, "no KEK is made in it");
	check_status(rotate(made.uri, &result), PGE_UNAVAILABLE, "nor a version");
	check(strstr(result.detail, line) != NULL, "and it is said why: %s", result.detail);
	run_shell("cmp %1$s %2$s/branch/other/keyring", file, top);
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_OK, "it opens as before");

	run_shell("mv %2$s/branch/newest %1$s", file, top);
	check_status(wrap(made.uri, "row 1", &result), PGE_OK, "with its own file it wraps");
	check(result.detail[0] == '\0', "and has nothing to say: %s", result.detail);
	put_branch();
	check_status(rotate(made.uri, &result), PGE_UNAVAILABLE, "also when a rotation is the first to meet it");
	check(strstr(result.detail, line) != NULL && result.alarm, "it is said, in the log too");
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_OK, "and it opens");
	open_session(NULL);
	check_status(unwrap(made.uri, "row 1", wrapped_of(&wrapped), &result), PGE_WRAPPING_DAMAGED, "control: the file has another key");
}

static KmsResult of_thread;
static PgeBytes wrapped_before;
static const char *uri_before;

static void *
unwrap_before(void *arg)
{
	unwrap(uri_before, "row 1", wrapped_before, &of_thread);
	return arg;
}

static void *
create_meanwhile(void *arg)
{
	create(arg);
	return arg;
}

/* The KEKs come into memory, and their file goes, while one waits to make a KEK. */
static void
check_keks_come_while_one_waits(void)
{
	const struct timespec moment = {0, 50 * 1000000L};
	char		command[512];
	char		asked[128];
	KmsResult	made;
	KmsResult	wrapped;
	KmsResult	result;
	pthread_t	reader;
	pthread_t	maker;

	snprintf(file, sizeof(file), "%s/waits/keyring", top);
	open_session("echo open sesame");
	check_status(create(&made), PGE_OK, "a keyring under a passphrase");
	check_status(wrap(made.uri, "row 1", &wrapped), PGE_OK, "its KEK wraps");
	uri_before = made.uri;
	wrapped_before = wrapped_of(&wrapped);
	snprintf(asked, sizeof(asked), "%s/waits/asked", top);
	snprintf(command, sizeof(command), "cd %s/waits; touch asked; while ! test -e go; do sleep 0.01; done; echo open sesame", top);
	open_session(command);
	if (pthread_create(&reader, NULL, unwrap_before, NULL) != 0)
		abort();
	while (access(asked, F_OK) != 0)
		nanosleep(&moment, NULL);
	if (pthread_create(&maker, NULL, create_meanwhile, &result) != 0)
		abort();
	nanosleep(&moment, NULL);	/* most likely it waits by then; if not
								 * nothing is lost */
	run_shell("mv %s %s/waits/away", file, top);
	run_shell("touch %s/waits/go%s", top, "");
	pthread_join(reader, NULL);
	pthread_join(maker, NULL);
	check_status(of_thread.status, PGE_OK, "the file was read");
	check_status(result.status, PGE_UNAVAILABLE, "no KEK is made into a new file");
	check(access(file, F_OK) != 0, "there is none");
	check_status(unwrap(uri_before, "row 1", wrapped_before, &result), PGE_OK, "and the KEK in memory still unwraps");
	pge_secret_wipe(&of_thread, sizeof(of_thread));
}

/* Out of file and memory with all its versions; a copy of the file still has it. */
static void
check_destroy(const char *command)
{
	KmsResult	doomed;
	KmsResult	kept;
	KmsResult	wrapped;
	KmsResult	result;

	snprintf(file, sizeof(file), "%s/destroyed%d/keyring", top, command != NULL);
	open_session(command);
	check_status(create(&doomed), PGE_OK, "(a KEK)");
	check_status(create(&kept), PGE_OK, "(another)");
	check_status(rotate(doomed.uri, &result), PGE_OK, "(its second version)");
	check_status(wrap(doomed.uri, "row", &wrapped), PGE_OK, "(what it wraps)");
	run_shell("cp -p %s %s.copy", file, file);
	check_status(destroy(doomed.uri, false, &result), PGE_INVALID, "the local keyring destroys at once, or not at all");
	check(strstr(result.detail, "immediate => true") != NULL, "as it says");
	check_status(unwrap(doomed.uri, "row", wrapped_of(&wrapped), &result), PGE_OK, "nothing has happened");
	run_shell("mv %s %s.away", file, file);
	check_status(destroy(doomed.uri, true, &result), PGE_UNAVAILABLE, "without its file a KEK is not destroyed");
	run_shell("mv %s.away %s", file, file);
	check_status(unwrap(doomed.uri, "row", wrapped_of(&wrapped), &result), PGE_OK, "and stays in memory");
	check_status(destroy(doomed.uri, true, &result), PGE_OK, "a KEK is destroyed");
	check(strstr(result.detail, file) != NULL && strstr(result.detail, "copies") != NULL, "with what that does not reach: %s", result.detail);
	check(strstr(result.detail, "Missing") == NULL && !result.alarm, "and no alarm, since nobody misses it");
	check_status(unwrap(doomed.uri, "row", wrapped_of(&wrapped), &result), PGE_KEK_NOT_FOUND, "it does not unwrap from memory");
	check(strstr(result.detail, "Missing") == NULL && !result.alarm, "where it is not missed either: %s", result.detail);
	check_status(destroy(doomed.uri, true, &result), PGE_KEK_NOT_FOUND, "a second time there is none");
	check_status(restore(doomed.uri, &result), PGE_KEK_NOT_FOUND, "no way back");
	check(strstr(result.detail, "keyring restore") != NULL, "but by a copy");
	open_session(command);
	check_status(describe(doomed.uri, &result), PGE_KEK_NOT_FOUND, "nor is it in the file");
	check_status(wrap(kept.uri, "row", &result), PGE_OK, "the other KEK is there");
	run_shell("cp -p %s.copy %s", file, file);
	check_status(restore(doomed.uri, &result), PGE_OK, "with the copy of the file it is back");
	check(strcmp(result.kek_version, "2") == 0, "in its newest version");
	check_status(unwrap(doomed.uri, "row", wrapped_of(&wrapped), &result), PGE_OK, "and unwraps");
	check(is_dek(&result), "what it wrapped");
}

static void
check_no_file(void)
{
	KmsResult	result;

	file[0] = '\0';
	open_session(NULL);
	check_status(create(&result), PGE_INVALID, "without a keyring file no KEK is made");
	check(strstr(result.detail, "pg_envelope.keyring_file") != NULL, "and the detail names the setting");
}

int
main(void)
{
	const char *tmp = getenv("TMPDIR");
	char		uri[KEYRING_URI_LEN + 1];

	snprintf(top, sizeof(top), "%s/kms_local.XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	if (mkdtemp(top) == NULL)
		abort();
	snprintf(file, sizeof(file), "%s/made/keyring", top);
	check_registry();
	open_session(NULL);
	check_create(uri);
	watch_kek();
	check_wrapping(uri);
	check_file_changes(uri);
	check_lock();
	check_threads();
	check_delay(uri);
	check_passphrase();
	check_stale_command();
	check_file_goes_while_it_is_read();
	check_version_is_given_once();
	check_another_key_of_a_version();
	check_keks_come_while_one_waits();
	check_destroy(NULL);
	check_destroy("echo open sesame");
	check_every_byte(NULL, PGE_UNAVAILABLE);
	check_every_byte("echo open sesame", PGE_UNAUTHENTICATED);
	check_no_file();
	provider()->close(session);
	check(freed_keys == 0, "no key was freed unwiped: %d", freed_keys);
	run_shell("rm -rf %s%s", top, "");
	return check_done();
}
