#include "core/base/map.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct entry {
    char key[24];
    bool is_in, was_seen;
};

static struct slice key_of(const void *value)
{
    return slice_text(((const struct entry *)value)->key);
}

static struct entry entry_named(const char *key)
{
    struct entry entry = {.is_in = false};
    snprintf(entry.key, sizeof(entry.key), "%s", key);
    return entry;
}

static void what_was_put_is_found_and_nothing_else(void **state)
{
    struct map *map = map_new(key_of, 7);
    struct entry a = entry_named("a"), empty = entry_named("");
    (void)state;
    assert_null(map_get(map, slice_text("a")));
    assert_int_equal(map_put(map, &a), OK);
    assert_int_equal(map_put(map, &empty), OK); /* the empty key is a key */
    assert_ptr_equal(map_get(map, slice_text("a")), &a);
    assert_ptr_equal(map_get(map, slice_of(NULL, 0)), &empty);
    assert_null(map_get(map, slice_text("ab")));
    assert_int_equal(map_count(map), 2);
    map_free(map);
}

static void a_second_value_with_the_same_key_is_refused(void **state)
{
    struct map *map = map_new(key_of, 7);
    struct entry first = entry_named("same"), second = entry_named("same");
    (void)state;
    assert_int_equal(map_put(map, &first), OK);
    assert_int_equal(map_put(map, &second), ERR_EXISTS);
    assert_ptr_equal(map_get(map, slice_text("same")), &first);
    assert_int_equal(map_count(map), 1);
    map_free(map);
}

static void removing_gives_the_value_back_once(void **state)
{
    struct map *map = map_new(key_of, 7);
    struct entry a = entry_named("a");
    (void)state;
    assert_null(map_remove(map, slice_text("a")));
    assert_int_equal(map_put(map, &a), OK);
    assert_ptr_equal(map_remove(map, slice_text("a")), &a);
    assert_null(map_remove(map, slice_text("a")));
    assert_int_equal(map_count(map), 0);
    assert_int_equal(map_put(map, &a), OK);
    assert_ptr_equal(map_get(map, slice_text("a")), &a);
    map_free(map);
}

static void a_walk_that_removes_sees_each_value_exactly_once(void **state)
{
    enum { COUNT = 1000 };
    struct map *map = map_new(key_of, 3);
    struct entry *entries = calloc(COUNT, sizeof(*entries));
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        snprintf(entries[i].key, sizeof(entries[i].key), "k%d", i);
        assert_int_equal(map_put(map, &entries[i]), OK);
    }
    uint64_t cursor = 0;
    uint32_t seen = 0;
    for (struct entry *entry; (entry = map_next(map, &cursor)) != NULL; seen++) {
        assert_false(entry->was_seen);
        entry->was_seen = true;
        if (seen % 2 == 0) {
            assert_ptr_equal(map_remove(map, slice_text(entry->key)), entry);
        }
    }
    assert_int_equal(seen, COUNT);
    assert_int_equal(map_count(map), COUNT / 2);
    assert_null(map_next(map, &cursor));
    free(entries);
    map_free(map);
}

static void a_map_and_a_plain_array_agree_for_ever(void **state)
{
    enum { COUNT = 3000, STEPS = 400000 };
    struct rng rng;
    struct map *map = map_new(key_of, 11);
    struct entry *entries = calloc(COUNT, sizeof(*entries));
    uint32_t count = 0, range = COUNT;
    (void)state;
    rng_init(&rng, 2);
    for (int i = 0; i < COUNT; i++) {
        snprintf(entries[i].key, sizeof(entries[i].key), "client-%d", i);
    }
    for (int step = 0; step < STEPS; step++) {
        if (step % 20000 == 0) { /* tides: the table grows, drains and shrinks */
            range = 1 + (uint32_t)rng_below(&rng, COUNT);
        }
        struct entry *entry = &entries[rng_below(&rng, COUNT)];
        bool put = (uint32_t)(entry - entries) < range && rng_below(&rng, 3) != 0;
        if (put) {
            assert_int_equal(map_put(map, entry), entry->is_in ? ERR_EXISTS : OK);
            count += !entry->is_in;
            entry->is_in = true;
        } else {
            assert_ptr_equal(map_remove(map, slice_text(entry->key)), entry->is_in ? entry : NULL);
            count -= entry->is_in;
            entry->is_in = false;
        }
        assert_int_equal(map_count(map), count);
        const struct entry *other = &entries[rng_below(&rng, COUNT)];
        assert_ptr_equal(map_get(map, slice_text(other->key)), other->is_in ? other : NULL);
    }
    uint64_t cursor = 0;
    while (map_next(map, &cursor) != NULL) {
        count--;
    }
    assert_int_equal(count, 0);
    free(entries);
    map_free(map);
}

/* Partitions depend on it: these numbers may never change (XXH3_64bits, seed 0). */
static void the_hash_of_the_node_is_the_published_one(void **state)
{
    (void)state;
    assert_true(hash_bytes(slice_of(NULL, 0)) == 0x2d06800538d394c2);
    assert_true(hash_bytes(slice_text("a")) == 0xe6c632b61e964e1f);
    assert_true(hash_bytes(slice_text("abc")) == 0x78af5f94892f3950);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_and_nothing_else),
        cmocka_unit_test(a_second_value_with_the_same_key_is_refused),
        cmocka_unit_test(removing_gives_the_value_back_once),
        cmocka_unit_test(a_walk_that_removes_sees_each_value_exactly_once),
        cmocka_unit_test(a_map_and_a_plain_array_agree_for_ever),
        cmocka_unit_test(the_hash_of_the_node_is_the_published_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
