/*
 * classic_run: what the files behind classic.h share. Nobody else includes this.
 *
 *     classic.c          a run from its first connect to its last word
 *     classic_prepare.c  what must be right before it, and what is freed after it
 *
 * Floor:  bench; included by classic*.c only.
 */
#ifndef TERN_BENCH_CLASSIC_RUN_H
#define TERN_BENCH_CLASSIC_RUN_H

#include "bench/command/classic_lines.h"
#include "bench/command/classic_payload.h"
#include "bench/command/due.h"
#include "bench/command/options.h"
#include "bench/load/load.h"
#include "core/base/rng.h"

enum {
    ID_BYTES = 64,
    TOPIC_BYTES = 1024,
    SOURCES_MAX = 64,
};

struct classic;

struct worker {
    struct classic *run;
    struct load_client *client;
    uint32_t index;
    uint32_t inflight;   /* QoS 1 and 2: not ended by the broker */
    uint64_t moment_ns;  /* of the next message */
    uint64_t sequence;   /* of the next message, from 0 */
    uint64_t begun_ns;   /* when it began to connect */
    uint64_t count_last; /* cnt64 of the last one received */
    bool is_open, is_subscribed, is_held, has_count;
    char *topic; /* pub: made once, where it is the same each time; else NULL */
    char client_id[ID_BYTES];
};

struct classic {
    const struct options *options;
    struct load_config config;
    struct load *load;
    struct payload *payload;
    struct due *due;
    struct worker *workers;
    struct address sources[SOURCES_MAX];
    uint32_t source_count;
    uint32_t started_count, pending_count, open_count, gone_count;
    uint32_t complaint_count;
    bool is_publishing; /* --wait-before-publishing is over */
    bool is_stamped;    /* received payloads may carry our stamp */
    struct rng rng;
    uint64_t begin_ns;
    struct classic_lines lines;
};

/* A topic of the worker, for its next message; false: it is too long. */
bool classic_make_topic(struct worker *worker, const char *pattern, char out[TOPIC_BYTES]);

/*
 * All that can be wrong is told here, on standard error, before anything is sent. Returns the exit
 * code: 0 is well. run->options is set.
 */
int classic_prepare(struct classic *run);
void classic_free(struct classic *run); /* accepts a half-prepared one */

#endif
