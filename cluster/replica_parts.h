/*
 * replica_parts: what replica*.c have in common. Nobody else includes it.
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
    uint64_t members;     /* whose record is in it: the index; 0: none */
};

/* A message that waits until term and vote are on the disk. */
struct held {
    struct held *next;
    uint64_t peer;
    uint64_t mark; /* number of the mark it waits for */
    size_t count;
    uint8_t bytes[];
};

/* A follower that is behind is sent entries from the log; see replica_send.c. */
struct courier;

/* How far back the log is kept for followers: where each part of the newest few begins. */
enum { TAIL_CHUNKS = 8 };
struct tail {
    struct {
        uint64_t first, begin_ms;
    } chunks[TAIL_CHUNKS]; /* oldest first */
    uint32_t count;
    uint64_t bytes; /* of the newest one */
    uint64_t kept;  /* as the store was told */
};

struct replica {
    struct replica_config config;
    uint64_t now_ms; /* of the current event */
    uint64_t leads;  /* the term, as the host was told; 0: it does not */
    struct consensus *consensus;
    struct machine *machine;        /* NULL: the state is its owner's */
    uint64_t kept_index, kept_term; /* what the log has of that one */
    struct window window;           /* entries from the first one that the state may lack */
    uint64_t told;                  /* the last index that host.committed() was told */
    uint64_t applied;
    bool is_fenced;
    bool is_installing;               /* an image is waited for: nothing is applied */
    uint64_t image_peer, image_index; /* who has it; of that index, or later */

    struct mark *marks; /* under way, oldest first; a ring */
    uint32_t mark_first, mark_count, mark_capacity;
    uint64_t mark_number; /* of the oldest one */
    uint64_t mark_hard;   /* of the last one that has term and vote; 0: none */
    struct held *held, **held_end;

    uint64_t members_told,
        members_stored; /* the newest CHANGE that is told; whose record is durable */
    struct tail tail;

    struct replica_want want;
    struct {
        uint64_t id, ms;
    } heard[2 * CONSENSUS_MEMBERS_MAX]; /* when a peer was heard of last */
    uint64_t handed_ms;                 /* when leadership was offered to another one last */
    const char *waits_for;

    struct courier *couriers[CONSENSUS_MEMBERS_MAX]; /* NULL behind the last */
    struct arena *arena; /* of one message; NULL until there is a peer */
    struct consensus_entry *sending;
    uint32_t sending_capacity;
};

/* Put into the log what an update wants there, and into the window; batch: of the host, or of the
 * start. ERR_NOMEM: the batch must not be written. */
enum err replica_log(struct replica *replica, const struct consensus_update *update,
                     struct slice owned, struct kv_batch *batch);

void replica_fence(struct replica *replica);
enum err replica_engine_new(const struct replica *replica, struct consensus **out);

/* An image of the state, in place of what is behind all logs (replica_image.c). */
enum err image_begin(struct replica *replica, const struct consensus_snapshot *wanted);
void image_look(struct replica *replica); /* after an event: who has it now? */

/* In what is to become durable: the members have a record. */
enum err members_note(struct replica *replica, const struct consensus_members *members);

/* How far back the log is kept: said to the store when something changed (replica_tail.c). */
void tail_begin(struct replica *replica, uint64_t index);
void tail_note(struct replica *replica, uint64_t index, size_t bytes);
void tail_keep(struct replica *replica);

/* Who belongs to it (replica_members.c). */
void heard_note(struct replica *replica, uint64_t peer);
void members_step(struct replica *replica);

/* Carry out what an event of the engine came to (replica.c). */
void replica_carry_out(struct replica *replica, enum err err,
                       const struct consensus_update *update);

/* Messages (replica_send.c). */
enum err messages_send(struct replica *replica, const struct consensus_update *update);
void held_send(struct replica *replica); /* what term and vote were waited for with */
void held_free(struct replica *replica);
void couriers_note(struct replica *replica, uint64_t peer); /* it has acknowledged something */
void couriers_stop(struct replica *replica);
void couriers_free(struct replica *replica);

#endif
