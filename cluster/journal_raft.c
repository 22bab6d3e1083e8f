/*
 * Invariants
 *   J1  entries of a partition that have an op have numbers, 1, 2, ..., the last one being logged; that
 *       one may still be open. A replica commits in order.
 *   J2  of a partition that is not served (journal_parts.h) nothing is open, and nobody waits for it,
 *       but between the loss and the owner's hearing of it: what is open then is never proposed.
 *   J3  wanted are those open entries that somebody waits for, or may: they leave as soon as they may. The
 *       others hold nothing but OP_SETTLE, which loses no more than a duplicate after a crash (op.h): they
 *       stay open for what may still join them, at most until settled_due_ms. So what a receiver
 *       acknowledges costs no entry, and no sync, of its own.
 *   J4  fenced: nothing is logged, proposed or applied any more, and nobody is told OK. The view of
 *       the shard is ahead of the log then, and stays so.
 */
#include "cluster/journal_raft.h"

#include "cluster/journal_parts.h"
#include "core/base/blocks.h"
#include "core/base/log.h"
#include "core/io/io.h"
#include "storage/install.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    NODE_ALONE = 1,
    ELECTION_MS = 500,
    /* An open entry of that size does not wait for the one before it. */
    ENTRY_BYTES_MAX = 64 * 1024,
    /* In all open entries of a shard; what is on its way counts in the store. */
    OPEN_BYTES_MAX = 8 * 1024 * 1024,
    SETTLED_WAIT_MS = 100, /* J3 */
};

void journal_read_clocks(struct journal_raft *self)
{
    if (self->io != NULL) {
        self->now_ms = io_now_ns(self->io) / 1000000;
        self->wall_ms = self->now_ms + self->wall_ahead_ms;
    }
}

void journal_fence(struct journal_raft *self, const char *what, enum err err)
{
    if (!self->is_fenced && !self->is_closing) {
        log_event(
            LOG_ERROR,
            "the journal of a shard has ended: nothing durable is accepted any more: look for "
            "the reason above, then start tern again",
            LOG_TEXT("what", what), LOG_TEXT("error", err_text(err)));
    }
    self->is_fenced = true; /* J4 */
}

/* ---- who waits ------------------------------------------------------------------------------ */

/* Is nothing of it on its way? */
static bool is_idle(const struct journal_raft *self, uint32_t partition)
{
    uint64_t proposed = self->logged[partition] - (self->open >> partition & 1);
    return self->waiters.queues[partition].committed == proposed;
}

static bool is_pending(const struct journal_raft *self, uint32_t partition)
{
    return waiters_any(&self->waiters, partition) ||
           self->waiters.queues[partition].committed < self->logged[partition];
}

static enum err await(struct journal *journal, uint64_t partitions, journal_done done,
                      void *context)
{
    struct journal_raft *self = raft_of(journal);
    uint64_t pending = 0;

    if (self->is_fenced) {
        return ERR_UNAVAILABLE;
    }
    while (partitions != 0) {
        uint32_t partition = take_lowest(&partitions);
        ASSERT(self->slots[partition].replica != NULL);
        if (!is_served(&self->slots[partition])) {
            return ERR_UNAVAILABLE;
        }
        pending |= is_pending(self, partition) ? bit(partition) : 0;
    }
    if (pending == 0) {
        return OK;
    }
    TRY(waiters_add(&self->waiters, pending, self->logged, done, context));
    self->wanted |= pending & self->open; /* J3 */
    return ERR_AGAIN;
}

/* ---- logging -------------------------------------------------------------------------------- */

/* J3 */
static void want(struct journal_raft *self, const struct op *op)
{
    bool is_large = buf_count(&self->slots[op->partition].open.bytes) >= ENTRY_BYTES_MAX;
    if (op->kind != OP_SETTLE || is_large) {
        self->wanted |= bit(op->partition);
    } else if (self->settled_due_ms == UINT64_MAX) {
        self->settled_due_ms = self->now_ms + SETTLED_WAIT_MS;
    }
}

/* Of another shard's partition the disk alone is known: it says no by its own, if it does. */
static enum err admit(struct journal *journal, uint32_t partition)
{
    const struct journal_raft *self = raft_of(journal);
    const struct slot *slot = &self->slots[partition];
    if (self->is_fenced || (slot->replica != NULL && !is_served(slot))) {
        return ERR_UNAVAILABLE;
    }
    enum err err = store_admits(self->store);
    return err == OK || err == ERR_NO_SPACE ? err : ERR_UNAVAILABLE;
}

static uint64_t log_op(struct journal *journal, const struct op *op)
{
    struct journal_raft *self = raft_of(journal);
    struct slot *slot = &self->slots[op->partition];
    uint32_t message = 0;

    ASSERT(slot->replica != NULL);
    if (self->is_fenced || !is_served(slot)) {
        return slot->message_next; /* J2, J4 */
    }
    if (buf_count(&slot->open.bytes) == 0) {
        /* As large as the last one was, so that it need not grow; if not, it grows. */
        (void)buf_reserve(&slot->open.bytes, slot->bytes_last);
    }
    size_t before = buf_count(&slot->open.bytes);
    enum err err = entry_put(&slot->open, op, &message);
    if (err != OK) {
        journal_fence(self, "writing down what has changed already", err);
        return slot->message_next;
    }
    self->logged[op->partition] += ~self->open >> op->partition & 1;
    self->open |= bit(op->partition);
    self->open_bytes += buf_count(&slot->open.bytes) - before;
    want(self, op);
    return slot->message_next + message;
}

static bool is_congested(const struct journal *journal)
{
    const struct journal_raft *self = raft_of(journal);
    return self->open_bytes >= OPEN_BYTES_MAX || store_is_congested(self->store);
}

/* ---- reading back ---------------------------------------------------------------------------- */

static enum err read_items(struct journal *journal, uint32_t partition, uint64_t session,
                           uint64_t from_sequence, uint32_t max, journal_read_done done,
                           void *context)
{
    struct journal_raft *self = raft_of(journal);
    struct slot *slot = &self->slots[partition];
    ASSERT(slot->replica != NULL);
    return reader_items(&self->reader, replica_machine(slot->replica), partition, session,
                        from_sequence, max, done, context);
}

static enum err read_retained(struct journal *journal, const struct slice *topics, uint32_t count,
                              journal_retained_done done, void *context)
{
    return reader_retained(&raft_of(journal)->reader, topics, count, done, context);
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* The bytes of a complete entry, malloc'ed; NULL: no memory. */
static struct slice entry_take(struct entry_writer *writer)
{
    struct slice bytes = buf_bytes(&writer->bytes);
    if (writer->bytes.begin > 0) { /* what a replica takes it frees as it is */
        uint8_t *copy = malloc(bytes.count);
        if (copy != NULL) {
            memcpy(copy, bytes.data, bytes.count);
        }
        buf_deinit(&writer->bytes);
        bytes = slice_of(copy, copy == NULL ? 0 : bytes.count);
    }
    writer->bytes = (struct buf){0};
    return bytes;
}

static enum err propose(struct journal_raft *self, uint32_t partition)
{
    struct slot *slot = &self->slots[partition];
    uint64_t index;

    if (slot->wall_ms < self->wall_ms) {
        slot->wall_ms = self->wall_ms;
    }
    self->open &= ~bit(partition);
    self->wanted &= ~bit(partition);
    self->open_bytes -= buf_count(&slot->open.bytes);
    TRY(entry_close(&slot->open, slot->wall_ms, slot->message_next));
    slot->message_next += slot->open.message_count;
    struct slice bytes = entry_take(&slot->open);
    entry_writer_deinit(&slot->open);
    if (bytes.data == NULL) {
        return ERR_NOMEM;
    }
    slot->bytes_last = bytes.count < ENTRY_BYTES_MAX ? bytes.count : ENTRY_BYTES_MAX;
    enum err err = replica_propose(slot->replica, self->now_ms, bytes, &index);
    if (err != OK) {
        free((void *)(uintptr_t)bytes.data);
        return err;
    }
    return OK;
}

static bool may_leave(const struct journal_raft *self, uint32_t partition)
{
    const struct slot *slot = &self->slots[partition];
    if ((self->peered & bit(partition)) != 0 &&
        !(is_served(slot) && replica_accepts(slot->replica))) {
        return false; /* it is handing over, or has lost: J2 */
    }
    return is_idle(self, partition) || self->is_closing ||
           buf_count(&self->slots[partition].open.bytes) >= ENTRY_BYTES_MAX;
}

static void flush(struct journal *journal)
{
    struct journal_raft *self = raft_of(journal);

    if (self->open != 0) {
        journal_read_clocks(self);
    }
    if (self->now_ms >= self->settled_due_ms || self->is_closing) {
        self->wanted = self->open;
    }
    uint64_t partitions = self->wanted;
    while (partitions != 0 && !self->is_fenced) {
        uint32_t partition = take_lowest(&partitions);
        if (may_leave(self, partition)) {
            enum err err = propose(self, partition);
            if (err != OK) {
                journal_fence(self, "handing over what has changed already", err);
            }
            if ((self->peered & bit(partition)) != 0) {
                lead_look(self, partition);
            }
        }
    }
    round_send(self);
    if (self->open == self->wanted) {
        self->settled_due_ms = UINT64_MAX;
    }
}

static uint64_t wake_ns(const struct journal *journal)
{
    const struct journal_raft *self = raft_of(journal);
    uint64_t due_ms = self->is_fenced ? UINT64_MAX : self->settled_due_ms;
    if (self->peered != 0 && !self->is_fenced) {
        uint64_t timer_ms = lead_due_ms(self);
        due_ms = timer_ms < due_ms ? timer_ms : due_ms;
    }
    return due_ms == UINT64_MAX ? UINT64_MAX : due_ms * 1000000;
}

static void collect(struct journal *journal)
{
    struct journal_raft *self = raft_of(journal);
    journal_read_clocks(self);
    lane_collect(&self->log_desk);
    lane_collect(&self->state_desk);
    lead_timers(self);
    waiters_tell(&self->waiters, &self->is_fenced);
    lead_tell(self);
    if (self->is_fenced && !self->is_told) {
        self->is_told = true;
        waiters_tell_all(&self->waiters, ERR_UNAVAILABLE);
        lead_tell_end(self);
    }
}

static bool has_news(const struct journal *journal)
{
    const struct journal_raft *self = raft_of(journal);
    return lane_has_news(&self->log_desk) || lane_has_news(&self->state_desk) ||
           self->turned != 0 || (self->is_fenced && !self->is_told);
}

static void leave_io(struct journal *journal)
{
    struct journal_raft *self = raft_of(journal);
    journal_read_clocks(self);
    self->io = NULL;
    lane_desk_leave_io(&self->log_desk);
    lane_desk_leave_io(&self->state_desk);
}

/* ---- open and close ------------------------------------------------------------------------- */

static const struct journal_calls calls = {
    .admit = admit,
    .log = log_op,
    .await = await,
    .read = read_items,
    .read_retained = read_retained,
    .is_congested = is_congested,
    .collect = collect,
    .flush = flush,
    .has_news = has_news,
    .wake_ns = wake_ns,
    .leave_io = leave_io,
};

/*
 * It was being replaced by an image when the node stopped: it is an empty member now, and waits for help
 * like any other. The mark goes, as what comes may as well be all of the log: the next start must not
 * take that for what was left of the image.
 */
static enum err begin_again(struct journal_raft *self, uint32_t partition,
                            struct kv_failure *failure)
{
    const struct raftlog_mark nowhere = {0, 0};
    struct kv_batch *batch;
    bool was = false;

    TRY(install_recover(self->store, partition, &was, failure));
    if (!was) {
        return OK;
    }
    batch = kv_batch_new();
    if (batch == NULL) {
        return ERR_NOMEM;
    }
    raftlog_end_mark(batch, partition, &nowhere);
    enum err err = kv_flush(store_state(self->store)); /* what it removed */
    err = err == OK ? kv_write(store_log(self->store), batch) : err;
    kv_batch_free(batch);
    store_replace(self->store, partition, false);
    return err;
}

static enum err open_slot(struct journal_raft *self, const struct journal_raft_config *config,
                          uint32_t partition, struct kv_failure *failure)
{
    struct slot *slot = &self->slots[partition];
    struct replica_config replica = {
        .partition = partition,
        .node_id = config->node_id != 0 ? config->node_id : NODE_ALONE,
        .is_joiner = config->is_joiner,
        .seed = config->seed,
        .election_ms = config->election_ms != 0 ? config->election_ms : ELECTION_MS,
        .heartbeat_ms = config->heartbeat_ms,
        .window_bytes = config->window_bytes,
        .tail_bytes = config->tail_bytes,
        .host = &self->host,
        .store = self->store,
        .state_desk = &self->state_desk,
    };
    TRY(begin_again(self, partition, failure));
    TRY(replica_open(&replica, self->now_ms, &slot->replica, failure));
    const struct machine *machine = replica_machine(slot->replica);
    store_applied(self->store, partition, machine_index(machine), machine_term(machine));
    slot->message_next = machine_message_next(machine);
    slot->wall_ms = machine_wall_ms(machine);
    lead_begin(self, partition);
    return OK;
}

/*
 * What replicas wrote when they were opened: a disk that fills up may lose what is not synced, and the
 * log lane writes only that again which was handed to it.
 */
static enum err sync_what_was_opened(struct journal_raft *self, struct kv_failure *failure)
{
    enum err err = kv_sync(store_log(self->store), true);
    if (err != OK) {
        snprintf(failure->text, sizeof(failure->text),
                 "the log cannot be written: %s: look at the disk (df, dmesg)", err_text(err));
    }
    return err;
}

enum err journal_raft_new(const struct journal_raft_config *config, struct journal **out,
                          struct kv_failure *failure)
{
    struct journal_raft *self = calloc(1, sizeof(*self));
    enum err err = OK;

    failure->text[0] = '\0';
    if (self == NULL) {
        return ERR_NOMEM;
    }
    self->journal.calls = &calls;
    self->store = config->store;
    self->io = config->io;
    self->settled_due_ms = UINT64_MAX;
    self->events = config->events;
    lane_desk_init(&self->log_desk, store_log_lane(self->store), self->io);
    lane_desk_init(&self->state_desk, store_state_lane(self->store), self->io);
    self->reader.store = self->store;
    self->reader.desk = &self->state_desk;
    if (self->io != NULL) {
        self->wall_ahead_ms = io_wall_ms(self->io) - io_now_ns(self->io) / 1000000;
    }
    journal_read_clocks(self);
    waiters_init(&self->waiters);
    rounds_init(self);
    err = self->round == NULL ? ERR_NOMEM : OK;
    for (uint32_t partition = config->shard; partition < STORE_PARTITIONS && err == OK;
         partition += config->shard_count) {
        err = open_slot(self, config, partition, failure);
    }
    if (err == OK) {
        err = sync_what_was_opened(self, failure);
    }
    if (err != OK) {
        journal_raft_free(&self->journal);
        return err;
    }
    *out = &self->journal;
    return OK;
}

void journal_raft_set_clock(struct journal *journal, uint64_t wall_ms)
{
    struct journal_raft *self = raft_of(journal);
    ASSERT(self->io != NULL);
    self->wall_ahead_ms = wall_ms - io_now_ns(self->io) / 1000000;
}

struct machine *journal_raft_machine(struct journal *journal, uint32_t partition)
{
    ASSERT(partition < STORE_PARTITIONS);
    struct replica *replica = raft_of(journal)->slots[partition].replica;
    return replica == NULL ? NULL : replica_machine(replica);
}

void journal_raft_free(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    struct journal_raft *self = raft_of(journal);
    self->is_closing = self->reader.is_closing = true;
    store_close_soon(self->store);
    flush(journal);
    lane_desk_close(&self->log_desk); /* what comes back goes on to the state lane */
    lane_desk_close(&self->state_desk);
    self->is_fenced = true;
    waiters_tell_all(&self->waiters, ERR_SHUTDOWN);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        entry_writer_deinit(&self->slots[i].open);
        replica_close(self->slots[i].replica);
    }
    rounds_free(self);
    free(self);
}
