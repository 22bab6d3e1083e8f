/*
 * bridge_parts: what the files of this room share among themselves.
 *
 *     bridge.c  the life of a bridge: when it connects, where to, when it ends
 *     meet.c    CONNECT and SUBSCRIBE on both legs
 *     pass.c    from one leg to the other
 *     remap.c   topics
 *     lookup.c  names and certificates, off the shard's thread
 *     leg.c     bytes and packets
 */
#ifndef TERN_BRIDGE_BRIDGE_PARTS_H
#define TERN_BRIDGE_BRIDGE_PARTS_H

#include "core/base/rng.h"
#include "core/bridge/bridge.h"
#include "core/bridge/leg.h"
#include "core/bridge/lookup.h"

/*
 *     PREPARE ──> [LAZY] ──> SEEK ──> CONNECT ──> JOIN ──> OPEN
 *        ^           ^         ^                             │
 *        │           └─────────┼──── idle ───────────────────┤
 *        └── WAIT <────────────┴──── failure (of any) <──────┘
 */
enum bridge_state {
    BRIDGE_REST,    /* it has ended: `once`, or the broker drains */
    BRIDGE_WAIT,    /* for the next attempt */
    BRIDGE_PREPARE, /* the local session is made, so that it keeps what is to be sent */
    BRIDGE_LAZY,    /* the local leg counts what waits */
    BRIDGE_SEEK,    /* the remote address is looked up */
    BRIDGE_CONNECT, /* the remote leg connects, until its CONNACK */
    BRIDGE_JOIN,    /* the local leg connects; both subscribe */
    BRIDGE_OPEN,
};

struct bridges {
    struct io *io;
    struct wheel *wheel;
    struct bridge_ports ports;
    struct rng rng;
    struct list all;  /* bridges */
    struct list legs; /* all of them, dropped ones too */
    bool has_door;    /* the broker has the listener that local legs come in by */
};

struct bridge {
    struct list link;
    struct bridges *bridges;
    const struct bridge_config *config;
    enum bridge_state state;
    struct timer timer; /* of the state */
    struct leg *local, *remote;
    struct lookup *lookup; /* SEEK, until the remote leg is up */
    uint32_t address_index, address_tried, ip_index;
    uint64_t backoff_ns; /* the last one */
    uint64_t open_ns, used_ns;
    bool is_prepared;        /* the local session is there */
    bool is_local_new;       /* it has sent nothing to the remote one yet */
    bool is_wanted;          /* enough waits: a lazy bridge connects */
    bool is_private_refused; /* the other side does not take mosquitto's bit */
    bool is_told;            /* why it cannot connect stands in the log */
    uint32_t waiting_count;
    struct buf kept; /* QoS 0 that came before there was a remote leg: whole packets */
    uint16_t last_out_id;
    /* QoS 2 ids that may be taken by an earlier session of the other side, see pass.c. */
    struct ids stale_remote, stale_local;

    /* The first address is tried while another one is in use. */
    struct leg *probe;
    struct lookup *probe_lookup;
    uint64_t probe_ns;
};

/* ---- bridge.c ------------------------------------------------------------------------------- */

/* A leg is subscribed to all that it should. */
void bridge_ready(struct bridge *bridge, struct leg *leg);
/* The remote side has taken us. */
void bridge_joined(struct bridge *bridge);
/* Enough waits: a lazy bridge connects. */
void bridge_wake(struct bridge *bridge);

/* ---- meet.c --------------------------------------------------------------------------------- */

void meet_hello(struct bridge *bridge, struct leg *leg);
/* CONNACK, SUBACK and UNSUBACK. What is wrong breaks the leg. */
void meet_connack(struct bridge *bridge, struct leg *leg, const struct frame *frame);
void meet_suback(struct bridge *bridge, struct leg *leg, const struct frame *frame);
/* Begin to unsubscribe and subscribe; bridge_ready() follows. */
void meet_subscribe(struct bridge *bridge, struct leg *leg);
/* Tell both sides. */
void meet_notify(struct bridge *bridge, bool is_up);
void meet_goodbye(struct leg *leg);
void meet_ping(struct leg *leg);

/* ---- pass.c --------------------------------------------------------------------------------- */

/* false: not now. */
bool pass_packet(struct bridge *bridge, struct leg *from, const struct frame *frame);
/* What was kept goes to the remote leg, which is up. */
void pass_kept(struct bridge *bridge);

/* ---- remap.c -------------------------------------------------------------------------------- */

enum { REMAP_BYTES_MAX = 65535 };

/*
 * The topic at the other side, as its parts prefix and rest, both borrowed. false: no row of that
 * direction has it, or it becomes longer than a topic can be.
 */
bool remap(const struct bridge_config *config, enum bridge_direction direction, struct slice topic,
           struct slice *prefix, struct slice *rest);

#endif
