/*
 * write_scope.h -- which rows are written by a statement of ours.
 *
 * Not those of what runs inside of it, nor while it is planned: somebody else's trigger, or
 * a function in his default, constraint or index, has no more right to the key tables than
 * he has.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_KEYRING_WRITE_SCOPE_H
#define PGE_KEYRING_WRITE_SCOPE_H

#include "postgres.h"

typedef struct WriteScope
{
	bool		entered;
	const char *statement;		/* the text of ours, told by its address */
	bool		runs;			/* ... is what the innermost executor runs */
}			WriteScope;

/* Around one statement of ours, on every way out; enter returns what leave wants. */
extern WriteScope pge_write_scope_enter(void);
extern void pge_write_scope_leave(WriteScope outer);

/* Which one it is: where the server has the text that the executor will be given. */
extern void pge_write_scope_statement(const char *text);

/* Is the statement that writes a row one of ours?  For the row trigger. */
extern bool pge_write_under_way(void);

/* At preload. */
extern void pge_write_scope_register(void);

#endif							/* PGE_KEYRING_WRITE_SCOPE_H */
