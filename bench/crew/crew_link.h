/*
 * crew_link: a connection that carries lines, between a leader and an agent.
 *
 * Floor:  bench; knows core/io.
 * Thread: that of its io.
 * Memory: the struct is its owner's; buffers are the link's until the closed event.
 *
 * It stands on core/io, as the load does: one way to the network in this program, and a wait that
 * ends when a byte comes. The io of the links is apart from those of the loads: pings are answered
 * while generators are busy.
 */
#ifndef TERN_BENCH_CREW_LINK_H
#define TERN_BENCH_CREW_LINK_H

#include "bench/crew/crew_message.h"
#include "core/io/io.h"

enum { CREW_LINK_STRANGER_BYTES = 4096 }; /* the longest line of who has not greeted yet */

struct crew_link;

struct crew_link_events {
    /* A line without its end; borrowed until the event returns. The link may be closed in it. */
    void (*line)(struct crew_link *link, struct slice line);
    void (*connected)(struct crew_link *link); /* NULL for who accepts */
    /* The last event; the owner may free the struct. ERR_TOO_LARGE: a line beyond line_bytes_max. */
    void (*closed)(struct crew_link *link, enum err why);
};

struct crew_link {
    const struct crew_link_events *events;
    void *owner;
    size_t line_bytes_max; /* of the owner; may be changed at any time */
    uint64_t heard_ns;     /* load_clock_ns() of the last byte */
    struct io_stream *stream;
    struct buf received, queued, flying;
    size_t searched; /* bytes of received that hold no line end */
    bool is_connecting, is_closing;
    enum err why;        /* we close it for; OK: nothing is wrong */
    uint64_t closing_ns; /* since when */
};

/* Call it in io's `accepted` event. */
void crew_link_accept(struct crew_link *link, struct io_stream *stream,
                      const struct crew_link_events *events, void *owner, size_t line_bytes_max);

/* As io_connect(); `connected` or `closed` follows. */
enum err crew_link_connect(struct crew_link *link, struct io *io, const struct address *to,
                           const struct crew_link_events *events, void *owner,
                           size_t line_bytes_max);

/* Queue a message. Does nothing when the link is closing. Without memory the link is closed. */
void crew_link_say(struct crew_link *link, const struct crew_message *message);

/* Queue bytes that are lines already. As crew_link_say(). */
void crew_link_send(struct crew_link *link, struct slice lines);

/* Send what is queued, then close; `closed` follows with why. */
void crew_link_close(struct crew_link *link, enum err why);

/* Its io is freed and no event will come: give the buffers back. */
void crew_link_forget(struct crew_link *link);

/* Every turn: a peer that does not take our last words is not waited for. */
void crew_link_turn(struct crew_link *link, uint64_t now_ns);

#endif
