#include "core/base/assert.h"
#include "core/session/journal.h"
#include "storage/machine.h"
#include "tests/raft/journal_world.h"

#include <stdlib.h>
#include <string.h>

enum { SESSION = 7, BURST_MAX = 4, BATCH_MAX = 2 * BURST_MAX };

/* What one wait is for. */
struct wait {
    struct node *node;
    uint64_t terms[PARTS]; /* in which it was logged; 0: nothing of that partition */
    uint32_t logged[BATCH_MAX], settled[BATCH_MAX];
    uint32_t logged_count, settled_count;
};

static uint64_t term_of(struct node *node, uint32_t part)
{
    struct replica_look look;
    ASSERT(journal_raft_look(node->journal, partition_at(part), &look) == OK);
    return look.term;
}

/* ---- telling ------------------------------------------------------------------------------------ */

static void on_told(void *context, enum err err)
{
    struct wait *wait = context;
    struct world *world = wait->node->world;

    wait->node->waiting--;
    world->counts.told += err == OK;
    world->counts.refused += err != OK;
    for (uint32_t i = 0; err == OK && i < wait->logged_count; i++) {
        struct fact *fact = &world->facts[wait->logged[i]];
        fact->told_term = fact->term;
        if (fact->missed_term > fact->term) {
            fail(world, "SAFETY: %u is told OK, and the leader of term %lu did not have it",
                 wait->logged[i], fact->missed_term);
        }
    }
    for (uint32_t i = 0; err == OK && i < wait->settled_count; i++) {
        world->facts[wait->settled[i]].is_settle_told = true;
    }
    free(wait);
}

/* ---- logging ------------------------------------------------------------------------------------ */

static void log_open(struct node *node, uint32_t part)
{
    struct op op = {.kind = OP_OPEN, .partition = partition_at(part), .session = SESSION};
    op.open.client_id = slice_text("client");
    journal_log(node->journal, &op);
    node->views[part].has_session = true;
}

static uint32_t log_message(struct node *node, uint32_t part)
{
    struct world *world = node->world;
    struct view *view = &node->views[part];
    struct op op = {.kind = OP_ENQUEUE, .partition = partition_at(part), .session = SESSION};
    uint32_t id = ++world->fact_count;
    struct msg_spec spec = {
        .qos = 1, .topic = slice_text("t"), .payload = slice_of((uint8_t *)&id, sizeof(id))};
    struct msg *msg = msg_new(&spec);

    ASSERT(id < FACTS_MAX && msg != NULL && view->owed_count < OWED_MAX);
    op.enqueue.msg = msg;
    op.enqueue.sequence = view->sequence_next;
    op.enqueue.qos = 1;
    world->facts[id] = (struct fact){.part = part,
                                     .sequence = view->sequence_next++,
                                     .stored = journal_log(node->journal, &op),
                                     .term = view->term};
    view->owed[view->owed_count++] = id;
    msg_unref(msg);
    return id;
}

static uint32_t log_settle(struct node *node, uint32_t part)
{
    struct view *view = &node->views[part];
    struct op op = {.kind = OP_SETTLE, .partition = partition_at(part), .session = SESSION};
    uint32_t at = draw(node->world, view->owed_count), id = view->owed[at];
    struct fact *fact = &node->world->facts[id];

    op.settle.sequence = fact->sequence;
    op.settle.message = fact->stored;
    journal_log(node->journal, &op);
    fact->is_settled = true;
    fact->settled_term = view->term;
    view->owed[at] = view->owed[--view->owed_count];
    return id;
}

static void log_some(struct node *node, uint32_t part, struct wait *wait)
{
    struct world *world = node->world;
    uint32_t count = 1 + draw(world, BURST_MAX);

    wait->terms[part] = node->views[part].term;
    if (!node->views[part].has_session) {
        log_open(node, part);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (node->views[part].owed_count > 30 ||
            (node->views[part].owed_count > 0 && chance(world, 30000))) {
            wait->settled[wait->settled_count++] = log_settle(node, part);
        } else {
            wait->logged[wait->logged_count++] = log_message(node, part);
        }
    }
}

void owner_turn(struct node *node)
{
    struct world *world = node->world;
    uint64_t partitions = 0;
    struct wait *wait;

    if (!chance(world, 15000) || world->fact_count + BATCH_MAX >= FACTS_MAX) {
        return;
    }
    wait = calloc(1, sizeof(*wait));
    ASSERT(wait != NULL);
    wait->node = node;
    for (uint32_t part = 0; part < PARTS; part++) {
        struct view *view = &node->views[part];
        if (view->is_led && chance(world, 60000) &&
            journal_admit(node->journal, partition_at(part)) == OK) {
            log_some(node, part, wait);
            partitions |= UINT64_C(1) << partition_at(part);
        }
    }
    if (partitions == 0) {
        free(wait);
        return;
    }
    enum err err = journal_await(node->journal, partitions, on_told, wait);
    node->waiting++;
    if (err == OK) {
        fail(world, "what was just logged is told to be committed");
    }
    if (err != ERR_AGAIN) {
        on_told(wait, err);
    }
}

/* ---- loading, and what must be there ------------------------------------------------------------- */

struct loading {
    struct node *node;
    uint32_t part;
    uint64_t term;
    bool *is_there; /* by id */
};

static enum err on_session(void *context, const struct session_record *session)
{
    struct loading *loading = context;
    loading->node->views[loading->part].has_session = session->key == SESSION;
    return OK;
}

static enum err on_item(void *context, uint64_t session, uint64_t sequence,
                        const struct item_record *record)
{
    struct loading *loading = context;
    struct world *world = loading->node->world;
    struct view *view = &loading->node->views[loading->part];
    struct stored_item item = machine_stored_item(sequence, record);
    uint32_t id = 0;

    (void)session;
    if (item.message.payload.count == sizeof(id)) {
        memcpy(&id, item.message.payload.data, sizeof(id));
    }
    if (id == 0 || id > world->fact_count) {
        fail(world, "SAFETY: a message that nobody logged");
        return OK;
    }
    const struct fact *fact = &world->facts[id];
    if (fact->part != loading->part || fact->sequence != sequence || fact->stored != item.stored) {
        fail(world, "SAFETY: %u is there as %lu (%lu), and was logged as %lu (%lu)", id, sequence,
             item.stored, fact->sequence, fact->stored);
    }
    if (fact->missed_term != 0 && fact->missed_term < loading->term) {
        fail(world, "SAFETY: %u is there in term %lu, and was not in term %lu", id, loading->term,
             fact->missed_term);
    }
    if (fact->is_settle_told && fact->settled_term < loading->term) {
        fail(world, "SAFETY: %u is there in term %lu, and was settled in term %lu", id,
             loading->term, fact->settled_term);
    }
    if (view->owed_count == OWED_MAX) {
        fail(world, "too much is owed for this simulation");
        return OK;
    }
    loading->is_there[id] = true;
    view->owed[view->owed_count++] = id;
    if (sequence >= view->sequence_next) {
        view->sequence_next = sequence + 1;
    }
    return OK;
}

static void load(struct node *node, uint32_t part, uint64_t term)
{
    static const struct machine_reader reader = {.session = on_session, .item = on_item};
    struct world *world = node->world;
    struct view *view = &node->views[part];
    struct loading loading = {node, part, term, calloc(world->fact_count + 1, 1)};

    *view = (struct view){
        .is_led = true, .term = term, .sequence_next = view->sequence_next + 1000};
    ASSERT(loading.is_there != NULL);
    enum err err = machine_read(journal_raft_machine(node->journal, partition_at(part)), &reader,
                                &loading);
    if (err != OK) {
        fail(world, "the state of node %lu cannot be read: %s", node->id, err_name(err));
    }
    for (uint32_t id = 1; id <= world->fact_count; id++) {
        struct fact *fact = &world->facts[id];
        if (fact->part != part || loading.is_there[id] || fact->term >= term || fact->is_settled) {
            continue;
        }
        if (fact->told_term != 0) {
            fail(world, "SAFETY: %u was told OK in term %lu and is lost in term %lu, at node %lu",
                 id, fact->told_term, term, node->id);
        }
        if (fact->missed_term == 0 || term < fact->missed_term) {
            fact->missed_term = term;
        }
    }
    free(loading.is_there);
}

void owner_led(void *context, uint32_t partition)
{
    struct node *node = context;
    struct world *world = node->world;
    uint32_t part = partition / SHARDS;
    uint64_t term = term_of(node, part);

    world->counts.led++;
    if (node->views[part].is_led) {
        fail(world, "node %lu is told twice that it leads %u", node->id, partition);
    }
    ASSERT(term < TERMS_MAX);
    if (world->led_by[part][term] != 0 && world->led_by[part][term] != node->id) {
        fail(world, "SAFETY: nodes %d and %lu lead term %lu", (int)world->led_by[part][term],
             node->id, term);
    }
    world->led_by[part][term] = (uint8_t)node->id;
    node->views[part].sequence_next = 0;
    load(node, part, term);
    if (journal_raft_leader(node->journal, partition) != node->id) {
        fail(world, "node %lu leads, and does not know", node->id);
    }
}

void owner_lost(void *context, uint32_t partition)
{
    struct node *node = context;
    struct view *view = &node->views[partition / SHARDS];

    node->world->counts.lost++;
    if (!view->is_led) {
        fail(node->world, "node %lu loses what it did not lead", node->id);
    }
    view->is_led = false;
    if (journal_admit(node->journal, partition) != ERR_UNAVAILABLE) {
        fail(node->world, "node %lu admits what it does not lead", node->id);
    }
}

void owner_begin(struct node *node)
{
    for (uint32_t part = 0; part < PARTS; part++) {
        struct replica_look look;
        node->views[part] = (struct view){.is_led = false};
        ASSERT(journal_raft_look(node->journal, partition_at(part), &look) == OK);
        if (look.role == REPLICA_LEADS) { /* from the start, alone: nobody says so */
            node->world->led_by[part][look.term] = (uint8_t)node->id;
            load(node, part, look.term + 1);
            node->views[part].term = look.term;
        }
    }
    node->waiting = 0;
}

void owner_end(struct node *node)
{
    if (node->waiting != 0) {
        fail(node->world, "%u of node %lu were never told", node->waiting, node->id);
    }
}

/* After a turn of the state lane nothing is between two entries. */
void states_compare(struct node *node)
{
    struct world *world = node->world;

    for (uint32_t part = 0; part < PARTS; part++) {
        struct machine *machine = journal_raft_machine(node->journal, partition_at(part));
        uint64_t index = machine_index(machine), *hash = &world->hashes[part][index];
        ASSERT(index < INDEX_MAX);
        if (index > 0 && *hash != 0 && *hash != machine_hash(machine)) {
            fail(world, "SAFETY: the states at %lu differ, at node %lu", index, node->id);
        }
        *hash = machine_hash(machine);
    }
}
