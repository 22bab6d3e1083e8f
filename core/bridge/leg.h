/*
 * leg: one connection of a bridge, as a client: bytes to packets and packets to bytes.
 *
 * Floor:  bridge.
 * Thread: that of its io.
 * Memory: heap. leg_new() makes it, leg_drop() takes it from its owner; it frees itself with its last
 *         event, or legs_free() does when the io is gone.
 *
 *     attach or connect ──> [TLS] ──> open ──> packets ──> leg_drop, or `ended`
 *
 * What is written waits until leg_flush(): many packets leave as one. A packet that its owner cannot
 * take now is held, and all behind it: the socket is not read any more until leg_go_on().
 */
#ifndef TERN_BRIDGE_LEG_H
#define TERN_BRIDGE_LEG_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/io/io.h"
#include "core/io/tls_client.h"
#include "core/session/alias.h"
#include "core/wire/frame.h"
#include "core/wire/mqtt.h"
#include "core/wire/reader.h"

#include <stdbool.h>
#include <stdint.h>

struct leg;

struct leg_events {
    /* Bytes may be sent: connected, and through with TLS. */
    void (*opened)(void *owner, struct leg *leg);
    /*
     * A whole packet; its bytes are borrowed for the call. false: not now, it is held and comes again
     * after leg_go_on(). leg_drop() is legal.
     */
    bool (*packet)(void *owner, struct leg *leg, const struct frame *frame);
    /* It is over, and not by leg_drop(): its owner forgets it. detail: more about why, or "". */
    void (*ended)(void *owner, struct leg *leg, enum err why, const char *detail);
    /* The last call of a turn in which any of the above was, unless it was dropped. */
    void (*turned)(void *owner);
};

/* Packet ids, one bit each. */
struct ids {
    uint64_t words[1024];
    uint32_t count;
};

struct leg {
    struct list link; /* in a list of all legs */
    struct io *io;
    struct io_stream *stream;
    const struct leg_events *events; /* NULL: dropped */
    void *owner;
    struct tls *tls; /* NULL: in clear */
    bool is_open, is_held, is_paused, is_reading, is_broken;
    enum err broken_by;
    struct buf in;           /* plain, not handled yet */
    struct buf out, sending; /* out: plain; sending: as it goes over the wire, in flight */
    struct buf sealed;       /* what TLS wants to send */
    uint64_t read_ns, sent_ns;
    bool is_pinged;

    /* What was agreed on with the server, by meet.c. */
    enum mqtt_version version;
    uint32_t packet_max_in, packet_max_out; /* 0: none */
    uint32_t window_max;                    /* the server's Receive Maximum */
    uint32_t keepalive_s;
    uint8_t qos_max;
    bool has_no_retain, has_joined, session_present;
    uint16_t request_id;             /* of the SUBSCRIBE or UNSUBSCRIBE that is out; 0: none */
    bool is_subscribing;             /* else it unsubscribes first */
    uint32_t topic_from, topic_next; /* rows that the request is about */
    struct alias_in alias_in;
    struct ids open;    /* sent with QoS 1 or 2 and not finished */
    struct ids swallow; /* a PUBCOMP of ours is on the way */
};

/* NULL: memory is exhausted. */
struct leg *leg_new(struct list *all, struct io *io, const struct leg_events *events, void *owner);

/* One of these, once. On an error the leg is as new: leg_drop() it. */
enum err leg_attach(struct leg *leg, int64_t handle);
enum err leg_connect(struct leg *leg, const struct address *to, const struct address *from,
                     struct tls_context *tls, const char *server_name);

/* Its owner wants nothing of it any more. what was flushed is still sent if is_polite. */
void leg_drop(struct leg *leg, bool is_polite);

/* Room for a packet of count bytes; NULL: memory is exhausted, and it ends. Written at once. */
uint8_t *leg_packet(struct leg *leg, size_t count);
void leg_flush(struct leg *leg);

/* Bytes that wait to be read by the other side's machine. */
static inline size_t leg_backlog(const struct leg *leg)
{
    return buf_count(&leg->out) + buf_count(&leg->sending) + buf_count(&leg->sealed);
}

/* Offer the held packet once more, and what is behind it. */
void leg_go_on(struct leg *leg);

/* It ends with its next flush, as if the other side had ended it. */
void leg_break(struct leg *leg, enum err why);

void legs_free(struct list *all); /* their io is gone */

static inline bool ids_has(const struct ids *ids, uint16_t id)
{
    return (ids->words[id / 64] >> id % 64 & 1) != 0;
}
static inline void ids_add(struct ids *ids, uint16_t id)
{
    ids->count += !ids_has(ids, id);
    ids->words[id / 64] |= UINT64_C(1) << id % 64;
}
static inline void ids_fill(struct ids *ids)
{
    memset(ids->words, 0xff, sizeof(ids->words));
    ids->count = 65536;
}
/* false: it was not there. */
static inline bool ids_take(struct ids *ids, uint16_t id)
{
    bool was = ids_has(ids, id);
    ids->count -= was;
    ids->words[id / 64] &= ~(UINT64_C(1) << id % 64);
    return was;
}

#endif
