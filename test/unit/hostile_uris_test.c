/*-------------------------------------------------------------------------
 *
 * hostile_uris_test.c
 *	  No URI of test/vectors/hostile_uris.txt gets past parser and configuration,
 *	  so none makes a connection; the controls there do.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "fake_providers.h"
#include "check.h"

#define HOST	"vault.internal"
#define PORT	"8200"
#define SERVER	HOST ":" PORT

static const char config_text[] =
"[vault trap]\naddress = https://" SERVER "\nallow_keys = transit/keys/tenant-*, transit/keys/app, deep/mount/keys/*\n"
"[vault port]\naddress = https://" HOST ":8300\nallow_keys = transit/keys/port\n";

static int	of_kind[4];			/* lines that were held to it */
static const char *const kinds[4] = {"taken", "malformed", "refused", "foreign"};

/* "{server}", "{host}", "{port}" and "\xHH" of the file. */
static PgeBytes
written_out(const char *text, uint8_t uri[4096])
{
	static const char *const names[][2] = {{"{server}", SERVER}, {"{host}", HOST}, {"{port}", PORT}};
	size_t		len = 0;

	while (*text != '\0' && len < 4000)
	{
		const char *value = NULL;

		for (size_t i = 0; i < 3; i++)
		{
			if (strncmp(text, names[i][0], strlen(names[i][0])) == 0)
			{
				value = names[i][1];
				text += strlen(names[i][0]);
				break;
			}
		}
		if (value != NULL)
		{
			memcpy(uri + len, value, strlen(value));
			len += strlen(value);
		}
		else if (strncmp(text, "\\x", 2) == 0)
		{
			char		digits[3] = {text[2], text[3], '\0'};

			uri[len++] = (uint8_t) strtoul(digits, NULL, 16);
			text += 4;
		}
		else
			uri[len++] = (uint8_t) *text++;
	}
	return pge_bytes(uri, len);
}

static int
kind_of(PgeBytes uri, const KmsConfig *config)
{
	char		detail[KMS_DETAIL_LEN] = "";
	const KmsInstance *instance;
	KeyUri		key;
	PgeStatus	status = fake_vault_parse_uri(uri, &key, detail);

	if (status == PGE_KEK_NOT_FOUND)
		return 3;
	if (status == PGE_OK)
		status = pge_kms_config_find(config, &key, &fake_vault, &instance, detail);
	else if (status == PGE_INVALID && detail[0] != '\0')
		return 1;
	if (status == PGE_OK)
		return 0;
	return status == PGE_INVALID && detail[0] != '\0' ? 2 : -1;
}

static void
test_line(char *text, const KmsConfig *config)
{
	char	   *uri = strchr(text, '\t');
	char	   *remark = uri == NULL ? NULL : strchr(uri + 1, '\t');
	uint8_t		bytes[4096];
	PgeBuffer	exact;
	int			kind;

	if (remark == NULL)
	{
		check(false, "a line is understood: %s", text);
		return;
	}
	*uri++ = *remark++ = '\0';
	exact = new_buffer(written_out(uri, bytes).len);
	exact.len = exact.capacity;
	memcpy(exact.data, bytes, exact.len);
	kind = kind_of(pge_buffer_bytes(&exact), config);
	free(exact.data);
	if (check(kind >= 0 && strcmp(kinds[kind], text) == 0, "%s: %s (%s)", text, uri, remark))
		of_kind[kind]++;
}

int
main(void)
{
	FILE	   *in = fopen(VECTORS "/hostile_uris.txt", "r");
	KmsConfig  *config;
	char		detail[KMS_DETAIL_LEN];
	char		text[2048];
	int			line;

	if (in == NULL || pge_kms_config_parse(text_bytes(config_text), &config, &line, detail) != PGE_OK)
		abort();
	while (fgets(text, sizeof(text), in) != NULL)
	{
		text[strcspn(text, "\n")] = '\0';
		if (text[0] != '#' && text[0] != '\0')
			test_line(text, config);
	}
	fclose(in);
	pge_kms_config_free(config);
	for (int i = 0; i < 4; i++)
		check(of_kind[i] >= 3, "there are lines of kind %s: %d", kinds[i], of_kind[i]);
	check(of_kind[1] + of_kind[2] + of_kind[3] >= 40, "at least 40 hostile ones");
	return check_done();
}
