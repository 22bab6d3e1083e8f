/*
 * series: the figures of every second of a run, for progress lines, plots and reports.
 *
 * Floor:  bench; knows histogram and target.
 * Thread: the owner; several generators have a series each and are merged at the end.
 * Memory: heap, the caller owns it; about 3 KiB a second, SERIES_SECONDS_MAX seconds at most.
 *
 *     struct series *series = series_new();             who wants one; scenario_options.series
 *     series_begin(series, load_clock_ns());            the engine, when sending begins
 *     per delivery  series_delivery(series, now_ns, latency_ns);
 *     per send      series_sent(series, now_ns, count);
 *     per turn      if (series_is_due(series, now_ns)) {
 *                       series_tick(series, now_ns, sampled ? &usage : NULL);
 *                   }
 *     series_mark_window(series, window_begin_ns, window_end_ns);
 *     series_end(series, now_ns, sampled ? &usage : NULL);
 *
 * Invariants
 *   I1  Second k is [begin + k s, begin + (k + 1) s): a second in which nothing came exists, with
 *       zeros. Only the last one may be shorter.
 *   I2  What came later than now_ns of an earlier call counts in the second of that call: time
 *       does not go back.
 *   I3  Generators of one crew begin at the same moment, so that second k is the same for all.
 */
#ifndef TERN_BENCH_SERIES_H
#define TERN_BENCH_SERIES_H

#include "bench/report/histogram.h"
#include "bench/report/target.h"
#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    SERIES_SECONDS_MAX = 86400, /* later ones are told to on_second, and not kept */
};

struct series;

struct series_second {
    uint64_t length_ns; /* one second; the last one may be shorter */
    uint64_t sent_count, delivered_count;
    uint64_t p50_ns, p99_ns, max_ns; /* latency of what was delivered; 0: nothing was */
    bool has_target;                 /* the broker's process could be read */
    double broker_cores;             /* CPU seconds per second: 0.5 is half of a core */
    uint64_t resident_bytes;
    const struct histogram_cell *cells; /* of the latencies; borrowed from the series */
    uint32_t cell_count;
};

/* NULL only when memory is exhausted. Until series_begin() nothing is counted. */
struct series *series_new(void);
void series_free(struct series *series); /* accepts NULL */

/* Forget what there is; second 0 begins at begin_ns. */
void series_begin(struct series *series, uint64_t begin_ns);

/* Called for each second once it is complete, in order; series_end() tells the last one. */
typedef void series_teller(void *context, uint32_t index, const struct series_second *second);
void series_on_second(struct series *series, series_teller *teller, void *context);

/* Tell one that was counted elsewhere: by all generators of a crew, while they run. */
void series_tell(const struct series *series, uint32_t index, const struct series_second *second);

/* Cheap: one cell of a histogram. */
void series_delivery(struct series *series, uint64_t now_ns, uint64_t latency_ns);
void series_sent(struct series *series, uint64_t now_ns, uint64_t count);

/* A second has ended: time to read the broker's use (target_usage_quick()) and to call _tick. */
bool series_is_due(const struct series *series, uint64_t now_ns);

/*
 * Close the seconds that have ended. usage: the broker's since its start, as of now; NULL: unknown.
 * The first usage given is where counting begins (at best before the first second, by a tick then).
 */
void series_tick(struct series *series, uint64_t now_ns, const struct target_usage *usage);

/* The last, unfinished second too, when something is in it. Nothing counts after this. */
void series_end(struct series *series, uint64_t now_ns, const struct target_usage *usage);

/* Where the measured window lies; before it is warm-up, behind it the drain. */
void series_mark_window(struct series *series, uint64_t begin_ns, uint64_t end_ns);

uint32_t series_count(const struct series *series); /* of NULL: 0 */

/* index < series_count(). Borrowed until the series changes. */
const struct series_second *series_second(const struct series *series, uint32_t index);

/* The moment given to series_begin(); 0 of one that was read from a report, and of NULL. */
uint64_t series_begin_ns(const struct series *series);

/* Since that moment; both 0: there was no window. */
uint64_t series_window_begin_ns(const struct series *series);
uint64_t series_window_end_ns(const struct series *series);

/*
 * Add source to target, second by second. Counts add and latencies merge; the broker's use is the
 * target's where it has one, else the source's; so is the window, and
 * the begin where it is 0. ERR_NOMEM, ERR_LIMIT: what is merged is whole up to
 * some second, and later ones are missing.
 */
enum err series_merge(struct series *target, const struct series *source);

/*
 * Add one second at the end, as it was read from a report; second->cells are copied. Quantiles are
 * taken as given. ERR_NOMEM, ERR_LIMIT (SERIES_SECONDS_MAX), ERR_RANGE (a cell that cannot be).
 */
enum err series_append(struct series *series, const struct series_second *second);

/*
 * A line of comma-separated values per second, below a heading; unknown ones are empty. NULL: the
 * heading alone.
 */
void series_print_csv(const struct series *series, FILE *out);

#endif
