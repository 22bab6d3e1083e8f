/*
 * ceiling: memory_limit, and what is refused as the broker comes near it.
 *
 *     0 ─────────── 1/4 ─────────────────── 3/4 ───── 7/8 ───── memory_limit
 *                    │                       │         │         └ no message is taken
 *                    │                       │         └ nothing new that stays: no session, no
 *                    │                       │           subscription, no topic that is retained
 *                    │                       └ readers who are behind get no more of QoS 0
 *                    └ what waits for who is away waits on disk alone (spill.h)
 *
 * So what is there already goes on being served when the memory is full of it: messages have the last
 * eighth to pass through, also where what is on disk takes more than there is (a start with a lower
 * limit). What makes room is never refused.
 *
 * Floor:  broker.
 * Thread: the shard's.
 */
#ifndef TERN_BROKER_CEILING_H
#define TERN_BROKER_CEILING_H

#include <stdbool.h>

struct shard;

bool ceiling_is_reached(const struct shard *shard); /* no message may be taken */
bool ceiling_is_near(const struct shard *shard);    /* nothing may begin that stays */

bool ceiling_is_near_for_slow(const struct shard *shard); /* for output that nobody takes */
bool ceiling_is_near_for_away(const struct shard *shard); /* for what is on disk, too */

/* All of the state is loaded: is it too much? The log says so. */
void ceiling_look(const struct shard *shard);

#endif
