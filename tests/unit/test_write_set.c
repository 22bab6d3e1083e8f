#include "core/base/rng.h"
#include "storage/write_set.h"
#include "tests/lib/kv_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a set, and the map it is of ---------------------------------------------------------------- */

struct desk {
    struct kv *kv;
    struct write_set *set;
};

static struct desk desk_new(void)
{
    struct desk desk;
    assert_int_equal(kv_open(NULL, &desk.kv, NULL), OK);
    desk.set = write_set_new();
    assert_non_null(desk.set);
    return desk;
}

static void desk_free(struct desk *desk)
{
    write_set_free(desk->set);
    kv_close(desk->kv);
}

static void put(struct desk *desk, const char *key, const char *value)
{
    assert_int_equal(write_set_reserve(desk->set, 1, strlen(key) + strlen(value)), OK);
    write_set_put(desk->set, slice_text(key), slice_text(value));
}

static void put_new(struct desk *desk, const char *key, const char *value)
{
    assert_int_equal(write_set_reserve(desk->set, 1, strlen(key) + strlen(value)), OK);
    write_set_put_new(desk->set, slice_text(key), slice_text(value));
}

static void erase(struct desk *desk, const char *key)
{
    assert_int_equal(write_set_reserve(desk->set, 1, strlen(key)), OK);
    write_set_delete(desk->set, slice_text(key));
}

static void erase_range(struct desk *desk, const char *from, const char *to)
{
    write_set_delete_range(desk->set, slice_text(from), slice_text(to));
}

static void write_all(struct desk *desk)
{
    assert_int_equal(write_set_write(desk->set, desk->kv), OK);
    assert_int_equal(write_set_bytes(desk->set), 0);
}

/* "a=1 b=2 " */
static const char *text_of(struct desk *desk)
{
    static char text[512];
    size_t count = 0;
    text[0] = '\0';
    for (size_t i = 0; i < desk->kv->now.count; i++) {
        struct slice key = pair_key(&desk->kv->now.pairs[i]);
        struct slice value = pair_value(&desk->kv->now.pairs[i]);
        count += (size_t)snprintf(text + count, sizeof(text) - count, "%.*s=%.*s ", (int)key.count,
                                  (const char *)key.data, (int)value.count,
                                  (const char *)value.data);
    }
    return text;
}

/* Changes that the map has seen since it was opened. */
static size_t changes_of(struct desk *desk)
{
    return desk->kv->change_count;
}

/* ---- one by one --------------------------------------------------------------------------------- */

static void what_is_new_and_gone_again_never_reaches_the_map(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put_new(&desk, "item", "a message");
    put(&desk, "item", "awaits");
    erase(&desk, "item");
    assert_true(write_set_bytes(desk.set) > 0);
    write_all(&desk);
    assert_int_equal(changes_of(&desk), 0);
    for (uint32_t i = 0; i < 2; i++) { /* however often it comes and goes */
        put_new(&desk, "item", "a message");
        erase(&desk, "item");
        erase(&desk, "item");
    }
    write_all(&desk);
    assert_int_equal(changes_of(&desk), 0);
    put_new(&desk, "item", "another");
    erase(&desk, "item");
    put_new(&desk, "item", "and again");
    write_all(&desk);
    assert_int_equal(changes_of(&desk), 1);
    assert_string_equal(text_of(&desk), "item=and again ");
    desk_free(&desk);
}

static void what_may_have_been_there_is_deleted(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put(&desk, "a", "1");
    put_new(&desk, "b", "2");
    write_all(&desk);
    put(&desk, "a", "3");
    erase(&desk, "a");
    erase(&desk, "b");
    write_all(&desk);
    assert_string_equal(text_of(&desk), "");
    desk_free(&desk);
}

/* A deletion under way is no proof that the map has it no more. */
static void what_is_new_after_a_deletion_in_the_same_set_is_deleted_all_the_same(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put_new(&desk, "a", "1");
    write_all(&desk);
    erase(&desk, "a");
    put_new(&desk, "a", "2");
    erase(&desk, "a");
    write_all(&desk);
    assert_string_equal(text_of(&desk), "");
    desk_free(&desk);
}

static void the_last_value_of_a_key_is_the_one_that_is_written(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put(&desk, "a", "1");
    put(&desk, "a", "a longer one");
    put(&desk, "b", "");
    put(&desk, "a", "short");
    write_all(&desk);
    assert_string_equal(text_of(&desk), "a=short b= ");
    assert_int_equal(changes_of(&desk), 2);
    desk_free(&desk);
}

static void a_range_takes_what_came_before_and_leaves_what_came_after(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put_new(&desk, "s1", "map");
    put_new(&desk, "t", "map");
    write_all(&desk);
    put_new(&desk, "s2", "before");
    put_new(&desk, "s5", "before");
    erase_range(&desk, "s", "t");
    put_new(&desk, "s3", "after");
    put_new(&desk, "s2", "again");
    put_new(&desk, "s4", "after");
    erase(&desk, "s4");
    write_all(&desk);
    assert_string_equal(text_of(&desk), "s2=again s3=after t=map ");
    desk_free(&desk);
}

static void what_the_map_did_not_take_is_written_with_the_next(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put_new(&desk, "a", "1");
    put_new(&desk, "b", "1");
    desk.kv->write_err = ERR_NO_SPACE;
    assert_int_equal(write_set_write(desk.set, desk.kv), ERR_NO_SPACE);
    assert_true(write_set_bytes(desk.set) > 0);
    assert_string_equal(text_of(&desk), "");
    desk.kv->write_err = OK;
    erase(&desk, "a");
    put_new(&desk, "c", "2");
    write_all(&desk);
    assert_string_equal(text_of(&desk), "b=1 c=2 ");
    desk_free(&desk);
}

static void what_is_dropped_is_not_written(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put(&desk, "a", "1");
    erase_range(&desk, "x", "y");
    put(&desk, "b", "2");
    write_set_clear(desk.set);
    assert_int_equal(write_set_bytes(desk.set), 0);
    write_all(&desk);
    assert_int_equal(desk.kv->write_count, 0);
    put(&desk, "c", "3");
    write_all(&desk);
    assert_string_equal(text_of(&desk), "c=3 ");
    desk_free(&desk);
}

static void a_map_sees_its_keys_in_order(void **state)
{
    struct desk desk = desk_new();
    (void)state;
    put(&desk, "b", "");
    put(&desk, "a2", "");
    put(&desk, "a", "");
    put(&desk, "c", "");
    erase(&desk, "b1");
    write_all(&desk);
    assert_false(desk.kv->is_disordered);
    desk_free(&desk);
}

/* ---- by chance ---------------------------------------------------------------------------------- */

enum { SEEDS = 200, STEPS = 600, KEYS = 40, GONE = -1, NAME_BYTES = 16 };

/* What the map is to hold: the value of each key, or GONE. */
struct plain {
    int values[KEYS];
};

static void name_key(uint32_t key, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%c%u", 'a' + (int)(key % 3), key / 3);
}

static int plain_order(uint32_t a, uint32_t b)
{
    char x[NAME_BYTES], y[NAME_BYTES];
    name_key(a, x);
    name_key(b, y);
    return strcmp(x, y);
}

static void some_step(struct desk *desk, struct plain *plain, struct rng *rng)
{
    uint32_t key = (uint32_t)rng_below(rng, KEYS), other = (uint32_t)rng_below(rng, KEYS);
    int value = (int)rng_below(rng, 1000000) >> rng_below(rng, 20);
    char name[NAME_BYTES], end[NAME_BYTES], digits[16];
    name_key(key, name);
    name_key(other, end);
    snprintf(digits, sizeof(digits), "%d", value);
    uint64_t chance = rng_below(rng, 40);
    if (chance == 0) {
        erase_range(desk, name, end);
        for (uint32_t i = 0; i < KEYS; i++) {
            bool is_in = plain_order(key, i) <= 0 && plain_order(i, other) < 0;
            plain->values[i] = is_in ? GONE : plain->values[i];
        }
    } else if (chance < 18) {
        erase(desk, name);
        plain->values[key] = GONE;
    } else if (plain->values[key] == GONE && chance < 36) {
        put_new(desk, name, digits);
        plain->values[key] = value;
    } else {
        put(desk, name, digits);
        plain->values[key] = value;
    }
}

static void check_against(struct desk *desk, const struct plain *plain)
{
    size_t count = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        char name[NAME_BYTES], digits[16];
        struct kv_value value;
        name_key(key, name);
        enum err err = kv_get(desk->kv, slice_text(name), &value);
        assert_int_equal(err, plain->values[key] == GONE ? ERR_NOT_FOUND : OK);
        if (err == OK) {
            snprintf(digits, sizeof(digits), "%d", plain->values[key]);
            assert_true(slice_equal(value.bytes, slice_text(digits)));
            kv_value_free(&value);
            count++;
        }
    }
    assert_int_equal(desk->kv->now.count, count);
}

static void the_map_becomes_what_the_calls_by_themselves_had_made_of_it(void **state)
{
    size_t changes = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct desk desk = desk_new();
        struct plain plain;
        struct rng rng;
        rng_init(&rng, seed);
        for (uint32_t i = 0; i < KEYS; i++) {
            plain.values[i] = GONE;
        }
        for (uint32_t step = 0; step < STEPS; step++) {
            some_step(&desk, &plain, &rng);
            desk.kv->write_err = rng_below(&rng, 2) ? ERR_NO_SPACE : OK;
            if (rng_below(&rng, 30) == 0 && write_set_write(desk.set, desk.kv) == OK) {
                check_against(&desk, &plain);
            }
        }
        desk.kv->write_err = OK;
        write_all(&desk);
        check_against(&desk, &plain);
        changes += changes_of(&desk);
        desk_free(&desk);
    }
    assert_true(changes < SEEDS * STEPS * 3 / 4); /* or nothing came to nothing */
}

/* More than any of its tables begins with, and more than it keeps. */
static void a_set_grows_and_lets_go(void **state)
{
    enum { COUNT = 20000, VALUE = 500 };
    struct desk desk = desk_new();
    static char value[VALUE + 1];
    (void)state;
    memset(value, 'v', VALUE);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            char name[16];
            snprintf(name, sizeof(name), "%u", i);
            put_new(&desk, name, value);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            char name[16];
            snprintf(name, sizeof(name), "%u", i);
            if (i % 1000 != 7) {
                erase(&desk, name);
            }
        }
        assert_true(write_set_bytes(desk.set) >= COUNT * VALUE);
        write_all(&desk);
        assert_int_equal(desk.kv->now.count, COUNT / 1000);
        for (uint32_t i = 7; i < COUNT; i += 1000) {
            char name[16];
            snprintf(name, sizeof(name), "%u", i);
            erase(&desk, name);
        }
        write_all(&desk);
        assert_int_equal(desk.kv->now.count, 0);
    }
    desk_free(&desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_new_and_gone_again_never_reaches_the_map),
        cmocka_unit_test(what_may_have_been_there_is_deleted),
        cmocka_unit_test(what_is_new_after_a_deletion_in_the_same_set_is_deleted_all_the_same),
        cmocka_unit_test(the_last_value_of_a_key_is_the_one_that_is_written),
        cmocka_unit_test(a_range_takes_what_came_before_and_leaves_what_came_after),
        cmocka_unit_test(what_the_map_did_not_take_is_written_with_the_next),
        cmocka_unit_test(what_is_dropped_is_not_written),
        cmocka_unit_test(a_map_sees_its_keys_in_order),
        cmocka_unit_test(the_map_becomes_what_the_calls_by_themselves_had_made_of_it),
        cmocka_unit_test(a_set_grows_and_lets_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
