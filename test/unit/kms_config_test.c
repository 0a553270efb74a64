/*-------------------------------------------------------------------------
 *
 * kms_config_test.c
 *	  The configuration of key services: each rule, and each bad line with its
 *	  number.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "fake_providers.h"
#include "check.h"

#define CORP "[vault corp]\naddress = https://vault.internal:8200\n"

static char detail[KMS_DETAIL_LEN];
static int	line;

/* At its exact size on the heap, for the sanitizers. */
static PgeStatus
parse_bytes(const char *text, size_t len, KmsConfig **config)
{
	PgeBuffer	copy = new_buffer(len);
	PgeStatus	status;

	if (len > 0)
		memcpy(copy.data, text, len);
	detail[0] = '\0';
	*config = (KmsConfig *) copy.data;
	status = pge_kms_config_parse(pge_bytes(copy.data, len), config, &line, detail);
	free(copy.data);
	return status;
}

static KmsConfig *
parse(const char *text)
{
	KmsConfig  *config;

	if (parse_bytes(text, strlen(text), &config) == PGE_OK)
		return config;
	check(false, "taken: \"%.60s\"", text);
	printf("#   line %d: %s\n", line, detail);
	exit(check_done());
}

static void
test_empty(void)
{
	static const char *const texts[] = {"", "\n", "\n\n", "; a\n# b\n\t ;c\n  # d", " \t \n", "[local]"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		KmsConfig  *config = parse(texts[i]);
		const KmsInstance *local = &config->instances[0];

		check(config->count == 1 && local->provider == &fake_local && local->name[0] == '\0' &&
			  local->line == (i == 5 ? 1 : 0) && local->ndatabases == 0 && local->nkeyrings == 0,
			  "the local keyring alone: text %zu", i);
		pge_kms_config_free(config);
	}
	pge_kms_config_free(NULL);
}

static void
test_whole(void)
{
	KmsConfig  *config = parse("# of the tests\n"
							   "[vault corp]                       ; provider, then a name of your choice\n"
							   "address = https://Vault.Internal:8200\n"
							   "  ca_file\t=  /etc/a;b #c =d.pem \t; its CA\n"
							   "allow_keys = transit/keys/tenant-*,transit/keys/shared ;two\n"
							   "allow_databases = app , gar\xc3\xa7on\n"
							   "allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff, FFFFFFFF-FFFF-ffff-ffff-ffffffffffff\n"
							   "\n"
							   "[ other\t eu.west-1_a ]\n"
							   "[local]\n"
							   "allow_databases = postgres");
	const KmsInstance *corp = &config->instances[1];
	const KmsInstance *other = &config->instances[2];
	const KmsInstance *local = &config->instances[0];

	check(config->count == 3, "three instances");
	check(corp->provider == &fake_vault && strcmp(corp->name, "corp") == 0 && corp->line == 2, "the first, by provider, name, line");
	check(strcmp(corp->server, "vault.internal:8200") == 0, "its server, by its provider");
	check(corp->nsettings == 2 && strcmp(pge_kms_setting(corp, "address"), "https://Vault.Internal:8200") == 0, "its address");
	check(strcmp(pge_kms_setting(corp, "ca_file"), "/etc/a;b #c =d.pem") == 0 &&
		  pge_kms_setting_of(corp, "ca_file")->line == 4, "a value with all but a comment in it");
	check(pge_kms_setting(corp, "token_file") == NULL && pge_kms_setting(corp, "allow_keys") == NULL, "what was not given");
	check(corp->nkeys == 2 && strcmp(corp->keys[0], "transit/keys/tenant-*") == 0 &&
		  strcmp(corp->keys[1], "transit/keys/shared") == 0 && corp->keys_line == 5, "allow_keys");
	check(corp->ndatabases == 2 && strcmp(corp->databases[0], "app") == 0 &&
		  strcmp(corp->databases[1], "gar\xc3\xa7on") == 0, "allow_databases");
	check(corp->nkeyrings == 2 && memcmp(corp->keyrings[0], "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16) == 0 &&
		  corp->keyrings[1][0] == 0xff && corp->keyrings[1][15] == 0xff, "allow_keyrings");
	check(other->provider == &fake_other && strcmp(other->name, "eu.west-1_a") == 0 && other->nkeys == 0 &&
		  other->keys_line == 0, "the second");
	check(local->line == 10 && local->ndatabases == 1 && local->nsettings == 0, "the local keyring's section");
	pge_kms_config_free(config);
}

#define AGENT	"[agent]\nserver_user = a\n"
#define TEN		"0123456789"
#define HUNDRED	TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* Each with the number of its line, and the reason in words. */
static const struct
{
	const char *text;
	int			line;
	const char *reason;
}			bad[] = {
	{"address = https://a", 1, "before the first section"},
	{"\n\nfoo", 3, "neither a section's"},
	{CORP "foo\n", 3, "neither a section's"},
	{CORP "= x", 3, "a setting's name"},
	{CORP "Address = x", 3, "a setting's name"},
	{CORP "ca file = x", 3, "a setting's name"},
	{CORP "ca-file = x", 3, "a setting's name"},
	{CORP "adress = x", 3, "unknown setting \"adress\" of [vault corp]"},
	{CORP "allow_key = x", 3, "unknown setting \"allow_key\" of [vault corp]"},
	{CORP "ca_file =", 3, "\"ca_file\" has no value"},
	{CORP "ca_file =;x", 3, "\"ca_file\" has no value"},
	{CORP "allow_databases=;a", 3, "allow_databases is empty"},
	{CORP "ca_file = ; x", 3, "\"ca_file\" has no value"},
	{CORP "ca_file = x\n\nca_file = x", 5, "\"ca_file\" of [vault corp] is given twice"},
	{CORP "allow_keys = a\nallow_keys = b", 4, "\"allow_keys\" of [vault corp] is given twice"},
	{CORP "allow_databases = a\nallow_databases = a", 4, "\"allow_databases\" of [vault corp] is given twice"},
	{CORP "allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff\nallow_keyrings = x", 4, "\"allow_keyrings\" of [vault corp] is given twice"},
	{CORP "allow_destroy = yes", 3, "\"on\" or \"off\""},
	{CORP "allow_destroy = On", 3, "\"on\" or \"off\""},
	{CORP "allow_destroy =", 3, "\"on\" or \"off\""},
	{CORP "allow_destroy = off\nallow_destroy = on", 4, "\"allow_destroy\" of [vault corp] is given twice"},
	{CORP "allow_keys =", 3, "allow_keys is empty"},
	{CORP "allow_keys = ,a", 3, "allow_keys is empty, or has nothing before or behind a comma"},
	{CORP "allow_keys = a,", 3, "allow_keys is empty, or has nothing before or behind a comma"},
	{CORP "allow_keys = a, ,b", 3, "allow_keys is empty, or has nothing before or behind a comma"},
	{CORP "allow_databases =", 3, "allow_databases is empty"},
	{CORP "allow_databases = aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg", 3, "at most 63"},
	{CORP "allow_keyrings =", 3, "allow_keyrings is empty"},
	{CORP "allow_keyrings = 0011223344556677-8899-aabb-ccddeeff", 3, "not a UUID"},
	{CORP "allow_keyrings = 00112233-4455-6677-8899-aabbccddeefg", 3, "not a UUID"},
	{CORP "allow_keyrings = 00112233-4455-6677-8899-aabbccddeef", 3, "not a UUID"},
	{CORP "allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff0", 3, "not a UUID"},
	{CORP "allow_keyrings = 00112233x4455x6677x8899xaabbccddeeff", 3, "not a UUID"},
	{CORP "allow_keys = /a", 3, "empty"},
	{CORP "allow_keys = a//b", 3, "empty"},
	{CORP "allow_keys = a, b/..", 3, "\"..\""},
	{CORP "allow_keys = a b", 3, "byte 0x20"},
	{CORP "allow_keys = a?", 3, "\"?\""},
	{CORP "allow_keys = https://a/%61", 3, "\"%\""},
	{"[vault]", 1, "needs a name: [vault NAME]"},
	{"[local corp]", 1, "has no name: [local]"},
	{"[vault a b]", 1, "a section's name"},
	{"[vault -a]", 1, "a section's name"},
	{"[vault a/b]", 1, "a section's name"},
	{"[vault aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg]", 1, "a section's name"},
	{"[vault corp", 1, "\"]\""},
	{"[vault corp] x", 1, "\"]\""},
	{"[", 1, "\"]\""},
	{"[]", 1, "one of: local, vault, other, agent."},
	{"[Vault corp]", 1, "one of: local"},
	{"[ hvs.CAESIJs3cret ]", 1, "one of: local"},
	{"[agents]", 1, "unknown kind of section \"agents\"; there are: local, vault, other, agent."},
	{"[agent]", 1, "needs the line server_user"},
	{"\n[agent]\nserver_user =\n", 3, "\"server_user\" has no value"},
	{"[agent corp]\nserver_user = a", 1, "has no name: [agent]"},
	{"[agent]\nserver_user = a\n[local]\n[agent]\nserver_user = b", 4, "section [agent] is there already, at line 1"},
	{AGENT "server_user = b", 3, "\"server_user\" of [agent] is given twice"},
	{AGENT "allow_databases = a", 3, "unknown setting \"allow_databases\" of [agent]"},
	{AGENT "allow_keyrings = a", 3, "unknown setting \"allow_keyrings\" of [agent]"},
	{AGENT "allow_keys = a", 3, "unknown setting \"allow_keys\" of [agent]"},
	{AGENT "address = a", 3, "unknown setting \"address\" of [agent]"},
	{AGENT "keyring_file = a/b", 3, "keyring_file has to begin with \"/\""},
	{AGENT "socket = agent.sock", 3, "socket has to begin with \"/\""},
	{AGENT "\nsocket = /" HUNDRED "abcdefg", 4, "at most 107 bytes"},
	{AGENT "concurrency = 0", 3, "a number from 1 to 256"},
	{AGENT "concurrency = 257", 3, "a number from 1 to 256"},
	{AGENT "concurrency = 4294967297", 3, "a number from 1 to 256"},
	{AGENT "concurrency = +4", 3, "a number from 1 to 256"},
	{AGENT "concurrency = 4 x", 3, "a number from 1 to 256"},
	{AGENT "timeout_ms = 99", 3, "a number from 100 to 600000"},
	{AGENT "timeout_ms = 600001", 3, "a number from 100 to 600000"},
	{AGENT "timeout_ms = 10s", 3, "a number from 100 to 600000"},
	{"\n" CORP "\n\n[vault corp]\n", 6, "section [vault corp] is there already, at line 2"},
	{"[local]\n[local]\n", 2, "section [local] is there already, at line 1"},
	{"[local]\nallow_keys = a", 2, "unknown setting \"allow_keys\" of [local]"},
	{"[local]\naddress = a", 2, "unknown setting \"address\" of [local]"},
	{"[other a]\naddress = a", 2, "unknown setting \"address\" of [other a]"},
	{"\n[vault corp]\nca_file = x\n\n[local]\n", 2, "address is missing"},
	{"\n[vault corp]\nca_file = x\n", 2, "address is missing"},
	{"[vault corp]\nca_file = x\naddress = http://a\n[local]\n", 3, "does not begin with https://"},
	{"[vault corp]\nca_file = x\naddress = http://a\n[nonsense]\n", 4, "unknown kind of section"},
	{"[vault corp]\naddress = https://a:0\n", 2, "a port"},
	{CORP "ca_file = x\r\n", 3, "carriage return"},
	{"\xef\xbb\xbf[local]\n", 1, "byte order mark"},
	{CORP "; \x01", 3, "control character (byte 0x01)"},
	{CORP "ca_file = a\x7f", 3, "control character (byte 0x7f)"},
	{CORP "ca_file = a\vb", 3, "control character (byte 0x0b)"},
	{CORP "ca_file = \xff", 3, "not UTF-8"},
	{CORP "ca_file = \xc0\xaf", 3, "not UTF-8"},
	{CORP "ca_file = \xed\xa0\x80", 3, "not UTF-8"},
	{CORP "ca_file = \xe2\x82", 3, "not UTF-8"},
	{CORP "ca_file = \xc2\x85", 3, "control character"},
};

static void
test_bad_lines(void)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		KmsConfig  *config;
		PgeStatus	status = parse_bytes(bad[i].text, strlen(bad[i].text), &config);

		check(status == PGE_INVALID && config == NULL && line == bad[i].line && strstr(detail, bad[i].reason) != NULL &&
			  strstr(detail, "s3cret") == NULL, "line %d: %s", bad[i].line, bad[i].reason);
		if (status != PGE_INVALID || line != bad[i].line || strstr(detail, bad[i].reason) == NULL)
			printf("#   line %d: %s\n", line, detail);
		pge_kms_config_free(status == PGE_OK ? config : NULL);
	}
}

static void
test_agent(void)
{
	static const char all[] =
	"[vault corp]\naddress = https://a\n"
	"[agent]\nserver_user = postgres\nsocket = /a/" HUNDRED "abcd\nkeyring_file = /k\n"
	"keyring_passphrase_command = cat /p\nconcurrency = 256\ntimeout_ms = 100\n";
	KmsConfig  *config;
	KmsAgentSection section;

	check_status(parse_bytes("[local]\n[vault corp]\naddress = https://a\n", 40, &config), PGE_OK, "a file without [agent]");
	check(!pge_kms_config_agent(config, &section), "has none");
	check(config->instances[0].spawned && config->instances[1].spawned, "and is for an agent that the server starts");
	pge_kms_config_free(config);

	check_status(parse_bytes(all, sizeof(all) - 1, &config), PGE_OK, "a file with all that [agent] may say");
	check(pge_kms_config_agent(config, &section) && strcmp(section.server_user, "postgres") == 0 &&
		  strlen(section.socket) == 107 && strcmp(section.keyring_file, "/k") == 0 &&
		  strcmp(section.keyring_passphrase_command, "cat /p") == 0 &&
		  section.concurrency == 256 && section.timeout_ms == 100, "says it");
	check(!config->instances[0].spawned && !config->instances[1].spawned, "and is for an agent that is a service, in each section");
	check(config->count == 2, "[agent] is no key service");
	pge_kms_config_free(config);

	check_status(parse_bytes(AGENT, sizeof(AGENT) - 1, &config), PGE_OK, "a file with the least that [agent] needs");
	check(pge_kms_config_agent(config, &section) && strcmp(section.socket, "/run/pg_envelope/agent.sock") == 0 &&
		  strcmp(section.keyring_file, "/var/lib/pg_envelope/keyring") == 0 &&
		  section.keyring_passphrase_command[0] == '\0' &&
		  section.concurrency == 16 && section.timeout_ms == 10000, "has defaults for the rest");
	pge_kms_config_free(config);
}

static void
test_user(void)
{
	static const struct
	{
		const char *text;
		PgeStatus	status;
		int			line;
		const char *reason;
	}			users[] = {
		{"[local]\n", PGE_OK, 0, ""},
		{"[agent]\nserver_user = nobody\n", PGE_OK, 0, ""},
		{"[agent]\n\nserver_user = no such user\n", PGE_INVALID, 3, "no user \"no such user\""},
		{"[agent]\nserver_user = root\n", PGE_INVALID, 2, "as whom no server runs"},
	};

	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
	{
		KmsConfig  *config;
		int			at = -1;

		check_status(parse_bytes(users[i].text, strlen(users[i].text), &config), PGE_OK, "user %zu: well formed", i);
		detail[0] = '\0';
		check(pge_kms_config_find_user(config, &at, detail) == users[i].status && at == users[i].line &&
			  strstr(detail, users[i].reason) != NULL, "user %zu: %s", i, users[i].reason);
		check(i != 1 || config->server_uid == 65534, "with the id that the system has for it");
		pge_kms_config_free(config);
	}
}

static void
test_nul(void)
{
	KmsConfig  *config;

	check_status(parse_bytes(CORP "ca_file = a\0b", sizeof(CORP "ca_file = a\0b") - 1, &config), PGE_INVALID, "a NUL in a line");
	check(line == 3 && strstr(detail, "byte 0x00") != NULL, "with its number");
	check_status(parse_bytes("\0", 1, &config), PGE_INVALID, "nothing but a NUL");
}

/* A line that is not understood may hold a token that was pasted there. */
static void
test_nothing_is_repeated(void)
{
	static const char *const texts[] = {CORP "s3cret-Token", CORP "s3cret.Token = x", CORP "S3cret s3cret = x",
	"[s3cret.Token x]", "[vault s3cret/x]", CORP "allow_keyrings = s3cret", CORP "allow_keys = s3cret%", CORP "[vault s3cret"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		KmsConfig  *config;

		check(parse_bytes(texts[i], strlen(texts[i]), &config) == PGE_INVALID && detail[0] != '\0' &&
			  strstr(detail, "s3cret") == NULL && strstr(detail, "S3cret") == NULL, "the line is not repeated: %zu", i);
	}
}

static void
test_limits(void)
{
	static char text[KMS_CONFIG_FILE_MAX + 2];
	KmsConfig  *config;
	size_t		len;

	memset(text, ' ', KMS_CONFIG_LINE_MAX);
	check_status(parse_bytes(text, KMS_CONFIG_LINE_MAX, &config), PGE_OK, "a line of %d bytes", KMS_CONFIG_LINE_MAX);
	pge_kms_config_free(config);
	text[KMS_CONFIG_LINE_MAX] = ' ';
	check_status(parse_bytes(text, KMS_CONFIG_LINE_MAX + 1, &config), PGE_INVALID, "one more");
	check(line == 1 && strstr(detail, "longer than 4096") != NULL, "with its number");

	memset(text, '\n', sizeof(text));
	check_status(parse_bytes(text, KMS_CONFIG_FILE_MAX, &config), PGE_OK, "a file of %d bytes", KMS_CONFIG_FILE_MAX);
	pge_kms_config_free(config);
	check_status(parse_bytes(text, KMS_CONFIG_FILE_MAX + 1, &config), PGE_INVALID, "one more");
	check(line == 0 && strstr(detail, "longer than 262144") != NULL, "with the reason");

	len = 0;
	for (int i = 1; i < KMS_INSTANCES_MAX; i++)
		len += (size_t) snprintf(text + len, sizeof(text) - len, "[other i%d]\n", i);
	check_status(parse_bytes(text, len, &config), PGE_OK, "%d instances", KMS_INSTANCES_MAX);
	check(config->count == KMS_INSTANCES_MAX, "all there");
	pge_kms_config_free(config);
	len += (size_t) snprintf(text + len, sizeof(text) - len, "[local]\n");
	check_status(parse_bytes(text, len, &config), PGE_OK, "the local keyring's section takes no room");
	pge_kms_config_free(config);
	len += (size_t) snprintf(text + len, sizeof(text) - len, "[other last]\n");
	check_status(parse_bytes(text, len, &config), PGE_INVALID, "one more");
	check(line == KMS_INSTANCES_MAX + 1 && strstr(detail, "more than 31 sections") != NULL, "with its number");
}

/* Of two providers the names are apart. */
static void
test_same_name(void)
{
	KmsConfig  *config = parse(CORP "[other corp]");

	check(config->count == 3, "two providers may have an instance of one name");
	pge_kms_config_free(config);
}

static void
test_checked_once(void)
{
	fake_checks = 0;
	pge_kms_config_free(parse(CORP "[other a]\n[vault b]\naddress = https://b\n[local]\n"));
	check(fake_checks == 2, "each section is checked once by its provider");
}

static bool
equal(const char *a, const char *b)
{
	KmsConfig  *x = parse(a);
	KmsConfig  *y = parse(b);
	bool		same = pge_kms_instance_same_service(&x->instances[x->count - 1], &y->instances[y->count - 1]);

	check(same == pge_kms_instance_same_service(&y->instances[y->count - 1], &x->instances[x->count - 1]), "the same both ways");
	pge_kms_config_free(x);
	pge_kms_config_free(y);
	return same;
}

static void
test_equal(void)
{
	static const char *const differ[] = {
		"[vault corp2]\naddress = https://vault.internal:8200\n", "[other corp]\n",
		"[vault corp]\naddress = https://vault.internal:8201\n", CORP "ca_file = a"
	};
	static const char *const same[] = {
		CORP, CORP "allow_keys = a", CORP "allow_keys = a, c\nallow_databases = a", CORP "allow_databases = b",
		CORP "allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff", CORP "allow_destroy = on"
	};

	check(equal(CORP "ca_file = a\ntoken_file = b", "\n\n[vault corp]\ntoken_file = b\nca_file = a\n"
				"address = https://vault.internal:8200"), "equal in another order, at other lines");
	check(equal("", "[local]"), "the local keyring's, given or not");
	for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++)
		check(!equal(CORP, differ[i]), "not equal: %zu", i);
	check(!equal(CORP "ca_file = a", CORP "ca_file = b"), "not equal: another value");
	check(!equal(CORP "ca_file = a", CORP "token_file = a"), "not equal: another setting");
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		check(equal(CORP "allow_keys = a, b\nallow_databases = a", same[i]), "of the same service, another list: %zu", i);
}

static const char several[] =
"[vault a]\naddress = https://vault.internal:8200\nallow_keys = transit/keys/a, transit/keys/both\n"
"[vault b]\naddress = https://vault.internal:8200\nallow_keys = transit/keys/b*\n"
"[vault c]\naddress = https://vault.internal:8300\nallow_keys = transit/keys/*\n"
"[vault d]\naddress = https://d.internal:8200\n"
"[other e]\nallow_keys = *\n";

/* "name" is of the instance, or of what the detail says. */
static void
found(const char *uri, const char *name)
{
	KmsConfig  *config = parse(several);
	const KmsInstance *instance;
	KeyUri		key;
	PgeStatus	status = fake_vault_parse_uri(text_bytes(uri), &key, detail);

	detail[0] = '\0';
	check_status(status, PGE_OK, "%s", uri);
	status = pge_kms_config_find(config, &key, &fake_vault, &instance, detail);
	if (strlen(name) == 1)
		check(status == PGE_OK && instance != NULL && strcmp(instance->name, name) == 0, "served by %s", name);
	else
		check(status == PGE_INVALID && instance == NULL && strstr(detail, name) != NULL, "%s", name);
	if (status != PGE_OK && strstr(detail, name) == NULL)
		printf("#   %s\n", detail);
	pge_kms_config_free(config);
}

static void
test_find(void)
{
	found("vault://vault.internal:8200/transit/keys/a", "a");
	found("vault://vault.internal:8200/transit/keys/b1", "b");
	found("vault://vault.internal:8300/transit/keys/a", "c");
	found("vault://vault.internal:8200/transit/keys/both", "serve this key: add ?instance=NAME to the URI, with one of the names \"a\" \"b\"");
	found("vault://vault.internal:8200/transit/keys/both?instance=b", "b");
	found("vault:///transit/keys/z", "c");
	found("vault:///transit/keys/a", "the names \"a\" \"c\"");
	found("vault:///transit/keys/a?instance=a", "a");
	found("vault://vault.internal/transit/keys/b1?instance=c", "c");
	found("vault://vault.internal:8200/transit/keys/a2", "None of the 2 sections");
	found("vault://vault.internal:8200/transit/keys/a2", "[vault b], needs the line allow_keys = ..., transit/keys/a2 (behind the patterns of line 6)");
	found("vault://vault.internal:8200/transit/keys/a2?instance=a",
		  "Section [vault a] of pg_envelope.kms_config_file does not allow the key. It needs the line allow_keys = ..., transit/keys/a2 (behind the patterns of line 3)");
	found("vault://d.internal:8200/transit/keys/d", "[vault d] of pg_envelope.kms_config_file does not allow the key. It needs the line allow_keys = transit/keys/d");
	found("vault://d.internal:8300/transit/keys/d", "No section [vault NAME] of pg_envelope.kms_config_file is for \"d.internal:8300\"");
	found("vault://vault.internal:8200/transit/keys/a?instance=c", "Section [vault c] of pg_envelope.kms_config_file is not for \"vault.internal:8200\"");
	found("vault://vault.internal:8200/transit/keys/a?instance=e", "There is no section [vault e]");
	found("vault:///transit/keys/a?instance=A", "There is no section [vault A]");
}

/* Whose file it is depends on who starts the agent. */
static void
test_find_of_service(void)
{
	KmsConfig  *config = parse("[agent]\nserver_user = root\n[vault a]\naddress = https://vault.internal:8200\nallow_databases = app\n[vault b]\naddress = https://b.internal:8200\n[local]\nallow_databases = app\nallow_keyrings = 6f1d2c3b-0000-4000-8000-000000000001");
	KeyUri		key = {.scheme = "vault", .path = "a", .server = "vault.internal:8200"};
	static const uint8_t other[PGE_UUID_LEN] = {0x6f};
	const KmsInstance *instance;

	check_status(pge_kms_config_find(config, &key, &fake_vault, &instance, detail), PGE_INVALID, "a key that a service's file does not allow");
	check(strstr(detail, "Section [vault a] of the agent's own configuration file does not allow the key") != NULL, "which says whose file it is (%s)", detail);
	memcpy(key.server, "c.internal:8200", 16);
	check_status(pge_kms_config_find(config, &key, &fake_vault, &instance, detail), PGE_INVALID, "a server that it does not name");
	check(strstr(detail, "No section [vault NAME] of the agent's own configuration file is for") != NULL, "likewise (%s)", detail);
	check(pge_kms_instance_admits_database(&config->instances[0], text_bytes("other"), detail) == PGE_DENIED &&
		  strstr(detail, "Section [local] of the agent's own configuration file has this database not") != NULL, "and a database (%s)", detail);
	check(pge_kms_instance_admits(&config->instances[0], text_bytes("app"), pge_bytes(other, sizeof(other)), detail) == PGE_DENIED &&
		  strstr(detail, "Section [local] of the agent's own configuration file is not for data keys of the keyring 6f000000-") != NULL, "and a keyring (%s)", detail);
	pge_kms_config_free(config);
}

static void
test_find_without(void)
{
	KmsConfig  *config = parse("[other e]\nallow_keys = *\n");
	const KmsInstance *instance;
	KeyUri		key = {.scheme = "vault", .path = "a"};
	KeyUri		local = {.scheme = "local", .path = "00112233-4455-6677-8899-aabbccddeeff"};

	check_status(pge_kms_config_find(config, &key, &fake_vault, &instance, detail), PGE_INVALID, "no section of the provider");
	check(strstr(detail, "There is no section [vault NAME]") != NULL, "said so");
	check_status(pge_kms_config_find(config, &key, &fake_other, &instance, detail), PGE_OK, "a provider without servers");
	check_status(pge_kms_config_find(config, &local, &fake_local, &instance, detail), PGE_OK, "a KEK of the local keyring");
	check(instance == &config->instances[0], "its instance, without a section and allow_keys");
	memcpy(local.instance, "corp", 5);
	check_status(pge_kms_config_find(config, &local, &fake_local, &instance, detail), PGE_INVALID, "the local keyring has no names");
	pge_kms_config_free(config);
}

static void
test_admits(void)
{
	static const uint8_t one[PGE_UUID_LEN] = {0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	static const uint8_t two[PGE_UUID_LEN] = {1};
	KmsConfig  *config = parse("[local]\nallow_databases = app, db\nallow_keyrings = 00112233-4455-6677-8899-aabbccddeeff\n[other any]");
	const KmsInstance *strict = &config->instances[0];
	const KmsInstance *any = &config->instances[1];
	PgeBytes	keyring = pge_bytes(one, sizeof(one));

	check_status(pge_kms_instance_admits(any, text_bytes(""), pge_bytes(NULL, 0), detail), PGE_OK, "any database and keyring");
	check_status(pge_kms_instance_admits(strict, text_bytes("app"), keyring, detail), PGE_OK, "both in the lists");
	check_status(pge_kms_instance_admits(strict, text_bytes("db"), keyring, detail), PGE_OK, "the second database");
	check_status(pge_kms_instance_admits(strict, text_bytes("app2"), keyring, detail), PGE_DENIED, "a longer name");
	check(strstr(detail, "Section [local]") != NULL && strstr(detail, "allow_databases") != NULL, "said which list");
	check_status(pge_kms_instance_admits(strict, text_bytes("ap"), keyring, detail), PGE_DENIED, "a shorter name");
	check_status(pge_kms_instance_admits(strict, text_bytes("App"), keyring, detail), PGE_DENIED, "another case");
	check_status(pge_kms_instance_admits(strict, text_bytes(""), keyring, detail), PGE_DENIED, "no name, as an older backend sends none");
	check_status(pge_kms_instance_admits(strict, text_bytes("app"), pge_bytes(two, sizeof(two)), detail), PGE_DENIED, "another keyring");
	check(strstr(detail, "allow_keyrings") != NULL, "said which list");
	check_status(pge_kms_instance_admits(strict, text_bytes("app"), pge_bytes(one, 15), detail), PGE_DENIED, "a shorter keyring");
	check_status(pge_kms_instance_admits(strict, text_bytes("app"), pge_bytes(NULL, 0), detail), PGE_DENIED, "no keyring");
	pge_kms_config_free(config);
}

static void
test_admits_destruction(void)
{
	KmsConfig  *config = parse("[other any]\nallow_destroy = on\n[other off]\nallow_destroy = off\n[other none]\n"
							   "[other strict]\nallow_databases = app\nallow_destroy = on\n");
	PgeBytes	app = text_bytes("app");

	check_status(pge_kms_instance_admits_destruction(&config->instances[1], app, detail), PGE_OK, "allow_destroy = on");
	check_status(pge_kms_instance_admits_destruction(&config->instances[2], app, detail), PGE_DENIED, "off");
	check_status(pge_kms_instance_admits_destruction(&config->instances[3], app, detail), PGE_DENIED, "not given");
	check(strstr(detail, "Section [other none]") != NULL && strstr(detail, "allow_destroy = on") != NULL, "the line to add is told");
	check_status(pge_kms_instance_admits_destruction(&config->instances[4], app, detail), PGE_OK, "for a database that is listed");
	check_status(pge_kms_instance_admits_destruction(&config->instances[4], text_bytes("db"), detail), PGE_DENIED, "for no other");
	check(strstr(detail, "allow_databases") != NULL, "as is said");
	check_status(pge_kms_instance_admits_destruction(&config->instances[0], app, detail), PGE_DENIED, "the local keyring, without a section");
	check(strstr(detail, "needs a section [local] with the line allow_destroy = on") != NULL, "which is told, too");
	pge_kms_config_free(config);
	config = parse("[local]\nallow_destroy = on\n");
	check_status(pge_kms_instance_admits_destruction(&config->instances[0], app, detail), PGE_OK, "the local keyring, with it");
	pge_kms_config_free(config);
}

int
main(void)
{
	test_empty();
	test_whole();
	test_bad_lines();
	test_agent();
	test_user();
	test_nul();
	test_nothing_is_repeated();
	test_limits();
	test_same_name();
	test_checked_once();
	test_equal();
	test_find();
	test_find_of_service();
	test_find_without();
	test_admits();
	test_admits_destruction();
	return check_done();
}
