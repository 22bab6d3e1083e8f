/*
 * metrics_watch: a broker's /metrics, read beside a run without disturbing it.
 *
 * A fetch takes milliseconds, and while it lasts a generator sends nothing; so a thread of its own
 * asks once a second, and what the broker had used when the measured window began and ended is
 * taken from the two pages around that moment, in proportion.
 *
 * Floor:  bench.
 * Thread: the caller, and one of its own until _free.
 * Memory: 64 bytes a second, for a day at most.
 */
#ifndef TERN_BENCH_METRICS_WATCH_H
#define TERN_BENCH_METRICS_WATCH_H

#include "bench/report/report.h"
#include "bench/report/target_metrics.h"

struct metrics_watch;

/*
 * The first page is fetched at once, so that a wrong URL is told before the run.
 * ERR_NOMEM, or as target_metrics_get(), and problem says what is wrong.
 */
enum err metrics_watch_new(const char *url, struct metrics_watch **out,
                           char problem[TARGET_PROBLEM_BYTES]);

void metrics_watch_free(struct metrics_watch *watch); /* accepts NULL */

/* A run begins: a page of this moment, from which on what the broker counts is the run's. */
void metrics_watch_begin(struct metrics_watch *watch);

/*
 * It is over: a page of this moment, and then what the broker used between two moments of
 * load_clock_ns(), and what it counted since _begin, into report->target_before, target_after and
 * account. report->has_target and has_account say what was there.
 */
void metrics_watch_end(struct metrics_watch *watch, uint64_t begin_ns, uint64_t end_ns,
                       struct report *report);

#endif
