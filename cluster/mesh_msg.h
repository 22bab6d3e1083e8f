/*
 * mesh_msg: errands, their answers, and routes <-> bytes (proto/mesh.proto): bodies of a link's messages.
 *
 * Floor:  cluster; pure.
 * Memory: what is decoded points into the bytes that it came from.
 */
#ifndef TERN_CLUSTER_MESH_MSG_H
#define TERN_CLUSTER_MESH_MSG_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/pubsub/msg.h"
#include "core/session/mesh.h"

#include <stdbool.h>
#include <stdint.h>

/* Between nodes: none may change. */
enum mesh_verdict {
    MESH_DONE = 1, /* committed */
    MESH_NOT_HERE, /* these partitions are led by another, or nobody knows: try again */
    MESH_NO_SPACE,
    MESH_NO_QUOTA,
    MESH_NO_MEMORY,
    MESH_REFUSED, /* anything else that is for good */
    MESH_VERDICT_END,
};

enum mesh_verdict mesh_verdict_of(enum err err);
/* ERR_UNAVAILABLE for MESH_NOT_HERE. */
enum err mesh_verdict_err(enum mesh_verdict verdict);

/* msg of the errand is not used, but message. */
struct mesh_errand_msg {
    uint64_t number; /* 0: nobody waits */
    uint64_t partitions;
    uint32_t kind; /* enum mesh_errand_kind */
    struct msg_spec message;
    struct slice group;
    struct origin origin;
    uint64_t restarts; /* partitions of which this is the first one that is open */
    uint64_t open;     /* all numbers below number - open are answered */
};

struct mesh_answer_msg {
    uint64_t number, partitions;
    uint32_t verdict;     /* enum mesh_verdict */
    uint64_t incarnation; /* of who sent the errand */
};

/* Between nodes: none may change. */
enum mesh_part {
    MESH_CHANGE = 0, /* what came and what went since the change before */
    MESH_FIRST,      /* of all that there are: those of before are void */
    MESH_MORE,
    MESH_LAST,  /* and that was all: now the digest tells */
    MESH_CHECK, /* nothing has changed: does the digest agree? */
    MESH_PART_END,
};

struct mesh_routes_msg {
    uint32_t partition, part; /* enum mesh_part */
    uint64_t term, sequence, digest;
    struct slice filters; /* for mesh_routes_next() */
};

struct mesh_seen_msg {
    uint32_t partition;
    uint64_t term, sequence;
    bool is_lost;
};

/* Appended to out. ERR_NOMEM. */
enum err mesh_errand_encode(const struct mesh_errand_msg *errand, struct buf *out);
enum err mesh_answer_encode(const struct mesh_answer_msg *answer, struct buf *out);
enum err mesh_seen_encode(const struct mesh_seen_msg *seen, struct buf *out);
/* filters are not looked at: they follow, one by one. */
enum err mesh_routes_encode(const struct mesh_routes_msg *routes, struct buf *out);
enum err mesh_routes_add(struct slice filter, bool is_wanted, struct buf *out);

/* ERR_CORRUPT: no such message, or one with a value beyond its bound. */
enum err mesh_errand_decode(struct slice bytes, struct mesh_errand_msg *out);
enum err mesh_answer_decode(struct slice bytes, struct mesh_answer_msg *out);
enum err mesh_routes_decode(struct slice bytes, struct mesh_routes_msg *out);
enum err mesh_seen_decode(struct slice bytes, struct mesh_seen_msg *out);

/* The first filter of *filters, and *filters behind it. false: there is none. */
bool mesh_routes_next(struct slice *filters, struct slice *filter, bool *is_wanted);

#endif
