/*
 * link_parts: what the files of a link share among themselves.
 *
 *     link.c         life: connect, accept, greet, carry, end; the timer
 *     link_stream.c  bytes: the stream, and TLS on it
 *     link_frame.c   messages: queues, frames, credit
 *     link_name.c    who the peer is, by its certificate
 */
#ifndef TERN_CLUSTER_LINK_PARTS_H
#define TERN_CLUSTER_LINK_PARTS_H

#include "cluster/link.h"

enum link_state {
    LINK_OPENING,  /* the connection and TLS */
    LINK_GREETING, /* waits for the hello, or for its answer */
    LINK_JUDGING,  /* has given hello(), or is on its way to another shard */
    LINK_UP,
};

struct link_queue {
    struct buf bytes; /* messages, as they stand in a frame */
    uint64_t body_bytes, count;
};

struct link {
    struct list entry, dirty; /* in links->all, links->dirty */
    struct links *links;
    struct io_stream *stream;         /* NULL: gone */
    const struct link_events *events; /* NULL: dropped */
    void *owner;
    struct tls *tls; /* NULL: in clear */
    enum link_state state;
    bool is_connector, is_connected, is_bulk, is_carrying, is_detaching;
    bool is_broken, is_polite; /* polite: what was said last still leaves */
    struct link_end end;       /* if it is broken */
    char detail[LINK_TEXT_MAX + 1];
    struct address address;
    char wanted_name[LINK_NAME_MAX + 1], proven_name[LINK_NAME_MAX + 1];
    struct link_hello hello; /* of who connected; its slices point to hello_bytes */
    uint8_t hello_bytes[LINK_CLUSTER_BYTES + LINK_NAME_MAX];
    struct timer timer;
    uint64_t begun_ns, heard_ns, sent_ns;

    struct buf in;      /* plain, not handled yet */
    struct buf out;     /* plain, whole packets */
    struct buf sealed;  /* the same as TLS has them */
    struct buf sending; /* in flight */
    struct link_queue queues[LINK_CLASS_COUNT];
    bool must_speak;                   /* a frame is due, though there be no message */
    uint64_t window_bytes;             /* of the peer */
    uint64_t data_sent, data_credited; /* by us, and of that the peer is done with */
    uint64_t data_received, data_released, data_told; /* by the peer, done with, and it knows */
};

/* ---- link.c ------------------------------------------------------------------------------------- */

/* It ends with the next link_settle(); the first reason counts. detail: NULL, or more about it. */
void link_break(struct link *link, enum link_reason reason, const char *detail);
/* The end of every event and of every flush: what is broken ends here and nowhere else. */
void link_settle(struct link *link);
/* The stream, and TLS if there is, are open. */
void link_opened(struct link *link);
void link_packet(struct link *link, const struct link_packet *packet);
void link_free(struct link *link);
/* Its socket leaves this io; when it has, it is given away. */
void link_detach(struct link *link);
void link_leave(struct link *link, int64_t handle);
/* When link_tick() has to look after it. */
void link_wake_by(struct link *link, uint64_t at_ns);

/* ---- link_stream.c ------------------------------------------------------------------------------ */

extern const struct io_stream_events link_stream_events;
/* NULL context: in clear. ERR_NOMEM. */
enum err link_tls_begin(struct link *link, struct tls_context *context);
void link_tls_resume(struct link *link); /* after it was carried */
/* Seal what is in out, and send it if nothing is in flight. */
void link_push(struct link *link);
void link_mark(struct link *link); /* links_flush() has to look at it */

/* ---- link_frame.c ------------------------------------------------------------------------------- */

void link_flush(struct link *link);
void link_frame(struct link *link, const struct link_frame *frame);
void link_queues_free(struct link *link);

/* ---- link_name.c -------------------------------------------------------------------------------- */

/* LINK_REASON_NONE: it is who it should be, link->proven_name is set. detail has LINK_TEXT_MAX + 1. */
enum link_reason link_name_check(struct link *link, char *detail);

#endif
