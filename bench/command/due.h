/*
 * due: who comes next: moments in a heap, to the nanosecond.
 *
 * Floor:  bench; reads no clock.
 * Thread: the owner.
 * Memory: allocated in due_new(), nothing later.
 */
#ifndef TERN_BENCH_DUE_H
#define TERN_BENCH_DUE_H

#include <stdbool.h>
#include <stdint.h>

struct due;

/* Room for things numbered 0 to count - 1, each of which waits once at most. NULL: no memory. */
struct due *due_new(uint32_t count);
void due_free(struct due *due); /* accepts NULL */

/* thing is not waiting. */
void due_add(struct due *due, uint32_t thing, uint64_t at_ns);

/* When the first one is; UINT64_MAX: nobody waits. */
uint64_t due_next_ns(const struct due *due);

/* Take the first one, whose moment was *at_ns. There is one. */
uint32_t due_take(struct due *due, uint64_t *at_ns);

#endif
