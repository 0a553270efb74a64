/*-------------------------------------------------------------------------
 *
 * kms_aws_memory_test.c
 *	  Whatever allocation fails, an AWS credential is obtained, or it is said that there
 *	  was no memory; and nothing of a secret is left in what is freed.
 *
 * Exchanges are answered here, from memory that is wiped like http.h's.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "failing_memory.h"

#include "fake_aws.h"

#include "agent/kms/http.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof(array[0])))
#define SECRET			"c4nary-secret-16"	/* MARK_LEN bytes, as the next two */
#define SESSION			"c4nary-session16"
#define TOKEN			"c4nary-token--16"
#define XML(action)		"<" action "Response><" action "Result><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>" SECRET \
	"</SecretAccessKey><SessionToken>" SESSION "</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></" action "Result></" action "Response>"
#define JSON			"{\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"" SECRET "\",\"Token\":\"" SESSION "\",\"Expiration\":\"2099-01-01T00:00:00Z\"}"

struct HttpPool
{
	int			unused;
};

static char detail[KMS_DETAIL_LEN];

PgeStatus
pge_http_pool_new(const HttpIdentity *identity, HttpPool **pool, char why[KMS_DETAIL_LEN])
{
	(void) identity;
	*pool = calloc(1, sizeof(**pool));
	if (*pool == NULL)
		pge_kms_detail(why, "no memory");
	return *pool == NULL ? PGE_OUT_OF_MEMORY : PGE_OK;
}

void
pge_http_pool_free(HttpPool *pool)
{
	free(pool);
}

static const char *
answer_to(const HttpRequest *request)
{
	if (strcmp(request->method, "PUT") == 0)
		return TOKEN;
	if (strcmp(request->method, "POST") == 0)
		return memmem(request->body.data, request->body.len, "WebIdentity&", 12) != NULL ? XML("AssumeRoleWithWebIdentity") : XML("AssumeRole");
	if (strstr(request->url, "/security-credentials/") != NULL && request->url[strlen(request->url) - 1] == '/')
		return "role";
	return JSON;
}

PgeStatus
pge_http_exchange(HttpPool *pool, const HttpRequest *request, HttpAnswer *answer, char why[KMS_DETAIL_LEN])
{
	const char *body = answer_to(request);

	(void) pool;
	memset(answer, 0, sizeof(*answer));
	answer->status = 200;
	answer->len = strlen(body);
	answer->body = (uint8_t *) strdup(body);
	if (answer->body == NULL)
		pge_kms_detail(why, "no memory");
	return answer->body == NULL ? PGE_OUT_OF_MEMORY : PGE_OK;
}

void
pge_http_answer_wipe(HttpAnswer *answer)
{
	if (answer->body != NULL)
		pge_secret_wipe(answer->body, answer->len);
	free(answer->body);
	memset(answer, 0, sizeof(*answer));
}

/* One life of a section's credentials, in which they are obtained twice. */
static PgeStatus
live(const KmsConfig *config)
{
	static HttpCredential credential;
	const HttpLimits limits = {UINT64_MAX, NULL};
	KmsSettings unused = {0};
	AwsCredentials *credentials;
	PgeStatus	status;

	detail[0] = '\0';
	status = pge_aws_credentials_open(&config->instances[1], &unused, spawned, REGION, &credentials, detail);
	for (int i = 0; i < 2 && status == PGE_OK; i++)
	{
		memset(&credential, 0, sizeof(credential));
		status = pge_aws_credentials_obtain(credentials, &limits, &credential, detail);
		if (status == PGE_OK && strstr(credential.token, SECRET) == NULL)
			status = PGE_COMPROMISED;
	}
	pge_secret_wipe(&credential, sizeof(credential));
	pge_aws_credentials_close(credentials);
	if (strstr(detail, CANARY) != NULL || (status == PGE_OK) != (detail[0] == '\0'))
		return PGE_COMPROMISED;
	return status;
}

static void
test_section(const char *what, const char *settings)
{
	int			line;
	KmsConfig  *config = section_of(settings, &line, detail);
	int			failed = 0;
	int			wrong = 0;
	long		count;
	long		blocks;
	PgeStatus	first;

	if (config == NULL)
		abort();
	memory_is_counted = true;
	/* what the C library keeps of its first time */
	(void) live(config);
	blocks = memory_blocks();
	memory_begin(0);
	first = live(config);
	count = memory_end();
	wrong += memory_blocks() != blocks;
	for (long k = 1; k <= count; k++)
	{
		PgeStatus	status;

		memory_begin(k);
		status = live(config);
		(void) memory_end();
		/* all that OpenSSL says is that it failed */
		if (status == PGE_CRYPTO_FAILED)
			status = PGE_OUT_OF_MEMORY;
		failed += status == PGE_OUT_OF_MEMORY;
		if ((status != PGE_OK && status != PGE_OUT_OF_MEMORY) || memory_blocks() != blocks)
		{
			printf("# allocation %ld of %ld: %s, %s\n", k, count, pge_status_name(status), detail);
			wrong++;
		}
	}
	memory_is_counted = false;
	check_status(first, PGE_OK, "%s: obtained", what);
	check(count > 0 && failed > 0, "%s: %ld allocations may fail, %d end it", what, count, failed);
	check(wrong == 0, "%s: none does harm (%d did)", what, wrong);
	pge_kms_config_free(config);
}

int
main(void)
{
	memory_init();
	pge_json_init();
	memory_mark_key((const uint8_t *) SECRET);
	memory_mark_key((const uint8_t *) SESSION);
	memory_mark_key((const uint8_t *) TOKEN);
	make_directory("/tmp/pge_fake_aws_XXXXXX");
	put_file("log", 0600, "%s", "");
	snprintf(ports[0].name, sizeof(ports[0].name), "aws");
	ports[0].port = 1;
	nports = 1;
	set_up();
	put_file("config", 0600, "[profile app]\nrole_arn = " ROLE "\nsource_profile = base\n");
	put_file("credentials", 0600, "[base]\naws_access_key_id = " LONG_TERM_ID "\naws_secret_access_key = " SECRET "\n");
	put_file("token", 0600, TOKEN "\n");
	setenv("AWS_CONFIG_FILE", path_of("config"), 1);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("credentials"), 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("token"), 1);
	setenv("AWS_ROLE_ARN", ROLE, 1);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path_of("token"), 1);
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2", 1);
	test_section("keys of a profile", "auth = profile:base");
	test_section("a role", "auth = profile:app");
	test_section("a web identity", "auth = web-identity");
	test_section("a container", "auth = container");
	test_section("an instance", "auth = imds");
	check(atomic_load(&memory_ledger->freed_keys) == 0, "no secret was left in memory that was freed (%d)",
		  atomic_load(&memory_ledger->freed_keys));
	check(logged("%s", "") == 0, "and nobody was asked but the test");
	stop_server();
	return check_done();
}
