/*-------------------------------------------------------------------------
 *
 * kms_vault_settings.c
 *	  The spellings of a key in Vault, and the rules of a [vault NAME] section.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_detail.h"
#include "agent/kms/kms_vault_settings.h"

#define BIT(auth)	(1u << (auth))
#define ANY			(BIT(VAULT_AUTH_JWT + 1) - 1)

typedef struct VaultMethod
{
	const char *name;			/* of "auth"; the mount's, too */
	VaultAuth	auth;
	const char *secret;			/* setting with the secret's file */
	const char *secret_default;
} VaultMethod;

static const VaultMethod methods[] = {
	{"token_file", VAULT_AUTH_TOKEN_FILE, "token_file", NULL},
	{"approle", VAULT_AUTH_APPROLE, "secret_id_file", NULL},
	{"cert", VAULT_AUTH_CERT, NULL, NULL},
	{"kubernetes", VAULT_AUTH_KUBERNETES, "jwt_file", "/var/run/secrets/kubernetes.io/serviceaccount/token"},
	{"jwt", VAULT_AUTH_JWT, "jwt_file", NULL},
};

/* Sets of methods. */
typedef struct SettingRule
{
	const char *name;
	unsigned	needed;
	unsigned	allowed;
} SettingRule;

static const SettingRule rules[] = {
	{"address", ANY, ANY},
	{"auth", ANY, ANY},
	{"ca_file", 0, ANY},
	{"namespace", 0, ANY},
	{"cert_file", BIT(VAULT_AUTH_CERT), ANY},
	{"key_file", 0, ANY},
	{"token_file", BIT(VAULT_AUTH_TOKEN_FILE), BIT(VAULT_AUTH_TOKEN_FILE)},
	{"role_id_file", BIT(VAULT_AUTH_APPROLE), BIT(VAULT_AUTH_APPROLE)},
	{"secret_id_file", BIT(VAULT_AUTH_APPROLE), BIT(VAULT_AUTH_APPROLE)},
	{"jwt_file", BIT(VAULT_AUTH_JWT), BIT(VAULT_AUTH_JWT) | BIT(VAULT_AUTH_KUBERNETES)},
	{"role", BIT(VAULT_AUTH_KUBERNETES), BIT(VAULT_AUTH_KUBERNETES) | BIT(VAULT_AUTH_JWT) | BIT(VAULT_AUTH_CERT)},
	{"auth_mount", 0, ANY & ~BIT(VAULT_AUTH_TOKEN_FILE)},
	{"batch_size", 0, ANY},
};

const char *const pge_vault_settings[] = {
	"address", "auth", "ca_file", "namespace", "cert_file", "key_file", "token_file",
	"role_id_file", "secret_id_file", "jwt_file", "role", "auth_mount", "batch_size", NULL
};

static bool has_scheme(PgeBytes uri, const char *scheme);
static PgeStatus parse_short(const KeyUriSplit *split, KeyUri *key, char *detail);
static PgeStatus parse_long(const KeyUriSplit *split, PgeBytes path, KeyUri *key, char *detail);
static PgeStatus check_key_path(const char *path, char *detail);
static const VaultMethod *find_method(const KmsInstance *instance);
static PgeStatus check_rules(const KmsInstance *instance, const VaultMethod *method, int *line, char *detail);
static PgeStatus check_values(const KmsInstance *instance, int *line, char *detail);
static PgeStatus check_batch_size(const KmsSetting *setting, char *detail);
static bool is_file_setting(const char *name);
static PgeStatus check_file(const KmsInstance *instance, const KmsSetting *setting, char *detail);
static PgeStatus check_pem_file(const KmsSetting *setting, bool has_key, char *detail);
static PgeStatus check_path_setting(const KmsSetting *setting, char *detail);
static PgeStatus check_address(KmsInstance *instance, char *detail);
static bool has_port(const char *server);

PgeStatus
pge_vault_parse_uri(PgeBytes uri, KeyUri *parsed, char *detail)
{
	static const char version[] = "v1/";
	bool		is_https = has_scheme(uri, "https:");
	bool		is_short = has_scheme(uri, "hashivault:") || has_scheme(uri, "openbao:");
	KeyUriSplit split;
	PgeBytes	path;
	PgeStatus	status;

	memset(parsed, 0, sizeof(*parsed));
	if (!is_https && !is_short && !has_scheme(uri, "vault:") && !has_scheme(uri, "hcvault:"))
		return PGE_KEK_NOT_FOUND;
	status = pge_key_uri_split(uri, &split, detail);
	path = split.path;
	if (is_https)
	{
		/* another provider may know https URIs of another shape */
		if (status != PGE_OK || path.len < 3 || memcmp(path.data, version, 3) != 0)
			return PGE_KEK_NOT_FOUND;
		path = pge_bytes(path.data + 3, path.len - 3);
	}
	if (status != PGE_OK)
		return status;
	snprintf(parsed->scheme, sizeof(parsed->scheme), "vault");
	snprintf(parsed->instance, sizeof(parsed->instance), "%s", split.instance);
	return is_short ? parse_short(&split, parsed, detail) : parse_long(&split, path, parsed, detail);
}

/* Schemes are the same in any case.  "scheme" ends in its colon. */
static bool
has_scheme(PgeBytes uri, const char *scheme)
{
	size_t		len = strlen(scheme);

	return uri.len > len && strncasecmp((const char *) uri.data, scheme, len) == 0;
}

/* hashivault://KEY: the server is the instance's, the mount the usual one. */
static PgeStatus
parse_short(const KeyUriSplit *split, KeyUri *key, char *detail)
{
	char		name[PGE_KEK_URI_MAX + 1];
	PgeStatus	status;
	int			len;

	if (!split->has_authority || split->path.len > 0)
	{
		pge_kms_detail(detail, "This spelling names a key alone, as hashivault://KEY: write vault://host/mount/keys/key.");
		return PGE_INVALID;
	}
	status = pge_key_uri_path(split->authority, name, detail);
	if (status != PGE_OK)
		return status;
	len = snprintf(key->path, sizeof(key->path), "transit/keys/%s", name);
	if (len < 0 || (size_t) len >= sizeof(key->path))
		return PGE_INVALID;
	return check_key_path(key->path, detail);
}

static PgeStatus
parse_long(const KeyUriSplit *split, PgeBytes path, KeyUri *key, char *detail)
{
	PgeStatus	status = PGE_INVALID;

	if (!split->has_authority || split->authority.len == 0)
		pge_kms_detail(detail, "The URI names no server: write vault://host/mount/keys/key.");
	else
		status = pge_key_uri_server(split->authority, key->server, detail);
	if (status == PGE_OK)
		status = pge_key_uri_path(path, key->path, detail);
	return status == PGE_OK ? check_key_path(key->path, detail) : status;
}

/* <mount>/keys/<key>; a key's name is [\w]([\w.-]*\w)? to Transit. */
static PgeStatus
check_key_path(const char *path, char *detail)
{
	char		unused[VAULT_PATH_MAX + 1];
	const char *name = strrchr(path, '/');
	size_t		len;

	if (pge_vault_path(path, VAULT_ROTATE, unused) != PGE_OK)
	{
		pge_kms_detail(detail, "A key of Vault is named by mount/keys/key, as in vault://host/transit/keys/acme.");
		return PGE_INVALID;
	}
	name++;
	len = strlen(name);
	for (size_t i = 0; i < len; i++)
	{
		bool		is_word = isalnum((unsigned char) name[i]) || name[i] == '_';
		bool		is_inner = i > 0 && i + 1 < len && (name[i] == '.' || name[i] == '-');

		if (is_word || is_inner)
			continue;
		pge_kms_detail(detail, "The name of a key of Vault has letters, digits, '_', and inside also '.' and '-'.");
		return PGE_INVALID;
	}
	return PGE_OK;
}

PgeStatus
pge_vault_check(KmsInstance *instance, int *line, char *detail)
{
	const VaultMethod *method = find_method(instance);
	const KmsSetting *auth = pge_kms_setting_of(instance, "auth");
	PgeStatus	status;

	*line = instance->line;
	if (auth != NULL && method == NULL)
	{
		*line = auth->line;
		pge_kms_detail(detail, "auth is one of token_file, approle, cert, kubernetes, jwt.");
		return PGE_INVALID;
	}
	status = check_rules(instance, method, line, detail);
	if (status == PGE_OK)
		status = check_values(instance, line, detail);
	if (status != PGE_OK)
		return status;
	if (pge_kms_setting(instance, "batch_size") != NULL)
		instance->many = (int) strtol(pge_kms_setting(instance, "batch_size"), NULL, 10);
	*line = pge_kms_setting_of(instance, "address")->line;
	return check_address(instance, detail);
}

static const VaultMethod *
find_method(const KmsInstance *instance)
{
	const char *auth = pge_kms_setting(instance, "auth");

	for (size_t i = 0; auth != NULL && i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(auth, methods[i].name) == 0)
			return &methods[i];
	return NULL;
}

/* "method" NULL: there is no "auth", which is told when its turn comes. */
static PgeStatus
check_rules(const KmsInstance *instance, const VaultMethod *method, int *line, char *detail)
{
	unsigned	bit = method == NULL ? 0 : BIT(method->auth);

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
	{
		const KmsSetting *setting = pge_kms_setting_of(instance, rules[i].name);

		if (setting == NULL && (rules[i].needed == ANY || (rules[i].needed & bit) != 0))
		{
			if (rules[i].needed == ANY)
				pge_kms_detail(detail, "it needs a line \"%s = ...\".", rules[i].name);
			else
				pge_kms_detail(detail, "auth = %s needs a line \"%s = ...\".", method->name, rules[i].name);
			return PGE_INVALID;
		}
		if (setting != NULL && bit != 0 && (rules[i].allowed & bit) == 0)
		{
			*line = setting->line;
			pge_kms_detail(detail, "%s is not for auth = %s.", rules[i].name, method->name);
			return PGE_INVALID;
		}
	}
	return PGE_OK;
}

static PgeStatus
check_values(const KmsInstance *instance, int *line, char *detail)
{
	const KmsSetting *key_file = pge_kms_setting_of(instance, "key_file");
	PgeStatus	status = PGE_OK;

	for (int i = 0; i < instance->nsettings && status == PGE_OK; i++)
	{
		const KmsSetting *setting = &instance->settings[i];

		*line = setting->line;
		if (strcmp(setting->name, "auth_mount") == 0 || strcmp(setting->name, "namespace") == 0)
			status = check_path_setting(setting, detail);
		else if (strcmp(setting->name, "batch_size") == 0)
			status = check_batch_size(setting, detail);
		else if (is_file_setting(setting->name))
			status = check_file(instance, setting, detail);
	}
	if (status == PGE_OK && key_file != NULL && pge_kms_setting(instance, "cert_file") == NULL)
	{
		*line = key_file->line;
		pge_kms_detail(detail, "key_file needs a line \"cert_file = ...\".");
		status = PGE_INVALID;
	}
	return status;
}

static PgeStatus
check_batch_size(const KmsSetting *setting, char *detail)
{
	size_t		digits = strspn(setting->value, "0123456789");
	long		size = strtol(setting->value, NULL, 10);

	if (digits > 0 && digits <= 3 && setting->value[digits] == '\0' && size >= 1 && size <= KMS_MANY_MAX)
		return PGE_OK;
	pge_kms_detail(detail, "batch_size is a number from 1 to %d.", KMS_MANY_MAX);
	return PGE_INVALID;
}

static bool
is_file_setting(const char *name)
{
	size_t		len = strlen(name);

	return len > 5 && strcmp(name + len - 5, "_file") == 0;
}

/*
 * Certificates are needed at once.  A token or a JWT may be put there later, by a program
 * that starts after us; it is looked at when it is read.
 */
static PgeStatus
check_file(const KmsInstance *instance, const KmsSetting *setting, char *detail)
{
	bool		is_key = strcmp(setting->name, "key_file") == 0;
	bool		is_certificate = strcmp(setting->name, "cert_file") == 0;

	if (setting->value[0] != '/')
	{
		pge_kms_detail(detail, "%s needs a path that begins with '/'.", setting->name);
		return PGE_INVALID;
	}
	if (!is_key && !is_certificate && strcmp(setting->name, "ca_file") != 0)
		return PGE_OK;
	/* without a file of its own the key is with the certificate */
	return check_pem_file(setting, is_key || (is_certificate && pge_kms_setting(instance, "key_file") == NULL), detail);
}

static PgeStatus
check_pem_file(const KmsSetting *setting, bool has_key, char *detail)
{
	struct stat st;

	if (access(setting->value, R_OK) != 0 || stat(setting->value, &st) != 0)
		pge_kms_detail(detail, "file \"%s\" cannot be read: %s.", setting->value, strerror(errno));
	else if (S_ISREG(st.st_mode) && (st.st_mode & S_IWOTH) != 0)
		pge_kms_detail(detail, "file \"%s\" may be written by everybody (chmod o-w).", setting->value);
	else if (has_key && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0)
		pge_kms_detail(detail, "file \"%s\" has a private key and may be read by everybody (chmod o-r).", setting->value);
	else
		return PGE_OK;
	return PGE_INVALID;
}

/* They become part of a URL and of a header. */
static PgeStatus
check_path_setting(const KmsSetting *setting, char *detail)
{
	char		decoded[PGE_KEK_URI_MAX + 1];
	char		why[KMS_DETAIL_LEN];

	if (pge_key_uri_path(pge_bytes(setting->value, strlen(setting->value)), decoded, why) == PGE_OK &&
		strcmp(decoded, setting->value) == 0)
		return PGE_OK;
	pge_kms_detail(detail, "%s is a path of components without '/' at its ends.", setting->name);
	return PGE_INVALID;
}

/* As the service's own programs have it: without a port it is the scheme's. */
static PgeStatus
check_address(KmsInstance *instance, char *detail)
{
	const char *address = pge_kms_setting(instance, "address");
	KeyUriSplit split;
	char		server[KEY_URI_SERVER_MAX + 1];
	bool		https;
	int			len;

	if (pge_key_uri_split(pge_bytes(address, strlen(address)), &split, detail) != PGE_OK ||
		!split.has_authority || split.path.len > 0 || split.instance[0] != '\0' ||
		pge_key_uri_server(split.authority, server, detail) != PGE_OK)
	{
		pge_kms_detail(detail, "address is https://host or https://host:port.");
		return PGE_INVALID;
	}
	https = pge_key_uri_scheme_is(&split, "https");
	if (!https && !(pge_key_uri_scheme_is(&split, "http") && pge_key_uri_is_loopback(server)))
	{
		pge_kms_detail(detail, "address begins with https:// (http:// is taken for a loopback address only).");
		return PGE_INVALID;
	}
	len = snprintf(instance->server, sizeof(instance->server), "%s%s", server,
				   has_port(server) ? "" : https ? ":443" : ":80");
	return (size_t) len < sizeof(instance->server) ? PGE_OK : PGE_INVALID;
}

static bool
has_port(const char *server)
{
	const char *bracket = strchr(server, ']');

	return strchr(bracket == NULL ? server : bracket, ':') != NULL;
}

VaultAuth
pge_vault_auth(const KmsInstance *instance)
{
	return find_method(instance)->auth;
}

void
pge_vault_base(const KmsInstance *instance, char base[VAULT_BASE_MAX + 1])
{
	const char *address = pge_kms_setting(instance, "address");

	snprintf(base, VAULT_BASE_MAX + 1, "%s://%s/v1/",
			 strncasecmp(address, "https", 5) == 0 ? "https" : "http", instance->server);
}

PgeStatus
pge_vault_login_path(const KmsInstance *instance, char path[VAULT_PATH_MAX + 1])
{
	const VaultMethod *method = find_method(instance);
	const char *mount = pge_kms_setting(instance, "auth_mount");
	int			len = 0;

	path[0] = '\0';
	if (method->auth != VAULT_AUTH_TOKEN_FILE)
		len = snprintf(path, VAULT_PATH_MAX + 1, "auth/%s/login", mount == NULL ? method->name : mount);
	return len <= VAULT_PATH_MAX ? PGE_OK : PGE_INVALID;
}

const char *
pge_vault_secret_file(const KmsInstance *instance)
{
	const VaultMethod *method = find_method(instance);
	const char *file = method->secret == NULL ? NULL : pge_kms_setting(instance, method->secret);

	return file == NULL ? method->secret_default : file;
}
