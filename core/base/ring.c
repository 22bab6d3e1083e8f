/*
 * Indices run freely and wrap at 2^32; slot = index & mask.
 *
 *      pop ──> head ░░░░░░░░░░ tail <── push          tail - head: items in the ring
 *
 * Invariants
 *   I1  0 <= tail - head <= slot_count.
 *   I2  head is stored by the consumer only, tail by the producer only.
 *   I3  head_seen <= head and tail_seen <= tail: an old view is a careful one.
 */
#include "core/base/ring.h"

#include "core/base/assert.h"
#include "core/limits.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { APART = LIMIT_APART_BYTES };

struct ring {
    /* the producer's */
    _Alignas(APART) _Atomic uint32_t tail; /* release; pairs with the consumer's acquire */
    uint32_t head_seen;
    /* the consumer's */
    _Alignas(APART) _Atomic uint32_t head; /* release; pairs with the producer's acquire */
    uint32_t tail_seen;
    /* immutable */
    _Alignas(APART) uint32_t mask;
    uint32_t item_bytes;
    _Alignas(APART) uint8_t items[];
};
_Static_assert(offsetof(struct ring, tail) / APART != offsetof(struct ring, head) / APART,
               "what the producer writes and what the consumer writes lie apart");
_Static_assert(offsetof(struct ring, head_seen) / APART == offsetof(struct ring, tail) / APART &&
                   offsetof(struct ring, tail_seen) / APART == offsetof(struct ring, head) / APART,
               "each side's view of the other lies beside its own index");
_Static_assert(offsetof(struct ring, mask) / APART > offsetof(struct ring, head) / APART &&
                   offsetof(struct ring, items) / APART > offsetof(struct ring, item_bytes) / APART,
               "what both read, nobody writes");

struct ring *ring_new(uint32_t slot_count, uint32_t item_bytes)
{
    ASSERT(slot_count > 0 && (slot_count & (slot_count - 1)) == 0);
    ASSERT(slot_count <= 1u << 31);
    ASSERT(item_bytes > 0 && item_bytes % 8 == 0);

    size_t bytes = sizeof(struct ring) + (size_t)slot_count * item_bytes;
    bytes = (bytes + APART - 1) / APART * APART; /* aligned_alloc() wants a multiple */
    struct ring *ring = aligned_alloc(APART, bytes);
    if (ring == NULL) {
        return NULL;
    }
    memset(ring, 0, sizeof(*ring));
    ring->mask = slot_count - 1;
    ring->item_bytes = item_bytes;
    return ring;
}

void ring_free(struct ring *ring)
{
    free(ring);
}

static inline uint8_t *slot_at(struct ring *ring, uint32_t index)
{
    return ring->items + (size_t)(index & ring->mask) * ring->item_bytes;
}

bool ring_push(struct ring *ring, const void *item)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed); /* I2 */
    if (tail - ring->head_seen > ring->mask) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen > ring->mask) {
            return false;
        }
    }
    memcpy(slot_at(ring, tail), item, ring->item_bytes);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

bool ring_pop(struct ring *ring, void *item)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed); /* I2 */
    if (head == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head == ring->tail_seen) {
            return false;
        }
    }
    memcpy(item, slot_at(ring, head), ring->item_bytes);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}

uint32_t ring_count(const struct ring *ring)
{
    /* head first: it never passes tail, so the difference is never negative. */
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return tail - head;
}

bool ring_is_empty(const struct ring *ring)
{
    return ring_count(ring) == 0;
}
