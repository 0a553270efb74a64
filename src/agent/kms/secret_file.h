/*
 * secret_file.h -- a file with a secret in it: a token, a password, a JWT, or a text.
 *
 * Symbolic links are followed, because orchestrators exchange such files by
 * them; the file itself is a regular one that not everybody may write, nor read
 * unless that was foreseen.  One newline at its end is not part of the secret.  A
 * SecretFile belongs to one thread.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_SECRET_FILE_H
#define PGE_AGENT_SECRET_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/status.h"

typedef struct SecretFile
{
	const char *path;			/* the caller's */
	bool		may_be_public;	/* no secret by itself, or kept so by others */
	bool		seen;			/* it was there when it was read last */
	dev_t		dev;
	ino_t		ino;
	off_t		size;
	struct timespec modified;
} SecretFile;

/*
 * Reads it into out[size], NUL-terminated and wiped on failure, and remembers
 * which file that was.  PGE_UNAUTHENTICATED with *detail: absent, not
 * readable, not a file, empty, too long, not one line of printable ASCII.
 */
extern PgeStatus pge_secret_file_read(SecretFile *file, char *out, size_t size,
									  char detail[KMS_DETAIL_LEN]);

/*
 * The same of a file with more in it: any text, an empty one too, without a zero byte and at
 * most "max" bytes.  *out is wiped and freed with pge_secret_file_free; *is_public: everybody
 * may read the file, which is the caller's to judge.
 */
extern PgeStatus pge_secret_file_read_text(SecretFile *file, size_t max, PgeBuffer *out, bool *is_public,
										   char detail[KMS_DETAIL_LEN]);
extern void pge_secret_file_free(PgeBuffer *text);

/* Would read() see another file than last time? */
extern bool pge_secret_file_changed(const SecretFile *file);

#endif							/* PGE_AGENT_SECRET_FILE_H */
