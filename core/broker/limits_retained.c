/*
 * Who set a retained message owns it until it is replaced or taken away, also when he has gone: so a
 * limit cannot be passed by coming again. An entry per topic, under the hash of its name, refers to
 * the accounts of its owner; there are none unless a limit on retained messages is written.
 *
 * What expires, or finds no place in the store, counts until it is set again.
 */
#include "core/base/ledger.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/broker/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct owned {
    uint64_t hash; /* 64 bits with a secret seed stand for the topic */
    struct quota_holder holder;
};

struct owners {
    pthread_mutex_t lock;
    uint64_t seed;
    struct map *topics;
    _Atomic uint32_t count; /* relaxed: 0 spares the lock where nothing is limited */
};

static struct slice key_of(const void *value)
{
    return slice_of(&((const struct owned *)value)->hash, sizeof(uint64_t));
}

struct owners *owners_new(uint64_t seed)
{
    struct owners *owners = calloc(1, sizeof(*owners));
    if (owners == NULL) {
        return NULL;
    }
    pthread_mutex_init(&owners->lock, NULL);
    owners->seed = seed;
    owners->topics = map_new(key_of, seed);
    if (owners->topics == NULL) {
        owners_free(owners);
        return NULL;
    }
    map_enter(owners->topics, LEDGER_RETAINED);
    return owners;
}

static void owned_free(struct owned *owned)
{
    quota_leave(&owned->holder);
    ledger_add(LEDGER_RETAINED, -ledger_block(sizeof(*owned)));
    free(owned);
}

void owners_free(struct owners *owners)
{
    if (owners == NULL) {
        return;
    }
    uint64_t cursor = 0;
    struct owned *owned;
    while (owners->topics != NULL && (owned = map_next(owners->topics, &cursor)) != NULL) {
        owned_free(owned);
    }
    map_free(owners->topics);
    pthread_mutex_destroy(&owners->lock);
    free(owners);
}

static void drop(struct owners *owners, struct owned *owned)
{
    if (owned != NULL) {
        map_remove(owners->topics, key_of(owned));
        owned_free(owned);
        atomic_fetch_sub_explicit(&owners->count, 1, memory_order_relaxed);
    }
}

/* The new owner takes it before the old one gives it back, which matters where they share accounts:
 * there it is the same message, and no limit is passed by setting it once more. */
static enum err take(struct owners *owners, struct owned *old, uint64_t hash,
                     const struct quota_holder *holder)
{
    struct owned *owned = calloc(1, sizeof(*owned));
    if (owned == NULL) {
        return ERR_NOMEM;
    }
    ledger_add(LEDGER_RETAINED, ledger_block(sizeof(*owned)));
    owned->hash = hash;
    quota_share(holder, &owned->holder);
    if (old != NULL) {
        quota_give(&old->holder, QUOTA_RETAINED, 1);
    }
    enum err err = quota_take(&owned->holder, QUOTA_RETAINED, 1);
    if (err != OK) {
        if (old != NULL) {
            quota_settle(&old->holder, QUOTA_RETAINED, 1);
        }
        owned_free(owned);
        return err;
    }
    drop(owners, old);
    err = map_put(owners->topics, owned);
    if (err != OK) {
        owned_free(owned);
        return err;
    }
    atomic_fetch_add_explicit(&owners->count, 1, memory_order_relaxed);
    return OK;
}

enum err owners_set(struct owners *owners, struct slice topic, const struct quota_holder *holder,
                    bool is_taken_away)
{
    bool is_limited = holder != NULL && quota_concerns(holder, QUOTA_RETAINED);
    if (!is_limited && atomic_load_explicit(&owners->count, memory_order_relaxed) == 0) {
        return OK;
    }
    uint64_t hash = hash_bytes_seeded(topic, owners->seed);
    enum err err = OK;
    pthread_mutex_lock(&owners->lock);
    struct owned *old = map_get(owners->topics, slice_of(&hash, sizeof(hash)));
    if (is_taken_away || !is_limited) {
        drop(owners, old);
    } else {
        err = take(owners, old, hash, holder);
    }
    pthread_mutex_unlock(&owners->lock);
    return err;
}
