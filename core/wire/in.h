/*
 * in: sets of packet types, for the tables of properties and reason codes.
 *
 * Floor: wire; constants only.
 */
#ifndef TERN_WIRE_IN_H
#define TERN_WIRE_IN_H

#include "core/wire/mqtt.h"

enum {
    IN_WILL = 1 << MQTT_WILL, /* the will inside CONNECT has the bit that no packet uses */
    IN_CONNECT = 1 << MQTT_CONNECT,
    IN_CONNACK = 1 << MQTT_CONNACK,
    IN_PUBLISH = 1 << MQTT_PUBLISH,
    IN_PUBACK = 1 << MQTT_PUBACK,
    IN_PUBREC = 1 << MQTT_PUBREC,
    IN_PUBREL = 1 << MQTT_PUBREL,
    IN_PUBCOMP = 1 << MQTT_PUBCOMP,
    IN_SUBSCRIBE = 1 << MQTT_SUBSCRIBE,
    IN_SUBACK = 1 << MQTT_SUBACK,
    IN_UNSUBSCRIBE = 1 << MQTT_UNSUBSCRIBE,
    IN_UNSUBACK = 1 << MQTT_UNSUBACK,
    IN_DISCONNECT = 1 << MQTT_DISCONNECT,
    IN_AUTH = 1 << MQTT_AUTH,

    IN_ACKS = IN_PUBACK | IN_PUBREC | IN_PUBREL | IN_PUBCOMP,
    /* packets that answer a request and can refuse it for a general reason */
    IN_REFUSALS = IN_CONNACK | IN_PUBACK | IN_PUBREC | IN_SUBACK | IN_UNSUBACK,
    IN_ANY = IN_WILL | IN_CONNECT | IN_CONNACK | IN_PUBLISH | IN_ACKS | IN_SUBSCRIBE | IN_SUBACK |
             IN_UNSUBSCRIBE | IN_UNSUBACK | IN_DISCONNECT | IN_AUTH,
};

#endif
