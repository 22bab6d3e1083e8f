/*
 * outbox: a message that was accepted for good before it reached those who want it: QoS 2 of a
 * publisher whose session outlives its connection, and every will of such a session.
 *
 *     outbox_send: OP_SEND beside OP_SEEN (or OP_WILL), in one entry      ──> PUBREC
 *         └── committed ──> routed ──> every target has it, committed
 *                                          └──> OP_SENT: it leaves the outbox
 *
 * After a crash what is still in the outbox is routed once more, in its order. Messages have numbers
 * that grow with each outbox, and every partition that takes one notes its number (OP_RECEIVED), so
 * that nothing comes twice: QoS 2 is exactly once from partition to partition (cluster.md 5.5).
 *
 * Floor:  broker.
 * Thread: the shard that owns the partition.
 */
#ifndef TERN_BROKER_OUTBOX_H
#define TERN_BROKER_OUTBOX_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>
#include <stdint.h>

struct outbox;
struct outbox_item;
struct session;
struct shard;

/* Where a message that is being routed came from. number 0: from no outbox. */
struct origin {
    uint32_t partition;
    bool is_again; /* it was there before a restart: who takes it at QoS 0 may have it */
    uint64_t number;
};

/* What travels of it in mail, in one number beside its own. */
static inline uint64_t origin_packed(const struct origin *origin)
{
    return origin->partition | (uint64_t)origin->is_again << 32;
}
static inline struct origin origin_of(uint64_t packed, uint64_t number)
{
    return (struct origin){(uint32_t)packed, packed >> 32 != 0, number};
}

/* Only where there is a journal. NULL: memory is exhausted. */
struct outbox *outbox_new(void);
void outbox_free(struct outbox *outbox); /* accepts NULL */

/*
 * The session publishes: logged now, routed when that is committed. One reference is taken. The
 * caller has asked journal_admit(). ERR_NOMEM: nothing was logged.
 */
enum err outbox_send(struct session *session, struct msg *msg);

/* Something of that partition's waits to be set or routed: what is retained must not overtake it. */
bool outbox_is_behind(const struct shard *shard, uint32_t partition);

/* Those who wanted it have it, or it was refused there (counted). */
void outbox_item_end(struct outbox_item *item, enum err err);

/* The message that this shard is routing came to this partition before a crash. */
bool outbox_has_come(const struct shard *shard, uint32_t partition);

/* It has been routed on this shard: note its number in these partitions (a bit each). */
void outbox_received(struct shard *shard, uint64_t partitions);

/* ---- after a restart -------------------------------------------------------------------------- */

void outbox_restore_received(struct shard *shard, uint32_t partition, uint32_t source,
                             uint64_t number);
/* The number of its next message: greater than all that there ever were. */
void outbox_restore_next(struct shard *shard, uint32_t partition, uint64_t number);
enum err outbox_restore(struct shard *shard, uint32_t partition, uint64_t number, struct msg *msg);
/* All shards are loaded: route what was found, in its order. */
void outbox_restored(struct shard *shard);

#endif
