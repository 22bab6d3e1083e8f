/*
 * registry_command: what changes REG, listed.
 *
 * Floor:  cluster; plain data.
 * Memory: by value, bounded (registry_rows.h): what stands in a command can always be written, and
 *         what was written can always be read.
 *
 * Each is an entry of the meta group's log. The leader stamps it with its wall clock; nothing else
 * of time is known to the state. A code is for ever; a new one may be proposed only at the feature
 * level that brought it, as a node that does not know it must stop (cluster.md 5.12).
 */
#ifndef TERN_CLUSTER_REGISTRY_COMMAND_H
#define TERN_CLUSTER_REGISTRY_COMMAND_H

#include "cluster/registry_rows.h"

/* clang-format off */
#define REGISTRY_COMMAND_TABLE(X)                                                                   \
    /* name             code  body             what it changes */                                   \
    X(FOUND,             1,  found,           "a cluster is there, with its first node")            \
    X(TOKEN_ADD,         2,  token,           "a token lets nodes join")                            \
    X(TOKEN_REMOVE,      3,  token,           "a token lets nobody join any more")                  \
    X(JOIN,              4,  join,            "a node gets its number, for a token")                \
    X(START,             5,  start,           "a node begins a new incarnation")                    \
    X(LIVE,              6,  incarnation,     "a node is up to date and holds a lease")             \
    X(GONE,              7,  incarnation,     "the lease of a node has lapsed")                     \
    X(DRAIN,             8,  node,            "a node is to hold nothing any more")                 \
    X(UNDRAIN,           9,  node,            "a node may hold partitions again")                   \
    X(LEAVE,             10, node,            "a node that holds nothing goes for good")            \
    X(REMOVE,            11, node,            "a dead node goes for good, whatever it held")        \
    X(ASSIGN,            12, assign,          "partitions get the nodes that are to hold them")     \
    X(LEVEL,             13, level,           "what all nodes know may be used from now on")        \
    X(SET,               14, setting,         "a setting of the cluster has a value")               \
    X(UNSET,             15, setting,         "a setting of the cluster has its default again")     \
    X(SERVICE_PUT,       16, service,         "an instance is registered, or anew")                 \
    X(SERVICE_RENEW,     17, renew,           "an instance has a new lease, load and health")       \
    X(SERVICE_LEAVE,     18, renew,           "an instance is gone")                                \
    X(SERVICE_EXPIRE,    19, expire,          "instances whose leases have ended are gone")
/* clang-format on */

#define REGISTRY_COMMAND_NAME(name, code, body, what) REGISTRY_##name = code,
enum registry_command_kind { REGISTRY_COMMAND_TABLE(REGISTRY_COMMAND_NAME) REGISTRY_COMMAND_END };
#undef REGISTRY_COMMAND_NAME

struct registry_found {
    uint8_t cluster_id[REGISTRY_CLUSTER_ID_BYTES];
    char cluster_name[REGISTRY_NAME_BYTES];
    struct registry_profile profile; /* of node 1; its level_max is the cluster's level */
};

struct registry_join {
    uint8_t token[REGISTRY_HASH_BYTES];
    struct registry_profile profile;
};

struct registry_start {
    uint64_t number;
    struct registry_profile profile; /* the name may not change */
};

struct registry_incarnation {
    uint64_t number, incarnation;
};

/* Row by row where partitions go; all of it or nothing. */
struct registry_assign {
    uint64_t version; /* of the map that it was planned on */
    struct registry_assignment {
        uint32_t partition;
        uint64_t replicas[REGISTRY_REPLICAS_MAX];
        uint32_t replica_count;
        uint64_t preferred;
    } rows[REGISTRY_PARTITIONS];
    uint32_t count;
};

struct registry_renew {
    char alias[REGISTRY_NAME_BYTES];
    char id[REGISTRY_ID_BYTES];
    uint64_t epoch; /* SERVICE_LEAVE: 0 is any */
    uint8_t health;
    uint64_t load;
};

struct registry_command {
    enum registry_command_kind kind;
    uint64_t wall_ms; /* the leader's stamp */
    union {
        struct registry_found found;
        struct registry_token token; /* TOKEN_REMOVE: the hash alone */
        struct registry_join join;
        struct registry_start start;
        struct registry_incarnation incarnation;
        struct registry_node {
            uint64_t number;
        } node;
        struct registry_assign assign;
        struct registry_level {
            uint32_t level;
        } level;
        struct registry_setting setting; /* UNSET: the key alone */
        struct registry_service service; /* SERVICE_PUT: until_ms and epoch are given to it */
        struct registry_renew renew;
        struct registry_expire {
            uint32_t count_max; /* 0: all of them */
        } expire;
    };
};

#endif
