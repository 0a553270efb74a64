/*-------------------------------------------------------------------------
 *
 * aws_answer_fuzz.c
 *	  What comes back from AWS KMS, or from what stands in its place.
 *
 * A line with HTTP's status, and behind a blank x-amzn-ErrorType if there is one; then the
 * body.  Whatever it is, what is taken from it can be stored, sent and told.  The body is
 * taken for a key's URI as well.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms.h"
#include "agent/kms/kms_aws_errors.h"
#include "agent/kms/kms_aws_messages.h"
#include "agent/kms/kms_aws_settings.h"
#include "exact_copy.h"

#define ARN		"arn:aws:kms:eu-west-1:111122223333:key/a"
#define OTHER	"arn:aws:kms:eu-west-1:111122223333:key/b"

/* kms_instance.c asks for it; no list is needed here. */
const KmsProvider *const *
pge_kms_providers(void)
{
	static const KmsProvider *const none[] = {NULL};

	return none;
}

static void
check_detail(PgeStatus status, const char *detail)
{
	require(strlen(detail) < KMS_DETAIL_LEN);
	require(status == PGE_OK || status == PGE_OUT_OF_MEMORY || detail[0] != '\0');
}

static void
check_version(const char *version)
{
	require(version[0] == '\0' || (strlen(version) == 64 && version[strspn(version, "0123456789abcdef")] == '\0'));
}

static void
read_wrappings(PgeBytes body)
{
	uint8_t		room[PGE_WRAPPED_MAX];
	PgeBuffer	wrapped = {room, 0, sizeof(room)};
	char		version[PGE_KEK_VERSION_MAX + 1];
	char		detail[KMS_DETAIL_LEN] = "";
	PgeBytes	ciphertext;
	PgeStatus	status = pge_aws_read_wrapped(body, ARN, &wrapped, detail);

	check_detail(status, detail);
	if (status == PGE_OK)
		require(pge_aws_read_stored(pge_buffer_bytes(&wrapped), &ciphertext, detail) == PGE_OK && ciphertext.len > 0);
	status = pge_aws_read_rewrapped(body, OTHER, ARN, &wrapped, version, detail);
	check_detail(status, detail);
	check_version(version);
	if (status == PGE_OK)
		require(pge_aws_read_stored(pge_buffer_bytes(&wrapped), &ciphertext, detail) == PGE_OK);
	(void) pge_aws_read_stored(body, &ciphertext, detail);
}

static void
read_rest(PgeBytes body)
{
	static const uint8_t zeros[PGE_DEK_LEN];
	char		version[PGE_KEK_VERSION_MAX + 1];
	char		detail[KMS_DETAIL_LEN] = "";
	AwsKeyInfo	info;
	PgeSecret	dek;
	size_t		count;
	PgeStatus	status = pge_aws_read_key(body, &info, detail);

	check_detail(status, detail);
	if (status == PGE_OK)
	{
		check_version(info.material);
		check_detail(pge_aws_check_key(&info, detail), detail);
		pge_aws_tell_key(&info, detail);
		require(strlen(detail) < KMS_DETAIL_LEN);
	}
	memset(&dek, 0x5a, sizeof(dek));
	status = pge_aws_read_dek(body, ARN, &dek, version, detail);
	check_detail(status, detail);
	check_version(version);
	require(status == PGE_OK || memcmp(dek.bytes, zeros, sizeof(zeros)) == 0);
	check_detail(pge_aws_read_rotations(body, &count, detail), detail);
}

/* What is written of a key is read as the same key. */
static void
read_uri(PgeBytes text)
{
	char		detail[KMS_DETAIL_LEN] = "";
	char		uri[PGE_KEK_URI_MAX + 1];
	KeyUri		parsed;
	KeyUri		again;
	PgeStatus	status = pge_aws_parse_uri(text, &parsed, detail);

	check_detail(status == PGE_KEK_NOT_FOUND ? PGE_OK : status, detail);
	if (status != PGE_OK || pge_aws_format_uri(&parsed, "eu-west-1", uri) != PGE_OK)
		return;
	require(pge_aws_parse_uri(pge_bytes(uri, strlen(uri)), &again, detail) == PGE_OK);
	require(strcmp(parsed.path, again.path) == 0 && strcmp(parsed.instance, again.instance) == 0);
	require(strcmp(again.server, parsed.server[0] != '\0' ? parsed.server : "eu-west-1") == 0);
	require(!pge_aws_is_key_arn(&parsed) || pge_aws_is_arn_of(parsed.path, &parsed, parsed.server));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	char		detail[KMS_DETAIL_LEN] = "";
	HttpAnswer	answer = {0};
	PgeBuffer	body;
	PgeStatus	status;
	size_t		at = 0;
	size_t		len = 0;

	if (!started)
		pge_json_init();
	started = true;
	for (; at < size && at < 3 && data[at] >= '0' && data[at] <= '9'; at++)
		answer.status = answer.status * 10 + (data[at] - '0');
	for (at += at < size ? 1 : 0; at > 0 && data[at - 1] == ' ' && at < size && data[at] != '\n' && len < sizeof(answer.error_type) - 1; at++)
		answer.error_type[len++] = data[at] >= ' ' && data[at] < 0x7f ? (char) data[at] : '?';
	body = exact_copy(data + at, size - at);
	answer.body = body.data;
	answer.len = body.len;
	status = pge_aws_classify(&answer, detail);
	check_detail(status, detail);
	require(status != PGE_OK || answer.status == 200);
	require(!pge_aws_is_clock_error(&answer) || status == PGE_INVALID);
	read_wrappings(pge_buffer_bytes(&body));
	read_rest(pge_buffer_bytes(&body));
	read_uri(pge_buffer_bytes(&body));
	free(body.data);
	return 0;
}
