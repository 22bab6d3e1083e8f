/*
 * classic_topic: the topics of pub and sub, with emqtt-bench's variables.
 *
 * Floor:  bench; pure.
 */
#ifndef TERN_BENCH_CLASSIC_TOPIC_H
#define TERN_BENCH_CLASSIC_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who a topic is for. */
struct classic_names {
    uint32_t number;
    const char *client_id, *username;
    uint64_t sequence; /* pub: the number of the message over all clients, from 1 */
    uint64_t random;   /* any number */
};

/*
 * Write the topic: %i the client's number, %c its id, %u its user, %s the message's number, %rand_N
 * a number from 1 to N. False when it is longer than out_bytes.
 */
bool classic_topic(const char *pattern, const struct classic_names *names, char *out,
                   size_t out_bytes);

/* Whether it is another one for each message: %s or %rand_N is in it. */
bool classic_topic_varies(const char *pattern);

#endif
