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
#include <string.h>
#include <unistd.h>

#include "agent/kms/secret_file.h"
#include "base/secret.h"

static const char *open_secret(SecretFile *file, int *fd);
static const char *read_secret(int fd, char *out, size_t size);
static void remember(SecretFile *file, const struct stat *st);

PgeStatus
pge_secret_file_read(SecretFile *file, char *out, size_t size, char detail[KMS_DETAIL_LEN])
{
	const char *wrong;
	int			fd = -1;

	out[0] = '\0';
	wrong = open_secret(file, &fd);
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

/*
 * What it is, before it is read: should it be replaced in between, that will
 * be seen as a change.  Not to hang on a pipe, it is opened without waiting.
 */
static const char *
open_secret(SecretFile *file, int *fd)
{
	struct stat st;

	file->seen = false;
	*fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 || fstat(*fd, &st) != 0)
		return strerror(errno);
	remember(file, &st);
	if (!S_ISREG(st.st_mode))
		return "it is not a regular file";
	if ((st.st_mode & S_IWOTH) != 0)
		return "everybody may write it";
	if ((st.st_mode & S_IROTH) != 0 && !file->may_be_public)
		return "everybody may read it (chmod o-r)";
	return NULL;
}

/* NULL: out holds it.  A newline at the end may need the room of the NUL. */
static const char *
read_secret(int fd, char *out, size_t size)
{
	size_t		len = 0;
	ssize_t		got;
	char		more;

	do
	{
		got = len < size ? read(fd, out + len, size - len) : read(fd, &more, 1);
		if (got > 0 && len == size)
			return "it is too long";
		if (got > 0)
			len += (size_t) got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0)
		return strerror(errno);
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
