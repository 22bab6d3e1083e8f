/*
 * A partition goes from one node's store to another's, over a link that breaks at any message, and while it
 * is written to: all parts together, on the simulator's disk.
 */
#include "cluster/transfer.h"
#include "core/base/log.h"
#include "tests/lib/image_map.h"
#include "tests/sim/sim_kv.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PARTITION = 7, LEADER = 1, FOLLOWER = 2, NS_PER_MS = 1000000, LETTERS_MAX = 64 };

struct world;

struct node {
    struct world *world;
    uint64_t number;
    char root[64], folder[80];
    struct sim_disk *disk;
    struct store *store;
    struct lane *image_lane;
    struct transfer_host host;
    struct transfer *transfer;
    struct machine *machine; /* that was installed */
    uint32_t installed;
};

struct world {
    struct rng rng;
    uint64_t now_ms;
    struct node nodes[2];
    struct {
        uint64_t peer;
        struct buf bytes;
    } letters[LETTERS_MAX];
    uint32_t letter_count, said, break_at;
};

static void link_break(struct world *world)
{
    while (world->letter_count > 0) {
        buf_deinit(&world->letters[--world->letter_count].bytes);
    }
}

static void send(void *context, uint64_t peer, uint32_t partition, struct slice message)
{
    struct world *world = ((struct node *)context)->world;
    assert_int_equal(partition, PARTITION);
    assert_true(world->letter_count < LETTERS_MAX);
    world->letters[world->letter_count].peer = peer;
    world->letters[world->letter_count].bytes = (struct buf){0};
    assert_int_equal(buf_append(&world->letters[world->letter_count++].bytes, message), OK);
    if (++world->said == world->break_at) {
        link_break(world);
        transfer_up(world->nodes[1].transfer, world->now_ms, LEADER);
    }
}

static bool offers(void *context, uint32_t partition, uint64_t peer, uint64_t index)
{
    (void)partition, (void)peer, (void)index;
    return ((struct node *)context)->number == LEADER;
}

static bool members_at(void *context, uint32_t partition, uint64_t index,
                       struct consensus_members *out)
{
    (void)context, (void)partition, (void)index;
    *out = (struct consensus_members){.index = 1, .count = 1, .rows = {{LEADER, CONSENSUS_VOTER}}};
    return true;
}

static bool accepts(void *context, uint32_t partition, const struct image_head *head,
                    const struct consensus_members *members)
{
    (void)context, (void)partition, (void)head;
    return members->count == 1;
}

static void installed(void *context, uint32_t partition, const struct image_head *head,
                      const struct consensus_members *members, struct machine *machine)
{
    struct node *node = context;
    assert_int_equal(partition, PARTITION);
    assert_int_equal(members->rows[0].id, LEADER);
    assert_int_equal(machine_index(machine), head->index);
    machine_close(node->machine);
    node->machine = machine;
    node->installed++;
}

static void failed(void *context, uint32_t partition, enum err err)
{
    (void)context, (void)partition;
    assert_int_equal(err, OK);
}

static void node_open(struct node *node)
{
    const struct store_config config = {.folder = node->folder, .space_free_min = 1};
    struct kv_failure failure;
    assert_int_equal(store_open(&config, &node->store, &failure), OK);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        store_applied(node->store, i, 0, 0);
    }
    assert_int_equal(image_lane_new(false, &node->image_lane), OK);
    node->host = (struct transfer_host){offers, members_at, accepts, installed, failed, send, node};
    const struct transfer_config transfer = {.store = node->store,
                                             .image_lane = node->image_lane,
                                             .host = &node->host,
                                             .seed = rng_u64(&node->world->rng)};
    assert_int_equal(transfer_new(&transfer, &node->transfer), OK);
}

static void node_close(struct node *node)
{
    transfer_free(node->transfer);
    machine_close(node->machine);
    node->machine = NULL;
    lane_free(node->image_lane);
    store_close(node->store);
}

static struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    log_setup(-1, LOG_LOGFMT, 0);
    rng_init(&world->rng, seed);
    world->now_ms = 1000;
    for (int i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        *node = (struct node){.world = world, .number = LEADER + (uint64_t)i};
        char root[] = "/tmp/tern-transfer-XXXXXX";
        assert_non_null(mkdtemp(root));
        memcpy(node->root, root, sizeof(root));
        snprintf(node->folder, sizeof(node->folder), "%s/data", root);
        node->disk = sim_kv_disk_new(node->folder, &world->rng);
        node_open(node);
    }
    map_apply(store_state(world->nodes[0].store), PARTITION, 1, 12);
    map_fill(store_state(world->nodes[0].store), PARTITION, 1, 4, 200000);
    map_apply(store_state(world->nodes[1].store), PARTITION, 2, 12);
    return world;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void world_free(struct world *world)
{
    link_break(world);
    for (int i = 0; i < 2; i++) {
        node_close(&world->nodes[i]);
        sim_kv_disk_free(world->nodes[i].disk);
        nftw(world->nodes[i].root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    link_break(world);
    free(world);
}

static void deliver(struct world *world)
{
    struct buf bytes = world->letters[0].bytes;
    struct node *to = &world->nodes[world->letters[0].peer - LEADER];
    uint64_t from = world->letters[0].peer == LEADER ? FOLLOWER : LEADER;
    memmove(world->letters, world->letters + 1, --world->letter_count * sizeof(world->letters[0]));
    assert_int_equal(transfer_receive(to->transfer, world->now_ms, from, buf_bytes(&bytes)), OK);
    buf_deinit(&bytes);
}

static void step(struct world *world)
{
    world->now_ms += 10;
    for (int i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        struct lane *lanes[] = {store_log_lane(node->store), store_state_lane(node->store),
                                node->image_lane};
        lane_turn(lanes[rng_below(&world->rng, 3)], world->now_ms * NS_PER_MS);
        transfer_turn(node->transfer, world->now_ms);
    }
    if (world->letter_count > 0) {
        deliver(world);
    }
}

static void run(struct world *world, uint32_t installs)
{
    for (int i = 0; i < 5000 && world->nodes[1].installed < installs; i++) {
        step(world);
    }
    assert_int_equal(world->nodes[1].installed, installs);
}

static void a_partition_goes_over_whatever_message_the_link_breaks_at(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 20; at += 4) {
        struct world *world = world_new(at);
        world->break_at = at;
        struct standing sent = standing_of(store_state(world->nodes[0].store), PARTITION);
        transfer_fetch(world->nodes[1].transfer, world->now_ms, PARTITION, LEADER, 10);
        run(world, 1);
        struct standing got = standing_of(store_state(world->nodes[1].store), PARTITION);
        assert_true(standing_equal(&got, &sent));
        world_free(world);
    }
}

static void a_partition_is_helped_again_and_again_while_it_is_written_to(void **state)
{
    struct world *world = world_new(1);
    struct kv *from = store_state(world->nodes[0].store);
    (void)state;
    for (uint32_t i = 1; i <= 4; i++) {
        struct standing sent = standing_of(from, PARTITION);
        transfer_fetch(world->nodes[1].transfer, world->now_ms, PARTITION, LEADER, sent.index);
        for (int k = 0; k < 20; k++) { /* the image is open by then */
            step(world);
        }
        map_apply(from, PARTITION, 100 + i, 3);
        map_fill(from, PARTITION, 1, 5, 1000 * i);
        run(world, i);
        struct standing got = standing_of(store_state(world->nodes[1].store), PARTITION);
        assert_true(standing_equal(&got, &sent));
    }
    world_free(world);
}

/* A node that loses power in the middle knows at its start that it has to ask once more. */
static void a_receiver_that_loses_power_asks_again(void **state)
{
    uint32_t empty = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *world = world_new(seed);
        struct node *node = &world->nodes[1];
        struct kv_failure failure;
        bool was;
        struct standing sent = standing_of(store_state(world->nodes[0].store), PARTITION);
        assert_int_equal(kv_flush(store_state(node->store)), OK);
        struct standing before = standing_of(store_state(node->store), PARTITION);
        transfer_fetch(node->transfer, world->now_ms, PARTITION, LEADER, 10);
        for (uint64_t i = 0; i < 16 + seed * 6; i++) {
            step(world);
        }
        sim_kv_crash(node->disk, SIM_KV_POWER_FAILS);
        link_break(world);
        node_close(node);
        node_open(node);
        assert_int_equal(install_recover(node->store, PARTITION, &was, &failure), OK);
        struct standing found = standing_of(store_state(node->store), PARTITION);
        assert_true(was ? found.index == 0 && found.digest == 0
                        : standing_equal(&found, node->installed > 0 ? &sent : &before));
        empty += was;
        node->installed = 0;
        transfer_fetch(node->transfer, world->now_ms, PARTITION, LEADER, 10);
        run(world, 1);
        found = standing_of(store_state(node->store), PARTITION);
        assert_true(standing_equal(&found, &sent));
        world_free(world);
    }
    assert_true(empty > 1);
}

static void who_goes_in_the_middle_leaves_nothing_behind(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) { /* the sanitizer has the last word */
        struct world *world = world_new(seed);
        transfer_fetch(world->nodes[1].transfer, world->now_ms, PARTITION, LEADER, 10);
        for (uint64_t i = 0; i < seed * 12; i++) {
            step(world);
        }
        if (seed % 3 == 0) {
            transfer_cancel(world->nodes[1].transfer, world->now_ms, PARTITION);
        } else if (seed % 3 == 1) {
            transfer_stop(world->nodes[0].transfer, PARTITION);
        }
        for (uint64_t i = 0; i < seed % 4; i++) {
            step(world);
        }
        world_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_partition_goes_over_whatever_message_the_link_breaks_at),
        cmocka_unit_test(a_partition_is_helped_again_and_again_while_it_is_written_to),
        cmocka_unit_test(a_receiver_that_loses_power_asks_again),
        cmocka_unit_test(who_goes_in_the_middle_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
