/*
 * dispatch: which packet is allowed in which state, and who handles it.
 *
 * Floor:  broker.
 */
#ifndef TERN_BROKER_DISPATCH_H
#define TERN_BROKER_DISPATCH_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/broker/conn.h"
#include "core/wire/frame.h"

/* What a handler gets. */
struct packet {
    struct frame frame;
    struct slice bytes; /* the whole packet: frame.body points into it */
    struct blob *blob;  /* owns bytes when they came in pieces; else NULL. Borrowed */
};

/*
 * Handle one packet. An error ends the connection with that reason (the caller does so); the
 * connection may also have ended, or be moving, when OK is returned: look at its state.
 */
enum err dispatch_packet(struct conn *conn, const struct packet *packet);

/* The handlers. */
enum err on_connect(struct conn *conn, const struct packet *packet);
enum err on_auth(struct conn *conn, const struct packet *packet);
enum err on_publish(struct conn *conn, const struct packet *packet);
enum err on_puback(struct conn *conn, const struct packet *packet);
enum err on_pubrec(struct conn *conn, const struct packet *packet);
enum err on_pubrel(struct conn *conn, const struct packet *packet);
enum err on_pubcomp(struct conn *conn, const struct packet *packet);
enum err on_subscribe(struct conn *conn, const struct packet *packet);
enum err on_unsubscribe(struct conn *conn, const struct packet *packet);
enum err on_pingreq(struct conn *conn, const struct packet *packet);
enum err on_disconnect(struct conn *conn, const struct packet *packet);

/* A PUBLISH is refused before it was read whole: answered in its turn, and counted. */
enum err publish_refuse(struct conn *conn, uint8_t qos, uint16_t packet_id, struct slice topic,
                        enum err why);

/* CONNECT and will were decoded and the client is who it says: open the session, answer. */
enum err connect_open(struct conn *conn, const struct mqtt_connect *connect, struct slice client_id,
                      bool is_assigned, const struct auth_reply *reply);

/* CONNACK 0 was written: it is open now. */
void connect_opened(struct conn *conn, uint16_t keepalive_s);

/* CONNACK with that reason, in the words of its version. */
void connack_refuse(struct conn *conn, enum err why);

/* An id for a client that brought none, owned by this shard: it need not move [MQTT-3.1.3-6]. */
enum { CLIENT_ID_MADE_MAX = 300 };
struct slice client_id_make(struct conn *conn, char out[CLIENT_ID_MADE_MAX]);

/* An AUTH packet with that reason: what conn->work->auth says. */
void auth_write(struct conn *conn, uint8_t reason, const struct auth_reply *reply);

/* A worker has looked at the password: go on with what was asked, or refuse. */
void connect_verified(struct conn *conn, enum err err);

/* A proof that had to wait may be looked at now (OK), or it was refused. */
void connect_proof_due(struct conn *conn, enum err err);

/*
 * Refuse before OPEN: CONNACK with the reason (if the client can be told), then close. connect: what
 * it asked for, for log and trail; NULL: that could not be read. detail: more of why; may be NULL.
 */
void connect_refuse(struct conn *conn, enum err why, const struct mqtt_connect *connect,
                    const char *detail);

#endif
