/*
 * partition: which partitions this node leads; how a shard takes one up, and lets go of it, while it runs.
 *
 *     ABSENT ──restore_begin──> LOADING ──restore_end──> ARRIVING ──groups have their members──> LED
 *        ^                         │                        │                                     │
 *        └─────────────────────────┴───── partition_end ────┴─────────────────────────────────────┘
 *
 * All of a start goes the same way. A share group lives in the partition of its name, and its members in
 * theirs: a partition is led when every shard has said that it has joined what came, and has been joined.
 *
 * A message that was matched while a partition was absent has not reached those who live there. Where a
 * mesh is, it knows whose that partition is and forwards to it; alone, whoever waits for the message is
 * told ERR_UNAVAILABLE, and an outbox keeps it until every partition is there (partition_is_missed()).
 * What changes in the middle of that is found by the view: a number that is another one whenever a
 * partition has come or gone on any shard.
 *
 * Floor:  broker.
 * Thread: the shard that owns the partition; what asks may be called by any shard.
 */
#ifndef TERN_BROKER_PARTITION_H
#define TERN_BROKER_PARTITION_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct mail;
struct retain_scan;
struct shard;

/* Of a shard; a bit for each partition. Which of its own it leads stands in shard->elsewhere. */
struct partitions {
    uint64_t mine;             /* those of them that are led here are led by this shard */
    uint64_t loading;          /* from restore_begin() until they are led */
    uint64_t arriving, asking; /* loaded: others are to be asked, or have been asked, to join */
    uint64_t sweeping;         /* what is retained in these is on its way out of memory */
    struct retain_scan *sweep; /* NULL: the next step begins a new one */
    uint32_t answers_open;     /* of shards that were asked */
    uint32_t view_seen;        /* what it goes by: its outboxes have been looked at since */
    bool is_settling;          /* it counts in broker->settling_count */
};

/* Before anything is loaded. */
void partitions_init(struct shard *shard);
void partitions_deinit(struct shard *shard);

/* ---- asking ---------------------------------------------------------------------------------- */

/* What this shard serves, a bit each. */
uint64_t partitions_led(const struct shard *shard);
bool partition_is_led(const struct shard *shard, uint32_t partition);

/* Does this node serve the partition of that client id, topic, or group? It may change at any moment, but
 * for a partition of this shard. */
bool partition_is_here(const struct shard *shard, struct slice key);

/* A message may not reach somebody, as his partition is absent and nobody forwards to it. */
bool partition_is_missed(const struct shard *shard);

/* Taken before a message is matched, and asked afterwards: ERR_UNAVAILABLE: somebody may have been
 * missed, or may have got it in vain. */
uint32_t partition_view(const struct shard *shard);
enum err partition_look(const struct shard *shard, uint32_t view);

/* A mail about a message that somebody waits for is of another view: who sent it shall send it again. */
bool partition_is_stale(const struct shard *shard, const struct mail *mail);

/* ---- coming and going ------------------------------------------------------------------------ */

/* Called by restore.h: these (a bit each) are about to be loaded; they are loaded. */
void partitions_begin(struct shard *shard, uint64_t partitions);
void partitions_loaded(struct shard *shard, uint64_t partitions);

/*
 * This shard leads it no more, or does not go on loading it: who loads has called restore_end() with an
 * error. Everything of it leaves memory: connections of its sessions end (v5 hears 0x89, Server busy:
 * it says "not now" and no more. 0x88 is none of DISCONNECT's codes, and 0x9C would send clients away
 * from a node that may serve them in a moment), sessions and their timers, outbox, notes, groups,
 * what is retained. Nothing is logged, no will is published, nothing is acknowledged. Those who waited for
 * the journal have been told before. A partition that is absent already stays so.
 */
void partition_end(struct shard *shard, uint32_t partition);

/* Before mail is handled: what comes of it is said in the view of now. */
void partitions_look(struct shard *shard);

/* Once a turn, and while shards settle at a start. */
void partitions_run(struct shard *shard);
bool partitions_have_work(const struct shard *shard);

/* MAIL_ARRIVES, MAIL_ARRIVED, MAIL_LED, MAIL_LOST. */
void partitions_on_mail(struct shard *shard, struct mail *mail);

#endif
