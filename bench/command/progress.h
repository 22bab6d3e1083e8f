/*
 * progress: a line for every second of a run.
 *
 * Floor:  bench.
 * Thread: that of the series.
 */
#ifndef TERN_BENCH_PROGRESS_H
#define TERN_BENCH_PROGRESS_H

#include "bench/report/series.h"

#include <stdio.h>

/* Tell every second of the series to out, from now on; out stays until the series is done. */
void progress_attach(struct series *series, FILE *out);

#endif
