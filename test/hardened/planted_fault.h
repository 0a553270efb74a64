/*
 * planted_fault.h -- faults that a sanitizer must report, for builds of tests.
 *
 * A run under a sanitizer that finds nothing proves something only if it finds
 * one of these.  No build for users has them: they come in by TEST_OBJS and
 * TEST_AGENT_OBJS of the Makefile.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_TEST_PLANTED_FAULT_H
#define PGE_TEST_PLANTED_FAULT_H

#include <stdbool.h>

/*
 * Commits the fault of that name: "heap" reads a byte behind a block,
 * "undefined" shifts an int by 40 bits, "uninitialised" decides on a byte that nobody
 * wrote, "leak" loses a block.  false: there is no fault of that name.
 */
extern bool pge_plant_fault(const char *name);

#endif							/* PGE_TEST_PLANTED_FAULT_H */
