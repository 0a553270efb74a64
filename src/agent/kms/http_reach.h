/*
 * http_reach.h -- the steps to a service behind HTTP, for KmsProvider.reach.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_HTTP_REACH_H
#define PGE_AGENT_HTTP_REACH_H

#include "agent/kms/http_service.h"
#include "agent/kms/kms.h"

/*
 * "dns", "tcp", "tls" (not for plain http), "login" (if it needs a credential).
 * "url" is asked for with GET and without a credential; any answer will do.
 */
extern void pge_http_reach(HttpPool *pool, HttpService *service, const char *url,
						   const HttpLimits *limits, KmsWay *way);

#endif							/* PGE_AGENT_HTTP_REACH_H */
