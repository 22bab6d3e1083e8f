/* The topic cache: what it says is what was put, for that topic and that version, or nothing. */
#include "core/broker/topic_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Leaves are only carried, never looked at: these are none. */
static struct leaf *leaf_number(uintptr_t number)
{
    return (struct leaf *)(number * 8);
}

static struct msg *msg_of(const char *topic)
{
    struct msg *msg = msg_new(&(struct msg_spec){.topic = slice_text(topic)});
    assert_non_null(msg);
    return msg;
}

static void put(struct topic_cache *cache, struct msg *msg, uint64_t version, uintptr_t first,
                uint32_t count)
{
    struct leaf *leaves[64];
    assert_true(count <= 64);
    for (uint32_t i = 0; i < count; i++) {
        leaves[i] = leaf_number(first + i);
    }
    struct topic_match match = {leaves, count, first};
    topic_cache_put(cache, msg, version, &match);
}

static void what_was_put_is_found_for_its_version_alone(void **state)
{
    struct topic_cache cache = {0};
    struct topic_match match = {.leaf_count = 77};
    struct msg *msg = msg_of("plant/1/temp"), *other = msg_of("plant/1/temq");
    (void)state;
    assert_false(topic_cache_find(&cache, msg, 1, &match));
    put(&cache, msg, 1, 40, 3);
    assert_true(topic_cache_find(&cache, msg, 1, &match));
    assert_int_equal(match.leaf_count, 3);
    assert_int_equal(match.shards, 40);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ptr_equal(match.leaves[i], leaf_number(40 + i));
    }
    match.leaf_count = 77;
    assert_false(topic_cache_find(&cache, msg, 2, &match));
    assert_false(topic_cache_find(&cache, other, 1, &match));
    assert_int_equal(match.leaf_count, 77); /* nothing was written */
    topic_cache_deinit(&cache);
    msg_unref(msg);
    msg_unref(other);
}

/* Two topics with one hash: the topic itself decides. */
static void a_hash_alone_is_no_match(void **state)
{
    struct topic_cache cache = {0};
    struct topic_match match;
    struct msg *msg = msg_of("a/b"), *twin = msg_of("x/y");
    (void)state;
    twin->topic_hash = msg->topic_hash;
    put(&cache, msg, 5, 1, 1);
    assert_false(topic_cache_find(&cache, twin, 5, &match));
    put(&cache, twin, 5, 2, 1);
    assert_true(topic_cache_find(&cache, msg, 5, &match)); /* both have their place */
    assert_ptr_equal(match.leaves[0], leaf_number(1));
    assert_true(topic_cache_find(&cache, twin, 5, &match));
    assert_ptr_equal(match.leaves[0], leaf_number(2));
    topic_cache_deinit(&cache);
    msg_unref(msg);
    msg_unref(twin);
}

/* Nobody listens: that is worth knowing too. */
static void that_nothing_matches_is_remembered(void **state)
{
    struct topic_cache cache = {0};
    struct topic_match match;
    struct msg *msg = msg_of("nobody/wants/this");
    (void)state;
    put(&cache, msg, 1, 0, 0);
    assert_true(topic_cache_find(&cache, msg, 1, &match));
    assert_int_equal(match.leaf_count, 0);
    topic_cache_deinit(&cache);
    msg_unref(msg);
}

static void a_slot_is_filled_again_with_more_and_with_less(void **state)
{
    struct topic_cache cache = {0};
    struct topic_match match;
    struct msg *msg = msg_of("plant/1/temp");
    const uint32_t counts[] = {1, 64, 0, 7, 64};
    (void)state;
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        put(&cache, msg, i + 1, 100 * (i + 1), counts[i]);
        assert_true(topic_cache_find(&cache, msg, i + 1, &match));
        assert_int_equal(match.leaf_count, counts[i]);
        for (uint32_t k = 0; k < counts[i]; k++) {
            assert_ptr_equal(match.leaves[k], leaf_number(100 * (i + 1) + k));
        }
    }
    topic_cache_deinit(&cache);
    msg_unref(msg);
}

static void a_topic_too_long_is_not_kept(void **state)
{
    static char text[TOPIC_CACHE_TOPIC_MAX + 2];
    struct topic_cache cache = {0};
    struct topic_match match;
    (void)state;
    memset(text, 'a', TOPIC_CACHE_TOPIC_MAX + 1);
    struct msg *msg = msg_of(text);
    put(&cache, msg, 1, 1, 1);
    assert_false(topic_cache_find(&cache, msg, 1, &match));
    topic_cache_deinit(&cache);
    msg_unref(msg);
}

/* Topics in turn, more than it can hold at first: it grows until all are found, up to its bound. */
static void it_grows_while_topics_push_each_other_out(void **state)
{
    enum { TOPICS = 10000 };
    static struct msg *msgs[TOPICS];
    struct topic_cache cache = {0};
    struct topic_match match;
    uint32_t found = 0;
    (void)state;
    for (uint32_t i = 0; i < TOPICS; i++) {
        char text[32];
        snprintf(text, sizeof(text), "device/%u", i);
        msgs[i] = msg_of(text);
    }
    for (uint32_t round = 0; round < 8; round++) {
        found = 0;
        for (uint32_t i = 0; i < TOPICS; i++) {
            if (topic_cache_find(&cache, msgs[i], 9, &match)) {
                assert_ptr_equal(match.leaves[0], leaf_number(i + 1));
                found++;
            } else {
                put(&cache, msgs[i], 9, i + 1, 1);
            }
        }
    }
    assert_true(found > TOPICS * 9 / 10);
    assert_true(cache.set_count > TOPIC_CACHE_SETS_MIN);
    assert_true(cache.set_count <= TOPIC_CACHE_SETS_MAX);
    topic_cache_deinit(&cache);
    for (uint32_t i = 0; i < TOPICS; i++) {
        msg_unref(msgs[i]);
    }
}

/* When every message brings a new version nothing is pushed out, and nothing grows. */
static void stale_entries_make_room_without_growth(void **state)
{
    struct topic_cache cache = {0};
    struct topic_match match;
    (void)state;
    for (uint32_t i = 1; i <= 20000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "device/%u", i);
        struct msg *msg = msg_of(text);
        put(&cache, msg, i, 1, 1);
        assert_true(topic_cache_find(&cache, msg, i, &match));
        msg_unref(msg);
    }
    assert_int_equal(cache.set_count, TOPIC_CACHE_SETS_MIN);
    topic_cache_deinit(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_for_its_version_alone),
        cmocka_unit_test(a_hash_alone_is_no_match),
        cmocka_unit_test(that_nothing_matches_is_remembered),
        cmocka_unit_test(a_slot_is_filled_again_with_more_and_with_less),
        cmocka_unit_test(a_topic_too_long_is_not_kept),
        cmocka_unit_test(it_grows_while_topics_push_each_other_out),
        cmocka_unit_test(stale_entries_make_room_without_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
