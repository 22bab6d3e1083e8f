/*
 * admin_house: the HTTP listener on a real ring and real sockets, for its tests, in one thread: the
 * test turns the io by hand and moves the timers by hand, so that nothing waits for a clock.
 */
#ifndef TERN_TESTS_LIB_ADMIN_HOUSE_H
#define TERN_TESTS_LIB_ADMIN_HOUSE_H

#include "core/admin/admin.h"
#include "core/wire/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SHARDS = 2, REPLY_BYTES_MAX = 1 << 20, TURNS_MAX = 4000 };

struct house {
    struct io *io;
    struct wheel *wheel;
    struct admin *admin;
    struct metrics *metrics[SHARDS];
    uint64_t ahead_ns; /* how far the timers' time is ahead of the clock */
    uint16_t port;
    bool is_draining;
    struct admin_security security; /* what guards the listeners, as the test wants it */
};

static inline void security_tell(void *context, struct admin_security *out)
{
    *out = ((struct house *)context)->security;
}

static inline bool is_draining(void *context)
{
    return ((struct house *)context)->is_draining;
}

/* add: puts in what else the admin may tell; NULL: nothing. */
static inline int house_build_with(void **state, const char *host,
                                   void (*add)(struct admin_sources *sources))
{
    struct house *house = calloc(1, sizeof(*house));
    struct io_config config = {.stream_count_max = 1000};
    struct address at;
    assert_non_null(house);
    assert_int_equal(io_new(&config, &house->io), OK);
    house->wheel = wheel_new(io_now_ns(house->io));
    for (uint32_t i = 0; i < SHARDS; i++) {
        house->metrics[i] = metrics_new();
        assert_non_null(house->metrics[i]);
    }
    struct admin_sources sources = {
        .metrics = house->metrics,
        .metrics_count = SHARDS,
        .start_wall_ms = io_wall_ms(house->io) - 12345,
        .is_draining = is_draining,
        .security = security_tell,
        .context = house,
    };
    if (add != NULL) {
        add(&sources);
    }
    assert_int_equal(address_parse(host, 0, &at), OK);
    assert_int_equal(admin_new(house->io, house->wheel, &at, &sources, &house->admin), OK);
    assert_true(admin_address(house->admin, 0, &at));
    house->port = at.port;
    assert_int_not_equal(house->port, 0);
    *state = house;
    return 0;
}

static inline int house_build(void **state)
{
    return house_build_with(state, "127.0.0.1", NULL);
}

static inline int house_raze(void **state)
{
    struct house *house = *state;
    io_free(house->io);
    admin_free(house->admin);
    wheel_free(house->wheel);
    for (uint32_t i = 0; i < SHARDS; i++) {
        metrics_free(house->metrics[i]);
    }
    free(house);
    return 0;
}

static inline void turn(struct house *house)
{
    io_turn(house->io, 1000000);
    wheel_run(house->wheel, io_now_ns(house->io) + house->ahead_ns);
}

/* Let everything that is on its way arrive. */
static inline void settle(struct house *house)
{
    for (int i = 0; i < 20; i++) {
        turn(house);
    }
}

/* As if that much time had passed without anything happening. Timers set later count from the
 * clock, so each test moves the time once. */
static inline void time_pass(struct house *house, uint64_t ns)
{
    house->ahead_ns += ns;
    turn(house);
    settle(house);
}

static inline int client_open(struct house *house)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(house->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* More of what the server says, if any: false at the end of the stream. */
static inline bool client_read(int fd, uint8_t *out, size_t *count)
{
    ssize_t got = recv(fd, out + *count, REPLY_BYTES_MAX - *count, 0);
    if (got < 0) {
        return errno == EAGAIN;
    }
    *count += (size_t)got;
    return got > 0;
}

static inline bool client_is_ended(struct house *house, int fd)
{
    static uint8_t out[REPLY_BYTES_MAX];
    size_t count = 0;
    settle(house);
    while (client_read(fd, out, &count)) {
        if (count == 0) {
            return false;
        }
        count = 0;
    }
    return true;
}

struct reply {
    struct http_head head;
    uint16_t status;
    size_t bytes; /* of the whole reply */
    char *body;   /* ends in NUL */
    uint8_t bytes_of[REPLY_BYTES_MAX];
    size_t count;
};

/* Is there a whole reply at the start of bytes_of? */
static inline bool reply_is_whole(struct reply *reply, bool has_body)
{
    struct slice in = slice_of(reply->bytes_of, reply->count);
    size_t scanned = 0, head_bytes;
    if (http_head_find(in, REPLY_BYTES_MAX, &scanned, &head_bytes) != OK) {
        return false;
    }
    assert_int_equal(http_response_parse(slice_head(in, head_bytes), &reply->head), OK);
    assert_true(reply->head.has_content_length);
    reply->bytes = head_bytes + (has_body ? (size_t)reply->head.content_length : 0);
    reply->body = (char *)reply->bytes_of + head_bytes;
    reply->status = reply->head.status;
    return reply->count >= reply->bytes;
}

/* The next reply; what was read beyond it stays for the call after. */
static inline void reply_read(struct house *house, int fd, struct reply *reply, bool has_body)
{
    memmove(reply->bytes_of, reply->bytes_of + reply->bytes, reply->count - reply->bytes);
    reply->count -= reply->bytes;
    reply->bytes = 0;
    for (int turns = 0; !reply_is_whole(reply, has_body); turns++) {
        assert_true(turns < TURNS_MAX);
        turn(house);
        if (!client_read(fd, reply->bytes_of, &reply->count)) {
            assert_true(reply_is_whole(reply, has_body));
            break;
        }
    }
    if (reply->count == reply->bytes) {
        reply->bytes_of[reply->count] = 0;
    }
}

static inline struct reply *reply_new(void)
{
    struct reply *reply = calloc(1, sizeof(*reply));
    assert_non_null(reply);
    return reply;
}

/* One request on a connection of its own. The caller frees the reply. */
static inline struct reply *ask(struct house *house, const char *text)
{
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, text);
    reply_read(house, fd, reply, strncmp(text, "HEAD ", 5) != 0);
    close(fd);
    return reply;
}

static inline void assert_says(const struct reply *reply, const char *line)
{
    if (strstr(reply->body, line) == NULL) {
        fail_msg("not found: %s", line);
    }
}

static inline void assert_status(struct house *house, const char *text, uint16_t status)
{
    struct reply *reply = ask(house, text);
    assert_int_equal(reply->status, status);
    free(reply);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

#endif
