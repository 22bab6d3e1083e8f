/*
 * consensus_msg: what members of a raft group say to each other <-> bytes (proto/consensus.proto).
 *
 * Floor:  cluster.
 */
#ifndef TERN_CLUSTER_CONSENSUS_MSG_H
#define TERN_CLUSTER_CONSENSUS_MSG_H

#include "cluster/consensus.h"
#include "core/base/arena.h"
#include "core/base/buf.h"

/* Append it to out; peer and generation are the link's matter and not part of it. ERR_NOMEM. */
enum err consensus_msg_encode(const struct consensus_message *message, struct buf *out);

/*
 * peer and generation are 0. Slices point into bytes, arrays into the arena. ERR_MALFORMED: not such
 * a message. What it says is not judged: consensus_receive() does that. ERR_NOMEM.
 */
enum err consensus_msg_decode(struct slice bytes, struct arena *arena,
                              struct consensus_message *out);

#endif
