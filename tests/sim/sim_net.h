/*
 * sim_net: byte streams between clients and listeners, with all that can go wrong on the way.
 *
 * Floor:  tests.
 * Memory: a link lives until both of its ends have closed it, or until net_free().
 *
 *     client end  ── pipe, bounded: delayed pieces, cut at random borders ──>  server end
 *                 <────────────────────────────────────────────────────────
 *
 * A piece arrives in order, after a delay drawn from the seed. A reset loses what was on the way
 * and what was not read. A cut link looks alive to both ends and carries nothing any more.
 */
#ifndef TERN_SIM_SIM_NET_H
#define TERN_SIM_SIM_NET_H

#include "core/base/list.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct sim;

enum net_end { NET_CLIENT, NET_SERVER };

struct net_pipe {
    struct list pieces; /* on the way, and arrived but not read */
    uint32_t bytes, capacity;
    uint64_t last_ns; /* when the last piece arrives */
    bool has_end;     /* the writer has ended; the end is a piece too */
};

struct net_link {
    struct list all;
    struct list waiting; /* in a listener's queue */
    struct sim *sim;
    uint64_t id, asked_ns; /* when the connection arrives at the listener */
    struct net_pipe to[2]; /* what travels to that end */
    uint64_t reset_ns[2];  /* when that end hears of a reset; UINT64_MAX: never */
    bool is_closed[2];
    bool is_cut, has_fault;
    bool is_orphan;   /* its server crashed, and there was no fault before */
    bool is_doubtful; /* its server's disk was bad meanwhile: it may have been refused something */
    uint32_t piece_max; /* bytes of a piece: 1 for byte by byte */
};

struct net_listener {
    struct list link;    /* in the net's */
    struct list waiting; /* links, oldest first */
    uint16_t port;
    void *owner; /* the io's listener */
};

struct net *net_new(struct sim *sim);
void net_free(struct net *net);

void net_listen(struct net *net, struct net_listener *listener, uint16_t port);
void net_unlisten(struct net *net, struct net_listener *listener); /* who waits is reset */

/* A connection to one of the port's listeners, which one the seed decides. NULL: refused. */
struct net_link *net_connect(struct net *net, uint16_t port);

/* Take what fits; the count taken. Nothing after an end, a close or a reset. */
uint32_t net_write(struct net_link *link, enum net_end from, struct slice bytes);
uint32_t net_room(const struct net_link *link, enum net_end from);

/* What has arrived, at most out_bytes of it. */
uint32_t net_read(struct net_link *link, enum net_end at, uint8_t *out, uint32_t out_bytes);
bool net_has_bytes(const struct net_link *link, enum net_end at);
bool net_has_ended(const struct net_link *link, enum net_end at); /* read to the end */
bool net_is_reset(const struct net_link *link, enum net_end at);

/* When this end can read (bytes, end or reset). UINT64_MAX: not as things stand. */
uint64_t net_readable_ns(const struct net_link *link, enum net_end at);

void net_shutdown(struct net_link *link, enum net_end from); /* no more bytes from here */
void net_close(struct net_link *link, enum net_end from);    /* a reset if there is unread input */

/* Faults. */
void net_reset(struct net_link *link);
void net_cut(struct net_link *link);

/* The server goes: whatever happens to a link from here on is nobody's fault. */
void net_excuse(struct net *net);

/* The server's disk is bad: it may refuse things, and end connections that are to last. */
void net_doubt(struct net *net);
/* Nothing went wrong with that link, nor with the disk behind it. */
bool net_is_healthy(const struct net_link *link);

/* All servers are gone at once. loses_all: also what was on its way; else it arrives before the end. */
void net_crash(struct net *net, bool loses_all);

struct net_link *net_find(struct net *net, uint64_t id); /* NULL: gone */

#endif
