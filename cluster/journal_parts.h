/*
 * journal_parts: what journal_raft.c, journal_round.c and journal_lead.c have in common. Nobody else
 * includes it.
 *
 * Floor:  cluster.
 */
#ifndef TERN_CLUSTER_JOURNAL_PARTS_H
#define TERN_CLUSTER_JOURNAL_PARTS_H

#include "cluster/journal_raft.h"
#include "cluster/journal_read.h"
#include "cluster/replica.h"
#include "cluster/waiters.h"
#include "core/base/list.h"

/* One partition of the shard. Of the terms see journal_lead.c; all are the same on a lone node. */
struct slot {
    struct replica *replica; /* NULL: another shard's */
    uint64_t lead_term;      /* the replica leads in it; 0: it does not */
    uint64_t asked_term;     /* an entry of that term is committed, and the state is asked; */
    uint64_t proven_term;    /* it has answered */
    uint64_t served_term;    /* the owner was told that it leads, in that term */
    struct entry_writer open;
    uint64_t message_next; /* the number of the first message of the open entry */
    uint64_t wall_ms;      /* of the newest entry: no later one is stamped earlier */
    size_t bytes_last;     /* of the newest entry: what the open one may need */
};

/* One batch on its way to the log lane. */
struct round {
    struct store_append append;
    struct journal_raft *journal;
    struct round *next; /* free ones */
    uint64_t partitions;
};

struct journal_raft {
    struct journal journal;
    struct store *store;
    struct io *io; /* NULL: it has left */
    struct journal_raft_events events;
    uint64_t now_ms, wall_ms;
    uint64_t wall_ahead_ms; /* of now_ms; it may wrap */
    struct replica_host host;
    struct lane_desk log_desk, state_desk;
    struct reader reader;
    struct round *round, *rounds_free;
    uint64_t open;           /* partitions whose open entry has an op */
    uint64_t wanted;         /* those of them that are not to wait for more: J3 */
    uint64_t settled_due_ms; /* when there are none of the others; UINT64_MAX: there are none now */
    uint64_t logged[STORE_PARTITIONS]; /* entries that have an op, the open one too: J1 */
    uint64_t open_bytes;
    uint64_t turned; /* partitions of which there may be something to tell the owner */
    uint64_t peered; /* partitions that are not alone, as of their last event; and their timers */
    uint64_t due_ms[STORE_PARTITIONS];
    bool is_fenced, is_closing;
    bool is_told; /* of being fenced: all who waited */
    struct slot slots[STORE_PARTITIONS];
    struct waiters waiters;
};

static inline struct journal_raft *raft_of(const struct journal *journal)
{
    return CONTAINER_OF(journal, struct journal_raft, journal);
}

static inline uint64_t bit(uint32_t partition)
{
    return UINT64_C(1) << partition;
}

/* The lowest partition of a set, taken out of it. */
static inline uint32_t take_lowest(uint64_t *partitions)
{
    uint32_t lowest = (uint32_t)__builtin_ctzll(*partitions);
    *partitions &= *partitions - 1;
    return lowest;
}

/* Ops may be logged: the owner knows that we lead, and it is still so. */
static inline bool is_served(const struct slot *slot)
{
    return slot->served_term != 0 && slot->served_term == slot->lead_term;
}

void journal_read_clocks(struct journal_raft *self);
/* Who waits is told at the next collect(): this may be called in the middle of anything. */
void journal_fence(struct journal_raft *self, const char *what, enum err err);

/* Rounds, and what replicas ask for on their way (journal_round.c). */
void rounds_init(struct journal_raft *self); /* self->round NULL: memory */
void rounds_free(struct journal_raft *self);
void round_send(struct journal_raft *self);

/* Who leads (journal_lead.c). */
void lead_begin(struct journal_raft *self, uint32_t partition); /* of a slot that was opened */
void lead_turned(struct journal_raft *self, uint32_t partition, uint64_t term);
void lead_committed(struct journal_raft *self, uint32_t partition, uint64_t term);
/* After an event of its replica: is it alone, when is its timer due, is it fenced? */
void lead_look(struct journal_raft *self, uint32_t partition);
void lead_timers(struct journal_raft *self);
uint64_t lead_due_ms(const struct journal_raft *self);
void lead_tell(struct journal_raft *self);     /* the owner, of what has turned */
void lead_tell_end(struct journal_raft *self); /* fenced: it leads nothing any more */

#endif
