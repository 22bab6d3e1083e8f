/*
 * Retained messages that are on disk alone: what a subscriber hears while the journal reads them back.
 */
#include "core/pubsub/retain.h"
#include "tests/lib/held_journal.h"

/* All that is retained is on disk alone. */
static struct scene scene_without_memory(void)
{
    return (struct scene){.house = house_new_on(&ports, 1, 0, 1000, "retained_memory 1\n")};
}

static void answer(struct scene *scene)
{
    answer_some(OK, held.reading.count);
    turns(scene->house);
}

static const struct retain *retain_of(const struct scene *scene)
{
    return house_shard(scene->house, 0)->retain;
}

/* A writer, who has stored "x" under t. */
static struct client *add_writer(struct scene *scene)
{
    struct client *writer = add(scene, connected(scene->house, 'p', true));
    SAY(writer, "\x33\x06\0\x01t\0\x07x");
    assert_true(retain_memory_bytes(retain_of(scene)) > 0); /* nobody could read it back yet */
    commit(scene->house);
    EXPECT(writer, "\x40\x02\0\x07");
    assert_int_equal(retain_memory_bytes(retain_of(scene)), 0);
    assert_int_equal(retain_count(retain_of(scene)), 1);
    return writer;
}

/* A reader, who waits for the disk since he has subscribed to t. */
static struct client *add_reader(struct scene *scene)
{
    struct client *reader = add(scene, connected(scene->house, 's', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\0");
    EXPECT(reader, "\x90\x03\0\x01\0");
    assert_non_null(held.reading.done);
    return reader;
}

static void a_retained_message_on_disk_is_read_back(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    struct client *writer = add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(reader, "\xc0\0");
    EXPECT(reader, "\xd0\0"); /* nothing else waits for it */
    answer(&scene);
    EXPECT(reader, "\x31\x04\0\x01tx");
    SAY(writer, "\x31\x04\0\x01ty"); /* as any other afterwards */
    EXPECT(reader, "\x30\x04\0\x01ty");
    scene_free(&scene);
}

static void what_one_reading_has_no_room_for_is_read_by_the_next(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    struct client *writer = add_writer(&scene);
    SAY(writer, "\x31\x04\0\x01uy");
    SAY(writer, "\x31\x04\0\x01vz");
    commit(scene.house);
    struct client *reader = add(&scene, connected(scene.house, 's', true));
    SAY(reader, "\x82\x06\0\x02\0\x01+\0");
    EXPECT(reader, "\x90\x03\0\x02\0");
    bool has_come[3] = {false};
    for (uint32_t left = 3; left > 0; left--) {
        assert_int_equal(held.reading.count, left);
        answer_some(OK, 1);
        turns(scene.house);
        assert_int_equal(reader->heard_count, 6);
        has_come[reader->heard[5] - 'x'] = true;
        reader->heard_count = 0;
    }
    assert_true(has_come[0] && has_come[1] && has_come[2]);
    assert_null(held.reading.done);
    scene_free(&scene);
}

static void what_is_set_while_the_old_one_is_read_is_what_the_reader_hears(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    struct client *writer = add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(writer, "\x31\x04\0\x01ty");
    EXPECT(reader, "\x30\x04\0\x01ty");
    answer(&scene); /* x */
    EXPECT(reader, "\x31\x04\0\x01ty");
    assert_int_equal(held.reading_count, 1);
    scene_free(&scene);
}

static void what_has_gone_to_disk_meanwhile_is_read_once_more(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    struct client *writer = add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(writer, "\x31\x04\0\x01ty");
    commit(scene.house);
    assert_int_equal(retain_memory_bytes(retain_of(&scene)), 0);
    EXPECT(reader, "\x30\x04\0\x01ty");
    answer(&scene); /* x */
    EXPECT_NOTHING(reader);
    assert_int_equal(held.reading_count, 2);
    answer(&scene);
    EXPECT(reader, "\x31\x04\0\x01ty");
    scene_free(&scene);
}

static void what_is_cleared_while_it_is_read_is_not_heard(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    struct client *writer = add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(writer, "\x31\x03\0\x01t");
    EXPECT(reader, "\x30\x03\0\x01t");
    answer(&scene);
    EXPECT_NOTHING(reader);
    assert_null(held.reading.done);
    scene_free(&scene);
}

static void what_has_expired_on_disk_is_not_heard_and_is_there_no_more(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    add_writer(&scene);
    held.retained['t'].expires_wall_ms = 1;
    struct client *reader = add_reader(&scene);
    answer(&scene);
    EXPECT_NOTHING(reader);
    assert_int_equal(retain_count(retain_of(&scene)), 0);
    scene_free(&scene);
}

static void a_reader_may_go_while_the_disk_is_read(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(reader, "\xe0\0");
    assert_true(link_is_closed(reader->link));
    answer(&scene);
    EXPECT_NOTHING(reader);
    add_reader(&scene); /* and so may the shard */
    scene_free(&scene);
}

static void who_unsubscribes_while_the_disk_is_read_hears_nothing(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(reader, "\xa2\x05\0\x02\0\x01t");
    EXPECT(reader, "\xb0\x02\0\x02");
    answer(&scene);
    EXPECT_NOTHING(reader);
    scene_free(&scene);
}

/* [MQTT-3.8.4-4] */
static void who_subscribes_again_while_the_disk_is_read_hears_it_twice(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    add_writer(&scene);
    struct client *reader = add_reader(&scene);
    SAY(reader, "\x82\x06\0\x02\0\x01t\0");
    EXPECT(reader, "\x90\x03\0\x02\0");
    answer(&scene);
    EXPECT(reader, "\x31\x04\0\x01tx");
    answer(&scene);
    EXPECT(reader, "\x31\x04\0\x01tx");
    scene_free(&scene);
}

static void what_cannot_be_read_is_counted_and_does_not_hide_the_rest(void **state)
{
    (void)state;
    struct scene scene = scene_without_memory();
    struct client *writer = add_writer(&scene);
    const struct shard *shard = house_shard(scene.house, 0);
    SAY(writer, "\x31\x04\0\x01uy");
    commit(scene.house);
    struct client *reader = add(&scene, connected(scene.house, 's', true));
    SAY(reader, "\x82\x06\0\x02\0\x01+\0");
    EXPECT(reader, "\x90\x03\0\x02\0");
    answer_some(ERR_CORRUPT, 0); /* the first of the two */
    turns(scene.house);
    EXPECT_NOTHING(reader);
    assert_int_equal(metric_label_value(shard->metrics, METRIC_dropped, TRAIL_DROP_UNREADABLE), 1);
    answer(&scene);
    assert_int_equal(reader->heard_count, 6);
    reader->heard_count = 0;
    SAY(reader, "\x82\x06\0\x02\0\x01+\0");
    reader->heard_count = 0;
    answer_some(ERR_IO, 0); /* the disk: all of them */
    turns(scene.house);
    EXPECT_NOTHING(reader);
    assert_null(held.reading.done);
    assert_int_equal(metric_label_value(shard->metrics, METRIC_dropped, TRAIL_DROP_UNREADABLE), 3);
    scene_free(&scene);
}

static void what_fits_into_memory_is_never_read_back(void **state)
{
    (void)state;
    struct scene scene = scene_new();
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(writer, "\x31\x04\0\x01tx");
    commit(scene.house);
    SAY(writer, "\x82\x06\0\x01\0\x01t\0");
    EXPECT(writer, "\x90\x03\0\x01\0\x31\x04\0\x01tx");
    assert_int_equal(held.reading_count, 0);
    scene_free(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retained_message_on_disk_is_read_back),
        cmocka_unit_test(what_one_reading_has_no_room_for_is_read_by_the_next),
        cmocka_unit_test(what_is_set_while_the_old_one_is_read_is_what_the_reader_hears),
        cmocka_unit_test(what_has_gone_to_disk_meanwhile_is_read_once_more),
        cmocka_unit_test(what_is_cleared_while_it_is_read_is_not_heard),
        cmocka_unit_test(what_has_expired_on_disk_is_not_heard_and_is_there_no_more),
        cmocka_unit_test(a_reader_may_go_while_the_disk_is_read),
        cmocka_unit_test(who_unsubscribes_while_the_disk_is_read_hears_nothing),
        cmocka_unit_test(who_subscribes_again_while_the_disk_is_read_hears_it_twice),
        cmocka_unit_test(what_cannot_be_read_is_counted_and_does_not_hide_the_rest),
        cmocka_unit_test(what_fits_into_memory_is_never_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
