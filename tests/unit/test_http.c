#include "core/wire/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HEAD_BYTES_MAX = 8192 };

/* Find and parse, as a caller with all the bytes does. */
static enum err request(const char *text, struct http_head *head)
{
    size_t scanned = 0, bytes = 0;
    struct slice in = slice_text(text);
    TRY(http_head_find(in, HEAD_BYTES_MAX, &scanned, &bytes));
    return http_request_parse(slice_head(in, bytes), head);
}

static enum err response(const char *text, struct http_head *head)
{
    size_t scanned = 0, bytes = 0;
    struct slice in = slice_text(text);
    TRY(http_head_find(in, HEAD_BYTES_MAX, &scanned, &bytes));
    return http_response_parse(slice_head(in, bytes), head);
}

static void assert_slice(struct slice in, const char *text)
{
    assert_int_equal(in.count, strlen(text));
    assert_memory_equal(in.data, text, in.count);
}

static void a_request_is_taken_apart(void **state)
{
    struct http_head head;
    (void)state;
    assert_int_equal(request("GET /metrics?name=a&b=?c HTTP/1.1\r\n"
                             "Host: localhost:8888\r\n"
                             "aCCept: \t text/plain;q=0.5  \r\n"
                             "X-Empty:\r\n"
                             "Accept:two\r\n"
                             "\r\n"
                             "this is not part of it",
                             &head),
                     OK);
    assert_int_equal(head.method, HTTP_GET);
    assert_slice(head.method_text, "GET");
    assert_slice(head.path, "/metrics");
    assert_slice(head.query, "name=a&b=?c");
    assert_int_equal(head.minor, 1);
    assert_true(head.keep_alive);
    assert_false(head.has_content_length);
    assert_int_equal(head.header_count, 4);
    assert_slice(http_header_find(&head, "ACCEPT")->value, "text/plain;q=0.5");
    assert_int_equal(http_header_count(&head, "accept"), 2);
    assert_slice(http_header_find(&head, "x-empty")->value, "");
    assert_null(http_header_find(&head, "x-empt"));
}

static void methods_heed_case_and_others_are_named(void **state)
{
    static const struct {
        const char *text;
        enum http_method method;
    } rows[] = {
        {"GET", HTTP_GET},        {"HEAD", HTTP_HEAD},       {"POST", HTTP_POST},
        {"PUT", HTTP_PUT},        {"PATCH", HTTP_PATCH},     {"DELETE", HTTP_DELETE},
        {"get", HTTP_OTHER},      {"OPTIONS", HTTP_OPTIONS}, {"TRACE", HTTP_OTHER},
        {"M-SEARCH", HTTP_OTHER},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[100];
        struct http_head head;
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", rows[i].text);
        assert_int_equal(request(text, &head), OK);
        assert_int_equal(head.method, rows[i].method);
        assert_slice(head.method_text, rows[i].text);
    }
}

static void a_target_has_three_forms(void **state)
{
    struct http_head head;
    (void)state;
    assert_int_equal(request("GET HTTP://host:1/a?b HTTP/1.1\r\nHost: x\r\n\r\n", &head), OK);
    assert_slice(head.path, "/a");
    assert_slice(head.query, "b");
    assert_int_equal(request("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &head), OK);
    assert_slice(head.path, "*");
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: x\r\n\r\n", &head), OK);
    assert_slice(head.path, "/");
    assert_slice(head.query, "");
}

static void a_connection_stays_as_both_sides_say(void **state)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, CLOSE\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nconnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_head head;
        assert_int_equal(request(rows[i].text, &head), OK);
        assert_int_equal(head.keep_alive, rows[i].keep_alive);
    }
}

/* What is refused, and how. Rows about length are request smuggling; RFC 9112 11.2. */
static const struct {
    const char *text;
    enum err err;
} refused[] = {
    /* request line */
    {"\x16\x03\x01\x02", ERR_MALFORMED}, /* a TLS hello */
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\nHost: a\n\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\n\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\rHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET /\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET\r\n\r\n", ERR_MALFORMED},
    {"GE@T / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.11\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/a.1\r\nHost: a\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", ERR_VERSION},
    {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", ERR_VERSION},
    {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", ERR_VERSION},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ERR_VERSION},
    {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_UNSUPPORTED},
    /* headers */
    {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\n\tfolded: 1\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\n: empty name\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\001c\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nA\x80: b\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\n\r\n", ERR_MALFORMED}, /* 1.1 without Host */
    {"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", ERR_MALFORMED},
    /* length */
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", ERR_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_UNSUPPORTED},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", ERR_UNSUPPORTED},
};

static void what_is_not_quite_http_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct http_head head;
        enum err err = request(refused[i].text, &head);
        if (err != refused[i].err) {
            fail_msg("row %zu: %s instead of %s", i, err_name(err), err_name(refused[i].err));
        }
    }
}

static void a_nul_byte_is_refused(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    struct http_head head;
    (void)state;
    assert_int_equal(http_request_parse(slice_of(text, sizeof(text) - 1), &head), ERR_MALFORMED);
}

static void content_length_is_read(void **state)
{
    struct http_head head;
    (void)state;
    assert_int_equal(request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0042\r\n\r\n", &head),
                     OK);
    assert_true(head.has_content_length);
    assert_int_equal(head.content_length, 42);
    assert_int_equal(
        request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n", &head),
        OK);
    assert_int_equal(head.content_length, 999999999999999999);
}

/* Every prefix of a good head wants more, or says early what the whole would say. */
static void a_head_may_come_byte_by_byte(void **state)
{
    static const char good[] = "GET /a HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n";
    size_t scanned = 0, bytes = 0;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof(good); i++) {
        char *copy = malloc(i + 1); /* of the exact size, so that ASan sees a read beyond it */
        memcpy(copy, good, i);
        enum err err = http_head_find(slice_of(copy, i), HEAD_BYTES_MAX, &scanned, &bytes);
        free(copy);
        assert_int_equal(err, ERR_MORE);
        assert_int_equal(bytes, 0);
        assert_true(scanned <= i);
    }
    assert_int_equal(http_head_find(slice_text(good), HEAD_BYTES_MAX, &scanned, &bytes), OK);
    assert_int_equal(bytes, sizeof(good) - 1);
}

/* Cutting the input in two at any place changes no verdict. */
static void every_split_gives_the_same_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct slice in = slice_text(refused[i].text);
        size_t whole_scanned = 0, whole_bytes = 0;
        enum err whole = http_head_find(in, HEAD_BYTES_MAX, &whole_scanned, &whole_bytes);
        for (size_t cut = 0; cut <= in.count; cut++) {
            size_t scanned = 0, bytes = 0;
            enum err err = http_head_find(slice_head(in, cut), HEAD_BYTES_MAX, &scanned, &bytes);
            if (err == ERR_MORE) {
                err = http_head_find(in, HEAD_BYTES_MAX, &scanned, &bytes);
            }
            assert_int_equal(err, whole);
            assert_int_equal(bytes, whole_bytes);
        }
    }
}

static void a_head_has_a_bound(void **state)
{
    static const char good[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    size_t count = sizeof(good) - 1, scanned = 0, bytes = 0;
    (void)state;
    assert_int_equal(http_head_find(slice_text(good), count, &scanned, &bytes), OK);
    scanned = 0;
    assert_int_equal(http_head_find(slice_text(good), count - 1, &scanned, &bytes), ERR_TOO_LARGE);
    scanned = 0;
    assert_int_equal(http_head_find(slice_head(slice_text(good), 20), 20, &scanned, &bytes),
                     ERR_TOO_LARGE);
    scanned = 0;
    assert_int_equal(http_head_find(slice_head(slice_text(good), 19), 20, &scanned, &bytes),
                     ERR_MORE);
    scanned = 0;
    assert_int_equal(http_head_find(slice_of(NULL, 0), 20, &scanned, &bytes), ERR_MORE);
}

static void sixty_four_headers_are_read_and_one_more_is_refused(void **state)
{
    char text[2048];
    struct http_head head;
    (void)state;
    for (int headers = HTTP_HEADERS_MAX; headers <= HTTP_HEADERS_MAX + 1; headers++) {
        int at = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < headers; i++) {
            at += snprintf(text + at, sizeof(text) - (size_t)at, "H%d: %d\r\n", i, i);
        }
        snprintf(text + at, sizeof(text) - (size_t)at, "\r\n");
        assert_int_equal(request(text, &head), headers == HTTP_HEADERS_MAX ? OK : ERR_TOO_LARGE);
    }
}

static void a_list_is_walked_over_all_its_headers(void **state)
{
    struct http_head head;
    (void)state;
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: a\r\n"
                             "Upgrade: ,h2c ,\tWebSocket\t,,\r\nUpgrade: last\r\n\r\n",
                             &head),
                     OK);
    assert_true(http_list_contains(&head, "upgrade", "websocket"));
    assert_true(http_list_contains(&head, "upgrade", "h2c"));
    assert_true(http_list_contains(&head, "upgrade", "last"));
    assert_false(http_list_contains(&head, "upgrade", "socket"));
    assert_false(http_list_contains(&head, "upgrade", ""));
    assert_false(http_list_contains(&head, "connection", "upgrade"));
}

static void a_response_is_taken_apart(void **state)
{
    struct http_head head;
    (void)state;
    assert_int_equal(response("HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n", &head), OK);
    assert_int_equal(head.status, 101);
    assert_slice(http_header_find(&head, "a")->value, "b");
    assert_int_equal(response("HTTP/1.0 404\r\n\r\n", &head), OK);
    assert_int_equal(head.status, 404);
    assert_int_equal(response("HTTP/1.1 20 OK\r\n\r\n", &head), ERR_MALFORMED);
    assert_int_equal(response("HTTP/1.1 2000 OK\r\n\r\n", &head), ERR_MALFORMED);
    assert_int_equal(response("HTTP/1.1 099 OK\r\n\r\n", &head), ERR_MALFORMED);
    assert_int_equal(response("HTTP/1.1  20 OK\r\n\r\n", &head), ERR_MALFORMED);
    assert_int_equal(response("HTTP/2.0 200 OK\r\n\r\n", &head), ERR_VERSION);
    assert_int_equal(response("HTTP/1.1 200 O\001K\r\n\r\n", &head), ERR_MALFORMED);
}

static void a_reply_is_written_and_read_again(void **state)
{
    struct http_reply reply = {.status = 405,
                               .has_content_length = true,
                               .content_length = 7,
                               .content_type = "text/plain",
                               .headers = "Allow: GET, HEAD\r\n"};
    uint8_t out[256];
    size_t bytes = 0;
    struct http_head head;
    (void)state;
    assert_int_equal(http_reply_write(&reply, out, sizeof(out), &bytes), OK);
    assert_int_equal(http_response_parse(slice_of(out, bytes), &head), OK);
    assert_int_equal(head.status, 405);
    assert_int_equal(head.content_length, 7);
    assert_false(head.keep_alive);
    assert_true(http_list_contains(&head, "allow", "head"));
    assert_slice(http_header_find(&head, "content-type")->value, "text/plain");
    for (size_t room = 0; room <= bytes; room++) { /* the final NUL needs its byte as well */
        uint8_t *exact = malloc(room + 1);
        size_t unset = 0;
        assert_int_equal(http_reply_write(&reply, exact, room, &unset), ERR_TOO_LARGE);
        assert_int_equal(unset, 0);
        free(exact);
    }
}

static void errors_have_their_status(void **state)
{
    (void)state;
    assert_int_equal(http_status_of(ERR_MALFORMED), 400);
    assert_int_equal(http_status_of(ERR_TOO_LARGE), 431);
    assert_int_equal(http_status_of(ERR_UNSUPPORTED), 501);
    assert_int_equal(http_status_of(ERR_VERSION), 505);
    assert_string_equal(http_status_text(426), "Upgrade Required");
    assert_string_equal(http_status_text(999), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(methods_heed_case_and_others_are_named),
        cmocka_unit_test(a_target_has_three_forms),
        cmocka_unit_test(a_connection_stays_as_both_sides_say),
        cmocka_unit_test(what_is_not_quite_http_is_refused),
        cmocka_unit_test(a_nul_byte_is_refused),
        cmocka_unit_test(content_length_is_read),
        cmocka_unit_test(a_head_may_come_byte_by_byte),
        cmocka_unit_test(every_split_gives_the_same_verdict),
        cmocka_unit_test(a_head_has_a_bound),
        cmocka_unit_test(sixty_four_headers_are_read_and_one_more_is_refused),
        cmocka_unit_test(a_list_is_walked_over_all_its_headers),
        cmocka_unit_test(a_response_is_taken_apart),
        cmocka_unit_test(a_reply_is_written_and_read_again),
        cmocka_unit_test(errors_have_their_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
