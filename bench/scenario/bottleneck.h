/*
 * bottleneck: whether the figures of a run are the generator's rather than the broker's.
 *
 * Any one of these says so:
 *   B1  its thread was busy for 95 % of the window: it could not have made more load, nor have been
 *       on time;
 *   B2  its own lateness (p99) is above 1 ms and above a tenth of the latency (p99) it measured:
 *       what is told of the broker is in part the generator's;
 *   B3  less than 99 % of the rate asked for left, though the broker used less than 90 % of a core
 *       and read whatever was sent. Publishers that wait for acknowledgements only (QoS 1 and 2) are
 *       too few of them. Of a broker whose use is unknown the same is said: nothing speaks for it.
 *
 * Floor:  bench; pure.
 */
#ifndef TERN_BENCH_BOTTLENECK_H
#define TERN_BENCH_BOTTLENECK_H

#include <stdbool.h>

struct bottleneck_facts {
    double own_cores;          /* CPU of this generator's thread, per second of the window */
    double lateness_p99_ns;    /* 0 in a closed loop */
    double latency_p99_ns;     /* 0: nothing came */
    double rate, rate_reached; /* 0: closed loop */
    bool is_held_back;         /* the broker did not read: what was sent waited in our memory */
    bool has_broker_cores;
    double broker_cores;
};

bool bottleneck_is_generator(const struct bottleneck_facts *facts);

#endif
