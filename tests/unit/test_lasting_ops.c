/*
 * What is logged, and what is told when the journal says no after all: a fence between an op and the
 * answer that waits for it.
 */
#include "tests/lib/held_journal.h"

static uint32_t logged(enum op_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < held.op_count; i++) {
        count += held.ops[i] == kind;
    }
    return count;
}

static void fence(struct scene *scene)
{
    held.admits = ERR_UNAVAILABLE;
    tell_all(ERR_UNAVAILABLE);
    turns(scene->house);
}

static void subscribe(struct client *client, const char *topic, char qos)
{
    uint8_t bytes[] = {0x82, 7, 0, 1, 0, 2, (uint8_t)topic[0], (uint8_t)topic[1], (uint8_t)qos};
    say(client, bytes, sizeof(bytes));
    commit(client->house);
    assert_int_equal(client->heard_count, 5);
    client->heard_count = 0;
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void a_session_on_disk_that_is_to_end_with_this_connection_says_so_there(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, "\xe0\0");
    commit(scene.house);
    struct client *again = add(&scene, client_new(scene.house));
    SAY(again, "\x10\x0e\0\x04MQTT\x05\x00\0\0\0\0\x01s"); /* version 5: expiry 0 */
    EXPECT_NOTHING(again);
    assert_int_equal(logged(OP_OPEN), 2);
    commit(scene.house);
    assert_true(again->heard_count > 0);
    SAY(again, "\xe0\0");
    assert_int_equal(logged(OP_END), 1);
    scene_free(&scene);
}

/* ---- messages ------------------------------------------------------------------------------- */

static void what_is_settled_is_the_message_that_was_logged(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    subscribe(reader, "tt", 1);
    SAY(writer, "\x32\x07\0\x02tt\0\x07x");
    uint64_t number = held.op_count;
    assert_int_equal(held.ops[number - 1], OP_ENQUEUE);
    commit(scene.house);
    EXPECT(reader, "\x32\x07\0\x02tt\0\x02x");
    SAY(reader, "\x40\x02\0\x02");
    assert_int_equal(held.settled, number);
    scene_free(&scene);
}

static void of_what_was_refused_the_packet_id_is_free_again(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, client_new(scene.house));
    SAY(writer, "\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01p");
    assert_true(writer->heard_count > 0);
    writer->heard_count = 0;
    subscribe(reader, "tt", 1);
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x34\x08\0\x02tt\0\x07\0x");
    EXPECT(writer,
           "\x50\x03\0\x07\x97"); /* the receiver's partition says no, not the publisher's */
    held.admits = OK;
    SAY(writer, "\x3c\x08\0\x02tt\0\x07\0x");
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    EXPECT(reader, "\x32\x07\0\x02tt\0\x02x");
    scene_free(&scene);
}

/* The topic is owned by the partition of the receiver: what is retained and routed comes there twice. */
static void a_topic_and_its_receiver_may_share_a_partition(void **state)
{
    (void)state;
    char topic[] = "aa";
    while (partition_of(slice_text(topic)) != partition_of(slice_text("s"))) {
        topic[1]++;
        if (topic[1] > 'z') {
            topic[0]++;
            topic[1] = 'a';
        }
    }
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    subscribe(reader, topic, 2);
    for (uint8_t id = 1; id <= 3; id++) {
        uint8_t publish[] = {0x35, 7, 0, 2, (uint8_t)topic[0], (uint8_t)topic[1], 0, id, 'x'};
        say(writer, publish, sizeof(publish));
        uint32_t enqueued = logged(OP_ENQUEUE);
        tell_all(OK);
        turns(scene.house);
        assert_int_equal(logged(OP_RETAIN), id);
        assert_int_equal(logged(OP_ENQUEUE), enqueued); /* first it is retained, on disk */
        commit(scene.house);
        commit(scene.house);
        publish[0] = 0x34;
        publish[7] = (uint8_t)(id + 1);
        expect(reader, (const char *)publish, sizeof(publish));
    }
    assert_int_equal(logged(OP_SENT), 3);
    scene_free(&scene);
}

static void a_repeated_subscription_has_the_new_settings(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    subscribe(reader, "tt", 1);
    subscribe(reader, "tt", 0); /* [v3:MQTT-3.8.4-3] */
    assert_int_equal(logged(OP_SUBSCRIBE), 2);
    SAY(writer, "\x32\x07\0\x02tt\0\x07x");
    EXPECT(reader, "\x30\x05\0\x02ttx");
    EXPECT(writer, "\x40\x02\0\x07");
    scene_free(&scene);
}

/* ---- a fence -------------------------------------------------------------------------------- */

static void a_fence_refuses_the_session_that_waits(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s");
    EXPECT_NOTHING(client);
    fence(&scene);
    EXPECT(client, "\x20\x02\0\x03");
    scene_free(&scene);
}

static void a_fence_in_the_same_turn_is_told_at_once(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x13\0\x04MQTT\x05\x00\0\0\x05\x11\0\0\0\x64\0\x01s");
    commit(scene.house);
    client->heard_count = 0;
    SAY(client, "\x82\x08\0\x01\0\0\x02tt\x01");
    commit(scene.house);
    EXPECT(client, "\x90\x04\0\x01\0\x01");
    held.awaits = ERR_UNAVAILABLE; /* admitted, logged, and then it broke */
    SAY(client, "\x32\x08\0\x02tt\0\x07\0x");
    EXPECT(client, "\x40\x03\0\x07\x83");
    SAY(client, "\x34\x08\0\x02uu\0\x08\0x");
    EXPECT(client, "\x50\x03\0\x08\x83");
    SAY(client, "\x82\x08\0\x02\0\0\x02uu\x01");
    EXPECT(client, "\x90\x04\0\x02\0\x83");
    struct client *other = add(&scene, client_new(scene.house));
    SAY(other, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01o");
    EXPECT(other, "\x20\x02\0\x03");
    SAY(client, "\xe0\0");
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void a_fence_leaves_what_waits_in_the_outbox_there(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', true));
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    subscribe(reader, "tt", 0);
    SAY(writer, "\x34\x07\0\x02tt\0\x07x");
    fence(&scene);
    EXPECT_NOTHING(writer);
    EXPECT_NOTHING(
        reader); /* the next start may not find it, and then the publisher sends it again */
    scene_free(&scene);
}

static void a_fence_withholds_pubcomp(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, "\x34\x07\0\x02tt\0\x07x");
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    SAY(writer, "\x62\x02\0\x07");
    fence(&scene);
    EXPECT_NOTHING(writer);
    scene_free(&scene);
}

static void a_verdict_comes_after_connection_and_session_are_gone(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    subscribe(reader, "tt", 2);
    SAY(writer, "\x34\x07\0\x02tt\0\x07x\xe0\0");
    assert_true(link_is_closed(writer->link));
    fence(&scene); /* under the address sanitizer */
    EXPECT_NOTHING(writer);
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_on_disk_that_is_to_end_with_this_connection_says_so_there),
        cmocka_unit_test(what_is_settled_is_the_message_that_was_logged),
        cmocka_unit_test(of_what_was_refused_the_packet_id_is_free_again),
        cmocka_unit_test(a_topic_and_its_receiver_may_share_a_partition),
        cmocka_unit_test(a_fence_refuses_the_session_that_waits),
        cmocka_unit_test(a_repeated_subscription_has_the_new_settings),
        cmocka_unit_test(a_fence_in_the_same_turn_is_told_at_once),
        cmocka_unit_test(a_fence_leaves_what_waits_in_the_outbox_there),
        cmocka_unit_test(a_fence_withholds_pubcomp),
        cmocka_unit_test(a_verdict_comes_after_connection_and_session_are_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
