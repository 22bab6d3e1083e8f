/*
 * sim_client: a conforming MQTT client on one link: it keeps its half of every exchange, and tells
 * sim_check what it was promised and what it got.
 *
 * Floor:  tests.
 *
 *     AWAY ──client_connect──> CONNECTING ──CONNACK──> OPEN ──client_disconnect──> LEAVING ──> AWAY
 *       └───────────────<── reset, end, client_vanish, client_take_over ──<──┘
 *
 * This is how a client works; what it does, and when, is said by sim_life.c or by a story. What it
 * knows of its session (messages not acknowledged, QoS 2 ids seen) outlives the connection.
 */
#ifndef TERN_SIM_SIM_CLIENT_H
#define TERN_SIM_SIM_CLIENT_H

#include "core/base/buf.h"
#include "core/base/rng.h"
#include "core/wire/mqtt.h"
#include "tests/sim/sim_check.h"

#include <stdbool.h>
#include <stdint.h>

struct sim;
struct net_link;

enum {
    CLIENT_OUTBOUND_MAX = 16,
    CLIENT_RECEIVED_MAX = 256,
    CLIENT_ACKS_MAX = 512,
    CLIENT_GHOSTS_MAX = 8,
    CLIENT_ALIASES_MAX = 8,
};

enum client_state { CLIENT_AWAY, CLIENT_CONNECTING, CLIENT_OPEN, CLIENT_LEAVING };

struct client_character {
    enum mqtt_version version;
    uint32_t expiry_s; /* of its sessions; 0: they end with the connection */
    uint16_t keepalive_s;
    uint16_t receive_max; /* 0: not said */
    uint16_t alias_max;   /* towards the client */
    uint16_t window;      /* messages it has under way itself */
    bool has_will;
    uint32_t will_delay_s;
    uint32_t payload_max;
    bool has_expiring;     /* some of its messages expire */
    uint64_t ack_delay_ns; /* at most; it answers after a while, several at once */
};

struct client {
    struct sim *sim;
    struct check *check;
    struct sim_actor *actor;
    uint32_t index;
    char id[16];
    struct client_character character;
    enum client_state state;

    /* The connection. */
    struct net_link *link;
    struct buf in, out;
    bool clean;
    uint64_t since_ns, last_sent_ns; /* when it was begun; when bytes were last queued */
    uint64_t stalled_until_ns;       /* reads nothing until then */
    uint32_t will;                   /* number; 0: none */
    uint16_t server_receive_max, server_alias_max;
    uint8_t said_reason; /* of the broker's DISCONNECT */
    char aliases_in[CLIENT_ALIASES_MAX + 1][CHECK_TOPIC_MAX];
    char aliases_out[CLIENT_ALIASES_MAX + 1][CHECK_TOPIC_MAX];
    uint64_t stray_until_ns; /* an abandoned CONNECT of ours may still arrive */

    /* The session, as we know it. */
    struct outbound {
        uint32_t number; /* 0: free */
        uint16_t id;
        uint8_t qos;
        bool is_released; /* PUBREC came: PUBREL stands for it */
        bool is_clear;    /* of a retained message */
    } outbound[CLIENT_OUTBOUND_MAX];
    uint32_t outbound_count;
    uint16_t id_last;
    uint16_t received[CLIENT_RECEIVED_MAX];
    uint32_t received_count;
    bool is_received_sure;  /* else the session may be a newer one, whose CONNACK was lost */
    uint32_t unfinished_in; /* QoS 1 and 2 of this connection that we have not finished */
    struct client_ack {
        uint8_t type;
        uint16_t id;
    } acks[CLIENT_ACKS_MAX];
    uint32_t ack_count;
    uint64_t acks_from_ns; /* it does not answer before */
    bool is_subscribed[CHECK_FILTERS];
    uint32_t pending_filter; /* of the SUBSCRIBE or UNSUBSCRIBE under way */
    uint16_t pending_id;     /* 0: none */
    bool pending_is_unsubscribe;

    /* Connections of ours that a newer one replaced. */
    struct client_ghost {
        struct net_link *link;
        uint64_t since_ns; /* the newer one's CONNACK; 0: not yet */
        bool has_haunted;
    } ghosts[CLIENT_GHOSTS_MAX];
    uint32_t ghost_count;

    struct client_life *life; /* of sim_life.c; NULL: a story moves it */
};

struct client *client_new(struct sim *sim, struct check *check, uint32_t index, const char *id,
                          const struct client_character *character);
void client_free(struct client *client); /* accepts NULL */

/* false: refused by the network. */
bool client_connect(struct client *client, bool clean);
void client_publish(struct client *client, const char *topic, uint8_t qos, bool retain,
                    bool is_clear);
bool client_may_publish(const struct client *client); /* its window has room */
void client_subscribe(struct client *client, uint32_t filter, uint8_t qos);
void client_unsubscribe(struct client *client, uint32_t filter);
void client_ping(struct client *client);

/* reason 4: with will. ends_session: v5 says so with it. */
void client_disconnect(struct client *client, uint8_t reason, bool ends_session);

enum client_end { CLIENT_RESETS, CLIENT_CUTS, CLIENT_ENDS };
void client_vanish(struct client *client, enum client_end how);

/* A second connection with the same id, while the first one is up. */
bool client_take_over(struct client *client);

/* Read and handle what came; ghosts too. Write what waits. */
void client_read(struct client *client);
void client_flush_acks(struct client *client, uint32_t count);
void client_write(struct client *client);

uint64_t client_wants_ns(const struct client *client); /* for bytes, not for actions */

/* Everything this side owes or waits for is done. */
bool client_is_quiet(const struct client *client);

#endif
