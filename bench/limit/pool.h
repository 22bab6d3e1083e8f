/*
 * pool: the receive buffers of tern-limit, which are also what it sends from.
 *
 * The kernel fills a buffer piece by piece (kernel 6.12; before, every receive takes a whole one),
 * and what it wrote is forwarded where it lies. A buffer goes back when the kernel has finished with
 * it and nobody refers to it. Few are with the kernel at a time, and the last to come back goes out
 * first: so the same few stay in the processor's cache, however large the pool is.
 *
 * Floor:  bench.
 * Thread: the owner of the ring.
 * Memory: one mapping of fixed size, of which the kernel gives pages as they are touched: this is
 *         the bound of what tern-limit can hold back for slow receivers.
 */
#ifndef TERN_BENCH_LIMIT_POOL_H
#define TERN_BENCH_LIMIT_POOL_H

#include <liburing.h>

#include <stdbool.h>
#include <stdint.h>

enum {
    POOL_GROUP = 1,
    POOL_BUFFER_BYTES = 64 * 1024,
    POOL_GIVEN_MAX = 32, /* with the kernel at a time; a power of two */
};

struct pool {
    struct io_uring_buf_ring *ring; /* shared with the kernel */
    uint8_t *memory;
    uint32_t *offsets; /* where the next bytes of a buffer begin */
    uint32_t *refs;    /* one is the kernel's */
    uint16_t *spare;   /* a stack */
    uint32_t count, spare_count, given_count;
    uint16_t tail;
};

/* count buffers, POOL_GIVEN_MAX to 65,535 of them. 0 or -errno. Nothing takes it down: the process ends. */
int pool_init(struct pool *pool, struct io_uring *ring, uint32_t count);

/*
 * The bytes that a completion with F_BUFFER brought. The caller gets a reference to *buffer_out and
 * gives it back with pool_unref().
 */
const uint8_t *pool_take(struct pool *pool, uint32_t cqe_flags, uint32_t bytes,
                         uint16_t *buffer_out);

/* Let the kernel have as many as it may; false when it has none at all. */
bool pool_top_up(struct pool *pool);

static inline void pool_ref(struct pool *pool, uint16_t buffer)
{
    pool->refs[buffer]++;
}

static inline void pool_unref(struct pool *pool, uint16_t buffer)
{
    if (--pool->refs[buffer] == 0) {
        pool->spare[pool->spare_count++] = buffer;
    }
}

#endif
