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

#include "core/base/assert.h"
#include "core/base/link_reason.h"
#include "core/base/trail.h"
#include "core/limits.h"

#include <stdatomic.h>
#include <stdint.h>

enum metric_kind { COUNTER, GAUGE, HISTO };

/* What the `labels` column of metrics.def may say: the closed set a metric is split by. */
enum metric_labels { NONE, BY_REASON, BY_QOS, BY_USE, BY_LINK };

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

/*
 * Where the cells of each metric begin: CELL_x is the first, CELL_x_LAST the last. A histogram has
 * its buckets, then the sum of what was observed.
 */
#define METRIC_CELLS_NONE      1
#define METRIC_CELLS_BY_REASON METRIC_SLOTS
#define METRIC_CELLS_BY_QOS    METRIC_SLOTS
#define METRIC_CELLS_BY_USE    METRIC_SLOTS
#define METRIC_CELLS_BY_LINK   METRIC_SLOTS
#define METRIC(field, exported, kind, scale, labels, help) \
    CELL_##field,                                          \
        CELL_##field##_LAST = CELL_##field - 1 +           \
                              ((kind) == HISTO ? HISTO_BUCKETS + 1 : METRIC_CELLS_##labels),
enum metric_cell {
#include "core/metrics.def"
    METRIC_CELL_COUNT
};
#undef METRIC

#define METRIC(field, exported, kind, scale, labels, help) CELL_##field,
static const uint16_t metric_cells[METRIC_COUNT] = {
#include "core/metrics.def"
};
#undef METRIC

_Static_assert((int)LINK_REASON_COUNT <= (int)METRIC_SLOTS, "a cell for each reason");

struct metrics {
    /* private; relaxed, pairs with none */
    _Alignas(LIMIT_APART_BYTES) _Atomic uint64_t cells[METRIC_CELL_COUNT];
};
_Static_assert(_Alignof(struct metrics) == LIMIT_APART_BYTES &&
                   sizeof(struct metrics) % LIMIT_APART_BYTES == 0,
               "two shards' counters never share a line");

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/* One writer: a load and a store, not a locked addition. Gauges may go below zero in one shard; the
   sum over all shards is right, as 64 bits wrap. */
static inline void metric_cell_add(struct metrics *metrics, uint32_t cell, uint64_t count)
{
    _Atomic uint64_t *at = &metrics->cells[cell];
    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + count,
                          memory_order_relaxed);
}

static inline void metric_add(struct metrics *metrics, enum metric metric, uint64_t count)
{
    metric_cell_add(metrics, metric_cells[metric], count);
}

/* gauges */
static inline void metric_sub(struct metrics *metrics, enum metric metric, uint64_t count)
{
    metric_cell_add(metrics, metric_cells[metric], 0 - count);
}

/* gauges */
static inline void metric_set(struct metrics *metrics, enum metric metric, uint64_t value)
{
    atomic_store_explicit(&metrics->cells[metric_cells[metric]], value, memory_order_relaxed);
}

/* label: TRAIL_x for BY_REASON, 0 to 2 for BY_QOS, LEDGER_x for BY_USE, LINK_REASON_x for BY_LINK. The metric has labels. */
static inline void metric_add_label(struct metrics *metrics, enum metric metric, uint32_t label,
                                    uint64_t count)
{
    ASSERT(label < METRIC_SLOTS);
    metric_cell_add(metrics, metric_cells[metric] + label, count);
}

/* The same, of a gauge. */
static inline void metric_set_label(struct metrics *metrics, enum metric metric, uint32_t label,
                                    uint64_t value)
{
    ASSERT(label < METRIC_SLOTS);
    atomic_store_explicit(&metrics->cells[metric_cells[metric] + label], value,
                          memory_order_relaxed);
}

/*
 * The metric is a histogram. Bucket b counts values up to 2^b of the raw unit that are above
 * 2^(b-1); the last one takes all that are larger.
 */
static inline void metric_observe(struct metrics *metrics, enum metric metric, uint64_t value)
{
    uint32_t bucket = value <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(value - 1);
    bucket = bucket < HISTO_BUCKETS ? bucket : HISTO_BUCKETS - 1;
    metric_cell_add(metrics, metric_cells[metric] + bucket, 1);
    metric_cell_add(metrics, metric_cells[metric] + HISTO_BUCKETS, value);
}

/* Summed over labels; of a histogram the number of observations. Any thread. */
uint64_t metric_value(const struct metrics *metrics, enum metric metric);
/* 0 for a label that the metric does not have. */
uint64_t metric_label_value(const struct metrics *metrics, enum metric metric, uint32_t label);
/* Observations in this bucket alone; its upper bound is 2^bucket of the raw unit, inclusive. */
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
