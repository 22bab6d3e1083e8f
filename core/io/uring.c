/*
 * io.h on io_uring.
 *
 *      io_turn ── submit + wait ── clock ── finish ── completions ── feed, sweep, resume
 *                                             │            │
 *                              closed, detached            bytes, sent, accepted
 *
 * The ring runs in deferred mode: the kernel works for us only while we are inside io_turn()'s
 * enter, so completions come in batches, and nobody interrupts a shard in the middle of a packet.
 */
#include "core/io/uring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    COMPLETIONS_PER_TURN_MAX = 8192,
    SUBMIT_TRIES_MAX = 1000,
    LOOK_AGAIN_MIN = 2, /* completions; a lone message does not pay for a second look */
    SWEEP_NS_MIN = 10 * 1000 * 1000, /* a sweep walks over all who linger: not too often */
    FREE_WAIT_NS_MAX = 1000 * 1000 * 1000,
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void clock_read(struct io *io)
{
    io->now_ns = clock_ns(CLOCK_MONOTONIC);
    io->wall_ms = clock_ns(CLOCK_REALTIME) / 1000000u;
}

struct io_uring_sqe *uring_sqe(struct io *io)
{
    for (uint32_t tries = 0; tries < SUBMIT_TRIES_MAX; tries++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
        if (sqe != NULL) {
            return sqe;
        }
        /* Also lets the kernel flush completions that found no room. */
        (void)io_uring_submit_and_get_events(&io->ring);
    }
    ASSERT(!"the kernel takes no requests");
    return NULL;
}

void uring_sweep_by(struct io *io, uint64_t at_ns)
{
    uint64_t soonest_ns = io->now_ns + SWEEP_NS_MIN;
    at_ns = at_ns < soonest_ns ? soonest_ns : at_ns;
    io->sweep_ns = at_ns < io->sweep_ns ? at_ns : io->sweep_ns;
}

static void wake_fd_arm(struct io *io)
{
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_poll_multishot(sqe, io->wake_fd, POLLIN);
    sqe->user_data = uring_tag(NULL, OPERATION_WAKE_FD);
}

enum err io_new(const struct io_config *config, struct io **out)
{
    struct io *io = calloc(1, sizeof(*io));
    if (io == NULL) {
        return ERR_NOMEM;
    }
    list_init(&io->streams);
    list_init(&io->finishing);
    list_init(&io->starved);
    list_init(&io->lingering);
    list_init(&io->listeners);
    io->stream_count_max = config->stream_count_max;
    io->sweep_ns = UINT64_MAX;
    io->wake_fd = -1;
    io->may_sleep = config->may_sleep;
    io->awake = config->awake;
    io->context = config->context;
    io->thread = pthread_self();
    uint32_t entries = config->ring_entries == 0 ? sys_ring_entries() : config->ring_entries;
    int rc = sys_ring_init(&io->ring, entries);
    if (rc < 0) {
        free(io);
        return rc == -EINVAL ? ERR_UNSUPPORTED : err_from_errno(-rc);
    }
    (void)io_uring_register_ring_fd(&io->ring); /* saves a look-up per enter; not essential */
    enum err err = buffers_init(&io->buffers, &io->ring, config->receive_bytes,
                                !config->plain_buffers);
    if (err != OK) {
        goto fail;
    }
    io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->wake_fd < 0) {
        err = err_from_errno(errno);
        goto fail;
    }
    wake_fd_arm(io);
    clock_read(io);
    *out = io;
    return OK;
fail:
    io_free(io);
    return err;
}

uint64_t io_now_ns(const struct io *io)
{
    return io->now_ns;
}

uint64_t io_clock_ns(const struct io *io)
{
    (void)io;
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t io_wall_ms(const struct io *io)
{
    return io->wall_ms;
}

static void wake_fd_write(int fd)
{
    uint64_t one = 1;
    /* Refused only when the counter is full: then the other is awake. */
    (void)!write(fd, &one, sizeof(one));
}

void io_wake(struct io *from, struct io *io)
{
    if (from == NULL) {
        wake_fd_write(io->wake_fd); /* fixed since io_new(), so any thread may read it */
        return;
    }
    /* A request like any other: it leaves with the next submit of `from`, at its next io_turn(). */
    struct io_uring_sqe *sqe = uring_sqe(from);
    io_uring_prep_msg_ring(sqe, io->ring.ring_fd, 0, uring_tag(NULL, OPERATION_WAKE), 0);
    sqe->user_data = ((uint64_t)(uint32_t)io->wake_fd << 4) | OPERATION_WAKE_SENT;
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* Only failures are told. A target whose completion queue is full is not going to sleep. */
static void on_wake_sent(uint64_t user_data, int32_t result)
{
    if (result == -ENOMEM || result == -EAGAIN || result == -EINTR) {
        wake_fd_write((int)(user_data >> 4));
    }
}

static void on_wake_fd(struct io *io, uint32_t flags)
{
    uint64_t count;
    (void)!read(io->wake_fd, &count, sizeof(count));
    if (!(flags & IORING_CQE_F_MORE)) {
        wake_fd_arm(io);
    }
}

static void completed(struct io *io, const struct io_uring_cqe *cqe)
{
    enum operation operation = (enum operation)(cqe->user_data & OPERATION_MASK);
    void *object = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)OPERATION_MASK);

    switch (operation) {
    case OPERATION_RECEIVE:
    case OPERATION_SEND:
    case OPERATION_CONNECT:
    case OPERATION_CANCEL:
        stream_completed(object, operation, cqe->res, cqe->flags);
        break;
    case OPERATION_ACCEPT:
    case OPERATION_ACCEPT_CANCEL:
        listener_completed(object, operation, cqe->res, cqe->flags);
        break;
    case OPERATION_WAKE_FD:
        on_wake_fd(io, cqe->flags);
        break;
    case OPERATION_WAKE_SENT:
        on_wake_sent(cqe->user_data, cqe->res);
        break;
    case OPERATION_WAKE:
        break; /* that it came is all it says */
    case OPERATION_MASK:
    default:
        ASSERT(!"a completion nobody asked for");
    }
}

/* Submit and wait. Interrupted, out of time, short of memory: the turn goes on with what is there. */
static void submit_and_wait(struct io *io, uint64_t wait_ns)
{
    struct io_uring_cqe *cqe;
    int rc;

    if (io->sweep_ns != UINT64_MAX) {
        uint64_t sweep_in_ns = io->sweep_ns > io->now_ns ? io->sweep_ns - io->now_ns : 0;
        wait_ns = sweep_in_ns < wait_ns ? sweep_in_ns : wait_ns;
    }
    if (wait_ns == 0) {
        rc = io_uring_submit_and_get_events(&io->ring); /* deferred work runs only in an enter */
    } else if (wait_ns == UINT64_MAX) {
        rc = io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, NULL, NULL);
    } else {
        struct __kernel_timespec timeout = {
            .tv_sec = (int64_t)(wait_ns / 1000000000u),
            .tv_nsec = (int64_t)(wait_ns % 1000000000u),
        };
        rc = io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &timeout, NULL);
    }
    ASSERT(rc != -EEXIST); /* another thread than the one of io_new() */
    ASSERT(rc != -EBADF);
    ASSERT(rc != -EINVAL);
    ASSERT(rc != -EFAULT);
}

static uint32_t drain(struct io *io)
{
    uint32_t count = 0;
    struct io_uring_cqe *next;

    while (count < COMPLETIONS_PER_TURN_MAX && io_uring_cq_ready(&io->ring) > 0 &&
           io_uring_peek_cqe(&io->ring, &next) == 0) {
        struct io_uring_cqe cqe = {.user_data = next->user_data, .res = next->res};
        cqe.flags = next->flags;
        io_uring_cqe_seen(&io->ring, next);
        completed(io, &cqe);
        count++;
    }
    return count;
}

uint32_t io_turn(struct io *io, uint64_t wait_ns)
{
    bool is_idle = list_is_empty(&io->finishing) && list_is_empty(&io->starved);

    bool asks = is_idle && wait_ns > 0 && io->may_sleep != NULL;
    bool sleeps = is_idle && (!asks || io->may_sleep(io->context));
    submit_and_wait(io, sleeps ? wait_ns : 0);
    if (asks) {
        io->awake(io->context);
    }
    clock_read(io);
    uint32_t count = streams_finish(io);
    uint32_t drained = drain(io);
    count += drained;
    if (drained >= LOOK_AGAIN_MIN && io_uring_get_events(&io->ring) >= 0) {
        count += drain(io); /* while we worked more came: it shares the sends of this turn */
    }
    streams_feed(io);
    if (io->now_ns >= io->sweep_ns) {
        io->sweep_ns = UINT64_MAX;
        streams_sweep(io);
    }
    if (io->is_accept_stalled) {
        listeners_resume(io);
    }
    return count;
}

/* How many final completions are still to come. */
static uint32_t requests_count(struct io *io)
{
    uint32_t count = 0;
    LIST_EACH (&io->streams, link) {
        count += CONTAINER_OF(link, struct io_stream, all)->requests;
    }
    LIST_EACH (&io->listeners, listener_link) {
        count += CONTAINER_OF(listener_link, struct io_listener, link)->requests;
    }
    return count;
}

/* Memory that a request in flight points to must outlive it: cancel everything and wait for it. */
static void cancel_everything(struct io *io)
{
    uint32_t requests = requests_count(io);
    uint64_t until_ns = clock_ns(CLOCK_MONOTONIC) + FREE_WAIT_NS_MAX;
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = uring_tag(NULL, OPERATION_WAKE);

    while (requests > 0 && clock_ns(CLOCK_MONOTONIC) < until_ns) {
        struct __kernel_timespec timeout = {.tv_nsec = 10000000};
        struct io_uring_cqe *cqe = NULL;
        (void)io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &timeout, NULL);
        if (cqe == NULL) {
            continue;
        }
        enum operation operation = (enum operation)(cqe->user_data & OPERATION_MASK);
        if (operation <= OPERATION_ACCEPT_CANCEL && !(cqe->flags & IORING_CQE_F_MORE)) {
            requests--;
        }
        if (operation == OPERATION_ACCEPT && cqe->res >= 0) {
            close(cqe->res);
        }
        io_uring_cqe_seen(&io->ring, cqe);
    }
}

void io_free(struct io *io)
{
    if (io == NULL) {
        return;
    }
    if (pthread_equal(io->thread, pthread_self())) {
        cancel_everything(io);
    } else { /* the owner's end cancelled all; a registered descriptor is one thread's own */
        io->ring.int_flags = 0;
        io->ring.enter_ring_fd = io->ring.ring_fd;
    }
    io_uring_queue_exit(&io->ring);
    listeners_free(io);
    streams_free(io);
    buffers_deinit(&io->buffers);
    while (io->free_blocks != NULL) {
        struct request_block *block = io->free_blocks;
        io->free_blocks = block->next_free;
        free(block);
    }
    if (io->wake_fd >= 0) {
        close(io->wake_fd);
    }
    free(io);
}
