/*
 * session: one client's durable self; present (a connection is attached) or away.
 *
 * Floor:  session; knows no sockets and reads no clock.
 * Thread: the shard that owns the session: partition of the client id modulo shards.
 * Memory: one object and what hangs on it; nothing for queues, windows and filters while unused.
 *
 * What of it must survive is changed only by the ops of op.h.
 */
#ifndef TERN_SESSION_SESSION_H
#define TERN_SESSION_SESSION_H

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/wheel.h"
#include "core/pubsub/trie.h"
#include "core/session/inbound.h"
#include "core/session/inflight.h"
#include "core/session/queue.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PARTITION_COUNT = 64,
    EXPIRY_NEVER = 0xFFFFFFFF, /* Session Expiry Interval: does not expire, 3.1.2.11.2 */
};

/* Which of the 64 partitions a client id, or a share name with its filter, belongs to. */
uint32_t partition_of(struct slice key);

struct session;

/* One filter a session subscribed to. */
struct subscription {
    struct sub sub;   /* how it hangs in the trie; of a shared one only the settings are used */
    struct list link; /* in session->subscriptions */
    struct session *session;
    void *replay;            /* the broker's: retained messages still owed for it; NULL: none */
    uint64_t share;          /* id of the share group; 0: not shared, or not joined yet */
    uint64_t share_hash;     /* hash_bytes() of the group's name, "name/filter" */
    struct slice text;       /* the filter as the client wrote it (mount point left out) */
    struct slice share_name; /* empty: not shared; points into text */
    struct slice filter;     /* as it hangs in the trie: mount point included */
    uint8_t bytes[];
};

struct will {
    struct msg *msg; /* NULL: none */
    uint32_t delay_s;
    bool has_expiry;
    uint32_t expiry_s; /* counted from when it is published */
};

/*
 * What only a session needs that outlives its connection, or leaves a will.
 *
 * A message leaves when it is certain that it will not be forgotten (op.h). Of many in a row a run
 * is told at once: those up to run_sequence are logged and not committed yet.
 */
struct afterlife {
    struct session *session;
    struct will will;
    struct timer will_timer;   /* away: when the will is due */
    struct timer expiry_timer; /* away: when the session ends */
    uint64_t logged_sequence;  /* of the last message of which something was logged */
    uint64_t stable_sequence;  /* messages up to this one may be sent, and those behind logged_ */
    uint64_t sent_sequence;    /* the last one that was */
    uint64_t doubt_sequence;   /* up to this one they may have been sent before a crash: DUP */
    struct run *run;           /* to which the next message may be added; NULL: none */
    uint32_t pins;             /* calls that will come back to it: so long it is not freed */
    bool is_over;              /* the session has ended, only they hold it */
};

struct session {
    struct slice client_id; /* owned */
    uint64_t key;      /* this life of the session, unique on the node: No Local, share groups */
    uint64_t sequence; /* of the last QoS 1 or 2 message meant for it */
    void *conn;        /* the broker's connection, NULL: away */
    void *owner;       /* the broker's shard */
    void *rights;      /* the broker's: rules for it; NULL: none are known */
    void *limits;      /* the broker's: where what it holds counts; NULL: nowhere */
    struct slice username;   /* owned; as proven last. data NULL: nobody's */
    uint64_t password_stamp; /* of the lines that proved its user, see password.h; 0: none did */
    uint32_t expiry_s;       /* counted from the end of the connection */
    uint16_t listener_index; /* by which it came last */
    uint8_t partition;       /* of its client id */
    bool is_durable;         /* on disk there is something of it */
    bool is_kept;  /* it outlives its connection, on disk, or did: all its changes are ops */
    bool has_more; /* on disk there is, or was, more of it than itself */

    struct list subscriptions; /* the shared ones first: they are few, and looked for */
    uint32_t subscription_count;
    struct map *by_filter; /* NULL while there are few */

    struct queue queue;
    struct inflight inflight;
    struct inbound inbound;

    struct afterlife *afterlife; /* NULL: ends with its connection and leaves no will */
    uint64_t match_turn;         /* the match that last saw this session (overlapping filters) */
    uint32_t match_index;
};

/* NULL: memory is exhausted. The id is copied. */
struct session *session_new(struct slice client_id, uint64_t key);

/* It belongs to that user from now on; copied. data NULL: to nobody. ERR_NOMEM: as before. */
enum err session_set_username(struct session *session, struct slice username);

/* No subscription may be left. Accepts NULL. */
void session_free(struct session *session);

struct subscription *session_subscription(const struct session *session, struct slice text);

/* The shared ones, one after the other; after NULL: the first. NULL: that was the last. */
struct subscription *session_shared_next(const struct session *session,
                                         const struct subscription *after);

/* The shared one of that group: key is "name/filter", the last filter_bytes are the filter. */
struct subscription *session_shared_subscription(const struct session *session, struct slice key,
                                                 size_t filter_bytes);

/*
 * Add a subscription that does not hang yet. filter_prefix is the mount point. The caller fills
 * sub's settings. NULL: memory is exhausted.
 */
struct subscription *session_subscription_add(struct session *session, struct slice text,
                                              struct slice share_name, struct slice filter,
                                              struct slice filter_prefix);

/* Remove and free; it must not hang in the trie any more. */
void session_subscription_remove(struct subscription *subscription);

void will_deinit(struct will *will);

/* Of a session that is over: freed when no run of it is under way any more. */
void afterlife_release(struct afterlife *afterlife);

/* The will, or NULL: it has none. */
struct will *session_will(const struct session *session);

#endif
