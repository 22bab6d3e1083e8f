/*
 * transfer_out: images of partitions for peers that are too far behind for the log: the sender.
 *
 *     peer: OPEN ──> may it? ──> source.open ──> HEAD
 *           ASK  ──> waits for its turn and for bytes_per_s ──> source.read ──> CHUNK
 *           DONE, or nothing for idle_ms ──> source.close
 *
 * The peer asks for each chunk, so a slow disk or link on its side slows this one down by itself. A chunk
 * that got lost is asked for again. What is not open any more is answered with GONE: the peer begins again.
 *
 * Floor:  cluster.
 * Thread: the shard's. Time is an argument.
 * Memory: one chunk for each image that is open.
 */
#ifndef TERN_CLUSTER_TRANSFER_OUT_H
#define TERN_CLUSTER_TRANSFER_OUT_H

#include "cluster/transfer_msg.h"
#include "core/base/rng.h"

struct transfer_out;

/* Where images come from. Each call is answered, later, by the one named; one at a time for each place. */
struct transfer_source {
    void (*open)(void *context, uint32_t place, uint32_t partition,
                 uint64_t id);                                    /* transfer_out_opened() */
    void (*read)(void *context, uint32_t place, uint32_t number); /* transfer_out_read() */
    void (*close)(void *context, uint32_t place); /* of one that was opened; not answered */
    void *context;
};

struct transfer_out_host {
    /* May that peer have an image of the partition from us? Only of what is committed, of index or later:
     * who leads it says yes. */
    bool (*offers)(void *context, uint32_t partition, uint64_t peer, uint64_t index);
    /* Who belonged to the partition's group when that entry was applied. false: not known (any more). */
    bool (*members)(void *context, uint32_t partition, uint64_t index,
                    struct consensus_members *out);
    void (*send)(void *context, uint64_t peer, uint32_t partition, struct slice message);
    void *context;
};

struct transfer_out_config {
    uint32_t open_max;    /* images at once; 0: 2 */
    uint32_t idle_ms;     /* 0: 30000 */
    uint64_t bytes_per_s; /* of all images; 0: as it goes */
    uint64_t seed;        /* for ids: another one at each start */
    const struct transfer_source *source;
    const struct transfer_out_host *host;
};

enum err transfer_out_new(const struct transfer_out_config *config, struct transfer_out **out);
/* Closes what is open; what the source is still at is not answered any more. Accepts NULL. */
void transfer_out_free(struct transfer_out *self);

/* OPEN, ASK, DONE of a peer. */
void transfer_out_receive(struct transfer_out *self, uint64_t now_ms, uint64_t peer,
                          const struct transfer_msg *msg);

/* The source's answers. ERR_RANGE of a read: that chunk is not to be had (any more). */
void transfer_out_opened(struct transfer_out *self, uint64_t now_ms, uint32_t place, enum err err,
                         const struct image_head *head);
void transfer_out_read(struct transfer_out *self, uint64_t now_ms, uint32_t place, enum err err,
                       struct slice chunk, bool is_last);

/* We lead that partition no more, or go: its images are closed. */
void transfer_out_stop(struct transfer_out *self, uint32_t partition);

/* When transfer_out_turn() wants to be called; UINT64_MAX: never. */
uint64_t transfer_out_wake_ms(const struct transfer_out *self);
void transfer_out_turn(struct transfer_out *self, uint64_t now_ms);
uint32_t transfer_out_count(
    const struct transfer_out *self); /* images that are open, or about to be */

#endif
