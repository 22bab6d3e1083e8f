/*
 * explain: a client's story, collected from the trails of all shards; and how connections tell it.
 *
 * Floor:  broker.
 * Thread: the shard whose connection it is; a question belongs to the shard that asked.
 * Memory: a question has a part per shard, of at most EXPLAIN_RECORDS_MAX records each; there are at
 *         most EXPLAIN_AT_ONCE questions per shard, so that nobody who asks in a loop fills the heap.
 *
 *     explain_ask ──> each other shard searches its trail between two of its events ──> done()
 *                 └── explain_tell(): what has come so far; explain_end(): the answer is not needed
 *
 * No shard waits and nothing is locked: parts travel as mail, and what comes for a question that was
 * ended is thrown away.
 */
#ifndef TERN_BROKER_EXPLAIN_H
#define TERN_BROKER_EXPLAIN_H

#include "core/base/trail.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct mail;
struct shard;

/*
 * shard_tell() with client and peer of this connection where the event names none. Its client id is
 * known once it has a session; before that (a refused CONNECT, a will) the caller names it.
 */
void conn_tell(struct conn *conn, const struct trail_event *event);

enum { EXPLAIN_RECORDS_MAX = 200, EXPLAIN_AT_ONCE = 8 };

struct explain_question {
    struct trail_query whom;   /* borrowed for the call */
    uint32_t records_max;      /* 1 to EXPLAIN_RECORDS_MAX */
    void (*done)(void *owner); /* every shard has answered; never called from explain_ask() */
    void *owner;
};

/* What is known; records are the caller's, free() gives them back. */
struct explain_story {
    bool has_session, is_connected; /* of whom.client */
    uint32_t shard_count, answered_count;
    uint32_t subscription_count;
    uint64_t queued_count;
    struct trail_record *records; /* newest first; at most records_max */
    uint32_t record_count;
};

struct explain;

/*
 * Ask all shards; by the thread of this one. With a single shard all is answered when it returns,
 * and done is not called. ERR_BUSY: EXPLAIN_AT_ONCE are open. ERR_NOMEM.
 */
enum err explain_ask(struct shard *shard, const struct explain_question *question,
                     struct explain **out);

/* ERR_NOMEM: nothing was written. */
enum err explain_tell(const struct explain *explain, struct explain_story *out);

/* Also after done. */
void explain_end(struct explain *explain);

/* The two kinds of mail. */
void explain_on_mail(struct shard *shard, struct mail *mail);
void explain_discard(struct mail *mail);

#endif
