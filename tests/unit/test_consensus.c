#include "tests/lib/consensus_play.h"

/* ---- alone ------------------------------------------------------------------------------------ */

static void the_only_voter_leads_at_once_and_wants_no_timer(void **state)
{
    struct consensus_config config = {.node_id = 1};
    struct consensus *consensus = member_new(&config, 1, 1, 1, 1);
    (void)state;
    assert_true(consensus_status(consensus).is_leader);
    assert_true(consensus_status(consensus).is_alone);
    assert_int_equal(consensus_status(consensus).term, 1);
    assert_int_equal(consensus_status(consensus).commit_index, 1);
    assert_true(consensus_timeout_ms(consensus) == UINT64_MAX);
    consensus_free(consensus);
}

static void alone_the_whole_log_is_committed_at_start(void **state)
{
    struct consensus_config config = {.node_id = 1};
    struct consensus *consensus = member_new(&config, 1, 1, 500, 1);
    (void)state;
    assert_int_equal(consensus_status(consensus).last_index, 500);
    assert_int_equal(consensus_status(consensus).stored_index, 500);
    assert_int_equal(consensus_status(consensus).commit_index, 500);
    consensus_free(consensus);
}

static void alone_an_entry_is_committed_when_it_is_on_the_disk(void **state)
{
    struct consensus_config config = {.node_id = 1};
    struct consensus *consensus = member_new(&config, 1, 1, 1, 1);
    struct consensus_entry entries[3] = {command(1), command(1), command(1)};
    struct consensus_update update;
    (void)state;
    for (uint64_t round = 0; round < 1000; round++) {
        uint64_t now_ms = START_MS + round * 3600 * 1000; /* no timer, and it leads for ever */
        assert_int_equal(consensus_submit(consensus, now_ms, entries, 3, &update), OK);
        assert_int_equal(update.entry_count, 3);
        assert_int_equal(update.entry_index, 2 + 3 * round);
        assert_ptr_equal(update.entries, entries);
        assert_int_equal(update.message_count, 0);
        assert_false(update.has_hard);
        assert_false(update.has_commit);
        stored(consensus, now_ms, &update);
        assert_true(update.has_commit);
        assert_int_equal(update.commit_index, 4 + 3 * round);
        assert_int_equal(update.message_count, 0);
    }
    consensus_free(consensus);
}

static void a_log_that_was_cut_starts_from_its_snapshot(void **state)
{
    struct consensus_config config = {.node_id = 1};
    struct consensus_snapshot snapshot = {.index = 70, .term = 1, .members = voters(1)};
    struct consensus_start start = {.term = 1, .first_index = 51, .snapshot = &snapshot};
    struct consensus_entry entry = command(1);
    struct consensus_update update;
    struct consensus *consensus;
    (void)state;
    assert_int_equal(consensus_new(&config, &consensus), OK);
    for (uint64_t index = 51; index <= 90; index++) {
        assert_int_equal(consensus_load(consensus, &entry), OK);
    }
    assert_int_equal(consensus_start(consensus, START_MS, &start, &update), OK);
    assert_true(consensus_status(consensus).is_alone);
    assert_int_equal(update.commit_index, 90);
    assert_int_equal(consensus_term_of(consensus, 51), 1);
    assert_int_equal(consensus_term_of(consensus, 50), 0);
    consensus_free(consensus);

    start.first_index = 71; /* and with nothing behind it */
    assert_int_equal(consensus_new(&config, &consensus), OK);
    assert_int_equal(consensus_start(consensus, START_MS, &start, &update), OK);
    assert_true(consensus_status(consensus).is_alone);
    assert_int_equal(update.commit_index, 70);
    assert_int_equal(consensus_submit(consensus, START_MS, &entry, 1, &update), OK);
    assert_int_equal(update.entry_index, 71);
    stored(consensus, START_MS, &update);
    assert_int_equal(update.commit_index, 71);
    consensus_free(consensus);
}

/* Nobody fired a timer for a year; then a second member comes. */
static void a_lone_leader_that_gets_company_does_not_step_down(void **state)
{
    struct consensus_config config = {.node_id = 1};
    struct consensus *consensus = member_new(&config, 1, 1, 1, 1);
    uint64_t now_ms = START_MS + 365ull * 24 * 3600 * 1000;
    struct consensus_update update;
    (void)state;
    assert_int_equal(consensus_change(consensus, now_ms, 2, CONSENSUS_STANDBY, &update), OK);
    assert_non_null(message_of(&update, CONSENSUS_APPEND, 2));
    stored(consensus, now_ms, &update);
    assert_true(update.has_commit);
    assert_false(consensus_status(consensus).change_is_open);
    assert_false(consensus_status(consensus).is_alone);
    assert_int_equal(consensus_change(consensus, now_ms, 2, CONSENSUS_VOTER, &update), ERR_AGAIN);
    acknowledged(consensus, now_ms, 2, 2, &update);
    assert_int_equal(consensus_change(consensus, now_ms, 2, CONSENSUS_VOTER, &update), OK);
    for (int i = 0; i < 100; i++) {
        now_ms = consensus_timeout_ms(consensus);
        assert_true(now_ms != UINT64_MAX);
        assert_int_equal(consensus_timeout(consensus, now_ms, &update), OK);
        assert_true(consensus_status(consensus).is_leader);
        acknowledged(consensus, now_ms, 2, 3, &update);
    }
    consensus_free(consensus);
}

/* ---- what comes from a peer, and a leader's first entry --------------------------------------- */

/* Its log is all committed, so the engine by itself would propose nothing. */
static void a_new_leader_proposes_an_entry_of_its_own_term(void **state)
{
    struct consensus_config config = {.node_id = 1, .seed = 3};
    struct consensus *consensus = member_new(&config, 3, 1, 1, 1);
    struct consensus_update update;
    (void)state;
    lead(consensus, &update);
    assert_int_equal(update.entry_count, 1);
    assert_int_equal(update.entries[0].type, CONSENSUS_BARRIER);
    assert_int_equal(update.entries[0].term, consensus_status(consensus).term);
    assert_int_equal(consensus_change(consensus, 5000, 4, CONSENSUS_STANDBY, &update), ERR_AGAIN);
    consensus_free(consensus);
}

/* The engine leaves that number unset. */
static void a_leader_of_an_older_term_hears_ours_and_nothing_else(void **state)
{
    struct consensus_message message = append_of(1, 1, 1, 1, NULL, 0);
    struct consensus_config config = {.node_id = 3};
    struct consensus *consensus = member_new(&config, 3, 9, 1, 1);
    struct consensus_update update;
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
        assert_int_equal(update.message_count, 1);
        assert_int_equal(update.messages[0].term, 9);
        assert_int_equal(update.messages[0].append_result.rejected, 1);
        assert_int_equal(update.messages[0].append_result.last_index, 0);
    }
    consensus_free(consensus);
}

static void what_cannot_be_is_refused_and_changes_nothing(void **state)
{
    uint64_t now_ms;
    struct consensus *leader = leader_new(0, false, &now_ms);
    struct consensus *follower = follower_new(0);
    uint64_t term = consensus_status(leader).term;
    struct consensus_entry none = {.term = 0, .type = CONSENSUS_COMMAND};
    struct consensus_entry late = command(9), odd = {1, 77, {0}},
                           broken = {1, CONSENSUS_CHANGE, {0}};
    struct consensus_message messages[] = {
        append_of(0, 1, 1, 1, NULL, 0),
        append_of(1, 0, 1, 1, NULL, 0),
        append_of(1, 1, 0, 1, NULL, 0),
        append_of(1, 1, 2, 1, NULL, 0),
        append_of(1, 1, 1, UINT64_MAX, NULL, 0),
        append_of(UINT64_MAX, 1, 1, 1, NULL, 0),
        append_of(1, UINT64_MAX, 1, 1, NULL, 0),
        append_of(1, 1, 1, 1, &none, 1),
        append_of(1, 1, 1, 1, &late, 1),
        append_of(1, 1, 1, 1, &odd, 1),
        append_of(1, 1, 1, 1, &broken, 1),
        {.kind = CONSENSUS_INSTALL, .peer = 1, .term = 1},
        {.kind = 0, .peer = 1, .term = 1},
        {.kind = 99, .peer = 1, .term = 1},
        {.kind = CONSENSUS_VOTE, .peer = 3, .term = 1},
        {.kind = CONSENSUS_VOTE, .term = 1},
    };
    struct consensus_update update = {.message_count = 42};
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        assert_int_equal(consensus_receive(follower, START_MS, &messages[i], &update),
                         ERR_PROTOCOL);
    }
    assert_int_equal(consensus_status(follower).last_index, 1);
    assert_int_equal(consensus_status(follower).term, 1);
    /* A second leader of our own term. */
    struct consensus_message second = append_of(term, 2, term, 2, NULL, 0);
    second.peer = 2;
    assert_int_equal(consensus_receive(leader, now_ms, &second, &update), ERR_PROTOCOL);
    assert_true(consensus_status(leader).is_leader);
    assert_int_equal(update.message_count, 42);
    consensus_free(leader);
    consensus_free(follower);
}

/* A leader whose log contradicts what is committed here: one of us is damaged. */
static void who_is_contradicted_takes_part_no_more(void **state)
{
    struct consensus *consensus = follower_new(0);
    struct consensus_entry entries[2] = {command(1), command(1)};
    struct consensus_message message = append_of(1, 1, 1, 3, entries, 2);
    struct consensus_update update;
    (void)state;
    assert_int_equal(receive(consensus, START_MS, &message, &update), OK);
    entries[0] = entries[1] = command(2);
    message = append_of(2, 1, 1, 3, entries, 2);
    assert_int_equal(receive(consensus, START_MS, &message, &update), ERR_CORRUPT);
    assert_int_equal(receive(consensus, START_MS, &message, &update), ERR_UNAVAILABLE);
    assert_int_equal(consensus_timeout(consensus, 90000, &update), ERR_UNAVAILABLE);
    assert_true(consensus_timeout_ms(consensus) == UINT64_MAX);
    consensus_free(consensus);
}

static void members_are_read_as_they_were_written(void **state)
{
    struct consensus_members members = voters(CONSENSUS_MEMBERS_MAX), read = {.index = 1};
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    (void)state;
    members.rows[3].role = CONSENSUS_SPARE;
    members.rows[4].id = UINT64_MAX;
    size_t count = members_write(&members, bytes);
    assert_int_equal(count % 8, 0);
    assert_int_equal(members_read(slice_of(bytes, count), &read), OK);
    assert_memory_equal(&members, &read, sizeof members);
    for (size_t cut = 0; cut < count - 7; cut++) { /* what fills up may be missing */
        assert_int_equal(members_read(slice_of(bytes, cut), &read), ERR_CORRUPT);
    }
    bytes[0] = 2;
    assert_int_equal(members_read(slice_of(bytes, count), &read), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_voter_leads_at_once_and_wants_no_timer),
        cmocka_unit_test(alone_the_whole_log_is_committed_at_start),
        cmocka_unit_test(alone_an_entry_is_committed_when_it_is_on_the_disk),
        cmocka_unit_test(a_log_that_was_cut_starts_from_its_snapshot),
        cmocka_unit_test(a_lone_leader_that_gets_company_does_not_step_down),
        cmocka_unit_test(a_new_leader_proposes_an_entry_of_its_own_term),
        cmocka_unit_test(a_leader_of_an_older_term_hears_ours_and_nothing_else),
        cmocka_unit_test(what_cannot_be_is_refused_and_changes_nothing),
        cmocka_unit_test(who_is_contradicted_takes_part_no_more),
        cmocka_unit_test(members_are_read_as_they_were_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
