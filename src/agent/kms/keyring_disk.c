/*-------------------------------------------------------------------------
 *
 * keyring_disk.c
 *	  Descriptors, locks and durable files for the keyring.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/kms/keyring_disk.h"
#include "base/crash_point.h"

#define LOCK_STEP_MS	20

static PgeStatus open_directory(const char *directory, int *fd, char *detail);
static PgeStatus check_directory(int fd, const char *directory, char *detail);
static PgeStatus make_directory(const char *directory, char *detail);
static PgeStatus sync_parent(const char *path, char *detail);
static PgeStatus check_file(const KeyringPath *path, const struct stat *st, char *detail);
static PgeStatus read_all(int fd, size_t size, PgeBuffer *file);
static void set_stamp(KeyringStamp *stamp, const struct stat *st);
static PgeStatus write_new(const KeyringPath *path, int directory, PgeBytes bytes,
						   KeyringStamp *stamp, char *detail);
static PgeStatus write_durably(int fd, PgeBytes bytes);
static bool cancelled_or_late(const atomic_bool *cancelled, const struct timespec *start, int wait_ms);

/* "d/keyring" is "d" and "keyring"; "keyring" lies in "."; "/keyring" in "/". */
PgeStatus
pge_keyring_path_parse(const char *path, KeyringPath *parsed, char *detail)
{
	size_t		len = path == NULL ? 0 : strlen(path);
	const char *slash = len == 0 ? NULL : strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	size_t		directory_len;

	if (len == 0 || len > KEYRING_PATH_MAX || strlen(name) > 240 ||
		name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
	{
		pge_kms_detail(detail, "The path of the keyring file is empty, too long or names a directory.");
		return PGE_INVALID;
	}
	memcpy(parsed->file, path, len + 1);
	/* without slashes at the end: behind one, O_NOFOLLOW would follow a link */
	directory_len = slash == NULL ? 0 : (size_t) (slash - path);
	while (directory_len > 1 && path[directory_len - 1] == '/')
		directory_len--;
	if (slash == NULL)
		snprintf(parsed->directory, sizeof(parsed->directory), ".");
	else if (directory_len == 0)
		snprintf(parsed->directory, sizeof(parsed->directory), "/");
	else
		snprintf(parsed->directory, sizeof(parsed->directory), "%.*s", (int) directory_len, path);
	snprintf(parsed->name, sizeof(parsed->name), "%s", name);
	snprintf(parsed->lock_name, sizeof(parsed->lock_name), "%.240s.lock", name);
	snprintf(parsed->new_name, sizeof(parsed->new_name), "%.240s.new", name);
	return PGE_OK;
}

PgeStatus
pge_keyring_disk_open(const KeyringPath *path, bool make, int *directory, char *detail)
{
	PgeStatus	status = open_directory(path->directory, directory, detail);

	if (status == PGE_UNAVAILABLE && *directory < 0 && errno == ENOENT && make)
	{
		detail[0] = '\0';		/* what was said of the missing one is void */
		status = make_directory(path->directory, detail);
		if (status == PGE_OK)
			status = open_directory(path->directory, directory, detail);
	}
	if (status == PGE_OK)
		status = check_directory(*directory, path->directory, detail);
	if (status != PGE_OK && *directory >= 0)
	{
		close(*directory);
		*directory = -1;
	}
	return status;
}

/* A backup may lie where others may write: its own owner and mode are checked. */
PgeStatus
pge_keyring_disk_open_any(const KeyringPath *path, int *directory, char *detail)
{
	return open_directory(path->directory, directory, detail);
}

/* errno is kept for the caller. */
static PgeStatus
open_directory(const char *directory, int *fd, char *detail)
{
	int			saved_errno;

	*fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd >= 0)
		return PGE_OK;
	saved_errno = errno;
	if (errno == ELOOP || errno == ENOTDIR)
		pge_kms_detail(detail, "The keyring's directory \"%s\" is a symbolic link or not a directory.", directory);
	else
		pge_kms_detail(detail, "The keyring's directory \"%s\" could not be opened: %s.", directory, strerror(errno));
	errno = saved_errno;
	return PGE_UNAVAILABLE;
}

static PgeStatus
check_directory(int fd, const char *directory, char *detail)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		pge_kms_detail(detail, "The keyring's directory \"%s\" could not be examined: %s.", directory, strerror(errno));
	else if (st.st_uid != geteuid() && st.st_uid != 0)
		pge_kms_detail(detail, "The keyring's directory \"%s\" belongs to user id %u: it must belong to the user who runs this (id %u) or to root.",
					   directory, (unsigned) st.st_uid, (unsigned) geteuid());
	else if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		pge_kms_detail(detail, "The keyring's directory \"%s\" may be written by others than its owner (mode %03o).",
					   directory, (unsigned) (st.st_mode & 0777));
	else
		return PGE_OK;
	return PGE_UNAVAILABLE;
}

/* The last component only: a path that is wrong further up is an error. */
static PgeStatus
make_directory(const char *directory, char *detail)
{
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
	{
		pge_kms_detail(detail, "The keyring's directory \"%s\" could not be made: %s.", directory, strerror(errno));
		return PGE_IO_ERROR;
	}
	return sync_parent(directory, detail);
}

/* Without this the name of a new file or directory may not survive a crash. */
static PgeStatus
sync_parent(const char *path, char *detail)
{
	const char *slash = strrchr(path, '/');
	char	   *parent = slash == NULL ? strdup(".") :
	slash == path ? strdup("/") : strndup(path, (size_t) (slash - path));
	int			fd = parent == NULL ? -1 : open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int			failed = fd < 0 || fsync(fd) != 0;

	if (failed)
		pge_kms_detail(detail, "The directory that holds \"%s\" could not be synced: %s.", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(parent);
	return failed ? PGE_IO_ERROR : PGE_OK;
}

bool
pge_keyring_disk_exists(const KeyringPath *path, int directory)
{
	struct stat st;

	return fstatat(directory, path->name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

PgeStatus
pge_keyring_disk_missing(const KeyringPath *path, char *detail)
{
	pge_kms_detail(detail, "Keyring file \"%s\" does not exist.", path->file);
	return PGE_UNAVAILABLE;
}

PgeStatus
pge_keyring_disk_present(const KeyringPath *path, char *detail)
{
	pge_kms_detail(detail, "Keyring file \"%s\" exists already.", path->file);
	return PGE_INVALID;
}

PgeStatus
pge_keyring_disk_stamp(const KeyringPath *path, KeyringStamp *stamp, char *detail)
{
	struct stat st;

	if (lstat(path->file, &st) == 0)
	{
		set_stamp(stamp, &st);
		return PGE_OK;
	}
	if (errno == ENOENT)
		return pge_keyring_disk_missing(path, detail);
	pge_kms_detail(detail, "Keyring file \"%s\" could not be examined: %s.", path->file, strerror(errno));
	return PGE_UNAVAILABLE;
}

static void
set_stamp(KeyringStamp *stamp, const struct stat *st)
{
	stamp->dev = st->st_dev;
	stamp->ino = st->st_ino;
	stamp->size = st->st_size;
	stamp->modified = st->st_mtim;
}

/* O_NONBLOCK: opening a FIFO that somebody left there must not hang. */
PgeStatus
pge_keyring_disk_read(const KeyringPath *path, int directory,
					  PgeBuffer *file, KeyringStamp *stamp, char *detail)
{
	struct stat st;
	PgeStatus	status;
	int			fd = openat(directory, path->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return pge_keyring_disk_missing(path, detail);
	if (fd < 0)
	{
		pge_kms_detail(detail, "Keyring file \"%s\" could not be opened: %s.", path->file,
					   errno == ELOOP ? "it is a symbolic link" : strerror(errno));
		return PGE_UNAVAILABLE;
	}
	if (fstat(fd, &st) != 0)
	{
		pge_kms_detail(detail, "Keyring file \"%s\" could not be examined: %s.", path->file, strerror(errno));
		status = PGE_UNAVAILABLE;
	}
	else
		status = check_file(path, &st, detail);
	if (status == PGE_OK)
	{
		status = read_all(fd, (size_t) st.st_size, file);
		if (status != PGE_OK)
			pge_kms_detail(detail, "Keyring file \"%s\" could not be read whole.", path->file);
	}
	close(fd);
	if (status == PGE_OK && stamp != NULL)
		set_stamp(stamp, &st);
	return status;
}

static PgeStatus
check_file(const KeyringPath *path, const struct stat *st, char *detail)
{
	if (!S_ISREG(st->st_mode))
		pge_kms_detail(detail, "\"%s\" is not a regular file.", path->file);
	else if (st->st_uid != geteuid())
		pge_kms_detail(detail, "Keyring file \"%s\" belongs to user id %u, not to the user who runs this (id %u).",
					   path->file, (unsigned) st->st_uid, (unsigned) geteuid());
	else if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		pge_kms_detail(detail, "Keyring file \"%s\" has mode %03o: group and others may have no right to it (chmod 600).",
					   path->file, (unsigned) (st->st_mode & 0777));
	else if (st->st_size > KEYRING_FILE_MAX)
		pge_kms_detail(detail, "\"%s\" is too large for a keyring file.", path->file);
	else
		return PGE_OK;
	return PGE_UNAVAILABLE;
}

/* Exactly "size" bytes and then the end. */
static PgeStatus
read_all(int fd, size_t size, PgeBuffer *file)
{
	file->capacity = size + 1;
	file->data = malloc(file->capacity);
	if (file->data == NULL)
		return PGE_OUT_OF_MEMORY;
	while (file->len < file->capacity)
	{
		ssize_t		got = read(fd, file->data + file->len, file->capacity - file->len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return PGE_UNAVAILABLE;
		if (got == 0)
			break;
		file->len += (size_t) got;
	}
	return file->len == size ? PGE_OK : PGE_UNAVAILABLE;
}

void
pge_keyring_disk_free(PgeBuffer *file)
{
	pge_secret_wipe(file->data, file->capacity);
	free(file->data);
	file->data = NULL;
	file->len = file->capacity = 0;
}

/* The lock's file stays: were it removed, two could hold two locks of one name. */
PgeStatus
pge_keyring_disk_lock(const KeyringPath *path, int directory, int wait_ms,
					  const atomic_bool *cancelled, int *lock, char *detail)
{
	const struct timespec step = {0, LOCK_STEP_MS * 1000000L};
	struct timespec start;
	int			fd = openat(directory, path->lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);

	*lock = -1;
	if (fd < 0)
	{
		pge_kms_detail(detail, "The lock file \"%s.lock\" could not be opened: %s.", path->file, strerror(errno));
		return PGE_IO_ERROR;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
		{
			pge_kms_detail(detail, "The lock file \"%s.lock\" could not be locked: %s.", path->file, strerror(errno));
			close(fd);
			return PGE_IO_ERROR;
		}
		if (cancelled_or_late(cancelled, &start, wait_ms))
		{
			pge_kms_detail(detail, "Another program is changing keyring file \"%s\" (it holds \"%s\"); try again.", path->file, path->lock_name);
			close(fd);
			return PGE_BUSY;
		}
		nanosleep(&step, NULL);
	}
	*lock = fd;
	return PGE_OK;
}

static bool
cancelled_or_late(const atomic_bool *cancelled, const struct timespec *start, int wait_ms)
{
	struct timespec now;

	if (cancelled != NULL && atomic_load(cancelled))
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000 >= wait_ms;
}

PgeStatus
pge_keyring_disk_replace(const KeyringPath *path, int directory, PgeBytes bytes,
						 KeyringStamp *stamp, char *detail)
{
	PgeStatus	status;

	/* we hold the lock, so this can only be what a crash has left */
	if (unlinkat(directory, path->new_name, 0) != 0 && errno != ENOENT)
	{
		pge_kms_detail(detail, "\"%s.new\" is in the way and could not be removed: %s.", path->file, strerror(errno));
		return PGE_IO_ERROR;
	}
	status = write_new(path, directory, bytes, stamp, detail);
	PGE_CRASH_POINT_STATUS("keyring.new-closed", status);
	if (status == PGE_OK && renameat(directory, path->new_name, directory, path->name) != 0)
	{
		pge_kms_detail(detail, "Keyring file \"%s\" could not be replaced: %s.", path->file, strerror(errno));
		status = PGE_IO_ERROR;
	}
	if (status != PGE_OK)
	{
		unlinkat(directory, path->new_name, 0);
		return status;
	}
	PGE_CRASH_POINT_EXIT("keyring.renamed");
	if (fsync(directory) != 0)
	{
		pge_kms_detail(detail, "Keyring file \"%s\" was replaced, but its directory could not be synced: %s; the change may not survive a crash.",
					   path->file, strerror(errno));
		return PGE_IO_ERROR;
	}
	PGE_CRASH_POINT_EXIT("keyring.replaced");
	return PGE_OK;
}

static PgeStatus
write_new(const KeyringPath *path, int directory, PgeBytes bytes,
		  KeyringStamp *stamp, char *detail)
{
	struct stat st;
	PgeStatus	status;
	int			saved_errno;
	int			fd = openat(directory, path->new_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
	{
		pge_kms_detail(detail, "\"%s.new\" could not be made: %s.", path->file, strerror(errno));
		return PGE_IO_ERROR;
	}
	PGE_CRASH_POINT_EXIT("keyring.new-made");
	status = write_durably(fd, bytes);
	PGE_CRASH_POINT_STATUS("keyring.new-synced", status);
	if (status == PGE_OK && fstat(fd, &st) != 0)
		status = PGE_IO_ERROR;
	saved_errno = errno;
	if (close(fd) != 0 && status == PGE_OK)
	{
		saved_errno = errno;
		status = PGE_IO_ERROR;
	}
	if (status != PGE_OK)
		pge_kms_detail(detail, "\"%s.new\" could not be written: %s; the keyring file is as it was.", path->file, strerror(saved_errno));
	else if (stamp != NULL)
		set_stamp(stamp, &st);
	return status;
}

/* errno says why not. */
static PgeStatus
write_durably(int fd, PgeBytes bytes)
{
	size_t		done = 0;

	while (done < bytes.len)
	{
		ssize_t		wrote = write(fd, bytes.data + done, bytes.len - done);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return PGE_IO_ERROR;
		done += (size_t) wrote;
	}
	PGE_CRASH_POINT_EXIT("keyring.new-written");
	return fsync(fd) == 0 ? PGE_OK : PGE_IO_ERROR;
}

PgeStatus
pge_keyring_disk_copy_to(const char *destination, PgeBytes bytes, char *detail)
{
	PgeStatus	status;
	int			fd = open(destination, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
	{
		bool		exists = errno == EEXIST;

		pge_kms_detail(detail, "\"%s\" could not be made: %s.", destination, strerror(errno));
		return exists ? PGE_INVALID : PGE_IO_ERROR;
	}
	status = write_durably(fd, bytes);
	if (status != PGE_OK)
		pge_kms_detail(detail, "\"%s\" could not be written: %s.", destination, strerror(errno));
	if (close(fd) != 0 && status == PGE_OK)
	{
		pge_kms_detail(detail, "\"%s\" could not be written: %s.", destination, strerror(errno));
		status = PGE_IO_ERROR;
	}
	if (status == PGE_OK)
		status = sync_parent(destination, detail);
	if (status != PGE_OK)
		unlink(destination);
	return status;
}
