#include "core/wire/subscribe.h"

#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/reason.h"

/* Subscription Options, 3.8.3.1. In 3.x the byte is Requested QoS. */
enum {
    OPTION_QOS = 0x03,
    OPTION_NO_LOCAL = 0x04,
    OPTION_AS_PUBLISHED = 0x08,
    OPTION_RETAIN_SHIFT = 4,
    OPTION_RESERVED = 0xc0,
    OPTION_RESERVED_3_1_1 = 0xfc,
};

/* ------------------------------------------------------------------------------ requests */

static enum err read_options(struct reader *r, enum mqtt_version version, struct mqtt_filter *out)
{
    uint8_t options;
    TRY(read_u8(r, &options));
    out->qos = options & OPTION_QOS;
    if (version != MQTT_5) {
        if (version == MQTT_3_1_1 && (options & OPTION_RESERVED_3_1_1) != 0) {
            return ERR_MALFORMED; /* [v3:MQTT-3.8.3-4]; in 3.1 these bits are "not used" */
        }
        return out->qos <= 2 ? OK : ERR_MALFORMED; /* [v3:MQTT-3.8.3-4] */
    }
    if ((options & OPTION_RESERVED) != 0) {
        return ERR_MALFORMED; /* [MQTT-3.8.3-5] */
    }
    out->no_local = (options & OPTION_NO_LOCAL) != 0;
    out->retain_as_published = (options & OPTION_AS_PUBLISHED) != 0;
    out->retain_handling = (options >> OPTION_RETAIN_SHIFT) & 3;
    return out->qos <= 2 && out->retain_handling <= 2 ? OK : ERR_PROTOCOL; /* 3.8.3.1 */
}

/* One filter; whether it is UTF-8 is checked once, by decode(). */
static enum err read_filter(struct reader *r, bool is_subscribe, enum mqtt_version version,
                            struct mqtt_filter *out)
{
    *out = (struct mqtt_filter){0};
    TRY(read_binary(r, &out->filter));
    return is_subscribe ? read_options(r, version, out) : OK;
}

static enum err decode(struct slice body, bool is_subscribe, enum mqtt_version version,
                       struct mqtt_subscribe *out)
{
    struct reader r = reader_of(body);

    TRY(read_u16(&r, &out->packet_id));
    if (out->packet_id == 0) {
        return ERR_PROTOCOL; /* [MQTT-2.2.1-3] [v3:MQTT-2.3.1-1] */
    }
    if (version == MQTT_5) {
        TRY(props_decode(&r, is_subscribe ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE, &out->props));
    } else {
        props_clear(&out->props);
    }
    out->filters = read_rest(&r);
    out->filter_count = 0;
    struct reader walk = reader_of(out->filters);
    while (reader_left(&walk) > 0) {
        struct mqtt_filter filter;
        struct reader text = walk;
        TRY(read_text(&text, &filter.filter)); /* [MQTT-3.8.3-1] [MQTT-3.10.3-1] */
        TRY(read_filter(&walk, is_subscribe, version, &filter));
        out->filter_count++;
    }
    if (out->filter_count == 0) {
        /* [MQTT-3.8.3-2] [MQTT-3.10.3-2] [v3:MQTT-3.8.3-3] [v3:MQTT-3.10.3-2] */
        return ERR_PROTOCOL;
    }
    return OK;
}

enum err mqtt_subscribe_decode(struct slice body, enum mqtt_version version,
                               struct mqtt_subscribe *out)
{
    return decode(body, true, version, out);
}

enum err mqtt_unsubscribe_decode(struct slice body, enum mqtt_version version,
                                 struct mqtt_subscribe *out)
{
    return decode(body, false, version, out);
}

bool mqtt_filters_next(struct slice *rest, bool is_subscribe, enum mqtt_version version,
                       struct mqtt_filter *out)
{
    struct reader r = reader_of(*rest);
    if (reader_left(&r) == 0 || read_filter(&r, is_subscribe, version, out) != OK) {
        return false;
    }
    *rest = slice_of(r.at, reader_left(&r));
    return true;
}

static size_t request_remaining(enum mqtt_type type, const struct mqtt_filter *filters,
                                uint32_t count, const struct mqtt_props *props,
                                enum mqtt_version version)
{
    size_t size = 2 + (version == MQTT_5 ? props_size(props, type) : 0);
    for (uint32_t i = 0; i < count; i++) {
        size += binary_size(filters[i].filter) + (type == MQTT_SUBSCRIBE ? 1 : 0);
    }
    return size;
}

static uint8_t options_of(const struct mqtt_filter *filter, enum mqtt_version version)
{
    ASSERT(filter->qos <= 2);
    ASSERT(filter->retain_handling <= 2);
    if (version != MQTT_5) {
        return filter->qos;
    }
    return (uint8_t)(filter->qos | (filter->no_local ? OPTION_NO_LOCAL : 0) |
                     (filter->retain_as_published ? OPTION_AS_PUBLISHED : 0) |
                     filter->retain_handling << OPTION_RETAIN_SHIFT);
}

static void request_encode(struct writer *w, enum mqtt_type type, uint16_t packet_id,
                           const struct mqtt_filter *filters, uint32_t count,
                           const struct mqtt_props *props, enum mqtt_version version)
{
    ASSERT(packet_id != 0);
    ASSERT(count > 0);
    frame_head_encode(w, (uint8_t)(type << 4 | 2),
                      request_remaining(type, filters, count, props, version));
    writer_u16(w, packet_id);
    if (version == MQTT_5) {
        props_encode(w, props, type);
    }
    for (uint32_t i = 0; i < count; i++) {
        writer_binary(w, filters[i].filter);
        if (type == MQTT_SUBSCRIBE) {
            writer_u8(w, options_of(&filters[i], version));
        }
    }
}

size_t mqtt_subscribe_size(const struct mqtt_filter *filters, uint32_t count,
                           const struct mqtt_props *props, enum mqtt_version version)
{
    return frame_size(request_remaining(MQTT_SUBSCRIBE, filters, count, props, version));
}

void mqtt_subscribe_encode(struct writer *w, uint16_t packet_id, const struct mqtt_filter *filters,
                           uint32_t count, const struct mqtt_props *props,
                           enum mqtt_version version)
{
    request_encode(w, MQTT_SUBSCRIBE, packet_id, filters, count, props, version);
}

size_t mqtt_unsubscribe_size(const struct mqtt_filter *filters, uint32_t count,
                             const struct mqtt_props *props, enum mqtt_version version)
{
    return frame_size(request_remaining(MQTT_UNSUBSCRIBE, filters, count, props, version));
}

void mqtt_unsubscribe_encode(struct writer *w, uint16_t packet_id,
                             const struct mqtt_filter *filters, uint32_t count,
                             const struct mqtt_props *props, enum mqtt_version version)
{
    request_encode(w, MQTT_UNSUBSCRIBE, packet_id, filters, count, props, version);
}

/* ------------------------------------------------------------------------------ answers */

static size_t answer_remaining(enum mqtt_type type, uint32_t count, const struct mqtt_props *props,
                               enum mqtt_version version)
{
    if (version != MQTT_5) {
        return type == MQTT_UNSUBACK ? 2 : 2 + (size_t)count;
    }
    return 2 + props_size(props, type) + count;
}

static void answer_encode(struct writer *w, enum mqtt_type type, uint16_t packet_id,
                          const uint8_t *codes, uint32_t count, const struct mqtt_props *props,
                          enum mqtt_version version)
{
    ASSERT(packet_id != 0);
    frame_head_encode(w, (uint8_t)(type << 4), answer_remaining(type, count, props, version));
    writer_u16(w, packet_id);
    if (version == MQTT_5) {
        props_encode(w, props, type);
    }
    if (version == MQTT_5 || type == MQTT_SUBACK) {
        writer_bytes(w, slice_of(codes, count)); /* [MQTT-3.8.4-6] [MQTT-3.9.3-1] [MQTT-3.11.3-1] */
    }
}

size_t mqtt_suback_size(uint32_t count, const struct mqtt_props *props, enum mqtt_version version)
{
    return frame_size(answer_remaining(MQTT_SUBACK, count, props, version));
}

void mqtt_suback_encode(struct writer *w, uint16_t packet_id, const uint8_t *codes, uint32_t count,
                        const struct mqtt_props *props, enum mqtt_version version)
{
    answer_encode(w, MQTT_SUBACK, packet_id, codes, count, props, version);
}

size_t mqtt_unsuback_size(uint32_t count, const struct mqtt_props *props, enum mqtt_version version)
{
    return frame_size(answer_remaining(MQTT_UNSUBACK, count, props, version));
}

void mqtt_unsuback_encode(struct writer *w, uint16_t packet_id, const uint8_t *codes,
                          uint32_t count, const struct mqtt_props *props, enum mqtt_version version)
{
    answer_encode(w, MQTT_UNSUBACK, packet_id, codes, count, props, version);
}

static bool code_is_allowed(enum mqtt_type type, uint8_t code, enum mqtt_version version)
{
    if (version == MQTT_5) {
        return reason_is_allowed(type, code); /* [MQTT-3.9.3-2] [MQTT-3.11.3-2] */
    }
    return code <= 2 || code == SUBACK_V3_FAILURE; /* [v3:MQTT-3.9.3-2] */
}

static enum err answer_decode(struct slice body, enum mqtt_type type, enum mqtt_version version,
                              struct mqtt_suback *out)
{
    struct reader r = reader_of(body);

    TRY(read_u16(&r, &out->packet_id));
    if (out->packet_id == 0) {
        return ERR_PROTOCOL; /* [MQTT-2.2.1-3] */
    }
    props_clear(&out->props);
    if (version == MQTT_5) {
        TRY(props_decode(&r, type, &out->props));
    } else if (type == MQTT_UNSUBACK) {
        out->codes = (struct slice){NULL, 0};
        return read_end(&r);
    }
    out->codes = read_rest(&r);
    if (out->codes.count == 0) {
        return ERR_PROTOCOL; /* [MQTT-3.8.4-6]: a request has at least one filter */
    }
    for (size_t i = 0; i < out->codes.count; i++) {
        if (!code_is_allowed(type, out->codes.data[i], version)) {
            return ERR_PROTOCOL;
        }
    }
    return OK;
}

enum err mqtt_suback_decode(struct slice body, enum mqtt_version version, struct mqtt_suback *out)
{
    return answer_decode(body, MQTT_SUBACK, version, out);
}

enum err mqtt_unsuback_decode(struct slice body, enum mqtt_version version, struct mqtt_suback *out)
{
    return answer_decode(body, MQTT_UNSUBACK, version, out);
}
