#include "core/base/blocks.h"

#include "core/base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/*
 * Sizes grow by half steps: 64, 96, 128, 192, 256, 384 ... 32768: at most a third is wasted.
 *
 * Invariants
 *   B1  a free block holds the next one of its magazine in its first word and, if it is the first
 *       of a magazine in the depot, the next magazine in its second.
 *   B2  a magazine in the depot is full, and so is `spare` unless it is empty.
 */
enum {
    SMALLEST_SHIFT = 6,
    SIZE_COUNT = 19,
    MAGAZINE_BLOCKS_MAX = 1024,
    DEPOT_MAGAZINES = 16,     /* of one size */
    DEPOT_MAGAZINES_ALL = 64, /* of all sizes: 16 MiB */
};

/* clang-format off */
/* A size, and how many of it make a magazine. */
#define MAGAZINE(bytes) (BLOCKS_MAGAZINE_BYTES / (bytes) < MAGAZINE_BLOCKS_MAX ?                    \
                         BLOCKS_MAGAZINE_BYTES / (bytes) : MAGAZINE_BLOCKS_MAX)
#define SIZE(bytes) {bytes, MAGAZINE(bytes)}
static const struct {
    uint32_t bytes, magazine_blocks;
} sizes[] = {
    SIZE(64),   SIZE(96),   SIZE(128),  SIZE(192),   SIZE(256),   SIZE(384),   SIZE(512),
    SIZE(768),  SIZE(1024), SIZE(1536), SIZE(2048),  SIZE(3072),  SIZE(4096),  SIZE(6144),
    SIZE(8192), SIZE(12288), SIZE(16384), SIZE(24576), SIZE(BLOCKS_BYTES_MAX),
};
/* clang-format on */
_Static_assert(sizeof(sizes) / sizeof(sizes[0]) == SIZE_COUNT, "every size has its place");

struct block {
    struct block *next, *next_magazine;
};

struct magazine {
    struct block *first;
    uint32_t count;
};

struct cache {
    struct magazine loaded, spare;
};

static _Thread_local struct cache caches[SIZE_COUNT];

/* Shared: everything in it is under its lock. */
static struct depot {
    pthread_mutex_t lock;
    struct block *magazines;
    uint32_t count;
} depots[SIZE_COUNT] = {[0 ... SIZE_COUNT - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

/* Relaxed: it bounds memory, orders nothing, and a few more than the bound do no harm. */
static _Atomic uint32_t depot_magazines;

static uint32_t size_index(size_t count)
{
    if (count <= (size_t)1 << SMALLEST_SHIFT) {
        return 0;
    }
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(count - 1);
    uint32_t upper_half = (uint32_t)((count - 1) >> (shift - 1)) & 1;
    return 2 * (shift - SMALLEST_SHIFT) + upper_half + 1;
}

static void chain_free(struct block *block)
{
    while (block != NULL) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
}

static struct magazine depot_take(uint32_t index)
{
    struct depot *depot = &depots[index];
    struct magazine magazine = {0};
    pthread_mutex_lock(&depot->lock);
    if (depot->magazines != NULL) {
        magazine = (struct magazine){depot->magazines, sizes[index].magazine_blocks}; /* B2 */
        depot->magazines = depot->magazines->next_magazine;
        depot->count--;
        atomic_fetch_sub_explicit(&depot_magazines, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&depot->lock);
    return magazine;
}

static void depot_give(uint32_t index, struct magazine *full)
{
    struct depot *depot = &depots[index];
    struct block *first = full->first;
    ASSERT(full->count == sizes[index].magazine_blocks); /* B2 */
    pthread_mutex_lock(&depot->lock);
    if (depot->count < DEPOT_MAGAZINES &&
        atomic_load_explicit(&depot_magazines, memory_order_relaxed) < DEPOT_MAGAZINES_ALL) {
        atomic_fetch_add_explicit(&depot_magazines, 1, memory_order_relaxed);
        first->next_magazine = depot->magazines;
        depot->magazines = first;
        depot->count++;
        first = NULL;
    }
    pthread_mutex_unlock(&depot->lock);
    chain_free(first);
    *full = (struct magazine){0};
}

static struct block *pop(struct magazine *magazine)
{
    struct block *block = magazine->first;
    magazine->first = block->next;
    magazine->count--;
    return block;
}

/* `loaded` is empty: the spare one, or one of the depot's, takes its place. */
static bool reload(uint32_t index, struct cache *cache)
{
    if (cache->spare.count == 0) {
        cache->spare = depot_take(index);
    }
    cache->loaded = cache->spare;
    cache->spare = (struct magazine){0};
    return cache->loaded.count > 0;
}

void *blocks_take(size_t count)
{
    if (count > BLOCKS_BYTES_MAX) {
        return malloc(count);
    }
    uint32_t index = size_index(count);
    struct cache *cache = &caches[index];
    if (cache->loaded.count > 0 || reload(index, cache)) {
        return pop(&cache->loaded);
    }
    return malloc(sizes[index].bytes);
}

void blocks_give(void *memory, size_t count)
{
    struct block *block = memory;
    if (block == NULL || count > BLOCKS_BYTES_MAX) {
        free(block);
        return;
    }
    uint32_t index = size_index(count);
    struct cache *cache = &caches[index];
    if (cache->loaded.count == sizes[index].magazine_blocks) {
        if (cache->spare.count > 0) {
            depot_give(index, &cache->spare);
        }
        cache->spare = cache->loaded;
        cache->loaded = (struct magazine){0};
    }
    block->next = cache->loaded.first;
    cache->loaded.first = block;
    cache->loaded.count++;
}

void blocks_thread_end(void)
{
    for (uint32_t index = 0; index < SIZE_COUNT; index++) {
        struct cache *cache = &caches[index];
        if (cache->spare.count > 0) {
            depot_give(index, &cache->spare);
        }
        chain_free(cache->loaded.first);
        cache->loaded = (struct magazine){0};
    }
}

void blocks_end(void)
{
    blocks_thread_end();
    for (uint32_t index = 0; index < SIZE_COUNT; index++) {
        struct magazine magazine;
        while ((magazine = depot_take(index)).count > 0) {
            chain_free(magazine.first);
        }
    }
}
