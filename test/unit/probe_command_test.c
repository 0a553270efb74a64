/*-------------------------------------------------------------------------
 *
 * probe_command_test.c
 *	  pg_envelope_agent probe against a key service that lies: what a good one
 *	  never does.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/commands.h"
#include "agent/kms/kms.h"
#include "check.h"

static char out[16384];			/* what the command printed */
static PgeSecret wrapped;		/* what wrap was given */
static PgeStatus of_unwrap;
static bool other_dek;			/* unwrap gives another */
static bool blocked;			/* a step of reach() fails */
static int	closed;
static int	calls;

static PgeStatus
fake_parse_uri(PgeBytes uri, KeyUri *key, char *detail)
{
	(void) uri;
	(void) detail;
	memset(key, 0, sizeof(*key));
	memcpy(key->scheme, "local", 6);
	memcpy(key->path, "x", 2);
	return PGE_OK;
}

static PgeStatus
fake_open(const KmsSettings *settings, KmsSession **session, char *detail)
{
	(void) settings;
	(void) detail;
	*session = (KmsSession *) &wrapped;
	return PGE_OK;
}

static void
fake_perform(KmsSession *session, const KmsCall *call, KmsResult *result)
{
	(void) session;
	calls++;
	memset(result, 0, sizeof(*result));
	snprintf(result->kek_version, sizeof(result->kek_version), "7");
	if (call->operation == KMS_WRAP)
	{
		wrapped = *call->dek;
		result->wrapped_len = 1;
	}
	if (call->operation != KMS_UNWRAP)
		return;
	result->status = of_unwrap;
	result->dek = wrapped;
	result->dek.bytes[PGE_DEK_LEN - 1] ^= other_dek;
}

static void
fake_reach(KmsSession *session, const KmsCall *call, KmsWay *way)
{
	(void) session;
	(void) call;
	pge_kms_detail(pge_kms_way_step(way, "road", 1500)->detail, "open");
	if (blocked)
		pge_kms_way_step(way, "bridge", 0)->status = PGE_UNAVAILABLE;
}

static void
fake_close(KmsSession *session)
{
	(void) session;
	closed++;
}

static const char *const no_settings[] = {NULL};
static const KmsProvider fake = {
	.name = "local", .settings = no_settings, .parse_uri = fake_parse_uri, .open = fake_open,
	.perform = fake_perform, .reach = fake_reach, .close = fake_close,
};
static const KmsProvider *const fakes[] = {&fake, NULL};

const KmsProvider *const *
pge_kms_providers(void)
{
	return fakes;
}

const KmsProvider *
pge_kms_provider_named(const char *name)
{
	return strcmp(name, fake.name) == 0 ? &fake : NULL;
}

bool
pge_default_keyring(char path[COMMAND_PATH_MAX + 1])
{
	(void) path;
	return false;
}

static int
probe(void)
{
	char		name[] = "probe";
	char		uri[] = "local:x";
	char	   *argv[] = {name, uri, NULL};
	FILE	   *file = tmpfile();
	int			saved = dup(1);
	int			status;
	ssize_t		len;

	if (file == NULL || saved < 0)
		abort();
	fflush(stdout);
	dup2(fileno(file), 1);
	closed = calls = 0;
	status = pge_command_probe(2, argv);
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	if (lseek(fileno(file), 0, SEEK_SET) != 0 || (len = read(fileno(file), out, sizeof(out) - 1)) < 0)
		abort();
	out[len] = '\0';
	fclose(file);
	return status;
}

int
main(void)
{
	static const PgeSecret zeros;

	check(probe() == COMMAND_OK && closed == 1 && calls == 3, "an honest service");
	check(strstr(out, "ok   road    open   1.5 ms\n") != NULL && strstr(out, "ok   unwrap  version 7   ") != NULL, "its lines");
	check(!pge_secret_equal(&wrapped, &zeros, sizeof(zeros)), "wraps a DEK that is not of zeros");

	other_dek = true;
	check(probe() == COMMAND_FAILED && closed == 1, "another DEK than was wrapped");
	check(strstr(out, "FAIL compare What was unwrapped is not what was wrapped.") != NULL, "is noticed");
	other_dek = false;

	of_unwrap = PGE_WRAPPING_DAMAGED;
	check(probe() == COMMAND_FAILED && strstr(out, "FAIL unwrap  ") != NULL && strstr(out, "compare") == NULL, "a failure without a sentence");
	of_unwrap = PGE_OK;

	blocked = true;
	check(probe() == COMMAND_FAILED && calls == 0 && closed == 1 && strstr(out, "FAIL bridge ") != NULL, "a way that is blocked is not gone");
	return check_done();
}
