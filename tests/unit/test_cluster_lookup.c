#include "cluster/lookup.h"
#include "core/base/rng.h"
#include "core/session/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct registry_result result;

static void apply(struct registry_state *registry, const struct registry_command *command)
{
    assert_int_equal(registry_apply(registry, registry->index + 1, command, &result), OK);
    assert_int_equal(result.err, OK);
}

static struct registry_state *founded(void)
{
    struct registry_state *registry = registry_new();
    struct registry_command command = {
        .kind = REGISTRY_FOUND,
        .wall_ms = 1000,
        .found = {{1}, "house", {.name = "n1", .weight = 1, .level_min = 1, .level_max = 1}}};
    apply(registry, &command);
    return registry;
}

/* An instance of "db" on "https" that is up until 31000. */
static struct registry_service *instance(struct registry_state *registry, const char *id,
                                         uint32_t weight, uint64_t load)
{
    struct registry_command command = {.kind = REGISTRY_SERVICE_PUT,
                                       .wall_ms = 1000,
                                       .service = {.alias = "db",
                                                   .place = {"https", "10.0.0.1", 443},
                                                   .weight = weight,
                                                   .load = load,
                                                   .ttl_ms = 30000}};
    snprintf(command.service.id, sizeof command.service.id, "%s", id);
    apply(registry, &command);
    return (struct registry_service *)registry_service(registry, slice_text("db"), slice_text(id));
}

static struct lookup_query query_of(enum lookup_strategy strategy)
{
    return (struct lookup_query){
        .alias = slice_text("db"), .strategy = strategy, .wall_ms = 2000, .count_max = LOOKUP_MAX};
}

/* Their ids, one behind the other, with a blank. */
static const char *order(const struct registry_state *registry, const struct lookup_query *query)
{
    static char text[LOOKUP_MAX * 8];
    const struct registry_service *found[LOOKUP_MAX];
    uint32_t count = lookup_services(registry, query, found);
    text[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i == 0 ? "" : " ",
                 found[i]->id);
    }
    return text;
}

/* ---- instances ------------------------------------------------------------------------------------- */

static void who_is_down_is_not_named_and_who_drains_comes_last(void **state)
{
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_LEAST);
    (void)state;
    assert_string_equal(order(registry, &query), "");
    instance(registry, "a", 1, 0)->health = SERVICE_DOWN;
    assert_string_equal(order(registry, &query), "");
    instance(registry, "b", 1, 0)->health = SERVICE_DRAINING;
    instance(registry, "c", 1, 5)->until_ms = 2000; /* its lease has just ended */
    instance(registry, "d", 1, 9);
    for (int strategy = 0; strategy < LOOKUP_STRATEGY_COUNT; strategy++) {
        query.strategy = (enum lookup_strategy)strategy;
        assert_string_equal(order(registry, &query), "d c b");
    }
    registry_free(registry);
}

static void the_zone_comes_first_among_those_who_are_as_well(void **state)
{
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_LEAST);
    (void)state;
    memcpy(instance(registry, "a", 1, 7)->zone, "east", 5);
    memcpy(instance(registry, "b", 1, 1)->zone, "west", 5);
    struct registry_service *drains = instance(registry, "c", 1, 0);
    memcpy(drains->zone, "east", 5);
    drains->health = SERVICE_DRAINING;
    query.zone = slice_text("east");
    assert_string_equal(order(registry, &query), "a b c");
    query.zone = slice_text("west");
    assert_string_equal(order(registry, &query), "b a c");
    query.zone = slice_text("north");
    assert_string_equal(order(registry, &query), "b a c");
    registry_free(registry);
}

static void only_the_scheme_and_the_alias_that_were_asked_for_are_named(void **state)
{
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_KEY);
    (void)state;
    instance(registry, "a", 1, 0);
    memcpy(instance(registry, "b", 1, 0)->place.scheme, "coap", 5);
    query.scheme = slice_text("coap");
    assert_string_equal(order(registry, &query), "b");
    query.alias = slice_text("dbs");
    assert_string_equal(order(registry, &query), "");
    registry_free(registry);
}

static void load_counts_for_its_weight(void **state)
{
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_LEAST);
    (void)state;
    instance(registry, "a", 1, 10);
    instance(registry, "b", 4, 30);
    for (query.turn = 0; query.turn < 20; query.turn++) { /* both are drawn */
        assert_string_equal(order(registry, &query), "b a");
    }
    instance(registry, "b", 4, 41);
    for (query.turn = 0; query.turn < 20; query.turn++) {
        assert_string_equal(order(registry, &query), "a b");
    }
    instance(registry, "b", 4, 40); /* equal: by name */
    assert_string_equal(order(registry, &query), "a b");
    registry_free(registry);
}

/* A thousand clients ask between two reports of loads: not all run to the same one. */
static void two_are_drawn_and_the_less_loaded_is_meant(void **state)
{
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_LEAST);
    uint32_t counts[8] = {0};
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        char id[4] = {(char)('a' + i)};
        instance(registry, id, 1, i);
    }
    for (query.turn = 0; query.turn < 2000; query.turn++) {
        const struct registry_service *found[LOOKUP_MAX];
        assert_int_equal(lookup_services(registry, &query, found), 8);
        counts[found[0]->id[0] - 'a']++;
        for (uint32_t i = 2; i < 8; i++) { /* the others by load */
            assert_true(found[i - 1]->load < found[i]->load);
        }
    }
    assert_int_equal(counts[7], 0); /* the most loaded one loses every draw */
    for (uint32_t i = 1; i < 7; i++) {
        assert_true(counts[i] < counts[i - 1]);
        assert_true(counts[i] > 20);
    }
    assert_in_range(counts[0], 400, 600); /* one in four */
    registry_free(registry);
}

static void a_key_finds_the_same_instance_and_few_move_when_one_goes(void **state)
{
    enum { INSTANCES = 10, KEYS = 5000 };
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_KEY);
    static char before[KEYS];
    uint32_t counts[INSTANCES] = {0};
    (void)state;
    for (uint32_t i = 0; i < INSTANCES; i++) {
        char id[4] = {(char)('a' + i)};
        instance(registry, id, i == 9 ? 3 : 1, 100 - i);
    }
    for (int round = 0; round < 2; round++) {
        for (uint32_t k = 0; k < KEYS; k++) {
            char key[16];
            const struct registry_service *found[LOOKUP_MAX];
            snprintf(key, sizeof key, "client-%u", k);
            query.key = slice_text(key);
            query.turn = k * 7919; /* does not matter */
            lookup_services(registry, &query, found);
            if (round == 0) {
                before[k] = found[0]->id[0];
                counts[found[0]->id[0] - 'a']++;
            } else {
                assert_true(found[0]->id[0] == before[k] || before[k] == 'd');
                assert_true(found[0]->id[0] != 'd');
            }
        }
        struct registry_command leave = {.kind = REGISTRY_SERVICE_LEAVE,
                                         .renew = {.alias = "db", .id = "d"}};
        if (round == 0) {
            apply(registry, &leave);
        }
    }
    for (uint32_t i = 0; i < INSTANCES; i++) {
        double share = KEYS * (i == 9 ? 3 : 1) / 12.0;
        assert_true(fabs(counts[i] - share) < 4 * sqrt(share));
    }
    registry_free(registry);
}

static void each_comes_in_turn_as_often_as_its_weight_says(void **state)
{
    struct registry_state *registry = founded();
    struct lookup_query query = query_of(LOOKUP_ROUND);
    static const uint32_t weights[4] = {1, 2, 1, 4};
    uint32_t counts[4] = {0};
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        char id[4] = {(char)('a' + i)};
        instance(registry, id, weights[i], 0);
    }
    for (query.turn = 12345; query.turn < 12345 + 800; query.turn++) {
        const struct registry_service *found[LOOKUP_MAX];
        assert_int_equal(lookup_services(registry, &query, found), 4);
        counts[found[0]->id[0] - 'a']++;
        for (uint32_t i = 1; i < 4; i++) { /* the ring goes on from there */
            assert_int_equal(found[i]->id[0], 'a' + (found[0]->id[0] - 'a' + i) % 4);
        }
        for (uint32_t i = 0; i < 4; i++) { /* at any time, not only in the end */
            double share = (double)(query.turn - 12345 + 1) * weights[i] / 8;
            assert_true(fabs(counts[i] - share) < 4);
        }
    }
    registry_free(registry);
}

static void a_short_answer_is_the_beginning_of_a_long_one(void **state)
{
    struct registry_state *registry = founded();
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < 60; i++) {
        char id[8];
        snprintf(id, sizeof id, "i%u", i);
        struct registry_service *service = instance(registry, id, 1 + (uint32_t)rng_below(&rng, 4),
                                                    rng_below(&rng, 50));
        service->health = (uint8_t)rng_below(&rng, 3);
        service->zone[0] = (char)('a' + rng_below(&rng, 3));
    }
    for (uint64_t turn = 0; turn < 200; turn++) {
        const struct registry_service *longer[LOOKUP_MAX], *shorter[LOOKUP_MAX];
        struct lookup_query query = query_of((enum lookup_strategy)(turn % 3));
        query.turn = turn;
        query.zone = turn % 2 == 0 ? slice_text("b") : (struct slice){0};
        query.key = slice_of(&turn, sizeof turn);
        uint32_t count = lookup_services(registry, &query, longer);
        assert_int_equal(count, LOOKUP_MAX);
        query.count_max = 1 + (uint32_t)(turn % 9);
        assert_int_equal(lookup_services(registry, &query, shorter), query.count_max);
        assert_memory_equal(shorter, longer, query.count_max * sizeof shorter[0]);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(longer[i]->health != SERVICE_DOWN);
            for (uint32_t k = 0; k < i; k++) {
                assert_true(longer[i] != longer[k]);
            }
            assert_true(i == 0 || longer[i - 1]->health <= longer[i]->health);
        }
    }
    registry_free(registry);
}

static void strategies_have_names(void **state)
{
    enum lookup_strategy strategy;
    (void)state;
    assert_true(lookup_strategy_read(slice_text("round"), &strategy));
    assert_int_equal(strategy, LOOKUP_ROUND);
    assert_false(lookup_strategy_read(slice_text("rounds"), &strategy));
}

/* ---- the node for a client ------------------------------------------------------------------------- */

static uint64_t leader;

static uint64_t leader_told(void *context, uint32_t partition)
{
    assert_int_equal(partition, *(uint32_t *)context);
    return leader;
}

/* Nodes 1 to 4 with "mqtt", 2 and 3 also with "wss"; the client's partition lies on 2 and 3, led by 3. */
static struct registry_state *house(uint32_t partition)
{
    struct registry_state *registry = founded();
    registry->member_count = 4;
    for (uint32_t i = 0; i < 4; i++) {
        struct registry_member *member = &registry->members[i];
        *member = (struct registry_member){.number = i + 1, .state = MEMBER_ACTIVE};
        member->profile.weight = 1;
        member->profile.clients[0] = (struct registry_place){"mqtt", "host", (uint16_t)(100 + i)};
        member->profile.clients[1] = (struct registry_place){"wss", "host", (uint16_t)(200 + i)};
        member->profile.client_count = i == 1 || i == 2 ? 2 : 1;
    }
    registry->partitions[partition] = (struct registry_partition){1, {2, 3}, 2, 3};
    return registry;
}

static void a_client_is_sent_to_who_leads_its_session(void **state)
{
    struct slice client = slice_text("client"), mqtt = slice_text("mqtt");
    uint32_t partition = partition_of(client);
    struct registry_state *registry = house(partition);
    struct lookup_node node;
    (void)state;
    leader = 2;
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node), OK);
    assert_int_equal(node.member->number, 2);
    assert_int_equal(node.why, LOOKUP_LEADS);
    assert_int_equal(node.partition, partition);
    assert_int_equal(node.place->port, 101);
    assert_int_equal(
        lookup_client(registry, client, slice_text("wss"), leader_told, &partition, &node), OK);
    assert_int_equal(node.place->port, 201);
    leader = 0; /* nobody, or nobody knows */
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node), OK);
    assert_int_equal(node.member->number, 3);
    assert_int_equal(node.why, LOOKUP_PREFERRED);
    registry->members[2].state = MEMBER_GONE;
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node), OK);
    assert_int_equal(node.member->number, 2);
    assert_int_equal(node.why, LOOKUP_HOLDS);
    registry_free(registry);
}

static void a_client_is_sent_to_who_drains_only_when_nobody_else_is_there(void **state)
{
    struct slice client = slice_text("client"), mqtt = slice_text("mqtt");
    uint32_t partition = partition_of(client);
    struct registry_state *registry = house(partition);
    struct lookup_node node;
    (void)state;
    leader = 3;
    registry->members[2].state = MEMBER_DRAINING;
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node), OK);
    assert_int_equal(node.member->number, 2);
    registry->members[1].state = MEMBER_JOINING;
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node), OK);
    assert_int_equal(node.why, LOOKUP_ANY);
    registry->members[0].state = registry->members[3].state = MEMBER_LEFT;
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node), OK);
    assert_int_equal(node.member->number, 3);
    assert_int_equal(node.why, LOOKUP_LEADS);
    registry->members[2].state = MEMBER_GONE;
    assert_int_equal(lookup_client(registry, client, mqtt, leader_told, &partition, &node),
                     ERR_UNAVAILABLE);
    registry_free(registry);
}

static void a_client_is_sent_nowhere_when_no_node_has_its_listener(void **state)
{
    struct slice client = slice_text("client");
    uint32_t partition = partition_of(client);
    struct registry_state *registry = house(partition);
    struct lookup_node node;
    (void)state;
    leader = 1; /* which has no "wss" */
    assert_int_equal(
        lookup_client(registry, client, slice_text("wss"), leader_told, &partition, &node), OK);
    assert_int_equal(node.member->number, 3);
    assert_int_equal(lookup_client(registry, client, slice_text("ws"), leader_told, &partition,
                                   &node),
                     ERR_NOT_FOUND);
    registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_down_is_not_named_and_who_drains_comes_last),
        cmocka_unit_test(the_zone_comes_first_among_those_who_are_as_well),
        cmocka_unit_test(only_the_scheme_and_the_alias_that_were_asked_for_are_named),
        cmocka_unit_test(load_counts_for_its_weight),
        cmocka_unit_test(two_are_drawn_and_the_less_loaded_is_meant),
        cmocka_unit_test(a_key_finds_the_same_instance_and_few_move_when_one_goes),
        cmocka_unit_test(each_comes_in_turn_as_often_as_its_weight_says),
        cmocka_unit_test(a_short_answer_is_the_beginning_of_a_long_one),
        cmocka_unit_test(strategies_have_names),
        cmocka_unit_test(a_client_is_sent_to_who_leads_its_session),
        cmocka_unit_test(a_client_is_sent_to_who_drains_only_when_nobody_else_is_there),
        cmocka_unit_test(a_client_is_sent_nowhere_when_no_node_has_its_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
