/*
 * consensus_parts: what consensus.c, which knows the raft library, and consensus_event.c and
 * consensus_receive.c, which know the host rules, have in common. Nobody else includes it.
 *
 * Floor:  cluster.
 */
#ifndef TERN_CLUSTER_CONSENSUS_PARTS_H
#define TERN_CLUSTER_CONSENSUS_PARTS_H

#include "cluster/consensus.h"

struct engine; /* the library's object, in consensus.c */

struct consensus {
    struct engine *engine;
    struct consensus_config config; /* nothing of it is 0 but the seed and what is bool */
    bool is_started, is_broken;
    uint64_t now_ms;      /* of the current event */
    uint64_t quiet_ms;    /* E11: no vote before */
    uint64_t timed_ms;    /* of the last timeout; 0: none yet */
    uint64_t commit_told; /* the last commit_index of an update */

    struct consensus_snapshot snapshot;   /* the last one that is complete; index 0: none */
    struct consensus_snapshot installing; /* the one that is not */

    struct {
        uint64_t id, generation;
    } peers[2 * CONSENSUS_MEMBERS_MAX]; /* E5: those that are members, and some that were */
    uint32_t peer_count;

    struct consensus_entry own; /* an entry of ours, and its bytes */
    uint8_t own_bytes[CONSENSUS_MEMBERS_BYTES_MAX];

    struct consensus_update update; /* under construction */
    struct consensus_message *messages;
    uint32_t message_capacity;
};

/* What the engine is, as of now. */
struct engine_view {
    enum { ENGINE_FOLLOWER, ENGINE_CANDIDATE, ENGINE_LEADER } state;
    bool is_in_prevote; /* of a candidate */
    bool is_installing;
    uint64_t term, vote, leader;
    uint64_t commit, stored, last;
    uint64_t offset;                        /* the log begins behind it */
    uint64_t snapshot_index, snapshot_term; /* of an unfinished one too */
    uint64_t change_committed, change_open; /* index of the CHANGE; open 0: none */
    uint64_t transferee, promotee;          /* of a leader */
    uint64_t timeout_ms;
    uint32_t member_count;
};
void engine_look(const struct consensus *consensus, struct engine_view *out);

void engine_members_committed(const struct consensus *consensus, struct consensus_members *out);

/* What was loaded before the start. */
struct engine_loaded {
    uint32_t count;
    bool begins_with_change;
    uint64_t term_last;
};
struct engine_loaded engine_loaded(const struct consensus *consensus);

/* One event each. Adds what it came to to the update. On ERR_NOMEM and ERR_CORRUPT the consensus is
 * broken; else nothing has changed. */
enum err engine_start(struct consensus *consensus, const struct consensus_start *start);
enum err engine_submit(struct consensus *consensus, const struct consensus_entry *entries,
                       uint32_t count);
enum err engine_receive(struct consensus *consensus, const struct consensus_message *message);
enum err engine_persisted(struct consensus *consensus, uint64_t index);
enum err engine_installed(struct consensus *consensus);
enum err engine_change_committed(struct consensus *consensus);
enum err engine_cut(struct consensus *consensus, uint32_t trailing); /* consensus->snapshot */
enum err engine_timeout(struct consensus *consensus);
enum err engine_catch_up(struct consensus *consensus, uint64_t id);
enum err engine_transfer(struct consensus *consensus, uint64_t id);

/* The vote of the current term is that one's; to be persisted, as part of the update. */
void engine_vote(struct consensus *consensus, uint64_t id);
void engine_forget_leader(struct consensus *consensus);

/* ---- of an event (consensus_event.c) ------------------------------------------------------------ */

static inline bool keeps(const struct consensus *consensus, uint32_t rule)
{
    return (consensus->config.rules_off >> rule & 1) == 0;
}

/* Each event begins with the one, and returns what the other does with what it came to. */
enum err event_begin(struct consensus *consensus, uint64_t now_ms);
enum err event_end(struct consensus *consensus, enum err err, struct consensus_update *update);

/* One more message of the update, zeroed. ERR_NOMEM. */
enum err update_message(struct consensus *consensus, struct consensus_message **out);

#endif
