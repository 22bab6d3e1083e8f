/*
 * report_merge: the reports of several generators as the report of one.
 *
 * Floor:  bench.
 * Thread: the owner of both.
 *
 * What was sent, delivered, lost, spent on the generator's CPU and so on adds up, latencies merge
 * cell by cell, seconds merge by their number. What is said of the whole run (counts of publishers
 * and subscribers, the rate asked for) is the same in all and stays. The broker is measured once:
 * the first that has a figure of it keeps it.
 */
#ifndef TERN_BENCH_REPORT_MERGE_H
#define TERN_BENCH_REPORT_MERGE_H

#include "bench/report/report.h"
#include "core/base/err.h"

/*
 * Add member to target, which is a report already (the first one: a copy). target->series, when it
 * has one, takes up the member's seconds.
 *
 * Exact, but for lateness_p99_ns and the quantiles of phases: the greater one stays, which the truth
 * does not exceed.
 *
 * ERR_NOMEM, ERR_LIMIT: of the series; all other figures are merged.
 */
enum err report_merge(struct report *target, const struct report *member);

/*
 * The sum of count reports, 1 or more, in *out. series (NULL: none is kept) is cleared, takes up the
 * seconds of all, and becomes out's. out may not be one of the members. Errors as above.
 */
enum err report_merge_all(const struct report *const *members, uint32_t count,
                          struct series *series, struct report *out);

#endif
