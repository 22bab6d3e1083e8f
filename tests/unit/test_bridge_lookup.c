/* core/bridge/lookup.c: names and certificates, off the thread that asks. */
#include "core/bridge/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static const struct bridge_config in_clear = {
    .cafile = "", .capath = "", .certfile = "", .keyfile = "", .alpn = ""};

/* It is looked at until it is done, as a bridge does; the lookup is still to be freed. */
static struct lookup_result found(struct lookup *lookup)
{
    struct lookup_result result;
    assert_non_null(lookup);
    while (!lookup_done(lookup, &result)) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return result;
}

static void an_address_is_itself(void **state)
{
    char text[ADDRESS_TEXT_MAX];
    (void)state;
    struct lookup *lookup = lookup_new(&in_clear, &(struct bridge_address){"::1", 1884});
    struct lookup_result result = found(lookup);
    assert_int_equal(result.err, OK);
    assert_int_equal(result.count, 1);
    assert_string_equal(address_text(&result.found[0], text), "[::1]:1884");
    assert_null(result.tls);
    lookup_free(lookup);
}

static void a_name_of_this_machine_has_addresses(void **state)
{
    (void)state;
    struct lookup *lookup = lookup_new(&in_clear, &(struct bridge_address){"localhost", 1});
    struct lookup_result result = found(lookup);
    assert_int_equal(result.err, OK);
    assert_true(result.count >= 1);
    assert_true(address_is_loopback(&result.found[0]));
    assert_int_equal(result.found[0].port, 1);
    lookup_free(lookup);
}

static void what_is_wrong_with_certificates_is_told(void **state)
{
    struct bridge_config config = in_clear;
    (void)state;
    config.cafile = "/nowhere/ca.pem";
    struct lookup *lookup = lookup_new(&config, &(struct bridge_address){"127.0.0.1", 1});
    struct lookup_result result = found(lookup);
    assert_int_equal(result.err, ERR_NOT_FOUND);
    assert_non_null(strstr(result.trouble, "/nowhere/ca.pem"));
    assert_null(result.tls);
    lookup_free(lookup);
}

static void nobody_need_wait_for_it(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        lookup_free(lookup_new(&in_clear, &(struct bridge_address){"127.0.0.1", 1}));
    }
    lookup_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_itself),
        cmocka_unit_test(a_name_of_this_machine_has_addresses),
        cmocka_unit_test(what_is_wrong_with_certificates_is_told),
        cmocka_unit_test(nobody_need_wait_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
