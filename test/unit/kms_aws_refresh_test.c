/*-------------------------------------------------------------------------
 *
 * kms_aws_refresh_test.c
 *	  AWS credentials that live for a while: another before they expire, one that is
 *	  still good through an outage and a refusal, none that is over.
 *
 * All sources together, each with the thread that an HttpService has for it, against
 * test/tools/fake_aws.py.  First in real time, with credentials of five seconds; then the
 * clock that lifetimes are counted by is moved on.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdatomic.h>
#include <time.h>

#include "fake_aws.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof(array[0])))

/* One source, and what of the fake it asks. */
typedef struct RefreshedSource
{
	const char *what;
	const char *settings;
	const char *request;		/* of the fake's prepared answers */
	const char *line;			/* of its log begins so */
	KmsConfig  *config;
	AwsCredentials *aws;
	HttpCredentials *credentials;
	uint64_t	generation;
	char		id[AWS_ACCESS_KEY_ID_MAX + 1];
} RefreshedSource;

static RefreshedSource sources[] = {
	{.what = "role", .settings = "auth = profile:app", .request = "AssumeRole", .line = "AssumeRole AKIA"},
	{.what = "web identity", .settings = "auth = web-identity", .request = "AssumeRoleWithWebIdentity",
	.line = "AssumeRoleWithWebIdentity"},
	{.what = "container", .settings = "auth = container", .request = "container", .line = "container"},
	{.what = "instance", .settings = "auth = imds", .request = "instance", .line = "instance"},
};

static const HttpPolicy policy = {
	.tries = 2, .backoff_base_ms = 20, .backoff_cap_ms = 50, .refusal_base_ms = 20, .refusal_cap_ms = 50,
	.breaker_failures = 5, .breaker_open_ms = 50, .look_ms = 20,
};
static const HttpCredentialSource callbacks = {
	.obtain = pge_aws_credentials_obtain,
	.changed = pge_aws_credentials_changed,
};

static char detail[KMS_DETAIL_LEN];
static atomic_long later_s;		/* by so much the lifetimes' clock is ahead */

extern int	__real_clock_gettime(clockid_t clock, struct timespec *now);
extern int	__wrap_clock_gettime(clockid_t clock, struct timespec *now);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = __real_clock_gettime(clock, now);

	if (clock == CLOCK_BOOTTIME)
		now->tv_sec += atomic_load(&later_s);
	return result;
}

static void
start(RefreshedSource *source)
{
	KmsSettings unused = {0};
	HttpCredentialsConfig config = {.source = &callbacks, .timeout_ms = PATIENCE_MS, .policy = &policy};
	int			line;

	source->config = section_of(source->settings, &line, detail);
	if (source->config == NULL ||
		pge_aws_credentials_open(&source->config->instances[1], &unused, spawned, REGION, &source->aws, detail) != PGE_OK)
	{
		printf("# line %d: %s\n", line, detail);
		abort();
	}
	config.arg = source->aws;
	if (pge_http_credentials_start(&config, &source->credentials, detail) != PGE_OK)
		abort();
}

static void
stop(RefreshedSource *source)
{
	pge_http_credentials_stop(source->credentials);
	pge_aws_credentials_close(source->aws);
	pge_kms_config_free(source->config);
}

/* Which credential there is. */
static PgeStatus
borrow(RefreshedSource *source)
{
	const HttpLimits limits = {pge_monotonic_ms() + PATIENCE_MS, NULL};
	HttpLease	lease = {NULL, 0};
	PgeStatus	status;
	AwsKeys		keys;

	detail[0] = '\0';
	status = pge_http_credentials_wait(source->credentials, &limits, &lease, detail);
	if (strstr(detail, CANARY) != NULL)
		abort();
	if (status != PGE_OK)
		return status;
	if (pge_aws_keys_split(lease.credential->token, &keys) != PGE_OK)
		abort();
	source->generation = lease.generation;
	snprintf(source->id, sizeof(source->id), "%.*s", (int) keys.access_key_id.len, (const char *) keys.access_key_id.data);
	pge_http_credentials_release(source->credentials, &lease);
	return PGE_OK;
}

static void
pause_briefly(void)
{
	const struct timespec step = {0, 5000000};

	(void) nanosleep(&step, NULL);
}

/* false: no other one came. */
static bool
wait_for_another(RefreshedSource *source)
{
	uint64_t	deadline_ms = pge_monotonic_ms() + PATIENCE_MS;
	uint64_t	before = source->generation;

	while (pge_monotonic_ms() < deadline_ms)
	{
		if (borrow(source) == PGE_OK && source->generation > before)
			return true;
		pause_briefly();
	}
	return false;
}

/* Is the fake asked so many times more? */
static bool
wait_for_requests(const RefreshedSource *source, int before, int more)
{
	uint64_t	deadline_ms = pge_monotonic_ms() + PATIENCE_MS;

	while (pge_monotonic_ms() < deadline_ms)
	{
		if (logged("%s", source->line) >= before + more)
			return true;
		pause_briefly();
	}
	return false;
}

/* When the fake gave this one out, and until when it is good. */
static void
times_of(const char *id, int64_t *issued_ms, int64_t *expires_ms)
{
	char		line[256];
	char		found[AWS_ACCESS_KEY_ID_MAX];
	int			number;
	FILE	   *log = fopen(path_of("log"), "re");

	*issued_ms = *expires_ms = 0;
	if (log == NULL)
		abort();
	while (fgets(line, sizeof(line), log) != NULL)
	{
		long long	issued;
		long long	expires;

		if (sscanf(line, "issued %d %lld %lld", &number, &issued, &expires) != 3)
			continue;
		snprintf(found, sizeof(found), "ASIAFAKE%012d", number);
		if (strcmp(found, id) == 0)
		{
			*issued_ms = issued;
			*expires_ms = expires;
		}
	}
	fclose(log);
}

/* On a machine that stalls for seconds one may be late: the next then. */
static bool
is_refreshed_ahead(RefreshedSource *source)
{
	for (int tries = 0; tries < 5; tries++)
	{
		int64_t		unused;
		int64_t		expires_ms;
		int64_t		issued_ms;

		times_of(source->id, &unused, &expires_ms);
		if (!wait_for_another(source))
			return false;
		times_of(source->id, &issued_ms, &unused);
		if (issued_ms < expires_ms)
			return true;
	}
	return false;
}

static void
test_five_seconds(void)
{
	put_file("life", 0600, "5");
	for (int i = 0; i < LENGTH(sources); i++)
		start(&sources[i]);
	for (int i = 0; i < LENGTH(sources); i++)
		check_status(borrow(&sources[i]), PGE_OK, "%s: the first", sources[i].what);
	for (int i = 0; i < LENGTH(sources); i++)
		check(is_refreshed_ahead(&sources[i]), "%s: another one comes before five seconds are over", sources[i].what);
	/* from now on they live for an hour, by a clock that is ours */
	put_file("life", 0600, "3600");
	for (int i = 0; i < LENGTH(sources); i++)
		check(wait_for_another(&sources[i]), "%s: and again", sources[i].what);
}

/* Until the newest of all is one that lives for an hour. */
static void
settle(void)
{
	for (int i = 0; i < LENGTH(sources); i++)
	{
		int64_t		issued_ms;
		int64_t		expires_ms;

		do
		{
			(void) borrow(&sources[i]);
			times_of(sources[i].id, &issued_ms, &expires_ms);
		} while (expires_ms - issued_ms < 3000000 && wait_for_another(&sources[i]));
	}
}

/* What each of them gets from its service instead. */
typedef struct Trouble
{
	const char *what;
	int			status;
	const char *body;
	const char *sts_code;		/* STS says this, then */
	PgeStatus	expected[LENGTH(sources)];
} Trouble;

static void
put_trouble(const Trouble *trouble, const char *request)
{
	if (trouble->sts_code != NULL && strncmp(request, "Assume", 6) == 0)
		put_sts_error(request, trouble->status, trouble->sts_code);
	else
		put_answer(request, false, trouble->status, trouble->body);
}

static void
test_trouble(const Trouble *trouble)
{
	int			before[LENGTH(sources)];
	uint64_t	generation;
	char		file[64];

	settle();
	for (int i = 0; i < LENGTH(sources); i++)
	{
		put_trouble(trouble, sources[i].request);
		before[i] = logged("%s", sources[i].line);
	}
	/* of an hour's life more than two thirds are over, and less than all */
	atomic_fetch_add(&later_s, 2500);
	for (int i = 0; i < LENGTH(sources); i++)
	{
		generation = sources[i].generation;
		check(wait_for_requests(&sources[i], before[i], 3), "%s, %s: another is asked for", trouble->what, sources[i].what);
		check(borrow(&sources[i]) == PGE_OK && sources[i].generation == generation, "%s, %s: the one there is, is used", trouble->what,
			  sources[i].what);
	}
	atomic_fetch_add(&later_s, 1200);
	for (int i = 0; i < LENGTH(sources); i++)
	{
		PgeStatus	status = borrow(&sources[i]);

		check(status == trouble->expected[i], "%s, %s: but not when it is over (%s)", trouble->what, sources[i].what, detail);
	}
	for (int i = 0; i < LENGTH(sources); i++)
	{
		snprintf(file, sizeof(file), "%s.raw", sources[i].request);
		remove_file(file);
	}
	for (int i = 0; i < LENGTH(sources); i++)
		check(wait_for_another(&sources[i]), "%s, %s: and another when there is one", trouble->what, sources[i].what);
}

/* A service that has lost its own way gives out what it has. */
static void
test_expired_answers(void)
{
	static const char expired[] = "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIAOLD\",\"SecretAccessKey\":\"" CANARY "\",\"Token\":\"" CANARY
	"\",\"Expiration\":\"2020-01-01T00:00:00Z\"}";
	RefreshedSource *instance = &sources[3];
	uint64_t	generation;
	int			before;

	settle();
	generation = instance->generation;
	before = logged("instance");
	put_answer("instance", false, 200, expired);
	atomic_fetch_add(&later_s, 2500);
	check(wait_for_requests(instance, before, 3), "an expired answer: asked for again");
	check(borrow(instance) == PGE_OK && instance->generation == generation, "an expired answer: is never taken");
	remove_file("instance.raw");
	check(wait_for_another(instance), "an expired answer: another comes");
}

/* What is exchanged in a file is seen, and what it had is no more. */
static void
test_rotated_files(void)
{
	RefreshedSource keys = {.what = "keys", .settings = "auth = profile:base"};

	settle();
	put_file("jwt", 0644, CANARY ".jwt.2\n");
	put_file("web_token", 0600, CANARY ".jwt.2");
	check(wait_for_another(&sources[1]), "another web identity: another credential");
	put_file("container_token", 0600, CANARY "-authorization-2");
	put_file("authorization", 0644, CANARY "-authorization-2\n");
	check(wait_for_another(&sources[2]), "another token of a container: another credential");
	start(&keys);
	check(borrow(&keys) == PGE_OK && strcmp(keys.id, LONG_TERM_ID) == 0, "keys of a profile");
	put_file("credentials", 0600, "[base]\naws_access_key_id = AKIASECOND\naws_secret_access_key = " CANARY "\n");
	check(wait_for_another(&keys) && strcmp(keys.id, "AKIASECOND") == 0, "other keys in the file count");
	put_file("credentials", 0600, "[base]\naws_access_key_id = AKIATHIRD\n");
	check(borrow(&keys) == PGE_OK && strcmp(keys.id, "AKIASECOND") == 0, "half a file does not");
	put_file("credentials", 0600, "[base]\naws_access_key_id = AKIAFOURTH\naws_secret_access_key = " CANARY "\n");
	check(wait_for_another(&keys) && strcmp(keys.id, "AKIAFOURTH") == 0, "the whole one does");
	stop(&keys);
}

int
main(void)
{
	static const Trouble troubles[] = {
		{"an outage", 503, "", NULL, {PGE_UNAVAILABLE, PGE_UNAVAILABLE, PGE_UNAVAILABLE, PGE_UNAVAILABLE}},
		{"a proxy's page", 200, "<html>" CANARY "</html>", NULL, {PGE_UNAVAILABLE, PGE_UNAVAILABLE, PGE_UNAVAILABLE, PGE_UNAVAILABLE}},
		{"a refusal", 403, "", "AccessDenied", {PGE_DENIED, PGE_DENIED, PGE_UNAUTHENTICATED, PGE_DENIED}},
	};

	pge_json_init();
	if (!start_fake())
	{
		printf("SKIP: no python3\n");
		return 77;
	}
	set_up();
	put_file("config", 0600, "[profile app]\nrole_arn = " ROLE "\nsource_profile = base\n");
	put_file("credentials", 0600, "[base]\naws_access_key_id = " LONG_TERM_ID "\naws_secret_access_key = " LONG_TERM_KEY "\n");
	setenv("AWS_CONFIG_FILE", path_of("config"), 1);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("credentials"), 1);
	put_file("jwt", 0644, CANARY ".jwt.1\n");
	put_file("web_token", 0600, CANARY ".jwt.1");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("jwt"), 1);
	setenv("AWS_ROLE_ARN", ROLE, 1);
	put_file("container_token", 0600, CANARY "-authorization");
	put_file("authorization", 0644, CANARY "-authorization\n");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path_of("authorization"), 1);
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x", 1);
	test_five_seconds();
	for (int i = 0; i < LENGTH(troubles); i++)
		test_trouble(&troubles[i]);
	test_expired_answers();
	test_rotated_files();
	for (int i = 0; i < LENGTH(sources); i++)
		stop(&sources[i]);
	stop_server();
	return check_done();
}
