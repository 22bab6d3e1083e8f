#include "cluster/registry_msg.h"

#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/record_wire.h"

#include <stdlib.h>
#include <string.h>

/*
 * A shape lists the fields of a message: row i is field number i + 1. Members lie in the struct
 * itself, bounded, so that nothing is allocated to read one. What is zero is absent.
 */
enum form {
    NUMBER,       /* of size bytes: 1, 2, 4 or 8; max */
    HASH,         /* uint64_t, always eight bytes */
    TEXT,         /* char[size]: shorter than that, without NUL */
    BYTES,        /* uint8_t[size]: all of them, absent when all are zero */
    NUMBER_LIST,  /* uint64_t[size / 8]; a uint32_t beside it says how many */
    MESSAGE,      /* a struct */
    MESSAGE_LIST, /* size / shape->size structs; a uint32_t beside it says how many */
};

struct part {
    enum form form;
    uint32_t size, offset, beside;
    uint64_t max;
    const struct shape_of *shape;
};

struct shape_of {
    size_t size; /* of the struct */
    uint32_t count;
    const struct part *parts;
};

/* clang-format off */
#define SIZE(row, member) sizeof(((struct row *)0)->member)
#define AT(row, member)   (uint32_t)SIZE(row, member), offsetof(struct row, member)
#define IN_NUMBER(row, member)         {NUMBER, AT(row, member), 0, UINT64_MAX >> (64 - 8 * SIZE(row, member)), NULL}
#define IN_UP_TO(row, member, most)    {NUMBER, AT(row, member), 0, most, NULL}
#define IN_HASH(row, member)           {HASH, AT(row, member), 0, 0, NULL}
#define IN_TEXT(row, member)           {TEXT, AT(row, member), 0, 0, NULL}
#define IN_BYTES(row, member)          {BYTES, AT(row, member), 0, 0, NULL}
#define IN_NUMBERS(row, member, many)  {NUMBER_LIST, AT(row, member), offsetof(struct row, many), 0, NULL}
#define IN_ONE(row, member, of)        {MESSAGE, AT(row, member), 0, 0, &shape_##of}
#define IN_LIST(row, member, many, of) {MESSAGE_LIST, AT(row, member), offsetof(struct row, many), 0, &shape_##of}
#define SHAPE_OF(row) \
    static const struct shape_of shape_##row = {sizeof(struct registry_##row), sizeof parts_##row / sizeof(struct part), parts_##row}

static const struct part parts_place[] = {
    IN_TEXT(registry_place, scheme),
    IN_TEXT(registry_place, host),
    IN_NUMBER(registry_place, port),
};
SHAPE_OF(place);

static const struct part parts_profile[] = {
    IN_TEXT(registry_profile, name),
    IN_TEXT(registry_profile, zone),
    IN_NUMBER(registry_profile, weight),
    IN_NUMBER(registry_profile, level_min),
    IN_NUMBER(registry_profile, level_max),
    IN_BYTES(registry_profile, fingerprint),
    IN_LIST(registry_profile, links, link_count, place),
    IN_LIST(registry_profile, clients, client_count, place),
};
SHAPE_OF(profile);

static const struct part parts_member[] = {
    IN_NUMBER(registry_member, number),
    IN_NUMBER(registry_member, incarnation),
    IN_NUMBER(registry_member, since_ms),
    IN_UP_TO(registry_member, state, MEMBER_STATE_COUNT - 1),
    IN_UP_TO(registry_member, is_draining, 1),
    IN_UP_TO(registry_member, was_live, 1),
    IN_ONE(registry_member, profile, profile),
};
SHAPE_OF(member);

static const struct part parts_partition[] = {
    IN_NUMBER(registry_partition, version),
    IN_NUMBERS(registry_partition, replicas, replica_count),
    IN_NUMBER(registry_partition, preferred),
};
SHAPE_OF(partition);

static const struct part parts_setting[] = {
    IN_TEXT(registry_setting, key),
    IN_TEXT(registry_setting, value),
};
SHAPE_OF(setting);

static const struct part parts_token[] = {
    IN_BYTES(registry_token, hash),
    IN_NUMBER(registry_token, expires_ms),
    IN_NUMBER(registry_token, uses_left),
};
SHAPE_OF(token);

static const struct part parts_service[] = {
    IN_TEXT(registry_service, alias),
    IN_TEXT(registry_service, id),
    IN_ONE(registry_service, place, place),
    IN_TEXT(registry_service, zone),
    IN_NUMBER(registry_service, weight),
    IN_UP_TO(registry_service, health, SERVICE_HEALTH_COUNT - 1),
    IN_NUMBER(registry_service, load),
    IN_NUMBER(registry_service, ttl_ms),
    IN_NUMBER(registry_service, until_ms),
    IN_NUMBER(registry_service, epoch),
};
SHAPE_OF(service);

static const struct part parts_found[] = {
    IN_BYTES(registry_found, cluster_id),
    IN_TEXT(registry_found, cluster_name),
    IN_ONE(registry_found, profile, profile),
};
SHAPE_OF(found);

static const struct part parts_join[] = {
    IN_BYTES(registry_join, token),
    IN_ONE(registry_join, profile, profile),
};
SHAPE_OF(join);

static const struct part parts_start[] = {
    IN_NUMBER(registry_start, number),
    IN_ONE(registry_start, profile, profile),
};
SHAPE_OF(start);

static const struct part parts_incarnation[] = {
    IN_NUMBER(registry_incarnation, number),
    IN_NUMBER(registry_incarnation, incarnation),
};
SHAPE_OF(incarnation);

static const struct part parts_node[] = {IN_NUMBER(registry_node, number)};
SHAPE_OF(node);

static const struct part parts_assignment[] = {
    IN_NUMBER(registry_assignment, partition),
    IN_NUMBERS(registry_assignment, replicas, replica_count),
    IN_NUMBER(registry_assignment, preferred),
};
SHAPE_OF(assignment);

static const struct part parts_assign[] = {
    IN_NUMBER(registry_assign, version),
    IN_LIST(registry_assign, rows, count, assignment),
};
SHAPE_OF(assign);

static const struct part parts_level[] = {IN_NUMBER(registry_level, level)};
SHAPE_OF(level);

static const struct part parts_renew[] = {
    IN_TEXT(registry_renew, alias),
    IN_TEXT(registry_renew, id),
    IN_NUMBER(registry_renew, epoch),
    IN_UP_TO(registry_renew, health, SERVICE_HEALTH_COUNT - 1),
    IN_NUMBER(registry_renew, load),
};
SHAPE_OF(renew);

static const struct part parts_expire[] = {IN_NUMBER(registry_expire, count_max)};
SHAPE_OF(expire);

/* The snapshot without its services, which are no array. */
enum { CLUSTER_PARTS = 7, CONTENT_PARTS = 11, SNAPSHOT_SERVICE = 14 };
static const struct part parts_state[] = {
    IN_BYTES(registry_state, cluster_id),
    IN_TEXT(registry_state, cluster_name),
    IN_NUMBER(registry_state, wall_ms),
    IN_NUMBER(registry_state, level),
    IN_NUMBER(registry_state, node_next),
    IN_NUMBER(registry_state, map_version),
    IN_NUMBER(registry_state, epoch_next),
    IN_LIST(registry_state, partitions, partition_count, partition),
    IN_LIST(registry_state, members, member_count, member),
    IN_LIST(registry_state, settings, setting_count, setting),
    IN_LIST(registry_state, tokens, token_count, token),
    IN_NUMBER(registry_state, index),
    IN_HASH(registry_state, hash),
};
SHAPE_OF(state);
_Static_assert(sizeof parts_state / sizeof parts_state[0] == SNAPSHOT_SERVICE - 1, "field numbers");
static const struct shape_of shape_cluster = {sizeof(struct registry_state), CLUSTER_PARTS, parts_state};
static const struct shape_of shape_content = {sizeof(struct registry_state), CONTENT_PARTS, parts_state};

enum { COMMAND_WALL_MS = 1 };
#define COMMAND_SHAPE(name, code, body, what) [code] = &shape_##body,
static const struct shape_of *const command_shapes[REGISTRY_COMMAND_END] = {REGISTRY_COMMAND_TABLE(COMMAND_SHAPE)};
/* clang-format on */

/* ---- written ---------------------------------------------------------------------------------- */

static uint64_t number_of(const struct part *part, const void *member)
{
    switch (part->size) {
    case 1:
        return *(const uint8_t *)member;
    case 2:
        return *(const uint16_t *)member;
    case 4:
        return *(const uint32_t *)member;
    default:
        return *(const uint64_t *)member;
    }
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static size_t shape_size(const struct shape_of *shape, const void *row);

static size_t tag_size(uint32_t number)
{
    return wire_varint_size((uint64_t)number << 3);
}

static size_t framed_size(uint32_t number, size_t size)
{
    return tag_size(number) + wire_varint_size(size) + size;
}

static size_t list_size(const uint64_t *numbers, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += wire_varint_size(numbers[i]);
    }
    return size;
}

static uint32_t count_of(const struct part *part, const void *row)
{
    uint32_t count = *(const uint32_t *)(const void *)((const uint8_t *)row + part->beside);
    size_t each = part->form == NUMBER_LIST ? sizeof(uint64_t) : part->shape->size;
    ASSERT(count <= part->size / each);
    return count;
}

/* Bytes of one field; of a TEXT, BYTES, MESSAGE or list that is empty: 0. */
static size_t part_size(const struct part *part, uint32_t number, const void *row)
{
    const uint8_t *member = (const uint8_t *)row + part->offset;
    size_t size = 0;
    switch (part->form) {
    case NUMBER:
        size = number_of(part, member) == 0 ? 0 : wire_varint_size(number_of(part, member));
        return size == 0 ? 0 : tag_size(number) + size;
    case HASH:
        return tag_size(number) + sizeof(uint64_t);
    case TEXT:
        size = strnlen((const char *)member, part->size);
        ASSERT(size < part->size);
        break;
    case BYTES:
        size = is_zero(member, part->size) ? 0 : part->size;
        break;
    case NUMBER_LIST:
        size = list_size((const uint64_t *)(const void *)member, count_of(part, row));
        break;
    case MESSAGE:
        return framed_size(number, shape_size(part->shape, member));
    case MESSAGE_LIST:
        for (uint32_t i = 0; i < count_of(part, row); i++) {
            size += framed_size(number, shape_size(part->shape, member + i * part->shape->size));
        }
        return size;
    }
    return size == 0 ? 0 : framed_size(number, size);
}

static size_t shape_size(const struct shape_of *shape, const void *row)
{
    size_t size = 0;
    for (uint32_t i = 0; i < shape->count; i++) {
        size += part_size(&shape->parts[i], i + 1, row);
    }
    return size;
}

static uint8_t *shape_put(const struct shape_of *shape, const void *row, uint8_t *at);

static uint8_t *bytes_put(uint32_t number, const void *bytes, size_t count, uint8_t *at)
{
    at = wire_put_varint(wire_put_tag(at, number, WIRE_BYTES), count);
    memcpy(at, bytes, count);
    return at + count;
}

static uint8_t *message_put(const struct shape_of *shape, uint32_t number, const void *row,
                            uint8_t *at)
{
    at = wire_put_varint(wire_put_tag(at, number, WIRE_BYTES), shape_size(shape, row));
    return shape_put(shape, row, at);
}

static uint8_t *numbers_put(uint32_t number, const uint64_t *numbers, uint32_t count, uint8_t *at)
{
    at = wire_put_varint(wire_put_tag(at, number, WIRE_BYTES), list_size(numbers, count));
    for (uint32_t i = 0; i < count; i++) {
        at = wire_put_varint(at, numbers[i]);
    }
    return at;
}

static uint8_t *part_put(const struct part *part, uint32_t number, const void *row, uint8_t *at)
{
    const uint8_t *member = (const uint8_t *)row + part->offset;
    if (part_size(part, number, row) == 0) {
        return at;
    }
    switch (part->form) {
    case NUMBER:
        return wire_put_varint(wire_put_tag(at, number, WIRE_VARINT), number_of(part, member));
    case HASH:
        return wire_put_fixed64(wire_put_tag(at, number, WIRE_FIXED64), number_of(part, member));
    case TEXT:
        return bytes_put(number, member, strlen((const char *)member), at);
    case BYTES:
        return bytes_put(number, member, part->size, at);
    case NUMBER_LIST:
        return numbers_put(number, (const uint64_t *)(const void *)member, count_of(part, row), at);
    case MESSAGE:
        return message_put(part->shape, number, member, at);
    case MESSAGE_LIST:
        for (uint32_t i = 0; i < count_of(part, row); i++) {
            at = message_put(part->shape, number, member + i * part->shape->size, at);
        }
        return at;
    }
    return at;
}

static uint8_t *shape_put(const struct shape_of *shape, const void *row, uint8_t *at)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        at = part_put(&shape->parts[i], i + 1, row, at);
    }
    return at;
}

/* ---- read: out is zeroed ---------------------------------------------------------------------- */

static enum err shape_read(const struct shape_of *shape, struct slice bytes, void *out);

static enum err number_read(const struct part *part, const struct wire_item *item, void *member)
{
    if (item->value > part->max) {
        return ERR_CORRUPT;
    }
    switch (part->size) {
    case 1:
        *(uint8_t *)member = (uint8_t)item->value;
        return OK;
    case 2:
        *(uint16_t *)member = (uint16_t)item->value;
        return OK;
    case 4:
        *(uint32_t *)member = (uint32_t)item->value;
        return OK;
    default:
        *(uint64_t *)member = item->value;
        return OK;
    }
}

static enum err text_read(const struct part *part, struct slice text, char *member)
{
    if (text.count >= part->size || slice_find(text, 0) < text.count) {
        return ERR_CORRUPT;
    }
    memset(member, 0, part->size); /* said twice, the last one counts */
    if (text.count > 0) {
        memcpy(member, text.data, text.count);
    }
    return OK;
}

/* Packed, as proto3 writes it: varints one behind the other. */
static enum err numbers_read(const struct part *part, struct slice packed, uint64_t *numbers,
                             uint32_t *count)
{
    *count = 0;
    memset(numbers, 0, part->size);
    while (packed.count > 0) {
        uint64_t value = 0;
        uint32_t at = 0;
        do {
            if (at == packed.count || at == 10 || (at == 9 && packed.data[at] > 1)) {
                return ERR_CORRUPT;
            }
            value |= (uint64_t)(packed.data[at] & 0x7F) << 7 * at;
        } while (packed.data[at++] >= 0x80);
        if (*count == part->size / sizeof(uint64_t)) {
            return ERR_CORRUPT;
        }
        numbers[(*count)++] = value;
        packed = slice_skip(packed, at);
    }
    return OK;
}

static enum err part_read(const struct part *part, const struct wire_item *item, void *row)
{
    static const enum wire_type types[] = {
        [NUMBER] = WIRE_VARINT,     [HASH] = WIRE_FIXED64,      [TEXT] = WIRE_BYTES,
        [BYTES] = WIRE_BYTES,       [NUMBER_LIST] = WIRE_BYTES, [MESSAGE] = WIRE_BYTES,
        [MESSAGE_LIST] = WIRE_BYTES};
    uint8_t *member = (uint8_t *)row + part->offset;
    uint32_t *count = (uint32_t *)(void *)((uint8_t *)row + part->beside);
    if (item->type != types[part->form]) {
        return ERR_CORRUPT;
    }
    switch (part->form) {
    case NUMBER:
        return number_read(part, item, member);
    case HASH:
        *(uint64_t *)(void *)member = item->value;
        return OK;
    case TEXT:
        return text_read(part, item->bytes, (char *)member);
    case BYTES:
        if (item->bytes.count != part->size) {
            return ERR_CORRUPT;
        }
        memcpy(member, item->bytes.data, part->size);
        return OK;
    case NUMBER_LIST:
        return numbers_read(part, item->bytes, (uint64_t *)(void *)member, count);
    case MESSAGE:
        return shape_read(part->shape, item->bytes, member);
    case MESSAGE_LIST:
        if (*count == part->size / part->shape->size) {
            return ERR_CORRUPT;
        }
        return shape_read(part->shape, item->bytes, member + (*count)++ * part->shape->size);
    }
    return ERR_CORRUPT;
}

static enum err shape_read(const struct shape_of *shape, struct slice bytes, void *out)
{
    struct wire_item item;
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number > shape->count) {
            return ERR_UNSUPPORTED;
        }
        TRY(part_read(&shape->parts[item.number - 1], &item, out));
    }
    return OK;
}

/* ---- commands --------------------------------------------------------------------------------- */

enum err registry_command_encode(const struct registry_command *command, struct buf *out)
{
    ASSERT(command->kind > 0 && command->kind < REGISTRY_COMMAND_END);
    const struct shape_of *shape = command_shapes[command->kind];
    uint32_t number = (uint32_t)command->kind + 1;
    size_t stamp = command->wall_ms == 0 ? 0 : 1 + wire_varint_size(command->wall_ms);
    size_t size = stamp + framed_size(number, shape_size(shape, &command->found));
    TRY(buf_reserve(out, size));
    uint8_t *begin = buf_tail(out), *at = begin;
    if (stamp > 0) {
        at = wire_put_varint(wire_put_tag(at, COMMAND_WALL_MS, WIRE_VARINT), command->wall_ms);
    }
    at = message_put(shape, number, &command->found, at); /* bodies lie in one place */
    ASSERT((size_t)(at - begin) == size);
    buf_commit(out, size);
    return OK;
}

enum err registry_command_decode(struct slice bytes, struct registry_command *out)
{
    struct registry_command command = {0};
    struct wire_item item;
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number > REGISTRY_COMMAND_END) {
            return ERR_UNSUPPORTED;
        }
        if (item.number == COMMAND_WALL_MS) {
            if (item.type != WIRE_VARINT) {
                return ERR_CORRUPT;
            }
            command.wall_ms = item.value;
            continue;
        }
        if (item.type != WIRE_BYTES || command.kind != 0) {
            return ERR_CORRUPT;
        }
        command.kind = (enum registry_command_kind)(item.number - 1);
        TRY(shape_read(command_shapes[command.kind], item.bytes, &command.found));
    }
    if (command.kind == 0) {
        return ERR_CORRUPT;
    }
    *out = command;
    return OK;
}

size_t registry_row_write(enum registry_row kind, const void *row,
                          uint8_t bytes[REGISTRY_ROW_BYTES_MAX])
{
    static const struct shape_of *const shapes[] = {
        [REGISTRY_ROW_CLUSTER] = &shape_cluster, [REGISTRY_ROW_PARTITION] = &shape_partition,
        [REGISTRY_ROW_MEMBER] = &shape_member,   [REGISTRY_ROW_SETTING] = &shape_setting,
        [REGISTRY_ROW_TOKEN] = &shape_token,     [REGISTRY_ROW_SERVICE] = &shape_service};
    ASSERT(shape_size(shapes[kind], row) <= REGISTRY_ROW_BYTES_MAX);
    return (size_t)(shape_put(shapes[kind], row, bytes) - bytes);
}

/* ---- snapshots -------------------------------------------------------------------------------- */

static enum err state_encode(const struct shape_of *shape, const struct registry_state *state,
                             struct buf *out)
{
    size_t size = shape_size(shape, state);
    for (uint32_t i = 0; i < state->service_count; i++) {
        size += framed_size(SNAPSHOT_SERVICE, shape_size(&shape_service, state->services[i]));
    }
    TRY(buf_reserve(out, size));
    uint8_t *begin = buf_tail(out), *at = shape_put(shape, state, begin);
    for (uint32_t i = 0; i < state->service_count; i++) {
        at = message_put(&shape_service, SNAPSHOT_SERVICE, state->services[i], at);
    }
    ASSERT((size_t)(at - begin) == size);
    buf_commit(out, size);
    return OK;
}

enum err registry_snapshot_encode(const struct registry_state *state, struct buf *out)
{
    return state_encode(&shape_state, state, out);
}

static enum err state_decode(struct slice bytes, struct registry_state *state)
{
    struct wire_item item;
    while (bytes.count > 0) {
        TRY(wire_next(&bytes, &item));
        if (item.number < SNAPSHOT_SERVICE) {
            TRY(part_read(&parts_state[item.number - 1], &item, state));
            continue;
        }
        if (item.number > SNAPSHOT_SERVICE) {
            return ERR_UNSUPPORTED;
        }
        struct registry_service service = {0};
        if (item.type != WIRE_BYTES) {
            return ERR_CORRUPT;
        }
        TRY(shape_read(&shape_service, item.bytes, &service));
        TRY(registry_service_load(state, &service));
    }
    return registry_check(state);
}

enum err registry_snapshot_decode(struct slice bytes, struct registry_state **out)
{
    struct registry_state *state = registry_new();
    if (state == NULL) {
        return ERR_NOMEM;
    }
    enum err err = state_decode(bytes, state);
    if (err != OK) {
        registry_free(state);
        return err;
    }
    *out = state;
    return OK;
}

enum err registry_digest(const struct registry_state *state, uint64_t *out)
{
    struct buf bytes = {0};
    enum err err = state_encode(&shape_content, state, &bytes);
    if (err == OK) {
        *out = hash_bytes(buf_bytes(&bytes));
    }
    buf_deinit(&bytes);
    return err;
}
