/*-------------------------------------------------------------------------
 *
 * kek_proof.c
 *	  Asks a key service whether a key-encryption key is there and works.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/report.h"
#include "client/client.h"
#include "crypto/aead.h"
#include "format/binding.h"
#include "keyring/kek_users.h"
#include "keyring/key_name.h"
#include "keyring/keyring.h"
#include "ops/kek_proof.h"

static PgeBytes copy_of(PgeBytes bytes);

/* Somebody may have written a password there, and messages stand in the log. */
char *
pge_kek_uri_without_user(const char *uri)
{
	const char *authority = strstr(uri, "//");
	const char *at = NULL;

	if (authority == NULL)
		return pstrdup(uri);
	authority += 2;
	for (const char *p = authority; *p != '\0' && strchr("/?#", *p) == NULL; p++)
		if (*p == '@')
			at = p;
	return at == NULL ? pstrdup(uri) : psprintf("%.*s...%s", (int) (authority - uri), uri, at);
}

/*
 * Who rewraps from one to the other has changed nothing, and should know.  Of two sections
 * with one address only their namespaces tell, which no URI has.
 */
void
pge_kek_tell_likeness(const char *name, const char *uri, const KeyringKek *other)
{
	if (pge_keyring_is_uri_of_key(other->uri, uri))
		ereport(NOTICE,
				(errmsg("KEK \"%s\" is the same key as KEK \"%s\"", name, other->name),
				 errdetail("%s \"%s\". A rewrap from one to the other does not leave that key.",
						   strcmp(other->uri, uri) == 0 ? "Both have the URI" : "The other one has the URI", other->uri)));
	else
		ereport(NOTICE,
				(errmsg("KEK \"%s\" may be the same key as KEK \"%s\"", name, other->name),
				 errdetail("The other one has the URI \"%s\". If both sections are of one namespace, a rewrap from one to the other does not leave the key.", other->uri)));
}

/* One of them is enough; rather one that is the same for sure. */
void
pge_kek_tell_other_name(const char *name, const char *uri, const List *names)
{
	ListCell   *cell;
	KeyringKek	kek;
	KeyringKek	other = {.uri = ""};

	foreach(cell, names)
	{
		if (!pge_keyring_find_kek(lfirst(cell), &kek) || kek.state == PGE_KEK_DESTROYED)
			continue;
		if (other.uri[0] == '\0' || !pge_keyring_is_uri_of_key(other.uri, uri))
			other = kek;
	}
	if (other.uri[0] != '\0')
		pge_kek_tell_likeness(name, uri, &other);
}

char *
pge_kek_describe(const char *what, const char *uri, char **canonical)
{
	char	   *version;
	char	   *as_stored;
	PgeBytes	detail;
	PgeStatus	status = pge_kek_try_describe(uri, &version, &as_stored, &detail);

	if (status != PGE_OK)
		pge_report_error(status, what, detail);
	if (canonical != NULL)
		*canonical = as_stored;
	return version;
}

PgeStatus
pge_kek_try_describe(const char *uri, char **version, char **canonical, PgeBytes *detail)
{
	PgeFrame	request = {.type = PGE_FRAME_DESCRIBE_KEK, .nuris = 1};
	PgeFrame	answer = {0};
	PgeStatus	status;

	request.uri[0] = pge_bytes(uri, strlen(uri));
	status = pge_client_call(&request, &answer);
	*version = status == PGE_OK && answer.nkek_versions == 1 ? pge_report_text(answer.kek_version[0]) : NULL;
	*canonical = status == PGE_OK && answer.nuris == 1 && pge_kek_uri_is_plain(answer.uri[0]) ?
		pge_report_text(answer.uri[0]) : NULL;
	*detail = copy_of(answer.detail);
	pge_client_done();
	return status;
}

static PgeBytes
copy_of(PgeBytes bytes)
{
	return bytes.len == 0 ? bytes : pge_bytes(memcpy(palloc(bytes.len), bytes.data, bytes.len), bytes.len);
}

/* The agent wraps a key that nobody will use, and unwraps it again. */
void
pge_kek_prove_wrap(const char *what, const char *uri, const uint8 keyring[PGE_UUID_LEN])
{
	static const char key_id[] = "pg_envelope proof";
	uint8		bytes[PGE_BINDING_MAX];
	PgeBuffer	encoded = {bytes, 0, sizeof(bytes)};
	PgeBinding	binding = {.dek_id = 1, .version = 1, .purpose = PGE_PURPOSE_AEAD,
	.algorithm = PGE_XAES_256_GCM, .key_id = pge_bytes(key_id, strlen(key_id))};
	PgeFrame	request = {0};
	PgeFrame	answer = {0};
	PgeStatus	status;

	memcpy(binding.keyring, keyring, PGE_UUID_LEN);
	status = pge_binding_encode(&binding, &encoded);
	if (status != PGE_OK)
		pge_report_error(status, what, pge_bytes(NULL, 0));
	request.type = PGE_FRAME_WRAP_NEW;
	request.nuris = 1;
	request.uri[0] = pge_bytes(uri, strlen(uri));
	request.binding = pge_buffer_bytes(&encoded);
	status = pge_client_call(&request, &answer);
	if (status != PGE_OK)
		pge_report_error(status, what, answer.detail);
	pge_client_done();
}

PgeStatus
pge_kek_try_wrapping(const char *what, const char *uri, const KeyringDek *dek,
					 const KeyringWrapping *wrapping, PgeBytes *detail)
{
	uint8		bytes[PGE_BINDING_MAX];
	PgeBuffer	binding = {bytes, 0, sizeof(bytes)};
	PgeFrame	request = {.type = PGE_FRAME_REWRAP, .nuris = 2, .nwrapped = 1};
	PgeFrame	answer = {0};
	PgeStatus	status = pge_keyring_binding(dek, &binding);

	if (status != PGE_OK)
		pge_report_error(status, what, pge_bytes(NULL, 0));
	request.uri[0] = request.uri[1] = pge_bytes(uri, strlen(uri));
	request.binding = pge_buffer_bytes(&binding);
	request.check_value = pge_bytes(dek->check_value, PGE_CHECK_VALUE_LEN);
	request.wrapped[0] = pge_bytes(wrapping->wrapped, wrapping->wrapped_len);
	status = pge_client_call(&request, &answer);
	*detail = copy_of(answer.detail);
	pge_client_done();
	return status;
}

const KeyringWrapping *
pge_kek_wrapping_under(const KeyringWrapping *wrappings, int count, const char *kek)
{
	for (int i = 0; i < count; i++)
		if (strcmp(wrappings[i].kek, kek) == 0)
			return &wrappings[i];
	return NULL;
}
