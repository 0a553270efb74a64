/*
 * fake_aws.h -- test/tools/fake_aws.py and an [aws] section, for who tests AWS's credentials.
 *
 * start_fake -> set_up, steer, section_of ... -> stop_server.  The environment is the
 * test's: set_up() leaves nothing of AWS in it, and a home without files.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef FAKE_AWS_H
#define FAKE_AWS_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/json.h"
#include "agent/kms/kms_aws_credentials.h"
#include "agent/kms/kms_aws_sign.h"
#include "agent/kms/monotonic.h"
#include "base/limits.h"
#include "check.h"
#include "fault_server.h"

#define CANARY			"c4nary"
#define PATIENCE_MS		60000
#define REGION			"eu-west-1"
#define ROLE			"arn:aws:iam::111122223333:role/app"
#define LONG_TERM_ID	"AKIAFAKE000000000001"
#define LONG_TERM_KEY	"c4nary-long-term-secret-key"

/* The providers as far as they are looked at here. */
static bool spawned = true;
static const char *const none[] = {NULL};
static const char *const aws_settings[] = {AWS_CREDENTIAL_SETTINGS, "ca_file", NULL};

static inline PgeStatus
check_section(KmsInstance *instance, int *line, char *detail)
{
	snprintf(instance->server, sizeof(instance->server), REGION);
	return pge_aws_credentials_check(instance, spawned, line, detail);
}

static const KmsProvider local = {.name = "local", .settings = none};
static const KmsProvider aws = {.name = "aws", .settings = aws_settings, .check = check_section};

const KmsProvider *const *
pge_kms_providers(void)
{
	static const KmsProvider *const list[] = {&local, &aws, NULL};

	return list;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, "aws") == 0 ? &aws : strcmp(name, "local") == 0 ? &local : NULL;
}

/* What steers the fake, and files of ours. */
static inline const char *
path_of(const char *name)
{
	static char paths[8][160];
	static int	next;
	char	   *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

/* By another name first, so that nobody reads half of it. */
static inline void
			put_file(const char *name, int mode, const char *format,...) __attribute__((format(printf, 3, 4)));

static inline void
put_file(const char *name, int mode, const char *format,...)
{
	static char text[8192];		/* stdio would free a secret as it is */
	va_list		args;
	int			len;
	int			fd = open(path_of("new"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	if (fd < 0 || len < 0 || (size_t) len >= sizeof(text) || write(fd, text, (size_t) len) != len || fchmod(fd, (mode_t) mode) != 0 || close(fd) != 0 ||
		rename(path_of("new"), path_of(name)) != 0)
		abort();
	va_end(args);
}

static inline void
remove_file(const char *name)
{
	(void) unlink(path_of(name));
}

/* An answer for this kind of request, and for one only if "once". */
static inline void
put_answer(const char *name, bool once, int status, const char *body)
{
	char		file[64];

	snprintf(file, sizeof(file), "%s.%s", name, once ? "once" : "raw");
	put_file(file, 0600, "HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
			 status, strlen(body), body);
}

static inline void
put_sts_error(const char *action, int status, const char *code)
{
	char		body[256];

	snprintf(body, sizeof(body), "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>" CANARY "</Message></Error></ErrorResponse>", code);
	put_answer(action, false, status, body);
}

static inline void
set_up(void)
{
	static const char *const variables[] = {
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT",
	};
	DIR		   *files = opendir(directory);

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	setenv("HOME", path_of("nobody"), 1);
	if (files == NULL)
		abort();
	for (struct dirent *file = readdir(files); file != NULL; file = readdir(files))
		if (strcmp(file->d_name, "log") != 0)
			(void) unlinkat(dirfd(files), file->d_name, 0);
	closedir(files);
	spawned = true;
}

static inline bool
start_fake(void)
{
	make_directory("/tmp/pge_fake_aws_XXXXXX");
	return start_server("fake_aws.py", NULL);
}

/* "settings" are lines; the endpoints for auth are added to them. */
static inline KmsConfig *
section_of(const char *settings, int *line, char *detail)
{
	static const struct
	{
		const char *name,
				   *methods;
	}			endpoints[] = {
		{"sts_endpoint", "default profile: web-identity"},
		{"imds_endpoint", "default profile: imds"},
		{"container_endpoint", "default profile: container"},
	};
	const char *auth = strstr(settings, "auth = ");
	char		method[32] = "default";
	char		text[2048];
	size_t		len;
	KmsConfig  *config;

	if (auth != NULL)
		(void) sscanf(auth + 7, "%16[a-z-]", method);
	len = (size_t) snprintf(text, sizeof(text), "[aws a]\n%s\n", settings);
	for (size_t i = 0; i < 3; i++)
		if (strstr(endpoints[i].methods, method) != NULL && strstr(settings, endpoints[i].name) == NULL)
			len += (size_t) snprintf(text + len, sizeof(text) - len, "%s = http://127.0.0.1:%d\n", endpoints[i].name, find_port("aws"));
	return pge_kms_config_parse(pge_bytes(text, len), &config, line, detail) == PGE_OK ? config : NULL;
}

#endif							/* FAKE_AWS_H */
