/*
 * passport: what a connection carries when it moves to another shard.
 *
 * Floor:  broker.
 * Memory: one heap object, owned by whoever holds it: sender, mailbox, receiver.
 */
#ifndef TERN_BROKER_PASSPORT_H
#define TERN_BROKER_PASSPORT_H

#include "core/broker/conn.h"

struct passport {
    int64_t handle; /* the socket; negative: given away already */
    struct peer peer;
    uint32_t listener_index;
    struct partial mqtt; /* from the CONNECT on, plain */
    struct partial raw;  /* what came after, in WebSocket frames */
    struct ws_link *ws;
    struct conn_tls *tls;
    bool is_one_too_many;
    struct conn_limits *limits;
    uint32_t limits_generation;
};

#endif
