/*
 * load: many MQTT clients in one thread, on the broker's own door to the world.
 *
 * They do what the protocol asks of a client (acknowledge, complete QoS 2, ping) and leave the rest
 * to the scenario through events. What is published in one turn leaves in one send per client, over
 * WebSocket in one frame.
 *
 * Floor:  bench; knows core/io and core/wire.
 * Thread: the owner.
 * Memory: a client belongs to its load and is gone after its `closed` event.
 */
#ifndef TERN_BENCH_LOAD_H
#define TERN_BENCH_LOAD_H

#include "core/base/err.h"
#include "core/io/sock.h"
#include "core/wire/mqtt.h"

#include <stdbool.h>
#include <stdint.h>

struct load;
struct load_client;
struct tls_context; /* core/io/tls_client.h makes it */
struct tls_session; /* a ticket, to resume with */

/*
 * Handshakes of TLS that were finished, and what the first of them agreed on: for the owner, who may
 * set it back to zero between two turns.
 */
enum { LOAD_AGREED_BYTES = 96 };
struct load_tally {
    uint64_t handshake_count, resumed_count;
    char agreed[LOAD_AGREED_BYTES]; /* "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519" */
};

struct load_config {
    struct address to;
    struct address from; /* ADDRESS_NONE: the system chooses */
    enum mqtt_version version;
    bool clean_start;
    uint16_t keepalive_s; /* 0: no pings */
    uint32_t session_expiry_s;
    uint16_t receive_max;            /* MQTT 5; 0: 65535 */
    const char *username, *password; /* NULL: none */
    const char *websocket_path;      /* "/mqtt"; NULL: plain TCP */
    const char *websocket_host;      /* of the Host header; NULL: the address */
    struct tls_context *tls;         /* a client's, borrowed; NULL: no TLS */
    const char *tls_server_name;     /* for SNI, and what the broker has to prove; NULL: neither */
    struct load_tally *tally;        /* NULL: nobody counts; one thread's */
    uint32_t client_count_max;
    uint32_t packet_max_bytes; /* the largest packet we expect */
};

struct load_events {
    void (*opened)(struct load_client *client); /* the broker said welcome; see load_is_resumed() */
    void (*subscribed)(struct load_client *client); /* one SUBACK, every filter of it granted */
    /* Borrowed until the event returns. received_ns: when its bytes were handed to us. */
    void (*message)(struct load_client *client, const struct mqtt_publish *publish,
                    uint64_t received_ns);
    void (*finished)(struct load_client *client); /* PUBACK or PUBCOMP of one that we published */
    /* The last event. why: OK when we ended it, else what broke; reason: the broker's, or 0. */
    void (*closed)(struct load_client *client, enum err why, uint8_t reason);
};

/*
 * ERR_NOMEM, ERR_LIMIT, ERR_UNSUPPORTED as io_new(); ERR_INVALID: the path of the WebSocket does
 * not begin with a slash, or is too long to be asked for.
 */
enum err load_new(const struct load_config *config, struct load **out);
void load_free(struct load *load); /* accepts NULL; no events */

/* Wait for at most wait_ns, run events, send what they queued. */
void load_turn(struct load *load, uint64_t wait_ns);

/* The clock at this very moment, monotonic; comparable with received_ns. */
uint64_t load_clock_ns(void);

enum load_session {
    LOAD_SESSION_CONFIG, /* as load_config says */
    LOAD_SESSION_CLEAN,  /* a new one that ends with the connection */
    LOAD_SESSION_KEEP,   /* the old one if there is one, and it outlives the connection */
};

/* What may differ from client to client. Zero is as load_config says. Borrowed during the call. */
struct load_client_options {
    const char *client_id;
    const struct address *from;
    enum mqtt_version version;
    enum load_session session;
    uint16_t receive_max;
    const char *will_topic; /* NULL: no will */
    struct slice will_payload;
    uint8_t will_qos;
    bool will_retain;
    const struct tls_session *ticket; /* NULL: a full handshake */
};

/*
 * Start a client. All events may be NULL but closed. ERR_LIMIT (no room for another), ERR_NOMEM, or
 * what io_connect() said; then there is no event.
 */
enum err load_connect_with(struct load *load, const struct load_client_options *options,
                           const struct load_events *events, void *owner, struct load_client **out);

/* The same with nothing special. from: NULL, or instead of the config's. */
enum err load_connect(struct load *load, const char *client_id, const struct address *from,
                      const struct load_events *events, void *owner, struct load_client **out);

void *load_owner(const struct load_client *client);

/* From `opened` on: the broker had kept a session of that client id. */
bool load_is_resumed(const struct load_client *client);

/*
 * The newest ticket that the broker gave this client, also inside `closed`. The caller owns it
 * (tls_session_free()). NULL: none, or no TLS.
 */
struct tls_session *load_ticket(const struct load_client *client);

/* Queue a SUBSCRIBE of one filter. */
void load_subscribe(struct load_client *client, const char *filter, uint8_t qos);

/*
 * Queue one SUBSCRIBE with filters[count], count 1 or more; borrowed during the call. A SUBACK that
 * grants a lower QoS than the lowest of the last SUBSCRIBE ends the client with ERR_QOS.
 */
void load_subscribe_many(struct load_client *client, const struct mqtt_filter *filters,
                         uint32_t count);

/*
 * How many more messages of QoS 1 and 2 may be under way now: the broker's Receive Maximum less
 * those that are not finished [MQTT-3.3.4-7]; in 3.x 65535 less those. 0 before `opened`.
 */
uint32_t load_credit(const struct load_client *client);

/* QoS 2 messages that came and whose PUBREL did not, so far. */
uint32_t load_unreleased(const struct load_client *client);

/*
 * Queue a PUBLISH and return where its payload (payload_bytes) is to be written, at once.
 * NULL: the client has LOAD_QUEUE_MAX bytes queued or is ending, or the QoS is not 0 and there is
 * no credit; nothing was done.
 */
uint8_t *load_publish(struct load_client *client, struct slice topic, uint8_t qos, bool retain,
                      uint32_t payload_bytes);

/* Bytes that were queued and of which the kernel has not taken the last one. */
uint64_t load_unsent_bytes(const struct load_client *client);

/* DISCONNECT, then close; `closed` follows. */
void load_disconnect(struct load_client *client);

/* Close without a word, as a client does that crashed; `closed` follows, with OK. */
void load_drop(struct load_client *client);

uint32_t load_client_count(const struct load *load);

enum { LOAD_QUEUE_MAX = 512 * 1024 * 1024, LOAD_TEXT_MAX = 256 };

/*
 * What `closed` told, or load_connect() returned, as a sentence with what to do about it:
 * "connection refused: is the broker listening on 127.0.0.1:1883?". Returns out.
 */
const char *load_explain(const struct load_config *config, enum err why, uint8_t reason,
                         char out[LOAD_TEXT_MAX]);

/*
 * The same inside `closed`, which knows more: where TLS was what broke, what it said: "TLS with
 * 127.0.0.1:8883 failed: certificate has expired". client NULL: as load_explain().
 */
const char *load_explain_client(const struct load_config *config, const struct load_client *client,
                                enum err why, uint8_t reason, char out[LOAD_TEXT_MAX]);

#endif
