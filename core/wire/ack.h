/*
 * ack: PUBACK, PUBREC, PUBREL and PUBCOMP, both ways.
 *
 * Floor:  wire; pure.
 * Memory: a decoded struct borrows from the packet body.
 *
 * `type` is one of the four, everywhere.
 */
#ifndef TERN_WIRE_ACK_H
#define TERN_WIRE_ACK_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

/*
 * In 3.x reason is 0 and there are no properties. *out is undefined unless OK.
 *
 * ERR_MALFORMED  too short, too long, bad properties
 * ERR_PROTOCOL   packet id 0 [MQTT-2.2.1-3]; a reason code that this packet does not have
 *                [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
 */
enum err mqtt_ack_decode(enum mqtt_type type, struct slice body, enum mqtt_version version,
                         struct mqtt_ack *out);

/* Written in the shortest form: four bytes when there is nothing to say but the packet id. */
size_t mqtt_ack_size(enum mqtt_type type, const struct mqtt_ack *ack, enum mqtt_version version);
void mqtt_ack_encode(struct writer *w, enum mqtt_type type, const struct mqtt_ack *ack,
                     enum mqtt_version version);

/*
 * The hot case: an acknowledgement without properties. MQTT_ACK_BYTES_MAX is always enough. For 3.x
 * the reason is not written.
 */
enum { MQTT_ACK_BYTES_MAX = 5 };
void mqtt_ack_encode_plain(struct writer *w, enum mqtt_type type, uint16_t packet_id,
                           uint8_t reason, enum mqtt_version version);

#endif
