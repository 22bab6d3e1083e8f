/*
 * uring_buffers: the receive buffers all streams of one io share.
 *
 * The kernel picks a buffer when bytes are there, so an idle connection holds none. With the
 * incremental kind (kernel 6.12) a 64 KiB buffer is filled piece by piece and comes back when it
 * is full; without, every completion takes a whole buffer of 16 KiB.
 *
 * Floor:  io; included by uring*.c only.
 * Thread: the owner of the ring.
 * Memory: one mapping, made in buffers_init().
 *
 * Invariants
 *   B1  a buffer is the kernel's from buffers_give() until a completion names it; of an
 *       incremental buffer we own only the bytes of the completion, until one without BUF_MORE.
 *   B2  offsets[id] is where the next completion's bytes begin; 0 for plain buffers, always.
 */
#ifndef TERN_IO_URING_BUFFERS_H
#define TERN_IO_URING_BUFFERS_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/io/uring_sys.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BUFFERS_GROUP = 0,
    BUFFERS_INC_BYTES = 64 * 1024,
    BUFFERS_PLAIN_BYTES = 16 * 1024,
    BUFFERS_TOTAL_DEFAULT = 2 * 1024 * 1024,
};

struct buffers {
    struct io_uring_buf_ring *ring; /* shared with the kernel */
    size_t ring_bytes;
    uint8_t *memory;
    uint32_t *offsets; /* B2 */
    uint32_t count;    /* a power of two */
    uint32_t buffer_bytes;
    uint16_t tail;
    bool is_incremental;
};

/* total_bytes is rounded to a power of two of buffers, at least 4. ERR_NOMEM, ERR_UNSUPPORTED. */
enum err buffers_init(struct buffers *buffers, struct io_uring *ring, uint32_t total_bytes,
                      bool allow_incremental);

/* After the ring is gone. Accepts a zeroed one. */
void buffers_deinit(struct buffers *buffers);

/* The bytes a completion brought (flags with F_BUFFER); the caller gives back with the same flags. */
struct slice buffers_take(struct buffers *buffers, uint32_t cqe_flags, uint32_t count);
void buffers_give(struct buffers *buffers, uint32_t cqe_flags);

#endif
