/*
 * probe: a few clients that talk to themselves, to feel what others do to the broker.
 *
 * Each publishes to a topic that it alone subscribes to, PROBE_RATE messages a second, open loop;
 * latency is from the moment a message should have left to its arrival. Every one is checked.
 *
 * Floor:  bench; knows crowd and check.
 * Thread: the owner.
 * Memory: freed by probe_deinit() after load_free().
 */
#ifndef TERN_BENCH_PROBE_H
#define TERN_BENCH_PROBE_H

#include "bench/load/check.h"
#include "bench/report/histogram.h"
#include "bench/scenario/crowd.h"

enum {
    PROBE_CLIENTS = 8, /* of the whole crew */
    PROBE_RATE = 25,   /* a second, of each */
};

struct probe {
    const struct scenario_options *options;
    struct report *report; /* sent, received, and what went wrong */
    struct load *load;

    struct crowd crowd;
    struct track *tracks; /* of each member */
    uint64_t *sent;
    uint64_t begin_ns, turn; /* moment k of all members is at begin + k / rate */
    uint64_t came_count, sent_count;
    struct histogram *latency; /* since probe_begin() */
};

/* Fill in the fields above the empty line, then this. ERR_NOMEM. */
enum err probe_init(struct probe *probe);
void probe_deinit(struct probe *probe); /* accepts a zeroed one */

/* Connect and subscribe. As crowd_gather(). */
enum err probe_gather(struct probe *probe);

/* Moments and latencies begin anew at now_ns. */
void probe_begin(struct probe *probe, uint64_t now_ns);

/* Publish what is due, and say when the next one is. */
uint64_t probe_publish_due(struct probe *probe, uint64_t now_ns);

/* Wait for what is on the way; what does not come is lost. The clients stay. */
void probe_settle(struct probe *probe);

#endif
