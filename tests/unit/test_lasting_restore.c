/*
 * What the disk holds becomes a shard's view: a broker that starts on a session, its messages and an
 * outbox, and what clients then see of them.
 */
#include "core/broker/outbox.h"
#include "core/broker/restore.h"
#include "tests/lib/held_journal.h"

#define CONNECT_S     "\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01s"
#define CONNACK_NEW   "\x20\x02\0\0"
#define CONNACK_AGAIN "\x20\x02\x01\0"

static struct story {
    uint32_t expiry_s, item_count, awaits_pubcomp; /* of the first ones */
    uint64_t sent_sequence, closed_ago_ms, outbox_number, outbox_next, received_number;
    uint64_t expired_from; /* sequence; 0: none has expired */
    uint64_t shared;       /* the sequence that came by a shared subscription; 0: none */
    uint32_t will_delay_s;
    uint8_t qos;
    uint16_t packet_id;
    bool is_closed, has_will;
    bool has_second; /* a session "z" with nothing */
} story;

static void restore_all(struct shard *shard)
{
    struct restore *restore = restore_begin(shard, shard->partitions.mine, 0);
    uint32_t mine = partition_of(slice_text("s")), other = partition_of(slice_text("p"));
    struct msg_spec message = {.topic = slice_text("t"), .payload = slice_text("x"), .qos = 2};
    if (story.received_number != 0) {
        assert_int_equal(restore_received(restore, mine, other, story.received_number), OK);
    }
    if (story.outbox_next != 0) {
        assert_int_equal(restore_outbox_next(restore, other, story.outbox_next), OK);
    }
    if (story.outbox_number != 0) {
        assert_int_equal(
            restore_outbox(restore, other, story.outbox_number, &message, slice_of(NULL, 0)), OK);
    }
    struct restored_session session = {
        .key = 7 * SHARD_COUNT_MAX,
        .open = {.client_id = slice_text("s"), .expiry_s = story.expiry_s},
        .is_closed = story.is_closed,
        .closed_wall_ms = shard_wall_ms(shard) - story.closed_ago_ms,
        .sent_sequence = story.sent_sequence,
    };
    if (story.has_will) {
        session.open.will = (struct op_will){.message = {.topic = slice_text("w"),
                                                         .payload = slice_text("!")},
                                             .delay_s = story.will_delay_s};
    }
    assert_int_equal(restore_session(restore, &session), OK);
    struct op_subscribe subscribe = {
        .text = slice_text("t"), .filter = slice_text("t"), .qos = story.qos};
    assert_int_equal(restore_subscription(restore, &subscribe), OK);
    if (story.packet_id != 0) {
        assert_int_equal(restore_packet_id(restore, story.packet_id), OK);
    }
    for (uint32_t i = 0; i < story.item_count; i++) {
        struct stored_item item = {.sequence = i + 1,
                                   .stored = i + 1,
                                   .message = message,
                                   .qos = 2,
                                   .awaits_pubcomp = i < story.awaits_pubcomp};
        if (item.sequence == story.shared) {
            item.share_text = slice_text("$share/g/t");
        }
        if (story.expired_from != 0 && item.sequence >= story.expired_from) {
            item.message.expiry_s = 1;
            item.message.expires_wall_ms = 1;
        }
        assert_int_equal(restore_item(restore, &item), OK);
    }
    if (story.has_second) {
        session.key += SHARD_COUNT_MAX;
        session.open.client_id = slice_text("z");
        assert_int_equal(restore_session(restore, &session), OK);
    }
    assert_int_equal(restore_end(restore, OK), OK);
}

static enum err story_load(void *context, struct journal *journal, struct shard *shard,
                           struct broker_failure *failure)
{
    (void)context, (void)journal, (void)failure;
    restore_all(shard);
    return OK;
}

static const struct broker_ports story_ports = {
    .journal_new = held_new, .journal_load = story_load, .journal_free = held_free};

static struct scene begin_with(struct story what, const char *lines)
{
    story = what;
    return (struct scene){.house = house_new_on(&story_ports, 1, 0, 1000, lines)};
}

static struct scene begin(struct story what)
{
    return begin_with(what, "");
}

static struct session *session_by_id(const struct scene *scene, const char *id)
{
    return map_get(house_shard(scene->house, 0)->sessions, slice_text(id));
}

static struct session *session_of(const struct scene *scene)
{
    return session_by_id(scene, "s");
}

static uint64_t left_s(const struct scene *scene, const struct timer *timer)
{
    uint64_t now_ns = io_now_ns(house_shard(scene->house, 0)->io);
    return (timer->at_ns - now_ns + UINT64_C(500000000)) / UINT64_C(1000000000);
}

static struct client *back(struct scene *scene)
{
    struct client *client = add(scene, client_new(scene->house));
    SAY(client, CONNECT_S);
    commit(scene->house);
    return client;
}

/* ---- messages ------------------------------------------------------------------------------- */

static void what_was_sent_before_a_close_is_sent_again_as_a_duplicate_and_the_rest_is_not(
    void **state)
{
    (void)state;
    struct scene scene = begin((struct story){
        .expiry_s = 100, .is_closed = true, .qos = 2, .item_count = 3, .sent_sequence = 2});
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN "\x3c\x06\0\x01t\0\x02x\x3c\x06\0\x01t\0\x03x"
                                 "\x34\x06\0\x01t\0\x04x");
    assert_false(was_logged(OP_CLOSE));
    scene_free(&scene);
}

static void without_an_end_of_the_connection_everything_may_have_been_sent(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){.expiry_s = 100, .qos = 2, .item_count = 2});
    assert_true(was_logged(OP_CLOSE)); /* it is away from now on */
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN "\x3c\x06\0\x01t\0\x02x\x3c\x06\0\x01t\0\x03x");
    scene_free(&scene);
}

/* The first one is answered to its end, with a window of one; the second has expired. */
static struct client *second_is_due(struct scene *scene, struct story what)
{
    what.expiry_s = 100;
    what.qos = 2;
    what.item_count = what.expired_from = 2;
    *scene = begin_with(what, "max_inflight_messages 1\n");
    struct client *client = back(scene);
    EXPECT(client, CONNACK_AGAIN "\x3c\x06\0\x01t\0\x02x");
    SAY(client, "\x50\x02\0\x02");
    commit(scene->house);
    EXPECT(client, "\x62\x02\0\x02");
    SAY(client, "\x70\x02\0\x02");
    commit(scene->house);
    return client;
}

static void what_may_have_been_begun_at_qos_2_is_finished_though_it_has_expired(void **state)
{
    (void)state;
    struct scene scene;
    struct client *client = second_is_due(&scene, (struct story){.is_closed = false});
    EXPECT(client, "\x3c\x06\0\x01t\0\x03x");
    scene_free(&scene);
}

static void what_was_not_begun_expires(void **state)
{
    (void)state;
    struct scene scene;
    struct client *client = second_is_due(&scene,
                                          (struct story){.is_closed = true, .sent_sequence = 1});
    EXPECT_NOTHING(client);
    scene_free(&scene);
}

static void also_what_waits_behind_the_window_may_have_been_sent(void **state)
{
    (void)state;
    struct scene scene = begin_with((struct story){.expiry_s = 100, .qos = 2, .item_count = 2},
                                    "max_inflight_messages 1\n");
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN "\x3c\x06\0\x01t\0\x02x");
    SAY(client, "\x50\x02\0\x02");
    commit(scene.house);
    EXPECT(client, "\x62\x02\0\x02");
    SAY(client, "\x70\x02\0\x02");
    commit(scene.house);
    EXPECT(client, "\x3c\x06\0\x01t\0\x03x");
    scene_free(&scene);
}

static void of_what_waits_for_pubcomp_only_pubrel_comes(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){
        .expiry_s = 100, .is_closed = true, .qos = 2, .item_count = 2, .awaits_pubcomp = 1});
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN "\x62\x02\0\x02\x34\x06\0\x01t\0\x03x");
    scene_free(&scene);
}

static void packet_ids_go_on_behind_the_last_one_that_was_sent(void **state)
{
    (void)state;
    struct scene scene = begin(
        (struct story){.expiry_s = 100, .is_closed = true, .qos = 2, .sent_sequence = 9});
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN);
    struct client *writer = add(&scene, connected(scene.house, 'c', true));
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    commit(scene.house);
    EXPECT(client, "\x32\x06\0\x01t\0\x0bx");
    scene_free(&scene);
}

/* No more can have been in flight than there are packet ids: what is behind them is only counted. */
static void a_queue_longer_than_all_packet_ids_goes_on_where_it_ended(void **state)
{
    enum { COUNT = UINT16_MAX + 3 };
    (void)state;
    struct scene scene = begin_with(
        (struct story){
            .expiry_s = 100, .is_closed = true, .qos = 2, .item_count = COUNT, .has_second = true},
        "max_queued_messages 0\n");
    const struct shard *shard = house_shard(scene.house, 0);
    const struct queue *queue = &session_of(&scene)->queue;
    assert_int_equal(queue_count(queue), COUNT);
    assert_int_equal(queue->spilled_from + queue->spilled_count, COUNT + 1);
    assert_int_equal(queue_count(&session_by_id(&scene, "z")->queue), 0);
    assert_int_equal(shard->queue_totals.count, COUNT);
    assert_int_equal(shard->queue_totals.bytes, queue->bytes);
    assert_int_equal(queue->bytes, COUNT * (uint64_t)msg_bytes(queue_peek(queue)->msg));
    struct client *writer = add(&scene, connected(scene.house, 'c', true));
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    assert_int_equal(held.ops[held.op_count - 1], OP_ENQUEUE);
    assert_int_equal(held.details[held.op_count - 1].number, COUNT + 1);
    scene_free(&scene);
}

/* What of it is on disk alone could not be given to another when the session ends. */
static void all_up_to_what_is_of_a_group_is_in_memory(void **state)
{
    enum { IN_MEMORY = 128, COUNT = 300 };
    (void)state;
    static const struct {
        uint64_t shared;
        uint32_t in_memory;
    } cases[] = {{0, IN_MEMORY}, {5, IN_MEMORY}, {200, 200}, {COUNT, COUNT}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct scene scene = begin_with((struct story){.expiry_s = 100,
                                                       .is_closed = true,
                                                       .qos = 2,
                                                       .item_count = COUNT,
                                                       .shared = cases[i].shared},
                                        "max_queued_messages 0\n");
        assert_int_equal(session_of(&scene)->queue.waiting.count, cases[i].in_memory);
        assert_int_equal(session_of(&scene)->queue.spilled_count, COUNT - cases[i].in_memory);
        scene_free(&scene);
    }
}

static void a_packet_id_of_the_client_is_still_taken(void **state)
{
    (void)state;
    struct scene scene = begin(
        (struct story){.expiry_s = 100, .is_closed = true, .qos = 2, .packet_id = 7});
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN);
    SAY(client, "\x3c\x06\0\x01t\0\x07x");
    commit(scene.house);
    EXPECT(client, "\x50\x02\0\x07"); /* it is not routed, to itself for instance */
    SAY(client, "\x62\x02\0\x07");
    commit(scene.house);
    EXPECT(client, "\x70\x02\0\x07");
    scene_free(&scene);
}

/* ---- time ----------------------------------------------------------------------------------- */

static void expiry_and_the_will_s_delay_have_gone_on(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){.expiry_s = 100,
                                              .is_closed = true,
                                              .closed_ago_ms = 30000,
                                              .has_will = true,
                                              .will_delay_s = 50});
    const struct session *session = session_of(&scene);
    assert_int_equal(left_s(&scene, &session->afterlife->expiry_timer), 70);
    assert_int_equal(left_s(&scene, &session->afterlife->will_timer), 20);
    scene_free(&scene);
}

static void of_a_connection_that_was_open_they_begin_now(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){
        .expiry_s = 100, .closed_ago_ms = 30000, .has_will = true, .will_delay_s = 50});
    const struct session *session = session_of(&scene);
    assert_int_equal(left_s(&scene, &session->afterlife->expiry_timer), 100);
    assert_int_equal(left_s(&scene, &session->afterlife->will_timer), 50);
    scene_free(&scene);
}

static void a_session_that_has_expired_is_not_there_however_soon_its_client_comes(void **state)
{
    (void)state;
    struct scene scene = begin(
        (struct story){.expiry_s = 1, .is_closed = true, .closed_ago_ms = 999, .qos = 2});
    struct client *client = add(&scene, client_new(scene.house));
    const struct timer *timer = &session_of(&scene)->afterlife->expiry_timer;
    while (io_now_ns(house_shard(scene.house, 0)->io) + DOOR_TURN_NS < timer->at_ns) {
        house_turn(scene.house);
    }
    assert_non_null(session_of(&scene)); /* the next turn would end it, after what comes with it */
    SAY(client, CONNECT_S);
    commit(scene.house);
    EXPECT(client, CONNACK_NEW);
    scene_free(&scene);
}

static void a_will_of_a_session_without_an_afterlife_is_published_at_the_start(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){.has_will = true});
    for (uint32_t i = 0; i < 300; i++) {
        house_turn(scene.house); /* a wheel is late by a millisecond */
    }
    assert_true(was_logged(OP_WILL));
    assert_true(was_logged(OP_SEND));
    assert_true(was_logged(OP_END));
    assert_null(session_of(&scene));
    scene_free(&scene);
}

static void of_a_session_without_an_afterlife_nothing_is_written_but_its_end(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){.has_will = true});
    assert_false(session_of(&scene)->is_kept);
    assert_int_equal(held.op_count, 0);
    for (uint32_t i = 0; i < 300; i++) {
        house_turn(scene.house);
    }
    assert_true(was_logged(OP_END));
    assert_false(was_logged(OP_CLOSE));
    scene_free(&scene);
}

static void a_will_that_is_due_is_published_though_its_client_comes_first(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){.expiry_s = 100,
                                              .is_closed = true,
                                              .closed_ago_ms = 999,
                                              .has_will = true,
                                              .will_delay_s = 1});
    struct client *client = add(&scene, client_new(scene.house));
    const struct timer *timer = &session_of(&scene)->afterlife->will_timer;
    while (io_now_ns(house_shard(scene.house, 0)->io) + DOOR_TURN_NS < timer->at_ns) {
        house_turn(scene.house);
    }
    assert_false(was_logged(OP_WILL));
    SAY(client, CONNECT_S);
    assert_true(was_logged(OP_SEND));
    scene_free(&scene);
}

static void a_client_may_answer_what_was_not_sent_again_yet(void **state)
{
    (void)state;
    struct scene scene = begin((struct story){
        .expiry_s = 100, .is_closed = true, .qos = 2, .item_count = 2, .sent_sequence = 2});
    struct client *client = add(&scene, client_new(scene.house));
    /* Version 5, expiry 100 s, Receive Maximum 1. */
    SAY(client, "\x10\x16\0\x04MQTT\x05\x00\0\0\x08\x11\0\0\0\x64\x21\0\x01\0\x01s");
    commit(scene.house);
    client->heard_count = 0;
    SAY(client, "\x50\x03\0\x03\x80"); /* the second, of which it heard on the last connection */
    SAY(client, "\x50\x03\0\x02\x80");
    EXPECT_NOTHING(client);
    struct client *writer = add(&scene, connected(scene.house, 'c', true));
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    commit(scene.house);
    EXPECT(client, "\x32\x07\0\x01t\0\x04\0x");
    scene_free(&scene);
}

/* ---- the outbox ----------------------------------------------------------------------------- */

static void what_the_outbox_still_has_is_routed_to_those_it_has_not_reached(void **state)
{
    (void)state;
    for (uint64_t received = 3; received <= 5; received++) {
        struct scene scene = begin((struct story){.expiry_s = 100,
                                                  .is_closed = true,
                                                  .qos = 2,
                                                  .outbox_number = 4,
                                                  .received_number = received});
        turns(scene.house);
        commit(scene.house);
        struct client *client = back(&scene);
        if (received < 5) { /* it was routed as number 5; as 4 its topic was asked */
            EXPECT(client, CONNACK_AGAIN "\x34\x06\0\x01t\0\x02x");
        } else {
            EXPECT(client, CONNACK_AGAIN);
        }
        assert_true(was_logged(OP_SENT));
        scene_free(&scene);
    }
}

/* outbox.h: it was there before a restart, and may have been sent then. */
static void what_the_outbox_still_has_goes_to_nobody_at_qos_0(void **state)
{
    (void)state;
    struct scene scene = begin_with(
        (struct story){
            .expiry_s = 100, .is_closed = true, .qos = 0, .outbox_number = 4, .outbox_next = 5},
        "queue_qos0_messages true\n");
    commit(scene.house);
    struct client *writer = add(&scene, connected(scene.house, 'p', false));
    SAY(writer, "\x34\x06\0\x01t\0\x07y");
    commit(scene.house);
    EXPECT(writer, "\x50\x02\0\x07");
    struct client *client = back(&scene);
    EXPECT(client, CONNACK_AGAIN "\x30\x04\0\x01ty");
    scene_free(&scene);
}

/* What is sent as a number, even, is routed as the next one: else the last one of before were this. */
static void numbers_of_an_outbox_go_on_behind_what_was_routed(void **state)
{
    (void)state;
    for (uint64_t next = 43; next <= 44; next++) {
        struct scene scene = begin((struct story){.expiry_s = 100,
                                                  .is_closed = true,
                                                  .qos = 2,
                                                  .outbox_next = next,
                                                  .received_number = 43});
        struct client *writer = add(&scene, connected(scene.house, 'p', false));
        SAY(writer, "\x34\x06\0\x01t\0\x07y");
        assert_int_equal(held.ops[held.op_count - 1], OP_SEND);
        assert_int_equal(held.details[held.op_count - 1].number, 44);
        commit(scene.house);
        struct client *client = back(&scene);
        EXPECT(client, CONNACK_AGAIN "\x34\x06\0\x01t\0\x02y");
        scene_free(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            what_was_sent_before_a_close_is_sent_again_as_a_duplicate_and_the_rest_is_not),
        cmocka_unit_test(without_an_end_of_the_connection_everything_may_have_been_sent),
        cmocka_unit_test(also_what_waits_behind_the_window_may_have_been_sent),
        cmocka_unit_test(what_may_have_been_begun_at_qos_2_is_finished_though_it_has_expired),
        cmocka_unit_test(what_was_not_begun_expires),
        cmocka_unit_test(of_what_waits_for_pubcomp_only_pubrel_comes),
        cmocka_unit_test(packet_ids_go_on_behind_the_last_one_that_was_sent),
        cmocka_unit_test(a_queue_longer_than_all_packet_ids_goes_on_where_it_ended),
        cmocka_unit_test(all_up_to_what_is_of_a_group_is_in_memory),
        cmocka_unit_test(a_packet_id_of_the_client_is_still_taken),
        cmocka_unit_test(expiry_and_the_will_s_delay_have_gone_on),
        cmocka_unit_test(of_a_connection_that_was_open_they_begin_now),
        cmocka_unit_test(a_session_that_has_expired_is_not_there_however_soon_its_client_comes),
        cmocka_unit_test(a_will_of_a_session_without_an_afterlife_is_published_at_the_start),
        cmocka_unit_test(of_a_session_without_an_afterlife_nothing_is_written_but_its_end),
        cmocka_unit_test(a_will_that_is_due_is_published_though_its_client_comes_first),
        cmocka_unit_test(a_client_may_answer_what_was_not_sent_again_yet),
        cmocka_unit_test(what_the_outbox_still_has_is_routed_to_those_it_has_not_reached),
        cmocka_unit_test(what_the_outbox_still_has_goes_to_nobody_at_qos_0),
        cmocka_unit_test(numbers_of_an_outbox_go_on_behind_what_was_routed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
