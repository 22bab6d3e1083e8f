/* REG on its group: alone, and three nodes that hear each other when the test says so. */
#include "cluster/meta.h"
#include "cluster/registry_msg.h"
#include "cluster/replica.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NODES = 3, LETTERS_MAX = 4096 };

static char root[64];
static struct world {
    uint64_t now_ms;
    struct node {
        uint64_t id;
        char folder[128];
        struct store *store;
        struct meta *meta;
        struct kv_failure failure;
        uint32_t changed_count;
        bool is_cut;
        uint64_t fetches_from; /* 0: nobody */
    } nodes[NODES + 1];
    struct {
        uint64_t from, to;
        uint8_t *bytes;
        size_t count;
    } letters[LETTERS_MAX];
    uint32_t letter_count;
    uint32_t image_count;
    uint32_t told_count; /* proposals */
    enum err told;
    struct registry_result result;
} world;

static void on_send(void *context, uint64_t peer, struct slice bytes)
{
    const struct node *node = context;
    assert_true(world.letter_count < LETTERS_MAX);
    world.letters[world.letter_count].from = node->id;
    world.letters[world.letter_count].to = peer;
    world.letters[world.letter_count].bytes = malloc(bytes.count);
    memcpy(world.letters[world.letter_count].bytes, bytes.data, bytes.count);
    world.letters[world.letter_count++].count = bytes.count;
}

static void on_changed(void *context)
{
    ((struct node *)context)->changed_count++;
}

static void on_fetch(void *context, uint64_t peer)
{
    ((struct node *)context)->fetches_from = peer;
}

static void begin(uint64_t id, uint32_t keep_every)
{
    struct node *node = &world.nodes[id];
    struct store_config store = {.folder = node->folder, .space_free_min = 1};
    node->id = id;
    snprintf(node->folder, sizeof node->folder, "%s/%u", root, (unsigned)id);
    assert_int_equal(store_open(&store, &node->store, &node->failure), OK);
    struct meta_config config = {.store = node->store,
                                 .node_id = id,
                                 .is_joiner = id != 1,
                                 .seed = 100 + id,
                                 .election_ms = 500,
                                 .heartbeat_ms = 50,
                                 .keep_every = keep_every,
                                 .trailing = keep_every != 0 ? 1 : 0,
                                 .events = {on_send, on_changed, on_fetch, node}};
    enum err err = meta_new(&config, world.now_ms, &node->meta, &node->failure);
    if (err != OK) {
        fail_msg("%s", node->failure.text);
    }
}

static void lanes_run(struct node *node)
{
    while (lane_turn(store_log_lane(node->store), world.now_ms * 1000000) ||
           lane_turn(store_state_lane(node->store), world.now_ms * 1000000)) {
    }
}

static void end(uint64_t id)
{
    struct node *node = &world.nodes[id];
    meta_flush(node->meta);
    lanes_run(node);
    meta_collect(node->meta, world.now_ms);
    meta_free(node->meta);
    store_close(node->store);
    node->meta = NULL;
    node->store = NULL;
}

static void letters_deliver(void)
{
    for (uint32_t i = 0; i < world.letter_count; i++) {
        struct node *to = &world.nodes[world.letters[i].to];
        bool is_lost = to->meta == NULL || to->is_cut || world.nodes[world.letters[i].from].is_cut;
        if (!is_lost) {
            enum err err = meta_receive(to->meta, world.now_ms, world.letters[i].from, 1,
                                        slice_of(world.letters[i].bytes, world.letters[i].count));
            assert_int_equal(err, OK);
        }
        free(world.letters[i].bytes);
    }
    world.letter_count = 0;
}

static void images_bring(void)
{
    for (uint64_t i = 1; i <= NODES; i++) {
        struct node *node = &world.nodes[i];
        struct consensus_snapshot image;
        struct buf bytes = {0};
        if (node->fetches_from == 0 || node->is_cut) {
            continue;
        }
        assert_int_equal(meta_image(world.nodes[node->fetches_from].meta, &image, &bytes), OK);
        assert_int_equal(meta_install(node->meta, world.now_ms, &image, buf_bytes(&bytes)), OK);
        assert_int_equal(meta_install(node->meta, world.now_ms, &image, buf_bytes(&bytes)),
                         ERR_AGAIN);
        node->fetches_from = 0;
        world.image_count++;
        buf_deinit(&bytes);
    }
}

static void time_passes(uint64_t ms)
{
    for (uint64_t end_ms = world.now_ms + ms; world.now_ms < end_ms; world.now_ms += 10) {
        for (uint32_t i = 1; i <= NODES; i++) {
            struct node *node = &world.nodes[i];
            if (node->meta != NULL) {
                meta_collect(node->meta, world.now_ms);
                meta_flush(node->meta);
                lanes_run(node);
            }
        }
        letters_deliver();
        images_bring();
    }
}

static void on_told(void *context, enum err err, const struct registry_result *result)
{
    (void)context;
    world.told_count++;
    world.told = err;
    assert_true((err == OK) == (result != NULL));
    if (result != NULL) {
        world.result = *result;
    }
}

static enum err propose(uint64_t id, const struct registry_command *command)
{
    return meta_propose(world.nodes[id].meta, world.now_ms, command, on_told, NULL);
}

static void found(void)
{
    struct registry_command command = {.kind = REGISTRY_FOUND, .wall_ms = 1000};
    command.found.cluster_id[0] = 7;
    snprintf(command.found.cluster_name, sizeof command.found.cluster_name, "fleet");
    command.found.profile = (struct registry_profile){.weight = 1, .level_min = 1, .level_max = 1};
    snprintf(command.found.profile.name, sizeof command.found.profile.name, "n1");
    assert_int_equal(propose(1, &command), OK);
}

static struct registry_command set_to(uint32_t value)
{
    struct registry_command command = {.kind = REGISTRY_SET, .wall_ms = 1000};
    snprintf(command.setting.key, sizeof command.setting.key, "color");
    snprintf(command.setting.value, sizeof command.setting.value, "%u", value);
    return command;
}

static const char *color_at(uint64_t id)
{
    const char *color = registry_setting(meta_state(world.nodes[id].meta), "color");
    return color == NULL ? "" : color;
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    snprintf(root, sizeof root, "/tmp/tern-meta-XXXXXX");
    assert_non_null(mkdtemp(root));
    world.now_ms = 1000;
    begin(1, 0);
    return 0;
}

static int on_file(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat, (void)kind, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= NODES; i++) {
        if (world.nodes[i].meta != NULL) {
            end(i);
        }
    }
    for (uint32_t i = 0; i < world.letter_count; i++) {
        free(world.letters[i].bytes);
    }
    return nftw(root, on_file, 16, FTW_DEPTH | FTW_PHYS);
}

/* Nodes 2 and 3 belong to it. */
static void grow(uint32_t keep_every)
{
    uint64_t members[] = {1, 2, 3};
    begin(2, keep_every);
    begin(3, keep_every);
    found();
    meta_want(world.nodes[1].meta, world.now_ms, members, 3);
    time_passes(10000);
    struct replica_look look;
    meta_look(world.nodes[1].meta, &look);
    assert_int_equal(look.members.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(look.members.rows[i].role, CONSENSUS_VOTER);
    }
}

/* ---- stories ---------------------------------------------------------------------------------- */

static void alone_it_leads_and_what_it_knows_is_known_after_a_start(void **state)
{
    struct registry_command again;
    (void)state;
    assert_true(meta_leads(world.nodes[1].meta));
    found();
    assert_int_equal(world.told_count, 0); /* not before it is on disk */
    time_passes(20);
    assert_int_equal(world.told_count, 1);
    assert_int_equal(world.told, OK);
    assert_int_equal(world.result.number, 1);
    assert_true(world.nodes[1].changed_count > 0);
    again = set_to(3);
    assert_int_equal(propose(1, &again), OK);
    time_passes(20);
    uint64_t hash = meta_state(world.nodes[1].meta)->hash;
    end(1);
    begin(1, 0);
    assert_string_equal(color_at(1), "3");
    assert_true(meta_state(world.nodes[1].meta)->hash == hash);
}

static void a_snapshot_now_and_then_takes_the_place_of_the_log(void **state)
{
    (void)state;
    end(1);
    begin(1, 5);
    found();
    for (uint32_t i = 0; i < 23; i++) {
        struct registry_command command = set_to(i);
        assert_int_equal(propose(1, &command), OK);
        time_passes(20);
    }
    assert_string_equal(color_at(1), "22");
    uint64_t hash = meta_state(world.nodes[1].meta)->hash;
    end(1);
    begin(1, 5);
    assert_string_equal(color_at(1), "22");
    assert_true(meta_state(world.nodes[1].meta)->hash == hash);
}

static void what_is_refused_is_told_with_its_reason(void **state)
{
    struct registry_command command = {.kind = REGISTRY_LEAVE, .wall_ms = 1000, .node = {9}};
    (void)state;
    found();
    assert_int_equal(propose(1, &command), OK);
    time_passes(20);
    assert_int_equal(world.told, OK);
    assert_int_not_equal(world.result.err, OK);
    assert_true(world.result.reason[0] != '\0');
}

static void three_nodes_know_the_same(void **state)
{
    struct registry_command command = set_to(4);
    (void)state;
    grow(0);
    assert_int_equal(propose(1, &command), OK);
    time_passes(500);
    for (uint64_t i = 1; i <= NODES; i++) {
        assert_string_equal(color_at(i), "4");
        assert_true(meta_state(world.nodes[i].meta)->hash == meta_state(world.nodes[1].meta)->hash);
        assert_int_equal(meta_leader(world.nodes[i].meta), 1);
    }
    assert_int_equal(propose(2, &command), ERR_UNAVAILABLE);
}

/* What the old one had proposed was promised to nobody. */
static void when_the_leader_is_cut_off_another_leads_and_who_waited_hears_that(void **state)
{
    struct registry_command lost = set_to(5), kept = set_to(6);
    uint64_t leader = 0;
    (void)state;
    grow(0);
    uint32_t told = world.told_count;
    world.nodes[1].is_cut = true;
    assert_int_equal(propose(1, &lost), OK);
    time_passes(5000);
    assert_int_equal(world.told_count, told + 1);
    assert_int_equal(world.told, ERR_UNAVAILABLE);
    assert_false(meta_leads(world.nodes[1].meta));
    for (uint64_t i = 2; i <= NODES; i++) {
        leader = meta_leads(world.nodes[i].meta) ? i : leader;
    }
    assert_true(leader != 0);
    assert_int_equal(propose(leader, &kept), OK);
    time_passes(500);
    world.nodes[1].is_cut = false;
    time_passes(3000);
    for (uint64_t i = 1; i <= NODES; i++) {
        assert_string_equal(color_at(i), "6");
        assert_true(meta_state(world.nodes[i].meta)->hash == meta_state(world.nodes[1].meta)->hash);
    }
}

static void who_was_away_while_the_log_was_cut_begins_anew_with_all_of_it(void **state)
{
    (void)state;
    end(1);
    begin(1, 5);
    grow(5);
    uint32_t changed = world.nodes[3].changed_count;
    world.nodes[3].is_cut = true;
    for (uint32_t i = 0; i < 30; i++) {
        struct registry_command command = set_to(i);
        assert_int_equal(propose(1, &command), OK);
        time_passes(50);
    }
    assert_string_equal(color_at(1), "29");
    assert_string_equal(color_at(3), "");
    world.nodes[3].is_cut = false;
    time_passes(5000);
    assert_string_equal(color_at(3), "29");
    assert_true(world.image_count > 0);
    assert_true(world.nodes[3].changed_count > changed);
    uint64_t hash = meta_state(world.nodes[1].meta)->hash;
    assert_true(meta_state(world.nodes[3].meta)->hash == hash);
    end(3);
    begin(3, 5);
    assert_true(meta_state(world.nodes[3].meta)->hash == hash);
    struct registry_command command = set_to(77);
    for (uint64_t i = 1; i <= NODES; i++) {
        if (meta_leads(world.nodes[i].meta)) {
            assert_int_equal(propose(i, &command), OK);
        }
    }
    time_passes(3000);
    assert_string_equal(color_at(3), "77");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(alone_it_leads_and_what_it_knows_is_known_after_a_start),
        TEST(a_snapshot_now_and_then_takes_the_place_of_the_log),
        TEST(what_is_refused_is_told_with_its_reason),
        TEST(three_nodes_know_the_same),
        TEST(when_the_leader_is_cut_off_another_leads_and_who_waited_hears_that),
        TEST(who_was_away_while_the_log_was_cut_begins_anew_with_all_of_it),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
