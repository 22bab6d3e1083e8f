/*
 * consensus_members: who belongs to a raft group, and as what.
 *
 * Floor:  cluster.
 * Memory: by value.
 */
#ifndef TERN_CLUSTER_CONSENSUS_MEMBERS_H
#define TERN_CLUSTER_CONSENSUS_MEMBERS_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdint.h>

/* The engine's codes, on disk too: none may change. */
enum consensus_role {
    CONSENSUS_STANDBY = 0, /* has the log, has no vote */
    CONSENSUS_VOTER = 1,
    CONSENSUS_SPARE = 2, /* known by name only */
    CONSENSUS_GONE = 3,  /* in consensus_change() only */
};

enum {
    CONSENSUS_MEMBERS_MAX = 9,
    /* Format, count, and of each: id, its decimal text, role; filled up to eight bytes. */
    CONSENSUS_MEMBERS_BYTES_MAX = (1 + 8 + CONSENSUS_MEMBERS_MAX * (8 + 21 + 1) + 7) / 8 * 8,
};

struct consensus_member {
    uint64_t id; /* not 0 */
    enum consensus_role role;
};

struct consensus_members {
    uint64_t index; /* of the entry that made it so; 0: there is none yet */
    uint32_t count;
    struct consensus_member rows[CONSENSUS_MEMBERS_MAX];
};

/* NULL: no such. */
const struct consensus_member *members_find(const struct consensus_members *members, uint64_t id);
uint32_t members_voter_count(const struct consensus_members *members);

/* Each id once and not 0, roles that exist, one member or more. */
enum err members_check(const struct consensus_members *members);

/* The bytes of a CHANGE, in the engine's own encoding; how many. */
size_t members_write(const struct consensus_members *members,
                     uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX]);
/* ERR_CORRUPT. index is left alone. */
enum err members_read(struct slice bytes, struct consensus_members *out);

/*
 * As it is after one step. The order of the others stays: the engine counts on it. ERR_INVALID,
 * ERR_EXISTS, ERR_NOT_FOUND, ERR_LIMIT as of consensus_change().
 */
enum err members_change(const struct consensus_members *members, uint64_t id,
                        enum consensus_role role, struct consensus_members *out);

#endif
