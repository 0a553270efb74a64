/*-------------------------------------------------------------------------
 *
 * selftest_test.c
 *	  The self-test passes, and fails for each wrong answer.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "crypto/selftest_private.h"

int
main(void)
{
	const char *names[PGE_SELFTEST_COUNT];
	const char *what = "unset";

	check_status(pge_crypto_selftest(&what), PGE_OK, "known answers agree");
	check(what == NULL, "and nothing is named");
	for (int i = 0; i < PGE_SELFTEST_COUNT; i++)
	{
		check_status(pge_crypto_selftest_with(i, &names[i]), PGE_CRYPTO_FAILED, "answer %d with one bit wrong fails", i);
		check(names[i] != NULL, "and names its primitive");
		for (int j = 0; j < i; j++)
			check(strcmp(names[i], names[j]) != 0, "%s is not %s", names[i], names[j]);
	}
	check_status(pge_crypto_selftest(&what), PGE_OK, "it runs again");
	return check_done();
}
