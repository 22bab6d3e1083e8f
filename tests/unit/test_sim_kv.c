/* The simulator's disk: what it may lose, how it fails, and that chance comes from the seed alone. */
#include "tests/sim/sim_kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct rng rng;
static struct sim_disk *disk;
static struct kv *kv;
static struct kv_batch *batch;
static struct kv_failure failure;

static enum err open_map(enum kv_way way)
{
    struct kv_config config = {.folder = "/node1/map", .way = way};
    return kv_open(&config, &kv, &failure);
}

static void begin_with(uint64_t seed, enum kv_way way)
{
    rng_init(&rng, seed);
    disk = sim_kv_disk_new("/node1", &rng);
    batch = kv_batch_new();
    assert_int_equal(open_map(way), OK);
}

static void end_all(void)
{
    kv_batch_free(batch);
    kv_close(kv);
    sim_kv_disk_free(disk);
}

static int begin(void **state)
{
    (void)state;
    begin_with(1, KV_LOGGED);
    return 0;
}

static int end(void **state)
{
    (void)state;
    end_all();
    return 0;
}

static enum err write_number(uint8_t number)
{
    kv_batch_clear(batch);
    kv_batch_put(batch, slice_of(&number, 1), slice_text("value"));
    return kv_write(kv, batch);
}

/* How many numbers there are, from 0 without a hole. */
static uint8_t numbers_there(void)
{
    uint8_t count = 0;
    struct kv_value value;
    while (kv_get(kv, slice_of(&count, 1), &value) == OK) {
        kv_value_free(&value);
        count++;
    }
    struct kv_figures figures;
    kv_look(kv, &figures);
    assert_int_equal(figures.key_count, count);
    return count;
}

/* Two synced, two handed over, two only written, of three ways to lose them. */
static uint32_t what_crashes_leave(enum kv_way way, enum sim_kv_crash crash)
{
    uint32_t seen = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        begin_with(seed, way);
        for (uint8_t i = 0; i < 6; i++) {
            assert_int_equal(write_number(i), OK);
            if (i == 1) {
                assert_int_equal(way == KV_LOGGED ? kv_sync(kv, true) : kv_flush(kv), OK);
            } else if (i == 3 && way == KV_LOGGED) {
                assert_int_equal(kv_sync(kv, false), OK);
            }
        }
        sim_kv_crash(disk, crash);
        kv_close(kv);
        assert_int_equal(open_map(way), OK);
        seen |= 1u << numbers_there();
        end_all();
    }
    return seen;
}

static void a_loss_of_power_leaves_any_moment_since_the_last_sync(void **state)
{
    (void)state;
    uint32_t two_to_six = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6;
    assert_int_equal(what_crashes_leave(KV_LOGGED, SIM_KV_POWER_FAILS), two_to_six);
    assert_int_equal(what_crashes_leave(KV_UNLOGGED, SIM_KV_POWER_FAILS), two_to_six);
}

static void the_end_of_the_process_leaves_what_was_handed_over(void **state)
{
    (void)state;
    uint32_t four_to_six = 1u << 4 | 1u << 5 | 1u << 6;
    assert_int_equal(what_crashes_leave(KV_LOGGED, SIM_KV_PROCESS_ENDS), four_to_six);
    assert_int_equal(what_crashes_leave(KV_UNLOGGED, SIM_KV_PROCESS_ENDS), four_to_six | 3u << 2);
}

static void what_survived_one_crash_survives_the_next(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < 9; i++) {
        assert_int_equal(write_number(i), OK);
    }
    sim_kv_crash(disk, SIM_KV_POWER_FAILS);
    kv_close(kv);
    assert_int_equal(open_map(KV_LOGGED), OK);
    uint8_t there = numbers_there();
    for (int i = 0; i < 20; i++) {
        sim_kv_crash(disk, SIM_KV_POWER_FAILS);
        kv_close(kv);
        assert_int_equal(open_map(KV_LOGGED), OK);
        assert_int_equal(numbers_there(), there);
    }
}

static void a_handle_of_before_the_crash_does_nothing_more(void **state)
{
    (void)state;
    struct kv_value value;
    struct slice key, bytes;
    uint8_t first = 0;
    assert_int_equal(write_number(0), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    assert_int_equal(kv_get(kv, slice_of(&first, 1), &value), OK);
    struct kv_iter *iter = kv_iter_new(kv, (struct slice){0}, (struct slice){0}, false);
    sim_kv_crash(disk, SIM_KV_PROCESS_ENDS);
    struct kv *old = kv;
    assert_int_equal(write_number(1), ERR_IO);
    assert_int_equal(kv_sync(kv, true), ERR_IO);
    assert_true(slice_is(value.bytes, "value"));
    kv_value_free(&value);
    assert_true(kv_iter_next(iter, &key, &bytes));
    assert_int_equal(kv_iter_end(iter), OK);
    assert_int_equal(open_map(KV_LOGGED), OK); /* the lock went with the process */
    kv_close(old);
    assert_int_equal(numbers_there(), 1);
}

static void a_sync_that_fails_is_the_last(void **state)
{
    (void)state;
    assert_int_equal(write_number(0), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    sim_kv_fail(disk, SIM_KV_SYNC, 1, ERR_IO);
    assert_int_equal(write_number(1), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    assert_int_equal(write_number(2), OK);
    assert_int_equal(kv_sync(kv, true), ERR_IO);
    assert_int_equal(kv_sync(kv, true), ERR_IO);
    assert_int_equal(write_number(3), ERR_IO);
    sim_kv_crash(disk, SIM_KV_POWER_FAILS);
    kv_close(kv);
    assert_int_equal(open_map(KV_LOGGED), OK);
    assert_in_range(numbers_there(), 2, 3);
}

static void a_write_and_a_flush_and_a_read_can_fail_too(void **state)
{
    (void)state;
    uint8_t first = 0;
    struct kv_value value;
    end_all();
    begin_with(1, KV_UNLOGGED);
    assert_int_equal(write_number(0), OK);
    sim_kv_fail(disk, SIM_KV_READ, 0, ERR_CORRUPT);
    assert_int_equal(kv_get(kv, slice_of(&first, 1), &value), ERR_CORRUPT);
    assert_int_equal(kv_get(kv, slice_of(&first, 1), &value), OK);
    kv_value_free(&value);
    sim_kv_fail(disk, SIM_KV_FLUSH, 0, ERR_IO);
    assert_int_equal(kv_flush(kv), ERR_IO);
    assert_int_equal(kv_flush(kv), ERR_IO);
    assert_int_equal(kv_reopen(kv, &failure), OK);
    sim_kv_fail(disk, SIM_KV_WRITE, 0, ERR_IO);
    assert_int_equal(write_number(1), ERR_IO);
    assert_int_equal(write_number(1), ERR_IO);
}

static void a_full_disk_refuses_until_there_is_room_and_it_was_reopened(void **state)
{
    (void)state;
    uint64_t free_bytes;
    assert_int_equal(write_number(0), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    sim_kv_set_free(disk, 50);
    assert_int_equal(write_number(1), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    assert_int_equal(write_number(2), OK);
    assert_int_equal(write_number(3), OK);
    assert_int_equal(kv_sync(kv, true), ERR_NO_SPACE);
    assert_int_equal(kv_free_bytes("/node1/map", &free_bytes), OK);
    assert_int_equal(free_bytes, 0);
    sim_kv_set_free(disk, 1000);
    assert_int_equal(write_number(4), ERR_NO_SPACE);
    assert_int_equal(kv_reopen(kv, &failure), OK);
    uint8_t there = numbers_there();
    assert_in_range(there, 2, 4);
    assert_int_equal(write_number(there), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    assert_int_equal(kv_free_bytes("/node1/map", &free_bytes), OK);
    assert_true(free_bytes < 1000);
}

static void an_unlogged_map_goes_on_by_itself_when_there_is_room(void **state)
{
    (void)state;
    end_all();
    begin_with(1, KV_UNLOGGED);
    sim_kv_set_free(disk, 50);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(write_number(i), OK);
    }
    assert_int_equal(kv_flush(kv), ERR_NO_SPACE);
    assert_int_equal(write_number(3), ERR_NO_SPACE);
    assert_int_equal(numbers_there(), 3);
    sim_kv_set_free(disk, 1000);
    assert_int_equal(write_number(3), OK);
    assert_int_equal(kv_flush(kv), OK);
    assert_int_equal(numbers_there(), 4);
}

static void a_bit_turned_over_is_noticed_or_is_not(void **state)
{
    (void)state;
    uint8_t key = 7;
    struct kv_value value;
    for (uint8_t i = 0; i < 9; i++) {
        assert_int_equal(write_number(i), OK);
    }
    assert_false(
        sim_kv_flip(disk, "/node1/map", slice_of(&key, 1), false)); /* not on the disk yet */
    assert_int_equal(kv_sync(kv, true), OK);
    assert_true(sim_kv_flip(disk, "/node1/map", slice_of(&key, 1), false));
    assert_int_equal(kv_get(kv, slice_of(&key, 1), &value), OK);
    assert_false(slice_is(value.bytes, "value"));
    kv_value_free(&value);
    assert_int_equal(kv_verify(kv, &failure), OK);
    assert_true(sim_kv_flip(disk, "/node1/map", slice_of(&key, 1), true));
    assert_int_equal(kv_get(kv, slice_of(&key, 1), &value), ERR_CORRUPT);
    assert_int_equal(kv_verify(kv, &failure), ERR_CORRUPT);
    struct slice name, bytes;
    struct kv_iter *iter = kv_iter_new(kv, (struct slice){0}, (struct slice){0}, false);
    int count = 0;
    while (kv_iter_next(iter, &name, &bytes)) {
        count++;
    }
    assert_int_equal(count, 7);
    assert_int_equal(kv_iter_end(iter), ERR_CORRUPT);
    assert_int_equal(write_number(7), OK); /* written anew, it is whole again */
    assert_int_equal(kv_verify(kv, &failure), OK);
}

static void calls_say_what_they_would_have_cost(void **state)
{
    (void)state;
    sim_kv_set_pace(disk, SIM_KV_SYNC, 1000, 1024);
    assert_int_equal(write_number(0), OK);
    assert_int_equal(sim_kv_take_ns(disk), 0);
    uint64_t bytes = kv_batch_bytes(batch);
    assert_int_equal(kv_sync(kv, true), OK);
    assert_int_equal(sim_kv_take_ns(disk), 1000 + bytes);
    assert_int_equal(sim_kv_take_ns(disk), 0);
    assert_false(kv_is_stalling(kv));
    sim_kv_set_stalling(disk, true);
    assert_true(kv_is_stalling(kv));
}

static uint64_t digest_of(uint64_t seed)
{
    begin_with(seed, KV_LOGGED);
    for (uint8_t i = 0; i < 200; i++) {
        assert_int_equal(write_number(i), OK);
    }
    sim_kv_crash(disk, SIM_KV_POWER_FAILS);
    uint64_t digest = sim_kv_digest(disk);
    end_all();
    return digest;
}

static void the_same_seed_loses_the_same(void **state)
{
    (void)state;
    assert_int_equal(digest_of(5), digest_of(5));
    assert_int_not_equal(digest_of(5), digest_of(6));
}

static void a_disk_is_found_by_the_beginning_of_the_path(void **state)
{
    (void)state;
    struct kv_config config = {.folder = "/node10/map"};
    struct kv *other;
    assert_int_equal(kv_open(&config, &other, &failure), ERR_IO);
    struct sim_disk *second = sim_kv_disk_new("/node10", &rng);
    assert_int_equal(kv_open(&config, &other, &failure), OK);
    assert_int_equal(write_number(0), OK);
    sim_kv_crash(second, SIM_KV_POWER_FAILS);
    kv_close(other);
    sim_kv_disk_free(second);
    assert_int_equal(numbers_there(), 1); /* the other disk's crash was not ours */
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loss_of_power_leaves_any_moment_since_the_last_sync),
        cmocka_unit_test(the_end_of_the_process_leaves_what_was_handed_over),
        STORY(what_survived_one_crash_survives_the_next),
        STORY(a_handle_of_before_the_crash_does_nothing_more),
        STORY(a_sync_that_fails_is_the_last),
        STORY(a_write_and_a_flush_and_a_read_can_fail_too),
        STORY(a_full_disk_refuses_until_there_is_room_and_it_was_reopened),
        STORY(an_unlogged_map_goes_on_by_itself_when_there_is_room),
        STORY(a_bit_turned_over_is_noticed_or_is_not),
        STORY(calls_say_what_they_would_have_cost),
        cmocka_unit_test(the_same_seed_loses_the_same),
        STORY(a_disk_is_found_by_the_beginning_of_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
