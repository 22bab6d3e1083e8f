/*
 * classic_lines: what conn, pub and sub count, and how they print it: a line for what has changed,
 * once a second, and a summary.
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_CLASSIC_LINES_H
#define TERN_BENCH_CLASSIC_LINES_H

#include "bench/report/histogram.h"

#include <stdint.h>
#include <stdio.h>

/* The names are emqtt-bench's; those behind it are ours. */
#define CLASSIC_COUNTERS(X)                                            \
    X(recv)         /* messages received */                            \
    X(sub)          /* clients whose subscriptions are granted */      \
    X(sub_fail)     /* and refused */                                  \
    X(pub)          /* messages handed to the system */                \
    X(pub_fail)     /* that could not be made */                       \
    X(pub_overrun)  /* that left after the moment of the next one */   \
    X(pub_succ)     /* QoS 1 and 2: exchanges that the broker ended */ \
    X(connect_succ) /* clients that were welcomed */                   \
    X(connect_fail) /* and that were not */                            \
    X(disconnected) /* welcomed, and lost later */                     \
    X(cnt64_gap)    /* received, and not the successor of the last */

enum classic_counter {
#define CLASSIC_NAME(name) CLASSIC_##name,
    CLASSIC_COUNTERS(CLASSIC_NAME)
#undef CLASSIC_NAME
        CLASSIC_COUNTER_COUNT
};

struct classic_lines {
    uint64_t counts[CLASSIC_COUNTER_COUNT], before[CLASSIC_COUNTER_COUNT];
    uint64_t second_ns;               /* when the last line was due */
    uint64_t headed_count, headed_ms; /* of this second: messages with ts, and their latencies */
    struct histogram connect;         /* ns, from the first byte we send to the welcome */
    struct histogram latency, latency_second; /* ns, of messages */
};

/* since_ns: since the run began. Forgets what was of this second. out NULL: prints nothing. */
void classic_lines_second(struct classic_lines *lines, uint64_t since_ns, FILE *out);

void classic_lines_summary(const struct classic_lines *lines, uint64_t since_ns, FILE *out);

#endif
