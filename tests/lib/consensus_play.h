/*
 * consensus_play: one member of a raft group, whose peers a test plays by hand.
 */
#ifndef TERN_TESTS_LIB_CONSENSUS_PLAY_H
#define TERN_TESTS_LIB_CONSENSUS_PLAY_H

#include "cluster/consensus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { START_MS = 1000, ELECTION_MS = 1000 };

static uint8_t
    change_bytes[8][CONSENSUS_MEMBERS_BYTES_MAX]; /* of change(): valid until the 8th next */
static uint32_t change_count;

static inline struct consensus_members voters(uint32_t count)
{
    struct consensus_members members = {.index = 1, .count = count};
    for (uint32_t i = 0; i < count; i++) {
        members.rows[i] = (struct consensus_member){i + 1, CONSENSUS_VOTER};
    }
    return members;
}

static inline struct consensus_entry change(uint64_t term, const struct consensus_members *members)
{
    uint8_t *bytes = change_bytes[change_count++ % 8];
    size_t count = members_write(members, bytes);
    return (struct consensus_entry){term, CONSENSUS_CHANGE, slice_of(bytes, count)};
}

static inline struct consensus_entry command(uint64_t term)
{
    return (struct consensus_entry){term, CONSENSUS_COMMAND, slice_text("op")};
}

/* A member with a log of `last` entries: the first of term 1, the others of the given one. */
static inline struct consensus *member_new(const struct consensus_config *config,
                                           uint32_t voter_count, uint64_t term, uint64_t last,
                                           uint64_t last_term)
{
    struct consensus_members members = voters(voter_count);
    struct consensus_start start = {.term = term, .first_index = 1};
    struct consensus_entry entry = change(1, &members);
    struct consensus_update update;
    struct consensus *consensus;
    assert_int_equal(consensus_new(config, &consensus), OK);
    for (uint64_t index = 1; index <= last; index++) {
        assert_int_equal(consensus_load(consensus, &entry), OK);
        entry = command(last_term);
    }
    assert_int_equal(consensus_start(consensus, START_MS, &start, &update), OK);
    return consensus;
}

static inline struct consensus *follower_new(uint32_t rules_off)
{
    struct consensus_config config = {.node_id = 3, .seed = 7, .rules_off = rules_off};
    return member_new(&config, 3, 1, 1, 1);
}

static inline const struct consensus_message *message_of(const struct consensus_update *update,
                                                         enum consensus_message_kind kind,
                                                         uint64_t peer)
{
    for (uint32_t i = 0; i < update->message_count; i++) {
        if (update->messages[i].kind == kind && update->messages[i].peer == peer) {
            return &update->messages[i];
        }
    }
    return NULL;
}

/* All pieces of a message; the last update. */
static inline enum err receive(struct consensus *consensus, uint64_t now_ms,
                               const struct consensus_message *message,
                               struct consensus_update *update)
{
    struct consensus_message piece;
    uint32_t begin = 0;
    bool has_more;
    do {
        has_more = consensus_piece(consensus, message, &begin, &piece);
        enum err err = consensus_receive(consensus, now_ms, &piece, update);
        if (err != OK) {
            return err;
        }
    } while (has_more);
    return OK;
}

static inline struct consensus_message append_of(uint64_t term, uint64_t prev_index,
                                                 uint64_t prev_term, uint64_t commit,
                                                 const struct consensus_entry *entries,
                                                 uint32_t count)
{
    struct consensus_message message = {.kind = CONSENSUS_APPEND, .peer = 1, .term = term};
    message.append.prev_index = prev_index;
    message.append.prev_term = prev_term;
    message.append.commit_index = commit;
    message.append.entries = entries;
    message.append.count = count;
    return message;
}

static inline void stored(struct consensus *consensus, uint64_t now_ms,
                          struct consensus_update *update)
{
    uint64_t last = consensus_status(consensus).last_index;
    assert_int_equal(consensus_persisted(consensus, now_ms, last,
                                         consensus_term_of(consensus, last), update),
                     OK);
}

/* A leader of `voter_count`, elected by the votes of the others; the time it took. */
static inline uint64_t lead(struct consensus *consensus, struct consensus_update *update)
{
    uint64_t now_ms = consensus_timeout_ms(consensus);
    struct consensus_members members;
    struct consensus_message vote = {.kind = CONSENSUS_VOTE_RESULT};
    consensus_members(consensus, &members);
    assert_int_equal(consensus_timeout(consensus, now_ms, update), OK);
    for (int i = 0; i < 2; i++) {
        const struct consensus_message *asked = message_of(update, CONSENSUS_VOTE, 2);
        assert_non_null(asked);
        vote.term = asked->term;
        vote.vote_result.granted = true;
        vote.vote_result.pre_vote = asked->vote.pre_vote;
        for (uint64_t peer = 2; peer <= members.count / 2 + 1; peer++) {
            vote.peer = peer;
            assert_int_equal(receive(consensus, now_ms, &vote, update), OK);
        }
    }
    assert_true(consensus_status(consensus).is_leader);
    return now_ms;
}

/* That follower has everything up to index. */
static inline void acknowledged(struct consensus *consensus, uint64_t now_ms, uint64_t peer,
                                uint64_t index, struct consensus_update *update)
{
    struct consensus_message result = {.kind = CONSENSUS_APPEND_RESULT, .peer = peer};
    result.term = consensus_status(consensus).term;
    result.append_result.last_index = index;
    assert_int_equal(receive(consensus, now_ms, &result, update), OK);
}

static inline struct consensus *leader_new(uint32_t rules_off, bool announces, uint64_t *now_ms)
{
    struct consensus_config config = {
        .node_id = 1, .seed = 7, .rules_off = rules_off, .announces_commit = announces};
    struct consensus *consensus = member_new(&config, 3, 1, 1, 1);
    struct consensus_update update;
    *now_ms = lead(consensus, &update);
    stored(consensus, *now_ms, &update);
    for (uint64_t peer = 2; peer <= 3; peer++) {
        acknowledged(consensus, *now_ms, peer, consensus_status(consensus).last_index, &update);
    }
    assert_int_equal(consensus_status(consensus).commit_index, 2);
    return consensus;
}

#endif
