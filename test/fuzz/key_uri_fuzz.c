/*-------------------------------------------------------------------------
 *
 * key_uri_fuzz.c
 *	  Whatever is taken as a KEK's URI has one canonical spelling and a path
 *	  without tricks; a pattern agrees with a slow, plain idea of patterns.
 *
 * The input is a pattern, a newline and a URI; without a newline, a URI.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "../unit/fake_providers.h"
#include "exact_copy.h"

static void
require_plain_path(const char *path)
{
	char		slashed[PGE_KEK_URI_MAX + 3];
	char		detail[KMS_DETAIL_LEN];

	snprintf(slashed, sizeof(slashed), "/%s/", path);
	require(strstr(slashed, "//") == NULL && strstr(slashed, "/./") == NULL && strstr(slashed, "/../") == NULL);
	for (const char *p = path; *p != '\0'; p++)
		require(*p > 0x20 && *p < 0x7f && strchr("%\\*?#,;[]\"'<>", *p) == NULL);
	require(pge_key_pattern_check(path, detail) == PGE_OK && pge_key_pattern_matches(path, path));
}

static void
require_plain_server(const char *server)
{
	char		again[KEY_URI_SERVER_MAX + 1];
	char		detail[KMS_DETAIL_LEN];

	for (const char *p = server; *p != '\0'; p++)
		require(*p > 0x20 && *p < 0x7f && !(*p >= 'A' && *p <= 'Z') && strchr("@%/\\?#", *p) == NULL);
	require(pge_key_uri_server(pge_bytes(server, strlen(server)), again, detail) == PGE_OK && strcmp(again, server) == 0);
	require(pge_key_uri_server_matches(server, server));
}

static void
require_one_spelling(const KeyUri *key)
{
	/* without a host a URI gets its instance's */
	const char *server = key->server[0] != '\0' ? key->server : "a:1";
	char		uri[PGE_KEK_URI_MAX + 1];
	char		detail[KMS_DETAIL_LEN];
	KeyUri		again;

	if (pge_key_uri_format(key, server, uri) != PGE_OK)
		return;
	require(fake_vault_parse_uri(pge_bytes(uri, strlen(uri)), &again, detail) == PGE_OK);
	require(strcmp(again.path, key->path) == 0 && strcmp(again.instance, key->instance) == 0);
	require(strcmp(again.server, server) == 0);
}

/* Column by column: what the pattern's first "p" bytes can have taken. */
static bool
plainly_matches(const char *pattern, const char *path)
{
	static bool taken[PGE_KEK_URI_MAX + 1];
	size_t		len = strlen(path);

	for (size_t s = 0; s <= len; s++)
		taken[s] = s == 0;
	for (; *pattern != '\0'; pattern++)
	{
		if (*pattern == '*')
		{
			for (size_t s = 1; s <= len; s++)
				taken[s] = taken[s] || (taken[s - 1] && path[s - 1] != '/');
			continue;
		}
		for (size_t s = len; s > 0; s--)
			taken[s] = taken[s - 1] && path[s - 1] == *pattern;
		taken[0] = false;
	}
	return taken[len];
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size == 0 ? NULL : memchr(data, '\n', size);
	size_t		pattern_len = newline == NULL ? 0 : (size_t) (newline - data);
	size_t		start = newline == NULL ? 0 : pattern_len + 1;
	PgeBuffer	in = exact_copy(data + start, size - start);
	PgeBuffer	pattern = exact_buffer(pattern_len + 1);
	char		detail[KMS_DETAIL_LEN] = "";
	KeyUri		key;
	PgeStatus	status = fake_vault_parse_uri(pge_buffer_bytes(&in), &key, detail);

	if (pattern_len > 0)
		memcpy(pattern.data, data, pattern_len);
	pattern.data[pattern_len] = '\0';
	if (status == PGE_OK)
	{
		require_plain_path(key.path);
		if (key.server[0] != '\0')
			require_plain_server(key.server);
		require_one_spelling(&key);
		require(pge_key_pattern_matches((char *) pattern.data, key.path) ==
				plainly_matches((char *) pattern.data, key.path));
		if (pge_key_pattern_check((char *) pattern.data, detail) == PGE_OK)
			require(strlen((char *) pattern.data) <= PGE_KEK_URI_MAX);
	}
	else
		require(status == PGE_KEK_NOT_FOUND || (status == PGE_INVALID && detail[0] != '\0'));
	free(pattern.data);
	free(in.data);
	return 0;
}
