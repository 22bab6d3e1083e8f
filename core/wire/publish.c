#include "core/wire/publish.h"

#include "core/wire/frame.h"
#include "core/wire/props.h"

/* The low half of the first byte. */
enum { FLAG_RETAIN = 1, FLAG_DUP = 8 };

enum err mqtt_publish_decode(uint8_t flags, struct slice body, enum mqtt_version version,
                             struct mqtt_publish *out)
{
    struct reader r = reader_of(body);

    out->qos = (flags >> 1) & 3;
    out->dup = (flags & FLAG_DUP) != 0;
    out->retain = (flags & FLAG_RETAIN) != 0;
    out->packet_id = 0;
    if (out->qos == 3) {
        return ERR_MALFORMED; /* [MQTT-3.3.1-4] */
    }
    if (out->dup && out->qos == 0) {
        return ERR_MALFORMED; /* [MQTT-3.3.1-2] */
    }
    TRY(read_text(&r, &out->topic)); /* [MQTT-3.3.2-1] */
    if (out->qos > 0) {
        TRY(read_u16(&r, &out->packet_id)); /* none with QoS 0 [MQTT-2.2.1-2] */
        if (out->packet_id == 0) {
            return ERR_PROTOCOL; /* [MQTT-2.2.1-3] [v3:MQTT-2.3.1-1] */
        }
    }
    if (version == MQTT_5) {
        TRY(props_decode(&r, MQTT_PUBLISH, &out->props));
    } else {
        props_clear(&out->props);
    }
    if (out->topic.count == 0 && !props_has(&out->props, PROP_TOPIC_ALIAS)) {
        return ERR_PROTOCOL; /* 3.3.2.1; [v3:MQTT-4.7.3-1] */
    }
    out->payload = read_rest(&r);
    return OK;
}

/* Bytes of the property section without its length; 0 in 3.x. */
static inline size_t section_size(const struct mqtt_publish *p, const uint32_t *ids,
                                  uint32_t id_count)
{
    size_t size = p->props.raw.count;
    if (props_has(&p->props, PROP_MESSAGE_EXPIRY)) {
        size += 1 + 4;
    }
    if (props_has(&p->props, PROP_TOPIC_ALIAS)) {
        size += 1 + 2;
    }
    for (uint32_t i = 0; i < id_count; i++) {
        size += 1 + varint_size(ids[i]);
    }
    return size;
}

/* Bytes between fixed header and payload; *section is set for 5.0. */
static inline size_t variable_size(const struct mqtt_publish *p, enum mqtt_version version,
                                   const uint32_t *ids, uint32_t id_count, size_t *section)
{
    size_t size = binary_size(p->topic) + (p->qos > 0 ? 2 : 0);
    *section = 0;
    if (version == MQTT_5) {
        *section = section_size(p, ids, id_count);
        if (*section > VARINT_MAX) {
            return SIZE_MAX / 2; /* no packet can say that; caught by the caller as too large */
        }
        size += varint_size(*section) + *section;
    }
    return size;
}

size_t mqtt_publish_head_size(const struct mqtt_publish *p, enum mqtt_version version,
                              const uint32_t *ids, uint32_t id_count)
{
    size_t section;
    size_t variable = variable_size(p, version, ids, id_count, &section);
    if (variable > MQTT_REMAINING_MAX || p->payload.count > MQTT_REMAINING_MAX - variable) {
        return 0;
    }
    return 1 + varint_size(variable + p->payload.count) + variable;
}

void mqtt_publish_head_encode(struct writer *w, const struct mqtt_publish *p,
                              enum mqtt_version version, const uint32_t *ids, uint32_t id_count)
{
    ASSERT(p->qos <= 2);
    ASSERT(!p->dup || p->qos > 0);               /* [MQTT-3.3.1-2] */
    ASSERT((p->packet_id != 0) == (p->qos > 0)); /* [MQTT-2.2.1-2] [MQTT-2.2.1-3] */

    size_t section;
    size_t variable = variable_size(p, version, ids, id_count, &section);
    uint8_t flags = (uint8_t)(p->qos << 1 | (p->dup ? FLAG_DUP : 0) |
                              (p->retain ? FLAG_RETAIN : 0));
    frame_head_encode(w, (uint8_t)(MQTT_PUBLISH << 4 | flags), variable + p->payload.count);
    writer_binary(w, p->topic);
    if (p->qos > 0) {
        writer_u16(w, p->packet_id);
    }
    if (version != MQTT_5) {
        return;
    }
    writer_varint(w, section);
    if (section == 0) {
        return;
    }
    if (props_has(&p->props, PROP_MESSAGE_EXPIRY)) {
        writer_u8(w, PROP_ID_MESSAGE_EXPIRY);
        writer_u32(w, p->props.message_expiry_s);
    }
    if (props_has(&p->props, PROP_TOPIC_ALIAS)) {
        writer_u8(w, PROP_ID_TOPIC_ALIAS);
        writer_u16(w, p->props.topic_alias);
    }
    for (uint32_t i = 0; i < id_count; i++) {
        writer_u8(w, PROP_ID_SUBSCRIPTION_ID);
        writer_varint(w, ids[i]);
    }
    writer_bytes(w, p->props.raw);
}

size_t mqtt_publish_size(const struct mqtt_publish *p, enum mqtt_version version)
{
    size_t head = mqtt_publish_head_size(p, version, NULL, 0);
    return head == 0 ? 0 : head + p->payload.count;
}

void mqtt_publish_encode(struct writer *w, const struct mqtt_publish *p, enum mqtt_version version)
{
    mqtt_publish_head_encode(w, p, version, NULL, 0);
    writer_bytes(w, p->payload);
}
