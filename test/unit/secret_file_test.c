/*-------------------------------------------------------------------------
 *
 * secret_file_test.c
 *	  Files with one secret: what is taken, what is refused, what is a change.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/secret_file.h"
#include "check.h"

#define CANARY	"c4nary-c4nary-c4"

static char directory[] = "/tmp/pge_secret_XXXXXX";
static char path[64];
static char other[64];

static void
write_to(const char *name, const char *text, size_t len)
{
	int			fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, len) != (ssize_t) len || close(fd) != 0)
		abort();
}

static PgeStatus
read_back(SecretFile *file, const char *expected)
{
	char		out[17];
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status;

	memset(out, 0x5a, sizeof(out));
	status = pge_secret_file_read(file, out, sizeof(out), detail);
	if (status == PGE_OK ? strcmp(out, expected) != 0 || detail[0] != '\0' :
		!all_zero((uint8_t *) out, sizeof(out)) || strstr(detail, file->path) == NULL || strstr(detail, "c4nary") != NULL)
		return PGE_CRYPTO_FAILED;
	return status;
}

static void
test_texts(void)
{
	static const struct
	{
		const char *text;
		const char *secret;		/* NULL: refused */
	}			texts[] = {
		{CANARY, CANARY},
		{CANARY "\n", CANARY},
		{"x", "x"},
		{"", NULL},
		{"\n", NULL},
		{CANARY "5", NULL},
		{CANARY "5\n", NULL},
		{CANARY "\n\n", NULL},
		{"c4nary\nc4nary", NULL},
		{"c4nary\r\n", NULL},
		{"c4nary c4nary", NULL},
		{" c4nary", NULL},
		{"c4nary\xc3\xa9", NULL},
		{"c4nary\x7f", NULL},
		{"c4nary\x01", NULL},
	};
	SecretFile	file = {.path = path};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		write_to(path, texts[i].text, strlen(texts[i].text));
		check_status(read_back(&file, texts[i].secret), texts[i].secret != NULL ? PGE_OK : PGE_UNAUTHENTICATED,
					 "text %zu is %s", i, texts[i].secret != NULL ? "taken" : "refused");
	}
	write_to(path, "c4\0nary", 7);
	check_status(read_back(&file, ""), PGE_UNAUTHENTICATED, "a zero byte is refused");
}

static void
test_files(void)
{
	SecretFile	file = {.path = path};
	SecretFile	linked = {.path = other};
	SecretFile	none = {.path = "/nonexistent/secret"};
	SecretFile	folder = {.path = directory};

	write_to(path, CANARY, 16);
	check(chmod(path, 0602) == 0, "a file that everybody may write");
	check_status(read_back(&file, ""), PGE_UNAUTHENTICATED, "is refused");
	check(chmod(path, 0644) == 0, "one that everybody may read");
	check_status(read_back(&file, ""), PGE_UNAUTHENTICATED, "is refused");
	file.may_be_public = true;
	check_status(read_back(&file, CANARY), PGE_OK, "and taken where that is foreseen: orchestrators make them so");
	check(chmod(path, 0640) == 0, "one that a group may read");
	file.may_be_public = false;
	check_status(read_back(&file, CANARY), PGE_OK, "is taken");
	check(symlink(path, other) == 0, "a symbolic link");
	check_status(read_back(&linked, CANARY), PGE_OK, "is followed");
	check_status(read_back(&none, ""), PGE_UNAUTHENTICATED, "an absent file is refused");
	check_status(read_back(&folder, ""), PGE_UNAUTHENTICATED, "a directory is refused");
	check(unlink(other) == 0 && mkfifo(other, 0600) == 0, "a pipe");
	check_status(read_back(&linked, ""), PGE_UNAUTHENTICATED, "is refused without waiting for a writer");
	check(unlink(other) == 0, "cleaned up");
}

static void
set_modified(const char *name, time_t seconds)
{
	struct timespec times[2] = {{seconds, 0}, {seconds, 0}};

	if (utimensat(AT_FDCWD, name, times, 0) != 0)
		abort();
}

static void
test_changes(void)
{
	SecretFile	file = {.path = path};

	write_to(path, "first", 5);
	set_modified(path, 1000);
	check(pge_secret_file_changed(&file), "what was never read is new");
	check_status(read_back(&file, "first"), PGE_OK, "read");
	check(!pge_secret_file_changed(&file), "nothing has changed");
	set_modified(path, 1001);
	check(pge_secret_file_changed(&file), "another time is a change");
	check_status(read_back(&file, "first"), PGE_OK, "read");
	write_to(path, "second", 6);
	set_modified(path, 1001);
	check(pge_secret_file_changed(&file), "another length is a change");
	check_status(read_back(&file, "second"), PGE_OK, "read");
	write_to(other, "third!", 6);
	set_modified(other, 1001);
	check(rename(other, path) == 0 && pge_secret_file_changed(&file), "another file is a change");
	check_status(read_back(&file, "third!"), PGE_OK, "read");
	check(rename(path, other) == 0, "a file that is away for a while");
	check_status(read_back(&file, ""), PGE_UNAUTHENTICATED, "cannot be read");
	check(rename(other, path) == 0 && pge_secret_file_changed(&file), "and is news when it is back");
	check_status(read_back(&file, "third!"), PGE_OK, "read");
	check(unlink(path) == 0 && !pge_secret_file_changed(&file), "no file is nothing new");
	check_status(read_back(&file, ""), PGE_UNAUTHENTICATED, "it cannot be read");
	write_to(path, "fourth", 6);
	check(pge_secret_file_changed(&file), "it is there again");
}

/* A file with more in it. */
static void
test_text_files(void)
{
	SecretFile	file = {.path = path};
	SecretFile	none = {.path = "/nonexistent/secret"};
	PgeBuffer	text;
	bool		is_public;
	char		detail[KMS_DETAIL_LEN];

	write_to(path, "[a]\nb = c\n", 10);
	check(pge_secret_file_read_text(&file, 10, &text, &is_public, detail) == PGE_OK && text.len == 10 &&
		  memcmp(text.data, "[a]\nb = c\n", 10) == 0 && !is_public, "lines are read");
	check(!pge_secret_file_changed(&file), "and remembered");
	pge_secret_file_free(&text);
	check(text.data == NULL, "freed");
	check(pge_secret_file_read_text(&file, 9, &text, &is_public, detail) == PGE_UNAUTHENTICATED && text.data == NULL,
		  "a byte more than may be is refused");
	check(chmod(path, 0644) == 0 && pge_secret_file_read_text(&file, 10, &text, &is_public, detail) == PGE_OK && is_public,
		  "that everybody may read it is told");
	pge_secret_file_free(&text);
	check(chmod(path, 0646) == 0 && pge_secret_file_read_text(&file, 10, &text, &is_public, detail) == PGE_UNAUTHENTICATED,
		  "that everybody may write it is refused");
	check(chmod(path, 0600) == 0, "its own again");
	write_to(path, "a\0b", 3);
	check(pge_secret_file_read_text(&file, 10, &text, &is_public, detail) == PGE_UNAUTHENTICATED && text.data == NULL,
		  "a zero byte is refused");
	write_to(path, "", 0);
	check(pge_secret_file_read_text(&file, 10, &text, &is_public, detail) == PGE_OK && text.len == 0, "nothing is a text");
	pge_secret_file_free(&text);
	check(pge_secret_file_read_text(&none, 10, &text, &is_public, detail) == PGE_UNAUTHENTICATED &&
		  strstr(detail, "/nonexistent/secret") != NULL, "an absent file is told");
}

int
main(void)
{
	if (mkdtemp(directory) == NULL)
		abort();
	snprintf(path, sizeof(path), "%s/secret", directory);
	snprintf(other, sizeof(other), "%s/other", directory);
	test_texts();
	test_files();
	test_changes();
	test_text_files();
	check(unlink(path) == 0 && rmdir(directory) == 0, "nothing is left");
	return check_done();
}
