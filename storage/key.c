#include "storage/key.h"

#include "core/base/assert.h"

enum { PARTITION_MAX = UINT8_MAX, TEXT_BYTES_MAX = 2 * 65535 };
_Static_assert(KEY_BYTES_MAX == 1 + 1 + 8 + 1 + TEXT_BYTES_MAX, "the longest is a subscription's");

/* ---- made ----------------------------------------------------------------------------------- */

static void add_number(struct key *key, uint64_t number, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        key->bytes[key->count++] = (uint8_t)(number >> 8 * (count - 1 - i));
    }
}

static void add_text(struct key *key, struct slice text)
{
    ASSERT(text.count <= TEXT_BYTES_MAX);
    if (text.count > 0) {
        memcpy(key->bytes + key->count, text.data, text.count);
    }
    key->count += text.count;
}

/* Of the number of L, and of those of C, M, O. */
static uint32_t number_bytes(enum key_kind kind)
{
    return kind == KEY_RECEIVED ? 1 : 8;
}

void key_of_partition(struct key *key, uint32_t partition)
{
    ASSERT(partition <= PARTITION_MAX);
    key->count = 0;
    add_number(key, partition, 1);
}

void key_of_kind(struct key *key, uint32_t partition, enum key_kind kind)
{
    key_of_partition(key, partition);
    key->bytes[key->count++] = (uint8_t)kind;
}

void key_of_number(struct key *key, uint32_t partition, enum key_kind kind, uint64_t number)
{
    ASSERT(kind == KEY_SHARED_COUNT || kind == KEY_RECEIVED || kind == KEY_MESSAGE ||
           kind == KEY_OUTBOX);
    ASSERT(kind != KEY_RECEIVED || number <= PARTITION_MAX);
    key_of_kind(key, partition, kind);
    add_number(key, number, number_bytes(kind));
}

void key_of_taken(struct key *key, uint32_t partition, uint32_t source, uint64_t number,
                  uint64_t group)
{
    ASSERT(source <= PARTITION_MAX);
    key_of_kind(key, partition, KEY_TAKEN);
    add_number(key, source, 1);
    add_number(key, number, 8);
    add_number(key, group, 8);
}

void key_of_retained(struct key *key, uint32_t partition, struct slice topic)
{
    key_of_kind(key, partition, KEY_RETAINED);
    add_text(key, topic);
}

void key_of_session(struct key *key, uint32_t partition, uint64_t session)
{
    key_of_kind(key, partition, KEY_SESSION);
    add_number(key, session, 8);
}

void key_of_session_part(struct key *key, uint32_t partition, uint64_t session, enum key_part part)
{
    ASSERT(part != PART_SESSION);
    key_of_session(key, partition, session);
    key->bytes[key->count++] = (uint8_t)part;
}

void key_of_subscription(struct key *key, uint32_t partition, uint64_t session, struct slice text)
{
    key_of_session_part(key, partition, session, PART_SUBSCRIPTION);
    add_text(key, text);
}

void key_of_packet_id(struct key *key, uint32_t partition, uint64_t session, uint16_t packet_id)
{
    key_of_session_part(key, partition, session, PART_PACKET_ID);
    add_number(key, packet_id, 2);
}

void key_of_item(struct key *key, uint32_t partition, uint64_t session, uint64_t sequence)
{
    key_of_session_part(key, partition, session, PART_ITEM);
    add_number(key, sequence, 8);
}

void key_end(struct key *key)
{
    while (key->count > 0 && key->bytes[key->count - 1] == UINT8_MAX) {
        key->count--; /* nothing is greater in this place: the place before it decides */
    }
    if (key->count > 0) {
        key->bytes[key->count - 1]++;
    }
}

/* ---- read ----------------------------------------------------------------------------------- */

/* A number that is the rest; false: the rest is longer or shorter. */
static bool read_rest(struct slice rest, uint32_t count, uint64_t *out)
{
    *out = 0;
    if (rest.count != count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        *out = *out << 8 | rest.data[i];
    }
    return true;
}

static bool read_text(struct slice rest, struct slice *out)
{
    *out = rest;
    return rest.count <= TEXT_BYTES_MAX;
}

static bool read_session(struct slice rest, struct key_parts *parts)
{
    if (rest.count < 8 || !read_rest(slice_head(rest, 8), 8, &parts->number)) {
        return false;
    }
    rest = slice_skip(rest, 8);
    if (rest.count == 0) {
        return true;
    }
    parts->part = (enum key_part)rest.data[0];
    rest = slice_skip(rest, 1);
    switch (parts->part) {
    case PART_AWAY:
    case PART_WILL:
        return rest.count == 0;
    case PART_SUBSCRIPTION:
        return read_text(rest, &parts->text);
    case PART_PACKET_ID:
        return read_rest(rest, 2, &parts->second);
    case PART_ITEM:
        return read_rest(rest, 8, &parts->second);
    case PART_SESSION:
        break;
    }
    return false;
}

static bool read_taken(struct slice rest, struct key_parts *parts)
{
    if (rest.count != 1 + 8 + 8) {
        return false;
    }
    parts->source = rest.data[0];
    rest = slice_skip(rest, 1);
    return read_rest(slice_head(rest, 8), 8, &parts->number) &&
           read_rest(slice_skip(rest, 8), 8, &parts->second);
}

static bool read_kind(struct slice rest, struct key_parts *parts)
{
    switch (parts->kind) {
    case KEY_APPLIED:
        return rest.count == 0;
    case KEY_SHARED_COUNT:
    case KEY_RECEIVED:
    case KEY_MESSAGE:
    case KEY_OUTBOX:
        return read_rest(rest, number_bytes(parts->kind), &parts->number);
    case KEY_RETAINED:
        return read_text(rest, &parts->text);
    case KEY_SESSION:
        return read_session(rest, parts);
    case KEY_TAKEN:
        return read_taken(rest, parts);
    }
    return false;
}

bool key_read(struct slice bytes, struct key_parts *out)
{
    if (bytes.count < 2) {
        return false;
    }
    struct key_parts parts = {.partition = bytes.data[0], .kind = (enum key_kind)bytes.data[1]};
    if (!read_kind(slice_skip(bytes, 2), &parts)) {
        return false;
    }
    *out = parts;
    return true;
}
