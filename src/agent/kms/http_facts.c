/*-------------------------------------------------------------------------
 *
 * http_facts.c
 *	  How far an exchange came, and over what connection.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "agent/kms/http_private.h"

#define SECONDS_A_DAY	86400

static void look_at_certificate(const SSL * ssl, HttpFacts *facts);
static HttpReached how_far(const HttpTransfer *transfer, const curl_off_t *at, CURLcode result);
static bool is_of_files(CURLcode result);

/* libcurl lends its SSL only while the exchange is under way. */
void
pge_http_facts_connected(HttpTransfer *transfer)
{
	HttpFacts  *facts = transfer->request->facts;
	struct curl_tlssessioninfo *tls = NULL;

	if (facts == NULL)
		return;
	facts->reached = HTTP_REACHED_SERVICE;
	if (transfer->target.plain ||
		curl_easy_getinfo(transfer->easy, CURLINFO_TLS_SSL_PTR, &tls) != CURLE_OK ||
		tls == NULL || tls->backend != CURLSSLBACKEND_OPENSSL || tls->internals == NULL)
		return;
	snprintf(facts->tls_version, sizeof(facts->tls_version), "%s", SSL_get_version(tls->internals));
	look_at_certificate(tls->internals, facts);
}

static void
look_at_certificate(const SSL * ssl, HttpFacts *facts)
{
	X509	   *certificate = SSL_get1_peer_certificate(ssl);
	int			days = 0;
	int			seconds = 0;

	if (certificate != NULL &&
		ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) == 1)
		facts->certificate_s = (int64_t) days * SECONDS_A_DAY + seconds;
	X509_free(certificate);
}

/* libcurl counts from the beginning: what was not come to has 0. */
void
pge_http_facts_ended(HttpTransfer *transfer, CURLcode result)
{
	HttpFacts  *facts = transfer->request->facts;
	curl_off_t	at[HTTP_REACHED_SERVICE + 1] = {0};
	curl_off_t	end = 0;
	char	   *address = NULL;

	if (facts == NULL)
		return;
	facts->plain = transfer->target.plain;
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &at[HTTP_REACHED_NAME]);
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_CONNECT_TIME_T, &at[HTTP_REACHED_HOST]);
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_APPCONNECT_TIME_T, &at[HTTP_REACHED_SERVICE]);
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &end);
	if (curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address != NULL)
		snprintf(facts->address, sizeof(facts->address), "%s", address);
	if (facts->reached != HTTP_REACHED_SERVICE)
	{
		facts->reached = how_far(transfer, at, result);
		at[facts->reached + 1] = end;
	}
	for (int i = HTTP_REACHED_NAME; i <= HTTP_REACHED_SERVICE; i++)
		facts->us[i] = at[i] > at[i - 1] ? at[i] - at[i - 1] : 0;
}

static HttpReached
how_far(const HttpTransfer *transfer, const curl_off_t *at, CURLcode result)
{
	if (transfer->phase < HTTP_CONNECTS || result == CURLE_COULDNT_RESOLVE_HOST)
		return HTTP_REACHED_NOTHING;
	if (transfer->phase >= HTTP_GREETS || at[HTTP_REACHED_HOST] > 0 || is_of_files(result))
		return HTTP_REACHED_HOST;
	return HTTP_REACHED_NAME;
}

/* They are read when a connection is there. */
static bool
is_of_files(CURLcode result)
{
	return result == CURLE_SSL_CERTPROBLEM || result == CURLE_SSL_CACERT_BADFILE;
}
