/*-------------------------------------------------------------------------
 *
 * probe_command.c
 *	  pg_envelope_agent probe: why a KEK works, or does not, step by step.
 *
 * It goes the way that the server's agent goes: the same configuration, the
 * same provider, the same calls.  What it wraps is a DEK of random bytes that
 * nothing is ever sealed with, under a binding that no table can have.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/kms/json.h"
#include "agent/kms/kms.h"
#include "agent/kms/monotonic.h"
#include "crypto/random.h"
#include "crypto/selftest.h"
#include "format/binding.h"

#define STEP_MS			10000	/* the default of pg_envelope.kms_timeout */

typedef struct Options
{
	const char *config;
	const char *keyring;
	const char *passphrase_command;
	const char *uri;
	bool		help;
} Options;

/* What the steps find out, each for the next. */
typedef struct Probe
{
	const Options *options;
	KmsConfig  *config;
	KeyUri		key;
	const KmsProvider *provider;
	const KmsInstance *instance;
	char		uri[PGE_KEK_URI_MAX + 1];	/* canonical, without an instance */
	KmsSession *session;
	uint8_t		binding[PGE_BINDING_MAX];
	size_t		binding_len;
	PgeSecret	dek;
	uint8_t		wrapped[PGE_WRAPPED_MAX];
	size_t		wrapped_len;
} Probe;

static const char usage_text[] =
"Usage: pg_envelope_agent probe [OPTION]... URI\n"
"\n"
"Tries each step to the KEK as the server does, and prints a line for each:\n"
"what was found and how long it took, or what failed and what to do. A DEK that\n"
"is made for this is wrapped and unwrapped; nothing is stored.\n"
"\n"
"  --config FILE        what pg_envelope.kms_config_file names, or the file of an\n"
"                       agent of its own; without it only the local keyring\n"
"  --keyring FILE       the keyring of a local KEK; without it that of [agent] in\n"
"                       FILE, or $PGDATA.pg_envelope/keyring\n"
"  --passphrase-command COMMAND\n"
"                       as pg_envelope.keyring_passphrase_command\n"
"\n"
"Run it as the agent's user, by default the server's. allow_databases and allow_keyrings of a section\n"
"are not looked at: no database asks.\n"
"\n"
"Exit status: 0 the KEK works, 1 it does not, 2 wrong usage.\n";

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'f'},
	{"keyring", required_argument, NULL, 'k'},
	{"passphrase-command", required_argument, NULL, 'c'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0}
};

static bool parse_options(int argc, char **argv, Options *options);
static bool run(Probe *probe);
static bool configure(Probe *probe);
static PgeStatus find_section(Probe *probe, char *detail);
static bool open_session(Probe *probe);
static bool reach(Probe *probe);
static bool describe(Probe *probe);
static bool take_name(Probe *probe, const char *uri);
static bool make_throwaway(Probe *probe);
static bool wrap(Probe *probe);
static bool unwrap(Probe *probe);
static KmsCall call_of(const Probe *probe, KmsOperation operation);
static bool perform(const Probe *probe, const char *name, KmsCall *call, KmsResult *result);
static const char *advice(PgeStatus status);
static bool tell(const char *name, PgeStatus status, const char *detail, const char *what_to_do, int64_t us);

int
pge_command_probe(int argc, char **argv)
{
	Options		options = {0};
	Probe		probe = {.options = &options};
	const char *broken;
	bool		works;

	if (!parse_options(argc, argv, &options))
		return COMMAND_USAGE;
	if (options.help)
	{
		fputs(usage_text, stdout);
		return COMMAND_OK;
	}
	if (pge_crypto_selftest(&broken) != PGE_OK)
	{
		fprintf(stderr, "pg_envelope_agent: the self-test of %s failed: no key is touched\n", broken);
		return COMMAND_FAILED;
	}
	pge_json_init();
	works = run(&probe);
	if (probe.session != NULL)
		probe.provider->close(probe.session);
	pge_kms_config_free(probe.config);
	pge_secret_wipe(&probe, sizeof(probe));
	return works ? COMMAND_OK : COMMAND_FAILED;
}

static bool
parse_options(int argc, char **argv, Options *options)
{
	int			letter;

	while ((letter = getopt_long(argc, argv, "h", long_options, NULL)) != -1)
	{
		if (letter == 'f')
			options->config = optarg;
		else if (letter == 'k')
			options->keyring = optarg;
		else if (letter == 'c')
			options->passphrase_command = optarg;
		else if (letter == 'h')
			options->help = true;
		else
			return false;		/* getopt has said what */
	}
	if (options->help)
		return true;
	if (optind + 1 != argc || argv[optind][0] == '\0')
	{
		fprintf(stderr, "pg_envelope_agent: probe needs one URI; try \"pg_envelope_agent probe --help\"\n");
		return false;
	}
	options->uri = argv[optind];
	return true;
}

static bool
run(Probe *probe)
{
	return configure(probe) && open_session(probe) && reach(probe) && describe(probe) &&
		make_throwaway(probe) && wrap(probe) && unwrap(probe);
}

static bool
configure(Probe *probe)
{
	char		detail[KMS_DETAIL_LEN] = "";
	char		heading[KMS_INSTANCE_HEADING_LEN];
	int64_t		before_us = pge_monotonic_us();
	PgeStatus	status = pge_kms_config_read(probe->options->config, &probe->config, detail);

	if (status == PGE_OK)
		status = find_section(probe, detail);
	if (status == PGE_OK)
		pge_kms_detail(detail, "%s serves %s", pge_kms_instance_heading(probe->instance, heading), probe->uri);
	return tell("config", status, detail, "", pge_monotonic_us() - before_us);
}

static PgeStatus
find_section(Probe *probe, char *detail)
{
	PgeBytes	uri = pge_bytes(probe->options->uri, strlen(probe->options->uri));
	PgeStatus	status = pge_kms_parse_uri(uri, &probe->key, &probe->provider, detail);

	if (status != PGE_OK)
		return status;
	status = pge_kms_config_find(probe->config, &probe->key, probe->provider, &probe->instance, detail);
	if (status != PGE_OK && probe->options->config == NULL)
		pge_kms_detail_append(detail, "No file was given: --config FILE.");
	return status == PGE_OK ? pge_kms_format_uri(&probe->key, "", probe->instance, probe->uri, detail) : status;
}

/* Asks nobody yet, so it is no step unless it fails. */
static bool
open_session(Probe *probe)
{
	char		path[COMMAND_PATH_MAX + 1] = "";
	char		detail[KMS_DETAIL_LEN] = "";
	KmsAgentSection section;
	KmsSettings settings = {
		.keyring_file = probe->options->keyring,
		.keyring_passphrase_command = probe->options->passphrase_command,
		.timeout_ms = STEP_MS,
		.concurrency = 1,
		.external = pge_kms_config_agent(probe->config, &section),
		.instance = probe->instance,
	};
	PgeStatus	status;

	if (settings.external && settings.keyring_passphrase_command == NULL)
		settings.keyring_passphrase_command = section.keyring_passphrase_command;
	if (settings.external && settings.keyring_file == NULL)
		settings.keyring_file = section.keyring_file;
	else if (settings.keyring_file == NULL && pge_default_keyring(path))
		settings.keyring_file = path;
	status = probe->provider->open(&settings, &probe->session, detail);
	return status == PGE_OK || tell("open", status, detail, "", 0);
}

static bool
reach(Probe *probe)
{
	const KmsCall call = call_of(probe, KMS_DESCRIBE);
	KmsWay		way = {0};
	bool		reached = true;

	if (probe->provider->reach != NULL)
		probe->provider->reach(probe->session, &call, &way);
	for (int i = 0; i < way.count; i++)
		reached = tell(way.steps[i].name, way.steps[i].status, way.steps[i].detail, "", way.steps[i].us) && reached;
	return reached;
}

static bool
describe(Probe *probe)
{
	KmsCall		call = call_of(probe, KMS_DESCRIBE);
	KmsResult	result;
	bool		works = perform(probe, "key", &call, &result);

	if (works && result.uri[0] != '\0')
		works = take_name(probe, result.uri);
	pge_secret_wipe(&result, sizeof(result));
	return works;
}

/* As a KEK it would have this one, which the section has to allow, too. */
static bool
take_name(Probe *probe, const char *uri)
{
	char		detail[KMS_DETAIL_LEN] = "";
	const KmsInstance *instance = NULL;
	KeyUri		key;
	PgeStatus	status = probe->provider->parse_uri(pge_bytes(uri, strlen(uri)), &key, detail);

	if (status == PGE_OK)
	{
		memcpy(key.instance, probe->key.instance, sizeof(key.instance));
		status = pge_kms_config_find(probe->config, &key, probe->provider, &instance, detail);
	}
	if (status == PGE_OK)
		status = pge_kms_format_uri(&key, "", probe->instance, probe->uri, detail);
	probe->key = key;
	return status == PGE_OK || tell("config", status, detail, "", 0);
}

/* The keyring's uuid is drawn, so that this is the binding of no row anywhere. */
static bool
make_throwaway(Probe *probe)
{
	static const char key_id[] = "pg_envelope_agent probe";
	PgeBuffer	bytes = {probe->binding, 0, sizeof(probe->binding)};
	PgeBinding	binding = {
		.dek_id = 1, .version = 1, .purpose = PGE_PURPOSE_AEAD, .algorithm = 1,
		.key_id = pge_bytes(key_id, sizeof(key_id) - 1),
	};
	PgeStatus	status = pge_random_bytes(binding.keyring, sizeof(binding.keyring));

	if (status == PGE_OK)
		status = pge_random_bytes(probe->dek.bytes, sizeof(probe->dek.bytes));
	if (status == PGE_OK)
		status = pge_binding_encode(&binding, &bytes);
	probe->binding_len = bytes.len;
	return status == PGE_OK || tell("dek", status, "", "", 0);
}

static bool
wrap(Probe *probe)
{
	KmsCall		call = call_of(probe, KMS_WRAP);
	KmsResult	result;
	bool		works;

	call.dek = &probe->dek;
	works = perform(probe, "wrap", &call, &result);
	memcpy(probe->wrapped, result.wrapped, result.wrapped_len);
	probe->wrapped_len = result.wrapped_len;
	pge_secret_wipe(&result, sizeof(result));
	return works;
}

static bool
unwrap(Probe *probe)
{
	KmsCall		call = call_of(probe, KMS_UNWRAP);
	KmsResult	result;
	bool		works;

	call.wrapped = pge_bytes(probe->wrapped, probe->wrapped_len);
	works = perform(probe, "unwrap", &call, &result);
	if (works && !pge_secret_equal(&result.dek, &probe->dek, sizeof(probe->dek)))
		works = tell("compare", PGE_WRAPPING_DAMAGED, "What was unwrapped is not what was wrapped.",
					 "Use no key of this service until it is known why.", 0);
	pge_secret_wipe(&result, sizeof(result));
	return works;
}

static KmsCall
call_of(const Probe *probe, KmsOperation operation)
{
	return (KmsCall)
	{
		.operation = operation,
			.uri = pge_bytes(probe->uri, strlen(probe->uri)),
			.key = &probe->key,
			.binding = pge_bytes(probe->binding, probe->binding_len),
			.deadline_ms = (uint64_t) (pge_monotonic_us() / 1000) + STEP_MS,
	};
}

/* The caller wipes *result. */
static bool
perform(const Probe *probe, const char *name, KmsCall *call, KmsResult *result)
{
	char		found[KMS_DETAIL_LEN] = "";
	int64_t		before_us = pge_monotonic_us();
	int64_t		took_us;

	probe->provider->perform(probe->session, call, result);
	took_us = pge_monotonic_us() - before_us;
	if (result->status != PGE_OK)
		return tell(name, result->status, result->detail, advice(result->status), took_us);
	pge_kms_detail(found, "version %s", result->kek_version);
	if (result->detail[0] != '\0')
		pge_kms_detail(found, "version %s: %s", result->kek_version, result->detail);
	return tell(name, PGE_OK, found, "", took_us);
}

/* Where the detail, which the provider wrote, does not say it. */
static const char *
advice(PgeStatus status)
{
	switch (status)
	{
		case PGE_UNAVAILABLE:
			return "See what the service itself says of its state.";
		case PGE_THROTTLED:
			return "Ask for a higher rate there, or try again later.";
		case PGE_UNAUTHENTICATED:
			return "Give the section another credential.";
		case PGE_KEK_NOT_FOUND:
			return "Compare the URI with the names of the keys there.";
		case PGE_KEK_UNUSABLE:
			return "Have the key enabled or restored there, or name another one.";
		default:
			return "";
	}
}

static bool
tell(const char *name, PgeStatus status, const char *detail, const char *what_to_do, int64_t us)
{
	printf("%-4s %-7s %s%s%s   %" PRId64 ".%" PRId64 " ms\n", status == PGE_OK ? "ok" : "FAIL", name,
		   detail[0] != '\0' ? detail : pge_status_name(status), what_to_do[0] != '\0' ? " " : "",
		   what_to_do, us / 1000, us % 1000 / 100);
	return status == PGE_OK;
}
