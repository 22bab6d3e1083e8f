/*
 * fuzz_subscribe: no bytes break the readers of SUBSCRIBE, UNSUBSCRIBE, SUBACK and UNSUBACK, and
 * what they accept is written and read again without a change.
 *
 * Input: which of the four in the low half of the first byte, the version in the high half; then
 * the body.
 */
#include "core/wire/frame.h"
#include "core/wire/subscribe.h"
#include "tests/lib/wire_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice body_of(struct slice packet, enum mqtt_type type)
{
    struct frame frame;
    ASSERT(frame_next(packet, UINT32_MAX, &frame) == OK);
    ASSERT(frame.total_bytes == packet.count);
    ASSERT(frame.type == type);
    return frame.body;
}

static bool filters_are_equal(const struct mqtt_filter *a, const struct mqtt_filter *b)
{
    return slice_equal(a->filter, b->filter) && a->qos == b->qos && a->no_local == b->no_local &&
           a->retain_as_published == b->retain_as_published &&
           a->retain_handling == b->retain_handling;
}

/* As many filters as were counted, in an array; free() it. */
static struct mqtt_filter *filters_of(const struct mqtt_subscribe *sub, bool is_subscribe,
                                      enum mqtt_version version)
{
    struct mqtt_filter *filters = malloc(sub->filter_count * sizeof(*filters));
    struct slice rest = sub->filters;
    struct mqtt_filter none;
    ASSERT(filters != NULL);
    for (uint32_t i = 0; i < sub->filter_count; i++) {
        ASSERT(mqtt_filters_next(&rest, is_subscribe, version, &filters[i]));
    }
    ASSERT(!mqtt_filters_next(&rest, is_subscribe, version, &none));
    ASSERT(rest.count == 0);
    return filters;
}

static void check_request(struct slice body, bool is_subscribe, enum mqtt_version version)
{
    enum err (*decode)(struct slice, enum mqtt_version, struct mqtt_subscribe *) =
        is_subscribe ? mqtt_subscribe_decode : mqtt_unsubscribe_decode;
    struct mqtt_subscribe sub, again;
    if (decode(body, version, &sub) != OK) {
        return;
    }
    struct mqtt_filter *filters = filters_of(&sub, is_subscribe, version);
    struct mqtt_props props = sub.props;
    props.user = wire_user_bytes(&sub.props);
    uint32_t count = sub.filter_count;
    size_t size = is_subscribe ? mqtt_subscribe_size(filters, count, &props, version)
                               : mqtt_unsubscribe_size(filters, count, &props, version);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    if (is_subscribe) {
        mqtt_subscribe_encode(&w, sub.packet_id, filters, count, &props, version);
    } else {
        mqtt_unsubscribe_encode(&w, sub.packet_id, filters, count, &props, version);
    }
    ASSERT(writer_left(&w) == 0);
    struct slice packet = slice_of(bytes, size);
    ASSERT(decode(body_of(packet, is_subscribe ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE), version,
                  &again) == OK);
    ASSERT(again.packet_id == sub.packet_id && again.filter_count == count);
    ASSERT(wire_props_equal(&sub.props, &again.props));
    struct mqtt_filter *filters_again = filters_of(&again, is_subscribe, version);
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(filters_are_equal(&filters[i], &filters_again[i]));
    }
    free(filters);
    free(filters_again);
    free(bytes);
    free((void *)props.user.data);
}

static void check_answer(struct slice body, bool is_suback, enum mqtt_version version)
{
    enum err (*decode)(struct slice, enum mqtt_version, struct mqtt_suback *) =
        is_suback ? mqtt_suback_decode : mqtt_unsuback_decode;
    struct mqtt_suback ack, again;
    if (decode(body, version, &ack) != OK) {
        return;
    }
    struct mqtt_props props = ack.props;
    props.user = wire_user_bytes(&ack.props);
    uint32_t count = (uint32_t)ack.codes.count;
    size_t size = is_suback ? mqtt_suback_size(count, &props, version)
                            : mqtt_unsuback_size(count, &props, version);
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    struct writer w = writer_of(bytes, size);
    if (is_suback) {
        mqtt_suback_encode(&w, ack.packet_id, ack.codes.data, count, &props, version);
    } else {
        mqtt_unsuback_encode(&w, ack.packet_id, ack.codes.data, count, &props, version);
    }
    ASSERT(writer_left(&w) == 0);
    struct slice packet = slice_of(bytes, size);
    ASSERT(decode(body_of(packet, is_suback ? MQTT_SUBACK : MQTT_UNSUBACK), version, &again) == OK);
    ASSERT(again.packet_id == ack.packet_id && slice_equal(again.codes, ack.codes));
    ASSERT(wire_props_equal(&ack.props, &again.props));
    free(bytes);
    free((void *)props.user.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum mqtt_version version = (enum mqtt_version)(MQTT_3_1 + (data[0] >> 4) % 3);
    struct slice body = slice_of(data + 1, size - 1);
    if ((data[0] & 2) == 0) {
        check_request(body, (data[0] & 1) == 0, version);
    } else {
        check_answer(body, (data[0] & 1) == 0, version);
    }
    return 0;
}
