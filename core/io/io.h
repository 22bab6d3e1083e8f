/*
 * io: DOOR sockets and time. The only way by which the world's bytes and clocks reach a shard.
 *
 * Floor:  io; knows bytes and addresses, knows no protocol.
 * Thread: one struct io per shard, used by that shard alone; io_wake() is the one exception.
 * Memory: everything a struct io handed out belongs to it until the final event of that object.
 *
 * Behind it stands uring.c in production and tests/sim/sim_io.c in the simulator; the build picks.
 *
 * A stream's life:
 *
 *     accept or connect or attach ──> OPEN ── io_close ──┐
 *                                       │                ├──> events.closed, once, the last event
 *                                       └── peer/error ──┘
 *                                       └── io_detach ──────> events.detached, once, the last event
 *
 * Events come only from inside io_turn(). Calls made from inside an event are legal, also
 * io_close() of the very stream; nothing is freed under a running event.
 */
#ifndef TERN_IO_IO_H
#define TERN_IO_IO_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/io/sock.h"

#include <stdbool.h>
#include <stdint.h>

struct io;
struct io_stream;
struct io_listener;

enum {
    IO_PARTS_MAX = 64, /* parts of one io_send() */
};

struct io_config {
    uint32_t stream_count_max; /* streams at once; accepts beyond it wait in the kernel's queue */
    uint32_t receive_bytes;    /* memory of the receive buffers all streams share; 0: default */
    uint32_t ring_entries;     /* submission queue; 0: default */
    bool plain_buffers;        /* do without incremental buffers although the kernel has them */
    /*
     * Around a wait that may sleep, or NULL. may_sleep: last look before sleeping (the owner raises
     * its "I sleep" flag and looks at its mailboxes once more); false: do not wait after all.
     * awake: always called after may_sleep, before any event of the turn.
     */
    bool (*may_sleep)(void *context);
    void (*awake)(void *context);
    void *context;
};

struct io_stream_events {
    /*
     * Bytes arrived. Borrowed: valid until the event returns; what is to be kept is copied.
     * May still be called a few times after io_pause().
     */
    void (*bytes)(void *owner, struct slice bytes);
    /* The io_send() in flight is over and its memory is the caller's again. Not called on failure:
     * then closed follows, and the memory is the caller's again with that event. */
    void (*sent)(void *owner);
    /*
     * The stream is gone: its last event. ERR_CLOSED: the peer ended it; OK: io_close() did;
     * anything else: the error that broke it.
     */
    void (*closed)(void *owner, enum err why);
    /* io_detach() is done: the last event; the receiver owns handle and carries it to io_attach()
     * of another io, or ends it with io_handle_close(). */
    void (*detached)(void *owner, int64_t handle);
};

struct io_listener_events {
    /*
     * A connection came. The owner answers with the events and the owner of the new stream, or
     * with false: the stream is then closed at once. peer is valid until the event returns.
     */
    bool (*accepted)(void *owner, struct io_stream *stream, const struct address *peer);
};

/*
 * Look whether this kernel and this process may do what io needs, before anything is bound.
 * On failure text (of text_bytes) tells in one line what is missing and what to do about it.
 * Called once, by main; touches no state. ERR_UNSUPPORTED or ERR_PERMISSION or ERR_LIMIT.
 * On OK text describes in one line what was found (kernel features in use).
 */
enum err io_probe(char *text, size_t text_bytes);

/* Must be called by the thread that will call io_turn(). ERR_NOMEM, ERR_LIMIT, ERR_UNSUPPORTED. */
enum err io_new(const struct io_config *config, struct io **out);

/*
 * Close every stream and listener without further events, and free. By the thread of io_new(), or
 * by another one after that has ended. Accepts NULL.
 */
void io_free(struct io *io);

/* Monotonic nanoseconds; stands still within a turn. */
uint64_t io_now_ns(const struct io *io);

/* The monotonic clock, read anew: to tell how long work took, never to decide anything. */
uint64_t io_clock_ns(const struct io *io);

/* Wall clock, milliseconds since 1970; stands still within a turn. For expiry and for people. */
uint64_t io_wall_ms(const struct io *io);

/*
 * One turn: submit what was asked for, wait until something happened, until wait_ns have passed
 * (0: do not wait, UINT64_MAX: no limit) or until io_wake(), then run the events of everything
 * that happened. Returns the number of completions handled.
 */
uint32_t io_turn(struct io *io, uint64_t wait_ns);

/*
 * Make io_turn() of that io return soon. The one call allowed from another thread (from is the
 * caller's own io, or NULL from a thread that has none). Cheap, but not free (8-14 us when the
 * other sleeps): callers keep their own flag of who sleeps. With `from`, the wake-up leaves at the
 * next io_turn(from); without, at once. The woken io must not be freed before that.
 */
void io_wake(struct io *from, struct io *io);

/*
 * Listen. at->port 0: the kernel picks; io_listener_address() tells.
 * ERR_EXISTS: address in use; ERR_PERMISSION; ERR_INVALID: no such local address.
 */
enum err io_listen(struct io *io, const struct address *at, enum io_share share,
                   const struct io_listener_events *events, void *owner, struct io_listener **out);

void io_listener_address(const struct io_listener *listener, struct address *out);

/* Stop accepting and free the listener. A Unix socket's file is removed. */
void io_unlisten(struct io_listener *listener);

/* Give a freshly accepted stream its events and owner: called inside `accepted` before true. */
void io_stream_set(struct io_stream *stream, const struct io_stream_events *events, void *owner);

/* Start connecting; `sent` says connected, `closed` says why not. from: local address or NULL. */
enum err io_connect(struct io *io, const struct address *to, const struct address *from,
                    const struct io_stream_events *events, void *owner, struct io_stream **out);

/*
 * Send the parts in order as one operation, completely. At most one send is in flight per stream
 * (asserted). The parts array is copied, the bytes are borrowed until `sent` or the last event.
 * 1 <= part_count <= IO_PARTS_MAX, every part not empty. It leaves at the next io_turn().
 * On a stream that is ending already nothing is sent; the last event gives the memory back.
 */
void io_send(struct io_stream *stream, const struct slice *parts, uint32_t part_count);

bool io_is_sending(const struct io_stream *stream);

/* Stop reading (back-pressure); bytes already received by the kernel side may still come. */
void io_pause(struct io_stream *stream);
void io_resume(struct io_stream *stream);

/*
 * Close: what is in flight is cancelled, the peer sees the end, `closed` comes in a later turn.
 * With io_close_after_send the send in flight (if any) is completed first, for at most linger_ns;
 * then the peer is given half a second (linger_ns if that is less) to end its side, so that a
 * reset does not overtake our last bytes.
 */
void io_close(struct io_stream *stream);
void io_close_after_send(struct io_stream *stream, uint64_t linger_ns);

/*
 * Take the socket out of this io, to carry it to another one. Reading stops; bytes that had been
 * received still come as `bytes` events before `detached`. No send may be in flight (asserted).
 * If the stream breaks meanwhile, `closed` comes instead of `detached`.
 */
void io_detach(struct io_stream *stream);

/* Adopt a carried socket. On failure the handle is closed. */
enum err io_attach(struct io *io, int64_t handle, const struct io_stream_events *events,
                   void *owner, struct io_stream **out);
void io_handle_close(int64_t handle);

#endif
