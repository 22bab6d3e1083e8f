/*
 * run: `tern-bench run`: a scenario or a search, what is said while it lasts, and what is left of it.
 *
 * Floor:  bench.
 * Thread: the caller.
 */
#ifndef TERN_BENCH_RUN_H
#define TERN_BENCH_RUN_H

#include "bench/command/options.h"

/* Exit codes, as sysexits.h has them. */
enum {
    EXIT_WELL = 0,
    EXIT_VIOLATION = 1,
    EXIT_USAGE = 64,
    EXIT_NO_HOST = 68,
    EXIT_UNAVAILABLE = 69
};

/*
 * count, values: the whole command line, for the report. *is_stopped ends the run early, with its
 * account. Returns the exit code, and what is wrong has been said on standard error.
 */
int run_command(const struct options *options, int count, char **values,
                const volatile bool *is_stopped);

#endif
