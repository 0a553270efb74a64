/*-------------------------------------------------------------------------
 *
 * kms_aws_profile.c
 *	  Finds a profile in AWS's shared files, and says what it is good for.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "agent/kms/kms_aws_profile.h"

static const char *const setting_names[AWS_PROFILE_SETTINGS] = {
	"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "role_arn", "source_profile",
	"credential_source", "external_id", "role_session_name", "duration_seconds", "web_identity_token_file",
};

/* Known to the SDKs, and no way for a server: they run a program, or ask a person. */
static const char *const refused_names[] = {
	"credential_process", "mfa_serial", "login_session", "sso_session", "sso_account_id", "sso_role_name",
	"sso_region", "sso_start_url", NULL
};

/* Where in the file we are. */
typedef struct ProfileParser
{
	AwsProfileFile file;
	PgeBytes	name;			/* whom we look for */
	AwsProfile *profile;
	int			line;
	bool		in_section;		/* of anybody */
	bool		in_profile;		/* of "name" */
	bool		after_setting;	/* a deeper line belongs to it */
	bool		after_ours;		/* and then is an error */
	size_t		indent;			/* of that setting */
	char	   *detail;
} ProfileParser;

static PgeStatus parse_line(ProfileParser *parser, PgeBytes line);
static PgeStatus parse_heading(ProfileParser *parser, PgeBytes text);
static bool heading_is(const ProfileParser *parser, PgeBytes heading);
static PgeStatus parse_setting(ProfileParser *parser, PgeBytes text);
static PgeStatus take_setting(ProfileParser *parser, AwsProfileSetting setting, PgeBytes value);
static int	find_name(PgeBytes name, const char *const *names, int count);
static bool is_setting_name(PgeBytes name);
static PgeStatus wrong_line(const ProfileParser *parser, const char *why);
static bool has(const AwsProfile *profile, AwsProfileSetting setting);
static PgeStatus judge_role(const AwsProfile *profile, AwsProfileKind *kind, char *detail);
static PgeStatus judge_keys(const AwsProfile *profile, AwsProfileKind *kind, char *detail);
static bool is_blank(uint8_t c);
static PgeBytes trim(PgeBytes text);
static PgeBytes cut_comment(PgeBytes value);
static bool equals(PgeBytes text, const char *s);

PgeStatus
pge_aws_profile_read(PgeBytes text, AwsProfileFile file, PgeBytes name, AwsProfile *profile,
					 char detail[KMS_DETAIL_LEN])
{
	ProfileParser parser = {.file = file, .name = name, .profile = profile, .detail = detail};
	PgeStatus	status = PGE_OK;
	size_t		at = 0;

	memset(profile, 0, sizeof(*profile));
	while (status == PGE_OK && at < text.len)
	{
		const uint8_t *start = text.data + at;
		const uint8_t *newline = memchr(start, '\n', text.len - at);
		size_t		len = newline == NULL ? text.len - at : (size_t) (newline - start);

		parser.line++;
		status = parse_line(&parser, pge_bytes(start, len));
		at += len + 1;
	}
	if (status != PGE_OK)
		memset(profile, 0, sizeof(*profile));
	return status;
}

static PgeStatus
parse_line(ProfileParser *parser, PgeBytes line)
{
	PgeBytes	text = trim(line);
	size_t		indent;

	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] < 0x20 && text.data[i] != '\t')
			return wrong_line(parser, "it has a control character");
	if (text.len == 0 || text.data[0] == '#' || text.data[0] == ';')
		return PGE_OK;
	indent = (size_t) (text.data - line.data);
	if (parser->after_setting && indent > parser->indent)
		return parser->after_ours ? wrong_line(parser, "the setting before goes on in it, which none of those that count here may") : PGE_OK;
	if (text.data[0] == '[')
		return parse_heading(parser, text);
	if (!parser->in_section)
		return wrong_line(parser, "it stands before the first [section]");
	parser->indent = indent;
	return parse_setting(parser, text);
}

/* "[NAME]", and perhaps a comment. */
static PgeStatus
parse_heading(ProfileParser *parser, PgeBytes text)
{
	const uint8_t *end = memchr(text.data, ']', text.len);
	PgeBytes	behind;
	PgeBytes	heading;

	if (end == NULL)
		return wrong_line(parser, "a section's heading does not end in \"]\"");
	heading = trim(pge_bytes(text.data + 1, (size_t) (end - text.data - 1)));
	behind = trim(pge_bytes(end + 1, text.len - (size_t) (end - text.data) - 1));
	if (heading.len == 0 || (behind.len > 0 && behind.data[0] != '#' && behind.data[0] != ';'))
		return wrong_line(parser, "it is no section's heading, [NAME]");
	parser->in_section = true;
	parser->after_setting = false;
	parser->in_profile = heading_is(parser, heading);
	if (parser->in_profile && parser->profile->found)
		return wrong_line(parser, "the profile begins there a second time");
	parser->profile->found |= parser->in_profile;
	return PGE_OK;
}

static bool
heading_is(const ProfileParser *parser, PgeBytes heading)
{
	static const char word[] = "profile";
	const size_t len = sizeof(word) - 1;
	PgeBytes	name = heading;

	if (parser->file == AWS_CONFIG_FILE && heading.len > len && memcmp(heading.data, word, len) == 0 &&
		is_blank(heading.data[len]))
	{
		name = trim(pge_bytes(heading.data + len, heading.len - len));
		if (name.len >= 2 && (name.data[0] == '"' || name.data[0] == '\'') && name.data[name.len - 1] == name.data[0])
			name = pge_bytes(name.data + 1, name.len - 2);
	}
	else if (parser->file == AWS_CONFIG_FILE && !equals(heading, "default"))
		return false;
	return name.len == parser->name.len && memcmp(name.data, parser->name.data, name.len) == 0;
}

static PgeStatus
parse_setting(ProfileParser *parser, PgeBytes text)
{
	const uint8_t *equal = memchr(text.data, '=', text.len);
	PgeBytes	name;
	PgeBytes	value;
	int			which;

	if (equal == NULL)
		return wrong_line(parser, "it is neither [section] nor \"name = value\"");
	name = trim(pge_bytes(text.data, (size_t) (equal - text.data)));
	value = cut_comment(pge_bytes(equal + 1, text.len - (size_t) (equal - text.data) - 1));
	if (!is_setting_name(name))
		return wrong_line(parser, "a setting's name has letters, digits, \"_\", \"-\" and \".\"");
	parser->after_setting = true;
	parser->after_ours = false;
	if (!parser->in_profile)
		return PGE_OK;
	which = find_name(name, setting_names, AWS_PROFILE_SETTINGS);
	if (which >= 0)
		return take_setting(parser, (AwsProfileSetting) which, value);
	for (int i = 0; refused_names[i] != NULL; i++)
		if (find_name(name, &refused_names[i], 1) == 0)
			parser->profile->refused = refused_names[i];
	return PGE_OK;
}

static PgeStatus
take_setting(ProfileParser *parser, AwsProfileSetting setting, PgeBytes value)
{
	PgeBytes   *place = &parser->profile->values[setting];

	parser->after_ours = true;
	if (place->data != NULL)
		return wrong_line(parser, "the setting is given a second time");
	if (value.len == 0 && setting != AWS_PROFILE_SESSION_TOKEN)
		return wrong_line(parser, "the setting has no value");
	if (value.len > 0)
		*place = value;
	return PGE_OK;
}

/* -1: none of them. */
static int
find_name(PgeBytes name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (strlen(names[i]) == name.len && strncasecmp(names[i], (const char *) name.data, name.len) == 0)
			return i;
	return -1;
}

/* In another spelling, "name: value", a key would be read as part of a name. */
static bool
is_setting_name(PgeBytes name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] == '\0' || strchr(allowed, name.data[i]) == NULL)
			return false;
	return name.len > 0;
}

static PgeStatus
wrong_line(const ProfileParser *parser, const char *why)
{
	pge_kms_detail(parser->detail, "Line %d of it is wrong: %s.", parser->line, why);
	return PGE_MALFORMED;
}

void
pge_aws_profile_merge(AwsProfile *profile, const AwsProfile *above)
{
	bool		keys = false;

	for (int i = AWS_PROFILE_ACCESS_KEY_ID; i <= AWS_PROFILE_SESSION_TOKEN; i++)
		keys |= has(above, (AwsProfileSetting) i);
	for (int i = 0; i < AWS_PROFILE_SETTINGS; i++)
		if (has(above, (AwsProfileSetting) i) || (keys && i <= AWS_PROFILE_SESSION_TOKEN))
			profile->values[i] = above->values[i];
	profile->found |= above->found;
	if (above->refused != NULL)
		profile->refused = above->refused;
}

PgeStatus
pge_aws_profile_kind(const AwsProfile *profile, AwsProfileKind *kind, char detail[KMS_DETAIL_LEN])
{
	*kind = AWS_PROFILE_OF_NOTHING;
	if (profile->refused != NULL)
	{
		pge_kms_detail(detail, "It uses %s, which is not for a server: %s.", profile->refused,
					   strcmp(profile->refused, "credential_process") == 0 ? "no program is run to get a credential" :
					   "it needs a person to log in");
		return PGE_INVALID;
	}
	if (has(profile, AWS_PROFILE_ROLE_ARN))
		return judge_role(profile, kind, detail);
	for (int i = AWS_PROFILE_SOURCE_PROFILE; i < AWS_PROFILE_SETTINGS; i++)
	{
		/* these three do no harm: SDKs leave them alone */
		if (!has(profile, (AwsProfileSetting) i) || i == AWS_PROFILE_ROLE_SESSION_NAME || i == AWS_PROFILE_DURATION_SECONDS ||
			i == AWS_PROFILE_EXTERNAL_ID)
			continue;
		pge_kms_detail(detail, "It has %s, and no role_arn.", setting_names[i]);
		return PGE_INVALID;
	}
	return judge_keys(profile, kind, detail);
}

static PgeStatus
judge_role(const AwsProfile *profile, AwsProfileKind *kind, char *detail)
{
	bool		of_profile = has(profile, AWS_PROFILE_SOURCE_PROFILE);
	bool		of_source = has(profile, AWS_PROFILE_CREDENTIAL_SOURCE);
	bool		of_web = has(profile, AWS_PROFILE_WEB_IDENTITY_TOKEN_FILE);

	if (of_profile + of_source + of_web != 1)
		pge_kms_detail(detail, "It has role_arn, and %s source_profile, credential_source, web_identity_token_file.",
					   of_profile + of_source + of_web == 0 ? "none of" : "more than one of");
	else if (of_web && has(profile, AWS_PROFILE_EXTERNAL_ID))
		pge_kms_detail(detail, "It has external_id, which web_identity_token_file has no place for.");
	else
	{
		*kind = of_profile ? AWS_PROFILE_OF_PROFILE : of_source ? AWS_PROFILE_OF_SOURCE : AWS_PROFILE_OF_WEB_IDENTITY;
		return PGE_OK;
	}
	return PGE_INVALID;
}

static PgeStatus
judge_keys(const AwsProfile *profile, AwsProfileKind *kind, char *detail)
{
	bool		id = has(profile, AWS_PROFILE_ACCESS_KEY_ID);
	bool		secret = has(profile, AWS_PROFILE_SECRET);

	if (id != secret || (!id && has(profile, AWS_PROFILE_SESSION_TOKEN)))
	{
		pge_kms_detail(detail, "It has no %s.", id ? "aws_secret_access_key" : "aws_access_key_id");
		return PGE_INVALID;
	}
	if (id)
		*kind = AWS_PROFILE_OF_KEYS;
	return PGE_OK;
}

static bool
has(const AwsProfile *profile, AwsProfileSetting setting)
{
	return profile->values[setting].data != NULL;
}

/* A carriage return, too: files come from Windows. */
static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static PgeBytes
trim(PgeBytes text)
{
	while (text.len > 0 && is_blank(text.data[0]))
		text = pge_bytes(text.data + 1, text.len - 1);
	while (text.len > 0 && is_blank(text.data[text.len - 1]))
		text.len--;
	return text;
}

static PgeBytes
cut_comment(PgeBytes value)
{
	for (size_t i = 1; i < value.len; i++)
		if ((value.data[i] == '#' || value.data[i] == ';') && is_blank(value.data[i - 1]))
			value.len = i;
	return trim(value);
}

static bool
equals(PgeBytes text, const char *s)
{
	return text.len == strlen(s) && memcmp(text.data, s, text.len) == 0;
}
