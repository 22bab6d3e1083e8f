#include "cluster/consensus_msg.h"

#include "cluster/consensus_check.h"
#include "core/base/assert.h"
#include "storage/record_wire.h"

/*
 * Message { 1 term; kind + 1: body }, as in proto/consensus.proto. A body begins with its plain
 * numbers, in fields 1, 2, ...; what else it has follows. Bytes are never copied when read.
 */
enum { NUMBERS_MAX = 4, TERM = 1 };
enum { APPEND_ENTRY = 4, ENTRY_TERM = 1, ENTRY_TYPE = 2, ENTRY_DATA = 3 };
enum { INSTALL_MEMBER = 4, INSTALL_DATA = 5, MEMBER_ID = 1, MEMBER_ROLE = 2 };

static const uint32_t number_counts[CONSENSUS_MESSAGE_END] = {
    [CONSENSUS_APPEND] = 3,      [CONSENSUS_APPEND_RESULT] = 2, [CONSENSUS_VOTE] = 4,
    [CONSENSUS_VOTE_RESULT] = 2, [CONSENSUS_INSTALL] = 3,       [CONSENSUS_TIMEOUT_NOW] = 2,
};

static void numbers_get(const struct consensus_message *message, uint64_t numbers[NUMBERS_MAX])
{
    switch (message->kind) {
    case CONSENSUS_APPEND:
        numbers[0] = message->append.prev_index;
        numbers[1] = message->append.prev_term;
        numbers[2] = message->append.commit_index;
        break;
    case CONSENSUS_APPEND_RESULT:
        numbers[0] = message->append_result.rejected;
        numbers[1] = message->append_result.last_index;
        break;
    case CONSENSUS_VOTE:
        numbers[0] = message->vote.last_index;
        numbers[1] = message->vote.last_term;
        numbers[2] = message->vote.disrupt_leader;
        numbers[3] = message->vote.pre_vote;
        break;
    case CONSENSUS_VOTE_RESULT:
        numbers[0] = message->vote_result.granted;
        numbers[1] = message->vote_result.pre_vote;
        break;
    case CONSENSUS_INSTALL:
        numbers[0] = message->install.index;
        numbers[1] = message->install.term;
        numbers[2] = message->install.members.index;
        break;
    case CONSENSUS_TIMEOUT_NOW:
        numbers[0] = message->timeout_now.last_index;
        numbers[1] = message->timeout_now.last_term;
        break;
    case CONSENSUS_MESSAGE_END:
        break;
    }
}

static void numbers_set(struct consensus_message *message, const uint64_t numbers[NUMBERS_MAX])
{
    switch (message->kind) {
    case CONSENSUS_APPEND:
        message->append.prev_index = numbers[0];
        message->append.prev_term = numbers[1];
        message->append.commit_index = numbers[2];
        break;
    case CONSENSUS_APPEND_RESULT:
        message->append_result.rejected = numbers[0];
        message->append_result.last_index = numbers[1];
        break;
    case CONSENSUS_VOTE:
        message->vote.last_index = numbers[0];
        message->vote.last_term = numbers[1];
        message->vote.disrupt_leader = numbers[2] != 0;
        message->vote.pre_vote = numbers[3] != 0;
        break;
    case CONSENSUS_VOTE_RESULT:
        message->vote_result.granted = numbers[0] != 0;
        message->vote_result.pre_vote = numbers[1] != 0;
        break;
    case CONSENSUS_INSTALL:
        message->install.index = numbers[0];
        message->install.term = numbers[1];
        message->install.members.index = numbers[2];
        break;
    case CONSENSUS_TIMEOUT_NOW:
        message->timeout_now.last_index = numbers[0];
        message->timeout_now.last_term = numbers[1];
        break;
    case CONSENSUS_MESSAGE_END:
        break;
    }
}

/* ---- written: every tag is one byte --------------------------------------------------------- */

static size_t number_size(uint64_t value)
{
    return value == 0 ? 0 : 1 + wire_varint_size(value);
}

static uint8_t *number_put(uint8_t *at, uint32_t field, uint64_t value)
{
    return value == 0 ? at : wire_put_varint(wire_put_tag(at, field, WIRE_VARINT), value);
}

static size_t bytes_size(size_t count)
{
    return 1 + wire_varint_size(count) + count;
}

static uint8_t *bytes_put(uint8_t *at, uint32_t field, struct slice bytes)
{
    at = wire_put_varint(wire_put_tag(at, field, WIRE_BYTES), bytes.count);
    if (bytes.count > 0) {
        memcpy(at, bytes.data, bytes.count);
    }
    return at + bytes.count;
}

static size_t entry_size(const struct consensus_entry *entry)
{
    return number_size(entry->term) + number_size(entry->type) + bytes_size(entry->bytes.count);
}

static size_t member_size(const struct consensus_member *member)
{
    return 1 + 8 + number_size(member->role);
}

static size_t body_size(const struct consensus_message *message,
                        const uint64_t numbers[NUMBERS_MAX])
{
    size_t size = 0;

    for (uint32_t i = 0; i < number_counts[message->kind]; i++) {
        size += number_size(numbers[i]);
    }
    if (message->kind == CONSENSUS_APPEND) {
        for (uint32_t i = 0; i < message->append.count; i++) {
            size += bytes_size(entry_size(&message->append.entries[i]));
        }
    }
    if (message->kind == CONSENSUS_INSTALL) {
        for (uint32_t i = 0; i < message->install.members.count; i++) {
            size += bytes_size(member_size(&message->install.members.rows[i]));
        }
        size += bytes_size(message->install.data.count);
    }
    return size;
}

static uint8_t *entry_put(uint8_t *at, const struct consensus_entry *entry)
{
    at = wire_put_varint(wire_put_tag(at, APPEND_ENTRY, WIRE_BYTES), entry_size(entry));
    at = number_put(at, ENTRY_TERM, entry->term);
    at = number_put(at, ENTRY_TYPE, entry->type);
    return bytes_put(at, ENTRY_DATA, entry->bytes);
}

static uint8_t *member_put(uint8_t *at, const struct consensus_member *member)
{
    at = wire_put_varint(wire_put_tag(at, INSTALL_MEMBER, WIRE_BYTES), member_size(member));
    at = wire_put_fixed64(wire_put_tag(at, MEMBER_ID, WIRE_FIXED64), member->id);
    return number_put(at, MEMBER_ROLE, member->role);
}

enum err consensus_msg_encode(const struct consensus_message *message, struct buf *out)
{
    uint64_t numbers[NUMBERS_MAX] = {0};

    ASSERT(message->kind >= CONSENSUS_APPEND && message->kind < CONSENSUS_MESSAGE_END);
    numbers_get(message, numbers);
    size_t size = body_size(message, numbers);
    size_t total = number_size(message->term) + bytes_size(size);
    TRY(buf_reserve(out, total));
    uint8_t *begin = buf_tail(out), *at = begin;
    at = number_put(at, TERM, message->term);
    at = wire_put_varint(wire_put_tag(at, (uint32_t)message->kind + 1, WIRE_BYTES), size);
    for (uint32_t i = 0; i < number_counts[message->kind]; i++) {
        at = number_put(at, i + 1, numbers[i]);
    }
    if (message->kind == CONSENSUS_APPEND) {
        for (uint32_t i = 0; i < message->append.count; i++) {
            at = entry_put(at, &message->append.entries[i]);
        }
    }
    if (message->kind == CONSENSUS_INSTALL) {
        for (uint32_t i = 0; i < message->install.members.count; i++) {
            at = member_put(at, &message->install.members.rows[i]);
        }
        at = bytes_put(at, INSTALL_DATA, message->install.data);
    }
    ASSERT((size_t)(at - begin) == total);
    buf_commit(out, total);
    return OK;
}

/* ---- read ------------------------------------------------------------------------------------- */

static enum err entry_get(struct slice bytes, struct consensus_entry *out)
{
    struct wire_item item;

    *out = (struct consensus_entry){0};
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number == ENTRY_TERM && item.type == WIRE_VARINT) {
            out->term = item.value;
        } else if (item.number == ENTRY_TYPE && item.type == WIRE_VARINT) {
            out->type = item.value > UINT8_MAX ? UINT8_MAX : (uint8_t)item.value;
        } else if (item.number == ENTRY_DATA && item.type == WIRE_BYTES) {
            out->bytes = item.bytes;
        }
    }
    return OK;
}

static enum err member_get(struct slice bytes, struct consensus_member *out)
{
    struct wire_item item;

    *out = (struct consensus_member){0};
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number == MEMBER_ID && item.type == WIRE_FIXED64) {
            out->id = item.value;
        } else if (item.number == MEMBER_ROLE && item.type == WIRE_VARINT) {
            out->role = item.value < CONSENSUS_GONE ? (enum consensus_role)item.value
                                                    : CONSENSUS_GONE;
        }
    }
    return OK;
}

/* How many entries a body has, so that they can be put side by side. */
static enum err entries_count(struct slice body, uint32_t *out)
{
    struct wire_item item;

    *out = 0;
    while (body.count > 0) {
        TRY(wire_next(&body, &item));
        *out += item.number == APPEND_ENTRY && item.type == WIRE_BYTES;
        if (*out > CONSENSUS_ENTRIES_MAX) {
            return ERR_CORRUPT;
        }
    }
    return OK;
}

static enum err append_get(struct slice body, struct arena *arena, struct consensus_message *out)
{
    struct consensus_entry *entries;
    struct wire_item item;
    uint32_t count;

    TRY(entries_count(body, &count));
    if (count == 0) {
        return OK;
    }
    entries = arena_take(arena, count * sizeof entries[0]);
    if (entries == NULL) {
        return ERR_NOMEM;
    }
    out->append.entries = entries;
    while (body.count > 0) {
        TRY(wire_next(&body, &item));
        if (item.number == APPEND_ENTRY && item.type == WIRE_BYTES) {
            TRY(entry_get(item.bytes, &entries[out->append.count++]));
        }
    }
    return OK;
}

static enum err install_get(struct slice body, struct consensus_message *out)
{
    struct consensus_members *members = &out->install.members;
    struct wire_item item;

    while (body.count > 0) {
        TRY(wire_next(&body, &item));
        if (item.number == INSTALL_DATA && item.type == WIRE_BYTES) {
            out->install.data = item.bytes;
        } else if (item.number == INSTALL_MEMBER && item.type == WIRE_BYTES) {
            if (members->count == CONSENSUS_MEMBERS_MAX) {
                return ERR_CORRUPT;
            }
            TRY(member_get(item.bytes, &members->rows[members->count++]));
        }
    }
    return OK;
}

static enum err body_get(struct slice body, struct arena *arena, struct consensus_message *out)
{
    uint64_t numbers[NUMBERS_MAX] = {0};
    struct slice rest = body;
    struct wire_item item;

    while (rest.count > 0) {
        TRY(wire_next(&rest, &item));
        if (item.type == WIRE_VARINT && item.number <= number_counts[out->kind]) {
            numbers[item.number - 1] = item.value;
        }
    }
    numbers_set(out, numbers);
    switch (out->kind) {
    case CONSENSUS_APPEND:
        return append_get(body, arena, out);
    case CONSENSUS_INSTALL:
        return install_get(body, out);
    default:
        return OK;
    }
}

enum err consensus_msg_decode(struct slice bytes, struct arena *arena,
                              struct consensus_message *out)
{
    struct consensus_message message = {0};
    struct slice body = {0};
    struct wire_item item;

    while (bytes.count > 0) {
        if (wire_next(&bytes, &item) != OK) {
            return ERR_MALFORMED;
        }
        if (item.number == TERM && item.type == WIRE_VARINT) {
            message.term = item.value;
        } else if (item.type == WIRE_BYTES && item.number > TERM &&
                   item.number <= CONSENSUS_MESSAGE_END) {
            message.kind = (enum consensus_message_kind)(item.number - 1);
            body = item.bytes;
        }
    }
    if (message.kind == 0) {
        return ERR_MALFORMED;
    }
    enum err err = body_get(body, arena, &message);
    if (err != OK) {
        return err == ERR_NOMEM ? ERR_NOMEM : ERR_MALFORMED;
    }
    *out = message;
    return OK;
}
