/*-------------------------------------------------------------------------
 *
 * envelope_status.c
 *	  envelope_status(): what an administrator asks first.
 *
 * Our own rows come from shared memory and are there whatever the agent does;
 * the agent's own, whose names begin with agent_, only if it answers at once.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/report.h"
#include "base/settings.h"
#include "cache/control.h"
#include "cache/dek_cache.h"
#include "cache/secret_region.h"
#include "cache/use_counter.h"
#include "client/client.h"
#include "crypto/aead.h"

PG_FUNCTION_INFO_V1(envelope_status);

#define ASK_WITHIN_MS	1000	/* of a hung agent the pid is told, and no
								 * more */
#define AGENT_PREFIX	"agent_"

static void
put_row(ReturnSetInfo *rsinfo, const char *name, const char *value)
{
	Datum		values[2];
	bool		nulls[2] = {false, value == NULL};

	values[0] = CStringGetTextDatum(name);
	values[1] = value ? CStringGetTextDatum(value) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_number(ReturnSetInfo *rsinfo, const char *name, uint64 value)
{
	put_row(rsinfo, name, psprintf(UINT64_FORMAT, value));
}

static void
put_pid(ReturnSetInfo *rsinfo, const char *name, uint32 pid)
{
	put_row(rsinfo, name, pid != 0 ? psprintf("%u", pid) : NULL);
}

/* Of the data keys of AES256_GCM, in all databases. */
static void
put_uses(ReturnSetInfo *rsinfo)
{
	PgeUseSummary summary;

	pge_use_counter_summarize(&summary);
	put_number(rsinfo, "uses_tracked", (uint64) summary.tracked);
	put_number(rsinfo, "uses_highest", summary.highest);
	put_number(rsinfo, "uses_warned", (uint64) summary.warned);
	put_number(rsinfo, "uses_untracked", summary.untracked);
}

static const char *
agent_state(PgeControl *control)
{
	if (pg_atomic_read_u32(&control->agent_missing))
		return "program missing";
	if (pg_atomic_read_u32(&control->agent_pid) == 0)
		return "not running";
	return pg_atomic_read_u32(&control->agent_ready) ? "ready" : "starting";
}

static void
put_spawned_rows(ReturnSetInfo *rsinfo, PgeControl *control)
{
	put_pid(rsinfo, "agent_pid", pg_atomic_read_u32(&control->agent_pid));
	put_row(rsinfo, "agent_state", agent_state(control));
	put_number(rsinfo, "agent_starts", pg_atomic_read_u64(&control->agent_starts));
}

static void
put_external_rows(ReturnSetInfo *rsinfo)
{
	char	   *unused = pge_settings_unused();

	put_row(rsinfo, "agent_socket", pge_agent_socket);
	put_row(rsinfo, "agent_user", pge_agent_user);
	put_row(rsinfo, "settings_unused", unused[0] != '\0' ? unused : NULL);
}

static void
put_own_rows(ReturnSetInfo *rsinfo, PgeControl *control)
{
	put_row(rsinfo, "version", PGE_VERSION);
	put_row(rsinfo, "secret_memory", pge_secret_region_kind_name());
	put_number(rsinfo, "cache_size", (uint64) pge_cache_size);
	put_number(rsinfo, "cache_used", (uint64) pge_dek_cache_used());
	put_number(rsinfo, "context_holders", pg_atomic_read_u32(&control->context_holders));
	put_number(rsinfo, "graces", pg_atomic_read_u64(&control->graces));
	put_number(rsinfo, "unwraps", pg_atomic_read_u64(&control->unwraps));
	put_uses(rsinfo);
	put_pid(rsinfo, "keeper_pid", pg_atomic_read_u32(&control->keeper_pid));
	put_row(rsinfo, "agent", pge_agent == PGE_AGENT_EXTERNAL ? "external" : "spawn");
	if (pge_agent == PGE_AGENT_EXTERNAL)
		put_external_rows(rsinfo);
	else
		put_spawned_rows(rsinfo, control);
#ifdef PGE_TEST_BUILD
	put_number(rsinfo, "tag_checks", pge_aead_tag_checks);	/* of this session */
#endif
}

static void
put_agent_rows(ReturnSetInfo *rsinfo)
{
	static PgeFrame request;
	static PgeFrame answer;
	PgeStatus	status;

	memset(&request, 0, sizeof(request));
	request.type = PGE_FRAME_STATUS;
	status = pge_client_call_within(&request, &answer,
									Min(pge_kms_timeout, ASK_WITHIN_MS));
	if (pge_agent == PGE_AGENT_EXTERNAL)
		put_row(rsinfo, "agent_state", status == PGE_OK ? "reachable" : "not reachable");
	if (status != PGE_OK)
		put_row(rsinfo, "agent_answer", pge_report_text(answer.detail));
	for (int i = 0; status == PGE_OK && i < answer.npairs; i++)
	{
		char	   *name = pge_report_text(answer.name[i]);

		if (strncmp(name, AGENT_PREFIX, strlen(AGENT_PREFIX)) != 0)
			name = psprintf(AGENT_PREFIX "%s", name);
		/* we may have told that already */
		if (strcmp(name, "agent_pid") != 0 || pge_agent == PGE_AGENT_EXTERNAL)
			put_row(rsinfo, name, pge_report_text(answer.value[i]));
	}
	pge_client_done();
}

Datum
envelope_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PgeControl *control;

	pge_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	control = pge_control();
	put_own_rows(rsinfo, control);
	if (pge_agent == PGE_AGENT_EXTERNAL || pg_atomic_read_u32(&control->agent_ready))
		put_agent_rows(rsinfo);
	return (Datum) 0;
}
