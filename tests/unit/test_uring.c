/* The real door: sockets of this machine, ports given by the kernel. */
#include "core/io/io.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    TURN_NS = 20 * 1000 * 1000, /* how long one turn of a test may wait */
    TURNS_MAX = 2000,
    BIG_BYTES = 64 * 1024 * 1024,
    CHUNK_BYTES = 1024 * 1024,
};

/* One end of a stream, and everything that was told about it. */
struct end {
    struct io *io;
    struct io_stream *stream;
    uint64_t received_count, sent_target, sent_count;
    uint32_t sent_events, closed_events, detached_events, accepted_events;
    uint8_t head[64]; /* the first bytes that came */
    uint64_t disorder_count;
    enum err why;
    int64_t handle;
    bool is_echo, is_patterned;
    struct slice echo;
    uint8_t *echo_memory;
    void (*on_bytes)(struct end *end);
};

struct fixture {
    struct io *io;
    struct io_listener *listener;
    struct address address;
    struct end server, client;
    bool refuses;
};

static uint8_t pattern[CHUNK_BYTES + 251]; /* pattern[i] = i mod 251 */

static void on_bytes(void *owner, struct slice bytes)
{
    struct end *end = owner;
    for (size_t i = 0; i < bytes.count && end->received_count + i < sizeof(end->head); i++) {
        end->head[end->received_count + i] = bytes.data[i];
    }
    if (end->is_patterned) {
        for (size_t done = 0; done < bytes.count;) {
            size_t step = bytes.count - done < CHUNK_BYTES ? bytes.count - done : CHUNK_BYTES;
            size_t at = (end->received_count + done) % 251;
            end->disorder_count += memcmp(bytes.data + done, pattern + at, step) != 0;
            done += step;
        }
    }
    end->received_count += bytes.count;
    if (end->is_echo) {
        assert_false(io_is_sending(end->stream));
        end->echo_memory = realloc(end->echo_memory, bytes.count);
        memcpy(end->echo_memory, bytes.data, bytes.count);
        struct slice echo = slice_of(end->echo_memory, bytes.count);
        io_send(end->stream, &echo, 1);
    }
    if (end->on_bytes != NULL) {
        end->on_bytes(end);
    }
}

static void send_more(struct end *end)
{
    if (end->sent_count >= end->sent_target) {
        return;
    }
    uint64_t left = end->sent_target - end->sent_count;
    size_t count = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
    const uint8_t *from = pattern + end->sent_count % 251;
    end->sent_count += count;
    if (count < 3) {
        io_send(end->stream, &(struct slice){from, count}, 1);
        return;
    }
    struct slice parts[3] = {slice_of(from, 1), slice_of(from + 1, count / 3),
                             slice_of(from + 1 + count / 3, 0)};
    parts[2].count = count - 1 - parts[1].count;
    io_send(end->stream, parts, 3);
}

static void on_sent(void *owner)
{
    struct end *end = owner;
    end->sent_events++;
    if (end->sent_target > 0) {
        send_more(end);
    }
}

static void on_closed(void *owner, enum err why)
{
    struct end *end = owner;
    end->closed_events++;
    end->why = why;
    end->stream = NULL;
}

static void on_detached(void *owner, int64_t handle)
{
    struct end *end = owner;
    end->detached_events++;
    end->handle = handle;
    end->stream = NULL;
}

static const struct io_stream_events end_events = {
    .bytes = on_bytes,
    .sent = on_sent,
    .closed = on_closed,
    .detached = on_detached,
};

static bool on_accepted(void *owner, struct io_stream *stream, const struct address *peer)
{
    struct fixture *fixture = owner;
    assert_int_not_equal(peer->kind, ADDRESS_NONE);
    if (fixture->refuses) {
        return false;
    }
    fixture->server.stream = stream;
    fixture->server.accepted_events++;
    io_stream_set(stream, &end_events, &fixture->server);
    return true;
}

static const struct io_listener_events listener_events = {.accepted = on_accepted};

static struct io *new_io(const struct io_config *config)
{
    struct io *io = NULL;
    assert_int_equal(io_new(config, &io), OK);
    return io;
}

static void listen_at(struct fixture *fixture, const char *host)
{
    assert_int_equal(address_parse(host, 0, &fixture->address), OK);
    assert_int_equal(io_listen(fixture->io, &fixture->address, false, &listener_events, fixture,
                               &fixture->listener),
                     OK);
    io_listener_address(fixture->listener, &fixture->address);
}

static void fixture_init(struct fixture *fixture, const char *host, const struct io_config *config)
{
    *fixture = (struct fixture){0};
    fixture->io = new_io(config);
    fixture->server.io = fixture->client.io = fixture->io;
    listen_at(fixture, host);
}

static void fixture_deinit(struct fixture *fixture)
{
    io_free(fixture->io);
    free(fixture->server.echo_memory);
}

/* Turn until the claim holds; a claim that never does is a failed test, not a hang. */
#define TURN_UNTIL(io, claim)                                                 \
    do {                                                                      \
        for (uint32_t turns_ = 0; !(claim) && turns_ < TURNS_MAX; turns_++) { \
            io_turn((io), TURN_NS);                                           \
        }                                                                     \
        assert_true(claim);                                                   \
    } while (0)

static void connect_client(struct fixture *fixture)
{
    uint32_t accepted = fixture->server.accepted_events;
    assert_int_equal(io_connect(fixture->io, &fixture->address, NULL, &end_events, &fixture->client,
                                &fixture->client.stream),
                     OK);
    TURN_UNTIL(fixture->io,
               fixture->client.sent_events == 1 && fixture->server.accepted_events == accepted + 1);
    fixture->client.sent_events = 0;
}

static void send_text(struct end *end, const char *text)
{
    struct slice part = slice_text(text);
    io_send(end->stream, &part, 1);
}

static const struct io_config ordinary = {.stream_count_max = 4096};

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

/* A client that is no io: the test's own blocking socket. */
static int raw_client(const struct fixture *fixture)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(fixture->address.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static int accept_raw(struct fixture *fixture)
{
    uint32_t accepted = fixture->server.accepted_events;
    int fd = raw_client(fixture);
    TURN_UNTIL(fixture->io, fixture->server.accepted_events == accepted + 1);
    return fd;
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
    assert_int_equal(io_listen(crowd.io, &address, false, &events, &crowd, &listener), OK);
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

/* A stream that was accepted here lives on in another thread's io, with nothing lost between. */
struct carrier {
    struct io *io;
    _Atomic(struct io *) io_public;
    _Atomic int64_t handle;
    struct end end;
};

static void *carry(void *context)
{
    struct carrier *carrier = context;
    bool is_attached = false;
    assert_int_equal(io_new(&ordinary, &carrier->io), OK);
    carrier->end.io = carrier->io;
    carrier->end.is_echo = true;
    atomic_store(&carrier->io_public, carrier->io);
    while (carrier->end.closed_events == 0) {
        io_turn(carrier->io, UINT64_MAX); /* only io_wake() and bytes end this */
        int64_t handle = atomic_load(&carrier->handle);
        if (handle >= 0 && !is_attached) {
            assert_int_equal(io_attach(carrier->io, handle, &end_events, &carrier->end,
                                       &carrier->end.stream),
                             OK);
            is_attached = true;
        }
    }
    return NULL;
}

static void detach_the_stream(struct end *end)
{
    io_detach(end->stream);
}

static void a_stream_is_carried_to_the_io_of_another_thread(void **state)
{
    struct fixture fixture;
    struct carrier carrier = {.handle = -1};
    pthread_t thread;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    assert_int_equal(pthread_create(&thread, NULL, carry, &carrier), 0);
    while (atomic_load(&carrier.io_public) == NULL) {
        io_turn(fixture.io, 1000000);
    }
    fixture.server.on_bytes = detach_the_stream;
    int fd = accept_raw(&fixture);
    assert_int_equal(write(fd, "first ", 6), 6);
    TURN_UNTIL(fixture.io, fixture.server.detached_events == 1);
    assert_int_equal(fixture.server.closed_events, 0);
    assert_int_equal(fixture.server.received_count, 6);
    assert_int_equal(write(fd, "second", 6), 6); /* in between the two */
    atomic_store(&carrier.handle, fixture.server.handle);
    io_wake(fixture.io, atomic_load(&carrier.io_public));
    io_turn(fixture.io, 0); /* the wake-up leaves with our next turn */
    char text[64] = "";
    assert_int_equal(recv(fd, text, 6, MSG_WAITALL), 6);
    assert_string_equal(text, "second");
    close(fd);
    pthread_join(thread, NULL);
    io_free(carrier.io); /* by another thread than its own, which has ended */
    assert_int_equal(carrier.end.why, ERR_CLOSED);
    free(carrier.end.echo_memory);
    fixture_deinit(&fixture);
}

struct sleeper {
    struct io *io;
    _Atomic uint32_t wake_count, woken_count;
};

/* A thread without an io: says so many times, each time after the other has noticed. */
static void *wake_often(void *context)
{
    struct sleeper *sleeper = context;
    for (uint32_t i = 1; i <= 200; i++) {
        atomic_store(&sleeper->wake_count, i);
        io_wake(NULL, sleeper->io);
        while (atomic_load(&sleeper->woken_count) < i) {
            sched_yield();
        }
    }
    return NULL;
}

static void a_thread_without_an_io_wakes_one(void **state)
{
    struct sleeper sleeper = {.io = new_io(&ordinary)};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wake_often, &sleeper), 0);
    while (atomic_load(&sleeper.woken_count) < 200) {
        io_turn(sleeper.io, UINT64_MAX);
        atomic_store(&sleeper.woken_count, atomic_load(&sleeper.wake_count));
    }
    pthread_join(thread, NULL);
    io_free(sleeper.io);
}

static void *wake_by_ring(void *context)
{
    struct sleeper *sleeper = context;
    struct io *own;
    assert_int_equal(io_new(&ordinary, &own), OK);
    for (uint32_t i = 1; i <= 200; i++) {
        atomic_store(&sleeper->wake_count, i);
        io_wake(own, sleeper->io);
        io_turn(own, 0);
        while (atomic_load(&sleeper->woken_count) < i) {
            sched_yield();
        }
    }
    io_free(own);
    return NULL;
}

static void an_io_wakes_another(void **state)
{
    struct sleeper sleeper = {.io = new_io(&ordinary)};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wake_by_ring, &sleeper), 0);
    while (atomic_load(&sleeper.woken_count) < 200) {
        io_turn(sleeper.io, UINT64_MAX);
        atomic_store(&sleeper.woken_count, atomic_load(&sleeper.wake_count));
    }
    pthread_join(thread, NULL);
    io_free(sleeper.io);
}

static void time_moves_between_turns_only(void **state)
{
    struct io *io = new_io(&ordinary);
    (void)state;
    uint64_t before_ns = io_now_ns(io);
    assert_int_equal(io_now_ns(io), before_ns);
    io_turn(io, 3000000);
    assert_true(io_now_ns(io) >= before_ns + 3000000);
    assert_true(io_wall_ms(io) > 1500000000000u);
    io_free(io);
}

/* Whatever is in flight when an io is freed: no event comes any more, and no memory is touched. */
static void an_io_is_freed_in_the_middle_of_everything(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_init(&fixture, "127.0.0.1", &ordinary);
    int fd = accept_raw(&fixture);
    fixture.server.sent_target = BIG_BYTES;
    send_more(&fixture.server);
    io_turn(fixture.io, 0);
    assert_int_equal(io_connect(fixture.io, &fixture.address, NULL, &end_events, &fixture.client,
                                &fixture.client.stream),
                     OK);
    io_pause(fixture.server.stream);
    fixture_deinit(&fixture);
    assert_int_equal(fixture.server.closed_events, 0);
    close(fd);
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
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i % 251);
    }
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
        cmocka_unit_test(a_stream_may_be_closed_inside_its_own_event),
        cmocka_unit_test(the_last_words_arrive_before_the_close),
        cmocka_unit_test(a_close_does_not_wait_longer_than_the_linger_time),
        cmocka_unit_test(a_close_with_nothing_in_flight_ends_our_side_first),
        cmocka_unit_test(a_paused_stream_can_be_carried_away_too),
        cmocka_unit_test(a_half_closed_peer_still_gets_its_answer),
        cmocka_unit_test(a_refused_connect_tells_why_and_nothing_else),
        cmocka_unit_test(a_connection_the_owner_does_not_want_is_closed),
        cmocka_unit_test(connections_beyond_the_limit_wait_and_come_in_later),
        cmocka_unit_test(running_out_of_files_only_delays_connections),
        cmocka_unit_test(a_thousand_connections_come_talk_and_go),
        cmocka_unit_test(a_stream_is_carried_to_the_io_of_another_thread),
        cmocka_unit_test(a_thread_without_an_io_wakes_one),
        cmocka_unit_test(an_io_wakes_another),
        cmocka_unit_test(time_moves_between_turns_only),
        cmocka_unit_test(an_io_is_freed_in_the_middle_of_everything),
        cmocka_unit_test(more_requests_than_the_queue_holds_all_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
