#include "cluster/consensus.h"
#include "cluster/replica.h"
#include "storage/record.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * Replicas on a real store, whose lanes nobody runs: the test is the journal. It writes a batch when
 * it says so, and applies when it says so. In the tests of a group, three partitions of one store
 * stand for one partition of three nodes.
 */
enum { PARTITION = 5, BATCHES = 4, LETTERS = 4096 };

struct letter {
    uint64_t from, to;
    struct slice bytes;
};

struct keeper {
    struct replica *replica;
    struct replica_config config;
    struct replica_host host;
    struct kv_batch *batches[BATCHES]; /* batch_first is the oldest under way */
    uint32_t batch_first, batch_count; /* of them under way; the next one is the open one */
    bool is_open_used, must_sync;
    uint64_t leads; /* as it was told last */
    uint64_t told, told_term, told_bytes;
    struct slice last;
};

struct place {
    char root[64], folder[128];
    struct store *store;
    struct kv_failure failure;
    struct keeper keepers[3];
    uint64_t now_ms;
    struct letter letters[LETTERS];
    uint32_t letter_count;
    bool is_cut[4]; /* that node's letters are lost */
};
static struct place *here;

/* ---- the host ----------------------------------------------------------------------------------- */

static struct kv_batch *host_batch(void *context, struct replica *replica, bool must_sync)
{
    struct keeper *keeper = context;
    (void)replica;
    keeper->must_sync = keeper->must_sync || must_sync;
    keeper->is_open_used = true;
    assert_true(keeper->batch_count < BATCHES);
    return keeper->batches[(keeper->batch_first + keeper->batch_count) % BATCHES];
}

static void host_committed(void *context, struct replica *replica, uint64_t index, uint64_t term,
                           struct slice bytes)
{
    struct keeper *keeper = context;
    (void)replica;
    assert_int_equal(index, keeper->told + 1);
    keeper->told = index;
    keeper->told_term = term;
    keeper->told_bytes += bytes.count;
    keeper->last = bytes;
}

static void host_leads(void *context, struct replica *replica, uint64_t term)
{
    struct keeper *keeper = context;
    (void)replica;
    assert_true(keeper->leads != term);
    keeper->leads = term;
}

static void host_send(void *context, struct replica *replica, uint64_t peer, struct slice message)
{
    struct keeper *keeper = context;
    uint8_t *copy = malloc(message.count);
    (void)replica;
    memcpy(copy, message.data, message.count);
    assert_true(here->letter_count < LETTERS);
    here->letters[here->letter_count++] = (struct letter){keeper->config.node_id, peer,
                                                          slice_of(copy, message.count)};
}

/* The turn ends: its batch is under way. */
static void turn_end(struct keeper *keeper)
{
    assert_true(keeper->is_open_used);
    keeper->batch_count++;
    keeper->is_open_used = false;
}

/* The oldest batch under way is written, or is not. */
static void written(struct keeper *keeper, enum err err)
{
    struct kv_batch *batch = keeper->batches[keeper->batch_first];
    assert_true(keeper->batch_count > 0);
    if (err == OK) {
        assert_int_equal(kv_write(store_log(here->store), batch), OK);
    }
    kv_batch_clear(batch);
    keeper->batch_first = (keeper->batch_first + 1) % BATCHES;
    keeper->batch_count--;
    if (keeper->batch_count == 0 && keeper->is_open_used) {
        fail_msg("a turn was not ended");
    }
    replica_persisted(keeper->replica, here->now_ms, err);
}

/* ---- a place ------------------------------------------------------------------------------------ */

static void store_begin(struct place *place)
{
    struct store_config config = {.folder = place->folder, .space_free_min = 1};
    assert_int_equal(store_open(&config, &place->store, &place->failure), OK);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    snprintf(place->root, sizeof place->root, "/tmp/tern-replica-XXXXXX");
    assert_non_null(mkdtemp(place->root));
    snprintf(place->folder, sizeof place->folder, "%s/data", place->root);
    place->now_ms = 1000;
    for (uint32_t i = 0; i < 3; i++) {
        struct keeper *keeper = &place->keepers[i];
        keeper->host = (struct replica_host){host_batch, host_committed, host_leads,
                                             host_send,  NULL,           keeper};
        for (uint32_t k = 0; k < BATCHES; k++) {
            keeper->batches[k] = kv_batch_new();
        }
    }
    here = place;
    store_begin(place);
    *state = place;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void keeper_stop(struct keeper *keeper)
{
    replica_close(keeper->replica);
    keeper->replica = NULL;
    for (uint32_t k = 0; k < BATCHES; k++) {
        kv_batch_clear(keeper->batches[k]);
    }
    keeper->batch_count = 0;
    keeper->is_open_used = false;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    for (uint32_t i = 0; i < 3; i++) {
        keeper_stop(&place->keepers[i]);
        for (uint32_t k = 0; k < BATCHES; k++) {
            kv_batch_free(place->keepers[i].batches[k]);
        }
    }
    for (uint32_t i = 0; i < place->letter_count; i++) {
        free((void *)place->letters[i].bytes.data);
    }
    store_close(place->store);
    nftw(place->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(place);
    return 0;
}

static enum err try_start(struct place *place, struct keeper *keeper, uint32_t partition,
                          uint64_t node_id)
{
    keeper->config = (struct replica_config){.partition = partition,
                                             .node_id = node_id,
                                             .seed = node_id,
                                             .host = &keeper->host,
                                             .store = place->store};
    return replica_open(&keeper->config, place->now_ms, &keeper->replica, &place->failure);
}

static struct replica *start(struct place *place)
{
    struct keeper *keeper = &place->keepers[0];
    enum err err = try_start(place, keeper, PARTITION, 1);
    if (err != OK) {
        print_error("%s\n", place->failure.text);
    }
    assert_int_equal(err, OK);
    keeper->told = machine_index(replica_machine(keeper->replica));
    keeper->told = keeper->told == 0 ? 1 : keeper->told;
    return keeper->replica;
}

/* As after a crash: what is under way is lost, what was written is there. */
static struct replica *restart(struct place *place)
{
    keeper_stop(&place->keepers[0]);
    return start(place);
}

/* ---- entries ------------------------------------------------------------------------------------ */

static struct slice entry_bytes(uint64_t number)
{
    struct entry_writer writer = {0};
    struct op op = {.kind = OP_RECEIVED, .partition = PARTITION};
    uint32_t message;
    op.received.partition = 1;
    op.received.number = number;
    assert_int_equal(entry_put(&writer, &op, &message), OK);
    assert_int_equal(entry_close(&writer, 1000 + number, 1), OK);
    struct slice bytes = buf_bytes(&writer.bytes);
    uint8_t *copy = malloc(bytes.count);
    memcpy(copy, bytes.data, bytes.count);
    entry_writer_deinit(&writer);
    return slice_of(copy, bytes.count);
}

static uint64_t propose(struct keeper *keeper, uint64_t number)
{
    uint64_t index;
    assert_int_equal(replica_propose(keeper->replica, here->now_ms, entry_bytes(number), &index),
                     OK);
    return index;
}

/* Proposed, written, and applied to the state if so. */
static void keep(struct keeper *keeper, uint64_t number, bool is_applied)
{
    struct write_set *writes = write_set_new();
    uint64_t index = propose(keeper, number);
    turn_end(keeper);
    written(keeper, OK);
    assert_int_equal(keeper->told, index);
    if (is_applied) {
        assert_int_equal(machine_apply(replica_machine(keeper->replica), index, keeper->told_term,
                                       keeper->last, writes),
                         OK);
        assert_int_equal(write_set_write(writes, store_state(here->store)), OK);
        replica_applied(keeper->replica, index);
    }
    write_set_free(writes);
}

static void cut_log(uint64_t index)
{
    struct raftlog_hard cut = {.cut_index = index, .cut_term = 1};
    struct kv_batch *batch = kv_batch_new();
    assert_int_equal(raftlog_cut(batch, PARTITION, &cut), OK);
    assert_int_equal(kv_write(store_log(here->store), batch), OK);
    kv_batch_free(batch);
}

/* ---- alone -------------------------------------------------------------------------------------- */

static void a_new_partition_leads_at_once_and_wants_no_timer(void **state)
{
    struct replica *replica = start(*state);
    assert_true(replica_is_leader(replica));
    assert_false(replica_is_fenced(replica));
    assert_true(replica_timeout_ms(replica) == UINT64_MAX);
    assert_int_equal(replica_partition(replica), PARTITION);
    assert_int_equal(replica_term(replica), 1);
    assert_int_equal(here->letter_count, 0);
    replica = restart(*state); /* nothing was proposed in between */
    assert_true(replica_is_leader(replica));
    assert_int_equal(propose(&here->keepers[0], 1), 2);
}

static void an_entry_is_told_when_it_is_written_and_not_before(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    start(place);
    assert_int_equal(propose(keeper, 1), 2);
    assert_int_equal(propose(keeper, 2), 3); /* in the same turn */
    turn_end(keeper);
    assert_int_equal(propose(keeper, 3), 4);
    turn_end(keeper);
    assert_int_equal(keeper->told, 1);
    written(keeper, OK);
    assert_int_equal(keeper->told, 3);
    assert_int_equal(propose(keeper, 4), 5);
    turn_end(keeper);
    written(keeper, OK);
    assert_int_equal(keeper->told, 4);
    replica_applied(keeper->replica, 4);
    written(keeper, OK);
    assert_int_equal(keeper->told, 5);
    assert_int_equal(place->letter_count, 0);
}

static void what_was_written_is_in_the_state_after_a_restart(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct replica *replica = start(place);
    for (uint64_t i = 1; i <= 40; i++) {
        keep(keeper, i, i <= 25);
    }
    propose(keeper, 99); /* never written */
    turn_end(keeper);
    assert_int_equal(machine_index(replica_machine(replica)), 26);
    replica = restart(place);
    assert_int_equal(machine_index(replica_machine(replica)), 41);
    uint64_t hash = machine_hash(replica_machine(replica));
    replica = restart(place);
    assert_int_equal(machine_hash(replica_machine(replica)), hash);
    assert_int_equal(propose(keeper, 41), 42); /* the place of the one that was lost */
}

static void the_log_may_be_cut_up_to_what_the_state_has(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct replica *replica = start(place);
    for (uint64_t i = 1; i <= 20; i++) {
        keep(keeper, i, i <= 15);
    }
    cut_log(10);
    replica = restart(place);
    assert_true(replica_is_leader(replica));
    assert_int_equal(machine_index(replica_machine(replica)), 21);
    cut_log(21);
    replica = restart(place);
    assert_true(replica_is_leader(replica));
    keep(keeper, 21, true);
    assert_int_equal(keeper->told, 22);
    replica = restart(place);
    assert_int_equal(machine_index(replica_machine(replica)), 22);
}

static void a_state_behind_the_cut_is_refused(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    start(place);
    for (uint64_t i = 1; i <= 20; i++) {
        keep(keeper, i, i <= 10);
    }
    keeper_stop(keeper);
    cut_log(15);
    assert_int_equal(try_start(place, keeper, PARTITION, 1), ERR_CORRUPT);
    assert_non_null(strstr(place->failure.text, "partition 5: its state lacks"));
    assert_non_null(strstr(place->failure.text, "restore a backup"));
}

/* As after a state was put beside the log of another time. */
static void a_state_of_another_history_is_refused(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct write_set *writes = write_set_new();
    struct slice bytes = entry_bytes(7);
    start(place);
    keep(keeper, 1, true);
    keep(keeper, 2, true);
    assert_int_equal(machine_apply(replica_machine(keeper->replica), 4, 9, bytes, writes), OK);
    assert_int_equal(write_set_write(writes, store_state(place->store)), OK);
    keep(keeper, 3, false); /* entry 4 of term 1 */
    keep(keeper, 4, false);
    keeper_stop(keeper);
    assert_int_equal(try_start(place, keeper, PARTITION, 1), ERR_CORRUPT);
    assert_non_null(strstr(place->failure.text, "different histories"));
    cut_log(4);
    assert_int_equal(try_start(place, keeper, PARTITION, 1), ERR_CORRUPT);
    assert_non_null(strstr(place->failure.text, "different histories"));
    write_set_free(writes);
    free((void *)bytes.data);
}

/* Durability below fsync: the log has lost what the state has. */
static void a_log_that_ends_before_the_state_begins_anew(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct kv_batch *batch = kv_batch_new();
    struct replica *replica = start(place);
    for (uint64_t i = 1; i <= 20; i++) {
        keep(keeper, i, true);
    }
    uint64_t hash = machine_hash(replica_machine(replica));
    raftlog_truncate(batch, PARTITION, 12);
    assert_int_equal(kv_write(store_log(place->store), batch), OK);
    for (int i = 0; i < 2; i++) {
        replica = restart(place);
        assert_true(replica_is_leader(replica));
        assert_int_equal(machine_index(replica_machine(replica)), 21);
        assert_int_equal(machine_hash(replica_machine(replica)), hash);
    }
    keep(keeper, 21, false);
    assert_int_equal(keeper->told, 22);
    replica = restart(place);
    assert_int_equal(machine_index(replica_machine(replica)), 22);
    kv_batch_free(batch);
}

static void the_store_of_another_node_is_refused(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    start(place);
    keeper_stop(keeper);
    assert_int_equal(try_start(place, keeper, PARTITION, 2), ERR_INVALID);
    assert_non_null(strstr(place->failure.text, "belongs to another node"));
    assert_null(keeper->replica);
}

static void a_damaged_log_is_refused_and_says_what_to_do(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct kv_batch *batch = kv_batch_new();
    uint8_t key[10] = {PARTITION, 'E', 0, 0, 0, 0, 0, 0, 0, 3};
    start(place);
    keep(keeper, 1, false);
    keep(keeper, 2, false);
    keeper_stop(keeper);
    kv_batch_put(batch, slice_of(key, sizeof key), slice_text("01234567nonsense"));
    assert_int_equal(kv_write(store_log(place->store), batch), OK);
    assert_int_equal(try_start(place, keeper, PARTITION, 1), ERR_CORRUPT);
    assert_non_null(strstr(place->failure.text, "entry 3"));

    /* An entry whose record is whole, and whose bytes are none of ours. */
    struct raftlog_entry entry = {3, 1, CONSENSUS_COMMAND, slice_text("nonsense")};
    kv_batch_clear(batch);
    assert_int_equal(raftlog_put(batch, PARTITION, &entry), OK);
    assert_int_equal(kv_write(store_log(place->store), batch), OK);
    assert_true(try_start(place, keeper, PARTITION, 1) != OK);
    assert_non_null(strstr(place->failure.text, "partition 5"));
    kv_batch_free(batch);
}

static void a_failing_disk_fences_and_nothing_more_is_told(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct replica *replica = start(place);
    struct slice bytes = entry_bytes(9);
    uint64_t index = 77;
    propose(keeper, 1);
    turn_end(keeper);
    propose(keeper, 2);
    turn_end(keeper);
    written(keeper, ERR_IO);
    assert_true(replica_is_fenced(replica));
    assert_false(replica_is_leader(replica));
    written(keeper, OK);
    assert_int_equal(keeper->told, 1);
    assert_int_equal(replica_propose(replica, place->now_ms, bytes, &index), ERR_UNAVAILABLE);
    assert_int_equal(index, 77);
    assert_true(replica_timeout_ms(replica) == UINT64_MAX);
    free((void *)bytes.data);
}

/* ---- three -------------------------------------------------------------------------------------- */

static void group_start(struct place *place)
{
    struct consensus_members members = {.index = 1, .count = 3};
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    struct kv_batch *batch = kv_batch_new();
    for (uint32_t i = 0; i < 3; i++) {
        members.rows[i] = (struct consensus_member){i + 1, CONSENSUS_VOTER};
    }
    struct raftlog_hard hard = {.term = 1};
    struct raftlog_entry entry = {1, 1, CONSENSUS_CHANGE,
                                  slice_of(bytes, members_write(&members, bytes))};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(raftlog_put_hard(batch, i, &hard), OK);
        assert_int_equal(raftlog_put(batch, i, &entry), OK);
    }
    assert_int_equal(kv_write(store_log(place->store), batch), OK);
    kv_batch_free(batch);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(try_start(place, &place->keepers[i], i, i + 1), OK);
    }
}

static void deliver(struct place *place)
{
    for (uint32_t i = 0; i < place->letter_count; i++) {
        struct letter letter = place->letters[i];
        struct keeper *to = &place->keepers[letter.to - 1];
        if (to->replica != NULL && !place->is_cut[letter.from] && !place->is_cut[letter.to]) {
            assert_int_equal(
                replica_receive(to->replica, place->now_ms, letter.from, 1, letter.bytes), OK);
        }
        free((void *)letter.bytes.data);
    }
    place->letter_count = 0;
}

static void write_all(struct place *place)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct keeper *keeper = &place->keepers[i];
        if (keeper->is_open_used) {
            turn_end(keeper);
        }
        while (keeper->batch_count > 0) {
            written(keeper, OK);
        }
    }
}

static struct keeper *leader(struct place *place)
{
    struct keeper *found = NULL;
    for (uint32_t i = 0; i < 3; i++) {
        struct keeper *keeper = &place->keepers[i];
        if (!place->is_cut[i + 1] && replica_is_leader(keeper->replica) &&
            (found == NULL || replica_term(keeper->replica) > replica_term(found->replica))) {
            found = keeper;
        }
    }
    return found;
}

static void run(struct place *place, uint64_t ms)
{
    for (uint64_t end = place->now_ms + ms; place->now_ms < end; place->now_ms++) {
        for (uint32_t i = 0; i < 3; i++) {
            if (replica_timeout_ms(place->keepers[i].replica) <= place->now_ms) {
                replica_timeout(place->keepers[i].replica, place->now_ms);
            }
        }
        write_all(place);
        deliver(place);
        write_all(place);
    }
}

/* What was written while it was alone is committed; what came after a second voter may not be. */
static void a_log_is_applied_as_far_as_it_was_written_alone(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct consensus_members members = {.count = 2};
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    struct kv_batch *batch = kv_batch_new();
    start(place);
    keep(keeper, 1, false);
    keep(keeper, 2, false);
    members.rows[0] = (struct consensus_member){1, CONSENSUS_VOTER};
    members.rows[1] = (struct consensus_member){2, CONSENSUS_VOTER};
    struct raftlog_entry entry = {4, 1, CONSENSUS_CHANGE,
                                  slice_of(bytes, members_write(&members, bytes))};
    assert_int_equal(raftlog_put(batch, PARTITION, &entry), OK);
    struct slice later = entry_bytes(3);
    entry = (struct raftlog_entry){5, 1, CONSENSUS_COMMAND, later};
    assert_int_equal(raftlog_put(batch, PARTITION, &entry), OK);
    assert_int_equal(kv_write(store_log(place->store), batch), OK);
    for (int i = 0; i < 2; i++) {
        struct replica *replica = restart(place);
        assert_false(replica_is_leader(replica));
        assert_true(replica_timeout_ms(replica) != UINT64_MAX);
        assert_int_equal(machine_index(replica_machine(replica)), 3);
    }
    free((void *)later.data);
    kv_batch_free(batch);
}

/* What was written with members that do not vote is committed, too; and it leads at once. */
static void the_only_voter_has_applied_all_it_has_when_it_leads(void **state)
{
    struct place *place = *state;
    struct keeper *keeper = &place->keepers[0];
    struct consensus_members members = {.count = 2};
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    struct kv_batch *batch = kv_batch_new();
    start(place);
    keep(keeper, 1, false);
    members.rows[0] = (struct consensus_member){1, CONSENSUS_VOTER};
    members.rows[1] = (struct consensus_member){2, CONSENSUS_STANDBY};
    struct raftlog_entry entry = {3, 1, CONSENSUS_CHANGE,
                                  slice_of(bytes, members_write(&members, bytes))};
    assert_int_equal(raftlog_put(batch, PARTITION, &entry), OK);
    struct slice later = entry_bytes(3);
    entry = (struct raftlog_entry){4, 1, CONSENSUS_COMMAND, later};
    assert_int_equal(raftlog_put(batch, PARTITION, &entry), OK);
    assert_int_equal(kv_write(store_log(place->store), batch), OK);
    struct replica *replica = restart(place);
    assert_true(replica_is_leader(replica));
    assert_false(replica_is_alone(replica));
    assert_int_equal(machine_index(replica_machine(replica)), 4);
    free((void *)later.data);
    kv_batch_free(batch);
}

static void three_elect_a_leader_and_agree(void **state)
{
    struct place *place = *state;
    group_start(place);
    assert_null(leader(place));
    run(place, 5000);
    struct keeper *first = leader(place);
    assert_non_null(first);
    for (uint64_t i = 1; i <= 50; i++) {
        propose(first, i);
        write_all(place);
    }
    run(place, 500);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(place->keepers[i].told, 52); /* the members, a barrier, and these */
        assert_int_equal(place->keepers[i].told_bytes, first->told_bytes);
    }

    /* The leader is cut off: the others go on, and what it proposes is not told. */
    place->is_cut[first->config.node_id] = true;
    propose(first, 51);
    write_all(place);
    run(place, 5000);
    struct keeper *second = leader(place);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    assert_int_equal(first->told, 52);
    assert_false(replica_is_leader(first->replica)); /* it cannot reach a quorum */
    propose(second, 52);
    run(place, 500);
    assert_int_equal(second->told, 54);

    /* It comes back, and its own entry is replaced. */
    place->is_cut[first->config.node_id] = false;
    run(place, 5000);
    assert_int_equal(first->told, second->told);
    assert_int_equal(first->told_bytes, second->told_bytes);
}

static void a_vote_leaves_when_it_is_on_the_disk(void **state)
{
    struct place *place = *state;
    struct keeper *candidate = &place->keepers[0], *voter = &place->keepers[1];
    group_start(place);
    place->now_ms = replica_timeout_ms(candidate->replica) + 5000;
    replica_timeout(candidate->replica, place->now_ms);
    deliver(place); /* it would be voted for */
    deliver(place); /* so it begins: its own vote goes to the disk first */
    assert_int_equal(place->letter_count, 0);
    assert_true(candidate->is_open_used);
    turn_end(candidate);
    written(candidate, OK);
    assert_int_equal(place->letter_count, 2);
    deliver(place);
    assert_int_equal(place->letter_count, 0);
    turn_end(voter);
    written(voter, OK);
    assert_int_equal(place->letter_count, 1);
    assert_int_equal(place->letters[0].from, 2);
    deliver(place);
    assert_true(replica_is_leader(candidate->replica));
}

static void nonsense_of_a_peer_is_dropped(void **state)
{
    struct place *place = *state;
    struct replica *replica;
    group_start(place);
    replica = place->keepers[0].replica;
    assert_int_equal(replica_receive(replica, place->now_ms, 2, 1, slice_text("\xff")),
                     ERR_MALFORMED);
    assert_int_equal(replica_receive(replica, place->now_ms, 2, 1, slice_text("")), ERR_MALFORMED);
    assert_int_equal(replica_receive(replica, place->now_ms, 2, 1, slice_of("\x12\0", 2)),
                     ERR_PROTOCOL); /* an APPEND of term 0 */
    assert_false(replica_is_fenced(replica));
    run(place, 5000);
    assert_non_null(leader(place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_partition_leads_at_once_and_wants_no_timer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_entry_is_told_when_it_is_written_and_not_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_written_is_in_the_state_after_a_restart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_log_may_be_cut_up_to_what_the_state_has, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_state_behind_the_cut_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_state_of_another_history_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_ends_before_the_state_begins_anew, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_store_of_another_node_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_log_is_refused_and_says_what_to_do, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_failing_disk_fences_and_nothing_more_is_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_log_is_applied_as_far_as_it_was_written_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_only_voter_has_applied_all_it_has_when_it_leads, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(three_elect_a_leader_and_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_vote_leaves_when_it_is_on_the_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonsense_of_a_peer_is_dropped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
