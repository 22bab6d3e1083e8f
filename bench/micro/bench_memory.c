/*
 * bench_memory: the allocators of a shard (pool, blocks, arena) and bytes that wait (buf), beside
 * malloc().
 */
#include "bench/micro/micro.h"
#include "core/base/arena.h"
#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/buf.h"
#include "core/base/pool.h"

enum { OPS = 4000000, OBJECT_BYTES = 96, ALIVE = 1024, TURN_PIECES = 16 };

static void takes_and_gives(void *context, uint64_t ops)
{
    struct pool *pool = context;
    static void *alive[ALIVE];
    for (uint64_t i = 0; i < ops; i++) {
        if (alive[i % ALIVE] != NULL) {
            pool_give(pool, alive[i % ALIVE]);
        }
        alive[i % ALIVE] = pool_take(pool);
    }
    for (uint32_t i = 0; i < ALIVE; i++) {
        if (alive[i] != NULL) {
            pool_give(pool, alive[i]);
        }
        alive[i] = NULL;
    }
}

static void blocks_given_and_taken(void *context, uint64_t ops)
{
    static void *alive[ALIVE];
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        blocks_give(alive[i % ALIVE], OBJECT_BYTES);
        alive[i % ALIVE] = blocks_take(OBJECT_BYTES);
        micro_keep((uint64_t)(uintptr_t)alive[i % ALIVE]);
    }
    for (uint32_t i = 0; i < ALIVE; i++) {
        blocks_give(alive[i], OBJECT_BYTES);
        alive[i] = NULL;
    }
}

static void mallocs_and_frees(void *context, uint64_t ops)
{
    static void *alive[ALIVE];
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        free(alive[i % ALIVE]);
        alive[i % ALIVE] = calloc(1, OBJECT_BYTES);
        micro_keep((uint64_t)(uintptr_t)alive[i % ALIVE]);
    }
    for (uint32_t i = 0; i < ALIVE; i++) {
        free(alive[i]);
        alive[i] = NULL;
    }
}

static void pieces_of_a_turn(void *context, uint64_t ops)
{
    struct arena *arena = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep((uint64_t)(uintptr_t)arena_take(arena, 40 + i % 64));
        if (i % TURN_PIECES == TURN_PIECES - 1) {
            arena_reset(arena);
        }
    }
}

static void appends_and_consumes(void *context, uint64_t ops)
{
    struct buf *buf = context;
    static const uint8_t packet[70];
    for (uint64_t i = 0; i < ops; i++) {
        enum err err = buf_append(buf, slice_of(packet, sizeof(packet)));
        ASSERT(err == OK);
        if (buf_count(buf) == TURN_PIECES * sizeof(packet)) {
            buf_consume(buf, (TURN_PIECES - 1) * sizeof(packet)); /* one waits for the next turn */
        }
    }
    buf_consume(buf, buf_count(buf));
}

int main(int argc, char **argv)
{
    struct pool *pool = pool_new(OBJECT_BYTES, 0);
    struct arena *arena = arena_new(4096, 65536);
    struct buf buf = {0};
    micro_begin(argc, argv);
    ASSERT(pool != NULL);
    ASSERT(arena != NULL);
    micro_run("pool give, take; 96 B, 1024 alive", takes_and_gives, pool, OPS);
    micro_run("blocks give, take; 96 B, 1024 alive", blocks_given_and_taken, NULL, OPS);
    micro_run("free, calloc; 96 B, 1024 alive", mallocs_and_frees, NULL, OPS);
    micro_run("arena take, reset after 16", pieces_of_a_turn, arena, OPS);
    micro_run("buf append 70 B, consume 15 of 16", appends_and_consumes, &buf, OPS);
    blocks_thread_end();
    blocks_end();
    buf_deinit(&buf);
    arena_free(arena);
    pool_free(pool);
    return 0;
}
