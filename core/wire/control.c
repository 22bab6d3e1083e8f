#include "core/wire/control.h"

#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/reason.h"

static bool is_control(enum mqtt_type type)
{
    return type >= MQTT_PINGREQ && type <= MQTT_AUTH;
}

static bool has_reason(enum mqtt_type type, enum mqtt_version version)
{
    return version == MQTT_5 && (type == MQTT_DISCONNECT || type == MQTT_AUTH);
}

enum err mqtt_control_decode(enum mqtt_type type, struct slice body, enum mqtt_version version,
                             struct mqtt_control *out)
{
    ASSERT(is_control(type));
    struct reader r = reader_of(body);

    if (type == MQTT_AUTH && version != MQTT_5) {
        return ERR_PROTOCOL; /* type 15 is forbidden there, [v3] table 2.1 */
    }
    out->reason = REASON_SUCCESS;
    props_clear(&out->props);
    if (!has_reason(type, version) || body.count == 0) {
        return read_end(&r); /* 5.0: Remaining Length 0 means Success, 3.14.2.1, 3.15.2.1 */
    }
    TRY(read_u8(&r, &out->reason));
    if (reader_left(&r) > 0) { /* 5.0: Remaining Length 1 means no properties, 3.14.2.2.1 */
        TRY(props_decode(&r, type, &out->props));
        TRY(read_end(&r));
    }
    if (!reason_is_allowed(type, out->reason)) {
        return ERR_PROTOCOL; /* [MQTT-3.14.2-1] [MQTT-3.15.2-1] */
    }
    if (type == MQTT_AUTH && !props_has(&out->props, PROP_AUTH_METHOD)) {
        return ERR_PROTOCOL; /* 3.15.2.2.2 */
    }
    return OK;
}

static size_t remaining_size(enum mqtt_type type, const struct mqtt_control *control,
                             enum mqtt_version version)
{
    ASSERT(is_control(type));
    ASSERT(type != MQTT_AUTH || version == MQTT_5);
    if (!has_reason(type, version)) {
        return 0;
    }
    if (!props_is_empty(&control->props)) {
        return 1 + props_size(&control->props, type);
    }
    return control->reason == REASON_SUCCESS ? 0 : 1;
}

size_t mqtt_control_size(enum mqtt_type type, const struct mqtt_control *control,
                         enum mqtt_version version)
{
    return frame_size(remaining_size(type, control, version));
}

void mqtt_control_encode(struct writer *w, enum mqtt_type type, const struct mqtt_control *control,
                         enum mqtt_version version)
{
    size_t remaining = remaining_size(type, control, version);
    frame_head_encode(w, (uint8_t)(type << 4), remaining);
    if (remaining > 0) {
        writer_u8(w, control->reason);
    }
    if (remaining > 1) {
        props_encode(w, &control->props, type);
    }
}
