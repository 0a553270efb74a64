/*-------------------------------------------------------------------------
 *
 * config_command_test.c
 *	  pg_envelope_agent check-config: the file, what is printed of it, and which
 *	  files are not believed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/commands.h"
#include "fake_providers.h"
#include "check.h"

static char top[64];			/* everything below it is removed at the end */
static char file[128];
static char out[16384];			/* what the command printed */
static char err[16384];
static uid_t pretended;			/* 0: geteuid() says the truth */

uid_t __real_geteuid(void);
uid_t __wrap_geteuid(void);

uid_t
__wrap_geteuid(void)
{
	return pretended != 0 ? pretended : __real_geteuid();
}

static void
write_file(const char *text, size_t len, mode_t mode)
{
	int			fd;

	unlink(file);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, text, len) != (ssize_t) len || fchmod(fd, mode) != 0 || close(fd) != 0)
		abort();
}

static void
read_back(int fd, char *text, size_t size)
{
	ssize_t		len;

	if (lseek(fd, 0, SEEK_SET) != 0 || (len = read(fd, text, size - 1)) < 0)
		abort();
	text[len] = '\0';
}

/* Runs the command with its output in out and err. */
static int
run(int argc, char **argv)
{
	FILE	   *files[2] = {tmpfile(), tmpfile()};
	int			saved[2] = {dup(1), dup(2)};
	int			status;

	if (files[0] == NULL || files[1] == NULL || saved[0] < 0 || saved[1] < 0)
		abort();
	fflush(stdout);
	dup2(fileno(files[0]), 1);
	dup2(fileno(files[1]), 2);
	status = pge_command_check_config(argc, argv);
	fflush(stdout);
	read_back(1, out, sizeof(out));
	read_back(2, err, sizeof(err));
	for (int i = 0; i < 2; i++)
	{
		dup2(saved[i], i + 1);
		close(saved[i]);
		fclose(files[i]);
	}
	return status;
}

static int
check_config(char *path)
{
	char		name[] = "check-config";
	char	   *argv[] = {name, path, NULL};

	return run(2, argv);
}

static void
refused(const char *why, const char *reason)
{
	check(check_config(file) == COMMAND_FAILED && out[0] == '\0' && strstr(err, reason) != NULL, "refused: %s", why);
	if (strstr(err, reason) == NULL)
		printf("#   %s\n", err);
}

static void
test_prints_agent(void)
{
	static const char text[] = "[local]\n[agent]\nserver_user = nobody\n";
	static const char unknown[] = "[local]\n[agent]\nserver_user = no_such_user\n";

	write_file(text, strlen(text), 0644);
	check(check_config(file) == COMMAND_OK && err[0] == '\0', "a good file of a service");
	check(strncmp(out,
				  "[agent], line 2\n"
				  "  server_user = nobody (user id 65534)\n"
				  "  socket = /run/pg_envelope/agent.sock\n"
				  "  keyring_file = /var/lib/pg_envelope/keyring\n"
				  "  keyring_passphrase_command = \n"
				  "  concurrency = 16\n"
				  "  timeout_ms = 10000\n"
				  "[local], line 1\n", 213) == 0, "is printed with its defaults");
	write_file(unknown, strlen(unknown), 0644);
	refused("a server_user that is not there", "Line 3 of \"");
	refused("a server_user that is not there, with the reason", "there is no user \"no_such_user\" on this host");
}

static void
test_prints(void)
{
	static const char text[] =
	"[vault corp] ; a comment\n"
	"address = https://Vault.internal:8200\n"
	"ca_file = /etc/ca.pem\n"
	"allow_keys = transit/keys/tenant-*,transit/keys/shared\n"
	"allow_databases = app,db\n"
	"allow_keyrings = 00112233-4455-6677-8899-AABBCCDDEEFF, ffffffff-ffff-ffff-ffff-ffffffffffff\n"
	"allow_destroy=on\n"
	"[vault none]\n"
	"address = https://b:1\n";

	write_file(text, strlen(text), 0644);
	check(check_config(file) == COMMAND_OK && err[0] == '\0', "a good file");
	check(strcmp(out,
				 "[local], not in the file\n"
				 "  allow_databases: any\n"
				 "  allow_keyrings: any\n"
				 "  allow_destroy = off\n"
				 "[vault corp], line 1\n"
				 "  address = https://Vault.internal:8200\n"
				 "  ca_file = /etc/ca.pem\n"
				 "  server of its keys' URIs: vault.internal:8200\n"
				 "  allow_keys = transit/keys/tenant-*, transit/keys/shared\n"
				 "  allow_databases = app, db\n"
				 "  allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff, ffffffff-ffff-ffff-ffff-ffffffffffff\n"
				 "  allow_destroy = on\n"
				 "[vault none], line 8\n"
				 "  address = https://b:1\n"
				 "  server of its keys' URIs: b:1\n"
				 "  allow_keys: none: SQL can name no key of it\n"
				 "  allow_databases: any\n"
				 "  allow_keyrings: any\n"
				 "  allow_destroy = off\n") == 0, "is printed as it was understood");
}

static void
test_names_the_line(void)
{
	static const char text[] = "[vault corp]\n\nadress = https://a\n";
	char		expected[256];

	write_file(text, strlen(text), 0644);
	snprintf(expected, sizeof(expected), "pg_envelope_agent: Line 3 of \"%s\": unknown setting \"adress\" of [vault corp].\n", file);
	check(check_config(file) == COMMAND_FAILED && out[0] == '\0' && strcmp(err, expected) == 0, "a bad line is named, and nothing else is said");
}

/* A long path leaves room for the reason. */
static void
test_long_path(void)
{
	char		name[400];

	write_file("x", 1, 0644);
	snprintf(name, sizeof(name), "%s", top);
	while (strlen(name) < 300)
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "/.");
	snprintf(name + strlen(name), sizeof(name) - strlen(name), "/c");
	check(check_config(name) == COMMAND_FAILED && strstr(err, "neither a section's") != NULL, "a reason behind a long path");
}

static void
test_usage(void)
{
	char		name[] = "check-config";
	char		help[] = "--help";
	char		option[] = "-x";
	char		empty[] = "";
	char	   *none[] = {name, NULL};
	char	   *two[] = {name, file, file, NULL};
	char	   *asking[] = {name, help, NULL};

	check(run(1, none) == COMMAND_USAGE && strstr(err, "needs one file") != NULL, "no file");
	check(run(3, two) == COMMAND_USAGE, "two files");
	check(check_config(option) == COMMAND_USAGE, "an unknown option");
	check(check_config(empty) == COMMAND_USAGE, "an empty name is no file without anything wrong in it");
	check(run(2, asking) == COMMAND_OK && strstr(out, "Usage: pg_envelope_agent check-config FILE") == out && err[0] == '\0', "--help");
}

static void
test_modes(void)
{
	static const struct
	{
		mode_t		mode;
		bool		good;
	}			modes[] = {
		{0600, true}, {0644, true}, {0444, true}, {0640, true}, {0755, true},
		{0620, false}, {0602, false}, {0666, false}, {0664, false}
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
	{
		write_file("[local]\n", 8, modes[i].mode);
		check((check_config(file) == COMMAND_OK) == modes[i].good &&
			  (modes[i].good || strstr(err, "may be written by others") != NULL), "mode %03o", (unsigned) modes[i].mode);
	}
}

/* A file of somebody who is neither root nor we. */
static void
test_owner(void)
{
	char		passwd[] = "/etc/passwd";

	write_file("[local]\n", 8, 0644);
	if (__real_geteuid() == 0 && chown(file, 12345, (gid_t) - 1) != 0)
		abort();
	check((check_config(file) == COMMAND_OK) == (__real_geteuid() != 0), "a file of who runs this, unless that is root");
	pretended = __real_geteuid() == 0 ? 54321 : __real_geteuid() + 1;
	refused("a file of another user", "it must belong to root or to the user who runs this");
	check(check_config(passwd) == COMMAND_FAILED && strstr(err, "Line 1 of") != NULL, "a file of root's is read");
	pretended = 0;
}

static void
test_kinds(void)
{
	char		link[160];
	static char large[KMS_CONFIG_FILE_MAX + 1];

	unlink(file);
	refused("no file", "could not be opened: No such file");
	if (mkfifo(file, 0600) != 0)
		abort();
	refused("a FIFO, without waiting for its writer", "is not a regular file");
	unlink(file);
	if (mkdir(file, 0700) != 0)
		abort();
	refused("a directory", "is not a regular file");
	rmdir(file);
	memset(large, '\n', sizeof(large));
	write_file(large, sizeof(large), 0600);
	refused("a file that is too large", "it is longer than 262144 bytes");
	write_file(large, sizeof(large) - 1, 0600);
	check(check_config(file) == COMMAND_OK, "the largest file");
	snprintf(link, sizeof(link), "%s/link", top);
	if (symlink("c", link) != 0)
		abort();
	check(check_config(link) == COMMAND_OK, "a symbolic link is followed");
	write_file("[local]\n", 8, 0666);
	check(check_config(link) == COMMAND_FAILED, "and what it leads to is looked at");
	unlink(link);
	unlink(file);
}

static void
test_no_path(void)
{
	static const char *const none[] = {NULL, ""};
	char		detail[KMS_DETAIL_LEN];

	for (int i = 0; i < 2; i++)
	{
		KmsConfig  *config;

		check(pge_kms_config_read(none[i], &config, detail) == PGE_OK && config->count == 1, "no file: the local keyring alone");
		pge_kms_config_free(config);
	}
}

int
main(void)
{
	snprintf(top, sizeof(top), "/tmp/pge-config.XXXXXX");
	if (mkdtemp(top) == NULL)
		abort();
	snprintf(file, sizeof(file), "%s/c", top);
	test_prints();
	test_prints_agent();
	test_names_the_line();
	test_long_path();
	test_usage();
	test_modes();
	test_owner();
	test_kinds();
	test_no_path();
	unlink(file);
	rmdir(top);
	return check_done();
}
