/*
 * outbox: a message that was accepted for good before it reached those who want it: QoS 2 of a
 * publisher whose session outlives its connection, every will of such a session, and what a member of
 * a shared subscription gives back (give_back.h).
 *
 *     outbox_send: OP_SEND beside OP_SEEN (OP_WILL, OP_SETTLE), in one entry      ──> PUBREC
 *         └── committed ──> routed ──> every target has it, committed
 *                                          └──> OP_SENT: it leaves the outbox
 *
 * What did not come to somebody, as his partition went meanwhile, is routed again when all partitions are
 * there, and all behind it, in their order (partition.h). After a crash what is still in the outbox is
 * routed once more, in its order. Messages have numbers
 * that grow with each outbox, and every partition that takes one notes its number (OP_RECEIVED), so
 * that nothing comes twice: QoS 2 is exactly once from partition to partition (cluster.md 5.5). All
 * that a partition gets from an outbox comes in order, so the last number says it all. But of a share
 * group one member gets a message, in one of the partitions: that is noted message by message, beside
 * the OP_ENQUEUE, until it is known to have left its outbox (taken.h).
 *
 * Floor:  broker.
 * Thread: the shard that owns the partition.
 */
#ifndef TERN_BROKER_OUTBOX_H
#define TERN_BROKER_OUTBOX_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/pubsub/msg.h"
#include "core/session/origin.h"

#include <stdbool.h>
#include <stdint.h>

struct outbox;
struct outbox_item;
struct session;
struct shard;
struct subscription;

/* Only where there is a journal. NULL: memory is exhausted. */
struct outbox *outbox_new(void);
void outbox_free(struct outbox *outbox); /* accepts NULL */

/*
 * The session publishes, or gives back what it had by that shared subscription (else NULL): logged
 * now, routed when that is committed, to all or to a member of that group. One reference is taken. Of
 * what is published the caller has asked journal_admit(). ERR_NOMEM: nothing was logged.
 */
enum err outbox_send(struct session *session, struct msg *msg, const struct subscription *shared);

/* Something of that partition's waits to be set or routed: what is retained must not overtake it. */
bool outbox_is_behind(const struct shard *shard, uint32_t partition);

/* Those who wanted it have it, or it was refused there (counted). */
void outbox_item_end(struct outbox_item *item, enum err err);

/* The message that this shard is routing came to this partition before. */
bool outbox_has_come(const struct shard *shard, uint32_t partition);

/* It has been routed on this shard: note its number in these partitions (a bit each). */
void outbox_received(struct shard *shard, uint64_t partitions);

/* The same for a share group (hash_bytes() of its name): a member has it, or had it before a crash. */
void outbox_take(struct shard *shard, uint32_t partition, uint64_t group);
bool outbox_was_taken(const struct shard *shard, uint64_t group);

/* The message that this shard is routing is with all who want it in these partitions (a bit each, led
 * here), or on its way there. */
void outbox_served(struct shard *shard, uint64_t partitions);

/* Another view: what was refused may reach those whom it is for, if no partition is missed. */
void outboxes_go_on(struct shard *shard);

/* That partition is led here no more: its messages, and what it has of others, leave memory. */
void outbox_end(struct shard *shard, uint32_t partition);

/* ---- a partition comes ------------------------------------------------------------------------ */

void outbox_restore_received(struct shard *shard, uint32_t partition, uint32_t source,
                             uint64_t number);
/* The number of its next message: greater than all that there ever were. */
void outbox_restore_next(struct shard *shard, uint32_t partition, uint64_t number);
/* group: empty: it is for all. */
enum err outbox_restore(struct shard *shard, uint32_t partition, uint64_t number, struct msg *msg,
                        struct slice group);
/* These (a bit each) are loaded; outboxes_go_on() follows, and routes what was found. */
void outbox_restored(struct shard *shard, uint64_t partitions);

#endif
