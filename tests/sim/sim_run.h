/*
 * sim_run: one run of one seed, from the first connection to the last free().
 *
 * Floor:  tests.
 *
 *     storm: clients do as they like, links break      calm: everybody subscribes, then sends a script
 *     quiet: no faults; everybody returns, everything owed arrives within QUIET_NS
 *     audit: a new client looks at what is retained
 *     leave: all say goodbye; nothing may be left in any session
 */
#ifndef TERN_SIM_SIM_RUN_H
#define TERN_SIM_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

/* What becomes of the node in a storm. */
enum run_kind {
    RUN_PLAIN,   /* it lives on */
    RUN_FORGETS, /* it crashes and starts again, and has no disk */
    RUN_DURABLE, /* it crashes and starts again, and its disk fails too */
    RUN_KIND_COUNT
};

struct run_options {
    uint64_t seed;
    uint32_t shard_count; /* 0: the seed decides */
    enum run_kind kind;
    bool is_calm;
    bool show;
};

struct run_result {
    bool has_passed;
    char why[512];
    uint64_t trace_hash, deliveries_hash;
    uint32_t message_count, delivery_count;
    uint64_t step_count;
    uint32_t crash_count, refused_count, trouble_count;
    char plan[256]; /* what the seed chose, in words */
};

void run_seed(const struct run_options *options, struct run_result *out);

#endif
