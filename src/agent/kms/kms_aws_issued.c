/*-------------------------------------------------------------------------
 *
 * kms_aws_issued.c
 *	  Reads the credential that a container's or an instance's service gives out.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "agent/kms/json.h"
#include "agent/kms/kms_aws_issued.h"
#include "agent/kms/kms_aws_sign.h"
#include "base/secret.h"

#define CODE_MAX		64
#define TIME_LEN		19		/* up to the seconds */
#define FRACTION_MAX	9

static bool read_number(PgeBytes text, size_t at, size_t len, int *number);
static int64_t days_before(int year, int month);
static bool is_leap(int year);
static PgeStatus read_members(const json_t *answer, AwsIssued *issued, char *detail);
static PgeStatus judge_code(PgeBytes code, char *detail);

bool
pge_aws_parse_time(PgeBytes text, int64_t *seconds)
{
	static const char form[] = "....-..-..T..:..:..";
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year,
				month,
				day,
				hour,
				minute,
				second;

	*seconds = 0;
	if (text.len < TIME_LEN + 1 || text.len > TIME_LEN + 2 + FRACTION_MAX || text.data[text.len - 1] != 'Z')
		return false;
	for (size_t i = 0; i < TIME_LEN; i++)
		if (form[i] != '.' && text.data[i] != (uint8_t) form[i])
			return false;
	if (!read_number(text, 0, 4, &year) || !read_number(text, 5, 2, &month) || !read_number(text, 8, 2, &day) ||
		!read_number(text, 11, 2, &hour) || !read_number(text, 14, 2, &minute) || !read_number(text, 17, 2, &second))
		return false;
	if (text.len > TIME_LEN + 1)
	{
		int			unused;

		for (size_t i = TIME_LEN + 1; i < text.len - 1; i++)
			if (!read_number(text, i, 1, &unused))
				return false;
		if (text.data[TIME_LEN] != '.' || text.len == TIME_LEN + 2)
			return false;
	}
	if (year < 1970 || month < 1 || month > 12 || day < 1 ||
		day > month_days[month - 1] + (month == 2 && is_leap(year)) || hour > 23 || minute > 59 || second > 59)
		return false;
	*seconds = ((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second;
	return true;
}

static bool
read_number(PgeBytes text, size_t at, size_t len, int *number)
{
	*number = 0;
	for (size_t i = at; i < at + len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		*number = *number * 10 + (text.data[i] - '0');
	}
	return true;
}

/* Days from 1970 to the first of a month. */
static int64_t
days_before(int year, int month)
{
	static const int before_month[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	int			last = year - 1;
	int			leaps = last / 4 - last / 100 + last / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);

	return (int64_t) (year - 1970) * 365 + leaps + before_month[month - 1] + (month > 2 && is_leap(year));
}

static bool
is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

PgeStatus
pge_aws_issue(PgeBytes access_key_id, PgeBytes secret, PgeBytes session_token, PgeBytes expiration,
			  AwsIssued *issued, char detail[KMS_DETAIL_LEN])
{
	const AwsKeys keys = {access_key_id, secret, session_token};
	int64_t		expires_s;

	if (session_token.len == 0 || !pge_aws_parse_time(expiration, &expires_s))
		pge_kms_detail(detail, session_token.len == 0 ? "The credential in the answer has no session token." :
					   "The credential in the answer has no time of expiry that could be read.");
	else if (pge_aws_keys_join(&keys, issued->token) != PGE_OK)
		pge_kms_detail(detail, "The credential in the answer is not complete, or has bytes that no credential has.");
	else
	{
		/* 0 is for keys that never do */
		issued->expires_s = expires_s > 0 ? expires_s : 1;
		return PGE_OK;
	}
	pge_secret_wipe(issued, sizeof(*issued));
	return PGE_UNAVAILABLE;
}

PgeStatus
pge_aws_read_issued(PgeBytes json, AwsIssued *issued, char detail[KMS_DETAIL_LEN])
{
	json_t	   *answer;
	PgeStatus	status = pge_json_parse(json, &answer, detail);

	if (status == PGE_OK)
		status = read_members(answer, issued, detail);
	json_decref(answer);
	if (status != PGE_OK)
		pge_secret_wipe(issued, sizeof(*issued));
	return status == PGE_MALFORMED ? PGE_UNAVAILABLE : status;
}

static PgeStatus
read_members(const json_t *answer, AwsIssued *issued, char *detail)
{
	PgeBytes	code;
	PgeBytes	id;
	PgeBytes	secret;
	PgeBytes	token;
	PgeBytes	expiration;

	/* IMDS has a code, a container has none */
	if (json_object_get(answer, "Code") != NULL &&
		(!pge_json_text(answer, "Code", &code) || code.len != 7 || memcmp(code.data, "Success", 7) != 0))
		return judge_code(code, detail);
	(void) pge_json_text(answer, "AccessKeyId", &id);
	(void) pge_json_text(answer, "SecretAccessKey", &secret);
	(void) pge_json_text(answer, "Token", &token);
	(void) pge_json_text(answer, "Expiration", &expiration);
	return pge_aws_issue(id, secret, token, expiration, issued, detail);
}

static PgeStatus
judge_code(PgeBytes code, char *detail)
{
	static const char unauthorized[] = "AssumeRoleUnauthorizedAccess";

	if (!pge_aws_is_word(code, CODE_MAX))
	{
		pge_kms_detail(detail, "The service has no credential, and does not say clearly why.");
		return PGE_UNAVAILABLE;
	}
	pge_kms_detail(detail, "The service has no credential: %.*s.", (int) code.len, (const char *) code.data);
	return code.len == sizeof(unauthorized) - 1 && memcmp(code.data, unauthorized, code.len) == 0 ?
		PGE_DENIED : PGE_UNAVAILABLE;
}

PgeStatus
pge_aws_issued_life(const AwsIssued *issued, int64_t now_s, uint64_t *life_ms, char detail[KMS_DETAIL_LEN])
{
	*life_ms = 0;
	if (issued->expires_s == 0)
		return PGE_OK;
	if (issued->expires_s <= now_s)
	{
		pge_kms_detail(detail, "The credential that was given out has already expired.");
		return PGE_UNAVAILABLE;
	}
	*life_ms = (uint64_t) (issued->expires_s - now_s) * 1000;
	return PGE_OK;
}

bool
pge_aws_is_word(PgeBytes text, size_t max)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-";

	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == '\0' || strchr(allowed, text.data[i]) == NULL)
			return false;
	return text.len > 0 && text.len <= max;
}
