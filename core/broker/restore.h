/*
 * restore: what the disk holds of partitions -> the view of their shard in memory.
 *
 * Floor:  broker; called by whoever made the journal (cluster/): between shard_open() and the first turn,
 *         and while the shard runs, when it has come to lead a partition.
 * Thread: the shard's.
 * Memory: slices are copied.
 *
 * Partition by partition, in this order: received, outbox, retained; then each session followed by
 * what it has, its messages in order of sequence; taken; restore_end() once. Turns may pass between the
 * calls: nothing is logged for these partitions meanwhile, nobody is let in, no message is taken. What
 * runs out with time has gone on running. A session that was connected to the last is away from now on.
 */
#ifndef TERN_BROKER_RESTORE_H
#define TERN_BROKER_RESTORE_H

#include "core/base/err.h"
#include "core/session/journal.h"

#include <stdbool.h>
#include <stdint.h>

struct restore;
struct shard;

struct restored_session {
    uint64_t key;
    struct op_open open;
    bool
        is_closed; /* its connection was gone, since closed_wall_ms; else it was open to the last */
    uint64_t closed_wall_ms, sent_sequence;
};

/*
 * partitions: a bit each, of the shard's own that are absent (partition.h). will_grace_ms: the will of a
 * session that was connected to the last is not due before: it was the node that went, and not the client,
 * who may be back by then and take it with him. 0: as if the client had gone. NULL: memory is exhausted.
 */
struct restore *restore_begin(struct shard *shard, uint64_t partitions, uint32_t will_grace_ms);

/* ERR_NOMEM; ERR_CORRUPT: what cannot be, two sessions of one client for instance. */
enum err restore_received(struct restore *restore, uint32_t partition, uint32_t source,
                          uint64_t number);
enum err restore_outbox_next(struct restore *restore, uint32_t partition, uint64_t number);
enum err restore_outbox(struct restore *restore, uint32_t partition, uint64_t number,
                        const struct msg_spec *message, struct slice group);
enum err restore_retained(struct restore *restore, const struct msg_spec *message);
enum err restore_session(struct restore *restore, const struct restored_session *session);
enum err restore_subscription(struct restore *restore, const struct op_subscribe *subscription);
enum err restore_packet_id(struct restore *restore, uint16_t packet_id);
enum err restore_item(struct restore *restore, const struct stored_item *item);
enum err restore_taken(struct restore *restore, uint32_t partition, uint32_t source,
                       uint64_t number, uint64_t group);

/*
 * Completes the last session and frees. err: how it went so far, which is returned unless OK. OK: the
 * shard leads them as soon as share groups know their members. Else partition_end() is to follow, for
 * what was told so far.
 */
enum err restore_end(struct restore *restore, enum err err);

#endif
