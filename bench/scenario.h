/*
 * scenario: what `tern-bench run` can do, as a table of shapes.
 *
 *     pairs     n publishers, n subscribers, each pair has a topic of its own
 *     fanout    1 publisher, n subscribers of one topic
 *     fanin     n publishers with a topic each, 1 subscriber of all of them
 *     connect   n clients connect, are welcomed, disconnect, and come again
 *     idle      n clients connect and stay silent
 *
 * A run has a warm-up and a measured window; figures are of the window, checks of everything.
 *
 * Closed loop: a publisher has at most `window` messages under way, and sends when a burst of them
 * has come free. A message is under way until all its subscribers have it and, with QoS 1 or 2,
 * until the broker has finished the exchange with the publisher.
 * Open loop: `rate` messages a second, evenly, however the broker fares; latency counts from the
 * moment a message should have left (no coordinated omission).
 *
 * Floor:  bench.
 * Thread: the caller; one load, one thread.
 */
#ifndef TERN_BENCH_SCENARIO_H
#define TERN_BENCH_SCENARIO_H

#include "bench/load.h"
#include "bench/report.h"

#include <stdbool.h>
#include <stdint.h>

struct scenario;

struct scenario_options {
    struct load_config load;
    uint32_t count; /* pairs, subscribers, publishers, clients; 0: the scenario's own default */
    uint32_t payload_bytes, window, burst;
    uint8_t qos;
    double rate, seconds, warmup_seconds; /* rate 0: closed loop */
    int32_t broker_pid;                   /* 0: unknown */
};

/* NULL: there is none of that name. */
const struct scenario *scenario_find(const char *name);

/* One line per scenario, for --help. */
void scenario_list(FILE *out);

/*
 * Run it. ERR_INVALID: the options do not fit (payload below STAMP_BYTES, burst above window);
 * ERR_TIMEOUT: the clients did not all get their welcome. On OK *out has the figures, which may
 * tell of violations.
 */
enum err scenario_run(const struct scenario *scenario, const struct scenario_options *options,
                      struct report *out);

#endif
