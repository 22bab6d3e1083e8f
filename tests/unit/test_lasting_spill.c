/*
 * A long queue, of which only the beginning is in memory: how the rest comes back from a disk that answers
 * when the test says so.
 */
#include "core/base/ledger.h"
#include "core/broker/spill.h"
#include "tests/lib/held_journal.h"

enum { IN_MEMORY = 128, PAGE = 256 }; /* of a client that is away; read at once */

#define SHARE "$share/g/t"

static struct scene start(const char *lines)
{
    struct scene scene = {.house = house_new_on(&ports, 1, 0, 1000, lines)};
    held.keeps_owed = true;
    return scene;
}

static struct session *session_of(const struct scene *scene)
{
    return map_get(house_shard(scene->house, 0)->sessions, slice_text("s"));
}

static uint64_t dropped(const struct scene *scene, enum trail_what what)
{
    return metric_label_value(house_shard(scene->house, 0)->metrics, METRIC_dropped, what);
}

/* From that number on, one message each; the payload is the number, of which a byte is enough here. */
static void publish(struct client *writer, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        uint8_t bytes[] = {0x32, 6, 0, 1, 't', 0, 7, (uint8_t)i};
        say(writer, bytes, sizeof(bytes));
        commit(writer->house);
        EXPECT(writer, "\x40\x02\0\x07");
    }
}

/* The next ones come, in their order, and are acknowledged. Packet ids begin with 2. */
static void take(struct client *reader, uint32_t from, uint32_t count)
{
    assert_int_equal(reader->heard_count, count * 8);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = from + i;
        uint8_t bytes[] = {
            0x32,           6, 0, 1, 't', (uint8_t)((number + 2) >> 8), (uint8_t)(number + 2),
            (uint8_t)number};
        assert_memory_equal(reader->heard + 8 * i, bytes, sizeof(bytes));
    }
    reader->heard_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = from + i + 2;
        uint8_t puback[] = {0x40, 2, (uint8_t)(id >> 8), (uint8_t)id};
        say(reader, puback, sizeof(puback));
    }
}

/* A writer, and a session "s" that is away and has so many messages waiting, from 0 on. */
static struct client *reader_has_gone(struct scene *scene, uint32_t count)
{
    struct client *reader = add(scene, connected(scene->house, 's', false));
    struct client *writer = add(scene, connected(scene->house, 'p', true));
    SAY(reader, "\x82\x06\0\x01\0\x01t\x01");
    commit(scene->house);
    SAY(reader, "\xe0\0");
    commit(scene->house);
    publish(writer, 0, count);
    return writer;
}

static void answer(struct scene *scene)
{
    answer_page(OK);
    turns(scene->house);
}

/* ---- read back ------------------------------------------------------------------------------ */

/* "s" is there again; what it is sent at once has been heard. */
static struct client *come_back(struct scene *scene)
{
    struct client *reader = add(scene, client_new(scene->house));
    SAY(reader, "\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01s");
    commit(scene->house);
    assert_true(reader->heard_count >= 4);
    assert_memory_equal(reader->heard, "\x20\x02\x01\0", 4);
    reader->heard_count -= 4;
    memmove(reader->heard, reader->heard + 4, reader->heard_count);
    return reader;
}

static void a_long_queue_comes_back_page_by_page_and_in_order(void **state)
{
    enum { REST = 40, COUNT = IN_MEMORY + PAGE + REST };
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    const struct shard *shard = house_shard(scene.house, 0);
    reader_has_gone(&scene, COUNT);
    assert_int_equal(session_of(&scene)->queue.spilled_count, PAGE + REST);
    assert_int_equal(held.page_count, 0);
    struct client *reader = come_back(&scene);
    take(reader, 0, IN_MEMORY);
    assert_int_equal(held.page_count, 1);
    answer(&scene);
    take(reader, IN_MEMORY, PAGE);
    assert_int_equal(held.page_count, 2);
    answer(&scene);
    take(reader, IN_MEMORY + PAGE, REST);
    assert_int_equal(held.page_count, 2);
    assert_int_equal(shard->queue_totals.count, 0);
    assert_int_equal(shard->queue_totals.bytes, 0);
    assert_int_equal(session_of(&scene)->queue.bytes, 0);
    scene_free(&scene);
}

/* Else a client that takes one at a time had nothing to take while the disk is read. */
static void the_next_page_is_read_before_the_last_one_is_used_up(void **state)
{
    enum { LOW = 64 };
    (void)state;
    struct scene scene = start("max_inflight_messages 1\n");
    reader_has_gone(&scene, IN_MEMORY + 2);
    struct client *reader = come_back(&scene);
    for (uint32_t i = 0; i < IN_MEMORY - LOW - 1; i++) {
        assert_null(held.page.done);
        take(reader, i, 1);
    }
    assert_non_null(held.page.done);
    for (uint32_t i = IN_MEMORY - LOW - 1; i < IN_MEMORY; i++) {
        take(reader, i, 1);
    }
    assert_int_equal(held.page_count, 1); /* one at a time, however often it asks */
    answer(&scene);
    take(reader, IN_MEMORY, 1);
    take(reader, IN_MEMORY + 1, 1);
    assert_int_equal(held.page_count, 1);
    scene_free(&scene);
}

static void what_comes_while_the_disk_is_read_comes_after_what_is_read(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    struct client *writer = reader_has_gone(&scene, IN_MEMORY + 2);
    struct client *reader = come_back(&scene);
    take(reader, 0, IN_MEMORY);
    publish(writer, IN_MEMORY + 2, 1); /* what is logged now the reading may see, or not */
    EXPECT_NOTHING(reader);
    answer(&scene);
    take(reader, IN_MEMORY, 3);
    publish(writer, IN_MEMORY + 3, 1);
    take(reader, IN_MEMORY + 3, 1);
    assert_int_equal(held.page_count, 1);
    scene_free(&scene);
}

static void a_message_read_back_has_all_it_came_with(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    struct client *reader = add(&scene, client_new(scene.house));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x64\0\x01s");
    commit(scene.house);
    /* Two subscriptions with identifiers 5 and 6, the second one with Retain As Published. */
    SAY(reader, "\x82\x09\0\x01\x02\x0b\x05\0\x01t\x01");
    SAY(reader, "\x82\x09\0\x02\x02\x0b\x06\0\x01+\x09");
    SAY(reader, "\xe0\0");
    commit(scene.house);
    publish(writer, 0, IN_MEMORY);
    SAY(writer, "\x33\x06\0\x01t\0\x07x");
    commit(scene.house);
    struct client *again = add(&scene, client_new(scene.house));
    SAY(again, "\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x64\0\x01s");
    commit(scene.house);
    again->heard_count = 0;
    answer(&scene);
    EXPECT(again, "\x33\x0b\0\x01t\0\x82\x04\x0b\x06\x0b\x05x");
    scene_free(&scene);
}

/* What is on disk alone could not be given to another when the session ends. */
static void all_that_waits_for_a_member_of_a_group_goes_to_another_when_its_session_ends(
    void **state)
{
    enum { COUNT = IN_MEMORY + 3 };
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\x82\x0f\0\x01\0\x0a" SHARE "\x01");
    SAY(reader, "\xe0\0");
    commit(scene.house);
    publish(writer, 0, COUNT);
    assert_int_equal(session_of(&scene)->queue.spilled_count, 0);
    struct client *other = add(&scene, connected(scene.house, 'o', false));
    SAY(other, "\x82\x0f\0\x01\0\x0a" SHARE "\x01");
    commit(scene.house);
    other->heard_count = 0;
    add(&scene, connected(scene.house, 's', true));
    commit(scene.house);
    commit(scene.house);
    assert_int_equal(other->heard_count, COUNT * 8);
    scene_free(&scene);
}

/* Where something else was on disk alone before it, it had to go there, too. */
static void what_is_read_back_by_a_member_of_a_group_is_given_back_when_it_goes(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 1\n");
    struct client *reader = add(&scene, connected(scene.house, 's', false));
    struct client *writer = add(&scene, connected(scene.house, 'p', true));
    SAY(reader, "\x82\x06\0\x01\0\x01u\x01");
    SAY(reader, "\x82\x0f\0\x01\0\x0a" SHARE "\x01");
    SAY(reader, "\xe0\0");
    commit(scene.house);
    for (uint32_t i = 0; i < IN_MEMORY + 1; i++) {
        SAY(writer, "\x32\x06\0\x01u\0\x07x");
        commit(scene.house);
        EXPECT(writer, "\x40\x02\0\x07");
    }
    publish(writer, IN_MEMORY + 1, 1);
    assert_int_equal(session_of(&scene)->queue.spilled_count, 2);
    reader = come_back(&scene);
    for (uint32_t id = 2; id < IN_MEMORY + 1; id++) {
        uint8_t puback[] = {0x40, 2, (uint8_t)(id >> 8), (uint8_t)id};
        say(reader, puback, sizeof(puback));
    }
    answer(&scene);
    struct client *other = add(&scene, connected(scene.house, 'o', false));
    SAY(other, "\x82\x0f\0\x01\0\x0a" SHARE "\x01");
    commit(scene.house);
    other->heard_count = 0;
    SAY(reader, "\xe0\0");
    commit(scene.house);
    EXPECT(other, "\x32\x06\0\x01t\0\x02\x81");
    scene_free(&scene);
}

/* Its message is gone, and nothing is left to send. */
static void what_awaits_pubcomp_on_disk_is_no_message(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    reader_has_gone(&scene, IN_MEMORY + 3);
    held.owed[IN_MEMORY].item.awaits_pubcomp = true;
    struct client *reader = come_back(&scene);
    take(reader, 0, IN_MEMORY);
    answer(&scene);
    take(reader, IN_MEMORY + 1, 2);
    scene_free(&scene);
}

/* ---- bounds --------------------------------------------------------------------------------- */

/* The oldest give way, and who they are is on disk alone. */
static void a_queue_that_is_on_disk_alone_keeps_to_its_bound(void **state)
{
    enum { COUNT = 20 };
    (void)state;
    struct scene scene = start("max_inflight_messages 500\nmax_queued_messages 20\n");
    struct shard *shard = house_shard(scene.house, 0);
    struct client *writer = reader_has_gone(&scene, 0);
    shard->broker_memory_limit = ledger_total() + 200; /* who is away has a quarter of it */
    publish(writer, 0, COUNT);
    assert_int_equal(session_of(&scene)->queue.waiting.count, 0);
    assert_int_equal(held.page_count, 0);
    publish(writer, COUNT, 1);
    assert_int_equal(held.page_count, 1);
    publish(writer, COUNT + 1, 1);
    answer(&scene);
    assert_int_equal(dropped(&scene, TRAIL_DROP_QUEUE_OLDEST), 2);
    assert_int_equal(shard->queue_totals.count, COUNT);
    shard->broker_memory_limit = UINT64_MAX;
    struct client *reader = come_back(&scene);
    take(reader, 2, COUNT);
    scene_free(&scene);
}

/* ---- what comes in between ------------------------------------------------------------------ */

static void a_session_may_end_while_its_queue_is_read(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    reader_has_gone(&scene, IN_MEMORY + 1);
    come_back(&scene);
    assert_non_null(held.page.done);
    add(&scene, connected(scene.house, 's', true));
    assert_true(was_logged(OP_END));
    answer(&scene); /* under the address sanitizer */
    assert_int_equal(house_shard(scene.house, 0)->queue_totals.count, 0);
    scene_free(&scene);
}

static void a_client_may_go_while_its_queue_is_read_and_finds_it_all(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    reader_has_gone(&scene, IN_MEMORY + 2);
    struct client *reader = come_back(&scene);
    take(reader, 0, IN_MEMORY);
    SAY(reader, "\xe0\0");
    answer(&scene);
    EXPECT_NOTHING(reader);
    reader = come_back(&scene);
    take(reader, IN_MEMORY, 2);
    scene_free(&scene);
}

static void who_cannot_be_read_to_now_is_read_to_later(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    struct client *writer = reader_has_gone(&scene, IN_MEMORY + 2);
    held.has_no_memory = true;
    struct client *reader = come_back(&scene);
    take(reader, 0, IN_MEMORY);
    held.has_no_memory = false;
    publish(writer, IN_MEMORY + 2, 1);
    answer_page(ERR_IO); /* told in the log, and tried again */
    turns(scene.house);
    EXPECT_NOTHING(reader);
    publish(writer, IN_MEMORY + 3, 1);
    answer(&scene);
    take(reader, IN_MEMORY, 4);
    scene_free(&scene);
}

static void the_broker_may_end_while_a_queue_is_read(void **state)
{
    (void)state;
    struct scene scene = start("max_inflight_messages 500\n");
    reader_has_gone(&scene, IN_MEMORY + 1);
    come_back(&scene);
    assert_non_null(held.page.done);
    scene_free(&scene); /* under the address sanitizer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_queue_comes_back_page_by_page_and_in_order),
        cmocka_unit_test(the_next_page_is_read_before_the_last_one_is_used_up),
        cmocka_unit_test(what_comes_while_the_disk_is_read_comes_after_what_is_read),
        cmocka_unit_test(a_message_read_back_has_all_it_came_with),
        cmocka_unit_test(
            all_that_waits_for_a_member_of_a_group_goes_to_another_when_its_session_ends),
        cmocka_unit_test(what_is_read_back_by_a_member_of_a_group_is_given_back_when_it_goes),
        cmocka_unit_test(what_awaits_pubcomp_on_disk_is_no_message),
        cmocka_unit_test(a_queue_that_is_on_disk_alone_keeps_to_its_bound),
        cmocka_unit_test(a_session_may_end_while_its_queue_is_read),
        cmocka_unit_test(a_client_may_go_while_its_queue_is_read_and_finds_it_all),
        cmocka_unit_test(who_cannot_be_read_to_now_is_read_to_later),
        cmocka_unit_test(the_broker_may_end_while_a_queue_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
