/*
 * store_own: the inside of struct store, for store*.c alone.
 *
 * Floor:  storage.
 *
 * What belongs to the log lane and what to the state lane stands apart; the rest is fixed while the
 * store is open, or atomic.
 */
#ifndef TERN_STORAGE_STORE_OWN_H
#define TERN_STORAGE_STORE_OWN_H

#include "storage/folder.h"
#include "storage/store.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    STORE_RETRY_NS = 100 * 1000 * 1000,       /* between two tries on a full disk */
    STORE_SYNC_SOON_NS = 100 * 1000 * 1000,   /* STORE_RELAXED: what it may lose */
    STORE_SYNC_LATER_NS = 1000 * 1000 * 1000, /* STORE_QUORUM */
    STORE_KEPT_BYTES = 8 * 1024 * 1024,       /* of what is answered and not synced; beyond, */
    STORE_KEPT_COUNT = 4096,                  /* or as many batches, it is synced at once */
};

/* Jobs that a lane could not do yet, oldest first. */
struct store_waiting {
    struct job *first, **last;
};

/* The log lane's. */
struct store_log_side {
    struct store_waiting waiting;
    bool is_full;       /* the map met ERR_NO_SPACE: it is opened again before its next use */
    bool is_low;        /* too little space for more, as far as we looked */
    uint64_t retry_ns;  /* on a full disk; UINT64_MAX: it is not */
    uint64_t looked_ns; /* when free space was looked at last; and what was written since */
    uint64_t looked_bytes;
    uint64_t unsynced_ns; /* since when something answered is not synced; UINT64_MAX: all is */
    struct kv_batch *kept[STORE_KEPT_COUNT]; /* copies of that, oldest first */
    uint32_t kept_count;
    uint64_t kept_bytes;
};

/* Where the state of a partition stands. */
struct store_place {
    uint64_t index, term;
};

/* The state lane's. */
struct store_state_side {
    struct store_waiting waiting; /* not applied yet */
    struct store_waiting applied; /* in the set, which is not written yet */
    uint64_t applied_bytes;       /* memory of these */
    struct write_set *writes;
    uint64_t write_ns;         /* until when applied may wait */
    uint64_t retry_ns;         /* after what could not be done; UINT64_MAX: all was */
    struct lane_desk cut_desk; /* on the log lane */
    struct store_append cut;   /* one at a time */
    bool cut_is_due;
    uint64_t cut_index[STORE_PARTITIONS];
};

struct store {
    struct store_config config;
    struct folder folder;
    bool is_unwanted; /* it is new, and goes when it is closed */
    char log_folder[PATH_MAX + 16], state_folder[PATH_MAX + 16];
    struct kv *log, *state;
    /* Held for writing while the log map is opened again, for reading by who uses it and is not the
     * log lane. */
    pthread_rwlock_t log_gate;
    struct lane *log_lane, *state_lane;
    struct store_log_side log_side;
    struct store_state_side state_side;

    /* Held from reading `flushed` to the cut's way into the log lane, and by a backup from one
     * checkpoint to the other: no cut comes between them. */
    pthread_mutex_t cut_lock;
    pthread_mutex_t place_lock;                   /* written, which loaders tell of too */
    struct store_place written[STORE_PARTITIONS]; /* in the state map, flushed or not */
    struct store_place flushed[STORE_PARTITIONS]; /* the state lane's */
    _Atomic uint64_t keep_from[STORE_PARTITIONS];
    _Atomic uint64_t
        loaded; /* partitions whose loader has told where they stand; all: flushes begin */

    _Atomic uint64_t replacing;     /* partitions that an image takes the place of */
    _Atomic uint64_t replace_count; /* how often one began */

    _Atomic bool is_fenced, is_closing, has_no_space;
    _Atomic uint64_t log_waiting_bytes, state_waiting_bytes;
    _Atomic uint64_t gathered_bytes; /* of log since the last flush */
    _Atomic uint64_t sync_count, sync_ns_total, sync_ns_max, append_bytes, append_count;
    _Atomic uint64_t apply_count, flush_count, cut_count, free_bytes;
};

/* The lanes' work; the owner is the store. */
void store_log_run(void *context, struct job *jobs);
uint64_t store_log_wake_ns(void *context);
/* It is synced, or nobody will write it any more. */
void store_log_forget_kept(struct store *store);
void store_state_run(void *context, struct job *jobs);
uint64_t store_state_wake_ns(void *context);

/* How it ends, after the lanes' threads: flush, cut, sync; an error is logged. */
void store_state_end(struct store *store);

/* From now on nothing durable is accepted; said in the log once. what: "sync of the log". */
void store_fence(struct store *store, const char *what, enum err err);

static inline bool store_is_fenced(const struct store *store)
{
    return atomic_load_explicit(&store->is_fenced, memory_order_relaxed);
}

static inline bool store_is_closing(const struct store *store)
{
    return atomic_load_explicit(&store->is_closing, memory_order_relaxed);
}

static inline void store_wait(struct store_waiting *waiting, struct job *jobs)
{
    *waiting->last = jobs;
    while (*waiting->last != NULL) {
        waiting->last = &(*waiting->last)->next;
    }
}

/* The oldest, which is there. */
static inline struct job *store_wait_pop(struct store_waiting *waiting)
{
    struct job *job = waiting->first;
    waiting->first = job->next;
    if (waiting->first == NULL) {
        waiting->last = &waiting->first;
    }
    return job;
}

/* The oldest of one, which is there, becomes the newest of the other. */
static inline void store_wait_move(struct store_waiting *to, struct store_waiting *from)
{
    struct job *job = store_wait_pop(from);
    job->next = NULL;
    store_wait(to, job);
}

/* A counter of which others read the sum. */
static inline void store_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

#endif
