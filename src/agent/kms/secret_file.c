/*-------------------------------------------------------------------------
 *
 * secret_file.c
 *	  Reads a file with one secret in it, and notices when it is another.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/kms/secret_file.h"
#include "base/secret.h"

static const char *open_secret(SecretFile *file, bool may_be_public, int *fd, struct stat *st);
static const char *read_secret(int fd, char *out, size_t size);
static const char *read_all(int fd, char *out, size_t size, size_t *len);
static void remember(SecretFile *file, const struct stat *st);

PgeStatus
pge_secret_file_read(SecretFile *file, char *out, size_t size, char detail[KMS_DETAIL_LEN])
{
	const char *wrong;
	struct stat st = {0};
	int			fd = -1;

	out[0] = '\0';
	wrong = open_secret(file, file->may_be_public, &fd, &st);
	if (wrong == NULL)
		wrong = read_secret(fd, out, size);
	if (fd >= 0)
		close(fd);
	if (wrong == NULL)
		return PGE_OK;
	pge_secret_wipe(out, size);
	pge_kms_detail(detail, "File \"%s\" could not be taken as a secret: %s.", file->path, wrong);
	return PGE_UNAUTHENTICATED;
}

PgeStatus
pge_secret_file_read_text(SecretFile *file, size_t max, PgeBuffer *out, bool *is_public, char detail[KMS_DETAIL_LEN])
{
	const char *wrong;
	struct stat st = {0};
	int			fd = -1;

	*out = (PgeBuffer)
	{
		NULL, 0, 0
	};
	*is_public = false;
	/* for the longest at once: a buffer that grows leaves what it held behind */
	out->data = malloc(max + 1);
	if (out->data == NULL)
	{
		pge_kms_detail(detail, "There was no memory to read file \"%s\".", file->path);
		return PGE_OUT_OF_MEMORY;
	}
	out->capacity = max + 1;
	wrong = open_secret(file, true, &fd, &st);
	if (wrong == NULL)
	{
		*is_public = (st.st_mode & S_IROTH) != 0;
		wrong = read_all(fd, (char *) out->data, max, &out->len);
	}
	if (fd >= 0)
		close(fd);
	if (wrong == NULL && memchr(out->data, '\0', out->len) != NULL)
		wrong = "it has a zero byte";
	if (wrong == NULL)
		return PGE_OK;
	pge_secret_file_free(out);
	pge_kms_detail(detail, "File \"%s\" could not be read: %s.", file->path, wrong);
	return PGE_UNAUTHENTICATED;
}

void
pge_secret_file_free(PgeBuffer *text)
{
	if (text->data != NULL)
		pge_secret_wipe(text->data, text->capacity);
	free(text->data);
	*text = (PgeBuffer)
	{
		NULL, 0, 0
	};
}

/*
 * What it is, before it is read: should it be replaced in between, that will
 * be seen as a change.  Not to hang on a pipe, it is opened without waiting.
 */
static const char *
open_secret(SecretFile *file, bool may_be_public, int *fd, struct stat *st)
{
	file->seen = false;
	*fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 || fstat(*fd, st) != 0)
		return strerror(errno);
	remember(file, st);
	if (!S_ISREG(st->st_mode))
		return "it is not a regular file";
	if ((st->st_mode & S_IWOTH) != 0)
		return "everybody may write it";
	if ((st->st_mode & S_IROTH) != 0 && !may_be_public)
		return "everybody may read it (chmod o-r)";
	return NULL;
}

/* NULL: out holds it.  A newline at the end may need the room of the NUL. */
static const char *
read_secret(int fd, char *out, size_t size)
{
	size_t		len;
	const char *wrong = read_all(fd, out, size, &len);

	if (wrong != NULL)
		return wrong;
	if (len > 0 && out[len - 1] == '\n')
		len--;
	if (len == 0)
		return "it is empty";
	if (len == size)
		return "it is too long";
	out[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (out[i] <= 0x20 || out[i] >= 0x7f)
			return "it holds more than one line of visible ASCII characters";
	return NULL;
}

/* At most "size" bytes, and no more are there. */
static const char *
read_all(int fd, char *out, size_t size, size_t *len)
{
	ssize_t		got;
	char		more;

	*len = 0;
	do
	{
		got = *len < size ? read(fd, out + *len, size - *len) : read(fd, &more, 1);
		if (got > 0 && *len == size)
			return "it is too long";
		if (got > 0)
			*len += (size_t) got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	return got < 0 ? strerror(errno) : NULL;
}

static void
remember(SecretFile *file, const struct stat *st)
{
	file->seen = true;
	file->dev = st->st_dev;
	file->ino = st->st_ino;
	file->size = st->st_size;
	file->modified = st->st_mtim;
}

bool
pge_secret_file_changed(const SecretFile *file)
{
	struct stat st;

	if (stat(file->path, &st) != 0)
		return false;
	return !file->seen || st.st_dev != file->dev || st.st_ino != file->ino ||
		st.st_size != file->size || st.st_mtim.tv_sec != file->modified.tv_sec ||
		st.st_mtim.tv_nsec != file->modified.tv_nsec;
}
