/* Two ends of channels, on two nodes: what is said is carried when the test says so. */
#include "cluster/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEARD_MAX = 1 << 20, WIRE_MAX = 4096 };

struct end {
    struct mesh_channel *channel;
    struct channels *channels;
    uint8_t *heard;
    size_t heard_count;
    uint32_t room_count, closed_count;
    enum err closed_by;
    bool ends_when_it_hears;
};

static struct world {
    struct channels *channels[3]; /* by node */
    struct end front, served;
    struct mesh_client client; /* as it was told */
    char name[64];
    bool refuses, is_down;
    struct {
        uint32_t to, from;
        uint8_t *bytes;
        size_t count;
    } wire[WIRE_MAX];
    uint32_t wire_count;
} world;

static void on_bytes(void *owner, struct slice bytes)
{
    struct end *end = owner;
    assert_true(end->heard_count + bytes.count <= HEARD_MAX);
    memcpy(end->heard + end->heard_count, bytes.data, bytes.count);
    end->heard_count += bytes.count;
    if (end->ends_when_it_hears) {
        channels_close(end->channels, end->channel);
    }
}

static void on_room(void *owner)
{
    ((struct end *)owner)->room_count++;
}

static void on_closed(void *owner, enum err why)
{
    struct end *end = owner;
    end->closed_count++;
    end->closed_by = why;
}

static const struct mesh_channel_events events = {on_bytes, on_room, on_closed};

static uint32_t nodes[3] = {0, 1, 2};

static enum err host_send(void *context, uint32_t node, uint32_t to, struct slice body)
{
    (void)to;
    if (world.is_down) {
        return ERR_UNAVAILABLE;
    }
    assert_true(world.wire_count < WIRE_MAX);
    uint8_t *bytes = malloc(body.count);
    memcpy(bytes, body.data, body.count);
    world.wire[world.wire_count].from = *(uint32_t *)context;
    world.wire[world.wire_count].to = node;
    world.wire[world.wire_count].bytes = bytes;
    world.wire[world.wire_count++].count = body.count;
    return OK;
}

static void *host_accept(void *context, struct mesh_channel *channel, uint32_t partition,
                         const struct mesh_client *client,
                         const struct mesh_channel_events **events_out)
{
    assert_int_equal(*(uint32_t *)context, 2);
    assert_int_equal(partition, 9);
    if (world.refuses) {
        return NULL;
    }
    world.client = *client;
    memcpy(world.name, client->certificate_name.data, client->certificate_name.count);
    world.served.channel = channel;
    *events_out = &events;
    return &world.served;
}

static void carry(void)
{
    for (uint32_t i = 0; i < world.wire_count; i++) { /* it may grow meanwhile */
        struct slice body = slice_of(world.wire[i].bytes, world.wire[i].count);
        assert_int_equal(
            channels_receive(world.channels[world.wire[i].to], world.wire[i].from, body), OK);
        free(world.wire[i].bytes);
    }
    world.wire_count = 0;
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    for (uint32_t i = 1; i <= 2; i++) {
        world.channels[i] = channels_new(
            &(struct channels_host){host_send, host_accept, &nodes[i]});
    }
    world.front = (struct end){.channels = world.channels[1], .heard = malloc(HEARD_MAX)};
    world.served = (struct end){.channels = world.channels[2], .heard = malloc(HEARD_MAX)};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < world.wire_count; i++) {
        free(world.wire[i].bytes);
    }
    channels_free(world.channels[1]);
    channels_free(world.channels[2]);
    free(world.front.heard);
    free(world.served.heard);
    return 0;
}

static enum err open_one(void)
{
    struct mesh_client client = {.address_kind = 1,
                                 .port = 40123,
                                 .ip = {203, 0, 113, 7},
                                 .listener_index = 2,
                                 .is_private = true,
                                 .tls_version = slice_text("TLSv1.3"),
                                 .certificate_name = slice_text("sensor-7")};
    return channels_open(world.channels[1], 2, 9, &client, &events, &world.front,
                         &world.front.channel);
}

static bool say(struct end *end, const char *text)
{
    return channels_send(end->channels, end->channel, slice_text(text));
}

static void assert_heard(struct end *end, const char *text)
{
    assert_int_equal(end->heard_count, strlen(text));
    assert_memory_equal(end->heard, text, strlen(text));
    end->heard_count = 0;
}

static void what_is_said_at_one_end_is_heard_at_the_other(void **state)
{
    (void)state;
    assert_int_equal(open_one(), OK);
    assert_true(say(&world.front, "hello"));
    assert_true(say(&world.front, ", you"));
    carry();
    assert_heard(&world.served, "hello, you");
    assert_int_equal(world.client.port, 40123);
    assert_int_equal(world.client.ip[3], 7);
    assert_int_equal(world.client.listener_index, 2);
    assert_true(world.client.is_private);
    assert_string_equal(world.name, "sensor-7");
    assert_true(say(&world.served, "welcome"));
    carry();
    assert_heard(&world.front, "welcome");
}

static void who_closes_is_heard_out_and_hears_nothing_more(void **state)
{
    (void)state;
    assert_int_equal(open_one(), OK);
    carry();
    assert_true(say(&world.served, "bye"));
    channels_close(world.channels[2], world.served.channel);
    assert_true(say(&world.front, "what?"));
    carry();
    assert_heard(&world.front, "bye");
    assert_int_equal(world.front.closed_count, 1);
    assert_int_equal(world.front.closed_by, ERR_CLOSED);
    assert_int_equal(world.served.closed_count, 0);
    assert_int_equal(world.served.heard_count, 0);
    assert_int_equal(channels_count(world.channels[1]) + channels_count(world.channels[2]), 0);
}

static void a_client_that_is_not_served_is_told_so(void **state)
{
    (void)state;
    world.refuses = true;
    assert_int_equal(open_one(), OK);
    carry();
    assert_int_equal(world.front.closed_count, 1);
    assert_int_equal(channels_count(world.channels[1]) + channels_count(world.channels[2]), 0);
}

static void a_link_that_is_down_opens_nothing(void **state)
{
    (void)state;
    world.is_down = true;
    assert_int_equal(open_one(), ERR_UNAVAILABLE);
    assert_int_equal(channels_count(world.channels[1]), 0);
}

static void a_link_that_breaks_closes_both_ends(void **state)
{
    (void)state;
    assert_int_equal(open_one(), OK);
    carry();
    channels_lost(world.channels[1], 2);
    channels_lost(world.channels[2], 1);
    channels_lost(world.channels[2], 3);
    assert_int_equal(world.front.closed_by, ERR_UNAVAILABLE);
    assert_int_equal(world.served.closed_by, ERR_UNAVAILABLE);
    assert_int_equal(world.front.closed_count + world.served.closed_count, 2);
    assert_int_equal(channels_count(world.channels[1]) + channels_count(world.channels[2]), 0);
}

/* What was sent beyond the window is owed, and room comes when that is paid. */
static void who_reads_slowly_holds_up_who_writes(void **state)
{
    (void)state;
    static uint8_t large[CHANNEL_WINDOW + 1000];
    assert_int_equal(open_one(), OK);
    carry();
    channels_pause(world.channels[2], world.served.channel, true);
    assert_false(
        channels_send(world.channels[1], world.front.channel, slice_of(large, sizeof(large))));
    carry();
    assert_int_equal(world.served.heard_count, sizeof(large)); /* it is held there */
    assert_int_equal(world.front.room_count, 0);
    channels_pause(world.channels[2], world.served.channel, false);
    carry();
    assert_int_equal(world.front.room_count, 1);
    assert_true(say(&world.front, "more"));
}

static void as_much_as_one_likes_gets_through_a_window_at_a_time(void **state)
{
    (void)state;
    static uint8_t block[1000];
    size_t sent = 0;
    assert_int_equal(open_one(), OK);
    while (sent < 500 * sizeof(block)) {
        sent += sizeof(block);
        if (!channels_send(world.channels[1], world.front.channel,
                           slice_of(block, sizeof(block)))) {
            uint32_t before = world.front.room_count;
            carry();
            assert_int_equal(world.front.room_count, before + 1);
        }
    }
    carry();
    assert_int_equal(world.served.heard_count, sent);
}

static void an_end_may_be_closed_by_what_it_hears(void **state)
{
    (void)state;
    assert_int_equal(open_one(), OK);
    carry();
    world.served.ends_when_it_hears = true;
    assert_true(say(&world.front, "end"));
    carry();
    assert_int_equal(world.front.closed_count, 1);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    assert_int_equal(open_one(), OK);
    struct slice first = slice_of(world.wire[0].bytes, world.wire[0].count);
    assert_int_equal(channels_receive(world.channels[2], 1, first), OK);
    assert_int_equal(channels_receive(world.channels[2], 1, first), ERR_CORRUPT); /* again */
    assert_int_equal(channels_receive(world.channels[2], 1, slice_text("\xff\xff")), ERR_CORRUPT);
    assert_int_equal(channels_receive(world.channels[2], 1, slice_of(NULL, 0)), ERR_CORRUPT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_said_at_one_end_is_heard_at_the_other),
        TEST(who_closes_is_heard_out_and_hears_nothing_more),
        TEST(a_client_that_is_not_served_is_told_so),
        TEST(a_link_that_is_down_opens_nothing),
        TEST(a_link_that_breaks_closes_both_ends),
        TEST(who_reads_slowly_holds_up_who_writes),
        TEST(as_much_as_one_likes_gets_through_a_window_at_a_time),
        TEST(an_end_may_be_closed_by_what_it_hears),
        TEST(nonsense_is_refused),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
