/*
 * client: what forward.c (sending, turns) and receive.c (what comes in) share.
 *
 *      accepted ──CONNECT──> connected ──> writer of a feed        (bench-pub-N)
 *                                   └────> reader, by SUBSCRIBE    (bench-sub-N)
 *      anyone ──end of stream, error or nonsense──> closing ──nothing under way──> freed
 *
 * Floor:  bench.
 * Thread: the owner of the ring.
 *
 * Invariants
 *   W1  a client has at most one receive armed and one send under way.
 *   W2  a reader sends the spans next..flying, whole, before anything else; a reply of ours leaves
 *       between two frames only.
 *   W3  a client is freed when it is closing and neither armed nor sending.
 */
#ifndef TERN_BENCH_LIMIT_CLIENT_H
#define TERN_BENCH_LIMIT_CLIENT_H

#include "bench/limit/feed.h"
#include "bench/limit/forward.h"
#include "bench/limit/packet.h"
#include "bench/limit/pool.h"
#include "core/base/list.h"

#include <sys/socket.h>

enum { REPLY_BYTES = 64, FEED_INDEX_MAX = 1000000 };

struct client {
    struct feed *feed;
    struct list ready, starved;
    int fd;
    uint8_t version;
    enum role role;
    uint32_t index, place; /* place in the crowd; of those who are in one */
    bool is_connected, is_attached, is_armed, is_cancelled, is_sending, is_closing;

    /* Sending. */
    uint64_t next, flying;
    uint32_t reply_count, reply_flying;
    uint32_t iov_count, iov_size;
    struct iovec first, *iov; /* iov: &first, or of iov_size */
    struct msghdr message;
    uint8_t reply[REPLY_BYTES];

    /* The frame of which only the beginning has come. */
    struct span *held;
    uint32_t held_count, held_size, held_bytes, frame_bytes, head_count;
    uint8_t head[PACKET_HEAD_MAX];
};

struct forward {
    const struct forward_options *options;
    struct io_uring ring;
    struct pool pool;
    struct feed **feeds; /* by index; a fan has number 0 only */
    uint32_t feed_count;
    struct list ready, starved;
    struct feed **dirty; /* as many as feed_count at most */
    uint32_t dirty_count;
    uint32_t sending_count, complaint_count;
    struct forward_totals totals;
    bool is_ending, is_broken;
};

/* forward.c */

/* Say what is wrong with a client, on standard error; the first few of a process only. */
void complain(struct forward *forward, const struct client *client, const char *what);

/* Room for wanted elements; memory is moved like realloc() does, *size is the new count. */
void *grown(void *memory, uint32_t *size, uint32_t wanted, size_t each_bytes);

/* Begin to receive, until something ends it. */
void arm(struct forward *forward, struct client *client);

/* A reader or writer takes its place at the feed that its shape, role and index say. Twice is once. */
void attach(struct forward *forward, struct client *client);

/* There is something new in the feed: its readers get a send at the end of the turn. */
void mark_dirty(struct forward *forward, struct feed *feed);

/* Queue a whole packet of ours; who lets them pile up is closing afterwards. */
void reply(struct forward *forward, struct client *client, const uint8_t *data, uint32_t count);

/* Close it as soon as nothing is under way; client may be gone when this returns. */
void client_close(struct forward *forward, struct client *client);

/* receive.c */

/* A completion of the client's receive; client may be gone when this returns. */
void on_received(struct forward *forward, struct client *client, const struct io_uring_cqe *cqe);

#endif
