/* Who is let in, when, and how many. */
#include "tests/lib/io_ends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static void a_connection_the_owner_does_not_want_is_closed(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    fixture.refuses = true;
    assert_int_equal(io_connect(fixture.io, &fixture.address, NULL, &end_events, &fixture.client,
                                &fixture.client.stream),
                     OK);
    TURN_UNTIL(fixture.io, fixture.client.closed_events == 1);
    assert_int_equal(fixture.server.accepted_events, 0);
    assert_int_equal(fixture.server.closed_events, 0);
    fixture_deinit(&fixture);
}

static void connections_beyond_the_limit_wait_and_come_in_later(void **state)
{
    enum { LIMIT = 3, CLIENTS = 20 };
    struct fixture fixture;
    int fds[CLIENTS];
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &(struct io_config){.stream_count_max = LIMIT});
    for (uint32_t i = 0; i < CLIENTS; i++) {
        fds[i] = raw_client(&fixture);
        assert_int_equal(write(fds[i], "x", 1), 1); /* the silent are let in later */
    }
    for (uint32_t i = 0; i < 20; i++) {
        io_turn(fixture.io, 1000000);
    }
    assert_int_equal(fixture.server.accepted_events, LIMIT);
    struct io_stream *stream = NULL;
    assert_int_equal(io_connect(fixture.io, &fixture.address, NULL, &end_events, &fixture.client,
                                &stream),
                     ERR_LIMIT);
    assert_null(stream);
    for (uint32_t i = 0; i < CLIENTS; i++) { /* whoever leaves makes room for the next */
        close(fds[i]);
        TURN_UNTIL(fixture.io, fixture.server.closed_events == i + 1);
    }
    assert_int_equal(fixture.server.accepted_events, CLIENTS);
    fixture_deinit(&fixture);
}

static void running_out_of_files_only_delays_connections(void **state)
{
    struct fixture fixture;
    struct rlimit limit, low;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = raw_client(&fixture);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (uint32_t i = 0; i < 20; i++) {
        io_turn(fixture.io, 1000000);
    }
    assert_int_equal(fixture.server.accepted_events, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    TURN_UNTIL(fixture.io, fixture.server.accepted_events == 1);
    close(fd);
    fixture_deinit(&fixture);
}

struct crowd {
    struct io *io;
    uint32_t open_count, accepted_count, closed_count, answered_count;
};

struct member {
    struct crowd *crowd;
    struct io_stream *stream;
    bool is_open;
};

static void member_bytes(void *owner, struct slice bytes)
{
    struct member *member = owner;
    (void)bytes;
    member->crowd->answered_count++;
}

static void member_sent(void *owner)
{
    struct member *member = owner;
    if (!member->is_open) {
        member->is_open = true;
        member->crowd->open_count++;
    }
}

static void member_closed(void *owner, enum err why)
{
    struct member *member = owner;
    (void)why;
    member->crowd->closed_count++;
}

static const struct io_stream_events member_events = {
    .bytes = member_bytes, .sent = member_sent, .closed = member_closed};

/* The server's side: the owner is made at the accept, and freed with the last event. */
static void guest_bytes(void *owner, struct slice bytes)
{
    struct member *guest = owner;
    (void)bytes;
    io_send(guest->stream, &(struct slice)SLICE("welcome"), 1);
}

static void guest_sent(void *owner)
{
    (void)owner;
}

static void guest_closed(void *owner, enum err why)
{
    struct member *guest = owner;
    (void)why;
    guest->crowd->closed_count++;
    free(guest);
}

static const struct io_stream_events guest_events = {
    .bytes = guest_bytes, .sent = guest_sent, .closed = guest_closed};

static bool guest_accepted(void *owner, struct io_stream *stream, const struct address *peer)
{
    struct member *guest = calloc(1, sizeof(*guest));
    (void)peer;
    guest->crowd = owner;
    guest->stream = stream;
    guest->crowd->accepted_count++;
    io_stream_set(stream, &guest_events, guest);
    return true;
}

static void a_thousand_connections_come_talk_and_go(void **state)
{
    enum { CROWD = 1000 };
    static const struct io_listener_events events = {.accepted = guest_accepted};
    struct member *members = calloc(CROWD, sizeof(members[0]));
    struct crowd crowd = {.io = new_io(&ordinary)};
    struct io_listener *listener;
    struct address address;
    (void)state;
    assert_int_equal(address_parse("127.0.0.1", 0, &address), OK);
    assert_int_equal(io_listen(crowd.io, &address, IO_SHARE_NONE, &events, &crowd, &listener), OK);
    io_listener_address(listener, &address);
    for (uint32_t i = 0; i < CROWD; i++) {
        members[i].crowd = &crowd;
        assert_int_equal(io_connect(crowd.io, &address, NULL, &member_events, &members[i],
                                    &members[i].stream),
                         OK);
    }
    TURN_UNTIL(crowd.io, crowd.open_count == CROWD && crowd.accepted_count == CROWD);
    for (uint32_t i = 0; i < CROWD; i++) {
        io_send(members[i].stream, &(struct slice)SLICE("hello"), 1);
    }
    TURN_UNTIL(crowd.io, crowd.answered_count == CROWD);
    for (uint32_t i = 0; i < CROWD; i++) {
        io_close(members[i].stream);
    }
    TURN_UNTIL(crowd.io, crowd.closed_count == 2 * CROWD);
    io_free(crowd.io);
    free(members);
}

static void more_requests_than_the_queue_holds_all_leave(void **state)
{
    enum { CROWD = 300 };
    struct fixture fixture;
    struct end ends[CROWD];
    (void)state;
    memset(ends, 0, sizeof(ends));
    fixture_init(&fixture, "127.0.0.1",
                 &(struct io_config){.stream_count_max = 1000, .ring_entries = 16});
    for (uint32_t i = 0; i < CROWD; i++) { /* 16 entries, 300 requests before one turn */
        assert_int_equal(io_connect(fixture.io, &fixture.address, NULL, &end_events, &ends[i],
                                    &ends[i].stream),
                         OK);
    }
    TURN_UNTIL(fixture.io, fixture.server.accepted_events == CROWD);
    for (uint32_t i = 0; i < CROWD; i++) {
        assert_int_equal(ends[i].closed_events, 0);
        io_close(ends[i].stream);
    }
    TURN_UNTIL(fixture.io, fixture.server.closed_events == CROWD);
    for (uint32_t i = 0; i < CROWD; i++) {
        assert_int_equal(ends[i].closed_events, 1);
    }
    fixture_deinit(&fixture);
}

int main(void)
{
    pattern_fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_the_owner_does_not_want_is_closed),
        cmocka_unit_test(connections_beyond_the_limit_wait_and_come_in_later),
        cmocka_unit_test(running_out_of_files_only_delays_connections),
        cmocka_unit_test(a_thousand_connections_come_talk_and_go),
        cmocka_unit_test(more_requests_than_the_queue_holds_all_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
