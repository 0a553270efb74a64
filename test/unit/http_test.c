/*-------------------------------------------------------------------------
 *
 * http_test.c
 *	  Exchanges with a service that answers wrongly in every way.
 *
 * The service is test/tools/fault_server.py, on loopback, a child of ours.  Its log
 * says what reached it.  Every request carries a canary, in a header and in its
 * body, that no detail may hold; and none may be in our memory at the end.
 *
 * Faults run side by side.  A test that is to end by itself has half a minute;
 * how late a deadline was is printed, and judged only coarsely, because the machine
 * may have no time for us.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/kms/http_private.h"
#include "agent/kms/passphrase.h"
#include "base/limits.h"
#include "base/secret.h"
#include "check.h"
#include "fault_server.h"
#include "freed_keys.h"

#define ENOUGH_MS		30000
#define SHORT_MS		400
#define PHASE_MS		5000	/* to come so far and then hang */
#define CONNECTING_MS	1500	/* before that: less than it may take anyway */
#define AT_ONCE			16		/* so few that TLS keeps that limit where the
								 * machine is slow */
#define LATE_MS			15000	/* the coarse judgement; the figure is printed */
#define RUNS_MAX		600
#define GOOD			"{\"data\":{\"plaintext\":\"a2V5\"}}"
#define GOOD_DATE		784111777
#define CANARY_LEN		24
#define PAGE_LEN		4096	/* or part of a page */

/* Complemented, so that this copy is never what is found. */
static const uint8_t hidden_canary[CANARY_LEN + 1] = {
	0xbc, 0x9e, 0x91, 0x9e, 0x8d, 0x86, 0xd2, 0xce, 0xc8, 0xc6, 0xcc, 0xd2,
	0x8e, 0x95, 0x94, 0x87, 0x85, 0xd2, 0xc6, 0xcf, 0xcd, 0xce, 0xca, 0xc8, 0xff
};

/* What shall become of a request. */
typedef struct Case
{
	const char *listener;
	const char *path;
	PgeStatus	status;
	int			http_status;	/* of PGE_OK */
	const char *detail;			/* is part of it */
	bool		sent;
}			Case;

/* One request under way, in a thread of its own. */
typedef struct Run
{
	HttpPool   *pool;
	char		url[256];
	const char *method;
	bool		once;
	size_t		padding;		/* so much more body, and a long header */
	int			deadline_in;
	atomic_bool *cancelled;
	const		Case *expected;

	PgeStatus	status;
	HttpAnswer	answer;
	char		detail[KMS_DETAIL_LEN];
	int64_t		took_ms;
	bool		indiscreet;		/* the detail had the canary */
	pthread_t	thread;
}			Run;

static char ca_file[96];
static char session_keys[96];
static Run runs[RUNS_MAX];
static char padding[20000];		/* the value of a long header */

static pthread_mutex_t lookup_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t lookup_wake = PTHREAD_COND_INITIALIZER;
static bool lookups_go_on;

/* --- the service ---------------------------------------------------------- */

static int64_t
now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* As somebody's environment may do, before libcurl is started. */
static void
ask_for_session_keys(void)
{
	make_directory("/tmp/pge_http.XXXXXX");
	(void) snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", directory);
	(void) snprintf(session_keys, sizeof(session_keys), "%s/session-keys", directory);
	if (setenv("SSLKEYLOGFILE", session_keys, 1) != 0)
		abort();
}

static int
port_of(const char *listener)
{
	int			port = find_port(listener);

	if (port == 0)
		abort();
	return port;
}

/* What the machine's settings might forbid anyway shall be forbidden by us. */
static void
weaken_surroundings(void)
{
	static const char *const names[] = {"http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"};
	char		path[96];
	char		proxy[64];
	FILE	   *conf;

	(void) snprintf(path, sizeof(path), "%s/openssl.cnf", directory);
	(void) snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", port_of("refused"));
	conf = fopen(path, "we");
	if (conf == NULL ||
		fprintf(conf, "openssl_conf = o\n[o]\nssl_conf = s\n[s]\nsystem_default = d\n"
				"[d]\nMinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n") < 0 ||
		fclose(conf) != 0 || setenv("OPENSSL_CONF", path, 1) != 0)
		abort();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void) setenv(names[i], proxy, 1);
}

static bool
wait_for_log(const char *wanted)
{
	for (int64_t end = now_ms() + ENOUGH_MS; now_ms() < end;)
	{
		struct timespec step = {0, 5 * 1000000L};

		if (logged("%s", wanted) > 0)
			return true;
		(void) nanosleep(&step, NULL);
	}
	return false;
}

/* Stands before the C library's: no name is known, and the lookup of one hangs. */
int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	(void) result;
	(void) service;
	(void) hints;
	if (node != NULL && strcmp(node, "hangs.test") == 0)
	{
		pthread_mutex_lock(&lookup_lock);
		while (!lookups_go_on)
			pthread_cond_wait(&lookup_wake, &lookup_lock);
		pthread_mutex_unlock(&lookup_lock);
	}
	return EAI_NONAME;
}

/* --- requests ------------------------------------------------------------- */

static void
show_canary(char *to)
{
	for (int i = 0; i <= CANARY_LEN; i++)
		to[i] = (char) (hidden_canary[i] ^ 0xff);
}

static bool
has_canary(const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t at = 0; at + CANARY_LEN <= len; at++)
	{
		int			i = 0;

		while (i < CANARY_LEN && (p[at + i] ^ hidden_canary[i]) == 0xff)
			i++;
		if (i == CANARY_LEN)
			return true;
	}
	return false;
}

static void
exchange(Run * run)
{
	HttpRequest request = {0};
	char	   *authorization = malloc(CANARY_LEN + 16);
	char	   *body = malloc(CANARY_LEN + 1 + run->padding);
	int64_t		start = now_ms();

	if (authorization == NULL || body == NULL)
		abort();
	(void) snprintf(authorization, 16, "Bearer ");
	show_canary(authorization + 7);
	show_canary(body);
	memset(body + CANARY_LEN, 'x', run->padding);
	request.method = run->method != NULL ? run->method : "POST";
	request.url = run->url;
	request.headers[0] = (HttpHeader)
	{
		"Authorization", authorization
	};
	request.headers[1] = (HttpHeader)
	{
		"Content-Type", "application/json"
	};
	request.nheaders = 2;
	if (run->padding > 0)
		request.headers[request.nheaders++] = (HttpHeader)
	{
		"X-Padding", padding
	};
	if (strcmp(request.method, "POST") == 0)
		request.body = pge_bytes(body, CANARY_LEN + run->padding);
	request.once = run->once;
	request.deadline_ms = (uint64_t) (start + run->deadline_in);
	request.cancelled = run->cancelled;

	run->status = pge_http_exchange(run->pool, &request, &run->answer, run->detail);
	run->took_ms = now_ms() - start;
	run->indiscreet = has_canary(run->detail, strlen(run->detail));
	pge_secret_wipe(authorization, CANARY_LEN + 16);
	pge_secret_wipe(body, CANARY_LEN + 1);
	free(authorization);
	free(body);
}

static void *
run_main(void *arg)
{
	exchange(arg);
	return NULL;
}

static void
start_run(Run * run)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr) != 0 || pthread_attr_setstacksize(&attr, 256 * 1024) != 0 ||
		pthread_create(&run->thread, &attr, run_main, run) != 0)
		abort();
	pthread_attr_destroy(&attr);
}

static Run *
prepare(Run * run, HttpPool *pool, const char *listener, const char *path, int deadline_in)
{
	memset(run, 0, sizeof(*run));
	run->pool = pool;
	run->deadline_in = deadline_in;
	(void) snprintf(run->url, sizeof(run->url), "%s://127.0.0.1:%d%s",
					strncmp(listener, "tls", 3) == 0 ? "https" : "http", port_of(listener), path);
	return run;
}

static HttpPool *
new_pool_as(int connections, const char *ca, const char *cert, const char *key)
{
	HttpIdentity identity = {.ca_file = ca, .cert_file = cert, .key_file = key, .connections = connections};
	char		detail[KMS_DETAIL_LEN];
	HttpPool   *pool;

	if (pge_http_pool_new(&identity, &pool, detail) != PGE_OK)
		abort();
	return pool;
}

static HttpPool *
new_pool(int connections)
{
	return new_pool_as(connections, ca_file, NULL, NULL);
}

/* One request, in this thread.  The answer is wiped with the next, which may be none. */
static Run *
ask(HttpPool *pool, const char *listener, const char *path)
{
	static Run run;

	pge_http_answer_wipe(&run.answer);
	if (pool == NULL)
		return NULL;
	exchange(prepare(&run, pool, listener, path, ENOUGH_MS));
	return &run;
}

static bool
answered(const Run * run, int status)
{
	return run->status == PGE_OK && run->answer.status == status;
}

static void
judge(Run * run)
{
	const		Case *expected = run->expected;
	const HttpAnswer *answer = &run->answer;
	bool		empty = answer->status == 0 && answer->body == NULL && answer->len == 0 &&
	answer->content_type[0] == '\0' && answer->request_id[0] == '\0' && answer->date == 0 &&
	answer->retry_after_ms == -1;

	if (!check(run->status == expected->status && answer->sent == expected->sent && !run->indiscreet &&
			   strstr(run->detail, expected->detail) != NULL && strstr(run->detail, expected->path) == NULL &&
			   (run->status == PGE_OK ? answer->status == expected->http_status && answer->body != NULL : empty) && answer->begun,
			   "%s %s: %s, \"%s\"", expected->listener, expected->path,
			   pge_status_name(expected->status), expected->detail))
		printf("#   %s, HTTP %d, sent %d, %lld ms: %s\n", pge_status_name(run->status), answer->status,
			   answer->sent, (long long) run->took_ms, run->indiscreet ? "(the canary)" : run->detail);
	pge_http_answer_wipe(&run->answer);
}

/* Side by side; each on the listener it names. */
static void
try_cases(const Case * cases, int n, int deadline_in)
{
	HttpPool   *pool = new_pool(AT_ONCE);

	for (int i = 0; i < n; i++)
	{
		prepare(&runs[i], pool, cases[i].listener, cases[i].path, deadline_in);
		runs[i].expected = &cases[i];
		start_run(&runs[i]);
	}
	for (int i = 0; i < n; i++)
	{
		pthread_join(runs[i].thread, NULL);
		judge(&runs[i]);
	}
	pge_http_pool_free(pool);
}

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static int
count_descriptors(int *sockets, int *inherited)
{
	DIR		   *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int			count = 0;

	*sockets = *inherited = 0;
	while (dir != NULL && (entry = readdir(dir)) != NULL)
	{
		struct sockaddr_in peer;
		socklen_t	len = sizeof(peer);
		unsigned	unheard = 0;
		socklen_t	unheard_len = sizeof(unheard);
		char	   *end;
		int			fd = (int) strtol(entry->d_name, &end, 10);

		if (*end != '\0' || entry->d_name[0] == '.' || fd == dirfd(dir))
			continue;
		count++;
		if (getpeername(fd, (struct sockaddr *) &peer, &len) != 0 || peer.sin_family != AF_INET)
			continue;
		(*sockets)++;
		if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
			(*inherited)++;
		check(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard, &unheard_len) == 0 && unheard > 0,
			  "a connection that nobody acknowledges to is given up");
	}
	if (dir != NULL)
		closedir(dir);
	return count;
}

/* --- claims --------------------------------------------------------------- */

static void
answers_are_taken(void)
{
	static const Case cases[] = {
		{"plain", "/ok", PGE_OK, 200, "", true},
		{"tls", "/ok", PGE_OK, 200, "", true},
		{"plain", "/no-content", PGE_OK, 204, "", true},
		{"plain", "/close", PGE_OK, 200, "", true},
		{"plain", "/until-close", PGE_OK, 200, "", true},
		{"plain", "/chunked", PGE_OK, 200, "", true},
		{"plain", "/trailers", PGE_OK, 200, "", true},
		{"plain", "/interim", PGE_OK, 200, "", true},
		{"plain", "/largest", PGE_OK, 200, "", true},
		{"plain", "/header-strange", PGE_OK, 200, "", true},
		{"plain", "/length-too-short", PGE_OK, 200, "", true},
		{"plain", "/nothing-there", PGE_OK, 404, "", true},
		{"plain", "/status/400", PGE_OK, 400, "", true},
		{"plain", "/status/401", PGE_OK, 401, "", true},
		{"plain", "/status/403", PGE_OK, 403, "", true},
		{"plain", "/status/407", PGE_OK, 407, "", true},
		{"plain", "/status/417", PGE_OK, 417, "", true},
		{"plain", "/status/429", PGE_OK, 429, "", true},
		{"plain", "/status/500", PGE_OK, 500, "", true},
		{"plain", "/status/599", PGE_OK, 599, "", true},
		{"plain", "/redirect/301", PGE_OK, 301, "", true},
		{"plain", "/redirect/302", PGE_OK, 302, "", true},
		{"tls", "/redirect/307", PGE_OK, 307, "", true},
		{"tls", "/redirect/308", PGE_OK, 308, "", true},
	};

	try_cases(cases, LENGTH(cases), ENOUGH_MS);
	check(logged("plain request POST /redirected") == 0 && logged("plain request GET /redirected") == 0,
		  "no redirect was followed");
}

static void
bad_answers_are_refused(void)
{
	static const Case cases[] = {
		{"plain", "/gzip", PGE_UNAVAILABLE, 0, "has an encoding that was not asked for", true},
		{"plain", "/transfer-gzip", PGE_UNAVAILABLE, 0, "has an encoding that was not asked for", true},
		{"plain", "/largest/1", PGE_UNAVAILABLE, 0, "is longer than 1 MiB", true},
		{"plain", "/chunked-beyond", PGE_UNAVAILABLE, 0, "is longer than 1 MiB", true},
		{"plain", "/length-huge", PGE_UNAVAILABLE, 0, "is longer than 1 MiB", true},
		{"plain", "/length-absurd", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/endless/chunks", PGE_UNAVAILABLE, 0, "is longer than 1 MiB", true},
		{"tls", "/endless/chunks", PGE_UNAVAILABLE, 0, "is longer than 1 MiB", true},
		{"plain", "/endless/body", PGE_UNAVAILABLE, 0, "is longer than 1 MiB", true},
		{"plain", "/endless/headers", PGE_UNAVAILABLE, 0, "has headers of more than 64 KiB", true},
		{"plain", "/endless/interim", PGE_UNAVAILABLE, 0, "has headers of more than 64 KiB", true},
		{"plain", "/header-huge", PGE_UNAVAILABLE, 0, "has headers of more than 64 KiB", true},
		{"plain", "/headers-many", PGE_UNAVAILABLE, 0, "has headers of more than 64 KiB", true},
		{"plain", "/length-too-long", PGE_UNAVAILABLE, 0, "was cut off", true},
		{"plain", "/length-twice", PGE_UNAVAILABLE, 0, "", true},	/* or libcurl itself */
		{"plain", "/length-list", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/length-negative", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/length-words", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/length-and-chunks", PGE_UNAVAILABLE, 0, "does not say clearly how long it is", true},
		{"plain", "/chunk-garbage", PGE_UNAVAILABLE, 0, "failed: Failure when receiving data from the peer.", true},
		{"plain", "/chunk-cut", PGE_UNAVAILABLE, 0, "was cut off", true},
		{"plain", "/chunk-huge", PGE_UNAVAILABLE, 0, "failed", true},
		{"plain", "/chunk-no-end", PGE_UNAVAILABLE, 0, "was cut off", true},
		{"plain", "/garbage", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/no-headers", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/version-9", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/status-words", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/status-999", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/status-099", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/switching", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/header-nul", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/reset/0", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/reset/40", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/reset/150", PGE_UNAVAILABLE, 0, "", true},
		{"tls", "/reset/0", PGE_UNAVAILABLE, 0, "", true},
		{"tls", "/reset/150", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/lost", PGE_UNAVAILABLE, 0, "was cut off", true},
		{"tls", "/lost", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/status", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/version", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/line", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/length", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/chunk", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/encoding", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/header", PGE_UNAVAILABLE, 0, "", true},
		{"plain", "/indiscreet/body", PGE_UNAVAILABLE, 0, "", true},
		{"tls", "/indiscreet/chunk", PGE_UNAVAILABLE, 0, "", true},
		{"tls", "/indiscreet/body", PGE_UNAVAILABLE, 0, "", true},
		{"refused", "/ok", PGE_UNAVAILABLE, 0, "could not be connected to: Connection refused", false},
		{"tls-expired", "/ok", PGE_UNAVAILABLE, 0, "certificate has expired", false},
		{"tls-other-host", "/ok", PGE_UNAVAILABLE, 0, "no alternative certificate subject name matches", false},
		{"tls-self-signed", "/ok", PGE_UNAVAILABLE, 0, "self-signed certificate", false},
		{"tls-old", "/ok", PGE_UNAVAILABLE, 0, "TLS with ", false},
		{"tls-cut", "/ok", PGE_UNAVAILABLE, 0, "TLS with ", false},
		{"tls-garbage", "/ok", PGE_UNAVAILABLE, 0, "TLS with ", false},
	};

	try_cases(cases, LENGTH(cases), ENOUGH_MS);
	check(logged("tls-expired request") + logged("tls-other-host request") + logged("tls-self-signed request") +
		  logged("tls-old request") + logged("tls-old handshake") == 0, "no such server was told anything");
	check(logged("tls-expired accept") > 0 && logged("tls-old accept") > 0, "(they were connected to)");
}


/* A good answer, cut off after each of its bytes; the whole of it is the control. */
static void
cut_answers_are_refused(void)
{
	HttpPool   *pool = new_pool(AT_ONCE);
	int			whole = 162;	/* of fault_server's good() */
	int			refused = 0;

	for (int at = 0; at <= whole; at++)
	{
		char		path[32];

		(void) snprintf(path, sizeof(path), "/cut/%d", at);
		start_run(prepare(&runs[at], pool, at % 2 == 0 ? "plain" : "tls", path, ENOUGH_MS));
	}
	for (int at = 0; at <= whole; at++)
	{
		pthread_join(runs[at].thread, NULL);
		if (at == whole)
			check(answered(&runs[at], 200) && runs[at].answer.len == strlen(GOOD), "the whole answer is taken");
		else if (runs[at].status == PGE_UNAVAILABLE && runs[at].answer.sent && !runs[at].indiscreet)
			refused++;
		else
			printf("# cut after %d bytes: %s\n", at, pge_status_name(runs[at].status));
		pge_http_answer_wipe(&runs[at].answer);
	}
	check(refused == whole, "an answer that is cut off after any byte is refused (%d of %d)", refused, whole);
	pge_http_pool_free(pool);
}

static void
deadlines_are_kept(void)
{
	static const Case cases[] = {
		{"full", "/ok", PGE_UNAVAILABLE, 0, "in time: connecting took too long", false},
		{"tls-silent", "/ok", PGE_UNAVAILABLE, 0, "in time: the TLS handshake took too long", false},
		{"plain", "/silent", PGE_UNAVAILABLE, 0, "in time: waiting for the answer took too long", true},
		{"tls", "/silent", PGE_UNAVAILABLE, 0, "in time: waiting for the answer took too long", true},
		{"plain", "/silent/40", PGE_UNAVAILABLE, 0, "in time: reading the answer took too long", true},
		{"plain", "/silent/150", PGE_UNAVAILABLE, 0, "in time: reading the answer took too long", true},
		{"tls", "/silent/150", PGE_UNAVAILABLE, 0, "in time: reading the answer took too long", true},
		{"plain", "/drip", PGE_UNAVAILABLE, 0, "in time: ", true},
	};
	int			n = LENGTH(cases);
	HttpPool   *pool = new_pool(n + 1);
	Run		   *lookup = &runs[n];
	Run		   *slow = &runs[n + 1];
	int			sockets;
	int			inherited;
	int64_t		latest_ms = 0;

	for (int i = 0; i < n; i++)
	{
		prepare(&runs[i], pool, cases[i].listener, cases[i].path, cases[i].sent ? PHASE_MS : CONNECTING_MS);
		runs[i].expected = &cases[i];
		start_run(&runs[i]);
	}
	prepare(lookup, pool, "tls", "/ok", CONNECTING_MS);
	(void) snprintf(lookup->url, sizeof(lookup->url), "https://hangs.test/ok");
	start_run(lookup);

	for (int i = 0; i <= n; i++)
	{
		pthread_join(runs[i].thread, NULL);
		if (runs[i].took_ms - runs[i].deadline_in > latest_ms)
			latest_ms = runs[i].took_ms - runs[i].deadline_in;
		check(runs[i].took_ms >= runs[i].deadline_in && runs[i].took_ms < runs[i].deadline_in + LATE_MS,
			  "the deadline of %s ended it", runs[i].url);
		if (i < n)
			judge(&runs[i]);
	}
	prepare(slow, pool, "full", "/ok", ENOUGH_MS);
	exchange(slow);
	check(slow->status == PGE_UNAVAILABLE && !slow->answer.sent && slow->took_ms < ENOUGH_MS / 2 &&
		  strstr(slow->detail, "in time: connecting took too long") != NULL,
		  "connecting takes no longer than it may, whatever the deadline is");
	check(lookup->status == PGE_UNAVAILABLE && !lookup->answer.sent &&
		  strstr(lookup->detail, "in time: the name lookup took too long") != NULL, "a lookup that hangs");
	(void) count_descriptors(&sockets, &inherited);
	check(sockets == 0, "no connection is kept on which an answer did not come in time (%d)", sockets);
	printf("# the latest of these deadlines was %lld ms late\n", (long long) latest_ms);
	pge_http_pool_free(pool);
	check(true, "the pool goes while the lookup still hangs");
	pthread_mutex_lock(&lookup_lock);
	lookups_go_on = true;
	pthread_cond_broadcast(&lookup_wake);
	pthread_mutex_unlock(&lookup_lock);
}

/* With nothing left, and nobody who waits, from the start. */
static void
deadlines_that_are_past(void)
{
	HttpPool   *pool = new_pool(2);
	atomic_bool cancelled = true;
	Run		   *run = &runs[0];
	int			before;

	check(answered(ask(pool, "plain", "/ok"), 200), "(a connection is there)");
	before = logged("plain request");
	exchange(prepare(run, pool, "plain", "/silent", -1000));
	check(run->status == PGE_UNAVAILABLE && !run->answer.sent && run->took_ms < LATE_MS,
		  "a deadline that has passed");
	prepare(run, pool, "plain", "/silent", ENOUGH_MS);
	run->cancelled = &cancelled;
	exchange(run);
	check(run->status == PGE_UNAVAILABLE && !run->answer.sent && run->took_ms < LATE_MS &&
		  strstr(run->detail, "Nobody waits") != NULL, "a call that was cancelled before it began");
	check(answered(ask(pool, "plain", "/ok"), 200) && logged("plain request") == before + 1,
		  "nothing is said to the service for either");
	pge_http_pool_free(pool);
}

static void
cancel_is_seen(void)
{
	HttpPool   *pool = new_pool(1);
	atomic_bool cancelled = false;
	Run		   *run = prepare(&runs[0], pool, "plain", "/silent/0/cancel", ENOUGH_MS);
	Run		   *queued = prepare(&runs[1], pool, "plain", "/ok?queued", ENOUGH_MS);
	int64_t		start;

	run->cancelled = &cancelled;
	queued->cancelled = &cancelled;
	start_run(run);
	check(wait_for_log("plain request POST /silent/0/cancel"), "(the service has the request)");
	start_run(queued);
	start = now_ms();
	atomic_store(&cancelled, true);
	pthread_join(run->thread, NULL);
	pthread_join(queued->thread, NULL);
	printf("# a cancel was seen after %lld ms\n", (long long) (now_ms() - start));
	check(run->status == PGE_UNAVAILABLE && run->answer.sent && run->took_ms < ENOUGH_MS &&
		  strstr(run->detail, "Nobody waits for the answer of") != NULL, "a call under way ends when it is cancelled");
	check(queued->status == PGE_UNAVAILABLE && !queued->answer.sent, "so does one that waits for a connection");
	check(answered(ask(pool, "plain", "/ok"), 200), "the pool goes on");
	pge_http_pool_free(pool);
}

static void
connections_are_kept(void)
{
	static const char *const listeners[] = {"plain", "tls"};

	for (int i = 0; i < 2; i++)
	{
		HttpPool   *pool = new_pool(4);
		int			before = logged("%s accept", listeners[i]);
		int			good = 0;

		for (int k = 0; k < 20; k++)
			good += answered(ask(pool, listeners[i], "/ok"), 200);
		check(good == 20 && logged("%s accept", listeners[i]) == before + 1,
			  "%s: 20 exchanges on one connection", listeners[i]);
		check(answered(ask(pool, listeners[i], "/close"), 200) && answered(ask(pool, listeners[i], "/ok"), 200) &&
			  logged("%s accept", listeners[i]) == before + 2, "%s: a closed one is replaced", listeners[i]);
		good = 0;
		for (int k = 0; k < 10; k++)
			good += answered(ask(pool, listeners[i], "/last"), 200);
		check(good == 10, "%s: one that closes behind our back costs nothing", listeners[i]);
		pge_http_pool_free(pool);
	}
}

/* Whose connections keep what was last said on them. */
static void
http2_is_not_spoken(void)
{
	HttpPool   *pool = new_pool(1);

	check(answered(ask(pool, "tls-h2", "/ok"), 200) && logged("tls-h2 handshake http/1.1") == 1,
		  "HTTP/1.1, where the service would rather speak HTTP/2");
	pge_http_pool_free(pool);
}

/* What was sent on a kept connection before the request is no answer to it. */
static void
answers_are_asked_for(void)
{
	static const char *const listeners[] = {"plain", "tls"};

	for (int i = 0; i < 2; i++)
	{
		HttpPool   *pool = new_pool(1);
		int			before = logged("%s accept", listeners[i]);
		char		path[64];
		char		mark[32];
		Run		   *run;

		(void) snprintf(mark, sizeof(mark), "forged-%s", listeners[i]);
		(void) snprintf(path, sizeof(path), "/two-voices/20/%s", mark);
		check(answered(ask(pool, listeners[i], path), 200) && wait_for_log(mark), "(more than was asked for)");
		run = ask(pool, listeners[i], "/echo");
		check(answered(run, 200) && run->answer.len == CANARY_LEN && has_canary(run->answer.body, CANARY_LEN) &&
			  logged("%s accept", listeners[i]) == before + 2,
			  "%s: an answer that came before the question is not taken for its answer", listeners[i]);
		pge_http_pool_free(pool);
	}
}

static void
connections_are_few(void)
{
	HttpPool   *pool = new_pool(4);
	int			before = logged("tls accept");
	int			good = 0;

	for (int i = 0; i < 50; i++)
		start_run(prepare(&runs[i], pool, "tls", "/held/20", ENOUGH_MS));
	for (int i = 0; i < 50; i++)
	{
		pthread_join(runs[i].thread, NULL);
		good += answered(&runs[i], 200);
		pge_http_answer_wipe(&runs[i].answer);
	}
	check(good == 50, "50 callers at once are answered (%d)", good);
	check(logged("tls accept") - before <= 4, "on 4 connections at most (%d)", logged("tls accept") - before);
	pge_http_pool_free(pool);
}

/* The second waits longer than a connection may take to be made, and is served. */
static void
waiting_has_its_deadline(void)
{
	HttpPool   *pool = new_pool(1);
	Run		   *holder = prepare(&runs[0], pool, "plain", "/held/2600", ENOUGH_MS);
	Run		   *patient = prepare(&runs[1], pool, "plain", "/ok?patient", ENOUGH_MS);
	Run		   *hasty = prepare(&runs[2], pool, "plain", "/ok?hasty", SHORT_MS);

	start_run(holder);
	check(wait_for_log("plain request POST /held/2600"), "(the only connection is in use)");
	start_run(patient);
	start_run(hasty);
	pthread_join(hasty->thread, NULL);
	check(hasty->status == PGE_UNAVAILABLE && !hasty->answer.begun && !hasty->answer.sent && hasty->took_ms >= SHORT_MS &&
		  strstr(hasty->detail, "in time: waiting for a free connection took too long") != NULL,
		  "who waits for a connection keeps the deadline");
	check(logged("plain request POST /ok?hasty") == 0, "and has sent nothing");
	pthread_join(holder->thread, NULL);
	pthread_join(patient->thread, NULL);
	check(answered(holder, 200) && answered(patient, 200), "who has time is served in turn");
	pge_http_answer_wipe(&holder->answer);
	pge_http_answer_wipe(&patient->answer);
	pge_http_pool_free(pool);
}

/* libcurl sends again what a kept connection lost.  A change must not be. */
static void
changes_are_sent_once(void)
{
	HttpPool   *pool = new_pool(2);
	Run		   *run = &runs[0];

	check(answered(ask(pool, "plain", "/ok"), 200), "(a connection is kept)");
	check(answered(ask(pool, "plain", "/second-lost?again"), 200) &&
		  logged("plain request POST /second-lost?again") == 2, "(what it loses is sent again)");
	prepare(run, pool, "plain", "/second-lost?once", ENOUGH_MS)->once = true;
	exchange(run);
	check(answered(run, 200) && logged("plain request POST /second-lost?once") == 1,
		  "a change has a connection of its own");
	pge_http_answer_wipe(&run->answer);
	prepare(run, pool, "plain", "/lost?once", ENOUGH_MS)->once = true;
	exchange(run);
	check(run->status == PGE_UNAVAILABLE && run->answer.sent && logged("plain request POST /lost?once") == 1,
		  "and is not sent again when its answer is lost");
	pge_http_pool_free(pool);
}

static void
certificates_count(void)
{
	char		cert[96];
	char		key[96];
	char		locked[96];
	char		combined[96];
	struct
	{
		const char *ca;
		const char *cert;
		const char *key;
		PgeStatus	status;
		const char *detail;
		const char *what;
	}			cases[] = {
		{ca_file, cert, key, PGE_OK, "", "the right certificate"},
		{ca_file, NULL, NULL, PGE_UNAVAILABLE, "127.0.0.1:", "none"},
		{ca_file, combined, NULL, PGE_OK, "", "certificate and key in one file"},
		{ca_file, cert, locked, PGE_INVALID, "cannot be set up", "a key that wants a passphrase"},
		{ca_file, cert, ca_file, PGE_INVALID, "cannot be set up", "a key file without a key"},
		{ca_file, "/nowhere/cert.pem", key, PGE_INVALID, "cannot be set up", "a certificate that is not there"},
		{"/nowhere/ca.pem", cert, key, PGE_INVALID, "cannot be set up", "a CA file that is not there"},
		{cert, cert, key, PGE_UNAVAILABLE, "self-signed certificate", "another CA"},
		{NULL, cert, key, PGE_UNAVAILABLE, "self-signed certificate", "the system's CAs"},
	};

	(void) snprintf(cert, sizeof(cert), "%s/client.pem", directory);
	(void) snprintf(key, sizeof(key), "%s/client.key", directory);
	(void) snprintf(locked, sizeof(locked), "%s/locked.key", directory);
	(void) snprintf(combined, sizeof(combined), "%s/combined.pem", directory);
	for (int i = 0; i < LENGTH(cases); i++)
	{
		HttpPool   *pool = new_pool_as(2, cases[i].ca, cases[i].cert, cases[i].key);
		int			before = logged("tls-client handshake client");
		Run		   *run = ask(pool, "tls-client", "/ok");
		bool		good = cases[i].status == PGE_OK;

		if (!check(run->status == cases[i].status && strstr(run->detail, cases[i].detail) != NULL &&
				   logged("tls-client handshake client") == before + good,
				   "client certificates: %s", cases[i].what))
			printf("#   %s: %s\n", pge_status_name(run->status), run->detail);
		pge_http_pool_free(pool);
	}
	check(logged("tls-client request") == 2, "nothing else was told to that service");
}

static void
urls_are_judged(void)
{
	static const char *const refused[] = {
		"http://localhost:%d/ok", "http://127.0.0.1.evil.test:%d/ok", "http://192.0.2.1:%d/ok",
		"http://[::ffff:127.0.0.1]:%d/ok", "http://0:%d/ok", "http://0.0.0.0:%d/ok", "http://[::]:%d/ok",
		"http://127.1:%d/ok", "http://0x7f.0.0.1:%d/ok", "http://0177.0.0.1:%d/ok", "http://2130706433:%d/ok",
		"http://127.0.0.1%%2e:%d/ok", "http://%%3127.0.0.1:%d/ok", "http://x@127.0.0.1:%d/ok",
		"http://x:y@127.0.0.1:%d/ok", "https://x@127.0.0.1:%d/ok", "http://127.0.0.1:%d/ok#x", "http:127.0.0.1:%d/ok",
		"http:/127.0.0.1:%d/ok", "http:///127.0.0.1:%d/ok", "//127.0.0.1:%d/ok", "127.0.0.1:%d/ok",
		"ftp://127.0.0.1:%d/ok", "file:///etc/passwd?%d", "gopher://127.0.0.1:%d/ok", "dict://127.0.0.1:%d/ok",
		"http://127.0.0.1:%d\\@evil.test/ok", "http://127.0.0.1 :%d/ok", "http://127.0.0.1:%d/o k",
		"http://127.0.0.1:%d/ok\r\nX: y", "http://127.0.0.1:9%d99/ok", "http://127.0.0.1:-%d/ok",
		"http://127.0.0.1:%dx/ok", "http://\xef\xbc\x91.evil.test:%d/ok", "https://evil.test\xe3\x80\x82:%d/ok", "%d", ""
	};
	static const char *const headers[][2] = {
		{"X-Good\r\nX-Bad", "x"}, {"X Bad", "x"}, {"X-Bad:", "x"}, {"", "x"}, {"X-Bad", "x\r\ny: z"},
		{"X-Bad", "x\ny"}, {"X-Bad", "x\x7f"}
	};
	HttpPool   *pool = new_pool(2);
	int			before = logged("plain accept");
	int			good = 0;
	HttpAnswer	answer;
	char		detail[KMS_DETAIL_LEN];

	for (int i = 0; i < LENGTH(refused); i++)
	{
		Run		   *run = prepare(&runs[0], pool, "plain", "/ok", ENOUGH_MS);
		size_t		size = sizeof(run->url);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void) snprintf(run->url, size, refused[i], port_of("plain"));
#pragma GCC diagnostic pop
		exchange(run);
		if (run->status == PGE_INVALID && !run->answer.sent && run->detail[0] != '\0')
			good++;
		else
			printf("# %s: %s, %s\n", run->url, pge_status_name(run->status), run->detail);
	}
	check(good == LENGTH(refused), "%d of %d URLs are refused", good, LENGTH(refused));
	for (int i = 0; i < LENGTH(headers); i++)
	{
		HttpRequest request = {.method = "GET", .url = "http://127.0.0.1:1/", .nheaders = 1,
		.deadline_ms = UINT64_MAX};

		request.headers[0] = (HttpHeader)
		{
			headers[i][0], headers[i][1]
		};
		check_status(pge_http_exchange(pool, &request, &answer, detail), PGE_INVALID, "header %d is refused", i);
	}
	check(logged("plain accept") == before, "and nothing was connected to");
	pge_http_pool_free(pool);
}

static void
addresses_are_judged(void)
{
	static const struct
	{
		const char *text;
		bool		loopback;
	}			cases[] = {
		{"127.0.0.1", true}, {"127.255.255.254", true}, {"126.255.255.255", false}, {"128.0.0.1", false},
		{"0.0.0.0", false}, {"169.254.169.254", false}, {"::1", true}, {"::", false}, {"::2", false},
		{"::ffff:127.0.0.1", false}, {"fe80::1", false}, {"100::1", false}
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		struct sockaddr_in in = {.sin_family = AF_INET};
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		bool		loopback;

		if (inet_pton(AF_INET, cases[i].text, &in.sin_addr) == 1)
			loopback = pge_http_is_loopback((struct sockaddr *) &in, sizeof(in));
		else if (inet_pton(AF_INET6, cases[i].text, &in6.sin6_addr) == 1)
			loopback = pge_http_is_loopback((struct sockaddr *) &in6, sizeof(in6));
		else
			abort();
		check(loopback == cases[i].loopback, "%s is %sthis machine", cases[i].text, cases[i].loopback ? "" : "not ");
	}
}

/* 0: refused, 1: this machine, 2: a metadata service. */
static int
where_to(const char *url, bool metadata)
{
	HttpTarget	target;
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status = pge_http_target(url, metadata, &target, detail);

	if (status != PGE_OK)
		return status == PGE_INVALID && detail[0] != '\0' && !target.plain && !target.metadata ? 0 : -1;
	return target.metadata ? 2 : target.plain ? 1 : 3;
}

/* Plain http leads there from a pool for metadata, to exactly these, in this spelling. */
static void
metadata_services_are_judged(void)
{
	static const char *const known[] = {
		"http://169.254.169.254/latest/api/token", "http://169.254.170.2/v2/credentials/x", "http://169.254.170.23/v1/credentials",
		"http://[fd00:ec2::254]/latest/api/token", "http://[fd00:ec2::23]/v1/credentials", "http://169.254.170.2:80/",
	};
	static const char *const hostile[] = {
		"http://169.254.169.253/", "http://169.254.170.1/", "http://169.254.170.24/", "http://169.254.1.1/", "http://198.51.100.1/",
		"http://192.0.2.1/", "http://0.0.0.0/", "http://[::]/", "http://[fe80::1]/", "http://[fd00:ec2::255]/",
		"http://[fd00:ec2:0:0:0:0:0:254]/", "http://[FD00:EC2::254]/", "http://[fd00:ec2::0254]/", "http://[fd00:ec2::254%25eth0]/",
		"http://[::ffff:169.254.169.254]/", "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::a9fe:a9fe]/",
		"http://169.254.43518/", "http://169.16689662/", "http://2852039166/", "http://0xa9fea9fe/", "http://0xa9.0xfe.0xa9.0xfe/",
		"http://0251.0376.0251.0376/", "http://169.254.169.0254/", "http://169.254.169.254./", "http://169.254.169.254.evil.test/",
		"http://metadata.google.internal/", "http://instance-data.ec2.internal/", "http://localhost/", "http://evil.test/",
		"http://evil.test@169.254.169.254/", "http://169.254.169.254@evil.test/", "http://169.254.169.254:80@evil.test/",
		"http://169.254.169.254#@evil.test/", "http://169.254.169.254\\@evil.test/", "http://evil.test#169.254.169.254/",
		"http://evil.test/169.254.169.254", "http://evil.test/?http://169.254.169.254/", "http://169.254.169.254%2eevil.test/",
		"http://%31%36%39.254.169.254/", "http://169.254.169.254%00.evil.test/", "http://169.254.169.254 /", "http:169.254.169.254/",
		"http:///169.254.169.254/", "http:/169.254.169.254/", "//169.254.169.254/", "169.254.169.254/", "ftp://169.254.169.254/",
		"file://169.254.169.254/etc/passwd", "gopher://169.254.169.254/", "http://169.254.169.254:99999/", "http://169.254.169.254:-1/",
		"http://169.254.169.254:x/", "http://169.254.169.254,evil.test/", "http://169.254.169.254;evil.test/",
		"http://\xef\xbc\x91\xef\xbc\x96\xef\xbc\x99.254.169.254/", ("http://169\xe3\x80\x82" "254.169.254/"), "http://169.254.169.254\r\nHost: x/",
	};
	static const struct
	{
		const char *text;
		bool		metadata;
	}			addresses[] = {
		{"169.254.169.254", true}, {"169.254.170.2", true}, {"169.254.170.23", true}, {"169.254.169.253", false},
		{"127.0.0.1", false}, {"0.0.0.0", false}, {"198.51.100.1", false}, {"fd00:ec2::254", true}, {"fd00:ec2::23", true},
		{"fd00:ec2::2", false}, {"::1", false}, {"::ffff:169.254.169.254", false}, {"fe80::a9fe:a9fe", false},
	};
	HttpPool   *pool = new_pool(1);
	int			good = 0;
	HttpRequest request = {.method = "GET", .url = "http://169.254.169.254/latest/api/token", .deadline_ms = UINT64_MAX};
	HttpAnswer	answer;
	char		detail[KMS_DETAIL_LEN];

	for (int i = 0; i < LENGTH(known); i++)
		check(where_to(known[i], true) == 2 && where_to(known[i], false) == 0, "%s is asked for metadata alone", known[i]);
	for (int i = 0; i < LENGTH(hostile); i++)
		if (where_to(hostile[i], true) == 0 && where_to(hostile[i], false) == 0)
			good++;
		else
			printf("# %s is asked\n", hostile[i]);
	check(good == LENGTH(hostile), "%d of %d others are refused", good, LENGTH(hostile));
	check(where_to("http://127.0.0.1:1/", true) == 1 && where_to("https://evil.test/", true) == 3, "what else was asked still is");
	for (int i = 0; i < LENGTH(addresses); i++)
	{
		struct sockaddr_in in = {.sin_family = AF_INET};
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		bool		metadata;

		if (inet_pton(AF_INET, addresses[i].text, &in.sin_addr) == 1)
			metadata = pge_http_is_metadata((struct sockaddr *) &in, sizeof(in));
		else if (inet_pton(AF_INET6, addresses[i].text, &in6.sin6_addr) == 1)
			metadata = pge_http_is_metadata((struct sockaddr *) &in6, sizeof(in6));
		else
			abort();
		check(metadata == addresses[i].metadata, "%s is %sa metadata service", addresses[i].text, addresses[i].metadata ? "" : "not ");
	}
	check_status(pge_http_exchange(pool, &request, &answer, detail), PGE_INVALID, "a pool for services does not ask for metadata");
	check(!answer.begun && !answer.sent, "nothing was connected to");
	pge_http_pool_free(pool);
}

/* What is said of an answer, and what a request looks like over there. */
static void
headers_are_read(void)
{
	HttpPool   *pool = new_pool(2);
	const HttpAnswer *answer = &ask(pool, "plain", "/ok")->answer;
	Run		   *run = &runs[0];

	check(answer->len == strlen(GOOD) && strcmp((const char *) answer->body, GOOD) == 0, "the body, with a zero byte");
	check(strcmp(answer->content_type, "application/json") == 0, "Content-Type");
	check(strcmp(answer->request_id, "request-1") == 0 && answer->error_type[0] == '\0', "the request's id, and no error");
	check(answer->date == GOOD_DATE, "Date");
	check(answer->retry_after_ms == -1, "no Retry-After");
	answer = &ask(pool, "plain", "/no-content")->answer;
	check(answer->body != NULL && answer->len == 0 && answer->body[0] == '\0', "an empty body");
	check(answer->content_type[0] == '\0' && answer->request_id[0] == '\0' && answer->date == 0,
		  "what it did not say is not there");
	check(ask(pool, "plain", "/wait-seconds")->answer.retry_after_ms == 7000, "Retry-After in seconds");
	check(ask(pool, "plain", "/wait-long")->answer.retry_after_ms == INT32_MAX, "an absurd one is the longest there is");
	check(ask(pool, "plain", "/wait-date")->answer.retry_after_ms == 90000, "as a date, by the service's clock");
	check(ask(pool, "plain", "/wait-past")->answer.retry_after_ms == 0, "in the past");
	answer = &ask(pool, "plain", "/header-strange")->answer;
	check(strcmp(answer->request_id, "a???b") == 0 && strcmp(answer->error_type, "x#Y:?") == 0 && strlen(answer->content_type) == sizeof(answer->content_type) - 1 &&
		  answer->date == 0 && answer->retry_after_ms == -1, "strange ones are made harmless");
	answer = &ask(pool, "plain", "/interim")->answer;
	check(strcmp(answer->request_id, "request-1") == 0 && answer->retry_after_ms == -1 && answer->len == strlen(GOOD),
		  "interim answers leave nothing behind");
	answer = &ask(pool, "plain", "/trailers")->answer;
	check(strcmp(answer->request_id, "request-1") == 0 && answer->len == strlen(GOOD), "nor do trailers");
	answer = &ask(pool, "plain", "/largest")->answer;
	check(answer->len == HTTP_ANSWER_MAX && answer->body[answer->len - 1] == 'x', "a body of 1 MiB");
	check(strcmp((const char *) ask(pool, "plain", "/seen/names")->answer.body,
				 "accept authorization content-length content-type host user-agent") == 0,
		  "a request has no header that it need not have");
	prepare(run, pool, "plain", "/seen/names", ENOUGH_MS)->padding = 1200000;
	exchange(run);
	check(answered(run, 200) && strstr((const char *) run->answer.body, "x-padding") != NULL &&
		  strstr((const char *) run->answer.body, "expect") == NULL, "nor has a long one");
	pge_http_answer_wipe(&run->answer);
	check(strcmp((const char *) ask(pool, "plain", "/seen/user-agent")->answer.body, "pg_envelope/" PGE_VERSION) == 0,
		  "User-Agent");
	check(has_canary(ask(pool, "tls", "/echo")->answer.body, CANARY_LEN), "the body arrives as it was");
	pge_http_pool_free(pool);
}

static void
methods_are_sent(void)
{
	static const char *const methods[] = {"GET", "HEAD", "DELETE", "PUT", "LIST"};
	HttpPool   *pool = new_pool(2);

	for (int i = 0; i < LENGTH(methods); i++)
	{
		char		line[64];
		Run		   *run = prepare(&runs[0], pool, "plain", "/no-content?method", ENOUGH_MS);

		run->method = methods[i];
		exchange(run);
		(void) snprintf(line, sizeof(line), "plain request %s /no-content?method 0", methods[i]);
		check(answered(run, 204) && logged("%s", line) == 1, "%s", methods[i]);
		pge_http_answer_wipe(&run->answer);
	}
	pge_http_pool_free(pool);
}

/* --- the process ---------------------------------------------------------- */

/*
 * OpenSSL would ask for the passphrase of a key, at the terminal if there is
 * one.  In a process of its own, which may have one; before there are threads.
 */
static void
no_terminal_is_asked(void)
{
	int			terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	char		key[96];
	char		cert[96];
	char		printed[64];
	int			status = -1;
	pid_t		child;

	(void) snprintf(key, sizeof(key), "%s/locked.key", directory);
	(void) snprintf(cert, sizeof(cert), "%s/client.pem", directory);
	if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
		abort();
	child = fork();
	if (child == 0)
	{
		HttpPool   *pool;

		(void) alarm(ENOUGH_MS / 1000);
		if (setsid() < 0 || open(ptsname(terminal), O_RDWR | O_CLOEXEC) < 0 || open("/dev/tty", O_RDWR | O_CLOEXEC) < 0)
			_exit(2);
		pool = new_pool_as(1, ca_file, cert, key);
		_exit(ask(pool, "tls-client", "/ok")->status == PGE_INVALID ? 0 : 1);
	}
	check(waitpid(child, &status, 0) == child && status == 0, "a key with a passphrase is refused at a terminal too");
	check(read(terminal, printed, sizeof(printed)) <= 0, "which is not asked");
	close(terminal);
}

/* The agent's other way out: "ls" itself has the fourth. */
static void
check_what_programs_get(void)
{
	Passphrase	printed;
	char		detail[KMS_DETAIL_LEN];
	PgeStatus	status = pge_passphrase_ask("ls /proc/self/fd | tr '\\n' ' '", NULL, &printed, detail);

	if (!check(status == PGE_OK && printed.len == 8 && memcmp(printed.bytes, "0 1 2 3 ", 8) == 0,
			   "a passphrase command gets no descriptor of libcurl's"))
		printf("#   %s%.*s\n", status == PGE_OK ? "" : detail, (int) printed.len, printed.bytes);
}

static void
descriptors_are_kept_in_order(void)
{
	int			sockets;
	int			inherited;
	int			before = count_descriptors(&sockets, &inherited);
	HttpPool   *pool = new_pool(4);

	check(sockets == 0, "no connection is left from before");
	check(answered(ask(pool, "plain", "/ok"), 200) && answered(ask(pool, "tls", "/ok"), 200), "(two connections)");
	(void) count_descriptors(&sockets, &inherited);
	check(sockets == 2 && inherited == 0, "connections are not for the programs that the agent starts");
	check_what_programs_get();
	(void) ask(pool, "plain", "/reset/0");
	(void) ask(pool, "tls-expired", "/ok");
	(void) ask(pool, "tls-cut", "/ok");
	pge_http_pool_free(pool);
	check(count_descriptors(&sockets, &inherited) == before, "no descriptor is left behind");
}

/* Every thread but ours and those of the sanitizers; there is one pool. */
static void
signals_are_blocked(void)
{
	HttpPool   *pool = new_pool(1);
	DIR		   *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int			threads = 0;
	int			blocked = 0;

	/* (the C library itself blocks all until a thread runs) */
	check(answered(ask(pool, "plain", "/ok"), 200), "(the thread runs)");
	while (tasks != NULL && (entry = readdir(tasks)) != NULL)
	{
		char		path[300];
		char		line[256];
		FILE	   *status;
		unsigned long long mask = 0;

		if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == getpid())
			continue;
		(void) snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		status = fopen(path, "re");
		while (status != NULL && fgets(line, sizeof(line), status) != NULL)
			if (sscanf(line, "SigBlk: %llx", &mask) == 1)
			{
				unsigned long long wanted = 1ULL << (SIGTERM - 1) | 1ULL << (SIGHUP - 1) | 1ULL << (SIGUSR1 - 1) |
				1ULL << (SIGCHLD - 1) | 1ULL << (SIGALRM - 1) | 1ULL << (SIGPIPE - 1) | 1ULL << (SIGINT - 1);

				threads++;
				blocked += (mask & wanted) == wanted;
			}
		if (status != NULL)
			fclose(status);
	}
	if (tasks != NULL)
		closedir(tasks);
	check(threads > 0 && blocked > 0, "a pool's thread takes no signal (%d of %d)", blocked, threads);
	pge_http_pool_free(pool);
}

/* A sanitizer's memory is not for reading, and it keeps what was freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEMORY_IS_WATCHED 1
#endif
#endif

#ifdef MEMORY_IS_WATCHED
static void
nothing_stays_in_memory(void)
{
	(void) ask(NULL, NULL, NULL);
}
#else
/*
 * The end of what can be read from there on.  A thread's guard page is part of the stack's
 * writable mapping (glibc 2.42, Linux 6.13), and the kernel does not read it either.
 */
static const char *
readable_until(int memory, const char *from, const char *to)
{
	char		byte;

	while (from < to && pread(memory, &byte, 1, (off_t) (uintptr_t) from) == 1)
		from += PAGE_LEN;
	return from;
}

static int
count_canaries_between(const char *from, const char *to)
{
	int			count = 0;

	for (const char *p = from; (p = memchr(p, hidden_canary[0] ^ 0xff, (size_t) (to - p))) != NULL; p++)
		count += p + CANARY_LEN <= to && has_canary(p, CANARY_LEN);
	return count;
}

/* All of our own writable memory. */
static int
count_canaries(void)
{
	FILE	   *maps = fopen("/proc/self/maps", "re");
	int			memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char		line[512];
	int			count = 0;

	if (maps == NULL || memory < 0)
		abort();
	while (fgets(line, sizeof(line), maps) != NULL)
	{
		uintptr_t	from;
		uintptr_t	to;
		char		rights[8];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, rights) != 3 || strncmp(rights, "rw", 2) != 0 ||
			strstr(line, "[vv") != NULL)
			continue;
		for (const char *p = (const char *) from, *end; p < (const char *) to; p = end + PAGE_LEN)
		{
			end = readable_until(memory, p, (const char *) to);
			count += count_canaries_between(p, end);
		}
	}
	close(memory);
	fclose(maps);
	return count;
}

/* While connections are kept, too: nobody knows for how long. */
static void
nothing_stays_in_memory(void)
{
	static const char *const listeners[] = {"plain", "tls"};
	char	   *planted = malloc(CANARY_LEN + 1);
	HttpPool   *pool = new_pool(2);
	int			sockets;
	int			inherited;
	int			good = 0;

	if (planted == NULL)
		abort();
	/* buffers that grow with the canary in them, and in the end short ones */
	for (int i = 0; i < 20; i++)
	{
		prepare(&runs[0], pool, listeners[i % 2], "/echo", ENOUGH_MS)->padding = i < 10 ? 30000 : 0;
		exchange(&runs[0]);
		good += answered(&runs[0], 200) && runs[0].answer.len == CANARY_LEN + runs[0].padding &&
			has_canary(runs[0].answer.body, runs[0].answer.len);
		pge_http_answer_wipe(&runs[0].answer);
	}
	(void) ask(NULL, NULL, NULL);
	(void) count_descriptors(&sockets, &inherited);
	check(good == 20 && sockets == 2, "(20 exchanges on two connections, which are kept)");
	show_canary(planted);
	check(count_canaries() == 1, "(a canary in memory is found)");
	pge_secret_wipe(planted, CANARY_LEN + 1);
	free(planted);
	check(count_canaries() == 0, "no header and no body of all these exchanges is in memory, while connections are kept");
	pge_http_pool_free(pool);
	check(count_canaries() == 0, "nor when they are closed");
}
#endif

int
main(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	char		canary[CANARY_LEN + 1];

	sigaction(SIGPIPE, &ignore, NULL);
	ask_for_session_keys();
	if (!start_server("fault_server.py", NULL))
	{
		stop_server();
		printf("SKIP: http_test needs python3 and openssl\n");
		return 77;
	}
	memset(padding, 'x', sizeof(padding) - 1);
	show_canary(canary);
	mark_key(canary);
	pge_secret_wipe(canary, sizeof(canary));
	weaken_surroundings();
	no_terminal_is_asked();
	descriptors_are_kept_in_order();
	signals_are_blocked();
	answers_are_taken();
	bad_answers_are_refused();
	cut_answers_are_refused();
	headers_are_read();
	methods_are_sent();
	urls_are_judged();
	addresses_are_judged();
	metadata_services_are_judged();
	connections_are_kept();
	connections_are_few();
	answers_are_asked_for();
	http2_is_not_spoken();
	changes_are_sent_once();
	certificates_count();
	check(access(session_keys, F_OK) != 0 && errno == ENOENT, "no session's keys are written to $SSLKEYLOGFILE");
	cancel_is_seen();
	waiting_has_its_deadline();
	deadlines_that_are_past();
	deadlines_are_kept();
	nothing_stays_in_memory();
	check(atomic_load(&freed_keys) == 0, "and no library freed a block with one in it (%d)", atomic_load(&freed_keys));
	check(planted_keys_are_seen(), "(a planted one is seen)");
	stop_server();
	return check_done();
}
