/*
 * own_stack.h -- runs a function on a stack of ours, which can be looked through
 * while it runs and afterwards.
 *
 * An address sanitizer keeps frames elsewhere: then there is nothing to look at.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef OWN_STACK_H
#define OWN_STACK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_STACK_SCAN 1
#endif
#endif

static uint8_t stack[512 * 1024];

static inline void
run_on_stack(void (*function) (void))
{
	static ucontext_t outside;
	static ucontext_t inside;

	memset(stack, 0, sizeof(stack));
	if (getcontext(&inside) != 0)
		abort();
	inside.uc_stack.ss_sp = stack;
	inside.uc_stack.ss_size = sizeof(stack);
	inside.uc_link = &outside;
	makecontext(&inside, function, 0);
	if (swapcontext(&outside, &inside) != 0)
		abort();
}

#endif							/* OWN_STACK_H */
