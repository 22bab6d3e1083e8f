/*
 * micro: how long does one small thing take, and does it allocate?
 *
 * Floor:  bench; included by exactly one .c file per program, as it puts a counter before malloc().
 * Thread: micro_run() by main(); what it measures is the CPU time of the whole process.
 *
 *     static void lookups(void *context, uint64_t ops) { ... do it ops times ... }
 *     micro_run("map_get, 1M keys", lookups, map, 5000000);
 *
 *     map_get, 1M keys                          best    41.2 ns  median    42.0 ns  allocations 0.000
 *
 * Compare ratios, not absolute values: the machine is never alone.
 */
#ifndef TERN_BENCH_MICRO_H
#define TERN_BENCH_MICRO_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MICRO_ROUNDS = 9 };

static _Atomic uint64_t micro_allocation_count;

/* A sanitizer has a malloc() of its own, which must stay; allocations then count as 0. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

void *malloc(size_t bytes)
{
    atomic_fetch_add_explicit(&micro_allocation_count, 1, memory_order_relaxed);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    atomic_fetch_add_explicit(&micro_allocation_count, 1, memory_order_relaxed);
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    atomic_fetch_add_explicit(&micro_allocation_count, 1, memory_order_relaxed);
    return __libc_realloc(memory, bytes);
}
#endif

/* Keep the compiler from leaving out work whose result nobody looks at. */
static inline void micro_keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

static inline uint64_t micro_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline int micro_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* fn(context, ops) does the thing ops times. One round warms up, MICRO_ROUNDS count. */
static inline void micro_run(const char *name, void (*fn)(void *context, uint64_t ops),
                             void *context, uint64_t ops)
{
    double ns[MICRO_ROUNDS];

    fn(context, ops);
    uint64_t allocation_count = micro_allocation_count;
    for (int round = 0; round < MICRO_ROUNDS; round++) {
        uint64_t start = micro_cpu_ns();
        fn(context, ops);
        ns[round] = (double)(micro_cpu_ns() - start) / (double)ops;
    }
    allocation_count = micro_allocation_count - allocation_count;
    qsort(ns, MICRO_ROUNDS, sizeof(ns[0]), micro_compare);
    printf("%-44s best %9.2f ns  median %9.2f ns  allocations %.3f\n", name, ns[0],
           ns[MICRO_ROUNDS / 2], (double)allocation_count / ((double)ops * MICRO_ROUNDS));
    fflush(stdout);
}

#endif
