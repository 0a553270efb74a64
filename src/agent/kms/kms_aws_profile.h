/*
 * kms_aws_profile.h -- a profile of AWS's shared files: ~/.aws/config and
 * ~/.aws/credentials.
 *
 * Pure.  The dialect of AWS's SDKs: "[NAME]" in the credentials file, "[profile NAME]" and
 * "[default]" in the other, "name = value" lines, whose names may be of any case; a line that is
 * indented deeper than the one before belongs to that one's value (s3 = ...) and is nobody's
 * here; '#' and ';' begin a comment where a line begins, and in a value after a blank.  SDKs
 * differ in what they make of the rest, so it is an error that names the line: a line that is
 * nothing of these, a setting of ours that is given twice, is empty (but for the session
 * token) or goes on in the next line, the same profile twice.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_PROFILE_H
#define PGE_AGENT_KMS_AWS_PROFILE_H

#include "agent/kms/kms_detail.h"
#include "base/bytes.h"
#include "base/status.h"

#define AWS_PROFILE_FILE_MAX	(256 * 1024)
#define AWS_PROFILE_NAME_MAX	255

typedef enum AwsProfileFile
{
	AWS_CONFIG_FILE,
	AWS_CREDENTIALS_FILE
} AwsProfileFile;

typedef enum AwsProfileSetting
{
	AWS_PROFILE_ACCESS_KEY_ID,	/* these three are one: the credentials file's
								 * take the place of the other's */
	AWS_PROFILE_SECRET,
	AWS_PROFILE_SESSION_TOKEN,
	AWS_PROFILE_ROLE_ARN,
	AWS_PROFILE_SOURCE_PROFILE,
	AWS_PROFILE_CREDENTIAL_SOURCE,
	AWS_PROFILE_EXTERNAL_ID,
	AWS_PROFILE_ROLE_SESSION_NAME,
	AWS_PROFILE_DURATION_SECONDS,
	AWS_PROFILE_WEB_IDENTITY_TOKEN_FILE,
	AWS_PROFILE_SETTINGS
} AwsProfileSetting;

typedef struct AwsProfile
{
	bool		found;			/* a section of that name */
	PgeBytes	values[AWS_PROFILE_SETTINGS];	/* into the texts; data NULL:
												 * not given */
	const char *refused;		/* a setting that we do not do, NULL: none */
} AwsProfile;

/* How it gives a credential. */
typedef enum AwsProfileKind
{
	AWS_PROFILE_OF_NOTHING,		/* it has none: a region, perhaps */
	AWS_PROFILE_OF_KEYS,
	AWS_PROFILE_OF_PROFILE,		/* a role, with the keys of source_profile */
	AWS_PROFILE_OF_SOURCE,		/* a role, with those of credential_source */
	AWS_PROFILE_OF_WEB_IDENTITY /* a role, with a token file */
} AwsProfileKind;

/*
 * Of one file.  PGE_MALFORMED with *detail, which names the line and never repeats what it
 * says.
 */
extern PgeStatus pge_aws_profile_read(PgeBytes text, AwsProfileFile file, PgeBytes name, AwsProfile *profile,
									  char detail[KMS_DETAIL_LEN]);

/* What the other file says of the same profile stands above. */
extern void pge_aws_profile_merge(AwsProfile *profile, const AwsProfile *above);

/* PGE_INVALID with *detail: its settings do not go together, or one is not done here. */
extern PgeStatus pge_aws_profile_kind(const AwsProfile *profile, AwsProfileKind *kind, char detail[KMS_DETAIL_LEN]);

#endif							/* PGE_AGENT_KMS_AWS_PROFILE_H */
