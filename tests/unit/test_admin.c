/*
 * The HTTP listener on a real ring and real sockets, in one thread: the test turns the io by hand
 * and moves the timers by hand, so that nothing waits for a clock.
 */
#include "core/admin/admin.h"
#include "core/wire/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
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
};

static bool is_draining(void *context)
{
    return ((struct house *)context)->is_draining;
}

static int house_build(void **state)
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
        .context = house,
    };
    assert_int_equal(address_parse("127.0.0.1", 0, &at), OK);
    assert_int_equal(admin_new(house->io, house->wheel, &at, &sources, &house->admin), OK);
    admin_address(house->admin, &at);
    house->port = at.port;
    assert_int_not_equal(house->port, 0);
    *state = house;
    return 0;
}

static int house_raze(void **state)
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

static void turn(struct house *house)
{
    io_turn(house->io, 1000000);
    wheel_run(house->wheel, io_now_ns(house->io) + house->ahead_ns);
}

/* Let everything that is on its way arrive. */
static void settle(struct house *house)
{
    for (int i = 0; i < 20; i++) {
        turn(house);
    }
}

/* As if that much time had passed without anything happening. Timers set later count from the
 * clock, so each test moves the time once. */
static void time_pass(struct house *house, uint64_t ns)
{
    house->ahead_ns += ns;
    turn(house);
    settle(house);
}

static int client_open(struct house *house)
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

static void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* More of what the server says, if any: false at the end of the stream. */
static bool client_read(int fd, uint8_t *out, size_t *count)
{
    ssize_t got = recv(fd, out + *count, REPLY_BYTES_MAX - *count, 0);
    if (got < 0) {
        return errno == EAGAIN;
    }
    *count += (size_t)got;
    return got > 0;
}

static bool client_is_ended(struct house *house, int fd)
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
static bool reply_is_whole(struct reply *reply, bool has_body)
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
static void reply_read(struct house *house, int fd, struct reply *reply, bool has_body)
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

static struct reply *reply_new(void)
{
    struct reply *reply = calloc(1, sizeof(*reply));
    assert_non_null(reply);
    return reply;
}

/* One request on a connection of its own. The caller frees the reply. */
static struct reply *ask(struct house *house, const char *text)
{
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, text);
    reply_read(house, fd, reply, strncmp(text, "HEAD ", 5) != 0);
    close(fd);
    return reply;
}

static void assert_says(const struct reply *reply, const char *line)
{
    if (strstr(reply->body, line) == NULL) {
        fail_msg("not found: %s", line);
    }
}

static void assert_status(struct house *house, const char *text, uint16_t status)
{
    struct reply *reply = ask(house, text);
    assert_int_equal(reply->status, status);
    free(reply);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void metrics_are_summed_over_the_shards(void **state)
{
    struct house *house = *state;
    metric_add(house->metrics[0], METRIC_connections_accepted, 2);
    metric_add(house->metrics[1], METRIC_connections_accepted, 40);
    metric_add(house->metrics[0], METRIC_sessions, 1); /* raised here, lowered there */
    metric_sub(house->metrics[1], METRIC_sessions, 1);
    metric_add_label(house->metrics[1], METRIC_publish_received, 2, 7);
    metric_add_label(house->metrics[0], METRIC_dropped, TRAIL_DROP_EXPIRED, 3);
    metric_add_label(house->metrics[1], METRIC_dropped, TRAIL_DROP_EXPIRED, 4);
    struct reply *reply = ask(house, GET("/metrics"));
    assert_int_equal(reply->status, 200);
    assert_true(slice_is(http_header_find(&reply->head, "content-type")->value,
                         "text/plain; version=0.0.4; charset=utf-8"));
    assert_says(reply, "# TYPE tern_connections_accepted_total counter\n"
                       "tern_connections_accepted_total 42\n");
    assert_says(reply, "# TYPE tern_sessions gauge\ntern_sessions 0\n");
    assert_says(reply, "tern_publish_received_total{qos=\"0\"} 0\n"
                       "tern_publish_received_total{qos=\"1\"} 0\n"
                       "tern_publish_received_total{qos=\"2\"} 7\n");
    assert_says(reply, "tern_dropped_total{reason=\"expired\"} 7\n");
    assert_says(reply, "tern_dropped_total{reason=\"queue_full\"} 0\n");
    assert_says(reply, "tern_build_info{version=\"" TERN_VERSION "\"} 1\n");
    assert_says(reply, "tern_shards 2\n");
    assert_says(reply, "process_cpu_seconds_total ");
    assert_null(strstr(reply->body, "process_resident_memory_bytes 0\n"));
    assert_null(strstr(reply->body, "process_open_fds 0\n"));
    free(reply);
}

/* Every row of the table comes out, once, with its help. */
static void every_metric_of_the_table_is_told(void **state)
{
    struct reply *reply = ask(*state, GET("/metrics"));
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        char line[256];
        const struct metric_info *info = metric_info((enum metric)i);
        snprintf(line, sizeof(line), "# HELP tern_%s %s\n", info->exported, info->help);
        const char *at = strstr(reply->body, line);
        assert_non_null(at);
        assert_null(strstr(at + 1, line));
    }
    free(reply);
}

/* The value of the bucket with that le, of the turn histogram. */
static uint64_t bucket_of(const struct reply *reply, double le)
{
    const char *at = reply->body;
    static const char start[] = "tern_shard_turn_seconds_bucket{le=\"";
    while ((at = strstr(at, start)) != NULL) {
        char *end;
        at += sizeof(start) - 1;
        if (strtod(at, &end) >= le) {
            return strtoull(end + strlen("\"} "), NULL, 10);
        }
    }
    fail_msg("no such bucket");
    return 0;
}

/* le means less or equal: an observation counts in every bucket from its own size on. */
static void histograms_are_cumulative_and_in_seconds(void **state)
{
    struct house *house = *state;
    metric_observe(house->metrics[0], METRIC_turn_ns, 1000);
    metric_observe(house->metrics[0], METRIC_turn_ns, 1024); /* on the border */
    metric_observe(house->metrics[1], METRIC_turn_ns, 1000000);
    metric_observe(house->metrics[1], METRIC_turn_ns, UINT64_C(9000000000)); /* beyond all */
    struct reply *reply = ask(house, GET("/metrics"));
    assert_int_equal(bucket_of(reply, 511e-9), 0);
    assert_int_equal(bucket_of(reply, 1024e-9), 2);
    assert_int_equal(bucket_of(reply, 1e-3), 3);
    assert_says(reply, "tern_shard_turn_seconds_bucket{le=\"+Inf\"} 4\n");
    assert_says(reply, "tern_shard_turn_seconds_count 4\n");
    assert_says(reply, "tern_shard_turn_seconds_sum 9.00100202");
    free(reply);
}

static void health_tells_who_runs_here(void **state)
{
    struct house *house = *state;
    metric_add(house->metrics[0], METRIC_clients_connected, 2);
    metric_add(house->metrics[1], METRIC_clients_connected, 3);
    struct reply *reply = ask(house, GET("/health"));
    assert_int_equal(reply->status, 200);
    assert_string_equal(reply->body, "{\"status\":\"ok\",\"version\":\"" TERN_VERSION
                                     "\",\"uptime_seconds\":12,\"shards\":2,\"clients\":5}\n");
    assert_true(
        slice_is(http_header_find(&reply->head, "content-type")->value, "application/json"));
    free(reply);
    assert_status(house, GET("/health/live"), 200);
    assert_status(house, GET("/health/ready"), 200);
}

static void while_draining_it_lives_but_is_not_ready(void **state)
{
    struct house *house = *state;
    house->is_draining = true;
    struct reply *reply = ask(house, GET("/health"));
    assert_int_equal(reply->status, 503);
    assert_says(reply, "\"status\":\"draining\"");
    free(reply);
    assert_status(house, GET("/health/live"), 200);
    assert_status(house, GET("/health/ready"), 503);
    assert_status(house, GET("/metrics"), 200);
}

static void head_is_get_without_its_body(void **state)
{
    struct house *house = *state;
    struct reply *get = ask(house, GET("/health/live"));
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, "HEAD /health/live HTTP/1.1\r\nHost: a\r\n\r\n" GET("/nowhere"));
    reply_read(house, fd, reply, false);
    assert_int_equal(reply->status, 200);
    assert_int_equal(reply->head.content_length, get->head.content_length);
    reply_read(house, fd, reply, true); /* no body stood between them */
    assert_int_equal(reply->status, 404);
    close(fd);
    free(get);
    free(reply);
}

static void one_connection_serves_many_requests(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    for (int i = 0; i < 10; i++) {
        client_send(fd, i % 2 == 0 ? GET("/health/live?a=b") : GET("/nowhere"));
        reply_read(house, fd, reply, true);
        assert_int_equal(reply->status, i % 2 == 0 ? 200 : 404);
        assert_true(reply->head.keep_alive);
    }
    assert_int_equal(admin_connection_count(house->admin), 1);
    assert_int_equal(metric_value(house->metrics[0], METRIC_http_requests), 10);
    close(fd);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    free(reply);
}

static void an_old_client_is_closed_unless_it_asks(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, "GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    reply_read(house, fd, reply, true);
    assert_true(http_list_contains(&reply->head, "connection", "keep-alive"));
    assert_false(client_is_ended(house, fd));
    client_send(fd, "GET /health/live HTTP/1.0\r\n\r\n");
    reply_read(house, fd, reply, true);
    assert_false(reply->head.keep_alive);
    assert_true(client_is_ended(house, fd));
    close(fd);
    free(reply);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    static const char text[] = GET("/health/live");
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
        turn(house);
    }
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    close(fd);
    free(reply);
}

static void other_methods_are_refused_by_name(void **state)
{
    struct house *house = *state;
    struct reply *reply = ask(house, "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(reply->status, 405);
    assert_true(http_list_contains(&reply->head, "allow", "GET"));
    assert_true(http_list_contains(&reply->head, "allow", "HEAD"));
    assert_true(reply->head.keep_alive);
    free(reply);
}

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

static void requests_sent_at_once_are_answered_in_order(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, GET("/health/live") GET("/nowhere") GET("/metrics") GET("/health/ready")
                        GET("/health") "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: "
                                       "close\r\n\r\n" GET("/health"));
    static const uint16_t statuses[] = {200, 404, 200, 200, 200, 404};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        reply_read(house, fd, reply, true);
        assert_int_equal(reply->status, statuses[i]);
    }
    assert_int_equal(reply->count, reply->bytes); /* what stood behind `close` is not answered */
    assert_true(client_is_ended(house, fd));
    close(fd);
    free(reply);
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
    settle(house);
    house->ahead_ns = ADMIN_HEAD_NS - 1000000000;
    assert_false(client_is_ended(house, fd));
    time_pass(house, 1100000000);
    assert_true(client_is_ended(house, fd));
    assert_int_equal(admin_connection_count(house->admin), 0);
    assert_int_equal(metric_value(house->metrics[0], METRIC_http_requests), 0);
    close(fd);
}

static void between_requests_a_connection_may_idle_longer_than_a_scrape(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, GET("/health/live"));
    reply_read(house, fd, reply, true);
    settle(house);
    house->ahead_ns = UINT64_C(61000000000);
    assert_false(client_is_ended(house, fd));
    time_pass(house, ADMIN_IDLE_NS - UINT64_C(60000000000));
    assert_true(client_is_ended(house, fd));
    assert_int_equal(admin_connection_count(house->admin), 0);
    close(fd);
    free(reply);
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

/* Half-open on purpose: the client has said all and shut its side, and still gets its answer. */
static void a_client_that_shut_its_side_gets_its_answer(void **state)
{
    struct house *house = *state;
    struct reply *reply = reply_new();
    int fd = client_open(house);
    client_send(fd, GET("/health"));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    reply_read(house, fd, reply, true);
    assert_int_equal(reply->status, 200);
    assert_true(client_is_ended(house, fd));
    close(fd);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    free(reply);
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

static void stopping_closes_everything_and_can_be_repeated(void **state)
{
    struct house *house = *state;
    int silent = client_open(house), idle = client_open(house);
    struct reply *reply = reply_new();
    client_send(idle, GET("/health"));
    reply_read(house, idle, reply, true);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 2);
    admin_stop(house->admin);
    admin_stop(house->admin);
    settle(house);
    assert_int_equal(admin_connection_count(house->admin), 0);
    assert_true(client_is_ended(house, silent));
    assert_true(client_is_ended(house, idle));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(house->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof(to)), -1);
    close(late);
    close(silent);
    close(idle);
    free(reply);
}

/* Razed with connections in every state: the fixture frees, ASan looks. */
static void it_may_go_down_in_the_middle_of_everything(void **state)
{
    struct house *house = *state;
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = client_open(house);
    }
    client_send(fds[0], "GET /metr");
    client_send(fds[1], GET("/metrics") GET("/metrics"));
    turn(house);
    turn(house);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
}

static void an_address_in_use_is_said(void **state)
{
    struct house *house = *state;
    struct admin_sources sources = {.metrics = house->metrics, .metrics_count = SHARDS};
    struct admin *unset = NULL;
    struct address at;
    admin_address(house->admin, &at);
    assert_int_equal(admin_new(house->io, house->wheel, &at, &sources, &unset), ERR_EXISTS);
    assert_null(unset);
}

static _Atomic bool counter_stop;

static void *counter(void *metrics)
{
    while (!atomic_load_explicit(&counter_stop, memory_order_relaxed)) {
        metric_add(metrics, METRIC_bytes_received, 1);
        metric_add_label(metrics, METRIC_dropped, TRAIL_DROP_MEMORY, 1);
        metric_observe(metrics, METRIC_turn_ns, 77);
    }
    return NULL;
}

/* Another shard counts while /metrics is read: TSan looks. Counters never fall. */
static void metrics_are_read_while_others_count(void **state)
{
    struct house *house = *state;
    pthread_t thread;
    unsigned long long last = 0;
    assert_int_equal(pthread_create(&thread, NULL, counter, house->metrics[1]), 0);
    for (int i = 0; i < 20; i++) {
        static const char start[] = "\ntern_received_bytes_total ";
        struct reply *reply = ask(house, GET("/metrics"));
        const char *at = strstr(reply->body, start);
        assert_non_null(at);
        unsigned long long now = strtoull(at + strlen(start), NULL, 10);
        assert_true(now >= last);
        last = now;
        free(reply);
    }
    atomic_store_explicit(&counter_stop, true, memory_order_relaxed);
    pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_build, house_raze)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(metrics_are_summed_over_the_shards),
        TEST(every_metric_of_the_table_is_told),
        TEST(histograms_are_cumulative_and_in_seconds),
        TEST(health_tells_who_runs_here),
        TEST(while_draining_it_lives_but_is_not_ready),
        TEST(head_is_get_without_its_body),
        TEST(one_connection_serves_many_requests),
        TEST(an_old_client_is_closed_unless_it_asks),
        TEST(a_request_may_come_byte_by_byte),
        TEST(other_methods_are_refused_by_name),
        TEST(bad_requests_are_refused_and_closed),
        TEST(a_request_with_a_body_is_the_last_one),
        TEST(a_giant_head_is_refused),
        TEST(requests_sent_at_once_are_answered_in_order),
        TEST(a_flood_of_requests_is_cut_off),
        TEST(a_head_that_drips_in_is_given_five_seconds),
        TEST(who_connects_and_stays_silent_is_closed),
        TEST(between_requests_a_connection_may_idle_longer_than_a_scrape),
        TEST(those_who_hold_all_connections_make_room),
        TEST(a_storm_of_connections_is_bounded),
        TEST(who_never_reads_is_closed),
        TEST(an_endless_body_is_not_swallowed),
        TEST(many_giant_heads_stay_within_their_memory),
        TEST(whatever_clients_do_nothing_is_left),
        TEST(a_client_that_shut_its_side_gets_its_answer),
        TEST(a_reset_in_the_middle_leaves_nothing),
        TEST(stopping_closes_everything_and_can_be_repeated),
        TEST(it_may_go_down_in_the_middle_of_everything),
        TEST(an_address_in_use_is_said),
        TEST(metrics_are_read_while_others_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
