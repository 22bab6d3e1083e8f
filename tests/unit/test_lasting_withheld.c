/*
 * What 3.1.1 has no word for: an acknowledgement is withheld, none comes behind it, and when there is
 * room the connection ends, so that all of it comes again in order.
 */
#include "core/base/ledger.h"
#include "tests/lib/held_journal.h"

#define STEP_NS  UINT64_C(102000000) /* timers may be a little late */
#define BLIND_NS UINT64_C(30000000000)

#define SUBSCRIBE_T1 "\x82\x06\0\x01\0\x01t\x01"

/* A session on disk that hears t. */
static struct client *reader_new(struct scene *scene)
{
    struct client *reader = add(scene, connected(scene->house, 's', false));
    SAY(reader, SUBSCRIBE_T1);
    commit(scene->house);
    EXPECT(reader, "\x90\x03\0\x01\x01");
    return reader;
}

static void pass(struct scene *scene, uint64_t time_ns)
{
    door_wait(house_shard(scene->house, 0)->io, time_ns);
    turns(scene->house);
}

static uint64_t refused(const struct scene *scene)
{
    return metric_label_value(house_shard(scene->house, 0)->metrics, METRIC_dropped,
                              TRAIL_PUBLISH_REFUSED);
}

static struct client *again(struct scene *scene)
{
    struct client *client = add(scene, client_new(scene->house));
    SAY(client, "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01p");
    commit(scene->house);
    EXPECT(client, "\x20\x02\x01\0");
    return client;
}

/* Does the story of that client say so? */
static bool is_told(const struct scene *scene, const char *client, enum trail_what what,
                    enum err why)
{
    struct trail_record records[8];
    struct trail_query query = {.client = slice_text(client)};
    uint32_t count = trail_find(house_shard(scene->house, 0)->trail, &query, records, 8);
    for (uint32_t i = 0; i < count; i++) {
        if (records[i].what == what && records[i].why == why) {
            return true;
        }
    }
    return false;
}

/* [v3:MQTT-4.6.0-2] [v3:MQTT-4.6.0-3] */
static void what_comes_behind_a_refusal_is_refused_until_the_connection_ends(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    held.admits = OK;
    uint32_t op_count = held.op_count;
    SAY(writer, "\x32\x06\0\x01t\0\x08y");
    SAY(writer, "\x34\x06\0\x01t\0\x09z");
    commit(scene.house);
    EXPECT_NOTHING(writer);
    EXPECT_NOTHING(reader);
    assert_int_equal(held.op_count, op_count);
    assert_int_equal(refused(&scene), 2); /* by the connection; the first one by its receiver */
    assert_true(is_told(&scene, "p", TRAIL_WITHHELD, ERR_NO_SPACE));
    assert_false(link_is_closed(writer->link));
    pass(&scene, STEP_NS);
    assert_true(link_is_closed(writer->link));
    assert_true(is_told(&scene, "p", TRAIL_DISCONNECTED, ERR_WITHHELD));

    writer = again(&scene);
    SAY(writer, "\x3a\x06\0\x01t\0\x07x\x3a\x06\0\x01t\0\x08y\x3c\x06\0\x01t\0\x09z");
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07\x40\x02\0\x08\x50\x02\0\x09");
    EXPECT(reader, "\x32\x06\0\x01t\0\x02x\x32\x06\0\x01t\0\x03y\x32\x06\0\x01t\0\x04z");
    scene_free(&scene);
}

static void as_long_as_there_is_no_room_the_rest_of_the_connection_goes_on(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(writer, "\x82\x06\0\x01\0\x01u\0");
    EXPECT(writer, "\x90\x03\0\x01\0");
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    for (uint32_t i = 0; i < 100; i++) {
        pass(&scene, STEP_NS);
    }
    assert_false(link_is_closed(writer->link));
    SAY(writer, "\x30\x04\0\x01ux\xc0\0");
    EXPECT(writer, "\x30\x04\0\x01ux\xd0\0");
    scene_free(&scene);
}

static void what_was_accepted_before_is_acknowledged_and_completed(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, "\x34\x06\0\x01t\0\x05v");
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x05");
    SAY(writer, "\x32\x06\0\x01t\0\x06w"); /* under way when the disk fills up */
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    SAY(writer, "\x62\x02\0\x05");
    EXPECT_NOTHING(writer);
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x06\x70\x02\0\x05");
    scene_free(&scene);
}

/* It is known late that the first one will not come, and the second was taken meanwhile. */
static void what_was_taken_before_the_refusal_is_not_acknowledged_on_this_connection(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, "\x33\x06\0\x01t\0\x07x\x35\x06\0\x01t\0\x08y");
    assert_int_equal(held.waiter_count, 3); /* the second message goes by the outbox */
    held.waiters[0].done(held.waiters[0].context, ERR_NO_SPACE);
    held.waiters[0] = held.waiters[--held.waiter_count];
    commit(scene.house);
    EXPECT_NOTHING(writer);
    pass(&scene, STEP_NS);
    assert_true(link_is_closed(writer->link));
    writer = again(&scene);
    SAY(writer, "\x3b\x06\0\x01t\0\x07x\x3d\x06\0\x01t\0\x08y");
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07\x50\x02\0\x08");
    scene_free(&scene);
}

/* [MQTT-3.1.2-8]: it was we who ended it, and there was no DISCONNECT. */
static void the_will_is_published_as_at_any_other_end(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    reader_new(&scene);
    struct client *heir = add(&scene, connected(scene.house, 'h', true));
    SAY(heir, "\x82\x06\0\x01\0\x01w\0");
    EXPECT(heir, "\x90\x03\0\x01\0");
    struct client *writer = add(&scene, client_new(scene.house));
    SAY(writer, "\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01p\0\x01w\0\x01!");
    commit(scene.house);
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    held.admits = OK;
    pass(&scene, STEP_NS);
    commit(scene.house);
    EXPECT(heir, "\x30\x04\0\x01w!");
    scene_free(&scene);
}

static void where_nobody_knows_when_there_is_room_it_is_tried_again_after_a_while(void **state)
{
    (void)state;
    struct scene scene = {
        .house = house_new_on(&ports, 1, 0, 1000, "queue_policy reject\nmax_queued_messages 1\n")};
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\xe0\0");
    SAY(writer, "\x32\x06\0\x01t\0\x07x\x32\x06\0\x01t\0\x08y");
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07");
    pass(&scene, BLIND_NS - STEP_NS);
    assert_false(link_is_closed(writer->link));
    pass(&scene, 2 * STEP_NS);
    assert_true(link_is_closed(writer->link));
    scene_free(&scene);
}

static void full_memory_is_waited_for(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct shard *shard = house_shard(scene.house, 0);
    uint64_t limit = shard->broker_memory_limit;
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    ledger_add(LEDGER_MESSAGES, 1 << 20); /* as if others were on their way */
    shard->broker_memory_limit = 0;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    pass(&scene, 10 * STEP_NS);
    EXPECT_NOTHING(writer);
    assert_false(link_is_closed(writer->link));
    ledger_add(LEDGER_MESSAGES, -(1 << 20));
    shard->broker_memory_limit = limit;
    pass(&scene, STEP_NS);
    assert_true(link_is_closed(writer->link));
    scene_free(&scene);
}

/* Space comes back for all of a fleet at once. */
static void a_fleet_is_sent_away_a_hundred_at_a_time(void **state)
{
    enum { COUNT = 150, STEP = 100 };
    static struct client *fleet[COUNT];
    uint32_t closed_count = 0;
    (void)state;
    struct scene scene = {.house = house_new_on(&ports, 1, COUNT, 1000, "")};
    reader_new(&scene);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t connect[] = "\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02??";
        connect[14] = (uint8_t)('a' + i % 16);
        connect[15] = (uint8_t)('a' + i / 16);
        fleet[i] = client_new(scene.house);
        say(fleet[i], connect, sizeof(connect) - 1);
        EXPECT(fleet[i], "\x20\x02\0\0");
    }
    held.admits = ERR_NO_SPACE;
    for (uint32_t i = 0; i < COUNT; i++) {
        SAY(fleet[i], "\x32\x06\0\x01t\0\x07x");
    }
    pass(&scene, STEP_NS);
    held.admits = OK;
    for (uint32_t step = 1; step <= 2; step++) {
        pass(&scene, STEP_NS);
        closed_count = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            closed_count += link_is_closed(fleet[i]->link);
        }
        assert_int_equal(closed_count, step == 1 ? STEP : COUNT);
    }
    scene_free(&scene);
    for (uint32_t i = 0; i < COUNT; i++) {
        link_free(fleet[i]->link);
        free(fleet[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_behind_a_refusal_is_refused_until_the_connection_ends),
        cmocka_unit_test(as_long_as_there_is_no_room_the_rest_of_the_connection_goes_on),
        cmocka_unit_test(what_was_accepted_before_is_acknowledged_and_completed),
        cmocka_unit_test(what_was_taken_before_the_refusal_is_not_acknowledged_on_this_connection),
        cmocka_unit_test(the_will_is_published_as_at_any_other_end),
        cmocka_unit_test(where_nobody_knows_when_there_is_room_it_is_tried_again_after_a_while),
        cmocka_unit_test(full_memory_is_waited_for),
        cmocka_unit_test(a_fleet_is_sent_away_a_hundred_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
