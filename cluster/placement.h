/*
 * placement: which nodes are to hold the partitions, who is to lead them, and the way there.
 *
 * Floor:  cluster; pure. Integers alone: every node that becomes meta leader comes to the same map.
 * Memory: by value.
 *
 * A node's share of the replicas and of the leaders is by its weight (its quota); a partition has its
 * replicas in as many zones as there are, and no zone has more of them than it must. Within that
 * weighted rendezvous hashing chooses (D. Thaler and C. Ravishankar, 1998; weights: -log(hash) / weight).
 * What is already right stays where it is: the map that is wanted begins with the one there is.
 *
 * Bounds (tests/unit/test_placement.c holds them for thousands of clusters)
 *   B1  a partition has R replicas, all different, on nodes that may hold them.
 *   B2  each zone has between min(nodes of the zone, level - 1) and min(nodes of the zone, level)
 *       of them, with the lowest level that gives room for R.
 *   B3  what a node holds is off its exact share by less than 1.5 (most seen: 1.27), what it leads by
 *       less than 5 (4.33, where zones and what is live leave little choice; 1 where nodes are alike).
 *   B4  copies made beyond those that the shares make necessary: at most one in fifty. (Seen: 317 of
 *       728,131 in 36,000 changes of random clusters; TERN_TEST_CLUSTERS=3000 test_placement.)
 *   B5  what is wanted of a map that is as wanted is that map.
 */
#ifndef TERN_CLUSTER_PLACEMENT_H
#define TERN_CLUSTER_PLACEMENT_H

#include "cluster/registry_state.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PLACEMENT_MOVES_PER_NODE = 2, /* that a node takes part in at once */
    PLACEMENT_LEADS_AT_ONCE = 4,  /* leaders that change at once, over all */
    PLACEMENT_WARNING_BYTES = 256,
    PLACEMENT_REPLICAS = 3, /* when the setting "replicas" is not there */
};

struct placement_node {
    uint64_t number;
    uint32_t zone; /* equal: the same zone; below REGISTRY_MEMBERS_MAX */
    uint32_t weight;
    bool may_hold; /* else it is to lose what it has */
    bool is_live;  /* may lead; what it holds can be read */
};

/* In the order of their numbers. */
struct placement_nodes {
    struct placement_node rows[REGISTRY_MEMBERS_MAX];
    uint32_t count;
};

struct placement_map {
    struct placement_row {
        uint64_t replicas[REGISTRY_REPLICAS_MAX];
        uint32_t count;
        uint64_t preferred;
    } rows[REGISTRY_PARTITIONS];
};

/*
 * Nodes and map as REG has them. A node that is gone, or starts again, keeps what it holds until it is
 * removed; one that drains or has left is to lose it.
 */
void placement_read(const struct registry_state *state, struct placement_nodes *nodes,
                    struct placement_map *map);

/* Copies that are wished for: the setting "replicas" (1, 3 or 5), else PLACEMENT_REPLICAS. */
uint32_t placement_wished(const struct registry_state *state);

/*
 * Copies that each partition is to have of those that are wished for (1, 3 or 5): 1, 2, 3 or 5, as the nodes
 * allow. warning: what that means for the operator, or "".
 */
uint32_t placement_replicas(const struct placement_nodes *nodes, uint32_t wished,
                            char warning[PLACEMENT_WARNING_BYTES]);

/* The map that is wanted; replicas as placement_replicas() says. Without a node that may hold: now. */
void placement_want(const struct placement_nodes *nodes, uint32_t replicas,
                    const struct placement_map *now, struct placement_map *out);

/* What the leader of a partition says of its group. */
struct placement_report {
    bool is_known; /* it has a leader, which said so not long ago; else as it said last */
    uint64_t leader;
    uint64_t members[REGISTRY_REPLICAS_MAX + 2]; /* all of its raft group, in any order */
    uint32_t count;
};

/* Is its raft group as the map has it? */
bool placement_is_settled(const struct registry_partition *row,
                          const struct placement_report *report);

/*
 * The next steps from now to the wanted map: each changes one server of a partition (one comes, one goes for it), or who
 * should lead it. No step of a partition that is still on its way to where the map has it, nor of one
 * that has no leader. Out is empty when nothing is to be done, or others have to end first.
 */
void placement_plan(const struct placement_nodes *nodes, const struct placement_map *now,
                    const struct placement_map *want,
                    const struct placement_report reports[REGISTRY_PARTITIONS],
                    struct registry_assign *out); /* version is left to the caller */

/*
 * Groups that the node is in, and those of them that have no majority without it; a group of which
 * nobody reports any more is as it was last, or else anything. REG judges LEAVE and REMOVE by its map, to which groups
 * may still be on their way: LEAVE is proposed when in is 0 as well, REMOVE when stranded is.
 */
struct placement_ties {
    uint32_t in, stranded;
};
struct placement_ties placement_ties(const struct placement_nodes *nodes,
                                     const struct placement_report reports[REGISTRY_PARTITIONS],
                                     uint64_t number);

/* Copies that have to be made from one map to the other. */
uint32_t placement_distance(const struct placement_map *from, const struct placement_map *to);

/*
 * How far a key is from a node: weighted rendezvous; the nearest of them is meant. Compared by
 * placement_is_nearer() alone.
 */
struct placement_score {
    uint64_t log; /* -log2 of the hash, 32 bits behind the point */
    uint32_t weight;
};
struct placement_score placement_score(uint64_t key, uint64_t node, uint32_t weight);
bool placement_is_nearer(struct placement_score a, struct placement_score b);

#endif
