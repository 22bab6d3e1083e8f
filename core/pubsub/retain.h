/*
 * retain: the retained message of each topic.
 *
 * Floor:  pubsub.
 * Thread: any shard; one lock inside, held for one topic or for one bounded step of a scan.
 * Memory: holds one reference per retained message that is in memory; of one that is on disk alone
 *         ("away") it knows that there is one, and what it weighs.
 *
 * A message is away from retain_let_go() on, when whoever keeps the disk says that it is committed,
 * until its topic is set or cleared: then the new one is in memory, as any is that is not on disk yet.
 *
 * Order that matters (nobody may see an old retained message after a newer live one): a publisher
 * stores first and routes then; a subscriber hangs its subscription first and scans then.
 */
#ifndef TERN_PUBSUB_RETAIN_H
#define TERN_PUBSUB_RETAIN_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>
#include <stdint.h>

struct retain;
struct retain_scan;

/* Bounds; 0: none. NULL: memory is exhausted. */
struct retain *retain_new(uint64_t count_max, uint64_t bytes_max, uint64_t seed);
void retain_free(struct retain *retain); /* no scan is left; accepts NULL */

void retain_set_limits(struct retain *retain, uint64_t count_max, uint64_t bytes_max);

/* How many bytes of messages should be in memory at most; without a call: any number. */
void retain_set_memory_max(struct retain *retain, uint64_t memory_bytes_max);

/*
 * msg becomes the retained message of its topic (one reference is taken), or, with an empty
 * payload, the topic has none any more [MQTT-3.3.1-6]. ERR_QUOTA: a bound is reached, the old
 * message (if any) stays. ERR_NOMEM.
 */
enum err retain_set(struct retain *retain, struct msg *msg);

/* More is in memory than should be: let go of what is on disk. Any thread, cheap. */
bool retain_is_crowded(const struct retain *retain);

/* msg is on disk: if it still is the retained message of its topic, it is away from now on. */
void retain_let_go(struct retain *retain, const struct msg *msg);

/* As retain_set(), of a message that is away: it weighs so many bytes. */
enum err retain_set_away(struct retain *retain, struct slice topic, uint32_t bytes);

/* It was found to have expired: if the topic still says this stamp, there is none any more. */
void retain_drop_away(struct retain *retain, struct slice topic, uint32_t stamp);

/* The topic is another node's from now on: whatever it had is gone from here. */
void retain_drop(struct retain *retain, struct slice topic);

/* What a topic has at one moment: in memory, away, or neither. */
struct retained {
    struct msg
        *msg;       /* referenced for the caller; of a scan, and away: without payload, its topic */
    uint32_t stamp; /* 0: not away. As long as the topic says the same it is the same message */
};

/* Of exactly this topic; an expired one in memory is none. */
struct retained retain_look(struct retain *retain, struct slice topic, uint64_t wall_ms);

/*
 * Walk all retained messages that match filter, a bounded step at a time, over as many turns as
 * the caller likes, while others set and clear. Each topic that stays is seen exactly once.
 * filter is copied. NULL: memory is exhausted.
 */
struct retain_scan *retain_scan_new(struct retain *retain, struct slice filter);
/* The same of all there are, those of topics that begin with '$' too. */
struct retain_scan *retain_scan_new_whole(struct retain *retain);
void retain_scan_free(struct retain_scan *scan); /* accepts NULL */

/*
 * Up to `max` messages, each referenced for the caller; of those in memory expired ones are left out
 * and dropped from the store. *is_done says that nothing is left, or that memory is exhausted. May
 * return 0 with *is_done false (work is bounded per call: at most RETAIN_SCAN_STEPS nodes are visited).
 */
enum { RETAIN_SCAN_STEPS = 1024 };
uint32_t retain_scan_next(struct retain_scan *scan, uint64_t wall_ms, struct retained *out,
                          uint32_t max, bool *is_done);

/* Any thread. Bytes as msg_bytes(), of all and of those in memory. */
uint64_t retain_count(const struct retain *retain);
uint64_t retain_bytes(const struct retain *retain);
uint64_t retain_memory_bytes(const struct retain *retain);

#endif
