/*
 * stub.h -- between the parts of bench-kms's key service: connections (stub.c), what it
 * counts (stub_calls.c), what it answers (stub_vault.c, stub_aws.c), ciphertexts
 * (stub_seal.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_BENCH_KMS_STUB_H
#define PGE_BENCH_KMS_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define STUB_DEK_LEN		32
#define STUB_DEK_TEXT_LEN	44	/* in base64 */
#define STUB_SEALED_LEN		64	/* in base64 */

/* The body of the answer, which the caller frees, and HTTP's status. */
extern char *stub_answer(const char *method, const char *path, const char *headers,
						 const char *body, size_t len, int *status);

/* NULL: the request is wrong. */
extern json_t *stub_vault(const char *method, const char *path, const json_t *request);
extern json_t *stub_aws(const char *target, const json_t *request);

extern void stub_count(const char *name, size_t items);

/* A line of JSON: handshakes, and for each kind of call how many requests and data keys. */
extern void stub_print_calls(uint64_t handshakes);
extern void stub_forget_calls(void);

extern void stub_seal(const char *key, int version, const char *context, const unsigned char dek[STUB_DEK_LEN],
					  char text[STUB_SEALED_LEN + 1]);
extern bool stub_open(const char *key, int version, const char *context, const char *text,
					  unsigned char dek[STUB_DEK_LEN]);
extern bool stub_decode_dek(const char *text, unsigned char dek[STUB_DEK_LEN]);
extern void stub_encode_dek(const unsigned char dek[STUB_DEK_LEN], char text[STUB_DEK_TEXT_LEN + 1]);

extern void stub_die(const char *what) __attribute__((noreturn));

#endif							/* PGE_BENCH_KMS_STUB_H */
