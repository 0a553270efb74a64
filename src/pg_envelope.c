/*-------------------------------------------------------------------------
 *
 * pg_envelope.c
 *	  Where the server meets the extension: registration, no logic.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/report.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/epoch.h"
#include "cache/secret_region.h"
#include "cache/use_counter.h"
#include "client/client.h"
#include "crypto/selftest.h"
#include "keeper/keeper.h"
#include "keyring/memo.h"
#include "keyring/write_scope.h"
#include "ops/creation_guard.h"
#include "ops/key_loss_guard.h"
#include "ops/open_guard.h"
#include "ops/transaction.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(pge_control_shmem_size());
	RequestAddinShmemSpace(pge_use_counter_shmem_size());
}

static void
startup_shmem(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	pge_control_shmem_startup();
	pge_use_counter_shmem_startup();
}

/* A server whose cryptography does not compute must not start to use it. */
static void
test_crypto(void)
{
	const char *what = NULL;

	if (pge_crypto_selftest(&what) != PGE_OK)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("pg_envelope found that OpenSSL computes %s wrongly or not at all", what),
				 errhint("Check the installation and the configuration of OpenSSL.")));
}

/*
 * pg_upgrade and a plain LOAD come here without a preload: then nothing may
 * fail, and what needs the preload says so when it is called.
 */
void
_PG_init(void)
{
	if (IsBinaryUpgrade)
		return;
	pge_settings_define();
	if (!process_shared_preload_libraries_in_progress)
		return;

	pge_settings_find_agent_user();
	test_crypto();
	pge_secret_region_create(pge_dek_cache_size(pge_cache_size));
	pge_client_register_callbacks();
	pge_memo_register_callbacks();
	pge_transaction_register_callbacks();
	pge_epoch_register_callbacks(); /* last, so that it is called first */
	pge_write_scope_register();
	pge_open_guard_register();
	pge_creation_guard_register();
	pge_key_loss_guard_register();
	pge_keeper_register();
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	pge_set_preloaded();
}
