/*-------------------------------------------------------------------------
 *
 * kms_aws_sign.c
 *	  Signs requests to AWS (Signature Version 4).
 *
 * libcurl has a signer of its own, which is not used: it copies the secret into memory
 * that is not wiped, and some of its versions sign other headers than are sent.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/kms/kms_aws_sign.h"
#include "base/secret.h"
#include "crypto/mac.h"

#define ALGORITHM		"AWS4-HMAC-SHA256"
#define DAY_LEN			8		/* of the date: "20261122" */
#define SCOPE_PART_MAX	64
#define HEX_LEN			(2 * PGE_MAC_LEN)
#define SIGNED_MAX		80		/* "content-type;host;..." */
#define YEAR_9999_END_S	INT64_C(253402300799)

static bool are_keys(const AwsKeys *keys);
static bool is_scope_part(const char *text);
static bool is_header_value(const char *text);
static bool is_printable(PgeBytes text);
static PgeStatus write_date(int64_t now_s, char date[17]);
static PgeStatus hash_request(const AwsSignRequest *request, const AwsKeys *keys, const char *date,
							  const char *signed_headers, char hex[HEX_LEN + 1]);
static PgeStatus derive_key(const AwsSignRequest *request, const AwsKeys *keys, PgeBytes day, PgeSecret *key);
static PgeStatus chain(PgeSecret *key, PgeBytes part);
static void write_hex(const uint8_t *bytes, char hex[HEX_LEN + 1]);

static PgeBytes
text(const char *s)
{
	return pge_bytes(s, strlen(s));
}

PgeStatus
pge_aws_keys_join(const AwsKeys *keys, char token[HTTP_TOKEN_MAX + 1])
{
	const PgeBytes parts[] = {keys->access_key_id, keys->secret, keys->session_token};
	char	   *end = token;

	if (!are_keys(keys))
	{
		pge_secret_wipe(token, HTTP_TOKEN_MAX + 1);
		return PGE_INVALID;
	}
	for (int i = 0; i < 3; i++)
	{
		if (parts[i].len > 0)
			memcpy(end, parts[i].data, parts[i].len);
		end += parts[i].len;
		*end++ = i < 2 ? '\n' : '\0';
	}
	return PGE_OK;
}

PgeStatus
pge_aws_keys_split(const char *token, AwsKeys *keys)
{
	const char *first = strchr(token, '\n');
	const char *second = first == NULL ? NULL : strchr(first + 1, '\n');

	memset(keys, 0, sizeof(*keys));
	if (second == NULL)
		return PGE_INVALID;
	keys->access_key_id = pge_bytes(token, (size_t) (first - token));
	keys->secret = pge_bytes(first + 1, (size_t) (second - first - 1));
	keys->session_token = text(second + 1);
	if (are_keys(keys))
		return PGE_OK;
	memset(keys, 0, sizeof(*keys));
	return PGE_INVALID;
}

static bool
are_keys(const AwsKeys *keys)
{
	const PgeBytes *id = &keys->access_key_id;

	for (size_t i = 0; i < id->len; i++)
	{
		uint8_t		c = id->data[i];

		if ((c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_')
			return false;
	}
	return id->len > 0 && id->len <= AWS_ACCESS_KEY_ID_MAX &&
		keys->secret.len > 0 && keys->secret.len <= AWS_SECRET_MAX && is_printable(keys->secret) &&
		keys->session_token.len <= AWS_SESSION_TOKEN_MAX && is_printable(keys->session_token);
}

static bool
is_printable(PgeBytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] <= 0x20 || text.data[i] >= 0x7f)
			return false;
	return true;
}

PgeStatus
pge_aws_sign(const AwsSignRequest *request, const AwsKeys *keys, int64_t now_s, AwsSignature *signature)
{
	char		scope[2 * SCOPE_PART_MAX + 32];
	char		signed_headers[SIGNED_MAX];
	char		hash[HEX_LEN + 1];
	char		hex[HEX_LEN + 1];
	uint8_t		mac[PGE_MAC_LEN];
	PgeSecret	key = {{0}};
	PgeStatus	status;
	int			len;

	memset(signature, 0, sizeof(*signature));
	if (!are_keys(keys) || !is_scope_part(request->region) || !is_scope_part(request->service) ||
		!is_header_value(request->host) || !is_header_value(request->content_type) ||
		(request->target != NULL && !is_header_value(request->target)))
		return PGE_INVALID;
	status = write_date(now_s, signature->date);
	if (status != PGE_OK)
		return status;
	snprintf(scope, sizeof(scope), "%.*s/%s/%s/aws4_request", DAY_LEN, signature->date, request->region, request->service);
	snprintf(signed_headers, sizeof(signed_headers), "content-type;host;x-amz-date%s%s",
			 keys->session_token.len > 0 ? ";x-amz-security-token" : "", request->target != NULL ? ";x-amz-target" : "");
	status = hash_request(request, keys, signature->date, signed_headers, hash);
	if (status == PGE_OK)
		status = derive_key(request, keys, pge_bytes(signature->date, DAY_LEN), &key);
	if (status == PGE_OK)
	{
		const PgeBytes to_sign[] = {text(ALGORITHM "\n"), text(signature->date), text("\n"), text(scope), text("\n"), text(hash)};

		status = pge_hmac_sha256(pge_bytes(key.bytes, sizeof(key.bytes)), to_sign, 6, mac);
	}
	pge_secret_wipe(&key, sizeof(key));
	if (status != PGE_OK)
		return status;
	write_hex(mac, hex);
	len = snprintf(signature->authorization, sizeof(signature->authorization),
				   ALGORITHM " Credential=%.*s/%s, SignedHeaders=%s, Signature=%s",
				   (int) keys->access_key_id.len, (const char *) keys->access_key_id.data, scope, signed_headers, hex);
	return len > 0 && (size_t) len < sizeof(signature->authorization) ? PGE_OK : PGE_TOO_LARGE;
}

/* It is joined with others by '/'. */
static bool
is_scope_part(const char *text)
{
	size_t		len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");

	return len > 0 && len <= SCOPE_PART_MAX && text[len] == '\0';
}

/* A blank may stand between two words. */
static bool
is_header_value(const char *text)
{
	size_t		len = strlen(text);

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];
		bool		inner = i > 0 && i + 1 < len && text[i + 1] != ' ';

		if (c >= 0x7f || c < ' ' || (c == ' ' && !inner))
			return false;
	}
	return len > 0;
}

static PgeStatus
write_date(int64_t now_s, char date[17])
{
	time_t		now = (time_t) now_s;
	struct tm	utc;

	if (now_s < 0 || now_s > YEAR_9999_END_S || gmtime_r(&now, &utc) == NULL)
		return PGE_INVALID;
	return strftime(date, 17, "%Y%m%dT%H%M%SZ", &utc) == 16 ? PGE_OK : PGE_INVALID;
}

/* The canonical request, which is nowhere as a whole. */
static PgeStatus
hash_request(const AwsSignRequest *request, const AwsKeys *keys, const char *date, const char *signed_headers,
			 char hex[HEX_LEN + 1])
{
	uint8_t		digest[PGE_MAC_LEN];
	char		body_hex[HEX_LEN + 1];
	PgeBytes	parts[20];
	int			n = 0;
	PgeStatus	status = pge_sha256(&request->body, 1, digest);

	if (status != PGE_OK)
		return status;
	write_hex(digest, body_hex);
	parts[n++] = text("POST\n/\n\ncontent-type:");
	parts[n++] = text(request->content_type);
	parts[n++] = text("\nhost:");
	parts[n++] = text(request->host);
	parts[n++] = text("\nx-amz-date:");
	parts[n++] = text(date);
	if (keys->session_token.len > 0)
	{
		parts[n++] = text("\nx-amz-security-token:");
		parts[n++] = keys->session_token;
	}
	if (request->target != NULL)
	{
		parts[n++] = text("\nx-amz-target:");
		parts[n++] = text(request->target);
	}
	parts[n++] = text("\n\n");
	parts[n++] = text(signed_headers);
	parts[n++] = text("\n");
	parts[n++] = text(body_hex);
	status = pge_sha256(parts, n, digest);
	if (status == PGE_OK)
		write_hex(digest, hex);
	return status;
}

static PgeStatus
derive_key(const AwsSignRequest *request, const AwsKeys *keys, PgeBytes day, PgeSecret *key)
{
	static const char prefix[] = "AWS4";
	uint8_t		start[sizeof(prefix) - 1 + AWS_SECRET_MAX];
	size_t		prefix_len = sizeof(prefix) - 1;
	PgeStatus	status;

	memcpy(start, prefix, prefix_len);
	memcpy(start + prefix_len, keys->secret.data, keys->secret.len);
	status = pge_hmac_sha256(pge_bytes(start, prefix_len + keys->secret.len), &day, 1, key->bytes);
	pge_secret_wipe(start, sizeof(start));
	if (status == PGE_OK)
		status = chain(key, text(request->region));
	if (status == PGE_OK)
		status = chain(key, text(request->service));
	if (status == PGE_OK)
		status = chain(key, text("aws4_request"));
	return status;
}

static PgeStatus
chain(PgeSecret *key, PgeBytes part)
{
	PgeSecret	next;
	PgeStatus	status = pge_hmac_sha256(pge_bytes(key->bytes, sizeof(key->bytes)), &part, 1, next.bytes);

	pge_secret_copy(key, &next, sizeof(next));
	pge_secret_wipe(&next, sizeof(next));
	return status;
}

static void
write_hex(const uint8_t *bytes, char hex[HEX_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < PGE_MAC_LEN; i++)
	{
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[HEX_LEN] = '\0';
}
