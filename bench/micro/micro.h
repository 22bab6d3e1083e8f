/*
 * micro: how long does one small thing take, and does it allocate?
 *
 * Floor:  bench; included by exactly one .c file per program, as it puts a counter before malloc().
 * Thread: micro_*() by main(); what is measured is the CPU time of the whole process, so that a
 *         bench of two threads counts both.
 *
 *     static void lookups(void *context, uint64_t ops) { ... do it ops times ... }
 *
 *     micro_begin(argc, argv);
 *     micro_run("map_get, 1M keys", lookups, map, 5000000);
 *
 *     map_get, 1M keys                                  42.0 ns   best    41.2 ns   allocations 0.000
 *
 * Options of every program:
 *
 *     --quick    few operations: does it still run? The figures say nothing.
 *     --json     one object a line instead of a table
 *
 * Compare ratios, not absolute values: the machine is never alone.
 */
#ifndef TERN_BENCH_MICRO_H
#define TERN_BENCH_MICRO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MICRO_ROUNDS = 9,
    MICRO_ROUNDS_QUICK = 3,
    MICRO_QUICK_DIVISOR = 200,
    MICRO_SITES_MAX = 32,
    MICRO_EXIT_USAGE = 64,
};

/* ---- allocations --------------------------------------------------------------------------- */

static _Atomic uint64_t micro_allocation_count;

/* Who allocated while watched: return addresses, for addr2line. One thread. */
static struct micro_site {
    const void *caller;
    uint64_t count;
} micro_sites[MICRO_SITES_MAX];
static bool micro_is_watching;

/* A sanitizer has a malloc() of its own, which must stay; allocations then count as 0. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MICRO_COUNTS_ALLOCATIONS = 0 };
#else
enum { MICRO_COUNTS_ALLOCATIONS = 1 };

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static inline void micro_allocated(const void *caller)
{
    atomic_fetch_add_explicit(&micro_allocation_count, 1, memory_order_relaxed);
    for (int i = 0; micro_is_watching && i < MICRO_SITES_MAX; i++) {
        if (micro_sites[i].caller == caller || micro_sites[i].count == 0) {
            micro_sites[i].caller = caller;
            micro_sites[i].count++;
            return;
        }
    }
}

/* Not inlined, also not when linking: the caller's address would be another one's. */
__attribute__((noinline)) void *malloc(size_t bytes)
{
    micro_allocated(__builtin_return_address(0));
    return __libc_malloc(bytes);
}

__attribute__((noinline)) void *calloc(size_t count, size_t bytes)
{
    micro_allocated(__builtin_return_address(0));
    return __libc_calloc(count, bytes);
}

__attribute__((noinline)) void *realloc(void *memory, size_t bytes)
{
    micro_allocated(__builtin_return_address(0));
    return __libc_realloc(memory, bytes);
}

__attribute__((noinline)) void *aligned_alloc(size_t alignment, size_t bytes)
{
    micro_allocated(__builtin_return_address(0));
    return __libc_memalign(alignment, bytes);
}
#endif

static inline void micro_watch(void)
{
    memset(micro_sites, 0, sizeof(micro_sites));
    micro_is_watching = true;
}

/* ---- options and clock --------------------------------------------------------------------- */

static struct {
    const char *program;
    const char *argument; /* the first one that is no option; NULL: none */
    bool is_quick, is_json;
} micro;

static inline void micro_begin(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    micro.program = slash != NULL ? slash + 1 : argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            micro.is_quick = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            micro.is_json = true;
        } else if (argv[i][0] == '-' || micro.argument != NULL) {
            fprintf(stderr, "%s: %s: there are --quick and --json\n", micro.program, argv[i]);
            exit(MICRO_EXIT_USAGE);
        } else {
            micro.argument = argv[i];
        }
    }
}

/* Of operations, or of things to fill a table with: far fewer with --quick, 1 or more. */
static inline uint64_t micro_scaled(uint64_t count)
{
    uint64_t few = count / MICRO_QUICK_DIVISOR;
    return !micro.is_quick ? count : few > 0 ? few : 1;
}

/* Keep the compiler from leaving out work whose result nobody looks at. */
static inline void micro_keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

static inline uint64_t micro_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t micro_cpu_ns(void)
{
    return micro_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- running ------------------------------------------------------------------------------- */

static inline int micro_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A figure that is no time of an operation: bytes each, a share. unit without quotes. */
static inline void micro_value(const char *name, double value, const char *unit)
{
    if (micro.is_json) {
        printf("{\"bench\": \"%s\", \"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}\n",
               micro.program, name, value, unit);
    } else {
        printf("%-46s %9.2f %s\n", name, value, unit);
    }
    fflush(stdout);
}

/* The median and the best of the rounds; returns the median. */
static inline double micro_print(const char *name, double *ns, int rounds, double allocations)
{
    qsort(ns, (size_t)rounds, sizeof(ns[0]), micro_compare);
    printf(micro.is_json ? "{\"bench\": \"%s\", \"name\": \"%s\", \"ns\": %.3f, \"ns_best\": %.3f, "
                           "\"allocations\": %.4f}\n"
                         : "%.0s%-46s %9.2f ns   best %9.2f ns   allocations %.3f\n",
           micro.program, name, ns[rounds / 2], ns[0], allocations);
    fflush(stdout);
    return ns[rounds / 2];
}

/*
 * fn(context, ops) does the thing ops times. One round warms up, MICRO_ROUNDS count; the median of
 * their CPU times is reported and returned, the best, and how many allocations there were for each
 * operation. name without quotes.
 */
static inline double micro_run(const char *name, void (*fn)(void *context, uint64_t ops),
                               void *context, uint64_t ops)
{
    double ns[MICRO_ROUNDS];
    int rounds = micro.is_quick ? MICRO_ROUNDS_QUICK : MICRO_ROUNDS;
    ops = micro_scaled(ops);

    fn(context, ops);
    uint64_t allocation_count = micro_allocation_count;
    for (int round = 0; round < rounds; round++) {
        uint64_t start = micro_cpu_ns();
        fn(context, ops);
        ns[round] = (double)(micro_cpu_ns() - start) / (double)ops;
    }
    allocation_count = micro_allocation_count - allocation_count;
    return micro_print(name, ns, rounds, (double)allocation_count / ((double)ops * rounds));
}

/* ---- a part of the work -------------------------------------------------------------------- */

/* Of this thread, between micro_part_begin() and micro_part_end(); they cost 0.5 us themselves. */
static struct {
    uint64_t ns, allocation_count;
} micro_part;

static inline void micro_part_begin(void)
{
    micro_part.allocation_count -= micro_allocation_count;
    micro_part.ns -= micro_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline void micro_part_end(void)
{
    micro_part.ns += micro_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    micro_part.allocation_count += micro_allocation_count;
}

/* The CPU of one round, for each operation. */
static inline double micro_round_part(void (*fn)(void *context, uint64_t ops), void *context,
                                      uint64_t ops, uint64_t *allocation_count)
{
    memset(&micro_part, 0, sizeof(micro_part));
    fn(context, ops);
    *allocation_count += micro_part.allocation_count;
    return (double)micro_part.ns / (double)ops;
}

/* As micro_run(), of these parts alone. */
static inline double micro_run_part(const char *name, void (*fn)(void *context, uint64_t ops),
                                    void *context, uint64_t ops)
{
    double ns[MICRO_ROUNDS];
    int rounds = micro.is_quick ? MICRO_ROUNDS_QUICK : MICRO_ROUNDS;
    uint64_t allocation_count = 0;
    ops = micro_scaled(ops);

    fn(context, ops);
    for (int round = 0; round < rounds; round++) {
        ns[round] = micro_round_part(fn, context, ops, &allocation_count);
    }
    return micro_print(name, ns, rounds, (double)allocation_count / ((double)ops * rounds));
}

/* Two ways of doing the same, in turn, so that whatever else the machine does falls on both. */
struct micro_side {
    const char *name;
    void (*fn)(void *context, uint64_t ops);
    void *context;
    double ns; /* out: the median */
};

/* As micro_run_part(), of each. Returns the median of how much the first takes of the second. */
static inline double micro_run_beside(struct micro_side sides[2], uint64_t ops)
{
    double ns[2][MICRO_ROUNDS], ratios[MICRO_ROUNDS];
    int rounds = micro.is_quick ? MICRO_ROUNDS_QUICK : MICRO_ROUNDS;
    uint64_t allocation_counts[2] = {0, 0};
    ops = micro_scaled(ops);

    sides[0].fn(sides[0].context, ops);
    sides[1].fn(sides[1].context, ops);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 2; i++) {
            int side = (round + i) % 2;
            ns[side][round] = micro_round_part(sides[side].fn, sides[side].context, ops,
                                               &allocation_counts[side]);
        }
        ratios[round] = ns[1][round] > 0 ? ns[0][round] / ns[1][round] : 0;
    }
    for (int side = 0; side < 2; side++) {
        sides[side].ns = micro_print(sides[side].name, ns[side], rounds,
                                     (double)allocation_counts[side] / ((double)ops * rounds));
    }
    qsort(ratios, (size_t)rounds, sizeof(ratios[0]), micro_compare);
    return ratios[rounds / 2];
}

#endif
