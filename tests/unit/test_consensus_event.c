#include "tests/lib/consensus_play.h"

/*
 * The host rules. One that can be switched off (rules_off) is tested twice: kept, and not kept, where
 * the engine goes wrong. The day it does not, the second half fails and tells that the rule has
 * become superfluous.
 */

static uint64_t recorded_index_of_a_change(uint32_t rules_off)
{
    struct consensus *consensus = follower_new(rules_off);
    struct consensus_members grown = voters(3), members;
    grown.rows[grown.count++] = (struct consensus_member){4, CONSENSUS_STANDBY};
    struct consensus_entry entries[4] = {command(1), command(1), change(1, &grown), command(1)};
    struct consensus_message message = append_of(1, 1, 1, 1, entries, 4);
    struct consensus_update update;
    assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
    assert_int_equal(consensus_status(consensus).last_index, 5);
    consensus_members(consensus, &members);
    assert_int_equal(members.count, 4);
    consensus_free(consensus);
    return members.index;
}

static void e1_a_change_within_a_message_is_recorded_at_its_own_index(void **state)
{
    (void)state;
    assert_int_equal(recorded_index_of_a_change(0), 4);
    assert_int_equal(recorded_index_of_a_change(1u << 1), 2); /* the engine by itself */
}

/* Three voters, one dead; the longer log has the lower term. Whether there is a leader in a minute. */
static bool is_elected(uint32_t rules_off)
{
    struct consensus_config config = {.seed = 8, .rules_off = rules_off};
    struct consensus *members[2];
    struct consensus_update update;
    bool is_led = false;
    config.node_id = 1;
    members[0] = member_new(&config, 3, 4, 20, 4);
    config.node_id = 2;
    members[1] = member_new(&config, 3, 9, 15, 4);
    for (uint64_t now_ms = START_MS; now_ms < START_MS + 60000 && !is_led; now_ms++) {
        for (int i = 0; i < 2; i++) {
            struct consensus_message queue[64];
            uint32_t count = 0, from[64];
            if (consensus_timeout_ms(members[i]) > now_ms) {
                continue;
            }
            assert_int_equal(consensus_timeout(members[i], now_ms, &update), OK);
            uint32_t who = (uint32_t)i;
            for (uint32_t k = 0; k <= count; k++) {
                for (uint32_t m = 0; m < update.message_count && count < 64; m++) {
                    queue[count] = update.messages[m];
                    from[count++] = who;
                }
                update.message_count = 0;
                if (k == count || queue[k].peer > 2 || queue[k].kind == CONSENSUS_APPEND) {
                    continue;
                }
                who = (uint32_t)queue[k].peer - 1;
                queue[k].peer = from[k] + 1;
                assert_int_equal(receive(members[who], now_ms, &queue[k], &update), OK);
            }
        }
        is_led = consensus_status(members[0]).is_leader || consensus_status(members[1]).is_leader;
    }
    consensus_free(members[0]);
    consensus_free(members[1]);
    return is_led;
}

static void e2_two_of_three_elect_a_leader_though_the_better_log_is_of_a_lower_term(void **state)
{
    (void)state;
    assert_true(is_elected(0));
    assert_false(is_elected(1u << 2)); /* never */
}

static void e3_members_change_only_when_all_know_the_last_change(void **state)
{
    uint64_t now_ms;
    struct consensus_update update;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = leader_new(off << 3, false, &now_ms);
        /* Ourselves: hand over first. */
        assert_int_equal(consensus_change(consensus, now_ms, 1, CONSENSUS_GONE, &update),
                         off ? OK : ERR_INVALID);
        consensus_free(consensus);

        consensus = leader_new(off << 3, false, &now_ms);
        assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_STANDBY, &update), OK);
        stored(consensus, now_ms, &update);
        acknowledged(consensus, now_ms, 2, 3, &update); /* committed by 1 and 2; 3 lags */
        assert_false(consensus_status(consensus).change_is_open);
        acknowledged(consensus, now_ms, 4, 3, &update);
        assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_VOTER, &update),
                         off ? OK : ERR_AGAIN);
        if (!off) {
            acknowledged(consensus, now_ms, 3, 3, &update);
            assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_VOTER, &update), OK);
        }
        consensus_free(consensus);
    }
}

static void e3_who_is_far_behind_does_not_become_a_voter(void **state)
{
    uint64_t now_ms;
    struct consensus *consensus = leader_new(0, false, &now_ms);
    struct consensus_entry entry;
    struct consensus_update update;
    (void)state;
    assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_STANDBY, &update), OK);
    for (int i = 0; i < 1000; i++) {
        entry = command(consensus_status(consensus).term);
        assert_int_equal(consensus_submit(consensus, now_ms, &entry, 1, &update), OK);
    }
    stored(consensus, now_ms, &update);
    acknowledged(consensus, now_ms, 2, 1003, &update);
    acknowledged(consensus, now_ms, 3, 1003, &update);
    acknowledged(consensus, now_ms, 4, 500, &update);
    assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_VOTER, &update), ERR_AGAIN);
    acknowledged(consensus, now_ms, 4, 1000, &update);
    assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_VOTER, &update), OK);
    consensus_free(consensus);
}

/* A follower whose log begins behind 21 is asked from `prev` on. */
static const struct consensus_message *answer_to_what_was_cut(struct consensus *consensus,
                                                              uint64_t prev,
                                                              struct consensus_update *update)
{
    struct consensus_entry entries[60];
    struct consensus_message message = append_of(1, prev, prev == 0 ? 0 : 1, 40, entries,
                                                 (uint32_t)(40 - prev));
    struct consensus_members members = voters(3);
    for (uint64_t i = 0; i < 40 - prev; i++) {
        entries[i] = prev + i == 0 ? change(1, &members) : command(1);
    }
    assert_int_equal(receive(consensus, START_MS, &message, update), OK);
    return message_of(update, CONSENSUS_APPEND_RESULT, 1);
}

static void e4_what_was_cut_is_not_rejected(void **state)
{
    const struct consensus_message *answer;
    struct consensus_entry entries[39];
    struct consensus_message message = append_of(1, 1, 1, 40, entries, 39);
    struct consensus_update update;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = follower_new(off << 4);
        for (int i = 0; i < 39; i++) {
            entries[i] = command(1);
        }
        assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
        stored(consensus, START_MS, &update);
        assert_int_equal(consensus_status(consensus).commit_index, 40);
        assert_int_equal(consensus_cut(consensus, START_MS, 30, 10, &update), OK);
        answer = answer_to_what_was_cut(consensus, 5, &update);
        assert_non_null(answer);
        assert_int_equal(answer->append_result.rejected, off ? 5 : 0);
        assert_int_equal(answer->append_result.last_index, off ? 4 : 40);
        /* From the very beginning the engine would append it all once more. */
        answer = answer_to_what_was_cut(consensus, 0, &update);
        assert_int_equal(consensus_status(consensus).last_index, off ? 80 : 40);
        assert_true((answer != NULL) == !off);
        consensus_free(consensus);
    }
}

static void e4_nobody_rejects_what_it_has_acknowledged(void **state)
{
    struct consensus_message result = {.kind = CONSENSUS_APPEND_RESULT, .peer = 2};
    struct consensus_update update;
    struct consensus_entry entry;
    uint64_t now_ms;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = leader_new(off << 4, false, &now_ms);
        /* Silent for a heartbeat, it is probed again from its match on; an old rejection arrives. */
        now_ms += 10;
        assert_int_equal(
            consensus_timeout(consensus, now_ms = consensus_timeout_ms(consensus), &update), OK);
        acknowledged(consensus, now_ms, 3, 2, &update);
        assert_int_equal(
            consensus_timeout(consensus, now_ms = consensus_timeout_ms(consensus), &update), OK);
        result.term = consensus_status(consensus).term;
        result.append_result.rejected = 2;
        result.append_result.last_index = 1;
        assert_int_equal(receive(consensus, now_ms, &result, &update), OK);
        assert_true((update.message_count > 0) == (off == 1));
        entry = command(consensus_status(consensus).term);
        assert_int_equal(consensus_submit(consensus, now_ms + 200, &entry, 1, &update), OK);
        const struct consensus_message *append = message_of(&update, CONSENSUS_APPEND, 2);
        assert_non_null(append);
        assert_int_equal(append->append.prev_index, off ? 1 : 2);
        /* Below its own match the engine finds that too much is under way, for ever. */
        assert_int_equal(append->append.count, off ? 0 : 1);
        consensus_free(consensus);
    }
}

static void e5_nothing_of_an_older_link_is_heard(void **state)
{
    struct consensus_entry entry = command(1);
    struct consensus_message message = append_of(1, 1, 1, 1, &entry, 1);
    struct consensus_update update;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = follower_new(off << 5);
        message.generation = 5;
        message.append.count = 0;
        assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
        assert_non_null(message_of(&update, CONSENSUS_APPEND_RESULT, 1));
        message.generation = 4;
        message.append.count = 1;
        assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
        assert_int_equal(update.entry_count, off);
        message.generation = 6;
        assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
        assert_int_equal(update.entry_count, 1 - off);
        consensus_free(consensus);
    }
}

static void e6_nothing_is_committed_while_a_snapshot_is_being_installed(void **state)
{
    struct consensus_message heartbeat = append_of(1, 50, 1, 60, NULL, 0);
    struct consensus_message install = {.kind = CONSENSUS_INSTALL, .peer = 1, .term = 1};
    struct consensus_update update;
    (void)state;
    install.install = (struct consensus_snapshot){.index = 50, .term = 1, .members = voters(3)};
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = follower_new(off << 6);
        assert_int_equal(receive(consensus, START_MS, &install, &update), OK);
        assert_non_null(update.install);
        assert_int_equal(update.install->index, 50);
        assert_int_equal(receive(consensus, START_MS, &install, &update), OK); /* again */
        assert_null(update.install);
        assert_int_equal(receive(consensus, START_MS, &heartbeat, &update), OK);
        assert_int_equal(update.has_commit, off == 1);
        assert_int_equal(consensus_status(consensus).commit_index, off ? 50 : 1);
        assert_int_equal(consensus_installed(consensus, START_MS, &update), OK);
        assert_int_equal(consensus_status(consensus).commit_index, 50);
        assert_int_equal(consensus_snapshot(consensus)->index, 50);
        assert_int_equal(consensus_status(consensus).stored_index, 50);
        consensus_free(consensus);
    }
}

/* It cannot be said otherwise: consensus_change() makes the one entry, and takes no others. */
static void e7_a_change_is_the_only_entry_of_its_update(void **state)
{
    uint64_t now_ms;
    struct consensus *consensus = leader_new(0, false, &now_ms);
    struct consensus_update update;
    (void)state;
    assert_int_equal(consensus_change(consensus, now_ms, 4, CONSENSUS_STANDBY, &update), OK);
    assert_int_equal(update.entry_count, 1);
    assert_int_equal(update.entries[0].type, CONSENSUS_CHANGE);
    assert_int_equal(consensus_change(consensus, now_ms, 5, CONSENSUS_STANDBY, &update), ERR_AGAIN);
    assert_int_equal(consensus_status(consensus).last_index, 3);
    consensus_free(consensus);
}

static void e8_a_timeout_before_its_time_does_nothing(void **state)
{
    struct consensus_entry entry;
    struct consensus_update update;
    uint64_t now_ms;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = leader_new(off << 8, false, &now_ms);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(consensus_timeout(consensus, ++now_ms, &update), OK);
        }
        /* Where it was fired all the same, the engine has given up on followers that are well. */
        entry = command(consensus_status(consensus).term);
        assert_int_equal(consensus_submit(consensus, now_ms, &entry, 1, &update), OK);
        assert_true((message_of(&update, CONSENSUS_APPEND, 2) != NULL) == !off);
        consensus_free(consensus);
    }
}

static void e9_followers_hear_of_a_commit_at_once(void **state)
{
    struct consensus_entry entry;
    struct consensus_update update;
    uint64_t now_ms;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = leader_new(off << 9, true, &now_ms);
        entry = command(consensus_status(consensus).term);
        assert_int_equal(consensus_submit(consensus, now_ms, &entry, 1, &update), OK);
        stored(consensus, now_ms, &update);
        acknowledged(consensus, now_ms, 2, 3, &update);
        assert_true(update.has_commit);
        const struct consensus_message *news = message_of(&update, CONSENSUS_APPEND, 2);
        assert_true((news != NULL) == !off);
        if (news != NULL) {
            assert_int_equal(news->append.commit_index, 3);
            assert_int_equal(news->append.prev_index, 3);
            assert_int_equal(news->append.count, 0);
            news = message_of(&update, CONSENSUS_APPEND, 3);
            assert_int_equal(news->append.prev_index, 2); /* what that one is known to have */
        }
        consensus_free(consensus);
    }
}

static void e10_time_does_not_go_back(void **state)
{
    struct consensus_update update;
    uint64_t now_ms;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = leader_new(off << 10 | off << 8, false, &now_ms);
        now_ms = consensus_timeout_ms(consensus);
        assert_int_equal(consensus_timeout(consensus, now_ms, &update), OK);
        assert_int_equal(consensus_timeout(consensus, now_ms - 50, &update), OK);
        assert_true(consensus_status(consensus).is_leader == !off);
        consensus_free(consensus);
    }
}

static void e11_who_has_just_started_does_not_vote(void **state)
{
    struct consensus_message vote = {.kind = CONSENSUS_VOTE, .peer = 1, .term = 2};
    struct consensus_update update;
    (void)state;
    vote.vote.last_index = 1;
    vote.vote.last_term = 1;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = follower_new(off << 11);
        assert_int_equal(receive(consensus, START_MS + 10, &vote, &update), OK);
        assert_int_equal(update.has_hard, off == 1);
        assert_true((message_of(&update, CONSENSUS_VOTE_RESULT, 1) != NULL) == (off == 1));
        assert_int_equal(receive(consensus, START_MS + ELECTION_MS, &vote, &update), OK);
        assert_true(message_of(&update, CONSENSUS_VOTE_RESULT, 1)->vote_result.granted);
        assert_int_equal(consensus_status(consensus).vote, 1);
        consensus_free(consensus);
    }
}

/* Five entries of term 1 are being written when the leader of term 2 replaces the last three. */
static void e12_what_was_replaced_meanwhile_is_not_reported(void **state)
{
    struct consensus_entry old[5], fresh[2] = {command(2), command(2)};
    struct consensus_message first = append_of(1, 1, 1, 1, old, 5);
    struct consensus_message second = append_of(2, 3, 1, 1, fresh, 2);
    struct consensus_update update;
    (void)state;
    for (int i = 0; i < 5; i++) {
        old[i] = command(1);
    }
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = follower_new(off << 12);
        assert_int_equal(receive(consensus, START_MS, &first, &update), OK);
        assert_int_equal(receive(consensus, START_MS, &second, &update), OK);
        assert_int_equal(update.entry_index, 4);
        assert_int_equal(consensus_status(consensus).last_index, 5);
        /* The first write is done, and covers 6 entries. */
        assert_int_equal(consensus_persisted(consensus, START_MS, 6, 1, &update), OK);
        assert_int_equal(consensus_status(consensus).stored_index, off ? 6 : 1);
        assert_true((message_of(&update, CONSENSUS_APPEND_RESULT, 1) != NULL) == (off == 1));
        if (!off) {
            stored(consensus, START_MS, &update);
            assert_int_equal(consensus_status(consensus).stored_index, 5);
            assert_int_equal(
                message_of(&update, CONSENSUS_APPEND_RESULT, 1)->append_result.last_index, 5);
        }
        consensus_free(consensus);
    }
}

/* 500 entries of a term that the leader does not have. */
static void e13_a_rejection_leads_back_by_a_whole_term(void **state)
{
    static struct consensus_entry entries[500];
    struct consensus_message first = append_of(1, 1, 1, 10, entries, 500);
    struct consensus_message probe = append_of(3, 400, 2, 300, NULL, 0);
    struct consensus_update update;
    (void)state;
    for (int i = 0; i < 500; i++) {
        entries[i] = command(1);
    }
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = follower_new(off << 13);
        assert_int_equal(receive(consensus, START_MS, &first, &update), OK);
        stored(consensus, START_MS, &update);
        assert_int_equal(receive(consensus, START_MS, &probe, &update), OK);
        const struct consensus_message *answer = message_of(&update, CONSENSUS_APPEND_RESULT, 1);
        assert_int_equal(answer->append_result.rejected, 400);
        assert_int_equal(answer->append_result.last_index, off ? 399 : 10);
        consensus_free(consensus);
    }
}

/* It was made a voter, but the leader died before that came here. */
static void e14_who_does_not_know_that_it_is_a_voter_votes_all_the_same(void **state)
{
    struct consensus_members members = voters(3);
    struct consensus_message message = {.kind = CONSENSUS_VOTE, .peer = 2, .term = 2};
    struct consensus_entry entry;
    struct consensus_update update;
    (void)state;
    members.rows[2].role = CONSENSUS_STANDBY;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus_config config = {.node_id = 3, .seed = 7, .rules_off = off << 14};
        struct consensus_start start = {.first_index = 1};
        struct consensus_message append = append_of(1, 0, 0, 1, &entry, 1);
        struct consensus *consensus;
        entry = change(1, &members);
        assert_int_equal(consensus_new(&config, &consensus), OK);
        assert_int_equal(consensus_start(consensus, START_MS, &start, &update), OK);
        assert_int_equal(receive(consensus, START_MS, &append, &update), OK);
        stored(consensus, START_MS, &update);
        assert_false(consensus_is_voter(consensus));
        message.vote.last_index = message.vote.last_term = 1;

        /* As long as it hears of a leader, it does not vote. */
        message.vote.pre_vote = true;
        assert_int_equal(receive(consensus, START_MS + ELECTION_MS, &message, &update), OK);
        assert_false(message_of(&update, CONSENSUS_VOTE_RESULT, 2)->vote_result.granted);
        uint64_t now_ms = consensus_timeout_ms(consensus);
        assert_int_equal(consensus_timeout(consensus, now_ms, &update), OK);
        assert_int_equal(receive(consensus, now_ms, &message, &update), OK);
        assert_int_equal(message_of(&update, CONSENSUS_VOTE_RESULT, 2)->vote_result.granted, !off);
        assert_false(update.has_hard);

        message.vote.pre_vote = false;
        assert_int_equal(receive(consensus, now_ms, &message, &update), OK);
        assert_int_equal(message_of(&update, CONSENSUS_VOTE_RESULT, 2)->vote_result.granted, !off);
        assert_int_equal(consensus_status(consensus).vote, off ? 0 : 2);
        assert_int_equal(update.vote, off ? 0 : 2);
        assert_true(update.has_hard || off);

        /* Once in a term, and for nobody whose log is behind. */
        message.peer = 1;
        assert_int_equal(receive(consensus, now_ms, &message, &update), OK);
        assert_false(message_of(&update, CONSENSUS_VOTE_RESULT, 1)->vote_result.granted);
        message.term = 3;
        message.vote.last_index = message.vote.last_term = 0;
        assert_int_equal(receive(consensus, now_ms, &message, &update), OK);
        assert_false(message_of(&update, CONSENSUS_VOTE_RESULT, 1)->vote_result.granted);
        assert_int_equal(consensus_status(consensus).term, off ? 1 : 3);
        message.peer = 2;
        message.term = 2;
        consensus_free(consensus);
    }
}

static void e15_who_is_to_lose_its_vote_hears_of_it_when_that_is_committed(void **state)
{
    const struct consensus_message *append;
    struct consensus_entry entry;
    struct consensus_update update;
    uint64_t now_ms;
    (void)state;
    for (uint32_t off = 0; off <= 1; off++) {
        struct consensus *consensus = leader_new(off << 15, false, &now_ms);
        assert_int_equal(consensus_change(consensus, now_ms, 3, CONSENSUS_STANDBY, &update), OK);
        append = message_of(&update, CONSENSUS_APPEND, 3);
        assert_int_equal(append == NULL ? 0 : append->append.count, off);
        append = message_of(&update, CONSENSUS_APPEND, 2);
        assert_int_equal(append->append.count, 1);
        stored(consensus, now_ms, &update);
        entry = command(consensus_status(consensus).term);
        assert_int_equal(consensus_submit(consensus, now_ms, &entry, 1, &update), OK);
        append = message_of(&update, CONSENSUS_APPEND, 3);
        if (append != NULL && !off) { /* it stands on what it has */
            assert_int_equal(append->append.prev_index, 2);
            assert_int_equal(append->append.count, 0);
        }
        stored(consensus, now_ms, &update);
        acknowledged(consensus, now_ms, 2, 4, &update);
        assert_false(consensus_status(consensus).change_is_open);
        assert_int_equal(consensus_status(consensus).commit_index, 4); /* without 3 */
        consensus_free(consensus);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e1_a_change_within_a_message_is_recorded_at_its_own_index),
        cmocka_unit_test(e2_two_of_three_elect_a_leader_though_the_better_log_is_of_a_lower_term),
        cmocka_unit_test(e3_members_change_only_when_all_know_the_last_change),
        cmocka_unit_test(e3_who_is_far_behind_does_not_become_a_voter),
        cmocka_unit_test(e4_what_was_cut_is_not_rejected),
        cmocka_unit_test(e4_nobody_rejects_what_it_has_acknowledged),
        cmocka_unit_test(e5_nothing_of_an_older_link_is_heard),
        cmocka_unit_test(e6_nothing_is_committed_while_a_snapshot_is_being_installed),
        cmocka_unit_test(e7_a_change_is_the_only_entry_of_its_update),
        cmocka_unit_test(e8_a_timeout_before_its_time_does_nothing),
        cmocka_unit_test(e9_followers_hear_of_a_commit_at_once),
        cmocka_unit_test(e10_time_does_not_go_back),
        cmocka_unit_test(e11_who_has_just_started_does_not_vote),
        cmocka_unit_test(e12_what_was_replaced_meanwhile_is_not_reported),
        cmocka_unit_test(e14_who_does_not_know_that_it_is_a_voter_votes_all_the_same),
        cmocka_unit_test(e15_who_is_to_lose_its_vote_hears_of_it_when_that_is_committed),
        cmocka_unit_test(e13_a_rejection_leads_back_by_a_whole_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
