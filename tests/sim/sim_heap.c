/*
 * The pieces of the node stand in one open table, by address. A free() from anywhere strikes its
 * piece out, by moving up what stands behind it, so that nothing has to be marked as deleted.
 */
#include "tests/sim/sim_heap.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/ledger.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_MIN = 1 << 14 };

static struct {
    void **slots; /* NULL: free */
    uint64_t slot_count, used;
    bool is_node;
} pieces;

static uint64_t home(const void *piece)
{
    uint64_t hash = ((uint64_t)(uintptr_t)piece >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    return hash >> 20 & (pieces.slot_count - 1);
}

static void put(void *piece)
{
    uint64_t at = home(piece);
    while (pieces.slots[at] != NULL) {
        at = (at + 1) & (pieces.slot_count - 1);
    }
    pieces.slots[at] = piece;
    pieces.used++;
}

static void grow(void)
{
    void **before = pieces.slots;
    uint64_t before_count = pieces.slot_count;
    pieces.slot_count = before_count == 0 ? TABLE_MIN : before_count * 2;
    pieces.slots = calloc(pieces.slot_count, sizeof(void *));
    ASSERT(pieces.slots != NULL);
    pieces.used = 0;
    for (uint64_t i = 0; i < before_count; i++) {
        if (before[i] != NULL) {
            put(before[i]);
        }
    }
    free(before);
}

static void *noted(void *piece)
{
    if (piece == NULL || !pieces.is_node) {
        return piece;
    }
    if (pieces.used * 2 >= pieces.slot_count) {
        grow();
    }
    put(piece);
    return piece;
}

static void strike(const void *piece)
{
    if (piece == NULL || pieces.used == 0) {
        return;
    }
    uint64_t mask = pieces.slot_count - 1, at = home(piece);
    while (pieces.slots[at] != piece) {
        if (pieces.slots[at] == NULL) {
            return; /* not the node's */
        }
        at = (at + 1) & mask;
    }
    for (uint64_t next = (at + 1) & mask; pieces.slots[next] != NULL; next = (next + 1) & mask) {
        uint64_t wanted = home(pieces.slots[next]);
        if (((next - wanted) & mask) >= ((next - at) & mask)) {
            pieces.slots[at] = pieces.slots[next];
            at = next;
        }
    }
    pieces.slots[at] = NULL;
    pieces.used--;
}

/* ---- what the linker puts in the way -------------------------------------------------------- */

/* The names are the linker's. NOLINTBEGIN(bugprone-reserved-identifier) */
void *__wrap_malloc(size_t count);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *piece, size_t count);
void *__wrap_aligned_alloc(size_t alignment, size_t count);
void __wrap_free(void *piece);

void *__wrap_malloc(size_t count)
{
    return noted(malloc(count));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return noted(calloc(count, size));
}

void *__wrap_realloc(void *piece, size_t count)
{
    strike(piece);
    void *moved = realloc(piece, count);
    if (moved == NULL && piece != NULL && count > 0) {
        noted(piece);
    }
    return noted(moved);
}

void *__wrap_aligned_alloc(size_t alignment, size_t count)
{
    return noted(aligned_alloc(alignment, count));
}

void __wrap_free(void *piece)
{
    strike(piece);
    free(piece);
}
/* NOLINTEND */

/* ---- the node ------------------------------------------------------------------------------- */

void sim_heap_enter(void)
{
    ASSERT(!pieces.is_node);
    pieces.is_node = true;
}

void sim_heap_leave(void)
{
    ASSERT(pieces.is_node);
    pieces.is_node = false;
}

uint64_t sim_heap_crash(void)
{
    ASSERT(!pieces.is_node);
    /* What core keeps beside its objects, for the whole process: blocks to be used again, and the
     * ledger, in which nobody but the node has entered anything. */
    blocks_thread_end();
    blocks_end();
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        ledger_add(use, -(int64_t)ledger_bytes(use));
    }
    uint64_t count = pieces.used;
    for (uint64_t i = 0; i < pieces.slot_count; i++) {
        free(pieces.slots[i]);
        pieces.slots[i] = NULL;
    }
    pieces.used = 0;
    return count;
}
