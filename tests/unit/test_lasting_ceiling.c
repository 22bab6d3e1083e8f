/*
 * memory_limit: near it nothing begins that stays, and what is there already goes on being served.
 */
#include "core/base/ledger.h"
#include "core/broker/broker_shared.h"
#include "core/broker/ceiling.h"
#include "core/broker/conn.h"
#include "core/pubsub/retain.h"
#include "tests/lib/held_journal.h"

#define GIB (INT64_C(1) << 30)

/* A memory of 8 GiB that something fills to so many; what the scene itself keeps is next to nothing. */
static void fill(const struct scene *scene, enum ledger_use use, int64_t gib)
{
    house_shard(scene->house, 0)->broker_memory_limit = 8 * GIB;
    ledger_add(use, gib * GIB);
}

static void connect_5(struct client *client, char id)
{
    uint8_t connect[] = "\x10\x13\0\x04MQTT\x05\x00\0\0\x05\x11\0\0\0\x64\0\x01?";
    connect[sizeof(connect) - 2] = (uint8_t)id;
    say(client, connect, sizeof(connect) - 1);
    commit(client->house);
}

/* Version 5, its session outlives it by 100 s. */
static struct client *connected_5(struct scene *scene, char id)
{
    struct client *client = add(scene, client_new(scene->house));
    connect_5(client, id);
    assert_true(client->heard_count > 4);
    client->heard_count = 0;
    return client;
}

static uint64_t retained(const struct scene *scene)
{
    return retain_count(house_shard(scene->house, 0)->retain);
}

static uint64_t not_retained(const struct scene *scene)
{
    return metric_label_value(house_shard(scene->house, 0)->metrics, METRIC_dropped,
                              TRAIL_DROP_MEMORY);
}

static void no_new_topic_is_retained_and_those_that_are_may_be_set_and_cleared(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = connected_5(&scene, 'w');
    struct client *old = add(&scene, connected(scene.house, 'o', true));
    SAY(writer, "\x33\x07\0\x01t\0\x07\0x");
    commit(scene.house);
    EXPECT(writer, "\x40\x03\0\x07\x10");
    uint64_t known = retained(&scene);
    held.op_count = 0;
    fill(&scene, LEDGER_RETAINED, 7);
    SAY(writer, "\x33\x07\0\x01u\0\x08\0x");
    EXPECT(writer, "\x40\x03\0\x08\x97");
    SAY(writer, "\x35\x07\0\x01u\0\x09\0x"); /* by the outbox of a lasting session */
    commit(scene.house);
    EXPECT(writer, "\x50\x03\0\x09\x97");
    assert_false(was_logged(OP_SEND));
    SAY(old, "\x33\x06\0\x01u\0\x07x"); /* 3.1.1 has no word for it */
    commit(scene.house);
    EXPECT_NOTHING(old);
    assert_false(was_logged(OP_RETAIN));
    assert_int_equal(retained(&scene), known);
    assert_int_equal(not_retained(&scene), 3);
    SAY(writer, "\x33\x07\0\x01t\0\x0a\0y");
    commit(scene.house);
    EXPECT(writer, "\x40\x03\0\x0a\x10");
    SAY(writer, "\x33\x06\0\x01t\0\x0b\0");
    commit(scene.house);
    EXPECT(writer, "\x40\x03\0\x0b\x10");
    assert_int_equal(retained(&scene), known - 1);
    fill(&scene, LEDGER_RETAINED, -7);
    SAY(writer, "\x33\x07\0\x01u\0\x08\0x");
    commit(scene.house);
    EXPECT(writer, "\x40\x03\0\x08\x10");
    scene_free(&scene);
}

/* QoS 0 hears of nothing: it reaches who is there, and is not retained. */
static void at_qos_0_it_is_delivered_and_not_retained(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', true));
    struct client *writer = connected_5(&scene, 'w');
    SAY(reader, "\x82\x06\0\x01\0\x01u\0");
    EXPECT(reader, "\x90\x03\0\x01\0");
    uint64_t known = retained(&scene);
    fill(&scene, LEDGER_RETAINED, 7);
    SAY(writer, "\x31\x05\0\x01u\0x");
    EXPECT(reader, "\x30\x04\0\x01ux");
    assert_int_equal(retained(&scene), known);
    assert_int_equal(not_retained(&scene), 1);
    fill(&scene, LEDGER_RETAINED, -7);
    scene_free(&scene);
}

static void no_subscription_is_new(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = connected_5(&scene, 'c');
    struct client *old = add(&scene, connected(scene.house, 'o', true));
    SAY(client, "\x82\x07\0\x01\0\0\x01t\x01");
    commit(scene.house);
    EXPECT(client, "\x90\x04\0\x01\0\x01");
    fill(&scene, LEDGER_SUBSCRIPTIONS, 7);
    SAY(client, "\x82\x0b\0\x02\0\0\x01u\x01\0\x01t\x02"); /* a new one, and a known one */
    commit(scene.house);
    EXPECT(client, "\x90\x05\0\x02\0\x97\x02");
    SAY(old, "\x82\x06\0\x03\0\x01u\x01");
    commit(scene.house);
    EXPECT(old, "\x90\x03\0\x03\x80");
    SAY(client, "\xa2\x06\0\x04\0\0\x01t");
    commit(scene.house);
    EXPECT(client, "\xb0\x04\0\x04\0\0");
    fill(&scene, LEDGER_SUBSCRIPTIONS, -7);
    scene_free(&scene);
}

static void no_session_is_new_and_those_that_are_there_are_resumed(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *known = connected_5(&scene, 'k');
    SAY(known, "\xe0\0");
    commit(scene.house);
    fill(&scene, LEDGER_SESSIONS, 7);
    struct client *stranger = add(&scene, client_new(scene.house));
    connect_5(stranger, 'n');
    assert_true(stranger->heard_count > 4);
    assert_memory_equal(stranger->heard + 2, "\0\x89", 2); /* Server busy */
    struct client *old = add(&scene, client_new(scene.house));
    SAY(old, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o");
    EXPECT(old, "\x20\x02\0\x03"); /* Server unavailable */
    struct client *again = add(&scene, client_new(scene.house));
    connect_5(again, 'k');
    assert_true(again->heard_count > 4);
    assert_memory_equal(again->heard + 2, "\x01\0", 2);
    fill(&scene, LEDGER_SESSIONS, -7);
    scene_free(&scene);
}

/* As after a start with a lower limit: who is there is served, with an eighth for what passes. */
static void messages_pass_however_much_stays(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x01");
    commit(scene.house);
    EXPECT(reader, "\x90\x03\0\x01\x01");
    struct client *writer = connected_5(&scene, 'w');
    fill(&scene, LEDGER_RETAINED, 20);
    SAY(writer, "\x32\x07\0\x01t\0\x07\0x");
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07");
    EXPECT(reader, "\x32\x06\0\x01t\0\x02x");
    fill(&scene, LEDGER_MESSAGES, 2);
    SAY(writer, "\x32\x07\0\x01t\0\x08\0x");
    commit(scene.house);
    EXPECT(writer, "\x40\x03\0\x08\x97");
    EXPECT_NOTHING(reader);
    SAY(writer, "\x33\x06\0\x01t\0\x09\0"); /* it would make room */
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x09");
    fill(&scene, LEDGER_MESSAGES, -2);
    fill(&scene, LEDGER_RETAINED, -20);
    scene_free(&scene);
}

static void messages_alone_may_use_all_of_it(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct shard *shard = house_shard(scene.house, 0);
    fill(&scene, LEDGER_MESSAGES, 7);
    assert_true(ceiling_is_near(shard));
    assert_false(ceiling_is_reached(shard));
    fill(&scene, LEDGER_MESSAGES, 1);
    assert_true(ceiling_is_reached(shard));
    fill(&scene, LEDGER_MESSAGES, -8);
    assert_false(ceiling_is_near(shard));
    scene_free(&scene);
}

static void what_the_store_may_take_is_a_part_of_it(void **state)
{
    enum { MIB = 1 << 20 };
    static const struct {
        bool persistence;
        uint64_t limit, storage, left;
    } rows[] = {
        {false, 64, 0, 64},          {true, 64, 0, 56},      {true, 64, 4, 56}, /* 8 at least */
        {true, 1024, 0, 896},        {true, 1024, 300, 724}, {true, 1024, 800, 512},
        {true, 8192, 0, 8192 - 256},
    };
    static struct config config;
    (void)state;
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        config.persistence = rows[i].persistence;
        config.memory_limit = rows[i].limit * MIB;
        config.storage_memory = rows[i].storage * MIB;
        assert_int_equal(broker_memory_limit(&config), rows[i].left * MIB);
    }
}

/* Whatever clients have made it keep is struck out when it is gone, to the last byte. */
static void what_a_broker_kept_is_struck_out_with_it(void **state)
{
    uint64_t before[LEDGER_USE_COUNT], now[LEDGER_USE_COUNT];
    (void)state;
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        before[use] = ledger_bytes(use);
    }
    struct scene scene = scene_new();
    struct client *client = connected_5(&scene, 'c');
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    for (char filter = 'a'; filter < 'u'; filter++) {
        uint8_t subscribe[] = "\x82\x07\0\x01\0\0\x01?\x01";
        subscribe[7] = (uint8_t)filter;
        say(client, subscribe, sizeof(subscribe) - 1);
        uint8_t publish[] = "\x33\x07\0\x01?\0\x07x";
        publish[1] = 6;
        publish[4] = (uint8_t)filter;
        say(reader, publish, sizeof(publish) - 1);
        commit(scene.house);
        client->heard_count = reader->heard_count = 0;
    }
    SAY(reader, "\x82\x0f\0\x02\0\x0a$share/g/t\x02");
    commit(scene.house);
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        now[use] = ledger_bytes(use);
    }
    assert_true(now[LEDGER_MESSAGES] > before[LEDGER_MESSAGES] + 20 * sizeof(struct msg));
    assert_true(now[LEDGER_RETAINED] > before[LEDGER_RETAINED] + 20 * 32);
    assert_true(now[LEDGER_SUBSCRIPTIONS] > before[LEDGER_SUBSCRIPTIONS] + 21 * 128);
    assert_true(now[LEDGER_CONNECTIONS] > before[LEDGER_CONNECTIONS] + 2 * sizeof(struct conn));
    assert_true(now[LEDGER_SESSIONS] > before[LEDGER_SESSIONS] + 2 * sizeof(struct session));
    scene_free(&scene);
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        assert_int_equal(ledger_bytes(use), before[use]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_new_topic_is_retained_and_those_that_are_may_be_set_and_cleared),
        cmocka_unit_test(at_qos_0_it_is_delivered_and_not_retained),
        cmocka_unit_test(no_subscription_is_new),
        cmocka_unit_test(no_session_is_new_and_those_that_are_there_are_resumed),
        cmocka_unit_test(messages_pass_however_much_stays),
        cmocka_unit_test(messages_alone_may_use_all_of_it),
        cmocka_unit_test(what_the_store_may_take_is_a_part_of_it),
        cmocka_unit_test(what_a_broker_kept_is_struck_out_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
