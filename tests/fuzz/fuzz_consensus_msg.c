/*
 * fuzz_consensus_msg: no bytes of a peer break the reader of raft messages, what it accepts is written
 * and read again without a change, and no order of messages brings a member of a group to fall.
 *
 * Input: what the member is, then steps: what to do (1 byte), length (2 bytes), a message.
 */
#include "cluster/consensus_check.h"
#include "cluster/consensus_msg.h"
#include "core/base/assert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SELF = 1, STEPS_MAX = 64 };

static bool entries_are_equal(const struct consensus_message *a, const struct consensus_message *b)
{
    if (a->append.count != b->append.count) {
        return false;
    }
    for (uint32_t i = 0; i < a->append.count; i++) {
        const struct consensus_entry *x = &a->append.entries[i], *y = &b->append.entries[i];
        if (x->term != y->term || x->type != y->type || !slice_equal(x->bytes, y->bytes)) {
            return false;
        }
    }
    return true;
}

static void check_again(const struct consensus_message *message, struct arena *arena)
{
    struct consensus_message again;
    struct buf first = {0}, second = {0};
    ASSERT(consensus_msg_encode(message, &first) == OK);
    ASSERT(consensus_msg_decode(buf_bytes(&first), arena, &again) == OK);
    ASSERT(again.kind == message->kind && again.term == message->term);
    ASSERT(message->kind != CONSENSUS_APPEND || entries_are_equal(message, &again));
    ASSERT(consensus_msg_encode(&again, &second) == OK);
    ASSERT(slice_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
}

/* ---- a member ----------------------------------------------------------------------------------- */

struct member {
    struct consensus *consensus;
    uint64_t now_ms;
    bool must_install;
};

static void member_start(struct member *member, uint8_t what)
{
    struct consensus_config config = {.node_id = SELF, .seed = 1, .announces_commit = what & 1};
    struct consensus_members members = {.index = 1, .count = what & 2 ? 1 : 3};
    struct consensus_start start = {.term = 5, .first_index = 1};
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
    struct consensus_entry entry = {1, CONSENSUS_CHANGE, {0}};
    struct consensus_update update;
    for (uint32_t i = 0; i < members.count; i++) {
        members.rows[i] = (struct consensus_member){SELF + i, CONSENSUS_VOTER};
    }
    entry.bytes = slice_of(bytes, members_write(&members, bytes));
    ASSERT(consensus_new(&config, &member->consensus) == OK);
    for (uint32_t i = 0; i < (what >> 2 & 15u) + 1; i++) {
        ASSERT(consensus_load(member->consensus, &entry) == OK);
        entry = (struct consensus_entry){1 + i / 4, CONSENSUS_COMMAND, {0}};
    }
    ASSERT(consensus_start(member->consensus, member->now_ms, &start, &update) == OK);
}

static void member_message(struct member *member, uint8_t what,
                           const struct consensus_message *from)
{
    struct consensus_message message = *from, piece;
    struct consensus_update update;
    uint32_t begin = 0;
    bool has_more;
    message.peer = 2 + (what >> 2 & 3);
    message.generation = what >> 4 & 3;
    do {
        has_more = consensus_piece(member->consensus, &message, &begin, &piece);
        if (consensus_receive(member->consensus, member->now_ms, &piece, &update) != OK) {
            return;
        }
        member->must_install = member->must_install || update.install != NULL;
    } while (has_more);
}

static void member_step(struct member *member, uint8_t what)
{
    struct consensus *consensus = member->consensus;
    struct consensus_update update;
    uint64_t last = consensus_status(consensus).last_index;
    struct consensus_entry entry = {consensus_status(consensus).term, CONSENSUS_COMMAND, {0}};
    switch (what >> 2 & 7) {
    case 0:
        member->now_ms += what;
        consensus_timeout(consensus, member->now_ms, &update);
        break;
    case 1:
        consensus_persisted(consensus, member->now_ms, last, consensus_term_of(consensus, last),
                            &update);
        break;
    case 2:
        if (consensus_status(consensus).is_installing) {
            consensus_installed(consensus, member->now_ms, &update);
        }
        break;
    case 3:
        consensus_submit(consensus, member->now_ms, &entry, 1, &update);
        break;
    case 4:
        consensus_change(consensus, member->now_ms, 2 + (what >> 5 & 3), what >> 6 & 3, &update);
        break;
    case 5:
        consensus_cut(consensus, member->now_ms, consensus_status(consensus).commit_index,
                      what >> 5, &update);
        break;
    case 6:
        consensus_transfer(consensus, member->now_ms, 2 + (what >> 5 & 3), &update);
        break;
    case 7:
        consensus_catch_up(consensus, member->now_ms, 2 + (what >> 5 & 3), &update);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct member member = {.now_ms = 1000};
    struct slice rest = slice_of(data, size);
    struct arena *arena = arena_new(1 << 12, 1 << 24);
    if (size < 1) {
        arena_free(arena);
        return 0;
    }
    member_start(&member, rest.data[0]);
    rest = slice_skip(rest, 1);
    for (int step = 0; step < STEPS_MAX && rest.count >= 3; step++) {
        uint8_t what = rest.data[0];
        size_t count = rest.data[1] | (size_t)rest.data[2] << 8;
        struct consensus_message message;
        if ((what & 3) == 3) {
            member_step(&member, what);
            rest = slice_skip(rest, 1);
            continue;
        }
        rest = slice_skip(rest, 3);
        count = count < rest.count ? count : rest.count;
        arena_reset(arena);
        if (consensus_msg_decode(slice_head(rest, count), arena, &message) == OK) {
            check_again(&message, arena);
            member_message(&member, what, &message);
        }
        rest = slice_skip(rest, count);
    }
    consensus_free(member.consensus);
    arena_free(arena);
    return 0;
}
