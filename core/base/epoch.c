/*
 * A global counter `now` grows; each online slot shows the value it saw when it was last quiescent.
 *
 *      now        5 ── writer unlinks X, retires it ──> 6
 *      slot 0     5 .... still in its turn, may hold X ........ quiescent: 6
 *      slot 1     0 (offline)
 *      slot 2           5 ....... quiescent: 6
 *                                                              ^ X is freed: all show 0 or >= 6
 *
 * Invariants
 *   I1  an object stamped S was unlinked before `now` became S, in the order of the retiring
 *       thread. The increment (release) pairs with the load of `now` in quiescent and online
 *       (acquire): a slot that shows S or more got its pointers after the unlinking.
 *   I2  a slot shows a value with release after its last use of older pointers; collect loads it
 *       with acquire: the freeing comes after that use.
 *   I3  online first shows 1, older than every stamp, and only then loads `now`; both and the
 *       increment and collect's loads are sequentially consistent. So either collect sees the 1
 *       and waits, or online loads the new `now` and sees the unlinking (I1).
 *   I4  `waiting` is ordered by stamp; objects of stamp 0 (not stamped yet) are at its end.
 */
#include "core/base/epoch.h"

#include "core/base/assert.h"
#include "core/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    APART = LIMIT_APART_BYTES,
    SLOT_COUNT_MAX = 256,
    CHUNK_ITEMS = 84, /* 2 KiB */
    OFFLINE = 0,
    ARRIVING = 1,
    EPOCH_FIRST = 2,
};

struct retired {
    void *object;
    void (*free_object)(void *);
    uint64_t stamp;
};

struct chunk {
    struct chunk *next;
    uint32_t begin, end;
    struct retired items[CHUNK_ITEMS];
};

struct slot {
    _Alignas(APART) _Atomic uint64_t seen; /* written by the owner, read by all */
    /* the owner's */
    _Alignas(APART) struct chunk *first;
    struct chunk *last,
        *spare;              /* spare: one empty chunk, so that a steady turn allocates nothing */
    struct chunk *unstamped; /* where the objects without a stamp begin (with unstamped_count) */
    uint32_t unstamped_at, unstamped_count;
    uint32_t waiting_count;
};

_Static_assert(
    offsetof(struct slot, first) >= APART && sizeof(struct slot) % APART == 0,
    "what all read of a slot, and what its owner alone uses, lie apart, also from the next");

struct epoch {
    _Alignas(APART) _Atomic uint64_t now; /* written when something was retired, read every turn */
    _Alignas(APART) uint32_t slot_count;  /* immutable */
    struct slot slots[];
};
_Static_assert(offsetof(struct epoch, slot_count) >= APART &&
                   offsetof(struct epoch, slots) % APART == 0,
               "who retires disturbs nobody's slot");

struct epoch *epoch_new(uint32_t slot_count)
{
    ASSERT(slot_count >= 1 && slot_count <= SLOT_COUNT_MAX);
    struct epoch *epoch = aligned_alloc(APART,
                                        sizeof(struct epoch) + slot_count * sizeof(struct slot));
    if (epoch == NULL) {
        return NULL;
    }
    epoch->slot_count = slot_count;
    atomic_init(&epoch->now, EPOCH_FIRST);
    for (uint32_t i = 0; i < slot_count; i++) {
        epoch->slots[i] = (struct slot){.first = NULL};
    }
    return epoch;
}

static struct slot *slot_of(struct epoch *epoch, uint32_t slot)
{
    ASSERT(slot < epoch->slot_count);
    return &epoch->slots[slot];
}

void epoch_online(struct epoch *epoch, uint32_t slot)
{
    struct slot *own = slot_of(epoch, slot);
    ASSERT(atomic_load_explicit(&own->seen, memory_order_relaxed) == OFFLINE);
    atomic_exchange_explicit(&own->seen, ARRIVING, memory_order_seq_cst); /* I3 */
    uint64_t now = atomic_load_explicit(&epoch->now, memory_order_seq_cst);
    atomic_store_explicit(&own->seen, now, memory_order_release);
}

void epoch_offline(struct epoch *epoch, uint32_t slot)
{
    struct slot *own = slot_of(epoch, slot);
    ASSERT(atomic_load_explicit(&own->seen, memory_order_relaxed) != OFFLINE);
    atomic_store_explicit(&own->seen, OFFLINE, memory_order_release); /* I2 */
}

void epoch_quiescent(struct epoch *epoch, uint32_t slot)
{
    struct slot *own = slot_of(epoch, slot);
    ASSERT(atomic_load_explicit(&own->seen, memory_order_relaxed) != OFFLINE);
    uint64_t now = atomic_load_explicit(&epoch->now, memory_order_acquire); /* I1 */
    if (atomic_load_explicit(&own->seen, memory_order_relaxed) != now) {
        atomic_store_explicit(&own->seen, now, memory_order_release); /* I2 */
    }
}

/* The last chunk, with room for one more; NULL when memory is exhausted. */
static struct chunk *chunk_with_room(struct slot *own)
{
    if (own->last != NULL && own->last->end < CHUNK_ITEMS) {
        return own->last;
    }
    struct chunk *chunk = own->spare != NULL ? own->spare : malloc(sizeof(*chunk));
    if (chunk == NULL) {
        return NULL;
    }
    own->spare = NULL;
    chunk->next = NULL;
    chunk->begin = chunk->end = 0;
    if (own->last == NULL) {
        own->first = chunk;
    } else {
        own->last->next = chunk;
    }
    own->last = chunk;
    return chunk;
}

void epoch_retire(struct epoch *epoch, uint32_t slot, void *object, void (*free_object)(void *))
{
    struct slot *own = slot_of(epoch, slot);
    struct chunk *chunk = chunk_with_room(own);
    if (chunk == NULL) {
        return; /* to lose the object's memory is the one answer that harms no reader */
    }
    if (own->unstamped_count == 0) {
        own->unstamped = chunk;
        own->unstamped_at = chunk->end;
    }
    chunk->items[chunk->end++] = (struct retired){object, free_object, 0};
    own->unstamped_count++;
    own->waiting_count++;
}

/* All that was retired since the last time becomes one batch (I1). */
static void stamp_new_ones(struct epoch *epoch, struct slot *own)
{
    uint64_t stamp = atomic_fetch_add_explicit(&epoch->now, 1, memory_order_seq_cst) + 1; /* I3 */
    struct chunk *chunk = own->unstamped;
    uint32_t at = own->unstamped_at;
    for (; own->unstamped_count > 0; own->unstamped_count--) {
        if (at == chunk->end) {
            chunk = chunk->next;
            at = 0;
        }
        chunk->items[at++].stamp = stamp;
    }
}

/* Every reader that is online has been quiescent at this value or later. */
static uint64_t seen_by_all(struct epoch *epoch)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < epoch->slot_count; i++) {
        uint64_t seen = atomic_load_explicit(&epoch->slots[i].seen, memory_order_seq_cst); /* I3 */
        if (seen != OFFLINE && seen < oldest) {
            oldest = seen;
        }
    }
    return oldest;
}

/* The first object, if it is stamped and no later than `oldest`; taken out of the list. */
static bool pop_due(struct slot *own, uint64_t oldest, struct retired *out)
{
    struct chunk *chunk = own->first;
    if (chunk == NULL || own->waiting_count == own->unstamped_count ||
        chunk->items[chunk->begin].stamp > oldest) {
        return false;
    }
    *out = chunk->items[chunk->begin++];
    own->waiting_count--;
    if (chunk->begin == chunk->end && (chunk->end == CHUNK_ITEMS || own->waiting_count == 0)) {
        own->first = chunk->next;
        own->last = own->first == NULL ? NULL : own->last;
        if (own->spare == NULL) {
            own->spare = chunk;
        } else {
            free(chunk);
        }
    }
    return true;
}

uint32_t epoch_collect(struct epoch *epoch, uint32_t slot)
{
    struct slot *own = slot_of(epoch, slot);
    struct retired retired;

    if (own->waiting_count == 0) {
        return 0;
    }
    if (own->unstamped_count > 0) {
        stamp_new_ones(epoch, own);
    }
    uint64_t oldest = seen_by_all(epoch);
    while (pop_due(own, oldest, &retired)) {
        retired.free_object(retired.object); /* may retire more: those wait for the next call */
    }
    return own->waiting_count;
}

void epoch_free(struct epoch *epoch)
{
    if (epoch == NULL) {
        return;
    }
    for (uint32_t i = 0; i < epoch->slot_count; i++) {
        struct slot *own = &epoch->slots[i];
        ASSERT(atomic_load_explicit(&own->seen, memory_order_acquire) == OFFLINE);
    }
    for (uint32_t i = 0; i < epoch->slot_count; i++) {
        while (epoch_collect(epoch, i) > 0) {
        }
        free(epoch->slots[i].spare);
    }
    free(epoch);
}
