/*
 * uring: what the files behind io.h share. Nobody else includes this.
 *
 *     uring.c         the ring, the turn, which completion goes where
 *     uring_stream.c  a stream's life
 *     uring_listen.c  listeners, and what to do when there are too many connections
 *
 * Floor:  io; included by uring*.c only.
 * Thread: the owner of the io.
 *
 * Invariants
 *   U1  user_data is the address of a stream or listener with the operation in its low four bits.
 *       `requests` counts the requests whose final completion has not come; the object is freed
 *       only at zero, so no completion can name freed memory.
 *   U2  a multishot request lives until a completion without F_MORE, and is counted once.
 *   U3  objects are freed at the start of a turn or at its end, never under a running event.
 *   U4  after stream_break() no new request of that stream begins, except the one that cancels.
 */
#ifndef TERN_IO_URING_H
#define TERN_IO_URING_H

#include "core/base/list.h"
#include "core/io/io.h"
#include "core/io/uring_buffers.h"
#include "core/io/uring_sys.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum operation {
    OPERATION_RECEIVE = 1,
    OPERATION_SEND,
    OPERATION_CONNECT,
    OPERATION_CANCEL,
    OPERATION_ACCEPT,
    OPERATION_ACCEPT_CANCEL,
    OPERATION_WAKE,      /* of the target: another ring says get up; no object */
    OPERATION_WAKE_FD,   /* of the target: the eventfd was written; no object */
    OPERATION_WAKE_SENT, /* of the source: only when it failed; the target's eventfd instead */
    OPERATION_MASK = 15,
};

enum stream_state {
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_DETACHING, /* waiting for the last completion, then `detached` */
    STREAM_FLUSHING,  /* io_close_after_send(): the send in flight goes on */
    STREAM_DRAINING,  /* we have sent our end, the peer's is awaited, its bytes are dropped */
    STREAM_CLOSING,   /* waiting for the last completion, then `closed` */
};

/* Parts of a send, or where to connect: needed only while that request is in flight. */
struct request_block {
    union {
        struct {
            struct msghdr header;
            struct iovec parts[IO_PARTS_MAX];
        };
        struct {
            struct sockaddr_storage address;
            socklen_t address_bytes;
        };
        struct request_block *next_free;
    };
};

struct io_stream {
    struct io *io;
    const struct io_stream_events *events; /* NULL: nobody is told */
    void *owner;
    struct list all;    /* in io->streams */
    struct list queue;  /* in io->finishing or io->starved, or in none */
    struct list linger; /* in io->lingering, or in none */
    struct iovec part;  /* of a send with one part: what is left */
    struct request_block *block;
    uint64_t deadline_ns; /* while in io->lingering */
    int fd;
    enum err why;
    uint32_t requests; /* U1 */
    enum stream_state state : 8;
    bool is_reading : 1;   /* the owner wants bytes: not paused */
    bool is_receiving : 1; /* a receive is armed */
    bool is_stopping : 1;  /* and its cancellation is on the way */
    bool is_sending : 1;
    bool has_peer_ended : 1;
};

struct io_listener {
    struct io *io;
    const struct io_listener_events *events;
    void *owner;
    struct list link; /* in io->listeners */
    struct address address;
    int fd;
    uint32_t requests; /* U1 */
    bool is_accepting : 1;
    bool is_stopping : 1;
    bool is_closed : 1;
    uint64_t retry_ns; /* 0, or no accept before that time: the process is out of files */
    /* Connections the kernel handed out before it heard that there is no room; oldest first. */
    int *parked;
    uint32_t parked_count, parked_size;
};

struct io {
    struct io_uring ring;
    struct buffers buffers;
    uint64_t now_ns, wall_ms;
    struct list streams, finishing, starved, lingering;
    struct list listeners;
    uint32_t stream_count, stream_count_max;
    bool is_accept_stalled; /* a listener waits for room, for time, or to be freed */
    uint64_t sweep_ns;      /* when deadlines are looked at next; UINT64_MAX: there are none */
    struct request_block *free_blocks;
    int wake_fd;
    bool (*may_sleep)(void *context); /* see io_config; NULL: always */
    void (*awake)(void *context);
    void *context;
    pthread_t thread; /* of io_new(): the kernel lets no other submit */
};

/* A request to fill in; submits what is there when the queue is full. Never NULL. */
struct io_uring_sqe *uring_sqe(struct io *io);

/* Look at deadlines no later than at_ns. */
void uring_sweep_by(struct io *io, uint64_t at_ns);

static inline uint64_t uring_tag(const void *object, enum operation operation)
{
    return (uint64_t)(uintptr_t)object | operation;
}

/* NULL: memory is exhausted; the caller still owns fd. */
struct io_stream *stream_new(struct io *io, int fd, enum stream_state state);
void stream_arm(struct io_stream *stream);
void stream_break(struct io_stream *stream, enum err why);
void stream_completed(struct io_stream *stream, enum operation operation, int32_t result,
                      uint32_t flags);
uint32_t streams_finish(struct io *io); /* give the last events that are due; how many */
void streams_feed(struct io *io);       /* buffers are back: re-arm who starved */
void streams_sweep(struct io *io);      /* end whose deadline has passed */
void streams_free(struct io *io);       /* after the last completion, or without caring */

void listener_completed(struct io_listener *listener, enum operation operation, int32_t result,
                        uint32_t flags);
void listeners_resume(struct io *io); /* accept again where that has become possible */
void listeners_free(struct io *io);

#endif
