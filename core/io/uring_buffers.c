#include "core/io/uring_buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* liburing 2.3 has no io_uring_setup_buf_ring(), and calls the field `flags` still `pad`. */
static int ring_register(struct io_uring *ring, void *memory, uint32_t count, uint16_t flags)
{
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)memory,
        .ring_entries = count,
        .bgid = BUFFERS_GROUP,
    };
    memcpy((uint8_t *)&reg + 14, &flags, sizeof(flags));
    long rc = syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    return rc < 0 ? errno : 0;
}

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static uint32_t power_of_two_below(uint32_t value)
{
    uint32_t power = 4;
    while (power * 2 <= value && power < 32768) {
        power *= 2;
    }
    return power;
}

static void size_for(struct buffers *buffers, uint32_t total_bytes, bool is_incremental)
{
    buffers->is_incremental = is_incremental;
    buffers->buffer_bytes = is_incremental ? BUFFERS_INC_BYTES : BUFFERS_PLAIN_BYTES;
    buffers->count = power_of_two_below(total_bytes / buffers->buffer_bytes);
}

/* Put buffer id at the tail of the ring; the kernel sees it after the release store. */
static void ring_add(struct buffers *buffers, uint32_t id)
{
    struct io_uring_buf *slot = &buffers->ring->bufs[buffers->tail & (buffers->count - 1)];
    slot->addr = (uint64_t)(uintptr_t)(buffers->memory + (size_t)id * buffers->buffer_bytes);
    slot->len = buffers->buffer_bytes;
    slot->bid = (uint16_t)id;
    buffers->offsets[id] = 0;
    buffers->tail++;
    __atomic_store_n(&buffers->ring->tail, buffers->tail, __ATOMIC_RELEASE); /* the kernel's load */
}

enum err buffers_init(struct buffers *buffers, struct io_uring *ring, uint32_t total_bytes,
                      bool allow_incremental)
{
    int rc = EINVAL;

    *buffers = (struct buffers){0};
    total_bytes = total_bytes == 0 ? BUFFERS_TOTAL_DEFAULT : total_bytes;
    size_for(buffers, total_bytes, false); /* the greater count of the two kinds */
    buffers->ring_bytes = buffers->count * sizeof(struct io_uring_buf);
    buffers->ring = map(buffers->ring_bytes);
    if (buffers->ring == NULL) {
        goto fail;
    }
    if (allow_incremental) {
        size_for(buffers, total_bytes, true);
        rc = ring_register(ring, buffers->ring, buffers->count, SYS_PBUF_RING_INC);
    }
    if (rc == EINVAL) { /* a kernel before 6.12 */
        size_for(buffers, total_bytes, false);
        rc = ring_register(ring, buffers->ring, buffers->count, 0);
    }
    if (rc != 0) {
        buffers_deinit(buffers);
        return rc == EINVAL ? ERR_UNSUPPORTED : err_from_errno(rc);
    }
    buffers->memory = map((size_t)buffers->count * buffers->buffer_bytes);
    buffers->offsets = calloc(buffers->count, sizeof(buffers->offsets[0]));
    if (buffers->memory == NULL || buffers->offsets == NULL) {
        goto fail;
    }
    for (uint32_t id = 0; id < buffers->count; id++) {
        ring_add(buffers, id);
    }
    return OK;
fail:
    buffers_deinit(buffers);
    return ERR_NOMEM;
}

void buffers_deinit(struct buffers *buffers)
{
    if (buffers->memory != NULL) {
        munmap(buffers->memory, (size_t)buffers->count * buffers->buffer_bytes);
    }
    if (buffers->ring != NULL) {
        munmap(buffers->ring, buffers->ring_bytes);
    }
    free(buffers->offsets);
    *buffers = (struct buffers){0};
}

struct slice buffers_take(struct buffers *buffers, uint32_t cqe_flags, uint32_t count)
{
    uint32_t id = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
    ASSERT(id < buffers->count);
    uint32_t offset = buffers->offsets[id];
    ASSERT(count <= buffers->buffer_bytes - offset);
    if (buffers->is_incremental) {
        buffers->offsets[id] = offset + count;
    }
    return slice_of(buffers->memory + (size_t)id * buffers->buffer_bytes + offset, count);
}

void buffers_give(struct buffers *buffers, uint32_t cqe_flags)
{
    if (buffers->is_incremental && (cqe_flags & SYS_CQE_F_BUF_MORE)) {
        return; /* B1: the rest of it is still the kernel's */
    }
    ring_add(buffers, cqe_flags >> IORING_CQE_BUFFER_SHIFT);
}
