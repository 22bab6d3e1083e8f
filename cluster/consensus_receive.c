#include "cluster/consensus.h"
#include "cluster/consensus_check.h"
#include "cluster/consensus_parts.h"
#include "core/base/assert.h"

#include <string.h>

/*
 * What a peer says. First whether it can be true at all, then whether it is out of date, then whether
 * it contradicts what we are; what is left the engine hears, in a form that it does not stumble over.
 */
enum {
    PEER_COUNT_MAX = sizeof((struct consensus *)0)->peers / sizeof((struct consensus *)0)->peers[0],
};

bool consensus_piece(const struct consensus *consensus, const struct consensus_message *message,
                     uint32_t *begin, struct consensus_message *piece)
{
    uint32_t first = *begin, end = first + 1;

    *piece = *message;
    if (message->kind != CONSENSUS_APPEND || message->append.count == 0) {
        return false;
    }
    ASSERT(first < message->append.count);
    while (end < message->append.count &&
           (message->append.entries[end].type != CONSENSUS_CHANGE || !keeps(consensus, 1))) {
        end++;
    }
    if (first > 0) {
        piece->append.prev_index += first;
        piece->append.prev_term = message->append.entries[first - 1].term;
    }
    piece->append.entries = &message->append.entries[first];
    piece->append.count = end - first;
    *begin = end;
    return end < message->append.count;
}

/* E5: what comes by an older link than was seen of that peer has been overtaken. */
static bool is_of_older_link(struct consensus *consensus, const struct consensus_message *piece)
{
    uint32_t i = 0;

    while (i < consensus->peer_count && consensus->peers[i].id != piece->peer) {
        i++;
    }
    if (i == PEER_COUNT_MAX) {
        i = (uint32_t)(piece->peer %
                       PEER_COUNT_MAX); /* forget one that is long gone, most likely */
    }
    if (i == consensus->peer_count || consensus->peers[i].id != piece->peer) {
        consensus->peers[i].id = piece->peer;
        consensus->peers[i].generation = 0;
        consensus->peer_count += i == consensus->peer_count;
    }
    if (piece->generation < consensus->peers[i].generation) {
        return true;
    }
    consensus->peers[i].generation = piece->generation;
    return false;
}

void consensus_keep_links(struct consensus *consensus, const struct consensus *before)
{
    memcpy(consensus->peers, before->peers, sizeof consensus->peers);
    consensus->peer_count = before->peer_count;
}

/*
 * E4: a leader goes back behind what was cut from our log. All of that is committed, hence the same on
 * both sides, so the message may as well stand on our snapshot; the engine would reject it, or, from
 * the very beginning, append it at the wrong place.
 */
static void append_rebase(const struct consensus *consensus, const struct engine_view *view,
                          struct consensus_message *piece)
{
    uint64_t skip = view->snapshot_index - piece->append.prev_index;

    if (view->is_installing || view->snapshot_index == 0 || piece->term < view->term ||
        piece->append.prev_index >= view->snapshot_index ||
        consensus_term_of(consensus, piece->append.prev_index) != 0) {
        return;
    }
    uint32_t skipped = skip < piece->append.count ? (uint32_t)skip : piece->append.count;
    piece->append.entries = skipped == 0 ? piece->append.entries : piece->append.entries + skipped;
    piece->append.count -= skipped;
    piece->append.prev_index = view->snapshot_index;
    piece->append.prev_term = view->snapshot_term;
}

/* True of what is out of date, and harms nobody; the engine would stumble over some of it. */
static bool is_stale(const struct consensus *consensus, const struct engine_view *view,
                     const struct consensus_message *piece)
{
    switch (piece->kind) {
    case CONSENSUS_INSTALL:
        return view->is_installing; /* it is under way */
    case CONSENSUS_VOTE:
        return keeps(consensus, 11) && consensus->now_ms < consensus->quiet_ms &&
               !piece->vote.disrupt_leader;
    case CONSENSUS_VOTE_RESULT:
        return view->state != ENGINE_CANDIDATE;
    case CONSENSUS_APPEND_RESULT:
        /* E4: nobody can reject what it has acknowledged in this term. */
        return keeps(consensus, 4) && view->state == ENGINE_LEADER && piece->term == view->term &&
               piece->append_result.rejected > 0 &&
               piece->append_result.rejected <= consensus_match_index(consensus, piece->peer);
    default:
        return false;
    }
}

/* What cannot be, given who we are. */
static bool is_impossible(const struct consensus *consensus, const struct engine_view *view,
                          const struct consensus_message *piece)
{
    uint64_t known = piece->kind == CONSENSUS_INSTALL
                         ? consensus_term_of(consensus, piece->install.index)
                         : 0;

    switch (piece->kind) {
    case CONSENSUS_APPEND:
        return view->state == ENGINE_LEADER && piece->term == view->term; /* two leaders */
    case CONSENSUS_INSTALL: /* two leaders, or another history */
        return (view->state == ENGINE_LEADER && piece->term == view->term) ||
               (piece->install.index <= view->commit && known != 0 && known != piece->install.term);
    case CONSENSUS_VOTE_RESULT: /* one is granted to who asked, in the term that was asked for */
        return piece->vote_result.granted &&
               piece->term > view->term + (view->is_in_prevote ? 1 : 0);
    default:
        return false;
    }
}

/* To a leader of an older term the engine says that ours is later, and leaves unset how far our log
 * goes: what was in that place of memory is nobody's business. */
static void answers_clear(struct consensus *consensus)
{
    for (uint32_t i = 0; i < consensus->update.message_count; i++) {
        if (consensus->messages[i].kind == CONSENSUS_APPEND_RESULT) {
            consensus->messages[i].append_result.last_index = 0;
        }
    }
}

/*
 * E13: a leader whose entries are not ours goes back one by one, a round trip each. We tell it where
 * our run of that term begins; what we have in common of it is sent once more. What is committed we
 * have in common in any case.
 */
static void rejections_widen(struct consensus *consensus)
{
    struct engine_view view;

    engine_look(consensus, &view);
    for (uint32_t i = 0; i < consensus->update.message_count; i++) {
        struct consensus_message *message = &consensus->messages[i];
        if (message->kind != CONSENSUS_APPEND_RESULT || message->append_result.rejected == 0) {
            continue;
        }
        uint64_t index = message->append_result.last_index;
        uint64_t term = consensus_term_of(consensus, message->append_result.rejected);
        while (term != 0 && index > view.commit && consensus_term_of(consensus, index) == term) {
            index--;
        }
        message->append_result.last_index = index;
    }
}

/* Is a candidate's log at least as good as ours? (Raft 5.4.1) */
static bool is_up_to_date(const struct consensus *consensus, const struct engine_view *view,
                          const struct consensus_message *piece)
{
    uint64_t term = view->last == 0 ? 0 : consensus_term_of(consensus, view->last);

    return piece->vote.last_term > term ||
           (piece->vote.last_term == term && piece->vote.last_index >= view->last);
}

/*
 * E14: who votes is not the voter's to judge, who may not have heard yet that it is one (D. Ongaro's
 * dissertation, 4.2.2); the candidate counts the votes of those whom its own log names. The engine
 * denies it, and with one member dead a group of four may be without a leader for ever. All else that
 * a vote asks for is asked for here.
 */
static void vote_all_the_same(struct consensus *consensus, const struct engine_view *before,
                              const struct consensus_message *piece)
{
    struct engine_view view;

    engine_look(consensus, &view);
    bool may_vote = piece->vote.pre_vote
                        ? piece->term >= view.term
                        : piece->term == view.term && (view.vote == 0 || view.vote == piece->peer);
    if (consensus_is_voter(consensus) || !may_vote || view.is_installing ||
        (before->leader != 0 && !piece->vote.disrupt_leader) ||
        !is_up_to_date(consensus, &view, piece)) {
        return;
    }
    for (uint32_t i = 0; i < consensus->update.message_count; i++) {
        struct consensus_message *message = &consensus->messages[i];
        if (message->kind == CONSENSUS_VOTE_RESULT) {
            message->vote_result.granted = true;
        }
    }
    if (!piece->vote.pre_vote) {
        engine_vote(consensus, piece->peer);
    }
}

enum err consensus_receive(struct consensus *consensus, uint64_t now_ms,
                           const struct consensus_message *piece, struct consensus_update *update)
{
    struct consensus_message sound = *piece;
    struct engine_view view;

    TRY(event_begin(consensus, now_ms));
    TRY(consensus_check(piece, consensus->config.node_id));
    engine_look(consensus, &view);
    if ((is_of_older_link(consensus, piece) && keeps(consensus, 5)) ||
        is_stale(consensus, &view, piece)) {
        return event_end(consensus, OK, update);
    }
    if (is_impossible(consensus, &view, piece)) {
        return ERR_PROTOCOL;
    }
    if (piece->kind == CONSENSUS_APPEND && keeps(consensus, 4)) {
        append_rebase(consensus, &view, &sound);
    }
    enum err err = engine_receive(consensus, &sound);
    if (err == OK && piece->term < view.term) {
        answers_clear(consensus);
    } else if (err == OK && keeps(consensus, 13)) {
        rejections_widen(consensus);
    }
    if (err == OK && piece->kind == CONSENSUS_VOTE && keeps(consensus, 14)) {
        vote_all_the_same(consensus, &view, piece);
    }
    return event_end(consensus, err, update);
}
