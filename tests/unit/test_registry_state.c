#include "cluster/registry_msg.h"
#include "cluster/registry_state.h"
#include "tests/lib/registry_draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- one step at a time -------------------------------------------------------------------------- */

static struct registry_result last;

static enum err apply(struct registry_state *registry, struct registry_command command)
{
    uint64_t hash = registry->hash;
    assert_int_equal(registry_apply(registry, registry->index + 1, &command, &last), OK);
    assert_int_equal(registry_check(registry), OK);
    if (last.err != OK) { /* what is refused says why, and changes nothing */
        assert_true(strlen(last.reason) > 10);
        assert_true(registry->hash == hash);
    }
    return last.err;
}

static struct registry_profile profile_of(const char *name)
{
    struct registry_profile profile = {.weight = 1, .level_min = 1, .level_max = 2};
    snprintf(profile.name, sizeof profile.name, "%s", name);
    return profile;
}

#define COMMAND(is, ...) \
    ((struct registry_command){.kind = REGISTRY_##is, .wall_ms = 1000, __VA_ARGS__})

static enum err join(struct registry_state *registry, const char *name)
{
    return apply(registry, COMMAND(JOIN, .join = {{1}, profile_of(name)}));
}

static enum err live(struct registry_state *registry, uint64_t number)
{
    const struct registry_member *member = registry_member(registry, number);
    return apply(registry, COMMAND(LIVE, .incarnation = {number, member->incarnation}));
}

static enum err gone(struct registry_state *registry, uint64_t number)
{
    const struct registry_member *member = registry_member(registry, number);
    return apply(registry, COMMAND(GONE, .incarnation = {number, member->incarnation}));
}

static enum err start(struct registry_state *registry, uint64_t number, const char *name)
{
    return apply(registry, COMMAND(START, .start = {number, profile_of(name)}));
}

#define NODE(registry, is, it) apply(registry, COMMAND(is, .node = {it}))

static uint8_t state_of(const struct registry_state *registry, uint64_t number)
{
    return registry_member(registry, number)->state;
}

/* Nodes 1 (founder) to count, all active, and a token {1} with uses left. */
static struct registry_state *house(uint32_t count)
{
    struct registry_state *registry = registry_new();
    struct registry_command found = COMMAND(FOUND, .found = {{9}, "house", profile_of("n1")});
    assert_int_equal(apply(registry, found), OK);
    assert_int_equal(apply(registry, COMMAND(TOKEN_ADD, .token = {{1}, 5000, 40})), OK);
    for (uint64_t number = 2; number <= count; number++) {
        char name[16];
        draft_text(name, sizeof name, "n", number);
        assert_int_equal(join(registry, name), OK);
        assert_int_equal(last.number, number);
        assert_int_equal(live(registry, number), OK);
    }
    return registry;
}

/* Partition 0 on these nodes. */
static enum err assign(struct registry_state *registry, uint64_t a, uint64_t b, uint64_t preferred)
{
    struct registry_command command = COMMAND(ASSIGN, .assign = {.version = registry->map_version});
    command.assign.rows[0] = (struct registry_assignment){0, {a, b}, b == 0 ? 1 : 2, preferred};
    command.assign.count = 1;
    return apply(registry, command);
}

/* ---- stories ------------------------------------------------------------------------------------- */

static void a_founder_is_node_1_and_holds_everything(void **state)
{
    struct registry_state *registry = registry_new();
    (void)state;
    assert_int_equal(join(registry, "n2"), ERR_UNAVAILABLE);
    struct registry_command found = COMMAND(FOUND, .found = {{9}, "house", profile_of("n1")});
    assert_int_equal(apply(registry, found), OK);
    assert_int_equal(last.number, 1);
    assert_int_equal(last.incarnation, 1);
    assert_int_equal(state_of(registry, 1), MEMBER_ACTIVE);
    assert_int_equal(registry_held(registry, 1), REGISTRY_PARTITIONS);
    assert_int_equal(registry->partitions[63].preferred, 1);
    assert_int_equal(registry->level, 2);
    assert_int_equal(apply(registry, found), ERR_EXISTS);
    registry_free(registry);
}

static void a_node_joins_with_a_token_that_is_used_up(void **state)
{
    struct registry_state *registry = house(1);
    (void)state;
    assert_int_equal(apply(registry, COMMAND(TOKEN_ADD, .token = {{2}, 5000, 1})), OK);
    assert_int_equal(apply(registry, COMMAND(TOKEN_ADD, .token = {{2}, 5000, 1})), ERR_EXISTS);
    assert_int_equal(apply(registry, COMMAND(JOIN, .join = {{3}, profile_of("n2")})),
                     ERR_NOT_AUTHORIZED);
    assert_int_equal(apply(registry, COMMAND(JOIN, .join = {{2}, profile_of("n2")})), OK);
    assert_int_equal(last.number, 2);
    assert_int_equal(state_of(registry, 2), MEMBER_JOINING);
    assert_int_equal(apply(registry, COMMAND(JOIN, .join = {{2}, profile_of("n3")})),
                     ERR_NOT_AUTHORIZED);
    registry_free(registry);
}

/* Replicas that differ in nothing but which token was used have different hashes. */
static void which_token_was_used_is_in_the_running_hash(void **state)
{
    struct registry_state *one = house(1), *two = house(1);
    (void)state;
    assert_int_equal(apply(one, COMMAND(TOKEN_ADD, .token = {{2}, 5000, 40})), OK);
    assert_int_equal(apply(two, COMMAND(TOKEN_ADD, .token = {{2}, 5000, 40})), OK);
    assert_true(one->hash == two->hash);
    assert_int_equal(apply(one, COMMAND(JOIN, .join = {{1}, profile_of("n2")})), OK);
    assert_int_equal(apply(two, COMMAND(JOIN, .join = {{2}, profile_of("n2")})), OK);
    assert_true(one->hash != two->hash);
    registry_free(one);
    registry_free(two);
}

static void an_expired_token_lets_nobody_in(void **state)
{
    struct registry_state *registry = house(1);
    struct registry_command command = COMMAND(JOIN, .join = {{1}, profile_of("n2")});
    (void)state;
    command.wall_ms = 5000;
    assert_int_equal(apply(registry, command), ERR_NOT_AUTHORIZED);
    assert_int_equal(apply(registry, COMMAND(TOKEN_REMOVE, .token = {{1}, 0, 0})), OK);
    assert_int_equal(apply(registry, COMMAND(TOKEN_REMOVE, .token = {{1}, 0, 0})), ERR_NOT_FOUND);
    /* The clock of a leader may be behind: time does not go back. */
    assert_int_equal(apply(registry, COMMAND(TOKEN_ADD, .token = {{4}, 4000, 1})), ERR_INVALID);
    assert_int_equal(registry->wall_ms, 5000);
    registry_free(registry);
}

static void a_join_that_is_said_again_gives_the_same_number(void **state)
{
    struct registry_state *registry = house(1);
    struct registry_command command = COMMAND(JOIN, .join = {{1}, profile_of("n2")});
    (void)state;
    command.join.profile.fingerprint[0] = 7;
    assert_int_equal(apply(registry, command), OK);
    uint32_t uses = registry->tokens[0].uses_left;
    assert_int_equal(apply(registry, command), OK);
    assert_int_equal(last.number, 2);
    assert_int_equal(registry->tokens[0].uses_left, uses);
    command.join.profile.fingerprint[0] = 8; /* another node with that name */
    assert_int_equal(apply(registry, command), ERR_INVALID);
    command.join.profile.fingerprint[0] = 7; /* another one with that certificate */
    memcpy(command.join.profile.name, "n3", 3);
    assert_int_equal(apply(registry, command), ERR_INVALID);
    registry_free(registry);
}

/* registry_state.h draws it: each state and each event, legal or refused. */
static void a_member_goes_from_state_to_state_by_the_table(void **state)
{
    enum { START, LIVE, GONE, DRAIN, UNDRAIN, LEAVE, REMOVE, EVENTS };
    static const int table[MEMBER_STATE_COUNT][EVENTS] = {
        {MEMBER_JOINING, MEMBER_ACTIVE, MEMBER_GONE, MEMBER_JOINING, MEMBER_JOINING, MEMBER_LEFT,
         MEMBER_LEFT},
        {MEMBER_JOINING, MEMBER_ACTIVE, MEMBER_GONE, MEMBER_DRAINING, MEMBER_ACTIVE, -1, -1},
        {MEMBER_JOINING, MEMBER_DRAINING, MEMBER_GONE, MEMBER_DRAINING, MEMBER_ACTIVE, MEMBER_LEFT,
         -1},
        {MEMBER_JOINING, -1, MEMBER_GONE, MEMBER_GONE, MEMBER_GONE, MEMBER_LEFT, MEMBER_LEFT},
        {-1, -1, -1, -1, -1, -1, -1},
    };
    (void)state;
    for (int from = 0; from < MEMBER_STATE_COUNT; from++) {
        for (int event = 0; event < EVENTS; event++) {
            struct registry_state *registry = house(3);
            enum err err = OK;
            switch (from) {
            case MEMBER_JOINING:
                start(registry, 3, "n3");
                break;
            case MEMBER_DRAINING:
                NODE(registry, DRAIN, 3);
                break;
            case MEMBER_LEFT:
            case MEMBER_GONE:
                gone(registry, 3);
                break;
            default:
                break;
            }
            if (from == MEMBER_LEFT) {
                NODE(registry, REMOVE, 3);
            }
            assert_int_equal(state_of(registry, 3), from);
            err = event == START     ? start(registry, 3, "n3")
                  : event == LIVE    ? live(registry, 3)
                  : event == GONE    ? gone(registry, 3)
                  : event == DRAIN   ? NODE(registry, DRAIN, 3)
                  : event == UNDRAIN ? NODE(registry, UNDRAIN, 3)
                  : event == LEAVE   ? NODE(registry, LEAVE, 3)
                                     : NODE(registry, REMOVE, 3);
            assert_int_equal(err == OK ? state_of(registry, 3) : -1, table[from][event]);
            registry_free(registry);
        }
    }
}

static void an_older_incarnation_cannot_live_or_die_any_more(void **state)
{
    struct registry_state *registry = house(2);
    (void)state;
    assert_int_equal(start(registry, 2, "n2"), OK);
    assert_int_equal(last.incarnation, 2);
    assert_int_equal(apply(registry, COMMAND(LIVE, .incarnation = {2, 1})), ERR_AGAIN);
    assert_int_equal(apply(registry, COMMAND(GONE, .incarnation = {2, 1})), ERR_AGAIN);
    assert_int_equal(state_of(registry, 2), MEMBER_JOINING);
    assert_int_equal(apply(registry, COMMAND(LIVE, .incarnation = {2, 2})), OK);
    assert_int_equal(apply(registry, COMMAND(LIVE, .incarnation = {7, 2})), ERR_NOT_FOUND);
    assert_int_equal(start(registry, 2, "other"), ERR_INVALID);
    registry_free(registry);
}

static void who_drains_goes_on_draining_after_a_crash(void **state)
{
    struct registry_state *registry = house(2);
    (void)state;
    assert_int_equal(NODE(registry, DRAIN, 2), OK);
    assert_int_equal(gone(registry, 2), OK);
    assert_int_equal(start(registry, 2, "n2"), OK);
    assert_int_equal(live(registry, 2), OK);
    assert_int_equal(state_of(registry, 2), MEMBER_DRAINING);
    assert_int_equal(NODE(registry, UNDRAIN, 2), OK);
    assert_int_equal(state_of(registry, 2), MEMBER_ACTIVE);
    registry_free(registry);
}

static void the_last_node_cannot_drain_and_a_dead_one_stays_while_nobody_could_take_over(
    void **state)
{
    struct registry_state *registry = house(2);
    (void)state;
    assert_int_equal(NODE(registry, DRAIN, 1), OK);
    assert_int_equal(NODE(registry, DRAIN, 2), ERR_LIMIT);
    assert_int_equal(gone(registry, 2), OK);
    assert_int_equal(NODE(registry, REMOVE, 2), ERR_LIMIT);
    registry_free(registry);
}

static void a_dead_node_stays_while_a_partition_could_not_go_on_without_it(void **state)
{
    struct registry_state *registry = house(4);
    struct registry_command command = COMMAND(ASSIGN, .assign = {.version = 1, .count = 1});
    (void)state;
    command.assign.rows[0] = (struct registry_assignment){7, {1, 2, 3}, 3, 1};
    assert_int_equal(apply(registry, command), OK);
    assert_int_equal(gone(registry, 2), OK);
    assert_int_equal(gone(registry, 3), OK);
    assert_int_equal(NODE(registry, REMOVE, 3), ERR_LIMIT);
    assert_non_null(strstr(last.reason, "partition 7"));
    assert_int_equal(start(registry, 2, "n2"), OK);
    assert_int_equal(NODE(registry, REMOVE, 3), ERR_LIMIT); /* it is not live yet */
    assert_int_equal(live(registry, 2), OK);
    assert_int_equal(NODE(registry, REMOVE, 3), OK);
    registry_free(registry);
}

static void a_node_leaves_only_when_it_holds_nothing(void **state)
{
    struct registry_state *registry = house(3);
    (void)state;
    assert_int_equal(assign(registry, 1, 3, 1), OK);
    assert_int_equal(NODE(registry, DRAIN, 3), OK);
    assert_int_equal(NODE(registry, LEAVE, 3), ERR_AGAIN);
    assert_int_equal(assign(registry, 1, 2, 1), OK);
    assert_int_equal(NODE(registry, LEAVE, 3), OK);
    assert_int_equal(state_of(registry, 3), MEMBER_LEFT);
    assert_int_equal(join(registry, "n3"), OK); /* its name is free, its number is not */
    assert_int_equal(last.number, 4);
    registry_free(registry);
}

static void a_map_is_assigned_at_its_version_and_whole(void **state)
{
    struct registry_state *registry = house(3);
    struct registry_command command = COMMAND(ASSIGN, .assign = {.version = 1, .count = 2});
    (void)state;
    command.assign.rows[0] = (struct registry_assignment){0, {2, 3, 1}, 3, 3};
    command.assign.rows[1] = (struct registry_assignment){1, {2, 2}, 2, 2};
    assert_int_equal(apply(registry, command), ERR_INVALID); /* a node twice */
    assert_int_equal(registry->partitions[0].replica_count, 1);
    command.assign.rows[1] = (struct registry_assignment){1, {2}, 1, 1};
    assert_int_equal(apply(registry, command), ERR_INVALID); /* led by who is none of them */
    command.assign.rows[1] = (struct registry_assignment){64, {2}, 1, 2};
    assert_int_equal(apply(registry, command), ERR_INVALID);
    command.assign.rows[1] = (struct registry_assignment){1, {9}, 1, 9};
    assert_int_equal(apply(registry, command), ERR_INVALID);
    command.assign.rows[1] = (struct registry_assignment){1, {0}, 0, 0};
    assert_int_equal(apply(registry, command), ERR_INVALID);
    command.assign.rows[1] = (struct registry_assignment){1, {2}, 1, 2};
    assert_int_equal(apply(registry, command), OK);
    assert_int_equal(last.version, 2);
    assert_int_equal(registry->partitions[0].preferred, 3);
    assert_int_equal(registry->partitions[0].version, 2);
    assert_int_equal(registry->partitions[2].version, 1);
    assert_int_equal(apply(registry, command), ERR_AGAIN); /* planned on the older map */
    registry_free(registry);
}

static void partitions_are_given_to_nobody_who_was_never_live_or_is_leaving(void **state)
{
    struct registry_state *registry = house(2);
    (void)state;
    assert_int_equal(join(registry, "n3"), OK);
    assert_int_equal(assign(registry, 1, 3, 1), ERR_INVALID);
    assert_int_equal(live(registry, 3), OK);
    assert_int_equal(assign(registry, 1, 3, 1), OK);
    assert_int_equal(NODE(registry, DRAIN, 3), OK);
    assert_int_equal(assign(registry, 3, 2, 2), OK); /* it is there, and may stay meanwhile */
    assert_int_equal(assign(registry, 2, 0, 2), OK);
    assert_int_equal(assign(registry, 2, 3, 2), ERR_INVALID);
    registry_free(registry);
}

static void the_level_rises_when_all_members_have_it_and_then_binds_all(void **state)
{
    struct registry_state *registry = house(2);
    struct registry_command command = COMMAND(START, .start = {1, profile_of("n1")});
    (void)state;
    assert_int_equal(apply(registry, COMMAND(LEVEL, .level = {3})), ERR_UNSUPPORTED);
    assert_int_equal(apply(registry, COMMAND(LEVEL, .level = {1})), ERR_INVALID);
    command.start.profile.level_max = 3;
    assert_int_equal(apply(registry, command), OK);
    assert_int_equal(registry_level_possible(registry), 2);
    assert_int_equal(apply(registry, COMMAND(LEVEL, .level = {3})), ERR_UNSUPPORTED);
    command.start.number = 2;
    memcpy(command.start.profile.name, "n2", 3);
    assert_int_equal(apply(registry, command), OK);
    assert_int_equal(registry_level_possible(registry), 3);
    assert_int_equal(apply(registry, COMMAND(LEVEL, .level = {3})), OK);
    assert_int_equal(registry->level, 3);
    assert_int_equal(join(registry, "n3"), ERR_UNSUPPORTED); /* it knows 1 and 2 */
    assert_int_equal(start(registry, 2, "n2"), ERR_UNSUPPORTED);
    registry_free(registry);
}

static void settings_are_set_and_unset(void **state)
{
    struct registry_state *registry = house(1);
    (void)state;
    assert_null(registry_setting(registry, "replicas"));
    assert_int_equal(apply(registry, COMMAND(SET, .setting = {"replicas", "3"})), OK);
    assert_int_equal(apply(registry, COMMAND(SET, .setting = {"a", "b"})), OK);
    assert_int_equal(apply(registry, COMMAND(SET, .setting = {"replicas", "5"})), OK);
    assert_string_equal(registry_setting(registry, "replicas"), "5");
    assert_int_equal(registry->setting_count, 2);
    assert_int_equal(apply(registry, COMMAND(SET, .setting = {"a b", "1"})), ERR_INVALID);
    assert_int_equal(apply(registry, COMMAND(UNSET, .setting = {"replicas", ""})), OK);
    assert_int_equal(apply(registry, COMMAND(UNSET, .setting = {"replicas", ""})), ERR_NOT_FOUND);
    registry_free(registry);
}

static void a_late_renewal_of_an_instance_is_refused(void **state)
{
    struct registry_state *registry = house(1);
    struct registry_command put = COMMAND(SERVICE_PUT, .service = {.alias = "uaa", .id = "a"});
    struct registry_command renew = COMMAND(SERVICE_RENEW, .renew = {"uaa", "a", 1, 0, 5});
    (void)state;
    put.service.place = (struct registry_place){"https", "10.0.0.1", 1};
    assert_int_equal(apply(registry, put), ERR_INVALID); /* neither weight nor lease */
    put.service.weight = 1;
    put.service.ttl_ms = 30000;
    assert_int_equal(apply(registry, renew), ERR_NOT_FOUND);
    assert_int_equal(apply(registry, put), OK);
    assert_int_equal(last.epoch, 1);
    assert_int_equal(last.until_ms, 31000);
    assert_int_equal(apply(registry, renew), OK);
    assert_int_equal(registry_service(registry, slice_text("uaa"), slice_text("a"))->load, 5);
    assert_int_equal(apply(registry, put), OK); /* it started anew */
    assert_int_equal(last.epoch, 2);
    assert_int_equal(apply(registry, renew), ERR_AGAIN);
    renew.kind = REGISTRY_SERVICE_LEAVE;
    assert_int_equal(apply(registry, renew), ERR_AGAIN);
    renew.renew.epoch = 0;
    assert_int_equal(apply(registry, renew), OK);
    assert_int_equal(registry->service_count, 0);
    registry_free(registry);
}

static void instances_expire_when_their_lease_has_ended(void **state)
{
    struct registry_state *registry = house(1);
    struct registry_command put = COMMAND(SERVICE_PUT, .service = {.alias = "uaa", .weight = 1});
    struct registry_command expire = COMMAND(SERVICE_EXPIRE, .expire = {0});
    uint32_t begin;
    (void)state;
    put.service.place = (struct registry_place){"https", "10.0.0.1", 1};
    for (uint32_t i = 0; i < 6; i++) {
        draft_text(put.service.id, sizeof put.service.id, "i", i);
        put.service.ttl_ms = 1000 * (1 + i % 3);
        assert_int_equal(apply(registry, put), OK);
    }
    memcpy(put.service.alias, "reg", 4);
    assert_int_equal(apply(registry, put), OK);
    assert_int_equal(registry_services_of(registry, slice_text("uaa"), &begin), 6);
    assert_int_equal(begin, 1);
    assert_int_equal(registry_services_of(registry, slice_text("ua"), &begin), 0);
    expire.wall_ms = 2999;
    assert_int_equal(registry_services_due(registry, 2999), 2);
    assert_int_equal(apply(registry, expire), OK);
    assert_int_equal(last.count, 2);
    expire.wall_ms = 4000;
    expire.expire.count_max = 3;
    assert_int_equal(apply(registry, expire), OK);
    assert_int_equal(last.count, 3);
    assert_int_equal(registry_services_of(registry, slice_text("uaa"), &begin), 2);
    assert_int_equal(apply(registry, expire), OK);
    assert_int_equal(registry->service_count, 0);
    registry_free(registry);
}

static void an_unknown_command_stops_the_replica(void **state)
{
    struct registry_state *registry = house(1);
    struct registry_command command = {.kind = REGISTRY_COMMAND_END, .wall_ms = 9999};
    uint64_t index = registry->index;
    (void)state;
    assert_int_equal(registry_apply(registry, index + 1, &command, &last), ERR_UNSUPPORTED);
    assert_int_equal(registry->index, index);
    assert_int_equal(registry->wall_ms, 1000);
    registry_free(registry);
}

static void the_table_of_members_forgets_those_that_left_when_it_is_full(void **state)
{
    struct registry_state *registry = house(REGISTRY_MEMBERS_MAX);
    struct registry_command command = COMMAND(ASSIGN, .assign = {.version = 1, .count = 1});
    (void)state;
    assert_int_equal(join(registry, "more"), ERR_LIMIT);
    command.assign.rows[0] = (struct registry_assignment){0, {1, 5, 2}, 3, 1};
    assert_int_equal(apply(registry, command), OK);
    for (uint64_t number = 2; number <= 4; number++) {
        assert_int_equal(gone(registry, number), OK);
        assert_int_equal(NODE(registry, REMOVE, number), OK);
    }
    assert_int_equal(join(registry, "more"), OK);
    assert_int_equal(last.number, REGISTRY_MEMBERS_MAX + 1);
    assert_non_null(registry_member(registry, 2)); /* the map still names it */
    assert_null(registry_member(registry, 3));
    assert_int_equal(start(registry, 3, "n3"), ERR_NOT_FOUND);
    assert_non_null(strstr(last.reason, "any more"));
    registry_free(registry);
}

/* ---- replicas ------------------------------------------------------------------------------------ */

/* Any commands, also through their bytes, and through a snapshot in the middle: the same state. */
static void replicas_that_apply_the_same_are_the_same(void **state)
{
    uint64_t accepted[REGISTRY_COMMAND_END] = {0}, refused[REGISTRY_COMMAND_END] = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        struct registry_state *a = registry_new(), *b = registry_new();
        struct rng rng;
        rng_init(&rng, seed);
        for (uint64_t index = 1; index <= 400; index++) {
            struct registry_command command, read;
            struct registry_result one, other;
            struct buf bytes = {0};
            draft_command(
                &rng, a,
                (enum registry_command_kind)(1 + rng_below(&rng, REGISTRY_COMMAND_END - 1)),
                &command);
            assert_int_equal(registry_command_encode(&command, &bytes), OK);
            assert_int_equal(registry_command_decode(buf_bytes(&bytes), &read), OK);
            uint64_t hash = a->hash, node_next = a->node_next;
            assert_int_equal(registry_apply(a, index, &command, &one), OK);
            bool is_nothing = one.err != OK ||
                              (command.kind == REGISTRY_SERVICE_EXPIRE && one.count == 0) ||
                              (command.kind == REGISTRY_ASSIGN && command.assign.count == 0) ||
                              (command.kind == REGISTRY_JOIN && a->node_next == node_next);
            assert_true((a->hash == hash) == is_nothing); /* no change is left out */
            assert_int_equal(registry_apply(b, index, &read, &other), OK);
            assert_memory_equal(&one, &other, sizeof one);
            assert_true(a->hash == b->hash);
            assert_int_equal(registry_check(a), OK);
            *(one.err == OK ? &accepted[command.kind] : &refused[command.kind]) += 1;
            buf_deinit(&bytes);
            if (index % 97 == 0) { /* b is helped by a snapshot of a */
                assert_int_equal(registry_snapshot_encode(a, &bytes), OK);
                registry_free(b);
                assert_int_equal(registry_snapshot_decode(buf_bytes(&bytes), &b), OK);
                buf_deinit(&bytes);
            }
        }
        uint64_t digests[2];
        assert_int_equal(registry_digest(a, &digests[0]), OK);
        assert_int_equal(registry_digest(b, &digests[1]), OK);
        assert_true(digests[0] == digests[1]);
        registry_free(a);
        registry_free(b);
    }
    for (int kind = 1; kind < REGISTRY_COMMAND_END; kind++) { /* the draft draws something of all */
        assert_true(accepted[kind] > 5);
        assert_true(refused[kind] > 10 || kind == REGISTRY_SET || kind == REGISTRY_SERVICE_PUT ||
                    kind == REGISTRY_SERVICE_EXPIRE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_founder_is_node_1_and_holds_everything),
        cmocka_unit_test(a_node_joins_with_a_token_that_is_used_up),
        cmocka_unit_test(which_token_was_used_is_in_the_running_hash),
        cmocka_unit_test(an_expired_token_lets_nobody_in),
        cmocka_unit_test(a_join_that_is_said_again_gives_the_same_number),
        cmocka_unit_test(a_member_goes_from_state_to_state_by_the_table),
        cmocka_unit_test(an_older_incarnation_cannot_live_or_die_any_more),
        cmocka_unit_test(who_drains_goes_on_draining_after_a_crash),
        cmocka_unit_test(
            the_last_node_cannot_drain_and_a_dead_one_stays_while_nobody_could_take_over),
        cmocka_unit_test(a_dead_node_stays_while_a_partition_could_not_go_on_without_it),
        cmocka_unit_test(a_node_leaves_only_when_it_holds_nothing),
        cmocka_unit_test(a_map_is_assigned_at_its_version_and_whole),
        cmocka_unit_test(partitions_are_given_to_nobody_who_was_never_live_or_is_leaving),
        cmocka_unit_test(the_level_rises_when_all_members_have_it_and_then_binds_all),
        cmocka_unit_test(settings_are_set_and_unset),
        cmocka_unit_test(a_late_renewal_of_an_instance_is_refused),
        cmocka_unit_test(instances_expire_when_their_lease_has_ended),
        cmocka_unit_test(an_unknown_command_stops_the_replica),
        cmocka_unit_test(the_table_of_members_forgets_those_that_left_when_it_is_full),
        cmocka_unit_test(replicas_that_apply_the_same_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
