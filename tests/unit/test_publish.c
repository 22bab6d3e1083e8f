#include "core/wire/frame.h"
#include "core/wire/publish.h"
#include "tests/lib/wire_case.h"
#include "tests/lib/wire_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err qos0_3_1_1(struct slice body)
{
    struct mqtt_publish p;
    return mqtt_publish_decode(0, body, MQTT_3_1_1, &p);
}

static enum err qos1_3_1_1(struct slice body)
{
    struct mqtt_publish p;
    return mqtt_publish_decode(2, body, MQTT_3_1_1, &p);
}

static enum err qos0_5(struct slice body)
{
    struct mqtt_publish p;
    return mqtt_publish_decode(0, body, MQTT_5, &p);
}

static enum err qos2_5(struct slice body)
{
    struct mqtt_publish p;
    return mqtt_publish_decode(4, body, MQTT_5, &p);
}

static void a_publish_is_taken_apart_without_copying(void **state)
{
    struct slice body = wire_bytes("0003 'a/b' 0007 05 02 00000009 'hello'");
    struct mqtt_publish p;
    (void)state;
    assert_int_equal(mqtt_publish_decode(0x0d, body, MQTT_5, &p), OK);
    assert_int_equal(p.qos, 2);
    assert_true(p.dup && p.retain);
    assert_int_equal(p.packet_id, 7);
    assert_ptr_equal(p.topic.data, body.data + 2);
    assert_int_equal(p.topic.count, 3);
    assert_int_equal(p.props.present, PROP_BIT(PROP_MESSAGE_EXPIRY));
    assert_int_equal(p.props.message_expiry_s, 9);
    assert_true(slice_is(p.payload, "hello"));
    free((void *)body.data);
}

/* [MQTT-3.3.1-4] [MQTT-3.3.1-2] The same for all versions. */
static void flags_that_contradict_are_refused(void **state)
{
    struct slice body = wire_bytes("0001 'a' 0007 00");
    (void)state;
    for (int version = MQTT_3_1; version <= MQTT_5; version++) {
        for (uint8_t flags = 0; flags < 16; flags++) {
            struct mqtt_publish p;
            bool legal = (flags & 6) != 6 && ((flags & 6) != 0 || (flags & 8) == 0);
            enum err want = legal ? OK : ERR_MALFORMED;
            /* with QoS 0, 5.0 reads the packet id as a property length of 0 and a payload */
            assert_int_equal(mqtt_publish_decode(flags, body, (enum mqtt_version)version, &p),
                             want);
        }
    }
    free((void *)body.data);
}

static void bad_publishes_are_refused_for_the_right_reason(void **state)
{
    static const struct wire_case v3_qos0[] = {
        {"no payload", "0001 'a'", OK},
        {"empty", "", ERR_MALFORMED},
        {"topic over the end", "0004 'abc'", ERR_MALFORMED},
        {"topic not UTF-8 [MQTT-3.3.2-1]", "0001 ff", ERR_MALFORMED},
        {"topic with NUL", "0001 00", ERR_MALFORMED},
        {"no topic [v3:MQTT-4.7.3-1]", "0000 'payload'", ERR_PROTOCOL},
    };
    static const struct wire_case v3_qos1[] = {
        {"no payload", "0001 'a' 0001", OK},
        {"packet id 0 [v3:MQTT-2.3.1-1]", "0001 'a' 0000", ERR_PROTOCOL},
        {"half a packet id", "0001 'a' 00", ERR_MALFORMED},
    };
    static const struct wire_case v5_qos0[] = {
        {"no payload", "0001 'a' 00", OK},
        {"no properties", "0001 'a'", ERR_MALFORMED},
        {"no topic, no alias (3.3.2.1)", "0000 00", ERR_PROTOCOL},
        {"no topic, but an alias", "0000 03 23 0001", OK},
        {"alias 0 [MQTT-3.3.2-8]", "0001 'a' 03 23 0000", ERR_TOPIC_ALIAS},
        {"property twice", "0001 'a' 04 01 01 01 01", ERR_PROTOCOL},
        {"property of CONNECT", "0001 'a' 03 21 0001", ERR_MALFORMED},
        {"properties over the end", "0001 'a' 05 01 01", ERR_MALFORMED},
    };
    static const struct wire_case v5_qos2[] = {
        {"no payload", "0001 'a' 0001 00", OK},
        {"packet id 0 [MQTT-2.2.1-3]", "0001 'a' 0000 00", ERR_PROTOCOL},
        {"no properties", "0001 'a' 0001", ERR_MALFORMED},
    };
    (void)state;
#define CHECK(cases, decode) \
    assert_int_equal(wire_cases_failed(cases, sizeof(cases) / sizeof(cases[0]), decode), 0)
    CHECK(v3_qos0, qos0_3_1_1);
    CHECK(v3_qos1, qos1_3_1_1);
    CHECK(v5_qos0, qos0_5);
    CHECK(v5_qos2, qos2_5);
#undef CHECK
}

/* The payload is whatever is left, so prefixes are accepted from its start on and never before. */
static void prefixes_are_refused_up_to_the_payload(void **state)
{
    struct slice v3 = wire_bytes("0003 'a/b' 0007 'hello'");
    struct slice v5 = wire_bytes("0003 'a/b' 0007 0c 02 00000009 26 0001 'a' 0001 'b' 'hello'");
    (void)state;
    assert_int_equal(wire_prefixes_accepted(v3, qos1_3_1_1), 5);
    assert_int_equal(wire_prefixes_accepted(v5, qos2_5), 5);
    free((void *)v3.data);
    free((void *)v5.data);
}

static struct mqtt_publish random_publish(struct rng *rng, uint8_t *raw)
{
    static const uint8_t payload[70000];
    struct mqtt_publish p = {
        .qos = (uint8_t)rng_below(rng, 3),
        .retain = rng_below(rng, 2) != 0,
        .topic = wire_random_text(rng, 1),
        .payload = slice_of(payload, rng_below(rng, 8) == 0 ? rng_below(rng, sizeof(payload))
                                                            : rng_below(rng, 200)),
    };
    if (p.qos > 0) {
        p.dup = rng_below(rng, 2) != 0;
        p.packet_id = (uint16_t)(1 + rng_below(rng, 65535));
    }
    /* what a broker has stored: forwardable properties, already encoded */
    struct mqtt_props stored = wire_random_props(rng, MQTT_PUBLISH, raw);
    uint64_t numbers = PROP_BIT(PROP_MESSAGE_EXPIRY) | PROP_BIT(PROP_TOPIC_ALIAS);
    p.props = stored;
    p.props.present &= numbers;
    p.props.raw = stored.user;
    p.props.user = (struct slice){NULL, 0};
    return p;
}

/* Head and payload, sent apart, are one packet that says what was meant [MQTT-3.3.4-3]. */
static void a_random_head_and_its_payload_come_back_equal(void **state)
{
    uint8_t *raw = malloc(WIRE_USER_BYTES_MAX);
    struct rng rng;
    (void)state;
    rng_init(&rng, 23);
    for (unsigned round = 0; round < 2000; round++) {
        enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + rng_below(&rng, 3));
        struct mqtt_publish in = random_publish(&rng, raw), out;
        uint32_t ids[3] = {1, 200, VARINT_MAX};
        uint32_t id_count = (uint32_t)rng_below(&rng, 4);
        size_t head = mqtt_publish_head_size(&in, version, ids, id_count);
        size_t size = head + in.payload.count;
        uint8_t *bytes = malloc(size);
        struct writer w = writer_of(bytes, head);
        mqtt_publish_head_encode(&w, &in, version, ids, id_count);
        assert_int_equal(writer_left(&w), 0);
        memcpy(bytes + head, in.payload.data, in.payload.count);

        struct frame frame;
        assert_int_equal(frame_next(slice_of(bytes, size), UINT32_MAX, &frame), OK);
        assert_int_equal(frame.type, MQTT_PUBLISH);
        assert_int_equal(frame.total_bytes, size);
        assert_int_equal(mqtt_publish_decode(frame.flags, frame.body, version, &out), OK);
        assert_int_equal(out.qos, in.qos);
        assert_int_equal(out.dup, in.dup);
        assert_int_equal(out.retain, in.retain);
        assert_int_equal(out.packet_id, in.packet_id);
        assert_true(slice_equal(out.topic, in.topic));
        assert_true(slice_equal(out.payload, in.payload));
        if (version == MQTT_5) {
            struct slice rest = out.props.raw;
            struct prop_item item;
            uint32_t found = 0;
            while (props_next(&rest, &item)) {
                if (item.prop == PROP_SUBSCRIPTION_ID) {
                    assert_int_equal(item.number, ids[found++]);
                }
            }
            assert_int_equal(found, id_count);
            out.props.present &= ~PROP_BIT(PROP_SUBSCRIPTION_ID);
            assert_true(wire_props_equal(&in.props, &out.props));
        } else {
            assert_int_equal(out.props.present, 0);
        }
        free(bytes);
    }
    free(raw);
}

static void the_smallest_packets_have_no_byte_too_many(void **state)
{
    static const uint8_t want_3[] = {0x30, 4, 0, 1, 't', 'x'};
    static const uint8_t want_5[] = {0x30, 5, 0, 1, 't', 0, 'x'};
    struct mqtt_publish p = {.topic = slice_text("t"), .payload = slice_text("x")};
    uint8_t bytes[8];
    (void)state;
    struct writer w = writer_of(bytes, mqtt_publish_size(&p, MQTT_3_1_1));
    mqtt_publish_encode(&w, &p, MQTT_3_1_1);
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(bytes, want_3, sizeof(want_3));
    w = writer_of(bytes, mqtt_publish_size(&p, MQTT_5));
    mqtt_publish_encode(&w, &p, MQTT_5);
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(bytes, want_5, sizeof(want_5));
}

/* A message of the largest size that came in over 3.x may have no room for an identifier. */
static void what_mqtt_cannot_say_has_size_0(void **state)
{
    static const uint8_t one[1];
    const uint32_t id = VARINT_MAX;
    struct mqtt_publish p = {.topic = slice_text("t")};
    (void)state;
    p.payload = slice_of(one, MQTT_REMAINING_MAX - 3); /* the head does not touch its bytes */
    assert_int_equal(mqtt_publish_head_size(&p, MQTT_3_1_1, NULL, 0), 5 + 3);
    assert_int_equal(mqtt_publish_head_size(&p, MQTT_5, NULL, 0), 0);
    p.payload.count--;
    assert_int_equal(mqtt_publish_head_size(&p, MQTT_5, NULL, 0), 5 + 4);
    assert_int_equal(mqtt_publish_head_size(&p, MQTT_5, &id, 1), 0);
    p.payload.count = SIZE_MAX / 2;
    assert_int_equal(mqtt_publish_size(&p, MQTT_3_1_1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_publish_is_taken_apart_without_copying),
        cmocka_unit_test(flags_that_contradict_are_refused),
        cmocka_unit_test(bad_publishes_are_refused_for_the_right_reason),
        cmocka_unit_test(prefixes_are_refused_up_to_the_payload),
        cmocka_unit_test(a_random_head_and_its_payload_come_back_equal),
        cmocka_unit_test(the_smallest_packets_have_no_byte_too_many),
        cmocka_unit_test(what_mqtt_cannot_say_has_size_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
