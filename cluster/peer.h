/*
 * peer: all links of one shard: to every other node one for raft, control and data, and one for bulk.
 *
 *     peers_set ──> connect ──> Hello ──> Welcome ──> up() ── peers_send ──> frames
 *                      ^                               │
 *                      └──── backoff <──── down() <────┘
 *     accept ──> Hello ──> the shard that it is for ──> Welcome ──> message()
 *
 * Floor:  cluster; knows nodes by number, name and address, which its owner tells. No clock, no chance
 *         of its own.
 * Thread: that of its io: each shard has its own.
 * Memory: bounded by config for each peer (link.h), and for those who connect and are not known yet.
 *
 * A stream that this node opened carries its messages, the peer's own one brings the answers: so both
 * sides know a generation that only grows, and what was sent by an older one is gone for good (E5).
 * Shard k of a node speaks to shard k % shard_count of another: a stream that another shard accepted is
 * carried there. Were it served where it landed, the stream before it could still be read by another
 * shard while this one is read already, and order would be lost.
 *
 * Whose certificate is not of the cluster, or of another name than its Hello says or than is known for
 * that number, is refused, told why, and told in the log.
 */
#ifndef TERN_CLUSTER_PEER_H
#define TERN_CLUSTER_PEER_H

#include "cluster/link.h"
#include "core/base/metrics.h"

struct peers;

struct peers_config {
    struct link_config link; /* what is 0 gets the default, bulk_bytes_per_s too */
    uint8_t cluster_id[LINK_CLUSTER_BYTES];
    uint32_t node;                 /* from 1 */
    const char *name;              /* of this node, as in its certificate; copied */
    uint64_t incarnation;          /* below 2^32; it has grown since the last start */
    uint32_t level_min, level_max; /* feature levels */
    uint32_t shard, shard_count;
    uint64_t backoff_ns_min, backoff_ns_max; /* 0: default */
    uint64_t seed;
    struct metrics *metrics; /* borrowed; NULL: nothing is counted */
};

struct peers_events {
    /*
     * A message of that node, by that generation of its links to this shard: it only grows. Borrowed
     * until it returns. One of data is given back with peers_release() when it is done with, at once or
     * later: until then its sender keeps what comes behind.
     */
    void (*message)(void *context, uint32_t node, uint64_t generation,
                    const struct link_message *message);
    /* peers_send() to it works from now on; what was sent by older generations and not answered may
     * not have arrived. Not of bulk. */
    void (*up)(void *context, uint32_t node, uint64_t generation,
               const struct link_welcome *welcome);
    void (*down)(void *context, uint32_t node, enum link_reason reason);
    /* Give it to peers_take() of that shard, or to link_passport_free(). NULL with one shard. */
    void (*carry)(void *context, uint32_t shard, struct link_passport *passport);
};

/* NULL: memory. */
struct peers *peers_new(struct io *io, struct wheel *wheel, const struct peers_config *config,
                        const struct peers_events *events, void *context);
/* All links end and nobody is let in any more, without an event. */
void peers_stop(struct peers *peers);
/* Its io is gone. Accepts NULL. */
void peers_free(struct peers *peers);

/* Let others in. As io_listen(). */
enum err peers_listen(struct peers *peers, const struct address *at, enum io_share share);
void peers_address(const struct peers *peers, struct address *out); /* where it listens */

/*
 * A node of the cluster: it is connected to, and let in. One that is there gets another name or address:
 * its links end if that differs, and no down() tells so, as the owner knows. ERR_NOMEM, ERR_INVALID: a
 * name that is none, or this node's own number.
 */
enum err peers_set(struct peers *peers, uint32_t node, const char *name,
                   const struct address *address);
void peers_forget(struct peers *peers, uint32_t node); /* likewise without down() */

/*
 * Send a copy, with the next peers_flush(). It arrives once, in order within its class, or not at all:
 * that is told by down(). Bulk connects when it is first sent, and until then is ERR_UNAVAILABLE.
 *
 * ERR_NOT_FOUND: no such node; ERR_UNAVAILABLE: it is not up; ERR_LIMIT, ERR_NOMEM: too much waits, its
 * link breaks.
 */
enum err peers_send(struct peers *peers, uint32_t node, uint32_t kind, uint32_t to,
                    struct slice body);
/* Bytes that wait to be sent to it. */
uint64_t peers_waiting(const struct peers *peers, uint32_t node, enum link_class class);
bool peers_is_up(const struct peers *peers, uint32_t node);
/* When anything was heard of it last, by any link; 0: never. */
uint64_t peers_heard_ns(const struct peers *peers, uint32_t node);

/* A message of data with such a body is done with. An older generation's is not counted any more. */
void peers_release(struct peers *peers, uint32_t node, uint64_t generation, size_t body_bytes);

/* A stream that another shard accepted. */
void peers_take(struct peers *peers, struct link_passport *passport);

/* What waits leaves: once per turn, at its end. */
void peers_flush(struct peers *peers);

#endif
