#include "core/access/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void networks_are_read_and_written(void **state)
{
    static const char *const same[] = {
        "192.0.2.7", "10.1.0.0/16", "0.0.0.0/0", "255.255.255.255", "2001:db8::1", "2001:db8::/32",
        "::/0",      "::",          "::1",       "1:2:3:4:5:6:7:8", "1:0:0:2::3",  "fe80::1:0:0:1",
    };
    static const char *const bad[] = {
        "",          "10.1.0.0/",   "10.1.0.0/33", "10.1.2.3/16",    "10.1.0/16",
        "/8",        "10.0.0.0/8 ", "10.0.0.0/-1", "2001:db8::/129", "2001:db8::1/64",
        "localhost", "1.2.3.4/8/8",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct network network;
        bool has_length;
        char text[NETWORK_TEXT_MAX];
        assert_int_equal(network_parse(slice_text(same[i]), &network, &has_length), OK);
        assert_string_equal(network_text(&network, text), same[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct network network;
        bool has_length;
        assert_int_equal(network_parse(slice_text(bad[i]), &network, &has_length), ERR_INVALID);
    }
}

static bool has(const char *network_as, const char *address)
{
    struct network network, one;
    bool has_length;
    assert_int_equal(network_parse(slice_text(network_as), &network, &has_length), OK);
    assert_int_equal(network_parse(slice_text(address), &one, &has_length), OK);
    return network_has(&network, one.ip);
}

static void a_network_has_what_begins_like_it(void **state)
{
    (void)state;
    assert_true(has("10.1.0.0/16", "10.1.255.255"));
    assert_false(has("10.1.0.0/16", "10.2.0.0"));
    assert_true(has("10.1.0.0/17", "10.1.127.255"));
    assert_false(has("10.1.0.0/17", "10.1.128.0"));
    assert_true(has("0.0.0.0/0", "10.2.0.0"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "2001:db8::1"));
    assert_true(has("10.0.0.0/8", "::ffff:10.2.0.0"));
    assert_true(has("2001:db8:0:1::/64", "2001:db8:0:1:ffff::"));
    assert_false(has("2001:db8:0:1::/64", "2001:db8:0:2::"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_are_read_and_written),
        cmocka_unit_test(a_network_has_what_begins_like_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
