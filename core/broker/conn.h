/*
 * conn: one connection, from accept to its last event.
 *
 *     accept ──> [PROXY] ──> [TLS] ──> [HTTP upgrade] ──> CONNECT ──> [AUTH ...] ──> OPEN ──> [PARTING] ──> CLOSING ──> freed
 *                                                  │
 *                                                  ├──> MOVING ──> the same on another shard
 *                                                  └──> AFAR: another node serves it
 *
 * Floor:  broker.
 * Thread: the shard it lives on; it lives on the shard of its session from CONNECT on.
 * Memory: one object; buffers only while something is incomplete or waits to be written.
 */
#ifndef TERN_BROKER_CONN_H
#define TERN_BROKER_CONN_H

#include "core/access/auth.h"
#include "core/base/config.h"
#include "core/base/list.h"
#include "core/base/wheel.h"
#include "core/broker/conn_out.h"
#include "core/broker/hold.h"
#include "core/broker/withhold.h"
#include "core/io/io.h"
#include "core/session/alias.h"
#include "core/session/inbound.h"
#include "core/session/inflight.h"
#include "core/wire/frame.h"
#include "core/wire/mqtt.h"
#include "core/wire/ws.h"

#include <stdbool.h>
#include <stdint.h>

struct afar;
struct conn_tls;
struct login;
struct passport;
struct shard;
struct conn_limits;
struct session;
struct replay;

enum conn_state {
    CONN_PROXY,   /* a PROXY header is expected */
    CONN_TLS,     /* a TLS handshake is expected, or under way */
    CONN_HTTP,    /* a WebSocket handshake is expected */
    CONN_CONNECT, /* a CONNECT is expected */
    CONN_MOVING,  /* the session lives on another shard: the socket is on its way there */
    CONN_AFAR,    /* the session lives on another node: all that is said goes there, see afar.h */
    CONN_AUTH,    /* an enhanced authentication is under way */
    CONN_VERIFY,  /* a worker looks whether the password is right; what comes meanwhile waits */
    CONN_COMMIT,  /* it has its session, and waits until that is on disk; what comes waits, too */
    CONN_OPEN,    /* CONNACK 0 was written */
    CONN_PARTING, /* the client said goodbye: it is closed when that is on disk */
    CONN_CLOSING, /* what is queued is still written, nothing is read */
    CONN_CLOSED,  /* waits for the last event */
    CONN_STATE_COUNT
};

/*
 * What a WebSocket adds to a connection. Every MQTT packet leaves as a frame of its own: clients in
 * the field read only the first packet of a frame (seen with paho's C client), though the standard
 * allows several.
 */
struct ws_link {
    struct ws_decoder decoder;
    uint16_t close_code; /* what the close frame will say; 0: nothing special */
};

/*
 * What the journal gives back when it has written what a connection waits for: its beginning (COMMIT)
 * or its end (PARTING). The connection may go first.
 */
struct awaited {
    struct conn *conn; /* NULL: it is gone */
};

/* Who is at the other end: a struct address without what only listeners need. */
struct peer {
    uint8_t kind; /* enum address_kind */
    uint16_t port;
    uint32_t scope_id;
    uint8_t ip[16];
};

/* Bytes of something incomplete. Zero-initialised is empty. */
struct partial {
    struct blob *blob; /* NULL while empty */
    uint32_t count;
};

/*
 * What a connection needs that does something: moves, proves who it is, publishes, subscribes. Most of
 * a fleet is silent most of the time, so it is made by conn_prepare() when it is first needed.
 */
struct conn_work {
    struct conn *conn;
    struct list stalled_link, replaying_link;
    struct hold hold;
    struct withheld withheld;

    size_t http_scanned;
    struct partial stash;       /* raw bytes that wait while the connection moves */
    struct auth_exchange *auth; /* of the enhanced authentication; NULL: there was none */
    struct partial connect;     /* the CONNECT packet, while authentication goes on */

    struct inbound counted; /* QoS 2 messages among conn->inbound_count */
    struct alias_in alias_in;
    struct alias_out alias_out;

    struct list receipts; /* acknowledgements owed, in order */
    uint32_t receipt_count;
    struct list subacks; /* SUBACKs that wait for share groups on other shards */
    struct list replays; /* retained messages owed, in order */
};

struct conn {
    struct shard *shard;
    struct io_stream *stream; /* NULL: its client is connected to another node, and comes by afar */
    struct afar *afar;        /* NULL: client and session are on this node */
    struct session *session;  /* from OPEN on, until it lets go */
    uint32_t listener_index;
    enum conn_state state;
    enum mqtt_version version;
    uint32_t move_target; /* MOVING: to which shard */
    struct list link, dirty_link;
    struct timer timer; /* CONNECT timeout, keep alive, linger */
    uint64_t last_read_ns, keepalive_ns;
    uint64_t progress_ns;   /* when it last had taken what was sent */
    uint64_t slow_until_ns; /* until then nobody waits for it, see hold.h; 0: no */

    /* What arrived. */
    struct partial packet; /* of an incomplete packet, PROXY header or HTTP head */
    uint32_t packet_bytes; /* the whole packet's size, once known */
    uint32_t skip_bytes;   /* of a refused packet, still to come */
    struct conn_tls *tls;  /* NULL: in clear, or nothing was said yet */
    struct ws_link *ws;    /* NULL: plain MQTT */
    bool is_read_paused;
    bool is_held;               /* see hold.h: nothing that it sent is handled */
    bool is_finishing;          /* its stream is gone, what it had sent is still handled */
    bool is_heard_out;          /* it ends: what it had sent is handled without waiting any more */
    bool is_counted;            /* against the limits of connections */
    bool is_one_too_many;       /* beyond a limit of connections: it is told so at CONNECT */
    bool has_moved;             /* it came from another shard */
    bool has_spoken;            /* bytes have come */
    bool is_told;               /* why it ends stands in the log already */
    bool is_dirty;              /* in shard->dirty: it has something to flush */
    bool is_doomed;             /* memory ran out for its output: it ends at the next flush */
    enum err finished_by;       /* how the stream ended */
    enum err doomed_by;         /* why, if not for memory */
    uint32_t limits_generation; /* of the rules it counts by */

    /* What leaves. */
    struct conn_out out;

    /* What was agreed in CONNECT. */
    uint32_t packet_max_out; /* the client's Maximum Packet Size; 0: none */
    struct window window;
    uint32_t inbound_count; /* QoS 1 and 2 messages of this connection that we have not finished */
    uint32_t session_expiry_s;
    uint32_t resend_count; /* in flight from an earlier connection, not sent again yet */
    uint16_t receive_max;  /* what we granted; v5 only, 0: not limited */
    uint16_t alias_in_max, alias_out_max;
    uint8_t qos_max; /* as told in CONNACK, whatever a reload says later */
    bool wants_problem_info;
    bool clean_start;
    bool
        is_bridge; /* 3.x, by mosquitto's mark: its subscriptions are No Local, Retain As Published */

    struct conn_limits *limits; /* NULL: none concerns it, see limits.h */
    struct awaited *awaited;    /* in COMMIT and PARTING; else NULL */
    struct login *login;        /* while it proves who it is; NULL: it need not, or has */
    struct conn_work *work;     /* NULL while it only listens */
    struct peer peer;
};

/* A socket was accepted; true when the connection was made, which owns limits then (NULL: none). */
bool conn_accept(struct shard *shard, uint32_t listener_index, struct io_stream *stream,
                 const struct peer *peer, struct conn_limits *limits);
struct peer peer_of(const struct address *address);

/* What is expected first, once the PROXY header is read. */
enum conn_state conn_first_state(const struct conn *conn);

/* It moves: send what is still to be sent, then take the socket out. */
void conn_flush_before_move(struct conn *conn);

/* What its listener says now: a reload changes it between two turns, never during one. */
const struct listener_config *conn_listener(const struct conn *conn);

/* An empty one, listed and timed; its stream and state are still to be set. NULL: memory. */
struct conn *conn_new(struct shard *shard, uint32_t listener_index, const struct peer *peer);

/* "203.0.113.7:40123", for logs. Returns out. */
const char *conn_peer_text(const struct conn *conn, char out[ADDRESS_TEXT_MAX]);
void conn_free(struct conn *conn); /* its stream is gone */
extern const struct io_stream_events conn_events;
void conn_on_detached(void *owner, int64_t handle);

/* From OK on conn->work is there, for good. ERR_NOMEM. */
enum err conn_prepare(struct conn *conn);

/* MQTT bytes, plain. */
void conn_feed_mqtt(struct conn *conn, struct slice bytes);

/* Plain bytes: of a WebSocket, or MQTT. */
void conn_feed(struct conn *conn, struct slice bytes);

/* Raw bytes as they come from the socket: PROXY header, TLS, or plain. */
void conn_receive(struct conn *conn, struct slice bytes);

/* Make a connection on this shard from what came along with a moved one. */
void conn_adopt(struct shard *shard, struct passport *passport);

/* The session lives on `target`: take the socket out and send it there with its CONNECT. */
void conn_move(struct conn *conn, uint32_t target, struct slice packet);
void passport_free(struct passport *passport);

/*
 * Reserve room for a packet of count bytes, of which all but the last `following` are written there;
 * those follow with out_payload(). Marks the connection dirty. NULL: it is closing, or memory is
 * exhausted and it will.
 */
uint8_t *conn_packet(struct conn *conn, uint32_t count, uint32_t following);
/* Answer a WebSocket ping. */
void conn_pong(struct conn *conn, struct slice payload);
void conn_mark_dirty(struct conn *conn);
void conn_flush(struct conn *conn);

/* May QoS 0 still be written to this slow reader? */
bool conn_has_room(const struct conn *conn);

/*
 * End it from our side, for that reason: the client is told (CONNACK before OPEN, v5 DISCONNECT
 * after), what is queued is written, the will is published. Nothing more is read. Once is enough.
 */
void conn_end(struct conn *conn, enum err why);

/*
 * The client ended it properly; with_will: reason 0x04. DISCONNECT has no answer but the close: of a
 * session that lasts it comes when its end is on disk.
 */
void conn_end_by_client(struct conn *conn, bool with_will);

/* The node that serves it has let go of it: write what is queued and close. */
void conn_depart(struct conn *conn, enum err why);

/* Something is on its way out; until it is taken nothing else is sent. */
bool conn_is_sending(const struct conn *conn);

/* It has ended and its session is gone from it: write what is queued and close. */
void conn_part(struct conn *conn);

/*
 * The partition of its session goes: the client is told to come again, what is queued is written, and
 * nothing else happens: the session is to be destroyed as it is.
 */
void conn_unload(struct conn *conn);

/* Close without a word. */
void conn_drop(struct conn *conn, enum err why);

/* Stop reading until the reason is gone; conn_unpause looks whether it is. */
void conn_pause(struct conn *conn);
void conn_unpause(struct conn *conn);

/* What the keep-alive promise is from now on. 0: none. */
void conn_set_keepalive(struct conn *conn, uint32_t keepalive_s);

struct slice conn_client_id(const struct conn *conn);

enum err partial_append(struct partial *partial, struct slice bytes, uint32_t capacity_hint);
void partial_deinit(struct partial *partial);

#endif
