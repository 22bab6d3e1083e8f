/* What a broker uses, seen from outside: its process, or the page on which it tells. */
#include "bench/report/target.h"
#include "bench/report/target_metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a process ----------------------------------------------------------------------------- */

static void the_own_process_is_known(void **state)
{
    struct target_usage usage = {0}, same = {0}, later = {0};
    (void)state;
    assert_int_equal(target_usage(0, &usage), OK);
    assert_int_equal(target_usage_quick(getpid(), &same), OK);
    assert_true(usage.resident_bytes > 100000);
    assert_true(usage.private_bytes <= usage.resident_bytes);
    assert_true(usage.proportional_bytes <= usage.resident_bytes + (1 << 20));
    assert_true(usage.thread_count >= 1);
    assert_true(same.cpu_ns >= usage.cpu_ns);
    assert_int_equal(same.private_bytes, 0); /* not asked for */
    assert_int_equal(target_usage(0, &later), OK);
    assert_true(later.cpu_ns >= same.cpu_ns);
}

static void a_process_that_is_not_there_is_not_found_and_nothing_is_written(void **state)
{
    struct target_usage usage = {.cpu_ns = 42};
    (void)state;
    assert_int_equal(target_usage(INT32_MAX, &usage), ERR_NOT_FOUND);
    assert_int_equal(target_usage_quick(INT32_MAX, &usage), ERR_NOT_FOUND);
    assert_int_equal(usage.cpu_ns, 42);
}

static void kernel_time_is_what_is_left_and_never_below_zero(void **state)
{
    struct target_usage usage = {.cpu_ns = 10, .user_ns = 4};
    (void)state;
    assert_int_equal(target_system_ns(&usage), 6);
    usage.user_ns = 11; /* the rough one may run ahead of the exact one */
    assert_int_equal(target_system_ns(&usage), 0);
}

/* ---- a page -------------------------------------------------------------------------------- */

static const char page[] = "# HELP process_cpu_seconds_total Total CPU time.\n"
                           "# TYPE process_cpu_seconds_total counter\n"
                           "process_cpu_seconds_total 1.5\n"
                           "process_resident_memory_bytes 2.048e+06 1700000000000\n"
                           "tern_publish_received_total{qos=\"0\"} 10\n"
                           "tern_publish_received_total{qos=\"1\"} 5\n"
                           "tern_publish_sent_total{qos=\"0\"} 20\n"
                           "tern_dropped_total{reason=\"queue_full\"} 3\n"
                           "tern_dropped_total{shard=\"1\",reason=\"expired\"} 4\n"
                           "tern_dropped_total{text=\"a}b\\\",reason=\\\"no\",reason=\"odd\"} 1\n"
                           "nonsense\n"
                           "other_total{broken 5\n"
                           "process_resident_memory_bytes_of_another 7\n"
                           "\n";

static void a_page_is_read_and_its_oddities_are_skipped(void **state)
{
    struct target_metrics metrics;
    (void)state;
    assert_int_equal(target_metrics_read(slice_text(page), &metrics), OK);
    assert_true(metrics.has_usage);
    assert_true(metrics.has_account);
    assert_int_equal(metrics.usage.cpu_ns, 1500000000);
    assert_int_equal(metrics.usage.resident_bytes, 2048000);
    assert_int_equal(metrics.account.received_count, 15);
    assert_int_equal(metrics.account.sent_count, 20);
    assert_int_equal(metrics.account.reason_count, 3);
    assert_string_equal(metrics.account.dropped[0].reason, "queue_full");
    assert_int_equal(metrics.account.dropped[0].count, 3);
    assert_string_equal(metrics.account.dropped[1].reason, "expired");
    assert_int_equal(target_account_dropped(&metrics.account), 8);
}

static void a_page_without_our_figures_says_so(void **state)
{
    struct target_metrics metrics = {.usage.cpu_ns = 42};
    static const char *const pages[] = {"",
                                        "\n\n",
                                        "up 1\n",
                                        "# process_cpu_seconds_total 1\n",
                                        "process_cpu_seconds_total\n",
                                        "process_cpu_seconds_total{\n",
                                        "process_cpu_seconds_total{a=\"\\",
                                        "{} 1\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        char *exact = malloc(strlen(pages[i]) + 1); /* so that a step too far is seen */
        memcpy(exact, pages[i], strlen(pages[i]));
        assert_int_equal(target_metrics_read(slice_of(exact, strlen(pages[i])), &metrics),
                         ERR_UNSUPPORTED);
        free(exact);
    }
    assert_int_equal(metrics.usage.cpu_ns, 42);
}

static void odd_numbers_become_counts_that_can_be(void **state)
{
    struct target_metrics metrics;
    (void)state;
    assert_int_equal(target_metrics_read(slice_text("process_resident_memory_bytes NaN\n"
                                                    "process_cpu_seconds_total +Inf\n"
                                                    "tern_publish_sent_total -5\n"),
                                         &metrics),
                     OK);
    assert_int_equal(metrics.usage.resident_bytes, 0);
    assert_true(metrics.usage.cpu_ns > 0);
    assert_int_equal(metrics.account.sent_count, 0);
}

static void too_many_reasons_are_added_to_the_others(void **state)
{
    char text[4096] = "";
    struct target_metrics metrics;
    (void)state;
    for (uint32_t i = 0; i < TARGET_REASONS_MAX + 5; i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text),
                 "tern_dropped_total{reason=\"r%u-that-is-longer-than-any-reason-should-be\"} 1\n",
                 i);
    }
    assert_int_equal(target_metrics_read(slice_text(text), &metrics), OK);
    assert_int_equal(metrics.account.reason_count, TARGET_REASONS_MAX);
    assert_int_equal(target_account_dropped(&metrics.account), TARGET_REASONS_MAX + 5);
    assert_string_equal(metrics.account.dropped[TARGET_REASONS_MAX - 1].reason, "others");
}

static void what_was_dropped_meanwhile_is_the_difference(void **state)
{
    struct target_account before = {
        .received_count = 10, .sent_count = 100, .reason_count = 1, .dropped = {{"queue_full", 3}}};
    struct target_account after = {.received_count = 15,
                                   .sent_count = 40, /* the broker was started anew */
                                   .reason_count = 2,
                                   .dropped = {{"expired", 2}, {"queue_full", 5}}};
    struct target_account since;
    (void)state;
    target_account_since(&before, &after, &since);
    assert_int_equal(since.received_count, 5);
    assert_int_equal(since.sent_count, 40);
    assert_int_equal(since.dropped[0].count, 2);
    assert_int_equal(since.dropped[1].count, 2);
    assert_int_equal(target_account_dropped(&since), 4);
}

/* ---- over HTTP ----------------------------------------------------------------------------- */

struct server {
    int listener;
    uint16_t port;
    const char *answer; /* NULL: close without one */
    char request[2048];
    pthread_t thread;
};

static void *serve(void *context)
{
    struct server *server = context;
    int client = accept(server->listener, NULL, NULL);
    size_t used = 0;
    while (used < sizeof(server->request) - 1 && strstr(server->request, "\r\n\r\n") == NULL) {
        ssize_t got = recv(client, server->request + used, sizeof(server->request) - 1 - used, 0);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
    }
    if (server->answer != NULL) {
        (void)!send(client, server->answer, strlen(server->answer), MSG_NOSIGNAL);
    }
    close(client);
    return NULL;
}

static void server_start(struct server *server, const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t count = sizeof(address);
    memset(server, 0, sizeof(*server));
    server->answer = answer;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &count), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_end(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->listener);
}

static void a_page_is_fetched(void **state)
{
    char answer[sizeof(page) + 128], url[64], problem[TARGET_PROBLEM_BYTES];
    struct target_metrics metrics;
    struct server server;
    (void)state;
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n%s", page);
    server_start(&server, answer);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics?x=1", server.port);
    assert_int_equal(target_metrics_get(url, &metrics, problem), OK);
    server_end(&server);
    assert_string_equal(problem, "");
    assert_int_equal(metrics.account.received_count, 15);
    assert_non_null(strstr(server.request, "GET /metrics?x=1 HTTP/1.0\r\nHost: 127.0.0.1:"));
}

static void an_answer_that_is_no_page_is_named_with_its_url(void **state)
{
    static const struct {
        const char *answer;
        enum err err;
        const char *said;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\n\r\nprocess_cpu_seconds_total 1\n", ERR_NOT_FOUND,
         "status 404"},
        {"HTTP/1.1 200 OK\r\n\r\nup 1\n", ERR_UNSUPPORTED, "process_cpu_seconds_total"},
        {"HTTP/1.1 200 OK\r\n", ERR_MALFORMED, "does not speak HTTP"},
        {"SSH-2.0-OpenSSH\r\n\r\n", ERR_MALFORMED, "does not speak HTTP"},
        {NULL, ERR_MALFORMED, "does not speak HTTP"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char url[64], problem[TARGET_PROBLEM_BYTES];
        struct target_metrics metrics = {.usage.cpu_ns = 42};
        struct server server;
        server_start(&server, cases[i].answer);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u", server.port);
        assert_int_equal(target_metrics_get(url, &metrics, problem), cases[i].err);
        server_end(&server);
        assert_non_null(strstr(problem, url));
        assert_non_null(strstr(problem, cases[i].said));
        assert_int_equal(metrics.usage.cpu_ns, 42);
        assert_non_null(strstr(server.request, "GET /metrics HTTP/1.0"));
    }
}

static void a_url_that_is_none_is_refused_before_anything_is_asked(void **state)
{
    static const char *const urls[] = {"",
                                       "127.0.0.1:1883",
                                       "https://127.0.0.1/",
                                       "http://",
                                       "http://:80/",
                                       "http://a:/",
                                       "http://a:123456789/",
                                       "http://a:12x/",
                                       "http://[::1/",
                                       "http://a b/",
                                       "http://a/b c",
                                       "http://a/b\r\nX: y",
                                       "http://[]/"};
    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        char problem[TARGET_PROBLEM_BYTES];
        struct target_metrics metrics;
        assert_int_equal(target_metrics_get(urls[i], &metrics, problem), ERR_INVALID);
        assert_non_null(strstr(problem, "no URL of the form"));
    }
}

static void a_port_where_nobody_listens_is_an_error(void **state)
{
    char url[64], problem[TARGET_PROBLEM_BYTES];
    struct target_metrics metrics;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t count = sizeof(address);
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* and not listening */
    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(bound, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(bound, (struct sockaddr *)&address, &count), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", ntohs(address.sin_port));
    assert_int_not_equal(target_metrics_get(url, &metrics, problem), OK);
    assert_non_null(strstr(problem, url));
    close(bound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_own_process_is_known),
        cmocka_unit_test(a_process_that_is_not_there_is_not_found_and_nothing_is_written),
        cmocka_unit_test(kernel_time_is_what_is_left_and_never_below_zero),
        cmocka_unit_test(a_page_is_read_and_its_oddities_are_skipped),
        cmocka_unit_test(a_page_without_our_figures_says_so),
        cmocka_unit_test(odd_numbers_become_counts_that_can_be),
        cmocka_unit_test(too_many_reasons_are_added_to_the_others),
        cmocka_unit_test(what_was_dropped_meanwhile_is_the_difference),
        cmocka_unit_test(a_page_is_fetched),
        cmocka_unit_test(an_answer_that_is_no_page_is_named_with_its_url),
        cmocka_unit_test(a_url_that_is_none_is_refused_before_anything_is_asked),
        cmocka_unit_test(a_port_where_nobody_listens_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
