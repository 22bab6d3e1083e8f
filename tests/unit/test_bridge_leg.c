/* core/bridge/leg.c: bytes and packets, on two ends of a pair and a real ring. */
#include "core/bridge/leg.h"
#include "core/io/pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct side {
    struct leg *leg;
    uint32_t open_count, packet_count, refuse_count, ended_count, turned_count;
    uint32_t hold_from; /* packets from this one on are not taken */
    uint8_t last_type;
    uint32_t last_bytes;
    enum err why;
    bool drops; /* itself, at the first packet */
};

static struct io *io;
static struct list legs;

static void on_opened(void *owner, struct leg *leg)
{
    (void)leg;
    ((struct side *)owner)->open_count++;
}

static bool on_packet(void *owner, struct leg *leg, const struct frame *frame)
{
    struct side *side = owner;
    if (side->packet_count >= side->hold_from) {
        side->refuse_count++;
        return false;
    }
    side->packet_count++;
    side->last_type = frame->type;
    side->last_bytes = frame->total_bytes;
    if (side->drops) {
        leg_drop(leg, false);
        side->leg = NULL;
    }
    return true;
}

static void on_ended(void *owner, struct leg *leg, enum err why, const char *detail)
{
    struct side *side = owner;
    assert_ptr_equal(leg, side->leg);
    assert_non_null(detail);
    side->leg = NULL;
    side->ended_count++;
    side->why = why;
}

static void on_turned(void *owner)
{
    ((struct side *)owner)->turned_count++;
}

static const struct leg_events events = {on_opened, on_packet, on_ended, on_turned};

static void turns(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        io_turn(io, 5000000);
    }
}

static struct side side_new(void)
{
    return (struct side){.hold_from = UINT32_MAX};
}

static void both_new(struct side *a, struct side *b)
{
    int64_t ends[2];
    *a = side_new();
    *b = side_new();
    assert_int_equal(pair_new(ends), OK);
    a->leg = leg_new(&legs, io, &events, a);
    b->leg = leg_new(&legs, io, &events, b);
    assert_int_equal(leg_attach(a->leg, ends[0]), OK);
    assert_int_equal(leg_attach(b->leg, ends[1]), OK);
    assert_int_equal(a->open_count, 1);
}

static void say(struct side *side, const void *bytes, size_t count)
{
    memcpy(leg_packet(side->leg, count), bytes, count);
}

static void both_end(struct side *a, struct side *b)
{
    if (a->leg != NULL) {
        leg_drop(a->leg, false);
    }
    if (b->leg != NULL) {
        leg_drop(b->leg, false);
    }
    turns(4);
    assert_true(list_is_empty(&legs)); /* each frees itself with its last event */
}

static int set_up(void **state)
{
    const struct io_config config = {.stream_count_max = 16};
    (void)state;
    list_init(&legs);
    return io_new(&config, &io) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    io_free(io);
    legs_free(&legs);
    return 0;
}

static void packets_that_were_written_together_come_one_by_one(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    for (int i = 0; i < 3; i++) {
        say(&a, "\xc0\x00", 2);
    }
    turns(2);
    assert_int_equal(b.packet_count, 0); /* nothing leaves before leg_flush() */
    leg_flush(a.leg);
    turns(4);
    assert_int_equal(b.packet_count, 3);
    assert_int_equal(b.last_type, MQTT_PINGREQ);
    assert_true(b.turned_count > 0);
    assert_int_equal(leg_backlog(a.leg), 0);
    both_end(&a, &b);
}

static void a_packet_in_pieces_is_put_together(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    say(&a, "\x30\x05\x00", 3);
    leg_flush(a.leg);
    turns(4);
    assert_int_equal(b.packet_count, 0);
    say(&a, "\x01xyz", 4);
    leg_flush(a.leg);
    turns(4);
    assert_int_equal(b.packet_count, 1);
    assert_int_equal(b.last_bytes, 7);
    both_end(&a, &b);
}

static void a_held_packet_comes_again_and_all_behind_it_in_order(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    b.hold_from = 1;
    say(&a, "\xc0\x00\xd0\x00\xe0\x00", 6);
    leg_flush(a.leg);
    turns(4);
    assert_int_equal(b.packet_count, 1);
    assert_int_equal(b.refuse_count, 1);
    assert_true(b.leg->is_held);
    say(&a, "\xc0\x00", 2); /* the socket is not read any more, and nothing is lost */
    leg_flush(a.leg);
    turns(4);
    assert_int_equal(b.packet_count, 1);
    leg_go_on(b.leg);
    assert_int_equal(b.refuse_count, 2);
    b.hold_from = UINT32_MAX;
    leg_go_on(b.leg);
    assert_int_equal(b.packet_count, 3);
    assert_int_equal(b.last_type, MQTT_DISCONNECT);
    turns(4);
    assert_int_equal(b.packet_count, 4);
    both_end(&a, &b);
}

static void what_is_no_packet_ends_it_with_the_reason(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    say(&a, "\x00\x00", 2);
    leg_flush(a.leg);
    turns(4);
    assert_int_equal(b.packet_count, 0);
    assert_int_equal(b.ended_count, 0); /* it waits for a flush: its owner may be busy with it */
    leg_flush(b.leg);
    assert_int_equal(b.ended_count, 1);
    assert_int_equal(b.why, ERR_MALFORMED);
    turns(4);
    assert_int_equal(a.ended_count, 1);
    assert_int_equal(a.why, ERR_CLOSED);
    both_end(&a, &b);
}

static void it_may_be_dropped_in_the_middle_of_its_packets(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    b.drops = true;
    say(&a, "\xc0\x00\xd0\x00\xe0\x00", 6);
    leg_flush(a.leg);
    turns(6);
    assert_int_equal(b.packet_count, 1);
    assert_int_equal(b.ended_count, 0);
    assert_int_equal(a.ended_count, 1);
    both_end(&a, &b);
}

static void a_polite_end_says_what_was_written(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    say(&a, "\xe0\x00", 2);
    leg_drop(a.leg, true);
    a.leg = NULL;
    turns(6);
    assert_int_equal(b.packet_count, 1);
    assert_int_equal(b.last_type, MQTT_DISCONNECT);
    assert_int_equal(a.ended_count, 0);
    both_end(&a, &b);
}

static void a_packet_beyond_what_it_takes_ends_it(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    b.leg->packet_max_in = 20;
    say(&a, "\x30\x7f", 2);
    leg_flush(a.leg);
    turns(4);
    leg_flush(b.leg);
    assert_int_equal(b.why, ERR_TOO_LARGE);
    both_end(&a, &b);
}

static void what_is_left_when_the_ring_goes_is_freed(void **state)
{
    struct side a, b;
    (void)state;
    both_new(&a, &b);
    say(&a, "\xc0\x00", 2);
    leg_flush(a.leg); /* in flight; tear_down() ends it */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(packets_that_were_written_together_come_one_by_one),
        TEST(a_packet_in_pieces_is_put_together),
        TEST(a_held_packet_comes_again_and_all_behind_it_in_order),
        TEST(what_is_no_packet_ends_it_with_the_reason),
        TEST(it_may_be_dropped_in_the_middle_of_its_packets),
        TEST(a_polite_end_says_what_was_written),
        TEST(a_packet_beyond_what_it_takes_ends_it),
        TEST(what_is_left_when_the_ring_goes_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
