/*
 * Who leads a partition, and what its owner is told of that:
 *
 *     replica leads ── an entry of its term is committed ── the state is asked ── answers ──> led
 *     lead_term        asked_term                           proven_term              served_term
 *
 *     replica leads no more, or in another term ── who waits is told ──> lost
 *     lead_term differs from served_term
 *
 * The state lane does one thing after another: when it answers, the map has every entry that was
 * committed before ours, so whatever any leader ever told anybody.
 *
 * Invariants
 *   L1  ops are logged only while served_term is lead_term: nothing that was logged in one term leaves
 *       in another. What is open when the term ends is dropped, and so is the count of what was logged.
 *   L2  the owner hears led and lost in turn, from lead_tell() alone, lost with nobody waiting.
 *   L3  due_ms of a partition that is not peered is not looked at.
 */
#include "cluster/journal_parts.h"
#include "core/base/blocks.h"

/* The question to the state. */
struct proof {
    struct store_apply apply;
    struct journal_raft *journal;
    uint64_t term;
};

void lead_begin(struct journal_raft *self, uint32_t partition)
{
    struct slot *slot = &self->slots[partition];

    if (replica_is_leader(slot->replica)) { /* alone: the state is loaded before anybody comes */
        slot->lead_term = slot->served_term = replica_term(slot->replica);
    }
    lead_look(self, partition);
}

void lead_look(struct journal_raft *self, uint32_t partition)
{
    const struct replica *replica = self->slots[partition].replica;

    if (replica_is_fenced(replica)) {
        journal_fence(self, "replicating", ERR_UNAVAILABLE);
    }
    if (replica_is_alone(replica)) {
        self->peered &= ~bit(partition);
        return;
    }
    self->peered |= bit(partition);
    self->due_ms[partition] = replica_timeout_ms(replica);
}

/* ---- a new leader --------------------------------------------------------------------------- */

/* In the state lane: that it is there is the answer. */
static enum err run_proof(struct store_apply *apply)
{
    (void)apply;
    return OK;
}

static void on_proof(struct job *job, enum err err)
{
    struct proof *proof = CONTAINER_OF(CONTAINER_OF(job, struct store_apply, job), struct proof,
                                       apply);
    struct journal_raft *self = proof->journal;
    uint32_t partition = proof->apply.partition;

    if (err == OK && proof->term == self->slots[partition].lead_term) {
        self->slots[partition].proven_term = proof->term;
        self->turned |= bit(partition);
    } /* else it leads no more, or the store is fenced */
    blocks_give(proof, sizeof(*proof));
}

void lead_turned(struct journal_raft *self, uint32_t partition, uint64_t term)
{
    self->slots[partition].lead_term = term;
    self->slots[partition].proven_term = 0;
    self->turned |= bit(partition);
}

void lead_committed(struct journal_raft *self, uint32_t partition, uint64_t term)
{
    struct slot *slot = &self->slots[partition];

    if (term != slot->lead_term || slot->served_term == term || slot->asked_term == term) {
        return;
    }
    struct proof *proof = blocks_take(sizeof(*proof));
    if (proof == NULL) {
        journal_fence(self, "asking for the state", ERR_NOMEM);
        return;
    }
    slot->asked_term = term;
    *proof = (struct proof){
        .apply = {.job.done = on_proof, .partition = partition, .read = run_proof},
        .journal = self,
        .term = term};
    store_apply(&self->state_desk, &proof->apply);
}

/* ---- telling the owner ---------------------------------------------------------------------- */

static void tell_lost(struct journal_raft *self, uint32_t partition)
{
    struct slot *slot = &self->slots[partition];

    self->open_bytes -= buf_count(&slot->open.bytes);
    self->open &= ~bit(partition);
    self->wanted &= ~bit(partition);
    entry_writer_deinit(&slot->open);
    slot->served_term = 0;
    waiters_tell_partition(&self->waiters, partition, ERR_UNAVAILABLE, self->logged[partition]);
    if (self->events.lost != NULL) {
        self->events.lost(self->events.context, partition);
    }
}

static void tell_led(struct journal_raft *self, uint32_t partition)
{
    struct slot *slot = &self->slots[partition];
    const struct machine *machine = replica_machine(slot->replica);

    slot->served_term = slot->lead_term;
    slot->message_next = machine_message_next(machine);
    if (slot->wall_ms < machine_wall_ms(machine)) {
        slot->wall_ms = machine_wall_ms(machine);
    }
    if (self->events.led != NULL) {
        self->events.led(self->events.context, partition);
    }
}

void lead_tell(struct journal_raft *self)
{
    while (self->turned != 0 && !self->is_fenced) {
        uint32_t partition = take_lowest(&self->turned);
        struct slot *slot = &self->slots[partition];
        if (slot->served_term != 0 && slot->served_term != slot->lead_term) {
            tell_lost(self, partition); /* L1 */
        }
        if (slot->served_term == 0 && slot->lead_term != 0 &&
            slot->proven_term == slot->lead_term) {
            tell_led(self, partition);
        }
    }
}

void lead_tell_end(struct journal_raft *self)
{
    for (uint32_t partition = 0; partition < STORE_PARTITIONS; partition++) {
        if (self->slots[partition].served_term != 0 && self->events.lost != NULL) {
            tell_lost(self, partition);
        }
    }
}

/* ---- peers and timers ----------------------------------------------------------------------- */

enum err journal_raft_receive(struct journal *journal, uint64_t peer, uint64_t generation,
                              uint32_t group, struct slice bytes)
{
    struct journal_raft *self = raft_of(journal);

    if (group >= STORE_PARTITIONS || self->slots[group].replica == NULL) {
        return ERR_NOT_FOUND;
    }
    if (self->is_fenced) {
        return ERR_UNAVAILABLE;
    }
    journal_read_clocks(self);
    enum err err = replica_receive(self->slots[group].replica, self->now_ms, peer, generation,
                                   bytes);
    lead_look(self, group);
    return err;
}

uint64_t journal_raft_leader(const struct journal *journal, uint32_t partition)
{
    ASSERT(partition < STORE_PARTITIONS);
    const struct replica *replica = raft_of(journal)->slots[partition].replica;
    return replica == NULL ? 0 : replica_leader(replica);
}

void journal_raft_want(struct journal *journal, uint32_t partition, const uint64_t *members,
                       uint32_t count, uint64_t preferred)
{
    struct journal_raft *self = raft_of(journal);
    struct replica_want want = {.count = count, .preferred = preferred};

    ASSERT(partition < STORE_PARTITIONS && self->slots[partition].replica != NULL);
    ASSERT(count <= CONSENSUS_MEMBERS_MAX);
    memcpy(want.ids, members, count * sizeof(members[0]));
    if (!self->is_fenced) {
        journal_read_clocks(self);
        replica_want(self->slots[partition].replica, self->now_ms, &want);
        lead_look(self, partition);
    }
}

bool journal_raft_may_install(struct journal *journal, uint32_t partition,
                              const struct consensus_snapshot *image)
{
    struct journal_raft *self = raft_of(journal);

    ASSERT(partition < STORE_PARTITIONS && self->slots[partition].replica != NULL);
    journal_read_clocks(self);
    return !self->is_fenced &&
           replica_may_install(self->slots[partition].replica, self->now_ms, image);
}

void journal_raft_installed(struct journal *journal, uint32_t partition,
                            const struct consensus_snapshot *image, struct machine *machine)
{
    struct journal_raft *self = raft_of(journal);
    struct slot *slot = &self->slots[partition];

    journal_read_clocks(self);
    enum err err = replica_installed(slot->replica, self->now_ms, image, machine);
    if (err != OK) {
        journal_fence(self, "beginning anew from an image", err);
    }
    lead_look(self, partition);
}

bool journal_raft_members_at(const struct journal *journal, uint32_t partition, uint64_t index,
                             struct consensus_members *out)
{
    const struct slot *slot = &raft_of(journal)->slots[partition];

    return slot->replica != NULL && replica_members_at(slot->replica, index, out);
}

enum err journal_raft_look(const struct journal *journal, uint32_t partition,
                           struct replica_look *out)
{
    const struct journal_raft *self = raft_of(journal);

    if (partition >= STORE_PARTITIONS || self->slots[partition].replica == NULL) {
        return ERR_NOT_FOUND;
    }
    replica_look(self->slots[partition].replica, out);
    return OK;
}

void lead_timers(struct journal_raft *self)
{
    uint64_t partitions = self->peered;

    while (partitions != 0 && !self->is_fenced) {
        uint32_t partition = take_lowest(&partitions);
        if (self->due_ms[partition] <= self->now_ms) {
            replica_timeout(self->slots[partition].replica, self->now_ms);
            lead_look(self, partition);
        }
    }
}

uint64_t lead_due_ms(const struct journal_raft *self)
{
    uint64_t partitions = self->peered, due_ms = UINT64_MAX;

    while (partitions != 0) {
        uint32_t partition = take_lowest(&partitions);
        due_ms = self->due_ms[partition] < due_ms ? self->due_ms[partition] : due_ms;
    }
    return due_ms;
}
