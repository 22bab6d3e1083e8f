/*
 * sim_check_parts: what the checker remembers; sim_check.c gathers it, sim_check_delivered.c
 * judges what arrives, sim_check_paid.c settles it.
 *
 * Floor:  tests; private to these three.
 */
#ifndef TERN_SIM_SIM_CHECK_PARTS_H
#define TERN_SIM_SIM_CHECK_PARTS_H

#include "tests/sim/sim_check.h"

struct message {
    char topic[CHECK_TOPIC_MAX];
    uint32_t publisher, publisher_count; /* how many its publisher had sent before */
    uint8_t qos;
    bool retain;
    enum check_kind kind;
    enum check_fate fate;                       /* of a will */
    bool is_withdrawn;                          /* and that is on disk */
    uint64_t first_tick, last_tick, acked_tick; /* 0: not yet */
    uint64_t first_ns, fate_ns;
    uint32_t expiry_s; /* 0: it does not expire */
    uint64_t first_clock_ns, acked_clock_ns;
    uint32_t sent_start, acked_start;  /* which start of the node that was said to */
    uint8_t group_count[CHECK_GROUPS]; /* deliveries by a shared subscription at QoS 2 */
    bool group_has[CHECK_GROUPS];
};

/* A subscription of one life, from SUBSCRIBE to UNSUBACK. */
struct interval {
    uint32_t filter;
    uint8_t qos;
    uint64_t asked, sure_from, sure_until, until; /* ticks; sure_from 0: no SUBACK yet */
};

struct got {
    uint8_t exact, any; /* at QoS 0 or 2; at all */
    bool at_qos_0;
};

/* The highest number seen of a publisher, a topic, a QoS as published and as delivered. */
struct order {
    uint64_t key;
    uint32_t number;
};

struct life {
    uint32_t client, index; /* index: how many the client had before */
    bool is_over;           /* nothing is owed to it any more */
    uint64_t next_ns;       /* when its client heard of the next one; 0: it is the last */
    struct interval *intervals;
    uint32_t interval_count, interval_capacity;
    struct got *got;
    uint32_t got_capacity;
    struct order *orders;
    uint32_t order_count, order_capacity;
};

/* Times are the broker's clock (check_clock). */
struct known_client {
    uint32_t expiry_s;
    uint64_t notice_ns;
    bool hears_refusals;
    enum { SESSION_NONE, SESSION_MAYBE, SESSION_SURE } session;
    struct life *life; /* NULL: none yet */
    uint32_t life_count, message_count, connect_count;
    uint32_t doubt_count;      /* CONNECTs in a row at which its session may have been over */
    uint64_t lost_ns, gone_ns; /* the connection's end; when the broker knows it for certain */
    bool is_connected;
    bool has_parted;   /* its end, by DISCONNECT, is on disk */
    bool is_answered;  /* its last CONNECT, and not with a refusal */
    uint64_t died_ns;  /* when the node of its connection began to go; 0: it did not */
    uint64_t over_ns;  /* since then its last connection with a CONNACK may be over; 0: it is not */
    uint64_t begun_ns; /* its last CONNECT */
    uint32_t late_will, late_delay_s; /* a will whose delay runs; 0: none */
    bool is_lost;                     /* its partition is absent; when it came last: */
    uint64_t led_ns;
    uint32_t start; /* which start of the node the connection is to */
};

struct check {
    struct sim *sim;
    uint64_t tick;
    uint32_t client_count;
    struct known_client clients[CHECK_CLIENTS_MAX];
    struct message *messages;
    uint32_t message_count, message_capacity;
    struct life **lives;
    uint32_t life_count, life_capacity;
    uint64_t group_unsure_ns[CHECK_GROUPS]; /* a member's session may end until then */
    uint64_t group_lost_ns[CHECK_GROUPS]; /* a member's messages were lost in a crash until then */
    bool has_refusals, has_bad_disk, has_flaps;
    uint64_t will_grace_ns;
    uint32_t start; /* of the node, from 0 */
    bool is_down, forgets;
    uint64_t restart_ns; /* the broker's clock */
    int64_t ahead_ns;    /* so much is the broker's clock ahead of the world's */
    uint64_t told_ns;    /* the latest clock that is on disk for certain; 0: none is */
    uint64_t deliveries_hash;
    uint32_t delivery_count;
    uint32_t retained_seen[CHECK_CLIENTS_MAX]; /* by the client in the topic r/<client> */
};

/* What the broker's clock says now: expiry and delays go by it. */
uint64_t check_clock(const struct check *check);

struct message *check_message_of(struct check *check, uint32_t number); /* from 1 */

/* Room for one item more than count, zeroed; the item's size. */
void *check_grown(void *items, uint32_t count, uint32_t *capacity, size_t size);

/* Does the filter match that topic? */
bool check_matches(const char *pattern, const char *topic);

#endif
