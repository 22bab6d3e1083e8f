/*
 * target: what the broker's process uses, seen from outside.
 *
 * Floor:  bench.
 * Thread: any; no state.
 */
#ifndef TERN_BENCH_TARGET_H
#define TERN_BENCH_TARGET_H

#include "core/base/err.h"

#include <stdint.h>

struct target_usage {
    uint64_t cpu_ns;         /* all threads, exact: the kernel's CPU clock of the process */
    uint64_t user_ns;        /* of that in user space, sampled at ticks: rough */
    uint64_t resident_bytes; /* RSS */
    uint64_t private_bytes;  /* of that neither shared nor of files; 0 when the kernel hides it */
};

/* pid 0: the own process. ERR_NOT_FOUND: there is no such process. */
enum err target_usage(int32_t pid, struct target_usage *out);

#endif
