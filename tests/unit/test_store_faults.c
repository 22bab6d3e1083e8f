/*
 * A store on the simulator's disk: what it makes of a disk that fails, fills up, and forgets.
 */
#include "tests/lib/store_place.h"
#include "tests/sim/sim_kv.h"

struct faults {
    struct place *place;
    struct rng rng;
    struct sim_disk *disk;
    struct lane_desk log_desk, state_desk;
    uint64_t now_ns;
};

static int set_up_disk(void **state)
{
    struct faults *faults = calloc(1, sizeof(*faults));
    void *place;
    set_up(&place);
    faults->place = place;
    rng_init(&faults->rng, 7);
    faults->disk = sim_kv_disk_new(faults->place->folder, &faults->rng);
    faults->now_ns = 100 * SECOND;
    *state = faults;
    return 0;
}

static int tear_down_disk(void **state)
{
    struct faults *faults = *state;
    void *place = faults->place;
    close_store(faults->place);
    sim_kv_disk_free(faults->disk);
    free(faults);
    return tear_down(&place);
}

static void begin(struct faults *faults, const struct store_config *config)
{
    open_with(faults->place, config);
    lane_desk_init(&faults->log_desk, store_log_lane(faults->place->store), NULL);
    lane_desk_init(&faults->state_desk, store_state_lane(faults->place->store), NULL);
}

static void end(struct faults *faults)
{
    lane_desk_close(&faults->log_desk);
    lane_desk_close(&faults->state_desk);
    close_store(faults->place);
}

/* Power fails, and the node starts again. */
static void lose_power(struct faults *faults, const struct store_config *config)
{
    sim_kv_crash(faults->disk, SIM_KV_POWER_FAILS);
    end(faults);
    begin(faults, config);
}

static void turn(struct faults *faults, uint64_t after_ns)
{
    faults->now_ns += after_ns;
    lane_turn(store_log_lane(faults->place->store), faults->now_ns);
    lane_turn(store_state_lane(faults->place->store), faults->now_ns);
    lane_collect(&faults->log_desk);
    lane_collect(&faults->state_desk);
}

static uint64_t last_of(struct faults *faults, uint32_t partition)
{
    struct seen seen;
    load(faults->place, partition, &seen);
    return seen.last;
}

static void a_sync_that_fails_ends_it_for_good(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append appends[4];
    begin(faults, &config);
    append_new(&appends[0], 1, 1, 1);
    store_append(&faults->log_desk, &appends[0].append);
    turn(faults, SECOND);
    assert_int_equal(appends[0].err, OK);

    sim_kv_fail(faults->disk, SIM_KV_SYNC, 0, ERR_IO);
    for (uint32_t i = 1; i < 3; i++) {
        append_new(&appends[i], 1, i + 1, 1);
        store_append(&faults->log_desk, &appends[i].append);
    }
    turn(faults, SECOND);
    assert_int_equal(appends[1].err, ERR_IO);
    assert_int_equal(appends[2].err, ERR_IO);
    assert_int_equal(store_admits(faults->place->store), ERR_IO);

    append_new(&appends[3], 1, 4, 1);
    store_append(&faults->log_desk, &appends[3].append); /* the disk would take it */
    turn(faults, 100 * SECOND);
    assert_int_equal(appends[3].err, ERR_IO);
    struct store_figures figures;
    store_look(faults->place->store, &figures);
    assert_int_equal(figures.admits, ERR_IO);
    assert_int_equal(figures.log_waiting_bytes, 0);

    lose_power(faults, &config);
    assert_int_equal(store_admits(faults->place->store), OK);
    assert_true(last_of(faults, 1) >= 1); /* what was acknowledged is there */
    assert_true(last_of(faults, 1) < 4);
    end(faults);
    for (uint32_t i = 0; i < 4; i++) {
        append_free(&appends[i]);
    }
}

static void a_write_that_fails_ends_it_too(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append append;
    begin(faults, &config);
    sim_kv_fail(faults->disk, SIM_KV_WRITE, 0, ERR_CORRUPT);
    append_new(&append, 1, 1, 1);
    store_append(&faults->log_desk, &append.append);
    turn(faults, SECOND);
    assert_int_equal(append.err, ERR_IO);
    assert_int_equal(store_admits(faults->place->store), ERR_IO);
    end(faults);
    append_free(&append);
}

/* What waits while the disk is full is acknowledged later, in order and whole, and not before. */
static void assert_full_disk_recovers(struct faults *faults, enum sim_kv_call call, uint32_t skip)
{
    enum { COUNT = 6 };
    struct store_config config = config_of(faults->place);
    struct append appends[COUNT];
    begin(faults, &config);
    order_next = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        append_new(&appends[i], 1, i + 1, 1);
    }
    store_append(&faults->log_desk, &appends[0].append);
    turn(faults, SECOND);
    assert_int_equal(appends[0].err, OK);

    sim_kv_fail(faults->disk, call, skip, ERR_NO_SPACE);
    for (uint32_t i = 1; i < 4; i++) {
        store_append(&faults->log_desk, &appends[i].append);
    }
    turn(faults, SECOND);
    assert_int_equal(appends[1].err, ERR_COUNT);
    assert_int_equal(store_admits(faults->place->store), ERR_NO_SPACE);
    store_append(&faults->log_desk, &appends[4].append); /* what was admitted a moment before */
    sim_kv_set_free(faults->disk, 0);
    for (int i = 0; i < 20; i++) {
        turn(faults, SECOND / 10);
        assert_int_equal(appends[1].err, ERR_COUNT);
        assert_int_equal(appends[4].err, ERR_COUNT);
    }
    sim_kv_set_free(faults->disk, UINT64_MAX);
    sim_kv_fail(faults->disk, SIM_KV_OPEN, 0, ERR_NO_SPACE); /* even that needs some */
    turn(faults, SECOND / 10);
    assert_int_equal(appends[1].err, ERR_COUNT);
    assert_int_equal(store_admits(faults->place->store), ERR_NO_SPACE);
    turn(faults, SECOND / 10);
    assert_int_equal(store_admits(faults->place->store), OK);
    store_append(&faults->log_desk, &appends[5].append);
    turn(faults, SECOND);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(appends[i].err, OK);
        assert_int_equal(appends[i].done_count, 1);
        assert_int_equal(appends[i].order, i);
    }
    lose_power(faults, &config);
    assert_int_equal(last_of(faults, 1), COUNT); /* and raftlog_load found no hole */
    end(faults);
    for (uint32_t i = 0; i < COUNT; i++) {
        append_free(&appends[i]);
    }
}

static void a_disk_found_full_by_a_sync_recovers(void **state)
{
    assert_full_disk_recovers(*state, SIM_KV_SYNC, 0);
}

static void a_disk_found_full_by_the_first_write_recovers(void **state)
{
    assert_full_disk_recovers(*state, SIM_KV_WRITE, 0);
}

static void a_disk_found_full_between_two_writes_recovers(void **state)
{
    assert_full_disk_recovers(*state, SIM_KV_WRITE, 1);
}

static void a_log_that_cannot_be_opened_again_fences(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append append;
    begin(faults, &config);
    sim_kv_fail(faults->disk, SIM_KV_SYNC, 0, ERR_NO_SPACE);
    append_new(&append, 1, 1, 1);
    store_append(&faults->log_desk, &append.append);
    turn(faults, SECOND);
    assert_int_equal(append.err, ERR_COUNT);
    sim_kv_fail(faults->disk, SIM_KV_OPEN, 0, ERR_IO);
    turn(faults, SECOND);
    assert_int_equal(append.err, ERR_IO);
    assert_int_equal(store_admits(faults->place->store), ERR_IO);
    end(faults);
    append_free(&append);
}

static void new_work_is_refused_while_what_was_admitted_still_fits(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append appends[3];
    config.space_free_min = 1000;
    config.space_back_min = 1250;
    begin(faults, &config);
    for (uint32_t i = 0; i < 3; i++) {
        append_new(&appends[i], 1, i + 1, 1);
    }
    sim_kv_set_free(faults->disk, 1000);
    store_append(&faults->log_desk, &appends[0].append);
    turn(faults, SECOND);
    assert_int_equal(store_admits(faults->place->store), OK);
    sim_kv_set_free(faults->disk, 999);
    store_append(&faults->log_desk, &appends[1].append);
    turn(faults, SECOND);
    assert_int_equal(appends[1].err, OK);
    assert_int_equal(store_admits(faults->place->store), ERR_NO_SPACE);
    sim_kv_set_free(faults->disk, 1200); /* a little more is not enough: it would flutter */
    turn(faults, SECOND);
    assert_int_equal(store_admits(faults->place->store), ERR_NO_SPACE);
    sim_kv_set_free(faults->disk, 1250);
    turn(faults, SECOND); /* nobody writes, and it is noticed all the same */
    assert_int_equal(store_admits(faults->place->store), OK);
    store_append(&faults->log_desk, &appends[2].append);
    turn(faults, SECOND);
    assert_int_equal(appends[2].err, OK);
    end(faults);
    for (uint32_t i = 0; i < 3; i++) {
        append_free(&appends[i]);
    }
}

/* The setting says how far down it goes; the way back is as long as by default. */
static void a_little_room_on_a_disk_found_full_is_none(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append append;
    config.space_free_min = 4096;
    begin(faults, &config);
    append_new(&append, 1, 1, 1);
    sim_kv_fail(faults->disk, SIM_KV_WRITE, 0, ERR_NO_SPACE);
    store_append(&faults->log_desk, &append.append);
    sim_kv_set_free(faults->disk, 1 << 20);
    for (int i = 0; i < 20; i++) {
        turn(faults, SECOND / 10);
        assert_int_equal(append.err, ERR_COUNT);
        assert_int_equal(store_admits(faults->place->store), ERR_NO_SPACE);
    }
    sim_kv_set_free(faults->disk, 100 << 20);
    turn(faults, SECOND / 10);
    assert_int_equal(append.err, OK);
    assert_int_equal(store_admits(faults->place->store), OK);
    end(faults);
    append_free(&append);
}

/* Opened again, the log takes some of the space: what is left then decides who is let in. */
static void what_opening_takes_is_not_promised_to_others(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append appends[2];
    config.space_free_min = 1000;
    config.space_back_min = 1250;
    config.durability = STORE_RELAXED;
    begin(faults, &config);
    for (uint32_t i = 0; i < 2; i++) {
        append_new(&appends[i], 1, i + 1, 1);
    }
    store_append(&faults->log_desk, &appends[0].append);
    turn(faults, 0);
    assert_int_equal(appends[0].err, OK); /* and is written once more */
    sim_kv_fail(faults->disk, SIM_KV_WRITE, 0, ERR_NO_SPACE);
    store_append(&faults->log_desk, &appends[1].append);
    turn(faults, 0);
    assert_int_equal(appends[1].err, ERR_COUNT);
    sim_kv_set_free(faults->disk, 1250);
    turn(faults, SECOND / 10);
    assert_int_equal(appends[1].err, OK);
    assert_int_equal(store_admits(faults->place->store), ERR_NO_SPACE);
    sim_kv_set_free(faults->disk, 1250);
    turn(faults, SECOND / 10);
    assert_int_equal(store_admits(faults->place->store), OK);
    end(faults);
    for (uint32_t i = 0; i < 2; i++) {
        append_free(&appends[i]);
    }
}

static void closing_does_not_wait_for_space(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append append;
    begin(faults, &config);
    sim_kv_fail(faults->disk, SIM_KV_SYNC, 0, ERR_NO_SPACE);
    sim_kv_set_free(faults->disk, 0);
    append_new(&append, 1, 1, 1);
    store_append(&faults->log_desk, &append.append);
    turn(faults, SECOND);
    assert_int_equal(append.err, ERR_COUNT);
    store_close_soon(faults->place->store);
    turn(faults, 0);
    assert_int_equal(append.err, ERR_NO_SPACE);
    end(faults);
    append_free(&append);
}

/* ---- answered before it was synced ---------------------------------------------------------- */

enum { AT_ONCE = 0, LATER = 2000 }; /* ms: a sync is due by then in both settings */

/*
 * What was answered and not synced is there after a full disk, with what waited behind it, also after a
 * loss of power: again and again, as the disk draws what it has lost.
 */
static void assert_answered_outlives_a_full_disk(struct faults *faults,
                                                 enum store_durability durability,
                                                 enum sim_kv_call call, uint64_t found_ms)
{
    enum { ROUNDS = 20, ANSWERED = 3, EACH = 5 };
    struct store_config config = config_of(faults->place);
    config.durability = durability;
    begin(faults, &config);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct append appends[EACH];
        struct store *store = faults->place->store;
        for (uint32_t i = 0; i < EACH; i++) {
            append_new(&appends[i], 1, round * EACH + i + 1, 1);
        }
        for (uint32_t i = 0; i < ANSWERED; i++) {
            store_append(&faults->log_desk, &appends[i].append);
            turn(faults, SECOND / 1000);
            assert_int_equal(appends[i].err, OK);
        }
        sim_kv_fail(faults->disk, call, 0, ERR_NO_SPACE);
        if (found_ms == AT_ONCE) {
            store_append(&faults->log_desk, &appends[ANSWERED].append);
        }
        turn(faults, found_ms * (SECOND / 1000));
        assert_int_equal(store_admits(store), ERR_NO_SPACE);
        sim_kv_set_free(faults->disk, 0);
        for (int i = 0; i < 15; i++) {
            turn(faults,
                 SECOND / 10); /* longer than a sync is put off, and no turn is due before */
            assert_int_equal(lane_turn_ns(store_log_lane(store)), faults->now_ns + SECOND / 10);
        }
        if (found_ms != AT_ONCE) {
            store_append(&faults->log_desk, &appends[ANSWERED].append);
        }
        sim_kv_set_free(faults->disk, UINT64_MAX);
        enum sim_kv_call again = round % 4 == ANSWERED ? SIM_KV_SYNC : SIM_KV_WRITE; /* once more */
        sim_kv_fail(faults->disk, again, again == SIM_KV_SYNC ? 0 : round % 4, ERR_NO_SPACE);
        turn(faults, SECOND / 10);
        assert_int_equal(appends[ANSWERED].err, ERR_COUNT);
        assert_int_equal(store_admits(store), ERR_NO_SPACE);
        turn(faults, SECOND / 10);
        assert_int_equal(store_admits(store), OK);
        assert_int_equal(appends[ANSWERED].err, OK);
        store_append(&faults->log_desk, &appends[ANSWERED + 1].append);
        turn(faults, SECOND / 10);
        assert_int_equal(appends[ANSWERED + 1].err, OK);
        turn(faults, 2 * SECOND);
        lose_power(faults, &config);
        assert_int_equal(last_of(faults, 1), (round + 1) * EACH); /* nor did it find a hole */
        for (uint32_t i = 0; i < EACH; i++) {
            append_free(&appends[i]);
        }
    }
    end(faults);
}

static void relaxed_keeps_what_it_answered_when_a_write_finds_the_disk_full(void **state)
{
    assert_answered_outlives_a_full_disk(*state, STORE_RELAXED, SIM_KV_WRITE, AT_ONCE);
}

static void relaxed_keeps_what_it_answered_when_the_sync_finds_the_disk_full(void **state)
{
    assert_answered_outlives_a_full_disk(*state, STORE_RELAXED, SIM_KV_SYNC, LATER);
}

static void quorum_keeps_what_it_answered_when_a_write_finds_the_disk_full(void **state)
{
    assert_answered_outlives_a_full_disk(*state, STORE_QUORUM, SIM_KV_WRITE, AT_ONCE);
}

static void quorum_keeps_what_it_answered_when_handing_over_finds_the_disk_full(void **state)
{
    assert_answered_outlives_a_full_disk(*state, STORE_QUORUM, SIM_KV_SYNC, AT_ONCE);
}

static void quorum_keeps_what_it_answered_when_the_sync_finds_the_disk_full(void **state)
{
    assert_answered_outlives_a_full_disk(*state, STORE_QUORUM, SIM_KV_SYNC, LATER);
}

/* Who has voted in a term, and forgets it, votes again: two leaders. */
static void what_must_be_synced_is_whatever_the_setting(void **state)
{
    const enum store_durability settings[] = {STORE_QUORUM, STORE_RELAXED};
    struct faults *faults = *state;
    struct append append;
    for (uint32_t i = 0; i < 16; i++) { /* what the disk keeps is drawn */
        struct store_config config = config_of(faults->place);
        config.durability = settings[i % 2];
        begin(faults, &config);
        append_new(&append, 1, i + 1, 1);
        append.append.must_sync = true;
        store_append(&faults->log_desk, &append.append);
        turn(faults, 0);
        assert_int_equal(append.err, OK);
        append_free(&append);
        lose_power(faults, &config);
        assert_int_equal(last_of(faults, 1), i + 1);
        end(faults);
    }
}

/* The end does not wait for space, and what was handed in and not answered is given back. */
static void relaxed_ends_on_a_full_disk(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct append appends[2];
    config.durability = STORE_RELAXED;
    begin(faults, &config);
    for (uint32_t i = 0; i < 2; i++) {
        append_new(&appends[i], 1, i + 1, 1);
        store_append(&faults->log_desk, &appends[i].append);
        turn(faults, 0);
        sim_kv_fail(faults->disk, SIM_KV_WRITE, 0, ERR_NO_SPACE);
        sim_kv_set_free(faults->disk, 0);
    }
    assert_int_equal(appends[0].err, OK);
    assert_int_equal(appends[1].err, ERR_COUNT);
    store_close_soon(faults->place->store);
    turn(faults, 0);
    assert_int_equal(appends[1].err, ERR_NO_SPACE);
    end(faults);
    append_free(&appends[0]);
    append_free(&appends[1]);
}

/* Memory for what is not synced has a bound: what lies beyond is synced before it is answered. */
static void what_is_too_much_to_keep_is_synced_at_once(void **state)
{
    enum { BYTES = 5 << 20 };
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct store_figures figures;
    struct append appends[3];
    uint8_t *much = calloc(1, BYTES);
    assert_non_null(much);
    config.durability = STORE_RELAXED;
    begin(faults, &config);
    for (uint32_t i = 0; i < 3; i++) {
        append_new(&appends[i], 1, i + 1, 1);
        kv_batch_put(appends[i].append.batch, slice_text("\x02much"), slice_of(much, BYTES));
        store_append(&faults->log_desk, &appends[i].append);
        turn(faults, 0);
        assert_int_equal(appends[i].err, OK);
        store_look(faults->place->store, &figures);
        assert_int_equal(figures.sync_count, i == 0 ? 0 : 1); /* the third is kept again */
        append_free(&appends[i]);
    }
    lose_power(faults, &config);
    assert_true(last_of(faults, 1) >= 2);
    end(faults);
    free(much);
}

/* The same where many batches are small. */
static void too_many_to_keep_are_synced_at_once(void **state)
{
    enum { COUNT = 4096 };
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct store_figures figures;
    config.durability = STORE_RELAXED;
    begin(faults, &config);
    for (uint32_t i = 0; i <= COUNT; i++) {
        struct append append;
        append_new(&append, 1, i + 1, 1);
        store_append(&faults->log_desk, &append.append);
        turn(faults, 0);
        assert_int_equal(append.err, OK);
        store_look(faults->place->store, &figures);
        assert_int_equal(figures.sync_count, i < COUNT ? 0 : 1);
        append_free(&append);
    }
    end(faults);
}

static void state_that_finds_the_disk_full_is_written_later(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct machine machine = {.partition = 5};
    struct apply applies[3];
    begin(faults, &config);
    sim_kv_fail(faults->disk, SIM_KV_WRITE, 0, ERR_NO_SPACE);
    for (uint32_t i = 0; i < 3; i++) {
        applies[i] = apply_of(&machine, i + 1, 1);
        store_apply(&faults->state_desk, &applies[i].apply);
    }
    turn(faults, SECOND);
    assert_int_equal(applies[0].err, ERR_COUNT);
    assert_int_equal(state_index(store_state(faults->place->store), 5), 0);
    turn(faults, SECOND);
    for (uint32_t i = 0; i < 3; i++) { /* the machine was asked once for each: it asserts that */
        assert_int_equal(applies[i].err, OK);
    }
    assert_int_equal(state_index(store_state(faults->place->store), 5), 3);
    end(faults);
}

/* It is tried again as often as always, not without a pause. */
static void what_gathers_and_finds_the_disk_full_is_written_later(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct machine machine = {.partition = 5};
    struct apply apply = apply_of(&machine, 1, 1);
    config.gather_ns = SECOND;
    begin(faults, &config);
    struct lane *lane = store_state_lane(faults->place->store);
    sim_kv_fail(faults->disk, SIM_KV_WRITE, 0, ERR_NO_SPACE);
    store_apply(&faults->state_desk, &apply.apply);
    turn(faults, SECOND);
    assert_int_equal(lane_turn_ns(lane), faults->now_ns + SECOND); /* not tried yet */
    turn(faults, SECOND);
    assert_int_equal(apply.err, ERR_COUNT);
    assert_int_equal(lane_turn_ns(lane), faults->now_ns + SECOND / 10);
    turn(faults, SECOND / 10);
    assert_int_equal(apply.err, OK);
    assert_int_equal(state_index(store_state(faults->place->store), 5), 1);
    end(faults);
}

static void a_flush_that_fails_cuts_nothing(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct machine machine = {.partition = 5};
    struct append append;
    struct apply apply = apply_of(&machine, 1, 1);
    struct store_figures figures;
    config.flush_bytes = 10;
    begin(faults, &config);
    turn(faults, 0); /* loading begins */
    append_new(&append, 5, 1, 1);
    store_append(&faults->log_desk, &append.append);
    turn(faults, SECOND);
    store_apply(&faults->state_desk, &apply.apply);
    sim_kv_fail(faults->disk, SIM_KV_FLUSH, 0, ERR_NO_SPACE);
    turn(faults, 10 * SECOND);
    assert_int_equal(apply.err, OK);
    store_look(faults->place->store, &figures);
    assert_int_equal(figures.flush_count, 0);
    assert_int_equal(store_admits(faults->place->store), OK);
    turn(faults, SECOND);
    turn(faults, SECOND);
    store_look(faults->place->store, &figures);
    assert_int_equal(figures.flush_count, 1);
    assert_int_equal(figures.cut_count, 0); /* the log lane has done it; that is collected next */
    turn(faults, SECOND);
    assert_int_equal(last_of(faults, 5), 0);
    end(faults);
    append_free(&append);
}

static void a_flush_that_fails_for_good_fences(void **state)
{
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    struct machine machine = {.partition = 5};
    struct append append;
    struct apply apply = apply_of(&machine, 1, 1);
    config.flush_bytes = 10;
    begin(faults, &config);
    turn(faults, 0);
    append_new(&append, 5, 1, 1);
    store_append(&faults->log_desk, &append.append);
    turn(faults, SECOND);
    store_apply(&faults->state_desk, &apply.apply);
    sim_kv_fail(faults->disk, SIM_KV_FLUSH, 0, ERR_IO);
    turn(faults, 10 * SECOND);
    assert_int_equal(store_admits(faults->place->store), ERR_IO);
    lose_power(faults, &config);
    assert_int_equal(last_of(faults, 5), 1);
    end(faults);
    append_free(&append);
}

/* The log always reaches back to what the state has lost: over many crashes at any moment. */
static void no_crash_leaves_a_gap_between_state_and_log(void **state)
{
    enum { LIVES = 300 };
    struct faults *faults = *state;
    struct store_config config = config_of(faults->place);
    uint64_t last[3] = {0}, crash_count = 0;
    config.flush_bytes = 600;
    begin(faults, &config);
    turn(faults, 0);
    for (uint32_t life = 0; life < LIVES; life++) {
        struct machine machines[3];
        uint32_t steps = (uint32_t)(rng_u64(&faults->rng) % 40);
        for (uint32_t p = 0; p < 3; p++) {
            struct seen seen;
            struct raftlog_hard hard = load(faults->place, p, &seen);
            uint64_t applied = state_index(store_state(faults->place->store), (uint8_t)p);
            assert_true(applied >= hard.cut_index);
            assert_true(seen.last == 0 ? hard.cut_index >= last[p] : seen.last >= last[p]);
            uint64_t end_index = seen.last > hard.cut_index ? seen.last : hard.cut_index;
            machines[p] = (struct machine){.partition = p, .index_last = applied};
            for (uint64_t index = applied + 1; index <= end_index; index++) {
                struct apply apply = apply_of(&machines[p], index, 1); /* the replay */
                store_apply(&faults->state_desk, &apply.apply);
                turn(faults, SECOND / 1000);
                assert_int_equal(apply.err, OK);
            }
            last[p] = end_index;
        }
        for (uint32_t step = 0; step < steps; step++) {
            uint32_t p = (uint32_t)(rng_u64(&faults->rng) % 3);
            struct append append;
            struct apply apply = apply_of(&machines[p], last[p] + 1, 1);
            append_new(&append, p, last[p] + 1, 1);
            store_append(&faults->log_desk, &append.append);
            turn(faults, SECOND);
            assert_int_equal(append.err, OK);
            last[p]++;
            store_apply(&faults->state_desk, &apply.apply);
            turn(faults, SECOND);
            assert_int_equal(apply.err, OK);
            append_free(&append);
        }
        crash_count++;
        sim_kv_crash(faults->disk,
                     rng_u64(&faults->rng) % 2 == 0 ? SIM_KV_POWER_FAILS : SIM_KV_PROCESS_ENDS);
        end(faults);
        begin(faults, &config);
        turn(faults, 0);
    }
    assert_int_equal(crash_count, LIVES);
    assert_true(last[0] + last[1] + last[2] > LIVES);
    end(faults);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_disk, tear_down_disk)
    const struct CMUnitTest tests[] = {
        TEST(a_sync_that_fails_ends_it_for_good),
        TEST(a_write_that_fails_ends_it_too),
        TEST(a_disk_found_full_by_a_sync_recovers),
        TEST(a_disk_found_full_by_the_first_write_recovers),
        TEST(a_disk_found_full_between_two_writes_recovers),
        TEST(a_log_that_cannot_be_opened_again_fences),
        TEST(new_work_is_refused_while_what_was_admitted_still_fits),
        TEST(a_little_room_on_a_disk_found_full_is_none),
        TEST(what_opening_takes_is_not_promised_to_others),
        TEST(closing_does_not_wait_for_space),
        TEST(relaxed_keeps_what_it_answered_when_a_write_finds_the_disk_full),
        TEST(relaxed_keeps_what_it_answered_when_the_sync_finds_the_disk_full),
        TEST(what_must_be_synced_is_whatever_the_setting),
        TEST(quorum_keeps_what_it_answered_when_a_write_finds_the_disk_full),
        TEST(quorum_keeps_what_it_answered_when_handing_over_finds_the_disk_full),
        TEST(quorum_keeps_what_it_answered_when_the_sync_finds_the_disk_full),
        TEST(relaxed_ends_on_a_full_disk),
        TEST(what_is_too_much_to_keep_is_synced_at_once),
        TEST(too_many_to_keep_are_synced_at_once),
        TEST(what_gathers_and_finds_the_disk_full_is_written_later),
        TEST(state_that_finds_the_disk_full_is_written_later),
        TEST(a_flush_that_fails_cuts_nothing),
        TEST(a_flush_that_fails_for_good_fences),
        TEST(no_crash_leaves_a_gap_between_state_and_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
