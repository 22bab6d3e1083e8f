/*
 * journal: PORT "make this durable, tell me when".
 *
 * Floor:  session. Implemented above (cluster/), handed down at start, one per shard.
 * Thread: the shard's.
 *
 *     journal_admit    may something lasting change now? Asked before anything changes.
 *     journal_log      it has changed: the op becomes part of its partition's open entry
 *     journal_await    tell me when all that was logged so far in these partitions is committed
 *
 * Between admit and log the shard changes its own view, at once; whatever others are told waits.
 * What was logged is committed, or the journal is fenced: then nothing that waits is told to have
 * been kept, nothing more is admitted, and the view is worth no more than memory.
 *
 * The shard calls collect() early in its turn (what was waited for is told, from inside), and
 * flush() late (open entries go on their way).
 */
#ifndef TERN_SESSION_JOURNAL_H
#define TERN_SESSION_JOURNAL_H

#include "core/base/err.h"
#include "core/session/op.h"

#include <stdbool.h>
#include <stdint.h>

/* OK: committed. Else the journal is fenced; what was logged may or may not be found again. */
typedef void (*journal_done)(void *context, enum err err);

/* A message owed to a session, as it lies on disk. */
struct stored_item {
    uint64_t sequence;
    uint64_t stored;         /* what journal_log() gave for it */
    struct msg_spec message; /* unless awaits_pubcomp */
    const uint32_t *ids;     /* Subscription Identifiers */
    uint32_t id_count;
    uint8_t qos;
    bool retain, awaits_pubcomp;
    struct slice share_text; /* the shared subscription it came by, as it is written; or empty */
};

/* items are borrowed for the call, in order of sequence; fewer than asked for: there are no more yet. */
typedef void (*journal_read_done)(void *context, enum err err, const struct stored_item *items,
                                  uint32_t count);

/*
 * messages are borrowed for the call: of the first `count` topics that were asked for, in their order;
 * topic.count 0: nothing is retained for it. Fewer than asked for: the rest would have been too much
 * at once. At least one, unless err: that is about the first, or about all if it is not ERR_CORRUPT.
 */
typedef void (*journal_retained_done)(void *context, enum err err, const struct msg_spec *messages,
                                      uint32_t count);

struct journal;

struct journal_calls {
    enum err (*admit)(struct journal *journal, uint32_t partition);
    uint64_t (*log)(struct journal *journal, const struct op *op);
    enum err (*await)(struct journal *journal, uint64_t partitions, journal_done done,
                      void *context);
    enum err (*read)(struct journal *journal, uint32_t partition, uint64_t session,
                     uint64_t from_sequence, uint32_t max, journal_read_done done, void *context);
    enum err (*read_retained)(struct journal *journal, const struct slice *topics, uint32_t count,
                              journal_retained_done done, void *context);
    bool (*is_congested)(const struct journal *journal);
    void (*collect)(struct journal *journal);
    void (*flush)(struct journal *journal);
    bool (*has_news)(const struct journal *journal);
    uint64_t (*wake_ns)(const struct journal *journal); /* NULL: never */
    void (*leave_io)(struct journal *journal);
};

struct journal {
    const struct journal_calls *calls;
};

/* OK, or why not: ERR_NO_SPACE (disk full; it recovers), ERR_UNAVAILABLE (fenced, or no quorum). */
static inline enum err journal_admit(struct journal *journal, uint32_t partition)
{
    return journal->calls->admit(journal, partition);
}

/* Of OP_ENQUEUE: the number of the stored message, for its OP_SETTLE. */
static inline uint64_t journal_log(struct journal *journal, const struct op *op)
{
    return journal->calls->log(journal, op);
}

/*
 * partitions: a bit each. OK: everything is committed, done will not be called. ERR_AGAIN: done is
 * called later, once, from collect(), in the order of the calls where they share a partition.
 * ERR_UNAVAILABLE: fenced. ERR_NOMEM.
 */
static inline enum err journal_await(struct journal *journal, uint64_t partitions,
                                     journal_done done, void *context)
{
    return journal->calls->await(journal, partitions, done, context);
}

/*
 * Read back what is owed to a session, from that sequence on: everything that is committed now is
 * seen. done is called from collect(), always later, and once. ERR_NOMEM: it is not.
 */
static inline enum err journal_read(struct journal *journal, uint32_t partition, uint64_t session,
                                    uint64_t from_sequence, uint32_t max, journal_read_done done,
                                    void *context)
{
    return journal->calls->read(journal, partition, session, from_sequence, max, done, context);
}

/*
 * Read what is retained for these topics, of any partition: everything that is committed now is seen,
 * also what other shards logged. topics are the caller's, and stay as they are until done is called:
 * from collect(), always later, and once. ERR_NOMEM: it is not.
 */
static inline enum err journal_read_retained(struct journal *journal, const struct slice *topics,
                                             uint32_t count, journal_retained_done done,
                                             void *context)
{
    return journal->calls->read_retained(journal, topics, count, done, context);
}

/* Too much is under way: who causes more should not be read. */
static inline bool journal_is_congested(const struct journal *journal)
{
    return journal->calls->is_congested(journal);
}

static inline void journal_collect(struct journal *journal)
{
    journal->calls->collect(journal);
}

static inline void journal_flush(struct journal *journal)
{
    journal->calls->flush(journal);
}

/* collect() would find something: do not sleep. */
static inline bool journal_has_news(const struct journal *journal)
{
    return journal->calls->has_news(journal);
}

/* When flush() wants to be called at the latest: some of what was logged, and nobody waits for, is kept
 * back for more. Monotonic ns; UINT64_MAX: never. */
static inline uint64_t journal_wake_ns(const struct journal *journal)
{
    return journal->calls->wake_ns == NULL ? UINT64_MAX : journal->calls->wake_ns(journal);
}

/* The io of the shard is about to be freed: it is neither woken nor asked for the time any more. */
static inline void journal_leave_io(struct journal *journal)
{
    journal->calls->leave_io(journal);
}

#endif
