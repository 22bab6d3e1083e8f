/* Bytes: every one of them, in order, in both kinds of buffers. */
#include "tests/lib/io_ends.h"

#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static void echo_at(const char *host, const struct io_config *config)
{
    struct fixture fixture;
    fixture_init(&fixture, host, config);
    fixture.server.is_echo = true;
    connect_client(&fixture);
    send_text(&fixture.client, "hello");
    assert_true(io_is_sending(fixture.client.stream));
    TURN_UNTIL(fixture.io, fixture.client.received_count == 5);
    assert_memory_equal(fixture.client.head, "hello", 5);
    TURN_UNTIL(fixture.io, fixture.client.sent_events == 1);
    assert_false(io_is_sending(fixture.client.stream));
    io_close(fixture.client.stream);
    assert_int_equal(fixture.client.closed_events, 0); /* in a later turn, never at once */
    TURN_UNTIL(fixture.io, fixture.client.closed_events == 1 && fixture.server.closed_events == 1);
    assert_int_equal(fixture.client.why, OK);
    assert_int_equal(fixture.server.why, ERR_CLOSED);
    fixture_deinit(&fixture);
}

static void an_echo_comes_back_over_ip4_ip6_and_unix(void **state)
{
    char path[64];
    (void)state;
    echo_at("127.0.0.1", &ordinary);
    echo_at("::1", &ordinary);
    snprintf(path, sizeof(path), "/tmp/tern_test_uring_%d.sock", (int)getpid());
    echo_at(path, &ordinary);
    assert_int_equal(access(path, F_OK), -1); /* the file went with the listener */
}

static void plain_buffers_do_the_same_as_incremental_ones(void **state)
{
    (void)state;
    echo_at("127.0.0.1", &(struct io_config){.stream_count_max = 8, .plain_buffers = true});
}

static void transfer(const struct io_config *config)
{
    struct fixture fixture;
    fixture_init(&fixture, "127.0.0.1", config);
    connect_client(&fixture);
    fixture.client.sent_target = fixture.server.sent_target = BIG_BYTES;
    fixture.client.is_patterned = fixture.server.is_patterned = true;
    send_more(&fixture.client);
    send_more(&fixture.server);
    for (uint32_t turns = 0; turns < 200000 && (fixture.client.received_count < BIG_BYTES ||
                                                fixture.server.received_count < BIG_BYTES);
         turns++) {
        io_turn(fixture.io, TURN_NS);
    }
    assert_int_equal(fixture.client.received_count, BIG_BYTES);
    assert_int_equal(fixture.server.received_count, BIG_BYTES);
    assert_int_equal(fixture.client.disorder_count, 0);
    assert_int_equal(fixture.server.disorder_count, 0);
    fixture_deinit(&fixture);
}

static void large_transfers_both_ways_lose_and_disorder_nothing(void **state)
{
    (void)state;
    transfer(&ordinary);
    transfer(&(struct io_config){.stream_count_max = 8, .plain_buffers = true});
}

/* -ENOBUFS is back-pressure: four small buffers and much more data than they hold. */
static void running_out_of_buffers_closes_nobody(void **state)
{
    (void)state;
    transfer(&(struct io_config){
        .stream_count_max = 8, .receive_bytes = 1, .plain_buffers = true, .ring_entries = 128});
}

static void an_accepted_socket_does_not_delay_small_packets(void **state)
{
    struct fixture fixture;
    int is_set = 0;
    socklen_t bytes = sizeof(is_set);
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    connect_client(&fixture);
    io_detach(fixture.server.stream);
    TURN_UNTIL(fixture.io, fixture.server.detached_events == 1);
    int fd = (int)fixture.server.handle;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &is_set, &bytes), 0);
    assert_true(is_set);
    io_handle_close(fixture.server.handle);
    fixture_deinit(&fixture);
}

static void a_paused_stream_reads_nothing_until_it_is_resumed(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    connect_client(&fixture);
    io_pause(fixture.server.stream);
    for (uint32_t i = 0; i < 5; i++) {
        io_turn(fixture.io, 1000000);
    }
    send_text(&fixture.client, "later");
    TURN_UNTIL(fixture.io, fixture.client.sent_events == 1);
    for (uint32_t i = 0; i < 5; i++) {
        io_turn(fixture.io, 1000000);
    }
    assert_int_equal(fixture.server.received_count, 0);
    io_resume(fixture.server.stream);
    TURN_UNTIL(fixture.io, fixture.server.received_count == 5);
    for (uint32_t i = 0; i < 100; i++) { /* back and forth in one turn, and over turns */
        io_pause(fixture.server.stream);
        if (i % 3 == 0) {
            io_turn(fixture.io, 0);
        }
        io_resume(fixture.server.stream);
        io_resume(fixture.server.stream);
        io_turn(fixture.io, 0);
    }
    send_text(&fixture.client, "again");
    TURN_UNTIL(fixture.io, fixture.server.received_count == 10);
    fixture_deinit(&fixture);
}

static void a_peer_that_does_not_read_holds_back_its_own_send_only(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    fixture.server.sent_target = BIG_BYTES;
    send_more(&fixture.server);
    for (uint32_t i = 0; i < 50; i++) {
        io_turn(fixture.io, 1000000);
    }
    assert_true(io_is_sending(fixture.server.stream));
    assert_true(fixture.server.sent_count < BIG_BYTES);
    assert_int_equal(write(fd, "x", 1), 1); /* the other direction goes on */
    TURN_UNTIL(fixture.io, fixture.server.received_count == 1);
    io_close(fixture.server.stream); /* and closing does not wait for the reader */
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_int_equal(fixture.server.why, OK);
    close(fd);
    fixture_deinit(&fixture);
}

static void a_reset_by_the_peer_is_told_as_such(void **state)
{
    struct fixture fixture;
    struct linger abrupt = {.l_onoff = 1};
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof(abrupt));
    close(fd);
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_int_equal(fixture.server.why, ERR_RESET);
    fixture_deinit(&fixture);
}

/* A reset while a send waits for room: both requests fail, the end is told once. */
static void a_reset_under_a_send_is_told_once(void **state)
{
    struct fixture fixture;
    struct linger abrupt = {.l_onoff = 1};
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    fixture.server.sent_target = BIG_BYTES;
    send_more(&fixture.server);
    for (uint32_t i = 0; i < 20; i++) {
        io_turn(fixture.io, 1000000);
    }
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof(abrupt));
    close(fd);
    TURN_UNTIL(fixture.io, fixture.server.closed_events == 1);
    assert_int_not_equal(fixture.server.why, OK);
    for (uint32_t i = 0; i < 10; i++) {
        io_turn(fixture.io, 0);
    }
    assert_int_equal(fixture.server.closed_events, 1);
    fixture_deinit(&fixture);
}

static void a_paused_stream_can_be_carried_away_too(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    io_pause(fixture.server.stream);
    for (uint32_t i = 0; i < 5; i++) {
        io_turn(fixture.io, 1000000);
    }
    assert_int_equal(write(fd, "waits", 5), 5);
    io_detach(fixture.server.stream);
    io_detach(fixture.server.stream);
    TURN_UNTIL(fixture.io, fixture.server.detached_events == 1);
    assert_int_equal(fixture.server.received_count, 0);
    assert_int_equal(io_attach(fixture.io, fixture.server.handle, &end_events, &fixture.server,
                               &fixture.server.stream),
                     OK);
    TURN_UNTIL(fixture.io, fixture.server.received_count == 5);
    close(fd);
    fixture_deinit(&fixture);
}

int main(void)
{
    pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_echo_comes_back_over_ip4_ip6_and_unix),
        cmocka_unit_test(plain_buffers_do_the_same_as_incremental_ones),
        cmocka_unit_test(large_transfers_both_ways_lose_and_disorder_nothing),
        cmocka_unit_test(running_out_of_buffers_closes_nobody),
        cmocka_unit_test(an_accepted_socket_does_not_delay_small_packets),
        cmocka_unit_test(a_paused_stream_reads_nothing_until_it_is_resumed),
        cmocka_unit_test(a_peer_that_does_not_read_holds_back_its_own_send_only),
        cmocka_unit_test(a_reset_by_the_peer_is_told_as_such),
        cmocka_unit_test(a_reset_under_a_send_is_told_once),
        cmocka_unit_test(a_paused_stream_can_be_carried_away_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
