/*
 * forward: receive, length, send: what any broker must at least do for the traffic of tern-bench.
 *
 * A turn takes all that has come, puts it into the feeds, and then starts one send for each reader
 * that has none under way, with all frames the reader has not had. Nothing is looked at but where a
 * frame ends; nothing is copied; nothing is remembered.
 *
 * Floor:  bench; on bare liburing, so that no layer of ours is in the measure.
 * Thread: the caller, for ever.
 */
#ifndef TERN_BENCH_LIMIT_FORWARD_H
#define TERN_BENCH_LIMIT_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

/* How publishers are wired to subscribers. */
struct shape {
    const char *name, *help;
    bool is_paired; /* publisher i feeds subscriber i; else all publishers feed all subscribers */
};

struct forward_options {
    const struct shape *shape;
    uint32_t buffer_count; /* of 64 KiB: see pool.h */
    int listener;          /* a bound and listening socket */
    int signals;           /* readable when it is time to end */
};

struct forward_totals {
    uint64_t turns, receives, sends, frames, accepts;
};

/*
 * Serve until `signals` can be read; then *out says what was done. False: it could not go on, and
 * has said why on standard error.
 */
bool forward_run(const struct forward_options *options, struct forward_totals *out);

#endif
