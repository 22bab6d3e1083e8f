/*
 * A rate is a bucket that leaks, kept as one number (GCRA): full_ns, the time when the bucket will
 * be full again if nobody takes from it. Taking n moves it n / rate later:
 *
 *       now            full_ns            now + tolerance
 *        |----- taken ----|------ left ------|                 tolerance: burst / rate
 *
 * Who asks before he takes (connects) is refused beyond the tolerance. Who has taken already
 * (messages, bytes) waits until full_ns is no later than now + tolerance.
 *
 * Invariants
 *   I1  an account is found, made and freed under the lock of its stripe, and freed only if nobody
 *       refers to it: whoever holds one may use it without a lock, and refer to it once more.
 *   I2  rules are read under rules_lock, and changed, with the sets of all accounts, by whoever has
 *       it for writing: no account is found or made meanwhile.
 *   I3  sets live as long as the quota, so an account's may be read at any time.
 *   I4  what a holder counts in its accounts is what holder->taken says, and one connection.
 *
 * All atomics but set and refs are relaxed: they are numbers, and order nothing else.
 */
#include "core/access/quota.h"

#include "core/access/quota_rules.h"
#include "core/base/map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    STRIPE_COUNT = 64, /* of each slot */
    SWEEP_COUNT = 4,   /* accounts looked at whenever one is wanted: more than can be made */
};

#define SECOND_NS UINT64_C(1000000000)

struct quota_account {
    _Atomic(const struct quota_set *) set;   /* never NULL */
    _Atomic uint32_t refs;                   /* release by who lets go, acquire by who frees it */
    _Atomic uint32_t used[QUOTA_WHAT_COUNT]; /* of what is held, not of rates */
    _Atomic uint64_t full_ns[QUOTA_RATE_COUNT];
    uint32_t name_bytes;
    uint8_t name[];
};

struct stripe {
    pthread_mutex_t lock;
    struct map *accounts;
    uint64_t swept; /* how far */
};

struct quota {
    struct stripe stripes[QUOTA_SLOT_COUNT][STRIPE_COUNT];
    struct quota_account *others[QUOTA_SLOT_COUNT]; /* of those without an account of their own */
    uint32_t accounts_max;
    uint64_t seed;
    _Atomic uint32_t account_count;
    _Atomic uint32_t slots_used; /* bit 1 << slot: there are rules; 0: nothing to lock or look up */
    pthread_rwlock_t rules_lock;
    struct quota_rules *rules;
    struct quota_set_store sets;
};

static const struct quota_set no_limits;

/* Pairs with the release of whoever made it: account_set(). */
static const struct quota_set *set_of(const struct quota_account *account)
{
    return atomic_load_explicit(&account->set, memory_order_acquire);
}

/* ---- rates --------------------------------------------------------------------------------- */

static _Atomic uint64_t *bucket(struct quota_account *account, enum quota_what what)
{
    ASSERT(quota_is_rate(what));
    return &account->full_ns[what - QUOTA_CONNECTS];
}

/* Moved, whatever it was. Returns when the bucket is full again. */
static uint64_t bucket_take(_Atomic uint64_t *full_ns, uint64_t cost_ns, uint64_t now_ns)
{
    uint64_t old = atomic_load_explicit(full_ns, memory_order_relaxed), next;
    do {
        next = (old > now_ns ? old : now_ns) + cost_ns;
    } while (!atomic_compare_exchange_strong_explicit(full_ns, &old, next, memory_order_relaxed,
                                                      memory_order_relaxed));
    return next;
}

/* Rounded up: the limit is one. At most ten years, so that a sum never overflows in between. */
static uint64_t cost_ns(uint64_t count, uint64_t per_second)
{
    __uint128_t cost = ((__uint128_t)count * SECOND_NS + per_second - 1) / per_second;
    return cost < SECOND_NS << 28 ? (uint64_t)cost : SECOND_NS << 28;
}

static bool connect_take(struct quota_account *account, uint64_t now_ns)
{
    const struct quota_set *set = set_of(account);
    if (set->max[QUOTA_CONNECTS] == 0) {
        return true;
    }
    _Atomic uint64_t *full_ns = bucket(account, QUOTA_CONNECTS);
    uint64_t cost = cost_ns(1, set->max[QUOTA_CONNECTS]);
    if (bucket_take(full_ns, cost, now_ns) <= now_ns + set->tolerance_ns[QUOTA_CONNECTS]) {
        return true;
    }
    atomic_fetch_sub_explicit(full_ns, cost, memory_order_relaxed);
    return false;
}

static void connect_give(struct quota_account *account)
{
    const struct quota_set *set = set_of(account);
    if (set->max[QUOTA_CONNECTS] > 0) {
        atomic_fetch_sub_explicit(bucket(account, QUOTA_CONNECTS),
                                  cost_ns(1, set->max[QUOTA_CONNECTS]), memory_order_relaxed);
    }
}

/* ---- what is held -------------------------------------------------------------------------- */

static void used_add(struct quota_account *account, enum quota_what what, uint32_t count)
{
    atomic_fetch_add_explicit(&account->used[what], count, memory_order_relaxed);
}

static void used_sub(struct quota_account *account, enum quota_what what, uint32_t count)
{
    uint32_t before = atomic_fetch_sub_explicit(&account->used[what], count, memory_order_relaxed);
    ASSERT(before >= count); /* I4 */
}

/* Counted, if the limit allows it. */
static bool used_take(struct quota_account *account, enum quota_what what, uint32_t count)
{
    const struct quota_set *set = set_of(account);
    uint32_t before = atomic_fetch_add_explicit(&account->used[what], count, memory_order_relaxed);
    if (set->max[what] > 0 && (uint64_t)before + count > set->max[what]) {
        used_sub(account, what, count);
        return false;
    }
    return true;
}

/* ---- accounts ------------------------------------------------------------------------------ */

static struct slice name_of(const void *value)
{
    const struct quota_account *account = value;
    return slice_of(account->name, account->name_bytes);
}

static struct quota_account *account_new(struct slice name, const struct quota_set *set)
{
    struct quota_account *account = calloc(1, sizeof(*account) + name.count);
    if (account == NULL) {
        return NULL;
    }
    atomic_store_explicit(&account->set, set, memory_order_relaxed);
    account->name_bytes = (uint32_t)name.count;
    if (name.count > 0) {
        memcpy(account->name, name.data, name.count);
    }
    return account;
}

/* Acquire: what who let go last did to it has happened. */
static bool is_idle(struct quota_account *account, uint64_t now_ns)
{
    if (atomic_load_explicit(&account->refs, memory_order_acquire) > 0) {
        return false;
    }
    for (uint32_t i = 0; i < QUOTA_RATE_COUNT; i++) {
        if (atomic_load_explicit(&account->full_ns[i], memory_order_relaxed) > now_ns) {
            return false;
        }
    }
    return true;
}

static void sweep(struct quota *quota, struct stripe *stripe, uint64_t now_ns)
{
    for (uint32_t i = 0; i < SWEEP_COUNT; i++) {
        struct quota_account *account = map_next(stripe->accounts, &stripe->swept);
        if (account == NULL) {
            stripe->swept = 0;
            return;
        }
        if (is_idle(account, now_ns)) { /* I1 */
            map_remove(stripe->accounts, name_of(account));
            free(account);
            atomic_fetch_sub_explicit(&quota->account_count, 1, memory_order_relaxed);
        }
    }
}

static struct stripe *stripe_of(struct quota *quota, enum quota_scope slot, struct slice name)
{
    return &quota->stripes[slot][hash_bytes_seeded(name, quota->seed) % STRIPE_COUNT];
}

/* Under the lock. NULL with OK: no limit concerns it. */
static enum err account_get(struct quota *quota, struct stripe *stripe, enum quota_scope slot,
                            struct slice name, const struct quota_set *set,
                            struct quota_account **out)
{
    struct quota_account *account = map_get(stripe->accounts, name);
    *out = NULL;
    if (account == NULL && set == NULL) {
        return OK;
    }
    if (account == NULL &&
        atomic_load_explicit(&quota->account_count, memory_order_relaxed) >= quota->accounts_max) {
        account = quota->others[slot];
    }
    if (account == NULL) {
        account = account_new(name, set);
        if (account == NULL || map_put(stripe->accounts, account) != OK) {
            free(account);
            return ERR_NOMEM;
        }
        atomic_fetch_add_explicit(&quota->account_count, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&account->refs, 1, memory_order_relaxed); /* I1 */
    *out = account;
    return OK;
}

/* Rules are locked for reading. The account of who in this slot, referred to; NULL with OK: none. */
static enum err account_find(struct quota *quota, enum quota_scope slot,
                             const struct quota_who *who, uint64_t now_ns,
                             struct quota_account **out)
{
    struct quota_name name;
    *out = NULL;
    if (!quota_rules_use(quota->rules, slot) || !quota_rules_name(quota->rules, slot, who, &name)) {
        return OK;
    }
    const struct quota_set *set = quota_rules_find(quota->rules, slot, name.text, false);
    struct stripe *stripe = stripe_of(quota, slot, name.text);
    pthread_mutex_lock(&stripe->lock);
    enum err err = account_get(quota, stripe, slot, name.text, set, out);
    sweep(quota, stripe, now_ns);
    pthread_mutex_unlock(&stripe->lock);
    return err;
}

static void account_let_go(struct quota_account *account)
{
    uint32_t before = atomic_fetch_sub_explicit(&account->refs, 1, memory_order_release);
    ASSERT(before > 0);
}

/* ---- coming and going ---------------------------------------------------------------------- */

/* After a change of accounts. */
static void concerns_update(struct quota_holder *holder)
{
    holder->concerns = 0;
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        if (holder->accounts[slot] != NULL) {
            holder->concerns |= set_of(holder->accounts[slot])->concerns;
        }
    }
}

/* Of the slots first to last one connection more; those before `slot` are undone when it refuses. */
static enum err connection_take(struct quota_holder *holder, int slot, uint64_t now_ns)
{
    struct quota_account *account = holder->accounts[slot];
    if (!connect_take(account, now_ns)) {
        holder->refused_what = QUOTA_CONNECTS;
        return ERR_CONNECT_RATE;
    }
    if (!used_take(account, QUOTA_CONNECTIONS, 1)) {
        connect_give(account);
        holder->refused_what = QUOTA_CONNECTIONS;
        return ERR_QUOTA;
    }
    return OK;
}

static void connection_undo(struct quota_account *account)
{
    connect_give(account);
    used_sub(account, QUOTA_CONNECTIONS, 1);
}

/* Find the accounts of these slots (a bit each) and count a connection there, or change nothing. */
static enum err join(struct quota *quota, const struct quota_who *who, uint32_t slots,
                     uint64_t now_ns, struct quota_holder *holder)
{
    enum err err = OK;
    int slot = 0;
    slots &= atomic_load_explicit(&quota->slots_used, memory_order_relaxed);
    if (slots == 0) {
        return OK;
    }
    pthread_rwlock_rdlock(&quota->rules_lock);
    for (; slot < QUOTA_SLOT_COUNT && err == OK; slot++) {
        struct quota_account *account;
        if ((slots & 1u << slot) == 0) {
            continue;
        }
        err = account_find(quota, (enum quota_scope)slot, who, now_ns, &account);
        if (err != OK || account == NULL) {
            continue;
        }
        holder->accounts[slot] = account;
        err = connection_take(holder, slot, now_ns);
        if (err != OK) {
            holder->refused_slot = (uint8_t)slot;
            holder->accounts[slot] = NULL;
            account_let_go(account);
        }
    }
    for (int undone = 0; undone < slot && err != OK; undone++) {
        struct quota_account *account = holder->accounts[undone];
        if ((slots & 1u << undone) != 0 && account != NULL) {
            connection_undo(account);
            account_let_go(account);
            holder->accounts[undone] = NULL;
        }
    }
    pthread_rwlock_unlock(&quota->rules_lock);
    concerns_update(holder);
    return err;
}

enum {
    SLOTS_ADMIT = 1 << QUOTA_LISTENER | 1 << QUOTA_ADDRESS | 1 << QUOTA_PREFIX | 1 << QUOTA_NETWORK,
    SLOTS_IDENTIFY = 1 << QUOTA_USER | 1 << QUOTA_CLIENT,
};

enum err quota_admit(struct quota *quota, const struct quota_who *who, uint64_t now_ns,
                     struct quota_holder *holder)
{
    ASSERT(!holder->is_counted);
    enum err err = join(quota, who, SLOTS_ADMIT, now_ns, holder);
    holder->is_counted = err == OK;
    return err;
}

enum err quota_identify(struct quota *quota, const struct quota_who *who, uint64_t now_ns,
                        struct quota_holder *holder)
{
    ASSERT(holder->is_counted);
    ASSERT(who->is_identified);
    return join(quota, who, SLOTS_IDENTIFY, now_ns, holder);
}

/* All it counts, in all its accounts, once more or no more. */
static void holder_count(const struct quota_holder *holder, bool is_coming)
{
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        for (int what = 0; what < QUOTA_WHAT_COUNT && holder->accounts[slot] != NULL; what++) {
            uint32_t count = what == QUOTA_CONNECTIONS ? holder->is_counted : holder->taken[what];
            if (is_coming) {
                used_add(holder->accounts[slot], (enum quota_what)what, count);
            } else {
                used_sub(holder->accounts[slot], (enum quota_what)what, count);
            }
        }
    }
}

static void holder_let_go(const struct quota_holder *holder)
{
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        if (holder->accounts[slot] != NULL) {
            account_let_go(holder->accounts[slot]);
        }
    }
}

enum err quota_renew(struct quota *quota, const struct quota_who *who, uint64_t now_ns,
                     struct quota_holder *holder)
{
    struct quota_holder next = *holder;
    enum err err = OK;
    memset(next.accounts, 0, sizeof(next.accounts));
    pthread_rwlock_rdlock(&quota->rules_lock);
    for (int slot = 0; slot < QUOTA_SLOT_COUNT && err == OK; slot++) {
        err = account_find(quota, (enum quota_scope)slot, who, now_ns, &next.accounts[slot]);
    }
    pthread_rwlock_unlock(&quota->rules_lock);
    if (err != OK) {
        holder_let_go(&next);
        return err;
    }
    holder_count(&next, true);
    holder_count(holder, false);
    holder_let_go(holder);
    concerns_update(&next);
    *holder = next;
    return OK;
}

void quota_share(const struct quota_holder *holder, struct quota_holder *out)
{
    *out = (struct quota_holder){.concerns = holder->concerns};
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        out->accounts[slot] = holder->accounts[slot];
        if (out->accounts[slot] != NULL) { /* I1: holder refers to it, too */
            atomic_fetch_add_explicit(&out->accounts[slot]->refs, 1, memory_order_relaxed);
        }
    }
}

void quota_leave(struct quota_holder *holder)
{
    holder_count(holder, false);
    holder_let_go(holder);
    *holder = (struct quota_holder){0};
}

/* ---- while it is there --------------------------------------------------------------------- */

/* How long this account makes it wait, 0: not at all. */
static uint64_t charge(struct quota_account *account, enum quota_what what, uint64_t count,
                       uint64_t now_ns)
{
    const struct quota_set *set = set_of(account);
    if (set->max[what] == 0) {
        return 0;
    }
    uint64_t full_ns = bucket_take(bucket(account, what), cost_ns(count, set->max[what]), now_ns);
    uint64_t free_ns = now_ns + set->tolerance_ns[what];
    return full_ns > free_ns ? full_ns - free_ns : 0;
}

uint64_t quota_charge(struct quota_holder *holder, uint64_t messages, uint64_t bytes,
                      uint64_t now_ns)
{
    uint64_t longest_ns = 0;
    if (!quota_concerns(holder, QUOTA_MESSAGES) && !quota_concerns(holder, QUOTA_BYTES)) {
        return 0;
    }
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        struct quota_account *account = holder->accounts[slot];
        for (int what = QUOTA_MESSAGES; what <= QUOTA_BYTES && account != NULL; what++) {
            uint64_t count = what == QUOTA_MESSAGES ? messages : bytes;
            uint64_t wait_ns = charge(account, (enum quota_what)what, count, now_ns);
            if (wait_ns > longest_ns) {
                longest_ns = wait_ns;
                holder->refused_slot = (uint8_t)slot;
                holder->refused_what = (uint8_t)what;
            }
        }
    }
    return longest_ns > 0 ? now_ns + longest_ns : 0;
}

uint64_t quota_limit(const struct quota_holder *holder, enum quota_what what)
{
    uint64_t lowest = 0;
    for (int slot = 0; slot < QUOTA_SLOT_COUNT && quota_concerns(holder, what); slot++) {
        if (holder->accounts[slot] != NULL) {
            const struct quota_set *set = set_of(holder->accounts[slot]);
            lowest = set->max[what] > 0 && (lowest == 0 || set->max[what] < lowest) ? set->max[what]
                                                                                    : lowest;
        }
    }
    return lowest;
}

static bool is_held(enum quota_what what)
{
    return what == QUOTA_SUBSCRIPTIONS || what == QUOTA_RETAINED;
}

enum err quota_take(struct quota_holder *holder, enum quota_what what, uint32_t count)
{
    ASSERT(is_held(what));
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        if (holder->accounts[slot] != NULL && !used_take(holder->accounts[slot], what, count)) {
            holder->refused_slot = (uint8_t)slot;
            holder->refused_what = (uint8_t)what;
            while (slot-- > 0) {
                if (holder->accounts[slot] != NULL) {
                    used_sub(holder->accounts[slot], what, count);
                }
            }
            return ERR_QUOTA;
        }
    }
    holder->taken[what] += count;
    return OK;
}

void quota_settle(struct quota_holder *holder, enum quota_what what, uint32_t count)
{
    ASSERT(is_held(what));
    uint32_t had = holder->taken[what];
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        if (holder->accounts[slot] != NULL && count > had) {
            used_add(holder->accounts[slot], what, count - had);
        } else if (holder->accounts[slot] != NULL) {
            used_sub(holder->accounts[slot], what, had - count);
        }
    }
    holder->taken[what] = count;
}

void quota_give(struct quota_holder *holder, enum quota_what what, uint32_t count)
{
    uint32_t had = holder->taken[what];
    quota_settle(holder, what, had > count ? had - count : 0);
}

/* ---- the whole ----------------------------------------------------------------------------- */

uint32_t quota_account_count(const struct quota *quota)
{
    return atomic_load_explicit(&quota->account_count, memory_order_relaxed);
}

static void account_set(struct quota_account *account, const struct quota_set *set)
{
    const struct quota_set *old = set_of(account);
    set = set != NULL ? set : &no_limits;
    for (int what = 0; what < QUOTA_WHAT_COUNT; what++) {
        if (quota_is_rate((enum quota_what)what) &&
            (old->max[what] != set->max[what] || old->burst[what] != set->burst[what])) {
            atomic_store_explicit(bucket(account, (enum quota_what)what), 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&account->set, set, memory_order_release);
}

/* rules_lock is held for writing: I2. */
static void accounts_reset(struct quota *quota)
{
    uint32_t used = 0;
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        enum quota_scope scope = (enum quota_scope)slot;
        used |= quota_rules_use(quota->rules, scope) ? 1u << slot : 0;
        account_set(quota->others[slot],
                    quota_rules_find(quota->rules, scope, slice_of(NULL, 0), true));
        for (int i = 0; i < STRIPE_COUNT; i++) {
            struct quota_account *account;
            uint64_t cursor = 0;
            while ((account = map_next(quota->stripes[slot][i].accounts, &cursor)) != NULL) {
                account_set(account,
                            quota_rules_find(quota->rules, scope, name_of(account), false));
            }
        }
    }
    atomic_store_explicit(&quota->slots_used, used, memory_order_relaxed);
}

enum err quota_set_rules(struct quota *quota, const struct quota_rule *rules, uint32_t rule_count,
                         bool *changed)
{
    struct quota_rules *made;
    *changed = false;
    if (quota_rules_equal(quota->rules, rules, rule_count)) {
        return OK;
    }
    TRY(quota_rules_new(rules, rule_count, &quota->sets, &made));
    pthread_rwlock_wrlock(&quota->rules_lock);
    struct quota_rules *old = quota->rules;
    quota->rules = made;
    accounts_reset(quota);
    pthread_rwlock_unlock(&quota->rules_lock);
    quota_rules_free(old);
    *changed = true;
    return OK;
}

static enum err slot_init(struct quota *quota, int slot, uint64_t seed)
{
    for (int i = 0; i < STRIPE_COUNT; i++) {
        struct stripe *stripe = &quota->stripes[slot][i];
        stripe->accounts = map_new(name_of, seed + (uint64_t)(slot * STRIPE_COUNT + i));
        if (stripe->accounts == NULL) {
            return ERR_NOMEM;
        }
    }
    quota->others[slot] = account_new(slice_of(NULL, 0), &no_limits);
    return quota->others[slot] != NULL ? OK : ERR_NOMEM;
}

struct quota *quota_new(uint64_t seed, uint32_t accounts_max)
{
    struct quota *quota = calloc(1, sizeof(*quota));
    if (quota == NULL) {
        return NULL;
    }
    quota->accounts_max = accounts_max;
    quota->seed = seed;
    pthread_rwlock_init(&quota->rules_lock, NULL);
    enum err err = OK;
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        for (int i = 0; i < STRIPE_COUNT; i++) {
            pthread_mutex_init(&quota->stripes[slot][i].lock, NULL);
        }
    }
    for (int slot = 0; slot < QUOTA_SLOT_COUNT && err == OK; slot++) {
        err = slot_init(quota, slot, seed);
    }
    err = err != OK ? err : quota_rules_new(NULL, 0, &quota->sets, &quota->rules);
    if (err != OK) {
        quota_free(quota);
        return NULL;
    }
    accounts_reset(quota);
    return quota;
}

void quota_free(struct quota *quota)
{
    if (quota == NULL) {
        return;
    }
    for (int slot = 0; slot < QUOTA_SLOT_COUNT; slot++) {
        for (int i = 0; i < STRIPE_COUNT; i++) {
            struct stripe *stripe = &quota->stripes[slot][i];
            struct quota_account *account;
            uint64_t cursor = 0;
            while (stripe->accounts != NULL &&
                   (account = map_next(stripe->accounts, &cursor)) != NULL) {
                ASSERT(atomic_load_explicit(&account->refs, memory_order_acquire) == 0);
                map_remove(stripe->accounts, name_of(account));
                free(account);
            }
            map_free(stripe->accounts);
            pthread_mutex_destroy(&stripe->lock);
        }
        free(quota->others[slot]);
    }
    pthread_rwlock_destroy(&quota->rules_lock);
    quota_rules_free(quota->rules);
    quota_set_store_deinit(&quota->sets);
    free(quota);
}
