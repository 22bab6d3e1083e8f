/*
 * shard: a single-threaded loop and all that belongs to it.
 *
 * Floor:  broker; this header is the room's own: upper floors see broker.h and the few calls here
 *         that a simulator needs to take a shard's turns itself.
 * Thread: everything in struct shard is touched by the shard's thread only, but for the fields
 *         marked shared.
 *
 *     shard_turn:  the world's events (io)  ->  mail  ->  timers  ->  flush  ->  wake others
 *
 * Inside a turn the clock stands still. Between turns a shard holds no pointer into the trie.
 */
#ifndef TERN_BROKER_SHARD_H
#define TERN_BROKER_SHARD_H

#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/base/metrics.h"
#include "core/base/pool.h"
#include "core/base/rng.h"
#include "core/base/trail.h"
#include "core/base/wheel.h"
#include "core/broker/broker.h"
#include "core/broker/conn_out.h"
#include "core/broker/hold.h"
#include "core/broker/outbox.h"
#include "core/broker/partition.h"
#include "core/broker/route.h"
#include "core/io/io.h"
#include "core/io/workers.h"
#include "core/session/session.h"

#include <stdbool.h>
#include <stdint.h>

struct broker_settings;
struct mailbox;
struct conn;
struct ends;
struct sys_topics;
struct routes;

struct shard {
    struct broker *broker;
    uint32_t index, broker_shard_count;
    struct io *io;
    struct wheel *wheel;
    struct rng rng;
    struct metrics *metrics;
    struct trail *trail;
    struct journal *journal;     /* NULL: state is kept in memory alone */
    struct outbox *outbox;       /* goes with it */
    struct ends *ends;           /* so does this */
    struct mesh *mesh;           /* to other nodes; NULL: alone */
    struct routes *routes;       /* goes with it */
    uint64_t elsewhere;          /* partitions of this shard's that it does not lead, a bit each */
    struct trie *trie;           /* the node's */
    struct retain *retain;       /* the node's */
    const struct config *config; /* the current one; changes between turns only */
    const struct security *security; /* goes with it; NULL: nothing is guarded */
    uint64_t security_generation;    /* which one it is, from 1 on */
    uint64_t broker_memory_limit;    /* of it, or what stands for 0 */

    struct map *sessions; /* by client id */
    uint64_t key_last;    /* of the last session made here */
    struct list conns;    /* all of them, in every state */
    uint32_t conn_count, connecting_count;
    uint32_t limits_generation; /* of the rules that its connections count by */
    struct list dirty;          /* connections with output to flush at the end of the turn */
    struct list stalled;        /* connections that wait for a mailbox to have room */
    struct list replaying;      /* connections with retained messages still to be looked up */
    struct list subacks;        /* pending ones whose connection is gone */
    struct list orphans;        /* receipts whose connection went before their verdict */
    struct list handshakes;     /* TLS connections whose next step waits, see conn_tls.h */
    struct list held;           /* publishers that wait for receivers, see hold.h */
    struct list withholding;    /* publishers that are to come again, see withhold.h */
    struct session *behind;     /* a receiver of the message being routed; NULL: none is behind */
    struct pace told;           /* of whom behind_ns tells */
    uint64_t behind_shards;     /* where else somebody is behind */

    struct list explains; /* questions to all shards that are open, see explain.h */
    uint64_t explain_last;

    uint64_t wall_base_ms, now_base_ns; /* see shard_wall_ms() */
    uint64_t touched;     /* partitions in which something was logged for the present message */
    uint64_t flush_count; /* of the journal */
    struct origin origin; /* of the message that is being routed */

    uint64_t output_bytes; /* waiting in all connections */
    struct queue_totals queue_totals;
    uint64_t inflight_total;
    struct pool *receipts;
    struct route route;
    struct shares *shares;
    struct partitions partitions;
    struct mailbox *mailbox;
    struct sys_topics *sys_topics;        /* shard 0 only */
    struct workers_desk hashing, signing; /* slow work under way for connections of this shard */
    struct shard_listener {
        struct shard *shard;
        uint32_t index; /* of the configuration's listeners */
        struct io_listener *io;
    } listeners[LIMIT_CONFIG_LISTENERS * LIMIT_LISTENER_ADDRESSES];
    uint32_t listener_count;
    bool is_open, is_offline;
    bool has_guest;  /* the floor above uses io and wheel */
    bool has_begun;  /* the first turn was taken */
    bool is_loading; /* the journal's owner has more to tell */

    enum { SHARD_RUNNING, SHARD_DRAINING, SHARD_STOPPED } state;
    struct timer drain_timer, withholding_timer;

    /* Shared: */
    _Atomic uint64_t behind_ns; /* when a receiver here was last found behind; 0: it caught up */
    _Atomic(const struct broker_settings *)
        settings_next; /* release by the main thread, acquire here */
    _Atomic(const struct broker_settings *)
        settings_seen; /* release here, acquire by the main thread */
};

/*
 * In the thread that will take the turns: open all shards, then load all, then settle, by turns, until
 * all shards return true: every share group knows its members; then take turns. An error is told in
 * failure; shard_close() follows all the same.
 */
enum err shard_open(struct shard *shard, struct broker_failure *failure);
enum err shard_load(struct shard *shard, struct broker_failure *failure);
bool shard_settle(struct shard *shard);
void shard_close(struct shard *shard);

/* Open the listeners of the configuration. failure: one line when it fails. */
enum err shard_listen(struct shard *shard, struct broker_failure *failure);

/*
 * One turn. wait_ns_max: how long it may sleep when there is nothing to do. false: the shard has
 * stopped, there is no next turn.
 */
bool shard_turn(struct shard *shard, uint64_t wait_ns_max);

/*
 * The wall clock that everything lasting goes by, milliseconds since 1970: as at the start of the
 * broker, or later if the disk has seen a later one, and from then on as time passes. So neither a
 * clock that is set nor a restart before the clock is right takes expiries back or jumps ahead.
 */
uint64_t shard_wall_ms(const struct shard *shard);

/* Mail finds no room, or the disk cannot follow: who causes more should not be read. */
bool shard_is_stalled(const struct shard *shard);

/* Is this partition, one of this shard's, led here? On a lone node all are. */
static inline bool shard_leads(const struct shard *shard, uint32_t partition)
{
    return (shard->elsewhere >> partition & 1) == 0;
}

/* Which shard owns the session of this client id, or the retained message of this topic. */
uint32_t shard_of(const struct shard *shard, struct slice client_id);

/* Connections of the node, and of a listener, one more or one less. false: a limit is reached, it
 * was not counted. */
bool shard_count_conn(struct shard *shard, uint32_t listener_index);
void shard_uncount_conn(struct shard *shard, uint32_t listener_index);

/*
 * Something happened that the story of a client should tell, or a refusal at the door: into the trail,
 * and into the metric where the row of trail.h counts. It writes no log. Callers with a connection use
 * conn_tell() of explain.h, which fills in who it was.
 */
void shard_tell(struct shard *shard, const struct trail_event *event);

/* The same in short: a reason was given. */
void shard_count_drop(struct shard *shard, enum trail_what what, enum err why,
                      struct slice client_id, struct slice topic);

#endif
