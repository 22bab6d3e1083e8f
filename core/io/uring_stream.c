/*
 * A stream's life on the ring.
 *
 *   CONNECTING ──> OPEN ──io_detach──> DETACHING ──────────────> detached
 *                   │ └──io_close_after_send──> FLUSHING ──> DRAINING ─┐
 *                   └──io_close, error, peer ─────────────> CLOSING <──┘ ──> closed
 *
 * CLOSING and DETACHING wait until `requests` is zero (U1), then stand in io->finishing until the
 * next turn begins (U3).
 */
#include "core/io/sock_native.h"
#include "core/io/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PEER_ENDED_LINGER_NS = 1000000000, /* the peer ended, but what we are sending may still go */
    DRAIN_NS_MAX = 500000000,          /* we ended; how long the peer's end is awaited */
};

static struct request_block *block_take(struct io *io)
{
    struct request_block *block = io->free_blocks;
    if (block == NULL) {
        return malloc(sizeof(*block));
    }
    io->free_blocks = block->next_free;
    return block;
}

static void block_give(struct io_stream *stream)
{
    if (stream->block != NULL) {
        stream->block->next_free = stream->io->free_blocks;
        stream->io->free_blocks = stream->block;
        stream->block = NULL;
    }
}

struct io_stream *stream_new(struct io *io, int fd, enum stream_state state)
{
    struct io_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        return NULL;
    }
    stream->io = io;
    stream->fd = fd;
    stream->state = state;
    stream->is_reading = true;
    list_init(&stream->queue);
    list_init(&stream->linger);
    list_push_back(&io->streams, &stream->all);
    io->stream_count++;
    return stream;
}

static void stream_free(struct io_stream *stream)
{
    list_remove(&stream->all);
    list_remove(&stream->queue);
    list_remove(&stream->linger);
    block_give(stream);
    stream->io->stream_count--;
    free(stream);
}

static struct io_uring_sqe *request(struct io_stream *stream)
{
    stream->requests++;
    return uring_sqe(stream->io);
}

static void finish_soon(struct io_stream *stream)
{
    list_remove(&stream->queue);
    list_push_back(&stream->io->finishing, &stream->queue);
}

static void linger_until(struct io_stream *stream, uint64_t deadline_ns)
{
    stream->deadline_ns = deadline_ns;
    list_remove(&stream->linger);
    list_push_back(&stream->io->lingering, &stream->linger);
    uring_sweep_by(stream->io, deadline_ns);
}

static bool wants_bytes(const struct io_stream *stream)
{
    return (stream->state == STREAM_OPEN && stream->is_reading) || stream->state == STREAM_DRAINING;
}

void stream_arm(struct io_stream *stream)
{
    if (!wants_bytes(stream) || stream->is_receiving || stream->has_peer_ended) {
        return;
    }
    struct io_uring_sqe *sqe = request(stream);
    io_uring_prep_recv_multishot(sqe, stream->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFERS_GROUP;
    sqe->user_data = uring_tag(stream, OPERATION_RECEIVE);
    stream->is_receiving = true;
}

/*
 * By user_data, which the kernel finds at once; to find all requests of a socket it would walk over
 * those of every connection.
 */
static void cancel(struct io_stream *stream, enum operation operation)
{
    struct io_uring_sqe *sqe = request(stream);
    io_uring_prep_cancel64(sqe, uring_tag(stream, operation), 0);
    sqe->user_data = uring_tag(stream, OPERATION_CANCEL);
}

/* Cancel the receive alone; what it had read comes before its last completion. */
static void stream_disarm(struct io_stream *stream)
{
    if (stream->is_receiving && !stream->is_stopping) {
        cancel(stream, OPERATION_RECEIVE);
        stream->is_stopping = true;
    }
}

void stream_break(struct io_stream *stream, enum err why)
{
    enum stream_state before = stream->state;
    if (before == STREAM_CLOSING) {
        return;
    }
    stream->state = STREAM_CLOSING;
    stream->why = why;
    list_remove(&stream->queue);
    list_remove(&stream->linger);
    if (stream->requests == 0) {
        finish_soon(stream);
        return;
    }
    /* What was queued before in this turn has begun by the time these are looked at. */
    stream_disarm(stream);
    if (before == STREAM_CONNECTING) {
        cancel(stream, OPERATION_CONNECT);
    } else if (stream->is_sending) {
        cancel(stream, OPERATION_SEND); /* finds nothing if it was the send that failed */
    }
}

/* Our end of the stream is sent; closing now could reset the peer before it has read that. */
static void drain_begin(struct io_stream *stream, uint64_t linger_ns)
{
    stream->why = OK;
    if (stream->has_peer_ended || shutdown(stream->fd, SHUT_WR) < 0) {
        stream_break(stream, OK);
        return;
    }
    stream->state = STREAM_DRAINING;
    linger_until(stream,
                 stream->io->now_ns + (linger_ns < DRAIN_NS_MAX ? linger_ns : DRAIN_NS_MAX));
    stream_arm(stream);
}

static void send_submit(struct io_stream *stream)
{
    struct io_uring_sqe *sqe = request(stream);
    if (stream->block == NULL) {
        io_uring_prep_send(sqe, stream->fd, stream->part.iov_base, stream->part.iov_len,
                           MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        io_uring_prep_sendmsg(sqe, stream->fd, &stream->block->header, MSG_NOSIGNAL | MSG_WAITALL);
    }
    sqe->user_data = uring_tag(stream, OPERATION_SEND);
}

/* Take off what was sent; false when nothing is left. Short sends are rare but legal. */
static bool send_advance(struct io_stream *stream, size_t count)
{
    if (stream->block == NULL) {
        ASSERT(count <= stream->part.iov_len);
        stream->part.iov_base = (uint8_t *)stream->part.iov_base + count;
        stream->part.iov_len -= count;
        return stream->part.iov_len > 0;
    }
    struct msghdr *header = &stream->block->header;
    while (header->msg_iovlen > 0 && count >= header->msg_iov[0].iov_len) {
        count -= header->msg_iov[0].iov_len;
        header->msg_iov++;
        header->msg_iovlen--;
    }
    if (header->msg_iovlen == 0) {
        ASSERT(count == 0);
        return false;
    }
    header->msg_iov[0].iov_base = (uint8_t *)header->msg_iov[0].iov_base + count;
    header->msg_iov[0].iov_len -= count;
    return true;
}

static void on_sent(struct io_stream *stream, int32_t result)
{
    if (stream->state == STREAM_CLOSING) {
        return;
    }
    if (result == -EAGAIN || result == -EINTR) {
        result = 0;
    }
    if (result < 0) {
        bool is_ours = stream->state == STREAM_FLUSHING;
        stream_break(stream, is_ours ? OK : err_from_errno(-result));
        return;
    }
    if (send_advance(stream, (size_t)result)) {
        send_submit(stream);
        return;
    }
    bool is_last = stream->state == STREAM_FLUSHING; /* before `sent`, which may send once more */
    stream->is_sending = false;
    block_give(stream);
    stream->events->sent(stream->owner);
    if (is_last && stream->state == STREAM_FLUSHING) {
        drain_begin(stream, DRAIN_NS_MAX);
    } else if (stream->state == STREAM_OPEN && stream->has_peer_ended && !stream->is_sending) {
        finish_soon(stream);
    }
}

static void on_connected(struct io_stream *stream, int32_t result)
{
    if (stream->state == STREAM_CLOSING) {
        return;
    }
    if (result < 0) {
        stream_break(stream, err_from_errno(-result));
        return;
    }
    stream->state = STREAM_OPEN;
    stream->is_sending = false;
    block_give(stream);
    stream->events->sent(stream->owner);
}

static void on_received(struct io_stream *stream, int32_t result, uint32_t flags)
{
    struct buffers *buffers = &stream->io->buffers;

    if (!(flags & IORING_CQE_F_MORE)) {
        stream->is_receiving = false;
        stream->is_stopping = false;
    }
    if (flags & IORING_CQE_F_BUFFER) { /* also possible with nothing in it */
        struct slice bytes = buffers_take(buffers, flags, result > 0 ? (uint32_t)result : 0);
        bool is_heard = stream->state == STREAM_OPEN || stream->state == STREAM_DETACHING;
        if (is_heard && bytes.count > 0) {
            stream->events->bytes(stream->owner, bytes);
        }
        buffers_give(buffers, flags);
    }
    if (result > 0 || result == -ECANCELED || result == -EINTR || result == -EAGAIN ||
        stream->state == STREAM_CLOSING) {
        return;
    }
    if (result == -ENOBUFS) {
        list_remove(&stream->queue); /* back-pressure, no fault: wait until buffers are back */
        list_push_back(&stream->io->starved, &stream->queue);
    } else if (stream->state == STREAM_DRAINING) {
        stream_break(stream, OK);
    } else if (result < 0) {
        bool is_ours = stream->state == STREAM_FLUSHING;
        stream_break(stream, is_ours ? OK : err_from_errno(-result));
    } else {
        stream->has_peer_ended = true;
        if (stream->state == STREAM_OPEN) {
            finish_soon(stream); /* in the next turn: the owner may answer until then */
        }
    }
}

void stream_completed(struct io_stream *stream, enum operation operation, int32_t result,
                      uint32_t flags)
{
    bool is_final = operation != OPERATION_RECEIVE || !(flags & IORING_CQE_F_MORE); /* U2 */
    ASSERT(stream->requests > 0);
    stream->requests -= is_final ? 1 : 0;

    if (operation == OPERATION_RECEIVE) {
        on_received(stream, result, flags);
    } else if (operation == OPERATION_SEND) {
        on_sent(stream, result);
    } else if (operation == OPERATION_CONNECT) {
        on_connected(stream, result);
    }
    if (stream->state == STREAM_CLOSING || stream->state == STREAM_DETACHING) {
        if (stream->requests == 0) {
            finish_soon(stream);
        }
    } else if (list_is_empty(&stream->queue)) {
        stream_arm(stream); /* who starves or has ended stands in a queue */
    }
}

/* The last event; the stream is gone before it is told, so that the owner may do as it likes. */
static void finish(struct io_stream *stream)
{
    const struct io_stream_events *events = stream->events;
    void *owner = stream->owner;
    enum err why = stream->why;
    bool is_detached = stream->state == STREAM_DETACHING;
    int fd = stream->fd;

    stream_free(stream);
    if (is_detached) {
        events->detached(owner, fd);
        return;
    }
    close(fd);
    if (events != NULL) {
        events->closed(owner, why);
    }
}

uint32_t streams_finish(struct io *io)
{
    struct list due;
    struct list *link;
    uint32_t count = 0;

    list_init(&due);
    list_append(&due, &io->finishing);
    while ((link = list_pop_front(&due)) != NULL) {
        struct io_stream *stream = CONTAINER_OF(link, struct io_stream, queue);
        if (stream->state == STREAM_OPEN && stream->has_peer_ended) {
            if (stream->is_sending) {
                linger_until(stream, io->now_ns + PEER_ENDED_LINGER_NS);
            } else {
                stream_break(stream, ERR_CLOSED);
            }
        }
        bool is_over = stream->state == STREAM_CLOSING || stream->state == STREAM_DETACHING;
        if (is_over && stream->requests == 0) {
            finish(stream);
            count++;
        }
    }
    return count;
}

void streams_feed(struct io *io)
{
    struct list *link;
    if (io_uring_cq_ready(&io->ring) > 0) {
        return; /* completions not yet looked at still hold buffers */
    }
    while ((link = list_pop_front(&io->starved)) != NULL) {
        stream_arm(CONTAINER_OF(link, struct io_stream, queue));
    }
}

void streams_sweep(struct io *io)
{
    LIST_EACH_SAFE (&io->lingering, link) {
        struct io_stream *stream = CONTAINER_OF(link, struct io_stream, linger);
        if (stream->deadline_ns > io->now_ns) {
            uring_sweep_by(io, stream->deadline_ns);
        } else {
            stream_break(stream, stream->state == STREAM_OPEN ? ERR_CLOSED : OK);
        }
    }
}

void streams_free(struct io *io)
{
    LIST_EACH_SAFE (&io->streams, link) {
        struct io_stream *stream = CONTAINER_OF(link, struct io_stream, all);
        close(stream->fd);
        stream_free(stream);
    }
}

void io_stream_set(struct io_stream *stream, const struct io_stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

enum err io_connect(struct io *io, const struct address *to, const struct address *from,
                    const struct io_stream_events *events, void *owner, struct io_stream **out)
{
    struct sockaddr_storage native;
    socklen_t native_bytes;
    int fd;

    if (io->stream_count >= io->stream_count_max) {
        return ERR_LIMIT;
    }
    TRY(address_to_native(to, &native, &native_bytes));
    TRY(sock_for_connect(to, from, &fd));
    struct io_stream *stream = stream_new(io, fd, STREAM_CONNECTING);
    if (stream == NULL) {
        close(fd);
        return ERR_NOMEM;
    }
    stream->block = block_take(io);
    if (stream->block == NULL) {
        close(fd);
        stream_free(stream);
        return ERR_NOMEM;
    }
    io_stream_set(stream, events, owner);
    stream->block->address = native;
    stream->block->address_bytes = native_bytes;
    stream->is_sending = true; /* `sent` ends the connecting */
    struct io_uring_sqe *sqe = request(stream);
    io_uring_prep_connect(sqe, fd, (struct sockaddr *)&stream->block->address, native_bytes);
    sqe->user_data = uring_tag(stream, OPERATION_CONNECT);
    *out = stream;
    return OK;
}

void io_send(struct io_stream *stream, const struct slice *parts, uint32_t part_count)
{
    ASSERT(part_count >= 1);
    ASSERT(part_count <= IO_PARTS_MAX);
    ASSERT(!stream->is_sending);
    stream->is_sending = true;
    ASSERT(stream->state != STREAM_DETACHING);
    if (stream->state != STREAM_OPEN) {
        return; /* it is ending, as the owner asked for or will soon hear: dropped until `closed` */
    }
    if (part_count == 1) {
        ASSERT(parts[0].count > 0);
        stream->part = (struct iovec){(void *)(uintptr_t)parts[0].data, parts[0].count};
        send_submit(stream);
        return;
    }
    stream->block = block_take(stream->io);
    if (stream->block == NULL) {
        stream_break(stream, ERR_NOMEM);
        return;
    }
    for (uint32_t i = 0; i < part_count; i++) {
        ASSERT(parts[i].count > 0);
        stream->block->parts[i] = (struct iovec){(void *)(uintptr_t)parts[i].data, parts[i].count};
    }
    stream->block->header = (struct msghdr){
        .msg_iov = stream->block->parts,
        .msg_iovlen = part_count,
    };
    send_submit(stream);
}

bool io_is_sending(const struct io_stream *stream)
{
    return stream->is_sending;
}

void io_pause(struct io_stream *stream)
{
    stream->is_reading = false;
    if (stream->state == STREAM_OPEN) {
        stream_disarm(stream);
    }
}

void io_resume(struct io_stream *stream)
{
    stream->is_reading = true;
    if (list_is_empty(&stream->queue)) {
        stream_arm(stream); /* while the pause is still on its way, its completion re-arms */
    }
}

void io_close(struct io_stream *stream)
{
    stream_break(stream, OK);
}

void io_close_after_send(struct io_stream *stream, uint64_t linger_ns)
{
    if (stream->state == STREAM_CONNECTING || stream->state == STREAM_DETACHING) {
        stream_break(stream, OK);
    }
    if (stream->state != STREAM_OPEN) {
        return; /* it is ending already */
    }
    list_remove(&stream->queue);
    if (!stream->is_sending) {
        drain_begin(stream, linger_ns);
        return;
    }
    stream->state = STREAM_FLUSHING;
    linger_until(stream, stream->io->now_ns + linger_ns);
}

void io_detach(struct io_stream *stream)
{
    ASSERT(!stream->is_sending || stream->state == STREAM_CLOSING);
    if (stream->state != STREAM_OPEN) {
        return; /* it is ending already, and `closed` will say so */
    }
    stream->state = STREAM_DETACHING;
    list_remove(&stream->queue);
    list_remove(&stream->linger);
    stream_disarm(stream);
    if (stream->requests == 0) {
        finish_soon(stream);
    }
}

enum err io_attach(struct io *io, int64_t handle, const struct io_stream_events *events,
                   void *owner, struct io_stream **out)
{
    struct io_stream *stream = NULL;
    enum err err = ERR_LIMIT;

    if (io->stream_count < io->stream_count_max) {
        stream = stream_new(io, (int)handle, STREAM_OPEN);
        err = stream == NULL ? ERR_NOMEM : OK;
    }
    if (err != OK) {
        io_handle_close(handle);
        return err;
    }
    io_stream_set(stream, events, owner);
    stream_arm(stream);
    *out = stream;
    return OK;
}

void io_handle_close(int64_t handle)
{
    close((int)handle);
}
