/*-------------------------------------------------------------------------
 *
 * uses.c
 *	  Keeps the use counts of AES256_GCM over a restart, and warns of them.
 *
 * The file is in pg_stat/, which pg_basebackup copies and pg_rewind takes from
 * its source: a standby or clone so begins with the numbers of the server that
 * it was made from, and they err on the safe side.  pg_upgrade, a dump and a
 * restore leave it behind.  A temporary file in a backup is never read.
 *
 * Nothing here stops the server: what cannot be read or written is logged.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "base/crash_point.h"
#include "cache/control.h"
#include "cache/use_counter.h"
#include "keeper/keeper_private.h"

#define USES_PATH	"pg_stat/pg_envelope.uses"
#define USES_TMP	USES_PATH ".tmp"

#ifdef PGE_TEST_BUILD
#define SAVE_EVERY_MS	100
#else
#define SAVE_EVERY_MS	60000
#endif

static PgeUses uses[PGE_USES_MAX];
static uint8 bytes[PGE_USES_FILE_MAX + 1];	/* one more, to see a file that is
											 * too long */
static uint64 saved_total = 0;	/* of all numbers: they only grow */
static uint64 saved_ms = 0;
static bool told_full = false;

static ssize_t
read_file(void)
{
	int			fd = BasicOpenFile(USES_PATH, O_RDONLY | PG_BINARY);
	size_t		len = 0;
	ssize_t		n = -1;
	int			save_errno;

	if (fd < 0)
		return -1;
	while (len < sizeof(bytes) &&
		   ((n = read(fd, bytes + len, sizeof(bytes) - len)) > 0 ||
			(n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t) n : 0;
	save_errno = errno;
	close(fd);
	errno = save_errno;
	return n < 0 ? -1 : (ssize_t) len;
}

/* The keeper may be started again while shared memory lives on: then it is all there. */
void
pge_uses_load(void)
{
	ssize_t		len;
	int			count = 0;

	saved_ms = pge_now_ms();
	if (pge_use_counter_loaded())
		return;
	len = read_file();
	if (len < 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", USES_PATH),
				 errdetail("The use counts of AES256_GCM data keys up to now are lost; counting starts at zero.")));
	else if (len >= 0 && pge_uses_decode(pge_bytes(bytes, (size_t) len), uses, &count) != PGE_OK)
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" is damaged, or of another version of pg_envelope", USES_PATH),
				 errdetail("The use counts of AES256_GCM data keys up to now are lost; counting starts at zero.")));
	pge_use_counter_load(uses, count);
}

/* By a rename, so that a crash leaves the old file or the new one. */
static bool
write_file(PgeBytes file)
{
	int			fd = BasicOpenFile(USES_TMP, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	ssize_t		written = -1;
	int			closed = -1;

	if (fd >= 0)
	{
		errno = ENOSPC;			/* for a write that is cut short */
		written = write(fd, file.data, file.len);
		closed = written == (ssize_t) file.len ? close(fd) : (close(fd), -1);
	}
	if (closed != 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", USES_TMP)));
		return false;
	}
	PGE_CRASH_POINT("keeper.uses-written");
	/* fsyncs the file before, and its directory after; logs what fails */
	return durable_rename(USES_TMP, USES_PATH, LOG) == 0;
}

static void
warn(int count)
{
	PgeUseSummary summary;

	for (int i = 0; i < count; i++)
		if (pge_use_counter_must_warn(&uses[i]))
			ereport(WARNING,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("data key %u of database %u has sealed " UINT64_FORMAT " values",
							uses[i].dek_id, uses[i].database, (uint64) uses[i].uses),
					 errdetail("Under one AES256_GCM data key 2^32 values are safe; standbys and clones count apart."),
					 errhint("Find its key_id in envelope.dek of that database and call envelope_rotate_key(key_id).")));
	pge_use_counter_summarize(&summary);
	if (summary.untracked == 0 || told_full)
		return;
	told_full = true;
	ereport(LOG,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("pg_envelope counts the uses of at most %d AES256_GCM data keys", PGE_USES_MAX),
			 errdetail("The uses of further ones are counted together, as uses_untracked of envelope_status().")));
}

/* What was warned of is what is saved: a warning is then neither lost nor repeated. */
void
pge_uses_save(void)
{
	PgeBuffer	file = {bytes, 0, sizeof(bytes)};
	uint64		total = 0;
	int			count;

	saved_ms = pge_now_ms();
	if (!pge_use_counter_loaded())
		return;					/* the file knows more than we do */
	count = pge_use_counter_read(uses);
	warn(count);
	for (int i = 0; i < count; i++)
		total += uses[i].uses;
	if (total == saved_total)
		return;
	if (pge_uses_encode(uses, count, &file) != PGE_OK)
		ereport(LOG,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not make the content of file \"%s\"", USES_PATH)));
	else if (write_file(pge_buffer_bytes(&file)))
		saved_total = total;
}

void
pge_uses_turn(void)
{
	if (pge_now_ms() >= saved_ms + SAVE_EVERY_MS)
		pge_uses_save();
}
