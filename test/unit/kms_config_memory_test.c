/*-------------------------------------------------------------------------
 *
 * kms_config_memory_test.c
 *	  Whatever allocation of reading a configuration is refused, it says so, and
 *	  nothing is left behind.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <unistd.h>

#include "failing_memory.h"
#include "fake_providers.h"
#include "check.h"

static const char text[] =
"[local]\nallow_databases = a\n"
"[vault corp]\naddress = https://a:1\nca_file = /c\nallow_keys = a/*, b\nallow_databases = a, b\n"
"allow_keyrings = 00112233-4455-6677-8899-aabbccddeeff, ffffffff-ffff-ffff-ffff-ffffffffffff\n";

int
main(void)
{
	char		path[] = "/tmp/pge-config.XXXXXX";
	int			fd = mkstemp(path);
	char		detail[KMS_DETAIL_LEN];
	long		requests = 0;

	memory_init();
	memory_is_counted = true;
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text))
		abort();
	printf("# now stdout has its buffer\n");
	for (long k = 0; k <= requests; k++)
	{
		long		before = memory_blocks();
		KmsConfig  *config;
		PgeStatus	status;

		detail[0] = '\0';
		memory_begin(k);
		status = pge_kms_config_read(path, &config, detail);
		if (k == 0)
			requests = memory_end();
		else
			memory_end();
		check_status(status, k == 0 ? PGE_OK : PGE_OUT_OF_MEMORY, "allocation %ld of %ld is refused", k, requests);
		check((config != NULL) == (k == 0) && (k == 0 || strstr(detail, "emory") != NULL), "what is said of it");
		pge_kms_config_free(config);
		check(memory_blocks() == before, "nothing stays");
	}
	check(requests >= 18, "there are %ld allocations", requests);
	close(fd);
	unlink(path);
	return check_done();
}
