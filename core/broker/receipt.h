/*
 * receipt: promises still open before an acknowledgement may leave.
 *
 * Floor:  broker.
 * Thread: the publisher's shard. Other shards carry the pointer in mail and hand it back, never
 *         look inside; so a receipt lives until the last of them has answered, even if its
 *         connection is gone by then. What another shard has to wait for itself (its own journal,
 *         a third shard) it gathers in a receipt of its own, a relay.
 *
 * Acknowledgements leave in the order in which the packets came [MQTT-4.6.0-2] [MQTT-4.6.0-3]
 * [MQTT-4.6.0-4]: a receipt that is complete waits for those before it.
 */
#ifndef TERN_BROKER_RECEIPT_H
#define TERN_BROKER_RECEIPT_H

#include "core/base/err.h"
#include "core/base/list.h"
#include "core/session/mesh.h"
#include "core/wire/mqtt.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RECEIPTS_PAUSE = 4096, /* owed to one connection: it is not read any more */
    RECEIPTS_RESUME = 1024,
};

struct conn;
struct mail;
struct outbox_item;
struct session;
struct shard;

enum receipt_kind {
    RECEIPT_ACK,    /* an acknowledgement waits for it */
    RECEIPT_RELAY,  /* a receipt of another shard does */
    RECEIPT_OUTBOX, /* a message in the outbox does */
    RECEIPT_MESH,   /* another node does */
};

struct receipt {
    struct list link; /* RECEIPT_ACK: in conn->receipts, or in shard->orphans */
    union {
        struct conn *conn;        /* RECEIPT_ACK; NULL: it is gone */
        struct receipt *upstream; /* RECEIPT_RELAY */
        struct outbox_item *item; /* RECEIPT_OUTBOX */
        void *context;            /* RECEIPT_MESH */
    };
    union {
        struct session *session; /* that holds the packet id; NULL: it has ended */
        mesh_done done;          /* RECEIPT_MESH */
    };
    struct shard *shard;
    uint32_t open_count; /* promises not kept yet; the one who makes the receipt counts as one */
    uint16_t packet_id;
    uint8_t kind;        /* enum receipt_kind */
    uint8_t from;        /* RECEIPT_RELAY: whose receipt upstream is */
    enum mqtt_type type; /* RECEIPT_ACK: MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP */
    bool has_receivers;
    bool is_in_doubt; /* what it promises may be kept all the same: the journal did not say */
    enum err err;     /* the first refusal */
};

/* The maker holds one promise until receipt_done(). NULL: memory is exhausted. */
struct receipt *receipt_new(struct conn *conn, enum mqtt_type type, uint16_t packet_id);

/*
 * A receipt of this shard for that of another one, which a mail about a message bears, and which is told
 * when this one is done; *out is NULL where nobody waits. false: there is no memory for it (*out is NULL,
 * too), and receipt_answer() has to follow.
 */
bool receipt_relay(struct shard *shard, const struct mail *mail, struct receipt **out);

/* Tell the receipt that a mail bears, without a relay. */
void receipt_answer(struct shard *shard, const struct mail *mail, enum err err);

/*
 * May a message that came by mail go on here, after receipt_relay() has said so? Without a relay nobody
 * knows when it is committed. What is from an outbox goes on all the same, and stays there for the next
 * start, which finds that it has come. All else is refused and counted: it may be sent again.
 */
bool receipt_may_go_on(struct shard *shard, const struct mail *mail, bool is_promised);

/* One that the message waits for before it leaves the outbox. NULL: memory. */
struct receipt *receipt_outbox(struct shard *shard, struct outbox_item *item);

/* One that another node waits for: done(context) is called with the last promise. NULL: memory. */
struct receipt *receipt_mesh(struct shard *shard, mesh_done done, void *context);

/* One more to wait for. Accepts NULL. */
void receipt_hold(struct receipt *receipt);

/* Wait for all that was logged so far in these partitions (a bit each). Accepts NULL. */
void receipt_await(struct receipt *receipt, uint64_t partitions);

/* A promise is kept, or was refused. The acknowledgement leaves with the last. Accepts NULL. */
void receipt_done(struct receipt *receipt, enum err err);

/* As receipt_done(), for whoever calls back with a context. */
void receipt_committed(void *receipt, enum err err);

/*
 * An acknowledgement that leaves when everything logged for the session so far is committed, in its
 * turn: PUBREL, PUBCOMP. At once where nothing is logged. ERR_NOMEM.
 */
enum err ack_when_stable(struct conn *conn, enum mqtt_type type, uint16_t packet_id, enum err err);

/*
 * The connection goes, before its session does: nothing is sent for its receipts. They wait for their
 * verdict as orphans, since a refused QoS 2 message must be new when it comes again.
 */
void receipts_orphan(struct conn *conn);
void receipts_forget_session(struct shard *shard, const struct session *session);

/* A repeat came on a new connection before the verdict: it is told there, in its turn. false: there
 * is no such orphan. */
bool receipt_adopt(struct conn *conn, uint16_t packet_id);

/*
 * Receive Maximum as the client counts it: a message takes a place when it comes and gives it back
 * with PUBACK, PUBCOMP or a refusing PUBREC. A QoS 2 id of an earlier connection has no place here
 * until its PUBLISH comes again. ERR_RECEIVE_MAX: more than we granted [MQTT-3.3.4-7]. ERR_NOMEM.
 */
enum err inbound_count(struct conn *conn, uint8_t qos, uint16_t packet_id);
void inbound_uncount(struct conn *conn, uint8_t qos, uint16_t packet_id);

/* Write an acknowledgement now; err decides the reason. */
void ack_write(struct conn *conn, enum mqtt_type type, uint16_t packet_id, enum err err);

#endif
