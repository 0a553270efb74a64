/*-------------------------------------------------------------------------
 *
 * kms_vault_settings_test.c
 *	  How a key of Vault may be spelled, and what a [vault NAME] section needs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_detail.h"
#include "agent/kms/kms_vault_settings.h"
#include "check.h"

/* The provider as far as it is looked at here; the list's own first. */
static const char *const none[] = {NULL};
static const KmsProvider local = {.name = "local", .settings = none};
static const KmsProvider vault = {
	.name = "vault", .settings = pge_vault_settings,
	.parse_uri = pge_vault_parse_uri, .check = pge_vault_check,
};
static char detail[KMS_DETAIL_LEN];

const KmsProvider *const *
pge_kms_providers(void)
{
	static const KmsProvider *const list[] = {&local, &vault, NULL};

	return list;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, "vault") == 0 ? &vault : strcmp(name, "local") == 0 ? &local : NULL;
}

static void
check_uris(void)
{
	static const struct
	{
		const char *uri,
				   *server,
				   *path,
				   *instance;
	}			good[] = {
		{"vault://Vault.Internal:8200/transit/keys/acme", "vault.internal:8200", "transit/keys/acme", ""},
		{"vault://v/transit/keys/acme", "v", "transit/keys/acme", ""},
		{"hcvault://v:8200/team/a/keys/acme.2-x_y", "v:8200", "team/a/keys/acme.2-x_y", ""},
		{"VAULT://v/a/keys/b/keys/c", "v", "a/keys/b/keys/c", ""},
		{"https://v:8200/v1/transit/keys/acme", "v:8200", "transit/keys/acme", ""},
		{"vault://[::1]:8200/transit/keys/a?instance=corp", "[::1]:8200", "transit/keys/a", "corp"},
		{"hashivault://acme", "", "transit/keys/acme", ""},
		{"openbao://Acme?instance=corp", "", "transit/keys/Acme", "corp"},
	};
	static const char *const wrong[] = {
		"vault://v", "vault://v/", "vault://v/transit", "vault://v/transit/acme", "vault://v/keys/acme", "vault://v//keys/acme",
		"vault://v/transit/keys/", "vault://v/transit/keys/a/rotate", "vault://v/transit/keys/a/", "vault:///transit/keys/a",
		"vault:transit/keys/a", "vault://u@v/transit/keys/a", "vault://u:p@v/transit/keys/a", "vault://v/transit/keys/a#b",
		"vault://v/transit/keys/a?x=y", "vault://v/transit/keys/a?instance=a&instance=b", "vault://v/../sys/keys/a",
		"vault://v/transit/./keys/a", "vault://v/transit%2fkeys%2fa", "vault://v/transit/keys/a%2fb", "vault://v/transit/keys/%2e%2e",
		"vault://v/transit/keys/a%00", "vault://v/transit/keys/a b", "vault://v/transit/keys/-a", "vault://v/transit/keys/a.",
		"vault://v/transit/keys/a:b", "vault://v/transit/keys/a@b", "vault://v/transit/keys/a~", "vault://v/transit\\keys/a",
		"vault://v:0/transit/keys/a", "vault://v:99999/transit/keys/a", "vault://0x7f.1/transit/keys/a", "vault://127.1/transit/keys/a",
		"https://v/v1/transit/a", "https://v/v1/sys/raw", "hashivault://a/b", "hashivault://", "hashivault:acme", "openbao://a%2fb",
		"openbao://..", "hcvault://v/transit/keys/a\n", "vault://v/transit/keys/\xc3\xa4",
	};
	static const char *const others[] = {
		"", "v", "vaul", "vault", "vaults://v/transit/keys/a", "local:00000000-0000-0000-0000-000000000001", "aws-kms://x",
		"https://v/keys/a", "https://v/", "http://v/v1/transit/keys/a", " vault://v/transit/keys/a",
	};
	KeyUri		key;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		check_status(pge_vault_parse_uri(text_bytes(good[i].uri), &key, detail), PGE_OK, "%s", good[i].uri);
		check(strcmp(key.scheme, "vault") == 0 && strcmp(key.server, good[i].server) == 0 && strcmp(key.path, good[i].path) == 0 &&
			  strcmp(key.instance, good[i].instance) == 0, "%s: its parts", good[i].uri);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		detail[0] = '\0';
		/* an https URI that cannot even be split may be anybody's */
		if (pge_vault_parse_uri(text_bytes(wrong[i]), &key, detail) != PGE_INVALID || detail[0] == '\0')
			check(false, "refused with a reason: %s (%s)", wrong[i], detail);
		else
			check(true, "refused: %s", detail);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		check_status(pge_vault_parse_uri(text_bytes(others[i]), &key, detail), PGE_KEK_NOT_FOUND, "not ours: %s", others[i]);
}

/* "[vault v]" and these lines; true: taken.  Otherwise *line of the error. */
static bool
is_taken(const char *lines, KmsConfig **config, int *line)
{
	char		text[2048];
	int			len = snprintf(text, sizeof(text), "[vault v]\n%s\n", lines);

	*config = NULL;
	detail[0] = '\0';
	return pge_kms_config_parse(pge_bytes(text, (size_t) len), config, line, detail) == PGE_OK;
}

static void
check_refused(const char *lines, int expected_line, const char *says)
{
	KmsConfig  *config;
	int			line = 0;
	bool		taken = is_taken(lines, &config, &line);

	check(!taken && line == expected_line && strstr(detail, says) != NULL, "refused: line %d, %s", line, detail);
	pge_kms_config_free(config);
}

#define ADDRESS "address = https://v:8200\n"
#define BY_TOKEN "auth = token_file\ntoken_file = /t\n"

static void
check_addresses(void)
{
	static const struct
	{
		const char *address,
				   *server,
				   *base;
	}			good[] = {
		{"https://Vault.internal:8200", "vault.internal:8200", "https://vault.internal:8200/v1/"},
		{"https://vault.internal/", "vault.internal:443", "https://vault.internal:443/v1/"},
		{"HTTPS://[::1]", "[::1]:443", "https://[::1]:443/v1/"},
		{"http://127.0.0.1:8200", "127.0.0.1:8200", "http://127.0.0.1:8200/v1/"},
		{"http://127.9.8.7", "127.9.8.7:80", "http://127.9.8.7:80/v1/"},
		{"http://[::1]:8200", "[::1]:8200", "http://[::1]:8200/v1/"},
	};
	static const char *const wrong[] = {
		"v:8200", "v", "//v:8200", "https:v", "https://", "https://v:8200/v1", "https://v:8200/?instance=a", "https://u@v:8200",
		"http://v:8200", "http://localhost:8200", "http://127.0.0.1.evil.example:8200", "http://128.0.0.1:8200", "http://[::2]:8200",
		"http://[::ffff:127.0.0.1]:8200", "ftp://v:8200", "unix:///run/vault.sock", "https://v:0", "https://v:65536", "https://v v",
	};
	char		lines[512];
	char		base[VAULT_BASE_MAX + 1];
	KmsConfig  *config;
	int			line;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		snprintf(lines, sizeof(lines), "address = %s\n%s", good[i].address, BY_TOKEN);
		if (!check(is_taken(lines, &config, &line), "%s %s", good[i].address, detail))
			continue;
		pge_vault_base(&config->instances[1], base);
		check(strcmp(config->instances[1].server, good[i].server) == 0 && strcmp(base, good[i].base) == 0, "%s: %s", good[i].address, base);
		pge_kms_config_free(config);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		snprintf(lines, sizeof(lines), BY_TOKEN "address = %s", wrong[i]);
		check_refused(lines, 4, "address");
	}
}

/* A PEM file of that mode; its path in the line, of which what comes is checked. */
static void
check_pem(const char *lines, mode_t mode, int line, const char *says)
{
	char		path[] = "/tmp/pge_pem.XXXXXX";
	char		text[1024];
	KmsConfig  *config;
	int			fd = mkstemp(path);
	int			found = 0;

	if (fd < 0 || fchmod(fd, mode) != 0)
		abort();
	close(fd);
	snprintf(text, sizeof(text), lines, path, path);
	if (says != NULL)
		check_refused(text, line, says);
	else
	{
		check(is_taken(text, &config, &found), "mode %03o is taken: %s", (unsigned) mode, detail);
		pge_kms_config_free(config);
	}
	unlink(path);
}

/* What everybody may read is no private key, and what everybody may write no root of trust. */
static void
check_modes(void)
{
	check_pem(ADDRESS BY_TOKEN "ca_file = %s", 0644, 0, NULL);
	check_pem(ADDRESS BY_TOKEN "ca_file = %s", 0646, 5, "written by everybody");
	check_pem(ADDRESS "auth = cert\ncert_file = %s\nkey_file = %s", 0640, 0, NULL);
	check_pem(ADDRESS "auth = cert\ncert_file = %s\nkey_file = %s", 0644, 5, "private key and may be read by everybody");
	check_pem(ADDRESS "auth = cert\ncert_file = %s", 0600, 0, NULL);
	check_pem(ADDRESS "auth = cert\ncert_file = %s", 0604, 4, "private key and may be read by everybody");
	check_pem(ADDRESS "auth = cert\ncert_file = %s\nkey_file = %s", 0602, 4, "written by everybody");
}

static void
check_methods(void)
{
	static const struct
	{
		const char *lines;
		VaultAuth	auth;
		const char *login,
				   *secret;
	}			good[] = {
		{BY_TOKEN, VAULT_AUTH_TOKEN_FILE, "", "/t"},
		{"auth = approle\nrole_id_file = /r\nsecret_id_file = /s", VAULT_AUTH_APPROLE, "auth/approle/login", "/s"},
		{"auth = approle\nrole_id_file = /r\nsecret_id_file = /s\nauth_mount = team/a\nnamespace = ns1/ns2", VAULT_AUTH_APPROLE, "auth/team/a/login", "/s"},
		{"auth = cert\ncert_file = /dev/null\nrole = db", VAULT_AUTH_CERT, "auth/cert/login", NULL},
		{"auth = cert\ncert_file = /dev/null\nkey_file = /dev/null\nca_file = /dev/null", VAULT_AUTH_CERT, "auth/cert/login", NULL},
		{"auth = kubernetes\nrole = db", VAULT_AUTH_KUBERNETES, "auth/kubernetes/login", "/var/run/secrets/kubernetes.io/serviceaccount/token"},
		{"auth = kubernetes\nrole = db\njwt_file = /j", VAULT_AUTH_KUBERNETES, "auth/kubernetes/login", "/j"},
		{"auth = jwt\njwt_file = /j", VAULT_AUTH_JWT, "auth/jwt/login", "/j"},
		{"auth = jwt\njwt_file = /j\nrole = db\ncert_file = /dev/null", VAULT_AUTH_JWT, "auth/jwt/login", "/j"},
	};
	char		lines[512];
	char		path[VAULT_PATH_MAX + 1];
	const char *secret;
	KmsConfig  *config;
	int			line;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		snprintf(lines, sizeof(lines), ADDRESS "%s", good[i].lines);
		if (!check(is_taken(lines, &config, &line), "method %zu is taken: %s", i, detail))
			continue;
		secret = pge_vault_secret_file(&config->instances[1]);
		check(pge_vault_auth(&config->instances[1]) == good[i].auth && pge_vault_login_path(&config->instances[1], path) == PGE_OK &&
			  strcmp(path, good[i].login) == 0 && (secret == NULL) == (good[i].secret == NULL) &&
			  (secret == NULL || strcmp(secret, good[i].secret) == 0), "logs in at \"%s\"", path);
		pge_kms_config_free(config);
	}
	check_refused(BY_TOKEN, 1, "\"address = ...\"");
	check_refused(ADDRESS, 1, "\"auth = ...\"");
	check_refused(ADDRESS "auth = ldap", 3, "approle");
	check_refused(ADDRESS "auth = token_file", 1, "\"token_file = ...\"");
	check_refused(ADDRESS "auth = approle\nrole_id_file = /r", 1, "\"secret_id_file = ...\"");
	check_refused(ADDRESS "auth = approle\nsecret_id_file = /r", 1, "\"role_id_file = ...\"");
	check_refused(ADDRESS "auth = cert", 1, "\"cert_file = ...\"");
	check_refused(ADDRESS "auth = kubernetes", 1, "\"role = ...\"");
	check_refused(ADDRESS "auth = jwt\nrole = a", 1, "\"jwt_file = ...\"");
	check_refused(ADDRESS BY_TOKEN "role = a", 5, "role is not for auth = token_file");
	check_refused(ADDRESS BY_TOKEN "auth_mount = a", 5, "auth_mount is not for");
	check_refused(ADDRESS BY_TOKEN "jwt_file = /j", 5, "jwt_file is not for");
	check_refused(ADDRESS "auth = approle\nrole_id_file = /r\nsecret_id_file = /s\ntoken_file = /t", 6, "token_file is not for");
	check_refused(ADDRESS BY_TOKEN "key_file = /dev/null", 5, "cert_file");
	check_refused(ADDRESS "auth = token_file\ntoken_file = t", 4, "begins with '/'");
	check_refused(ADDRESS BY_TOKEN "ca_file = /nonexistent/ca.pem", 5, "No such file");
	check_refused(ADDRESS "auth = cert\ncert_file = /nonexistent/c.pem", 4, "No such file");
	check_refused(ADDRESS BY_TOKEN "namespace = a/../b", 5, "namespace");
	check_refused(ADDRESS BY_TOKEN "namespace = /a", 5, "namespace");
	check_refused(ADDRESS "auth = jwt\njwt_file = /j\nauth_mount = a?b", 5, "auth_mount");
	check_refused(ADDRESS "auth = jwt\njwt_file = /j\nauth_mount = a%2fb", 5, "auth_mount");
	check_refused(ADDRESS BY_TOKEN "batch_size = 0", 5, "from 1 to 500");
	check_refused(ADDRESS BY_TOKEN "batch_size = 501", 5, "from 1 to 500");
	check_refused(ADDRESS BY_TOKEN "batch_size = 0x10", 5, "from 1 to 500");
	check_refused(ADDRESS BY_TOKEN "batch_size = -1", 5, "from 1 to 500");
	if (check(is_taken(ADDRESS BY_TOKEN "batch_size = 40", &config, &line), "batch_size is taken: %s", detail))
	{
		check(config->instances[1].many == 40, "as %d", config->instances[1].many);
		pge_kms_config_free(config);
	}
	if (check(is_taken(ADDRESS BY_TOKEN, &config, &line), "and may be left out: %s", detail))
	{
		check(config->instances[1].many == KMS_MANY_MAX, "which is %d", config->instances[1].many);
		pge_kms_config_free(config);
	}
}

int
main(void)
{
	check_uris();
	check_addresses();
	check_modes();
	check_methods();
	return check_done();
}
