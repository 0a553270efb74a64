/*-------------------------------------------------------------------------
 *
 * vault_faults_test.c
 *	  Requests to a Transit engine that answers wrongly in nearly three thousand ways.
 *
 * From requests.c down to the socket all is the product's, and so is TLS; the service is
 * test/tools/fault_vault.py, on loopback, a child of ours, whose list says which cases there
 * are and what is to come of each.  No wrong key may come of any, and no wrapping that
 * does not open; no word of a body or a token get into a detail, no deadline be missed; and the
 * next request has to be answered rightly.  No library may free the token or a DEK as it is.
 *
 * Who is late because the machine had no time for us is counted and printed: a case may
 * then end as "unavailable", and only what is far too late fails.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/kms/http.h"
#include "agent/kms/json.h"
#include "agent/requests.h"
#include "check.h"
#include "fault_server.h"
#include "format/binding.h"
#include "freed_keys.h"

/* aws_faults_test.c says it for another service, and includes this. */
#ifndef FAULTS_SCRIPT
#include "agent/kms/kms_vault.h"
#define FAULTS_SCRIPT			"fault_vault.py"
#define FAULTS_PROVIDER			pge_kms_vault
#define FAULTS_SECTION			"[vault v]\naddress = https://%s\nca_file = %s/ca.pem\nauth = token_file\ntoken_file = %s\nallow_keys = transit/keys/" "*\nallow_destroy = on\n"
#define FAULTS_CREDENTIAL		CANARY "-token.%s\n"
#define FAULTS_SECRET			CANARY "-token"
#define FAULTS_URI(address, key)	"vault://%s/transit/keys/%s", address, key
#define FAULTS_UNWRAP(key)		"tls request POST /v1/transit/decrypt/" key " "
#endif

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define SHORT_MS		400
#define PROMISED_MS		100		/* what is later is counted, */
#define CANCEL_MS		200
#define MOST_MS			500		/* at least two of three who wait to the end
								 * are no later */
#define LATE_MS			4000	/* and what is that late fails: a deadline
								 * that is forgotten ends by nothing, or by
								 * http_transfer.c's UNHEARD_MS */
#define ENOUGH_MS		30000
#define SLOW_MS			1000	/* nothing that is not asked to wait takes so
								 * long */
#define WORKERS			24
#define CASES_MAX		4000
#define KINDS_MAX		100
#define CANARY			"canary-4be1"
#define SHARED			"shared"
#define GROUP			3		/* requests at once, if it is in the plural */

/* A line of the list, and what came of it. */
typedef struct Case
{
	char		name[16];
	char		kind[32];
	char		request[16];
	char		where[32];
	uint64_t	allowed[GROUP]; /* a bit per PgeStatus */

	int			n;				/* answers */
	PgeStatus	statuses[GROUP];
	int64_t		late_ms;		/* past the deadline; negative: in time */
	bool		out_of_time;	/* and therefore "unavailable" */
	bool		indiscreet;
	bool		wrong_key;
	bool		untold;			/* a failure without a word */
	char		detail[PGE_FRAME_DETAIL_MAX + 1];
	PgeStatus	after;			/* of a good request on the same session */
	bool		wrong_key_after;
	bool		repeated;		/* that was asked more than once */
}			Case;

typedef struct Kind
{
	const char *name;
	int			cases;
	int			out_of_time;
	int			late;
	int64_t		worst_ms;
}			Kind;

static Case cases[CASES_MAX];
static int	ncases;
static Kind kinds[KINDS_MAX];
static int	nkinds;
static atomic_int next_case;
static atomic_int files_made;

/* The DEKs of all unwraps, and their wrappings; that of requests for one is the first. */
typedef struct Bound
{
	uint8_t		bytes[PGE_BINDING_MAX];
	PgeBytes	binding;
	uint8_t		check_value[PGE_CHECK_VALUE_LEN];
	uint8_t		wrapped[PGE_WRAPPED_MAX];
	size_t		wrapped_len;
	PgeSecret	dek;
	unsigned char text[64];
}			Bound;

static Bound bound[GROUP];

static pthread_mutex_t lookup_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t lookup_wake = PTHREAD_COND_INITIALIZER;
static bool lookups_go_on;

/* --- who is asked ----------------------------------------------------------- */

static PgeStatus
parse_nothing(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) uri;
	(void) key;
	(void) detail;
	return PGE_KEK_NOT_FOUND;
}

static PgeStatus
open_nothing(const KmsSettings *settings, KmsSession **session, char *detail)
{
	(void) settings;
	(void) detail;
	*session = (KmsSession *) &files_made;
	return PGE_OK;
}

static void
close_nothing(KmsSession *session)
{
	(void) session;
}

/* In the place of the local keyring. */
static const char *const no_settings[] = {NULL};
static const KmsProvider nothing = {
	.name = "local", .settings = no_settings, .parse_uri = parse_nothing, .open = open_nothing, .close = close_nothing
};
static const KmsProvider *const providers[] = {&nothing, &FAULTS_PROVIDER, NULL};

const KmsProvider *const *
pge_kms_providers(void)
{
	return providers;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, FAULTS_PROVIDER.name) == 0 ? &FAULTS_PROVIDER : strcmp(name, "local") == 0 ? &nothing : NULL;
}

/* Stands before the C library's: no name is known, and the lookup of one hangs. */
int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
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

static void
let_lookups_go_on(void)
{
	pthread_mutex_lock(&lookup_lock);
	lookups_go_on = true;
	pthread_cond_broadcast(&lookup_wake);
	pthread_mutex_unlock(&lookup_lock);
}

/* --- the service -------------------------------------------------------------- */

static int64_t
now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
pause_ms(int ms)
{
	struct timespec step = {0, ms * 1000000L};

	(void) nanosleep(&step, NULL);
}

static uint64_t
read_statuses(char *words)
{
	static const struct
	{
		const char *word;
		PgeStatus	status;
	}			known[] = {
		{"ok", PGE_OK}, {"unavailable", PGE_UNAVAILABLE}, {"throttled", PGE_THROTTLED}, {"unauthenticated", PGE_UNAUTHENTICATED},
		{"unusable", PGE_KEK_UNUSABLE}, {"missing", PGE_KEK_NOT_FOUND}, {"damaged", PGE_WRAPPING_DAMAGED}, {"denied", PGE_DENIED},
		{"invalid", PGE_INVALID}, {"used-up", PGE_USED_UP},
	};
	uint64_t	allowed = 0;
	char	   *rest = NULL;

	for (char *word = strtok_r(words, "|", &rest); word != NULL; word = strtok_r(NULL, "|", &rest))
	{
		int			i = 0;

		while (i < LENGTH(known) && strcmp(known[i].word, word) != 0)
			i++;
		if (i == LENGTH(known))
			abort();
		allowed |= UINT64_C(1) << known[i].status;
	}
	return allowed;
}

/* false: it is a listener. */
static bool
take_case(const char *line)
{
	Case	   *c = &cases[ncases];
	char		statuses[64];
	char	   *rest = NULL;

	if (ncases == CASES_MAX ||
		sscanf(line, "case %15s %31s %15s %31s %63s", c->name, c->kind, c->request, c->where, statuses) != 5)
		return false;
	for (int i = 0; i < GROUP; i++)
	{
		/* one for all, or one for each */
		char	   *mine = i == 0 || rest != NULL ? strtok_r(i == 0 ? statuses : NULL, "/", &rest) : NULL;

		c->allowed[i] = mine != NULL ? read_statuses(mine) : c->allowed[0];
	}
	ncases++;
	return true;
}

/* "host:port" of a listener, or of a name where nobody listens. */
static void
address_of(const char *listener, char address[64])
{
	int			port = find_port(listener);

	if (port != 0)
		(void) snprintf(address, 64, "127.0.0.1:%d", port);
	else
		(void) snprintf(address, 64, "%s:8200", listener);
}

/* --- sessions and requests ------------------------------------------------------ */

static void
write_file(const char *path, const char *text)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t		len = (ssize_t) strlen(text);

	if (fd < 0 || write(fd, text, (size_t) len) != len || close(fd) != 0)
		abort();
}

static KmsSessions *
open_sessions(const char *listener, const char *who, int timeout_ms, int concurrency)
{
	const KmsSettings settings = {.keyring_file = "", .timeout_ms = timeout_ms, .concurrency = concurrency};
	int			number = atomic_fetch_add(&files_made, 1);
	KmsSessions *sessions;
	char		detail[KMS_DETAIL_LEN];
	char		token[96];
	char		config[96];
	char		address[64];
	char		text[512];

	address_of(listener, address);
	(void) snprintf(token, sizeof(token), "%s/token.%d", directory, number);
	(void) snprintf(config, sizeof(config), "%s/config.%d", directory, number);
	(void) snprintf(text, sizeof(text), FAULTS_CREDENTIAL, who);
	write_file(token, text);
	(void) snprintf(text, sizeof(text), FAULTS_SECTION,
					address, directory, token);
	write_file(config, text);
	if (pge_kms_sessions_open(&settings, config, &sessions, detail) != PGE_OK || sessions->problem[0] != '\0')
		abort();
	return sessions;
}

static int
type_of(const char *request)
{
	return strncmp(request, "wrap", 4) == 0 ? PGE_FRAME_WRAP_NEW : strcmp(request, "describe") == 0 ? PGE_FRAME_DESCRIBE_KEK :
		strcmp(request, "rotate") == 0 ? PGE_FRAME_ROTATE_KEK : strcmp(request, "destroy") == 0 ? PGE_FRAME_DESTROY_KEK :
		strncmp(request, "rewrap", 6) == 0 ? PGE_FRAME_REWRAP : PGE_FRAME_UNWRAP;
}

static int
count_of(const char *request)
{
	return request[strlen(request) - 1] == 's' ? GROUP : 1;
}

/* One request, or GROUP; of a rewrap both KEKs are the same. */
static void
ask_all(const KmsSessions *sessions, const char *request, const char *listener, const char *key, int64_t deadline_ms,
		const atomic_bool *cancelled, const Bound * of, AgentAnswer *const *answers)
{
	static const atomic_bool never;
	AgentRequest requests[GROUP];
	PgeFrame	frames[GROUP];
	char		address[64];
	char		uri[256];
	int			n = count_of(request);

	address_of(listener, address);
	(void) snprintf(uri, sizeof(uri), FAULTS_URI(address, key));
	for (int i = 0; i < n; i++)
	{
		PgeFrame   *frame = &frames[i];

		memset(frame, 0, sizeof(*frame));
		frame->type = (uint8_t) type_of(request);
		frame->nuris = frame->type == PGE_FRAME_REWRAP ? 2 : 1;
		frame->uri[0] = text_bytes(uri);
		frame->uri[1] = frame->type == PGE_FRAME_REWRAP ? text_bytes(uri) : pge_bytes(NULL, 0);
		frame->binding = of[i].binding;
		frame->database = text_bytes("app");
		if (frame->type == PGE_FRAME_DESTROY_KEK)
			frame->immediate = pge_bytes((const uint8_t *) "\1", 1);
		if (frame->type == PGE_FRAME_UNWRAP || frame->type == PGE_FRAME_REWRAP)
		{
			frame->check_value = pge_bytes(of[i].check_value, PGE_CHECK_VALUE_LEN);
			frame->nwrapped = 1;
			frame->wrapped[0] = pge_bytes(of[i].wrapped, of[i].wrapped_len);
		}
		requests[i] = (AgentRequest)
		{
			frame, (uint64_t) deadline_ms, cancelled != NULL ? cancelled : &never, answers[i]
		};
	}
	pge_requests_perform(sessions, requests, n, cancelled != NULL ? cancelled : &never);
}

static AgentAnswer *
new_answer(void)
{
	AgentAnswer *answer = calloc(1, sizeof(*answer));

	if (answer == NULL)
		abort();
	return answer;
}

/* Of one; freed with drop_answer(). */
static AgentAnswer *
ask(const KmsSessions *sessions, const char *request, const char *listener, const char *key, int64_t deadline_ms,
	const atomic_bool *cancelled)
{
	AgentAnswer *answer = new_answer();

	ask_all(sessions, request, listener, key, deadline_ms, cancelled, bound, &answer);
	return answer;
}

static void
drop_answer(AgentAnswer *answer)
{
	pge_answer_wipe(answer);
	free(answer);
}

/* An answer may hold the right key, or none at all. */
static bool
has_wrong_key(const AgentAnswer *answer, int number)
{
	if (answer->status == PGE_OK && answer->has_dek)
		return !pge_secret_equal(answer->dek.bytes, bound[number].dek.bytes, PGE_DEK_LEN);
	return answer->has_dek || !all_zero(answer->dek.bytes, PGE_DEK_LEN) ||
		(answer->status != PGE_OK && (answer->nwrapped > 0 || answer->has_check_value));
}

static bool
is_indiscreet(const AgentAnswer *answer)
{
	bool		says = strstr(answer->detail, CANARY) != NULL;

	for (int i = 0; i < GROUP; i++)
		says = says || strstr(answer->detail, (const char *) bound[i].text) != NULL;
	return says;
}

/* --- the cases ------------------------------------------------------------------ */

static void
note(Case * c, int number, const AgentAnswer *answer, int64_t late_ms)
{
	c->n = number + 1;
	c->statuses[number] = answer->status;
	c->late_ms = late_ms;
	c->indiscreet = c->indiscreet || is_indiscreet(answer);
	c->wrong_key = c->wrong_key || has_wrong_key(answer, number);
	/* what has begun to wait for its last moments may say so a little earlier */
	c->out_of_time = c->out_of_time || (answer->status == PGE_UNAVAILABLE && (c->allowed[number] >> PGE_UNAVAILABLE & 1) == 0 && late_ms > -20);
	c->untold = c->untold || (answer->status != PGE_OK && answer->detail[0] == '\0');
	if (answer->status != PGE_OK || number == 0)
		(void) snprintf(c->detail, sizeof(c->detail), "%s", answer->detail);
}

/* A wrapping that was given out opens to its key, now that it is asked of a good key's name. */
static bool
opens(const KmsSessions *sessions, int number, const AgentAnswer *answer)
{
	Bound		made = bound[number];
	AgentAnswer *opened = new_answer();
	bool		right;

	if (answer->has_check_value)
		memcpy(made.check_value, answer->check_value, PGE_CHECK_VALUE_LEN);
	made.wrapped_len = answer->wrapped[0].len;
	memcpy(made.wrapped, answer->wrapped[0].bytes, made.wrapped_len);
	for (int64_t end = now_ms() + ENOUGH_MS;;)
	{
		ask_all(sessions, "unwrap", "tls", "good", end, NULL, &made, &opened);
		/* as ask_after() */
		if (opened->status != PGE_UNAVAILABLE || now_ms() >= end)
			break;
		pge_answer_wipe(opened);
		pause_ms(50);
	}
	right = opened->status == PGE_OK && (answer->has_check_value || pge_secret_equal(opened->dek.bytes, made.dek.bytes, PGE_DEK_LEN));
	drop_answer(opened);
	return right;
}

/*
 * Once more only where the machine was too slow to connect, perhaps five times in a row,
 * which opens the breaker: no case alone does.
 */
static void
ask_after(Case * c, const KmsSessions *shared)
{
	int64_t		end_ms = now_ms() + ENOUGH_MS;
	bool		again;

	do
	{
		int64_t		start_ms = now_ms();
		AgentAnswer *answer = ask(shared, "unwrap", "tls", "good", end_ms, NULL);
		bool		is_open = strstr(answer->detail, "times in a row") != NULL;

		c->after = answer->status;
		c->wrong_key_after = has_wrong_key(answer, 0);
		drop_answer(answer);
		again = c->after == PGE_UNAVAILABLE && (is_open || now_ms() - start_ms >= SLOW_MS) && now_ms() < end_ms;
		c->repeated = c->repeated || again;
		if (again)
			pause_ms(50);
	} while (again);
}

static void
run_case(Case * c, KmsSessions *shared)
{
	bool		own = strcmp(c->where, SHARED) != 0;
	const char *listener = own ? c->where : "tls";
	KmsSessions *sessions = own ? open_sessions(listener, c->name, SHORT_MS, 2) : shared;
	int64_t		deadline_ms = now_ms() + SHORT_MS;
	int			n = count_of(c->request);
	AgentAnswer *answers[GROUP];
	int64_t		late_ms;

	for (int i = 0; i < n; i++)
		answers[i] = new_answer();
	ask_all(sessions, c->request, listener, c->name, deadline_ms, NULL, bound, answers);
	late_ms = now_ms() - deadline_ms;
	for (int i = 0; i < n; i++)
	{
		note(c, i, answers[i], late_ms);
		if (answers[i]->status == PGE_OK && answers[i]->nwrapped > 0)
			c->wrong_key = c->wrong_key || !opens(shared, i, answers[i]);
		drop_answer(answers[i]);
	}
	if (own)
		pge_kms_sessions_release(sessions);
	else
		ask_after(c, shared);
}

static void *
worker_main(void *arg)
{
	KmsSessions *shared = open_sessions("tls", "worker", ENOUGH_MS, 2);
	int			number;

	(void) arg;
	while ((number = atomic_fetch_add(&next_case, 1)) < ncases)
		run_case(&cases[number], shared);
	pge_kms_sessions_release(shared);
	return NULL;
}

static Kind *
kind_of(const Case * c)
{
	for (int i = 0; i < nkinds; i++)
		if (strcmp(kinds[i].name, c->kind) == 0)
			return &kinds[i];
	if (nkinds == KINDS_MAX)
		abort();
	kinds[nkinds] = (Kind)
	{
		.name = c->kind, .worst_ms = INT64_MIN
	};
	return &kinds[nkinds++];
}

static void
count(const Case * c)
{
	Kind	   *kind = kind_of(c);

	kind->cases++;
	kind->out_of_time += c->out_of_time;
	kind->late += c->late_ms > PROMISED_MS;
	if (c->late_ms > kind->worst_ms)
		kind->worst_ms = c->late_ms;
}

/* A change may have been done once, and has been if we were told so. */
static bool
changed_rightly(const Case * c)
{
	int			times = strcmp(c->request, "rotate") == 0 ? logged("rotated %s ", c->name) :
	strcmp(c->request, "destroy") == 0 ? logged("deleted %s\n", c->name) : 0;

	if (strcmp(c->kind, "rotation-lost") == 0 || strcmp(c->kind, "rotation-cut") == 0 || strcmp(c->kind, "deletion-lost") == 0)
		return times == 1 || (times == 0 && c->out_of_time);
	if (strcmp(c->kind, "rotation-hangs") == 0 || strcmp(c->kind, "deletion-hangs") == 0)
		return times <= 1;
	return times == 0;
}

static void
judge(const Case * c)
{
	bool		expected = true;

	for (int i = 0; i < c->n; i++)
		expected = expected && ((c->allowed[i] >> c->statuses[i] & 1) != 0 || c->out_of_time);
	if (!check(expected && !c->untold && !c->wrong_key && !c->indiscreet && c->late_ms < LATE_MS && changed_rightly(c),
			   "%s: %s %s", c->kind, c->request, c->name))
		printf("#   %s (last: %s), %lld ms late,%s%s rotated %d: %s\n", pge_status_name(c->statuses[0]), pge_status_name(c->statuses[c->n - 1]), (long long) c->late_ms,
			   c->wrong_key ? " a wrong key," : "", c->indiscreet ? " a canary," : "", logged("rotated %s ", c->name),
			   c->indiscreet ? "" : c->detail);
	if (strcmp(c->where, SHARED) == 0 && !check(c->after == PGE_OK && !c->wrong_key_after, "and the next request after %s", c->name))
		printf("#   %s%s\n", pge_status_name(c->after), c->wrong_key_after ? ", a wrong key" : "");
}

static void
judge_all(void)
{
	int			out_of_time = 0;
	int			late = 0;
	int			to_the_end = 0;
	int			very_late = 0;
	int			repeated = 0;
	int64_t		worst_ms = INT64_MIN;

	for (int i = 0; i < ncases; i++)
	{
		count(&cases[i]);
		repeated += cases[i].repeated;
		/* (Those with a session of their own wait for its token, not here.) */
		if (strcmp(cases[i].where, SHARED) == 0)
		{
			to_the_end += cases[i].late_ms >= 0;
			very_late += cases[i].late_ms > MOST_MS;
		}
		judge(&cases[i]);
	}
	printf("# kind                 cases  later than %d ms  worst  ended for lack of time\n", PROMISED_MS);
	for (int i = 0; i < nkinds; i++)
	{
		const		Kind *kind = &kinds[i];

		out_of_time += kind->out_of_time;
		late += kind->late;
		if (kind->worst_ms > worst_ms)
			worst_ms = kind->worst_ms;
		printf("# %-20s %5d %17d %6lld %5d\n", kind->name, kind->cases, kind->late, (long long) kind->worst_ms, kind->out_of_time);
	}
	printf("# all of %d kinds: %d cases, %d more than %d ms past the deadline, the worst by %lld ms; %d ended for lack of time\n",
		   nkinds, ncases, late, PROMISED_MS, (long long) worst_ms, out_of_time);
	check(ncases - out_of_time >= 300, "at least 300 answers were bad in time (%d)", ncases - out_of_time);
	check(repeated * 4 <= ncases, "of the requests after them few had to be repeated (%d)", repeated);
	check(to_the_end > 0 && very_late * 3 <= to_the_end, "of %d who waited to the end most ended in time (%d were late by %d ms)", to_the_end, very_late, MOST_MS);
	check(logged("plain accept") == 0 && logged("tls-h2 accept") == 0, "no connection went where a redirection led");
	check(logged("tls request") > ncases, "(what arrives is logged)");
}

/* --- the breaker, cancelling, waiting for a turn ---------------------------------- */

typedef struct Claim
{
	bool		holds;
	const char *text;
}			Claim;

static Claim claims[32];
static int	nclaims;

/* From the thread of the breaker alone; judged later. */
static void
claim(bool holds, const char *text)
{
	if (nclaims == LENGTH(claims))
		abort();
	claims[nclaims++] = (Claim)
	{
		holds, text
	};
}

static PgeStatus
ask_down(const KmsSessions *sessions, const char *key, const char *says)
{
	AgentAnswer *answer = ask(sessions, "unwrap", "tls", key, now_ms() + ENOUGH_MS, NULL);
	PgeStatus	status = answer->status;

	if (says != NULL)
		claim(strstr(answer->detail, says) != NULL && !is_indiscreet(answer), "what it says of it");
	drop_answer(answer);
	return status;
}

/* Five failures open it; the first success closes it, for all keys. */
static void *
breaker_main(void *arg)
{
	KmsSessions *sessions = open_sessions("tls", "breaker", ENOUGH_MS, 2);
	int			after = 0;
	PgeStatus	status;

	(void) arg;
	for (int i = 0; i < 5 && logged(FAULTS_UNWRAP("down")) < 5; i++)
		claim(ask_down(sessions, "down", NULL) == PGE_UNAVAILABLE, "a service that is down is unavailable");
	claim(ask_down(sessions, "other", "5 times in a row") == PGE_UNAVAILABLE, "then nothing is asked for a while");
	claim(logged(FAULTS_UNWRAP("other")) == 0 && logged(FAULTS_UNWRAP("down")) <= 5, "and nothing was");
	for (int64_t end = now_ms() + ENOUGH_MS; (status = ask_down(sessions, "down", NULL)) != PGE_OK && now_ms() < end;)
		pause_ms(50);
	claim(status == PGE_OK && logged(FAULTS_UNWRAP("down")) == 6, "until one is let through, and answered");
	for (int i = 0; i < 5; i++)
		after += ask_down(sessions, "other", NULL) == PGE_OK;
	claim(after == 5, "which closes it for all");
	pge_kms_sessions_release(sessions);
	return NULL;
}

typedef struct Hung
{
	KmsSessions *sessions;
	const char *listener;
	int			timeout_ms;
	atomic_bool cancelled;
	PgeStatus	status;
	bool		indiscreet;
	int64_t		deadline_ms;
	int64_t		ended_ms;
}			Hung;

static void *
hung_main(void *arg)
{
	Hung	   *hung = arg;
	AgentAnswer *answer;

	hung->deadline_ms = now_ms() + hung->timeout_ms;
	answer = ask(hung->sessions, "unwrap", hung->listener, "hangs", hung->deadline_ms, &hung->cancelled);
	hung->ended_ms = now_ms();
	hung->status = answer->status;
	hung->indiscreet = is_indiscreet(answer);
	drop_answer(answer);
	return NULL;
}

static void
start(pthread_t *thread, void *(*main_of_it) (void *), void *arg)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr) != 0 || pthread_attr_setstacksize(&attr, 512 * 1024) != 0 ||
		pthread_create(thread, &attr, main_of_it, arg) != 0)
		abort();
	pthread_attr_destroy(&attr);
}

/* More requests than connections, none of which is ever answered. */
static void
waiting_for_a_turn_ends(void)
{
	KmsSessions *sessions = open_sessions("tls", "pool", SHORT_MS, 1);
	Hung		hung[4] = {0};
	pthread_t	threads[4];
	int64_t		worst_ms = INT64_MIN;

	for (int i = 0; i < 4; i++)
	{
		hung[i].sessions = sessions;
		hung[i].listener = "tls";
		hung[i].timeout_ms = SHORT_MS;
		start(&threads[i], hung_main, &hung[i]);
	}
	for (int i = 0; i < 4; i++)
	{
		(void) pthread_join(threads[i], NULL);
		check(hung[i].status == PGE_UNAVAILABLE && !hung[i].indiscreet && hung[i].ended_ms - hung[i].deadline_ms < LATE_MS, "who waits for a connection waits no longer than his time");
		if (hung[i].ended_ms - hung[i].deadline_ms > worst_ms)
			worst_ms = hung[i].ended_ms - hung[i].deadline_ms;
	}
	printf("# waiting for a connection: late by %lld ms at most\n", (long long) worst_ms);
	pge_kms_sessions_release(sessions);
}

/* In a lookup, a connection, TLS, an answer; and, of two, while waiting for the other's connection. */
static void
cancelling_ends(void)
{
	static const char *const listeners[] = {"hangs.test", "full", "tls-silent", "tls", "tls"};
	Hung		hung[LENGTH(listeners)] = {0};
	pthread_t	threads[LENGTH(listeners)];
	int64_t		cancelled_ms[LENGTH(listeners)];
	int			late = 0;

	for (int i = 0; i < LENGTH(listeners); i++)
	{
		int			before = logged(FAULTS_UNWRAP("hangs"));

		hung[i].listener = listeners[i];
		hung[i].timeout_ms = ENOUGH_MS;
		hung[i].sessions = i == 4 ? pge_kms_sessions_hold(hung[3].sessions) : open_sessions(listeners[i], "cancel", ENOUGH_MS, 1);
		start(&threads[i], hung_main, &hung[i]);
		for (int64_t end = now_ms() + ENOUGH_MS; i == 3 && logged(FAULTS_UNWRAP("hangs")) == before && now_ms() < end;)
			pause_ms(5);
	}
	/* as far as they come by then */
	pause_ms(SHORT_MS);
	for (int i = LENGTH(listeners) - 1; i >= 0; i--)
	{
		cancelled_ms[i] = now_ms();
		atomic_store(&hung[i].cancelled, true);
		(void) pthread_join(threads[i], NULL);
		/* the other status: before it had begun */
		check((hung[i].status == PGE_UNAVAILABLE || hung[i].status == PGE_AGENT_UNREACHABLE) &&
			  !hung[i].indiscreet && hung[i].ended_ms - cancelled_ms[i] < LATE_MS, "a cancelled request ends at once: %s", listeners[i]);
		printf("# cancelled: ended after %lld ms\n", (long long) (hung[i].ended_ms - cancelled_ms[i]));
		late += hung[i].ended_ms - cancelled_ms[i] > CANCEL_MS;
	}
	for (int i = 0; i < LENGTH(listeners); i++)
		pge_kms_sessions_release(hung[i].sessions);
	printf("# %d of %d cancelled requests took more than %d ms to end\n", late, LENGTH(listeners), CANCEL_MS);
}

/* --- all of it ---------------------------------------------------------------------- */

/* A DEK that the service has wrapped while it was good. */
static bool
prepare_one(const KmsSessions *sessions, int number)
{
	const PgeBinding row = {.keyring = {1}, .dek_id = (uint32_t) number + 1, .version = 1, .purpose = PGE_PURPOSE_AEAD, .algorithm = 1, .key_id = {(const uint8_t *) "k", 1}};
	Bound	   *mine = &bound[number];
	PgeBuffer	out = {mine->bytes, 0, sizeof(mine->bytes)};
	AgentAnswer *answer = new_answer();
	bool		prepared;

	if (pge_binding_encode(&row, &out) != PGE_OK)
		abort();
	mine->binding = pge_buffer_bytes(&out);
	ask_all(sessions, "wrap", "tls", "good", now_ms() + ENOUGH_MS, NULL, mine, &answer);
	prepared = check(answer->status == PGE_OK && answer->nwrapped == 1 && answer->has_check_value, "(a DEK is wrapped) %s", answer->detail);
	if (prepared)
	{
		mine->wrapped_len = answer->wrapped[0].len;
		memcpy(mine->wrapped, answer->wrapped[0].bytes, mine->wrapped_len);
		memcpy(mine->check_value, answer->check_value, PGE_CHECK_VALUE_LEN);
		pge_answer_wipe(answer);
		ask_all(sessions, "unwrap", "tls", "good", now_ms() + ENOUGH_MS, NULL, mine, &answer);
		prepared = check(answer->status == PGE_OK && answer->has_dek, "(and unwrapped) %s", answer->detail);
		mine->dek = answer->dek;
		EVP_EncodeBlock(mine->text, mine->dek.bytes, PGE_DEK_LEN);
	}
	drop_answer(answer);
	return prepared;
}

static bool
prepare(void)
{
	KmsSessions *sessions = open_sessions("tls", "first", ENOUGH_MS, 2);
	bool		prepared = true;

	mark_key(FAULTS_SECRET);
	for (int i = 0; prepared && i < GROUP; i++)
	{
		prepared = prepare_one(sessions, i);
		mark_key(bound[i].dek.bytes);
		mark_key(bound[i].text);
	}
	pge_kms_sessions_release(sessions);
	return prepared;
}

static void
run_all(void)
{
	pthread_t	workers[WORKERS];
	pthread_t	breaker;

	start(&breaker, breaker_main, NULL);
	for (int i = 0; i < WORKERS; i++)
		start(&workers[i], worker_main, NULL);
	for (int i = 0; i < WORKERS; i++)
		(void) pthread_join(workers[i], NULL);
	(void) pthread_join(breaker, NULL);
}

int
main(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	int64_t		start_ms = now_ms();

	sigaction(SIGPIPE, &ignore, NULL);
	make_directory("/tmp/pge_faults.XXXXXX");
	if (!start_server(FAULTS_SCRIPT, take_case))
	{
		stop_server();
		printf("SKIP: " FAULTS_SCRIPT " needs python3 and openssl\n");
		return 77;
	}
	pge_json_init();
	if (pge_http_init() != PGE_OK)
		abort();
	if (prepare())
	{
		run_all();
		printf("# %d cases, %d at a time: %lld ms\n", ncases, WORKERS, (long long) (now_ms() - start_ms));
		judge_all();
		for (int i = 0; i < nclaims; i++)
			check(claims[i].holds, "breaker: %s", claims[i].text);
		waiting_for_a_turn_ends();
		cancelling_ends();
	}
	let_lookups_go_on();
	for (int64_t end = now_ms() + ENOUGH_MS; pge_kms_sessions_closing() > 0 && now_ms() < end;)
		pause_ms(5);
	check(pge_kms_sessions_closing() == 0, "all sessions are closed");
	check(atomic_load(&freed_keys) == 0, "no block was freed with the token, a DEK or its base64 in it (%d)", atomic_load(&freed_keys));
	check(planted_keys_are_seen(), "(each of them would have been seen)");
	stop_server();
	return check_done();
}
