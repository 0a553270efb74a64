/*-------------------------------------------------------------------------
 *
 * kms_config_file.c
 *	  Reads the configuration of key services from its file.
 *
 * Who can write the file can send a credential anywhere; so its owner and mode
 * are looked at, through the descriptor that is read.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/kms_config.h"
#include "agent/kms/kms_detail.h"

#define PATH_SHOWN	200			/* bytes of a path, so that the reason has
								 * room */

static PgeStatus read_file(const char *path, PgeBuffer *text, char *detail);
static PgeStatus check_file(const char *path, const struct stat *st, char *detail);
static PgeStatus read_all(int fd, PgeBuffer *text);
static PgeStatus parse(const char *path, PgeBytes text, KmsConfig **config, char *detail);

PgeStatus
pge_kms_config_read(const char *path, KmsConfig **config, char *detail)
{
	PgeBuffer	text = {NULL, 0, 0};
	PgeStatus	status = PGE_OK;

	*config = NULL;
	if (path != NULL && path[0] != '\0')
		status = read_file(path, &text, detail);
	if (status == PGE_OK)
		status = parse(path, pge_buffer_bytes(&text), config, detail);
	free(text.data);
	return status;
}

/* O_NONBLOCK: opening a FIFO that somebody left there must not hang. */
static PgeStatus
read_file(const char *path, PgeBuffer *text, char *detail)
{
	struct stat st;
	PgeStatus	status;
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
	{
		pge_kms_detail(detail, "Configuration file \"%.*s\" could not be opened: %s.", PATH_SHOWN, path, strerror(errno));
		return PGE_INVALID;
	}
	if (fstat(fd, &st) != 0)
	{
		pge_kms_detail(detail, "Configuration file \"%.*s\" could not be examined: %s.", PATH_SHOWN, path, strerror(errno));
		status = PGE_INVALID;
	}
	else
		status = check_file(path, &st, detail);
	if (status == PGE_OK)
	{
		status = read_all(fd, text);
		if (status != PGE_OK)
			pge_kms_detail(detail, "Configuration file \"%.*s\" could not be read: %s.", PATH_SHOWN, path, strerror(errno));
	}
	close(fd);
	return status;
}

static PgeStatus
check_file(const char *path, const struct stat *st, char *detail)
{
	if (!S_ISREG(st->st_mode))
		pge_kms_detail(detail, "\"%.*s\" is not a regular file.", PATH_SHOWN, path);
	else if (st->st_uid != 0 && st->st_uid != geteuid())
		pge_kms_detail(detail, "Configuration file \"%.*s\" belongs to user id %u: it must belong to root or to the user who runs this (id %u).",
					   PATH_SHOWN, path, (unsigned) st->st_uid, (unsigned) geteuid());
	else if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		pge_kms_detail(detail, "Configuration file \"%.*s\" may be written by others than its owner (mode %03o; chmod go-w).",
					   PATH_SHOWN, path, (unsigned) (st->st_mode & 0777));
	else
		return PGE_OK;
	return PGE_INVALID;
}

/* Up to one byte more than a file may have, which the parser then refuses. */
static PgeStatus
read_all(int fd, PgeBuffer *text)
{
	text->capacity = KMS_CONFIG_FILE_MAX + 1;
	text->data = malloc(text->capacity);
	if (text->data == NULL)
		return PGE_OUT_OF_MEMORY;
	while (text->len < text->capacity)
	{
		ssize_t		got = read(fd, text->data + text->len, text->capacity - text->len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return PGE_INVALID;
		if (got == 0)
			break;
		text->len += (size_t) got;
	}
	return PGE_OK;
}

static PgeStatus
parse(const char *path, PgeBytes text, KmsConfig **config, char *detail)
{
	char		reason[KMS_DETAIL_LEN] = "";
	int			line;
	PgeStatus	status = pge_kms_config_parse(text, config, &line, reason);

	if (status == PGE_OK)
		status = pge_kms_config_find_user(*config, &line, reason);
	if (status != PGE_OK)
	{
		pge_kms_config_free(*config);
		*config = NULL;
	}
	if (status != PGE_OK && line > 0)
		pge_kms_detail(detail, "Line %d of \"%.*s\": %s", line, PATH_SHOWN, path, reason);
	else if (status != PGE_OK)
		pge_kms_detail(detail, "Configuration file \"%.*s\": %s", PATH_SHOWN, path == NULL ? "" : path, reason);
	return status;
}
