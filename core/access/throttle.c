/*
 * An entry has a level, the failures that are not forgotten yet, and the time from which on the next
 * check is due. A check that is let in moves this time by the delay of the level, so that those who
 * come together are let in one after the other; a failure raises the level and moves it, too.
 *
 * Invariants
 *   I1  one lock is held at a time, so there is no order among them. Two askers may both see a free
 *       moment between looking and taking: taking looks again under the lock and gives each its own.
 *   I2  an entry that is missing (never made, or pushed out) is one of level 0: nothing but a delay
 *       depends on it.
 *   I3  waiting counts the tickets with is_waiting.
 */
#include "core/access/throttle.h"

#include "core/access/network.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/rng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    STRIPE_COUNT = 64,
    IDENTITY_BYTES = 16, /* two hashes with secret seeds stand for a name of any length */
    KEY_BYTES = 1 + NETWORK_IP_BYTES + IDENTITY_BYTES,
    FAILURE = 1000, /* of a level */
    DOUBLINGS_MAX = 16,
    BEYOND_MAX = 100, /* failures beyond the free ones that are remembered */
};

enum kind { KIND_PAIR, KIND_ADDRESS, KIND_PREFIX, KIND_IDENTITY, KIND_COUNT };

/* clang-format off */
static const struct {
    uint32_t failures_free; /* of KIND_PAIR an option */
    uint64_t forgotten_ns;  /* one failure */
} kinds[KIND_COUNT] = {
    [KIND_PAIR    ] = {   3, UINT64_C(60000000000) },
    [KIND_ADDRESS ] = {  20, UINT64_C( 5000000000) },
    [KIND_PREFIX  ] = { 100, UINT64_C( 1000000000) },
    [KIND_IDENTITY] = {  10, UINT64_C(10000000000) },
};
/* clang-format on */

struct key {
    uint8_t bytes[KEY_BYTES];
};

struct entry {
    struct list link; /* of its stripe, the latest used last */
    struct key key;
    uint64_t level, level_ns; /* in parts of FAILURE, and when that was so */
    uint64_t due_ns;
    uint32_t pending; /* checks under way */
};

/* Where an identity has logged in. */
struct good {
    struct list link;
    uint8_t identity[IDENTITY_BYTES];
    struct network hosts[THROTTLE_GOOD_MAX]; /* bits 0: none yet */
    uint32_t next;
};

struct stripe {
    pthread_mutex_t lock;
    struct map *entries, *goods;
    struct list entry_list, good_list;
    struct rng rng;
};

struct throttle {
    struct stripe stripes[STRIPE_COUNT];
    uint64_t seeds[2];
    uint32_t per_stripe_max;
    /* Relaxed: numbers that stand alone. */
    _Atomic uint32_t failures_free, waiting;
    _Atomic uint64_t delay_max_ns, wait_max_ns;
};

/* ---- keys ---------------------------------------------------------------------------------- */

/* All keys of a login. */
struct keys {
    uint8_t ip[NETWORK_IP_BYTES], identity[IDENTITY_BYTES];
    struct network host;
    struct key of[KIND_COUNT];
};

static void keys_make(const struct throttle *throttle, const struct throttle_who *who,
                      struct keys *out)
{
    *out = (struct keys){0};
    if (who->ip_bytes > 0) { /* a Unix socket is ::, which is nobody's address */
        network_widen(who->ip, who->ip_bytes, out->ip);
    }
    for (int i = 0; i < 2; i++) {
        uint64_t hash = hash_bytes_seeded(who->identity, throttle->seeds[i]);
        memcpy(out->identity + i * sizeof(hash), &hash, sizeof(hash));
    }
    out->host = network_host(out->ip);
    struct network prefix = network_prefix(out->ip);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        uint8_t *bytes = out->of[kind].bytes;
        bytes[0] = (uint8_t)kind;
        if (kind == KIND_PAIR || kind == KIND_ADDRESS) {
            memcpy(bytes + 1, out->host.ip, NETWORK_IP_BYTES);
        } else if (kind == KIND_PREFIX) {
            memcpy(bytes + 1, prefix.ip, NETWORK_IP_BYTES);
        }
        if (kind == KIND_PAIR || kind == KIND_IDENTITY) {
            memcpy(bytes + 1 + NETWORK_IP_BYTES, out->identity, IDENTITY_BYTES);
        }
    }
}

static struct slice entry_key(const void *value)
{
    return slice_of(((const struct entry *)value)->key.bytes, KEY_BYTES);
}

static struct slice good_key(const void *value)
{
    return slice_of(((const struct good *)value)->identity, IDENTITY_BYTES);
}

static struct stripe *stripe_of(struct throttle *throttle, struct slice key)
{
    return &throttle->stripes[hash_bytes_seeded(key, throttle->seeds[0]) % STRIPE_COUNT];
}

/* Locked. */
static struct stripe *stripe_lock(struct throttle *throttle, const struct key *key)
{
    struct stripe *stripe = stripe_of(throttle, slice_of(key->bytes, KEY_BYTES));
    pthread_mutex_lock(&stripe->lock);
    return stripe;
}

static struct entry *entry_find(struct stripe *stripe, const struct key *key)
{
    struct entry *entry = map_get(stripe->entries, slice_of(key->bytes, KEY_BYTES));
    if (entry != NULL) {
        list_remove(&entry->link);
        list_push_back(&stripe->entry_list, &entry->link);
    }
    return entry;
}

static struct entry *entry_make(struct throttle *throttle, struct stripe *stripe,
                                const struct key *key)
{
    struct entry *entry = entry_find(stripe, key);
    if (entry != NULL) {
        return entry;
    }
    if (map_count(stripe->entries) >= throttle->per_stripe_max) {
        struct entry *oldest = CONTAINER_OF(stripe->entry_list.next, struct entry, link);
        map_remove(stripe->entries, entry_key(oldest));
        list_remove(&oldest->link);
        free(oldest); /* I2 */
    }
    entry = calloc(1, sizeof(*entry));
    if (entry == NULL) {
        return NULL;
    }
    entry->key = *key;
    list_init(&entry->link);
    if (map_put(stripe->entries, entry) != OK) {
        free(entry);
        return NULL;
    }
    list_push_back(&stripe->entry_list, &entry->link);
    return entry;
}

/* ---- levels -------------------------------------------------------------------------------- */

static uint32_t free_of(const struct throttle *throttle, enum kind kind)
{
    return kind == KIND_PAIR ? atomic_load_explicit(&throttle->failures_free, memory_order_relaxed)
                             : kinds[kind].failures_free;
}

/* Whole failures; what time has taken off is taken off. */
static uint32_t level_now(struct entry *entry, enum kind kind, uint64_t now_ns)
{
    uint64_t gone_ns = now_ns > entry->level_ns ? now_ns - entry->level_ns : 0;
    uint64_t off = gone_ns / (kinds[kind].forgotten_ns / FAILURE);
    if (off > 0) {
        entry->level = entry->level > off ? entry->level - off : 0;
        entry->level_ns = now_ns;
    }
    return (uint32_t)((entry->level + FAILURE / 2) / FAILURE);
}

static uint64_t delay_of(const struct throttle *throttle, enum kind kind, uint32_t level)
{
    uint32_t free_count = free_of(throttle, kind);
    uint64_t delay_max_ns = atomic_load_explicit(&throttle->delay_max_ns, memory_order_relaxed);
    if (level < free_count) {
        return 0;
    }
    uint32_t doublings = level - free_count < DOUBLINGS_MAX ? level - free_count : DOUBLINGS_MAX;
    uint64_t delay_ns = THROTTLE_DELAY_NS << doublings;
    return delay_ns < delay_max_ns ? delay_ns : delay_max_ns;
}

/* When the next check of this key is due. *delay_ns: how long the one after it waits then. */
static uint64_t due_of(struct throttle *throttle, const struct key *key, enum kind kind,
                       uint64_t now_ns, uint64_t *delay_ns)
{
    struct stripe *stripe = stripe_lock(throttle, key);
    struct entry *entry = entry_find(stripe, key);
    uint64_t due_ns = 0;
    *delay_ns = 0;
    if (entry != NULL) {
        *delay_ns = delay_of(throttle, kind, level_now(entry, kind, now_ns));
        due_ns = *delay_ns > 0 ? entry->due_ns : 0;
    }
    pthread_mutex_unlock(&stripe->lock);
    return due_ns > now_ns ? due_ns : now_ns;
}

/* One check at start_ns or, if that is taken meanwhile, later. */
static uint64_t due_take(struct throttle *throttle, const struct key *key, enum kind kind,
                         uint64_t start_ns, uint64_t now_ns)
{
    struct stripe *stripe = stripe_lock(throttle, key);
    struct entry *entry = entry_find(stripe, key);
    uint64_t delay_ns = 0;
    if (entry != NULL) {
        delay_ns = delay_of(throttle, kind, level_now(entry, kind, now_ns));
    }
    if (delay_ns > 0) {
        start_ns = entry->due_ns > start_ns ? entry->due_ns : start_ns; /* I1 */
        entry->due_ns = start_ns + delay_ns;
    }
    pthread_mutex_unlock(&stripe->lock);
    return start_ns;
}

static void fail(struct throttle *throttle, const struct key *key, enum kind kind, uint64_t now_ns)
{
    struct stripe *stripe = stripe_lock(throttle, key);
    struct entry *entry = entry_make(throttle, stripe, key);
    if (entry != NULL) {
        uint64_t level_max = (uint64_t)(free_of(throttle, kind) + BEYOND_MAX) * FAILURE;
        level_now(entry, kind, now_ns);
        entry->level = entry->level + FAILURE < level_max ? entry->level + FAILURE : level_max;
        entry->level_ns = now_ns;
        uint64_t due_ns = now_ns + delay_of(throttle, kind, level_now(entry, kind, now_ns));
        entry->due_ns = entry->due_ns > due_ns ? entry->due_ns : due_ns;
    }
    pthread_mutex_unlock(&stripe->lock);
}

/* ---- where an identity is known ------------------------------------------------------------ */

static bool is_good(struct throttle *throttle, const struct keys *keys)
{
    struct slice key = slice_of(keys->identity, IDENTITY_BYTES);
    struct stripe *stripe = stripe_of(throttle, key);
    bool is_known = false;
    pthread_mutex_lock(&stripe->lock);
    struct good *good = map_get(stripe->goods, key);
    for (uint32_t i = 0; good != NULL && i < THROTTLE_GOOD_MAX; i++) {
        is_known |= network_equal(&good->hosts[i], &keys->host);
    }
    pthread_mutex_unlock(&stripe->lock);
    return is_known;
}

static struct good *good_make(struct throttle *throttle, struct stripe *stripe, struct slice key)
{
    struct good *good = map_get(stripe->goods, key);
    if (good == NULL && map_count(stripe->goods) >= throttle->per_stripe_max) {
        good = CONTAINER_OF(stripe->good_list.next, struct good, link);
        map_remove(stripe->goods, good_key(good));
        list_remove(&good->link);
        free(good);
        good = NULL;
    }
    if (good == NULL) {
        good = calloc(1, sizeof(*good));
        if (good == NULL) {
            return NULL;
        }
        memcpy(good->identity, key.data, IDENTITY_BYTES);
        list_init(&good->link);
        if (map_put(stripe->goods, good) != OK) {
            free(good);
            return NULL;
        }
    }
    list_remove(&good->link);
    list_push_back(&stripe->good_list, &good->link);
    return good;
}

static void remember_good(struct throttle *throttle, const struct keys *keys)
{
    struct slice key = slice_of(keys->identity, IDENTITY_BYTES);
    struct stripe *stripe = stripe_of(throttle, key);
    pthread_mutex_lock(&stripe->lock);
    struct good *good = good_make(throttle, stripe, key);
    bool is_known = false;
    for (uint32_t i = 0; good != NULL && i < THROTTLE_GOOD_MAX; i++) {
        is_known |= network_equal(&good->hosts[i], &keys->host);
    }
    if (good != NULL && !is_known) {
        good->hosts[good->next] = keys->host;
        good->next = (good->next + 1) % THROTTLE_GOOD_MAX;
    }
    pthread_mutex_unlock(&stripe->lock);
}

/* ---- asking -------------------------------------------------------------------------------- */

static void stop_waiting(struct throttle *throttle, struct throttle_ticket *ticket)
{
    if (ticket->is_waiting) {
        ticket->is_waiting = false;
        atomic_fetch_sub_explicit(&throttle->waiting, 1, memory_order_relaxed); /* I3 */
    }
}

/* Wait until then, if that is not too long and not too many do. */
static enum err wait_until(struct throttle *throttle, struct throttle_ticket *ticket,
                           uint64_t then_ns, uint64_t *again_ns)
{
    uint64_t wait_max_ns = atomic_load_explicit(&throttle->wait_max_ns, memory_order_relaxed);
    if (then_ns - ticket->asked_ns > wait_max_ns) {
        stop_waiting(throttle, ticket);
        return ERR_CONNECT_RATE;
    }
    if (!ticket->is_waiting) {
        if (atomic_fetch_add_explicit(&throttle->waiting, 1, memory_order_relaxed) >=
            THROTTLE_WAITING_MAX) {
            atomic_fetch_sub_explicit(&throttle->waiting, 1, memory_order_relaxed);
            return ERR_CONNECT_RATE;
        }
        ticket->is_waiting = true;
    }
    *again_ns = then_ns;
    return ERR_AGAIN;
}

/*
 * The turn has come: one of few at once with this identity from here. Who loses his place to them
 * looks again soon.
 */
static enum err check_begin(struct throttle *throttle, struct throttle_ticket *ticket,
                            const struct keys *keys, uint64_t now_ns, uint64_t *again_ns)
{
    struct stripe *stripe = stripe_lock(throttle, &keys->of[KIND_PAIR]);
    struct entry *pair = entry_make(throttle, stripe, &keys->of[KIND_PAIR]);
    bool is_full = pair != NULL && pair->pending >= THROTTLE_PENDING_MAX;
    if (pair != NULL && !is_full) {
        pair->pending++;
    }
    pthread_mutex_unlock(&stripe->lock);
    if (pair == NULL) {
        stop_waiting(throttle, ticket);
        return ERR_NOMEM;
    }
    if (is_full) {
        ticket->start_ns = now_ns;
        return wait_until(throttle, ticket, now_ns + THROTTLE_RETRY_NS, again_ns);
    }
    stop_waiting(throttle, ticket);
    ticket->is_checking = true;
    return OK;
}

static uint64_t lottery(struct throttle *throttle, const struct keys *keys, uint64_t bound_ns)
{
    struct stripe *stripe = stripe_lock(throttle, &keys->of[KIND_IDENTITY]);
    bound_ns = bound_ns < THROTTLE_LOTTERY_NS ? bound_ns : THROTTLE_LOTTERY_NS;
    uint64_t drawn_ns = bound_ns > 0 ? rng_below(&stripe->rng, bound_ns) : 0;
    pthread_mutex_unlock(&stripe->lock);
    return drawn_ns;
}

/* When may it be checked? */
static uint64_t start_of(struct throttle *throttle, const struct keys *keys, uint64_t now_ns,
                         uint64_t wait_max_ns)
{
    uint64_t delays[KIND_COUNT], start_ns = now_ns;
    uint32_t strict = 1u << KIND_PAIR; /* keys that give out one moment after the other */
    bool is_known = is_good(throttle, keys);
    for (int kind = 0; kind < (is_known ? 1 : KIND_COUNT); kind++) {
        uint64_t due_ns = due_of(throttle, &keys->of[kind], (enum kind)kind, now_ns, &delays[kind]);
        if (kind != KIND_IDENTITY || delays[KIND_PAIR] > 0) {
            strict |= 1u << kind;
            start_ns = due_ns > start_ns ? due_ns : start_ns;
        }
    }
    if (start_ns - now_ns > wait_max_ns) {
        return start_ns; /* refused: it takes nobody's moment */
    }
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        if ((strict & 1u << kind) != 0) {
            start_ns = due_take(throttle, &keys->of[kind], (enum kind)kind, start_ns, now_ns);
        }
    }
    if (!is_known && (strict & 1u << KIND_IDENTITY) == 0 && start_ns - now_ns < wait_max_ns) {
        uint64_t left_ns = wait_max_ns - (start_ns - now_ns); /* it refuses nobody */
        start_ns += lottery(throttle, keys,
                            delays[KIND_IDENTITY] < left_ns ? delays[KIND_IDENTITY] : left_ns);
    }
    return start_ns;
}

enum err throttle_ask(struct throttle *throttle, struct throttle_ticket *ticket,
                      const struct throttle_who *who, uint64_t now_ns, uint64_t *again_ns)
{
    ASSERT(!ticket->is_checking);
    uint64_t wait_max_ns = atomic_load_explicit(&throttle->wait_max_ns, memory_order_relaxed);
    struct keys keys;
    if (atomic_load_explicit(&throttle->failures_free, memory_order_relaxed) == 0) {
        stop_waiting(throttle, ticket);
        return OK;
    }
    keys_make(throttle, who, &keys);
    if (ticket->asked_ns == 0) {
        ticket->asked_ns = now_ns;
        ticket->start_ns = start_of(throttle, &keys, now_ns, wait_max_ns);
    }
    if (ticket->start_ns > now_ns) {
        return wait_until(throttle, ticket, ticket->start_ns, again_ns);
    }
    return check_begin(throttle, ticket, &keys, now_ns, again_ns);
}

/* ---- how it went --------------------------------------------------------------------------- */

static void check_end(struct throttle *throttle, struct throttle_ticket *ticket,
                      const struct keys *keys, bool is_right)
{
    stop_waiting(throttle, ticket);
    if (ticket->is_checking) {
        struct stripe *stripe = stripe_lock(throttle, &keys->of[KIND_PAIR]);
        struct entry *pair = entry_find(stripe, &keys->of[KIND_PAIR]);
        if (pair != NULL && pair->pending > 0) { /* it may be another one, made since: I2 */
            pair->pending--;
        }
        if (pair != NULL && is_right) {
            pair->level = 0;
            pair->due_ns = 0;
        }
        if (pair != NULL && pair->pending == 0 && pair->level == 0) {
            map_remove(stripe->entries, entry_key(pair));
            list_remove(&pair->link);
            free(pair);
        }
        pthread_mutex_unlock(&stripe->lock);
    }
    *ticket = (struct throttle_ticket){0};
}

void throttle_failed(struct throttle *throttle, struct throttle_ticket *ticket,
                     const struct throttle_who *who, uint64_t now_ns)
{
    struct keys keys;
    keys_make(throttle, who, &keys);
    check_end(throttle, ticket, &keys, false);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        fail(throttle, &keys.of[kind], (enum kind)kind, now_ns);
    }
}

void throttle_succeeded(struct throttle *throttle, struct throttle_ticket *ticket,
                        const struct throttle_who *who, uint64_t now_ns)
{
    struct keys keys;
    (void)now_ns;
    keys_make(throttle, who, &keys);
    check_end(throttle, ticket, &keys, true);
    remember_good(throttle, &keys);
}

void throttle_gave_up(struct throttle *throttle, struct throttle_ticket *ticket,
                      const struct throttle_who *who)
{
    struct keys keys;
    if (ticket->is_waiting || ticket->is_checking) {
        keys_make(throttle, who, &keys);
        check_end(throttle, ticket, &keys, false);
    }
}

/* ---- the whole ----------------------------------------------------------------------------- */

void throttle_set(struct throttle *throttle, const struct throttle_options *options)
{
    atomic_store_explicit(&throttle->delay_max_ns, options->delay_max_ns, memory_order_relaxed);
    atomic_store_explicit(&throttle->wait_max_ns, options->wait_max_ns, memory_order_relaxed);
    atomic_store_explicit(&throttle->failures_free, options->failures_free, memory_order_relaxed);
}

struct throttle *throttle_new(uint64_t seed, uint32_t entries_max)
{
    struct throttle *throttle = calloc(1, sizeof(*throttle));
    struct rng rng;
    bool is_whole = throttle != NULL;
    if (throttle == NULL) {
        return NULL;
    }
    rng_init(&rng, seed);
    throttle->seeds[0] = rng_u64(&rng);
    throttle->seeds[1] = rng_u64(&rng);
    throttle->per_stripe_max = entries_max / STRIPE_COUNT + 1;
    for (int i = 0; i < STRIPE_COUNT; i++) {
        struct stripe *stripe = &throttle->stripes[i];
        pthread_mutex_init(&stripe->lock, NULL);
        list_init(&stripe->entry_list);
        list_init(&stripe->good_list);
        rng_init(&stripe->rng, rng_u64(&rng));
        stripe->entries = map_new(entry_key, rng_u64(&rng));
        stripe->goods = map_new(good_key, rng_u64(&rng));
        is_whole &= stripe->entries != NULL && stripe->goods != NULL;
    }
    if (!is_whole) {
        throttle_free(throttle);
        return NULL;
    }
    return throttle;
}

void throttle_free(struct throttle *throttle)
{
    struct list *link;
    if (throttle == NULL) {
        return;
    }
    for (int i = 0; i < STRIPE_COUNT; i++) {
        struct stripe *stripe = &throttle->stripes[i];
        while ((link = list_pop_front(&stripe->entry_list)) != NULL) {
            free(CONTAINER_OF(link, struct entry, link));
        }
        while ((link = list_pop_front(&stripe->good_list)) != NULL) {
            free(CONTAINER_OF(link, struct good, link));
        }
        map_free(stripe->entries);
        map_free(stripe->goods);
        pthread_mutex_destroy(&stripe->lock);
    }
    free(throttle);
}
