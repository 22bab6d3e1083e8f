/*
 * io_ends: two ends of a stream, for the tests of the real door: sockets of this machine, ports
 * given by the kernel, and a note of everything that was told.
 */
#ifndef TERN_TESTS_LIB_IO_ENDS_H
#define TERN_TESTS_LIB_IO_ENDS_H

#include "core/io/io.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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

static uint8_t io_pattern[CHUNK_BYTES + 251]; /* io_pattern[i] = i mod 251 */

static inline void on_bytes(void *owner, struct slice bytes)
{
    struct end *end = owner;
    for (size_t i = 0; i < bytes.count && end->received_count + i < sizeof(end->head); i++) {
        end->head[end->received_count + i] = bytes.data[i];
    }
    if (end->is_patterned) {
        for (size_t done = 0; done < bytes.count;) {
            size_t step = bytes.count - done < CHUNK_BYTES ? bytes.count - done : CHUNK_BYTES;
            size_t at = (end->received_count + done) % 251;
            end->disorder_count += memcmp(bytes.data + done, io_pattern + at, step) != 0;
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

static inline void send_more(struct end *end)
{
    if (end->sent_count >= end->sent_target) {
        return;
    }
    uint64_t left = end->sent_target - end->sent_count;
    size_t count = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
    const uint8_t *from = io_pattern + end->sent_count % 251;
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

static inline void on_sent(void *owner)
{
    struct end *end = owner;
    end->sent_events++;
    if (end->sent_target > 0) {
        send_more(end);
    }
}

static inline void on_closed(void *owner, enum err why)
{
    struct end *end = owner;
    end->closed_events++;
    end->why = why;
    end->stream = NULL;
}

static inline void on_detached(void *owner, int64_t handle)
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

static inline bool on_accepted(void *owner, struct io_stream *stream, const struct address *peer)
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

static inline struct io *new_io(const struct io_config *config)
{
    struct io *io = NULL;
    assert_int_equal(io_new(config, &io), OK);
    return io;
}

static inline void listen_at(struct fixture *fixture, const char *host)
{
    assert_int_equal(address_parse(host, 0, &fixture->address), OK);
    assert_int_equal(io_listen(fixture->io, &fixture->address, IO_SHARE_NONE, &listener_events,
                               fixture, &fixture->listener),
                     OK);
    io_listener_address(fixture->listener, &fixture->address);
}

static inline void fixture_init(struct fixture *fixture, const char *host,
                                const struct io_config *config)
{
    *fixture = (struct fixture){0};
    fixture->io = new_io(config);
    fixture->server.io = fixture->client.io = fixture->io;
    listen_at(fixture, host);
}

static inline void fixture_deinit(struct fixture *fixture)
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

static inline void connect_client(struct fixture *fixture)
{
    uint32_t accepted = fixture->server.accepted_events;
    assert_int_equal(io_connect(fixture->io, &fixture->address, NULL, &end_events, &fixture->client,
                                &fixture->client.stream),
                     OK);
    TURN_UNTIL(fixture->io,
               fixture->client.sent_events == 1 && fixture->server.accepted_events == accepted + 1);
    fixture->client.sent_events = 0;
}

static inline void send_text(struct end *end, const char *text)
{
    struct slice part = slice_text(text);
    io_send(end->stream, &part, 1);
}

static const struct io_config ordinary = {.stream_count_max = 4096};

/* A client that is no io: the test's own blocking socket. */
static inline int raw_client(const struct fixture *fixture)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(fixture->address.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static inline int accept_raw(struct fixture *fixture)
{
    uint32_t accepted = fixture->server.accepted_events;
    int fd = raw_client(fixture);
    TURN_UNTIL(fixture->io, fixture->server.accepted_events == accepted + 1);
    return fd;
}

static inline void pattern_fill(void)
{
    for (size_t i = 0; i < sizeof(io_pattern); i++) {
        io_pattern[i] = (uint8_t)(i % 251);
    }
}

#endif
