/*-------------------------------------------------------------------------
 *
 * kms_vault_batch_test.c
 *	  Many DEKs at once: what is asked, and what becomes of each when some of it fails.
 *
 * In the place of the exchange stands a Transit engine in a few lines, which fails as it is
 * told: a "ciphertext" is vault:vN: and the plaintext as it came; one with a '!' does
 * not open, or spoils the whole batch.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <jansson.h>

#include "agent/kms/encoding.h"
#include "agent/kms/json.h"
#include "agent/kms/kms_vault_private.h"
#include "check.h"

#define LENGTH(array)	((int) (sizeof(array) / sizeof((array)[0])))
#define PATH			"transit/keys/acme"

/* The service, and what it has seen. */
static struct
{
	bool		derived;
	int			takes;			/* items at once; more is too much */
	int			fails_from;		/* the exchange from which on it fails, */
	PgeStatus	fails_as;
	bool		spoils;			/* a bad item is the whole batch's fault */
	PgeStatus	spoils_as;
	int			asked;			/* for the key */
	int			exchanges;
	int			items;
	int			largest;
	int			without_context;
}			service;

static KmsCall calls[KMS_MANY_MAX];
static KmsResult results[KMS_MANY_MAX];
static PgeSecret deks[KMS_MANY_MAX];
static uint8_t wrapped[KMS_MANY_MAX][128];
static KmsInstance instance = {.many = KMS_MANY_MAX};
static VaultSession vault = {.instance = &instance};
static const KeyUri key = {.path = PATH};
static const KeyUri other_key = {.path = "transit/keys/other"};

/* --- the service -------------------------------------------------------------- */

static PgeStatus
answer_json(json_t *json, int status, HttpAnswer *answer)
{
	PgeBuffer	out;

	if (pge_json_dump(json, &out) != PGE_OK)
		abort();
	json_decref(json);
	answer->status = status;
	answer->body = out.data;
	answer->len = out.len;
	return PGE_OK;
}

static PgeStatus
refuse(const char *error, int http_status, PgeStatus status, HttpAnswer *answer, char *detail)
{
	(void) answer_json(json_pack("{s:[s]}", "errors", error), http_status, answer);
	pge_kms_detail(detail, "Refused.");
	return status;
}

static PgeStatus
describe(HttpAnswer *answer)
{
	service.asked++;
	return answer_json(json_pack("{s:{s:s,s:b,s:b,s:b,s:b,s:b,s:i,s:i}}", "data", "type", "aes256-gcm96", "derived", service.derived,
								 "exportable", 0, "allow_plaintext_backup", 0, "supports_encryption", 1, "supports_decryption", 1,
								 "latest_version", 2, "min_decryption_version", 1), 200, answer);
}

static json_t *
perform(VaultOperation operation, json_t *item)
{
	const char *plaintext = json_string_value(json_object_get(item, operation == VAULT_ENCRYPT ? "plaintext" : "ciphertext"));
	json_t	   *reference = json_object_get(item, "reference");
	char		ciphertext[256];

	if (operation != VAULT_ENCRYPT && strchr(plaintext, '!') != NULL)
		return json_pack("{s:s,s:s,s:O}", "plaintext", "", "error", "cipher: message authentication failed", "reference", reference);
	if (operation != VAULT_ENCRYPT)
		plaintext += strlen("vault:v1:");
	if (operation == VAULT_DECRYPT)
		return json_pack("{s:s,s:O}", "plaintext", plaintext, "reference", reference);
	snprintf(ciphertext, sizeof(ciphertext), "vault:v2:%s", plaintext);
	return json_pack("{s:s,s:i,s:O}", "ciphertext", ciphertext, "key_version", 2, "reference", reference);
}

PgeStatus
pge_vault_exchange(VaultSession *session, const KmsCall *call, VaultOperation operation, PgeBuffer *body, HttpAnswer *answer, char *detail)
{
	json_t	   *request = NULL;
	json_t	   *said = json_array();
	json_t	   *batch;
	json_t	   *item;
	size_t		i;
	bool		bad = false;

	(void) session;
	if (strcmp(call->key->path, PATH) != 0)
		abort();
	if (operation == VAULT_DESCRIBE)
	{
		json_decref(said);
		return describe(answer);
	}
	service.exchanges++;
	if (pge_json_parse(pge_buffer_bytes(body), &request, detail) != PGE_OK)
		abort();
	batch = json_object_get(request, "batch_input");
	json_array_foreach(batch, i, item)
	{
		bad = bad || strchr(json_string_value(json_object_get(item, operation == VAULT_ENCRYPT ? "plaintext" : "ciphertext")), '!') != NULL;
		service.without_context += json_object_get(item, "context") == NULL;
		json_array_append_new(said, perform(operation, item));
	}
	service.items += (int) i;
	if ((int) i > service.largest)
		service.largest = (int) i;
	json_decref(request);
	if (service.exchanges >= service.fails_from || (int) i > service.takes || (bad && service.spoils))
	{
		json_decref(said);
		if (service.exchanges >= service.fails_from)
			return refuse("x", 503, service.fails_as, answer, detail);
		return (int) i > service.takes ? refuse("refused JSON input due to high complexity: x", 400, PGE_INVALID, answer, detail) :
			refuse("x", 400, service.spoils_as, answer, detail);
	}
	return answer_json(json_pack("{s:{s:o}}", "data", "batch_results", said), bad ? 400 : 200, answer);
}

PgeBytes
pge_vault_body(const HttpAnswer *answer)
{
	return pge_bytes(answer->body, answer->len);
}

void
pge_http_answer_wipe(HttpAnswer *answer)
{
	free(answer->body);
	memset(answer, 0, sizeof(*answer));
}

/* --- the claims ------------------------------------------------------------------ */

static void
set_up(void)
{
	memset(&service, 0, sizeof(service));
	service.derived = true;
	service.takes = KMS_MANY_MAX;
	service.fails_from = 1000000;
	atomic_store(&vault.batch_most, KMS_MANY_MAX);
	atomic_store(&vault.batch_most_until_ms, 0);
	memset(vault.keys, 0, sizeof(vault.keys));
}

/* "bad": whose wrapping does not open; -1: none. */
static void
prepare(KmsOperation operation, int n, PgeWrapForm form, int bad)
{
	for (int i = 0; i < n; i++)
	{
		uint8_t		base64[BASE64_LEN(PGE_DEK_LEN)];
		PgeBuffer	plaintext = {base64, 0, sizeof(base64)};
		int			len;

		memset(deks[i].bytes, 'a' + i % 26, PGE_DEK_LEN);
		deks[i].bytes[0] = (uint8_t) i;
		deks[i].bytes[1] = (uint8_t) (i >> 8);
		calls[i] = (KmsCall)
		{
			.operation = operation, .key = &key, .from = operation == KMS_REWRAP ? &key : NULL, .binding = text_bytes("row"), .dek = &deks[i]
		};
		memset(&results[i], 0, sizeof(results[i]));
		/* what the service takes for this plaintext's ciphertext */
		(void) pge_base64_encode(BASE64_STANDARD, pge_bytes(deks[i].bytes, PGE_DEK_LEN), &plaintext);
		len = snprintf((char *) wrapped[i], sizeof(wrapped[i]), "%c%c%cvault:v1:%.44s%s", 1, form, 'x', base64, i == bad ? "!" : "");
		wrapped[i][2] = 0;
		calls[i].wrapped = pge_bytes(wrapped[i], (size_t) len);
	}
}

static bool
is_good(int i)
{
	const KmsResult *result = &results[i];

	if (result->status != PGE_OK)
		return false;
	if (calls[i].operation == KMS_UNWRAP)
		return memcmp(result->dek.bytes, deks[i].bytes, PGE_DEK_LEN) == 0 && strcmp(result->kek_version, "1") == 0;
	/* the same plaintext, in the service's words, under the newest version */
	return strcmp(result->kek_version, "2") == 0 && result->wrapped_len == 3 + 9 + 44 && memcmp(result->wrapped, wrapped[i], 2) == 0 &&
		memcmp(result->wrapped + 3, "vault:v2:", 9) == 0 && memcmp(result->wrapped + 12, wrapped[i] + 12, 44) == 0;
}

static bool
is_nothing(int i, PgeStatus status)
{
	return results[i].status == status && all_zero(results[i].dek.bytes, PGE_DEK_LEN) && results[i].wrapped_len == 0;
}

/* All but "bad" are good, and that has this status. */
static bool
are_good(int n, int bad, PgeStatus status)
{
	for (int i = 0; i < n; i++)
		if (i == bad ? !is_nothing(i, status) : !is_good(i))
		{
			printf("#   item %d: %s, %s\n", i, pge_status_name(results[i].status), results[i].detail);
			return false;
		}
	return true;
}

static const struct
{
	KmsOperation operation;
	const char *name;
}			kinds[] = {{KMS_WRAP, "wrap"}, {KMS_UNWRAP, "unwrap"}, {KMS_REWRAP, "rewrap"}};

static void
one_request_for_all(void)
{
	for (int k = 0; k < LENGTH(kinds); k++)
	{
		set_up();
		prepare(kinds[k].operation, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
		check(are_good(KMS_MANY_MAX, -1, PGE_OK), "500 of %s", kinds[k].name);
		check(service.exchanges == 1 && service.asked == 1 && service.without_context == 0, "in one request and one question for the key, all bound");
		prepare(kinds[k].operation, 1, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, 1);
		check(are_good(1, -1, PGE_OK), "and one of %s", kinds[k].name);
	}
}

/* What the service does not take at once it takes in parts, and it is asked only once how much. */
static void
too_much_is_split(void)
{
	for (int k = 0; k < LENGTH(kinds); k++)
	{
		set_up();
		service.takes = 166;
		prepare(kinds[k].operation, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
		check(are_good(KMS_MANY_MAX, -1, PGE_OK), "500 of %s where 166 are taken", kinds[k].name);
		check(service.exchanges == 2 + 4, "two in vain, then four (%d)", service.exchanges);
		service.exchanges = 0;
		prepare(kinds[k].operation, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
		check(are_good(KMS_MANY_MAX, -1, PGE_OK) && service.exchanges == 4, "and from then on four (%d)", service.exchanges);
	}
	set_up();
	service.takes = 0;
	prepare(KMS_UNWRAP, 7, PGE_WRAP_VAULT_CONTEXT, -1);
	pge_vault_perform_batch(&vault, calls, results, 7);
	check(is_nothing(0, PGE_INVALID) && is_nothing(6, PGE_INVALID) && service.exchanges <= 2 + 7, "who takes nothing at all ends it (%d)", service.exchanges);
}

/* A limit that was raised is found out after a while, one that was not costs a request then. */
static void
too_much_is_forgotten(void)
{
	set_up();
	service.takes = 166;
	prepare(KMS_UNWRAP, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
	pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
	for (int i = 0; i < 2; i++)
	{
		atomic_store(&vault.batch_most_until_ms, 0);	/* the time is over */
		service.exchanges = 0;
		prepare(KMS_UNWRAP, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
		check(are_good(KMS_MANY_MAX, -1, PGE_OK) && service.exchanges == 1 + 4 && atomic_load(&vault.batch_most) == 125,
			  "twice as many are tried once (%d, then %d)", service.exchanges, atomic_load(&vault.batch_most));
	}
	service.takes = KMS_MANY_MAX;
	for (int i = 0; i < 3; i++)
	{
		atomic_store(&vault.batch_most_until_ms, 0);
		service.exchanges = service.largest = 0;
		prepare(KMS_UNWRAP, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
	}
	check(are_good(KMS_MANY_MAX, -1, PGE_OK) && service.exchanges == 1 && service.largest == KMS_MANY_MAX, "and once it takes them all it gets them all");
}

/* Of what is refused for a reason that we do not know not every half is tried. */
static void
refusals_are_bounded(void)
{
	set_up();
	service.fails_from = 1;
	service.fails_as = PGE_INVALID;
	prepare(KMS_UNWRAP, KMS_MANY_MAX, PGE_WRAP_VAULT_CONTEXT, -1);
	pge_vault_perform_batch(&vault, calls, results, KMS_MANY_MAX);
	check(service.exchanges >= 10 && service.exchanges <= 80, "500 that are all refused cost %d requests", service.exchanges);
	check(is_nothing(0, PGE_INVALID) && is_nothing(KMS_MANY_MAX - 1, PGE_UNAVAILABLE), "who was tried has the reason, who was not has another");
	check(strstr(results[KMS_MANY_MAX - 1].detail, "not tried one by one") != NULL, "which says so: %s", results[KMS_MANY_MAX - 1].detail);
}

static void
one_bad_item_fails_alone(void)
{
	static const PgeStatus reasons[] = {PGE_WRAPPING_DAMAGED, PGE_KEK_UNUSABLE, PGE_INVALID};

	for (int k = 1; k < LENGTH(kinds); k++)
	{
		set_up();
		prepare(kinds[k].operation, 100, PGE_WRAP_VAULT_CONTEXT, 37);
		pge_vault_perform_batch(&vault, calls, results, 100);
		check(are_good(100, 37, PGE_WRAPPING_DAMAGED), "of 100 %ss one fails", kinds[k].name);
		check(service.exchanges == 1, "in one request");
		for (int r = 0; r < LENGTH(reasons); r++)
		{
			set_up();
			service.spoils = true;
			service.spoils_as = reasons[r];
			prepare(kinds[k].operation, 100, PGE_WRAP_VAULT_CONTEXT, 37);
			pge_vault_perform_batch(&vault, calls, results, 100);
			check(are_good(100, 37, reasons[r]), "one that spoils all of 100 %ss (%s) fails alone", kinds[k].name, pge_status_name(reasons[r]));
			check(service.exchanges <= 1 + 2 * 7 && atomic_load(&vault.batch_most) == KMS_MANY_MAX, "after halves (%d), and nothing is learnt of it", service.exchanges);
		}
		/* one that is not sent */
		set_up();
		prepare(kinds[k].operation, 10, PGE_WRAP_VAULT_CONTEXT, -1);
		wrapped[4][0] = 9;
		pge_vault_perform_batch(&vault, calls, results, 10);
		check(are_good(10, 4, PGE_WRAPPING_DAMAGED) && service.items == 9, "one that is not of ours is not sent");
	}
	set_up();
	prepare(KMS_WRAP, 10, PGE_WRAP_VAULT_CONTEXT, -1);
	calls[3].dek = NULL;
	pge_vault_perform_batch(&vault, calls, results, 10);
	check(are_good(10, 3, PGE_INVALID) && service.items == 9, "nor is a wrap of nothing");
}

/* If the service is the reason, nothing more is asked of it; what was done stays. */
static void
a_failed_service_is_left_alone(void)
{
	static const PgeStatus reasons[] = {PGE_UNAVAILABLE, PGE_THROTTLED, PGE_DENIED, PGE_UNAUTHENTICATED, PGE_KEK_NOT_FOUND, PGE_OUT_OF_MEMORY};

	for (int r = 0; r < LENGTH(reasons); r++)
	{
		bool		holds = true;

		set_up();
		atomic_store(&vault.batch_most, 50);
		atomic_store(&vault.batch_most_until_ms, UINT64_MAX);
		service.fails_from = 3;
		service.fails_as = reasons[r];
		prepare(KMS_REWRAP, 200, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, 200);
		for (int i = 0; i < 200; i++)
			holds = holds && (i < 100 ? is_good(i) : is_nothing(i, reasons[r]) && strcmp(results[i].detail, "Refused.") == 0);
		check(holds, "%s: what came before it is good, and all from there on have it", pge_status_name(reasons[r]));
		check(service.exchanges == 3, "and it is asked no more (%d)", service.exchanges);
	}
}

static void
bindings_count(void)
{
	for (int k = 1; k < LENGTH(kinds); k++)
	{
		bool		holds = true;

		set_up();
		service.derived = false;
		prepare(kinds[k].operation, 20, PGE_WRAP_VAULT_CONTEXT, -1);
		pge_vault_perform_batch(&vault, calls, results, 20);
		for (int i = 0; i < 20; i++)
			holds = holds && is_nothing(i, PGE_KEK_UNUSABLE) && strstr(results[i].detail, "derived") != NULL;
		check(holds, "a context of a key that is not derived is worth nothing to %s", kinds[k].name);
	}
	set_up();
	service.derived = false;
	prepare(KMS_WRAP, 20, PGE_WRAP_VAULT_AAD, -1);
	pge_vault_perform_batch(&vault, calls, results, 20);
	check(are_good(20, -1, PGE_OK) && service.without_context == 20, "such a key wraps with associated data");
	set_up();
	prepare(KMS_UNWRAP, 20, PGE_WRAP_VAULT_AAD, -1);
	pge_vault_perform_batch(&vault, calls, results, 20);
	check(are_good(20, -1, PGE_OK) && service.without_context == 20 && service.asked == 0, "which opens them");
	/* both, in any order */
	set_up();
	prepare(KMS_UNWRAP, 21, PGE_WRAP_VAULT_CONTEXT, -1);
	for (int i = 0; i < 21; i += 2)
		wrapped[i][1] = PGE_WRAP_VAULT_AAD;
	pge_vault_perform_batch(&vault, calls, results, 21);
	check(are_good(21, -1, PGE_OK) && service.exchanges == 2 && service.without_context == 11, "of two forms each is asked for in its own way");
}

static void
who_rewraps(void)
{
	prepare(KMS_REWRAP, 3, PGE_WRAP_VAULT_CONTEXT, -1);
	check(pge_vault_rewraps(&key, &key, calls[0].wrapped), "under the same key the service rewraps itself");
	check(!pge_vault_rewraps(&key, &other_key, calls[0].wrapped), "not under another");
	wrapped[0][1] = PGE_WRAP_VAULT_AAD;
	check(!pge_vault_rewraps(&key, &key, calls[0].wrapped), "nor what is bound by associated data");
	wrapped[0][1] = PGE_WRAP_LOCAL;
	check(!pge_vault_rewraps(&key, &key, calls[0].wrapped), "nor what is not its own");
	check(!pge_vault_rewraps(&key, &key, pge_bytes(NULL, 0)), "nor nothing");
	/* who asks nevertheless */
	set_up();
	prepare(KMS_REWRAP, 3, PGE_WRAP_VAULT_CONTEXT, -1);
	wrapped[1][1] = PGE_WRAP_VAULT_AAD;
	pge_vault_perform_batch(&vault, calls, results, 3);
	check(are_good(3, 1, PGE_INVALID) && service.items == 2, "and it is not sent to be rewrapped unbound");
	set_up();
	prepare(KMS_REWRAP, 3, PGE_WRAP_VAULT_CONTEXT, -1);
	for (int i = 0; i < 3; i++)
		calls[i].from = &other_key;
	pge_vault_perform_batch(&vault, calls, results, 3);
	check(is_nothing(0, PGE_INVALID) && is_nothing(2, PGE_INVALID) && service.exchanges == 0, "nor another key's");
}

int
main(void)
{
	pge_json_init();
	pthread_mutex_init(&vault.lock, NULL);
	one_request_for_all();
	too_much_is_split();
	too_much_is_forgotten();
	refusals_are_bounded();
	one_bad_item_fails_alone();
	a_failed_service_is_left_alone();
	bindings_count();
	who_rewraps();
	return check_done();
}
