#include "bench/limit/pool.h"

#include "core/base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers of the kernel's interface that the header of liburing 2.3 lacks. */
#define LIMIT_CQE_F_BUF_MORE (1u << 4)
#define LIMIT_PBUF_RING_INC  2u

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* liburing 2.3 has no call for it, and names the last two bytes that count here `pad`. */
static int register_ring(struct pool *pool, struct io_uring *ring, uint16_t flags)
{
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)pool->ring,
        .ring_entries = POOL_GIVEN_MAX,
        .bgid = POOL_GROUP,
    };
    memcpy((uint8_t *)&reg + 14, &flags, sizeof(flags));
    long rc = syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    return rc < 0 ? -errno : 0;
}

int pool_init(struct pool *pool, struct io_uring *ring, uint32_t count)
{
    ASSERT(count >= POOL_GIVEN_MAX);
    ASSERT(count <= UINT16_MAX);
    *pool = (struct pool){.count = count};
    pool->ring = map(POOL_GIVEN_MAX * sizeof(struct io_uring_buf));
    pool->memory = map((size_t)count * POOL_BUFFER_BYTES);
    pool->offsets = calloc(count, sizeof(pool->offsets[0]));
    pool->refs = calloc(count, sizeof(pool->refs[0]));
    pool->spare = calloc(count, sizeof(pool->spare[0]));
    if (pool->ring == NULL || pool->memory == NULL || pool->offsets == NULL || pool->refs == NULL ||
        pool->spare == NULL) {
        return -ENOMEM;
    }
    while (pool->spare_count < count) {
        pool->spare[pool->spare_count] = (uint16_t)(count - 1 - pool->spare_count);
        pool->spare_count++;
    }
    int rc = register_ring(pool, ring, LIMIT_PBUF_RING_INC);
    if (rc == -EINVAL) { /* before 6.12: then every receive takes a buffer of its own */
        rc = register_ring(pool, ring, 0);
    }
    if (rc == 0) {
        pool_top_up(pool);
    }
    return rc;
}

const uint8_t *pool_take(struct pool *pool, uint32_t cqe_flags, uint32_t bytes,
                         uint16_t *buffer_out)
{
    uint16_t buffer = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);
    ASSERT(buffer < pool->count);
    ASSERT(bytes <= POOL_BUFFER_BYTES - pool->offsets[buffer]);
    const uint8_t *data = pool->memory + (size_t)buffer * POOL_BUFFER_BYTES + pool->offsets[buffer];
    pool->offsets[buffer] += bytes;
    if ((cqe_flags & LIMIT_CQE_F_BUF_MORE) != 0) {
        pool->refs[buffer]++;
    } else {
        pool->given_count--; /* and the kernel's reference becomes the caller's */
    }
    *buffer_out = buffer;
    return data;
}

bool pool_top_up(struct pool *pool)
{
    while (pool->given_count < POOL_GIVEN_MAX && pool->spare_count > 0) {
        uint16_t buffer = pool->spare[--pool->spare_count];
        struct io_uring_buf *slot = &pool->ring->bufs[pool->tail & (POOL_GIVEN_MAX - 1)];
        slot->addr = (uint64_t)(uintptr_t)(pool->memory + (size_t)buffer * POOL_BUFFER_BYTES);
        slot->len = POOL_BUFFER_BYTES;
        slot->bid = buffer;
        pool->offsets[buffer] = 0;
        pool->refs[buffer] = 1;
        pool->tail++;
        pool->given_count++;
    }
    __atomic_store_n(&pool->ring->tail, pool->tail, __ATOMIC_RELEASE); /* the kernel's load */
    return pool->given_count > 0;
}
