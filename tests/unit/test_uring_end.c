/* How a stream ends, by us, by the peer, in the middle of things. */
#include "tests/lib/io_ends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static void close_the_stream(struct end *end)
{
    io_close(end->stream);
    io_close(end->stream); /* asking twice is no fault */
}

static void answer_and_close(struct end *end)
{
    send_text(end, "refused");
    io_close_after_send(end->stream, 1000000000);
}

static void a_stream_may_be_closed_inside_its_own_event(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    fixture.server.on_bytes = close_the_stream;
    connect_client(&fixture);
    send_text(&fixture.client, "bye");
    TURN_UNTIL(fixture.io, fixture.client.closed_events == 1 && fixture.server.closed_events == 1);
    assert_int_equal(fixture.server.why, OK);
    fixture_deinit(&fixture);
}

/* What is sent just before the close arrives, although bytes of the peer lie there unread. */
static void the_last_words_arrive_before_the_close(void **state)
{
    struct fixture fixture;
    char text[64] = "";
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    fixture.server.on_bytes = answer_and_close;
    int fd = accept_raw(&fixture);
    assert_int_equal(write(fd, "hello", 5), 5);
    for (uint32_t i = 0; i < 10; i++) {
        io_turn(fixture.io, 1000000);
        (void)!send(fd, "more", 4, MSG_NOSIGNAL);
    }
    assert_int_equal(recv(fd, text, 7, MSG_WAITALL), 7);
    assert_string_equal(text, "refused");
    assert_int_equal(recv(fd, text, 1, 0), 0); /* an end, no reset */
    assert_int_equal(fixture.server.closed_events, 0);
    close(fd);
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_int_equal(fixture.server.why, OK);
    assert_int_equal(fixture.server.sent_events, 1);
    fixture_deinit(&fixture);
}

static void a_close_does_not_wait_longer_than_the_linger_time(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    fixture.server.sent_target = BIG_BYTES;
    send_more(&fixture.server);
    for (uint32_t i = 0; i < 50; i++) { /* until the kernel takes no more: nobody reads */
        io_turn(fixture.io, 1000000);
    }
    uint32_t sent_events = fixture.server.sent_events;
    assert_true(io_is_sending(fixture.server.stream));
    uint64_t begin_ns = io_now_ns(fixture.io);
    io_close_after_send(fixture.server.stream, 50 * 1000 * 1000);
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_in_range(io_now_ns(fixture.io) - begin_ns, 50 * 1000 * 1000, 5000000000);
    assert_int_equal(fixture.server.why, OK);
    assert_int_equal(fixture.server.sent_events, sent_events);
    close(fd);
    fixture_deinit(&fixture);
}

static void a_close_with_nothing_in_flight_ends_our_side_first(void **state)
{
    struct fixture fixture;
    char byte;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    io_pause(fixture.server.stream); /* what the peer still says is read and dropped all the same */
    assert_int_equal(write(fd, "unread", 6), 6);
    io_close_after_send(fixture.server.stream, 5000000000);
    io_close_after_send(fixture.server.stream, 5000000000);
    io_turn(fixture.io, 1000000);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    assert_int_equal(fixture.server.closed_events, 0);
    close(fd);
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_int_equal(fixture.server.why, OK);
    assert_int_equal(fixture.server.received_count, 0);
    fixture_deinit(&fixture);
}

static void answer(struct end *end)
{
    send_text(end, "answer");
}

/* "Here is my question, I have ended": the answer still goes out. */
static void a_half_closed_peer_still_gets_its_answer(void **state)
{
    struct fixture fixture;
    char text[64] = "";
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    fixture.server.on_bytes = answer;
    int fd = accept_raw(&fixture);
    assert_int_equal(write(fd, "?", 1), 1);
    shutdown(fd, SHUT_WR);
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_int_equal(fixture.server.sent_events, 1);
    assert_int_equal(fixture.server.why, ERR_CLOSED);
    assert_int_equal(recv(fd, text, 6, MSG_WAITALL), 6);
    assert_string_equal(text, "answer");
    close(fd);
    fixture_deinit(&fixture);
}

static void a_refused_connect_tells_why_and_nothing_else(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    io_unlisten(fixture.listener);
    for (uint32_t i = 0; i < 3; i++) {
        io_turn(fixture.io, 0);
    }
    assert_int_equal(io_connect(fixture.io, &fixture.address, NULL, &end_events, &fixture.client,
                                &fixture.client.stream),
                     OK);
    TURN_UNTIL(fixture.io, fixture.client.closed_events == 1);
    assert_int_not_equal(fixture.client.why, OK);
    assert_int_equal(fixture.client.sent_events, 0);
    fixture_deinit(&fixture);
}

int main(void)
{
    pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_may_be_closed_inside_its_own_event),
        cmocka_unit_test(the_last_words_arrive_before_the_close),
        cmocka_unit_test(a_close_does_not_wait_longer_than_the_linger_time),
        cmocka_unit_test(a_close_with_nothing_in_flight_ends_our_side_first),
        cmocka_unit_test(a_half_closed_peer_still_gets_its_answer),
        cmocka_unit_test(a_refused_connect_tells_why_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
