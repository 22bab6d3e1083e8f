/*
 * Who leads a partition tells others what it routes to, over links that break, while filters come and go,
 * leaders change and nodes lose their leases: a run for each seed.
 */
#include "cluster/route_hear.h"
#include "cluster/route_tell.h"
#include "core/base/assert.h"
#include "core/base/map.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3, FILTERS = 40, FRAMES_MAX = 4096, WAITS_MAX = 4096, PARTITION = 5 };

struct wait {
    uint32_t node, filter, went; /* how often the filter had gone by then */
    bool is_told;
};

struct frame {
    uint32_t from, to, count;
    bool is_seen; /* route_hear's answer */
    uint8_t *bytes;
};

static struct world {
    struct rng rng;
    uint64_t now_ms, term;
    uint32_t leader;
    struct node {
        uint32_t id;
        struct route_tell *tell;
        struct route_hear *hear;
        uint8_t count[FILTERS]; /* subscriptions, while it leads */
        uint32_t went[FILTERS];
        bool is_marked[FILTERS], is_fresh[FILTERS], is_live;
    } nodes[NODES + 1];
    bool is_cut[NODES + 1][NODES + 1];
    struct frame frames[FRAMES_MAX];
    uint32_t frame_count;
    struct wait waits[WAITS_MAX];
    uint32_t wait_count, told_count;
    uint64_t seed;
} * world;

static const char *name_of(uint32_t filter)
{
    static char names[FILTERS][16];
    snprintf(names[filter], sizeof(names[filter]), "filter/%u", filter);
    return names[filter];
}

static uint32_t number_of(struct slice filter)
{
    uint32_t number = 0;
    assert_true(slice_starts_with(filter, slice_text("filter/")));
    for (size_t i = 7; i < filter.count; i++) {
        number = number * 10 + filter.data[i] - '0';
    }
    assert_true(number < FILTERS);
    return number;
}

/* ---- a node's shard ------------------------------------------------------------------------- */

static enum err frame_send(const struct node *node, uint32_t to, bool is_seen, struct slice body)
{
    if (world->is_cut[node->id][to]) {
        return ERR_UNAVAILABLE;
    }
    assert_true(world->frame_count < FRAMES_MAX);
    uint8_t *bytes = malloc(body.count);
    memcpy(bytes, body.data, body.count);
    world->frames[world->frame_count++] = (struct frame){node->id, to, (uint32_t)body.count,
                                                         is_seen, bytes};
    return OK;
}

static enum err on_tell(void *context, uint32_t to, uint32_t partition, struct slice body)
{
    assert_int_equal(partition, PARTITION);
    return frame_send(context, to, false, body);
}

static enum err on_say(void *context, uint32_t to, uint32_t partition, struct slice body)
{
    assert_int_equal(partition, PARTITION);
    return frame_send(context, to, true, body);
}

static uint64_t on_waiting(void *context, uint32_t to)
{
    (void)context, (void)to;
    return rng_below(&world->rng, 3) == 0 ? ROUTE_AHEAD_BYTES : 0;
}

static bool on_next(void *context, uint32_t partition, uint64_t *cursor, struct slice *filter)
{
    const struct node *node = context;
    (void)partition;
    while (*cursor < FILTERS && node->count[*cursor] == 0) {
        ++*cursor;
    }
    if (*cursor == FILTERS) {
        return false;
    }
    *filter = slice_text(name_of((uint32_t)(*cursor)++));
    return true;
}

static uint64_t on_digest(void *context, uint32_t partition)
{
    const struct node *node = context;
    bool leads = world->leader == node->id;
    uint64_t digest = 0;
    (void)partition;
    for (uint32_t i = 0; i < FILTERS; i++) {
        bool is_there = leads ? node->count[i] > 0 : node->is_marked[i];
        digest ^= is_there ? hash_bytes(slice_text(name_of(i))) : 0;
    }
    return digest;
}

static enum err on_put(void *context, uint32_t partition, struct slice filter)
{
    struct node *node = context;
    (void)partition;
    if (rng_below(&world->rng, 200) == 0) {
        return ERR_NOMEM;
    }
    node->is_marked[number_of(filter)] = node->is_fresh[number_of(filter)] = true;
    return OK;
}

static void on_drop(void *context, uint32_t partition, struct slice filter)
{
    struct node *node = context;
    (void)partition;
    node->is_marked[number_of(filter)] = false;
}

static void on_renew(void *context, uint32_t partition)
{
    struct node *node = context;
    (void)partition;
    memset(node->is_fresh, 0, sizeof(node->is_fresh));
}

static void on_renewed(void *context, uint32_t partition)
{
    struct node *node = context;
    (void)partition;
    for (uint32_t i = 0; i < FILTERS; i++) {
        node->is_marked[i] = node->is_marked[i] && node->is_fresh[i];
    }
}

/* ---- what happens --------------------------------------------------------------------------- */

/* Whoever is live then, and no leader, routes to it: until it goes again. */
static void on_known(void *context, enum err err)
{
    struct wait *wait = context;
    assert_false(wait->is_told);
    wait->is_told = true;
    world->told_count++;
    if (err != OK || world->nodes[wait->node].went[wait->filter] != wait->went) {
        return;
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        const struct node *node = &world->nodes[i];
        if (i != wait->node && node->is_live && !node->is_marked[wait->filter]) {
            fail_msg("seed %llu: node %u does not route to filter %u of node %u",
                     (unsigned long long)world->seed, i, wait->filter, wait->node);
        }
    }
}

static void subscribe(void)
{
    struct node *node = &world->nodes[world->leader];
    uint32_t filter = (uint32_t)rng_below(&world->rng, FILTERS);
    if (world->leader == 0) {
        return;
    }
    node->count[filter]++;
    if (node->count[filter] == 1) {
        route_tell_change(node->tell, PARTITION, slice_text(name_of(filter)), true);
    }
    assert_true(world->wait_count < WAITS_MAX);
    struct wait *wait = &world->waits[world->wait_count++];
    *wait = (struct wait){.node = node->id, .filter = filter, .went = node->went[filter]};
    enum err err = route_tell_await(node->tell, PARTITION, on_known, wait);
    if (err != ERR_AGAIN) {
        on_known(wait, err);
    }
}

static void unsubscribe(void)
{
    struct node *node = &world->nodes[world->leader];
    uint32_t filter = (uint32_t)rng_below(&world->rng, FILTERS);
    if (world->leader == 0 || node->count[filter] == 0) {
        return;
    }
    node->count[filter]--;
    if (node->count[filter] == 0) {
        node->went[filter]++;
        route_tell_change(node->tell, PARTITION, slice_text(name_of(filter)), false);
    }
}

/* The new one has loaded what the old one had, or some of it: sessions that lasted. */
static void lead(uint32_t id)
{
    struct node *old = &world->nodes[world->leader], *node = &world->nodes[id];
    uint8_t kept[FILTERS];
    memcpy(kept, old->count, sizeof(kept));
    if (world->leader != 0) {
        route_tell_give_up(old->tell, PARTITION);
        for (uint32_t i = 0; i < FILTERS; i++) {
            old->is_marked[i] = old->is_marked[i] || old->count[i] > 0;
            old->went[i]++;
            old->count[i] = 0;
        }
    }
    world->leader = id;
    world->term++;
    memset(node->is_marked, 0, sizeof(node->is_marked));
    for (uint32_t i = 0; i < FILTERS; i++) {
        node->count[i] = rng_below(&world->rng, 3) > 0 ? kept[i] : 0;
    }
    route_hear_lead(node->hear, PARTITION, world->term);
    route_tell_lead(node->tell, PARTITION, world->term);
}

static void deliver_one(void)
{
    if (world->frame_count == 0) {
        return;
    }
    struct frame picked = world->frames[rng_below(&world->rng, world->frame_count)];
    uint32_t at = 0;
    while (world->frames[at].from != picked.from || world->frames[at].to != picked.to) {
        at++;
    }
    struct frame frame = world->frames[at];
    world->frame_count--;
    memmove(&world->frames[at], &world->frames[at + 1], (world->frame_count - at) * sizeof(frame));
    struct slice body = slice_of(frame.bytes, frame.count);
    struct node *to = &world->nodes[frame.to];
    enum err err = frame.is_seen ? route_tell_seen(to->tell, frame.from, body)
                                 : route_hear(to->hear, frame.from, body);
    assert_int_equal(err, OK);
    free(frame.bytes);
}

static void cut(uint32_t a, uint32_t b, bool is_cut)
{
    uint32_t kept = 0;
    world->is_cut[a][b] = world->is_cut[b][a] = is_cut;
    for (uint32_t i = 0; i < world->frame_count; i++) {
        struct frame frame = world->frames[i];
        if ((frame.from == a && frame.to == b) || (frame.from == b && frame.to == a)) {
            free(frame.bytes);
        } else {
            world->frames[kept++] = frame;
        }
    }
    world->frame_count = kept;
    route_tell_link(world->nodes[a].tell, b, !is_cut);
    route_tell_link(world->nodes[b].tell, a, !is_cut);
}

static void set_live(uint32_t id, bool is_live)
{
    world->nodes[id].is_live = is_live;
    for (uint32_t i = 1; i <= NODES; i++) {
        if (i != id) {
            assert_int_equal(route_tell_node(world->nodes[i].tell, id, is_live), OK);
            route_tell_link(world->nodes[i].tell, id, !world->is_cut[i][id]);
        }
    }
}

static void time_passes(uint64_t ms)
{
    world->now_ms += ms;
    for (uint32_t i = 1; i <= NODES; i++) {
        route_tell_flush(world->nodes[i].tell, world->now_ms);
    }
}

static void something(void)
{
    uint64_t what = rng_below(&world->rng, 1000);
    if (what < 200) {
        subscribe();
    } else if (what < 350) {
        unsubscribe();
    } else if (what < 700) {
        deliver_one();
    } else if (what < 710) {
        lead(1 + (uint32_t)rng_below(&world->rng, NODES));
    } else if (what < 730) {
        uint32_t a = 1 + (uint32_t)rng_below(&world->rng, NODES);
        cut(a, 1 + a % NODES, rng_below(&world->rng, 2) == 0);
    } else if (what < 740) {
        set_live(1 + (uint32_t)rng_below(&world->rng, NODES), rng_below(&world->rng, 3) > 0);
    } else {
        time_passes(rng_below(&world->rng, 100));
    }
}

static void run(uint64_t seed)
{
    world = calloc(1, sizeof(*world));
    world->seed = seed;
    rng_init(&world->rng, seed);
    for (uint32_t i = 1; i <= NODES; i++) {
        struct node *node = &world->nodes[i];
        node->id = i;
        node->tell = route_tell_new(
            &(struct route_tell_host){on_tell, on_waiting, on_next, on_digest, node});
        node->hear = route_hear_new(&(struct route_hear_host){on_say, on_put, on_drop, on_renew,
                                                              on_renewed, on_digest, node});
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        set_live(i, true);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        something();
    }
    for (uint32_t a = 1; a <= NODES; a++) {
        cut(a, 1 + a % NODES, false);
        set_live(a, true);
    }
    if (world->leader == 0) {
        lead(1);
    }
    for (uint32_t i = 0; i < 100; i++) {
        if (i == 50) { /* a mistake of ours: the check finds it */
            bool *mark = &world->nodes[1 + world->leader % NODES].is_marked[0];
            *mark = !*mark;
        }
        time_passes(100);
        while (world->frame_count > 0) {
            deliver_one();
        }
    }
    assert_int_equal(world->told_count, world->wait_count);
    for (uint32_t i = 1; i <= NODES; i++) {
        const struct node *node = &world->nodes[i];
        if (i != world->leader) {
            assert_true(on_digest(&world->nodes[i], PARTITION) ==
                        on_digest(&world->nodes[world->leader], PARTITION));
        }
        assert_true(route_hear_is_complete(node->hear, PARTITION, world->term));
        route_tell_free(node->tell);
        route_hear_free(node->hear);
    }
    free(world);
}

static uint64_t number_of_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* TERN_SEED, TERN_RUNS: others, and more of them. */
static void who_subscribed_is_routed_to_by_all_who_serve_publishers(void **state)
{
    (void)state;
    uint64_t seed = number_of_environment("TERN_SEED", 1);
    uint64_t runs = number_of_environment("TERN_RUNS", 40);
    for (uint64_t i = 0; i < runs; i++) {
        run(seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_subscribed_is_routed_to_by_all_who_serve_publishers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
