/*
 * recall: retained messages that are on disk alone, read back a page at a time for one subscriber.
 *
 *     recall_add ... recall_read ──> journal ──> done(owner) ──> recall_next ... until RECALL_END
 *
 * What comes back is as old as the reading. So the store in memory is asked again for each topic at
 * the very moment in which it is taken: was it set meanwhile, the new message is given; was it
 * cleared, none; and if the new one has gone to disk as well, it is read once more. That way nobody is
 * shown an old retained message after a newer live one (pubsub/retain.h).
 *
 * Floor:  broker.
 * Thread: the shard's.
 * Memory: RECALL_MAX topics; messages while they wait to be taken, see the journal for how many.
 */
#ifndef TERN_BROKER_RECALL_H
#define TERN_BROKER_RECALL_H

#include "core/base/err.h"
#include "core/pubsub/msg.h"

#include <stdbool.h>
#include <stdint.h>

enum { RECALL_MAX = 64 };

struct recall;
struct shard;

/* done: a page is there. NULL: memory is exhausted. */
struct recall *recall_new(struct shard *shard, void (*done)(void *owner), void *owner);
/* Its owner goes, or wants no more; a reading under way is forgotten. Accepts NULL. */
void recall_free(struct recall *recall);

/* One more topic to read; a reference is taken. There is room, and no page is being read or taken. */
void recall_add(struct recall *recall, struct msg *topic, uint32_t stamp);
uint32_t recall_count(const struct recall *recall); /* topics not dealt with */

/* Read a page of them: done follows, later and once. ERR_NOMEM, ERR_UNAVAILABLE: it does not. */
enum err recall_read(struct recall *recall);
bool recall_is_reading(const struct recall *recall);

/* A page is there, and not all of it was taken. */
bool recall_has_page(const struct recall *recall);

enum recall_result {
    RECALL_MSG,  /* referenced for the caller */
    RECALL_NONE, /* of this topic there is none any more, or it will be read once more */
    RECALL_LOST, /* it could not be read, *why; msg is without payload, and referenced too */
};
/* The next one of the page. */
enum recall_result recall_next(struct recall *recall, struct msg **msg, enum err *why);

#endif
