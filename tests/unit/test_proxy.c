#include "core/wire/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define V2_SIGNATURE   "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(literal) slice_of(literal, sizeof(literal) - 1)

/* Two proxies say the same: not only the same bytes, as slices point into different inputs. */
static void assert_same(const struct proxy *a, const struct proxy *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->is_local, b->is_local);
    assert_int_equal(a->is_tls, b->is_tls);
    assert_int_equal(a->is_certified, b->is_certified);
    assert_true(slice_equal(a->common_name, b->common_name));
    assert_true(slice_equal(a->authority, b->authority));
    assert_int_equal(a->source.family, b->source.family);
    assert_int_equal(a->source.port, b->source.port);
    assert_int_equal(a->target.port, b->target.port);
    assert_memory_equal(a->source.ip, b->source.ip, 16);
    assert_memory_equal(a->target.ip, b->target.ip, 16);
}

/*
 * Decode, and show that every shorter input wants more and changes nothing, and that bytes behind
 * the header change nothing either.
 */
static enum err decode(struct slice in, struct proxy *out)
{
    struct proxy proxy = {0}, unset = {.version = 77};
    size_t used = 0;
    enum err err = proxy_decode(in, &proxy, &used);
    for (size_t cut = 0; err == OK && cut < used; cut++) {
        uint8_t *exact = malloc(cut + 1);
        size_t unused = 99;
        memcpy(exact, in.data, cut);
        assert_int_equal(proxy_decode(slice_of(exact, cut), &unset, &unused), ERR_MORE);
        assert_int_equal(unset.version, 77);
        assert_int_equal(unused, 99);
        free(exact);
    }
    if (err == OK) {
        uint8_t *longer = malloc(in.count + 10);
        size_t used_longer = 0;
        memcpy(longer, in.data, in.count);
        memset(longer + in.count, 0x10, 10);
        assert_int_equal(proxy_decode(slice_of(longer, in.count + 10), &unset, &used_longer), OK);
        assert_int_equal(used_longer, used);
        assert_int_equal(used, in.count);
        assert_same(&proxy, &unset);
        *out = proxy;
        free(longer);
    }
    return err;
}

static void version_1_tells_ip4(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(decode(BYTES("PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883\r\n"), &proxy), OK);
    assert_int_equal(proxy.version, 1);
    assert_false(proxy.is_local);
    assert_int_equal(proxy.source.family, PROXY_IP4);
    assert_memory_equal(proxy.source.ip, "\xc0\x00\x02\x01", 4);
    assert_memory_equal(proxy.target.ip, "\xc6\x33\x64\x07", 4);
    assert_int_equal(proxy.source.port, 56324);
    assert_int_equal(proxy.target.port, 1883);
}

static void version_1_tells_ip6(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(decode(BYTES("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), &proxy), OK);
    assert_int_equal(proxy.source.family, PROXY_IP6);
    assert_memory_equal(proxy.source.ip, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    assert_int_equal(proxy.source.port, 65535);
    assert_int_equal(proxy.target.port, 0);
    /* The longest line that the protocol knows. */
    assert_int_equal(decode(BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
                            &proxy),
                     OK);
}

static void version_1_may_not_know(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(decode(BYTES("PROXY UNKNOWN\r\n"), &proxy), OK);
    assert_true(proxy.is_local);
    assert_int_equal(proxy.source.family, PROXY_NONE);
    assert_int_equal(decode(BYTES("PROXY UNKNOWN whatever it says\r\n"), &proxy), OK);
    assert_true(proxy.is_local);
}

static void a_bad_line_is_refused(void **state)
{
    static const char *const lines[] = {
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.256 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r ",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        /* 108 bytes, one more than the protocol allows */
        "PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaa\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct proxy proxy;
        size_t used;
        enum err err = proxy_decode(slice_text(lines[i]), &proxy, &used);
        if (err != ERR_MALFORMED && !(err == ERR_MORE && strchr(lines[i], '\r') == NULL)) {
            fail_msg("row %zu: %s", i, err_name(err));
        }
    }
}

/* An endless line is refused as soon as it is longer than the protocol allows. */
static void a_line_without_end_is_refused(void **state)
{
    char line[200];
    struct proxy proxy;
    size_t used;
    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY ", 6);
    assert_int_equal(proxy_decode(slice_of(line, 106), &proxy, &used), ERR_MORE);
    assert_int_equal(proxy_decode(slice_of(line, 107), &proxy, &used), ERR_MALFORMED);
    line[106] = '\r';
    assert_int_equal(proxy_decode(slice_of(line, 107), &proxy, &used), ERR_MALFORMED);
}

#define V2_IP4         \
    "\xc0\x00\x02\x01" \
    "\xc6\x33\x64\x07" \
    "\xdc\x04\x07\x5b"

static void version_2_tells_ip4(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(decode(BYTES(V2_SIGNATURE "\x21\x11\x00\x0c" V2_IP4), &proxy), OK);
    assert_int_equal(proxy.version, 2);
    assert_int_equal(proxy.source.family, PROXY_IP4);
    assert_memory_equal(proxy.source.ip, "\xc0\x00\x02\x01", 4);
    assert_memory_equal(proxy.target.ip, "\xc6\x33\x64\x07", 4);
    assert_int_equal(proxy.source.port, 56324);
    assert_int_equal(proxy.target.port, 1883);
    assert_false(proxy.is_tls);
}

static void version_2_tells_ip6(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(decode(BYTES(V2_SIGNATURE "\x21\x21\x00\x24"
                                               "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                                               "\xdc\x04\x07\x5b"),
                            &proxy),
                     OK);
    assert_int_equal(proxy.source.family, PROXY_IP6);
    assert_int_equal(proxy.source.ip[15], 1);
    assert_int_equal(proxy.source.port, 56324);
}

static void version_2_tells_a_unix_socket(void **state)
{
    uint8_t bytes[16 + 216] = V2_SIGNATURE "\x21\x31\x00\xd8/run/client";
    struct proxy proxy;
    (void)state;
    memset(bytes + 16 + 108, 'x', 108); /* a path that fills its field has no zero */
    assert_int_equal(decode(slice_of(bytes, sizeof(bytes)), &proxy), OK);
    assert_int_equal(proxy.source.family, PROXY_UNIX);
    assert_true(slice_is(proxy.source.path, "/run/client"));
    assert_int_equal(proxy.target.path.count, 108);
}

/* LOCAL: whatever else stands there is skipped unread, also an unknown family. */
static void a_local_connection_tells_nothing(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(decode(BYTES(V2_SIGNATURE "\x20\x00\x00\x00"), &proxy), OK);
    assert_true(proxy.is_local);
    assert_int_equal(decode(BYTES(V2_SIGNATURE "\x20\x11\x00\x03"
                                               "abc"),
                            &proxy),
                     OK);
    assert_true(proxy.is_local);
    assert_int_equal(proxy.source.family, PROXY_NONE);
    assert_int_equal(decode(BYTES(V2_SIGNATURE "\x21\x00\x00\x03"
                                               "abc"),
                            &proxy),
                     OK);
    assert_true(proxy.is_local);
}

static void a_certificate_name_is_told(void **state)
{
    struct proxy proxy;
    (void)state;
    /* SNI "host"; SSL: client bits 3, verify 0, version "TLSv1.3", CN "device" */
    assert_int_equal(decode(BYTES(V2_SIGNATURE "\x21\x11\x00\x2e" V2_IP4 "\x02\x00\x04host"
                                               "\x20\x00\x18\x03\0\0\0\0"
                                               "\x21\x00\x07TLSv1.3"
                                               "\x22\x00\x06"
                                               "device"),
                            &proxy),
                     OK);
    assert_true(proxy.is_tls);
    assert_true(proxy.is_certified);
    assert_true(slice_is(proxy.common_name, "device"));
    assert_true(slice_is(proxy.authority, "host"));
}

static void an_unverified_certificate_certifies_nothing(void **state)
{
    struct proxy proxy;
    (void)state;
    assert_int_equal(
        decode(BYTES(V2_SIGNATURE "\x21\x11\x00\x14" V2_IP4 "\x20\x00\x05\x03\0\0\0\1"), &proxy),
        OK);
    assert_true(proxy.is_tls);
    assert_false(proxy.is_certified);
}

/* 0xe3069283 is the check value of CRC-32C; for headers it is computed over the whole of them. */
static void a_checksum_is_held_against_the_header(void **state)
{
    uint8_t bytes[] = V2_SIGNATURE "\x21\x11\x00\x13" V2_IP4 "\x03\x00\x04\0\0\0\0";
    size_t count = sizeof(bytes) - 1;
    struct proxy proxy;
    uint32_t crc = UINT32_MAX;
    (void)state;
    assert_int_equal(decode(slice_of(bytes, count), &proxy), ERR_MALFORMED);
    for (size_t i = 0; i < count; i++) { /* computed here by another road: most significant first */
        for (int bit = 0; bit < 8; bit++) {
            bool is_one = ((crc & 1) ^ (uint32_t)(bytes[i] >> bit & 1)) != 0;
            crc = crc >> 1 ^ (is_one ? 0x82f63b78 : 0);
        }
    }
    crc = ~crc;
    for (size_t i = 0; i < 4; i++) {
        bytes[count - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    assert_int_equal(decode(slice_of(bytes, count), &proxy), OK);
    for (size_t i = 16; i < 28; i++) { /* any address that was touched on the way shows */
        bytes[i] ^= 1;
        assert_int_equal(decode(slice_of(bytes, count), &proxy), ERR_MALFORMED);
        bytes[i] ^= 1;
    }
}

static void a_bad_header_of_version_2_is_refused(void **state)
{
    static const struct {
        struct slice bytes;
        enum err err;
    } rows[] = {
        {SLICE("\r\n\r\n\0\r\nQUIT\r"), ERR_MALFORMED},
        {SLICE("\r\n\r\nx"), ERR_MALFORMED},
        {SLICE(V2_SIGNATURE "\x11\x11\x00\x0c" V2_IP4), ERR_MALFORMED},   /* version 1 in it */
        {SLICE(V2_SIGNATURE "\x31\x11\x00\x0c" V2_IP4), ERR_MALFORMED},   /* version 3 */
        {SLICE(V2_SIGNATURE "\x22\x11\x00\x0c" V2_IP4), ERR_UNSUPPORTED}, /* command 2 */
        {SLICE(V2_SIGNATURE "\x21\x41\x00\x0c" V2_IP4), ERR_UNSUPPORTED}, /* family 4 */
        {SLICE(V2_SIGNATURE "\x21\x12\x00\x0c" V2_IP4), ERR_UNSUPPORTED}, /* UDP */
        {SLICE(V2_SIGNATURE "\x21\x10\x00\x0c" V2_IP4), ERR_UNSUPPORTED}, /* no transport */
        {SLICE(V2_SIGNATURE "\x21\x11\xff\xff"), ERR_TOO_LARGE},
        {SLICE(V2_SIGNATURE "\x20\x00\xff\xff"), ERR_TOO_LARGE},
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x0b" V2_IP4), ERR_MALFORMED}, /* addresses cut */
        {SLICE(V2_SIGNATURE "\x21\x21\x00\x0c" V2_IP4), ERR_MALFORMED},
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x0e" V2_IP4 "\x04\x00"), ERR_MALFORMED}, /* TLV cut */
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x0f" V2_IP4 "\x04\x00\x01"), ERR_MALFORMED},
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x0f" V2_IP4 "\x03\x00\x00"), ERR_MALFORMED}, /* CRC */
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x13" V2_IP4 "\x20\x00\x04\x01\0\0\0"), ERR_MALFORMED},
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x16" V2_IP4 "\x20\x00\x07\x01\0\0\0\0\x22\x00"),
         ERR_MALFORMED},
        {SLICE(V2_SIGNATURE "\x21\x11\x00\x17" V2_IP4 "\x20\x00\x08\x01\0\0\0\0\x22\x00\x01"),
         ERR_MALFORMED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct proxy proxy;
        enum err err = decode(rows[i].bytes, &proxy);
        if (err != rows[i].err) {
            fail_msg("row %zu: %s instead of %s", i, err_name(err), err_name(rows[i].err));
        }
    }
}

static void an_mqtt_packet_is_no_proxy_header(void **state)
{
    struct proxy proxy;
    size_t used;
    (void)state;
    assert_int_equal(proxy_decode(BYTES("\x10"), &proxy, &used), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_tells_ip4),
        cmocka_unit_test(version_1_tells_ip6),
        cmocka_unit_test(version_1_may_not_know),
        cmocka_unit_test(a_bad_line_is_refused),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(version_2_tells_ip4),
        cmocka_unit_test(version_2_tells_ip6),
        cmocka_unit_test(version_2_tells_a_unix_socket),
        cmocka_unit_test(a_local_connection_tells_nothing),
        cmocka_unit_test(a_certificate_name_is_told),
        cmocka_unit_test(an_unverified_certificate_certifies_nothing),
        cmocka_unit_test(a_checksum_is_held_against_the_header),
        cmocka_unit_test(a_bad_header_of_version_2_is_refused),
        cmocka_unit_test(an_mqtt_packet_is_no_proxy_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
