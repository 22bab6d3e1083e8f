#include "cluster/consensus_check.h"
#include "cluster/consensus_msg.h"
#include "core/base/rng.h"

#include "proto/consensus.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Random messages, written by us and read by us and by protobuf-c, which knows consensus.proto. */
enum { ROUNDS = 2000, ENTRIES = 20 };

struct draft {
    struct consensus_message message;
    struct consensus_entry entries[ENTRIES];
    uint8_t bytes[ENTRIES][64];
};

static uint64_t number(struct rng *rng)
{
    return rng_u64(rng) >> rng_below(rng, 64); /* of any size */
}

static void draft_make(struct draft *draft, struct rng *rng)
{
    struct consensus_message *message = &draft->message;
    *message = (struct consensus_message){.term = number(rng)};
    message->kind = 1 + (enum consensus_message_kind)rng_below(rng, CONSENSUS_MESSAGE_END - 1);
    switch (message->kind) {
    case CONSENSUS_APPEND:
        message->append.prev_index = number(rng);
        message->append.prev_term = number(rng);
        message->append.commit_index = number(rng);
        message->append.entries = draft->entries;
        message->append.count = (uint32_t)rng_below(rng, ENTRIES + 1);
        for (uint32_t i = 0; i < message->append.count; i++) {
            draft->entries[i] = (struct consensus_entry){number(rng), (uint8_t)rng_below(rng, 4),
                                                         slice_of(draft->bytes[i],
                                                                  (size_t)rng_below(rng, 65))};
            for (uint32_t k = 0; k < 64; k++) {
                draft->bytes[i][k] = (uint8_t)rng_u64(rng);
            }
        }
        break;
    case CONSENSUS_APPEND_RESULT:
        message->append_result.rejected = number(rng);
        message->append_result.last_index = number(rng);
        break;
    case CONSENSUS_VOTE:
        message->vote.last_index = number(rng);
        message->vote.last_term = number(rng);
        message->vote.disrupt_leader = rng_below(rng, 2) == 1;
        message->vote.pre_vote = rng_below(rng, 2) == 1;
        break;
    case CONSENSUS_VOTE_RESULT:
        message->vote_result.granted = rng_below(rng, 2) == 1;
        message->vote_result.pre_vote = rng_below(rng, 2) == 1;
        break;
    case CONSENSUS_INSTALL:
        message->install.index = number(rng);
        message->install.term = number(rng);
        message->install.members.index = number(rng);
        message->install.members.count = (uint32_t)rng_below(rng, CONSENSUS_MEMBERS_MAX + 1);
        for (uint32_t i = 0; i < message->install.members.count; i++) {
            message->install.members.rows[i].id = number(rng);
            message->install.members.rows[i].role = (enum consensus_role)rng_below(rng, 3);
        }
        message->install.data = slice_text("where it is to be had");
        break;
    default:
        message->timeout_now.last_index = number(rng);
        message->timeout_now.last_term = number(rng);
    }
}

static void assert_same_slice(struct slice a, struct slice b)
{
    assert_int_equal(a.count, b.count);
    if (a.count > 0) {
        assert_memory_equal(a.data, b.data, a.count);
    }
}

static void assert_same(const struct consensus_message *a, const struct consensus_message *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(a->term == b->term);
    switch (a->kind) {
    case CONSENSUS_APPEND:
        assert_true(a->append.prev_index == b->append.prev_index);
        assert_true(a->append.prev_term == b->append.prev_term);
        assert_true(a->append.commit_index == b->append.commit_index);
        assert_int_equal(a->append.count, b->append.count);
        for (uint32_t i = 0; i < a->append.count; i++) {
            assert_true(a->append.entries[i].term == b->append.entries[i].term);
            assert_int_equal(a->append.entries[i].type, b->append.entries[i].type);
            assert_same_slice(a->append.entries[i].bytes, b->append.entries[i].bytes);
        }
        break;
    case CONSENSUS_VOTE:
        assert_true(a->vote.last_index == b->vote.last_index);
        assert_true(a->vote.last_term == b->vote.last_term);
        assert_int_equal(a->vote.disrupt_leader, b->vote.disrupt_leader);
        assert_int_equal(a->vote.pre_vote, b->vote.pre_vote);
        break;
    case CONSENSUS_VOTE_RESULT:
        assert_int_equal(a->vote_result.granted, b->vote_result.granted);
        assert_int_equal(a->vote_result.pre_vote, b->vote_result.pre_vote);
        break;
    case CONSENSUS_INSTALL:
        assert_true(a->install.index == b->install.index);
        assert_true(a->install.term == b->install.term);
        assert_memory_equal(&a->install.members, &b->install.members, sizeof a->install.members);
        assert_same_slice(a->install.data, b->install.data);
        break;
    default: /* two numbers each, at the same places */
        assert_true(a->timeout_now.last_index == b->timeout_now.last_index);
        assert_true(a->timeout_now.last_term == b->timeout_now.last_term);
    }
}

/* protobuf-c reads it, has nothing left over, and writes the same message. */
static void assert_known_to_protobuf(struct slice bytes, const struct consensus_message *message)
{
    Tern__Consensus__Message *read = tern__consensus__message__unpack(NULL, bytes.count,
                                                                      bytes.data);
    struct arena *arena = arena_new(1 << 12, 1 << 20);
    struct consensus_message again;
    uint8_t written[8192];
    assert_non_null(read);
    assert_int_equal(read->base.n_unknown_fields, 0);
    assert_int_equal(read->kind_case, message->kind + 1);
    size_t count = tern__consensus__message__pack(read, written);
    assert_true(count <= sizeof written);
    assert_int_equal(consensus_msg_decode(slice_of(written, count), arena, &again), OK);
    assert_same(message, &again);
    tern__consensus__message__free_unpacked(read, NULL);
    arena_free(arena);
}

static void every_message_is_read_as_it_was_written(void **state)
{
    struct arena *arena = arena_new(1 << 12, 1 << 20);
    struct rng rng;
    (void)state;
    rng_init(&rng, 1);
    for (int i = 0; i < ROUNDS; i++) {
        struct draft draft;
        struct consensus_message again;
        struct buf bytes = {0};
        draft_make(&draft, &rng);
        arena_reset(arena);
        assert_int_equal(consensus_msg_encode(&draft.message, &bytes), OK);
        assert_int_equal(consensus_msg_decode(buf_bytes(&bytes), arena, &again), OK);
        assert_same(&draft.message, &again);
        assert_known_to_protobuf(buf_bytes(&bytes), &draft.message);
        buf_deinit(&bytes);
    }
    arena_free(arena);
}

static void what_is_cut_short_is_refused_or_is_another_message(void **state)
{
    struct arena *arena = arena_new(1 << 12, 1 << 20);
    struct consensus_entry entries[2] = {{3, CONSENSUS_COMMAND, slice_text("abc")},
                                         {3, CONSENSUS_BARRIER, {0}}};
    struct consensus_message message = {.kind = CONSENSUS_APPEND, .term = 3}, again;
    struct buf bytes = {0};
    (void)state;
    message.append.entries = entries;
    message.append.count = 2;
    assert_int_equal(consensus_msg_encode(&message, &bytes), OK);
    for (size_t count = 0; count < buf_count(&bytes); count++) {
        assert_int_equal(consensus_msg_decode(slice_head(buf_bytes(&bytes), count), arena, &again),
                         ERR_MALFORMED);
    }
    buf_deinit(&bytes);
    arena_free(arena);
}

static void fields_of_a_newer_version_are_skipped(void **state)
{
    /* term 7; a field 90; a TIMEOUT_NOW of { index 5; a field 80; term 6 } */
    static const uint8_t bytes[] = {0x08, 7, 0xD0, 0x05, 1, 0x3A, 7,
                                    0x08, 5, 0x80, 0x05, 1, 0x10, 6};
    struct arena *arena = arena_new(1 << 12, 1 << 20);
    struct consensus_message message;
    (void)state;
    assert_int_equal(consensus_msg_decode(slice_of(bytes, sizeof bytes), arena, &message), OK);
    assert_int_equal(message.kind, CONSENSUS_TIMEOUT_NOW);
    assert_int_equal(message.term, 7);
    assert_int_equal(message.timeout_now.last_index, 5);
    assert_int_equal(message.timeout_now.last_term, 6);
    arena_free(arena);
}

static void there_is_a_bound_to_the_entries_of_a_message(void **state)
{
    struct consensus_entry *entries = calloc(CONSENSUS_ENTRIES_MAX + 1, sizeof entries[0]);
    struct consensus_message message = {.kind = CONSENSUS_APPEND, .term = 3}, again;
    struct arena *arena = arena_new(1 << 12, 1 << 24);
    struct buf bytes = {0};
    (void)state;
    message.append.entries = entries;
    message.append.count = CONSENSUS_ENTRIES_MAX + 1;
    assert_int_equal(consensus_msg_encode(&message, &bytes), OK);
    assert_int_equal(consensus_msg_decode(buf_bytes(&bytes), arena, &again), ERR_MALFORMED);
    buf_deinit(&bytes);
    message.append.count--;
    assert_int_equal(consensus_msg_encode(&message, &bytes), OK);
    assert_int_equal(consensus_msg_decode(buf_bytes(&bytes), arena, &again), OK);
    assert_int_equal(again.append.count, CONSENSUS_ENTRIES_MAX);
    buf_deinit(&bytes);
    arena_free(arena);
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_read_as_it_was_written),
        cmocka_unit_test(what_is_cut_short_is_refused_or_is_another_message),
        cmocka_unit_test(fields_of_a_newer_version_are_skipped),
        cmocka_unit_test(there_is_a_bound_to_the_entries_of_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
