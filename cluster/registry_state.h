/*
 * registry_state: REG's state machine: commands in, state out.
 *
 * Floor:  cluster; pure. No clock, no chance, nothing of raft.
 * Thread: one at a time.
 *
 * Every replica that applies the same commands has the same state, byte by byte: rows stand in the
 * order of their keys, time is what the leader stamped, and what is refused is refused everywhere.
 * So a rule of apply may change only together with a feature level (cluster.md 5.12).
 *
 *      state       START     LIVE       GONE   DRAIN      UNDRAIN   LEAVE   REMOVE
 *      JOINING     JOINING   ACTIVE 1)  GONE   JOINING    JOINING   LEFT    LEFT
 *      ACTIVE      JOINING   ACTIVE     GONE   DRAINING   ACTIVE    -       -
 *      DRAINING    JOINING   DRAINING   GONE   DRAINING   ACTIVE    LEFT    -
 *      GONE        JOINING   -          GONE   GONE       GONE      LEFT    LEFT
 *      LEFT        -         -          -      -          -         -       -
 *
 * 1) DRAINING when it was told to drain meanwhile. LEAVE only of who holds no partition; REMOVE only
 * while somebody else is ACTIVE, and every partition that it holds has a majority that lives without it
 * (else it would never be led again, and could not come back either).
 *
 * Invariants
 *   I1  rows are in the order of their keys, each key once; member numbers are below node_next.
 *   I2  a partition has no replica twice, and its preferred leader is one of them.
 *   I3  names of members that have not LEFT differ; so do their certificates.
 *   I4  level lies within the levels of every member that has not LEFT.
 *   I5  who is in the map is in the table of members; of those that have LEFT only the others are
 *       forgotten, when the table is full.
 */
#ifndef TERN_CLUSTER_REGISTRY_STATE_H
#define TERN_CLUSTER_REGISTRY_STATE_H

#include "cluster/registry_command.h"
#include "core/base/err.h"
#include "core/base/slice.h"

struct registry_state {
    uint64_t index; /* of the last command applied; 0: none */
    uint64_t hash;  /* of all changes so far, in order: equal on all replicas at the same index */
    uint8_t cluster_id[REGISTRY_CLUSTER_ID_BYTES];
    char cluster_name[REGISTRY_NAME_BYTES];
    uint64_t wall_ms; /* the latest stamp: no clock of a leader may be behind it */
    uint32_t level;   /* features that may be used; 0: there is no cluster yet */
    uint64_t node_next, map_version, epoch_next;
    struct registry_partition partitions[REGISTRY_PARTITIONS];
    uint32_t partition_count; /* 0 until the cluster is founded, then all */
    struct registry_member members[REGISTRY_MEMBERS_MAX];
    uint32_t member_count;
    struct registry_setting settings[REGISTRY_SETTINGS_MAX];
    uint32_t setting_count;
    struct registry_token tokens[REGISTRY_TOKENS_MAX];
    uint32_t token_count;
    struct registry_service **services; /* each on the heap */
    uint32_t service_count, service_room;
};

/* What became of a command, for who proposed it. */
enum { REGISTRY_REASON_BYTES = 192 };
struct registry_result {
    enum err err; /* OK: it is so now */
    /*
     * ERR_INVALID, ERR_NOT_FOUND, ERR_EXISTS, ERR_LIMIT: as reason says. ERR_AGAIN: it was made for
     * a state that has changed meanwhile. ERR_NOT_AUTHORIZED: a token. ERR_UNSUPPORTED: levels.
     * ERR_UNAVAILABLE: there is no cluster yet.
     */
    char reason[REGISTRY_REASON_BYTES]; /* for people, "" on OK */
    uint64_t number, incarnation;       /* of the member: FOUND, JOIN, and all that name one */
    uint64_t version;                   /* of the map: ASSIGN */
    uint64_t epoch;                     /* SERVICE_PUT, SERVICE_RENEW */
    uint64_t until_ms;                  /* of its lease: SERVICE_PUT, SERVICE_RENEW */
    uint32_t count;                     /* SERVICE_EXPIRE: how many */
};

/* NULL: memory is exhausted. */
struct registry_state *registry_new(void);
void registry_free(struct registry_state *state); /* accepts NULL */

/*
 * Apply the command of that index, greater than state->index. What is refused changes nothing but
 * index and wall_ms.
 *
 * ERR_UNSUPPORTED  a command that this program does not know: stop here, never go on without it
 * ERR_NOMEM        nothing changed: it may be tried again
 */
enum err registry_apply(struct registry_state *state, uint64_t index,
                        const struct registry_command *command, struct registry_result *out);

/* The phrase of a command or a state: "JOIN", "draining". Never NULL. */
const char *registry_command_name(enum registry_command_kind kind);
const char *registry_member_state_name(uint8_t state);
const char *registry_health_name(uint8_t health);

/* ---- what is asked of it; rows are borrowed until the next registry_apply() ----------------------- */

/* NULL: no such. */
const struct registry_member *registry_member(const struct registry_state *state, uint64_t number);
const struct registry_member *registry_member_named(const struct registry_state *state,
                                                    struct slice name); /* that has not LEFT */
const struct registry_token *registry_token(const struct registry_state *state,
                                            const uint8_t hash[REGISTRY_HASH_BYTES]);
const struct registry_service *registry_service(const struct registry_state *state,
                                                struct slice alias, struct slice id);

/* Where the instances of an alias begin in state->services; how many. */
uint32_t registry_services_of(const struct registry_state *state, struct slice alias,
                              uint32_t *begin);

/* Instances whose lease has ended at that time. */
uint32_t registry_services_due(const struct registry_state *state, uint64_t wall_ms);

/* NULL: it is not set. */
const char *registry_setting(const struct registry_state *state, const char *key);

/* Does the node hold partitions by the map? How many. */
uint32_t registry_held(const struct registry_state *state, uint64_t number);

/* The highest level that every member which has not LEFT knows; state->level or more. */
uint32_t registry_level_possible(const struct registry_state *state);

/* ---- for registry_msg: a state that is read ------------------------------------------------------- */

/* Put behind those that are there. ERR_NOMEM, ERR_CORRUPT: there are too many. */
enum err registry_service_load(struct registry_state *state,
                               const struct registry_service *service);

/* ERR_CORRUPT: one of the invariants does not hold. */
enum err registry_check(const struct registry_state *state);

#endif
