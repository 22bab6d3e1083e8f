/*
 * What is told waits until it is certain: a whole shard on a journal that commits when the test says
 * so. Packets are bytes, as a client writes and reads them.
 */
#include "bench/micro/door.h"
#include "bench/micro/house.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a journal that waits for the test ----------------------------------------------------- */

enum { WAITERS_MAX = 64, OPS_MAX = 256 };

static struct held {
    struct journal journal;
    struct {
        journal_done done;
        void *context;
    } waiters[WAITERS_MAX];
    uint32_t waiter_count;
    enum op_kind ops[OPS_MAX];
    uint32_t op_count;
    bool is_dirty; /* something was logged since the last commit */
    enum err admits;
    bool is_at_once; /* everything is committed as soon as it is logged */
} held;

static enum err held_admit(struct journal *journal, uint32_t partition)
{
    (void)journal, (void)partition;
    return held.admits;
}

static uint64_t held_log(struct journal *journal, const struct op *op)
{
    (void)journal;
    assert_true(op->partition < PARTITION_COUNT);
    assert_true(held.op_count < OPS_MAX);
    held.ops[held.op_count++] = op->kind;
    held.is_dirty = !held.is_at_once;
    return held.op_count;
}

static enum err held_await(struct journal *journal, uint64_t partitions, journal_done done,
                           void *context)
{
    (void)journal;
    assert_true(partitions != 0);
    if (!held.is_dirty) {
        return OK;
    }
    assert_true(held.waiter_count < WAITERS_MAX);
    held.waiters[held.waiter_count].done = done;
    held.waiters[held.waiter_count++].context = context;
    return ERR_AGAIN;
}

static void tell_all(enum err err)
{
    uint32_t count = held.waiter_count;
    held.is_dirty = false;
    for (uint32_t i = 0; i < count; i++) {
        held.waiters[i].done(held.waiters[i].context, err);
    }
    held.waiter_count -= count; /* who waits anew stands behind them */
    memmove(held.waiters, held.waiters + count, held.waiter_count * sizeof(held.waiters[0]));
}

static bool held_no(const struct journal *journal)
{
    (void)journal;
    return false;
}

static void held_nothing(struct journal *journal)
{
    (void)journal;
}

static enum err held_read(struct journal *journal, uint32_t partition, uint64_t session,
                          uint64_t from_sequence, uint32_t max, journal_read_done done,
                          void *context)
{
    (void)journal, (void)partition, (void)session, (void)from_sequence, (void)max, (void)done;
    (void)context;
    return ERR_NOMEM; /* no test of this file lets a queue grow so long */
}

static const struct journal_calls held_calls = {.admit = held_admit,
                                                .log = held_log,
                                                .await = held_await,
                                                .read = held_read,
                                                .is_congested = held_no,
                                                .collect = held_nothing,
                                                .flush = held_nothing,
                                                .has_news = held_no,
                                                .leave_io = held_nothing};

static enum err held_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                         uint64_t *wall_ms, struct broker_failure *failure)
{
    (void)context, (void)io, (void)shard, (void)wall_ms, (void)failure;
    held = (struct held){.journal = {&held_calls}};
    *out = &held.journal;
    return OK;
}

static enum err held_load(void *context, struct journal *journal, struct shard *shard,
                          struct broker_failure *failure)
{
    (void)context, (void)journal, (void)shard, (void)failure;
    return OK;
}

static void held_free(struct journal *journal)
{
    (void)journal;
    tell_all(ERR_SHUTDOWN);
}

static const struct broker_ports ports = {
    .journal_new = held_new, .journal_load = held_load, .journal_free = held_free};

/* ---- a client ------------------------------------------------------------------------------- */

struct client {
    struct house *house;
    struct link *link;
    uint8_t heard[4096], said[512];
    uint32_t heard_count;
};

static void on_heard(void *owner, struct slice bytes)
{
    struct client *client = owner;
    assert_true(client->heard_count + bytes.count <= sizeof(client->heard));
    memcpy(client->heard + client->heard_count, bytes.data, bytes.count);
    client->heard_count += (uint32_t)bytes.count;
}

static void turns(struct house *house)
{
    for (uint32_t i = 0; i < 8; i++) {
        house_turn(house);
    }
}

static void commit(struct house *house)
{
    tell_all(OK);
    turns(house);
    tell_all(OK); /* what the first ones set going */
    turns(house);
}

static void say(struct client *client, const void *bytes, size_t count)
{
    assert_true(link_is_quiet(client->link));
    memcpy(client->said, bytes, count);
    link_say(client->link, slice_of(client->said, count));
    turns(client->house);
}

#define SAY(client, text) say((client), text, sizeof(text) - 1)

static void expect(struct client *client, const char *bytes, size_t count)
{
    assert_int_equal(client->heard_count, count);
    assert_memory_equal(client->heard, bytes, count);
    client->heard_count = 0;
}

#define EXPECT(client, text)   expect((client), text, sizeof(text) - 1)
#define EXPECT_NOTHING(client) assert_int_equal((client)->heard_count, 0)

static struct client *client_new(struct house *house)
{
    struct client *client = calloc(1, sizeof(*client));
    client->house = house;
    client->link = link_new(house_shard(house, 0)->io, on_heard, client);
    turns(house);
    return client;
}

/* 3.1.1; clean or not; one letter is the client id. */
static struct client *connected(struct house *house, char id, bool is_clean)
{
    struct client *client = client_new(house);
    uint8_t connect[] = {0x10, 13, 0, 4, 'M',        'Q', 'T', 'T', 4, is_clean ? 2 : 0,
                         0,    0,  0, 1, (uint8_t)id};
    say(client, connect, sizeof(connect));
    commit(house);
    assert_int_equal(client->heard_count, 4);
    client->heard_count = 0;
    return client;
}

struct scene {
    struct house *house;
    struct client *clients[4];
    uint32_t count;
};

static struct scene scene_new(void)
{
    return (struct scene){.house = house_new_on(&ports, 1, 0, 1000, "")};
}

static struct client *add(struct scene *scene, struct client *client)
{
    return scene->clients[scene->count++] = client;
}

static void scene_free(struct scene *scene)
{
    house_free(scene->house);
    for (uint32_t i = 0; i < scene->count; i++) {
        link_free(scene->clients[i]->link);
        free(scene->clients[i]);
    }
}

static bool was_logged(enum op_kind kind)
{
    for (uint32_t i = 0; i < held.op_count; i++) {
        if (held.ops[i] == kind) {
            return true;
        }
    }
    return false;
}

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
    SAY(reader, "\x82\x06\0\x01\0\x01t\x01");
    commit(scene.house);
    reader->heard_count = 0;
    held.admits = ERR_NO_SPACE;
    SAY(writer, "\x32\x06\0\x01t\0\x07x");
    EXPECT_NOTHING(writer); /* 3.1.1: the acknowledgement is withheld */
    SAY(writer, "\x32\x06\0\x01u\0\x08x");
    EXPECT(writer, "\x40\x02\0\x08"); /* nobody durable wants it */
    SAY(writer, "\x30\x04\0\x01tx");
    EXPECT(reader, "\x30\x04\0\x01tx");
    SAY(reader, "\x82\x06\0\x02\0\x01u\x01");
    EXPECT(reader, "\x90\x03\0\x02\x80");
    held.admits = OK;
    SAY(writer, "\x3a\x06\0\x01t\0\x07x"); /* and it recovers */
    commit(scene.house);
    EXPECT(writer, "\x40\x02\0\x07");
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
