#include "tests/sim/sim_flaw.h"

#include "cluster/node_store.h"
#include "core/session/journal.h"

enum { ONE_IN = 4 }; /* ops that are lost */

const char *const flaw_words[FLAW_COUNT] = {
#define FLAW_WORDS(name, words) [name] = words,
    FLAW_TABLE(FLAW_WORDS)
#undef FLAW_WORDS
};

static enum flaw flaw;
static uint64_t op_count;
static struct journal_calls sound, flawed;

_Static_assert(FLAW_OP_RECEIVED - FLAW_OP_OPEN == OP_RECEIVED - OP_OPEN && OP_OPEN == 1 &&
                   OP_RECEIVED + 1 == OP_KIND_END,
               "each op has its flaw, in the order of its codes");

void flaw_set(enum flaw wanted)
{
    flaw = wanted;
}

bool flaw_is(enum flaw asked)
{
    return flaw == asked;
}

static uint64_t log_some(struct journal *journal, const struct op *op)
{
    bool is_it = flaw >= FLAW_OP_OPEN && op->kind == OP_OPEN + (flaw - FLAW_OP_OPEN);
    if (is_it && ++op_count % ONE_IN == 0) {
        return 0;
    }
    return sound.log(journal, op);
}

static enum err await_nothing(struct journal *journal, uint64_t partitions, journal_done done,
                              void *context)
{
    (void)journal, (void)partitions, (void)done, (void)context;
    return OK;
}

enum err flaw_journal_new(void *context, struct io *io, uint32_t shard, struct journal **out,
                          uint64_t *wall_ms, struct broker_failure *failure)
{
    TRY(node_store_journal_new(context, io, shard, out, wall_ms, failure));
    op_count = 0;
    sound = flawed = *(*out)->calls;
    if (flaw >= FLAW_OP_OPEN) {
        flawed.log = log_some;
    } else if (flaw == FLAW_TOLD_EARLY) {
        flawed.await = await_nothing;
    } else if (flaw == FLAW_CLOCK_AT_ZERO) {
        *wall_ms = 0;
    }
    if (flaw != FLAW_NONE) {
        (*out)->calls = &flawed;
    }
    return OK;
}
