/*
 * Listeners. Accepting is multishot: the kernel hands out connections until it is told to stop,
 * and may hand out some more before it hears that. Those are parked, as if they still stood in the
 * kernel's queue, and are the first to come in when there is room.
 */
#include "core/base/log.h"
#include "core/io/sock_native.h"
#include "core/io/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { RETRY_NS = 100 * 1000 * 1000 }; /* after EMFILE and the like */

static bool has_room(const struct io *io)
{
    return io->stream_count < io->stream_count_max;
}

static void accept_arm(struct io_listener *listener)
{
    if (listener->is_accepting || listener->is_closed) {
        return;
    }
    if (!has_room(listener->io) || listener->retry_ns != 0) {
        listener->io->is_accept_stalled = true;
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(listener->io);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = uring_tag(listener, OPERATION_ACCEPT);
    listener->requests++;
    listener->is_accepting = true;
}

static void accept_cancel(struct io_listener *listener)
{
    if (!listener->is_accepting || listener->is_stopping) {
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(listener->io);
    io_uring_prep_cancel64(sqe, uring_tag(listener, OPERATION_ACCEPT), 0);
    sqe->user_data = uring_tag(listener, OPERATION_ACCEPT_CANCEL);
    listener->requests++;
    listener->is_stopping = true;
}

static void retry_later(struct io_listener *listener, int errno_value)
{
    listener->retry_ns = listener->io->now_ns + RETRY_NS;
    listener->io->is_accept_stalled = true;
    uring_sweep_by(listener->io, listener->retry_ns); /* so that a turn comes by then */
    log_event(LOG_WARNING, "connections must wait: accept failed",
              LOG_TEXT("why", strerror(errno_value)));
}

/* An accepted socket becomes a stream, if the owner wants it. */
static void introduce(struct io_listener *listener, int fd)
{
    struct address peer;
    struct io_stream *stream = stream_new(listener->io, fd, STREAM_OPEN);

    if (stream == NULL) {
        close(fd);
        return;
    }
    sock_peer_address(fd, &peer);
    if (!listener->events->accepted(listener->owner, stream, &peer)) {
        stream->events = NULL;
        stream_break(stream, OK);
        return;
    }
    ASSERT(stream->events != NULL);
    stream_arm(stream);
}

static void park(struct io_listener *listener, int fd)
{
    if (listener->parked_count == listener->parked_size) {
        uint32_t size = listener->parked_size == 0 ? 64 : 2 * listener->parked_size;
        int *parked = realloc(listener->parked, size * sizeof(parked[0]));
        if (parked == NULL) {
            close(fd);
            return;
        }
        listener->parked = parked;
        listener->parked_size = size;
    }
    listener->parked[listener->parked_count++] = fd;
    listener->io->is_accept_stalled = true;
}

static void listener_free(struct io_listener *listener)
{
    for (uint32_t i = 0; i < listener->parked_count; i++) {
        close(listener->parked[i]);
    }
    list_remove(&listener->link);
    close(listener->fd);
    free(listener->parked);
    free(listener);
}

static void on_accepted(struct io_listener *listener, int32_t result)
{
    struct io *io = listener->io;

    if (result >= 0) {
        if (listener->is_closed) {
            close(result);
        } else if (listener->parked_count > 0 || !has_room(io)) {
            park(listener, result);
        } else {
            introduce(listener, result);
        }
        if (!has_room(io)) {
            accept_cancel(listener);
        }
    } else if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM) {
        retry_later(listener, -result);
    } else if (result == -EBADF || result == -EINVAL || result == -ENOTSOCK) {
        ASSERT(listener->is_closed);
    }
    /* Anything else is one connection's misfortune, or our own cancellation. */
}

void listener_completed(struct io_listener *listener, enum operation operation, int32_t result,
                        uint32_t flags)
{
    ASSERT(listener->requests > 0);
    if (operation == OPERATION_ACCEPT) {
        if (!(flags & IORING_CQE_F_MORE)) {
            listener->requests--;
            listener->is_accepting = false;
            listener->is_stopping = false;
        }
        on_accepted(listener, result);
    } else {
        listener->requests--;
    }
    accept_arm(listener);
    if (listener->is_closed) {
        listener->io->is_accept_stalled = true; /* freed at the end of the turn, when it may be */
    }
}

/* Who waits in the park comes in first, one after the other: an event may close this listener. */
static void unpark(struct io_listener *listener)
{
    uint32_t taken = 0;
    while (taken < listener->parked_count && has_room(listener->io) && !listener->is_closed) {
        introduce(listener, listener->parked[taken++]);
    }
    if (taken == 0) {
        return;
    }
    listener->parked_count -= taken;
    memmove(listener->parked, listener->parked + taken,
            listener->parked_count * sizeof(listener->parked[0]));
}

void listeners_resume(struct io *io)
{
    io->is_accept_stalled = false;
    LIST_EACH (&io->listeners, link) /* nothing is freed here, so events may close any of them */
    {
        struct io_listener *listener = CONTAINER_OF(link, struct io_listener, link);
        if (listener->retry_ns != 0 && listener->retry_ns <= io->now_ns) {
            listener->retry_ns = 0;
        } else if (listener->retry_ns != 0) {
            uring_sweep_by(io, listener->retry_ns);
        }
        unpark(listener);
        accept_arm(listener);
        io->is_accept_stalled |= listener->parked_count > 0;
    }
    LIST_EACH_SAFE (&io->listeners, closed_link) {
        struct io_listener *listener = CONTAINER_OF(closed_link, struct io_listener, link);
        if (listener->is_closed && listener->requests == 0) {
            listener_free(listener);
        }
    }
}

void listeners_free(struct io *io)
{
    LIST_EACH_SAFE (&io->listeners, link) {
        struct io_listener *listener = CONTAINER_OF(link, struct io_listener, link);
        if (listener->address.kind == ADDRESS_UNIX && !listener->is_closed) {
            unlink(listener->address.path);
        }
        listener_free(listener);
    }
}

enum err io_listen(struct io *io, const struct address *at, enum io_share share,
                   const struct io_listener_events *events, void *owner, struct io_listener **out)
{
    int fd;
    TRY(sock_listen(at, share, &fd));
    struct io_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL) {
        close(fd);
        return ERR_NOMEM;
    }
    listener->io = io;
    listener->events = events;
    listener->owner = owner;
    listener->fd = fd;
    listener->address = *at;
    if (at->kind != ADDRESS_UNIX) {
        sock_local_address(fd, &listener->address);
    }
    list_push_back(&io->listeners, &listener->link);
    accept_arm(listener);
    *out = listener;
    return OK;
}

void io_listener_address(const struct io_listener *listener, struct address *out)
{
    *out = listener->address;
}

void io_unlisten(struct io_listener *listener)
{
    ASSERT(!listener->is_closed);
    listener->is_closed = true;
    if (listener->address.kind == ADDRESS_UNIX) {
        unlink(listener->address.path);
    }
    accept_cancel(listener);
    listener->io->is_accept_stalled = true; /* freed at the end of a turn, no event running */
    uring_sweep_by(listener->io, 0);        /* which must come, also when nothing was cancelled */
}
