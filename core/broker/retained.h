/*
 * retained: the retained message of a topic, in memory and on disk; and publishing, which sets it
 * first and routes then (see pubsub/retain.h for why in this order).
 *
 * Whoever publishes changes the memory of the node, under its lock, at once. On disk a topic belongs to
 * the partition of its name, so its shard is asked to write down what the memory says now: whatever
 * the order in which several publishers ask, the last one writes what is true. When more is in memory
 * than `retained_memory` allows, a message is on disk alone as soon as it is committed there.
 *
 * Floor:  broker.
 * Thread: any shard.
 */
#ifndef TERN_BROKER_RETAINED_H
#define TERN_BROKER_RETAINED_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>

struct mail;
struct receipt;
struct shard;

/*
 * Set it if it is to be retained, and deliver it to all who want it; what that promises is added to
 * receipt (NULL: nobody waits), refusals too. false: nobody subscribed to it.
 */
bool retained_publish(struct shard *shard, struct msg *msg, struct receipt *receipt);

/*
 * May it be retained? ERR_QUOTA, counted and told: its topic would be a new one, and the broker is near
 * its ceiling of memory. retained_publish() asks; so does who sends by an outbox, where a message is
 * accepted for good.
 */
enum err retained_admit(struct shard *shard, const struct msg *msg);

/*
 * Only set it. A message that comes out of an outbox is set by the shard that owns its topic, which
 * knows whether it came before a crash: so it is routed when receipt is done, not before.
 */
enum err retained_set(struct shard *shard, struct msg *msg, struct receipt *receipt);

/* The same by the shard that owns the topic, whose partition is led here. */
enum err retained_here(struct shard *shard, struct msg *msg, struct receipt *receipt);

/* MAIL_RETAIN: this shard owns the topic. */
void retained_on_mail(struct shard *shard, struct mail *mail);

/* The topic is in no partition: the broker's own, made anew at every start. */
bool retained_is_of_broker(struct slice topic);

/* After a restart, one that the disk has: in memory as long as there is room. ERR_QUOTA: there may be
 * fewer than there were. ERR_NOMEM. */
enum err retained_restore(struct shard *shard, const struct msg_spec *message);

#endif
