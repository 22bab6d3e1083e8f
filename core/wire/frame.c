#include "core/wire/frame.h"

/* The low four bits of the first byte: one value, or ANY [MQTT-2.1.3-1] [v3:MQTT-2.2.2-1]. */
enum { FLAGS_ANY = 0xff, FLAGS_NEVER = 0xfe };

/* clang-format off */
static const struct {
    const char *name;
    uint8_t flags;
    uint8_t flags_3_1; /* where 3.1 differs: QoS 1 packets that may have DUP, bits "not used" */
} types[16] = {
    [MQTT_RESERVED]    = {"RESERVED",    FLAGS_NEVER, FLAGS_NEVER},
    [MQTT_CONNECT]     = {"CONNECT",     0,           FLAGS_ANY},
    [MQTT_CONNACK]     = {"CONNACK",     0,           FLAGS_ANY},
    [MQTT_PUBLISH]     = {"PUBLISH",     FLAGS_ANY,   FLAGS_ANY},
    [MQTT_PUBACK]      = {"PUBACK",      0,           FLAGS_ANY},
    [MQTT_PUBREC]      = {"PUBREC",      0,           FLAGS_ANY},
    [MQTT_PUBREL]      = {"PUBREL",      2,           FLAGS_ANY}, /* [MQTT-3.6.1-1] */
    [MQTT_PUBCOMP]     = {"PUBCOMP",     0,           FLAGS_ANY},
    [MQTT_SUBSCRIBE]   = {"SUBSCRIBE",   2,           FLAGS_ANY}, /* [MQTT-3.8.1-1] */
    [MQTT_SUBACK]      = {"SUBACK",      0,           FLAGS_ANY},
    [MQTT_UNSUBSCRIBE] = {"UNSUBSCRIBE", 2,           FLAGS_ANY}, /* [MQTT-3.10.1-1] */
    [MQTT_UNSUBACK]    = {"UNSUBACK",    0,           FLAGS_ANY},
    [MQTT_PINGREQ]     = {"PINGREQ",     0,           FLAGS_ANY},
    [MQTT_PINGRESP]    = {"PINGRESP",    0,           FLAGS_ANY},
    [MQTT_DISCONNECT]  = {"DISCONNECT",  0,           FLAGS_ANY}, /* [MQTT-3.14.1-1] */
    [MQTT_AUTH]        = {"AUTH",        0,           FLAGS_NEVER}, /* [MQTT-3.15.1-1] */
};
/* clang-format on */

/* Remaining Length, and where it ends; ERR_MORE instead of an error while it may still come. */
static enum err read_length(struct slice in, uint32_t *remaining, uint32_t *head_bytes)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < VARINT_BYTES_MAX; i++) {
        if (in.count < 2 + i) {
            return ERR_MORE;
        }
        uint8_t byte = in.data[1 + i];
        value |= (uint32_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            if (byte == 0 && i > 0) {
                return ERR_MALFORMED; /* not the fewest bytes [MQTT-1.5.5-1] */
            }
            *remaining = value;
            *head_bytes = 2 + i;
            return OK;
        }
    }
    return ERR_MALFORMED;
}

static inline enum err next(struct slice in, uint32_t bytes_max, bool is_3_1, struct frame *out)
{
    *out = (struct frame){0};
    if (in.count == 0) {
        return ERR_MORE;
    }
    uint8_t type = in.data[0] >> 4, flags = in.data[0] & 0x0f;
    uint8_t flags_wanted = is_3_1 ? types[type].flags_3_1 : types[type].flags;
    if (flags_wanted != FLAGS_ANY && flags_wanted != flags) {
        return ERR_MALFORMED; /* [MQTT-2.1.3-1] [v3:MQTT-2.2.2-2] */
    }
    uint32_t remaining, head_bytes;
    TRY(read_length(in, &remaining, &head_bytes));
    out->type = type;
    out->flags = flags;
    out->total_bytes = head_bytes + remaining;
    if (out->total_bytes > bytes_max) {
        return ERR_TOO_LARGE; /* [MQTT-3.2.2-15] */
    }
    if (in.count < out->total_bytes) {
        return ERR_MORE;
    }
    out->body = slice_of(in.data + head_bytes, remaining);
    return OK;
}

enum err frame_next(struct slice in, uint32_t bytes_max, struct frame *out)
{
    return next(in, bytes_max, false, out);
}

enum err frame_next_3_1(struct slice in, uint32_t bytes_max, struct frame *out)
{
    return next(in, bytes_max, true, out);
}

const char *mqtt_type_name(uint8_t type)
{
    return types[type < MQTT_TYPE_COUNT ? type : MQTT_RESERVED].name;
}
