/*
 * subscribe: SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK, both ways.
 *
 * Floor:  wire; pure.
 * Memory: a decoded struct borrows from the packet body.
 */
#ifndef TERN_WIRE_SUBSCRIBE_H
#define TERN_WIRE_SUBSCRIBE_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

#include <stdbool.h>

/*
 * Read a SUBSCRIBE or an UNSUBSCRIBE; all its filters are checked now, so that walking them cannot
 * fail half way. *out is undefined unless OK.
 *
 * ERR_MALFORMED  reserved option bits [MQTT-3.8.3-5] [v3:MQTT-3.8.3-4], a filter not UTF-8
 *                [MQTT-3.8.3-1], a field over the end; QoS 3 in 3.x
 * ERR_PROTOCOL   packet id 0 [MQTT-2.2.1-3]; no filter at all [MQTT-3.8.3-2] [MQTT-3.10.3-2]; QoS 3
 *                or retain handling 3 in 5.0 (3.8.3.1); see props.h
 *
 * Not checked: the grammar of filters, No Local on shared ones (pubsub, broker).
 */
enum err mqtt_subscribe_decode(struct slice body, enum mqtt_version version,
                               struct mqtt_subscribe *out);
enum err mqtt_unsubscribe_decode(struct slice body, enum mqtt_version version,
                                 struct mqtt_subscribe *out);

/*
 * Take the first filter from *rest, which starts as mqtt_subscribe.filters. False at the end (and
 * where bytes are no filter, which a decoded packet does not have).
 */
bool mqtt_filters_next(struct slice *rest, bool is_subscribe, enum mqtt_version version,
                       struct mqtt_filter *out);

/*
 * SUBACK: one code for each filter, in order [MQTT-3.8.4-6]. For 3.x failures are already 0x80
 * (reason_v3_suback()). UNSUBACK of 3.x has no codes: codes and count are not looked at.
 * props may be NULL.
 */
size_t mqtt_suback_size(uint32_t count, const struct mqtt_props *props, enum mqtt_version version);
void mqtt_suback_encode(struct writer *w, uint16_t packet_id, const uint8_t *codes, uint32_t count,
                        const struct mqtt_props *props, enum mqtt_version version);
size_t mqtt_unsuback_size(uint32_t count, const struct mqtt_props *props,
                          enum mqtt_version version);
void mqtt_unsuback_encode(struct writer *w, uint16_t packet_id, const uint8_t *codes,
                          uint32_t count, const struct mqtt_props *props,
                          enum mqtt_version version);

/* The client's side. */

/* SUBACK or UNSUBACK; codes is empty for UNSUBACK of 3.x. */
struct mqtt_suback {
    uint16_t packet_id;
    struct slice codes;
    struct mqtt_props props;
};

/* ERR_PROTOCOL for a code that the packet does not have [MQTT-3.9.3-2] [MQTT-3.11.3-2]. */
enum err mqtt_suback_decode(struct slice body, enum mqtt_version version, struct mqtt_suback *out);
enum err mqtt_unsuback_decode(struct slice body, enum mqtt_version version,
                              struct mqtt_suback *out);

/* SUBSCRIBE with filters[count], count 1 or more; props may be NULL. */
size_t mqtt_subscribe_size(const struct mqtt_filter *filters, uint32_t count,
                           const struct mqtt_props *props, enum mqtt_version version);
void mqtt_subscribe_encode(struct writer *w, uint16_t packet_id, const struct mqtt_filter *filters,
                           uint32_t count, const struct mqtt_props *props,
                           enum mqtt_version version);
size_t mqtt_unsubscribe_size(const struct mqtt_filter *filters, uint32_t count,
                             const struct mqtt_props *props, enum mqtt_version version);
void mqtt_unsubscribe_encode(struct writer *w, uint16_t packet_id,
                             const struct mqtt_filter *filters, uint32_t count,
                             const struct mqtt_props *props, enum mqtt_version version);

#endif
