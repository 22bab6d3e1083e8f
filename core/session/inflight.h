/*
 * inflight: messages sent to one client and not yet finished.
 *
 * Floor:  session; knows msg, knows neither sockets nor clocks.
 * Thread: the shard that owns the session; no locks.
 * Memory: one slot per message of the window, in the order of sending; none while idle.
 */
#ifndef TERN_SESSION_INFLIGHT_H
#define TERN_SESSION_INFLIGHT_H

#include "core/base/err.h"
#include "core/session/delivery.h"

#include <stdbool.h>
#include <stdint.h>

/* What a client can say about a message that was sent to it. */
enum inflight_event { ON_PUBACK, ON_PUBREC, ON_PUBREC_REFUSED, ON_PUBCOMP, INFLIGHT_EVENT_COUNT };

/* Zero-initialised is empty; total must be set before the first use. */
struct inflight {
    struct deque slots; /* in order of sequence; finished ones in the middle are FREE */
    uint32_t used;      /* slots that are not FREE */
    uint64_t bytes;     /* of the messages that may have to be sent again */
    uint64_t *total;    /* the shard's count of slots used by all sessions */
};

/* What a client takes at once. */
struct window {
    uint32_t count_max; /* the smaller of its Receive Maximum and max_inflight_messages */
    uint64_t bytes_max; /* max_inflight_bytes; 0: no bound. One message is always allowed. */
};

void inflight_deinit(struct inflight *in);

/* May one more be sent? See inflight_send. */
bool inflight_has_room(const struct inflight *in, const struct window *window, uint64_t sequence);

/*
 * Begin sending a delivery of QoS 1 or 2 and give it a packet id.
 *
 * delivery  taken over on OK; its sequence is greater than that of all sent before
 * id_out    1 + (sequence mod 65535): the same after a restart or a fail-over; written only on OK
 *
 * ERR_LIMIT  the client's Receive Maximum is reached [MQTT-3.3.4-9], or the span of sequences in
 *            flight would reach 65535 and an id would repeat [MQTT-2.2.1-4]; keep it queued
 * ERR_NOMEM
 */
enum err inflight_send(struct inflight *in, const struct delivery *delivery,
                       const struct window *window, uint16_t *id_out);

/*
 * Put back what was in flight before a restart, in the order of its sequence: state says which answer
 * is awaited, is_dup and must_resend are set. Taken over on OK. ERR_NOMEM.
 */
enum err inflight_restore(struct inflight *in, const struct delivery *delivery,
                          enum delivery_state state);

/* The packet id of a sequence. */
uint16_t inflight_id(uint64_t sequence);

/*
 * The client answered. *done receives the delivery when the exchange is over (its message may
 * have gone already; the caller deinits it), or state != FREE when it goes on. done->must_resend
 * says that it was still to be sent again; it no longer is.
 *
 * send_pubrel  the answer to send next
 * ERR_NOT_FOUND  no message with that id is in flight
 * ERR_PROTOCOL   an answer that does not fit the QoS or the step
 */
enum err inflight_ack(struct inflight *in, uint16_t id, enum inflight_event event,
                      bool *send_pubrel, struct delivery *done);

/* Everything still in flight, oldest first, to be sent again; NULL ends. cursor starts at 0. */
struct delivery *inflight_next(struct inflight *in, uint32_t *cursor);

/*
 * Take slots back out of the window without an answer, where the client will never give one (the
 * session ends): the oldest, or false when none is left. The caller deinits it.
 */
bool inflight_take(struct inflight *in, struct delivery *out);

/* End one slot without an answer; out receives what it held. false: it was free already. */
bool inflight_give_up(struct inflight *in, struct delivery *slot, struct delivery *out);

#endif
