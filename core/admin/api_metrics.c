#include "core/admin/process.h"
#include "core/admin/routes.h"
#include "core/base/ledger.h"

#include <math.h>
#include <stdio.h>

/*
 * Prometheus text format 0.0.4, from core/metrics.def: a row there is a metric here. Shards are
 * summed on read; each figure is read once, without a lock, so that figures of one answer may be
 * some events apart.
 */

static uint64_t label_sum(const struct admin_sources *sources, enum metric metric, uint32_t label)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < sources->metrics_count; i++) {
        sum += metric_label_value(sources->metrics[i], metric, label);
    }
    return sum;
}

static uint64_t value_sum(const struct admin_sources *sources, enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < sources->metrics_count; i++) {
        sum += metric_value(sources->metrics[i], metric);
    }
    return sum;
}

/* A gauge raised on one shard and lowered on another is below zero on the other; the sum is right. */
static void value_add(struct body *body, const struct metric_info *info, uint64_t value)
{
    if (info->scale == 1) {
        body_add(body, " %lld\n", (long long)value);
    } else {
        body_add(body, " %.9g\n", (double)(int64_t)value * info->scale);
    }
}

static void label_add(struct body *body, const struct metric_info *info, const char *name,
                      const char *label, uint64_t value)
{
    body_add(body, "tern_%s{%s=\"%s\"}", info->exported, name, label);
    value_add(body, info, value);
}

static void reasons_add(struct body *body, const struct admin_sources *sources, enum metric metric)
{
    for (uint32_t i = 0; i < TRAIL_COUNT; i++) {
        if (!trail_counts((enum trail_what)i)) {
            continue;
        }
        label_add(body, metric_info(metric), "reason", trail_name((enum trail_what)i),
                  label_sum(sources, metric, i));
    }
}

static void qos_add(struct body *body, const struct admin_sources *sources, enum metric metric)
{
    static const char *const texts[] = {"0", "1", "2"};
    for (uint32_t i = 0; i < 3; i++) {
        label_add(body, metric_info(metric), "qos", texts[i], label_sum(sources, metric, i));
    }
}

static void uses_add(struct body *body, const struct admin_sources *sources, enum metric metric)
{
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        label_add(body, metric_info(metric), "use", ledger_name(use),
                  label_sum(sources, metric, use));
    }
}

static void links_add(struct body *body, const struct admin_sources *sources, enum metric metric)
{
    for (enum link_reason reason = 0; reason < LINK_REASON_COUNT; reason++) {
        label_add(body, metric_info(metric), "reason", link_reason_name(reason),
                  label_sum(sources, metric, reason));
    }
}

/* Each `le` holds what all smaller ones hold, and +Inf is the count, whatever is added meanwhile. */
static void histo_add(struct body *body, const struct admin_sources *sources, enum metric metric)
{
    const struct metric_info *info = metric_info(metric);
    uint64_t count = 0, sum = 0;

    for (uint32_t bucket = 0; bucket < HISTO_BUCKETS; bucket++) {
        for (uint32_t i = 0; i < sources->metrics_count; i++) {
            count += metric_histo_bucket(sources->metrics[i], metric, bucket);
        }
        if (bucket + 1 < HISTO_BUCKETS) { /* the last one holds whatever is larger */
            body_add(body, "tern_%s_bucket{le=\"%.9g\"} %llu\n", info->exported,
                     ldexp(info->scale, (int)bucket), (unsigned long long)count);
        }
    }
    for (uint32_t i = 0; i < sources->metrics_count; i++) {
        sum += metric_histo_sum(sources->metrics[i], metric);
    }
    body_add(body, "tern_%s_bucket{le=\"+Inf\"} %llu\n", info->exported, (unsigned long long)count);
    body_add(body, "tern_%s_sum %.9g\n", info->exported, (double)sum * info->scale);
    body_add(body, "tern_%s_count %llu\n", info->exported, (unsigned long long)count);
}

static void metric_add_text(struct body *body, const struct admin_sources *sources,
                            enum metric metric)
{
    static const char *const kinds[] = {
        [COUNTER] = "counter", [GAUGE] = "gauge", [HISTO] = "histogram"};
    const struct metric_info *info = metric_info(metric);

    body_add(body, "# HELP tern_%s %s\n# TYPE tern_%s %s\n", info->exported, info->help,
             info->exported, kinds[info->kind]);
    if (info->kind == HISTO) {
        histo_add(body, sources, metric);
    } else if (info->labels == BY_REASON) {
        reasons_add(body, sources, metric);
    } else if (info->labels == BY_QOS) {
        qos_add(body, sources, metric);
    } else if (info->labels == BY_USE) {
        uses_add(body, sources, metric);
    } else if (info->labels == BY_LINK) {
        links_add(body, sources, metric);
    } else {
        body_add(body, "tern_%s", info->exported);
        value_add(body, info, value_sum(sources, metric));
    }
}

static void figure_add(struct body *body, const char *name, const char *kind, const char *help,
                       double value)
{
    body_add(body, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, kind, name, value);
}

/* Named as every Prometheus client library names them, so that common dashboards find them. */
static void process_add(struct body *body, uint64_t start_wall_ms)
{
    struct process_figures process;
    process_read(&process);
    figure_add(body, "process_cpu_seconds_total", "counter",
               "Total user and system CPU time spent in seconds.", process.cpu_seconds);
    figure_add(body, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
               (double)process.resident_bytes);
    figure_add(body, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
               (double)process.virtual_bytes);
    figure_add(body, "process_open_fds", "gauge", "Number of open file descriptors.",
               (double)process.open_fds);
    figure_add(body, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
               (double)process.open_fds_max);
    figure_add(body, "process_start_time_seconds", "gauge",
               "Start time of the process since unix epoch in seconds.",
               (double)start_wall_ms / 1000);
}

void metrics_get(const struct admin_sources *sources, uint64_t wall_ms, struct answer *answer)
{
    struct body *body = &answer->body;
    (void)wall_ms;

    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    body_add(body,
             "# HELP tern_build_info The version that runs; always 1.\n"
             "# TYPE tern_build_info gauge\ntern_build_info{version=\"%s\"} 1\n",
             TERN_VERSION);
    figure_add(body, "tern_shards", "gauge", "shards of this node", sources->metrics_count);
    for (uint32_t metric = 0; metric < METRIC_COUNT; metric++) {
        metric_add_text(body, sources, (enum metric)metric);
    }
    struct admin_security security = security_now(sources);
    security_metrics_add(body, &security);
    struct admin_storage storage = storage_now(sources);
    storage_metrics_add(body, &storage);
    process_add(body, sources->start_wall_ms);
}
