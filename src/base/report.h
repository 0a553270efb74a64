/*
 * report.h -- the one table from PgeStatus to SQLSTATE, and our error codes.
 *
 * Server only.  Class KE is ours: 08 makes connection pools drop healthy
 * connections, 42501 would mix SQL's rights with a KMS's, XX reads as a broken
 * server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BASE_REPORT_H
#define PGE_BASE_REPORT_H

#include "postgres.h"

#include "base/bytes.h"
#include "base/compat.h"
#include "base/status.h"

#define PGE_ERRCODE_NOT_AUTHENTIC		MAKE_SQLSTATE('K','E','0','0','1')
#define PGE_ERRCODE_MALFORMED			MAKE_SQLSTATE('K','E','0','0','2')
#define PGE_ERRCODE_UNKNOWN_DEK			MAKE_SQLSTATE('K','E','0','0','3')
#define PGE_ERRCODE_KEY_DISABLED		MAKE_SQLSTATE('K','E','0','0','4')
#define PGE_ERRCODE_KEY_DESTROYED		MAKE_SQLSTATE('K','E','0','0','5')
#define PGE_ERRCODE_AGENT_UNREACHABLE	MAKE_SQLSTATE('K','E','0','0','6')
#define PGE_ERRCODE_SERVICE_UNAVAILABLE MAKE_SQLSTATE('K','E','0','0','7')
#define PGE_ERRCODE_THROTTLED			MAKE_SQLSTATE('K','E','0','0','8')
#define PGE_ERRCODE_UNAUTHENTICATED		MAKE_SQLSTATE('K','E','0','0','9')
#define PGE_ERRCODE_DENIED				MAKE_SQLSTATE('K','E','0','1','0')
#define PGE_ERRCODE_KEK_UNUSABLE		MAKE_SQLSTATE('K','E','0','1','1')
#define PGE_ERRCODE_KEK_NOT_FOUND		MAKE_SQLSTATE('K','E','0','1','2')
#define PGE_ERRCODE_WRAPPING_DAMAGED	MAKE_SQLSTATE('K','E','0','1','3')
#define PGE_ERRCODE_GUARD				MAKE_SQLSTATE('K','E','0','1','4')
#define PGE_ERRCODE_NOT_PRELOADED		MAKE_SQLSTATE('K','E','0','1','5')
#define PGE_ERRCODE_COMPROMISED			MAKE_SQLSTATE('K','E','0','1','6')

extern int	pge_status_sqlstate(PgeStatus status);

/* A hint that says what to do next, or NULL. */
extern const char *pge_status_hint(PgeStatus status);

/*
 * ereport(ERROR): "what" is the message in the user's words ("could not unwrap
 * data key 7 of key \"acme\""), detail (may be empty) a fact from the agent.
 */
extern void pge_report_error(PgeStatus status, const char *what,
							 PgeBytes detail) pg_attribute_noreturn();

/* An answer that says it is well and is not: KE006, with what it lacks. */
extern void pge_report_bad_answer(const char *what, const char *lacks) pg_attribute_noreturn();

/*
 * What the agent says, made fit for a message or a row of this database: no
 * control characters, valid in its encoding, '?' for what is not.  palloc'd.
 */
extern char *pge_report_text(PgeBytes utf8);

/*
 * A name that somebody gave, for a message: as above, and no more of it than a
 * key_id may have.  A newline in it must not forge a line of the log.  palloc'd.
 */
extern char *pge_report_name(const char *name);

/*
 * Is this valid UTF-8 character a control, or one that shows as nothing or
 * changes how others are shown?
 */
extern bool pge_is_unseen(const uint8 *character);

/* _PG_init says so once everything of the preload is in place. */
extern void pge_set_preloaded(void);

/* KE015 with the line to add, unless the library was preloaded. */
extern void pge_require_preloaded(void);

#endif							/* PGE_BASE_REPORT_H */
