/*
 * classic: `tern-bench conn`, `pub` and `sub`, with the flags and the lines that users of
 * emqtt-bench know.
 *
 * Floor:  bench.
 * Thread: the caller; one load, one thread.
 */
#ifndef TERN_BENCH_CLASSIC_H
#define TERN_BENCH_CLASSIC_H

#include "bench/load.h"

#include <stdbool.h>
#include <stdint.h>

enum classic_kind { CLASSIC_CONN, CLASSIC_PUB, CLASSIC_SUB };

struct classic_options {
    struct load_config load;
    enum classic_kind kind;
    uint32_t client_count;     /* -c */
    uint32_t start_number;     /* -n */
    double connect_rate;       /* -R, clients a second; 0: by connect_interval_ms */
    uint32_t connect_every_ms; /* -i */
    uint32_t publish_every_ms; /* -I */
    uint64_t message_limit;    /* -L, over all clients; 0: none */
    const char *topic;         /* -t; %i number of the client, %c its client id, %u its user */
    const char *prefix;        /* --prefix of client ids; NULL: "bench_pub_" and our process id */
    uint32_t payload_bytes;    /* -s */
    uint8_t qos;               /* -q */
    bool retain;               /* -r */
    double seconds;            /* 0: until interrupted */
};

/* Write the topic of one client; false when it is longer than out_bytes. */
bool classic_topic(const char *pattern, uint32_t number, const char *client_id,
                   const char *username, char *out, size_t out_bytes);

/* Run until the time is over, the limit is reached or *is_stopped; 0 when no client was lost. */
int classic_run(const struct classic_options *options, const volatile bool *is_stopped);

#endif
