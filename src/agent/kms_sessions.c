/*-------------------------------------------------------------------------
 *
 * kms_sessions.c
 *	  The open sessions of the key services that are configured.
 *
 * A session may need its section for as long as it lives, and a set needs the
 * whole file: so a file's contents are counted, too.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/kms_sessions.h"

#define SLOT_NONE		(-1)

struct KmsFile
{
	atomic_int	references;
	KmsConfig  *config;
};

struct KmsOpened
{
	atomic_int	references;		/* sets that have it */
	int			slot;
	const KmsProvider *provider;
	KmsSession *session;
	KmsFile    *file;			/* where "instance" stands */
	const KmsInstance *instance;	/* what it was opened with, */
	uint64_t	files;			/* what its files were then, */
	int			timeout_ms;		/* and these */
	int			concurrency;
};

static atomic_int closing;
static atomic_int users_of_slot[KMS_SESSIONS_MAX];	/* sessions that are open,
													 * of any set */

static PgeStatus find_instance(const KmsSessions *sessions, const KmsProvider *provider,
							   KmsTarget *target, char *detail);
static bool takes_groups(const KmsTarget *target);
static int	takes_at_once(const KmsTarget *target);
static KmsFile *read_file(const char *path, bool external, PgeStatus *status, char *detail);
static KmsSettings settings_in_force(const KmsSettings *settings, const KmsConfig *config);
static PgeStatus check_whose_file(const KmsConfig *config, const char *path, bool external, char *detail);
static KmsFile *hold_file(KmsFile *file);
static void release_file(KmsFile *file);
static PgeStatus make_set(const KmsSessions *before, const KmsSettings *settings,
						  KmsFile *file, KmsSessions **made, char *detail);
static KmsOpened *find_kept(const KmsSessions *before, const KmsInstance *instance,
							const KmsSettings *settings);
static PgeStatus open_session(const KmsSettings *settings, KmsFile *file,
							  const KmsInstance *instance, KmsOpened **opened, char *detail);
static uint64_t stamp_files(const KmsInstance *instance);
static uint64_t mix(uint64_t stamp, uint64_t number);
static void choose_slots(KmsSessions *sessions);
static int	free_slot(uint64_t taken);
static PgeStatus reload_sessions(const KmsSessions *sessions, const KmsSettings *settings,
								 const char **refused);
static void dispose(KmsSessions *sessions);
static void *close_main(void *arg);

PgeStatus
pge_kms_sessions_open(const KmsSettings *settings, const char *config_file,
					  KmsSessions **sessions, char *detail)
{
	char		problem[KMS_DETAIL_LEN] = "";
	PgeStatus	status;
	KmsFile    *file = read_file(config_file, settings->external, &status, problem);

	*sessions = NULL;
	detail[0] = '\0';
	if (file != NULL)
	{
		KmsSettings own = settings_in_force(settings, file->config);

		status = make_set(NULL, &own, file, sessions, problem);
		release_file(file);
	}
	if (status == PGE_OK)
		return PGE_OK;
	if (settings->external)
	{
		memcpy(detail, problem, sizeof(problem));
		return status;
	}

	/* without the file, then */
	file = read_file("", false, &status, detail);
	if (file == NULL)
		return status;
	status = make_set(NULL, settings, file, sessions, detail);
	release_file(file);
	if (status == PGE_OK)
		memcpy((*sessions)->problem, problem, sizeof(problem));
	return status;
}

PgeStatus
pge_kms_sessions_renew(const KmsSessions *before, const KmsSettings *settings,
					   const char *config_file, KmsSessions **after,
					   const char **refused, PgeStatus *refusal)
{
	char		problem[KMS_DETAIL_LEN] = "";
	char		detail[KMS_DETAIL_LEN];
	KmsSettings own = settings_in_force(settings, before->file->config);
	PgeStatus	status;
	KmsFile    *file = read_file(config_file, settings->external, &status, problem);

	*after = NULL;
	if (file != NULL)
	{
		KmsSettings fresh = settings_in_force(settings, file->config);

		status = make_set(before, &fresh, file, after, problem);
		if (status == PGE_OK)
			own = fresh;
		release_file(file);
	}
	if (status != PGE_OK)
		status = make_set(before, NULL, before->file, after, detail);
	if (status != PGE_OK)
		return status;
	memcpy((*after)->problem, problem, sizeof(problem));
	*refusal = reload_sessions(*after, &own, refused);
	return PGE_OK;
}

const KmsConfig *
pge_kms_sessions_config(const KmsSessions *sessions)
{
	return sessions->file->config;
}

KmsSessions *
pge_kms_sessions_hold(KmsSessions *sessions)
{
	atomic_fetch_add(&sessions->references, 1);
	return sessions;
}

void
pge_kms_sessions_release(KmsSessions *sessions)
{
	if (sessions != NULL && atomic_fetch_sub(&sessions->references, 1) == 1)
		dispose(sessions);
}

int
pge_kms_sessions_closing(void)
{
	return atomic_load(&closing);
}

PgeStatus
pge_kms_sessions_find(const KmsSessions *sessions, PgeBytes uri,
					  KmsTarget *target, char *detail)
{
	const KmsProvider *provider;
	PgeStatus	status;

	*target = (KmsTarget)
	{
		.instance = sessions->entries[0].instance, .opened = sessions->entries[0].opened
	};
	if (uri.len == 0)
		return PGE_OK;
	status = pge_kms_parse_uri(uri, &target->key, &provider, detail);
	if (status == PGE_OK)
		status = find_instance(sessions, provider, target, detail);
	if (status == PGE_OK)
		status = pge_kms_format_uri(&target->key, "", target->instance, target->uri, detail);
	target->has_key = status == PGE_OK;
	return status;
}

int
pge_kms_sessions_slot(const KmsSessions *sessions, const PgeBytes *uris, int nuris, int *most)
{
	const KmsOpened *here = sessions->entries[0].opened;
	const KmsOpened *away = here;
	KmsTarget	target;
	char		detail[KMS_DETAIL_LEN];
	bool		several = false;

	*most = KMS_MANY_MAX;
	for (int i = 0; i < nuris; i++)
	{
		if (pge_kms_sessions_find(sessions, uris[i], &target, detail) != PGE_OK ||
			target.opened == here || target.opened == away)
			continue;
		several = several || away != here;
		away = target.opened;
		if (takes_at_once(&target) < *most)
			*most = takes_at_once(&target);
	}
	if (away == here)
		*most = 1;
	return several ? KMS_SLOT_OF_SEVERAL : away->slot;
}

static bool
takes_groups(const KmsTarget *target)
{
	return target->opened->provider->perform_many != NULL && target->instance->many > 1;
}

static int
takes_at_once(const KmsTarget *target)
{
	const KmsProvider *provider = target->opened->provider;
	int			most = takes_groups(target) ? target->instance->many : 1;
	int			now = provider->takes != NULL ? provider->takes(target->opened->session) : most;

	return now < most ? now : most;
}

bool
pge_kms_target_rewraps(const KmsTarget *from, const KmsTarget *to, PgeBytes wrapped)
{
	const KmsProvider *provider = to->opened->provider;

	return from->opened == to->opened && from->has_key && to->has_key &&
		provider->rewraps != NULL && provider->rewraps(&from->key, &to->key, wrapped);
}

void
pge_kms_target_perform(const KmsTarget *target, KmsCall *calls, KmsResult *results, int n)
{
	const KmsProvider *provider = target->opened->provider;
	KmsSession *session = target->opened->session;

	for (int i = 0; i < n && target->has_key; i++)
	{
		calls[i].uri = pge_bytes(target->uri, strlen(target->uri));
		calls[i].key = &target->key;
	}
	if (n > 1 && takes_groups(target))
		provider->perform_many(session, calls, results, n);
	else
		for (int i = 0; i < n; i++)
			provider->perform(session, &calls[i], &results[i]);
}

PgeStatus
pge_kms_target_uri(const KmsTarget *target, const char *known_as,
				   char uri[PGE_KEK_URI_MAX + 1], char *detail)
{
	KeyUri		key = target->key;
	PgeStatus	status = PGE_OK;

	if (known_as[0] != '\0')
		status = target->opened->provider->parse_uri(pge_bytes(known_as, strlen(known_as)), &key, detail);
	if (status == PGE_OK)
		return pge_kms_format_uri(&key, target->key.instance, target->instance, uri, detail);
	pge_kms_detail(detail, "The key service's name of the key is no URI.");
	return PGE_UNAVAILABLE;
}

static PgeStatus
find_instance(const KmsSessions *sessions, const KmsProvider *provider,
			  KmsTarget *target, char *detail)
{
	const KmsConfig *config = sessions->file->config;
	PgeStatus	status = pge_kms_config_find(config, &target->key, provider,
											 &target->instance, detail);

	if (status == PGE_OK)
		target->opened = sessions->entries[target->instance - config->instances].opened;
	else if (sessions->problem[0] != '\0')
		pge_kms_detail_append(detail, "The configuration as it is now is not in force: %s",
							  sessions->problem);
	return status;
}

/* NULL: it is not in order, or memory is short. */
static KmsFile *
read_file(const char *path, bool external, PgeStatus *status, char *detail)
{
	KmsFile    *file = calloc(1, sizeof(*file));

	*status = file == NULL ? PGE_OUT_OF_MEMORY : pge_kms_config_read(path, &file->config, detail);
	if (*status == PGE_OK)
	{
		*status = check_whose_file(file->config, path, external, detail);
		if (*status != PGE_OK)
			pge_kms_config_free(file->config);
	}
	if (*status == PGE_OK)
	{
		atomic_init(&file->references, 1);
		return file;
	}
	if (file == NULL)
		pge_kms_detail(detail, "The agent is out of memory.");
	free(file);
	return NULL;
}

/* An agent that is a service has no others than those of its file. */
static KmsSettings
settings_in_force(const KmsSettings *settings, const KmsConfig *config)
{
	KmsSettings own = *settings;
	KmsAgentSection section;

	if (settings->external && pge_kms_config_agent(config, &section))
	{
		own.keyring_file = section.keyring_file;
		own.keyring_passphrase_command = section.keyring_passphrase_command;
		own.timeout_ms = section.timeout_ms;
		own.concurrency = section.concurrency;
	}
	return own;
}

/*
 * Taken by the wrong one it would say something that does not hold: which keyring
 * is used, above all.
 */
static PgeStatus
check_whose_file(const KmsConfig *config, const char *path, bool external, char *detail)
{
	if (external == (config->agent.line > 0))
		return PGE_OK;
	if (external)
		pge_kms_detail(detail, "\"%.200s\" has no section [agent], without which the agent does not know whom it serves.", path);
	else
		pge_kms_detail(detail, "Line %d of \"%.200s\": the section [agent] is for an agent that is a service of its own (pg_envelope.agent = external); this server starts its agent itself.",
					   config->agent.line, path);
	return PGE_INVALID;
}

static KmsFile *
hold_file(KmsFile *file)
{
	atomic_fetch_add(&file->references, 1);
	return file;
}

static void
release_file(KmsFile *file)
{
	if (atomic_fetch_sub(&file->references, 1) != 1)
		return;
	pge_kms_config_free(file->config);
	free(file);
}

/* settings NULL: all that is open is kept. */
static PgeStatus
make_set(const KmsSessions *before, const KmsSettings *settings, KmsFile *file,
		 KmsSessions **made, char *detail)
{
	KmsSessions *sessions = calloc(1, sizeof(*sessions));

	if (sessions == NULL)
	{
		pge_kms_detail(detail, "The agent is out of memory.");
		return PGE_OUT_OF_MEMORY;
	}
	atomic_init(&sessions->references, 1);
	sessions->file = hold_file(file);
	for (; sessions->count < file->config->count; sessions->count++)
	{
		KmsSessionEntry *entry = &sessions->entries[sessions->count];
		PgeStatus	status = PGE_OK;

		entry->instance = &file->config->instances[sessions->count];
		entry->opened = find_kept(before, entry->instance, settings);
		if (entry->opened != NULL)
			atomic_fetch_add(&entry->opened->references, 1);
		else if (settings != NULL)
			status = open_session(settings, file, entry->instance, &entry->opened, detail);
		else
			status = PGE_INVALID;	/* it is the file that "before" was made
									 * of */
		if (status != PGE_OK)
		{
			dispose(sessions);
			return status;
		}
	}
	choose_slots(sessions);
	*made = sessions;
	return PGE_OK;
}

/* One of the same name that may stay as it is, or will be given the new settings. */
static KmsOpened *
find_kept(const KmsSessions *before, const KmsInstance *instance, const KmsSettings *settings)
{
	for (int i = 0; before != NULL && i < before->count; i++)
	{
		KmsOpened  *opened = before->entries[i].opened;

		if (opened->provider != instance->provider ||
			strcmp(before->entries[i].instance->name, instance->name) != 0)
			continue;
		if (settings == NULL || opened->provider->reload != NULL ||
			(opened->timeout_ms == settings->timeout_ms &&
			 opened->concurrency == settings->concurrency &&
			 opened->files == stamp_files(instance) &&
			 pge_kms_instance_same_service(opened->instance, instance)))
			return opened;
	}
	return NULL;
}

static PgeStatus
open_session(const KmsSettings *settings, KmsFile *file, const KmsInstance *instance,
			 KmsOpened **opened, char *detail)
{
	KmsOpened  *fresh = calloc(1, sizeof(*fresh));
	KmsSettings own = *settings;
	uint64_t	files = stamp_files(instance);	/* before it reads them */
	PgeStatus	status = PGE_OUT_OF_MEMORY;

	own.instance = instance;
	detail[0] = '\0';
	if (fresh != NULL)
		status = instance->provider->open(&own, &fresh->session, detail);
	if (status != PGE_OK)
	{
		free(fresh);
		if (detail[0] == '\0')
			pge_kms_detail(detail, "%s could not be opened: %s.",
						   instance->provider->name, pge_status_name(status));
		return status;
	}
	atomic_init(&fresh->references, 1);
	fresh->slot = SLOT_NONE;
	fresh->provider = instance->provider;
	fresh->file = hold_file(file);
	fresh->instance = instance;
	fresh->files = files;
	fresh->timeout_ms = settings->timeout_ms;
	fresh->concurrency = settings->concurrency;
	*opened = fresh;
	return PGE_OK;
}

/*
 * Of the files that a section names: a certificate that was replaced is to be seen
 * by a reload, although the section says the same.
 */
static uint64_t
stamp_files(const KmsInstance *instance)
{
	static const char suffix[] = "_file";
	uint64_t	stamp = 0;

	for (int i = 0; i < instance->nsettings; i++)
	{
		const KmsSetting *setting = &instance->settings[i];
		size_t		len = strlen(setting->name);
		struct stat file;

		if (len <= strlen(suffix) || strcmp(setting->name + len - strlen(suffix), suffix) != 0 ||
			stat(setting->value, &file) != 0)
			continue;
		stamp = mix(stamp, (uint64_t) file.st_dev);
		stamp = mix(stamp, (uint64_t) file.st_ino);
		stamp = mix(stamp, (uint64_t) file.st_size);
		stamp = mix(stamp, (uint64_t) file.st_mtim.tv_sec);
		stamp = mix(stamp, (uint64_t) file.st_mtim.tv_nsec);
	}
	return stamp;
}

static uint64_t
mix(uint64_t stamp, uint64_t number)
{
	return (stamp ^ number) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void
choose_slots(KmsSessions *sessions)
{
	uint64_t	taken = 0;

	for (int i = 0; i < sessions->count; i++)
		if (sessions->entries[i].opened->slot != SLOT_NONE)
			taken |= UINT64_C(1) << sessions->entries[i].opened->slot;
	for (int i = 0; i < sessions->count; i++)
	{
		KmsOpened  *opened = sessions->entries[i].opened;

		if (opened->slot != SLOT_NONE)
			continue;
		opened->slot = free_slot(taken);
		taken |= UINT64_C(1) << opened->slot;
		atomic_fetch_add(&users_of_slot[opened->slot], 1);
	}
}

/*
 * What is new stays out of the queues of what it replaces, and of what that had
 * replaced, where a service that hangs may still hold all threads; only with too
 * many sessions for that it does not.
 */
static int
free_slot(uint64_t taken)
{
	for (int slot = 0; slot < KMS_SESSIONS_MAX; slot++)
		if ((taken & (UINT64_C(1) << slot)) == 0 && atomic_load(&users_of_slot[slot]) == 0)
			return slot;
	return __builtin_ctzll(~taken);
}

/* Those that can take other settings while they are used. */
static PgeStatus
reload_sessions(const KmsSessions *sessions, const KmsSettings *settings, const char **refused)
{
	PgeStatus	result = PGE_OK;

	*refused = NULL;
	for (int i = 0; i < sessions->count; i++)
	{
		KmsOpened  *opened = sessions->entries[i].opened;
		KmsSettings own = *settings;
		PgeStatus	status;

		own.instance = sessions->entries[i].instance;
		if (opened->provider->reload == NULL)
			continue;
		status = opened->provider->reload(opened->session, &own);
		if (status == PGE_OK)
			continue;
		*refused = opened->provider->name;
		result = status;
	}
	return result;
}

/* Nobody has it any more.  What only it had open is closed. */
static void
dispose(KmsSessions *sessions)
{
	pthread_t	thread;
	int			last = 0;

	for (int i = 0; i < sessions->count; i++)
	{
		KmsOpened  *opened = sessions->entries[i].opened;

		if (atomic_fetch_sub(&opened->references, 1) == 1)
			sessions->entries[last++].opened = opened;
	}
	sessions->count = last;
	atomic_fetch_add(&closing, 1);
	if (last > 0 && pthread_create(&thread, NULL, close_main, sessions) == 0)
		pthread_detach(thread);
	else
		(void) close_main(sessions);
}

static void *
close_main(void *arg)
{
	KmsSessions *sessions = arg;

	for (int i = 0; i < sessions->count; i++)
	{
		KmsOpened  *opened = sessions->entries[i].opened;

		opened->provider->close(opened->session);
		if (opened->slot != SLOT_NONE)
			atomic_fetch_sub(&users_of_slot[opened->slot], 1);
		release_file(opened->file);
		free(opened);
	}
	release_file(sessions->file);
	free(sessions);
	atomic_fetch_sub(&closing, 1);
	return NULL;
}
