#include "cluster/journal_memory.h"

#include "core/base/list.h"

#include <stdlib.h>

struct journal_memory {
    struct journal journal;
    journal_apply apply;
    struct shard *shard;
};

static void submit(struct journal *journal, const struct op *op, journal_done done, void *context)
{
    struct journal_memory *self = CONTAINER_OF(journal, struct journal_memory, journal);
    enum err err = self->apply(self->shard, op);
    if (done != NULL) {
        done(context, err);
    }
}

struct journal *journal_memory_new(void *context, struct shard *shard, journal_apply apply)
{
    (void)context;
    struct journal_memory *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    *self = (struct journal_memory){{submit}, apply, shard};
    return &self->journal;
}

void journal_memory_free(struct journal *journal)
{
    free(CONTAINER_OF(journal, struct journal_memory, journal));
}
