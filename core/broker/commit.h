/*
 * commit: submit an op whose verdict decides what happens next.
 *
 * Floor:  broker.
 * Thread: the shard's.
 *
 * Works with a journal that answers before submit() returns, as the one in memory does; with any
 * other it is our mistake to call it. Where a journal takes its time, the caller has to become a
 * continuation, as receipts are already.
 */
#ifndef TERN_BROKER_COMMIT_H
#define TERN_BROKER_COMMIT_H

#include "core/base/assert.h"
#include "core/session/journal.h"

struct commit_verdict {
    bool is_there;
    enum err err;
};

static inline void commit_answered(void *context, enum err err)
{
    *(struct commit_verdict *)context = (struct commit_verdict){true, err};
}

/* What apply said, or why it was not committed; then nothing changed. */
static inline enum err commit(struct journal *journal, const struct op *op)
{
    struct commit_verdict verdict = {false, OK};
    journal_submit(journal, op, commit_answered, &verdict);
    ASSERT(verdict.is_there);
    return verdict.err;
}

#endif
