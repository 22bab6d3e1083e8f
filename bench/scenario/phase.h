/*
 * phase: a part of a run with a rate of its own, from its begin to a line in the report.
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_PHASE_H
#define TERN_BENCH_PHASE_H

#include "bench/scenario/scenario.h"

struct phase {
    const struct scenario_options *options;
    uint64_t begin_ns, broker_cpu_ns, broker_written_bytes;
    bool has_target;
};

struct phase phase_begin(const struct scenario_options *options);

/*
 * It ended at end_ns, with count of what unit says in the plural; name and unit are constants.
 * latency: NULL, or of each of them. Beyond REPORT_PHASES_MAX nothing is written.
 */
void phase_end(const struct phase *phase, struct report *report, uint64_t end_ns, const char *name,
               const char *unit, uint64_t count, const struct histogram *latency);

/* CPU time of this thread so far: of the generator, or of its part of a crew. */
uint64_t phase_own_cpu_ns(void);

#endif
