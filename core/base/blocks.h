/*
 * blocks: memory for what lives short and comes again, reused instead of malloc() and free().
 *
 * Messages, queues, chunks of output: one thread makes them, the same or another lets go of them.
 * Every thread keeps two magazines of free blocks for each size, and exchanges whole ones with a
 * depot that all share: a shard that lets go of what it made never leaves its own memory, and one
 * that only makes or only lets go visits the depot once in hundreds of blocks
 * (J. Bonwick, J. Adams: Magazines and Vmem, USENIX 2001).
 *
 *     blocks_take ──> [loaded] <──> [spare]     per thread and size
 *                         │
 *                      [depot]                  per size, behind a lock; what exceeds it is freed
 *
 * Floor:  base.
 * Thread: any. A thread that ends calls blocks_thread_end().
 * Memory: at most BLOCKS_MAGAZINE_BYTES * 2 per thread and size (9.5 MiB a thread); in the depot
 *         DEPOT_MAGAZINES of those for a size, and DEPOT_MAGAZINES_ALL together (16 MiB). Built with
 *         AddressSanitizer nothing is kept, so that it sees every mistake.
 */
#ifndef TERN_BASE_BLOCKS_H
#define TERN_BASE_BLOCKS_H

#include <stddef.h>

enum {
    BLOCKS_BYTES_MAX = 32 * 1024, /* larger ones are malloc()'s */
    BLOCKS_MAGAZINE_BYTES = 256 * 1024,
};

/* count bytes, not zeroed, aligned as malloc() does; the caller owns them. NULL: no memory left. */
void *blocks_take(size_t count);

/* The same count as when it was taken. Accepts NULL. */
void blocks_give(void *block, size_t count);

/* This thread takes and gives no more: what it kept goes to the depot. */
void blocks_thread_end(void);

/* Free what the depot holds: at the end of the program, for leak checkers. */
void blocks_end(void);

#endif
