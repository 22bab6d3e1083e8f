/* What the HTTP listener answers; how it behaves under attack is in test_admin_attack.c. */
#include "core/base/ledger.h"
#include "core/broker/security.h"
#include "tests/lib/admin_house.h"

#include <pthread.h>
#include <stdatomic.h>

static void metrics_are_summed_over_the_shards(void **state)
{
    struct house *house = *state;
    metric_add(house->metrics[0], METRIC_connections_accepted, 2);
    metric_add(house->metrics[1], METRIC_connections_accepted, 40);
    metric_add(house->metrics[0], METRIC_sessions, 1); /* raised here, lowered there */
    metric_sub(house->metrics[1], METRIC_sessions, 1);
    metric_add_label(house->metrics[1], METRIC_publish_received, 2, 7);
    metric_set_label(house->metrics[0], METRIC_memory_use_bytes, LEDGER_RETAINED, 12);
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
    assert_says(reply, "tern_memory_use_bytes{use=\"messages\"} 0\n"
                       "tern_memory_use_bytes{use=\"retained_topics\"} 12\n"
                       "tern_memory_use_bytes{use=\"subscriptions\"} 0\n");
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
    metric_set(house->metrics[0], METRIC_memory_bytes, 7);
    metric_set(house->metrics[0], METRIC_memory_limit_bytes, 1000);
    struct reply *reply = ask(house, GET("/health"));
    assert_int_equal(reply->status, 200);
    assert_string_equal(
        reply->body,
        "{\"status\":\"ok\",\"version\":\"" TERN_VERSION
        "\",\"uptime_seconds\":12,\"shards\":2,\"clients\":5,\"memory\":7,\"memory_limit\":1000,"
        "\"storage\":\"memory\",\"security\":[]}\n");
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

/* Texts of the configuration may hold anything: a quote must not end a label or a text. */
static void what_guards_the_listeners_is_told(void **state)
{
    struct house *house = *state;
    struct security_item items[] = {
        {SECURITY_TLS, "8883", "/etc/\"odd\"\\c.pem", INT64_MAX / 2, false, ""},
        {SECURITY_TLS, "8883", "/etc/\"odd\"\\c.pem", INT64_MAX / 2, false, ""},
        {SECURITY_TLS, "8884", "d.pem", 4102444800, true, "the key\ndoes not fit"},
        {SECURITY_ACL, "", "acl", 0, false, ""},
    };
    struct security security = {.items = items, .item_count = 4};
    struct reply *reply = ask(house, GET("/metrics"));
    assert_says(reply, "tern_security_stale{kind=\"tls\"} 0\n");
    free(reply);
    house->security = (struct admin_security){&security, .reload_count = 3, .fail_count = 1};
    reply = ask(house, GET("/metrics"));
    static const char series[] = "tern_tls_certificate_expiry_timestamp_seconds{listener=\"8883\","
                                 "file=\"/etc/\\\"odd\\\"\\\\c.pem\"} 4611686018427387903\n";
    assert_says(reply, series);
    assert_null(strstr(strstr(reply->body, series) + 1, series));
    assert_says(reply, "{listener=\"8884\",file=\"d.pem\"} 4102444800\n");
    assert_says(reply, "tern_security_stale{kind=\"tls\"} 1\n");
    assert_says(reply, "tern_security_stale{kind=\"acl\"} 0\n");
    assert_says(reply, "tern_security_reloads_total 3\n");
    assert_says(reply, "tern_security_reload_failures_total 1\n");
    free(reply);
    reply = ask(house, GET("/health"));
    assert_int_equal(reply->status, 200);
    assert_says(reply, "\"status\":\"degraded\"");
    assert_says(reply, "{\"kind\":\"tls\",\"listener\":\"8884\",\"file\":\"d.pem\","
                       "\"status\":\"stale\",\"reason\":\"the key\\ndoes not fit\","
                       "\"expires\":\"2100-01-01T00:00:00Z\"}");
    assert_says(reply, "\"file\":\"/etc/\\\"odd\\\"\\\\c.pem\",\"status\":\"ok\"");
    free(reply);
    items[2].is_stale = false;
    reply = ask(house, GET("/health"));
    assert_says(reply, "{\"status\":\"ok\"");
    free(reply);
    items[2].expires_s = 1000000000; /* long ago */
    reply = ask(house, GET("/health"));
    assert_says(reply, "{\"status\":\"degraded\"");
    assert_says(reply, "\"status\":\"expired\"");
    free(reply);
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

static void stopping_closes_everything_and_can_be_repeated(void **state)
{
    struct house *house = *state;
    int silent = client_open(house), idle = client_open(house);
    struct reply *reply = reply_new();
    client_send(idle, GET("/health"));
    client_send(silent, "G"); /* who says nothing at all is let in a second later */
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
    assert_true(admin_address(house->admin, 0, &at));
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
        TEST(what_guards_the_listeners_is_told),
        TEST(while_draining_it_lives_but_is_not_ready),
        TEST(head_is_get_without_its_body),
        TEST(one_connection_serves_many_requests),
        TEST(an_old_client_is_closed_unless_it_asks),
        TEST(a_request_may_come_byte_by_byte),
        TEST(other_methods_are_refused_by_name),
        TEST(requests_sent_at_once_are_answered_in_order),
        TEST(between_requests_a_connection_may_idle_longer_than_a_scrape),
        TEST(a_client_that_shut_its_side_gets_its_answer),
        TEST(stopping_closes_everything_and_can_be_repeated),
        TEST(it_may_go_down_in_the_middle_of_everything),
        TEST(an_address_in_use_is_said),
        TEST(metrics_are_read_while_others_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
