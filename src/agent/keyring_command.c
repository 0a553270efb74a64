/*-------------------------------------------------------------------------
 *
 * keyring_command.c
 *	  pg_envelope_agent keyring: an administrator's hands on the local keyring.
 *
 * Works without a server and while the agent runs: both take the same lock for
 * the moment of a change.  Prints names, numbers and dates; never key bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/commands.h"
#include "agent/kms/keyring_store.h"
#include "crypto/selftest.h"

typedef struct Options
{
	const char *keyring;
	const char *passphrase_command;
	const char *new_passphrase_command;
	const char *file_passphrase_command;
	bool		test;
	bool		plain;
	bool		force;
	bool		help;
	const char *verb;
	const char *operand;		/* the first, NULL: none */
	char	  **operands;
	int			noperands;
} Options;

typedef struct Verb
{
	const char *name;
	int			min_operands;
	int			max_operands;
	const char *options;		/* letters of the options that it takes */
	int			(*run) (const Options *options, KeyringStore *store);
} Verb;

/* What a restore needs to know, and what it found to be lost. */
typedef struct Restore
{
	const Keyring *source;
	bool		force;
	unsigned	lost;
} Restore;

/* What an import takes along, and how much that was. */
typedef struct Import
{
	const Keyring *source;
	const Options *options;
	unsigned	added;
} Import;

static int	list_keyring(const Options *options, KeyringStore *store);
static int	create_keyring(const Options *options, KeyringStore *store);
static int	check_keyring(const Options *options, KeyringStore *store);
static int	backup_keyring(const Options *options, KeyringStore *store);
static int	restore_keyring(const Options *options, KeyringStore *store);
static int	import_keks(const Options *options, KeyringStore *store);
static int	change_passphrase(const Options *options, KeyringStore *store);

static const Verb verbs[] = {
	{"list", 0, 0, "", list_keyring},
	{"create", 0, 0, "t", create_keyring},
	{"check", 0, INT_MAX, "", check_keyring},
	{"backup", 1, 1, "", backup_keyring},
	{"restore", 1, 1, "f", restore_keyring},
	{"import", 1, INT_MAX, "i", import_keks},
	{"passwd", 0, 0, "np", change_passphrase},
};

static const struct option long_options[] = {
	{"keyring", required_argument, NULL, 'k'},
	{"passphrase-command", required_argument, NULL, 'c'},
	{"new-passphrase-command", required_argument, NULL, 'n'},
	{"file-passphrase-command", required_argument, NULL, 'i'},
	{"plain", no_argument, NULL, 'p'},
	{"test", no_argument, NULL, 't'},
	{"force", no_argument, NULL, 'f'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0}
};

static const char usage_text[] =
"Usage: pg_envelope_agent keyring COMMAND [OPTION]...\n"
"\n"
"  list                 name every KEK and version (never key bytes)\n"
"  create [--test]      make an empty keyring; never over another file.\n"
"                       --test marks it as one that tests may fill and lose\n"
"  check [KEK[:VERSION]]...\n"
"                       verify directory, file, passphrase and every entry, and\n"
"                       that each KEK is there, or that version of it; a KEK is\n"
"                       named as envelope.kek's uri does\n"
"  backup FILE          copy the verified keyring to FILE, which must not exist\n"
"  restore FILE [--force]\n"
"                       put a backup in place; refused while the keyring holds\n"
"                       KEKs that FILE lacks, or cannot be read, unless --force\n"
"  import FILE [--file-passphrase-command COMMAND] [KEK]...\n"
"                       add the KEKs of a backup, or those named, to what is there;\n"
"                       made if it is missing, so that also takes some KEKs out\n"
"                       of a backup into a file of their own.  The command prints\n"
"                       FILE's passphrase if that is not the keyring's\n"
"  passwd --new-passphrase-command COMMAND | --plain\n"
"                       set, change or remove the passphrase; the keys stay\n"
"\n"
"Options of every command:\n"
"  --keyring FILE       the keyring; without it $PGDATA.pg_envelope/keyring,\n"
"                       which is pg_envelope.keyring_file's default\n"
"  --passphrase-command COMMAND\n"
"                       prints the passphrase (run by /bin/sh, 10 s at most), as\n"
"                       pg_envelope.keyring_passphrase_command does\n"
"\n"
"Run it as the user who owns the keyring (the server's). It works while the\n"
"server runs. After passwd change pg_envelope.keyring_passphrase_command too.\n"
"\n"
"Exit status: 0 done, 1 failed (the reason is on stderr), 2 wrong usage.\n";

static bool parse_options(int argc, char **argv, Options *options, char *given);
static const Verb *find_verb(const Options *options, const char *given);
static int	usage_error(const char *what);
static int	run_verb(const Verb *verb, const Options *options);
static int	fail(const char *what, PgeStatus status, const char *detail);
static void warn_if_plain(const Keyring *keyring, const char *path);
static void print_entry(const KeyringEntry *entry);
static unsigned count_keks(const Keyring *keyring);
static bool has_kek(const Keyring *keyring, const char *operand);
static bool parse_kek(const char *operand, uint8_t uuid[PGE_UUID_LEN], uint32_t *version);
static PgeStatus apply_test_flag(Keyring *keyring, void *arg, char *detail);
static PgeStatus apply_restore(Keyring *keyring, void *arg, char *detail);
static PgeStatus read_copy(const Options *options, Keyring *source, char *detail);
static PgeStatus apply_import(Keyring *keyring, void *arg, char *detail);
static bool is_named(const Options *options, const KeyringEntry *entry);
static bool has_named(const Options *options, const Keyring *source, char *detail);
static PgeStatus apply_passphrase(Keyring *keyring, void *arg, char *detail);

int
pge_command_keyring(int argc, char **argv)
{
	Options		options = {0};
	char		given[8] = "";
	const char *broken;
	const Verb *verb;

	if (!parse_options(argc, argv, &options, given))
		return COMMAND_USAGE;
	if (options.help)
	{
		fputs(usage_text, stdout);
		return COMMAND_OK;
	}
	verb = find_verb(&options, given);
	if (verb == NULL)
		return COMMAND_USAGE;
	if (pge_crypto_selftest(&broken) != PGE_OK)
	{
		fprintf(stderr, "pg_envelope_agent: the self-test of %s failed: no key is touched\n", broken);
		return COMMAND_FAILED;
	}
	return run_verb(verb, &options);
}

/* "given": the letters of the options that only some commands take. */
static bool
parse_options(int argc, char **argv, Options *options, char *given)
{
	int			letter;

	while ((letter = getopt_long(argc, argv, "h", long_options, NULL)) != -1)
	{
		if (strchr("niptf", letter) != NULL && strchr(given, letter) == NULL)
			*strchr(given, '\0') = (char) letter;
		if (letter == 'k')
			options->keyring = optarg;
		else if (letter == 'c')
			options->passphrase_command = optarg;
		else if (letter == 'n')
			options->new_passphrase_command = optarg;
		else if (letter == 'i')
			options->file_passphrase_command = optarg;
		else if (letter == 'p')
			options->plain = true;
		else if (letter == 't')
			options->test = true;
		else if (letter == 'f')
			options->force = true;
		else if (letter == 'h')
			options->help = true;
		else
			return false;		/* getopt has said what */
	}
	options->verb = optind < argc ? argv[optind++] : NULL;
	options->operand = optind < argc ? argv[optind] : NULL;
	options->operands = argv + optind;
	options->noperands = argc - optind;
	return true;
}

static const Verb *
find_verb(const Options *options, const char *given)
{
	for (size_t i = 0; options->verb != NULL && i < sizeof(verbs) / sizeof(verbs[0]); i++)
	{
		const Verb *verb = &verbs[i];

		if (strcmp(verb->name, options->verb) != 0)
			continue;
		if (options->noperands < verb->min_operands)
			usage_error("this command needs a file");
		else if (options->noperands > verb->max_operands)
			usage_error("too many arguments");
		else if (strspn(given, verb->options) != strlen(given))
			usage_error("this command does not take that option");
		else
			return verb;
		return NULL;
	}
	usage_error(options->verb == NULL ? "no keyring command given" : "unknown keyring command");
	return NULL;
}

static int
usage_error(const char *what)
{
	fprintf(stderr, "pg_envelope_agent: %s; try \"pg_envelope_agent keyring --help\"\n", what);
	return COMMAND_USAGE;
}

static int
run_verb(const Verb *verb, const Options *options)
{
	char		detail[KMS_DETAIL_LEN] = "";
	char		path[COMMAND_PATH_MAX + 1];
	KeyringStore *store;
	PgeStatus	status;
	int			result;

	if (options->keyring == NULL && !pge_default_keyring(path))
		return usage_error("no keyring given: use --keyring FILE or set PGDATA");
	status = pge_keyring_store_new(options->keyring != NULL ? options->keyring : path,
								   options->passphrase_command, &store, detail);
	if (status != PGE_OK)
		return fail("open the keyring", status, detail);
	result = verb->run(options, store);
	pge_keyring_store_free(store);
	return result;
}

/* Beside the data directory, as the server's default is. */
bool
pge_default_keyring(char path[COMMAND_PATH_MAX + 1])
{
	const char *pgdata = getenv("PGDATA");
	size_t		len = pgdata == NULL ? 0 : strlen(pgdata);

	while (len > 1 && pgdata[len - 1] == '/')
		len--;
	if (len == 0 || len + sizeof(".pg_envelope/keyring") > COMMAND_PATH_MAX)
		return false;
	snprintf(path, COMMAND_PATH_MAX + 1, "%.*s.pg_envelope/keyring", (int) len, pgdata);
	return true;
}

static int
fail(const char *what, PgeStatus status, const char *detail)
{
	fprintf(stderr, "pg_envelope_agent: could not %s: %s\n", what,
			detail[0] != '\0' ? detail : pge_status_name(status));
	return COMMAND_FAILED;
}

static void
warn_if_plain(const Keyring *keyring, const char *path)
{
	if (keyring->header.protection == KEYRING_PLAIN)
		fprintf(stderr, "WARNING: \"%s\" is plain, not under a passphrase: whoever reads it, or a disk or backup that holds it, can open every value that its KEKs protect.\n", path);
}

static int
list_keyring(const Options *options, KeyringStore *store)
{
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		keyring;
	PgeStatus	status = pge_keyring_store_load(store, NULL, &keyring, NULL, detail);

	(void) options;
	if (status != PGE_OK)
		return fail("list the keyring", status, detail);
	for (uint32_t i = 0; i < keyring.header.count; i++)
		print_entry(&keyring.entries[i]);
	pge_keyring_wipe(&keyring);
	return COMMAND_OK;
}

static void
print_entry(const KeyringEntry *entry)
{
	char		uri[KEYRING_URI_LEN + 1];
	char		created[32] = "?";
	time_t		seconds = (time_t) entry->created;
	struct tm	utc;

	pge_keyring_uri(entry->uuid, uri);
	if (gmtime_r(&seconds, &utc) != NULL)
		strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &utc);
	printf("%s version %" PRIu32 " enabled created %s\n", uri, entry->version, created);
}

static int
create_keyring(const Options *options, KeyringStore *store)
{
	bool		test = options->test;
	KeyringChange change = {KEYRING_MUST_NOT_EXIST, 0, apply_test_flag, &test, false};
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		keyring;
	PgeStatus	status = pge_keyring_store_change(store, &change, NULL, &keyring, NULL, detail);

	if (status != PGE_OK)
		return fail("create the keyring", status, detail);
	printf("created an empty %skeyring \"%s\"\n", test ? "test " : "", pge_keyring_store_path(store));
	warn_if_plain(&keyring, pge_keyring_store_path(store));
	pge_keyring_wipe(&keyring);
	return COMMAND_OK;
}

static PgeStatus
apply_test_flag(Keyring *keyring, void *arg, char *detail)
{
	(void) detail;
	keyring->header.test = *(const bool *) arg;
	return PGE_OK;
}

static int
check_keyring(const Options *options, KeyringStore *store)
{
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		keyring;
	int			missing = 0;
	PgeStatus	status = pge_keyring_store_load(store, NULL, &keyring, NULL, detail);

	if (status != PGE_OK)
		return fail("verify the keyring", status, detail);
	printf("keyring: %s\n", pge_keyring_store_path(store));
	printf("test keyring: %s\n", keyring.header.test ? "yes" : "no");
	printf("protection: %s\n", keyring.header.protection == KEYRING_SCRYPT ? "passphrase" : "plain");
	printf("serial: %" PRIu64 "\n", keyring.header.serial);
	printf("KEKs: %u\n", count_keks(&keyring));
	printf("versions: %" PRIu32 "\n", keyring.header.count);
	for (int i = 0; i < options->noperands; i++)
		missing += !has_kek(&keyring, options->operands[i]);
	if (missing == 0)
		printf("ok\n");
	warn_if_plain(&keyring, pge_keyring_store_path(store));
	if (keyring.header.protection == KEYRING_PLAIN && options->passphrase_command != NULL)
		fprintf(stderr, "WARNING: the passphrase command is not used; \"pg_envelope_agent keyring passwd\" puts the keyring under a passphrase.\n");
	pge_keyring_wipe(&keyring);
	return missing == 0 ? COMMAND_OK : COMMAND_FAILED;
}

/*
 * A copy from before a KEK was made, or a version of it, is whole, and useless for
 * what that wrapped.
 */
static bool
has_kek(const Keyring *keyring, const char *operand)
{
	uint8_t		uuid[PGE_UUID_LEN];
	char		uri[KEYRING_URI_LEN + 1];
	uint32_t	version;
	const KeyringEntry *newest;

	if (!parse_kek(operand, uuid, &version))
	{
		fprintf(stderr, "pg_envelope_agent: \"%s\" is no KEK of a local keyring: \"local:\" and a UUID in lower case, with \":\" and a version behind it or not\n", operand);
		return false;
	}
	pge_keyring_uri(uuid, uri);
	newest = pge_keyring_newest(keyring, uuid);
	if (newest == NULL)
	{
		fprintf(stderr, "pg_envelope_agent: KEK \"%s\" is not in the keyring: put a copy that holds it in place with \"pg_envelope_agent keyring restore\"\n", uri);
		return false;
	}
	printf("%s newest version: %" PRIu32 "\n", uri, newest->version);
	if (version == 0 || pge_keyring_find(keyring, uuid, version) != NULL)
		return true;
	fprintf(stderr, "pg_envelope_agent: version %" PRIu32 " of KEK \"%s\" is not in the keyring: put a copy that holds it in place with \"pg_envelope_agent keyring restore\"\n", version, uri);
	return false;
}

/* Version 0: none was asked for. */
static bool
parse_kek(const char *operand, uint8_t uuid[PGE_UUID_LEN], uint32_t *version)
{
	size_t		len = strlen(operand);
	size_t		uri_len = len < KEYRING_URI_LEN ? len : KEYRING_URI_LEN;
	const char *digits = operand + uri_len;
	unsigned long long number;

	*version = 0;
	if (pge_keyring_parse_uri(pge_bytes(operand, uri_len), uuid) != PGE_OK)
		return false;
	if (*digits == '\0')
		return true;
	if (*digits++ != ':' || strlen(digits) > 10 || strspn(digits, "0123456789") != strlen(digits))
		return false;
	number = strtoull(digits, NULL, 10);
	if (number == 0 || number > UINT32_MAX)
		return false;
	*version = (uint32_t) number;
	return true;
}

static unsigned
count_keks(const Keyring *keyring)
{
	unsigned	count = 0;

	for (uint32_t i = 0; i < keyring->header.count; i++)
		if (i == 0 || memcmp(keyring->entries[i].uuid, keyring->entries[i - 1].uuid, PGE_UUID_LEN) != 0)
			count++;
	return count;
}

static int
backup_keyring(const Options *options, KeyringStore *store)
{
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		keyring;
	PgeStatus	status = pge_keyring_store_backup(store, options->operand, &keyring, detail);

	if (status != PGE_OK)
	{
		pge_keyring_wipe(&keyring);
		return fail("back up the keyring", status, detail);
	}
	printf("copied %u KEKs (%" PRIu32 " versions, serial %" PRIu64 ") to \"%s\"\n", count_keks(&keyring),
		   keyring.header.count, keyring.header.serial, options->operand);
	if (keyring.header.protection == KEYRING_SCRYPT)
		printf("it opens under the passphrase of today only: keep that too, elsewhere\n");
	warn_if_plain(&keyring, options->operand);
	pge_keyring_wipe(&keyring);
	return COMMAND_OK;
}

static int
restore_keyring(const Options *options, KeyringStore *store)
{
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		source;
	Keyring		keyring;
	Restore		restore = {&source, options->force, 0};
	KeyringChange change = {KEYRING_MAY_EXIST, 0, apply_restore, &restore, options->force};
	PgeStatus	status = read_copy(options, &source, detail);

	if (status != PGE_OK)
		return fail("read the backup", status, detail);
	status = pge_keyring_store_change(store, &change, NULL, &keyring, NULL, detail);
	pge_keyring_wipe(&source);
	if (status != PGE_OK)
		return fail("restore the keyring", status, detail);
	if (detail[0] != '\0')
		fprintf(stderr, "WARNING: what was there has been replaced unread. %s\n", detail);
	printf("restored %u KEKs (%" PRIu32 " versions) to \"%s\"\n", count_keks(&keyring),
		   keyring.header.count, pge_keyring_store_path(store));
	warn_if_plain(&keyring, pge_keyring_store_path(store));
	pge_keyring_wipe(&keyring);
	return COMMAND_OK;
}

static PgeStatus
read_copy(const Options *options, Keyring *source, char *detail)
{
	const char *command = options->file_passphrase_command ? options->file_passphrase_command : options->passphrase_command;
	KeyringStore *store;
	PgeStatus	status = pge_keyring_store_new(options->operand, command, &store, detail);

	pge_keyring_init(source);
	if (status == PGE_OK)
		status = pge_keyring_store_load_copy(store, source, detail);
	pge_keyring_store_free(store);
	return status;
}

/*
 * Names what would be lost.  The serial goes on from the higher of the two, so
 * that the agent sees a change and not an older copy.
 */
static PgeStatus
apply_restore(Keyring *keyring, void *arg, char *detail)
{
	Restore    *restore = arg;
	uint64_t	serial = keyring->header.serial;
	Keyring		copy;
	PgeStatus	status;

	for (uint32_t i = 0; i < keyring->header.count; i++)
	{
		const KeyringEntry *entry = &keyring->entries[i];
		const KeyringEntry *kept = pge_keyring_find(restore->source, entry->uuid, entry->version);
		char		uri[KEYRING_URI_LEN + 1];

		if (kept != NULL && pge_secret_equal(kept->key.bytes, entry->key.bytes, PGE_DEK_LEN))
			continue;
		pge_keyring_uri(entry->uuid, uri);
		fprintf(stderr, "%s: the backup lacks %s version %" PRIu32 "\n",
				restore->force ? "WARNING" : "refused", uri, entry->version);
		restore->lost++;
	}
	if (restore->lost > 0 && !restore->force)
	{
		pge_kms_detail(detail, "The keyring holds %u versions of KEKs that the backup lacks; what they wrap would be lost. \"import\" adds those of the backup and keeps these; --force replaces the file, so back it up first.", restore->lost);
		return PGE_INVALID;
	}
	status = pge_keyring_copy(restore->source, &copy);
	if (status != PGE_OK)
		return status;
	pge_keyring_wipe(keyring);
	pge_secret_copy(keyring, &copy, sizeof(copy));
	pge_secret_wipe(&copy, sizeof(copy));
	if (keyring->header.serial < serial)
		keyring->header.serial = serial;
	return PGE_OK;
}

static int
import_keks(const Options *options, KeyringStore *store)
{
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		source;
	Keyring		keyring;
	Import		import = {&source, options, 0};
	KeyringChange change = {KEYRING_MAY_EXIST, 0, apply_import, &import, false};
	PgeStatus	status = read_copy(options, &source, detail);

	if (status == PGE_OK && !has_named(options, &source, detail))
		status = PGE_INVALID;
	if (status != PGE_OK)
	{
		pge_keyring_wipe(&source);
		return fail("read the backup", status, detail);
	}
	status = pge_keyring_store_change(store, &change, NULL, &keyring, NULL, detail);
	pge_keyring_wipe(&source);
	if (status != PGE_OK)
		return fail("import into the keyring", status, detail);
	printf("added %u versions of KEKs to \"%s\"\n", import.added, pge_keyring_store_path(store));
	warn_if_plain(&keyring, pge_keyring_store_path(store));
	pge_keyring_wipe(&keyring);
	return COMMAND_OK;
}

/* What is there stays; so does its passphrase, and "test" only among tests. */
static PgeStatus
apply_import(Keyring *keyring, void *arg, char *detail)
{
	Import	   *import = arg;
	bool		is_new = keyring->header.count == 0 && keyring->header.serial == 0;

	if (is_new && keyring->header.protection == KEYRING_PLAIN &&
		import->source->header.protection != KEYRING_PLAIN)
	{
		pge_kms_detail(detail, "The backup is under a passphrase, and the keyring is not there yet: without --passphrase-command it would be made plain. If it shall be, make it with \"create\" first.");
		return PGE_INVALID;
	}
	if (is_new)
		keyring->header.test = import->source->header.test;
	keyring->header.test = keyring->header.test && import->source->header.test;
	for (uint32_t i = 0; i < import->source->header.count; i++)
	{
		const KeyringEntry *entry = &import->source->entries[i];
		const KeyringEntry *there = pge_keyring_find(keyring, entry->uuid, entry->version);
		char		uri[KEYRING_URI_LEN + 1];
		PgeStatus	status;

		if (!is_named(import->options, entry))
			continue;
		pge_keyring_uri(entry->uuid, uri);
		if (there != NULL && pge_secret_equal(there->key.bytes, entry->key.bytes, PGE_DEK_LEN))
			continue;
		if (there != NULL)
		{
			pge_kms_detail(detail, "The keyring has another key as version %" PRIu32 " of KEK \"%s\". One of them is of a copy that was rotated on its own; a keyring cannot hold both.", entry->version, uri);
			return PGE_INVALID;
		}
		status = pge_keyring_add(keyring, entry);
		if (status != PGE_OK)
			return status;
		import->added++;
	}
	return PGE_OK;
}

/* The first operand is the file. */
static bool
is_named(const Options *options, const KeyringEntry *entry)
{
	char		uri[KEYRING_URI_LEN + 1];

	pge_keyring_uri(entry->uuid, uri);
	for (int i = 1; i < options->noperands; i++)
		if (strcmp(options->operands[i], uri) == 0)
			return true;
	return options->noperands == 1;
}

static bool
has_named(const Options *options, const Keyring *source, char *detail)
{
	for (int i = 1; i < options->noperands; i++)
	{
		uint8_t		uuid[PGE_UUID_LEN];
		uint32_t	version;

		if (parse_kek(options->operands[i], uuid, &version) && version == 0 &&
			pge_keyring_newest(source, uuid) != NULL)
			continue;
		pge_kms_detail(detail, "It has no KEK \"%s\".", options->operands[i]);
		return false;
	}
	return true;
}

static int
change_passphrase(const Options *options, KeyringStore *store)
{
	Keyring		protection;
	KeyringChange change = {KEYRING_MUST_EXIST, 0, apply_passphrase, &protection, false};
	char		detail[KMS_DETAIL_LEN] = "";
	Keyring		keyring;
	PgeStatus	status;

	if (options->plain == (options->new_passphrase_command != NULL))
		return usage_error("passwd needs either --new-passphrase-command or --plain");
	pge_keyring_init(&protection);
	status = pge_keyring_protect(&protection, options->plain ? NULL : options->new_passphrase_command, NULL, detail);
	if (status == PGE_OK)
		status = pge_keyring_store_change(store, &change, NULL, &keyring, NULL, detail);
	pge_keyring_wipe(&protection);
	if (status != PGE_OK)
		return fail("change the passphrase", status, detail);
	printf("\"%s\" is now %s\n", pge_keyring_store_path(store),
		   options->plain ? "plain" : "under the new passphrase");
	printf("%s\n", options->plain ? "reset pg_envelope.keyring_passphrase_command and reload"
		   : "set pg_envelope.keyring_passphrase_command to the new command and reload; earlier backups still open under what they were made with");
	warn_if_plain(&keyring, pge_keyring_store_path(store));
	pge_keyring_wipe(&keyring);
	return COMMAND_OK;
}

/* From a keyring without entries that was put under the new passphrase. */
static PgeStatus
apply_passphrase(Keyring *keyring, void *arg, char *detail)
{
	const Keyring *protection = arg;

	(void) detail;
	keyring->header.protection = protection->header.protection;
	memcpy(keyring->header.salt, protection->header.salt, KEYRING_SALT_LEN);
	pge_secret_copy(&keyring->file_key, &protection->file_key, sizeof(PgeSecret));
	return PGE_OK;
}
