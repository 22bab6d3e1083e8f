#include "core/base/metrics.h"

#include <stdlib.h>
#include <string.h>

static const struct metric_info infos[METRIC_COUNT] = {
#define METRIC(field, exported, kind, scale, labels, help) {exported, kind, scale, labels, help},
#include "core/metrics.def"
#undef METRIC
};

#define METRIC(field, exported, kind, scale, labels, help) CELL_##field##_LAST,
static const uint16_t last_cells[METRIC_COUNT] = {
#include "core/metrics.def"
};
#undef METRIC

_Static_assert(METRIC_CELL_COUNT <= UINT16_MAX, "the tables of cells hold 16 bits");

struct metrics *metrics_new(void)
{
    struct metrics *metrics = aligned_alloc(_Alignof(struct metrics), sizeof(*metrics));
    if (metrics == NULL) {
        return NULL;
    }
    for (uint32_t cell = 0; cell < METRIC_CELL_COUNT; cell++) {
        atomic_init(&metrics->cells[cell], 0);
    }
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

const struct metric_info *metric_info(enum metric metric)
{
    ASSERT(metric < METRIC_COUNT);
    return &infos[metric];
}

static uint64_t cell_value(const struct metrics *metrics, uint32_t cell)
{
    return atomic_load_explicit(&metrics->cells[cell], memory_order_relaxed);
}

uint64_t metric_value(const struct metrics *metrics, enum metric metric)
{
    ASSERT(metric < METRIC_COUNT);
    uint32_t end = last_cells[metric] + 1u;
    if (infos[metric].kind == HISTO) {
        end--; /* the sum is not a count */
    }
    uint64_t value = 0;
    for (uint32_t cell = metric_cells[metric]; cell < end; cell++) {
        value += cell_value(metrics, cell);
    }
    return value;
}

uint64_t metric_label_value(const struct metrics *metrics, enum metric metric, uint32_t label)
{
    ASSERT(metric < METRIC_COUNT);
    if (infos[metric].kind == HISTO ||
        label > (uint32_t)(last_cells[metric] - metric_cells[metric])) {
        return 0;
    }
    return cell_value(metrics, metric_cells[metric] + label);
}

uint64_t metric_histo_bucket(const struct metrics *metrics, enum metric metric, uint32_t bucket)
{
    ASSERT(metric < METRIC_COUNT);
    ASSERT(infos[metric].kind == HISTO);
    ASSERT(bucket < HISTO_BUCKETS);
    return cell_value(metrics, metric_cells[metric] + bucket);
}

uint64_t metric_histo_sum(const struct metrics *metrics, enum metric metric)
{
    ASSERT(metric < METRIC_COUNT);
    ASSERT(infos[metric].kind == HISTO);
    return cell_value(metrics, last_cells[metric]);
}
