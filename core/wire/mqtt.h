/*
 * mqtt: the packets of MQTT 3.1, 3.1.1 and 5.0 as structs.
 *
 * Floor:  wire; pure.
 * Memory: every slice borrows from the bytes that were decoded.
 */
#ifndef TERN_WIRE_MQTT_H
#define TERN_WIRE_MQTT_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum mqtt_version { MQTT_3_1 = 3, MQTT_3_1_1 = 4, MQTT_5 = 5 };

enum mqtt_type {
    MQTT_RESERVED = 0,
    MQTT_WILL = MQTT_RESERVED, /* for properties: those of the will inside CONNECT */
    MQTT_CONNECT,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH,
    MQTT_TYPE_COUNT
};

enum {
    MQTT_REMAINING_MAX = 268435455, /* largest Remaining Length, 2.1.4 */
    MQTT_TEXT_MAX = 65535,
};

/*
 * Properties of one packet. `present` has bit (1 << PROP_x) for each property that was read or is
 * to be written (enum prop in props.h); fields without their bit are undefined.
 * Properties that may repeat (User Property, and Subscription Identifier in PUBLISH) are walked in
 * `raw` with props_next(); `raw` is the encoded property section without its length.
 */
struct mqtt_props {
    uint64_t present;
    uint32_t session_expiry_s;
    uint32_t message_expiry_s;
    uint32_t will_delay_s;
    uint32_t packet_max_bytes;
    uint32_t subscription_id; /* SUBSCRIBE; in PUBLISH the first of them */
    uint16_t receive_max;
    uint16_t topic_alias;
    uint16_t topic_alias_max;
    uint16_t keepalive_s; /* Server Keep Alive */
    uint8_t payload_is_text;
    uint8_t request_problem_info;
    uint8_t request_response_info;
    uint8_t qos_max;
    uint8_t retain_available;
    uint8_t wildcard_available;
    uint8_t subscription_id_available;
    uint8_t shared_available;
    struct slice content_type;
    struct slice response_topic;
    struct slice correlation_data;
    struct slice client_id; /* Assigned Client Identifier */
    struct slice auth_method;
    struct slice auth_data;
    struct slice response_info;
    struct slice server_reference;
    struct slice reason_text; /* Reason String */
    struct slice raw;
    struct slice user; /* encoding only: User Properties, already encoded, appended as they are */
};

struct mqtt_will {
    struct slice topic, payload;
    uint8_t qos;
    bool retain;
    struct mqtt_props props;
};

struct mqtt_connect {
    enum mqtt_version version;
    bool clean_start; /* 3.x: clean session */
    bool has_will, has_username, has_password;
    bool is_bridge; /* top bit of the protocol level: mosquitto's mark of a bridge (3.1, 3.1.1) */
    uint16_t keepalive_s;
    struct slice client_id;
    struct slice username, password;
    struct mqtt_will will;
    struct mqtt_props props;
};

struct mqtt_connack {
    bool session_present;
    uint8_t reason; /* v5 reason code or 3.x return code, as is */
    struct mqtt_props props;
};

struct mqtt_publish {
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id; /* 0 when qos is 0 */
    struct slice topic; /* may be empty in v5 with an alias */
    struct slice payload;
    struct mqtt_props props;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP */
struct mqtt_ack {
    uint16_t packet_id;
    uint8_t reason;
    struct mqtt_props props;
};

/* One topic filter of SUBSCRIBE; of UNSUBSCRIBE only filter is used. */
struct mqtt_filter {
    struct slice filter;
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling; /* 0, 1, 2 */
};

/* SUBSCRIBE or UNSUBSCRIBE: filters are walked with mqtt_filters_next() (subscribe.h). */
struct mqtt_subscribe {
    uint16_t packet_id;
    uint32_t filter_count; /* 1 or more; checked with the whole payload at decoding */
    struct slice filters;  /* undecoded, but known to be well formed */
    struct mqtt_props props;
};

/* DISCONNECT and AUTH */
struct mqtt_control {
    uint8_t reason;
    struct mqtt_props props;
};

#endif
