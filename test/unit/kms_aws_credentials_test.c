/*-------------------------------------------------------------------------
 *
 * kms_aws_credentials_test.c
 *	  Each source of an AWS credential: the first, the next before it expires, another
 *	  file, a refusal, an outage.
 *
 * The services are test/tools/fake_aws.py, which recomputes each signature.  All that is
 * secret there begins with "c4nary": no sentence may have it, and no block of memory when
 * it is freed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "fake_aws.h"
#include "freed_keys.h"

#include "agent/kms/http_credential.h"
#include "agent/kms/http_policy.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof(array[0])))

static char detail[KMS_DETAIL_LEN];

/* One obtain() of a section; the credential's access key in "id". */
static PgeStatus
obtain_once(const char *settings, char id[AWS_ACCESS_KEY_ID_MAX + 1], uint64_t *lifetime_ms)
{
	static HttpCredential credential;
	const HttpLimits limits = {pge_monotonic_ms() + PATIENCE_MS, NULL};
	KmsSettings unused = {0};
	AwsCredentials *credentials = NULL;
	AwsKeys		keys;
	int			line;
	KmsConfig  *config = section_of(settings, &line, detail);
	PgeStatus	status = PGE_INVALID;

	id[0] = '\0';
	memset(&credential, 0, sizeof(credential));
	if (config == NULL)
	{
		printf("# line %d: %s\n", line, detail);
		return PGE_CRYPTO_FAILED;
	}
	detail[0] = '\0';
	if (pge_aws_credentials_open(&config->instances[1], &unused, spawned, REGION, &credentials, detail) == PGE_OK)
		status = pge_aws_credentials_obtain(credentials, &limits, &credential, detail);
	if (status == PGE_OK && pge_aws_keys_split(credential.token, &keys) == PGE_OK)
		snprintf(id, AWS_ACCESS_KEY_ID_MAX + 1, "%.*s", (int) keys.access_key_id.len, (const char *) keys.access_key_id.data);
	if (lifetime_ms != NULL)
		*lifetime_ms = credential.lifetime_ms;
	if ((status == PGE_OK) != (detail[0] == '\0') || strstr(detail, CANARY) != NULL)
	{
		printf("# detail: %s\n", detail);
		status = PGE_CRYPTO_FAILED;
	}
	pge_secret_wipe(&credential, sizeof(credential));
	pge_aws_credentials_close(credentials);
	pge_kms_config_free(config);
	return status;
}

/* "id": what the access key begins with; NULL: refused with this status and "said". */
static void
expect(const char *what, const char *settings, PgeStatus expected, const char *id_or_said)
{
	char		id[AWS_ACCESS_KEY_ID_MAX + 1];
	PgeStatus	status = obtain_once(settings, id, NULL);
	const char *found = expected == PGE_OK ? id : detail;

	if (!check(status == expected && strstr(found, id_or_said) != NULL, "%s", what))
		printf("#   %s: %s %s\n", pge_status_name(status), id, detail);
}

static void
put_profiles(const char *config, const char *credentials)
{
	put_file("config", 0600, "%s", config);
	put_file("credentials", 0600, "%s", credentials);
	setenv("AWS_CONFIG_FILE", path_of("config"), 1);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("credentials"), 1);
}

/* (The C library would free its copy of it as it is, from glibc 2.41 on.) */
static char secret_in_environment[] = "AWS_SECRET_ACCESS_KEY=" LONG_TERM_KEY;

static void
test_environment(void)
{
	set_up();
	setenv("AWS_ACCESS_KEY_ID", LONG_TERM_ID, 1);
	putenv(secret_in_environment);
	spawned = false;
	expect("environment: keys of an agent that is a service of its own", "auth = environment", PGE_OK, LONG_TERM_ID);
	expect("environment: by default, too", "auth = default", PGE_OK, LONG_TERM_ID);
	expect("environment: before profiles", "", PGE_OK, LONG_TERM_ID);
	setenv("AWS_SESSION_TOKEN", CANARY, 1);
	expect("environment: with a session token", "auth = environment", PGE_OK, LONG_TERM_ID);
	setenv("AWS_SESSION_TOKEN", CANARY " " CANARY, 1);
	expect("environment: bytes that no credential has", "auth = environment", PGE_INVALID, "has bytes");
	unsetenv("AWS_SESSION_TOKEN");
	spawned = true;
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	expect("environment: not looked at in one that the server starts", "auth = default", PGE_UNAUTHENTICATED, "There is no AWS credential");
	spawned = false;
	unsetenv("AWS_SECRET_ACCESS_KEY");
	expect("environment: one key of two", "auth = environment", PGE_INVALID, "no AWS_SECRET_ACCESS_KEY");
	expect("environment: which is no reason to look elsewhere", "", PGE_INVALID, "no AWS_SECRET_ACCESS_KEY");
	putenv(secret_in_environment);
	unsetenv("AWS_ACCESS_KEY_ID");
	expect("environment: the other key", "auth = environment", PGE_INVALID, "no AWS_ACCESS_KEY_ID");
	unsetenv("AWS_SECRET_ACCESS_KEY");
	expect("environment: none", "auth = environment", PGE_UNAUTHENTICATED, "is not in the environment");
}

static void
test_profile_keys(void)
{
	set_up();
	put_profiles("[default]\nregion = eu-west-1\n[profile cfg]\naws_access_key_id = AKIACFG\naws_secret_access_key = " CANARY "\n",
				 "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = " CANARY "\n"
				 "[app]\naws_access_key_id=AKIAAPP\naws_secret_access_key=" CANARY "\naws_session_token=" CANARY "\n"
				 "[half]\naws_access_key_id = AKIAHALF\n[dirty]\naws_access_key_id = AKIA DIRTY\naws_secret_access_key = " CANARY "\n");
	expect("profile: the one called default", "auth = default", PGE_OK, "AKIADEFAULT");
	expect("profile: by its name", "auth = profile:app", PGE_OK, "AKIAAPP");
	expect("profile: of the config file", "auth = profile:cfg", PGE_OK, "AKIACFG");
	setenv("AWS_PROFILE", "app", 1);
	expect("profile: AWS_PROFILE", "", PGE_OK, "AKIAAPP");
	expect("profile: the section's name counts more", "auth = profile:cfg", PGE_OK, "AKIACFG");
	setenv("AWS_PROFILE", "absent", 1);
	expect("profile: AWS_PROFILE has to be there", "", PGE_UNAUTHENTICATED, "AWS profile \"absent\": There is none");
	unsetenv("AWS_PROFILE");
	setenv("AWS_DEFAULT_PROFILE", "app", 1);
	expect("profile: AWS_DEFAULT_PROFILE", "", PGE_OK, "AKIAAPP");
	unsetenv("AWS_DEFAULT_PROFILE");
	expect("profile: an absent one", "auth = profile:none", PGE_UNAUTHENTICATED, "There is none of that name");
	expect("profile: one key of two", "auth = profile:half", PGE_INVALID, "has no aws_secret_access_key");
	expect("profile: bytes that no key has", "auth = profile:dirty", PGE_INVALID, "bytes that no such key has");
	(void) chmod(path_of("credentials"), 0644);
	expect("profile: a file that everybody may read", "auth = profile:app", PGE_UNAUTHENTICATED, "everybody may read it");
	(void) chmod(path_of("credentials"), 0600);
	(void) chmod(path_of("config"), 0644);
	expect("profile: the config file may be public", "auth = profile:app", PGE_OK, "AKIAAPP");
	expect("profile: unless it has the secret", "auth = profile:cfg", PGE_UNAUTHENTICATED, "everybody may read it");
	(void) chmod(path_of("config"), 0622);
	expect("profile: nobody else may write it", "auth = profile:app", PGE_UNAUTHENTICATED, "everybody may write it");
	(void) chmod(path_of("config"), 0600);
	put_file("config", 0600, "[default]\n" CANARY "\n");
	expect("profile: a line that is not understood", "auth = profile:app", PGE_INVALID, "Line 2");
}

static void
test_files_named(void)
{
	char		settings[512];

	set_up();
	put_file("mine", 0600, "[app]\naws_access_key_id = AKIAMINE\naws_secret_access_key = " CANARY "\n");
	snprintf(settings, sizeof(settings), "auth = profile:app\ncredentials_file = %s", path_of("mine"));
	expect("files: the section's own", settings, PGE_OK, "AKIAMINE");
	snprintf(settings, sizeof(settings), "auth = profile:app\ncredentials_file = %s", path_of("absent"));
	expect("files: which has to be there", settings, PGE_UNAUTHENTICATED, "No such file");
	expect("files: those of the SDKs need not", "auth = profile:app", PGE_UNAUTHENTICATED, "There is none of that name");
	if (mkdir(path_of("home"), 0700) != 0 || mkdir(path_of("home/.aws"), 0700) != 0)
		abort();
	put_file("home/.aws/credentials", 0600, "[app]\naws_access_key_id = AKIAHOME\naws_secret_access_key = " CANARY "\n");
	setenv("HOME", path_of("home"), 1);
	expect("files: of the home directory", "auth = profile:app", PGE_OK, "AKIAHOME");
	(void) unlink(path_of("home/.aws/credentials"));
	(void) rmdir(path_of("home/.aws"));
	(void) rmdir(path_of("home"));
}

static void
test_roles(void)
{
	int			before = logged("AssumeRole ");

	set_up();
	put_profiles("[profile app]\nrole_arn = " ROLE "\nsource_profile = base\nrole_session_name = orders\nduration_seconds = 900\n"
				 "[profile partner]\nrole_arn = " ROLE "\nsource_profile = base\nexternal_id = door-7:a/b\n"
				 "[profile chain]\nrole_arn = " ROLE "\nsource_profile = app\n"
				 "[profile self]\nrole_arn = " ROLE "\nsource_profile = self\n"
				 "[profile selfless]\nrole_arn = " ROLE "\nsource_profile = selfless\n"
				 "[profile a]\nrole_arn = " ROLE "\nsource_profile = b\n[profile b]\nrole_arn = " ROLE "\nsource_profile = a\n"
				 "[profile wrong]\nrole_arn = " ROLE "\nsource_profile = stranger\n"
				 "[profile lost]\nrole_arn = " ROLE "\nsource_profile = nowhere\n"
				 "[profile env]\nrole_arn = " ROLE "\ncredential_source = Environment\n"
				 "[profile ecs]\nrole_arn = " ROLE "\ncredential_source = EcsContainer\n"
				 "[profile ec2]\nrole_arn = " ROLE "\ncredential_source = Ec2InstanceMetadata\n"
				 "[profile odd]\nrole_arn = " ROLE "\ncredential_source = Elsewhere\n"
				 "[profile process]\ncredential_process = /bin/touch /tmp/" CANARY "\n"
				 "[profile process-too]\naws_access_key_id = AKIA\naws_secret_access_key = x\ncredential_process = /bin/true\n"
				 "[profile sso]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = app\n"
				 "[profile person]\nrole_arn = " ROLE "\nsource_profile = base\nmfa_serial = arn:aws:iam::111122223333:mfa/me\n",
				 "[base]\naws_access_key_id = " LONG_TERM_ID "\naws_secret_access_key = " LONG_TERM_KEY "\n"
				 "[self]\naws_access_key_id = " LONG_TERM_ID "\naws_secret_access_key = " LONG_TERM_KEY "\n"
				 "[stranger]\naws_access_key_id = " LONG_TERM_ID "\naws_secret_access_key = another\n");
	expect("role: with another profile's keys", "auth = profile:app", PGE_OK, "ASIAFAKE");
	check(logged("AssumeRole " LONG_TERM_ID " " ROLE " orders - 900") == 1, "role: its session and its duration are asked for");
	expect("role: with those of a role", "auth = profile:chain", PGE_OK, "ASIAFAKE");
	check(logged("AssumeRole ASIAFAKE") == 1 && logged("AssumeRole ") == before + 3, "role: the second is taken with the first's");
	expect("role: with its own", "auth = profile:self", PGE_OK, "ASIAFAKE");
	put_file("external_id", 0600, "door-7:a/b");
	expect("role: with an external id", "auth = profile:partner", PGE_OK, "ASIAFAKE");
	check(logged("AssumeRole " LONG_TERM_ID " " ROLE " pg_envelope door-7:a/b -") == 1, "role: which is sent");
	expect("role: without the external id that is wanted", "auth = profile:app", PGE_DENIED, "AccessDenied, HTTP 403, request 01234567-89ab-4cde-8f01-23456789abcd");
	remove_file("external_id");
	before = logged("AssumeRole ");
	expect("role: keys that are refused", "auth = profile:wrong", PGE_UNAUTHENTICATED, "SignatureDoesNotMatch");
	check(logged("AssumeRole ") == before + 1, "role: once");
	expect("role: its own keys, and none there", "auth = profile:selfless", PGE_INVALID, "has no keys");
	expect("role: of each other", "auth = profile:a", PGE_INVALID, "More than 5 profiles");
	expect("role: of an absent profile", "auth = profile:lost", PGE_UNAUTHENTICATED, "AWS profile \"nowhere\": There is none");
	expect("role: of the environment, in one that the server starts", "auth = profile:env", PGE_INVALID, "pg_envelope.agent = external");
	expect("role: of an unknown source", "auth = profile:odd", PGE_INVALID, "credential_source is one of");
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x", 1);
	expect("role: with a container's keys", "auth = profile:ecs", PGE_OK, "ASIAFAKE");
	expect("role: with an instance's keys", "auth = profile:ec2", PGE_OK, "ASIAFAKE");
	before = logged("%s", "");
	expect("role: no program is run", "auth = profile:process", PGE_INVALID, "credential_process, which is not for a server: no program is run");
	expect("role: even beside keys", "auth = profile:process-too", PGE_INVALID, "no program is run");
	check(access("/tmp/" CANARY, F_OK) != 0, "role: it was not run");
	expect("role: nobody is there to log in", "auth = profile:sso", PGE_INVALID, "needs a person");
	expect("role: nor to type a code", "auth = profile:person", PGE_INVALID, "mfa_serial");
	check(logged("%s", "") == before, "role: and nothing was asked");
	spawned = false;
	setenv("AWS_ACCESS_KEY_ID", LONG_TERM_ID, 1);
	putenv(secret_in_environment);
	expect("role: of the environment of a service of its own", "auth = profile:env", PGE_OK, "ASIAFAKE");
}

static void
test_web_identity(void)
{
	char		settings[512];

	set_up();
	put_file("jwt", 0644, CANARY ".jwt.1\n");
	put_file("web_token", 0600, CANARY ".jwt.1");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("jwt"), 1);
	expect("web identity: without a role", "auth = web-identity", PGE_UNAUTHENTICATED, "needs role_arn");
	setenv("AWS_ROLE_ARN", ROLE, 1);
	expect("web identity: of the environment", "auth = web-identity", PGE_OK, "ASIAFAKE");
	expect("web identity: by default", "auth = default", PGE_OK, "ASIAFAKE");
	setenv("AWS_ROLE_SESSION_NAME", "orders", 1);
	expect("web identity: with a session's name", "", PGE_OK, "ASIAFAKE");
	check(logged("AssumeRoleWithWebIdentity " ROLE " orders") == 1, "web identity: which is sent");
	set_up();
	put_file("jwt", 0644, CANARY ".jwt.1\n");
	put_file("web_token", 0600, CANARY ".jwt.1");
	snprintf(settings, sizeof(settings), "auth = web-identity\nrole_arn = " ROLE "\nweb_identity_token_file = %s", path_of("jwt"));
	expect("web identity: of the section", settings, PGE_OK, "ASIAFAKE");
	expect("web identity: nowhere", "auth = web-identity", PGE_UNAUTHENTICATED, "needs web_identity_token_file");
	put_profiles("", "");
	put_file("config", 0600, "[default]\nrole_arn = " ROLE "\nweb_identity_token_file = %s\n", path_of("jwt"));
	expect("web identity: of a profile", "", PGE_OK, "ASIAFAKE");
	put_file("web_token", 0600, CANARY ".jwt.2");
	expect("web identity: a token that is refused", settings, PGE_UNAUTHENTICATED, "InvalidIdentityToken");
	remove_file("jwt");
	expect("web identity: no token", settings, PGE_UNAUTHENTICATED, "No such file");
	put_file("jwt", 0644, CANARY " " CANARY);
	expect("web identity: no token either", settings, PGE_UNAUTHENTICATED, "visible ASCII");
}

static void
test_container(void)
{
	char		uri[128];
	int			before = logged("container /v2/credentials/x");

	set_up();
	expect("container: none", "auth = container", PGE_UNAUTHENTICATED, "No container's service is named");
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x", 1);
	expect("container: by a relative URI", "auth = container", PGE_OK, "ASIAFAKE");
	expect("container: by default", "", PGE_OK, "ASIAFAKE");
	check(logged("container /v2/credentials/x") == before + 2, "container: that path is asked for");
	put_file("container_token", 0600, CANARY "-authorization");
	expect("container: the token is missing", "auth = container", PGE_UNAUTHENTICATED, "HTTP 401");
	put_file("authorization", 0644, CANARY "-authorization\n");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path_of("authorization"), 1);
	expect("container: the token's file", "auth = container", PGE_OK, "ASIAFAKE");
	unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY "-authorization", 1);
	expect("container: the token in the environment is not for one that the server starts", "auth = container", PGE_UNAUTHENTICATED, "HTTP 401");
	spawned = false;
	expect("container: but for a service of its own", "auth = container", PGE_OK, "ASIAFAKE");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY "\r\nX: y", 1);
	expect("container: a token with a line break", "auth = container", PGE_INVALID, "not one line");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY "-authorization", 1);
	snprintf(uri, sizeof(uri), "http://127.0.0.1:%d/full", find_port("aws"));
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri, 1);
	expect("container: the relative URI counts more", "auth = container", PGE_OK, "ASIAFAKE");
	check(logged("container /full") == 0, "container: than the full one");
	unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	expect("container: by a full URI", "auth = container", PGE_OK, "ASIAFAKE");
	check(logged("container /full") == 1, "container: which is asked for");
}

/* Who may set the agent's environment shall not have its tokens. */
static void
test_hostile_uris(void)
{
	static const char *const full[] = {
		"http://192.0.2.1/", "http://evil.test/", "http://localhost:%d/", "http://169.254.169.253/", "http://169.254.170.1/",
		"http://127.0.0.1.evil.test:%d/", "http://127.0.0.1:%d@evil.test/", "http://x@127.0.0.1:%d/", "http://x:y@127.0.0.1:%d/",
		"http://0:%d/", "http://0.0.0.0:%d/", "http://[::]:%d/", "http://127.1:%d/", "http://2130706433:%d/", "http://0x7f.0.0.1:%d/",
		"http://0177.0.0.1:%d/", "http://[::ffff:127.0.0.1]:%d/", "http://%%31%%32%%37.0.0.1:%d/", "http://127.0.0.1:%d/#x",
		"http://127.0.0.1:%d\\@evil.test/", "http://127.0.0.1:%d/\r\nX: y", "http://127.0.0.1:%d/ x", "ftp://127.0.0.1:%d/",
		"file:///etc/passwd", "gopher://127.0.0.1:%d/", "dict://127.0.0.1:%d/", "//127.0.0.1:%d/", "127.0.0.1:%d/", "/v2", "x", "http:",
		"http://", "http:127.0.0.1:%d/", "http:/127.0.0.1:%d/", "http:///127.0.0.1:%d/", "http://169.254.170.2.evil.test/",
		"http://169.254.170.02/", "http://2852039170/", "http://[fd00:ec2:0::23]/", "http://[fe80::1]/",
	};
	static const char *const relative[] = {
		"v2/credentials", "@evil.test/", ".evil.test/", ":80@evil.test/", "http://evil.test/", "\\evil.test", "/a b", "/a\r\nX: y", "/a#b", "/\\x", "/\x7f", "/\xc3\xa9",
	};
	char		uri[256];
	char		id[AWS_ACCESS_KEY_ID_MAX + 1];
	int			before;
	int			refused = 0;

	set_up();
	spawned = false;
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY, 1);
	before = logged("%s", "");
	for (int i = 0; i < LENGTH(full); i++)
	{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(uri, sizeof(uri), full[i], find_port("aws"));
#pragma GCC diagnostic pop
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri, 1);
		if (obtain_once("auth = container", id, NULL) == PGE_INVALID)
			refused++;
		else
			printf("# %s: %s\n", uri, detail);
	}
	check(refused == LENGTH(full), "hostile URIs: %d of %d full ones are refused", refused, LENGTH(full));
	refused = 0;
	for (int i = 0; i < LENGTH(relative); i++)
	{
		setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", relative[i], 1);
		if (obtain_once("auth = container", id, NULL) == PGE_INVALID)
			refused++;
		else
			printf("# %s: %s\n", relative[i], detail);
	}
	check(refused == LENGTH(relative), "hostile URIs: %d of %d relative ones are refused", refused, LENGTH(relative));
	check(logged("%s", "") == before, "hostile URIs: nobody was asked");
}

static void
test_imds(void)
{
	static const struct
	{
		const char *name;
		int			status;
		const char *body;
		PgeStatus	expected;
		const char *said;
	}			cases[] = {
		{"token", 403, "", PGE_DENIED, "switched off (HTTP 403)"},
		{"token", 404, "", PGE_DENIED, "version 1 only (HTTP 404)"},
		{"token", 405, "", PGE_DENIED, "version 1 only (HTTP 405)"},
		{"token", 500, "", PGE_UNAVAILABLE, "HTTP 500"},
		{"token", 200, "", PGE_UNAVAILABLE, "no token"},
		{"token", 200, "a b", PGE_UNAVAILABLE, "no token"},
		{"token", 200, "a\r\nX: y", PGE_UNAVAILABLE, "no token"},
		{"token", 302, "", PGE_UNAVAILABLE, "HTTP 302"},
		{"role", 401, "", PGE_UNAUTHENTICATED, "HTTP 401"},
		{"role", 403, "", PGE_DENIED, "switched off"},
		{"role", 404, "", PGE_DENIED, "attach an instance profile"},
		{"role", 429, "", PGE_THROTTLED, "HTTP 429"},
		{"role", 503, "", PGE_UNAVAILABLE, "HTTP 503"},
		{"role", 200, "", PGE_UNAVAILABLE, "names no role"},
		{"role", 200, "\n", PGE_UNAVAILABLE, "names no role"},
		{"role", 200, "..", PGE_UNAVAILABLE, "names no role"},
		{"role", 200, "../../user-data", PGE_UNAVAILABLE, "names no role"},
		{"role", 200, "a b", PGE_UNAVAILABLE, "names no role"},
		{"role", 200, "a?b", PGE_UNAVAILABLE, "names no role"},
		{"role", 200, "a%2f", PGE_UNAVAILABLE, "names no role"},
		{"instance", 404, "", PGE_DENIED, "HTTP 404"},
		{"instance", 500, "", PGE_UNAVAILABLE, "HTTP 500"},
		{"instance", 200, "", PGE_UNAVAILABLE, ""},
		{"instance", 200, "{}", PGE_UNAVAILABLE, "no session token"},
		{"instance", 200, "<html>" CANARY "</html>", PGE_UNAVAILABLE, ""},
		{"instance", 200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"" CANARY "\"}", PGE_DENIED, "AssumeRoleUnauthorizedAccess"},
		{"instance", 200, "{\"Code\":\"Failed\"}", PGE_UNAVAILABLE, "no credential: Failed"},
		{"instance", 200, "{\"Code\":7}", PGE_UNAVAILABLE, "does not say clearly"},
		{"instance", 200, "{\"Code\":\"" CANARY " x\"}", PGE_UNAVAILABLE, "does not say clearly"},
		{"instance", 200, "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"" CANARY "\",\"Token\":\"" CANARY "\","
		"\"Expiration\":\"2020-01-01T00:00:00Z\"}", PGE_UNAVAILABLE, "already expired"},
	};
	char		what[64];
	int			before;

	set_up();
	expect("instance: its role's credential", "auth = imds", PGE_OK, "ASIAFAKE");
	expect("instance: by default", "", PGE_OK, "ASIAFAKE");
	put_file("expire_tokens", 0600, "x");
	before = logged("token");
	expect("instance: a token that expired in between", "auth = imds", PGE_OK, "ASIAFAKE");
	check(logged("token") == before + 2, "instance: is asked for anew, once");
	for (int i = 0; i < LENGTH(cases); i++)
	{
		put_answer(cases[i].name, false, cases[i].status, cases[i].body);
		snprintf(what, sizeof(what), "instance: %s, HTTP %d, case %d", cases[i].name, cases[i].status, i);
		before = logged("token");
		expect(what, "auth = imds", cases[i].expected, cases[i].said);
		check(logged("token") - before <= 2, "instance: asked a second time at most");
		snprintf(what, sizeof(what), "%s.raw", cases[i].name);
		remove_file(what);
	}
	setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
	expect("instance: not to be asked", "auth = default", PGE_UNAUTHENTICATED, "AWS_EC2_METADATA_DISABLED");
	expect("instance: but by its name", "auth = imds", PGE_OK, "ASIAFAKE");
	set_up();
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
	setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
	setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1", 1);
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	expect("instance: no endpoint and no proxy of the environment counts", "auth = imds", PGE_OK, "ASIAFAKE");
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

static void
test_sts_refusals(void)
{
	static const struct
	{
		const char *code;
		int			status;
		PgeStatus	expected;
	}			cases[] = {
		{"AccessDenied", 403, PGE_DENIED}, {"IDPRejectedClaim", 403, PGE_DENIED}, {"RegionDisabledException", 403, PGE_DENIED},
		{"ExpiredTokenException", 400, PGE_UNAUTHENTICATED}, {"InvalidIdentityToken", 400, PGE_UNAUTHENTICATED},
		{"InvalidClientTokenId", 403, PGE_UNAUTHENTICATED}, {"SignatureDoesNotMatch", 403, PGE_UNAUTHENTICATED},
		{"MalformedPolicyDocument", 400, PGE_INVALID}, {"ValidationError", 400, PGE_INVALID},
		{"Throttling", 400, PGE_THROTTLED}, {"RequestLimitExceeded", 503, PGE_THROTTLED},
		{"IDPCommunicationError", 400, PGE_UNAVAILABLE}, {"InternalFailure", 500, PGE_UNAVAILABLE}, {"SomethingNew", 500, PGE_UNAVAILABLE},
		{"SomethingNew", 400, PGE_DENIED}, {"SomethingNew", 429, PGE_THROTTLED}, {"", 403, PGE_UNAVAILABLE},
		{CANARY " " CANARY, 403, PGE_UNAVAILABLE},
	};
	char		settings[512];
	char		what[96];

	set_up();
	put_file("jwt", 0644, CANARY ".jwt\n");
	put_file("web_token", 0600, CANARY ".jwt");
	snprintf(settings, sizeof(settings), "auth = web-identity\nrole_arn = " ROLE "\nweb_identity_token_file = %s", path_of("jwt"));
	for (int i = 0; i < LENGTH(cases); i++)
	{
		put_sts_error("AssumeRoleWithWebIdentity", cases[i].status, cases[i].code);
		snprintf(what, sizeof(what), "STS: error %d, HTTP %d", i, cases[i].status);
		expect(what, settings, cases[i].expected, cases[i].expected == PGE_UNAVAILABLE ? "" : "STS");
	}
	put_answer("AssumeRoleWithWebIdentity", false, 502, "<html><body>" CANARY "</body></html>");
	expect("STS: a proxy's page", settings, PGE_UNAVAILABLE, "HTTP 502");
	put_answer("AssumeRoleWithWebIdentity", false, 301, "");
	expect("STS: a redirection", settings, PGE_UNAVAILABLE, "HTTP 301");
	remove_file("AssumeRoleWithWebIdentity.raw");
	expect("STS: and well again", settings, PGE_OK, "ASIAFAKE");
}

/* By the clock of who gave it. */
static void
test_clocks(void)
{
	char		id[AWS_ACCESS_KEY_ID_MAX + 1];
	uint64_t	lifetime_ms;
	int			before;

	set_up();
	for (int skew = -80000; skew <= 80000; skew += 80000)
	{
		put_file("skew", 0600, "%d", skew);
		check_status(obtain_once("auth = imds", id, &lifetime_ms), PGE_OK, "clocks: %d s apart", skew);
		check(lifetime_ms > 3000000 && lifetime_ms <= 3601000, "clocks: it lives an hour for all that (%d s)", (int) (lifetime_ms / 1000));
	}
	put_profiles("[profile app]\nrole_arn = " ROLE "\nsource_profile = base\n",
				 "[base]\naws_access_key_id = " LONG_TERM_ID "\naws_secret_access_key = " LONG_TERM_KEY "\n");
	before = logged("AssumeRole ");
	check_status(obtain_once("auth = profile:app", id, &lifetime_ms), PGE_OK, "clocks: a request of yesterday is signed again");
	check(logged("AssumeRole ") == before + 2 && logged("refused RequestExpired") == 1, "clocks: once");
	check(lifetime_ms > 3000000 && lifetime_ms <= 3601000, "clocks: and the credential lives an hour");
	put_file("skew", 0600, "%d", 86400 * 300);
	expect("clocks: who says that it is next year is not believed", "auth = profile:app", PGE_UNAUTHENTICATED, "RequestExpired");
}

int
main(void)
{
	/* as they begin: keys, session tokens, tokens of IMDS */
	static const char *const secrets[] = {"c4nary-secret-00", "c4nary-session-0", "c4nary-long-term", "c4nary-imds-0000"};

	pge_json_init();
	if (!start_fake())
	{
		printf("SKIP: no python3\n");
		return 77;
	}
	for (int i = 0; i < LENGTH(secrets); i++)
		mark_key(secrets[i]);
	test_environment();
	test_profile_keys();
	test_files_named();
	test_roles();
	test_web_identity();
	test_container();
	test_hostile_uris();
	test_imds();
	test_sts_refusals();
	test_clocks();
	check(atomic_load(&freed_keys) == 0, "no secret was left in memory that was freed (%d)", atomic_load(&freed_keys));
	check(planted_keys_are_seen(), "where a planted one is seen");
	stop_server();
	return check_done();
}
