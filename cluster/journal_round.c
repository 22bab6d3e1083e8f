/*
 * Invariants
 *   R1  a round is one batch under way to the log lane, with all that its turn put into it. The open
 *       round is there as long as the journal is not fenced.
 *   R2  a round of which a part could not be written is not written at all.
 */
#include "cluster/journal_parts.h"
#include "core/base/blocks.h"

#include <stdlib.h>

/* An entry on its way to the state. */
struct applying {
    struct store_apply apply;
    struct slot *slot;
};

static void on_round(struct job *job, enum err err);

static struct round *round_take(struct journal_raft *self)
{
    struct round *round = self->rounds_free;
    if (round != NULL) {
        self->rounds_free = round->next;
        return round;
    }
    round = calloc(1, sizeof(*round));
    if (round != NULL) {
        round->append.batch = kv_batch_new();
    }
    if (round == NULL || round->append.batch == NULL) {
        free(round);
        return NULL;
    }
    round->append.job.done = on_round;
    round->journal = self;
    return round;
}

static void round_give(struct journal_raft *self, struct round *round)
{
    kv_batch_clear(round->append.batch);
    round->append.must_sync = false;
    round->partitions = 0;
    round->next = self->rounds_free;
    self->rounds_free = round;
}

static void round_free(struct round *round)
{
    if (round != NULL) {
        kv_batch_free(round->append.batch);
        free(round);
    }
}

/* Hand the open round to the log lane, if there is anything in it. */
void round_send(struct journal_raft *self)
{
    struct round *round = self->round;
    if (self->is_fenced || round->partitions == 0) {
        return; /* R2 */
    }
    self->round = round_take(self);
    store_append(&self->log_desk, &round->append);
    if (self->round == NULL) {
        journal_fence(self, "preparing the next write", ERR_NOMEM);
    }
}

/* It is durable, or it is not: then nothing after it can be. */
static void on_round(struct job *job, enum err err)
{
    struct round *round = CONTAINER_OF(job, struct round, append.job);
    struct journal_raft *self = round->journal;
    uint64_t partitions = round->partitions;

    if (err != OK) {
        journal_fence(self, "writing the log", err);
    }
    round_give(self, round);
    while (partitions != 0) {
        uint32_t partition = take_lowest(&partitions);
        struct slot *slot = &self->slots[partition];
        replica_persisted(slot->replica, self->now_ms, self->is_fenced ? ERR_IO : OK);
        lead_look(self, partition);
    }
}

/* ---- what a replica asks for ---------------------------------------------------------------- */

static struct kv_batch *host_batch(void *context, struct replica *replica, bool must_sync)
{
    struct journal_raft *self = context;
    ASSERT(self->round != NULL); /* R1 */
    self->round->partitions |= bit(replica_partition(replica));
    self->round->append.must_sync = self->round->append.must_sync || must_sync;
    return self->round->append.batch;
}

static void on_applied(struct job *job, enum err err)
{
    struct applying *applying = CONTAINER_OF(job, struct applying, apply.job);
    if (err == OK) {
        replica_applied(applying->slot->replica, applying->apply.index);
    } /* else the store is fenced, or closing: the log has it */
    blocks_give(applying, sizeof(*applying));
}

static void host_committed(void *context, struct replica *replica, uint64_t index, uint64_t term,
                           struct slice bytes)
{
    struct journal_raft *self = context;
    uint32_t partition = replica_partition(replica);
    struct slot *slot = &self->slots[partition];

    if (self->is_fenced) {
        return; /* J4 */
    }
    if (bytes.count > 0) {
        struct applying *applying = blocks_take(sizeof(*applying));
        if (applying == NULL) {
            journal_fence(self, "applying what is committed", ERR_NOMEM);
            return;
        }
        *applying = (struct applying){.apply = {.job.done = on_applied,
                                                .machine = replica_machine(replica),
                                                .partition = partition,
                                                .index = index,
                                                .term = term,
                                                .bytes = bytes},
                                      .slot = slot};
        store_apply(&self->state_desk, &applying->apply);
        if (term == slot->served_term) { /* one of ours: nobody else leads that term */
            waiters_commit(&self->waiters, partition);
        }
    }
    lead_committed(self, partition, term);
}

static void host_leads(void *context, struct replica *replica, uint64_t term)
{
    lead_turned(context, replica_partition(replica), term);
}

static void host_send(void *context, struct replica *replica, uint64_t peer, struct slice message)
{
    struct journal_raft *self = context;
    ASSERT(self->events.send != NULL); /* there are peers */
    if (!self->is_fenced) {
        self->events.send(self->events.context, peer, replica_partition(replica), message);
    }
}

static void host_fetch(void *context, struct replica *replica, uint64_t peer, uint64_t index)
{
    struct journal_raft *self = context;
    if (!self->is_fenced) {
        self->events.fetch(self->events.context, replica_partition(replica), peer, index);
    }
}

/* ---- begin and end -------------------------------------------------------------------------- */

void rounds_init(struct journal_raft *self)
{
    self->host = (struct replica_host){host_batch, host_committed, host_leads,
                                       host_send,  host_fetch,     self};
    if (self->events.fetch == NULL) {
        self->host.fetch = NULL;
    }
    self->round = round_take(self);
}

void rounds_free(struct journal_raft *self)
{
    round_free(self->round);
    while (self->rounds_free != NULL) {
        struct round *next = self->rounds_free->next;
        round_free(self->rounds_free);
        self->rounds_free = next;
    }
}
