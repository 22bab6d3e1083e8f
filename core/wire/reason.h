/*
 * reason: the reason codes of MQTT 5.0, and what they are called in 3.x.
 *
 * Floor:  wire; pure.
 * Memory: none; names are constants.
 *
 * The only place where an enum err becomes a reason code.
 */
#ifndef TERN_WIRE_REASON_H
#define TERN_WIRE_REASON_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"

#include <stdbool.h>
#include <stdint.h>

#define REASON(name, code, ...) REASON_##name = (code),
enum reason {
#include "core/wire/reason.def"
    /* the other names of 0 */
    REASON_GRANTED_QOS_0 = 0,
    REASON_NORMAL_DISCONNECTION = 0,
};
#undef REASON

enum { REASON_FAILURE_MIN = 0x80, CONNACK_V3_MAX = 5, SUBACK_V3_FAILURE = 0x80 };

/* From here on a code says that something was refused or failed. */
static inline bool reason_is_failure(uint8_t reason)
{
    return reason >= REASON_FAILURE_MIN;
}

/*
 * The code that says err in that packet: the closest one that the packet is allowed to carry, so the
 * result always passes reason_is_allowed(). OK gives 0.
 *
 * packet  CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK or DISCONNECT; not AUTH, which
 *         knows no failures
 *
 * ERR_NOT_FOUND is an answer, not a failure, in PUBACK and PUBREC (no subscribers) and in UNSUBACK
 * (no subscription).
 */
uint8_t reason_from_err(enum err err, enum mqtt_type packet);

/*
 * The CONNACK return code of 3.x for a v5 code: 0 for success, 1 to 5 for failures; 3, "server
 * unavailable", where 3.x has no word. (A malformed CONNECT of 3.x gets no CONNACK at all.)
 */
uint8_t reason_v3_connack(uint8_t reason);

/* SUBACK of 3.x: granted QoS as it is, every failure 0x80 [v3:MQTT-3.9.3-2]. */
static inline uint8_t reason_v3_suback(uint8_t reason)
{
    return reason_is_failure(reason) ? SUBACK_V3_FAILURE : reason;
}

/* "Not authorized", as the specification names it; "Reserved" for a code it does not have. */
const char *reason_name(uint8_t reason);

/* Whether table 2-6 lets this packet carry this code; false for packets without reason codes. */
bool reason_is_allowed(enum mqtt_type packet, uint8_t reason);

#endif
