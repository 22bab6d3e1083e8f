/*
 * sim_fiber: a shard's loop as a coroutine, so that it can sleep in the middle of io_turn().
 *
 * Floor:  tests; the only file pair here that knows the machine.
 * Thread: one; a fiber runs exactly while fiber_resume() of it runs.
 */
#ifndef TERN_SIM_FIBER_H
#define TERN_SIM_FIBER_H

#include <stdbool.h>

struct fiber;

struct fiber *fiber_new(void (*run)(void *context), void *context);
void fiber_free(struct fiber *fiber); /* it has ended, or will never be resumed; accepts NULL */

/* Run it until it rests or ends. false: it has ended. Not from inside a fiber. */
bool fiber_resume(struct fiber *fiber);

/* From inside: back to who resumed; returns when it is resumed again. */
void fiber_rest(struct fiber *fiber);

#endif
