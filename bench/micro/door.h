/*
 * door: io.h in memory, for benches and tests that want the broker without a kernel.
 *
 * Floor:  bench; stands where uring.c stands otherwise. Linked before tern_io, its io_*() win.
 * Thread: an io and all its links belong to one thread, as everywhere; several ios may share one.
 * Memory: all of it is allocated when ios, listeners and links are made: a turn allocates nothing.
 *
 *     link_new ──> io_turn: accepted ──> link_say ──> io_turn: bytes
 *                                        io_send  ──> io_turn: heard, then sent
 *
 * Nothing is ever partial or late: what was said comes in one event with the next turn, and a send
 * leaves whole. No turn waits, and each one moves the clock by DOOR_TURN_NS.
 */
#ifndef TERN_BENCH_MICRO_DOOR_H
#define TERN_BENCH_MICRO_DOOR_H

#include "core/io/io.h"

enum { DOOR_TURN_NS = 10000 };

/* The client's end of a connection. */
struct link;

/* What the broker sent; the bytes are borrowed until the event returns. */
typedef void link_heard(void *owner, struct slice bytes);

/*
 * Ask the first listener of io for a connection; it is accepted in the next turn. The caller owns
 * the link and frees it after the io. NULL: memory is exhausted.
 */
struct link *link_new(struct io *io, link_heard *heard, void *owner);
void link_free(struct link *link);

/*
 * Say bytes, which are borrowed (and may be changed in place, as WebSocket is unmasked) until
 * link_is_quiet(). Only one at a time. They go to whichever io has the connection by then.
 */
void link_say(struct link *link, struct slice bytes);

/* So much time passes until the next turn. */
void door_wait(struct io *io, uint64_t wait_ns);

/* What was said has been read. */
bool link_is_quiet(const struct link *link);

/* The broker has closed it. */
bool link_is_closed(const struct link *link);

#endif
