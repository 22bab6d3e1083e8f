#include "core/wire/props.h"
#include "tests/lib/wire_case.h"
#include "tests/lib/wire_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err decode_in(struct slice in, enum mqtt_type packet)
{
    struct reader r = reader_of(in);
    struct mqtt_props props;
    TRY(props_decode(&r, packet, &props));
    return read_end(&r);
}

static enum err in_publish(struct slice in)
{
    return decode_in(in, MQTT_PUBLISH);
}

static enum err in_connect(struct slice in)
{
    return decode_in(in, MQTT_CONNECT);
}

static enum err in_connack(struct slice in)
{
    return decode_in(in, MQTT_CONNACK);
}

static enum err in_subscribe(struct slice in)
{
    return decode_in(in, MQTT_SUBSCRIBE);
}

static enum err in_will(struct slice in)
{
    return decode_in(in, MQTT_WILL);
}

static enum err in_auth(struct slice in)
{
    return decode_in(in, MQTT_AUTH);
}

static void bad_sections_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case publish[] = {
        {"none", "00", OK},
        {"no length", "", ERR_MALFORMED},
        {"length over the end", "02 01", ERR_MALFORMED},
        {"length not in the fewest bytes [MQTT-1.5.5-1]", "82 00 01 01", ERR_MALFORMED},
        {"value over the section, though not over the packet", "01 01 01", ERR_MALFORMED},
        {"text over the section", "04 03 0002 'a' 'b'", ERR_MALFORMED},
        {"unknown identifier", "02 04 00", ERR_MALFORMED},
        {"identifier 0", "01 00", ERR_MALFORMED},
        {"identifier above all", "02 2b 00", ERR_MALFORMED},
        {"identifier of two bytes", "03 81 01 00", ERR_MALFORMED},
        {"of another packet: Receive Maximum", "03 21 0001", ERR_MALFORMED},
        {"of another packet: Will Delay", "05 18 00000001", ERR_MALFORMED},
        {"payload format 1", "02 01 01", OK},
        {"payload format 2", "02 01 02", ERR_PROTOCOL},
        {"payload format twice", "04 01 01 01 01", ERR_PROTOCOL},
        {"message expiry twice", "0a 02 00000001 02 00000002", ERR_PROTOCOL},
        {"content type twice", "08 03 0001 'a' 03 0001 'a'", ERR_PROTOCOL},
        {"content type not UTF-8 [MQTT-3.3.2-19]", "04 03 0001 ff", ERR_MALFORMED},
        {"response topic not UTF-8 [MQTT-3.3.2-13]", "04 08 0001 ff", ERR_MALFORMED},
        {"response topic with # [MQTT-3.3.2-14]", "06 08 0003 'a/#'", ERR_PROTOCOL},
        {"response topic with + [MQTT-3.3.2-14]", "06 08 0003 'a/+'", ERR_PROTOCOL},
        {"correlation data is binary", "05 09 0002 00ff", OK},
        {"correlation data twice", "08 09 0001 00 09 0001 00", ERR_PROTOCOL},
        {"alias", "03 23 0001", OK},
        {"alias 0 [MQTT-3.3.2-8]", "03 23 0000", ERR_TOPIC_ALIAS},
        {"alias twice", "06 23 0001 23 0001", ERR_PROTOCOL},
        {"subscription ids repeat", "05 0b 01 0b 8001", OK},
        {"subscription id 0", "02 0b 00", ERR_PROTOCOL},
        {"subscription id too long", "06 0b ffffffff01", ERR_MALFORMED},
        {"user properties repeat", "0e 26 0001 'a' 0001 'b' 26 0001 'a' 0001 'b'", OK},
        {"user property name not UTF-8", "07 26 0001 ff 0001 'b'", ERR_MALFORMED},
        {"user property value not UTF-8", "07 26 0001 'a' 0001 ff", ERR_MALFORMED},
        {"user property without value", "04 26 0001 'a'", ERR_MALFORMED},
    };
    static const struct wire_case connect[] = {
        {"all", "1c 11 0000000a 21 0014 27 00010000 22 000a 17 00 19 01 15 0001 'x' 16 0001 00",
         OK},
        {"receive maximum 0 (3.1.2.11.3)", "03 21 0000", ERR_PROTOCOL},
        {"maximum packet size 0 (3.1.2.11.4)", "05 27 00000000", ERR_PROTOCOL},
        {"alias maximum 0 is a value", "03 22 0000", OK},
        {"request problem info 2", "02 17 02", ERR_PROTOCOL},
        {"request response info 2", "02 19 02", ERR_PROTOCOL},
        {"session expiry twice", "0a 11 00000001 11 00000001", ERR_PROTOCOL},
        {"auth data without method", "04 16 0001 00", ERR_PROTOCOL},
        {"auth method not UTF-8", "04 15 0001 c0", ERR_MALFORMED},
        {"server keep alive is for CONNACK", "03 13 0001", ERR_MALFORMED},
    };
    static const struct wire_case connack[] = {
        {"maximum QoS 2", "02 24 02", ERR_PROTOCOL},
        {"retain available 2", "02 25 02", ERR_PROTOCOL},
        {"wildcards available 2", "02 28 02", ERR_PROTOCOL},
        {"subscription ids available 2", "02 29 02", ERR_PROTOCOL},
        {"shared available 2", "02 2a 02", ERR_PROTOCOL},
        {"receive maximum 0", "03 21 0000", ERR_PROTOCOL},
        {"server keep alive twice", "06 13 0001 13 0001", ERR_PROTOCOL},
    };
    static const struct wire_case subscribe[] = {
        {"subscription id", "02 0b 7f", OK},
        {"largest", "05 0b ffffff7f", OK},
        {"0 (3.8.2.1.2)", "02 0b 00", ERR_PROTOCOL},
        {"twice (3.8.2.1.2)", "04 0b 01 0b 01", ERR_PROTOCOL},
        {"reason string is for answers", "04 1f 0001 'a'", ERR_MALFORMED},
    };
    static const struct wire_case will[] = {
        {"will delay", "05 18 00000001", OK},
        {"will delay twice", "0a 18 00000001 18 00000001", ERR_PROTOCOL},
        {"alias", "03 23 0001", ERR_MALFORMED},
        {"subscription id", "02 0b 01", ERR_MALFORMED},
    };
    static const struct wire_case auth[] = {
        {"data without method", "04 16 0001 00", ERR_PROTOCOL},
        {"method twice", "08 15 0001 'x' 15 0001 'x'", ERR_PROTOCOL},
    };
    (void)state;
#define CHECK(cases, decode) \
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), decode), 0)
    CHECK(publish, in_publish);
    CHECK(connect, in_connect);
    CHECK(connack, in_connack);
    CHECK(subscribe, in_subscribe);
    CHECK(will, in_will);
    CHECK(auth, in_auth);
#undef CHECK
}

/* 2.2.2.2 Each property in each packet, by an independent reading of table 2-4. */
static void a_property_stands_only_where_table_2_4_lets_it(void **state)
{
    static const struct {
        uint8_t id;
        const char *packets; /* will, CONNECT ... AUTH */
        const char *bytes;
    } table[] = {
        /*     W123456789abcdef */
        {0x01, "X..X............", "01 01"},
        {0x02, "X..X............", "02 00000001"},
        {0x03, "X..X............", "03 0001 'x'"},
        {0x08, "X..X............", "08 0001 'x'"},
        {0x09, "X..X............", "09 0001 'x'"},
        {0x0b, "...X....X.......", "0b 01"},
        {0x11, ".XX...........X.", "11 00000001"},
        {0x12, "..X.............", "12 0001 'x'"},
        {0x13, "..X.............", "13 0001"},
        {0x15, ".XX............X", "15 0001 'x'"},
        {0x17, ".X..............", "17 01"},
        {0x18, "X...............", "18 00000001"},
        {0x19, ".X..............", "19 01"},
        {0x1a, "..X.............", "1a 0001 'x'"},
        {0x1c, "..X...........X.", "1c 0001 'x'"},
        {0x1f, "..X.XXXX.X.X..XX", "1f 0001 'x'"},
        {0x21, ".XX.............", "21 0001"},
        {0x22, ".XX.............", "22 0001"},
        {0x23, "...X............", "23 0001"},
        {0x24, "..X.............", "24 01"},
        {0x25, "..X.............", "25 01"},
        {0x26, "XXXXXXXXXXXX..XX", "26 0001 'x' 0001 'y'"},
        {0x27, ".XX.............", "27 00000001"},
        {0x28, "..X.............", "28 01"},
        {0x29, "..X.............", "29 01"},
        {0x2a, "..X.............", "2a 01"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct slice property = wire_bytes(table[i].bytes);
        uint8_t section[16];
        section[0] = (uint8_t)property.count;
        memcpy(section + 1, property.data, property.count);
        for (unsigned packet = 0; packet < MQTT_TYPE_COUNT; packet++) {
            enum err want = table[i].packets[packet] == 'X' ? OK : ERR_MALFORMED;
            enum err got = decode_in(slice_of(section, 1 + property.count), (enum mqtt_type)packet);
            if (got != want) {
                fail_msg("property 0x%02x in packet %u: %s", table[i].id, packet, err_name(got));
            }
        }
        free((void *)property.data);
    }
}

static void random_properties_come_back_equal(void **state)
{
    uint8_t *user = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 20);
    for (unsigned round = 0; round < 2000; round++) {
        static const enum mqtt_type packets[] = {MQTT_WILL,       MQTT_CONNECT,     MQTT_CONNACK,
                                                 MQTT_PUBLISH,    MQTT_PUBACK,      MQTT_SUBSCRIBE,
                                                 MQTT_SUBACK,     MQTT_UNSUBSCRIBE, MQTT_UNSUBACK,
                                                 MQTT_DISCONNECT, MQTT_AUTH};
        enum mqtt_type packet = packets[rng_below(&rng, sizeof(packets) / sizeof(packets[0]))];
        struct mqtt_props in = wire_random_props(&rng, packet, user), out;
        size_t size = props_size(&in, packet);
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, size);
        props_encode(&w, &in, packet);
        assert_int_equal(writer_left(&w), 0);
        struct reader r = reader_of(slice_of(bytes, size));
        assert_int_equal(props_decode(&r, packet, &out), OK);
        assert_int_equal(reader_left(&r), 0);
        assert_true(wire_props_equal(&in, &out));
        free(bytes);
    }
    free(user);
}

static void no_properties_are_one_byte(void **state)
{
    uint8_t byte = 9;
    struct writer w = writer_of(&byte, 1);
    struct mqtt_props props;
    (void)state;
    props_clear(&props);
    assert_true(props_is_empty(&props));
    assert_int_equal(props_size(NULL, MQTT_CONNACK), 1);
    assert_int_equal(props_size(&props, MQTT_CONNACK), 1);
    props_encode(&w, &props, MQTT_CONNACK);
    assert_int_equal(byte, 0);           /* [MQTT-2.2.2-1] */
    props.present = PROP_BIT(PROP_USER); /* the bit alone is nothing to write */
    assert_true(props_is_empty(&props));
}

static void a_section_is_walked_in_order(void **state)
{
    struct slice section = wire_bytes("0b 8001 26 0001 'a' 0002 'bc' 01 01 0b 07");
    struct slice rest = section;
    struct prop_item item;
    (void)state;
    assert_true(props_next(&rest, &item));
    assert_int_equal(item.prop, PROP_SUBSCRIPTION_ID);
    assert_int_equal(item.number, 128);
    assert_true(props_next(&rest, &item));
    assert_int_equal(item.prop, PROP_USER);
    assert_true(slice_is(item.name, "a"));
    assert_true(slice_is(item.value, "bc"));
    assert_int_equal(item.bytes.count, 8);
    assert_true(props_next(&rest, &item));
    assert_int_equal(item.prop, PROP_PAYLOAD_FORMAT);
    assert_int_equal(item.number, 1);
    assert_true(props_next(&rest, &item));
    assert_int_equal(item.number, 7);
    assert_false(props_next(&rest, &item));
    assert_int_equal(rest.count, 0);
    rest = slice_head(section, 2); /* cut within the number: no property, no read beyond */
    assert_false(props_next(&rest, &item));
    free((void *)section.data);
}

/* [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] */
static void what_is_forwarded_keeps_its_bytes_and_its_order(void **state)
{
    struct slice raw = wire_bytes("26 0001 'z' 0001 '1' 02 0000000a 09 0001 ff 23 0001 0b 05 "
                                  "26 0001 'a' 0001 '2' 03 0001 't' 0b 06 01 01 08 0001 'r' "
                                  "18 00000001 26 0001 'z' 0001 '3'");
    struct slice want = wire_bytes("26 0001 'z' 0001 '1' 09 0001 ff 26 0001 'a' 0001 '2' "
                                   "03 0001 't' 01 01 08 0001 'r' 26 0001 'z' 0001 '3'");
    uint8_t bytes[64];
    size_t size = props_forwardable_size(raw);
    struct writer w = writer_of(bytes, size);
    (void)state;
    assert_int_equal(size, want.count);
    props_copy_forwardable(raw, &w);
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(bytes, want.data, want.count);
    assert_int_equal(props_forwardable_size(slice_of(NULL, 0)), 0);
    free((void *)raw.data);
    free((void *)want.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_sections_are_refused_for_the_right_reason),
        cmocka_unit_test(a_property_stands_only_where_table_2_4_lets_it),
        cmocka_unit_test(random_properties_come_back_equal),
        cmocka_unit_test(no_properties_are_one_byte),
        cmocka_unit_test(a_section_is_walked_in_order),
        cmocka_unit_test(what_is_forwarded_keeps_its_bytes_and_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
