/*
 * search: the highest rate of an open loop at which goals are kept and nothing is lost.
 *
 *      rate │                  ✗
 *           │               ✗     ✓ ✗ ✓   <- within SEARCH_PRECISION
 *           │         ✓
 *           │   ✓                             first double, then halve the gap
 *           └──────────────────────────> steps
 *
 * A step is kept when its run is clean, nothing was left unsent, the rate was reached and all goals
 * hold. A step that breaks is repeated once, so that one hiccup of the machine is not taken for the
 * broker's limit; of two the better one counts.
 *
 * Where both runs of a broken step say that the generator was the bottleneck, what is found is the
 * generator's limit: the search ends there and says so. Where no rate was kept yet and nothing at all
 * arrived in both runs, it ends too: the way down has nothing to show.
 *
 * Floor:  bench; knows neither sockets nor clocks.
 * Thread: the caller.
 */
#ifndef TERN_BENCH_SEARCH_H
#define TERN_BENCH_SEARCH_H

#include "bench/command/goal.h"
#include "bench/report/report.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SEARCH_PRECISION 1.05
#define SEARCH_RATE_LOW  1.0
#define SEARCH_RATE_HIGH 1e9

enum { SEARCH_STEPS_MAX = 100, SEARCH_WHY_BYTES = 160 };

struct search {
    const struct goals *goals;
    double rate_first;               /* where it begins */
    const volatile bool *is_stopped; /* NULL: never */
    FILE *out;                       /* a line for each step; NULL: none */

    /* Run at this rate; *report is borrowed until the next step. An error ends the search. */
    enum err (*step)(void *context, double rate, const struct report **report);
    /* The last step is the best so far: its report is the one to keep. */
    void (*keep)(void *context);
    void *context;
};

enum search_end {
    SEARCH_FOUND,     /* the knee lies between rate and rate_broken */
    SEARCH_NOTHING,   /* not even SEARCH_RATE_LOW keeps the goals */
    SEARCH_SILENCE,   /* twice nothing at all arrived, and no lower rate would bring more */
    SEARCH_GENERATOR, /* higher rates are beyond this generator */
    SEARCH_CEILING,   /* SEARCH_RATE_HIGH is kept: there is no goal */
    SEARCH_STOPPED,   /* by the user, or after SEARCH_STEPS_MAX */
};

struct search_result {
    enum search_end end;
    double rate, rate_broken; /* 0: there is none */
    uint32_t step_count;
    char why[SEARCH_WHY_BYTES]; /* what broke at rate_broken */
};

/* *out is written only on OK. */
enum err search_run(const struct search *search, struct search_result *out);

/* How it ended, in a sentence or two. best: the report of the best step; NULL: there is none. */
void search_print(const struct search_result *result, const struct report *best, FILE *out);

#endif
