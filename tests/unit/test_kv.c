/* What storage/kv.h promises, of whichever map is behind it: this file is built with each. */
#include "core/base/rng.h"
#include "storage/kv.h"
#include "tests/lib/kv_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice none;

static struct house {
    char folder[256], other[256];
    struct kv *kv;
    struct kv_batch *batch;
} house;

static enum err open_as(const char *folder, enum kv_way way, bool must_exist, struct kv **out,
                        struct kv_failure *failure)
{
    struct kv_config config = {.folder = folder, .way = way, .must_exist = must_exist};
    return kv_open(&config, out, failure);
}

static struct kv *opened(const char *folder, enum kv_way way)
{
    struct kv_failure failure = {""};
    struct kv *kv = NULL;
    enum err err = open_as(folder, way, false, &kv, &failure);
    if (err != OK) {
        fprintf(stderr, "%s: %s\n", err_name(err), failure.text);
    }
    assert_int_equal(err, OK);
    return kv;
}

static int begin_way(enum kv_way way)
{
    const char *root = kv_disk_begin();
    snprintf(house.folder, sizeof house.folder, "%s/map", root);
    snprintf(house.other, sizeof house.other, "%s/other", root);
    house.kv = opened(house.folder, way);
    house.batch = kv_batch_new();
    return house.batch == NULL;
}

static int begin(void **state)
{
    (void)state;
    return begin_way(KV_LOGGED);
}

static int begin_unlogged(void **state)
{
    (void)state;
    return begin_way(KV_UNLOGGED);
}

static int end(void **state)
{
    (void)state;
    kv_batch_free(house.batch);
    kv_close(house.kv);
    kv_disk_end();
    return 0;
}

static void put(const char *key, const char *value)
{
    kv_batch_put(house.batch, slice_text(key), slice_text(value));
}

static void write_batch(void)
{
    assert_int_equal(kv_write(house.kv, house.batch), OK);
    kv_batch_clear(house.batch);
}

static void assert_value(struct kv *kv, const char *key, const char *wanted)
{
    struct kv_value value;
    enum err err = kv_get(kv, slice_text(key), &value);
    assert_int_equal(err, wanted == NULL ? ERR_NOT_FOUND : OK);
    if (wanted != NULL) {
        assert_true(slice_is(value.bytes, wanted));
        kv_value_free(&value);
    }
}

/* "a=1 b=2 ": what a walk gives. */
static void walk(struct kv_iter *iter, char out[256])
{
    struct slice key, value;
    size_t count = 0;
    out[0] = '\0';
    while (kv_iter_next(iter, &key, &value)) {
        count += (size_t)snprintf(out + count, 256 - count, "%.*s=%.*s ", (int)key.count, key.data,
                                  (int)value.count, value.data);
    }
}

static void assert_range(const char *from, const char *to, const char *wanted)
{
    char found[256];
    struct kv_iter *iter = kv_iter_new(house.kv, slice_text(from), slice_text(to), false);
    assert_non_null(iter);
    walk(iter, found);
    assert_string_equal(found, wanted);
    assert_int_equal(kv_iter_end(iter), OK);
}

/* ---- reading and writing -------------------------------------------------------------------- */

static void what_was_put_is_there_and_what_was_deleted_is_not(void **state)
{
    (void)state;
    assert_value(house.kv, "a", NULL);
    put("a", "1");
    put("b", "");
    write_batch();
    assert_value(house.kv, "a", "1");
    assert_value(house.kv, "b", "");
    kv_batch_delete(house.batch, slice_text("a"));
    kv_batch_delete(house.batch, slice_text("never there"));
    write_batch();
    assert_value(house.kv, "a", NULL);
    assert_value(house.kv, "b", "");
}

static void a_batch_counts_in_the_order_of_its_calls(void **state)
{
    (void)state;
    put("a", "1");
    put("a", "2");
    kv_batch_delete(house.batch, slice_text("a"));
    put("b", "1");
    put("c", "1");
    kv_batch_delete_range(house.batch, slice_text("a"), slice_text("c"));
    put("b", "2");
    put("a", "3");
    write_batch();
    assert_range("", "", "a=3 b=2 c=1 ");
}

static void a_batch_that_was_cleared_is_empty_and_can_be_used_again(void **state)
{
    (void)state;
    assert_int_equal(kv_batch_bytes(house.batch), 0);
    put("a", "1");
    assert_true(kv_batch_bytes(house.batch) > 0);
    kv_batch_clear(house.batch);
    assert_int_equal(kv_batch_bytes(house.batch), 0);
    write_batch();
    put("b", "1");
    write_batch();
    assert_range("", "", "b=1 ");
}

static void a_batch_stays_the_callers_and_can_be_written_twice(void **state)
{
    (void)state;
    put("a", "1");
    assert_int_equal(kv_write(house.kv, house.batch), OK);
    struct kv_batch *batch = kv_batch_new();
    kv_batch_delete(batch, slice_text("a"));
    assert_int_equal(kv_write(house.kv, batch), OK);
    kv_batch_free(batch);
    assert_value(house.kv, "a", NULL);
    write_batch();
    assert_value(house.kv, "a", "1");
}

static void a_copy_of_a_batch_is_the_same_and_lives_by_itself(void **state)
{
    (void)state;
    put("a", "1");
    put("b", "1");
    write_batch();
    put("c", "1");
    kv_batch_delete(house.batch, slice_text("a"));
    kv_batch_delete_range(house.batch, slice_text("b"), slice_text("c"));
    struct kv_batch *written, *copy = kv_batch_copy(house.batch);
    assert_int_equal(kv_batch_bytes(copy), kv_batch_bytes(house.batch));
    kv_batch_clear(house.batch);
    put("a", "2");
    put("b", "2");
    written = kv_batch_copy(house.batch);
    write_batch();
    assert_int_equal(kv_write(house.kv, copy), OK);
    assert_range("", "", "c=1 ");
    assert_int_equal(kv_write(house.kv, written), OK);
    assert_range("", "", "a=2 b=2 c=1 ");
    kv_batch_free(copy);
    kv_batch_free(written);
}

static void keys_are_bytes_and_sort_as_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0xff, 0x00, 0x7f, 0x80};
    for (size_t i = 0; i < 4; i++) {
        uint8_t key[2] = {'k', bytes[i]};
        kv_batch_put(house.batch, slice_of(key, 2), slice_of(&bytes[i], 1));
    }
    kv_batch_put(house.batch, slice_of("k", 1), none);
    write_batch();
    struct kv_iter *iter = kv_iter_new(house.kv, none, none, true);
    struct slice key, value;
    assert_true(kv_iter_next(iter, &key, &value) && key.count == 1 && value.count == 0);
    assert_true(kv_iter_next(iter, &key, &value) && key.data[1] == 0x00);
    assert_true(kv_iter_next(iter, &key, &value) && key.data[1] == 0x7f);
    assert_true(kv_iter_next(iter, &key, &value) && key.data[1] == 0x80);
    assert_true(kv_iter_next(iter, &key, &value) && key.data[1] == 0xff);
    assert_false(kv_iter_next(iter, &key, &value));
    assert_false(kv_iter_next(iter, &key, &value));
    assert_int_equal(kv_iter_end(iter), OK);
}

static void long_keys_and_values_come_back_whole(void **state)
{
    (void)state;
    enum { KEY_BYTES = 131100, VALUE_BYTES = 3 << 20 };
    uint8_t *bytes = malloc(VALUE_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < VALUE_BYTES; i++) {
        bytes[i] = (uint8_t)(i * 31 >> 3);
    }
    kv_batch_put(house.batch, slice_of(bytes, KEY_BYTES), slice_of(bytes, VALUE_BYTES));
    write_batch();
    assert_int_equal(kv_sync(house.kv, true), OK);
    kv_close(house.kv);
    house.kv = opened(house.folder, KV_LOGGED);
    struct kv_value value;
    assert_int_equal(kv_get(house.kv, slice_of(bytes, KEY_BYTES), &value), OK);
    assert_true(slice_equal(value.bytes, slice_of(bytes, VALUE_BYTES)));
    kv_value_free(&value);
    free(bytes);
}

static void a_range_begins_with_its_first_key_and_ends_before_its_last(void **state)
{
    (void)state;
    for (char key[2] = "a"; key[0] <= 'f'; key[0]++) {
        put(key, "1");
    }
    write_batch();
    assert_range("", "", "a=1 b=1 c=1 d=1 e=1 f=1 ");
    assert_range("b", "d", "b=1 c=1 ");
    assert_range("bb", "dd", "c=1 d=1 ");
    assert_range("e", "", "e=1 f=1 ");
    assert_range("g", "", "");
    assert_range("d", "b", "");
    kv_batch_delete_range(house.batch, slice_text("b"), slice_text("e"));
    kv_batch_delete_range(house.batch, slice_text("f"), slice_text("f"));
    write_batch();
    assert_range("", "", "a=1 e=1 f=1 ");
    assert_value(house.kv, "c", NULL);
}

static void a_walk_sees_its_moment_whatever_is_written_meanwhile(void **state)
{
    (void)state;
    char found[256];
    put("a", "1");
    put("b", "1");
    put("c", "1");
    write_batch();
    struct kv_iter *iter = kv_iter_new(house.kv, none, none, false);
    struct slice key, value;
    assert_true(kv_iter_next(iter, &key, &value));
    put("b", "2");
    put("bb", "2");
    kv_batch_delete_range(house.batch, slice_text("c"), slice_text("d"));
    write_batch();
    assert_int_equal(kv_sync(house.kv, true), OK);
    walk(iter, found);
    assert_string_equal(found, "b=1 c=1 ");
    kv_iter_seek(iter, none);
    walk(iter, found);
    assert_string_equal(found, "a=1 b=1 c=1 ");
    assert_int_equal(kv_iter_end(iter), OK);
    assert_range("", "", "a=1 b=2 bb=2 ");
}

static void a_walk_goes_on_where_it_is_told_within_its_bounds(void **state)
{
    (void)state;
    char found[256];
    for (char key[2] = "a"; key[0] <= 'f'; key[0]++) {
        put(key, "1");
    }
    write_batch();
    struct kv_iter *iter = kv_iter_new(house.kv, slice_text("b"), slice_text("e"), false);
    kv_iter_seek(iter, slice_text("cc"));
    walk(iter, found);
    assert_string_equal(found, "d=1 ");
    kv_iter_seek(iter, slice_text("c"));
    walk(iter, found);
    assert_string_equal(found, "c=1 d=1 ");
    kv_iter_seek(iter, slice_text("a")); /* below its first key */
    walk(iter, found);
    assert_string_equal(found, "b=1 c=1 d=1 ");
    kv_iter_seek(iter, slice_text("f")); /* beyond its last one */
    walk(iter, found);
    assert_string_equal(found, "");
    assert_int_equal(kv_iter_end(iter), OK);
}

/* An iterator may skip files by the first byte of their keys, but for one walk that has only those. */
static void a_walk_finds_all_first_bytes_it_spans_wherever_they_were_flushed(void **state)
{
    (void)state;
    static const char *const keys[] = {"b1", "b2", "a", "c1", "d"};
    for (uint32_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        put(keys[i], "1");
        write_batch();
        assert_int_equal(kv_flush(house.kv), OK);
    }
    assert_range("a", "e", "a=1 b1=1 b2=1 c1=1 d=1 ");
    assert_range("a", "b", "a=1 ");
    assert_range("a", "b2", "a=1 b1=1 ");
    assert_range("b", "c", "b1=1 b2=1 ");
    assert_range("b0", "b2", "b1=1 ");
    assert_range("b3", "d0", "c1=1 d=1 ");
    assert_range("aa", "c", "b1=1 b2=1 ");
    assert_range("c2", "c3", "");
    assert_range("b", "", "b1=1 b2=1 c1=1 d=1 ");
    assert_range("", "", "a=1 b1=1 b2=1 c1=1 d=1 ");
}

static void a_value_stays_while_its_key_is_overwritten(void **state)
{
    (void)state;
    struct kv_value value;
    put("a", "before");
    write_batch();
    assert_int_equal(kv_get(house.kv, slice_text("a"), &value), OK);
    put("a", "after");
    write_batch();
    assert_true(slice_is(value.bytes, "before"));
    kv_value_free(&value);
    assert_value(house.kv, "a", "after");
}

/* ---- what lasts ----------------------------------------------------------------------------- */

static void a_logged_map_that_was_closed_has_everything(void **state)
{
    (void)state;
    put("a", "1");
    write_batch();
    assert_int_equal(kv_sync(house.kv, true), OK);
    put("b", "2");
    write_batch();
    kv_close(house.kv);
    house.kv = opened(house.folder, KV_LOGGED);
    assert_range("", "", "a=1 b=2 ");
    put("c", "3");
    write_batch();
    kv_close(house.kv);
    house.kv = opened(house.folder, KV_LOGGED);
    assert_range("", "", "a=1 b=2 c=3 ");
}

/* Batch number n puts a<n> and b<n>: how many are there, each whole, and none after one that is not. */
static int batches_there(void)
{
    int count = 0;
    struct kv_value value;
    bool has_ended = false;
    for (int n = 0; n < 40; n++) {
        char a[16], b[16];
        snprintf(a, sizeof a, "a%04d", n);
        snprintf(b, sizeof b, "b%04d", n);
        bool has_a = kv_get(house.kv, slice_text(a), &value) == OK;
        if (has_a) {
            kv_value_free(&value);
        }
        bool has_b = kv_get(house.kv, slice_text(b), &value) == OK;
        if (has_b) {
            kv_value_free(&value);
        }
        assert_int_equal(has_a, has_b);
        assert_false(has_a && has_ended);
        has_ended = !has_a;
        count += has_a;
    }
    return count;
}

static void write_batches(int from, int to)
{
    for (int n = from; n < to; n++) {
        char key[16];
        snprintf(key, sizeof key, "a%04d", n);
        put(key, "1");
        snprintf(key, sizeof key, "b%04d", n);
        put(key, "1");
        write_batch();
    }
}

static void a_crash_leaves_what_was_synced_and_whole_batches_in_their_order(void **state)
{
    (void)state;
    int known = 0;
    for (int round = 0; round < 4; round++) {
        write_batches(known, known + 4);
        assert_int_equal(kv_sync(house.kv, round % 2 == 0), OK); /* the system's is enough here */
        write_batches(known + 4, known + 8);
        kv_disk_crash(house.kv, house.folder);
        house.kv = opened(house.folder, KV_LOGGED);
        int there = batches_there();
        assert_in_range(there, known + 4, known + 8);
        known = there;
    }
}

static void a_crash_leaves_what_was_flushed_and_whole_batches_in_their_order(void **state)
{
    (void)state;
    int known = 0;
    for (int round = 0; round < 4; round++) {
        write_batches(known, known + 4);
        assert_int_equal(kv_flush(house.kv), OK);
        write_batches(known + 4, known + 8);
        if (round % 2 == 0) {
            kv_disk_crash(house.kv, house.folder);
        } else {
            kv_close(house.kv);
        }
        house.kv = opened(house.folder, KV_UNLOGGED);
        int there = batches_there();
        assert_in_range(there, known + 4, known + 8);
        known = there;
    }
}

/* Values of 256 keys, changed at random; the map must agree, also after it was closed. */
static void a_thousand_random_changes_agree_with_an_array(void **state)
{
    (void)state;
    struct rng rng;
    uint64_t values[256] = {0}; /* 0: not there */
    rng_init(&rng, 5);
    for (int step = 1; step <= 1000; step++) {
        for (uint64_t i = rng_below(&rng, 4); i < 4; i++) {
            uint8_t key[2] = {'k', (uint8_t)rng_below(&rng, 256)}, to[2] = {'k', 0};
            uint64_t value = rng_u64(&rng) | 1;
            to[1] = (uint8_t)(key[1] + rng_below(&rng, 40)); /* now and then below key: nothing */
            switch (rng_below(&rng, 8)) {
            case 0:
                kv_batch_delete_range(house.batch, slice_of(key, 2), slice_of(to, 2));
                for (uint32_t k = key[1]; k < to[1]; k++) {
                    values[k] = 0;
                }
                break;
            case 1:
            case 2:
                kv_batch_delete(house.batch, slice_of(key, 2));
                values[key[1]] = 0;
                break;
            default:
                kv_batch_put(house.batch, slice_of(key, 2), slice_of(&value, sizeof value));
                values[key[1]] = value;
            }
        }
        write_batch();
        if (step % 250 == 0) {
            kv_close(house.kv);
            house.kv = opened(house.folder, KV_LOGGED);
        }
        if (step % 25 != 0) {
            continue;
        }
        struct kv_iter *iter = kv_iter_new(house.kv, none, none, step % 2 == 0);
        struct slice key, value;
        for (uint32_t k = 0; k < 256; k++) {
            if (values[k] != 0) {
                assert_true(kv_iter_next(iter, &key, &value));
                assert_int_equal(key.data[1], k);
                assert_memory_equal(value.data, &values[k], sizeof values[k]);
            }
        }
        assert_false(kv_iter_next(iter, &key, &value));
        assert_int_equal(kv_iter_end(iter), OK);
    }
}

/* ---- the folder ----------------------------------------------------------------------------- */

static void a_map_that_must_exist_is_not_made(void **state)
{
    (void)state;
    struct kv_failure failure = {""};
    struct kv *kv = NULL;
    assert_int_equal(open_as(house.other, KV_LOGGED, true, &kv, &failure), ERR_NOT_FOUND);
    assert_non_null(strstr(failure.text, house.other));
    assert_null(kv);
    assert_int_equal(open_as(house.other, KV_LOGGED, true, &kv, &failure), ERR_NOT_FOUND);
    kv_close(opened(house.other, KV_LOGGED));
    assert_int_equal(open_as(house.other, KV_LOGGED, true, &kv, &failure), OK);
    kv_close(kv);
}

static void a_map_is_open_once(void **state)
{
    (void)state;
    struct kv_failure failure = {""};
    struct kv *kv = NULL;
    for (int i = 0; i < 2; i++) { /* the refusal does not let go of it either */
        assert_int_equal(open_as(house.folder, KV_LOGGED, false, &kv, &failure), ERR_BUSY);
        assert_non_null(strstr(failure.text, house.folder));
        assert_null(kv);
    }
    put("a", "1");
    write_batch();
    assert_int_equal(kv_sync(house.kv, true), OK);
    kv_close(house.kv);
    house.kv = opened(house.folder, KV_LOGGED);
    assert_value(house.kv, "a", "1");
}

static void a_map_can_be_reopened_in_place(void **state)
{
    (void)state;
    struct kv_failure failure = {""};
    put("a", "1");
    write_batch();
    assert_int_equal(kv_sync(house.kv, true), OK);
    assert_int_equal(kv_reopen(house.kv, &failure), OK);
    assert_value(house.kv, "a", "1");
    put("b", "2");
    write_batch();
    assert_int_equal(kv_sync(house.kv, true), OK);
    assert_range("", "", "a=1 b=2 ");
}

static void a_checkpoint_is_the_map_of_its_moment(void **state)
{
    (void)state;
    struct kv_failure failure = {""};
    put("a", "1");
    write_batch();
    assert_int_equal(kv_checkpoint(house.kv, house.other, &failure), OK);
    put("a", "2");
    put("b", "2");
    write_batch();
    struct kv *copy = opened(house.other, KV_LOGGED);
    assert_value(copy, "a", "1");
    assert_value(copy, "b", NULL);
    kv_close(copy);
    assert_value(house.kv, "a", "2");
    assert_int_equal(kv_checkpoint(house.kv, house.other, &failure), ERR_EXISTS);
    assert_non_null(strstr(failure.text, house.other));
}

static void a_whole_map_is_verified(void **state)
{
    (void)state;
    struct kv_failure failure = {""};
    put("a", "1");
    write_batch();
    assert_int_equal(kv_verify(house.kv, &failure), OK);
    assert_string_equal(failure.text, "");
}

static void figures_say_what_is_there(void **state)
{
    (void)state;
    struct kv_figures figures;
    uint64_t free_bytes = 0;
    write_batches(0, 20);
    assert_int_equal(kv_sync(house.kv, true), OK);
    kv_look(house.kv, &figures);
    assert_int_equal(figures.key_count, 40);
    assert_true(figures.disk_bytes > 0);
    assert_true(figures.memory_bytes > 0);
    assert_true(figures.written_bytes >= 40 * 6);
    assert_false(kv_is_stalling(house.kv));
    assert_int_equal(kv_free_bytes(house.folder, &free_bytes), OK);
    assert_true(free_bytes > 0);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(what_was_put_is_there_and_what_was_deleted_is_not),
        STORY(a_batch_counts_in_the_order_of_its_calls),
        STORY(a_batch_that_was_cleared_is_empty_and_can_be_used_again),
        STORY(a_batch_stays_the_callers_and_can_be_written_twice),
        STORY(a_copy_of_a_batch_is_the_same_and_lives_by_itself),
        STORY(keys_are_bytes_and_sort_as_bytes),
        STORY(long_keys_and_values_come_back_whole),
        STORY(a_range_begins_with_its_first_key_and_ends_before_its_last),
        STORY(a_walk_sees_its_moment_whatever_is_written_meanwhile),
        STORY(a_walk_goes_on_where_it_is_told_within_its_bounds),
        cmocka_unit_test_setup_teardown(
            a_walk_finds_all_first_bytes_it_spans_wherever_they_were_flushed, begin_unlogged, end),
        STORY(a_value_stays_while_its_key_is_overwritten),
        STORY(a_logged_map_that_was_closed_has_everything),
        STORY(a_crash_leaves_what_was_synced_and_whole_batches_in_their_order),
        cmocka_unit_test_setup_teardown(
            a_crash_leaves_what_was_flushed_and_whole_batches_in_their_order, begin_unlogged, end),
        STORY(a_thousand_random_changes_agree_with_an_array),
        STORY(a_map_that_must_exist_is_not_made),
        STORY(a_map_is_open_once),
        STORY(a_map_can_be_reopened_in_place),
        STORY(a_checkpoint_is_the_map_of_its_moment),
        STORY(a_whole_map_is_verified),
        STORY(figures_say_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
