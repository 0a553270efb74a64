/*-------------------------------------------------------------------------
 *
 * key_uri_test.c
 *	  A KEK's URI in parts, and the patterns of allow_keys.
 *
 * hostile_uris_test.c has the URIs that somebody means harm with.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/key_uri.h"
#include "agent/kms/kms_detail.h"
#include "check.h"

static char detail[KMS_DETAIL_LEN];

static PgeStatus
split(const char *uri, KeyUriSplit *parts)
{
	detail[0] = '\0';
	return pge_key_uri_split(text_bytes(uri), parts, detail);
}

static void
test_split(void)
{
	KeyUriSplit parts;

	check_status(split("Vault://Host:1/a/b?instance=x-1_y.z", &parts), PGE_OK, "a whole URI");
	check(same_bytes(parts.scheme, text_bytes("Vault")), "its scheme");
	check(parts.has_authority && same_bytes(parts.authority, text_bytes("Host:1")), "its authority");
	check(same_bytes(parts.path, text_bytes("a/b")), "its path");
	check(strcmp(parts.instance, "x-1_y.z") == 0, "its instance");
	check(pge_key_uri_scheme_is(&parts, "vault") && !pge_key_uri_scheme_is(&parts, "vaul") &&
		  !pge_key_uri_scheme_is(&parts, "vaults"), "a scheme is the same in any case, and whole");
	check_status(split("vault:///a", &parts), PGE_OK, "an empty authority");
	check(parts.has_authority && parts.authority.len == 0 && same_bytes(parts.path, text_bytes("a")), "its parts");
	check_status(split("vault://host", &parts), PGE_OK, "an authority alone");
	check(same_bytes(parts.authority, text_bytes("host")) && parts.path.len == 0, "its parts");
	check_status(split("vault://key?instance=a", &parts), PGE_OK, "an authority and a query");
	check(same_bytes(parts.authority, text_bytes("key")) && parts.path.len == 0 &&
		  strcmp(parts.instance, "a") == 0, "its parts");
	check_status(split("local:00-11", &parts), PGE_OK, "no authority");
	check(!parts.has_authority && same_bytes(parts.path, text_bytes("00-11")), "its path");
	check_status(split("a+b-c.d:x", &parts), PGE_OK, "all that a scheme may have");
}

static void
refused(const char *uri, const char *why)
{
	KeyUriSplit parts;

	check_status(split(uri, &parts), PGE_INVALID, "refused: %s", why);
	check(detail[0] != '\0' && strstr(detail, "s3cret") == NULL, "with a detail: %s", why);
}

static void
test_split_refuses(void)
{
	static char longest[PGE_KEK_URI_MAX + 2];
	KeyUriSplit parts;

	refused("", "nothing");
	refused("vault", "no colon");
	refused(":x", "an empty scheme");
	refused("1vault:x", "a digit first");
	refused("va_ult:x", "an underscore in the scheme");
	refused("abcdefghijklmnop:x", "a scheme of 16");
	refused("vault://a/b#c", "a fragment");
	check(strstr(detail, "fragment") != NULL, "by its name");
	refused("vault://user:s3cret@a/b", "user-info");
	refused("vault://a/b?x=y", "a query of another name");
	refused("vault://a/b?instance=-a", "an instance with a hyphen first");
	refused("vault://a/b?instance=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg", "an instance of 64");
	memset(longest, 'a', PGE_KEK_URI_MAX);
	memcpy(longest, "x:", 2);
	check_status(split(longest, &parts), PGE_OK, "%d bytes", PGE_KEK_URI_MAX);
	longest[PGE_KEK_URI_MAX] = 'a';
	check_status(split(longest, &parts), PGE_INVALID, "one more");
	for (int c = 0; c < 256; c++)
	{
		char		uri[] = "x://a/?b";
		bool		legal = (c > 0x20 && c < 0x7f && strchr("\"#<>\\^`{|}?@", c) == NULL);

		uri[4] = (char) c;
		uri[6] = 'c';
		if ((pge_key_uri_split(pge_bytes(uri, 8), &parts, detail) == PGE_OK) != legal)
			check(false, "byte %d in an authority", c);
	}
}

static void
server_is(const char *authority, const char *expected)
{
	char		server[KEY_URI_SERVER_MAX + 1];

	check(pge_key_uri_server(text_bytes(authority), server, detail) == PGE_OK && strcmp(server, expected) == 0,
		  "server %s", authority);
}

static void
no_server(const char *authority)
{
	char		server[KEY_URI_SERVER_MAX + 1] = "x";

	detail[0] = '\0';
	check(pge_key_uri_server(text_bytes(authority), server, detail) == PGE_INVALID && server[0] == '\0' &&
		  detail[0] != '\0', "no server: \"%.40s\"", authority);
}

static void
test_servers(void)
{
	char		name[300];

	server_is("Vault.Internal:8200", "vault.internal:8200");
	server_is("vault_1", "vault_1");
	server_is("127.0.0.1:65535", "127.0.0.1:65535");
	server_is("1.example:1", "1.example:1");
	server_is("0xg", "0xg");
	server_is("[0:0::0001]:8200", "[::1]:8200");
	server_is("[2001:DB8::A]", "[2001:db8::a]");
	server_is("[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1");
	no_server("");
	no_server(":8200");
	no_server("a.");
	no_server(".a");
	no_server("a..b");
	no_server("-a");
	no_server("a-.b");
	no_server("a:");
	no_server("a:0");
	no_server("a:01");
	no_server("a:65536");
	no_server("a:123456");
	no_server("a:1x");
	no_server("a%62");
	no_server("1");
	no_server("127.1");
	no_server("a.0x1f");
	no_server("127.0.0.01");
	no_server("[::1");
	no_server("[]");
	no_server("[::1]]");
	no_server("[::1]8200");
	no_server("[1.2.3.4]");
	no_server("[fe80::1%1]");
	no_server("user@a");
	memset(name, 'a', sizeof(name));
	name[63] = name[127] = name[191] = '.';
	name[253] = '\0';
	server_is(name, name);
	name[253] = 'a';
	name[254] = '\0';
	no_server(name);
	memcpy(name + 253, ":65535", 7);
	server_is(name, name);
	name[63] = 'a';
	no_server(name);
}

static void
path_is(const char *path, const char *expected)
{
	char		decoded[PGE_KEK_URI_MAX + 1] = "x";
	PgeStatus	status = pge_key_uri_path(text_bytes(path), decoded, detail);

	if (expected != NULL)
		check(status == PGE_OK && strcmp(decoded, expected) == 0, "path %s", path);
	else
		check(status == PGE_INVALID && decoded[0] == '\0', "no path: \"%s\"", path);
}

static void
test_paths(void)
{
	static char longest[PGE_KEK_URI_MAX + 2];

	path_is("transit/keys/a", "transit/keys/a");
	path_is("%61%2D%2e%7E/%3a%40%2B%3D", "a-.~/:@+=");
	path_is(".../.a/a.", ".../.a/a.");
	path_is("arn:aws:kms:eu-west-1:111122223333:key/1-2", "arn:aws:kms:eu-west-1:111122223333:key/1-2");
	path_is("", NULL);
	path_is("/a", NULL);
	path_is("a/", NULL);
	path_is("a//b", NULL);
	path_is(".", NULL);
	path_is("a/..", NULL);
	path_is("%2e/a", NULL);
	path_is("a%2fb", NULL);
	path_is("a%25", NULL);
	path_is("a%", NULL);
	path_is("a%6", NULL);
	path_is("a%6g", NULL);
	path_is("a%00", NULL);
	memset(longest, 'a', PGE_KEK_URI_MAX + 1);
	path_is(longest, NULL);
	longest[PGE_KEK_URI_MAX] = '\0';
	path_is(longest, longest);
	for (int c = 1; c < 256; c++)
	{
		char		plain[2] = {(char) c, '\0'};
		char		encoded[4];
		char		decoded[PGE_KEK_URI_MAX + 1];
		bool		letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool		legal = letter || (c >= '0' && c <= '9') || (c < 0x7f && strchr("-_~:@+=", c) != NULL);

		snprintf(encoded, sizeof(encoded), "%%%02X", c);
		if ((pge_key_uri_path(text_bytes(encoded), decoded, detail) == PGE_OK) != legal ||
			(c != '%' && (pge_key_uri_path(text_bytes(plain), decoded, detail) == PGE_OK) != legal))
			check(false, "byte %d in a path", c);
	}
}

static void
formatted(const KeyUri *key, const char *server, const char *expected)
{
	char		uri[PGE_KEK_URI_MAX + 1];

	check(pge_key_uri_format(key, server, uri) == PGE_OK && strcmp(uri, expected) == 0, "written: %s", expected);
}

static void
test_format(void)
{
	KeyUri		key = {"vault", "", "transit/keys/a", ""};
	char		uri[PGE_KEK_URI_MAX + 1] = "x";

	formatted(&key, "host:1", "vault://host:1/transit/keys/a");
	formatted(&key, NULL, "vault:transit/keys/a");
	formatted(&key, "", "vault:transit/keys/a");
	memcpy(key.server, "host", 5);
	memcpy(key.instance, "corp", 5);
	formatted(&key, "host:1", "vault://host:1/transit/keys/a?instance=corp");
	formatted(&key, NULL, "vault://host/transit/keys/a?instance=corp");
	memcpy(key.server, "host:2", 7);
	formatted(&key, "host:1", "vault://host:2/transit/keys/a?instance=corp");
	memcpy(key.server, "[::1]", 6);
	formatted(&key, "[::1]:1", "vault://[::1]:1/transit/keys/a?instance=corp");
	memset(key.path, 'a', PGE_KEK_URI_MAX - 28);
	key.path[PGE_KEK_URI_MAX - 28] = '\0';
	check(pge_key_uri_format(&key, NULL, uri) == PGE_OK && strlen(uri) == PGE_KEK_URI_MAX, "the longest");
	key.path[PGE_KEK_URI_MAX - 28] = 'a';
	key.path[PGE_KEK_URI_MAX - 27] = '\0';
	check(pge_key_uri_format(&key, NULL, uri) == PGE_TOO_LARGE && uri[0] == '\0', "one more");
}

static void
test_server_matches(void)
{
	static const struct
	{
		const char *server;
		const char *instance;
		bool		same;
	}			cases[] = {
		{"a:1", "a:1", true}, {"a", "a:1", true}, {"a:1", "a", true}, {"a", "a", true},
		{"a:1", "a:2", false}, {"a:1", "a:11", false}, {"a", "ab:1", false}, {"ab", "a:1", false},
		{"[::1]", "[::1]:1", true}, {"[::1]:1", "[::1]:2", false}, {"[::1]", "[::2]:1", false},
		{"", "", false}, {"", "a:1", false}, {"a:1", "", false}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(pge_key_uri_server_matches(cases[i].server, cases[i].instance) == cases[i].same,
			  "\"%s\" and \"%s\"", cases[i].server, cases[i].instance);
}

static void
test_patterns(void)
{
	static const struct
	{
		const char *pattern;
		const char *path;
		bool		matches;
	}			cases[] = {
		{"app", "app", true}, {"app", "app2", false}, {"app2", "app", false}, {"app", "App", false},
		{"app", "app/x", false}, {"app/x", "app", false}, {"app", "x/app", false},
		{"transit/keys/tenant-*", "transit/keys/tenant-a", true},
		{"transit/keys/tenant-*", "transit/keys/tenant-", true},
		{"transit/keys/tenant-*", "transit/keys/tenant", false},
		{"transit/keys/tenant-*", "transit/keys/tenant-a/b", false},
		{"transit/keys/tenant-*", "transit/keys/xtenant-a", false},
		{"*", "a", true}, {"*", "a/b", false}, {"*/*", "a/b", true}, {"*/*", "a", false}, {"*/*", "a/b/c", false},
		{"*/keys/*", "transit/keys/a", true}, {"*/keys/*", "a/b/keys/c", false},
		{"a*b*c", "abc", true}, {"a*b*c", "axbybzc", true}, {"a*b*c", "axbyc/", false}, {"a*b*c", "abcd", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"**", "abc", true}, {"a**b", "ab", true},
		{"*b/c", "ab/c", true}, {"*b/c", "a/b/c", false}, {"a*/c", "ab/c", true}, {"a*/c", "ab/d/c", false},
		{"*-x/*-y", "a-x/b-y", true}, {"*-x/*-y", "a-x-x/b-y-y", true}, {"*-x/*-y", "a-x/b-y-z", false},
		{"a?c", "abc", false}, {"a.c", "abc", false}, {"a[b]c", "abc", false}, {"", "a", false}, {"a", "", false}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(pge_key_pattern_matches(cases[i].pattern, cases[i].path) == cases[i].matches, "\"%s\" %s \"%s\"",
			  cases[i].pattern, cases[i].matches ? "admits" : "does not admit", cases[i].path);
}

/* One "a" in a pattern of stars and no end in the path: the time stays small. */
static void
test_slow_pattern(void)
{
	char		pattern[PGE_KEK_URI_MAX + 1];
	char		path[PGE_KEK_URI_MAX + 1];

	for (int i = 0; i < PGE_KEK_URI_MAX; i++)
	{
		pattern[i] = i % 2 == 0 ? '*' : 'a';
		path[i] = 'a';
	}
	pattern[PGE_KEK_URI_MAX - 1] = 'b';
	pattern[PGE_KEK_URI_MAX] = path[PGE_KEK_URI_MAX] = '\0';
	check(!pge_key_pattern_matches(pattern, path), "512 stars end");
}

static void
test_pattern_check(void)
{
	static const char *const good[] = {"app", "transit/keys/*", "*", "*/*", "arn:aws:kms:eu-west-1:111122223333:key/*", "..."};
	static const char *const bad[] = {"", "/app", "app/", "a//b", "a/../b", ".", "a b", "a%2fb", "a?", "a,b", "a;b", "\"a\"",
	"\xc3\xa4", "https://a/b", "a\\b"};
	char		longest[PGE_KEK_URI_MAX + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check_status(pge_key_pattern_check(good[i], detail), PGE_OK, "pattern %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		detail[0] = '\0';
		check(pge_key_pattern_check(bad[i], detail) == PGE_INVALID && detail[0] != '\0', "no pattern: \"%s\"", bad[i]);
	}
	memset(longest, 'a', sizeof(longest));
	longest[PGE_KEK_URI_MAX + 1] = '\0';
	check_status(pge_key_pattern_check(longest, detail), PGE_INVALID, "a pattern longer than any URI");
	longest[PGE_KEK_URI_MAX] = '\0';
	check_status(pge_key_pattern_check(longest, detail), PGE_OK, "a pattern as long as one");
}

int
main(void)
{
	test_split();
	test_split_refuses();
	test_servers();
	test_paths();
	test_format();
	test_server_matches();
	test_patterns();
	test_slow_pattern();
	test_pattern_check();
	return check_done();
}
