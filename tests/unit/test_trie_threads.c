/*
 * Shards on threads of their own subscribe, unsubscribe and match at once.
 *
 * Every filter may be held by every shard. A holding (filter, shard) counts its own changes: even
 * numbers are at rest, odd ones in between. A matcher notes the numbers, matches, and looks again:
 * what was held at rest all the while must have been found, and what was off at rest must not.
 *
 * TERN_SEED replays the choices (not the interleaving), TERN_SECONDS makes it longer.
 */
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "core/pubsub/topic.h"
#include "core/pubsub/trie.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { SHARD_COUNT = 4, FILTER_COUNT = 160, NAME_COUNT = 64, TOPIC_BYTES = 96, TWINS = 3 };

struct holding {
    struct sub subs[TWINS]; /* the owner's; more than one of a shard on one leaf */
    uint32_t held;          /* the owner's: how many of them hang */
    /* 4n: off, 4n+1: coming, 4n+2: on, 4n+3: going */
    _Atomic uint64_t changes;
    _Atomic(struct leaf *) leaf; /* while on; stored before changes says so */
};

struct world {
    struct epoch *epoch;
    struct trie *trie;
    char filters[FILTER_COUNT][TOPIC_BYTES], names[NAME_COUNT][TOPIC_BYTES];
    bool matches[NAME_COUNT][FILTER_COUNT];
    struct holding holdings[FILTER_COUNT][SHARD_COUNT];
    uint64_t seed;
    _Atomic bool is_over;
    _Atomic uint64_t match_count, change_count, cache_hits, sure_hits, sure_misses;
};

/* On these threads ASSERT(), which ends the process: cmocka's checks are for the main thread. */

/* One thread's notes of one match. */
struct matcher {
    struct world *world;
    uint32_t shard;
    struct rng rng;
    struct leaf_set set, cached[NAME_COUNT];
    uint64_t cached_version[NAME_COUNT]; /* 1 + the version, 0: none */
    uint64_t before[FILTER_COUNT][SHARD_COUNT];
};

static uint64_t changes_of(const struct holding *holding)
{
    return atomic_load_explicit(&holding->changes, memory_order_acquire);
}

static void go_on(struct matcher *own, uint32_t filter)
{
    struct holding *holding = &own->world->holdings[filter][own->shard];
    struct slice text = slice_text(own->world->filters[filter]);
    struct sub *sub = &holding->subs[holding->held];

    if (holding->held > 0) { /* a twin: leaf and bitmap are there */
        ASSERT(trie_subscribe(own->world->trie, own->shard, text, sub) == OK);
        ASSERT(sub->leaf == holding->subs[0].leaf);
        holding->held++;
        return;
    }
    atomic_fetch_add_explicit(&holding->changes, 1, memory_order_acq_rel);
    ASSERT(trie_subscribe(own->world->trie, own->shard, text, sub) == OK);
    atomic_store_explicit(&holding->leaf, sub->leaf, memory_order_relaxed);
    holding->held = 1;
    atomic_fetch_add_explicit(&holding->changes, 1, memory_order_release);
}

static void go_off(struct matcher *own, uint32_t filter)
{
    struct holding *holding = &own->world->holdings[filter][own->shard];
    struct sub *sub = &holding->subs[--holding->held];

    if (holding->held > 0) {
        trie_unsubscribe(own->world->trie, own->shard, sub);
        return;
    }
    atomic_fetch_add_explicit(&holding->changes, 1, memory_order_acq_rel);
    trie_unsubscribe(own->world->trie, own->shard, sub);
    atomic_fetch_add_explicit(&holding->changes, 1, memory_order_release);
}

static bool set_has(const struct leaf_set *set, const struct leaf *leaf)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->leaves[i] == leaf) {
            return true;
        }
    }
    return false;
}

/* The shard's own arrays show exactly what it holds: nobody else changes them. */
static void check_own(struct matcher *own, uint32_t name, const struct leaf_set *set)
{
    uint32_t expected = 0, found = 0;
    for (uint32_t filter = 0; filter < FILTER_COUNT; filter++) {
        struct holding *holding = &own->world->holdings[filter][own->shard];
        if (own->world->matches[name][filter]) {
            expected += holding->held;
        }
    }
    for (uint32_t i = 0; i < set->count; i++) {
        struct leaf_view view = leaf_subs(set->leaves[i], own->shard);
        ASSERT((view.count > 0) == (leaf_shards(set->leaves[i]) >> own->shard & 1));
        for (uint32_t k = 0; k < view.count; k++) {
            ASSERT(view.subs[k]->leaf == set->leaves[i]);
            uint32_t filter = view.subs[k]->id;
            ASSERT(own->world->matches[name][filter]);
            found++;
        }
    }
    ASSERT(found == expected);
}

/* What is sure about one filter, given the notes of before; returns whether it may have a leaf. */
static bool check_filter(struct matcher *own, uint32_t filter, const struct leaf_set *set)
{
    bool may_have_leaf = false, has_sure_leaf = false;
    uint64_t off_shards = 0;
    struct leaf *leaf = NULL;

    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        struct holding *holding = &own->world->holdings[filter][shard];
        uint64_t before = own->before[filter][shard];
        struct leaf *held = atomic_load_explicit(&holding->leaf, memory_order_relaxed);
        bool found = before % 4 == 2 && set_has(set, held) && (leaf_shards(held) >> shard & 1);
        if (before != changes_of(holding) || before % 2 == 1) {
            may_have_leaf = true;
            continue;
        }
        if (before % 4 == 0) {
            off_shards |= UINT64_C(1) << shard;
            continue;
        }
        ASSERT(found);
        atomic_fetch_add_explicit(&own->world->sure_hits, 1, memory_order_relaxed);
        leaf = held;
        has_sure_leaf = true;
    }
    if (!has_sure_leaf) {
        return may_have_leaf;
    }
    uint64_t shards = leaf_shards(leaf);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if ((off_shards >> shard & 1) == 0 || (shards >> shard & 1) == 0) {
            continue;
        }
        /* The bit was seen later than `off`: then it has just come. */
        ASSERT(changes_of(&own->world->holdings[filter][shard]) != own->before[filter][shard]);
    }
    return true;
}

static void match_and_check(struct matcher *own, uint32_t name)
{
    struct world *world = own->world;
    uint32_t leaves_max = 0;

    for (uint32_t filter = 0; filter < FILTER_COUNT; filter++) {
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            own->before[filter][shard] = changes_of(&world->holdings[filter][shard]);
        }
    }
    ASSERT(trie_match(world->trie, slice_text(world->names[name]), &own->set) == OK);
    for (uint32_t filter = 0; filter < FILTER_COUNT; filter++) {
        if (world->matches[name][filter]) {
            leaves_max += check_filter(own, filter, &own->set);
        }
    }
    /* Every leaf is that of a filter which somebody holds, or which was changing. */
    ASSERT(own->set.count <= leaves_max);
    check_own(own, name, &own->set);
    atomic_fetch_add_explicit(&world->sure_misses, FILTER_COUNT - leaves_max, memory_order_relaxed);
    atomic_fetch_add_explicit(&world->match_count, 1, memory_order_relaxed);
}

/* As a broker does: leaves found in an earlier turn serve as long as the version stands. */
static void use_cache(struct matcher *own, uint32_t name)
{
    struct leaf_set *cached = &own->cached[name];
    uint64_t version = trie_version(own->world->trie);

    if (own->cached_version[name] == 1 + version) {
        check_own(own, name, cached); /* touches the leaves: freed ones would be noticed */
        atomic_fetch_add_explicit(&own->world->cache_hits, 1, memory_order_relaxed);
        return;
    }
    own->cached_version[name] = 1 + version;
    ASSERT(trie_match(own->world->trie, slice_text(own->world->names[name]), cached) == OK);
}

static void change_something(struct matcher *own)
{
    uint32_t filter = (uint32_t)rng_below(&own->rng, FILTER_COUNT);
    struct holding *holding = &own->world->holdings[filter][own->shard];

    if (holding->held == 0 || (holding->held < TWINS && rng_below(&own->rng, 4) == 0)) {
        go_on(own, filter);
    } else {
        go_off(own, filter);
    }
    atomic_fetch_add_explicit(&own->world->change_count, 1, memory_order_relaxed);
}

static void *run_shard(void *argument)
{
    struct matcher *own = argument;
    struct world *world = own->world;

    epoch_online(world->epoch, own->shard);
    while (!atomic_load_explicit(&world->is_over, memory_order_relaxed)) {
        /* Calm and storm: caches live in one, tables are rebuilt in the other. */
        uint32_t change_count = (uint32_t)rng_below(&own->rng, 8);
        if (rng_below(&own->rng, 4) == 0) {
            for (uint32_t i = 0; i < change_count * change_count; i++) {
                change_something(own);
            }
        }
        for (uint32_t i = 0; i < 4; i++) {
            match_and_check(own, (uint32_t)rng_below(&own->rng, NAME_COUNT));
            use_cache(own, (uint32_t)rng_below(&own->rng, NAME_COUNT / 8));
        }
        if (rng_below(&own->rng, 64) == 0) {
            epoch_offline(world->epoch, own->shard);
            epoch_online(world->epoch, own->shard);
        } else {
            epoch_quiescent(world->epoch, own->shard);
        }
        epoch_collect(world->epoch, own->shard);
    }
    for (uint32_t filter = 0; filter < FILTER_COUNT; filter++) {
        while (world->holdings[filter][own->shard].held > 0) {
            go_off(own, filter);
        }
    }
    epoch_offline(world->epoch, own->shard);
    return NULL;
}

/* Few words, so that names meet many filters; numbers make wide nodes. */
static void make_topic(struct rng *rng, bool is_filter, char *out)
{
    static const char *const words[] = {"a", "b", "c", "", "longer-than-sixteen-bytes"};
    uint32_t levels = 1 + (uint32_t)rng_below(rng, 3);

    *out = '\0';
    for (uint32_t i = 0; i < levels; i++) {
        uint64_t dice = rng_below(rng, 9);
        char number[8];
        strcat(out, i > 0 ? "/" : "");
        if (is_filter && dice == 8) {
            strcat(out, "#");
            return;
        }
        snprintf(number, sizeof(number), "%u", (unsigned)rng_below(rng, 12));
        strcat(out, is_filter && dice >= 6 ? "+" : dice >= 5 ? number : words[dice]);
    }
    if (*out == '\0') {
        strcpy(out, "a");
    }
}

static bool is_new_filter(const struct world *world, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(world->filters[i], world->filters[count]) == 0) {
            return false;
        }
    }
    return true;
}

static void make_world(struct world *world)
{
    struct rng rng;
    rng_init(&rng, world->seed);
    for (uint32_t i = 0; i < FILTER_COUNT; i++) {
        do {
            make_topic(&rng, true, world->filters[i]);
        } while (!is_new_filter(world, i)); /* so that a leaf stands for one filter */
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            for (uint32_t k = 0; k < TWINS; k++) {
                world->holdings[i][shard].subs[k].id = i;
            }
        }
    }
    for (uint32_t i = 0; i < NAME_COUNT; i++) {
        make_topic(&rng, false, world->names[i]);
        for (uint32_t k = 0; k < FILTER_COUNT; k++) {
            world->matches[i][k] = topic_matches(slice_text(world->filters[k]),
                                                 slice_text(world->names[i]));
        }
    }
    world->epoch = epoch_new(SHARD_COUNT);
    world->trie = trie_new(world->epoch, SHARD_COUNT, world->seed);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void sleep_seconds(uint64_t seconds)
{
    struct timespec length = {.tv_sec = (time_t)seconds};
    nanosleep(&length, NULL);
}

static void matchers_and_changers_agree_while_they_run_at_once(void **state)
{
    static struct world world;
    static struct matcher matchers[SHARD_COUNT];
    pthread_t threads[SHARD_COUNT];
    struct trie_stats stats;
    (void)state;

    world.seed = number_from("TERN_SEED", rng_system_seed());
    print_message("TERN_SEED=%llu\n", (unsigned long long)world.seed);
    make_world(&world);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        matchers[shard].world = &world;
        matchers[shard].shard = shard;
        rng_init(&matchers[shard].rng, world.seed + 1 + shard);
        assert_int_equal(pthread_create(&threads[shard], NULL, run_shard, &matchers[shard]), 0);
    }
    sleep_seconds(number_from("TERN_SECONDS", 3)); /* the length of the test, not a wait */
    atomic_store_explicit(&world.is_over, true, memory_order_relaxed);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        pthread_join(threads[shard], NULL);
    }
    print_message("%llu changes, %llu matches, %llu from cache, %llu sure hits, %llu misses\n",
                  (unsigned long long)world.change_count, (unsigned long long)world.match_count,
                  (unsigned long long)world.cache_hits, (unsigned long long)world.sure_hits,
                  (unsigned long long)world.sure_misses);
    assert_true(world.change_count > 0 && world.match_count > 0 && world.sure_hits > 0);
    trie_stats(world.trie, &stats);
    assert_int_equal(stats.filter_count, 0);
    assert_int_equal(stats.node_count, 0);
    assert_int_equal(stats.bytes, 0);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        leaf_set_deinit(&matchers[shard].set);
        for (uint32_t i = 0; i < NAME_COUNT; i++) {
            leaf_set_deinit(&matchers[shard].cached[i]);
        }
    }
    trie_free(world.trie);
    epoch_free(world.epoch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matchers_and_changers_agree_while_they_run_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
