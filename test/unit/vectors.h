/*
 * vectors.h -- reads the text files of test/vectors.
 *
 * A file is a list of blocks separated by empty lines; a block is a list of
 * lines "name = value", values mostly hexadecimal; "#" opens a comment line.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_VECTORS_H
#define PGE_TEST_VECTORS_H

#include "check.h"

#define VECTOR_FIELDS	16

typedef struct Vector
{
	int			count;
	char	   *name[VECTOR_FIELDS];
	char	   *value[VECTOR_FIELDS];
} Vector;

static inline FILE *
open_vectors(const char *file)
{
	char		path[4096];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/%s", VECTORS, file);
	f = fopen(path, "r");
	if (f == NULL)
	{
		perror(path);
		exit(1);
	}
	return f;
}

static inline void
free_vector(Vector *v)
{
	for (int i = 0; i < v->count; i++)
	{
		free(v->name[i]);
		free(v->value[i]);
	}
	v->count = 0;
}

/* The next block; false at the end of the file. */
static inline bool
next_vector(FILE *f, Vector *v)
{
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		len;

	v->count = 0;
	while ((len = getline(&line, &room, f)) > 0)
	{
		char	   *equals;

		if (line[len - 1] == '\n')
			line[--len] = '\0';
		if (line[0] == '#')
			continue;
		if (len == 0 && v->count > 0)
			break;
		if (len == 0)
			continue;
		equals = strstr(line, " =");
		if (equals == NULL || v->count == VECTOR_FIELDS)
		{
			printf("not a vector: %s\n", line);
			exit(1);
		}
		v->name[v->count] = strndup(line, (size_t) (equals - line));
		v->value[v->count] = strdup(equals[2] == ' ' ? equals + 3 : equals + 2);
		v->count++;
	}
	free(line);
	return v->count > 0;
}

static inline const char *
vector_text(const Vector *v, const char *name)
{
	for (int i = 0; i < v->count; i++)
		if (strcmp(v->name[i], name) == 0)
			return v->value[i];
	printf("vector without %s\n", name);
	exit(1);
}

static inline uint32_t
vector_number(const Vector *v, const char *name)
{
	return (uint32_t) strtoul(vector_text(v, name), NULL, 10);
}

/* On the heap, of exactly the right size. */
static inline PgeBuffer
vector_bytes(const Vector *v, const char *name)
{
	const char *hex = vector_text(v, name);
	PgeBuffer	out = new_buffer(strlen(hex) / 2);

	for (; out.len < out.capacity; out.len++)
	{
		unsigned	byte;

		if (sscanf(hex + 2 * out.len, "%2x", &byte) != 1)
		{
			printf("%s is not hexadecimal\n", name);
			exit(1);
		}
		out.data[out.len] = (uint8_t) byte;
	}
	return out;
}

#endif							/* PGE_TEST_VECTORS_H */
