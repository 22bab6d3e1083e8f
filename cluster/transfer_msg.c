#include "cluster/transfer_msg.h"

#include "core/base/assert.h"
#include "storage/record_wire.h"
#include "storage/store.h"

#include <stddef.h>

/* As it is written: field i + 1 of the shape. */
struct flat {
    uint32_t kind, partition;
    uint64_t id, index, term, members_index;
    struct slice members;
    uint32_t number;
    bool is_last;
    struct slice data;
};

/* clang-format off */
#define FIELD(form, member, max) {form, offsetof(struct flat, member), 0, max, NULL}
static const struct field fields[] = {
    FIELD(FIELD_U32,     kind,          TRANSFER_KIND_END - 1),
    FIELD(FIELD_U32,     partition,     STORE_PARTITIONS - 1),
    FIELD(FIELD_FIXED64, id,            UINT64_MAX),
    FIELD(FIELD_U64,     index,         UINT64_MAX),
    FIELD(FIELD_U64,     term,          UINT64_MAX),
    FIELD(FIELD_U64,     members_index, UINT64_MAX),
    FIELD(FIELD_BYTES,   members,       CONSENSUS_MEMBERS_BYTES_MAX),
    FIELD(FIELD_U32,     number,        UINT32_MAX),
    FIELD(FIELD_U8,      is_last,       1),
    FIELD(FIELD_BYTES,   data,          IMAGE_CHUNK_BYTES_MAX),
};
static const struct shape shape = {fields, sizeof(fields) / sizeof(fields[0])};
/* clang-format on */

enum err transfer_msg_encode(const struct transfer_msg *msg, struct buf *out)
{
    uint8_t members[CONSENSUS_MEMBERS_BYTES_MAX];
    struct flat flat = {.kind = msg->kind,
                        .partition = msg->head.partition,
                        .id = msg->head.id,
                        .index = msg->head.index,
                        .term = msg->head.term,
                        .number = msg->number,
                        .is_last = msg->is_last,
                        .data = msg->data};
    ASSERT(msg->kind >= TRANSFER_OPEN && msg->kind < TRANSFER_KIND_END);
    if (msg->kind == TRANSFER_HEAD) {
        flat.members_index = msg->members.index;
        flat.members = slice_of(members, members_write(&msg->members, members));
    }
    size_t size = wire_size(&shape, &flat);
    TRY(buf_reserve(out, size));
    uint8_t *end = wire_put(&shape, &flat, buf_tail(out));
    ASSERT((size_t)(end - buf_tail(out)) == size);
    buf_commit(out, size);
    return OK;
}

/* Of a head: what it says can be. */
static bool is_head(const struct transfer_msg *msg)
{
    return msg->head.id != 0 && msg->head.index > 0 && msg->head.term > 0 &&
           msg->members.index > 0 && msg->members.index <= msg->head.index &&
           members_check(&msg->members) == OK;
}

enum err transfer_msg_decode(struct slice bytes, struct transfer_msg *out)
{
    struct flat flat = {0};
    if (bytes.count > TRANSFER_MSG_BYTES_MAX ||
        wire_read(&shape, bytes, false, NULL, &flat) != OK || flat.kind == 0) {
        return ERR_MALFORMED;
    }
    struct transfer_msg msg = {.kind = (enum transfer_kind)flat.kind,
                               .head = {flat.id, flat.partition, flat.index, flat.term},
                               .members = {.index = flat.members_index},
                               .number = flat.number,
                               .is_last = flat.is_last,
                               .data = flat.data};
    if (msg.kind == TRANSFER_HEAD &&
        (members_read(flat.members, &msg.members) != OK || !is_head(&msg))) {
        return ERR_MALFORMED;
    }
    *out = msg;
    return OK;
}
