/*-------------------------------------------------------------------------
 *
 * key_uri.c
 *	  Takes a KEK's URI apart and matches it with patterns.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/kms/key_uri.h"
#include "agent/kms/kms_detail.h"

#define LABEL_MAX	63			/* of a DNS name */
#define PORT_MAX	65535

static PgeStatus check_characters(PgeBytes uri, char *detail);
static PgeStatus split_scheme(PgeBytes *rest, KeyUriSplit *split, char *detail);
static PgeStatus split_query(PgeBytes *rest, KeyUriSplit *split, char *detail);
static PgeStatus split_authority(PgeBytes *rest, KeyUriSplit *split, char *detail);
static PgeStatus check_port(PgeBytes port, char *detail);
static PgeStatus write_ipv6(PgeBytes literal, char *server, char *detail);
static PgeStatus write_host(PgeBytes host, char *server, char *detail);
static bool is_label(PgeBytes label);
static bool is_number(PgeBytes label);
static bool decode_byte(PgeBytes path, size_t *at, char *byte);
static PgeStatus check_components(const char *path, const char *what, char *detail);
static PgeStatus bad_character(unsigned char byte, const char *what, char *detail);
static size_t host_length(const char *server);
static int	hex_digit(uint8_t c);

static bool
is_letter(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* Of a path, when decoded.  '\0' is no member, though strchr() would find it. */
static bool
is_path_character(uint8_t c)
{
	return is_letter(c) || is_digit(c) || (c != '\0' && strchr("-._~:@+=", c) != NULL);
}

static PgeBytes
behind(PgeBytes b, size_t n)
{
	return pge_bytes(b.data + n, b.len - n);
}

static size_t
find_byte(PgeBytes b, uint8_t wanted)
{
	size_t		at = 0;

	while (at < b.len && b.data[at] != wanted)
		at++;
	return at;
}

PgeStatus
pge_key_uri_split(PgeBytes uri, KeyUriSplit *split, char *detail)
{
	PgeBytes	rest = uri;
	PgeStatus	status;

	memset(split, 0, sizeof(*split));
	if (uri.len == 0 || uri.len > PGE_KEK_URI_MAX)
	{
		pge_kms_detail(detail, "A URI has 1 to %d bytes.", PGE_KEK_URI_MAX);
		return PGE_INVALID;
	}
	status = check_characters(uri, detail);
	if (status == PGE_OK)
		status = split_scheme(&rest, split, detail);
	if (status == PGE_OK)
		status = split_query(&rest, split, detail);
	if (status == PGE_OK)
		status = split_authority(&rest, split, detail);
	split->path = rest;
	return status;
}

/* What RFC 3986 has in a URI, less the fragment. */
static PgeStatus
check_characters(PgeBytes uri, char *detail)
{
	for (size_t i = 0; i < uri.len; i++)
	{
		uint8_t		c = uri.data[i];

		if (c == '#')
		{
			pge_kms_detail(detail, "The URI of a key has no fragment (\"#\").");
			return PGE_INVALID;
		}
		if (!is_path_character(c) && (c == '\0' || strchr("/?[]!$&'()*,;%", c) == NULL))
			return bad_character(c, "URI", detail);
	}
	return PGE_OK;
}

static PgeStatus
split_scheme(PgeBytes *rest, KeyUriSplit *split, char *detail)
{
	size_t		len = find_byte(*rest, ':');
	bool		good = len > 0 && len < rest->len && len <= KEY_URI_SCHEME_MAX && is_letter(rest->data[0]);

	for (size_t i = 0; good && i < len; i++)
	{
		uint8_t		c = rest->data[i];

		good = is_letter(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
	}
	if (!good)
	{
		pge_kms_detail(detail, "The URI does not begin with a scheme and a colon.");
		return PGE_INVALID;
	}
	split->scheme = pge_bytes(rest->data, len);
	*rest = behind(*rest, len + 1);
	return PGE_OK;
}

/* Cuts it off; only ?instance=NAME may be there. */
static PgeStatus
split_query(PgeBytes *rest, KeyUriSplit *split, char *detail)
{
	static const char name[] = "instance=";
	size_t		at = find_byte(*rest, '?');
	PgeBytes	query;
	bool		good;

	if (at == rest->len)
		return PGE_OK;
	query = behind(*rest, at + 1);
	rest->len = at;
	good = query.len > strlen(name) && memcmp(query.data, name, strlen(name)) == 0;
	if (good)
	{
		query = behind(query, strlen(name));
		good = query.len <= KEY_URI_INSTANCE_MAX && (is_letter(query.data[0]) || is_digit(query.data[0]));
	}
	for (size_t i = 0; good && i < query.len; i++)
	{
		uint8_t		c = query.data[i];

		good = is_letter(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
	}
	if (!good)
	{
		pge_kms_detail(detail, "What follows the URI's \"?\" is not \"instance=NAME\", and nothing else may.");
		return PGE_INVALID;
	}
	memcpy(split->instance, query.data, query.len);
	return PGE_OK;
}

static PgeStatus
split_authority(PgeBytes *rest, KeyUriSplit *split, char *detail)
{
	size_t		len;

	if (rest->len < 2 || memcmp(rest->data, "//", 2) != 0)
		return PGE_OK;
	*rest = behind(*rest, 2);
	len = find_byte(*rest, '/');
	split->has_authority = true;
	split->authority = pge_bytes(rest->data, len);
	*rest = behind(*rest, len < rest->len ? len + 1 : len);
	if (find_byte(split->authority, '@') < len)
	{
		pge_kms_detail(detail, "The URI of a key has no user or password in it (\"@\").");
		return PGE_INVALID;
	}
	return PGE_OK;
}

bool
pge_key_uri_scheme_is(const KeyUriSplit *split, const char *scheme)
{
	return split->scheme.len == strlen(scheme) &&
		strncasecmp((const char *) split->scheme.data, scheme, split->scheme.len) == 0;
}

PgeStatus
pge_key_uri_server(PgeBytes authority, char server[KEY_URI_SERVER_MAX + 1], char *detail)
{
	bool		bracket = authority.len > 0 && authority.data[0] == '[';
	size_t		host_len = bracket ? find_byte(authority, ']') + 1 : find_byte(authority, ':');
	PgeBytes	host;
	PgeBytes	port;
	PgeStatus	status;

	server[0] = '\0';
	if (host_len > authority.len)
		host_len = authority.len;
	host = pge_bytes(authority.data, host_len);
	port = behind(authority, host_len);
	status = bracket ? write_ipv6(host, server, detail) : write_host(host, server, detail);
	if (status == PGE_OK && port.len > 0)
		status = check_port(port, detail);
	if (status == PGE_OK)
	{
		size_t		len = strlen(server);

		snprintf(server + len, KEY_URI_SERVER_MAX + 1 - len, "%.*s", (int) port.len, (const char *) port.data);
	}
	else
		server[0] = '\0';
	return status;
}

/* With its colon.  One spelling for each number: no zeros ahead, no sign. */
static PgeStatus
check_port(PgeBytes port, char *detail)
{
	unsigned	number = 0;
	bool		good = port.len >= 2 && port.len <= 6 && port.data[0] == ':' && port.data[1] != '0';

	for (size_t i = 1; good && i < port.len; i++)
	{
		good = is_digit(port.data[i]);
		number = number * 10 + (unsigned) (port.data[i] - '0');
	}
	if (good && number <= PORT_MAX)
		return PGE_OK;
	pge_kms_detail(detail, "What follows the host is not a colon and a port (1 to %d).", PORT_MAX);
	return PGE_INVALID;
}

/* Zones ("%25eth0") are of one machine's making, and inet_pton() takes none. */
static PgeStatus
write_ipv6(PgeBytes literal, char *server, char *detail)
{
	char		text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (literal.len >= 4 && literal.len - 2 < sizeof(text) && literal.data[literal.len - 1] == ']')
	{
		memcpy(text, literal.data + 1, literal.len - 2);
		text[literal.len - 2] = '\0';
		if (strlen(text) == literal.len - 2 && inet_pton(AF_INET6, text, &address) == 1 &&
			inet_ntop(AF_INET6, &address, text, sizeof(text)) != NULL)
		{
			snprintf(server, KEY_URI_SERVER_MAX + 1, "[%s]", text);
			return PGE_OK;
		}
	}
	pge_kms_detail(detail, "What is in brackets is not an IPv6 address.");
	return PGE_INVALID;
}

/*
 * A DNS name or a dotted IPv4 address.  What ends in a number and is no such
 * address (127.1, 0x7f.1, 2130706433) would be one to the C library.
 */
static PgeStatus
write_host(PgeBytes host, char *server, char *detail)
{
	PgeBytes	rest = host;
	struct in_addr address;
	bool		last = false;
	bool		number = false;
	bool		good = host.len > 0 && host.len <= KEY_URI_HOST_MAX;

	while (good && !last)
	{
		PgeBytes	label = pge_bytes(rest.data, find_byte(rest, '.'));

		good = is_label(label);
		number = is_number(label);
		last = label.len == rest.len;
		if (!last)
			rest = behind(rest, label.len + 1);
	}
	for (size_t i = 0; good && i < host.len; i++)
		server[i] = (char) (host.data[i] >= 'A' && host.data[i] <= 'Z' ? host.data[i] + ('a' - 'A') : host.data[i]);
	if (good)
	{
		server[host.len] = '\0';
		if (!number || inet_pton(AF_INET, server, &address) == 1)
			return PGE_OK;
	}
	pge_kms_detail(detail, "The host is not a name of letters, digits, \"-\" and \".\" (without one at its end), nor an address as 127.0.0.1 or [::1].");
	return PGE_INVALID;
}

/* With the underscore that some private names have. */
static bool
is_label(PgeBytes label)
{
	if (label.len == 0 || label.len > LABEL_MAX || label.data[0] == '-' || label.data[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++)
	{
		uint8_t		c = label.data[i];

		if (!is_letter(c) && !is_digit(c) && c != '-' && c != '_')
			return false;
	}
	return true;
}

static bool
is_number(PgeBytes label)
{
	bool		hex = label.len >= 2 && label.data[0] == '0' && (label.data[1] == 'x' || label.data[1] == 'X');

	for (size_t i = hex ? 2 : 0; i < label.len; i++)
	{
		if (hex ? hex_digit(label.data[i]) < 0 : !is_digit(label.data[i]))
			return false;
	}
	return label.len > 0;
}

bool
pge_key_uri_is_loopback(const char *server)
{
	char		host[KEY_URI_SERVER_MAX + 1];
	struct in_addr address;

	if (strcmp(server, "[::1]") == 0 || strncmp(server, "[::1]:", 6) == 0)
		return true;
	snprintf(host, sizeof(host), "%s", server);
	host[strcspn(host, ":")] = '\0';
	return inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

PgeStatus
pge_key_uri_path(PgeBytes path, char decoded[PGE_KEK_URI_MAX + 1], char *detail)
{
	size_t		len = 0;
	PgeStatus	status;

	decoded[0] = '\0';
	for (size_t at = 0; at < path.len;)
	{
		bool		encoded = path.data[at] == '%';
		char		byte;

		if (!decode_byte(path, &at, &byte))
		{
			pge_kms_detail(detail, "A \"%%\" in the URI is not followed by two hexadecimal digits.");
			status = PGE_INVALID;
		}
		else if (!is_path_character((uint8_t) byte) && (byte != '/' || encoded))
			status = bad_character((unsigned char) byte, encoded ? "path (percent-encoded)" : "path", detail);
		else if (len >= PGE_KEK_URI_MAX)
		{
			pge_kms_detail(detail, "A URI has 1 to %d bytes.", PGE_KEK_URI_MAX);
			status = PGE_INVALID;
		}
		else
		{
			decoded[len++] = byte;
			continue;
		}
		decoded[0] = '\0';
		return status;
	}
	decoded[len] = '\0';
	status = check_components(decoded, "path", detail);
	if (status != PGE_OK)
		decoded[0] = '\0';
	return status;
}

static bool
decode_byte(PgeBytes path, size_t *at, char *byte)
{
	if (path.data[*at] != '%')
	{
		*byte = (char) path.data[(*at)++];
		return true;
	}
	if (path.len - *at < 3 || hex_digit(path.data[*at + 1]) < 0 || hex_digit(path.data[*at + 2]) < 0)
		return false;
	*byte = (char) (hex_digit(path.data[*at + 1]) * 16 + hex_digit(path.data[*at + 2]));
	*at += 3;
	return true;
}

static int
hex_digit(uint8_t c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static PgeStatus
check_components(const char *path, const char *what, char *detail)
{
	const char *at = path;

	for (;;)
	{
		size_t		len = strcspn(at, "/");

		if (len == 0)
		{
			pge_kms_detail(detail, "A component of the %s is empty (a \"/\" at its beginning or end, or two together).", what);
			return PGE_INVALID;
		}
		if ((len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
		{
			pge_kms_detail(detail, "\"%.*s\" is no component of a %s.", (int) len, at, what);
			return PGE_INVALID;
		}
		if (at[len] == '\0')
			return PGE_OK;
		at += len + 1;
	}
}

static PgeStatus
bad_character(unsigned char byte, const char *what, char *detail)
{
	if (byte > 0x20 && byte < 0x7f)
		pge_kms_detail(detail, "The character \"%c\" may not be in the %s of a key.", byte, what);
	else
		pge_kms_detail(detail, "The byte 0x%02x may not be in the %s of a key.", byte, what);
	return PGE_INVALID;
}

PgeStatus
pge_key_uri_format(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	const char *own = key->server;
	const char *query = key->instance[0] != '\0' ? "?instance=" : "";
	int			len;

	/* an empty or portless one gives way */
	if (server != NULL && server[0] != '\0' && own[host_length(own)] == '\0')
		own = server;
	if (own[0] != '\0')
		len = snprintf(uri, PGE_KEK_URI_MAX + 1, "%s://%s/%s%s%s", key->scheme, own, key->path, query, key->instance);
	else
		len = snprintf(uri, PGE_KEK_URI_MAX + 1, "%s:%s%s%s", key->scheme, key->path, query, key->instance);
	if (len >= 0 && len <= PGE_KEK_URI_MAX)
		return PGE_OK;
	uri[0] = '\0';
	return PGE_TOO_LARGE;
}

bool
pge_key_uri_server_matches(const char *server, const char *instance_server)
{
	size_t		len = host_length(server);

	if (len == 0 || len != host_length(instance_server) || memcmp(server, instance_server, len) != 0)
		return false;
	return server[len] == '\0' || instance_server[len] == '\0' || strcmp(server + len, instance_server + len) == 0;
}

/* Of "host", "host:port" or "[IPv6]:port". */
static size_t
host_length(const char *server)
{
	const char *bracket = strchr(server, ']');

	return bracket != NULL ? (size_t) (bracket - server) + 1 : strcspn(server, ":");
}

PgeStatus
pge_key_pattern_check(const char *pattern, char *detail)
{
	if (strlen(pattern) > PGE_KEK_URI_MAX)
	{
		pge_kms_detail(detail, "A pattern has at most %d bytes.", PGE_KEK_URI_MAX);
		return PGE_INVALID;
	}
	for (const char *p = pattern; *p != '\0'; p++)
	{
		if (!is_path_character((uint8_t) *p) && *p != '/' && *p != '*')
			return bad_character((unsigned char) *p, "pattern", detail);
	}
	return check_components(pattern, "pattern", detail);
}

/*
 * Only the last '*' is ever tried again.  Within a component an earlier one could
 * gain nothing by taking more; and as none takes a '/', what lies before a '/' that
 * both have is settled.  So the time is bounded by the product of the lengths.
 */
bool
pge_key_pattern_matches(const char *pattern, const char *path)
{
	const char *p = pattern;
	const char *s = path;
	const char *star = NULL;	/* behind the last '*' */
	const char *taken = NULL;	/* to which the '*' reaches */

	while (*s != '\0')
	{
		if (*p == '*')
		{
			star = ++p;
			taken = s;
		}
		else if (*p == *s)
		{
			p++;
			s++;
		}
		else if (star != NULL && *taken != '/')
		{
			p = star;
			s = ++taken;
		}
		else
			return false;
	}
	while (*p == '*')
		p++;
	return *p == '\0';
}
