/*
 * cpu: the cores this process may use, and standing still on one of them.
 *
 * Floor:  io.
 * Thread: any; no state.
 */
#ifndef TERN_IO_CPU_H
#define TERN_IO_CPU_H

#include "core/base/err.h"

#include <stdint.h>

enum { CPU_COUNT_MAX = 1024 };

/*
 * The numbers of the cores in the affinity mask of the process, ascending; at most out_count_max.
 * How many there are. At least one, always.
 */
uint32_t cpu_usable(uint32_t *out, uint32_t out_count_max);

/*
 * Bind the calling thread to that core. Threads it starts later inherit this, so whoever shall
 * roam (disk, hashes) is started before. ERR_INVALID: there is no such core for this process.
 */
enum err cpu_pin(uint32_t cpu);

/* The memory node of a core; 0 when the machine does not say. */
uint32_t cpu_node(uint32_t cpu);

/* The calling thread runs when others leave it room (nice 10): for work that nobody must feel. */
void cpu_yield_to_others(void);

/* The core the caller runs on now. */
uint32_t cpu_current(void);

#endif
