/*
 * control: PINGREQ, PINGRESP, DISCONNECT and AUTH, both ways.
 *
 * Floor:  wire; pure.
 * Memory: a decoded struct borrows from the packet body.
 *
 * `type` is one of the four, everywhere.
 */
#ifndef TERN_WIRE_CONTROL_H
#define TERN_WIRE_CONTROL_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

/*
 * *out is undefined unless OK. Pings, and DISCONNECT of 3.x, have reason 0 and no properties.
 *
 * ERR_MALFORMED  bytes where there must be none, bad properties
 * ERR_PROTOCOL   AUTH in 3.x; a reason code that this packet does not have [MQTT-3.14.2-1]
 *                [MQTT-3.15.2-1]; AUTH without Authentication Method (3.15.2.2.2), unless it is
 *                the empty AUTH, which means success
 *
 * Not checked, for it depends on who sends: DISCONNECT codes that only a server or only a client
 * uses, Session Expiry raised from 0.
 */
enum err mqtt_control_decode(enum mqtt_type type, struct slice body, enum mqtt_version version,
                             struct mqtt_control *out);

/* Written in the shortest form. For pings and in 3.x control is not looked at and may be NULL. */
size_t mqtt_control_size(enum mqtt_type type, const struct mqtt_control *control,
                         enum mqtt_version version);
void mqtt_control_encode(struct writer *w, enum mqtt_type type, const struct mqtt_control *control,
                         enum mqtt_version version);

#endif
