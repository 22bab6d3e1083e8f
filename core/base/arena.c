/*
 * Invariants
 *   I1  the first block has block_bytes and lives as long as the arena; later ones live for a turn.
 *   I2  pieces are cut from the newest block of the usual size; a piece larger than half a block
 *       gets a block of its own, behind it, so that it does not end the current one.
 *   I3  taken is the sum of what was cut, rounded up to ALIGN; taken <= bytes_max.
 */
#include "core/base/arena.h"

#include "core/base/asan.h"

#include <stdint.h>
#include <stdlib.h>

enum { ALIGN = 16, BLOCK_BYTES_MIN = 256 };

struct block {
    struct block *next; /* of this turn, older */
    _Alignas(ALIGN) uint8_t bytes[];
};

struct arena {
    struct block *first, *current; /* current: the newest of the usual size; chain ends at first */
    size_t block_bytes, bytes_max;
    size_t cut, taken; /* cut: of current */
};

static struct block *block_new(size_t bytes)
{
    struct block *block = malloc(sizeof(*block) + bytes);
    if (block != NULL) {
        block->next = NULL;
        ASAN_POISON(block->bytes, bytes);
    }
    return block;
}

struct arena *arena_new(size_t block_bytes, size_t bytes_max)
{
    ASSERT(block_bytes >= BLOCK_BYTES_MIN);
    ASSERT(bytes_max >= block_bytes);
    ASSERT(bytes_max <= SIZE_MAX / 2);
    struct arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL) {
        return NULL;
    }
    arena->block_bytes = block_bytes / ALIGN * ALIGN;
    arena->bytes_max = bytes_max;
    arena->first = arena->current = block_new(arena->block_bytes);
    if (arena->first == NULL) {
        arena_free(arena);
        return NULL;
    }
    return arena;
}

static void free_all_but_first(struct arena *arena)
{
    for (struct block *block = arena->current; block != arena->first;) {
        struct block *older = block->next;
        free(block);
        block = older;
    }
    arena->current = arena->first;
    if (arena->first == NULL) {
        return;
    }
    for (struct block *block = arena->first->next; block != NULL;) { /* large ones behind it */
        struct block *older = block->next;
        free(block);
        block = older;
    }
    arena->first->next = NULL;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL) {
        return;
    }
    free_all_but_first(arena);
    free(arena->first);
    free(arena);
}

/* A block of its own, behind the current one (I2). */
static void *take_large(struct arena *arena, size_t bytes)
{
    struct block *block = block_new(bytes);
    if (block == NULL) {
        return NULL;
    }
    block->next = arena->current->next;
    arena->current->next = block;
    return block->bytes;
}

void *arena_take(struct arena *arena, size_t bytes)
{
    if (bytes > arena->bytes_max) {
        return NULL;
    }
    size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    rounded = rounded == 0 ? ALIGN : rounded; /* two pieces are never at the same place */
    if (rounded > arena->bytes_max - arena->taken) {
        return NULL; /* I3 */
    }
    void *piece;
    if (rounded > arena->block_bytes / 2) {
        piece = take_large(arena, rounded);
    } else {
        if (rounded > arena->block_bytes - arena->cut) {
            struct block *block = block_new(arena->block_bytes);
            if (block == NULL) {
                return NULL;
            }
            block->next = arena->current;
            arena->current = block;
            arena->cut = 0;
        }
        piece = arena->current->bytes + arena->cut;
        arena->cut += rounded;
    }
    if (piece != NULL) {
        arena->taken += rounded;
        ASAN_UNPOISON(piece, bytes);
    }
    return piece;
}

char *arena_text(struct arena *arena, struct slice text)
{
    char *copy = text.count < SIZE_MAX ? arena_take(arena, text.count + 1) : NULL;
    if (copy == NULL) {
        return NULL;
    }
    if (text.count > 0) {
        memcpy(copy, text.data, text.count);
    }
    copy[text.count] = 0;
    return copy;
}

void arena_reset(struct arena *arena)
{
    free_all_but_first(arena);
    ASAN_POISON(arena->first->bytes, arena->block_bytes);
    arena->cut = 0;
    arena->taken = 0;
}

size_t arena_taken_bytes(const struct arena *arena)
{
    return arena->taken;
}
