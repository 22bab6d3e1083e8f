/*
 * retain: the retained message of each topic.
 *
 * Floor:  pubsub.
 * Thread: any shard; one lock inside, held for one topic or for one bounded step of a scan.
 * Memory: holds one reference per retained message.
 *
 * Order that matters (nobody may see an old retained message after a newer live one): a publisher
 * stores first and routes then; a subscriber hangs its subscription first and scans then.
 */
#ifndef TERN_PUBSUB_RETAIN_H
#define TERN_PUBSUB_RETAIN_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

#include <stdint.h>

struct retain;
struct retain_scan;

/* Bounds; 0: none. NULL: memory is exhausted. */
struct retain *retain_new(uint64_t count_max, uint64_t bytes_max, uint64_t seed);
void retain_free(struct retain *retain); /* no scan is left; accepts NULL */

void retain_set_limits(struct retain *retain, uint64_t count_max, uint64_t bytes_max);

/*
 * msg becomes the retained message of its topic (one reference is taken), or, with an empty
 * payload, the topic has none any more [MQTT-3.3.1-6]. ERR_QUOTA: a bound is reached, the old
 * message (if any) stays. ERR_NOMEM.
 */
enum err retain_set(struct retain *retain, struct msg *msg);

/* The retained message of exactly this topic, referenced for the caller, or NULL (also expired). */
struct msg *retain_get(struct retain *retain, struct slice topic, uint64_t wall_ms);

/*
 * Walk all retained messages that match filter, a bounded step at a time, over as many turns as
 * the caller likes, while others set and clear. Each topic that stays is seen exactly once.
 * filter is copied. NULL: memory is exhausted.
 */
struct retain_scan *retain_scan_new(struct retain *retain, struct slice filter);
void retain_scan_free(struct retain_scan *scan); /* accepts NULL */

/*
 * Up to `max` messages, each referenced for the caller; expired ones are left out and dropped from
 * the store. *is_done says that nothing is left. May return 0 with *is_done false (work is bounded
 * per call: at most RETAIN_SCAN_STEPS nodes are visited).
 */
enum { RETAIN_SCAN_STEPS = 1024 };
uint32_t retain_scan_next(struct retain_scan *scan, uint64_t wall_ms, struct msg **out,
                          uint32_t max, bool *is_done);

uint64_t retain_count(const struct retain *retain);
uint64_t retain_bytes(const struct retain *retain);

#endif
