/*-------------------------------------------------------------------------
 *
 * kms_aws_settings_test.c
 *	  How a key of AWS KMS may be spelled, and what an [aws NAME] section needs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kms/kms.h"
#include "agent/kms/kms_aws_settings.h"
#include "agent/kms/kms_detail.h"
#include "check.h"

#define ARN		"arn:aws:kms:eu-west-1:111122223333:"
#define UUID	"1234abcd-12ab-34cd-56ef-1234567890ab"
#define KEY		ARN "key/" UUID

/* The provider as far as it is looked at here; the list's own first. */
static const char *const none[] = {NULL};
static const KmsProvider local = {.name = "local", .settings = none};
static const KmsProvider aws = {
	.name = "aws", .settings = pge_aws_settings,
	.parse_uri = pge_aws_parse_uri, .format_uri = pge_aws_format_uri, .check = pge_aws_check_section,
};
static char detail[KMS_DETAIL_LEN];

const KmsProvider *const *
pge_kms_providers(void)
{
	static const KmsProvider *const list[] = {&local, &aws, NULL};

	return list;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, "aws") == 0 ? &aws : strcmp(name, "local") == 0 ? &local : NULL;
}

static void
check_spellings(void)
{
	static const struct
	{
		const char *uri,
				   *region,
				   *path,
				   *canonical;
	}			good[] = {
		{"aws-kms://" KEY, "eu-west-1", KEY, "aws-kms://" KEY},
		{"AWS-KMS://" KEY "?instance=prod", "eu-west-1", KEY, "aws-kms://" KEY "?instance=prod"},
		{"awskms:///" KEY, "eu-west-1", KEY, "aws-kms://" KEY},
		{"aws-kms:" KEY, "eu-west-1", KEY, "aws-kms://" KEY},
		{KEY, "eu-west-1", KEY, "aws-kms://" KEY},
		{KEY "?region=eu-west-1&instance=prod", "eu-west-1", KEY, "aws-kms://" KEY "?instance=prod"},
		{KEY "?instance=prod&region=eu-west-1", "eu-west-1", KEY, "aws-kms://" KEY "?instance=prod"},
		{"arn%3Aaws:kms:eu-west-1:111122223333:key/" UUID, NULL, NULL, NULL},
		{"aws-kms://" ARN "key/mrk-0123456789abcdef0123456789abcdef", "eu-west-1", ARN "key/mrk-0123456789abcdef0123456789abcdef",
		"aws-kms://" ARN "key/mrk-0123456789abcdef0123456789abcdef"},
		{"aws-kms://" ARN "alias/team/app_1-x", "eu-west-1", ARN "alias/team/app_1-x", "aws-kms://" ARN "alias/team/app_1-x"},
		{"aws-kms:///" UUID, "", "key/" UUID, "aws-kms:///" UUID "?region=ours"},
		{"aws-kms:///" UUID "?region=us-east-1", "us-east-1", "key/" UUID, "aws-kms:///" UUID "?region=us-east-1"},
		{"aws-kms:///key/" UUID, "", "key/" UUID, "aws-kms:///" UUID "?region=ours"},
		{"awskms:///alias/app", "", "alias/app", "aws-kms:///alias/app?region=ours"},
		{"awskms://alias/app?region=eu-central-1", "eu-central-1", "alias/app", "aws-kms:///alias/app?region=eu-central-1"},
		{"aws-kms:///alias/app?instance=a&region=eu-central-1", "eu-central-1", "alias/app", "aws-kms:///alias/app?region=eu-central-1&instance=a"},
		{"arn:aws-cn:kms:cn-north-1:111122223333:key/a", "cn-north-1", "arn:aws-cn:kms:cn-north-1:111122223333:key/a", "aws-kms://arn:aws-cn:kms:cn-north-1:111122223333:key/a"},
		{"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/a", "us-gov-west-1", "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/a", "aws-kms://arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/a"},
		{"arn:aws-eusc:kms:eusc-de-east-1:111122223333:key/a", "eusc-de-east-1", "arn:aws-eusc:kms:eusc-de-east-1:111122223333:key/a", "aws-kms://arn:aws-eusc:kms:eusc-de-east-1:111122223333:key/a"},
		{"arn:aws-iso-b:kms:us-isob-east-1:111122223333:key/a", "us-isob-east-1", "arn:aws-iso-b:kms:us-isob-east-1:111122223333:key/a", "aws-kms://arn:aws-iso-b:kms:us-isob-east-1:111122223333:key/a"},
		{"aws-kms://arn:aws:kms:eu-west-1:111122223333:key%2D/" UUID, NULL, NULL, NULL},
		{"aws-kms://arn%3aaws%3akms:eu-west-1:111122223333:key/" UUID, "eu-west-1", "arn:aws:kms:eu-west-1:111122223333:key/" UUID, "aws-kms://" KEY},
	};
	char		uri[PGE_KEK_URI_MAX + 1];
	KeyUri		key;
	KeyUri		again;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		PgeStatus	status = pge_aws_parse_uri(text_bytes(good[i].uri), &key, detail);

		if (good[i].path == NULL)
		{
			check(status != PGE_OK, "not taken: %s", good[i].uri);
			continue;
		}
		if (!check(status == PGE_OK && strcmp(key.scheme, "aws-kms") == 0 && strcmp(key.server, good[i].region) == 0 &&
				   strcmp(key.path, good[i].path) == 0, "%s", good[i].uri))
			printf("#   %s: %s in \"%s\"\n", detail, key.path, key.server);
		check(pge_aws_format_uri(&key, "ours", uri) == PGE_OK && strcmp(uri, good[i].canonical) == 0, "is %s", uri);
		if (strstr(uri, "ours") == NULL)
			check(pge_aws_parse_uri(text_bytes(uri), &again, detail) == PGE_OK && strcmp(key.path, again.path) == 0 &&
				  strcmp(key.server, again.server) == 0 && strcmp(key.instance, again.instance) == 0, "which reads back");
	}
}

static void
check_hostile(void)
{
	static const char *const wrong[] = {
		/* what is no key of KMS */
		"aws-kms:", "aws-kms://", "aws-kms:///", "aws-kms:////" UUID, "arn:", "arn:aws", "arn:aws:s3:::bucket", "arn:aws:kms",
		"arn:aws:kms:eu-west-1:111122223333", "arn:aws:kms:eu-west-1:111122223333:", "arn:aws:kms:eu-west-1:111122223333:key",
		ARN "key/", ARN "alias/", ARN "grant/x", ARN "key/a/b", ARN "key/a:b", ARN "key/*", ARN "alias/a:b", ARN "alias/a.b", ARN "key/a.b",
		ARN "key/a_b", ARN "alias/../key/a", ARN "key/..", ARN "alias//a", ARN "alias/a/", ARN "KEY/" UUID,
		ARN "key%2f" UUID, ARN "alias/a%2fb", ARN "alias/%2e%2e", "aws-kms:///../" UUID, "aws-kms:///a/b", "aws-kms:///key/a/b",
		"aws-kms:///alias/", "aws-kms://" UUID ":443", "aws-kms://host:443/" UUID, "aws-kms://host/" KEY, "aws-kms://[::1]/" UUID,
		"awskms://kms.eu-west-1.amazonaws.com/" KEY,
		/* accounts, regions, partitions */
		"arn:aws:kms:eu-west-1::key/a", "arn:aws:kms:eu-west-1:1111:key/a", "arn:aws:kms:eu-west-1:11112222333a:key/a", "arn:aws:kms:eu-west-1:1111222233334:key/a",
		"arn:aws:kms::111122223333:key/a", "arn:aws:kms:eu-west:111122223333:key/a", "arn:aws:kms:eu--1:111122223333:key/a", "arn:aws:kms:EU-WEST-1:111122223333:key/a",
		"arn:aws:kms:evil.example:111122223333:key/a", "arn:aws:kms:evil.example%2f:111122223333:key/a", "arn:aws:kms:eu-west-1.evil-1:111122223333:key/a",
		"arn:aws:kms:eu-west-1@evil:111122223333:key/a", "arn:aws:kms:a-1:111122223333:key/a", "arn:aws:kms:eu-west-1x:111122223333:key/a",
		"arn:aws:kms:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaa-1:111122223333:key/a", "arn:aws-cn:kms:eu-west-1:111122223333:key/a", "arn:aws:kms:cn-north-1:111122223333:key/a",
		"arn:aws:kms:us-gov-west-1:111122223333:key/a", "arn:aws-us-gov:kms:us-east-1:111122223333:key/a", "arn:evil:kms:eu-west-1:111122223333:key/a", "arn::kms:eu-west-1:111122223333:key/a",
		"arn:AWS:kms:eu-west-1:111122223333:key/a", "arn:aws:KMS:eu-west-1:111122223333:key/a", "arn:aws:kms:eu-west-1:111122223333:key/a:arn:aws:kms:eu-west-1:111122223333:key/b",
		/* queries, fragments, users, odd bytes */
		KEY "?region=us-east-1", KEY "?region=", KEY "?region=evil.example", KEY "?region=eu-west-1&region=eu-west-1", KEY "?region=eu-west-1&region=us-east-1",
		KEY "?endpoint=https://evil", KEY "?instance=a&instance=b", KEY "?instance=a&region=eu-west-1&x=y", KEY "?", KEY "?&region=eu-west-1", KEY "#x", KEY "?region=eu-west-1#x",
		KEY "?role=arn:aws:iam::1:role/x", KEY "?instance=", KEY "?region=eu-west-1&", "aws-kms:///a?region=eu-west-1/", "aws-kms://user@" KEY, "aws-kms://user:pass@host/" KEY, KEY "\n", KEY " ", KEY "\x01", KEY "\xc3\xa4",
		KEY "%00", KEY "%0d%0aX-Amz-Target:%20TrentService.x", KEY "%", KEY "%zz", KEY "%252f", "aws-kms:\\\\" KEY, "aws-kms:///" ARN "key\\" UUID,
	};
	static const char *const others[] = {
		"", "a", "aws-kms", "aws:" KEY, "aws-kmsx://" KEY, "arns:aws:kms", "vault://v/transit/keys/a", "local:00000000-0000-0000-0000-000000000001", "gcp-kms://x", " aws-kms://" KEY,
		"https://kms.eu-west-1.amazonaws.com/",
	};
	static char longest[PGE_KEK_URI_MAX + 2];
	static const char with_nul[] = "aws-kms://" KEY "\0evil";
	KeyUri		key;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		detail[0] = '\0';
		if (pge_aws_parse_uri(text_bytes(wrong[i]), &key, detail) != PGE_INVALID || detail[0] == '\0')
			check(false, "refused with a reason: %s (%s)", wrong[i], detail);
		else
			check(true, "refused: %s", detail);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		check_status(pge_aws_parse_uri(text_bytes(others[i]), &key, detail), PGE_KEK_NOT_FOUND, "not ours: %s", others[i]);
	check_status(pge_aws_parse_uri(pge_bytes(with_nul, sizeof(with_nul) - 1), &key, detail), PGE_INVALID, "a NUL in it");
	memset(longest, 'a', sizeof(longest) - 1);
	memcpy(longest, "aws-kms:///", 11);
	check_status(pge_aws_parse_uri(text_bytes(longest), &key, detail), PGE_INVALID, "too long");
	longest[11 + 128] = '\0';
	check_status(pge_aws_parse_uri(text_bytes(longest), &key, detail), PGE_OK, "the longest id");
	longest[11 + 128] = 'a';
	longest[11 + 129] = '\0';
	check_status(pge_aws_parse_uri(text_bytes(longest), &key, detail), PGE_INVALID, "one letter more");
}

static KeyUri
key_of(const char *uri)
{
	KeyUri		key;

	if (pge_aws_parse_uri(text_bytes(uri), &key, detail) != PGE_OK)
		abort();
	return key;
}

/* Is this what the service may answer for that? */
static bool
fits(const char *arn, const char *asked)
{
	KeyUri		key = key_of(asked);

	return pge_aws_is_arn_of(arn, &key, "eu-west-1");
}

static void
check_identities(void)
{
	KeyUri		arn = key_of(KEY);
	KeyUri		alias = key_of(ARN "alias/a");
	KeyUri		bare = key_of("aws-kms:///" UUID);
	KeyUri		bare_alias = key_of("aws-kms:///alias/a");

	check(pge_aws_is_key_arn(&arn), "a key's ARN");
	check(!pge_aws_is_key_arn(&alias) && !pge_aws_is_key_arn(&bare) && !pge_aws_is_key_arn(&bare_alias), "and what is none");
	check(strcmp(pge_aws_key_id(&arn), KEY) == 0 && strcmp(pge_aws_key_id(&bare), UUID) == 0 &&
		  strcmp(pge_aws_key_id(&bare_alias), "alias/a") == 0 && strcmp(pge_aws_key_id(&alias), ARN "alias/a") == 0, "how AWS is asked for it");
	check(fits(KEY, KEY), "the same key");
	check(fits(KEY, ARN "alias/a") && fits(KEY, "aws-kms:///alias/a") && fits(KEY, "aws-kms:///" UUID), "a key for its alias or its id");
	check(!fits(ARN "key/other", KEY), "another key");
	check(!fits(ARN "key/other", "aws-kms:///" UUID), "another id");
	check(!fits("arn:aws:kms:eu-west-1:444455556666:key/" UUID, KEY), "the id in another account");
	check(!fits("arn:aws:kms:eu-west-1:444455556666:key/" UUID, ARN "alias/a"), "an alias that leads to another account");
	check(!fits("arn:aws:kms:us-east-1:111122223333:key/" UUID, "aws-kms:///" UUID), "another region");
	check(!fits(ARN "alias/a", ARN "alias/a"), "an alias for itself");
	check(!fits("", KEY) && !fits("x", KEY) && !fits(UUID, "aws-kms:///" UUID), "what is no ARN");
}

/* "[aws a]" and these lines; true: taken.  Otherwise *line of the error. */
static bool
is_taken(const char *lines, KmsConfig **config, int *line)
{
	char		text[2048];
	int			len = snprintf(text, sizeof(text), "[aws a]\n%s\n", lines);

	*config = NULL;
	detail[0] = '\0';
	return pge_kms_config_parse(pge_bytes(text, (size_t) len), config, line, detail) == PGE_OK;
}

static void
check_refused(const char *lines, int expected_line, const char *says)
{
	KmsConfig  *config;
	int			line = 0;
	bool		taken = is_taken(lines, &config, &line);

	check(!taken && line == expected_line && strstr(detail, says) != NULL, "refused: line %d, %s", line, detail);
	pge_kms_config_free(config);
}

static void
check_sections(void)
{
	static const struct
	{
		const char *lines,
				   *url,
				   *host;
	}			good[] = {
		{"region = eu-west-1", "https://kms.eu-west-1.amazonaws.com/", "kms.eu-west-1.amazonaws.com"},
		{"region = eu-west-1\nuse_fips_endpoint = true", "https://kms-fips.eu-west-1.amazonaws.com/", "kms-fips.eu-west-1.amazonaws.com"},
		{"region = eu-west-1\nuse_dualstack_endpoint = true", "https://kms.eu-west-1.api.aws/", "kms.eu-west-1.api.aws"},
		{"region = us-gov-west-1\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true", "https://kms-fips.us-gov-west-1.api.aws/", "kms-fips.us-gov-west-1.api.aws"},
		{"region = cn-north-1", "https://kms.cn-north-1.amazonaws.com.cn/", "kms.cn-north-1.amazonaws.com.cn"},
		{"region = eusc-de-east-1", "https://kms.eusc-de-east-1.amazonaws.eu/", "kms.eusc-de-east-1.amazonaws.eu"},
		{"region = us-iso-east-1", "https://kms.us-iso-east-1.c2s.ic.gov/", "kms.us-iso-east-1.c2s.ic.gov"},
		{"region = eu-isoe-west-1", "https://kms.eu-isoe-west-1.cloud.adc-e.uk/", "kms.eu-isoe-west-1.cloud.adc-e.uk"},
		{"region = eu-west-1\nuse_fips_endpoint = false\nendpoint = https://VPCE-1.kms.eu-west-1.vpce.amazonaws.com", "https://vpce-1.kms.eu-west-1.vpce.amazonaws.com/", "vpce-1.kms.eu-west-1.vpce.amazonaws.com"},
		{"region = eu-west-1\nendpoint = https://k:8443/", "https://k:8443/", "k:8443"},
		{"region = eu-west-1\nendpoint = https://k:443", "https://k/", "k"},
		{"region = eu-west-1\nendpoint = http://127.0.0.1:5000", "http://127.0.0.1:5000/", "127.0.0.1:5000"},
		{"region = eu-west-1\nendpoint = http://[::1]:80", "http://[::1]/", "[::1]"},
		{"region = eu-west-1\nendpoint = http://127.0.0.1:443", "http://127.0.0.1:443/", "127.0.0.1:443"},
		{"region = eu-west-1\nca_file = /dev/null\nauth = imds", "https://kms.eu-west-1.amazonaws.com/", "kms.eu-west-1.amazonaws.com"},
	};
	AwsEndpoint endpoint;
	KmsConfig  *config;
	int			line;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		if (!check(is_taken(good[i].lines, &config, &line), "section %zu is taken: %s", i, detail))
			continue;
		check(pge_aws_endpoint(&config->instances[1], &endpoint, detail) == PGE_OK && strcmp(endpoint.url, good[i].url) == 0 &&
			  strcmp(endpoint.host, good[i].host) == 0, "and asks %s", endpoint.url);
		pge_kms_config_free(config);
	}
	check_refused("endpoint = https://k", 1, "\"region = ...\"");
	check_refused("region = Ireland", 2, "eu-west-1");
	check_refused("region = eu-west-1.evil.example", 2, "eu-west-1");
	check_refused("region = eu-west-1/", 2, "eu-west-1");
	check_refused("region = eu-west-1\nuse_fips_endpoint = yes", 3, "true or false");
	check_refused("region = eu-west-1\nuse_dualstack_endpoint = 1", 3, "true or false");
	check_refused("region = eu-west-1\nuse_fips_endpoint = true\nendpoint = https://k", 3, "leave one of them out");
	check_refused("region = eu-west-1\nendpoint = http://kms.internal", 3, "https://");
	check_refused("region = eu-west-1\nendpoint = http://localhost:5000", 3, "https://");
	check_refused("region = eu-west-1\nendpoint = http://127.0.0.1.evil.example", 3, "https://");
	check_refused("region = eu-west-1\nendpoint = http://169.254.169.254", 3, "https://");
	check_refused("region = eu-west-1\nendpoint = https://k/path", 3, "https://host");
	check_refused("region = eu-west-1\nendpoint = https://u@k", 3, "https://host");
	check_refused("region = eu-west-1\nendpoint = kms", 3, "https://host");
	check_refused("region = eu-west-1\nca_file = ca.pem", 3, "begins with '/'");
	check_refused("region = eu-west-1\nca_file = /nonexistent/ca.pem", 3, "No such file");
	check_refused("region = eu-west-1\naws_secret_access_key = x", 3, "unknown setting");
}

/* A section serves the keys of its region that it allows, and of no other. */
static void
check_who_serves(void)
{
	static const char text[] = "[aws here]\nregion = eu-west-1\nallow_keys = " ARN "key/*, alias/app\n"
	"[aws there]\nregion = us-east-1\nallow_keys = arn:aws:kms:us-east-1:111122223333:key/*, alias/*\n";
	static const struct
	{
		const char *uri,
				   *name;		/* NULL: nobody */
	}			cases[] = {
		{KEY, "here"}, {"arn:aws:kms:us-east-1:111122223333:key/a", "there"}, {"arn:aws:kms:eu-west-1:444455556666:key/a", NULL},
		{"arn:aws:kms:eu-west-2:111122223333:key/a", NULL}, {ARN "alias/app", NULL}, {"aws-kms:///alias/other", "there"},
		{"aws-kms:///alias/app?region=eu-west-1", "here"}, {"aws-kms:///alias/app", NULL}, {"aws-kms:///alias/app?instance=here", "here"},
		{KEY "?instance=there", NULL},
	};
	KmsConfig  *config;
	const KmsInstance *instance;
	int			line;

	if (pge_kms_config_parse(text_bytes(text), &config, &line, detail) != PGE_OK)
		abort();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		KeyUri		key = key_of(cases[i].uri);
		PgeStatus	status = pge_kms_config_find(config, &key, &aws, &instance, detail);

		check(cases[i].name == NULL ? status == PGE_INVALID && detail[0] != '\0' : status == PGE_OK && strcmp(instance->name, cases[i].name) == 0,
			  "%s: %s", cases[i].uri, cases[i].name == NULL ? detail : cases[i].name);
	}
	pge_kms_config_free(config);
}

int
main(void)
{
	check_spellings();
	check_hostile();
	check_identities();
	check_sections();
	check_who_serves();
	return check_done();
}
