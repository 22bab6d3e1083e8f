/*
 * consensus_check: can a message be true at all, whatever the state of who receives it?
 *
 * Floor:  cluster.
 *
 * What the engine takes for granted of its peers, as its assertions say (libraft 0.22.1).
 */
#ifndef TERN_CLUSTER_CONSENSUS_CHECK_H
#define TERN_CLUSTER_CONSENSUS_CHECK_H

#include "cluster/consensus.h"

enum {
    CONSENSUS_ENTRIES_MAX = 65536, /* of one message */
};

/* ERR_PROTOCOL: drop it. self: our own id, from which nothing comes. */
enum err consensus_check(const struct consensus_message *message, uint64_t self);

#endif
