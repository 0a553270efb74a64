/*
 * kms_aws_settings.h -- what a URI and a section of the configuration say about AWS
 * KMS.
 *
 * A key is named by its ARN, and so it is stored: aws-kms://arn:aws:kms:...:key/ID.
 * An alias or a bare id is taken where a KEK is made, and resolved there once
 * (KMS_DESCRIBE): who moves an alias moves no KEK.
 *
 * KeyUri.server and KmsInstance.server are a region here, so that a section serves the
 * keys of its region.  KeyUri.path, which allow_keys is about, is the ARN, "key/ID" or
 * "alias/NAME".
 *
 * Pure, but that check() looks whether ca_file is there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_SETTINGS_H
#define PGE_AGENT_KMS_AWS_SETTINGS_H

#include "agent/kms/key_uri.h"
#include "agent/kms/kms_config.h"

#define AWS_REGION_MAX	40

/* KmsProvider's of the same names; the credential's settings are checked elsewhere. */
extern const char *const pge_aws_settings[];
extern PgeStatus pge_aws_parse_uri(PgeBytes uri, KeyUri *parsed, char *detail);
extern PgeStatus pge_aws_format_uri(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1]);
extern PgeStatus pge_aws_check_section(KmsInstance *instance, int *line, char *detail);

/* Is it named by the ARN of a key, as opposed to an alias or an id without an account? */
extern bool pge_aws_is_key_arn(const KeyUri *key);

/* What the service is asked for: an ARN, "ID" or "alias/NAME"; points into key->path. */
extern const char *pge_aws_key_id(const KeyUri *key);

/*
 * Is "arn", which came from the service, a key's ARN, and can it be that of the key that
 * "asked" names?  (Of an alias all but its name can be compared.)
 */
extern bool pge_aws_is_arn_of(const char *arn, const KeyUri *asked, const char *region);

/* Of a section that was checked: "https://host[:port]/", and "host[:port]" as it is sent. */
#define AWS_HOST_MAX	(KEY_URI_SERVER_MAX)
#define AWS_URL_MAX		(AWS_HOST_MAX + 16)
typedef struct AwsEndpoint
{
	char		url[AWS_URL_MAX + 1];
	char		host[AWS_HOST_MAX + 1];
} AwsEndpoint;

/* What the hosts of a region's services end in: "amazonaws.com". */
extern const char *pge_aws_suffix(const char *region);

extern PgeStatus pge_aws_endpoint(const KmsInstance *instance, AwsEndpoint *endpoint, char *detail);

#endif							/* PGE_AGENT_KMS_AWS_SETTINGS_H */
