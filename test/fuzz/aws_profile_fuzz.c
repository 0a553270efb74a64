/*-------------------------------------------------------------------------
 *
 * aws_profile_fuzz.c
 *	  AWS's shared files, as anybody may have written them.
 *
 * The config file, a zero byte, the credentials file; we look for "app".  What is found
 * lies in the texts, is of one line, and goes together or is refused with a sentence.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/kms_aws_profile.h"
#include "exact_copy.h"

static void
check_profile(const AwsProfile *profile, PgeBytes text)
{
	for (int i = 0; i < AWS_PROFILE_SETTINGS; i++)
	{
		PgeBytes	value = profile->values[i];

		if (value.data == NULL)
			continue;
		require(profile->found && value.len > 0);
		require(value.data > text.data && value.data + value.len <= text.data + text.len);
		require(memchr(value.data, '\n', value.len) == NULL && value.data[0] != ' ' && value.data[value.len - 1] != ' ');
	}
}

static void
judge(const AwsProfile *profile)
{
	char		detail[KMS_DETAIL_LEN] = "";
	AwsProfileKind kind;
	PgeStatus	status = pge_aws_profile_kind(profile, &kind, detail);

	require(status == PGE_OK ? detail[0] == '\0' : status == PGE_INVALID && detail[0] != '\0');
	require(status == PGE_OK || kind == AWS_PROFILE_OF_NOTHING);
	if (profile->refused != NULL)
		require(status == PGE_INVALID);
	if (kind == AWS_PROFILE_OF_KEYS)
		require(profile->values[AWS_PROFILE_ACCESS_KEY_ID].len > 0 && profile->values[AWS_PROFILE_SECRET].len > 0);
	else if (kind != AWS_PROFILE_OF_NOTHING)
		require(profile->values[AWS_PROFILE_ROLE_ARN].len > 0);
}

static bool
read_file(PgeBytes text, AwsProfileFile file, AwsProfile *profile)
{
	char		detail[KMS_DETAIL_LEN] = "";
	PgeStatus	status = pge_aws_profile_read(text, file, pge_bytes("app", 3), profile, detail);

	require(status == PGE_OK ? detail[0] == '\0' : status == PGE_MALFORMED && strncmp(detail, "Line ", 5) == 0);
	check_profile(profile, text);
	return status == PGE_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
	size_t		first = zero == NULL ? size : (size_t) (zero - data);
	PgeBuffer	config = exact_copy(data, first);
	PgeBuffer	credentials = exact_copy(data + first + (zero != NULL), size - first - (zero != NULL));
	AwsProfile	profile;
	AwsProfile	above;

	if (read_file(pge_buffer_bytes(&config), AWS_CONFIG_FILE, &profile))
		judge(&profile);
	if (read_file(pge_buffer_bytes(&credentials), AWS_CREDENTIALS_FILE, &above))
	{
		judge(&above);
		pge_aws_profile_merge(&profile, &above);
		require(profile.found || !above.found);
		judge(&profile);
	}
	free(config.data);
	free(credentials.data);
	return 0;
}
