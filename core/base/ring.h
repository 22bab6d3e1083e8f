/*
 * ring: bounded queue of fixed-size items from one producer thread to one consumer thread.
 *
 * Floor:  base.
 * Thread: ring_push* by the producer only, ring_pop* by the consumer only.
 * Memory: all of it allocated in ring_new(); items are copied in and out.
 *
 * Head and tail live on cache lines of their own, each side caches the other's index
 * (L. Lamport 1983; cached indices as in FastForward/MCRingBuffer).
 */
#ifndef TERN_BASE_RING_H
#define TERN_BASE_RING_H

#include <stdbool.h>
#include <stdint.h>

struct ring;

/* slot_count: a power of two; item_bytes: a multiple of 8. NULL: memory is exhausted. */
struct ring *ring_new(uint32_t slot_count, uint32_t item_bytes);
void ring_free(struct ring *ring);

/* false: full, nothing changed. */
bool ring_push(struct ring *ring, const void *item);

/* false: empty. */
bool ring_pop(struct ring *ring, void *item);

/* As seen by the caller's side; exact for its own index, a lower or upper bound for the other. */
uint32_t ring_count(const struct ring *ring);
bool ring_is_empty(const struct ring *ring);

#endif
