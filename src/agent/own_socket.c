/*-------------------------------------------------------------------------
 *
 * own_socket.c
 *	  The socket of an agent that is a service.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/own_socket.h"

#define BACKLOG		512
#define SOCKET_MODE	0666

static PgeStatus check_directory(const char *path, char *detail);
static PgeStatus take_lock(OwnSocket *own, char *detail);
static PgeStatus remove_stale(const char *path, char *detail);
static PgeStatus listen_there(OwnSocket *own, char *detail);
static PgeStatus failed(char *detail, const char *path, const char *what);

PgeStatus
pge_own_socket_listen(OwnSocket *own, const char *path, char *detail)
{
	PgeStatus	status = check_directory(path, detail);

	own->fd = own->lock_fd = -1;
	snprintf(own->path, sizeof(own->path), "%s", path);
	if (status == PGE_OK)
		status = take_lock(own, detail);
	if (status == PGE_OK)
		status = remove_stale(own->path, detail);
	if (status == PGE_OK)
		status = listen_there(own, detail);
	return status;
}

/* The lock's file stays: who waits for it must not lock one that has no name. */
void
pge_own_socket_remove(OwnSocket *own)
{
	(void) unlink(own->path);
}

/*
 * Links on the way are followed: /var/run is one.  Whoever could change them could
 * as well change what they lead to.
 */
static PgeStatus
check_directory(const char *path, char *detail)
{
	char		directory[sizeof(((OwnSocket *) NULL)->path)];
	char	   *slash;
	struct stat st;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	slash[slash == directory] = '\0';
	if (stat(directory, &st) != 0)
		return failed(detail, directory, "examined");
	if (!S_ISDIR(st.st_mode))
		pge_kms_detail(detail, "\"%s\" is not a directory.", directory);
	else if (st.st_uid != geteuid() && st.st_uid != 0)
		pge_kms_detail(detail, "Directory \"%s\" of the socket belongs to user id %u: it must belong to root or to the agent's user (id %u).",
					   directory, (unsigned) st.st_uid, (unsigned) geteuid());
	else if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		pge_kms_detail(detail, "Directory \"%s\" of the socket may be written by others than its owner (mode %03o; chmod go-w).",
					   directory, (unsigned) (st.st_mode & 0777));
	else
		return PGE_OK;
	return PGE_INVALID;
}

static PgeStatus
take_lock(OwnSocket *own, char *detail)
{
	char		path[sizeof(own->path) + 8];

	snprintf(path, sizeof(path), "%s.lock", own->path);
	own->lock_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (own->lock_fd < 0)
		return failed(detail, path, "made");
	if (flock(own->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return PGE_OK;
	if (errno != EWOULDBLOCK)
		return failed(detail, path, "locked");
	pge_kms_detail(detail, "Another agent serves at \"%s\".", own->path);
	return PGE_BUSY;
}

static PgeStatus
remove_stale(const char *path, char *detail)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? PGE_OK : failed(detail, path, "examined");
	if (!S_ISSOCK(st.st_mode))
	{
		pge_kms_detail(detail, "\"%s\" is there and is not a socket: remove it, or name another place.", path);
		return PGE_INVALID;
	}
	return unlink(path) == 0 ? PGE_OK : failed(detail, path, "removed (the socket of an agent that is gone)");
}

static PgeStatus
listen_there(OwnSocket *own, char *detail)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, own->path, sizeof(own->path));
	own->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (own->fd < 0 || bind(own->fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		chmod(own->path, SOCKET_MODE) != 0 || listen(own->fd, BACKLOG) != 0)
		return failed(detail, own->path, "listened at");
	return PGE_OK;
}

static PgeStatus
failed(char *detail, const char *path, const char *what)
{
	pge_kms_detail(detail, "\"%s\" could not be %s: %s.", path, what, strerror(errno));
	return PGE_IO_ERROR;
}
