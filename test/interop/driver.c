/*-------------------------------------------------------------------------
 *
 * driver.c
 *	  Our side of the interoperability test: the pure rooms behind a pipe.
 *
 * A line in is a verb and its arguments, bytes as hexadecimal ("-" for none);
 * a line out is "ok HEX" or "refused STATUS".
 *
 *	seal ALGORITHM DEK ID ASSOCIATED PLAIN
 *	open ALGORITHM DEK ASSOCIATED SEALED		(the id is checked by nobody here)
 *	id SEALED
 *	binding KEYRING ID VERSION PURPOSE ALGORITHM KEY_ID
 *	binding-check BINDING						decodes and encodes again
 *	check-value DEK BINDING
 *	wrap KEK VERSION DEK BINDING				form 1
 *	unwrap KEK BINDING WRAPPED					form 1
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "format/binding.h"
#include "format/sealed_value.h"
#include "format/wrapped_key.h"

#define ARGS_MAX	8
#define OVERHEAD	64			/* more than anything here adds */

static char *args[ARGS_MAX];
static int	nargs;
static PgeBuffer bytes[ARGS_MAX];	/* args as bytes */

static PgeBytes
arg(int i)
{
	return pge_buffer_bytes(&bytes[i]);
}

static uint32_t
number(int i)
{
	return (uint32_t) strtoul(args[i], NULL, 10);
}

static PgeSecret
key(int i)
{
	PgeSecret	k;

	if (bytes[i].len != sizeof(k.bytes))
		exit(2);
	memcpy(k.bytes, bytes[i].data, sizeof(k.bytes));
	return k;
}

static PgeBuffer
from_hex(const char *hex)
{
	size_t		len = hex[0] == '-' ? 0 : strlen(hex) / 2;
	PgeBuffer	out = {malloc(len + 1), 0, len};

	for (; out.len < len; out.len++)
	{
		char		pair[3] = {hex[2 * out.len], hex[2 * out.len + 1], 0};

		out.data[out.len] = (uint8_t) strtoul(pair, NULL, 16);
	}
	return out;
}

static PgeStatus
seal(PgeBuffer *out)
{
	PgeSecret	dek = key(2);
	PgeBuffer	body = {out->data + PGE_SEALED_HEADER_LEN, 0, out->capacity - PGE_SEALED_HEADER_LEN};
	PgeAead    *aead;
	PgeStatus	status = pge_aead_new((PgeAlgorithm) number(1), &dek, &aead);

	if (status != PGE_OK)
		return status;
	status = pge_aead_seal(aead, arg(4), arg(5), &body);
	pge_sealed_write_header(out->data, number(3));
	out->len = PGE_SEALED_HEADER_LEN + body.len;
	pge_aead_free(aead);
	return status;
}

static PgeStatus
open_value(PgeBuffer *out)
{
	PgeSecret	dek = key(2);
	PgeBytes	body;
	uint32_t	id;
	PgeAead    *aead;
	PgeStatus	status = pge_sealed_parse(arg(4), &id, &body);

	if (status == PGE_OK)
		status = pge_aead_new((PgeAlgorithm) number(1), &dek, &aead);
	if (status != PGE_OK)
		return status;
	status = pge_aead_open(aead, arg(3), body, out);
	pge_aead_free(aead);
	return status;
}

static PgeStatus
read_id(PgeBuffer *out)
{
	PgeBytes	body;
	uint32_t	id = 0;
	PgeStatus	status = pge_sealed_parse(arg(1), &id, &body);

	pge_put_u32(out->data, id);
	out->len = 4;
	return status;
}

static PgeStatus
binding(PgeBuffer *out)
{
	PgeBinding	b = {
		.dek_id = number(2), .version = number(3), .purpose = (uint8_t) number(4),
		.algorithm = (uint8_t) number(5), .key_id = arg(6)
	};

	if (bytes[1].len != PGE_UUID_LEN)
		exit(2);
	memcpy(b.keyring, bytes[1].data, PGE_UUID_LEN);
	return pge_binding_encode(&b, out);
}

static PgeStatus
check_binding(PgeBuffer *out)
{
	PgeBinding	b;
	PgeStatus	status = pge_binding_decode(arg(1), &b);

	return status == PGE_OK ? pge_binding_encode(&b, out) : status;
}

static PgeStatus
check_value(PgeBuffer *out)
{
	PgeSecret	dek = key(1);

	out->len = PGE_CHECK_VALUE_LEN;
	return pge_check_value(&dek, arg(2), out->data);
}

static PgeStatus
wrap(PgeBuffer *out)
{
	PgeSecret	kek = key(1);
	uint8_t		service[4 + 40 + PGE_DEK_LEN];
	PgeBuffer	body = {service + 4, 0, sizeof(service) - 4};
	PgeAead    *aead;
	PgeStatus	status = pge_aead_new(PGE_XAES_256_GCM, &kek, &aead);

	if (status != PGE_OK)
		return status;
	pge_put_u32(service, number(2));
	status = pge_aead_seal(aead, arg(4), arg(3), &body);
	pge_aead_free(aead);
	if (status != PGE_OK)
		return status;
	return pge_wrapped_encode(PGE_WRAP_LOCAL, PGE_HALF_NONE, pge_bytes(service, 4 + body.len), out);
}

static PgeStatus
unwrap(PgeBuffer *out)
{
	PgeSecret	kek = key(1);
	PgeWrapForm form;
	PgeWrapHalf half;
	PgeBytes	service;
	PgeAead    *aead;
	PgeStatus	status = pge_wrapped_decode(arg(3), &form, &half, &service);

	if (status == PGE_OK && service.len < 4)
		status = PGE_MALFORMED;
	if (status == PGE_OK)
		status = pge_aead_new(PGE_XAES_256_GCM, &kek, &aead);
	if (status != PGE_OK)
		return status;
	status = pge_aead_open(aead, arg(2), pge_bytes(service.data + 4, service.len - 4), out);
	pge_aead_free(aead);
	return status;
}

static const struct
{
	const char *verb;
	int			nargs;
	PgeStatus	(*run) (PgeBuffer *out);
}			verbs[] = {
	{"seal", 6, seal}, {"open", 5, open_value}, {"id", 2, read_id}, {"binding", 7, binding},
	{"binding-check", 2, check_binding}, {"check-value", 3, check_value},
	{"wrap", 5, wrap}, {"unwrap", 4, unwrap}
};

static void
answer(PgeStatus status, const PgeBuffer *out)
{
	if (status != PGE_OK)
		printf("refused %s", pge_status_name(status));
	else
	{
		printf("ok ");
		for (size_t i = 0; i < out->len; i++)
			printf("%02x", out->data[i]);
	}
	printf("\n");
	fflush(stdout);
}

static void
run_line(char *line, size_t len)
{
	PgeBuffer	out = {malloc(len + PGE_WRAPPED_MAX + OVERHEAD), 0, len + PGE_WRAPPED_MAX + OVERHEAD};

	nargs = 0;
	for (char *word = strtok(line, " \n"); word != NULL && nargs < ARGS_MAX; word = strtok(NULL, " \n"))
	{
		args[nargs] = word;
		bytes[nargs++] = from_hex(word);
	}
	for (size_t v = 0; v < sizeof(verbs) / sizeof(verbs[0]); v++)
		if (nargs == verbs[v].nargs && strcmp(args[0], verbs[v].verb) == 0)
		{
			answer(verbs[v].run(&out), &out);
			for (int i = 0; i < nargs; i++)
				free(bytes[i].data);
			free(out.data);
			return;
		}
	fprintf(stderr, "driver: no such request\n");
	exit(2);
}

int
main(void)
{
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		len;

	while ((len = getline(&line, &room, stdin)) > 0)
		run_line(line, (size_t) len);
	free(line);
	return 0;
}
