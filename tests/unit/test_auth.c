#include "core/access/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct auth_policy testing = {.allow_anonymous = true, .allow_test_method = true};
static const struct auth_policy serious = {.allow_anonymous = true};
static struct rng rng;

static int seed(void **state)
{
    (void)state;
    rng_init(&rng, 1);
    return 0;
}

static enum err begin(const struct auth_policy *policy, const char *method, const char *data,
                      struct auth_exchange **exchange, struct auth_reply *reply)
{
    struct auth_request request = {.method = slice_text(method), .data = slice_text(data)};
    return auth_begin(policy, &request, &rng, exchange, reply);
}

/* "challenge:xxxxxxxx" -> the digits, reversed */
static void solve(const struct auth_reply *reply, char answer[9])
{
    assert_int_equal(reply->data_bytes, 18);
    assert_memory_equal(reply->data, "challenge:", 10);
    for (int i = 0; i < 8; i++) {
        answer[i] = (char)reply->data[17 - i];
    }
    answer[8] = 0;
}

static enum err proceed(struct auth_exchange *exchange, bool again, const char *data,
                        struct auth_reply *reply)
{
    return auth_continue(&testing, exchange, again, slice_text("TERN-TEST"), slice_text(data), &rng,
                         reply);
}

static struct auth_exchange *finished(void)
{
    struct auth_exchange *exchange;
    struct auth_reply reply;
    char answer[9];
    assert_int_equal(begin(&testing, "TERN-TEST", "hello", &exchange, &reply), ERR_MORE);
    solve(&reply, answer);
    assert_int_equal(proceed(exchange, false, answer, &reply), OK);
    return exchange;
}

static void without_a_method_the_listener_decides(void **state)
{
    struct auth_exchange *exchange = (void *)1;
    struct auth_reply reply;
    struct auth_request request = {.has_username = false};
    struct auth_policy closed = {.allow_anonymous = false};
    (void)state;
    assert_int_equal(auth_begin(&serious, &request, &rng, &exchange, &reply), OK);
    assert_null(exchange);
    assert_int_equal(auth_begin(&closed, &request, &rng, &exchange, &reply), ERR_NOT_AUTHORIZED);
    request.username = request.password = slice_text("admin"); /* proves nothing */
    request.has_username = request.has_password = true;
    assert_int_equal(auth_begin(&closed, &request, &rng, &exchange, &reply), ERR_NOT_AUTHORIZED);
    assert_null(exchange);
}

/* [MQTT-4.12.0-1] The test method exists only where the configuration asks for it. */
static void an_unknown_method_is_refused(void **state)
{
    struct auth_exchange *exchange = (void *)1;
    struct auth_reply reply;
    (void)state;
    assert_int_equal(begin(&testing, "SCRAM-X", "hello", &exchange, &reply), ERR_AUTH_METHOD);
    assert_null(exchange);
    assert_int_equal(begin(&testing, "TERN-TES", "hello", &exchange, &reply), ERR_AUTH_METHOD);
    assert_int_equal(begin(&serious, "TERN-TEST", "hello", &exchange, &reply), ERR_AUTH_METHOD);
    assert_null(exchange);
}

static void a_challenge_is_answered_and_the_client_welcome(void **state)
{
    struct auth_exchange *exchange;
    struct auth_reply reply;
    char answer[9];
    (void)state;
    assert_int_equal(begin(&testing, "TERN-TEST", "hello", &exchange, &reply), ERR_MORE);
    assert_true(slice_is(auth_exchange_method(exchange), "TERN-TEST"));
    solve(&reply, answer);
    assert_int_equal(proceed(exchange, false, answer, &reply), OK);
    assert_memory_equal(reply.data, "welcome", 7);
    auth_exchange_free(exchange);
    auth_exchange_free(NULL);
}

static void a_wrong_word_or_answer_is_refused(void **state)
{
    struct auth_exchange *exchange = (void *)1;
    struct auth_reply reply;
    char answer[9];
    (void)state;
    assert_int_equal(begin(&testing, "TERN-TEST", "hullo", &exchange, &reply), ERR_NOT_AUTHORIZED);
    assert_null(exchange);
    assert_int_equal(begin(&testing, "TERN-TEST", "hello", &exchange, &reply), ERR_MORE);
    solve(&reply, answer);
    answer[7] = (char)(answer[7] == '0' ? '1' : '0');
    assert_int_equal(proceed(exchange, false, answer, &reply), ERR_NOT_AUTHORIZED);
    assert_int_equal(reply.data_bytes, 0);
    auth_exchange_free(exchange);
    assert_int_equal(begin(&testing, "TERN-TEST", "hello", &exchange, &reply), ERR_MORE);
    assert_int_equal(proceed(exchange, false, "", &reply), ERR_NOT_AUTHORIZED);
    auth_exchange_free(exchange);
}

/* [MQTT-4.12.0-5] [MQTT-4.12.1-1] */
static void another_method_in_the_middle_is_an_error(void **state)
{
    struct auth_exchange *exchange;
    struct auth_reply reply;
    (void)state;
    assert_int_equal(begin(&testing, "TERN-TEST", "hello", &exchange, &reply), ERR_MORE);
    assert_int_equal(auth_continue(&testing, exchange, false, slice_text("OTHER"), slice_text("x"),
                                   &rng, &reply),
                     ERR_PROTOCOL);
    auth_exchange_free(exchange);
}

static void packets_out_of_turn_are_an_error(void **state)
{
    struct auth_exchange *exchange;
    struct auth_reply reply;
    (void)state;
    assert_int_equal(begin(&testing, "TERN-TEST", "hello", &exchange, &reply), ERR_MORE);
    assert_int_equal(proceed(exchange, true, "hello", &reply), ERR_PROTOCOL); /* still the first */
    auth_exchange_free(exchange);
    exchange = finished();
    assert_int_equal(proceed(exchange, false, "12345678", &reply), ERR_PROTOCOL); /* nobody asked */
    auth_exchange_free(exchange);
}

static void a_client_proves_itself_again_with_a_new_challenge(void **state)
{
    struct auth_exchange *exchange = finished();
    struct auth_reply first, second;
    char answer[9];
    (void)state;
    assert_int_equal(proceed(exchange, true, "hello", &first), ERR_MORE);
    solve(&first, answer);
    assert_int_equal(proceed(exchange, false, answer, &second), OK);
    assert_int_equal(proceed(exchange, true, "hello", &second), ERR_MORE);
    assert_memory_not_equal(first.data, second.data, 18);
    assert_int_equal(proceed(exchange, false, answer, &first),
                     ERR_NOT_AUTHORIZED); /* the old one */
    auth_exchange_free(exchange);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_method_the_listener_decides),
        cmocka_unit_test(an_unknown_method_is_refused),
        cmocka_unit_test(a_challenge_is_answered_and_the_client_welcome),
        cmocka_unit_test(a_wrong_word_or_answer_is_refused),
        cmocka_unit_test(another_method_in_the_middle_is_an_error),
        cmocka_unit_test(packets_out_of_turn_are_an_error),
        cmocka_unit_test(a_client_proves_itself_again_with_a_new_challenge),
    };
    return cmocka_run_group_tests(tests, seed, NULL);
}
