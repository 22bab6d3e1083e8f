/*
 * journal: PORT "make this durable, tell me when".
 *
 * Floor:  session. Implemented above (cluster/), handed down at start, one per shard.
 * Thread: the shard's.
 *
 * submit() takes an op of this shard. When it is committed, and in the order of submission per
 * session, the journal has it applied (apply was handed to it at its making) and then calls done
 * with what apply said, or with the error that kept it from being committed; then nothing changed.
 * done may be called before submit() returns; it may be NULL.
 */
#ifndef TERN_SESSION_JOURNAL_H
#define TERN_SESSION_JOURNAL_H

#include "core/base/err.h"
#include "core/session/op.h"

typedef void (*journal_done)(void *context, enum err err);
typedef enum err (*journal_apply)(void *shard, const struct op *op);

struct journal {
    void (*submit)(struct journal *journal, const struct op *op, journal_done done, void *context);
};

static inline void journal_submit(struct journal *journal, const struct op *op, journal_done done,
                                  void *context)
{
    journal->submit(journal, op, done, context);
}

#endif
