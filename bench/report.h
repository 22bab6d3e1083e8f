/*
 * report: the figures of one run, as lines for people or as one JSON object.
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_REPORT_H
#define TERN_BENCH_REPORT_H

#include "bench/histogram.h"
#include "bench/target.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct report {
    const char *scenario; /* of the table in scenario.c: plain letters */
    uint32_t publisher_count, subscriber_count, window, burst, payload_bytes;
    uint8_t qos;
    double rate; /* messages a second asked for; 0: as fast as the window allows */

    /* Inside the measured window. */
    uint64_t window_ns;
    uint64_t delivered_count;
    uint64_t connected_count;
    bool has_target; /* the broker's process could be read */
    struct target_usage target_before, target_after;
    uint64_t bench_cpu_ns;
    struct histogram latency; /* ns; of deliveries, or of connects */

    /* Over the whole run: all of these must be 0. */
    uint64_t sent_count, received_count;
    uint64_t lost_count, repeated_count, disordered_count, corrupt_count;
    uint64_t refused_count; /* connections that were refused or broke */
    bool is_stalled;        /* nothing came for too long */

    /* Of scenario idle. */
    uint64_t idle_count;
};

bool report_is_clean(const struct report *report);

/* CPU time of the broker per delivered message (or per connect), microseconds; 0 if not known. */
double report_cpu_us(const struct report *report);
double report_per_second(const struct report *report);

/* Bytes of the broker's memory per idle connection. */
double report_idle_bytes(const struct report *report);

void report_print(const struct report *report, FILE *out);
void report_print_json(const struct report *report, FILE *out);

#endif
