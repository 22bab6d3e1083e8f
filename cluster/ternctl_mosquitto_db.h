/*
 * ternctl_mosquitto_db: read mosquitto's persistence file (mosquitto.db).
 *
 * Formats 2 to 6: mosquitto 0.15 to 2.0 (6 is written since 2.0, 5 by 1.6, 4 by 1.5.6 and later, 3 and 2
 * before). Times stand in the file as the machine had them: of amd64 and arm64, and of 32 bit machines
 * where they had 64 bit times.
 *
 *     15 bytes magic, 4 nothing, 4 version
 *     then chunks: 4 kind (2 to format 4: 2), 4 length, and
 *       1 config   2 message   3 client's message   4 retained   5 subscription   6 client
 *
 * A message stands once; who owes it says its id. All messages come first. What belongs to a client
 * follows it; subscriptions and retained messages come last.
 *
 * Floor:  cluster; a part of ternctl. Nothing in the file is believed.
 * Memory: 16 bytes a message while it reads; everything handed out points into the file.
 */
#ifndef TERN_CLUSTER_TERNCTL_MOSQUITTO_DB_H
#define TERN_CLUSTER_TERNCTL_MOSQUITTO_DB_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { MOSQUITTO_NEVER = 0xFFFFFFFF, MOSQUITTO_IDS_MAX = 64 };

struct mosquitto_client {
    struct slice id;
    struct slice username; /* data NULL: none, or none that can be relied on */
    /* mosquitto 2.0.11 writes the name of another client for one that has none: it was left out. */
    bool is_username_doubtful;
    uint32_t expiry_s;        /* MOSQUITTO_NEVER; 0: the session ends with its connection */
    uint64_t expires_wall_ms; /* 0: that is not known */
    uint16_t packet_id_last;  /* of those mosquitto gave */
};

struct mosquitto_message {
    uint64_t id;
    struct slice topic, payload;
    struct slice props;       /* of MQTT 5 as they came, without their length; checked */
    uint64_t expires_wall_ms; /* 0: never */
    uint8_t qos;
    bool retain;
    struct slice source_id; /* who published it */
};

enum mosquitto_step {
    MOSQUITTO_QUEUED,        /* not sent yet */
    MOSQUITTO_SENT,          /* perhaps sent, not acknowledged */
    MOSQUITTO_WAITS_PUBCOMP, /* the client has it, and is owed a PUBREL with that packet id */
    MOSQUITTO_CAME, /* from the client at QoS 2; nobody has been given it before the PUBREL */
};

struct mosquitto_item {
    struct slice client_id;
    const struct mosquitto_message *message;
    enum mosquitto_step step;
    uint16_t packet_id; /* 0: none */
    uint8_t qos;
    bool retain;
    uint32_t ids[MOSQUITTO_IDS_MAX]; /* Subscription Identifiers */
    uint32_t id_count;
};

struct mosquitto_subscription {
    struct slice client_id, filter;
    uint32_t id; /* 0: none */
    uint8_t qos;
    bool no_local, retain_as_published;
};

/* In the order of the file. An error of a call ends it and is returned. */
struct mosquitto_events {
    enum err (*client)(void *context, const struct mosquitto_client *client);
    enum err (*item)(void *context, const struct mosquitto_item *item);
    enum err (*subscription)(void *context, const struct mosquitto_subscription *subscription);
    enum err (*retained)(void *context, const struct mosquitto_message *message);
};

struct mosquitto_figures {
    uint32_t version;
    uint64_t message_count, client_count;
    uint64_t unknown_count; /* chunks of another kind, stepped over */
    uint64_t
        lost_count; /* of messages that are not in the file: mosquitto takes them for expired */
    uint64_t invalid_count; /* a client id, topic or filter that no client could have sent */
};

struct mosquitto_trouble {
    char text[256]; /* what is wrong, where, and what to do */
};

/*
 * The whole file is looked at before the first call. ERR_CORRUPT, ERR_UNSUPPORTED (another file, or
 * a newer format), ERR_NOMEM: trouble tells.
 */
enum err mosquitto_db_read(struct slice file, const struct mosquitto_events *events, void *context,
                           struct mosquitto_figures *figures, struct mosquitto_trouble *trouble);

#endif
