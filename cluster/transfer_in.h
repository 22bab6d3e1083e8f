/*
 * transfer_in: fetch the image of a partition from a peer, and have it installed: the receiver.
 *
 *     transfer_in_fetch ──> OPEN ──> HEAD ──> sink.begin ──> ASK, ASK, ... ──> CHUNK ──> sink.take ... sink.end
 *                            ^                                                                          │
 *                            └──── begin again: GONE, a damaged chunk, another leader ────┘   installed()
 *
 * A few chunks are asked for ahead, and the next one when one is written: so the disk here sets the pace.
 * What a broken link loses is asked for again from the chunk that is needed. It goes on until it is done,
 * the disk has failed, or nobody wants it any more.
 *
 * With a replica (E6): when its engine says that a snapshot is to be installed, it calls
 * transfer_in_fetch(partition, leader, index of that), and nothing of the partition is logged, but term and
 * vote, nor applied from there on. The image may be of a later index than was asked for: host.accepts() is
 * asked about it (its term is not to be above ours). After host.installed() the state is that of
 * head.index, and the log is cut there.
 *
 * Floor:  cluster.
 * Thread: the shard's. Time is an argument.
 * Memory: window chunks for each image that is being fetched.
 */
#ifndef TERN_CLUSTER_TRANSFER_IN_H
#define TERN_CLUSTER_TRANSFER_IN_H

#include "cluster/transfer_msg.h"

struct transfer_in;

/* Where images go. begin, take and end are answered, at once or later, by transfer_in_done(); one at a time for each
 * partition, and one receiver for each. */
struct transfer_sink {
    void (*begin)(void *context, uint32_t partition, const struct image_head *head);
    void (*take)(void *context, uint32_t partition, struct slice chunk); /* copied */
    void (*end)(void *context, uint32_t partition);
    void *context;
};

struct transfer_in_host {
    /* Is that the image to have? false: it is asked for again, after a while. */
    bool (*accepts)(void *context, uint32_t partition, const struct image_head *head,
                    const struct consensus_members *members);
    /* The partition is what it was at the sender. */
    void (*installed)(void *context, uint32_t partition, const struct image_head *head,
                      const struct consensus_members *members);
    /* It is given up: the disk has failed, or the image is of a newer version (ERR_UNSUPPORTED). */
    void (*failed)(void *context, uint32_t partition, enum err err);
    void (*send)(void *context, uint64_t peer, uint32_t partition, struct slice message);
    void *context;
};

struct transfer_in_config {
    uint32_t fetch_max; /* partitions at once, others wait; 0: 2 */
    uint32_t window;    /* chunks under way; 0: 4 */
    uint32_t answer_ms; /* asked again after that; 0: 3000 */
    uint32_t retry_ms;  /* begun again after that; 0: 1000 */
    const struct transfer_sink *sink;
    const struct transfer_in_host *host;
};

enum err transfer_in_new(const struct transfer_in_config *config, struct transfer_in **out);
void transfer_in_free(struct transfer_in *self); /* accepts NULL */

/*
 * Fetch the partition, of that index or later, from that peer; one that is being fetched goes on, unless it
 * is from another peer, or of too early an index: then it begins again.
 */
void transfer_in_fetch(struct transfer_in *self, uint64_t now_ms, uint32_t partition, uint64_t peer,
                       uint64_t index);
/* Nobody wants it any more. What has begun in the store stays begun. */
void transfer_in_cancel(struct transfer_in *self, uint64_t now_ms, uint32_t partition);
bool transfer_in_is_fetching(const struct transfer_in *self, uint32_t partition);

/* HEAD, CHUNK, GONE of a peer. */
void transfer_in_receive(struct transfer_in *self, uint64_t now_ms, uint64_t peer,
                         const struct transfer_msg *msg);
/* The sink's answer. ERR_CORRUPT, ERR_NOMEM: the whole begins again. */
void transfer_in_done(struct transfer_in *self, uint64_t now_ms, uint32_t partition, enum err err);
/* There is a link to that peer again: ask at once. */
void transfer_in_up(struct transfer_in *self, uint64_t now_ms, uint64_t peer);

uint64_t transfer_in_wake_ms(const struct transfer_in *self);
void transfer_in_turn(struct transfer_in *self, uint64_t now_ms);

#endif
