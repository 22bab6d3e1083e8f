/*
 * load: many MQTT clients in one thread, on the broker's own door to the world.
 *
 * They do what the protocol asks of a client (acknowledge, complete QoS 2, ping) and leave the rest
 * to the scenario through events. What is published in one turn leaves in one send per client.
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

struct load_config {
    struct address to;
    struct address from; /* ADDRESS_NONE: the system chooses */
    enum mqtt_version version;
    bool clean_start;
    uint16_t keepalive_s; /* 0: no pings */
    uint32_t session_expiry_s;
    const char *username, *password; /* NULL: none */
    uint32_t client_count_max;
    uint32_t packet_max_bytes; /* the largest packet we expect */
};

struct load_events {
    void (*opened)(struct load_client *client); /* the broker said welcome */
    void (*subscribed)(struct load_client *client);
    /* Borrowed until the event returns. received_ns: when its bytes were handed to us. */
    void (*message)(struct load_client *client, const struct mqtt_publish *publish,
                    uint64_t received_ns);
    void (*finished)(struct load_client *client); /* PUBACK or PUBCOMP of one that we published */
    /* The last event. why: OK when we ended it, else what broke; reason: the broker's, or 0. */
    void (*closed)(struct load_client *client, enum err why, uint8_t reason);
};

/* ERR_NOMEM, ERR_LIMIT, ERR_UNSUPPORTED as io_new(). */
enum err load_new(const struct load_config *config, struct load **out);
void load_free(struct load *load); /* accepts NULL; no events */

/* Wait for at most wait_ns, run events, send what they queued. */
void load_turn(struct load *load, uint64_t wait_ns);

/* The clock at this very moment, monotonic; comparable with received_ns. */
uint64_t load_clock_ns(void);

/*
 * Start a client. All events may be NULL but closed. from: NULL, or instead of the config's.
 * ERR_LIMIT, ERR_NOMEM, or what io_connect() said.
 */
enum err load_connect(struct load *load, const char *client_id, const struct address *from,
                      const struct load_events *events, void *owner, struct load_client **out);

void *load_owner(const struct load_client *client);

/* Queue a SUBSCRIBE of one filter. */
void load_subscribe(struct load_client *client, const char *filter, uint8_t qos);

/*
 * Queue a PUBLISH and return where its payload (payload_bytes) is to be written, at once.
 * NULL: the client has LOAD_QUEUE_MAX bytes queued, nothing was done.
 */
uint8_t *load_publish(struct load_client *client, struct slice topic, uint8_t qos, bool retain,
                      uint32_t payload_bytes);

/* DISCONNECT, then close; `closed` follows. */
void load_disconnect(struct load_client *client);

uint32_t load_client_count(const struct load *load);

enum { LOAD_QUEUE_MAX = 512 * 1024 * 1024 };

#endif
