/* Who means harm to the HTTP listener gets its refusal, bounded memory, and an end. */
#include "tests/lib/admin_house.h"

#include <poll.h>

/* A refusal always ends the connection: where the next request would begin is not known. */
static void bad_requests_are_refused_and_closed(void **state)
{
    static const struct {
        const char *text;
        uint16_t status;
    } rows[] = {
        {"\x16\x03\x01 a TLS hello", 400},
        {"GET / HTTP/1.1\n\n", 400},
        {"GET /health HTTP/1.1\r\n\r\n", 400},
        {"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
        {"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    };
    struct house *house = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct reply *reply = reply_new();
        int fd = client_open(house);
        client_send(fd, rows[i].text);
        reply_read(house, fd, reply, true);
        assert_int_equal(reply->status, rows[i].status);
        assert_int_equal(reply->count, reply->bytes);
        assert_true(client_is_ended(house, fd));
        close(fd);
        free(reply);
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
}

/* What stands in a body must not be taken for a request. */
static void a_request_with_a_body_is_the_last_one(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd,
                "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 43\r\n\r\n" GET("/metrics"));
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 405);
    assert_false(reply->head.keep_alive);
    assert_int_equal(reply->count, reply->bytes);
    assert_true(client_is_ended(house, fd));
    assert_int_equal(metric_value(house->metrics[0], METRIC_http_requests), 1);
    close(fd);
    free(reply);
}

static void a_giant_head_is_refused(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    char *text = malloc(100001);
    int fd = client_open(house);
    memset(text, 'a', 100000);
    text[100000] = 0;
    memcpy(text, "GET /", 5);
    client_send(fd, text);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 431);
    assert_true(client_is_ended(house, fd));
    close(fd);
    free(reply);
    free(text);
}

/* Ahead of the answers stands at most one head's worth of memory. */
static void a_flood_of_requests_is_cut_off(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    char text[20001] = "";
    int fd = client_open(house);
    for (size_t at = 0; at + 60 < sizeof(text);) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", GET("/health/live"));
    }
    client_send(fd, text);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    assert_true(client_is_ended(house, fd));
    close(fd);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    free(reply);
}

/* Each byte that drips in would be progress for a timer that restarts; ours does not. */
static void a_head_that_drips_in_is_given_five_seconds(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, "GET /health HTTP/1.1\r\n");
    settle(house);
    house->ahead_ns = ADMIN_HEAD_NS - 1000000000;
    for (int i = 0; i < 10; i++) {
        client_send(fd, "A: b\r\n");
        turn(house);
    }
    assert_int_equal(admin_connection_count(house->admin), 1);
    time_pass(house, 1100000000);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 408);
    assert_true(client_is_ended(house, fd));
    close(fd);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    free(reply);
}

static void who_connects_and_stays_silent_is_closed(void **state)
{
    struct house *house = *state;
    int fd = client_open(house);
    for (int i = 0; i < 10000 && admin_connection_count(house->admin) == 0; i++) {
        poll(NULL, 0, 1); /* the system lets in who says nothing a second later: TCP_DEFER_ACCEPT */
        turn(house);
    }
    assert_int_equal(admin_connection_count(house->admin), 1);
    house->ahead_ns = ADMIN_HEAD_NS - 1000000000;
    assert_false(client_is_ended(house, fd));
    time_pass(house, 1100000000);
    assert_true(client_is_ended(house, fd));
    assert_int_equal(admin_connection_count(house->admin), 0);
    assert_int_equal(metric_value(house->metrics[0], METRIC_http_requests), 0);
    close(fd);
}

/* Slow-loris: all connections are taken by those who never finish; the next one is served. */
static void those_who_hold_all_connections_make_room(void **state)
{
    struct house *house = *state;
    int holders[ADMIN_CONNECTIONS_MAX];
    struct reply *reply = reply_new();
    for (int i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
        holders[i] = client_open(house);
        client_send(holders[i], i % 2 == 0 ? "GET /health HTTP/1.1\r\nHo" : "G");
        settle(house);
    }
    assert_int_equal(admin_connection_count(house->admin), ADMIN_CONNECTIONS_MAX);
    assert_status(house, GET("/health"), 200);
    settle(house);
    assert_true(client_is_ended(house, holders[0])); /* the one that had waited longest */
    for (int i = 1; i < ADMIN_CONNECTIONS_MAX; i++) {
        assert_false(client_is_ended(house, holders[i]));
    }
    /* Who finishes late is served as well. */
    client_send(holders[2], "st: a\r\n\r\n");
    reply_read(house, holders[2], reply, true);
    assert_int_equal(reply->status, 200);
    for (int i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
        close(holders[i]);
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    free(reply);
}

/* A storm of connections that all leave something open: never more memory than is said. */
static void a_storm_of_connections_is_bounded(void **state)
{
    struct house *house = *state;
    enum { STORM = 400 };
    static int fds[STORM];
    for (int i = 0; i < STORM; i++) {
        fds[i] = client_open(house);
        client_send(fds[i], "GET /health/live HTTP/1.0\r\n\r\n"); /* answered, then lingering */
        if (i % 50 == 49) {
            turn(house);
        }
        assert_true(admin_connection_count(house->admin) <= 3 * ADMIN_CONNECTIONS_MAX);
    }
    settle(house);
    for (int i = 0; i < STORM; i++) {
        close(fds[i]);
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    assert_status(house, GET("/health"), 200);
}

/* Who asks and asks and never reads is held to the memory of one answer, then closed. */
static void who_never_reads_is_closed(void **state)
{
    struct house *house = *state;
    int fd = client_open(house), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    size_t asked = 0;
    uint64_t answered = 0;
    for (int quiet = 0; quiet < 50 && admin_connection_count(house->admin) <= 1; asked++) {
        if (asked < 20000 && send(fd, GET("/metrics"), strlen(GET("/metrics")), MSG_NOSIGNAL) < 0) {
            assert_true(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
        }
        turn(house);
        uint64_t now = metric_value(house->metrics[0], METRIC_http_requests);
        quiet = now == answered ? quiet + 1 : 0;
        answered = now;
    }
    assert_true(answered > 1);
    time_pass(house, ADMIN_SEND_NS + 1000000000);
    assert_int_equal(admin_connection_count(house->admin), 0);
    close(fd);
}

/* A body without end is answered at its head; what is poured in afterwards is not waited for. */
static void an_endless_body_is_not_swallowed(void **state)
{
    static char flood[65536];
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house), turns = 0;
    client_send(fd, "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n");
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 405);
    while (send(fd, flood, sizeof(flood), MSG_NOSIGNAL) >= 0 || errno == EAGAIN) {
        turn(house);
        assert_true(turns++ < 100 * TURNS_MAX); /* half a second on a quiet machine */
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    close(fd);
    free(reply);
}

/* Giant heads on all connections at once, each kept just below the bound. */
static void many_giant_heads_stay_within_their_memory(void **state)
{
    static char line[4096];
    struct house *house = *state;
    int fds[2 * ADMIN_CONNECTIONS_MAX];
    memset(line, 'a', sizeof(line) - 1);
    for (int i = 0; i < 2 * ADMIN_CONNECTIONS_MAX; i++) {
        fds[i] = client_open(house);
        client_send(fds[i], "GET /health HTTP/1.1\r\nX: ");
        client_send(fds[i], line);
        turn(house);
        assert_true(admin_connection_count(house->admin) <= 3 * ADMIN_CONNECTIONS_MAX);
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), ADMIN_CONNECTIONS_MAX);
    assert_status(house, GET("/health"), 200);
    for (int i = 0; i < 2 * ADMIN_CONNECTIONS_MAX; i++) {
        close(fds[i]);
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
}

static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 16;
}

/* Clients that do anything at any time, from a fixed seed; at the end nothing of them is left. */
static void whatever_clients_do_nothing_is_left(void **state)
{
    static const char *const words[] = {
        GET("/health"),
        GET("/metrics"),
        GET("/nowhere"),
        GET("/metrics") GET("/metrics") GET("/health"),
        "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /health HTTP/1.0\r\n\r\n",
        "GET /health HT",
        "TP/1.1\r\nHost: a\r\n\r\n",
        "\r\n",
        "\n",
        "A: b\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "\x16\x03\x01",
    };
    enum { CLIENTS = 40, STEPS = 6000 };
    static uint8_t out[REPLY_BYTES_MAX];
    struct house *house = *state;
    uint32_t seed = 20260101;
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = -1;
    }
    for (int step = 0; step < STEPS; step++) {
        int *fd = &fds[random_next(&seed) % CLIENTS];
        size_t count = 0;
        if (*fd < 0) {
            *fd = client_open(house);
        }
        switch (random_next(&seed) % 8) {
        case 0:
            if (random_next(&seed) % 2 == 0) {
                struct linger hard = {.l_onoff = 1, .l_linger = 0};
                setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
            }
            close(*fd);
            *fd = -1;
            break;
        case 1:
            shutdown(*fd, SHUT_WR);
            break;
        case 2:
            client_read(*fd, out, &count);
            break;
        case 3:
            io_turn(house->io, 0);
            wheel_run(house->wheel, io_now_ns(house->io) + house->ahead_ns);
            break;
        case 4:
            if (step > STEPS / 2 && random_next(&seed) % 100 == 0) {
                house->ahead_ns += ADMIN_HEAD_NS; /* from now on timers come early: legal as well */
            }
            break;
        default: {
            const char *word = words[random_next(&seed) % (sizeof(words) / sizeof(words[0]))];
            (void)!send(*fd, word, strlen(word), MSG_NOSIGNAL);
        }
        }
        assert_true(admin_connection_count(house->admin) <= 3 * ADMIN_CONNECTIONS_MAX);
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    assert_true(metric_value(house->metrics[0], METRIC_http_requests) > 100);
}

static void a_reset_in_the_middle_leaves_nothing(void **state)
{
    struct house *house = *state;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 20; i++) {
        int fd = client_open(house);
        client_send(fd, i % 2 == 0 ? GET("/metrics") GET("/metrics") : "GET /met");
        for (int turns = 0; turns < i % 4; turns++) {
            turn(house);
        }
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
    }
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    assert_status(house, GET("/health"), 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_build, house_raze)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bad_requests_are_refused_and_closed),
        TEST(a_request_with_a_body_is_the_last_one),
        TEST(a_giant_head_is_refused),
        TEST(a_flood_of_requests_is_cut_off),
        TEST(a_head_that_drips_in_is_given_five_seconds),
        TEST(who_connects_and_stays_silent_is_closed),
        TEST(those_who_hold_all_connections_make_room),
        TEST(a_storm_of_connections_is_bounded),
        TEST(who_never_reads_is_closed),
        TEST(an_endless_body_is_not_swallowed),
        TEST(many_giant_heads_stay_within_their_memory),
        TEST(whatever_clients_do_nothing_is_left),
        TEST(a_reset_in_the_middle_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
