/*
 * peer_parts: what the files of this shard's links share among themselves.
 *
 *     peer.c      who is known; messages
 *     peer_out.c  streams that this node opens: connect, backoff
 *     peer_in.c   streams of others: who is let in, to which shard
 */
#ifndef TERN_CLUSTER_PEER_PARTS_H
#define TERN_CLUSTER_PEER_PARTS_H

#include "cluster/peer.h"
#include "core/base/rng.h"

/*
 * Invariants
 *   P1  the generation of a stream that this node opens is its incarnation and a count: it grows with
 *       each of them, over restarts too.
 *   P2  of a peer's shard one stream is read at a time: the one with the highest generation so far.
 *       generation_min does not go back when it ends.
 *   P3  events to the owner are the last thing that is done: it may forget the peer meanwhile.
 */
enum { PEER_MAIN, PEER_BULK, PEER_STREAMS }; /* of a pair */

/* A stream to a peer, or the wait for the next attempt. */
struct outlet {
    struct peer *peer;
    struct link *link; /* NULL: it waits, or is not wanted */
    struct timer retry;
    bool is_bulk, is_up;
    uint64_t generation, backoff_ns;
    enum link_reason told; /* why there is none, as the log has it already */
};

/* A stream of somebody, who is a guest until its Hello is judged. */
struct inlet {
    struct list entry;
    struct peers *peers;
    struct link *link;
    struct peer *peer; /* NULL: a guest */
    uint32_t shard, stream;
    uint64_t generation;
};

struct peer {
    struct list entry;
    struct peers *peers;
    uint32_t node;
    char name[LINK_NAME_MAX + 1];
    struct address address;
    struct outlet outlets[PEER_STREAMS];
    struct inlet *inlets[LIMIT_THREADS_MAX][PEER_STREAMS];
    uint64_t generation_min[LIMIT_THREADS_MAX][PEER_STREAMS]; /* P2 */
    uint32_t shard_count; /* of its shards that have been seen */
};

struct peers {
    struct links links;
    struct peers_config config;
    char name[LINK_NAME_MAX + 1];
    const struct peers_events *events;
    void *context;
    struct io_listener *listener;
    struct list all, inlets;
    uint32_t guest_count;
    uint64_t stream_count; /* P1 */
    struct rng rng;
};

/* NULL: no such node. */
struct peer *peer_find(const struct peers *peers, uint32_t node);
/* A certificate, a hello or a packet was wrong; not: nobody is there. */
bool peer_is_refusal(const struct link_end *end);
void peer_count_refused(struct peers *peers, enum link_reason reason);
const char *peer_who(const struct link *link);     /* for the log */
const char *peer_side(const struct link_end *end); /* likewise: who says so */

/* ---- peer_out.c --------------------------------------------------------------------------------- */

void outlet_init(struct outlet *outlet, struct peer *peer, bool is_bulk);
void outlet_connect(struct outlet *outlet);
void outlet_end(struct outlet *outlet);

/* ---- peer_in.c ---------------------------------------------------------------------------------- */

extern const struct io_listener_events peer_listener_events;
void inlet_drop(struct inlet *inlet); /* accepts NULL */
void inlet_free(struct inlet *inlet); /* its link is gone */

#endif
