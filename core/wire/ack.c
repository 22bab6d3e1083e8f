#include "core/wire/ack.h"

#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/reason.h"

static bool is_ack(enum mqtt_type type)
{
    return type >= MQTT_PUBACK && type <= MQTT_PUBCOMP;
}

static uint8_t first_byte(enum mqtt_type type)
{
    return (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0)); /* [MQTT-3.6.1-1] */
}

enum err mqtt_ack_decode(enum mqtt_type type, struct slice body, enum mqtt_version version,
                         struct mqtt_ack *out)
{
    ASSERT(is_ack(type));
    struct reader r = reader_of(body);

    out->reason = REASON_SUCCESS;
    props_clear(&out->props);
    TRY(read_u16(&r, &out->packet_id));
    if (out->packet_id == 0) {
        return ERR_PROTOCOL; /* [MQTT-2.2.1-3] [v3:MQTT-2.3.1-1] */
    }
    if (version != MQTT_5 || reader_left(&r) == 0) {
        return read_end(&r); /* 5.0: Remaining Length 2 means Success, 3.4.2.1 */
    }
    TRY(read_u8(&r, &out->reason));
    if (reader_left(&r) > 0) { /* 5.0: Remaining Length 3 means no properties, 3.4.2.2.1 */
        TRY(props_decode(&r, type, &out->props));
        TRY(read_end(&r));
    }
    if (!reason_is_allowed(type, out->reason)) {
        return ERR_PROTOCOL; /* [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] */
    }
    return OK;
}

static size_t remaining_size(enum mqtt_type type, const struct mqtt_ack *ack,
                             enum mqtt_version version)
{
    ASSERT(is_ack(type));
    if (version != MQTT_5) {
        return 2;
    }
    if (!props_is_empty(&ack->props)) {
        return 2 + 1 + props_size(&ack->props, type);
    }
    return ack->reason == REASON_SUCCESS ? 2 : 3;
}

size_t mqtt_ack_size(enum mqtt_type type, const struct mqtt_ack *ack, enum mqtt_version version)
{
    return frame_size(remaining_size(type, ack, version));
}

void mqtt_ack_encode(struct writer *w, enum mqtt_type type, const struct mqtt_ack *ack,
                     enum mqtt_version version)
{
    size_t remaining = remaining_size(type, ack, version);
    if (remaining <= 3) {
        mqtt_ack_encode_plain(w, type, ack->packet_id, ack->reason, version);
        return;
    }
    ASSERT(ack->packet_id != 0);
    frame_head_encode(w, first_byte(type), remaining);
    writer_u16(w, ack->packet_id);
    writer_u8(w, ack->reason);
    props_encode(w, &ack->props, type);
}

void mqtt_ack_encode_plain(struct writer *w, enum mqtt_type type, uint16_t packet_id,
                           uint8_t reason, enum mqtt_version version)
{
    ASSERT(is_ack(type));
    ASSERT(packet_id != 0);
    bool has_reason = version == MQTT_5 && reason != REASON_SUCCESS;
    writer_u8(w, first_byte(type));
    writer_u8(w, has_reason ? 3 : 2);
    writer_u16(w, packet_id);
    if (has_reason) {
        writer_u8(w, reason);
    }
}
