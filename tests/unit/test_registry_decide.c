#include "cluster/registry_decide.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_MS = 1000000, WALL_MS = 50000000 };

static struct registry_state *registry;
static struct placement_report reports[REGISTRY_PARTITIONS];
static struct lease_verdict verdict;
static struct decide decide;
static struct registry_command commands[DECIDE_COMMANDS_MAX];

static uint32_t look(uint64_t after_ms)
{
    return decide_look(&decide, registry, &verdict, reports, NOW_MS + after_ms, WALL_MS + after_ms,
                       commands);
}

/* The commands of a look, applied. */
static void carry_out(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct registry_result result;
        assert_int_equal(registry_apply(registry, registry->index + 1, &commands[i], &result), OK);
        assert_int_equal(result.err, OK);
    }
}

/* Raft is where the map has it. */
static void raft_follows(void)
{
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        const struct registry_partition *row = &registry->partitions[p];
        reports[p] = (struct placement_report){
            .is_known = true, .leader = row->preferred, .count = row->replica_count};
        memcpy(reports[p].members, row->replicas, sizeof row->replicas);
    }
}

/* Nodes 1 to 4, active, the map settled. */
static int begin(void **state)
{
    (void)state;
    registry = registry_new();
    struct registry_command command = {.kind = REGISTRY_FOUND, .wall_ms = WALL_MS - 1000};
    struct registry_profile profile = {.name = "n1", .weight = 1, .level_min = 1, .level_max = 1};
    command.found = (struct registry_found){{1}, "house", profile};
    commands[0] = command;
    carry_out(1);
    for (uint32_t i = 1; i < 4; i++) {
        registry->members[i] = registry->members[0];
        registry->members[i].number = i + 1;
        registry->members[i].profile.name[1] = (char)('1' + i);
    }
    registry->member_count = 4;
    registry->node_next = 5;
    assert_int_equal(registry_check(registry), OK);
    verdict = (struct lease_verdict){0};
    decide_begin(&decide, NOW_MS);
    raft_follows();
    for (uint32_t count; (count = look(0)) > 0;) {
        carry_out(count);
        raft_follows();
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    registry_free(registry);
    return 0;
}

static void a_cluster_at_rest_needs_nothing(void **state)
{
    (void)state;
    assert_int_equal(registry_held(registry, 1), 48); /* it was brought there by looks alone */
    assert_int_equal(look(0), 0);
    assert_int_equal(look(3600000), 0);
}

static void who_has_lapsed_is_declared_gone_once(void **state)
{
    (void)state;
    verdict = (struct lease_verdict){.numbers = {3, 9, 4}, .incarnations = {1, 1, 2}, .count = 3};
    registry->partitions[0].preferred =
        registry->partitions[0].replicas[1]; /* there is a plan, too */
    assert_int_equal(look(0), 1);            /* 9 is no member, 4 is in another incarnation */
    assert_int_equal(commands[0].kind, REGISTRY_GONE);
    assert_int_equal(commands[0].incarnation.number, 3);
    assert_int_equal(commands[0].wall_ms, WALL_MS);
    carry_out(1);
    uint32_t count = look(0);
    for (uint32_t i = 0; i < count; i++) { /* others are to lead what it led */
        assert_int_equal(commands[i].kind, REGISTRY_ASSIGN);
    }
}

static void gone(uint64_t number)
{
    commands[0] = (struct registry_command){
        .kind = REGISTRY_GONE, .wall_ms = WALL_MS, .incarnation = {number, 1}};
    carry_out(1);
}

/* Is it among what a look proposes? */
static bool proposes(uint64_t after_ms, enum registry_command_kind kind)
{
    uint32_t count = look(after_ms);
    for (uint32_t i = 0; i < count; i++) {
        if (commands[i].kind == kind) {
            return true;
        }
    }
    return false;
}

static void who_is_gone_for_long_is_replaced_when_others_suffice(void **state)
{
    (void)state;
    gone(2);
    assert_false(proposes(DECIDE_AUTO_REPLACE_MS - 1, REGISTRY_REMOVE));
    assert_true(proposes(DECIDE_AUTO_REPLACE_MS, REGISTRY_REMOVE));
    reports[5].is_known = false; /* a group it is in, and nobody leads */
    reports[5].members[0] = 2;
    assert_false(proposes(DECIDE_AUTO_REPLACE_MS, REGISTRY_REMOVE));
    raft_follows();
    gone(3); /* two are left: three copies cannot be made */
    assert_false(proposes(2 * DECIDE_AUTO_REPLACE_MS, REGISTRY_REMOVE));
}

/* Of three, two cannot hold three copies: its disk may come back, so its place is kept. */
static void the_third_of_three_is_not_replaced(void **state)
{
    (void)state;
    gone(4);
    assert_true(proposes(DECIDE_AUTO_REPLACE_MS, REGISTRY_REMOVE));
    for (uint32_t count; (count = look(DECIDE_AUTO_REPLACE_MS)) > 0;) {
        carry_out(count);
        raft_follows();
    }
    assert_int_equal(registry_held(registry, 3), REGISTRY_PARTITIONS);
    gone(2);
    assert_false(proposes(3 * DECIDE_AUTO_REPLACE_MS, REGISTRY_REMOVE));
}

static void replacing_can_be_set(void **state)
{
    (void)state;
    gone(2);
    registry->setting_count = 1;
    registry->settings[0] = (struct registry_setting){"auto_replace_ms", "5000"};
    assert_true(proposes(5000, REGISTRY_REMOVE));
    registry->settings[0] = (struct registry_setting){"auto_replace_ms", "0"};
    assert_false(proposes(1u << 30, REGISTRY_REMOVE));
    registry->settings[0] = (struct registry_setting){"auto_replace_ms", "soon"};
    assert_false(proposes(5000, REGISTRY_REMOVE));
    assert_true(proposes(DECIDE_AUTO_REPLACE_MS, REGISTRY_REMOVE));
}

static void one_dead_node_is_replaced_at_a_time(void **state)
{
    (void)state;
    registry->settings[0] = (struct registry_setting){"replicas", "1"};
    registry->setting_count = 1;
    for (uint32_t count; (count = look(0)) > 0;) {
        carry_out(count);
        raft_follows();
    }
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) { /* all of it on 1 */
        registry->partitions[p] = (struct registry_partition){1, {1}, 1, 1};
    }
    raft_follows();
    gone(2);
    gone(3);
    uint32_t count = look(DECIDE_AUTO_REPLACE_MS), removes = 0;
    for (uint32_t i = 0; i < count; i++) {
        removes += commands[i].kind == REGISTRY_REMOVE;
    }
    assert_int_equal(removes, 1);
}

static void services_are_there(uint32_t count, uint32_t due)
{
    for (uint32_t i = 0; i < count; i++) {
        struct registry_service service = {.alias = "db", .until_ms = i < due ? 1 : UINT64_MAX};
        snprintf(service.id, sizeof service.id, "i%02u", i);
        assert_int_equal(registry_service_load(registry, &service), OK);
    }
}

static void instances_expire_when_they_had_time_to_renew(void **state)
{
    (void)state;
    services_are_there(12, 3);
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS - 1), 0);
    assert_true(proposes(DECIDE_SERVICES_GRACE_MS, REGISTRY_SERVICE_EXPIRE));
    carry_out(1);
    assert_int_equal(registry->service_count, 9);
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS), 0);
}

static void many_instances_at_once_are_waited_for(void **state)
{
    (void)state;
    services_are_there(12, 5);
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS), 0);
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS + DECIDE_SERVICES_GUARD_MS - 1), 0);
    registry->services[0]->until_ms =
        UINT64_MAX; /* one comes back: they are not so many any more */
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS + DECIDE_SERVICES_GUARD_MS - 1), 1);
    registry->services[0]->until_ms = 1; /* the wait begins anew */
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS + DECIDE_SERVICES_GUARD_MS), 0);
    assert_int_equal(look(DECIDE_SERVICES_GRACE_MS + 2 * DECIDE_SERVICES_GUARD_MS), 1);
}

static void a_look_proposes_no_more_than_it_has_room_for(void **state)
{
    (void)state;
    struct registry_state *empty = registry_new();
    assert_int_equal(decide_look(&decide, empty, &verdict, reports, NOW_MS, 0, commands), 0);
    registry_free(empty);
    for (uint32_t i = 4; i < 12; i++) {
        registry->members[i] = registry->members[0];
        registry->members[i].number = i + 1;
        verdict.numbers[verdict.count] = i + 1;
        verdict.incarnations[verdict.count++] = 1;
    }
    registry->member_count = 12;
    assert_int_equal(look(0), DECIDE_COMMANDS_MAX);
    assert_int_equal(commands[DECIDE_COMMANDS_MAX - 1].kind, REGISTRY_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cluster_at_rest_needs_nothing, begin, end),
        cmocka_unit_test_setup_teardown(who_has_lapsed_is_declared_gone_once, begin, end),
        cmocka_unit_test_setup_teardown(who_is_gone_for_long_is_replaced_when_others_suffice, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_third_of_three_is_not_replaced, begin, end),
        cmocka_unit_test_setup_teardown(replacing_can_be_set, begin, end),
        cmocka_unit_test_setup_teardown(one_dead_node_is_replaced_at_a_time, begin, end),
        cmocka_unit_test_setup_teardown(instances_expire_when_they_had_time_to_renew, begin, end),
        cmocka_unit_test_setup_teardown(many_instances_at_once_are_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(a_look_proposes_no_more_than_it_has_room_for, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
