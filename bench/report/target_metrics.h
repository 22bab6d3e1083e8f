/*
 * target_metrics: what a broker says about itself on a Prometheus page, for brokers whose process
 * cannot be read: on another machine, in a container, of another user.
 *
 * Floor:  bench.
 * Thread: any; a fetch blocks for up to TARGET_METRICS_TIMEOUT_MS, so at both ends of a window only.
 *
 * Any broker's process_cpu_seconds_total and process_resident_memory_bytes are understood; Tern's
 * own counters (tern_publish_received_total, _sent_total, tern_dropped_total by reason) where there.
 */
#ifndef TERN_BENCH_TARGET_METRICS_H
#define TERN_BENCH_TARGET_METRICS_H

#include "bench/report/target.h"
#include "core/base/slice.h"

#include <stdbool.h>

enum {
    TARGET_METRICS_TIMEOUT_MS = 3000,
    TARGET_METRICS_BYTES_MAX = 4 * 1024 * 1024,
    TARGET_REASONS_MAX = 24,
    TARGET_REASON_BYTES = 32,
    TARGET_PROBLEM_BYTES = 200,
};

/* Messages as the broker counts them. */
struct target_account {
    uint64_t received_count, sent_count; /* PUBLISH packets, all QoS */
    uint32_t reason_count;
    struct target_dropped {
        char reason[TARGET_REASON_BYTES];
        uint64_t count;
    } dropped[TARGET_REASONS_MAX]; /* what comes beyond is added to the last, named "others" */
};

struct target_metrics {
    bool has_usage; /* CPU time and memory were on the page */
    struct target_usage usage;
    bool has_account; /* Tern's counters were */
    struct target_account account;
};

/*
 * Get http://host[:port]/path and read it. problem: what is wrong, in words, with the URL ("" on OK).
 *
 * ERR_INVALID      no such URL, or https
 * ERR_NOT_FOUND    no such host, or not status 200
 * ERR_UNSUPPORTED  a page, and none of our figures on it
 * ERR_TIMEOUT, ERR_IO, ERR_TOO_LARGE, ERR_MALFORMED (no HTTP)
 */
enum err target_metrics_get(const char *url, struct target_metrics *out,
                            char problem[TARGET_PROBLEM_BYTES]);

/* Read a page's text. ERR_UNSUPPORTED: none of our figures is on it. */
enum err target_metrics_read(struct slice text, struct target_metrics *out);

/* What was counted between two pages of one broker; a counter that went back starts anew. */
void target_account_since(const struct target_account *before, const struct target_account *after,
                          struct target_account *out);

/* All reasons together. */
uint64_t target_account_dropped(const struct target_account *account);

#endif
