/*
 * metrics: counters, gauges and histograms of one table (core/metrics.def), per shard, summed on read.
 *
 * Floor:  base.
 * Thread: a struct metrics is written by its shard only (relaxed atomics: plain stores on x86),
 *         and read by anybody.
 * Memory: fixed, allocated in metrics_new().
 */
#ifndef TERN_BASE_METRICS_H
#define TERN_BASE_METRICS_H

#include <stdint.h>

#include "core/base/trail.h"

enum metric_kind { COUNTER, GAUGE, HISTO };

/* What the `labels` column of metrics.def may say: the closed set a metric is split by. */
enum metric_labels { NONE, BY_REASON, BY_QOS };

#define METRIC(field, exported, kind, scale, labels, help) METRIC_##field,
enum metric {
#include "core/metrics.def"
    METRIC_COUNT
};
#undef METRIC

enum {
    METRIC_SLOTS = TRAIL_COUNT, /* cells of a metric with labels; 1 used without */
    HISTO_BUCKETS = 32,         /* powers of two of the raw unit */
};

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

void metric_add(struct metrics *metrics, enum metric metric, uint64_t count);
void metric_sub(struct metrics *metrics, enum metric metric, uint64_t count); /* gauges */
void metric_set(struct metrics *metrics, enum metric metric, uint64_t value); /* gauges */
/* label: TRAIL_x for BY_REASON, 0 to 2 for BY_QOS. */
void metric_add_label(struct metrics *metrics, enum metric metric, uint32_t label, uint64_t count);
void metric_observe(struct metrics *metrics, enum metric metric, uint64_t value); /* histograms */

/* Summed over labels; of a histogram the number of observations. Any thread. */
uint64_t metric_value(const struct metrics *metrics, enum metric metric);
uint64_t metric_label_value(const struct metrics *metrics, enum metric metric, uint32_t label);
uint64_t metric_histo_bucket(const struct metrics *metrics, enum metric metric, uint32_t bucket);
uint64_t metric_histo_sum(const struct metrics *metrics, enum metric metric);

struct metric_info {
    const char *exported; /* "publish_received_total"; the prefix tern_ is added on export */
    enum metric_kind kind;
    double scale; /* raw unit to exported unit */
    enum metric_labels labels;
    const char *help;
};
const struct metric_info *metric_info(enum metric metric);

#endif
