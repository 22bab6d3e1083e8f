/*
 * publish: PUBLISH, both ways; the hot path of the codec.
 *
 * Floor:  wire; pure.
 * Memory: a decoded struct borrows from the packet body; nothing is copied.
 */
#ifndef TERN_WIRE_PUBLISH_H
#define TERN_WIRE_PUBLISH_H

#include "core/base/err.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

/*
 * Read a PUBLISH. *out is undefined unless OK (copying 400 bytes per message to obey "written only
 * on OK" costs more than the decoding).
 *
 * ERR_MALFORMED    QoS 3 [MQTT-3.3.1-4], DUP with QoS 0 [MQTT-3.3.1-2], topic not UTF-8
 *                  [MQTT-3.3.2-1], a field over the end
 * ERR_PROTOCOL     packet id 0 [MQTT-2.2.1-3]; empty topic without alias (3.3.2.1); see props.h
 * ERR_TOPIC_ALIAS  alias 0 [MQTT-3.3.2-8]
 *
 * Not checked: wildcards in the topic [MQTT-3.3.2-2] (pubsub/topic.h), the alias against the
 * maximum, a Subscription Identifier from a client [MQTT-3.3.4-6].
 */
enum err mqtt_publish_decode(uint8_t flags, struct slice body, enum mqtt_version version,
                             struct mqtt_publish *out);

/*
 * Everything of a PUBLISH but its payload, so that the payload can follow by reference:
 * p->payload.count is counted in Remaining Length, its bytes are not touched.
 *
 * MQTT 5.0 properties: Message Expiry, Topic Alias when their bits are present (no other field is
 * looked at), then a Subscription Identifier for each of ids[id_count], then p->props.raw exactly as
 * it is (made by props_copy_forwardable()). In 3.x none of this is read.
 *
 * The size is 0 when the packet would be larger than MQTT can say (MQTT_REMAINING_MAX): drop it and
 * do not encode. Whether head and payload fit the receiver's Maximum Packet Size is the caller's
 * question [MQTT-3.1.2-24].
 */
size_t mqtt_publish_head_size(const struct mqtt_publish *p, enum mqtt_version version,
                              const uint32_t *ids, uint32_t id_count);
void mqtt_publish_head_encode(struct writer *w, const struct mqtt_publish *p,
                              enum mqtt_version version, const uint32_t *ids, uint32_t id_count);

/* The whole packet, without subscription identifiers: for clients and small messages. */
size_t mqtt_publish_size(const struct mqtt_publish *p, enum mqtt_version version);
void mqtt_publish_encode(struct writer *w, const struct mqtt_publish *p, enum mqtt_version version);

#endif
