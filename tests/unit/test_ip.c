#include "core/wire/ip.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The system's reader is the oracle; a refusal writes nothing. */
static void assert_as_the_system_reads(const char *text)
{
    uint8_t ours[16], theirs[16];
    memset(ours, 0xee, sizeof(ours));
    memset(theirs, 0xee, sizeof(theirs));
    enum err err = ip4_parse(slice_text(text), ours);
    if ((err == OK) != (inet_pton(AF_INET, text, theirs) == 1) || memcmp(ours, theirs, 16) != 0) {
        fail_msg("IPv4 \"%s\": %s", text, err_name(err));
    }
    uint8_t untouched[16];
    memset(untouched, 0xee, sizeof(untouched));
    memset(ours, 0xee, sizeof(ours));
    memset(theirs, 0xee, sizeof(theirs));
    err = ip6_parse(slice_text(text), ours);
    bool is_theirs = inet_pton(AF_INET6, text, theirs) == 1;
    if ((err == OK) != is_theirs || memcmp(ours, is_theirs ? theirs : untouched, 16) != 0) {
        fail_msg("IPv6 \"%s\": %s", text, err_name(err));
    }
}

static void addresses_are_read_as_the_system_reads_them(void **state)
{
    static const char *const texts[] = {
        "",
        "0.0.0.0",
        "255.255.255.255",
        "1.2.3.4",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        "256.1.1.1",
        "01.2.3.4",
        "1.2.3.04",
        "00.0.0.0",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.0x4",
        "-1.2.3.4",
        "1.2.3.1000",
        "::",
        "::1",
        "1::",
        "1::2",
        ":",
        ":::",
        "::1::",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "1:2:3::5:6:7:8",
        "1::2::3",
        ":1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8:",
        ":1::",
        "1::2:",
        "12345::",
        "g::",
        "ABCD:ef01::",
        "::1.2.3.4",
        "::ffff:1.2.3.4",
        "1:2:3:4:5:6:1.2.3.4",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1:2:3:4:5:1.2.3.4",
        "1.2.3.4::",
        "::1.2.3.4:1",
        "1.2.3.4:1::",
        "::1.2.3",
        "::1.2.3.256",
        "1:2:3:4:5:6::1.2.3.4",
        "1:2:3:4:5::1.2.3.4",
        "fe80::1%lo",
        "[::1]",
        "::0000",
        "::00000",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_as_the_system_reads(texts[i]);
    }
}

/* Half a million texts made of the right letters, from a fixed seed. */
static void random_texts_are_read_as_the_system_reads_them(void **state)
{
    static const char letters[] = "::::....0123456789afF";
    uint32_t seed = 1;
    (void)state;
    for (int i = 0; i < 500000; i++) {
        char text[24];
        seed = seed * 1664525 + 1013904223;
        size_t count = (seed >> 16) % (sizeof(text) - 1);
        for (size_t k = 0; k < count; k++) {
            seed = seed * 1664525 + 1013904223;
            text[k] = letters[(seed >> 16) % (sizeof(letters) - 1)];
        }
        text[count] = 0;
        assert_as_the_system_reads(text);
    }
}

/* Each address written by the system is read back the same. */
static void what_the_system_writes_is_read(void **state)
{
    uint32_t seed = 2;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t ip[16];
        char text[INET6_ADDRSTRLEN];
        for (size_t k = 0; k < sizeof(ip); k++) {
            seed = seed * 1664525 + 1013904223;
            ip[k] = seed >> 30 == 0 ? (uint8_t)(seed >> 16) : 0;
        }
        inet_ntop(AF_INET, ip, text, sizeof(text));
        assert_as_the_system_reads(text);
        inet_ntop(AF_INET6, ip, text, sizeof(text));
        assert_as_the_system_reads(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_as_the_system_reads_them),
        cmocka_unit_test(random_texts_are_read_as_the_system_reads_them),
        cmocka_unit_test(what_the_system_writes_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
