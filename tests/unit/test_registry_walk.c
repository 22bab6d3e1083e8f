/*
 * REG with what is decided from it, by commands alone: nodes join, start, die, drain and are removed at
 * random while the plan is carried out; raft does what the map says sooner or later.
 */
#include "cluster/placement.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PARTITIONS = REGISTRY_PARTITIONS, WALKS = 8, STEPS = 150, CALM_ROUNDS = 5000 };

struct walk {
    struct rng rng;
    struct registry_state *registry;
    struct placement_report reports[PARTITIONS];
    uint64_t names;
    uint32_t assigned, left, removed;
};

/* Any command that the state refuses is as good as none here, but for those of the plan. */
static enum err apply(struct walk *walk, const struct registry_command *command)
{
    struct registry_result result;
    struct registry_state *registry = walk->registry;
    assert_int_equal(registry_apply(registry, registry->index + 1, command, &result), OK);
    return result.err;
}

static struct registry_profile newcomer(struct walk *walk)
{
    struct registry_profile profile = {
        .weight = 1 + (uint32_t)rng_below(&walk->rng, 3), .level_min = 1, .level_max = 1};
    snprintf(profile.name, sizeof profile.name, "n%lu", (unsigned long)++walk->names);
    snprintf(profile.zone, sizeof profile.zone, "z%u", (unsigned)rng_below(&walk->rng, 3));
    return profile;
}

static void begin(struct walk *walk, uint64_t seed)
{
    struct registry_command command = {.kind = REGISTRY_FOUND, .wall_ms = 1};
    *walk = (struct walk){.registry = registry_new()};
    rng_init(&walk->rng, seed);
    command.found = (struct registry_found){.cluster_name = "house", .profile = newcomer(walk)};
    assert_int_equal(apply(walk, &command), OK);
    command = (struct registry_command){.kind = REGISTRY_TOKEN_ADD,
                                        .token = {{1}, UINT64_MAX, UINT32_MAX}};
    assert_int_equal(apply(walk, &command), OK);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        walk->reports[p] = (struct placement_report){true, 1, {1}, 1};
    }
}

static uint32_t count_in(const struct registry_state *registry, uint8_t is)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < registry->member_count; i++) {
        count += registry->members[i].state == is;
    }
    return count;
}

static struct placement_ties ties_of(const struct walk *walk, uint64_t number)
{
    struct placement_nodes nodes;
    struct placement_map map;
    placement_read(walk->registry, &nodes, &map);
    return placement_ties(&nodes, walk->reports, number);
}

/* Something befalls a node; at most one is dead at a time, so that groups have their quorums. */
static void befall(struct walk *walk)
{
    struct registry_state *registry = walk->registry;
    struct registry_member *member =
        &registry->members[rng_below(&walk->rng, registry->member_count)];
    struct registry_command command = {.kind = REGISTRY_LIVE};
    uint32_t away = count_in(registry, MEMBER_GONE) + count_in(registry, MEMBER_JOINING);
    switch (rng_below(&walk->rng, 8)) {
    case 0:
        if (count_in(registry, MEMBER_ACTIVE) < 9 && away == 0) {
            command.kind = REGISTRY_JOIN;
            command.join = (struct registry_join){{1}, newcomer(walk)};
        }
        break;
    case 1:
        command.kind = REGISTRY_START;
        command.start = (struct registry_start){member->number, member->profile};
        if (member->state != MEMBER_GONE && away > 0) {
            return;
        }
        break;
    case 2:
        command.kind = away == 0 ? REGISTRY_GONE : REGISTRY_LIVE;
        break;
    case 3:
        command.kind = REGISTRY_DRAIN;
        break;
    case 4:
        command.kind = REGISTRY_UNDRAIN;
        break;
    case 5:
        command.kind = ties_of(walk, member->number).stranded == 0 ? REGISTRY_REMOVE
                                                                   : REGISTRY_LIVE;
        break;
    case 6:
        command.kind = ties_of(walk, member->number).in == 0 ? REGISTRY_LEAVE : REGISTRY_LIVE;
        break;
    default:
        break;
    }
    if (command.kind == REGISTRY_LIVE || command.kind == REGISTRY_GONE) {
        command.incarnation = (struct registry_incarnation){member->number, member->incarnation};
    } else if (command.kind != REGISTRY_JOIN && command.kind != REGISTRY_START) {
        command.node.number = member->number;
    }
    bool is_right = apply(walk, &command) == OK;
    walk->left += is_right && command.kind == REGISTRY_LEAVE;
    walk->removed += is_right && command.kind == REGISTRY_REMOVE;
}

/* What raft can do: a group goes to where the map has it when most of its members live. */
static void raft_moves(struct walk *walk, bool is_calm)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        const struct registry_partition *row = &walk->registry->partitions[p];
        struct placement_report *report = &walk->reports[p];
        uint32_t live = 0;
        uint64_t leader = 0;
        for (uint32_t i = 0; i < report->count; i++) {
            const struct registry_member *member = registry_member(walk->registry,
                                                                   report->members[i]);
            bool is_live = member != NULL &&
                           (member->state == MEMBER_ACTIVE || member->state == MEMBER_DRAINING);
            live += is_live;
            leader = is_live && (leader == 0 || member->number == row->preferred) ? member->number
                                                                                  : leader;
        }
        report->is_known = 2 * live > report->count;
        report->leader = leader;
        if (report->is_known && (is_calm || rng_below(&walk->rng, 3) == 0)) {
            report->count = row->replica_count;
            memcpy(report->members, row->replicas, sizeof row->replicas);
        }
    }
}

/* false: there was nothing to do. */
static bool plan(struct walk *walk)
{
    struct placement_nodes nodes;
    struct placement_map now, want;
    char warning[PLACEMENT_WARNING_BYTES];
    struct registry_command command = {.kind = REGISTRY_ASSIGN};
    placement_read(walk->registry, &nodes, &now);
    uint32_t replicas = placement_replicas(&nodes, placement_wished(walk->registry), warning);
    placement_want(&nodes, replicas, &now, &want);
    placement_plan(&nodes, &now, &want, walk->reports, &command.assign);
    command.assign.version = walk->registry->map_version;
    assert_int_equal(apply(walk, &command), OK); /* REG never refuses what was planned on it */
    assert_int_equal(registry_check(walk->registry), OK);
    walk->assigned += command.assign.count;
    return command.assign.count > 0;
}

/* Everyone comes back, who drains is let go when it holds nothing: all ends as it is wanted. */
static void calm_down(struct walk *walk)
{
    struct registry_state *registry = walk->registry;
    uint32_t idle = 0;
    for (uint32_t i = 0; i < registry->member_count; i++) {
        struct registry_member *member = &registry->members[i];
        struct registry_command command = {.kind = REGISTRY_START,
                                           .start = {member->number, member->profile}};
        if (member->state == MEMBER_GONE) {
            assert_int_equal(apply(walk, &command), OK);
        }
        if (member->state == MEMBER_JOINING) {
            command = (struct registry_command){
                .kind = REGISTRY_LIVE, .incarnation = {member->number, member->incarnation}};
            assert_int_equal(apply(walk, &command), OK);
        }
    }
    for (int round = 0; idle < 3; round++) {
        assert_true(round < CALM_ROUNDS);
        raft_moves(walk, true);
        idle = plan(walk) ? 0 : idle + 1;
    }
    for (uint32_t i = 0; i < registry->member_count; i++) {
        const struct registry_member *member = &registry->members[i];
        struct registry_command command = {.kind = REGISTRY_LEAVE, .node = {member->number}};
        if (member->state == MEMBER_DRAINING) {
            assert_int_equal(apply(walk, &command), OK);
            walk->left++;
        }
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        assert_true(placement_is_settled(&registry->partitions[p], &walk->reports[p]));
        assert_int_equal(walk->reports[p].leader, registry->partitions[p].preferred);
    }
}

static void whatever_befalls_nodes_the_map_comes_to_rest_as_it_is_wanted(void **state)
{
    uint32_t assigned = 0, left = 0, removed = 0;
    (void)state;
    const char *walks = getenv("TERN_TEST_WALKS"); /* thousands, by hand */
    uint64_t last = walks == NULL ? WALKS : strtoull(walks, NULL, 10);
    for (uint64_t seed = 1; seed <= last; seed++) {
        struct walk walk;
        begin(&walk, seed);
        for (int step = 0; step < STEPS; step++) {
            befall(&walk);
            raft_moves(&walk, false);
            plan(&walk);
        }
        calm_down(&walk);
        assigned += walk.assigned;
        left += walk.left;
        removed += walk.removed;
        registry_free(walk.registry);
    }
    if (walks != NULL) {
        printf("%u rows assigned, %u nodes left, %u removed\n", assigned, left, removed);
    }
    assert_true(assigned > 100 * last && left > last / 2 && removed > last / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_befalls_nodes_the_map_comes_to_rest_as_it_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
