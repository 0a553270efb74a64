/*-------------------------------------------------------------------------
 *
 * local_unwrap_fuzz.c
 *	  Any bytes as a wrapping of the local keyring: they open to the key that was
 *	  wrapped or to nothing.
 *
 * Bytes that begin with 1 are changes to a wrapping that opens, for no fuzzer
 * finds one by itself: how much longer or shorter it gets, then positions and what
 * is flipped there in turn.  Others are the wrapping.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <unistd.h>

#include "agent/kms/kms_detail.h"
#include "agent/kms/kms_local.h"
#include "exact_copy.h"

static const PgeSecret dek = {"the fuzzers' key, 32 bytes long"};
static KmsSession *session;
static char directory[] = "/tmp/pge_fuzz.XXXXXX";
static char uri[PGE_KEK_URI_MAX + 1];
static KmsResult wrapping;

/* At once, since a fuzzer ends without a word: unwrapping goes on from memory. */
static void
forget_directory(void)
{
	char		path[64];

	snprintf(path, sizeof(path), "%s/keyring", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/keyring.lock", directory);
	unlink(path);
	rmdir(directory);
}

static void
perform(KmsOperation operation, PgeBytes wrapped, KmsResult *result)
{
	static atomic_bool cancelled;
	KmsCall		call = {
		.operation = operation,
		.uri = pge_bytes(uri, strlen(uri)),
		.binding = pge_bytes("a row", 5),
		.wrapped = wrapped,
		.dek = &dek,
		.cancelled = &cancelled,
	};

	pge_kms_local.perform(session, &call, result);
}

static void
set_up(void)
{
	char		path[64];
	char		detail[KMS_DETAIL_LEN];
	KmsSettings config = {.keyring_file = path};

	require(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/keyring", directory);
	require(pge_kms_local.open(&config, &session, detail) == PGE_OK);
	perform(KMS_CREATE, pge_bytes(NULL, 0), &wrapping);
	require(wrapping.status == PGE_OK);
	memcpy(uri, wrapping.uri, sizeof(uri));
	perform(KMS_WRAP, pge_bytes(NULL, 0), &wrapping);
	require(wrapping.status == PGE_OK && wrapping.wrapped_len > 0);
	forget_directory();
}

static PgeBuffer
make_wrapped(const uint8_t *data, size_t size)
{
	PgeBuffer	in;
	int			len = (int) wrapping.wrapped_len;

	if (size < 2 || data[0] != 1)
		return exact_copy(data, size);
	len = len + (int8_t) data[1] > 0 ? len + (int8_t) data[1] : 1;
	in = exact_copy(wrapping.wrapped, (size_t) len);	/* beyond its end are
														 * zeroes */
	for (size_t i = 2; i + 1 < size; i += 2)
		in.data[data[i] % in.len] ^= data[i + 1];
	return in;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const PgeSecret none;
	static KmsResult result;
	PgeBuffer	in;
	bool		same;

	if (session == NULL)
		set_up();
	in = make_wrapped(data, size);
	same = in.len == wrapping.wrapped_len && memcmp(in.data, wrapping.wrapped, in.len) == 0;
	perform(KMS_UNWRAP, pge_buffer_bytes(&in), &result);
	require((result.status == PGE_OK) == same);
	require(memcmp(&result.dek, same ? &dek : &none, sizeof(dek)) == 0);
	require(result.status == PGE_OK || strnlen(result.detail, sizeof(result.detail)) > 0);
	free(in.data);
	return 0;
}
