/*
 * uring_sys: names of io_uring that the header of liburing 2.3 (kernel 6.1) lacks.
 *
 * Floor:  io; included by uring*.c only.
 *
 * Numbers of the kernel's interface, with a prefix of ours so that a newer header does not clash.
 * They are not taken from #ifdefs: the machine that builds and the one that runs differ; what the
 * running kernel has is found by trying (uring_probe.c, uring_buffers.c).
 */
#ifndef TERN_IO_URING_SYS_H
#define TERN_IO_URING_SYS_H

#include <liburing.h>

#include <stdbool.h>
#include <stdint.h>

#define SYS_CQE_F_BUF_MORE (1u << 4) /* 6.12: the buffer goes on in the next completion */
#define SYS_PBUF_RING_INC  (2u)      /* 6.12: a buffer is filled piece by piece */

/* What a shard's ring is made with: see section 7 of the design. Kernel 6.1 has all of it. */
#define SYS_RING_FLAGS                                                                   \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | \
     IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE)

enum {
    SYS_RING_ENTRIES = 4096,    /* submission queue */
    SYS_RING_ENTRIES_MIN = 128, /* what we make do with when RLIMIT_MEMLOCK is small */
    SYS_CQ_PER_SQ = 8,
};

/* Entries of a shard's ring: SYS_RING_ENTRIES, or what RLIMIT_MEMLOCK leaves to one of many. */
uint32_t sys_ring_entries(void);

/*
 * Make a ring, with fewer entries if the limit of locked memory asks for it; waits up to a quarter
 * of a second for memory of rings that were just freed. 0 or -errno.
 */
int sys_ring_init(struct io_uring *ring, uint32_t entries);

#endif
