/*
 * A full disk, a full memory, a full queue: what would last is refused where it begins, and what was
 * accepted before is finished.
 */
#include "tests/lib/held_journal.h"

#define SUBSCRIBE_T2 "\x82\x06\0\x01\0\x01t\x02"
#define PUBLISH_T2   "\x34\x06\0\x01t\0\x07x"
#define PUBREC       "\x50\x02\0\x07"

/* Version 5, its session outlives it by 100 s. */
static struct client *connected_5(struct scene *scene, const char *id)
{
    struct client *client = add(scene, client_new(scene->house));
    uint8_t connect[] = "\x10\x13\0\x04MQTT\x05\x00\0\0\x05\x11\0\0\0\x64\0\x01?";
    connect[sizeof(connect) - 2] = (uint8_t)id[0];
    say(client, connect, sizeof(connect) - 1);
    commit(scene->house);
    assert_true(client->heard_count > 0);
    client->heard_count = 0;
    return client;
}

static struct client *reader_new(struct scene *scene)
{
    struct client *reader = add(scene, connected(scene->house, 's', false));
    SAY(reader, SUBSCRIBE_T2);
    commit(scene->house);
    EXPECT(reader, "\x90\x03\0\x01\x02");
    return reader;
}

static uint64_t dropped(const struct scene *scene, enum trail_what what)
{
    return metric_label_value(house_shard(scene->house, 0)->metrics, METRIC_dropped, what);
}

/* ---- a full disk ---------------------------------------------------------------------------- */

static void what_an_outbox_has_accepted_reaches_its_receivers_though_the_disk_is_full(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, PUBLISH_T2);
    held.admits = ERR_NO_SPACE;
    commit(scene.house);
    EXPECT(writer, PUBREC);
    commit(scene.house);
    EXPECT(reader, "\x34\x06\0\x01t\0\x02x");
    assert_true(was_logged(OP_SENT));
    scene_free(&scene);
}

static void what_a_fenced_journal_does_not_take_stays_in_the_outbox(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, PUBLISH_T2);
    held.admits = ERR_UNAVAILABLE;
    commit(scene.house);
    EXPECT_NOTHING(reader);
    assert_false(was_logged(OP_SENT));
    scene_free(&scene);
}

static void an_unsubscribe_makes_room_and_is_not_refused(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = reader_new(&scene);
    held.admits = ERR_NO_SPACE;
    SAY(reader, "\xa2\x05\0\x02\0\x01t");
    EXPECT_NOTHING(reader);
    assert_true(was_logged(OP_UNSUBSCRIBE));
    commit(scene.house);
    EXPECT(reader, "\xb0\x02\0\x02");
    scene_free(&scene);
}

static void an_unsubscribe_that_cannot_be_kept_is_not_acknowledged(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = reader_new(&scene);
    struct client *reader_5 = connected_5(&scene, "5");
    SAY(reader_5, "\x82\x07\0\x01\0\0\x01t\x01");
    commit(scene.house);
    EXPECT(reader_5, "\x90\x04\0\x01\0\x01");
    SAY(reader, "\x82\x06\0\x03\0\x01u\x01");
    SAY(reader, "\xa2\x05\0\x04\0\x01u"); /* under way when it is fenced */
    held.admits = ERR_UNAVAILABLE;
    SAY(reader, "\xa2\x05\0\x02\0\x01t");
    SAY(reader_5, "\xa2\x06\0\x02\0\0\x01t");
    tell_all(ERR_UNAVAILABLE);
    turns(scene.house);
    EXPECT(reader, "\x90\x03\0\x03\x80"); /* 3.1.1 has no word for it in UNSUBACK */
    EXPECT(reader_5, "\xb0\x04\0\x02\0\x83");
    scene_free(&scene);
}

static void version_5_hears_why_and_3_1_1_no_acknowledgement(void **state)
{
    static const struct {
        enum err admits;
        const char *puback, *pubrec, *suback;
    } rows[] = {
        {ERR_NO_SPACE, "\x40\x03\0\x07\x97", "\x50\x03\0\x07\x97", "\x90\x04\0\x02\0\x97"},
        {ERR_UNAVAILABLE, "\x40\x03\0\x07\x83", "\x50\x03\0\x07\x83", "\x90\x04\0\x02\0\x83"},
    };
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct scene scene = scene_new();
        struct client *reader = reader_new(&scene);
        struct client *old = add(&scene, connected(scene.house, 'o', false));
        struct client *client = connected_5(&scene, "5");
        held.admits = rows[i].admits;
        SAY(client, "\x32\x07\0\x01t\0\x07\0x");
        expect(client, rows[i].puback, 5);
        SAY(client, "\x34\x07\0\x01t\0\x07\0x");
        expect(client, rows[i].pubrec, 5);
        SAY(client, "\x82\x07\0\x02\0\0\x01u\x01");
        expect(client, rows[i].suback, 6);
        SAY(old, "\x32\x06\0\x01t\0\x07x");
        SAY(old, "\x34\x06\0\x01t\0\x08x");
        SAY(old, "\x82\x06\0\x02\0\x01u\x01");
        EXPECT(old, "\x90\x03\0\x02\x80");
        EXPECT_NOTHING(reader);
        scene_free(&scene);
    }
}

static void what_waits_in_memory_alone_needs_no_disk(void **state)
{
    (void)state;
    struct scene scene = {.house = house_new_on(&ports, 1, 0, 1000, "queue_qos0_messages true\n")};
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\xe0\0");
    commit(scene.house);
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x30\x04\0\x01tx");
    struct client *again = add(&scene, client_new(scene.house));
    held.admits = OK;
    SAY(again, "\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01s");
    commit(scene.house);
    EXPECT(again, "\x20\x02\x01\0\x30\x04\0\x01tx");
    scene_free(&scene);
}

/* What is refused may be sent again: nobody has had it then. */
static void what_cannot_be_retained_is_routed_only_where_nobody_is_told(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = add(&scene, connected(scene.house, 's', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\0");
    EXPECT(reader, "\x90\x03\0\x01\0");
    struct client *writer = connected_5(&scene, "5");
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x33\x07\0\x01t\0\x07\0x");
    EXPECT(writer, "\x40\x03\0\x07\x97");
    EXPECT_NOTHING(reader);
    SAY(writer, "\x31\x05\0\x01t\0y");
    EXPECT(reader, "\x30\x04\0\x01ty");
    scene_free(&scene);
}

static void what_is_under_way_when_the_disk_fills_up_is_told_when_there_is_space(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *reader = reader_new(&scene);
    struct client *client = connected_5(&scene, "5");
    SAY(client, "\x32\x07\0\x01t\0\x07\0x"); /* logged, and then there is no space for it */
    held.admits = ERR_NO_SPACE;
    SAY(client, "\x32\x07\0\x01t\0\x08\0x");
    SAY(client, "\xc0\0");
    EXPECT(client, "\xd0\0"); /* neither: they are answered in their order */
    commit(scene.house);
    EXPECT(client, "\x40\x02\0\x07\x40\x03\0\x08\x97");
    EXPECT(reader, "\x32\x06\0\x01t\0\x02x");
    scene_free(&scene);
}

/* ---- full memory, a full queue -------------------------------------------------------------- */

static void what_an_outbox_has_accepted_waits_on_disk_when_memory_is_full(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct shard *shard = house_shard(scene.house, 0);
    reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, PUBLISH_T2);
    shard->broker_memory_limit = 1;
    commit(scene.house);
    EXPECT(writer, PUBREC);
    assert_true(was_logged(OP_ENQUEUE));
    assert_int_equal(dropped(&scene, TRAIL_DROP_MEMORY), 0);
    assert_int_equal(shard->queue_totals.count, 1);
    scene_free(&scene);
}

static void what_is_on_disk_alone_is_counted_when_its_session_ends(void **state)
{
    enum { COUNT = 140 }; /* 128 of them in memory */
    (void)state;
    struct scene scene = scene_new();
    struct shard *shard = house_shard(scene.house, 0);
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\xe0\0");
    for (uint32_t i = 0; i < COUNT; i++) {
        SAY(writer, "\x32\x06\0\x01t\0\x07x");
        commit(scene.house);
        EXPECT(writer, "\x40\x02\0\x07");
    }
    assert_int_equal(shard->queue_totals.count, COUNT);
    struct client *clean = add(&scene, client_new(scene.house));
    SAY(clean, "\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s");
    assert_int_equal(dropped(&scene, TRAIL_DROP_SESSION_ENDED), COUNT);
    assert_int_equal(shard->queue_totals.count, 0);
    assert_int_equal(shard->queue_totals.bytes, 0);
    scene_free(&scene);
}

/* A letter that is a client id of that shard. */
static char id_of_shard(const struct scene *scene, uint32_t index)
{
    for (char id = 'a';; id++) {
        if (shard_of(house_shard(scene->house, 0), slice_of(&id, 1)) == index) {
            return id;
        }
    }
}

/* Without a disk: a full queue on another shard says no while the publisher comes again. */
static void who_repeats_a_message_on_its_next_connection_hears_what_became_of_it(void **state)
{
    static const struct broker_ports none;
    (void)state;
    struct scene scene = {
        .house = house_new_on(&none, 2, 0, 1000, "queue_policy reject\nmax_queued_messages 1\n")};
    char writer_id = id_of_shard(&scene, 0);
    struct client *reader = add(&scene, connected(scene.house, id_of_shard(&scene, 1), false));
    struct client *writer = add(&scene, connected(scene.house, writer_id, false));
    SAY(reader, SUBSCRIBE_T2 "\xe0\0");
    SAY(writer, "\x32\x06\0\x01t\0\x06x");
    EXPECT(writer, "\x40\x02\0\x06");

    struct client *again = add(&scene, client_new(scene.house));
    uint8_t both[] = "\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01?\x3c\x06\0\x01t\0\x07x";
    both[14] = (uint8_t)writer_id;
    link_say(writer->link, slice_of(PUBLISH_T2, sizeof(PUBLISH_T2) - 1));
    link_say(again->link, slice_of(both, sizeof(both) - 1));
    turns(scene.house);
    EXPECT_NOTHING(writer);
    EXPECT(again, "\x20\x02\x01\0"); /* 3.1.1 has no word for it: no PUBREC */
    assert_int_equal(dropped(&scene, TRAIL_DROP_QUEUE_FULL), 0);
    assert_int_equal(metric_label_value(house_shard(scene.house, 1)->metrics, METRIC_dropped,
                                        TRAIL_DROP_QUEUE_FULL),
                     1); /* it came there once */
    scene_free(&scene);
}

static void what_is_one_too_many_to_be_retained_is_counted(void **state)
{
    (void)state;
    struct scene scene = {.house = house_new_on(&ports, 1, 0, 1000, "max_retained_messages 1\n")};
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, "\x31\x04\0\x01tx\x31\x04\0\x01ux");
    assert_int_equal(dropped(&scene, TRAIL_DROP_RETAINED_LIMIT), 1);
    SAY(writer, "\x35\x06\0\x01u\0\x07x");
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    assert_int_equal(dropped(&scene, TRAIL_DROP_RETAINED_LIMIT), 2);
    scene_free(&scene);
}

/* core/README.md, Decisions: a PUBREC speaks for the outbox, not for every queue. */
static void a_queue_that_rejects_what_an_outbox_brings_says_so_in_the_trail(void **state)
{
    (void)state;
    struct scene scene = {
        .house = house_new_on(&ports, 1, 0, 1000, "queue_policy reject\nmax_queued_messages 1\n")};
    struct client *reader = reader_new(&scene);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    struct client *passing = add(&scene, connected(scene.house, 'c', true));
    SAY(reader, "\xe0\0");
    SAY(passing, "\x34\x06\0\x01t\0\x07x");
    commit(scene.house);
    EXPECT(passing, PUBREC);
    SAY(passing, "\x34\x06\0\x01t\0\x08x"); /* it is told by whoever's queue is full */
    commit(scene.house);
    EXPECT_NOTHING(passing);
    assert_int_equal(dropped(&scene, TRAIL_DROP_QUEUE_FULL), 1);
    SAY(writer, PUBLISH_T2);
    commit(scene.house);
    EXPECT(writer, PUBREC);
    assert_int_equal(dropped(&scene, TRAIL_DROP_QUEUE_FULL), 2);
    struct trail_record record;
    struct trail_query query = {.client = slice_text("s")};
    assert_int_equal(trail_find(house_shard(scene.house, 0)->trail, &query, &record, 1), 1);
    assert_int_equal(record.what, TRAIL_DROP_QUEUE_FULL);
    assert_string_equal(record.topic, "t");
    commit(scene.house);
    assert_true(was_logged(OP_SENT));
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_outbox_has_accepted_reaches_its_receivers_though_the_disk_is_full),
        cmocka_unit_test(what_a_fenced_journal_does_not_take_stays_in_the_outbox),
        cmocka_unit_test(an_unsubscribe_makes_room_and_is_not_refused),
        cmocka_unit_test(an_unsubscribe_that_cannot_be_kept_is_not_acknowledged),
        cmocka_unit_test(version_5_hears_why_and_3_1_1_no_acknowledgement),
        cmocka_unit_test(what_waits_in_memory_alone_needs_no_disk),
        cmocka_unit_test(what_cannot_be_retained_is_routed_only_where_nobody_is_told),
        cmocka_unit_test(what_is_under_way_when_the_disk_fills_up_is_told_when_there_is_space),
        cmocka_unit_test(what_an_outbox_has_accepted_waits_on_disk_when_memory_is_full),
        cmocka_unit_test(what_is_on_disk_alone_is_counted_when_its_session_ends),
        cmocka_unit_test(who_repeats_a_message_on_its_next_connection_hears_what_became_of_it),
        cmocka_unit_test(what_is_one_too_many_to_be_retained_is_counted),
        cmocka_unit_test(a_queue_that_rejects_what_an_outbox_brings_says_so_in_the_trail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
