#include "tests/raft/journal_world.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/io/io.h"
#include "core/session/journal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMILLE = 100, MS_NS = 1000000 };

uint32_t draw(struct world *world, uint32_t bound)
{
    return (uint32_t)rng_below(&world->rng, bound);
}

bool chance(struct world *world, uint32_t of_100000)
{
    return draw(world, 100000) < of_100000;
}

void fail(struct world *world, const char *format, ...)
{
    char text[240];
    va_list arguments;

    if (world->failure[0] != '\0') {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(world->failure, sizeof world->failure, "%lu ms: %s", world->now_ms, text);
}

/* ---- the door of time ------------------------------------------------------------------------------ */

uint64_t io_now_ns(const struct io *io)
{
    return io->world->now_ms * MS_NS + io->ahead_ns;
}

uint64_t io_wall_ms(const struct io *io)
{
    return io_now_ns(io) / MS_NS + 1700000000000;
}

void io_wake(struct io *from, struct io *io)
{
    (void)from, (void)io;
}

/* ---- links ----------------------------------------------------------------------------------------- */

static void on_send(void *context, uint64_t peer, uint32_t group, struct slice bytes)
{
    struct node *node = context;
    struct world *world = node->world;
    struct link *link = &world->links[node->id - 1][peer - 1];
    struct letter *letter;

    world->counts.letters++;
    if (!node->is_up || link->is_cut || (world->is_chaos && chance(world, 1000))) {
        return;
    }
    letter = calloc(1, sizeof(*letter) + bytes.count);
    ASSERT(letter != NULL);
    letter->generation = link->generation;
    letter->group = group;
    letter->count = bytes.count;
    memcpy(letter->bytes, bytes.data, bytes.count);
    letter->due_ms = world->now_ms + 1 + draw(world, chance(world, 3000) ? 120 : 4);
    if (letter->due_ms < link->due_ms) {
        letter->due_ms = link->due_ms;
    }
    link->due_ms = letter->due_ms;
    *link->end = letter;
    link->end = &letter->next;
}

/* A new connection: what is under way by the old one takes its time. */
static void link_reopen(struct world *world, uint32_t from, uint32_t to)
{
    struct link *link = &world->links[from][to];

    link->generation++;
    link->due_ms = 0;
    for (struct letter *letter = link->letters; letter != NULL; letter = letter->next) {
        letter->due_ms += draw(world, 300);
    }
}

static void letter_hear(struct node *node, uint32_t from, const struct letter *letter)
{
    enum err err = journal_raft_receive(node->journal, from + 1, letter->generation, letter->group,
                                        slice_of(letter->bytes, letter->count));
    if (err != OK && err != ERR_UNAVAILABLE) {
        fail(node->world, "node %lu finds a message of %u impossible: %s", node->id, from + 1,
             err_name(err));
    }
}

static bool links_turn(struct node *node)
{
    struct world *world = node->world;
    bool has_heard = false;

    for (uint32_t from = 0; from < NODES; from++) {
        struct link *link = &world->links[from][node->id - 1];
        struct letter **at = &link->letters;
        while (*at != NULL) {
            struct letter *letter = *at;
            if (letter->due_ms > world->now_ms) {
                at = &letter->next;
                continue;
            }
            *at = letter->next;
            link->end = *at == NULL ? at : link->end;
            if (!link->is_cut) {
                letter_hear(node, from, letter);
                has_heard = true;
            }
            free(letter);
        }
    }
    return has_heard;
}

static void links_cut(struct world *world, uint32_t one, uint32_t other, bool is_both_ways)
{
    world->links[one][other].is_cut = true;
    world->links[other][one].is_cut = world->links[other][one].is_cut || is_both_ways;
}

static void links_heal(struct world *world)
{
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++) {
            if (world->links[from][to].is_cut) {
                world->links[from][to].is_cut = false;
                link_reopen(world, from, to);
            }
        }
    }
}

/* ---- nodes ----------------------------------------------------------------------------------------- */

static void want(struct node *node)
{
    for (uint32_t part = 0; part < PARTS; part++) {
        const struct replica_want *wanted = &node->world->want[part];
        journal_raft_want(node->journal, partition_at(part), wanted->ids, wanted->count,
                          wanted->preferred);
    }
}

static void node_boot(struct node *node)
{
    struct world *world = node->world;
    struct kv_failure failure = {""};
    struct store_config store = {.folder = node->root,
                                 .space_free_min = 1,
                                 .flush_bytes = world->settings.is_cut ? 5000 : UINT64_C(1) << 40};
    struct journal_raft_config config = {
        .io = &node->io,
        .shard_count = SHARDS,
        .seed = rng_u64(&world->rng),
        .node_id = node->id,
        .is_joiner = node->id != 1,
        .election_ms = 300,
        .heartbeat_ms = 50,
        .window_bytes = world->settings.is_small ? 500 : 0,
        .tail_bytes = world->settings.is_cut ? 3000 : 0,
        .events = {.led = owner_led,
                   .lost = owner_lost,
                   .send = on_send,
                   .fetch = on_fetch,
                   .context = node},
    };
    node->io = (struct io){world, (uint64_t)draw(world, 1000000) * MS_NS};
    enum err err = store_open(&store, &node->store, &failure);
    config.store = node->store;
    for (uint32_t i = 0; err == OK && i < STORE_PARTITIONS; i++) {
        if (i % SHARDS != 0) {
            store_applied(node->store, i, 0, 0);
        }
    }
    node->is_up = node->was_up = true;
    if (err == OK) {
        err = journal_raft_new(&config, &node->journal, &failure);
    }
    if (err != OK) {
        fail(world, "node %lu does not start: %s", node->id, failure.text);
        node->is_up = false;
        return;
    }
    owner_begin(node);
    want(node);
    node->log_ms = node->state_ms = node->resume_ms = 0;
    memset(node->fetches, 0, sizeof(node->fetches));
}

static void node_close(struct node *node)
{
    node->is_up = false;
    journal_raft_free(node->journal);
    store_close(node->store);
    owner_end(node);
}

static void node_crash(struct node *node)
{
    struct world *world = node->world;

    world->counts.crashes++;
    sim_kv_crash(node->disk, chance(world, 50000) ? SIM_KV_POWER_FAILS : SIM_KV_PROCESS_ENDS);
    node_close(node);
    node->start_ms = world->now_ms + 50 + draw(world, 1500);
    for (uint32_t i = 0; i < NODES; i++) {
        link_reopen(world, (uint32_t)node->id - 1, i);
        link_reopen(world, i, (uint32_t)node->id - 1);
    }
}

static void lane_go(struct node *node, struct lane *lane, uint64_t *again_ms)
{
    struct world *world = node->world;

    if (world->now_ms < *again_ms) {
        return;
    }
    lane_turn(lane, io_now_ns(&node->io));
    *again_ms = world->now_ms + 1 + draw(world, 4);
    if (chance(world, world->settings.stalls)) {
        *again_ms += draw(world, 400);
    }
}

static void node_turn(struct node *node)
{
    struct world *world = node->world;

    if (!node->is_up) {
        if (world->now_ms >= node->start_ms) {
            node_boot(node);
        }
        return;
    }
    if (world->now_ms < node->resume_ms) {
        return;
    }
    bool has_heard = links_turn(node);
    if (has_heard || journal_has_news(node->journal) ||
        journal_wake_ns(node->journal) <= io_now_ns(&node->io)) {
        journal_collect(node->journal);
    }
    owner_turn(node);
    if (world->now_ms % 50 == 0) {
        want(node);
    }
    journal_flush(node->journal);
    lane_go(node, store_log_lane(node->store), &node->log_ms);
    lane_go(node, store_state_lane(node->store), &node->state_ms);
    fetches_turn(node);
    states_compare(node);
}

/* ---- faults ---------------------------------------------------------------------------------------- */

static void want_anew(struct world *world, uint32_t part)
{
    struct replica_want *wanted = &world->want[part];
    uint32_t order[NODES] = {1, 2, 3, 4, 5};

    for (uint32_t i = NODES - 1; i > 0; i--) {
        uint32_t other = draw(world, i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    wanted->count = chance(world, 70000) ? 3 : chance(world, 50000) ? 5 : 1 + draw(world, 2);
    for (uint32_t i = 0; i < wanted->count; i++) {
        wanted->ids[i] = order[i];
    }
    wanted->preferred = chance(world, 50000) ? order[draw(world, wanted->count)] : 0;
    world->counts.wants++;
}

static void faults_turn(struct world *world)
{
    uint32_t one = draw(world, NODES), other = draw(world, NODES);
    struct node *node = &world->nodes[one];

    if (chance(world, 60) && node->is_up) {
        node_crash(node);
    }
    if (chance(world, 20)) {
        node->resume_ms = world->now_ms + draw(world, 2000);
    }
    if (chance(world, 60)) {
        links_cut(world, one, other, chance(world, 70000));
    }
    if (chance(world, 40)) {
        for (uint32_t i = 0; i < NODES; i++) {
            links_cut(world, one, i, true);
        }
    }
    if (chance(world, 100)) {
        link_reopen(world, one, other);
    }
    if (chance(world, 150)) {
        links_heal(world);
    }
    if (!world->settings.is_static && chance(world, 60)) {
        want_anew(world, draw(world, PARTS));
    }
    if (chance(world, 60)) { /* another one should lead */
        struct replica_want *wanted = &world->want[draw(world, PARTS)];
        wanted->preferred = wanted->ids[draw(world, wanted->count)];
    }
}

static void world_turn(struct world *world)
{
    world->now_ms++;
    for (uint32_t i = 0; i < NODES && world->failure[0] == '\0'; i++) {
        node_turn(&world->nodes[i]);
    }
    if (world->is_chaos && world->failure[0] == '\0') {
        faults_turn(world);
    }
}

/* ---- the end --------------------------------------------------------------------------------------- */

static void finally_part(struct world *world, uint32_t part)
{
    const struct replica_want *wanted = &world->want[part];
    struct replica_look first = {0}, look;
    struct node *leader = NULL;

    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        if (node->views[part].is_led &&
            (leader == NULL || node->views[part].term > leader->views[part].term)) {
            leader = node;
        }
    }
    if (leader == NULL) {
        fail(world, "LIVENESS: nobody leads partition %u", partition_at(part));
        return;
    }
    journal_raft_look(leader->journal, partition_at(part), &first);
    if (first.members.count != wanted->count || first.waits_for[0] != '\0') {
        fail(world, "LIVENESS: partition %u has %u members for %u: %s", partition_at(part),
             first.members.count, wanted->count, first.waits_for);
        return;
    }
    for (uint32_t i = 0; i < wanted->count; i++) {
        const struct consensus_member *member = members_find(&first.members, wanted->ids[i]);
        if (member == NULL || member->role != CONSENSUS_VOTER) {
            fail(world, "LIVENESS: node %lu is no member of partition %u", wanted->ids[i],
                 partition_at(part));
            return;
        }
        journal_raft_look(world->nodes[wanted->ids[i] - 1].journal, partition_at(part), &look);
        if (look.applied_index + 100 < first.commit_index) {
            fail(world, "LIVENESS: node %lu is at %lu of %lu in partition %u", wanted->ids[i],
                 look.applied_index, first.commit_index, partition_at(part));
        }
    }
    if (wanted->preferred != 0 && wanted->preferred != leader->id) {
        fail(world, "LIVENESS: node %lu leads partition %u, not %lu", leader->id,
             partition_at(part), wanted->preferred);
    }
}

static void finally(struct world *world, uint64_t told_before)
{
    if (world->counts.told <= told_before) {
        fail(world, "LIVENESS: nothing was told though all is well");
    }
    for (uint32_t part = 0; part < PARTS && world->failure[0] == '\0'; part++) {
        finally_part(world, part);
    }
}

/* ---- a run ----------------------------------------------------------------------------------------- */

static struct world *world_new(uint64_t seed, const struct settings *settings)
{
    struct world *world = calloc(1, sizeof(*world));

    ASSERT(world != NULL);
    world->settings = *settings;
    rng_init(&world->rng, seed);
    world->now_ms = 1000;
    world->facts = calloc(FACTS_MAX, sizeof(world->facts[0]));
    ASSERT(world->facts != NULL);
    for (uint32_t part = 0; part < PARTS; part++) {
        world->hashes[part] = calloc(INDEX_MAX, sizeof(uint64_t));
        ASSERT(world->hashes[part] != NULL);
        world->want[part] = (struct replica_want){.ids = {1, 2, 3, 4, 5},
                                                  .count = seed % 2 == 0 ? 3 : 5};
    }
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->world = world;
        node->id = i + 1;
        snprintf(node->root, sizeof(node->root), "/node%u", i + 1);
        node->disk = sim_kv_disk_new(node->root, &world->rng);
        for (uint32_t k = 0; k < NODES; k++) {
            world->links[i][k].generation = 1;
            world->links[i][k].end = &world->links[i][k].letters;
        }
    }
    return world;
}

struct world *world_run(uint64_t seed, const struct settings *settings)
{
    struct world *world = world_new(seed, settings);

    log_setup(-1, LOG_LOGFMT, 0);
    world->is_chaos = true;
    for (uint64_t i = 0; i < settings->chaos_ms && world->failure[0] == '\0'; i++) {
        world_turn(world);
    }
    world->is_chaos = false;
    links_heal(world);
    uint64_t told = 0;
    for (uint64_t i = 0; i < settings->quiet_ms && world->failure[0] == '\0'; i++) {
        told = i == settings->quiet_ms / 2 ? world->counts.told : told;
        world_turn(world);
    }
    if (world->failure[0] == '\0') {
        finally(world, told);
    }
    return world;
}

void world_free(struct world *world)
{
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        if (node->is_up) {
            node_close(node);
        }
        sim_kv_disk_free(node->disk);
        for (uint32_t k = 0; k < NODES; k++) {
            while (world->links[i][k].letters != NULL) {
                struct letter *letter = world->links[i][k].letters;
                world->links[i][k].letters = letter->next;
                free(letter);
            }
        }
    }
    for (uint32_t part = 0; part < PARTS; part++) {
        free(world->hashes[part]);
    }
    free(world->facts);
    free(world);
}
