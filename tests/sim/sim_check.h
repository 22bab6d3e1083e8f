/*
 * sim_check: were all promises kept? Knows what clients saw, and nothing of the broker's code.
 *
 * Floor:  tests.
 *
 * A message is numbered, and its number is its payload. A *life* is one session as its client knows
 * it: from a CONNACK without session to the next one, or until the client gives it up. What a life
 * is owed is counted from what its client had been told (SUBACK) when a message was sent; what it
 * may receive, from what its client had asked for (SUBSCRIBE). Between the two nothing is claimed.
 *
 *   P1  QoS 1, acknowledged: every life that was subscribed has it at least once
 *   P2  QoS 2, acknowledged: exactly once; QoS 0 and 2 never twice, acknowledged or not
 *   P3  order per publisher, topic and QoS, for what is not shared
 *   P4  nothing arrives that was not asked for, nothing from a connection that was taken over
 *   P5  a session is there when it must be, and not when it must not
 *   P6  the retained message of a topic is the last one stored
 *   P7  a will comes once when it is due, and never after a normal DISCONNECT
 *   P8  a shared message goes to one member, and to none only when its member's session ended
 *   P9  what has expired does not come to who was away then; who gets the rest is told what is left
 *   P10 the broker's clock is the wall's at the start, or what its disk has seen if that is later, and
 *       then goes on by itself; expiry and delays go by it, over crashes too
 *
 * A crash of the node changes none of them, when the node keeps its state on disk:
 *
 *   P1  P2  What was acknowledged is there. What was not may be there or not, and a publisher whose
 *       session is still there sends it again: QoS 2 comes once all the same. A publisher whose
 *       session ended with the crash sends nothing again: at most once.
 *   P5  Sessions that outlive their connection are there. Their time counts on while the node is
 *       down; of a connection that was open to the end it begins when the node is back. Sessions that
 *       end with their connection have ended.
 *   P6  as ever: the last one acknowledged, or a later one.
 *   P7  Whoever was connected has lost the connection without goodbye: the will comes, once. A
 *       goodbye of the last seconds may have been forgotten with the rest that nobody acknowledged:
 *       the broker acknowledges one by closing the connection.
 *   P8  What a member had whose session ends with the crash, or some seconds after it, ends with it,
 *       at any QoS. So does what a session that ends with its connection gave back in the last seconds.
 *
 * It loses a partition and leads it again without a crash: the same for whose session lives there, but for
 * wills (check_allow_flaps()); a message for a group that lives there, given back by memory, may be lost.
 *
 * A node without a disk forgets everything: no session is there, nothing is retained, no will comes.
 *
 * What was sent on a connection before a crash may be heard of after it: it counts for then.
 */
#ifndef TERN_SIM_SIM_CHECK_H
#define TERN_SIM_SIM_CHECK_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct sim;
struct check;

enum { CHECK_TOPIC_MAX = 24, CHECK_CLIENTS_MAX = 16, CHECK_FILTERS = 10, CHECK_GROUPS = 2 };

struct check_filter {
    const char *text;    /* as in SUBSCRIBE */
    const char *pattern; /* without share name */
    int group;           /* -1: not shared */
    int qos;             /* -1: the client chooses */
};
extern const struct check_filter check_filters[CHECK_FILTERS];

enum check_kind { CHECK_PLAIN, CHECK_WILL, CHECK_CLEAR, CHECK_GHOST };
enum check_fate { FATE_OPEN, FATE_MAY, FATE_MUST, FATE_MUST_NOT };

struct check *check_new(struct sim *sim, uint32_t client_count);
void check_free(struct check *check); /* accepts NULL */

/* What a client is: expiry_s of its sessions (UINT32_MAX: for ever), notice_ns: the longest time
 * until the broker certainly knows that its connection is gone, hears_refusals: as in version 5. */
void check_client(struct check *check, uint32_t client, uint32_t expiry_s, uint64_t notice_ns,
                  bool hears_refusals);

/*
 * Full queues refuse the publisher: what some had taken before another refused comes to them again
 * when it is published again, and a shared message finds no room after it was acknowledged.
 */
void check_allow_refusals(struct check *check);

/*
 * The disk is full or fails at times: what was refused, and the answer lost, comes again behind what was
 * taken later. Where a refusal cannot be said nothing later is taken. Not claimed yet, as it does not
 * hold: a shared message of QoS 2 may find no member that may take it.
 */
void check_allow_bad_disk(struct check *check);

/*
 * The node is gone, and began to go at begun_ns; forgets: it has no disk. And it is back.
 */
void check_crash(struct check *check, uint64_t begun_ns, bool forgets);
/* ahead_ns: what the broker's clock says now, against the world's; and what the wall's says. */
void check_restart(struct check *check, int64_t ahead_ns, int64_t wall_ns);

/*
 * The node leads that partition no more, and began to lose it at begun_ns: for the clients whose sessions
 * live there as if it had crashed. And it leads it again. A will of a connection that was open to the last
 * may wait, for so long, for its client to come back and take it with him.
 */
void check_allow_flaps(struct check *check, uint64_t will_grace_ns);
void check_lead_lost(struct check *check, uint32_t partition, uint64_t begun_ns);
void check_led(struct check *check, uint32_t partition);

/* Of that client's connection: it was to a node that has crashed and forgotten everything. */
bool check_is_forgotten(const struct check *check, uint32_t client);

/* A message to be; its number, from 1. */
uint32_t check_message(struct check *check, uint32_t publisher, const char *topic, uint8_t qos,
                       bool retain, enum check_kind kind);
void check_expires(struct check *check, uint32_t number, uint32_t expiry_s);
void check_publish_sent(struct check *check, uint32_t number); /* also when it is sent again */
void check_acked(struct check *check, uint32_t number);
void check_will_fate(struct check *check, uint32_t number, enum check_fate fate);
/* Its delay begins to run, if nobody comes back before. */
void check_will_runs(struct check *check, uint32_t number, uint32_t delay_s);

void check_connect_sent(struct check *check, uint32_t client, bool clean);
/* false: the session that is there may not be the one that the client knows. */
bool check_connack(struct check *check, uint32_t client, bool clean, bool session_present);
/* It says goodbye: when the broker hears of it is not known. */
void check_leaves(struct check *check, uint32_t client);
/* The connection is gone. is_known: the broker knows that already. */
void check_lost(struct check *check, uint32_t client, bool is_known);
/* Lost, as the broker closed it after a DISCONNECT: the end is on disk, and so is that of its will (0: none). */
void check_parted(struct check *check, uint32_t client, uint32_t will);

void check_subscribe_sent(struct check *check, uint32_t client, uint32_t filter, uint8_t qos);
void check_suback(struct check *check, uint32_t client, uint32_t filter);
void check_unsubscribe_sent(struct check *check, uint32_t client, uint32_t filter);
void check_unsuback(struct check *check, uint32_t client, uint32_t filter);

struct check_delivery {
    uint32_t number;
    struct slice topic;
    uint8_t qos;
    bool retain, dup;
    bool has_expiry, is_v5;
    uint32_t expiry_s;
    uint32_t subscription_id; /* 1 + filter; 0: none was said */
};
void check_delivered(struct check *check, uint32_t client, const struct check_delivery *delivery);

/* What a new subscriber finds on a topic after the faults: a number, or 0 for nothing. */
void check_retained(struct check *check, const char *topic, uint32_t number);

/* The last message with RETAIN that any client got on that topic since retained_forget, or 0. */
void check_retained_forget(struct check *check);
uint32_t check_retained_seen(const struct check *check, const char *topic);

/* After the quiet phase: whatever is still owed is a broken promise. */
void check_all_paid(struct check *check);

/* Which life received what, as one number; the order of arrival does not matter. */
uint64_t check_deliveries_hash(const struct check *check);
uint32_t check_delivery_count(const struct check *check);
uint32_t check_message_count(const struct check *check);
const char *check_topic(const struct check *check, uint32_t number);

#endif
