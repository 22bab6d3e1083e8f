/*
 * pool: fixed-size objects of one shard, taken and given back in O(1).
 *
 * Floor:  base.
 * Thread: the owner.
 * Memory: grows in blocks up to object_count_max; blocks that are entirely free are returned to
 *         the system beyond a small reserve. Under ASan, free objects are poisoned.
 */
#ifndef TERN_BASE_POOL_H
#define TERN_BASE_POOL_H

#include <stdint.h>

struct pool;

/* object_bytes > 0; object_count_max: 0 means no bound. NULL: memory is exhausted. */
struct pool *pool_new(uint32_t object_bytes, uint32_t object_count_max);
void pool_free(struct pool *pool); /* accepts NULL; objects still taken go with it */

void *pool_take(struct pool *pool); /* zeroed; NULL: the bound is reached or memory is exhausted */
void pool_give(struct pool *pool, void *object);
uint32_t pool_taken_count(const struct pool *pool);

#endif
