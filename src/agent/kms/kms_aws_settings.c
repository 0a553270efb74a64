/*-------------------------------------------------------------------------
 *
 * kms_aws_settings.c
 *	  The spellings of a key in AWS KMS, and the rules of an [aws NAME] section.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/kms_aws_credentials.h"
#include "agent/kms/kms_aws_settings.h"
#include "agent/kms/kms_detail.h"

#define ACCOUNT_LEN		12
#define KEY_ID_MAX		128
#define ALIAS_MAX		250
#define LOWER			"abcdefghijklmnopqrstuvwxyz"
#define DIGITS			"0123456789"
#define ALPHANUMERIC	LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS

/* Which partition a region is of, and where that has its endpoints. */
typedef struct AwsPartition
{
	const char *regions;		/* what its regions begin with */
	const char *name;
	const char *suffix;
	const char *dual_stack;
} AwsPartition;

/* The first that fits. */
static const AwsPartition partitions[] = {
	{"cn-", "aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"us-gov-", "aws-us-gov", "amazonaws.com", "api.aws"},
	{"eusc-", "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"},
	{"us-iso-", "aws-iso", "c2s.ic.gov", "api.aws.ic.gov"},
	{"us-isob-", "aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"},
	{"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
	{"us-isof-", "aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
	{"", "aws", "amazonaws.com", "api.aws"},
};

/* The six parts of an ARN; they point into it. */
typedef struct AwsArn
{
	PgeBytes	partition;
	PgeBytes	region;
	PgeBytes	account;
	const char *resource;		/* "key/..." or "alias/..." */
} AwsArn;

const char *const pge_aws_settings[] = {
	"region", "endpoint", "use_fips_endpoint", "use_dualstack_endpoint", "ca_file", AWS_CREDENTIAL_SETTINGS, NULL
};

static bool is_ours(PgeBytes uri, bool *bare_arn);
static PgeStatus take_region(PgeBytes uri, char rest[PGE_KEK_URI_MAX + 1], char region[AWS_REGION_MAX + 1], char *detail);
static PgeStatus read_name(const KeyUriSplit *split, bool bare_arn, KeyUri *key, char *detail);
static PgeStatus check_name(KeyUri *key, const char *region, char *detail);
static bool split_arn(const char *arn, AwsArn *parts);
static bool next_part(const char **at, PgeBytes *part);
static bool is_resource(const char *resource);
static bool is_region(PgeBytes region);
static const AwsPartition *partition_of(PgeBytes region);
static bool same_text(PgeBytes bytes, const char *text);
static PgeStatus check_switch(const KmsInstance *instance, const char *name, int *line, char *detail);
static PgeStatus check_ca_file(const KmsInstance *instance, int *line, char *detail);
static bool is_on(const KmsInstance *instance, const char *name);
static PgeStatus own_endpoint(const char *address, AwsEndpoint *endpoint, char *detail);

PgeStatus
pge_aws_parse_uri(PgeBytes uri, KeyUri *parsed, char *detail)
{
	char		rest[PGE_KEK_URI_MAX + 1];
	char		region[AWS_REGION_MAX + 1];
	bool		bare_arn;
	KeyUriSplit split;
	PgeStatus	status;

	memset(parsed, 0, sizeof(*parsed));
	if (!is_ours(uri, &bare_arn))
		return PGE_KEK_NOT_FOUND;
	status = take_region(uri, rest, region, detail);
	if (status == PGE_OK)
		status = pge_key_uri_split(pge_bytes(rest, strlen(rest)), &split, detail);
	if (status != PGE_OK)
		return status;
	snprintf(parsed->scheme, sizeof(parsed->scheme), "aws-kms");
	snprintf(parsed->instance, sizeof(parsed->instance), "%s", split.instance);
	status = read_name(&split, bare_arn, parsed, detail);
	return status == PGE_OK ? check_name(parsed, region, detail) : status;
}

/* aws-kms:, awskms: in any case of letters, and ARNs as they are. */
static bool
is_ours(PgeBytes uri, bool *bare_arn)
{
	static const char *const schemes[] = {"arn:", "aws-kms:", "awskms:"};

	for (int i = 0; i < 3; i++)
	{
		size_t		len = strlen(schemes[i]);

		*bare_arn = i == 0;
		if (uri.len >= len && strncasecmp((const char *) uri.data, schemes[i], len) == 0)
			return true;
	}
	return false;
}

/* Takes "region=R" out of the query, which then is as other providers' are. */
static PgeStatus
take_region(PgeBytes uri, char rest[PGE_KEK_URI_MAX + 1], char region[AWS_REGION_MAX + 1], char *detail)
{
	static const char name[] = "region=";
	char	   *query;
	char	   *found;
	size_t		len;

	region[0] = '\0';
	if (uri.len > PGE_KEK_URI_MAX || memchr(uri.data, '\0', uri.len) != NULL)
	{
		pge_kms_detail(detail, "A URI has 1 to %d bytes, and no NUL among them.", PGE_KEK_URI_MAX);
		return PGE_INVALID;
	}
	memcpy(rest, uri.data, uri.len);
	rest[uri.len] = '\0';
	query = strchr(rest, '?');
	found = query;
	while (found != NULL && strncmp(found + 1, name, strlen(name)) != 0)
		found = strchr(found + 1, '&');
	if (found == NULL)
		return PGE_OK;
	len = strcspn(found + 1, "&");
	if (!is_region(pge_bytes(found + 1 + strlen(name), len - strlen(name))))
	{
		pge_kms_detail(detail, "What follows \"region=\" in the URI is no region of AWS, as eu-west-1.");
		return PGE_INVALID;
	}
	memcpy(region, found + 1 + strlen(name), len - strlen(name));
	region[len - strlen(name)] = '\0';

	/*
	 * what is behind it comes into its place: its '?' or '&' stays, and the
	 * next one's goes
	 */
	if (found[1 + len] == '&')
		memmove(found + 1, found + 1 + len + 1, strlen(found + 1 + len + 1) + 1);
	else
		*found = '\0';
	return PGE_OK;
}

/* The authority of "aws-kms://arn:...:key/ID" is no server, but a part of the name. */
static PgeStatus
read_name(const KeyUriSplit *split, bool bare_arn, KeyUri *key, char *detail)
{
	char		name[PGE_KEK_URI_MAX + 1];
	bool		has_authority = split->has_authority && split->authority.len > 0;
	int			len;

	len = snprintf(name, sizeof(name), "%s%.*s%s%.*s", bare_arn ? "arn:" : "",
				   (int) split->authority.len, (const char *) split->authority.data, has_authority ? "/" : "",
				   (int) split->path.len, (const char *) split->path.data);
	if (len < 0 || (size_t) len >= sizeof(name) || (bare_arn && split->has_authority))
	{
		pge_kms_detail(detail, "The URI is not of the form aws-kms://ARN.");
		return PGE_INVALID;
	}
	return pge_key_uri_path(pge_bytes(name, (size_t) len), key->path, detail);
}

/* "region": the URI's; an ARN has its own. */
static PgeStatus
check_name(KeyUri *key, const char *region, char *detail)
{
	char		id[PGE_KEK_URI_MAX + 1];
	AwsArn		arn;

	if (strncmp(key->path, "arn:", 4) == 0)
	{
		if (!split_arn(key->path, &arn))
		{
			pge_kms_detail(detail, "This is no ARN of a key or an alias of AWS KMS, as arn:aws:kms:eu-west-1:111122223333:key/ID.");
			return PGE_INVALID;
		}
		if (region[0] != '\0' && !same_text(arn.region, region))
		{
			pge_kms_detail(detail, "The URI's region is not that of its ARN.");
			return PGE_INVALID;
		}
		memcpy(key->server, arn.region.data, arn.region.len);
		return PGE_OK;
	}
	memcpy(key->server, region, strlen(region) + 1);
	if (is_resource(key->path))
		return PGE_OK;
	snprintf(id, sizeof(id), "%s", key->path);
	if (snprintf(key->path, sizeof(key->path), "key/%s", id) < (int) sizeof(key->path) && is_resource(key->path))
		return PGE_OK;
	pge_kms_detail(detail, "A key of AWS KMS is named by its ARN, as aws-kms://arn:aws:kms:eu-west-1:111122223333:key/ID, or by aws-kms:///ID or aws-kms:///alias/NAME.");
	return PGE_INVALID;
}

static bool
split_arn(const char *arn, AwsArn *parts)
{
	const char *at = arn;
	PgeBytes	word;
	PgeBytes	service;

	if (!next_part(&at, &word) || !same_text(word, "arn") || !next_part(&at, &parts->partition) ||
		!next_part(&at, &service) || !same_text(service, "kms") || !next_part(&at, &parts->region) ||
		!is_region(parts->region) || !same_text(parts->partition, partition_of(parts->region)->name) ||
		!next_part(&at, &parts->account) || parts->account.len != ACCOUNT_LEN)
		return false;
	for (size_t i = 0; i < ACCOUNT_LEN; i++)
		if (parts->account.data[i] < '0' || parts->account.data[i] > '9')
			return false;
	parts->resource = at;
	return is_resource(at);
}

/* Up to a colon, which is passed. */
static bool
next_part(const char **at, PgeBytes *part)
{
	size_t		len = strcspn(*at, ":");

	*part = pge_bytes(*at, len);
	if ((*at)[len] != ':')
		return false;
	*at += len + 1;
	return true;
}

/* "key/ID" or "alias/NAME"; each part of its path was looked at before. */
static bool
is_resource(const char *resource)
{
	const char *id = resource + 4;
	const char *name = resource + 6;

	if (strncmp(resource, "key/", 4) == 0)
		return strlen(id) >= 1 && strlen(id) <= KEY_ID_MAX && strspn(id, ALPHANUMERIC "-") == strlen(id);
	return strncmp(resource, "alias/", 6) == 0 && strlen(name) >= 1 && strlen(name) <= ALIAS_MAX &&
		strspn(name, ALPHANUMERIC "/_-") == strlen(name);
}

/* us-east-1, us-gov-west-1, eusc-de-east-1, ... */
static bool
is_region(PgeBytes region)
{
	char		text[AWS_REGION_MAX + 1];
	const char *at = text;
	int			words = 0;

	if (region.len == 0 || region.len > AWS_REGION_MAX || memchr(region.data, '\0', region.len) != NULL)
		return false;
	memcpy(text, region.data, region.len);
	text[region.len] = '\0';
	for (size_t len = strspn(at, LOWER); len > 0 && at[len] == '-'; len = strspn(at, LOWER))
	{
		at += len + 1;
		words++;
	}
	return words >= 2 && strspn(at, DIGITS) > 0 && at[strspn(at, DIGITS)] == '\0';
}

static const AwsPartition *
partition_of(PgeBytes region)
{
	const AwsPartition *partition = partitions;

	while (region.len < strlen(partition->regions) ||
		   memcmp(region.data, partition->regions, strlen(partition->regions)) != 0)
		partition++;
	return partition;
}

static bool
same_text(PgeBytes bytes, const char *text)
{
	return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

PgeStatus
pge_aws_format_uri(const KeyUri *key, const char *server, char uri[PGE_KEK_URI_MAX + 1])
{
	const char *region = key->server[0] != '\0' || server == NULL ? key->server : server;
	const char *query = key->instance[0] != '\0' ? "instance=" : "";
	int			len;

	if (strncmp(key->path, "arn:", 4) == 0)
		len = snprintf(uri, PGE_KEK_URI_MAX + 1, "aws-kms://%s%s%s%s", key->path, query[0] != '\0' ? "?" : "",
					   query, key->instance);
	else
		len = snprintf(uri, PGE_KEK_URI_MAX + 1, "aws-kms:///%s%s%s%s%s%s", pge_aws_key_id(key),
					   region[0] != '\0' ? "?region=" : "", region,
					   query[0] == '\0' ? "" : region[0] != '\0' ? "&" : "?", query, key->instance);
	if (len >= 0 && len <= PGE_KEK_URI_MAX)
		return PGE_OK;
	uri[0] = '\0';
	return PGE_TOO_LARGE;
}

bool
pge_aws_is_key_arn(const KeyUri *key)
{
	AwsArn		arn;

	return split_arn(key->path, &arn) && strncmp(arn.resource, "key/", 4) == 0;
}

const char *
pge_aws_key_id(const KeyUri *key)
{
	return strncmp(key->path, "key/", 4) == 0 ? key->path + 4 : key->path;
}

bool
pge_aws_is_arn_of(const char *arn, const KeyUri *asked, const char *region)
{
	bool		named_by_arn;
	AwsArn		got;
	AwsArn		wanted;

	if (!split_arn(arn, &got) || strncmp(got.resource, "key/", 4) != 0 || !same_text(got.region, region))
		return false;
	named_by_arn = split_arn(asked->path, &wanted);
	if (named_by_arn && (wanted.account.len != got.account.len ||
						 memcmp(wanted.account.data, got.account.data, got.account.len) != 0))
		return false;
	if (named_by_arn && strncmp(wanted.resource, "key/", 4) == 0)
		return strcmp(arn, asked->path) == 0;
	return strncmp(asked->path, "key/", 4) != 0 || strcmp(got.resource, asked->path) == 0;
}

/* --- the section ------------------------------------------------------------- */

PgeStatus
pge_aws_check_section(KmsInstance *instance, int *line, char *detail)
{
	const KmsSetting *region = pge_kms_setting_of(instance, "region");
	const KmsSetting *endpoint = pge_kms_setting_of(instance, "endpoint");
	AwsEndpoint unused;
	PgeStatus	status = PGE_OK;

	*line = instance->line;
	if (region == NULL)
	{
		pge_kms_detail(detail, "it needs a line \"region = ...\", as eu-west-1.");
		return PGE_INVALID;
	}
	*line = region->line;
	if (!is_region(pge_bytes(region->value, strlen(region->value))))
	{
		pge_kms_detail(detail, "region is one of AWS, as eu-west-1.");
		return PGE_INVALID;
	}
	snprintf(instance->server, sizeof(instance->server), "%s", region->value);
	status = check_switch(instance, "use_fips_endpoint", line, detail);
	if (status == PGE_OK)
		status = check_switch(instance, "use_dualstack_endpoint", line, detail);
	if (status == PGE_OK)
		status = check_ca_file(instance, line, detail);
	if (status == PGE_OK && endpoint != NULL)
		*line = endpoint->line;
	return status == PGE_OK ? pge_aws_endpoint(instance, &unused, detail) : status;
}

/* They choose among AWS's own endpoints. */
static PgeStatus
check_switch(const KmsInstance *instance, const char *name, int *line, char *detail)
{
	const KmsSetting *setting = pge_kms_setting_of(instance, name);

	if (setting == NULL)
		return PGE_OK;
	*line = setting->line;
	if (strcmp(setting->value, "true") != 0 && strcmp(setting->value, "false") != 0)
	{
		pge_kms_detail(detail, "%s is true or false.", name);
		return PGE_INVALID;
	}
	if (is_on(instance, name) && pge_kms_setting(instance, "endpoint") != NULL)
	{
		pge_kms_detail(detail, "%s chooses among AWS's own endpoints, and the section names one: leave one of them out.", name);
		return PGE_INVALID;
	}
	return PGE_OK;
}

static PgeStatus
check_ca_file(const KmsInstance *instance, int *line, char *detail)
{
	const KmsSetting *setting = pge_kms_setting_of(instance, "ca_file");
	struct stat st;

	if (setting == NULL)
		return PGE_OK;
	*line = setting->line;
	if (setting->value[0] != '/')
		pge_kms_detail(detail, "ca_file needs a path that begins with '/'.");
	else if (access(setting->value, R_OK) != 0 || stat(setting->value, &st) != 0)
		pge_kms_detail(detail, "file \"%s\" cannot be read: %s.", setting->value, strerror(errno));
	else if (S_ISREG(st.st_mode) && (st.st_mode & S_IWOTH) != 0)
		pge_kms_detail(detail, "file \"%s\" may be written by everybody (chmod o-w).", setting->value);
	else
		return PGE_OK;
	return PGE_INVALID;
}

static bool
is_on(const KmsInstance *instance, const char *name)
{
	const char *value = pge_kms_setting(instance, name);

	return value != NULL && strcmp(value, "true") == 0;
}

const char *
pge_aws_suffix(const char *region)
{
	return partition_of(pge_bytes(region, strlen(region)))->suffix;
}

PgeStatus
pge_aws_endpoint(const KmsInstance *instance, AwsEndpoint *endpoint, char *detail)
{
	const char *address = pge_kms_setting(instance, "endpoint");
	const char *region = instance->server;
	const AwsPartition *partition = partition_of(pge_bytes(region, strlen(region)));

	if (address != NULL)
		return own_endpoint(address, endpoint, detail);
	snprintf(endpoint->host, sizeof(endpoint->host), "kms%s.%s.%s", is_on(instance, "use_fips_endpoint") ? "-fips" : "",
			 region, is_on(instance, "use_dualstack_endpoint") ? partition->dual_stack : partition->suffix);
	snprintf(endpoint->url, sizeof(endpoint->url), "https://%s/", endpoint->host);
	return PGE_OK;
}

/* One of a VPC, or of a test.  The scheme's own port is not sent, and so not signed. */
static PgeStatus
own_endpoint(const char *address, AwsEndpoint *endpoint, char *detail)
{
	KeyUriSplit split;
	char		why[KMS_DETAIL_LEN];
	bool		https;
	const char *usual;
	size_t		len;

	if (pge_key_uri_split(pge_bytes(address, strlen(address)), &split, why) != PGE_OK || !split.has_authority ||
		split.path.len > 0 || split.instance[0] != '\0' ||
		pge_key_uri_server(split.authority, endpoint->host, why) != PGE_OK)
	{
		pge_kms_detail(detail, "endpoint is https://host or https://host:port.");
		return PGE_INVALID;
	}
	https = pge_key_uri_scheme_is(&split, "https");
	if (!https && !(pge_key_uri_scheme_is(&split, "http") && pge_key_uri_is_loopback(endpoint->host)))
	{
		pge_kms_detail(detail, "endpoint begins with https:// (http:// is taken for a loopback address only).");
		return PGE_INVALID;
	}
	usual = https ? ":443" : ":80";
	len = strlen(endpoint->host);
	if (len > strlen(usual) && strcmp(endpoint->host + len - strlen(usual), usual) == 0)
		endpoint->host[len - strlen(usual)] = '\0';
	snprintf(endpoint->url, sizeof(endpoint->url), "%s://%s/", https ? "https" : "http", endpoint->host);
	return PGE_OK;
}
