/*
 * replica_parts: what replica.c and replica_open.c have in common. Nobody else includes it.
 *
 * Floor:  cluster.
 */
#ifndef TERN_CLUSTER_REPLICA_PARTS_H
#define TERN_CLUSTER_REPLICA_PARTS_H

#include "cluster/consensus.h"
#include "cluster/replica.h"
#include "cluster/window.h"
#include "core/base/arena.h"

/* What was put into one batch of the host's. */
struct mark {
    const struct kv_batch *batch;
    uint64_t index, term; /* of the last entry; 0: none */
};

/* A message that waits until term and vote are on the disk. */
struct held {
    struct held *next;
    uint64_t peer;
    uint64_t mark; /* number of the mark it waits for */
    size_t count;
    uint8_t bytes[];
};

struct replica {
    struct replica_config config;
    struct consensus *consensus;
    struct machine *machine;
    struct window window; /* entries from the first one that the state may lack */
    uint64_t told;        /* the last index that host.committed() was told */
    uint64_t applied;
    bool is_fenced;

    struct mark *marks; /* under way, oldest first; a ring */
    uint32_t mark_first, mark_count, mark_capacity;
    uint64_t mark_number; /* of the oldest one */
    uint64_t mark_hard;   /* of the last one that has term and vote; 0: none */
    struct held *held, **held_end;

    struct arena *arena; /* of one message; NULL until there is a peer */
    struct consensus_entry *sending;
    uint32_t sending_capacity;
};

/* Put into the log what an update wants there, and into the window; batch: of the host, or of the
 * start. ERR_NOMEM: the batch must not be written. */
enum err replica_log(struct replica *replica, const struct consensus_update *update,
                     struct slice owned, struct kv_batch *batch);

#endif
