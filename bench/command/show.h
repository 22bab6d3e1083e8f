/*
 * show: `tern-bench show RUN.json`: a run that was kept, said and drawn again.
 *
 * Floor:  bench.
 * Thread: the caller.
 */
#ifndef TERN_BENCH_SHOW_H
#define TERN_BENCH_SHOW_H

#include "bench/command/options.h"

/*
 * Read the report in words[0], and print it or write what --markdown, --plot and --series ask for.
 * Returns the exit code: 64 when it is no report, 69 when a file cannot be written; else 0, also
 * for a run with violations: that was told when it ran, and is told again.
 */
int show_command(const struct options *options);

#endif
