/*
 * record: ops, messages and what is kept of a session <-> bytes (proto/store.proto).
 *
 * Floor:  storage. The bytes are protobuf's, written and read by tables (record_wire.h).
 * Thread: the owner's.
 *
 * An entry of the raft log is one struct entry_writer's bytes: the time, the messages of the entry
 * (each once), and the ops. Fields are added, never changed; an op or an enum value that is not known
 * is ERR_UNSUPPORTED: a replica stops there, it never skips (cluster.md 5.12).
 */
#ifndef TERN_STORAGE_RECORD_H
#define TERN_STORAGE_RECORD_H

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/session/op.h"

/* ---- an entry, written ---------------------------------------------------------------------- */

struct entry_writer {
    struct buf bytes;
    struct msg *msg_last; /* a reference, so that no other message can come to lie there */
    uint32_t message_count, op_count;
};

/* Zero-initialised is empty; entry_writer_deinit gives everything back, and leaves it empty. */
void entry_writer_deinit(struct entry_writer *writer);

/*
 * Append an op. Of OP_ENQUEUE the message is written when it is another one than that of the
 * OP_ENQUEUE before it; *message_out is its number in the entry, from 0. ERR_NOMEM: nothing changed.
 */
enum err entry_put(struct entry_writer *writer, const struct op *op, uint32_t *message_out);

/*
 * Complete it: the leader's clock, and the number of its first message in the partition. The bytes may
 * then be taken out of the writer. ERR_NOMEM: nothing changed.
 */
enum err entry_close(struct entry_writer *writer, uint64_t wall_ms, uint64_t message_first);

/* ---- an entry, read ------------------------------------------------------------------------- */

/* A message as slices into the bytes it was read from. */
struct entry {
    uint64_t wall_ms;
    uint64_t message_first;
    const struct msg_spec *messages;
    uint32_t message_count;
    const struct entry_op *ops;
    uint32_t op_count;
};

/* As struct op, but for what points to a struct msg. */
struct entry_op {
    enum op_kind kind;
    uint64_t session;
    union {
        struct op_open open;
        struct op_close close;
        bool has_more;
        struct op_subscribe subscribe; /* prefix is empty: it stands in filter */
        struct slice unsubscribe;
        struct {
            uint32_t message; /* index into messages */
            uint64_t sequence;
            const uint32_t *ids;
            uint32_t id_count;
            uint8_t qos;
            bool retain;
            struct slice share_text;
        } enqueue;
        struct op_settle settle;
        uint16_t packet_id;
        struct msg_spec retain;
        struct {
            uint64_t number;
            struct msg_spec message;
            struct slice group;
        } send;
        uint64_t sent;
        struct op_received received;
    };
};

/*
 * Slices point into bytes, arrays into the arena. ERR_CORRUPT: not an entry; ERR_UNSUPPORTED: an op, or
 * a field of one, of a newer version; ERR_NOMEM: or the arena's bound.
 */
enum err entry_read(struct slice bytes, struct arena *arena, struct entry *out);

/* ---- what is kept --------------------------------------------------------------------------- */

struct session_record {
    uint64_t key;
    struct op_open open;
    bool is_closed; /* its connection is gone, since closed_wall_ms; else it was open to the last */
    uint64_t closed_wall_ms;
    uint64_t opened_wall_ms;
    uint64_t sent_sequence; /* see op_close; only when is_closed */
};

struct item_record {  /* a message owed to a session; its sequence is in the key */
    uint64_t message; /* its number in the partition */
    bool is_shared;   /* the message stands apart, under its number; else it is in here */
    struct msg_spec spec;
    const uint32_t *ids;
    uint32_t id_count;
    uint8_t qos;
    bool retain;
    bool awaits_pubcomp; /* then there is no message any more */
    struct slice share_text;
};

struct outgoing_record { /* of an outbox; its number is in the key */
    struct msg_spec message;
    struct slice group; /* see op.h */
};

/*
 * Append to out. ERR_NOMEM: nothing changed. Of a session all but its key, which is part of the key it
 * is kept under; of a subscription prefix and filter as one, which comes back as filter.
 */
enum err record_put_session(struct buf *out, const struct session_record *record);
enum err record_put_will(struct buf *out, const struct op_will *record);
enum err record_put_subscription(struct buf *out, const struct op_subscribe *record);
enum err record_put_item(struct buf *out, const struct item_record *record);
enum err record_put_message(struct buf *out, const struct msg_spec *record);
enum err record_put_outgoing(struct buf *out, const struct outgoing_record *record);

/*
 * Slices point into bytes, arrays into the arena. What a newer version added is skipped. ERR_CORRUPT,
 * ERR_NOMEM: *out is unchanged.
 */
enum err record_get_session(struct slice bytes, struct arena *arena, struct session_record *out);
enum err record_get_will(struct slice bytes, struct arena *arena, struct op_will *out);
enum err record_get_subscription(struct slice bytes, struct arena *arena, struct op_subscribe *out);
enum err record_get_item(struct slice bytes, struct arena *arena, struct item_record *out);
enum err record_get_message(struct slice bytes, struct arena *arena, struct msg_spec *out);
enum err record_get_outgoing(struct slice bytes, struct arena *arena, struct outgoing_record *out);

/* XXH3 of the bytes, for records that carry one in front: 8 bytes, little endian. */
enum { RECORD_SUM_BYTES = 8 };
/* The bytes from begin on get their sum in front. ERR_NOMEM: nothing changed. */
enum err record_seal(struct buf *buf, size_t begin);
/* The bytes behind a sum that fits; ERR_CORRUPT. */
enum err record_unseal(struct slice bytes, struct slice *out);

/* The spec of a message, borrowed from it. */
struct msg_spec record_spec_of(const struct msg *msg);

#endif
