/*
 * connect: CONNECT and CONNACK, both ways.
 *
 * Floor:  wire; pure.
 * Memory: a decoded struct borrows from the packet body.
 */
#ifndef TERN_WIRE_CONNECT_H
#define TERN_WIRE_CONNECT_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

/*
 * Read the body of a CONNECT of MQTT 3.1 ("MQIsdp", 3), 3.1.1 ("MQTT", 4) or 5.0 ("MQTT", 5).
 *
 * Whatever is returned, out->version says in which version an answer can be given: after
 * ERR_VERSION MQTT_5 if the client asked for more than 5, else MQTT_3_1_1; after other errors the
 * client's own; 0 when the bytes do not even name MQTT, where the connection is closed without an
 * answer [MQTT-3.1.2-1]. The rest of *out is undefined unless OK.
 *
 * ERR_VERSION    the protocol level is none of ours [MQTT-3.1.2-2] [v3:MQTT-3.1.2-2]
 * ERR_CLIENT_ID  empty where that is not allowed: 3.1, and 3.1.1 without clean session
 *                [v3:MQTT-3.1.3-8]
 * ERR_MALFORMED, ERR_PROTOCOL, ERR_TOPIC_ALIAS  see connect.c and props.h. For 3.x they mean: close
 *                without an answer [v3:MQTT-3.1.4-1].
 *
 * Not checked: topic of the will (pubsub/topic.h), length of the client id (3.1 asks for at most
 * 23 characters; like other brokers we take longer ones).
 */
enum err mqtt_connect_decode(struct slice body, struct mqtt_connect *out);

/* Exact bytes of the packet, and the packet; connect->version decides how. */
size_t mqtt_connect_size(const struct mqtt_connect *connect);
void mqtt_connect_encode(struct writer *w, const struct mqtt_connect *connect);

/*
 * CONNACK. In 3.1 session_present is written as 0. For 3.x the caller has made the reason a return
 * code with reason_v3_connack().
 */
size_t mqtt_connack_size(const struct mqtt_connack *connack, enum mqtt_version version);
void mqtt_connack_encode(struct writer *w, const struct mqtt_connack *connack,
                         enum mqtt_version version);

/* What a client does with a CONNACK. *out is undefined unless OK. */
enum err mqtt_connack_decode(struct slice body, enum mqtt_version version,
                             struct mqtt_connack *out);

#endif
