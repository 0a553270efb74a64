/*
 * kms_config.h -- pg_envelope.kms_config_file: which key services there are, and
 * which of their keys may be named in SQL.
 *
 * INI: "[provider name]" sections of "name = value" lines.  A comment begins
 * with ';' or '#' at the beginning of a line, or with ';' after a blank or the
 * "=".  UTF-8 without control characters but tab; a line has at most 4096 bytes,
 * a file 256 KiB.  A line that is not understood, an unknown section or setting,
 * a setting given twice, an instance named twice, a value that is missing is an
 * error that names the line: nothing is guessed and nothing is left out.
 *
 * Settings of every section:
 *	allow_keys = pattern, ...		keys that SQL may name (key_uri.h); none: none
 *	allow_databases = name, ...		whose sessions wrap, unwrap, make, rotate and destroy; default any;
 *									a fence against mistakes, no wall
 *	allow_keyrings = uuid, ...		whose DEKs it wraps and unwraps; default any
 *	allow_destroy = on | off		whether SQL may destroy its KEKs, and call that off; default off:
 *									who has taken a backend over must not get at that
 * and those that its provider lists (kms.h).  "[local]" has no name and takes
 * those but allow_keys only.
 *
 * "[agent]" stands in the file of an agent that is a service of its own
 * (pg_envelope_agent serve --config FILE), and only there:
 *	server_user = name				the operating-system user whose processes it serves; needed
 *	socket = path					default KMS_AGENT_SOCKET
 *	keyring_file = path				of the local keyring; default KMS_AGENT_KEYRING
 *	keyring_passphrase_command = command
 *	concurrency = n					calls of one service under way at once; default 16
 *	timeout_ms = n					how long the server's sessions wait (pg_envelope.kms_timeout); default 10000
 * So a file tells by itself how its agent is started, and an agent that is
 * started in the other way refuses it: what it says would be left out.
 *
 * The file: a regular one, owned by root or by who runs this, not writable by
 * group or others; symbolic links are followed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_CONFIG_H
#define PGE_AGENT_KMS_CONFIG_H

#include <sys/types.h>

#include "agent/kms/key_uri.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"

#define KMS_CONFIG_LINE_MAX		4096
#define KMS_CONFIG_FILE_MAX		(256 * 1024)
#define KMS_INSTANCES_MAX		32
#define KMS_INSTANCE_NAME_MAX	63	/* letters, digits, '-', '_', '.'; first a
									 * letter or a digit */
#define KMS_DATABASE_NAME_MAX	63
#define KMS_AGENT_SOCKET		"/run/pg_envelope/agent.sock"
#define KMS_AGENT_KEYRING		"/var/lib/pg_envelope/keyring"
#define KMS_AGENT_CONCURRENCY	16
#define KMS_AGENT_TIMEOUT_MS	10000

struct KmsProvider;

typedef struct KmsSetting
{
	char	   *name;
	char	   *value;			/* never empty */
	int			line;
} KmsSetting;

typedef struct KmsInstance
{
	const struct KmsProvider *provider;
	char		name[KMS_INSTANCE_NAME_MAX + 1];	/* "" : [local] */
	int			line;			/* of its heading; 0: not in the file */
	bool		spawned;		/* there is no [agent]: the server starts the
								 * agent, in whose environment is no
								 * credential then; set before
								 * provider->check() */
	char		server[KEY_URI_SERVER_MAX + 1]; /* set by provider->check():
												 * "host:port", what URIs are
												 * matched with */
	int			many;			/* calls that go to the service as one, at
								 * most; provider->check() may lower it */
	int			nsettings;
	KmsSetting *settings;		/* the provider's own */
	int			keys_line;		/* of allow_keys; 0: none given */
	int			nkeys;
	char	  **keys;			/* allow_keys */
	int			ndatabases;
	char	  **databases;		/* allow_databases; none: any */
	int			nkeyrings;
	uint8_t		(*keyrings)[PGE_UUID_LEN];	/* allow_keyrings; none: any */
	int			destroy_line;	/* of allow_destroy; 0: none given */
	bool		destroy;		/* allow_destroy */
} KmsInstance;

/* instances[0] is always the local keyring's; the others are in the file's order. */
typedef struct KmsConfig
{
	int			count;
	KmsInstance instances[KMS_INSTANCES_MAX];
	KmsInstance agent;			/* [agent]; line 0: there is none */
	uid_t		server_uid;		/* of its server_user, if it was read from a
								 * file */
} KmsConfig;

/* What [agent] says, or what holds without.  Spans point into the configuration. */
typedef struct KmsAgentSection
{
	const char *server_user;
	uid_t		server_uid;
	const char *socket;
	const char *keyring_file;
	const char *keyring_passphrase_command; /* "": none */
	int			concurrency;
	int			timeout_ms;
} KmsAgentSection;

/* Parses; pure but for what provider->check() looks at.  *line and *detail tell
 * of the first line that is not understood, or else of the first section that
 * is not right.  "config" is set on PGE_OK only. */
extern PgeStatus pge_kms_config_parse(PgeBytes text, KmsConfig **config, int *line,
									  char *detail);

/* Reads and parses; path "" or NULL: [local] alone.  *detail names file and line. */
extern PgeStatus pge_kms_config_read(const char *path, KmsConfig **config, char *detail);
extern void pge_kms_config_free(KmsConfig *config);

/* false: there is no [agent]. */
extern bool pge_kms_config_agent(const KmsConfig *config, KmsAgentSection *section);

/* Sets server_uid if there is a server_user.  pge_kms_config_read() does it. */
extern PgeStatus pge_kms_config_find_user(KmsConfig *config, int *line, char *detail);

/* A setting of the provider's own.  NULL: not given. */
extern const KmsSetting *pge_kms_setting_of(const KmsInstance *instance, const char *name);
extern const char *pge_kms_setting(const KmsInstance *instance, const char *name);

/*
 * In what a session is opened with.  Whom it serves, and by which keys (allow_...), is looked
 * at before it is asked.
 */
extern bool pge_kms_instance_same_service(const KmsInstance *a, const KmsInstance *b);

/* "[vault corp]", "[local]" */
#define KMS_INSTANCE_HEADING_LEN	(16 + KMS_INSTANCE_NAME_MAX + 4)
extern const char *pge_kms_instance_heading(const KmsInstance *instance,
											char heading[KMS_INSTANCE_HEADING_LEN]);

/*
 * The one instance that serves this key: of this provider, with its server and
 * allow_keys, and of the name in key->instance if there is one.  PGE_INVALID
 * with *detail when none does (what an administrator has to add where) or
 * several do (their names: add ?instance=NAME).
 */
extern PgeStatus pge_kms_config_find(const KmsConfig *config, const KeyUri *key,
									 const struct KmsProvider *provider,
									 const KmsInstance **instance, char *detail);

/* allow_databases, for who makes or rotates a KEK; PGE_DENIED with *detail. */
extern PgeStatus pge_kms_instance_admits_database(const KmsInstance *instance, PgeBytes database,
												  char *detail);

/* The same, and allow_destroy, for who destroys a KEK or calls that off. */
extern PgeStatus pge_kms_instance_admits_destruction(const KmsInstance *instance, PgeBytes database,
													 char *detail);

/* allow_databases and allow_keyrings, for who wraps or unwraps a DEK. */
extern PgeStatus pge_kms_instance_admits(const KmsInstance *instance, PgeBytes database,
										 PgeBytes keyring, char *detail);

#endif							/* PGE_AGENT_KMS_CONFIG_H */
