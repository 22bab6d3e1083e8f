/*
 * How sessions and connections end, on disk: what the close after a DISCONNECT says, and the CONNACK of
 * whoever comes next by that client id.
 */
#include "core/broker/conn.h"
#include "tests/lib/held_journal.h"

/* 3.1.1, client id "s": clean or not. */
#define CONNECT_CLEAN "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s"
#define CONNECT_STAYS "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s"
#define CONNACK_NEW   "\x20\x02\0\0"
#define CONNACK_AGAIN "\x20\x02\x01\0"
#define DISCONNECT    "\xe0\0"
/* The same with a will "!" on "w". */
#define CONNECT_WILL "\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01s\0\x01w\0\x01!"
/* Version 5, expiry 100 s, which the DISCONNECT takes back. */
#define CONNECT_5      "\x10\x13\0\x04MQTT\x05\x02\0\0\x05\x11\0\0\0\x64\0\x01s"
#define DISCONNECT_END "\xe0\x07\0\x05\x11\0\0\0\0"

/* ---- the next CONNACK ----------------------------------------------------------------------- */

static void a_clean_start_waits_until_the_session_before_it_is_gone_for_good(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *old = add(&scene, connected(scene.house, 's', false));
    struct client *clean = add(&scene, client_new(scene.house));
    assert_false(was_logged(OP_END));
    SAY(clean, CONNECT_CLEAN);
    assert_true(was_logged(OP_END));
    assert_true(link_is_closed(old->link));
    EXPECT_NOTHING(clean);
    commit(scene.house);
    EXPECT(clean, CONNACK_NEW);
    scene_free(&scene);
}

static void so_does_whoever_comes_after_a_disconnect_that_ended_it(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *old = add(&scene, client_new(scene.house));
    SAY(old, CONNECT_5);
    commit(scene.house);
    assert_true(old->heard_count > 0);
    SAY(old, DISCONNECT_END);
    assert_true(was_logged(OP_END));
    struct client *clean = add(&scene, client_new(scene.house));
    SAY(clean, CONNECT_CLEAN);
    EXPECT_NOTHING(clean);
    commit(scene.house);
    EXPECT(clean, CONNACK_NEW);
    struct client *next = add(&scene, client_new(scene.house));
    SAY(next, CONNECT_CLEAN); /* nothing is left to wait for */
    EXPECT(next, CONNACK_NEW);
    scene_free(&scene);
}

/* A retained message, of which the topic is the same partition's as the session's client id. */
static void who_comes_when_the_end_is_on_disk_waits_for_nothing_else_there(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    char topic[] = "aa";
    while (partition_of(slice_text(topic)) != partition_of(slice_text("s"))) {
        topic[1]++;
        if (topic[1] > 'z') {
            topic[0]++;
            topic[1] = 'a';
        }
    }
    add(&scene, connected(scene.house, 's', false));
    struct client *clean = add(&scene, connected(scene.house, 's', true));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(clean, DISCONNECT);
    uint8_t publish[] = {0x33, 7, 0, 2, (uint8_t)topic[0], (uint8_t)topic[1], 0, 7, 'x'};
    say(writer, publish, sizeof(publish));
    EXPECT_NOTHING(writer);
    struct client *next = add(&scene, client_new(scene.house));
    SAY(next, CONNECT_CLEAN);
    EXPECT(next, CONNACK_NEW);
    scene_free(&scene);
}

/* The next start may find the session again. */
static void nobody_is_told_that_a_session_is_gone_when_its_end_may_be_lost(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    add(&scene, connected(scene.house, 's', false));
    struct client *clean = add(&scene, client_new(scene.house));
    SAY(clean, CONNECT_CLEAN);
    held.admits = held.awaits = ERR_UNAVAILABLE;
    tell_all(ERR_UNAVAILABLE);
    turns(scene.house);
    EXPECT(clean, "\x20\x02\0\x03");
    struct client *next = add(&scene, client_new(scene.house));
    SAY(next, CONNECT_CLEAN);
    EXPECT(next, "\x20\x02\0\x03");
    struct client *other = add(&scene, client_new(scene.house));
    SAY(other, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o");
    EXPECT(other, CONNACK_NEW);
    scene_free(&scene);
}

static void so_does_whoever_takes_over_from_one_who_left_a_will(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *old = add(&scene, client_new(scene.house));
    SAY(old, CONNECT_WILL);
    commit(scene.house);
    EXPECT(old, CONNACK_NEW);
    struct client *clean = add(&scene, client_new(scene.house));
    SAY(clean, CONNECT_CLEAN);
    assert_true(was_logged(OP_SEND));
    EXPECT_NOTHING(clean);
    commit(scene.house);
    EXPECT(clean, CONNACK_NEW);
    scene_free(&scene);
}

static void nobody_waits_for_the_end_of_another(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *old = add(&scene, connected(scene.house, 's', false));
    struct client *clean = add(&scene, client_new(scene.house));
    SAY(clean, CONNECT_CLEAN);
    struct client *other = add(&scene, client_new(scene.house));
    SAY(other, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o");
    EXPECT(other, CONNACK_NEW);
    EXPECT_NOTHING(clean);
    EXPECT_NOTHING(old);
    scene_free(&scene);
}

static void a_session_that_ends_twice_is_waited_for_twice(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    add(&scene, connected(scene.house, 's', false));
    struct client *willing = add(&scene, client_new(scene.house));
    SAY(willing, CONNECT_WILL);
    struct client *clean = add(&scene, client_new(scene.house));
    SAY(clean, CONNECT_CLEAN);
    commit(scene.house);
    EXPECT_NOTHING(willing); /* taken over before it was there */
    EXPECT(clean, CONNACK_NEW);
    SAY(clean, DISCONNECT);
    struct client *last = add(&scene, client_new(scene.house));
    SAY(last, CONNECT_CLEAN);
    EXPECT(last, CONNACK_NEW);
    scene_free(&scene);
}

static void a_full_disk_keeps_the_session_that_a_clean_start_would_end(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *old = add(&scene, connected(scene.house, 's', false));
    struct client *clean = add(&scene, client_new(scene.house));
    held.admits = ERR_NO_SPACE;
    SAY(clean, CONNECT_CLEAN);
    EXPECT(clean, "\x20\x02\0\x03"); /* the server is unavailable */
    assert_false(was_logged(OP_END));
    SAY(old, "\xc0\0");
    EXPECT(old, "\xd0\0"); /* its connection is as it was, too */
    struct client *other = add(&scene, client_new(scene.house));
    SAY(other, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o"); /* nothing of it would last */
    EXPECT(other, CONNACK_NEW);
    scene_free(&scene);
}

/* ---- the close after DISCONNECT ------------------------------------------------------------- */

static void the_close_after_disconnect_waits_until_it_is_on_disk(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, client_new(scene.house));
    SAY(client, CONNECT_WILL);
    commit(scene.house);
    EXPECT(client, CONNACK_NEW);
    SAY(client, DISCONNECT);
    assert_true(was_logged(OP_WILL));
    assert_false(was_logged(OP_SEND));
    assert_false(link_is_closed(client->link));
    commit(scene.house);
    assert_true(link_is_closed(client->link));
    EXPECT_NOTHING(client);
    scene_free(&scene);
}

/* Five seconds, by the clock of the shard. */
static void the_close_after_disconnect_does_not_wait_for_a_full_disk_for_ever(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    const struct shard *shard = house_shard(scene.house, 0);
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, DISCONNECT);
    const struct conn *conn = CONTAINER_OF(shard->conns.next, struct conn, link);
    assert_int_equal(conn->state, CONN_PARTING);
    assert_in_range(conn->timer.at_ns - io_now_ns(shard->io), UINT64_C(4900000000),
                    UINT64_C(5000000000));
    for (uint64_t end_ns = conn->timer.at_ns; io_now_ns(shard->io) + DOOR_TURN_NS < end_ns;) {
        house_turn(scene.house);
    }
    assert_false(link_is_closed(client->link));
    for (uint32_t i = 0; i < 300; i++) {
        house_turn(scene.house); /* a wheel is late by a millisecond */
    }
    assert_true(link_is_closed(client->link));
    commit(scene.house); /* under the address sanitizer */
    scene_free(&scene);
}

static void what_is_said_after_disconnect_is_not_heard(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, DISCONNECT "\xc0\0");
    SAY(client, "\xc0\0" CONNECT_STAYS);
    commit(scene.house);
    EXPECT_NOTHING(client);
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void a_client_that_comes_back_does_not_wait_for_the_close_of_its_last_connection(
    void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, DISCONNECT);
    struct client *again = add(&scene, client_new(scene.house));
    SAY(again, CONNECT_STAYS);
    assert_int_equal(house_shard(scene.house, 0)->conn_count, 2);
    assert_false(link_is_closed(client->link));
    EXPECT_NOTHING(again);
    tell_all(OK); /* one write is enough for both */
    turns(scene.house);
    EXPECT(again, CONNACK_AGAIN);
    assert_true(link_is_closed(client->link));
    assert_int_equal(house_shard(scene.house, 0)->conn_count, 1);
    scene_free(&scene);
}

static void a_connection_that_parts_takes_no_place_of_max_connections(void **state)
{
    (void)state;
    struct scene scene = {.house = house_new_on(&ports, 1, 0, 1000, "global_max_connections 1\n")};
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, DISCONNECT);
    struct client *other = add(&scene, client_new(scene.house));
    SAY(other, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o");
    EXPECT(other, CONNACK_NEW);
    assert_false(link_is_closed(client->link));
    scene_free(&scene);
}

static void a_session_of_which_nothing_lasts_is_closed_at_once(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *keeper = add(&scene, connected(scene.house, 'k', false));
    struct client *client = add(&scene, connected(scene.house, 's', true));
    SAY(keeper, "\x82\x06\0\x01\0\x01t\x01"); /* something else is on its way to the disk */
    SAY(client, DISCONNECT);
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void a_fenced_journal_keeps_nobody_from_leaving(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    SAY(client, DISCONNECT);
    tell_all(ERR_UNAVAILABLE);
    turns(scene.house);
    assert_false(link_is_closed(client->link)); /* that would say that it is on disk */
    door_wait(house_shard(scene.house, 0)->io, UINT64_C(5100000000));
    turns(scene.house);
    assert_true(link_is_closed(client->link));
    scene_free(&scene);
}

static void the_broker_may_end_while_connections_wait(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *client = add(&scene, connected(scene.house, 's', false));
    struct client *other = add(&scene, client_new(scene.house));
    SAY(client, DISCONNECT);
    SAY(other, CONNECT_WILL);
    EXPECT_NOTHING(other);
    scene_free(&scene); /* under the address sanitizer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_start_waits_until_the_session_before_it_is_gone_for_good),
        cmocka_unit_test(so_does_whoever_comes_after_a_disconnect_that_ended_it),
        cmocka_unit_test(who_comes_when_the_end_is_on_disk_waits_for_nothing_else_there),
        cmocka_unit_test(nobody_is_told_that_a_session_is_gone_when_its_end_may_be_lost),
        cmocka_unit_test(so_does_whoever_takes_over_from_one_who_left_a_will),
        cmocka_unit_test(nobody_waits_for_the_end_of_another),
        cmocka_unit_test(a_session_that_ends_twice_is_waited_for_twice),
        cmocka_unit_test(a_full_disk_keeps_the_session_that_a_clean_start_would_end),
        cmocka_unit_test(the_close_after_disconnect_waits_until_it_is_on_disk),
        cmocka_unit_test(the_close_after_disconnect_does_not_wait_for_a_full_disk_for_ever),
        cmocka_unit_test(what_is_said_after_disconnect_is_not_heard),
        cmocka_unit_test(
            a_client_that_comes_back_does_not_wait_for_the_close_of_its_last_connection),
        cmocka_unit_test(a_connection_that_parts_takes_no_place_of_max_connections),
        cmocka_unit_test(a_session_of_which_nothing_lasts_is_closed_at_once),
        cmocka_unit_test(a_fenced_journal_keeps_nobody_from_leaving),
        cmocka_unit_test(the_broker_may_end_while_connections_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
