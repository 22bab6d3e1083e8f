/*
 * What is told waits until it is certain: a whole shard on a journal that commits when the test says
 * so. Packets are bytes, as a client writes and reads them.
 */
#include "tests/lib/held_journal.h"

/* ---- what waits ----------------------------------------------------------------------------- */

static void connack_waits_for_the_session(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s");
    EXPECT_NOTHING(client);
    assert_true(was_logged(OP_OPEN));
    commit(scene.house);
    EXPECT(client, "\x20\x02\0\0");
    scene_free(&scene);
}

static void what_comes_behind_the_connect_waits_with_it(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s\xc0\0");
    SAY(client, "\xc0\0");
    EXPECT_NOTHING(client);
    commit(scene.house);
    EXPECT(client, "\x20\x02\0\0\xd0\0\xd0\0");
    scene_free(&scene);
}

#define FRAME(bytes) "\x82" bytes /* masked with nothing: as it is */
#define MASK         "\0\0\0\0"

/* The first frame ends inside a packet. */
static void so_do_the_frames_of_a_websocket_in_their_order(void **state)
{
    (void)state;
    struct scene scene = {.house = house_new_on(&ports, 1, 0, 1000, "protocol websockets\n")};
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
    assert_true(client->heard_count > 0);
    client->heard_count = 0;
    SAY(client, FRAME("\x90" MASK "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s\xc0")
                    FRAME("\x85" MASK "\0\x82\x06\0\x01") FRAME("\x86" MASK "\0\x01t\x01\xc0\0"));
    EXPECT_NOTHING(client);
    tell_all(OK);
    turns(scene.house);
    EXPECT(client, "\x82\x04\x20\x02\0\0\x82\x02\xd0\0\x82\x02\xd0\0");
    commit(scene.house);
    EXPECT(client, "\x82\x05\x90\x03\0\x01\x01");
    scene_free(&scene);
}

static void nothing_is_heard_behind_a_disconnect_that_waited_with_the_connect(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s\xe0\0\xc0\0");
    commit(scene.house);
    EXPECT(client, "\x20\x02\0\0");
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

/* Whoever is open is looked at when the rules change (logins_renew); this one is not open yet. */
static void who_is_not_wanted_any_more_is_sent_away_when_its_session_is_there(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s\xc0\0");
    struct config *config = (struct config *)(uintptr_t)house_shard(scene.house, 0)->config;
    config->listeners[0].allow_anonymous = false;
    commit(scene.house);
    EXPECT(client, "\x20\x02\0\0"); /* as it was promised, and what it said is not heard */
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void a_client_that_goes_before_its_session_is_there_hears_nothing(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    struct client *second = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s");
    SAY(second, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s"); /* takes it over */
    commit(scene.house);
    assert_true(link_is_closed(client->link));
    EXPECT(second, "\x20\x02\x01\0");
    scene_free(&scene);
}

static void a_session_that_ends_with_its_connection_costs_no_op(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s");
    EXPECT(client, "\x20\x02\0\0");
    SAY(client, "\x82\x06\0\x01\0\x01t\x01");
    EXPECT(client, "\x90\x03\0\x01\x01");
    SAY(client, "\x32\x06\0\x01t\0\x07x");
    EXPECT(client, "\x32\x06\0\x01t\0\x02x\x40\x02\0\x07");
    SAY(client, "\x34\x06\0\x01t\0\x08x");
    EXPECT(client, "\x32\x06\0\x01t\0\x03x\x50\x02\0\x08");
    SAY(client, "\xe0\0");
    assert_int_equal(held.op_count, 0);
    scene_free(&scene);
}

static void suback_and_unsuback_wait(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, "\x82\x06\0\x01\0\x01t\x01");
    EXPECT_NOTHING(client);
    commit(scene.house);
    EXPECT(client, "\x90\x03\0\x01\x01");
    SAY(client, "\xa2\x05\0\x02\0\x01t");
    EXPECT_NOTHING(client);
    commit(scene.house);
    EXPECT(client, "\xb0\x02\0\x02");
    assert_true(was_logged(OP_SUBSCRIBE));
    assert_true(was_logged(OP_UNSUBSCRIBE));
    scene_free(&scene);
}

static void puback_waits_for_every_durable_receiver_and_so_does_the_message(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x01");
    commit(scene.house);
    EXPECT(reader, "\x90\x03\0\x01\x01");
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(writer);
    EXPECT_NOTHING(reader);
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07");
    EXPECT(reader, "\x32\x06\0\x01t\0\x02x");
    SAY(reader, "\x40\x02\0\x02");
    assert_true(was_logged(OP_SETTLE));
    scene_free(&scene);
}

static void puback_waits_for_the_retained_message(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(writer, "\x33\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(writer);
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07");
    SAY(writer, "\x31\x03\0\x01t"); /* QoS 0: an op that nobody waits for */
    assert_int_equal(held.ops[held.op_count - 1], OP_RETAIN);
    scene_free(&scene);
}

static void qos_2_of_a_durable_publisher_goes_by_the_outbox(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x02");
    commit(scene.house);
    EXPECT(reader, "\x90\x03\0\x01\x02");
    uint32_t before = held.op_count;
    SAY(writer, "\x34\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(writer);
    assert_int_equal(held.op_count, before + 2);
    assert_int_equal(held.ops[before], OP_SEEN);
    assert_int_equal(held.ops[before + 1], OP_SEND);
    tell_all(OK);
    turns(scene.house);
    EXPECT(writer, "\x50\x02\0\x07"); /* PUBREC, and the receiver's partition is not there yet */
    EXPECT_NOTHING(reader);
    assert_true(was_logged(OP_ENQUEUE));
    assert_true(was_logged(OP_RECEIVED));
    assert_false(was_logged(OP_SENT));
    SAY(writer, "\x34\x06\0\x01t\0\x07x"); /* a repeat ends here */
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    EXPECT(reader, "\x34\x06\0\x01t\0\x02x");
    assert_true(was_logged(OP_SENT));
    SAY(writer, "\x62\x02\0\x07");
    EXPECT_NOTHING(writer);
    commit(scene.house);
    EXPECT(writer, "\x70\x02\0\x07");
    assert_true(was_logged(OP_RELEASE));
    scene_free(&scene);
}

static void pubrel_waits_until_the_pubrec_is_certain(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x02");
    commit(scene.house);
    SAY(writer, "\x34\x06\0\x01t\0\x07x");
    commit(scene.house);
    reader->heard_count = 0;
    SAY(reader, "\x50\x02\0\x02");
    EXPECT_NOTHING(reader);
    commit(scene.house);
    EXPECT(reader, "\x62\x02\0\x02");
    scene_free(&scene);
}

static void a_will_leaves_by_the_outbox_beside_its_being_gone(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', true));
    SAY(reader, "\x82\x06\0\x01\0\x01w\x00");
    EXPECT(reader, "\x90\x03\0\x01\0");
    struct client *dying = add(&scene, client_new(scene.house));
    SAY(dying, "\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01"
               "d\0\x01w\0\x01!");
    commit(scene.house);
    EXPECT(dying, "\x20\x02\0\0");
    SAY(dying, "\x10\x00"); /* a protocol error */
    EXPECT_NOTHING(reader);
    assert_true(was_logged(OP_WILL));
    assert_true(was_logged(OP_SEND));
    assert_true(was_logged(OP_END));
    commit(scene.house);
    EXPECT(reader, "\x30\x04\0\x01w!");
    scene_free(&scene);
}

/* ---- what cannot be kept -------------------------------------------------------------------- */

static void a_full_disk_refuses_what_would_last_and_serves_the_rest(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    struct client *other = add(&scene, connected(scene.house, 'o', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x01");
    commit(scene.house);
    reader->heard_count = 0;
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(writer); /* 3.1.1: the acknowledgement is withheld */
    SAY(other, "\x32\x06\0\x01u\0\x08x");
    EXPECT(other, "\x40\x02\0\x08"); /* nobody durable wants it */
    SAY(writer, "\x30\x04\0\x01tx");
    EXPECT(reader, "\x30\x04\0\x01tx");
    SAY(reader, "\x82\x06\0\x02\0\x01u\x01");
    EXPECT(reader, "\x90\x03\0\x02\x80");
    held.admits = OK;
    SAY(other, "\x3a\x06\0\x01t\0\x07x"); /* and it recovers */
    commit(scene.house);
    EXPECT(other, "\x40\x02\0\x07");
    scene_free(&scene);
}

static void what_was_accepted_before_the_disk_was_full_is_finished(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, "\x34\x06\0\x01t\0\x07x");
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x3c\x06\0\x01t\0\x07x"); /* its PUBREC was lost: it is no new message */
    EXPECT(writer, "\x50\x02\0\x07");
    SAY(writer, "\x62\x02\0\x07");
    commit(scene.house);
    EXPECT(writer, "\x70\x02\0\x07");
    scene_free(&scene);
}

static void nobody_is_told_what_a_fenced_journal_lost(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x02");
    commit(scene.house);
    reader->heard_count = 0;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    SAY(writer, "\x34\x06\0\x01t\0\x08x");
    SAY(reader, "\x82\x06\0\x02\0\x01u\x01");
    held.admits = ERR_UNAVAILABLE;
    tell_all(ERR_UNAVAILABLE);
    turns(scene.house);
    EXPECT_NOTHING(writer);
    EXPECT(reader, "\x90\x03\0\x02\x80");
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connack_waits_for_the_session),
        cmocka_unit_test(what_comes_behind_the_connect_waits_with_it),
        cmocka_unit_test(so_do_the_frames_of_a_websocket_in_their_order),
        cmocka_unit_test(nothing_is_heard_behind_a_disconnect_that_waited_with_the_connect),
        cmocka_unit_test(who_is_not_wanted_any_more_is_sent_away_when_its_session_is_there),
        cmocka_unit_test(a_client_that_goes_before_its_session_is_there_hears_nothing),
        cmocka_unit_test(a_session_that_ends_with_its_connection_costs_no_op),
        cmocka_unit_test(suback_and_unsuback_wait),
        cmocka_unit_test(puback_waits_for_every_durable_receiver_and_so_does_the_message),
        cmocka_unit_test(puback_waits_for_the_retained_message),
        cmocka_unit_test(qos_2_of_a_durable_publisher_goes_by_the_outbox),
        cmocka_unit_test(pubrel_waits_until_the_pubrec_is_certain),
        cmocka_unit_test(a_will_leaves_by_the_outbox_beside_its_being_gone),
        cmocka_unit_test(a_full_disk_refuses_what_would_last_and_serves_the_rest),
        cmocka_unit_test(what_was_accepted_before_the_disk_was_full_is_finished),
        cmocka_unit_test(nobody_is_told_what_a_fenced_journal_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
