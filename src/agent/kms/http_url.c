/*-------------------------------------------------------------------------
 *
 * http_url.c
 *	  Where a URL leads, and whether we go there.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "agent/kms/http_private.h"

/* Where AWS serves an instance's or a container's credentials. */
static const char *const metadata_hosts[] = {
	"169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::254]", "[fd00:ec2::23]", NULL
};

static bool is_clean(const char *url);
static PgeStatus read_parts(CURLU *parts, const char *url, bool metadata, HttpTarget *target, char *detail);
static PgeStatus take_parts(const char *scheme, const char *host, const char *port, bool metadata,
							HttpTarget *target, char *detail);
static char *part_of(CURLU *parts, CURLUPart which);
static bool stands_in(const char *url, const char *host);
static bool is_loopback_literal(const char *host);
static bool is_metadata_literal(const char *host);

PgeStatus
pge_http_target(const char *url, bool metadata, HttpTarget *target, char *detail)
{
	CURLU	   *parts;
	PgeStatus	status;

	memset(target, 0, sizeof(*target));
	if (!is_clean(url))
	{
		pge_kms_detail(detail, "The URL of a request has a character that may not be there.");
		return PGE_INVALID;
	}
	parts = curl_url();
	if (parts == NULL)
		return PGE_OUT_OF_MEMORY;
	status = read_parts(parts, url, metadata, target, detail);
	curl_url_cleanup(parts);
	return status;
}

/* The address itself, as it is about to be connected to. */
bool
pge_http_is_loopback(const struct sockaddr *address, socklen_t len)
{
	if (address->sa_family == AF_INET && len >= sizeof(struct sockaddr_in))
	{
		const struct sockaddr_in *in = (const struct sockaddr_in *) address;

		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	if (address->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6))
	{
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) address;

		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	}
	return false;
}

bool
pge_http_is_metadata(const struct sockaddr *address, socklen_t len)
{
	char		host[INET6_ADDRSTRLEN];

	if (address->sa_family == AF_INET && len >= sizeof(struct sockaddr_in))
	{
		const struct sockaddr_in *in = (const struct sockaddr_in *) address;

		return inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)) != NULL && is_metadata_literal(host);
	}
	if (address->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6))
	{
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) address;

		char		literal[INET6_ADDRSTRLEN + 2];

		if (inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)) == NULL)
			return false;
		(void) snprintf(literal, sizeof(literal), "[%s]", host);
		return is_metadata_literal(literal);
	}
	return false;
}

static bool
is_clean(const char *url)
{
	for (const char *p = url; *p != '\0'; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '#' || *p == '\\')
			return false;
	return true;
}

static PgeStatus
read_parts(CURLU *parts, const char *url, bool metadata, HttpTarget *target, char *detail)
{
	char	   *scheme = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	PgeStatus	status = PGE_INVALID;

	if (curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS | CURLU_DISALLOW_USER) == CURLUE_OK)
	{
		scheme = part_of(parts, CURLUPART_SCHEME);
		host = part_of(parts, CURLUPART_HOST);
		port = part_of(parts, CURLUPART_PORT);
	}
	if (scheme == NULL || host == NULL || port == NULL || strlen(host) > HTTP_HOST_MAX ||
		!stands_in(url, host))
		pge_kms_detail(detail, "The URL of a request is not one of the form https://host[:port]/path.");
	else
		status = take_parts(scheme, host, port, metadata, target, detail);
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	return status;
}

static PgeStatus
take_parts(const char *scheme, const char *host, const char *port, bool metadata, HttpTarget *target, char *detail)
{
	bool		http = strcmp(scheme, "http") == 0;

	target->metadata = http && metadata && is_metadata_literal(host);
	if (strcmp(scheme, "https") != 0 && !target->metadata && !(http && is_loopback_literal(host)))
	{
		pge_kms_detail(detail, "\"%s\" is not asked: a URL has to begin with https://, or with "
					   "http:// and a loopback address such as 127.0.0.1%s.", host,
					   metadata ? " or the address of a metadata service" : "");
		return PGE_INVALID;
	}
	target->plain = http;
	(void) snprintf(target->place, sizeof(target->place), "%s:%s", host, port);
	return PGE_OK;
}

static char *
part_of(CURLU *parts, CURLUPart which)
{
	char	   *text = NULL;

	return curl_url_get(parts, which, &text, CURLU_DEFAULT_PORT) == CURLUE_OK ? text : NULL;
}

/*
 * libcurl reads 0x7f.1 and %31 in a host as it likes.  Whoever allowed this URL
 * may have read it in another way, so the host has to stand there as it is.
 */
static bool
stands_in(const char *url, const char *host)
{
	const char *at = strstr(url, "://");
	size_t		len = strlen(host);

	return at != NULL && strncmp(at + 3, host, len) == 0 &&
		(at[3 + len] == '\0' || strchr(":/?", at[3 + len]) != NULL);
}

static bool
is_loopback_literal(const char *host)
{
	struct in_addr in;

	if (strcmp(host, "[::1]") == 0)
		return true;
	return inet_pton(AF_INET, host, &in) == 1 && ntohl(in.s_addr) >> 24 == 127;
}

static bool
is_metadata_literal(const char *host)
{
	for (const char *const *known = metadata_hosts; *known != NULL; known++)
		if (strcmp(host, *known) == 0)
			return true;
	return false;
}
