#include "core/base/rng.h"
#include "core/pubsub/topic.h"
#include "core/pubsub/trie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SHARD_COUNT = 4 };

struct fixture {
    struct epoch *epoch;
    struct trie *trie;
    struct leaf_set set;
};

static void turn(struct fixture *f)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_quiescent(f->epoch, shard);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_collect(f->epoch, shard);
    }
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->epoch = epoch_new(SHARD_COUNT);
    f->trie = trie_new(f->epoch, SHARD_COUNT, 7);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_online(f->epoch, shard);
    }
    *state = f;
    return f->trie == NULL;
}

static void assert_empty(const struct trie *trie)
{
    struct trie_stats stats;
    trie_stats(trie, &stats);
    assert_int_equal(stats.filter_count, 0);
    assert_int_equal(stats.node_count, 0);
    assert_int_equal(stats.bytes, 0);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_empty(f->trie);
    leaf_set_deinit(&f->set);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_offline(f->epoch, shard);
    }
    trie_free(f->trie);
    epoch_free(f->epoch);
    free(f);
    return 0;
}

static void subscribe(struct fixture *f, uint32_t shard, const char *filter, struct sub *sub)
{
    assert_int_equal(trie_subscribe(f->trie, shard, slice_text(filter), sub), OK);
}

/* How many subscriptions of all shards match; views and bitmap must agree. */
static uint32_t match_count(struct fixture *f, const char *name)
{
    uint32_t count = 0;
    assert_int_equal(trie_match(f->trie, slice_text(name), &f->set), OK);
    for (uint32_t i = 0; i < f->set.count; i++) {
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            struct leaf_view view = leaf_subs(f->set.leaves[i], shard);
            assert_int_equal(view.count > 0, leaf_shards(f->set.leaves[i]) >> shard & 1);
            count += view.count;
        }
    }
    return count;
}

static void a_subscription_is_found_by_its_names(void **state)
{
    static const struct {
        const char *filter, *name;
        bool matches;
    } rows[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"a", "/a", false},
        {"/a", "a", false},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
        {"a//b", "a/x/b", false},
        {"#", "/", true},
        {"#", "$SYS/load", false},
        {"+/load", "$SYS/load", false},
        {"$SYS/#", "$SYS/load", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/+", "$SYS/load", true},
        {"a/#", "a/$b", true},
        {"a/+", "a/$b", true},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sub sub = {.id = 1};
        subscribe(f, i % SHARD_COUNT, rows[i].filter, &sub);
        if (match_count(f, rows[i].name) != rows[i].matches) {
            fail_msg("wrong: filter '%s', name '%s'", rows[i].filter, rows[i].name);
        }
        trie_unsubscribe(f->trie, i % SHARD_COUNT, &sub);
        assert_null(sub.leaf);
        assert_int_equal(match_count(f, rows[i].name), 0);
        assert_empty(f->trie);
        turn(f);
    }
}

static void every_overlapping_filter_is_found_once(void **state)
{
    static const char *const filters[] = {"a/b/c", "a/b/+", "a/+/c", "+/b/c", "+/+/+",
                                          "a/b/#", "a/#",   "#",     "+/#",   "a/b/c/#"};
    enum { COUNT = sizeof(filters) / sizeof(filters[0]) };
    struct fixture *f = *state;
    struct sub subs[COUNT] = {0};
    for (size_t i = 0; i < COUNT; i++) {
        subscribe(f, i % SHARD_COUNT, filters[i], &subs[i]);
    }
    assert_int_equal(match_count(f, "a/b/c"), COUNT);
    assert_int_equal(f->set.count, COUNT);
    assert_int_equal(match_count(f, "a/b"), 4);
    for (size_t i = 0; i < COUNT; i++) {
        trie_unsubscribe(f->trie, i % SHARD_COUNT, &subs[i]);
        assert_int_equal(match_count(f, "a/b/c"), COUNT - i - 1);
    }
}

static void shards_share_a_leaf_but_not_their_arrays(void **state)
{
    struct fixture *f = *state;
    struct sub a = {0}, b = {0}, c = {0};
    subscribe(f, 2, "x/y", &a);
    subscribe(f, 0, "x/y", &b);
    subscribe(f, 2, "x/y", &c);
    assert_int_equal(trie_match(f->trie, slice_text("x/y"), &f->set), OK);
    assert_int_equal(f->set.count, 1);
    struct leaf *leaf = f->set.leaves[0];
    assert_int_equal(leaf_shards(leaf), 0x5);
    assert_int_equal(leaf_subs(leaf, 2).count, 2);
    assert_ptr_equal(leaf_subs(leaf, 0).subs[0], &b);
    assert_int_equal(leaf_subs(leaf, 1).count, 0);

    trie_unsubscribe(f->trie, 2, &a);
    assert_ptr_equal(leaf_subs(leaf, 2).subs[0], &c);
    assert_int_equal(c.index, 0);
    trie_unsubscribe(f->trie, 2, &c);
    assert_int_equal(leaf_shards(leaf), 0x1);
    subscribe(f, 2, "x/y", &c);
    assert_int_equal(leaf_shards(leaf), 0x5);
    trie_unsubscribe(f->trie, 0, &b);
    trie_unsubscribe(f->trie, 2, &c);
    assert_int_equal(match_count(f, "x/y"), 0);
}

static void the_version_tells_caches_of_every_change_of_the_tree(void **state)
{
    struct fixture *f = *state;
    struct sub first = {0}, again = {0}, other_shard = {0};
    uint64_t version = trie_version(f->trie);
    subscribe(f, 0, "x", &first);
    assert_true(trie_version(f->trie) > version);
    version = trie_version(f->trie);
    /* One more of the same shard changes neither tree nor bitmap. */
    subscribe(f, 0, "x", &again);
    assert_int_equal(trie_version(f->trie), version);
    subscribe(f, 1, "x", &other_shard);
    assert_true(trie_version(f->trie) > version);
    version = trie_version(f->trie);
    trie_unsubscribe(f->trie, 0, &again);
    assert_int_equal(trie_version(f->trie), version);
    trie_unsubscribe(f->trie, 1, &other_shard);
    assert_true(trie_version(f->trie) > version);
    version = trie_version(f->trie);
    trie_unsubscribe(f->trie, 0, &first);
    assert_true(trie_version(f->trie) > version);
}

static void a_view_can_be_read_while_its_subscribers_leave(void **state)
{
    struct fixture *f = *state;
    static struct sub subs[1000];
    for (size_t i = 0; i < 1000; i++) {
        subscribe(f, 1, "news", &subs[i]);
    }
    assert_int_equal(trie_match(f->trie, slice_text("news"), &f->set), OK);
    struct leaf *leaf = f->set.leaves[0];
    struct leaf_view view = leaf_subs(leaf, 1);
    assert_int_equal(view.count, 1000);
    for (size_t i = 0; i < 1000; i++) {
        trie_unsubscribe(f->trie, 1, &subs[i]);
        epoch_collect(f->epoch, 1);
        assert_non_null(view.subs[999 - i]); /* until this turn ends */
    }
    assert_int_equal(leaf_shards(leaf), 0);
}

/* Nothing in the walk is recursive; 65535 bytes of slashes are 65536 empty levels. */
static void the_deepest_topic_is_only_long(void **state)
{
    struct fixture *f = *state;
    static uint8_t text[65535];
    struct sub exact = {0}, rest = {0}, top = {0};
    memset(text, '/', sizeof(text));
    struct slice name = slice_of(text, sizeof(text));
    assert_int_equal(trie_subscribe(f->trie, 0, name, &exact), OK);
    subscribe(f, 1, "//#", &rest);
    subscribe(f, 1, "+/+", &top);
    assert_int_equal(trie_match(f->trie, name, &f->set), OK);
    assert_int_equal(f->set.count, 2);
    text[65534] = '#';
    struct sub deep = {0};
    assert_int_equal(trie_subscribe(f->trie, 3, name, &deep), OK);
    text[65534] = 'x';
    assert_int_equal(trie_match(f->trie, name, &f->set), OK);
    assert_int_equal(f->set.count, 2); /* "//#" and the deep one */
    trie_unsubscribe(f->trie, 0, &exact);
    trie_unsubscribe(f->trie, 3, &deep);
    trie_unsubscribe(f->trie, 1, &rest);
    trie_unsubscribe(f->trie, 1, &top);
}

static void a_level_of_65535_bytes_is_one_level(void **state)
{
    struct fixture *f = *state;
    static uint8_t text[65535];
    struct sub sub = {0};
    memset(text, 'x', sizeof(text));
    assert_int_equal(trie_subscribe(f->trie, 0, slice_of(text, sizeof(text)), &sub), OK);
    assert_int_equal(trie_match(f->trie, slice_of(text, sizeof(text)), &f->set), OK);
    assert_int_equal(f->set.count, 1);
    assert_int_equal(trie_match(f->trie, slice_of(text, sizeof(text) - 1), &f->set), OK);
    assert_int_equal(f->set.count, 0);
    trie_unsubscribe(f->trie, 0, &sub);
}

/* O(1) each way: with anything linear this would run for minutes. */
static void a_hundred_thousand_subscribers_hang_on_one_leaf(void **state)
{
    enum { COUNT = 100000 };
    struct fixture *f = *state;
    struct sub *subs = calloc(COUNT, sizeof(subs[0]));
    for (uint32_t i = 0; i < COUNT; i++) {
        subscribe(f, i % 2, "alarm/all", &subs[i]);
    }
    assert_int_equal(match_count(f, "alarm/all"), COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t victim = (uint32_t)((uint64_t)i * 7919 % COUNT); /* 7919 is prime: each once */
        trie_unsubscribe(f->trie, victim % 2, &subs[victim]);
        if (i % 10000 == 0) {
            turn(f);
            assert_int_equal(match_count(f, "alarm/all"), COUNT - i - 1);
        }
    }
    free(subs);
}

/* --- against a list ------------------------------------------------------------------------- */

enum { ORACLE_SUBS = 300, ORACLE_STEPS = 20000, TOPIC_BYTES = 128 };

struct entry {
    struct sub sub; /* first: a sub found by the trie is an entry */
    uint32_t shard, found;
    char filter[TOPIC_BYTES];
};

/* Few words and many levels, so that paths are shared, grow, and die back. */
static void random_topic(struct rng *rng, bool is_filter, char *out)
{
    static const char *const words[] = {"a", "b", "", "$x", "long-level-name-17", "c"};
    uint32_t levels = 1 + rng_below(rng, 5);
    *out = '\0';
    for (uint32_t i = 0; i < levels; i++) {
        uint32_t dice = rng_below(rng, 8);
        strcat(out, i > 0 ? "/" : "");
        if (is_filter && dice == 6) {
            strcat(out, "+");
        } else if (is_filter && dice == 7) {
            strcat(out, "#");
            break;
        } else if (dice >= 6) {
            char number[8]; /* wide nodes: their tables grow and shrink */
            snprintf(number, sizeof(number), "%u", (unsigned)rng_below(rng, 40));
            strcat(out, number);
        } else {
            strcat(out, words[dice]);
        }
    }
    if (*out == '\0') {
        strcpy(out, "a");
    }
}

static void check_against_list(struct fixture *f, struct entry *entries, const char *name)
{
    assert_int_equal(trie_match(f->trie, slice_text(name), &f->set), OK);
    for (uint32_t i = 0; i < f->set.count; i++) {
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            struct leaf_view view = leaf_subs(f->set.leaves[i], shard);
            assert_int_equal(view.count > 0, leaf_shards(f->set.leaves[i]) >> shard & 1);
            for (uint32_t k = 0; k < view.count; k++) {
                struct entry *entry = (struct entry *)view.subs[k];
                assert_int_equal(entry->shard, shard);
                entry->found++;
            }
        }
    }
    for (uint32_t i = 0; i < ORACLE_SUBS; i++) {
        struct entry *entry = &entries[i];
        bool expected = entry->sub.leaf != NULL &&
                        topic_matches(slice_text(entry->filter), slice_text(name));
        if (entry->found != expected) {
            fail_msg("filter '%s' found %u times for '%s'", entry->filter, entry->found, name);
        }
        entry->found = 0;
    }
}

static void the_trie_agrees_with_a_list(void **state)
{
    struct fixture *f = *state;
    struct entry *entries = calloc(ORACLE_SUBS, sizeof(entries[0]));
    const char *text = getenv("TERN_SEED");
    uint64_t seed = text == NULL ? 20261121 : strtoull(text, NULL, 10);
    struct rng rng;
    rng_init(&rng, seed);
    print_message("TERN_SEED=%llu\n", (unsigned long long)seed);
    for (uint32_t step = 0; step < ORACLE_STEPS; step++) {
        struct entry *entry = &entries[rng_below(&rng, ORACLE_SUBS)];
        if (entry->sub.leaf != NULL) {
            trie_unsubscribe(f->trie, entry->shard, &entry->sub);
        } else if (step / 2500 % 2 == 0 || rng_below(&rng, 8) == 0) {
            /* Tides: every other 2500 steps few come and most go. */
            entry->shard = rng_below(&rng, SHARD_COUNT);
            random_topic(&rng, true, entry->filter);
            subscribe(f, entry->shard, entry->filter, &entry->sub);
        }
        char name[TOPIC_BYTES];
        random_topic(&rng, false, name);
        check_against_list(f, entries, name);
        if (rng_below(&rng, 16) == 0) {
            turn(f);
        }
    }
    for (uint32_t i = 0; i < ORACLE_SUBS; i++) {
        if (entries[i].sub.leaf != NULL) {
            trie_unsubscribe(f->trie, entries[i].shard, &entries[i].sub);
        }
    }
    free(entries);
}

#define TRIE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRIE_TEST(a_subscription_is_found_by_its_names),
        TRIE_TEST(every_overlapping_filter_is_found_once),
        TRIE_TEST(shards_share_a_leaf_but_not_their_arrays),
        TRIE_TEST(the_version_tells_caches_of_every_change_of_the_tree),
        TRIE_TEST(a_view_can_be_read_while_its_subscribers_leave),
        TRIE_TEST(the_deepest_topic_is_only_long),
        TRIE_TEST(a_level_of_65535_bytes_is_one_level),
        TRIE_TEST(a_hundred_thousand_subscribers_hang_on_one_leaf),
        TRIE_TEST(the_trie_agrees_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
