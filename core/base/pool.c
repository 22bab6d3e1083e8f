/*
 * A block is a power of two of bytes and begins at a multiple of it, so an object finds its block
 * by its own address. Objects are cut off a block one by one: pages that no object needed yet are
 * never touched. What is given back is chained through the object's first word.
 *
 *      block   [ header | object | object | object | ...... never cut yet ...... ]
 *                          │ given    taken    │ given
 *              free ───────┴───────────────────┘
 *
 * Invariants
 *   I1  a block is in `open` exactly while it has room; full ones are in `full`.
 *   I2  taken of a block counts its objects outside; the pool's taken is their sum.
 *   I3  at most one block is entirely free: the reserve, so that one object taken and given in turn
 *       does not cost a block each time.
 */
#include "core/base/pool.h"

#include "core/base/asan.h"
#include "core/base/assert.h"
#include "core/base/list.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_BYTES_MIN = 64 * 1024,
    BLOCK_OBJECTS_MIN = 16, /* below, headers and wake-ups of the allocator would show */
    OBJECT_ALIGN = 16,
};

struct free_object {
    struct free_object *next;
};

struct block {
    _Alignas(64) struct list link;
    struct free_object *free;
    struct pool *pool;
    uint32_t taken, cut; /* cut: objects that were ever handed out */
};

struct pool {
    uint32_t object_bytes, stride, block_objects;
    uint32_t taken, taken_max;
    size_t block_bytes;
    struct list open, full;
    struct block *reserve; /* the entirely free one, in open; NULL: none */
};

struct pool *pool_new(uint32_t object_bytes, uint32_t object_count_max)
{
    ASSERT(object_bytes > 0);
    ASSERT(object_bytes <= 1u << 24);
    struct pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) {
        return NULL;
    }
    pool->object_bytes = object_bytes;
    pool->stride = (object_bytes + OBJECT_ALIGN - 1) / OBJECT_ALIGN * OBJECT_ALIGN;
    pool->block_bytes = BLOCK_BYTES_MIN;
    while (pool->block_bytes < sizeof(struct block) + (size_t)pool->stride * BLOCK_OBJECTS_MIN) {
        pool->block_bytes *= 2;
    }
    pool->block_objects = (uint32_t)((pool->block_bytes - sizeof(struct block)) / pool->stride);
    pool->taken_max = object_count_max == 0 ? UINT32_MAX : object_count_max;
    list_init(&pool->open);
    list_init(&pool->full);
    return pool;
}

static void block_free(struct block *block)
{
    ASAN_UNPOISON(block, block->pool->block_bytes);
    list_remove(&block->link);
    free(block);
}

void pool_free(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    list_append(&pool->open, &pool->full);
    LIST_EACH_SAFE (&pool->open, link) {
        block_free(CONTAINER_OF(link, struct block, link));
    }
    free(pool);
}

/* An open block, new if need be; NULL when memory is exhausted. */
static struct block *block_open(struct pool *pool)
{
    if (!list_is_empty(&pool->open)) {
        return CONTAINER_OF(pool->open.next, struct block, link);
    }
    struct block *block = aligned_alloc(pool->block_bytes, pool->block_bytes);
    if (block == NULL) {
        return NULL;
    }
    *block = (struct block){.pool = pool};
    ASAN_POISON(block + 1, pool->block_bytes - sizeof(*block));
    list_push_front(&pool->open, &block->link);
    pool->reserve = block;
    return block;
}

void *pool_take(struct pool *pool)
{
    if (pool->taken == pool->taken_max) {
        return NULL;
    }
    struct block *block = block_open(pool);
    if (block == NULL) {
        return NULL;
    }
    void *object = block->free;
    if (object == NULL) {
        object = (char *)(block + 1) + (size_t)block->cut * pool->stride;
        block->cut++;
        ASAN_UNPOISON(object, pool->object_bytes);
    } else {
        ASAN_UNPOISON(object, pool->stride); /* a small object's link is longer than itself */
        block->free = ((struct free_object *)object)->next;
        ASAN_POISON(object, pool->stride);
        ASAN_UNPOISON(object, pool->object_bytes);
    }
    if (block == pool->reserve) {
        pool->reserve = NULL; /* I3 */
    }
    pool->taken++;
    block->taken++;
    if (block->taken == pool->block_objects) {
        list_remove(&block->link);
        list_push_back(&pool->full, &block->link); /* I1 */
    }
    return memset(object, 0, pool->object_bytes);
}

void pool_give(struct pool *pool, void *object)
{
    struct block *block = (struct block *)((uintptr_t)object & ~(uintptr_t)(pool->block_bytes - 1));
    ASSERT(block->pool == pool);
    ASSERT(block->taken > 0);
    DASSERT(((uintptr_t)object - (uintptr_t)(block + 1)) % pool->stride == 0);

    ASAN_UNPOISON(object, pool->stride);
    ((struct free_object *)object)->next = block->free;
    block->free = object;
    ASAN_POISON(object, pool->stride);

    if (block->taken == pool->block_objects) {
        list_remove(&block->link);
        list_push_front(&pool->open, &block->link); /* I1 */
    }
    block->taken--;
    pool->taken--;
    if (block->taken > 0) {
        return;
    }
    if (pool->reserve != NULL) {
        block_free(block); /* I3 */
        return;
    }
    /* Last in line: blocks in use fill up first, and this one may go one day. */
    pool->reserve = block;
    list_remove(&block->link);
    list_push_back(&pool->open, &block->link);
}

uint32_t pool_taken_count(const struct pool *pool)
{
    return pool->taken;
}
