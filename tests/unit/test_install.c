/*
 * An image that takes the place of a partition in a store, cut off anywhere: on the simulator's disk, which
 * forgets what was not synced.
 */
#include "core/base/list.h"
#include "core/base/log.h"
#include "storage/install.h"
#include "tests/lib/image_map.h"
#include "tests/sim/sim_kv.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

enum { PARTITION = 7, BUSY = 9, ID = 99, ENTRIES = 12, TERM = 9, VOTE = 2, CHUNKS = 3 };

/* ---- a node, and what it is to be sent ------------------------------------------------------------- */

struct node {
    char root[64], folder[80];
    struct rng rng;
    struct sim_disk *disk;
    struct store_config config;
    struct store *store;
    struct lane *image_lane;
    struct lane_desk log_desk, state_desk;
    uint64_t now_ns;
    struct install *install;
    const struct chunks *chunks; /* to be sent */
    uint32_t sent;
    bool is_over;
    enum err err; /* of the step that was done last */
    struct machine *busy;
    uint64_t busy_index;
    struct standing before; /* of the partition */
};

/* Of each a crash after every turn: one for each `durability`; by hand as many as the argument says. */
static uint64_t seed_count = 3;

static struct {
    struct rng rng;
    struct sim_disk *disk;
    struct chunks chunks;
    struct standing standing;
} sender;

static void sender_make(void)
{
    struct kv_config config = {.folder = "/sender/state", .way = KV_UNLOGGED};
    struct kv_failure failure;
    struct kv *kv;
    rng_init(&sender.rng, 1);
    sender.disk = sim_kv_disk_new("/sender", &sender.rng);
    assert_int_equal(kv_open(&config, &kv, &failure), OK);
    map_apply(kv, PARTITION, 1, 40);
    map_fill(kv, PARTITION, 1, 6, 100000);
    sender.standing = standing_of(kv, PARTITION);
    sender.chunks = chunks_of(kv, PARTITION, ID);
    assert_int_equal(sender.chunks.count, CHUNKS);
    kv_close(kv);
}

static void sender_free(void)
{
    chunks_free(&sender.chunks);
    sim_kv_disk_free(sender.disk);
}

static void node_open(struct node *node)
{
    struct kv_failure failure;
    assert_int_equal(store_open(&node->config, &node->store, &failure), OK);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        store_applied(node->store, i, 0, 0);
    }
    assert_int_equal(image_lane_new(false, &node->image_lane), OK);
    lane_desk_init(&node->log_desk, store_log_lane(node->store), NULL);
    lane_desk_init(&node->state_desk, store_state_lane(node->store), NULL);
}

static void node_close(struct node *node)
{
    install_free(node->install);
    node->install = NULL;
    lane_desk_close(&node->log_desk);
    lane_desk_close(&node->state_desk);
    machine_close(node->busy);
    node->busy = NULL;
    lane_free(node->image_lane);
    store_close(node->store);
    node->store = NULL;
}

static struct node *node_new(uint64_t seed, enum store_durability durability)
{
    struct node *node = calloc(1, sizeof(*node));
    log_setup(-1, LOG_LOGFMT, 0);
    snprintf(node->root, sizeof(node->root), "/tmp/tern-install-XXXXXX");
    assert_non_null(mkdtemp(node->root));
    snprintf(node->folder, sizeof(node->folder), "%s/data", node->root);
    rng_init(&node->rng, seed);
    node->disk = sim_kv_disk_new(node->folder, &node->rng);
    node->now_ns = 100 * SECOND;
    node->config = (struct store_config){.folder = node->folder,
                                         .durability = durability,
                                         .space_free_min = 1,
                                         .gather_ns = STORE_GATHER_NS,
                                         .flush_bytes = seed % 2 == 0 ? 1 << 20 : 600};
    node_open(node);
    return node;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void node_free(struct node *node)
{
    node_close(node);
    sim_kv_disk_free(node->disk);
    nftw(node->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(node);
}

/* ---- its work ---------------------------------------------------------------------------------------- */

struct entry_job {
    struct store_append append;
    struct store_apply apply;
    bool is_logged, is_applied;
};

static void on_logged(struct job *job, enum err err)
{
    struct entry_job *entry = CONTAINER_OF(job, struct entry_job, append.job);
    entry->is_logged = err == OK;
}

static void on_applied(struct job *job, enum err err)
{
    (void)err;
    CONTAINER_OF(job, struct entry_job, apply.job)->is_applied = true;
}

static void lanes_turn(struct node *node)
{
    node->now_ns += SECOND / 10;
    lane_turn(store_log_lane(node->store), node->now_ns);
    lane_collect(&node->log_desk);
    lane_turn(store_state_lane(node->store), node->now_ns);
    lane_collect(&node->state_desk);
}

/* Log an entry and apply it; it gathers with others. false: the disk has failed. */
static bool live(struct node *node, struct machine *machine, uint32_t partition, uint64_t index,
                 struct slice bytes)
{
    struct raftlog_hard hard = {.term = TERM, .vote = VOTE};
    struct raftlog_entry record = {index, 3, 1, bytes};
    struct entry_job entry = {.append = {.job.done = on_logged, .batch = kv_batch_new()},
                              .apply = {.job.done = on_applied,
                                        .machine = machine,
                                        .partition = partition,
                                        .index = index,
                                        .term = 3,
                                        .bytes = bytes}};
    raftlog_put_hard(entry.append.batch, partition, &hard);
    assert_int_equal(raftlog_put(entry.append.batch, partition, &record), OK);
    store_append(&node->log_desk, &entry.append);
    while (node->log_desk.open_count > 0) {
        lanes_turn(node);
    }
    kv_batch_free(entry.append.batch);
    if (entry.is_logged) {
        store_apply(&node->state_desk, &entry.apply);
    }
    while (node->state_desk.open_count > 0) {
        lanes_turn(node);
    }
    return entry.is_logged;
}

static void old_state(struct node *node)
{
    static struct model model;
    struct machine *machine = machine_of(store_state(node->store), PARTITION);
    model_init(&model, 500);
    for (uint64_t index = 1; index <= ENTRIES; index++) {
        struct slice entry = model_entry(&model);
        assert_true(live(node, machine, PARTITION, index, entry));
        free((void *)entry.data);
    }
    model_deinit(&model);
    machine_close(machine);
    node->now_ns += 2 * SECOND;
    lanes_turn(node); /* whatever may be lost has been synced */
    node->before = standing_of(store_state(node->store), PARTITION);
    assert_int_equal(node->before.index, ENTRIES);
}

/* Another partition goes on: flushes and cuts come in between. */
static void be_busy(struct node *node)
{
    struct op op = {.kind = OP_SEEN, .partition = BUSY, .session = 1};
    struct entry_writer writer = {0};
    uint32_t place;
    if (node->busy == NULL) {
        node->busy = machine_of(store_state(node->store), BUSY);
        node->busy_index = machine_index(node->busy);
    }
    op.packet_id = (uint16_t)(1 + node->busy_index % 10);
    assert_int_equal(entry_put(&writer, &op, &place), OK);
    assert_int_equal(entry_close(&writer, 1000, 1), OK);
    live(node, node->busy, BUSY, ++node->busy_index, buf_bytes(&writer.bytes));
    entry_writer_deinit(&writer);
}

/* ---- an install ---------------------------------------------------------------------------------------- */

/* A step is done: the next one. */
static void on_step(void *context, enum err err)
{
    struct node *node = context;
    node->err = err;
    if (err != OK || node->is_over) {
        return;
    }
    if (node->sent < node->chunks->count) {
        install_chunk(node->install, chunk_at(node->chunks, node->sent++));
    } else if (install_is_whole(node->install)) {
        node->sent = UINT32_MAX;
        install_end(node->install);
    } else {
        assert_int_equal(node->sent, UINT32_MAX);
        node->is_over = true;
    }
}

static void install_start(struct node *node, const struct chunks *chunks)
{
    struct install_config config = {
        .store = node->store, .image_lane = node->image_lane, .done = on_step, .context = node};
    if (node->install == NULL) {
        assert_int_equal(install_new(&config, &node->install), OK);
    }
    node->chunks = chunks;
    node->sent = 0;
    node->is_over = false;
    node->err = OK;
    install_begin(node->install, &chunks->head);
}

/* One turn of one lane. */
static void step(struct node *node)
{
    struct lane *lanes[] = {store_log_lane(node->store), store_state_lane(node->store),
                            node->image_lane};
    node->now_ns += SECOND / 50;
    for (int i = 0; i < 3 && !lane_turn(lanes[i], node->now_ns); i++) {
    }
    lane_collect(&node->log_desk);
    lane_collect(&node->state_desk);
    install_collect(node->install);
    install_turn(node->install, node->now_ns);
}

static void install_all(struct node *node)
{
    install_start(node, &sender.chunks);
    for (int i = 0; i < 1000 && !node->is_over; i++) {
        step(node);
        assert_int_equal(node->err, OK);
    }
    assert_true(node->is_over);
    struct machine *machine = install_take_machine(node->install);
    assert_int_equal(machine_index(machine), sender.standing.index);
    assert_int_equal(machine_hash(machine), sender.standing.hash);
    machine_close(machine);
}

/* ---- what a start finds -------------------------------------------------------------------------------- */

struct replay {
    struct machine *machine;
    struct write_set *writes;
    uint64_t count;
};

static enum err replay_entry(void *context, const struct raftlog_entry *entry)
{
    struct replay *replay = context;
    replay->count++;
    if (entry->index > machine_index(replay->machine)) {
        assert_int_equal(machine_apply(replay->machine, entry->index, entry->term, entry->bytes,
                                       replay->writes),
                         OK);
    }
    return OK;
}

/* Log and state are one: what the log has beyond the state is applied. How many entries there are. */
static uint64_t start_partition(struct node *node, uint32_t partition, struct raftlog_hard *hard)
{
    struct kv_failure failure;
    struct kv *state = store_state(node->store);
    struct replay replay = {.machine = machine_of(state, partition), .writes = write_set_new()};
    assert_int_equal(
        raftlog_load(store_log(node->store), partition, hard, replay_entry, &replay, &failure), OK);
    assert_true(machine_index(replay.machine) >= hard->cut_index);
    assert_int_equal(write_set_write(replay.writes, state), OK);
    write_set_free(replay.writes);
    machine_close(replay.machine);
    return replay.count;
}

enum outcome { IS_OLD, IS_NEW, IS_EMPTY, OUTCOMES };

static enum outcome judge(struct node *node)
{
    struct kv_failure failure;
    struct raftlog_hard hard;
    bool was;
    start_partition(node, BUSY, &hard);
    assert_int_equal(install_recover(node->store, PARTITION, &was, &failure), OK);
    uint64_t entries = start_partition(node, PARTITION, &hard);
    struct standing now = standing_of(store_state(node->store), PARTITION);
    assert_int_equal(hard.term, TERM);
    assert_int_equal(hard.vote, VOTE);
    if (was) {
        assert_int_equal(now.index, 0);
        assert_int_equal(now.digest, 0);
        assert_int_equal(entries + hard.cut_index, 0);
        return IS_EMPTY;
    }
    if (hard.cut_index == sender.standing.index) {
        assert_true(standing_equal(&now, &sender.standing));
        assert_int_equal(hard.cut_term, sender.standing.term);
        assert_int_equal(entries, 0);
        return IS_NEW;
    }
    assert_true(standing_equal(&now, &node->before));
    return IS_OLD;
}

/* The disk fails under the next calls of a lane, or does not; then the node is gone, and starts again. */
static void crash(struct node *node)
{
    static const enum sim_kv_call calls[] = {SIM_KV_WRITE, SIM_KV_SYNC, SIM_KV_FLUSH};
    if (rng_below(&node->rng, 2) == 0) {
        sim_kv_fail(node->disk, calls[rng_below(&node->rng, 3)], 0, ERR_IO);
        step(node);
        step(node);
    }
    for (uint32_t i = 0; i < 3; i++) {
        sim_kv_fail(node->disk, calls[i], UINT32_MAX, OK);
    }
    sim_kv_crash(node->disk,
                 rng_below(&node->rng, 3) == 0 ? SIM_KV_PROCESS_ENDS : SIM_KV_POWER_FAILS);
    node_close(node);
    node_open(node);
}

/* ---- tests --------------------------------------------------------------------------------------------- */

static void an_install_makes_the_partition_what_was_sent(void **state)
{
    struct node *node = node_new(1, STORE_FSYNC);
    struct store_figures before, after;
    (void)state;
    old_state(node);
    install_all(node);
    struct standing now = standing_of(store_state(node->store), PARTITION);
    assert_true(standing_equal(&now, &sender.standing));
    store_look(node->store, &before);
    for (int i = 0; i < 40; i++) { /* flushes, and cuts */
        be_busy(node);
    }
    store_look(node->store, &after);
    assert_true(after.cut_count > before.cut_count + 2);
    node_close(node);
    node_open(node);
    assert_int_equal(judge(node), IS_NEW);
    node_free(node);
}

static void wherever_it_is_cut_off_it_is_old_or_new_or_empty(void **state)
{
    uint32_t outcomes[OUTCOMES] = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= seed_count; seed++) {
        bool was_over = false;
        for (uint32_t crash_at = 0; !was_over; crash_at++) {
            struct node *node = node_new(seed * 1000 + crash_at, (enum store_durability)(seed % 3));
            old_state(node);
            install_start(node, &sender.chunks);
            for (uint32_t i = 0; i < crash_at && !node->is_over; i++) {
                if (i % 3 == 0) {
                    be_busy(node);
                }
                step(node);
                assert_int_equal(node->err, OK);
            }
            was_over = node->is_over;
            crash(node);
            enum outcome outcome = judge(node);
            assert_true(outcome == IS_NEW || !was_over);
            outcomes[outcome]++;
            if (outcome == IS_EMPTY && crash_at % 4 == 0) { /* it is helped again */
                install_all(node);
                node_close(node);
                node_open(node);
                assert_int_equal(judge(node), IS_NEW);
            }
            node_free(node);
        }
    }
    for (uint32_t i = 0; i < OUTCOMES; i++) {
        assert_true(outcomes[i] >= seed_count);
    }
}

static void a_chunk_that_is_refused_lets_the_whole_begin_again(void **state)
{
    struct node *node = node_new(1, STORE_FSYNC);
    struct chunks wrong = sender.chunks;
    (void)state;
    old_state(node);
    for (uint32_t number = 0; number < CHUNKS; number++) {
        wrong = sender.chunks;
        wrong.bytes[number] = sender.chunks.bytes[(number + 1) % CHUNKS];
        install_start(node, &wrong);
        for (int i = 0; i < 100 && node->err == OK; i++) {
            step(node);
        }
        assert_int_equal(node->err, ERR_CORRUPT);
        assert_int_equal(node->sent, number + 1);
        assert_false(install_is_busy(node->install));
        assert_false(install_is_whole(node->install));
        assert_int_equal(standing_of(store_state(node->store), PARTITION).index, 0);
        node->err = OK;
    }
    install_all(node);
    struct standing now = standing_of(store_state(node->store), PARTITION);
    assert_true(standing_equal(&now, &sender.standing));
    node_free(node);
}

static void a_full_disk_holds_up_an_install(void **state)
{
    (void)state;
    for (uint32_t full_at = 0; full_at < 24; full_at += 4) {
        struct node *node = node_new(full_at, STORE_FSYNC);
        old_state(node);
        install_start(node, &sender.chunks);
        for (uint32_t i = 0; i < full_at && !node->is_over; i++) {
            step(node);
        }
        bool was_over = node->is_over;
        sim_kv_set_free(node->disk, 0);
        for (uint32_t i = 0; i < 100; i++) {
            step(node);
            assert_int_equal(node->err, OK);
        }
        assert_int_equal(node->is_over, was_over);
        sim_kv_set_free(node->disk, UINT64_MAX);
        for (uint32_t i = 0; i < 200 && !node->is_over; i++) {
            step(node);
        }
        assert_true(node->is_over);
        struct standing now = standing_of(store_state(node->store), PARTITION);
        assert_true(standing_equal(&now, &sender.standing));
        node_free(node);
    }
}

static void a_disk_that_fails_ends_an_install(void **state)
{
    struct node *node = node_new(1, STORE_FSYNC);
    (void)state;
    old_state(node);
    install_start(node, &sender.chunks);
    sim_kv_fail(node->disk, SIM_KV_SYNC, 0, ERR_IO);
    for (int i = 0; i < 100 && node->err == OK; i++) {
        step(node);
    }
    assert_int_equal(node->err, ERR_IO);
    assert_false(install_is_busy(node->install));
    assert_int_equal(store_admits(node->store), ERR_IO);
    struct standing now = standing_of(store_state(node->store), PARTITION);
    assert_true(standing_equal(&now, &node->before)); /* nothing was changed before the mark */
    node_free(node);
}

/* A node that stops takes no image to its end: it says at the next start that it needs one. */
static void a_node_that_stops_in_between_begins_empty(void **state)
{
    (void)state;
    for (uint32_t steps = 4; steps < 8; steps++) {
        struct node *node = node_new(1, STORE_FSYNC);
        old_state(node);
        install_start(node, &sender.chunks);
        for (uint32_t i = 0; i < steps; i++) {
            step(node);
        }
        node_close(node);
        node_open(node);
        assert_int_equal(judge(node), IS_EMPTY);
        node_close(node);
        node_open(node);
        assert_int_equal(judge(node), IS_EMPTY); /* and goes on to say so */
        node_free(node);
    }
}

static void no_backup_is_taken_of_what_is_half_replaced(void **state)
{
    struct node *node = node_new(1, STORE_FSYNC);
    struct kv_failure failure;
    char folder[96];
    (void)state;
    snprintf(folder, sizeof(folder), "%s/backup", node->folder);
    old_state(node);
    install_start(node, &sender.chunks);
    assert_int_equal(store_backup(node->store, folder, &failure), ERR_BUSY);
    assert_non_null(strstr(failure.text, "is being replaced"));
    while (!node->is_over) {
        step(node);
    }
    assert_int_equal(store_backup(node->store, folder, &failure), OK);
    node_free(node);
}

int main(int argument_count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_install_makes_the_partition_what_was_sent),
        cmocka_unit_test(wherever_it_is_cut_off_it_is_old_or_new_or_empty),
        cmocka_unit_test(a_chunk_that_is_refused_lets_the_whole_begin_again),
        cmocka_unit_test(a_full_disk_holds_up_an_install),
        cmocka_unit_test(a_disk_that_fails_ends_an_install),
        cmocka_unit_test(a_node_that_stops_in_between_begins_empty),
        cmocka_unit_test(no_backup_is_taken_of_what_is_half_replaced),
    };
    seed_count = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : seed_count;
    sender_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sender_free();
    return failed;
}
