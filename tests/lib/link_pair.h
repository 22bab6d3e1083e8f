/*
 * link_pair: nodes of a cluster in one thread, on the real door, and what they were told.
 *
 *     node a ──> [relay: cuts, stalls] ──> node b
 */
#ifndef TERN_TESTS_LIB_LINK_PAIR_H
#define TERN_TESTS_LIB_LINK_PAIR_H

#include "cluster/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAIR_TURNS_MAX = 20000, PAIR_NODES = 3, PAIR_KEPT = 4096 };
#define PAIR_MS UINT64_C(1000000)

struct told {
    uint32_t node, kind, to;
    uint64_t generation;
    uint32_t number; /* the first four bytes of the body */
    size_t body_bytes;
};

struct pair_node {
    struct peers *peers;
    struct metrics *metrics;
    struct address address;
    uint32_t up_count, down_count;
    enum link_reason down_reason;
    uint64_t generation; /* of up() */
    struct told *told;   /* the first PAIR_KEPT */
    uint64_t told_count, told_bytes;
    bool keeps;                   /* data is not given back at once */
    struct pair_node *carries_to; /* the other shard of this node */
    struct link_passport *passport;
};

struct pair {
    struct io *io;
    struct wheel *wheel;
    struct pair_node nodes[PAIR_NODES];
};

static inline void pair_message(void *context, uint32_t node, uint64_t generation,
                                const struct link_message *message)
{
    struct pair_node *self = context;
    struct told told = {.node = node,
                        .kind = message->kind,
                        .to = message->to,
                        .generation = generation,
                        .body_bytes = message->body.count};
    if (message->body.count >= sizeof(told.number)) {
        memcpy(&told.number, message->body.data, sizeof(told.number));
    }
    if (self->told_count < PAIR_KEPT) {
        self->told[self->told_count] = told;
    }
    self->told_count++;
    self->told_bytes += message->body.count;
    if (link_class_of(message->kind) == LINK_DATA && !self->keeps) {
        peers_release(self->peers, node, generation, message->body.count);
    }
}

static inline void pair_up(void *context, uint32_t node, uint64_t generation,
                           const struct link_welcome *welcome)
{
    struct pair_node *self = context;
    (void)node;
    assert_int_equal(welcome->version, LINK_VERSION);
    assert_true(generation > self->generation);
    self->generation = generation;
    self->up_count++;
}

static inline void pair_down(void *context, uint32_t node, enum link_reason reason)
{
    struct pair_node *self = context;
    (void)node;
    self->down_count++;
    self->down_reason = reason;
}

static inline void pair_carry(void *context, uint32_t shard, struct link_passport *passport)
{
    struct pair_node *self = context;
    (void)shard;
    assert_null(self->passport);
    self->passport = passport;
}

static const struct peers_events pair_events = {
    .message = pair_message, .up = pair_up, .down = pair_down, .carry = pair_carry};

static const char *const pair_names[PAIR_NODES] = {"a", "b", "c"};

/* What a test changes of it. */
static inline struct peers_config pair_config(uint32_t index)
{
    return (struct peers_config){
        .link = {.cluster_name = "test",
                 .keepalive_ns = 20 * PAIR_MS,
                 .bulk_bytes_per_s = UINT64_C(1) << 40},
        .cluster_id = "sixteen bytes..",
        .node = index + 1,
        .name = pair_names[index],
        .incarnation = 1,
        .level_min = 1,
        .level_max = 1,
        .shard_count = 1,
        .backoff_ns_min = PAIR_MS,
        .backoff_ns_max = 10 * PAIR_MS,
        .seed = 1 + index,
    };
}

static inline void pair_init(struct pair *pair)
{
    static const struct io_config config = {.stream_count_max = 256};
    *pair = (struct pair){0};
    assert_int_equal(io_new(&config, &pair->io), OK);
    pair->wheel = wheel_new(io_now_ns(pair->io));
    assert_non_null(pair->wheel);
}

static inline void pair_node_start(struct pair *pair, uint32_t index,
                                   const struct peers_config *config)
{
    struct pair_node *node = &pair->nodes[index];
    struct peers_config counted = *config;
    *node = (struct pair_node){.told = calloc(PAIR_KEPT, sizeof(struct told)),
                               .metrics = metrics_new()};
    assert_non_null(node->told);
    counted.metrics = node->metrics;
    node->peers = peers_new(pair->io, pair->wheel, &counted, &pair_events, node);
    assert_non_null(node->peers);
    assert_int_equal(address_parse("127.0.0.1", 0, &node->address), OK);
    assert_int_equal(peers_listen(node->peers, &node->address, IO_SHARE_NONE), OK);
    peers_address(node->peers, &node->address);
}

static inline void pair_deinit(struct pair *pair)
{
    io_free(pair->io);
    for (uint32_t i = 0; i < PAIR_NODES; i++) {
        peers_free(pair->nodes[i].peers);
        metrics_free(pair->nodes[i].metrics);
        free(pair->nodes[i].told);
    }
    wheel_free(pair->wheel);
}

static inline void pair_turn(struct pair *pair)
{
    io_turn(pair->io, PAIR_MS);
    wheel_run(pair->wheel, io_now_ns(pair->io));
    for (uint32_t i = 0; i < PAIR_NODES; i++) {
        struct pair_node *node = &pair->nodes[i];
        if (node->passport != NULL) {
            struct link_passport *passport = node->passport;
            node->passport = NULL;
            if (node->carries_to != NULL) {
                peers_take(node->carries_to->peers, passport);
            } else {
                link_passport_free(passport); /* that shard is not part of the test */
            }
        }
        if (node->peers != NULL) {
            peers_flush(node->peers);
        }
    }
}

/* Turn until the claim holds; a claim that never does is a failed test, not a hang. */
#define PAIR_UNTIL(pair, claim)                                                    \
    do {                                                                           \
        for (uint32_t turns_ = 0; !(claim) && turns_ < PAIR_TURNS_MAX; turns_++) { \
            pair_turn(pair);                                                       \
        }                                                                          \
        assert_true(claim);                                                        \
    } while (0)

/* a and b know each other. */
static inline void pair_meet(struct pair *pair, uint32_t a, uint32_t b)
{
    struct pair_node *one = &pair->nodes[a], *other = &pair->nodes[b];
    assert_int_equal(peers_set(one->peers, b + 1, pair_names[b], &other->address), OK);
    assert_int_equal(peers_set(other->peers, a + 1, pair_names[a], &one->address), OK);
}

static inline enum err pair_send(struct pair *pair, uint32_t from, uint32_t to, uint32_t kind,
                                 uint32_t number, size_t body_bytes)
{
    static uint8_t body[8 << 20];
    assert_in_range(body_bytes, sizeof(number), sizeof(body));
    memcpy(body, &number, sizeof(number));
    return peers_send(pair->nodes[from].peers, to + 1, kind, number % 64,
                      slice_of(body, body_bytes));
}

/* ---- a wire that can be cut ----------------------------------------------------------------------- */

/* One stream through it at a time; what comes while it is cut is refused. */
struct relay {
    struct io *io;
    struct io_listener *listener;
    struct address address, target;
    struct relay_end {
        struct relay *relay;
        struct io_stream *stream;
        bool is_open;
        struct buf waiting, sending;
    } near, far;
    uint64_t cut_after; /* bytes in both directions, then the stream ends; UINT64_MAX: never */
    uint64_t passed, stream_count;
    bool is_stalled; /* nothing passes, and nobody is told */
    bool is_closed;  /* new ones are refused */
};

static inline void relay_push(struct relay_end *end)
{
    if (end->stream == NULL || !end->is_open || io_is_sending(end->stream) ||
        buf_count(&end->waiting) == 0 || end->relay->is_stalled) {
        return;
    }
    buf_deinit(&end->sending);
    end->sending = end->waiting;
    end->waiting = (struct buf){0};
    struct slice bytes = buf_bytes(&end->sending);
    io_send(end->stream, &bytes, 1);
}

static inline void relay_cut(struct relay *relay)
{
    struct relay_end *ends[] = {&relay->near, &relay->far};
    for (uint32_t i = 0; i < 2; i++) {
        if (ends[i]->stream != NULL) {
            io_close(ends[i]->stream);
        }
    }
}

static inline void relay_bytes(void *owner, struct slice bytes)
{
    struct relay_end *from = owner;
    struct relay *relay = from->relay;
    struct relay_end *to = from == &relay->near ? &relay->far : &relay->near;
    uint64_t left = relay->cut_after - relay->passed;
    size_t count = bytes.count < left ? bytes.count : (size_t)left;
    relay->passed += count;
    assert_int_equal(buf_append(&to->waiting, slice_head(bytes, count)), OK);
    relay_push(to);
    if (relay->passed == relay->cut_after) {
        relay_cut(relay);
    }
}

static inline void relay_sent(void *owner)
{
    struct relay_end *end = owner;
    end->is_open = true;
    buf_deinit(&end->sending);
    relay_push(end);
}

static inline void relay_closed(void *owner, enum err why)
{
    struct relay_end *end = owner;
    (void)why;
    end->stream = NULL;
    end->is_open = false;
    buf_deinit(&end->waiting);
    buf_deinit(&end->sending);
    relay_cut(end->relay);
}

static const struct io_stream_events relay_events = {
    .bytes = relay_bytes, .sent = relay_sent, .closed = relay_closed};

static inline bool relay_accepted(void *owner, struct io_stream *stream, const struct address *from)
{
    struct relay *relay = owner;
    (void)from;
    if (relay->is_closed || relay->near.stream != NULL || relay->far.stream != NULL) {
        return false;
    }
    relay->near.stream = stream;
    relay->near.is_open = true;
    relay->passed = 0;
    relay->stream_count++;
    io_stream_set(stream, &relay_events, &relay->near);
    assert_int_equal(io_connect(relay->io, &relay->target, NULL, &relay_events, &relay->far,
                                &relay->far.stream),
                     OK);
    return true;
}

static const struct io_listener_events relay_listener_events = {.accepted = relay_accepted};

static inline void relay_init(struct relay *relay, struct io *io, const struct address *target)
{
    *relay = (struct relay){.io = io, .target = *target, .cut_after = UINT64_MAX};
    relay->near.relay = relay->far.relay = relay;
    assert_int_equal(address_parse("127.0.0.1", 0, &relay->address), OK);
    assert_int_equal(io_listen(io, &relay->address, IO_SHARE_NONE, &relay_listener_events, relay,
                               &relay->listener),
                     OK);
    io_listener_address(relay->listener, &relay->address);
}

/* After io_free(). */
static inline void relay_deinit(struct relay *relay)
{
    buf_deinit(&relay->near.waiting);
    buf_deinit(&relay->near.sending);
    buf_deinit(&relay->far.waiting);
    buf_deinit(&relay->far.sending);
}

#endif
