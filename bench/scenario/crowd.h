/*
 * crowd: many clients of one kind, which come a few at a time and are held.
 *
 *            crowd_connect          CONNACK          crowd_ready
 *     away ────────────────> coming ───────> open ────────────────> ready
 *       ^                                                            │
 *       └── crowd_leave (DISCONNECT), crowd_drop (nothing is said) ──┘
 *
 * A client that is refused or lost is counted in the report, and the first one of each kind is
 * explained on standard error; after that the crowd is broken, unless it is tolerant.
 *
 * Floor:  bench; knows load.
 * Thread: the owner; several crowds may share a load.
 * Memory: 48 bytes a member, besides the client; freed by crowd_deinit() after load_free().
 */
#ifndef TERN_BENCH_CROWD_H
#define TERN_BENCH_CROWD_H

#include "bench/crew/crew.h"
#include "bench/load/load.h"
#include "bench/scenario/scenario.h"

enum {
    CROWD_COMING_MAX = 64, /* fewer than any backlog holds */
    CROWD_REFUSED_MAX = 1000,
    CROWD_KINDS_MAX = 4, /* of refusals that are told; they may be refused for several reasons */
};

#define CROWD_TURN_NS  ((uint64_t)50000000)
#define CROWD_STALL_NS ((uint64_t)10000000000) /* nobody came, nothing came: it is over */
#define CROWD_DRAIN_NS ((uint64_t)5000000000)  /* nothing came of what was on the way: it is lost */
#define CROWD_QUIET_NS ((uint64_t)200000000)   /* how long what should not come is listened for */

struct crowd;

struct crowd_member {
    struct crowd *crowd;
    struct load_client *client; /* NULL: away */
    uint64_t begin_ns;          /* as crowd_connect() was told */
    uint32_t index;             /* over all members of the crew */
    struct tls_session *ticket; /* to come again with; NULL: none, or nobody resumes */
    bool is_open, is_ready;
};

struct crowd_events {
    void (*opened)(struct crowd_member *member); /* NULL: who is welcome is ready */
    void (*subscribed)(struct crowd_member *member);
    void (*message)(struct crowd_member *member, const struct mqtt_publish *message,
                    uint64_t received_ns);
    void (*finished)(struct crowd_member *member);
    void (*closed)(struct crowd_member *member); /* it is away, for whatever reason */
};

struct crowd {
    const struct scenario_options *options;
    struct report *report; /* refused_count */
    struct load *load;
    const char *name; /* client ids are bench-NAME-INDEX */
    const struct crowd_events *events;
    void *owner;
    enum load_session session; /* of who connects from now on */
    bool is_tolerant;          /* up to CROWD_REFUSED_MAX */

    struct crowd_member *members;
    uint32_t count;
    uint32_t coming_count, open_count, ready_count; /* coming: neither ready nor away */
    bool is_leaving, is_broken;
    char told[CROWD_KINDS_MAX][LOAD_TEXT_MAX];
    uint32_t told_count;
    bool is_fetching; /* tickets: the owner hears nothing */
    bool is_settling; /* the user's wish to end is known; what goes on now is the account */
};

/*
 * Fill in the fields above the empty line, then this, for count clients in all, of which a crew's
 * member has its share: crowd->count. ERR_NOMEM.
 */
enum err crowd_init(struct crowd *crowd, uint32_t count);
void crowd_deinit(struct crowd *crowd); /* accepts a zeroed one */

/* Broken, or the user wants the run to end. */
bool crowd_is_over(const struct crowd *crowd);

/*
 * One client comes, which is away. begin_ns: when that was to happen; for the owner. On failure it
 * is counted and explained like one that was refused.
 */
void crowd_connect(struct crowd_member *member, uint64_t begin_ns);

/* With `opened`, the owner says when a member has all it needs. Once per connection. */
void crowd_ready(struct crowd_member *member);

/*
 * Bring everybody, coming_max at a time, and turn until all are ready or the crowd is over.
 * ERR_TIMEOUT (nobody got on for CROWD_STALL_NS; said how many wait for what), ERR_CLOSED (broken).
 */
enum err crowd_gather(struct crowd *crowd, uint32_t coming_max);

/*
 * With is_resuming: everybody comes once with a full handshake, of which the owner hears nothing, and
 * leaves with a ticket. As crowd_gather(). In any case handshakes are counted from here on.
 */
enum err crowd_fetch_tickets(struct crowd *crowd);

/* Turn the load until then, or until the crowd is over. */
void crowd_turn_until(struct crowd *crowd, uint64_t until_ns);

/* The crowd's part of a crew has come so far: turn until the others have, too, or one has failed. */
void crowd_meet(struct crowd *crowd, enum crew_stage stage);

/* The message's head is as it should be at its first delivery. */
static inline bool crowd_message_is(const struct mqtt_publish *message, const char *topic,
                                    uint8_t qos, bool retain)
{
    return slice_is(message->topic, topic) && message->qos == qos && message->retain == retain &&
           !message->dup;
}

/* Everybody leaves, and is waited for as long as somebody still goes. */
void crowd_leave(struct crowd *crowd);
void crowd_drop(struct crowd *crowd);

#endif
