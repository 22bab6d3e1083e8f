/*
 * msg: one published message; immutable, reference counted, one copy for all receivers.
 *
 * Floor:  pubsub.
 * Thread: a message may be read and unreferenced on any shard; nobody changes it after msg_new().
 * Memory: one allocation for header, topic, properties and payload, unless the payload was adopted.
 */
#ifndef TERN_PUBSUB_MSG_H
#define TERN_PUBSUB_MSG_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* A heap block that can become a payload without being copied (a large packet as received). */
struct blob {
    _Atomic uint32_t refs;
    uint32_t capacity;
    uint8_t bytes[];
};
struct blob *blob_new(uint32_t capacity); /* refs 1; NULL: memory is exhausted */
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blob *blob); /* accepts NULL */

struct msg {
    _Atomic uint32_t refs;
    uint8_t qos;              /* as published */
    bool retain;              /* as published: the RETAIN flag */
    bool is_shared;           /* free for the broker */
    uint64_t topic_hash;      /* hash_bytes(topic) */
    uint64_t publisher;       /* who sent it, for No Local; 0: the broker itself */
    uint64_t expires_wall_ms; /* message expiry as a point in time; 0: never */
    uint32_t expiry_s;        /* as published: what is left is never told to be more */
    struct slice topic;
    struct slice props; /* v5, encoded: to forward; no expiry, alias, subscription id in them */
    struct slice payload;
    struct blob *blob; /* owner of payload when it was adopted; else NULL */
};

struct msg_spec {
    uint8_t qos;
    bool retain;
    uint64_t publisher;
    uint64_t expires_wall_ms;
    uint32_t expiry_s;
    struct slice topic, props, payload; /* copied, but for payload when blob is set */
    struct blob *blob; /* payload points into it: one reference is taken on success */
};

/* What a message was made from, borrowed from it; blob NULL: a copy of it holds its own payload. */
struct msg_spec msg_spec_of(const struct msg *msg);

/* refs 1, the caller owns it. NULL only when memory is exhausted. */
struct msg *msg_new(const struct msg_spec *spec);

struct msg *msg_ref(struct msg *msg);
void msg_unref(struct msg *msg); /* accepts NULL; any thread */

/* What this message weighs: for queue bounds and the memory ceiling. Bytes. */
uint32_t msg_bytes(const struct msg *msg);

/* The same of one that is not made yet, or not in memory. */
uint32_t msg_spec_bytes(const struct msg_spec *spec);

#endif
