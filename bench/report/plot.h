/*
 * plot: throughput, latency and the broker's use over time, as a picture.
 *
 *     ┌ title: what was run, on what ────────────────┐
 *     │ deliveries and sent messages a second        │
 *     │ latency p50, p99, max: logarithmic           │
 *     │ CPU and memory of the broker, where known    │
 *     └ seconds; warm-up and drain are shaded ───────┘
 *
 * SVG 1.1 without scripts and fonts of its own, readable on light and on dark ground; or the same in
 * an HTML page with the report's lines and its environment, which needs nothing from anywhere.
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_PLOT_H
#define TERN_BENCH_PLOT_H

#include "bench/report/report.h"
#include "core/base/buf.h"

/* Append it. ERR_NOT_FOUND: the report has no seconds to draw. ERR_NOMEM. */
enum err plot_svg(const struct report *report, struct buf *out);
enum err plot_html(const struct report *report, struct buf *out);

/*
 * Into a file, replacing it: HTML when its name ends in .html or .htm, else SVG. Also ERR_IO,
 * ERR_PERMISSION, ERR_NOT_FOUND (the folder): no half a file is left.
 */
enum err plot_write(const struct report *report, const char *path);

#endif
