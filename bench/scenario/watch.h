/*
 * watch: the seconds of a run, for progress lines and plots.
 *
 * What the series is told depends on the scenario: acknowledged messages while they are stored,
 * messages while they come, clients while they connect. Does nothing when nobody wants a series.
 *
 * Floor:  bench; knows load and series.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_WATCH_H
#define TERN_BENCH_WATCH_H

#include "bench/scenario/scenario.h"

/* Second 0 begins at begin_ns, which may be ahead of us: that is when members of a crew begin. */
void watch_begin(const struct scenario_options *options, uint64_t begin_ns);

/* load_turn(), and the seconds that have ended meanwhile are closed. */
void watch_turn(const struct scenario_options *options, struct load *load, uint64_t wait_ns);

void watch_sent(const struct scenario_options *options, uint64_t now_ns);
void watch_delivery(const struct scenario_options *options, uint64_t now_ns, uint64_t latency_ns);

/* The part that the report's figures are of. */
void watch_window(const struct scenario_options *options, uint64_t begin_ns, uint64_t end_ns);

void watch_end(const struct scenario_options *options);

#endif
