/*
 * props: the property section of MQTT 5.0 packets, driven by the table in props.def.
 *
 * Floor:  wire; pure.
 * Memory: decoded slices borrow from the packet.
 *
 * Reading keeps the fields that stand alone in struct mqtt_props and the whole section in raw; what
 * may repeat is walked in raw with props_next(). Writing takes the fields whose bit is present, in
 * the order of the table, and then `user`, which holds User Properties already encoded.
 */
#ifndef TERN_WIRE_PROPS_H
#define TERN_WIRE_PROPS_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

#include <stdbool.h>
#include <stdint.h>

#define PROP(name, ...) PROP_##name,
enum prop {
#include "core/wire/props.def"
    PROP_COUNT
};
#undef PROP

/* PROP_ID_x: the identifier on the wire. */
#define PROP(name, id, ...) PROP_ID_##name = (id),
enum {
#include "core/wire/props.def"
};
#undef PROP
_Static_assert(PROP_COUNT <= 64, "mqtt_props.present has a bit for each");

#define PROP_BIT(prop) (UINT64_C(1) << (prop))

/* What goes from PUBLISH or Will to every receiver, unchanged and in order
 * [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]. */
#define PROPS_FORWARDABLE                                                                          \
    (PROP_BIT(PROP_PAYLOAD_FORMAT) | PROP_BIT(PROP_CONTENT_TYPE) | PROP_BIT(PROP_RESPONSE_TOPIC) | \
     PROP_BIT(PROP_CORRELATION_DATA) | PROP_BIT(PROP_USER))

static inline bool props_has(const struct mqtt_props *props, enum prop prop)
{
    return (props->present & PROP_BIT(prop)) != 0;
}

/*
 * Read Property Length and the properties of that packet (MQTT_WILL: of the will).
 *
 * On OK out->present, raw and the fields with their bit are valid and `user` is empty; on an error
 * *out is undefined.
 *
 * ERR_MALFORMED    a length runs over the end, text is not UTF-8, the identifier is unknown or not
 *                  allowed in this packet (2.2.2.2)
 * ERR_PROTOCOL     a property stands twice that may stand once; a value out of its range; a Response
 *                  Topic with wildcards [MQTT-3.3.2-14]; data without method (3.1.2.11.10)
 * ERR_TOPIC_ALIAS  Topic Alias 0 [MQTT-3.3.2-8]
 *
 * Not checked, for it depends on who sends: a Subscription Identifier in a PUBLISH from a client
 * [MQTT-3.3.4-6], and Server Reference or Session Expiry in a DISCONNECT [MQTT-3.14.2-2].
 */
enum err props_decode(struct reader *r, enum mqtt_type packet, struct mqtt_props *out);

/* No properties at all: what a packet of 3.x has. */
static inline void props_clear(struct mqtt_props *props)
{
    props->present = 0;
    props->raw = props->user = (struct slice){NULL, 0};
}

/* Whether there is nothing to write. */
static inline bool props_is_empty(const struct mqtt_props *props)
{
    return (props->present & ~PROP_BIT(PROP_USER)) == 0 && props->user.count == 0;
}

/*
 * Bytes that props_encode() writes, with Property Length. props may be NULL: none, one byte.
 * Precondition: present has only bits that the packet allows; PROP_USER is ignored, user counts.
 * The sum must stay below MQTT_REMAINING_MAX.
 */
size_t props_size(const struct mqtt_props *props, enum mqtt_type packet);
void props_encode(struct writer *w, const struct mqtt_props *props, enum mqtt_type packet);

/* One property of a raw section. */
struct prop_item {
    enum prop prop;
    uint32_t number;    /* BYTE, U16, U32, VARINT */
    struct slice name;  /* User Property: its name */
    struct slice value; /* TEXT, BINARY; User Property: its value */
    struct slice bytes; /* identifier and value as they stand on the wire */
};

/*
 * Take the first property from *rest. False at the end, and also where the bytes are not a
 * property; a raw section that props_decode() accepted has no such place.
 */
bool props_next(struct slice *rest, struct prop_item *out);

/* Copy from a raw section the properties with their bit in `which`, unchanged and in order. */
size_t props_copy_size(struct slice raw, uint64_t which);
void props_copy(struct slice raw, uint64_t which, struct writer *w);

/*
 * What a broker stores with a message: payload format, content type, response topic, correlation
 * data and user properties of a PUBLISH or a will, in order; expiry, alias, subscription identifiers
 * and will delay are left out.
 */
static inline size_t props_forwardable_size(struct slice raw)
{
    return props_copy_size(raw, PROPS_FORWARDABLE);
}
static inline void props_copy_forwardable(struct slice raw, struct writer *w)
{
    props_copy(raw, PROPS_FORWARDABLE, w);
}

/* One User Property for mqtt_props.user; each side at most 65535 bytes. */
size_t prop_user_size(struct slice name, struct slice value);
void prop_user_encode(struct writer *w, struct slice name, struct slice value);

#endif
