/*
 * What a member of a shared subscription does not finish: how it comes to another member, and once,
 * wherever the node falls in between. A shard on a journal that commits when the test says so, or
 * starts with what such a journal had committed. Packets are bytes, as a client writes and reads them.
 */
#include "tests/lib/held_journal.h"

#define SHARE "$share/g/t"
#define GROUP "g/t"

/* The n-th one of a kind, from 0. */
static const struct held_op *find(enum op_kind kind, uint32_t n)
{
    for (uint32_t i = 0; i < held.op_count; i++) {
        if (held.ops[i] == kind && n-- == 0) {
            return &held.details[i];
        }
    }
    fail_msg("it was not logged");
    return NULL;
}

static uint32_t count_of(enum op_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < held.op_count; i++) {
        count += held.ops[i] == kind;
    }
    return count;
}

static uint32_t partition_of_text(const char *text)
{
    return partition_of(slice_text(text));
}

/* A client takes one message at a time. */
static struct scene start(void (*disk)(struct restore *restore))
{
    held_disk = disk;
    struct scene scene = {.house = house_new_on(&ports, 1, 0, 1000, "max_inflight_messages 1\n")};
    turns(scene.house);
    return scene;
}

static void join(struct client *client, uint8_t qos)
{
    uint8_t subscribe[] = {0x82, 15,  0,   1,   0,   10,  '$', 's', 'h',
                           'a',  'r', 'e', '/', 'g', '/', 't', qos};
    say(client, subscribe, sizeof(subscribe));
    commit(client->house);
    client->heard_count = 0;
}

/* ---- as it goes ----------------------------------------------------------------------------- */

/* anna has x, y and z wait; ben comes; anna goes. */
static struct scene a_member_goes(uint8_t qos, struct client **ben, uint32_t *before)
{
    struct scene scene = start(NULL);
    struct client *anna = add(&scene, connected(scene.house, 'a', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    join(anna, qos);
    SAY(writer, "\x32\x06\0\x01t\0\x07x\x32\x06\0\x01t\0\x08y\x32\x06\0\x01t\0\x09z");
    commit(scene.house);
    EXPECT(anna, "\x32\x06\0\x01t\0\x02x");
    *ben = add(&scene, connected(scene.house, 'b', false));
    join(*ben, qos);
    *before = held.op_count;
    SAY(anna, "\xe0\0");
    return scene;
}

static void what_a_member_gives_back_leaves_its_queue_and_waits_for_another_in_one_entry(
    void **state)
{
    struct client *ben;
    uint32_t before;
    (void)state;
    struct scene scene = a_member_goes(1, &ben, &before);
    assert_int_equal(count_of(OP_SEND), 2); /* x was sent: she may come again */
    assert_int_equal(count_of(OP_SETTLE), 2);
    for (uint32_t i = before; i < held.op_count; i++) {
        assert_int_equal(held.details[i].partition, partition_of_text("a"));
        assert_int_equal(held.details[i].flush, held.details[before].flush);
    }
    assert_string_equal(find(OP_SEND, 0)->name, GROUP);
    EXPECT_NOTHING(ben);
    assert_int_equal(count_of(OP_ENQUEUE), 3); /* those of anna: nobody else has it yet */

    tell_all(OK);
    turns(scene.house);
    assert_int_equal(count_of(OP_ENQUEUE), 5);
    for (uint32_t i = 0; i < 2; i++) { /* beside each it stands where it came from */
        const struct held_op *taken = find(OP_RECEIVED, i), *enqueued = find(OP_ENQUEUE, 3 + i);
        assert_int_equal(taken->partition, partition_of_text("b"));
        assert_int_equal(taken->partition, enqueued->partition);
        assert_int_equal(taken->flush, enqueued->flush);
        assert_int_equal(taken->group, hash_bytes(slice_text(GROUP)));
        assert_int_equal(taken->number, find(OP_SEND, i)->number + 1);
    }
    assert_int_equal(count_of(OP_SENT), 0);
    EXPECT_NOTHING(ben);

    tell_all(OK);
    turns(scene.house);
    assert_int_equal(count_of(OP_SENT), 2);
    EXPECT(ben, "\x32\x06\0\x01t\0\x02y");
    SAY(ben, "\x40\x02\0\x02");
    EXPECT(ben, "\x32\x06\0\x01t\0\x03z");
    scene_free(&scene);
}

static void nobody_gets_what_is_not_certainly_given_back(void **state)
{
    struct client *ben;
    uint32_t before;
    (void)state;
    struct scene scene = a_member_goes(1, &ben, &before);
    tell_all(ERR_UNAVAILABLE);
    turns(scene.house);
    assert_int_equal(count_of(OP_ENQUEUE), 3);
    EXPECT_NOTHING(ben);
    scene_free(&scene);
}

static void who_unsubscribes_gives_back_in_the_same_entry(void **state)
{
    (void)state;
    struct scene scene = start(NULL);
    struct client *anna = add(&scene, connected(scene.house, 'a', false));
    struct client *ben = add(&scene, connected(scene.house, 'b', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    join(anna, 1);
    SAY(writer, "\x32\x06\0\x01t\0\x07x\x32\x06\0\x01t\0\x08y");
    commit(scene.house);
    anna->heard_count = 0;
    join(ben, 1);
    SAY(anna, "\xa2\x0e\0\x02\0\x0a" SHARE);
    EXPECT_NOTHING(anna);
    assert_int_equal(count_of(OP_SEND), 1);
    assert_int_equal(find(OP_SEND, 0)->flush, find(OP_UNSUBSCRIBE, 0)->flush);
    assert_int_equal(find(OP_SEND, 0)->flush, find(OP_SETTLE, 0)->flush);
    commit(scene.house);
    EXPECT(anna, "\xb0\x02\0\x02");
    EXPECT(ben, "\x32\x06\0\x01t\0\x02y");
    scene_free(&scene);
}

/* [MQTT-4.8.2-5] In flight at QoS 1 it goes to another with the session's end, at QoS 2 never. */
static void a_session_that_ends_gives_back_what_was_in_flight_at_qos_1_alone(void **state)
{
    (void)state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        struct scene scene = start(NULL);
        struct client *anna = add(&scene, connected(scene.house, 'a', false));
        struct client *ben = add(&scene, connected(scene.house, 'b', false));
        struct client *writer = add(&scene, connected(scene.house, 'p', true));
        join(anna, qos);
        SAY(writer, "\x34\x06\0\x01t\0\x07x");
        commit(scene.house);
        assert_true(anna->heard_count > 0);
        join(ben, qos);
        SAY(anna, "\xe0\0");
        commit(scene.house);
        EXPECT_NOTHING(ben);
        add(&scene, connected(scene.house, 'a', true)); /* a clean start ends the session before */
        commit(scene.house);
        assert_int_equal(count_of(OP_END), 1);
        assert_int_equal(count_of(OP_SEND), qos == 1 ? 1 : 0);
        if (qos == 1) {
            assert_int_equal(find(OP_SEND, 0)->flush, find(OP_END, 0)->flush);
            EXPECT(ben, "\x32\x06\0\x01t\0\x02x");
        }
        EXPECT_NOTHING(ben);
        scene_free(&scene);
    }
}

/* Its session ends with a crash, and the message with it: nobody else must get it afterwards. */
static void a_member_that_leaves_nothing_on_disk_gets_qos_2_when_it_is_noted(void **state)
{
    (void)state;
    struct scene scene = start(NULL);
    struct client *ben = add(&scene, connected(scene.house, 'b', true));
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    join(ben, 2);
    SAY(writer, "\x34\x06\0\x01t\0\x07x");
    tell_all(OK);
    turns(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    EXPECT_NOTHING(ben);
    assert_int_equal(find(OP_RECEIVED, 0)->partition, partition_of_text("b"));
    assert_int_equal(find(OP_RECEIVED, 0)->group, hash_bytes(slice_text(GROUP)));
    assert_int_equal(count_of(OP_ENQUEUE), 0);
    assert_int_equal(count_of(OP_SENT), 0);
    tell_all(OK);
    turns(scene.house);
    EXPECT(ben, "\x34\x06\0\x01t\0\x02x");
    SAY(ben, "\x50\x02\0\x02");
    EXPECT(ben, "\x62\x02\0\x02");
    SAY(writer, "\x32\x06\0\x01t\0\x08y"); /* of what is noted nowhere nothing waits */
    EXPECT_NOTHING(ben);
    SAY(ben, "\x70\x02\0\x02");
    EXPECT(ben, "\x32\x06\0\x01t\0\x03y");
    scene_free(&scene);
}

static void who_has_given_back_has_room_for_others(void **state)
{
    struct client *ben;
    uint32_t before;
    (void)state;
    struct scene scene = a_member_goes(1, &ben, &before);
    struct client *writer = scene.clients[1];
    commit(scene.house);
    EXPECT(ben, "\x32\x06\0\x01t\0\x02y"); /* and z waits for him */
    struct client *anna = add(&scene, client_new(scene.house));
    SAY(anna, "\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01"
              "a");
    commit(scene.house);
    EXPECT(anna, "\x20\x02\x01\0\x3a\x06\0\x01t\0\x02x");
    SAY(anna, "\x40\x02\0\x02");
    SAY(writer, "\x32\x06\0\x01t\0\x07v");
    commit(scene.house);
    EXPECT(anna, "\x32\x06\0\x01t\0\x05v");
    SAY(anna, "\x40\x02\0\x05");
    SAY(writer, "\x32\x06\0\x01t\0\x08w");
    commit(scene.house);
    EXPECT(anna, "\x32\x06\0\x01t\0\x06w");
    scene_free(&scene);
}

/* Of them nothing is on disk, and nothing waits for it. */
static void what_ends_with_a_connection_and_qos_0_go_back_at_once(void **state)
{
    (void)state;
    for (uint32_t is_clean = 0; is_clean < 2; is_clean++) {
        struct scene scene = {
            .house = house_new_on(&ports, 1, 0, 1000,
                                  "max_inflight_messages 1\nqueue_qos0_messages true\n")};
        struct client *anna = add(&scene, connected(scene.house, 'a', is_clean));
        struct client *writer = add(&scene, connected(scene.house, 'p', true));
        join(anna, 1);
        SAY(writer, "\x32\x06\0\x01t\0\x07x\x32\x06\0\x01t\0\x08y\x30\x04\0\x01tz");
        commit(scene.house);
        EXPECT(anna, "\x32\x06\0\x01t\0\x02x");
        struct client *ben = add(&scene, connected(scene.house, 'b', true));
        join(ben, 1);
        SAY(anna, "\xe0\0");
        if (is_clean) {
            EXPECT(ben, "\x32\x06\0\x01t\0\x02y\x30\x04\0\x01tz");
            SAY(ben, "\x40\x02\0\x02");
            EXPECT(ben, "\x32\x06\0\x01t\0\x03x");
            assert_int_equal(held.op_count, 0);
        } else {
            EXPECT(ben, "\x30\x04\0\x01tz");
            assert_int_equal(count_of(OP_SEND), 1);
        }
        scene_free(&scene);
    }
}

static void who_leaves_one_of_two_groups_gives_back_what_came_by_that_one(void **state)
{
    (void)state;
    struct scene scene = start(NULL);
    struct client *anna = add(&scene, connected(scene.house, 'a', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    join(anna, 1);
    SAY(anna, "\x82\x0f\0\x01\0\x0a$share/h/u\x01");
    commit(scene.house);
    SAY(writer, "\x32\x06\0\x01t\0\x07x\x32\x06\0\x01u\0\x08y\x32\x06\0\x01t\0\x09z");
    commit(scene.house);
    SAY(anna, "\xa2\x0e\0\x02\0\x0a" SHARE);
    assert_int_equal(count_of(OP_SEND), 1);
    assert_string_equal(find(OP_SEND, 0)->name, GROUP);
    commit(scene.house);
    anna->heard_count = 0;
    SAY(anna, "\x40\x02\0\x02");
    EXPECT(anna, "\x32\x06\0\x01u\0\x03y");
    scene_free(&scene);
}

static void what_is_on_its_way_arrives_on_a_full_disk(void **state)
{
    struct client *ben;
    uint32_t before;
    (void)state;
    struct scene scene = a_member_goes(1, &ben, &before);
    held.admits = ERR_NO_SPACE;
    commit(scene.house);
    EXPECT(ben, "\x32\x06\0\x01t\0\x02y");
    assert_int_equal(count_of(OP_SENT), 2);
    scene_free(&scene);
}

/* ---- the crash comes in between -------------------------------------------------------------- */

enum { NUMBER = 40, TAKEN = NUMBER + 1 };

static void session_on_disk(struct restore *restore, uint64_t key, const char *id,
                            const char *filter)
{
    struct restored_session session = {.key = key};
    session.open.client_id = slice_text(id);
    session.open.expiry_s = EXPIRY_NEVER;
    struct op_subscribe subscribe = {
        .text = slice_text(filter), .filter = slice_text("t"), .qos = 2};
    if (strcmp(filter, SHARE) == 0) {
        subscribe.share_name = slice_text("g");
    }
    assert_int_equal(restore_session(restore, &session), OK);
    assert_int_equal(restore_subscription(restore, &subscribe), OK);
}

static void sent_on_disk(struct restore *restore, const char *group)
{
    struct msg_spec spec = {.topic = slice_text("t"), .payload = slice_text("x"), .qos = 2};
    uint32_t partition = partition_of_text("a");
    assert_int_equal(restore_outbox_next(restore, partition, NUMBER + 2), OK);
    assert_int_equal(restore_outbox(restore, partition, NUMBER, &spec, slice_text(group)), OK);
}

/* Members ben and bob; mia wants the topic for herself. */
static void all_sessions_on_disk(struct restore *restore)
{
    session_on_disk(restore, 100, "b", SHARE);
    session_on_disk(restore, 200, "c", SHARE);
    session_on_disk(restore, 300, "m", "t");
}

static void taken_on_disk(struct restore *restore)
{
    uint64_t group = hash_bytes(slice_text(GROUP));
    for (uint32_t i = 0; i < 2; i++) { /* twice is once */
        assert_int_equal(restore_taken(restore, 0, partition_of_text("a"), TAKEN, group), OK);
    }
}

static void given_back(struct restore *restore)
{
    sent_on_disk(restore, GROUP);
    all_sessions_on_disk(restore);
}

static void given_back_and_taken(struct restore *restore)
{
    given_back(restore);
    taken_on_disk(restore);
}

static void published_and_taken(struct restore *restore)
{
    sent_on_disk(restore, "");
    all_sessions_on_disk(restore);
    taken_on_disk(restore);
}

static void published(struct restore *restore)
{
    sent_on_disk(restore, "");
    all_sessions_on_disk(restore);
}

static void after_a_crash_it_goes_to_one_member_of_its_group_and_to_nobody_else(void **state)
{
    (void)state;
    struct scene scene = start(given_back);
    assert_int_equal(count_of(OP_ENQUEUE), 1);
    uint32_t partition = find(OP_ENQUEUE, 0)->partition;
    assert_true(partition == partition_of_text("b") || partition == partition_of_text("c"));
    assert_int_equal(count_of(OP_RECEIVED), 1);
    assert_int_equal(find(OP_RECEIVED, 0)->partition, partition);
    assert_int_equal(find(OP_RECEIVED, 0)->number, TAKEN);
    commit(scene.house);
    assert_int_equal(find(OP_SENT, 0)->number, NUMBER);
    scene_free(&scene);
}

static void what_a_member_had_before_the_crash_goes_to_no_second_one(void **state)
{
    (void)state;
    struct scene scene = start(given_back_and_taken);
    assert_int_equal(count_of(OP_ENQUEUE), 0);
    commit(scene.house);
    assert_int_equal(find(OP_SENT, 0)->number, NUMBER);
    scene_free(&scene);
}

static void what_one_group_had_before_the_crash_others_still_get(void **state)
{
    (void)state;
    struct scene scene = start(published_and_taken);
    assert_int_equal(count_of(OP_ENQUEUE), 1);
    assert_int_equal(find(OP_ENQUEUE, 0)->partition, partition_of_text("m"));
    scene_free(&scene);
    scene = start(published);
    assert_int_equal(count_of(OP_ENQUEUE), 2);
    scene_free(&scene);
}

/* The group chooses ben, who had it by his other subscription, and what was sent after it. */
static void a_later_one_has_come(struct restore *restore)
{
    sent_on_disk(restore, "");
    assert_int_equal(
        restore_received(restore, partition_of_text("b"), partition_of_text("a"), TAKEN + 4), OK);
    session_on_disk(restore, 100, "b", SHARE);
    struct op_subscribe subscribe = {.text = slice_text("t"), .filter = slice_text("t"), .qos = 2};
    assert_int_equal(restore_subscription(restore, &subscribe), OK);
}

static void a_partition_never_notes_less_than_has_come_there(void **state)
{
    (void)state;
    struct scene scene = start(a_later_one_has_come);
    assert_int_equal(count_of(OP_ENQUEUE), 1);
    assert_int_equal(count_of(OP_RECEIVED), 1);
    assert_int_equal(find(OP_RECEIVED, 0)->group, hash_bytes(slice_text(GROUP)));
    scene_free(&scene);
}

/* Of a client that takes one at a time: up to where it had got, nobody remembers. */
static void waiting_on_disk(struct restore *restore)
{
    session_on_disk(restore, 200, "c", SHARE);
    session_on_disk(restore, 100, "b", SHARE);
    for (uint32_t i = 0; i < 3; i++) {
        char payload = (char)('x' + i);
        struct stored_item item = {
            .sequence = 1 + i,
            .stored = 1 + i,
            .message = {.topic = slice_text("t"), .payload = slice_of(&payload, 1), .qos = 2},
            .qos = i < 2 ? 2 : 1,
            .share_text = slice_text(SHARE)};
        assert_int_equal(restore_item(restore, &item), OK);
    }
}

static void what_may_have_been_sent_at_qos_2_before_the_crash_goes_to_no_second_one(void **state)
{
    static const char connects[2][16] = {
        "\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01"
        "b", /* it comes, and goes again */
        "\x10\x0d\0\x04MQTT\x04\2\0\0\0\x01"
        "b" /* its session ends */
    };
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct scene scene = start(waiting_on_disk);
        struct client *cleo = add(&scene, connected(scene.house, 'c', false));
        struct client *ben = add(&scene, client_new(scene.house));
        say(ben, connects[i], 15);
        commit(scene.house);
        SAY(ben, "\xe0\0");
        commit(scene.house);
        assert_int_equal(count_of(OP_SEND), 1);
        EXPECT(cleo, "\x34\x06\0\x01t\0\x02z");
        scene_free(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            what_a_member_gives_back_leaves_its_queue_and_waits_for_another_in_one_entry),
        cmocka_unit_test(nobody_gets_what_is_not_certainly_given_back),
        cmocka_unit_test(who_unsubscribes_gives_back_in_the_same_entry),
        cmocka_unit_test(a_session_that_ends_gives_back_what_was_in_flight_at_qos_1_alone),
        cmocka_unit_test(a_member_that_leaves_nothing_on_disk_gets_qos_2_when_it_is_noted),
        cmocka_unit_test(who_has_given_back_has_room_for_others),
        cmocka_unit_test(what_ends_with_a_connection_and_qos_0_go_back_at_once),
        cmocka_unit_test(who_leaves_one_of_two_groups_gives_back_what_came_by_that_one),
        cmocka_unit_test(what_is_on_its_way_arrives_on_a_full_disk),
        cmocka_unit_test(after_a_crash_it_goes_to_one_member_of_its_group_and_to_nobody_else),
        cmocka_unit_test(what_a_member_had_before_the_crash_goes_to_no_second_one),
        cmocka_unit_test(what_one_group_had_before_the_crash_others_still_get),
        cmocka_unit_test(a_partition_never_notes_less_than_has_come_there),
        cmocka_unit_test(what_may_have_been_sent_at_qos_2_before_the_crash_goes_to_no_second_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
