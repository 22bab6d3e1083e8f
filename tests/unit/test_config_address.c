/*
 * config_address: our reader of IP addresses says what the system's says.
 */
#include "core/base/config_parts.h"
#include "core/base/rng.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The system's answer: canonical text, or false. */
static bool oracle(const char *text, char out[CONFIG_ADDRESS_BYTES])
{
    struct in_addr ip4;
    struct in6_addr ip6;
    if (inet_pton(AF_INET, text, &ip4) == 1) {
        return inet_ntop(AF_INET, &ip4, out, CONFIG_ADDRESS_BYTES) != NULL;
    }
    return inet_pton(AF_INET6, text, &ip6) == 1 &&
           inet_ntop(AF_INET6, &ip6, out, CONFIG_ADDRESS_BYTES) != NULL;
}

static void agree(const char *text)
{
    char ours[CONFIG_ADDRESS_BYTES] = "none", theirs[CONFIG_ADDRESS_BYTES] = "none";
    bool is_ours = config_address_read(slice_text(text), ours);
    bool is_theirs = oracle(text, theirs);
    if (is_ours != is_theirs || strcmp(ours, theirs) != 0) {
        fail_msg("\"%s\": we say %s, the system says %s", text, ours, theirs);
    }
}

static void known_forms_are_read_as_the_system_reads_them(void **state)
{
    static const char *const texts[] = {"0.0.0.0",
                                        "127.0.0.1",
                                        "255.255.255.255",
                                        "256.0.0.1",
                                        "1.2.3",
                                        "1.2.3.4.5",
                                        "01.2.3.4",
                                        "1.2.3.4 ",
                                        "",
                                        ".",
                                        "1..2.3",
                                        "::",
                                        "::1",
                                        "1::",
                                        "1::2::3",
                                        ":::",
                                        ":1",
                                        "1:",
                                        "1:::2",
                                        "2001:DB8::1",
                                        "2001:db8:0:0:1:0:0:1",
                                        "1:2:3:4:5:6:7:8",
                                        "1:2:3:4:5:6:7::",
                                        "1:2:3:4:5:6:7:8:9",
                                        "::ffff:1.2.3.4",
                                        "::1.2.3.4",
                                        "1:2:3:4:5:6:1.2.3.4",
                                        "1:2:3:4:5:6:7:1.2.3.4",
                                        "1.2.3.4::",
                                        "::1.2.3.4:5",
                                        "12345::",
                                        "::g",
                                        "0:0:0:0:0:0:0:0"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        agree(texts[i]);
    }
}

static void random_addresses_and_their_damaged_forms_too(void **state)
{
    static const char letters[] = "0123456789abcdefF:::::....";
    struct rng rng;
    (void)state;
    rng_init(&rng, 20261121);
    for (int round = 0; round < 200000; round++) {
        char text[CONFIG_ADDRESS_BYTES] = "";
        uint8_t ip6[16] = {0};
        uint64_t shape = rng_below(&rng, 3);
        size_t bytes = 1 + rng_below(&rng, 18);
        for (size_t i = shape == 1 ? 10 : 0; i < sizeof(ip6); i++) {
            ip6[i] = (uint8_t)(rng_below(&rng, 3) == 0 ? rng_u64(&rng) : 0);
        }
        if (shape < 2) {
            assert_non_null(inet_ntop(AF_INET6, ip6, text, sizeof(text)));
            bytes = strlen(text);
            if (rng_below(&rng, 2) == 0) {
                text[rng_below(&rng, bytes)] = letters[rng_below(&rng, sizeof(letters) - 1)];
            }
        } else {
            for (size_t i = 0; i < bytes; i++) {
                text[i] = letters[rng_below(&rng, sizeof(letters) - 1)];
            }
        }
        agree(text);
    }
}

static void brackets_and_devices_are_ours(void **state)
{
    char text[CONFIG_ADDRESS_BYTES] = "";
    (void)state;
    assert_true(config_address_read(slice_text("[::1]"), text));
    assert_string_equal(text, "::1");
    assert_true(config_address_read(slice_text("FE80::1%eth0"), text));
    assert_string_equal(text, "fe80::1%eth0");
    assert_false(config_address_read(slice_text("fe80::1%"), text));
    assert_false(config_address_read(slice_text("fe80::1%averyveryverylongname"), text));
    assert_false(config_address_read(slice_text("[127.0.0.1]"), text));
    assert_false(config_address_read(slice_text("[::1"), text));
    assert_false(config_address_read(slice_text("localhost"), text));
    assert_string_equal(text, "fe80::1%eth0");
}

static void loopback_is_what_stays_on_this_machine(void **state)
{
    (void)state;
    assert_true(config_address_is_loopback("127.0.0.1"));
    assert_true(config_address_is_loopback("127.9.9.9"));
    assert_true(config_address_is_loopback("::1"));
    assert_true(config_address_is_loopback("::ffff:127.0.0.1"));
    assert_false(config_address_is_loopback("0.0.0.0"));
    assert_false(config_address_is_loopback("::"));
    assert_false(config_address_is_loopback("128.0.0.1"));
    assert_false(config_address_is_loopback("::ffff:128.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_forms_are_read_as_the_system_reads_them),
        cmocka_unit_test(random_addresses_and_their_damaged_forms_too),
        cmocka_unit_test(brackets_and_devices_are_ours),
        cmocka_unit_test(loopback_is_what_stays_on_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
