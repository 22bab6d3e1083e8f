/*
 * transfer_msg: what two nodes say to each other about an image <-> bytes (proto/transfer.proto).
 *
 *     receiver                              sender
 *     OPEN partition, at least index  ──>
 *                                     <──   HEAD id, index, term, members
 *     ASK id, number                  ──>
 *                                     <──   CHUNK id, number, is_last, data
 *     DONE id                         ──>
 *                                     <──   GONE id: no such image; 0: none is to be had now
 *
 * Floor:  cluster.
 */
#ifndef TERN_CLUSTER_TRANSFER_MSG_H
#define TERN_CLUSTER_TRANSFER_MSG_H

#include "cluster/consensus_members.h"
#include "core/base/buf.h"
#include "storage/image.h"

enum transfer_kind {
    TRANSFER_OPEN = 1,
    TRANSFER_HEAD,
    TRANSFER_ASK,
    TRANSFER_CHUNK,
    TRANSFER_DONE,
    TRANSFER_GONE,
    TRANSFER_KIND_END,
};

/* The largest: a chunk and a few numbers; or members. */
enum { TRANSFER_MSG_BYTES_MAX = IMAGE_CHUNK_BYTES_MAX + 128 };

/* What is not of its kind is 0. */
struct transfer_msg {
    enum transfer_kind kind;
    struct image_head head; /* id, partition; OPEN: index; HEAD: all */
    struct consensus_members members;
    uint32_t number;
    bool is_last;
    struct slice data; /* borrowed */
};

/* Append it to out. ERR_NOMEM. */
enum err transfer_msg_encode(const struct transfer_msg *msg, struct buf *out);
/* ERR_MALFORMED: no such message: a kind that is not known, a partition that is none, members that are none. */
enum err transfer_msg_decode(struct slice bytes, struct transfer_msg *out);

#endif
