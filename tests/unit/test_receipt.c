#include "core/broker/conn.h"
#include "core/broker/receipt.h"
#include "core/broker/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* As much of a shard and of a connection as a receipt looks at. */
struct world {
    struct shard shard;
    struct config config;
    struct conn conn;
};

static struct world *world_new(enum mqtt_version version)
{
    struct world *world = calloc(1, sizeof(*world));
    struct shard *shard = &world->shard;
    world->config.output_bytes_max = 1 << 20;
    shard->config = &world->config;
    shard->broker_memory_limit = UINT64_MAX;
    shard->receipts = pool_new(sizeof(struct receipt), 1000);
    shard->metrics = metrics_new();
    list_init(&shard->dirty);
    list_init(&shard->subacks);
    list_init(&shard->orphans);
    world->conn = (struct conn){.shard = shard, .state = CONN_OPEN, .version = version};
    list_init(&world->conn.dirty_link);
    assert_int_equal(conn_prepare(&world->conn), OK);
    return world;
}

static void world_free(struct world *world)
{
    assert_int_equal(pool_taken_count(world->shard.receipts), 0);
    out_clear(&world->conn.out, &world->shard.output_bytes);
    inbound_deinit(&world->conn.work->counted);
    free(world->conn.work);
    pool_free(world->shard.receipts);
    metrics_free(world->shard.metrics);
    free(world);
}

/* What was written since the last look must be exactly that. */
static void expect_written(struct world *world, const char *bytes, size_t count)
{
    struct slice parts[IO_PARTS_MAX];
    uint64_t total;
    uint32_t part_count = out_take(&world->conn.out, parts, IO_PARTS_MAX, &total);
    assert_int_equal(total, count);
    assert_in_range(part_count, 0, 1);
    if (count > 0) {
        assert_memory_equal(parts[0].data, bytes, count);
    }
    out_sent(&world->conn.out, &world->shard.output_bytes);
}

static struct receipt *receive(struct world *world, uint16_t packet_id, uint8_t qos)
{
    assert_int_equal(inbound_count(&world->conn, qos, packet_id), OK);
    struct receipt *receipt = receipt_new(&world->conn, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                                          packet_id);
    assert_non_null(receipt);
    receipt->has_receivers = true;
    return receipt;
}

/* [MQTT-4.6.0-2] */
static void what_is_complete_waits_for_what_came_before(void **state)
{
    struct world *world = world_new(MQTT_5);
    (void)state;
    struct receipt *one = receive(world, 1, 1), *two = receive(world, 2, 2);
    struct receipt *three = receive(world, 3, 1);
    receipt_hold(one); /* another shard has it, too */
    receipt_done(three, OK);
    receipt_done(two, OK);
    receipt_done(one, OK);
    expect_written(world, "", 0);
    receipt_done(one, OK); /* the other shard's answer */
    expect_written(world, "\x40\x02\x00\x01\x50\x02\x00\x02\x40\x02\x00\x03", 12);
    world_free(world);
}

static void the_first_refusal_is_what_the_client_hears(void **state)
{
    struct world *world = world_new(MQTT_5);
    (void)state;
    struct receipt *receipt = receive(world, 9, 1);
    receipt_hold(receipt);
    receipt_hold(receipt);
    receipt_done(receipt, OK);
    receipt_done(receipt, ERR_QUOTA);
    expect_written(world, "", 0);
    receipt_done(receipt, ERR_NOT_AUTHORIZED);
    expect_written(world, "\x40\x03\x00\x09\x97", 5);
    receipt_done(NULL, OK);
    world_free(world);
}

static void nobody_subscribed_is_told_to_those_who_understand(void **state)
{
    struct world *five = world_new(MQTT_5), *four = world_new(MQTT_3_1_1);
    (void)state;
    struct receipt *receipt = receive(five, 7, 1);
    receipt->has_receivers = false;
    receipt_done(receipt, OK);
    expect_written(five, "\x40\x03\x00\x07\x10", 5);
    receipt = receive(four, 7, 1);
    receipt->has_receivers = false;
    receipt_done(receipt, OK);
    expect_written(four, "\x40\x02\x00\x07", 4);
    world_free(five);
    world_free(four);
}

/* It would come again for ever. What there is no room for: test_lasting_withheld.c. */
static void what_will_never_be_taken_is_acknowledged_to_3_1_1(void **state)
{
    struct world *world = world_new(MQTT_3_1_1);
    (void)state;
    receipt_done(receive(world, 2, 1), ERR_TOO_LARGE);
    expect_written(world, "\x40\x02\x00\x02", 4);
    assert_int_equal(world->conn.inbound_count, 0);
    world_free(world);
}

/* Other shards hand the pointer back later: it must still be one. */
static void a_receipt_outlives_its_connection(void **state)
{
    struct world *world = world_new(MQTT_5);
    (void)state;
    struct receipt *pending = receive(world, 1, 1), *complete = receive(world, 2, 1);
    receipt_done(complete, OK);
    assert_int_equal(world->conn.work->receipt_count, 2);
    receipts_orphan(&world->conn);
    assert_int_equal(world->conn.work->receipt_count, 0);
    assert_int_equal(pool_taken_count(world->shard.receipts), 1); /* the pending one */
    receipt_done(pending, OK);
    expect_written(world, "", 0);
    world_free(world);
}

/* [MQTT-4.3.3-9] Else it were accepted there, and forgotten when the verdict is a refusal. */
static void a_verdict_is_told_on_the_connection_that_repeats_the_message(void **state)
{
    struct world *world = world_new(MQTT_5);
    struct conn *conn = &world->conn;
    struct session session = {0}, other = {0};
    (void)state;
    conn->session = &session;
    assert_int_equal(inbound_add(&session.inbound, 7), OK);
    struct receipt *seven = receive(world, 7, 2), *eight = receive(world, 8, 1);
    receipts_orphan(conn);                /* and from here on it is the next one */
    assert_false(receipt_adopt(conn, 8)); /* at QoS 1 a repeat is a new message */
    assert_false(receipt_adopt(conn, 9));
    conn->session = &other;
    assert_false(receipt_adopt(conn, 7));
    conn->session = &session;
    assert_true(receipt_adopt(conn, 7));
    assert_false(receipt_adopt(conn, 7));
    struct receipt *ten = receive(world, 10, 1);
    receipt_done(ten, OK);
    expect_written(world, "", 0); /* it waits for its turn there */
    receipt_done(seven, ERR_QUOTA);
    expect_written(world, "\x50\x03\x00\x07\x97\x40\x02\x00\x0a", 9);
    assert_false(inbound_has(&session.inbound, 7));
    receipt_done(eight, OK);
    expect_written(world, "", 0);
    inbound_deinit(&session.inbound);
    world_free(world);
}

/* [MQTT-3.3.4-7] */
static void a_message_takes_a_place_until_it_is_finished(void **state)
{
    struct world *world = world_new(MQTT_5);
    struct conn *conn = &world->conn;
    (void)state;
    conn->receive_max = 2;
    struct receipt *one = receive(world, 1, 1), *two = receive(world, 2, 2);
    assert_int_equal(inbound_count(conn, 1, 3), ERR_RECEIVE_MAX);
    assert_int_equal(inbound_count(conn, 2, 3), ERR_RECEIVE_MAX);
    assert_int_equal(inbound_count(conn, 2, 2), OK); /* a repeat has its place */
    assert_int_equal(conn->inbound_count, 2);
    receipt_done(one, OK);
    assert_int_equal(conn->inbound_count, 1);
    receipt_done(two, OK); /* PUBREC: not before PUBCOMP */
    assert_int_equal(conn->inbound_count, 1);
    inbound_uncount(conn, 2, 77); /* released, but an earlier connection's */
    assert_int_equal(conn->inbound_count, 1);
    inbound_uncount(conn, 2, 2);
    inbound_uncount(conn, 2, 2);
    assert_int_equal(conn->inbound_count, 0);
    receipt_done(receive(world, 4, 2), ERR_QUOTA); /* a refusing PUBREC is the end of it */
    assert_int_equal(conn->inbound_count, 0);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_complete_waits_for_what_came_before),
        cmocka_unit_test(the_first_refusal_is_what_the_client_hears),
        cmocka_unit_test(nobody_subscribed_is_told_to_those_who_understand),
        cmocka_unit_test(what_will_never_be_taken_is_acknowledged_to_3_1_1),
        cmocka_unit_test(a_receipt_outlives_its_connection),
        cmocka_unit_test(a_verdict_is_told_on_the_connection_that_repeats_the_message),
        cmocka_unit_test(a_message_takes_a_place_until_it_is_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
