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

/* Since the process began. What is unknown is 0. */
struct target_usage {
    uint64_t cpu_ns;         /* all threads, exact: the kernel's CPU clock of the process */
    uint64_t user_ns;        /* of that in user space; the kernel splits by ticks: rough */
    uint64_t resident_bytes; /* RSS */
    uint64_t private_bytes;  /* of that neither shared nor of files; 0 when the kernel hides it */
    uint64_t proportional_bytes; /* PSS: shared pages divided among those who share; 0: hidden */
    uint32_t thread_count;
    uint64_t
        written_bytes; /* to files, as it leaves for the disk; 0: none, or the kernel hides it */
};

/*
 * Everything. pid 0: the own process. ERR_NOT_FOUND: there is no such process. Walks the page tables
 * of the process: at both ends of a window, not every second.
 */
enum err target_usage(int32_t pid, struct target_usage *out);

/* The same without private_bytes and proportional_bytes, which cost the broker nothing to ask. */
enum err target_usage_quick(int32_t pid, struct target_usage *out);

/* cpu_ns - user_ns, or 0 where the rough one is above the exact one. */
uint64_t target_system_ns(const struct target_usage *usage);

#endif
