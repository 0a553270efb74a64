/*-------------------------------------------------------------------------
 *
 * aws_issued_fuzz.c
 *	  What STS, a container's service or an instance's gives out, or what stands in its
 *	  place.
 *
 * A line with HTTP's status, then the body, which is read as XML and as JSON.  What is
 * taken from it can be signed with, and lives until a time; else all is wiped.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/json.h"
#include "agent/kms/kms_aws_issued.h"
#include "agent/kms/kms_aws_sign.h"
#include "agent/kms/kms_aws_sts.h"
#include "agent/kms/xml.h"
#include "exact_copy.h"

static void
check_issued(PgeStatus status, const AwsIssued *issued, const char *detail)
{
	static const AwsIssued nothing;
	AwsKeys		keys;

	require(strlen(detail) < KMS_DETAIL_LEN);
	if (status != PGE_OK)
	{
		require(status == PGE_OUT_OF_MEMORY || detail[0] != '\0');
		require(memcmp(issued, &nothing, sizeof(nothing)) == 0);
		return;
	}
	require(pge_aws_keys_split(issued->token, &keys) == PGE_OK && keys.session_token.len > 0);
	require(issued->expires_s >= 0 && issued->expires_s <= INT64_C(253402300799));
}

/* As many ends as beginnings, and spans within the text. */
static void
walk(PgeBytes xml)
{
	XmlReader	reader;
	XmlEvent	event;
	int			open = 0;

	pge_xml_begin(&reader, xml);
	do
	{
		event = pge_xml_next(&reader);
		if (event == XML_ELEMENT)
			open++;
		if (event == XML_ELEMENT || event == XML_ELEMENT_END)
			require(reader.depth == open && open >= 1 && open <= XML_DEPTH_MAX && reader.path[open - 1].len > 0);
		if (event == XML_ELEMENT_END)
			open--;
		if (reader.text.data != NULL)
			require(reader.text.data >= xml.data && reader.text.data + reader.text.len <= xml.data + xml.len);
	} while (event == XML_ELEMENT || event == XML_ELEMENT_END);
	require(event == XML_WRONG || open == 0);
	require(pge_xml_next(&reader) == event);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	static AwsIssued issued;
	char		detail[KMS_DETAIL_LEN] = "";
	HttpAnswer	answer = {0};
	PgeBuffer	body;
	PgeStatus	status;
	int64_t		seconds;
	size_t		at = 0;

	if (!started)
		pge_json_init();
	started = true;
	for (; at < size && at < 3 && data[at] >= '0' && data[at] <= '9'; at++)
		answer.status = answer.status * 10 + (data[at] - '0');
	at += at < size ? 1 : 0;
	body = exact_copy(data + at, size - at);
	answer.body = body.data;
	answer.len = body.len;
	walk(pge_buffer_bytes(&body));
	memset(&issued, 0x5a, sizeof(issued));
	status = pge_aws_sts_read(&answer, &issued, detail);
	check_issued(status, &issued, detail);
	require(status != PGE_OK || answer.status == 200);
	detail[0] = '\0';
	memset(&issued, 0x5a, sizeof(issued));
	status = pge_aws_read_issued(pge_buffer_bytes(&body), &issued, detail);
	require(status == PGE_OK || status == PGE_UNAVAILABLE || status == PGE_DENIED || status == PGE_OUT_OF_MEMORY);
	check_issued(status, &issued, detail);
	(void) pge_aws_parse_time(pge_buffer_bytes(&body), &seconds);
	require(seconds >= 0 && seconds <= INT64_C(253402300799));
	free(body.data);
	return 0;
}
