/*-------------------------------------------------------------------------
 *
 * http_reach.c
 *	  The steps to a service behind HTTP: name, connection, TLS, login.
 *
 * One exchange shows the first three.  It has a connection of its own, so that
 * nothing is taken for granted because of an earlier one.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>

#include "agent/kms/http_reach.h"
#include "agent/kms/monotonic.h"

#define SECONDS_A_DAY	86400

static bool tell_connection(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail);
static bool tell_name(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail);
static bool tell_host(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail);
static bool tell_tls(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail);
static void tell_login(KmsWay *way, HttpService *service, const HttpLimits *limits);
static void fail(KmsStep *step, PgeStatus status, const char *detail, const char *advice);

void
pge_http_reach(HttpPool *pool, HttpService *service, const char *url, const HttpLimits *limits, KmsWay *way)
{
	HttpFacts	facts = {0};
	const HttpRequest request = {
		.method = "GET", .url = url, .once = true,
		.deadline_ms = limits->deadline_ms, .cancelled = limits->cancelled,
		.facts = &facts,
	};
	HttpAnswer	answer = {0};
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status = pge_http_exchange(pool, &request, &answer, detail);

	pge_http_answer_wipe(&answer);
	if (tell_connection(way, &facts, status, detail))
		tell_login(way, service, limits);
}

/* What a service makes of a request without a credential is its own business. */
static bool
tell_connection(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail)
{
	return tell_name(way, facts, status, detail) && tell_host(way, facts, status, detail) &&
		(facts->plain || tell_tls(way, facts, status, detail));
}

static bool
tell_name(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail)
{
	KmsStep    *step = pge_kms_way_step(way, "dns", facts->us[HTTP_REACHED_NAME]);

	if (facts->reached < HTTP_REACHED_NAME)
	{
		fail(step, status, detail, "Compare the host of the section's address with what this machine's name service knows (getent hosts).");
		return false;
	}
	pge_kms_detail(step->detail, "%s", facts->address[0] != '\0' ? facts->address : "found");
	return true;
}

static bool
tell_host(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail)
{
	KmsStep    *step = pge_kms_way_step(way, "tcp", facts->us[HTTP_REACHED_HOST]);

	if (facts->reached < HTTP_REACHED_HOST)
	{
		fail(step, status, detail, "See that the service runs, that the section's address has its port, and that no firewall stands between.");
		return false;
	}
	pge_kms_detail(step->detail, "connected");
	return true;
}

/* A service that wants a client's certificate may say so after the handshake only. */
static bool
tell_tls(KmsWay *way, const HttpFacts *facts, PgeStatus status, const char *detail)
{
	KmsStep    *step = pge_kms_way_step(way, "tls", facts->us[HTTP_REACHED_SERVICE]);

	if (facts->reached < HTTP_REACHED_SERVICE)
	{
		fail(step, status, detail, "The certificate has to name the host of the section's address, and to come from the authority that the section names.");
		return false;
	}
	pge_kms_detail(step->detail, "%s, certificate valid %" PRId64 " days", facts->tls_version,
				   facts->certificate_s / SECONDS_A_DAY);
	return true;
}

static void
tell_login(KmsWay *way, HttpService *service, const HttpLimits *limits)
{
	HttpCredentialLife life = {0};
	char		detail[KMS_DETAIL_LEN] = "";
	bool		needed;
	int64_t		before_us = pge_monotonic_us();
	PgeStatus	status = pge_http_service_credential(service, limits, &needed, &life, detail);
	KmsStep    *step;

	if (!needed)
		return;
	step = pge_kms_way_step(way, "login", status == PGE_OK ? (int64_t) life.took_ms * 1000 : pge_monotonic_us() - before_us);
	if (status != PGE_OK)
		fail(step, status, detail, status == PGE_UNAUTHENTICATED ? "Give the section another credential." :
			 status == PGE_UNAVAILABLE ? "See what the service itself says of its state." : "");
	else if (!life.expires)
		pge_kms_detail(step->detail, "does not expire");
	else if (life.left_ms < 120000)
		pge_kms_detail(step->detail, "%" PRIu64 " seconds left", life.left_ms / 1000);
	else
		pge_kms_detail(step->detail, "%" PRIu64 " minutes left", life.left_ms / 60000);
}

static void
fail(KmsStep *step, PgeStatus status, const char *detail, const char *advice)
{
	/* an answer without all of the way to it there cannot be */
	step->status = status != PGE_OK ? status : PGE_UNAVAILABLE;
	pge_kms_detail(step->detail, "%s%s%s", detail, advice[0] != '\0' ? " " : "", advice);
}
