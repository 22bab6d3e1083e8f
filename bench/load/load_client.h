/*
 * load_client: what the files behind load.h share. Nobody else includes this.
 *
 *     load.c            clients, their sockets, what waits to be sent
 *     load_packets.c    what a client says in MQTT, and what it does with what it hears
 *     load_websocket.c  the same bytes inside WebSocket frames
 *     load_tls.c        and those inside TLS: of the bytes that come, and of the parts that go
 *
 *     socket ──> load.c ──> (load_tls.c) ──> (load_websocket.c) ──> load_packets.c ──> events
 *     socket <── load.c <── (load_tls.c) <── (load_websocket.c) <── queued <── load_packets.c
 *
 * Floor:  bench; included by load*.c only.
 */
#ifndef TERN_BENCH_LOAD_CLIENT_H
#define TERN_BENCH_LOAD_CLIENT_H

#include "bench/load/exchanges.h"
#include "bench/load/load.h"
#include "core/base/list.h"
#include "core/base/rng.h"
#include "core/io/io.h"
#include "core/wire/reader.h"

struct bytes {
    uint8_t *memory; /* NULL when size is 0 */
    uint32_t count, size;
};

struct websocket;

/* An idle client is this, its stream, and nothing else: buffers go back when they are empty. */
struct load_client {
    struct load *load;
    const struct load_events *events;
    void *owner;
    struct io_stream *stream;
    struct websocket *websocket; /* NULL: plain TCP */
    struct tls *tls;             /* NULL: no TLS */
    struct list all, dirty;
    struct bytes queued, flying; /* to be sent; being sent */
    struct bytes sealed;         /* with TLS: cipher bytes to be sent, behind those of flying */
    struct bytes carry;          /* the beginning of a packet whose rest has not come */
    uint64_t ping_ns;            /* when the next PINGREQ is due */
    enum err why;                /* what broke, once is_ending and not is_leaving */
    struct exchanges exchanges;  /* SUBSCRIBE, and PUBLISH of QoS 1 and 2, not answered yet */
    uint64_t *unreleased;        /* QoS 2 ids whose PUBREL has not come, a bit each; or NULL */
    uint32_t unreleased_count;
    uint16_t unfinished_max; /* so many of these the broker takes */
    uint8_t qos_asked;       /* the lowest in the last SUBSCRIBE */
    uint8_t reason;
    uint8_t version;
    bool is_open;    /* CONNACK came */
    bool is_ending;  /* nothing is heard any more */
    bool is_leaving; /* because we wanted that */
    bool is_resumed;
    bool is_tls_broken; /* it was TLS that ended it */
};

struct load {
    struct io *io;
    struct load_config config;
    struct list clients, dirty;
    uint32_t client_count;
    uint64_t ping_ns;     /* when pings are looked at next */
    struct spare *spares; /* small buffers in nobody's hands */
    uint8_t *plain;       /* with TLS: of the record that is being read; TLS_PLAIN_BYTES */
    struct rng rng;       /* WebSocket masks: against proxies on the way, not against enemies */
    char host[ADDRESS_TEXT_MAX];
};

/* Room for count more bytes; a generator without memory has nothing to measure and ends. */
uint8_t *bytes_extend(struct load *load, struct bytes *bytes, size_t count);

/* Empty; small ones give their memory back for others to use. */
void bytes_clear(struct load *load, struct bytes *bytes);

/* Something is queued: look at it before the turn ends. */
void client_mark_dirty(struct load_client *client);

/* End it because of why; `closed` follows. */
void client_fail(struct load_client *client, enum err why);

/* Plain bytes came, cut anywhere: they go to WebSocket or to MQTT. */
void client_hear(struct load_client *client, struct slice bytes, uint64_t received_ns);

/* Queue the client's first packet. */
void packets_queue_connect(struct load_client *client, const struct load_client_options *options);

void packets_queue_control(struct load_client *client, enum mqtt_type type);

/* Bytes of MQTT, cut anywhere. A failure has been said to client_fail(). */
void packets_feed(struct load_client *client, struct slice bytes, uint64_t received_ns);

enum { WEBSOCKET_PARTS_MAX = 4, WEBSOCKET_REQUEST_MAX = 1024 };

enum err websocket_new(struct load_client *client); /* ERR_NOMEM */
void websocket_free(struct load_client *client);    /* accepts a client without one */

/* Bytes from the socket; what is MQTT goes on to packets_feed(). */
void websocket_feed(struct load_client *client, struct slice bytes, uint64_t received_ns);

/*
 * Nothing is being sent: make of what is queued the parts of the next send, and how many; 0: there
 * is nothing to send now. They stay until `sent`.
 */
uint32_t websocket_parts(struct load_client *client, struct slice parts[WEBSOCKET_PARTS_MAX]);

/* Whether MQTT can be said already. */
bool websocket_is_upgraded(const struct load_client *client);

/* Begin the handshake: its first bytes are sealed. ticket: NULL, or to resume with. ERR_NOMEM. */
enum err secure_new(struct load_client *client, const struct tls_session *ticket);
void secure_free(struct load_client *client); /* accepts a client without TLS */

/* Bytes from the socket; what is inside goes on to client_hear(). */
void secure_feed(struct load_client *client, struct slice bytes, uint64_t received_ns);

/* Plain bytes can be said. */
bool secure_is_open(const struct load_client *client);

/* Seal the parts; with the last word behind them if the client is ending. They are not needed later. */
void secure_parts(struct load_client *client, const struct slice *parts, uint32_t count);

#endif
