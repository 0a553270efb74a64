/*-------------------------------------------------------------------------
 *
 * agent_memory_test.c
 *	  The agent, each of whose allocations fails in turn.
 *
 * The agent runs as it does under a keeper, in a process of its own; we are
 * keeper and backend.  For each operation the k-th allocation from its begin
 * fails, for k = 1, 2, ... until the operation asks for less than k.  After each
 * failure the agent must be there and work, hold no more memory than before,
 * and every KEK and wrapping that it ever acknowledged must be good.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "failing_memory.h"

#include "agent/kms/keyring_store.h"
#include "agent/serve.h"
#include "check.h"
#include "crypto/kdf.h"
#include "crypto/mac.h"
#include "crypto/random.h"
#include "crypto/selftest.h"
#include "format/binding.h"
#include "format/frame.h"

#define KEEPER_FD	3
#define LISTEN_FD	4
#define ANSWER_MS	30000		/* for a machine that has no time for us */
#define KEKS_MAX	4096
#define K_MAX		20000
#define REPEATS		8

/* What became of a request. */
typedef enum Fate
{
	ANSWERED,
	CLOSED						/* the agent let us go */
} Fate;

typedef struct Kek
{
	uint8_t		uuid[PGE_UUID_LEN];
	uint32_t	version;
} Kek;

/* A DEK that the agent said it had wrapped. */
typedef struct Wrapping
{
	char		uri[KEYRING_URI_LEN + 1];
	size_t		len;
	uint8_t		bytes[PGE_WRAPPED_MAX];
	uint8_t		check_value[PGE_CHECK_VALUE_LEN];
} Wrapping;

static char top[64];			/* everything below it is removed at the end */
static char keyring_file[128];
static char socket_path[100];
static const char *passphrase_command = "";

static pid_t agent;
static int	keeper_pipe = -1;
static int	connection = -1;
static uint8_t secret[PGE_SOCKET_SECRET_LEN];
static uint8_t received[PGE_FRAME_MAX]; /* what the last answer's spans point
										 * into */

static Kek	keks[KEKS_MAX];		/* acknowledged */
static int	nkeks;
static Wrapping wrapping;		/* the newest that was acknowledged */
static char uri[KEYRING_URI_LEN + 1];	/* a KEK for all */
static char other_uri[KEYRING_URI_LEN + 1];
static uint8_t binding_bytes[PGE_BINDING_MAX];
static PgeBytes binding;

/* The real costs would be paid once for every k, those of the disk too. */
int
fsync(int fd)
{
	return fd >= 0 ? 0 : -1;
}

extern PgeStatus __wrap_pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n,
								   unsigned r, unsigned p, PgeSecret *key);
extern PgeStatus __real_pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n,
								   unsigned r, unsigned p, PgeSecret *key);

PgeStatus
__wrap_pge_scrypt(PgeBytes passphrase, PgeBytes salt, unsigned log2_n, unsigned r, unsigned p, PgeSecret *key)
{
	(void) log2_n;
	return __real_pge_scrypt(passphrase, salt, 4, r, p, key);
}

/* --- frames -------------------------------------------------------------- */

static bool
send_frame(int fd, const PgeFrame *frame)
{
	static uint8_t room[PGE_FRAME_MAX];
	PgeBuffer	out = {room, 0, sizeof(room)};

	if (pge_frame_encode(frame, &out) != PGE_OK)
		abort();
	return send(fd, room, out.len, MSG_NOSIGNAL) == (ssize_t) out.len;
}

/* false: the end of the stream. */
static bool
receive_bytes(int fd, uint8_t *bytes, size_t len)
{
	while (len > 0)
	{
		struct pollfd wait = {fd, POLLIN, 0};
		ssize_t		n;

		if (poll(&wait, 1, ANSWER_MS) != 1)
		{
			printf("not ok - the agent hangs\n");
			kill(agent, SIGKILL);
			exit(1);
		}
		n = recv(fd, bytes, len, 0);
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t) n;
	}
	return true;
}

static bool
receive_frame(int fd, PgeFrame *frame)
{
	size_t		total;

	if (!receive_bytes(fd, received, PGE_FRAME_HEADER_LEN))
		return false;
	if (pge_frame_length(received, &total) != PGE_OK)
		abort();
	if (!receive_bytes(fd, received + PGE_FRAME_HEADER_LEN, total - PGE_FRAME_HEADER_LEN))
		return false;
	if (pge_frame_decode(pge_bytes(received, total), frame) != PGE_OK)
		abort();
	return true;
}

/* --- the agent ----------------------------------------------------------- */

static void
become_agent(int pipe_end, int listener, long fail_at)
{
	int			null = open("/dev/null", O_RDWR);

	if (dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
		_exit(99);
	pipe_end = fcntl(pipe_end, F_DUPFD, 100);
	listener = fcntl(listener, F_DUPFD, 100);
	if (dup2(pipe_end, KEEPER_FD) < 0 || dup2(listener, LISTEN_FD) < 0)
		_exit(99);
	memory_is_counted = true;
	memory_begin(fail_at);
	_exit(pge_agent_serve());
}

static int
listen_anew(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	unlink(socket_path);
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(fd, 8) != 0)
		abort();
	return fd;
}

static bool
send_settings(bool first)
{
	static char concurrency[] = "1";	/* one thread: the same requests in
										 * the same order */
	PgeFrame	frame = {.type = PGE_FRAME_SETTINGS, .npairs = 3};

	frame.name[0] = text_bytes("keyring_file");
	frame.value[0] = text_bytes(keyring_file);
	frame.name[1] = text_bytes("keyring_passphrase_command");
	frame.value[1] = text_bytes(passphrase_command);
	frame.name[2] = text_bytes("kms_concurrency");
	frame.value[2] = text_bytes(concurrency);
	if (first)
		frame.secret = pge_bytes(secret, sizeof(secret));
	return send_frame(keeper_pipe, &frame);
}

/* true: READY.  false: it ended. */
static bool
start_agent(long fail_at)
{
	int			ends[2];
	int			listener = listen_anew();
	PgeFrame	frame;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		abort();
	keeper_pipe = ends[0];
	agent = fork();
	if (agent == 0)
		become_agent(ends[1], listener, fail_at);
	if (agent < 0)
		abort();
	close(ends[1]);
	close(listener);
	if (!send_settings(true))
		return false;
	while (receive_frame(keeper_pipe, &frame))
		if (frame.type == PGE_FRAME_READY)
			return true;
	return false;
}

/* How it ended: as waitpid says. */
static int
end_agent(void)
{
	int			status;

	if (connection >= 0)
		close(connection);
	connection = -1;
	close(keeper_pipe);
	keeper_pipe = -1;
	if (waitpid(agent, &status, 0) != agent)
		abort();
	agent = 0;
	return status;
}

static bool
compute_proof(const char *role, const uint8_t *ours, const uint8_t *theirs, uint8_t *proof)
{
	PgeBytes	parts[3] = {text_bytes(role), pge_bytes(ours, PGE_FRAME_NONCE_LEN), pge_bytes(theirs, PGE_FRAME_NONCE_LEN)};

	return pge_hmac_sha256(pge_bytes(secret, sizeof(secret)), parts, 3, proof) == PGE_OK;
}

static Fate
drop_connection(void)
{
	close(connection);
	connection = -1;
	return CLOSED;
}

static Fate
connect_to_agent(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint8_t		nonce[PGE_FRAME_NONCE_LEN] = {1};
	uint8_t		proof[PGE_FRAME_PROOF_LEN];
	PgeFrame	hello = {.type = PGE_FRAME_HELLO, .nonce = pge_bytes(nonce, sizeof(nonce))};
	PgeFrame	answer = {.type = PGE_FRAME_PROOF, .proof = pge_bytes(proof, sizeof(proof))};
	PgeFrame	challenge;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *) &address, sizeof(address)) != 0)
		abort();
	if (!send_frame(connection, &hello) || !receive_frame(connection, &challenge) ||
		!compute_proof("pge client 1", nonce, challenge.nonce.data, proof) || !send_frame(connection, &answer))
		return drop_connection();
	return ANSWERED;
}

static Fate
ask(PgeFrame *request, PgeFrame *answer)
{
	if (connection < 0 && connect_to_agent() == CLOSED)
		return CLOSED;
	request->ticket = 7;
	if (!send_frame(connection, request) || !receive_frame(connection, answer))
		return drop_connection();
	if (answer->type != PGE_FRAME_ANSWER || answer->ticket != 7)
		abort();
	return ANSWERED;
}

/* --- operations: each says whether the agent said that it was done -------- */

static void
acknowledge(const char *name, PgeBytes version)
{
	char		text[16] = "";

	if (nkeks == KEKS_MAX || version.len >= sizeof(text))
		abort();
	memcpy(text, version.data, version.len);
	keks[nkeks].version = (uint32_t) strtoul(text, NULL, 10);
	if (pge_keyring_parse_uri(text_bytes(name), keks[nkeks].uuid) != PGE_OK)
		abort();
	nkeks++;
}

static bool
done(PgeFrame *request, PgeFrame *answer)
{
	return ask(request, answer) == ANSWERED && answer->status == PGE_OK;
}

static bool
create_kek(void)
{
	PgeFrame	request = {.type = PGE_FRAME_CREATE_KEK};
	PgeFrame	answer;

	if (!done(&request, &answer))
		return false;
	snprintf(other_uri, sizeof(other_uri), "%.*s", (int) answer.uri[0].len, (const char *) answer.uri[0].data);
	acknowledge(other_uri, answer.kek_version[0]);
	return true;
}

static bool
rotate_kek(void)
{
	PgeFrame	request = {.type = PGE_FRAME_ROTATE_KEK, .nuris = 1, .uri = {text_bytes(uri)}};
	PgeFrame	answer;

	if (!done(&request, &answer))
		return false;
	acknowledge(uri, answer.kek_version[0]);
	return true;
}

static void
keep_wrapping(const char *name, const PgeFrame *answer, const uint8_t *check_value)
{
	snprintf(wrapping.uri, sizeof(wrapping.uri), "%s", name);
	wrapping.len = answer->wrapped[0].len;
	memcpy(wrapping.bytes, answer->wrapped[0].data, wrapping.len);
	memmove(wrapping.check_value, check_value, PGE_CHECK_VALUE_LEN);
}

static bool
wrap_new(void)
{
	PgeFrame	request = {.type = PGE_FRAME_WRAP_NEW, .nuris = 2, .uri = {text_bytes(uri), text_bytes(other_uri)}, .binding = binding};
	PgeFrame	answer;

	if (!done(&request, &answer))
		return false;
	keep_wrapping(uri, &answer, answer.check_value.data);
	return true;
}

static bool
unwrap(void)
{
	PgeFrame	request = {.type = PGE_FRAME_UNWRAP, .nuris = 1, .uri = {text_bytes(wrapping.uri)}, .binding = binding,
	.check_value = pge_bytes(wrapping.check_value, PGE_CHECK_VALUE_LEN),
	.nwrapped = 1, .wrapped = {pge_bytes(wrapping.bytes, wrapping.len)}};
	PgeFrame	answer;
	PgeSecret	dek;
	uint8_t		check_value[PGE_CHECK_VALUE_LEN];

	if (!done(&request, &answer))
		return false;
	memcpy(dek.bytes, answer.dek.data, PGE_DEK_LEN);
	if (answer.dek.len != PGE_DEK_LEN || pge_check_value(&dek, binding, check_value) != PGE_OK ||
		memcmp(check_value, wrapping.check_value, PGE_CHECK_VALUE_LEN) != 0)
	{
		printf("not ok - another key came back\n");
		exit(1);
	}
	return true;
}

static bool
rewrap(void)
{
	PgeFrame	request = {.type = PGE_FRAME_REWRAP, .nuris = 2, .uri = {text_bytes(wrapping.uri), text_bytes(uri)},
	.binding = binding, .check_value = pge_bytes(wrapping.check_value, PGE_CHECK_VALUE_LEN),
	.nwrapped = 1, .wrapped = {pge_bytes(wrapping.bytes, wrapping.len)}};
	PgeFrame	answer;

	if (!done(&request, &answer))
		return false;
	keep_wrapping(uri, &answer, wrapping.check_value);
	return true;
}

static bool
describe_kek(void)
{
	PgeFrame	request = {.type = PGE_FRAME_DESCRIBE_KEK, .nuris = 1, .uri = {text_bytes(uri)}};
	PgeFrame	answer;

	return done(&request, &answer);
}

static bool
ask_status(void)
{
	PgeFrame	request = {.type = PGE_FRAME_STATUS};
	PgeFrame	answer;

	return done(&request, &answer);
}

/* The keyring is new to the agent, which must read it. */
static bool
unwrap_after_change(void)
{
	struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};

	if (utimensat(AT_FDCWD, keyring_file, times, 0) != 0)
		abort();
	return unwrap();
}

static bool
connect_anew(void)
{
	if (connection >= 0)
		drop_connection();
	return ask_status();
}

/* --- what must hold ------------------------------------------------------ */

/* The file reads, and holds every KEK that was acknowledged. */
static bool
keyring_is_whole(void)
{
	char		detail[KMS_DETAIL_LEN];
	KeyringStore *store;
	Keyring		keyring;
	bool		whole = pge_keyring_store_new(keyring_file, passphrase_command, &store, detail) == PGE_OK;

	if (!whole || pge_keyring_store_load(store, NULL, &keyring, NULL, detail) != PGE_OK)
	{
		printf("# %s\n", detail);
		return false;
	}
	for (int i = 0; i < nkeks && whole; i++)
		whole = pge_keyring_find(&keyring, keks[i].uuid, keks[i].version) != NULL;
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(store);
	return whole;
}

static bool
agent_is_alive(void)
{
	int			status;

	return waitpid(agent, &status, WNOHANG) == 0;
}

/*
 * The agent frees what it has sent after we have received it: wait for it to be
 * at rest, or down to what is expected.
 */
static long
blocks_at_rest(long expected)
{
	const struct timespec step = {0, 300000};
	long		blocks = memory_blocks();
	int			same = 0;

	while (same < (blocks > expected ? 500 : 5))
	{
		nanosleep(&step, NULL);
		same = memory_blocks() == blocks ? same + 1 : 0;
		blocks = memory_blocks();
	}
	return blocks;
}

/* Fails the k-th allocation once, then works again; returns the requests seen. */
static long
fail_once(bool (*operation) (void), long k, bool *succeeded, bool *recovered)
{
	long		requests;

	memory_begin(k);
	*succeeded = operation();
	requests = memory_end();
	*recovered = agent_is_alive() && operation() && unwrap() && ask_status();
	return requests;
}

/* OpenSSL may keep something when it comes further than before, but not for ever. */
static bool
loses_memory(bool (*operation) (void), long k, bool *recovered)
{
	long		blocks = blocks_at_rest(LONG_MAX);
	bool		succeeded;

	for (int i = 0; i < REPEATS && *recovered; i++)
	{
		long		before = blocks;

		(void) fail_once(operation, k, &succeeded, recovered);
		blocks = blocks_at_rest(before);
		if (blocks <= before)
			return false;
	}
	printf("# allocation %ld: more memory each time\n", k);
	return true;
}

static void
fail_each_allocation(const char *name, bool (*operation) (void))
{
	long		k;
	long		felt = 0;
	bool		succeeded = false;
	bool		recovered = operation() && operation() && ask_status();
	bool		leaked = false;
	bool		whole = true;

	for (k = 1; recovered && whole && !leaked && k < K_MAX; k++)
	{
		long		requests = fail_once(operation, k, &succeeded, &recovered);

		if (requests < k)
			break;
		felt += !succeeded;
		whole = keyring_is_whole();
		leaked = recovered && loses_memory(operation, k, &recovered);
	}
	check(recovered, "%s: after each failed allocation the agent works (up to the %ldth)", name, k);
	check(whole, "%s: and every acknowledged KEK is in the keyring", name);
	check(!leaked, "%s: and no memory is lost", name);
	check(recovered && succeeded && felt > 0 && k > 1, "%s: %ld allocations failed in turn, %ld were felt; then it is done", name, k - 1, felt);
}

/* From its first instruction to the first key that it unwraps. */
static void
fail_each_start(const char *name)
{
	long		k;
	long		felt = 0;
	int			bad = 0;
	bool		over = false;

	for (k = 1; !over && bad == 0 && k < K_MAX; k++)
	{
		bool		ready = start_agent(k);
		bool		works = ready && unwrap();
		int			status;

		over = memory_end() < k;
		/* who has not come up must say so by its end; who has, works */
		if (ready && !works)
			bad += !agent_is_alive() || !unwrap();
		felt += !works;
		status = end_agent();
		if (!WIFEXITED(status) || (ready && WEXITSTATUS(status) != 0) || (!ready && WEXITSTATUS(status) == 0))
		{
			printf("# allocation %ld: wait status %x, ready %d\n", k, (unsigned) status, ready);
			bad++;
		}
		if (over)
			bad += !works;
	}
	check(bad == 0, "%s: ends with a word, or works, after each failed allocation (up to the %ldth)", name, k - 1);
	check(felt > 0 && over, "%s: %ld allocations failed in turn, %ld were felt; then it is done", name, k - 2, felt);
	check(keyring_is_whole(), "%s: the keyring is whole", name);
}

static void
change_protection(const char *command)
{
	char		detail[KMS_DETAIL_LEN] = "";
	KeyringChange change = {KEYRING_MUST_NOT_EXIST, 0, NULL, NULL, false};
	KeyringStore *store;
	Keyring		keyring;

	nkeks = 0;
	unlink(keyring_file);
	passphrase_command = command;
	if (pge_keyring_store_new(keyring_file, command, &store, detail) != PGE_OK ||
		pge_keyring_store_change(store, &change, NULL, &keyring, NULL, detail) != PGE_OK)
	{
		printf("# %s\n", detail);
		abort();
	}
	pge_keyring_wipe(&keyring);
	pge_keyring_store_free(store);
}

/* A keyring with two KEKs, and a wrapping. */
static void
make_keys(void)
{
	if (!start_agent(0) || !create_kek())
		abort();
	snprintf(uri, sizeof(uri), "%s", other_uri);
	if (!create_kek() || !wrap_new() || !unwrap())
		abort();
}

/* What the plain file shows. */
static void
mark_keks(void)
{
	uint8_t		bytes[KEYRING_HEADER_LEN + 2 * KEYRING_ENTRY_LEN];
	int			fd = open(keyring_file, O_RDONLY);

	if (read(fd, bytes, sizeof(bytes)) != (ssize_t) sizeof(bytes))
		abort();
	for (int i = 1; i <= 2; i++)
		memory_mark_key(bytes + KEYRING_HEADER_LEN + i * KEYRING_ENTRY_LEN - PGE_DEK_LEN);
	close(fd);
}

static void
set_up(void)
{
	PgeBinding	bound = {.dek_id = 1, .version = 1, .purpose = 1, .algorithm = 1, .key_id = text_bytes("acme")};
	PgeBuffer	out = {binding_bytes, 0, sizeof(binding_bytes)};
	const char *place = getenv("TMPDIR");	/* a socket's path has room for
											 * 107 bytes */

	memset(bound.keyring, 9, sizeof(bound.keyring));
	if (pge_binding_encode(&bound, &out) != PGE_OK || pge_random_bytes(secret, sizeof(secret)) != PGE_OK)
		abort();
	binding = pge_buffer_bytes(&out);
	snprintf(top, sizeof(top), "%s/pge.XXXXXX", place != NULL && strlen(place) < 48 ? place : "/tmp");
	if (mkdtemp(top) == NULL)
		abort();
	snprintf(keyring_file, sizeof(keyring_file), "%s/keyring", top);
	snprintf(socket_path, sizeof(socket_path), "%s/sock", top);
}

static void
tidy_up(void)
{
	char		lock[160];

	snprintf(lock, sizeof(lock), "%s.lock", keyring_file);
	unlink(lock);
	unlink(keyring_file);
	unlink(socket_path);
	check(rmdir(top) == 0, "nothing else is left beside the keyring");
}

int
main(void)
{
	const char *is_long = getenv("LONG");
	const char *what;

	memory_init();

	/*
	 * what OpenSSL asks for once, two thousand times: a minute on a busy
	 * machine
	 */
	if ((is_long == NULL || is_long[0] == '\0') && pge_crypto_selftest(&what) != PGE_OK)
		abort();
	set_up();

	change_protection("");
	make_keys();
	memory_mark_key(secret);
	mark_keks();
	fail_each_allocation("CREATE_KEK", create_kek);
	fail_each_allocation("ROTATE_KEK", rotate_kek);
	fail_each_allocation("WRAP_NEW", wrap_new);
	fail_each_allocation("UNWRAP", unwrap);
	fail_each_allocation("UNWRAP, the keyring changed", unwrap_after_change);
	fail_each_allocation("REWRAP", rewrap);
	fail_each_allocation("DESCRIBE_KEK", describe_kek);
	fail_each_allocation("STATUS", ask_status);
	fail_each_allocation("a new connection", connect_anew);
	check(WEXITSTATUS(end_agent()) == 0, "the agent ends well");
	fail_each_start("start, plain keyring");

	change_protection("echo passphrase");
	make_keys();
	check(WEXITSTATUS(end_agent()) == 0, "an agent with a passphrase ends well");
	fail_each_start("start, keyring under a passphrase");

	check(atomic_load(&memory_ledger->freed_keys) == 0, "no key was in a block that was freed");
	tidy_up();
	return check_done();
}
