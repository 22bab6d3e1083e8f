/*
 * link: one stream between two nodes: TLS, greeting, then frames of messages.
 *
 *     connect ──> [TLS] ──> Hello ──────────────────> Welcome ──> UP ──> ended, or link_drop()
 *     accept  ──> [TLS] ──> hello() ── link_welcome() ──────────> UP ──> ended, or link_drop()
 *                                  ├── link_refuse()
 *                                  └── link_carry() ──> link_attach() by another shard
 *
 * Floor:  cluster; knows nothing of what messages mean, nor of who is a member.
 * Thread: that of its io.
 * Memory: heap. A link frees itself with the last event of its stream, links_deinit() frees all when
 *         the io is gone. What waits to be sent is bounded by link_config.
 *
 * FIFO within a class, at most once: a stream that breaks loses what was on its way, and nothing is
 * sent again. What one turn brings leaves as one frame, with links_flush(); raft goes before control
 * and control before data. Data goes as far as the receiver has given credit for, so that a slow
 * reader of data holds up neither raft nor control, and the sender keeps a bounded part of it: what
 * is beyond breaks the link.
 */
#ifndef TERN_CLUSTER_LINK_H
#define TERN_CLUSTER_LINK_H

#include "cluster/link_msg.h"
#include "core/base/list.h"
#include "core/base/wheel.h"
#include "core/io/io.h"
#include "core/io/tls_client.h"

struct link;
struct link_passport;

enum {
    LINK_COST_BYTES =
        32, /* what a message of data costs beside its body: empty ones are bounded too */
    LINK_URI_MAX = 16 + 2 * LINK_NAME_MAX, /* "tern://CLUSTER/NODE" */
};

#define LINK_URI_SCHEME "tern://"

struct link_config {
    struct tls_context *client,
        *server; /* both, borrowed; or NULL, both: in clear (simulator, tests) */
    char cluster_name[LINK_NAME_MAX + 1]; /* of certificates */
    uint64_t keepalive_ns;                /* after so long without a word an empty frame is sent */
    uint64_t silence_ns;                  /* after so long without hearing anything it is over */
    uint64_t greeting_ns;                 /* from the first byte to UP */
    uint64_t window_bytes;                /* of data that a peer may have under way to us */
    uint64_t queue_bytes_max;             /* of a class that wait; one message is always taken */
    uint64_t pack_from_bytes;  /* data is packed while so much of it waits; UINT64_MAX: never */
    uint64_t bulk_bytes_per_s; /* of all bulk links together; 0: as fast as they go */
};

/* All links of a shard. */
struct links {
    struct io *io;
    struct wheel *wheel;
    struct link_config config;
    struct list all, dirty;
    uint64_t bulk_ready_ns; /* bulk waits until then */
};

struct link_end {
    enum link_reason reason;
    bool is_told;       /* the other side said so */
    const char *detail; /* "", or more about it; until the event returns */
};

struct link_events {
    /* Somebody connected and said this, and its certificate is of the cluster and of that name. The
     * owner answers at once: link_welcome(), link_refuse() or link_carry(). */
    void (*hello)(void *owner, struct link *link, const struct link_hello *hello);
    /* We may send. */
    void (*welcome)(void *owner, struct link *link, const struct link_welcome *welcome);
    /* Borrowed until it returns. link_drop() is legal. */
    void (*message)(void *owner, struct link *link, const struct link_message *message);
    /* It left this shard: the owner forgets it, and sees to link_attach() or link_passport_free(). */
    void (*carried)(void *owner, struct link *link, struct link_passport *passport);
    /* It is over, and not by link_drop(): the owner forgets it. */
    void (*ended)(void *owner, struct link *link, const struct link_end *end);
};

void links_init(struct links *links, struct io *io, struct wheel *wheel,
                const struct link_config *config);
/* The io is gone: no event is given any more. */
void links_deinit(struct links *links);

/* What waits leaves. Once per turn, after all that may send. */
void links_flush(struct links *links);

/* ---- life --------------------------------------------------------------------------------------- */

/* Letters, digits, and behind the first of these dots, hyphens and underscores; 1 to LINK_NAME_MAX. */
bool link_name_is_valid(struct slice name);

/*
 * Connect, and say that hello. name: of the node that its certificate has to prove. ERR_NOMEM,
 * ERR_LIMIT and what io_connect() says.
 */
enum err link_connect(struct links *links, const struct address *to, const char *name,
                      const struct link_hello *hello, const struct link_events *events, void *owner,
                      struct link **out);

/* A stream that was just accepted. ERR_NOMEM: nothing was done with it. */
enum err link_accept(struct links *links, struct io_stream *stream, const struct address *peer,
                     const struct link_events *events, void *owner, struct link **out);

/* The answers to a hello. A refusal is told to the other side, and ended() comes. */
void link_welcome(struct link *link, const struct link_welcome *welcome);
void link_refuse(struct link *link, enum link_reason reason);

/*
 * Take it to another shard: until the answer nothing is under way in either direction, so that what
 * is carried is a socket and the keys. carried() comes, or ended().
 */
void link_carry(struct link *link);
const struct link_hello *link_passport_hello(const struct link_passport *passport);
/* As after hello(): to be answered at once. The passport is taken in any case. ERR_NOMEM, of io_attach(). */
enum err link_attach(struct links *links, struct link_passport *passport,
                     const struct link_events *events, void *owner, struct link **out);
void link_passport_free(struct link_passport *passport); /* accepts NULL; closes the socket */

/* End it, without an event; what waits is lost. */
void link_drop(struct link *link);

/* ---- messages ----------------------------------------------------------------------------------- */

/*
 * Take a copy of a message; it leaves with the next links_flush(), or later. Bulk on bulk links, all
 * else on others. ERR_UNAVAILABLE: not up. ERR_LIMIT: too much waits already, the link breaks and
 * ended() comes with links_flush(). ERR_NOMEM: likewise.
 */
enum err link_send(struct link *link, const struct link_message *message);

/* Bytes that wait here to be sent. */
uint64_t link_waiting(const struct link *link, enum link_class class);

/* A message of data with a body of so many bytes is done with, so its sender may send as much. */
void link_release(struct link *link, size_t body_bytes);

/* ---- questions ---------------------------------------------------------------------------------- */

/* "127.0.0.1:7883"; of its peer. */
const struct address *link_address(const struct link *link);
/* The name that its certificate proved; "" before that, or in clear. */
const char *link_proven_name(const struct link *link);
uint64_t link_heard_ns(const struct link *link); /* when anything came last */

#endif
