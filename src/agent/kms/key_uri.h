/*
 * key_uri.h -- a KEK's URI in parts, and the patterns of allow_keys.
 *
 * Pure.  A provider's parse_uri() makes a KeyUri of any spelling that it takes,
 * with the helpers here; pge_key_uri_format() writes what is stored.
 *
 * Everything that two programs could read in two ways is refused
 * (PGE_INVALID), because what was compared with allow_keys must be what the
 * service gets:  user-info, fragments, "." and ".." and empty components,
 * encoded slashes and percent signs, control characters, hosts that are numbers in
 * disguise, a query other than one "instance".  A path consists of ASCII
 * letters, digits and - . _ ~ : @ + = only, percent-encoded or not; so a
 * canonical one needs no encoding, and can stand in a line of the configuration.
 *
 * "detail" is of KMS_DETAIL_LEN and never repeats user-info.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KEY_URI_H
#define PGE_AGENT_KEY_URI_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"

#define KEY_URI_SCHEME_MAX		15
#define KEY_URI_HOST_MAX		253 /* of a DNS name */
#define KEY_URI_SERVER_MAX		264 /* and a colon and a port; or [IPv6]:port */
#define KEY_URI_INSTANCE_MAX	63	/* as KMS_INSTANCE_NAME_MAX */

typedef struct KeyUri
{
	char		scheme[KEY_URI_SCHEME_MAX + 1]; /* canonical: "vault" */
	char		server[KEY_URI_SERVER_MAX + 1]; /* lower case, "host" or
												 * "host:port"; "": the
												 * instance's own */
	char		path[PGE_KEK_URI_MAX + 1];	/* decoded components joined by
											 * '/': what allow_keys is about */
	char		instance[KEY_URI_INSTANCE_MAX + 1]; /* of "?instance="; "":
													 * whichever matches */
} KeyUri;

/* Borrows from the URI; nothing is decoded yet but the instance. */
typedef struct KeyUriSplit
{
	PgeBytes	scheme;			/* in any case: pge_key_uri_scheme_is() */
	bool		has_authority;	/* "//" stood there */
	PgeBytes	authority;		/* "vault.internal:8200"; may be empty */
	PgeBytes	path;			/* behind the '/' that ends the authority;
								 * without one, behind the scheme's colon */
	char		instance[KEY_URI_INSTANCE_MAX + 1];
} KeyUriSplit;

/* scheme ":" ["//" authority ["/"]] path ["?instance=" name] */
extern PgeStatus pge_key_uri_split(PgeBytes uri, KeyUriSplit *split, char *detail);

/* Schemes are the same in any case. */
extern bool pge_key_uri_scheme_is(const KeyUriSplit *split, const char *scheme);

/* An authority, also that of an instance's address -> "host" or "host:port" in
 * lower case, an IPv6 address in its one canonical form; never empty. */
extern PgeStatus pge_key_uri_server(PgeBytes authority, char server[KEY_URI_SERVER_MAX + 1],
									char *detail);

/* A server as above, whose host is a literal of this host: a name can be pointed anywhere. */
extern bool pge_key_uri_is_loopback(const char *server);

/* Decodes and checks the components of a path; never empty. */
extern PgeStatus pge_key_uri_path(PgeBytes path, char decoded[PGE_KEK_URI_MAX + 1],
								  char *detail);

/*
 * Writes scheme://server/path[?instance=...], or scheme:path where there is no
 * server.  "server", if neither NULL nor empty, stands in place of an empty or
 * portless one.  PGE_TOO_LARGE: longer than a URI may be.
 */
extern PgeStatus pge_key_uri_format(const KeyUri *key, const char *server,
									char uri[PGE_KEK_URI_MAX + 1]);

/* Both "host", or both "host:port", or one of them without a port: the same? */
extern bool pge_key_uri_server_matches(const char *server, const char *instance_server);

/* Could this match any path at all?  PGE_INVALID with *detail. */
extern PgeStatus pge_key_pattern_check(const char *pattern, char *detail);

/* Component by component: '*' stands for any characters within one component,
 * never for a '/'.  There are no other wildcards. */
extern bool pge_key_pattern_matches(const char *pattern, const char *path);

#endif							/* PGE_AGENT_KEY_URI_H */
