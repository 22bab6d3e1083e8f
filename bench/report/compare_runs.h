/*
 * compare_runs: what became better and what worse between two runs, or two groups of runs.
 *
 *     tern-bench compare before.json after.json
 *     tern-bench compare a1.json,a2.json,a3.json b1.json,b2.json,b3.json --worse-than 10%
 *
 * Floor:  bench.
 * Thread: the owner.
 *
 * With several runs a side is its median, and its spread is from the least to the greatest. A figure
 * has changed when the medians differ and the spreads do not overlap; a single run has no spread, so
 * every difference counts: compare several.
 */
#ifndef TERN_BENCH_COMPARE_RUNS_H
#define TERN_BENCH_COMPARE_RUNS_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stdio.h>

enum { COMPARE_RUNS_MAX = 64 /* per side */ };

struct compare_options {
    const char *before, *after; /* paths, with commas between them */
    double worse_percent;       /* with this or more, a worse figure is a failure; 0: only tell */
    bool is_json;               /* one object instead of a table */
};

/*
 * Write the comparison to out, and what stands in the way to problems. Returns the exit status:
 *
 * 0   compared
 * 1   a figure is worse than allowed, or the second side has violations that the first had not
 * 64  a file is missing, is no report, or there are too many
 */
int compare_runs(const struct compare_options *options, FILE *out, FILE *problems);

#endif
