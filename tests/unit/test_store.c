#include "tests/lib/store_place.h"

static void all_who_wait_share_one_sync(void **state)
{
    enum { COUNT = 5 };
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct append appends[COUNT];
    struct lane_desk desk;
    struct store_figures figures;
    struct seen seen;
    order_next = 0;
    open_with(place, &config);
    lane_desk_init(&desk, store_log_lane(place->store), NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        append_new(&appends[i], 3, i + 1, 1);
        store_append(&desk, &appends[i].append);
    }
    store_look(place->store, &figures);
    assert_true(figures.log_waiting_bytes > COUNT * 19);
    lane_collect(&desk);
    assert_int_equal(appends[0].err, ERR_COUNT);
    assert_true(lane_turn(store_log_lane(place->store), SECOND));
    lane_collect(&desk);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(appends[i].err, OK);
        assert_int_equal(appends[i].order, i);
        append_free(&appends[i]);
    }
    store_look(place->store, &figures);
    assert_int_equal(figures.sync_count, 1);
    assert_int_equal(figures.append_count, COUNT);
    assert_int_equal(figures.log_waiting_bytes, 0);
    assert_int_equal(figures.admits, OK);
    lane_desk_close(&desk);
    close_store(place);
    open_with(place, &config);
    load(place, 3, &seen);
    assert_int_equal(seen.last, COUNT);
}

/* Answered at once, synced later: when, is the difference between the two. */
static void assert_syncs_later(struct place *place, enum store_durability durability,
                               uint64_t after_ns)
{
    struct store_config config = config_of(place);
    struct store_figures figures;
    struct append appends[2];
    struct lane_desk desk;
    config.durability = durability;
    open_with(place, &config);
    struct lane *lane = store_log_lane(place->store);
    lane_desk_init(&desk, lane, NULL);
    append_new(&appends[0], 3, 1, 1);
    store_append(&desk, &appends[0].append);
    assert_true(lane_turn(lane, 10 * SECOND));
    lane_collect(&desk);
    assert_int_equal(appends[0].err, OK);
    store_look(place->store, &figures);
    assert_int_equal(figures.sync_count, 0);
    append_new(&appends[1], 3, 2, 1);
    store_append(&desk, &appends[1].append);
    assert_true(lane_turn(lane, 10 * SECOND + after_ns / 2)); /* it does not put it off */
    assert_false(lane_turn(lane, 10 * SECOND + after_ns - 1));
    assert_true(lane_turn(lane, 10 * SECOND + after_ns));
    store_look(place->store, &figures);
    assert_int_equal(figures.sync_count, 1);
    assert_false(lane_turn(lane, 20 * SECOND)); /* nothing new, nothing to sync */
    lane_desk_close(&desk);
    append_free(&appends[0]);
    append_free(&appends[1]);
}

static void relaxed_syncs_a_tenth_of_a_second_later(void **state)
{
    assert_syncs_later(*state, STORE_RELAXED, SECOND / 10);
}

static void quorum_syncs_a_second_later(void **state)
{
    assert_syncs_later(*state, STORE_QUORUM, SECOND);
}

/* Who has to know that the disk has it says so; all who wait are synced with it. */
static void what_must_be_durable_is_synced_whatever_the_setting_says(void **state)
{
    static const enum store_durability settings[] = {STORE_QUORUM, STORE_RELAXED};
    for (int i = 0; i < 2; i++) {
        struct place *place = *state;
        struct store_config config = config_of(place);
        struct store_figures figures;
        struct append appends[2];
        struct lane_desk desk;
        config.durability = settings[i];
        open_with(place, &config);
        lane_desk_init(&desk, store_log_lane(place->store), NULL);
        for (uint32_t k = 0; k < 2; k++) {
            append_new(&appends[k], 3, (uint64_t)i * 2 + k + 1, 1);
            appends[k].append.must_sync = k == 1;
            store_append(&desk, &appends[k].append);
            assert_true(lane_turn(store_log_lane(place->store), SECOND));
            lane_collect(&desk);
            assert_int_equal(appends[k].err, OK);
            store_look(place->store, &figures);
            assert_int_equal(figures.sync_count, k);
        }
        lane_desk_close(&desk);
        append_free(&appends[0]);
        append_free(&appends[1]);
        close_store(place);
    }
}

/* ---- applying, flushing, cutting ------------------------------------------------------------ */

static void entries_become_state_in_order(void **state)
{
    enum { COUNT = 10000 }; /* more than one batch takes */
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machines[2] = {{.partition = 1}, {.partition = 2}};
    struct apply *applies = calloc(COUNT, sizeof(*applies));
    struct store_figures figures;
    struct lane_desk desk;
    open_with(place, &config);
    struct lane *lane = store_state_lane(place->store);
    lane_desk_init(&desk, lane, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        applies[i] = apply_of(&machines[i % 2], i / 2 + 1, 1);
        store_apply(&desk, &applies[i].apply);
    }
    store_look(place->store, &figures);
    assert_true(figures.state_waiting_bytes >= COUNT);
    assert_true(lane_turn(lane, SECOND));
    lane_collect(&desk);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(applies[i].err, OK);
        assert_int_equal(applies[i].done_count, 1);
    }
    assert_int_equal(state_index(store_state(place->store), 1), COUNT / 2);
    assert_int_equal(state_index(store_state(place->store), 2), COUNT / 2);
    store_look(place->store, &figures);
    assert_int_equal(figures.apply_count, COUNT);
    assert_int_equal(figures.state_waiting_bytes, 0);
    lane_desk_close(&desk);
    free(applies);
}

static void too_much_that_waits_is_congestion(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 1};
    struct apply apply = apply_of(&machine, 1, 1);
    struct append append;
    struct lane_desk state_desk, log_desk;
    config.backlog_bytes = 50;
    open_with(place, &config);
    lane_desk_init(&state_desk, store_state_lane(place->store), NULL);
    lane_desk_init(&log_desk, store_log_lane(place->store), NULL);
    assert_false(store_is_congested(place->store));
    store_apply(&state_desk, &apply.apply);
    assert_true(store_is_congested(place->store));
    lane_turn(store_state_lane(place->store), SECOND);
    assert_false(store_is_congested(place->store));
    append_new(&append, 1, 1, 1);
    store_append(&log_desk, &append.append);
    assert_true(store_is_congested(place->store));
    lane_turn(store_log_lane(place->store), SECOND);
    assert_false(store_is_congested(place->store));
    lane_desk_close(&state_desk);
    lane_desk_close(&log_desk);
    append_free(&append);
}

/* Memory that is short for a while holds up, and loses nothing. */
static void an_entry_that_finds_no_memory_is_applied_later(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 1, .answer = ERR_NOMEM, .answer_at = 2};
    struct apply applies[3];
    struct lane_desk desk;
    open_with(place, &config);
    struct lane *lane = store_state_lane(place->store);
    lane_desk_init(&desk, lane, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        applies[i] = apply_of(&machine, i + 1, 1);
        store_apply(&desk, &applies[i].apply);
    }
    assert_true(lane_turn(lane, SECOND));
    lane_collect(&desk);
    assert_int_equal(applies[0].err, OK);
    assert_int_equal(applies[1].err, ERR_COUNT);
    assert_int_equal(store_admits(place->store), OK);
    assert_false(lane_turn(lane, SECOND + SECOND / 20));
    machine.answer = OK;
    assert_true(lane_turn(lane, SECOND + SECOND / 10));
    lane_collect(&desk);
    assert_int_equal(applies[2].err, OK);
    assert_int_equal(state_index(store_state(place->store), 1), 3);
    lane_desk_close(&desk);
}

/* An entry of a newer version, or damage: this node must not go on without it. */
static void an_entry_that_cannot_be_applied_fences(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 1, .answer = ERR_UNSUPPORTED, .answer_at = 2};
    struct apply applies[3];
    struct append append;
    struct lane_desk state_desk, log_desk;
    open_with(place, &config);
    lane_desk_init(&state_desk, store_state_lane(place->store), NULL);
    lane_desk_init(&log_desk, store_log_lane(place->store), NULL);
    for (uint32_t i = 0; i < 3; i++) {
        applies[i] = apply_of(&machine, i + 1, 1);
        store_apply(&state_desk, &applies[i].apply);
    }
    lane_turn(store_state_lane(place->store), SECOND);
    lane_collect(&state_desk);
    assert_int_equal(applies[0].err, OK);
    assert_int_equal(applies[1].err, ERR_IO);
    assert_int_equal(applies[2].err, ERR_IO);
    assert_int_equal(store_admits(place->store), ERR_IO);
    append_new(&append, 1, 1, 1);
    store_append(&log_desk, &append.append);
    lane_turn(store_log_lane(place->store), SECOND);
    lane_collect(&log_desk);
    assert_int_equal(append.err, ERR_IO);
    lane_desk_close(&state_desk);
    lane_desk_close(&log_desk);
    append_free(&append);
    close_store(place);
    open_with(place, &config);
    assert_int_equal(store_admits(place->store), OK);
}

static void the_log_is_cut_to_what_is_flushed(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 5};
    struct store_figures figures;
    struct seen seen;
    config.flush_bytes = 1000;
    open_with(place, &config);
    live(place, &machine, 1, 3, SECOND);
    live(place, &machine, 4, 80, 20 * SECOND);
    store_look(place->store, &figures);
    assert_true(figures.flush_count >= 2);
    assert_true(figures.cut_count >= 2);
    struct raftlog_hard hard = load(place, 5, &seen);
    assert_true(hard.cut_index > 40);
    assert_true(hard.cut_index < 80);
    assert_int_equal(hard.cut_term, hard.cut_index / 10 + 1);
    assert_int_equal(hard.term, 99);
    assert_int_equal(seen.first, hard.cut_index + 1);
    assert_int_equal(seen.last, 80);
    close_store(place); /* flushes, and cuts all */
    open_with(place, &config);
    hard = load(place, 5, &seen);
    assert_int_equal(hard.cut_index, 80);
    assert_int_equal(seen.last, 0);
    assert_int_equal(state_index(store_state(place->store), 5), 80);
}

static void what_a_replica_wants_to_keep_is_kept(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 5};
    struct seen seen;
    config.flush_bytes = 1000;
    open_with(place, &config);
    store_keep_from(place->store, 5, 24);
    live(place, &machine, 1, 3, SECOND);
    live(place, &machine, 4, 80, 20 * SECOND);
    struct raftlog_hard hard = load(place, 5, &seen);
    assert_int_equal(hard.cut_index, 23);
    assert_int_equal(hard.cut_term, 3); /* read from the log: the state is further */
    assert_int_equal(seen.first, 24);
    assert_int_equal(seen.last, 80);
    store_keep_from(place->store, 5, UINT64_MAX);
    live(place, &machine, 81, 120, 40 * SECOND);
    hard = load(place, 5, &seen);
    assert_true(hard.cut_index > 80);
}

/* After a crash the log is long, the state has been written by who loaded it, and nothing happens. */
static void a_log_left_by_a_crash_is_cut_although_nothing_happens(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 5};
    struct seen seen;
    open_with(place, &config);
    live(place, &machine, 1, 60, SECOND);
    store_keep_from(place->store, 5, 1); /* so that closing leaves it long */
    close_store(place);
    config.flush_bytes = 100;
    assert_int_equal(store_open(&config, &place->store, &place->failure), OK);
    load(place, 5, &seen);
    assert_int_equal(seen.first, 1);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        assert_false(lane_turn(store_state_lane(place->store), SECOND)); /* not all are loaded */
        store_applied(place->store, i, i == 5 ? 60 : 0, 7);
    }
    assert_true(lane_turn(store_state_lane(place->store), SECOND));
    assert_true(lane_turn(store_log_lane(place->store), SECOND));
    struct raftlog_hard hard = load(place, 5, &seen);
    assert_int_equal(hard.cut_index, 60);
    assert_int_equal(hard.cut_term, 7);
    lane_turn(store_state_lane(place->store), 36 * SECOND);
}

/* ---- gathering ------------------------------------------------------------------------------ */

enum { GATHERED = 3 };

/* Entries that are applied, and gather. */
struct gathering {
    struct machine machine;
    struct apply applies[GATHERED];
    struct lane_desk desk;
    struct lane *lane;
};

static void gather(struct place *place, struct gathering *gathering, uint64_t backlog_bytes)
{
    struct store_config config = config_of(place);
    config.gather_ns = SECOND / 10;
    config.backlog_bytes = backlog_bytes;
    open_with(place, &config);
    gathering->machine = (struct machine){.partition = 1};
    gathering->lane = store_state_lane(place->store);
    lane_desk_init(&gathering->desk, gathering->lane, NULL);
    for (uint32_t i = 0; i < GATHERED; i++) {
        gathering->applies[i] = apply_of(&gathering->machine, i + 1, 1);
        store_apply(&gathering->desk, &gathering->applies[i].apply);
    }
    assert_true(lane_turn(gathering->lane, SECOND));
    lane_collect(&gathering->desk);
}

static void assert_written(struct place *place, struct gathering *gathering)
{
    struct store_figures figures;
    lane_collect(&gathering->desk);
    for (uint32_t i = 0; i < GATHERED; i++) {
        assert_int_equal(gathering->applies[i].err, OK);
        assert_int_equal(gathering->applies[i].done_count, 1);
    }
    assert_int_equal(state_index(store_state(place->store), 1), GATHERED);
    store_look(place->store, &figures);
    assert_int_equal(figures.state_waiting_bytes, 0);
    assert_int_equal(lane_turn_ns(gathering->lane), UINT64_MAX); /* nothing is left to do */
    lane_desk_close(&gathering->desk);
}

static void what_is_applied_gathers_and_is_given_back_when_it_is_written(void **state)
{
    struct place *place = *state;
    struct gathering gathering;
    gather(place, &gathering, 0);
    assert_int_equal(lane_turn_ns(gathering.lane), SECOND + SECOND / 10);
    assert_false(lane_turn(gathering.lane, SECOND + SECOND / 10 - 1));
    assert_int_equal(gathering.applies[0].err, ERR_COUNT);
    assert_int_equal(state_index(store_state(place->store), 1), 0);
    assert_true(lane_turn(gathering.lane, SECOND + SECOND / 10));
    assert_written(place, &gathering);
}

static struct store *store_read;

static enum err read_state(struct store_apply *apply)
{
    assert_int_equal(state_index(store_state(store_read), (uint8_t)apply->partition), GATHERED);
    return OK;
}

static void who_reads_sees_what_has_gathered(void **state)
{
    struct place *place = *state;
    struct gathering gathering;
    gather(place, &gathering, 0);
    struct apply reading = apply_of(&gathering.machine, 0, 0);
    reading.apply.read = read_state;
    store_read = place->store;
    store_apply(&gathering.desk, &reading.apply);
    assert_true(lane_turn(gathering.lane, SECOND + 1));
    lane_collect(&gathering.desk);
    assert_int_equal(reading.err, OK);
    assert_written(place, &gathering);
}

static void who_closes_does_not_wait_for_what_gathers(void **state)
{
    struct place *place = *state;
    struct gathering gathering;
    gather(place, &gathering, 0);
    store_close_soon(place->store);
    assert_true(lane_turn(gathering.lane, SECOND + 1));
    assert_written(place, &gathering);
}

static void much_that_gathers_is_written_before_its_time(void **state)
{
    struct place *place = *state;
    struct gathering gathering;
    gather(place, &gathering, 50);
    assert_written(place, &gathering);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(all_who_wait_share_one_sync),
        TEST(relaxed_syncs_a_tenth_of_a_second_later),
        TEST(quorum_syncs_a_second_later),
        TEST(what_must_be_durable_is_synced_whatever_the_setting_says),
        TEST(entries_become_state_in_order),
        TEST(what_is_applied_gathers_and_is_given_back_when_it_is_written),
        TEST(who_reads_sees_what_has_gathered),
        TEST(who_closes_does_not_wait_for_what_gathers),
        TEST(much_that_gathers_is_written_before_its_time),
        TEST(too_much_that_waits_is_congestion),
        TEST(an_entry_that_finds_no_memory_is_applied_later),
        TEST(an_entry_that_cannot_be_applied_fences),
        TEST(the_log_is_cut_to_what_is_flushed),
        TEST(what_a_replica_wants_to_keep_is_kept),
        TEST(a_log_left_by_a_crash_is_cut_although_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
