#include "core/pubsub/subs.h"

#include "core/base/ledger.h"

#include <stdlib.h>

static uint32_t capacity_of(const struct subs *subs)
{
    return UINT32_C(1) << subs->capacity_log2;
}

static struct sub **array_of(struct subs *subs)
{
    return subs->capacity_log2 == 0 ? &subs->one : subs->many;
}

static int64_t heap_bytes(uint8_t capacity_log2)
{
    return capacity_log2 == 0 ? 0 : ledger_block(sizeof(struct sub *) << capacity_log2);
}

/* Move everything to an array of another size. ERR_NOMEM: nothing changed. */
static enum err resize(struct subs *subs, struct subs_memory *memory, uint8_t capacity_log2)
{
    struct sub **old = subs->capacity_log2 == 0 ? NULL : subs->many;

    ASSERT(subs->count <= UINT32_C(1) << capacity_log2);
    if (capacity_log2 == 0) {
        subs->one = subs->count == 0 ? NULL : old[0];
    } else {
        struct sub **many = malloc(sizeof(many[0]) << capacity_log2);
        if (many == NULL) {
            return ERR_NOMEM;
        }
        memcpy(many, array_of(subs), subs->count * sizeof(many[0]));
        subs->many = many;
    }
    memory->bytes_added += heap_bytes(capacity_log2) - heap_bytes(subs->capacity_log2);
    subs->capacity_log2 = capacity_log2;
    if (old != NULL) {
        epoch_retire(memory->epoch, memory->shard, old, free);
    }
    return OK;
}

enum err subs_add(struct subs *subs, struct subs_memory *memory, struct sub *sub)
{
    if (subs->count == capacity_of(subs)) {
        if (subs->capacity_log2 == 31) {
            return ERR_NOMEM;
        }
        TRY(resize(subs, memory, subs->capacity_log2 + 1));
    }
    sub->index = subs->count++;
    array_of(subs)[sub->index] = sub;
    return OK;
}

void subs_remove(struct subs *subs, struct subs_memory *memory, struct sub *sub)
{
    struct sub **array = array_of(subs);

    ASSERT(sub->index < subs->count);
    ASSERT(array[sub->index] == sub);
    subs->count--;
    array[sub->index] = array[subs->count];
    array[sub->index]->index = sub->index;
    if (subs->capacity_log2 > 0 && subs->count <= capacity_of(subs) / 4) {
        /* Half the size, a quarter full: the next resize is far on both sides. None is no harm. */
        (void)resize(subs, memory, subs->count == 0 ? 0 : subs->capacity_log2 - 1);
    }
}

struct leaf_view subs_view(const struct subs *subs)
{
    return (struct leaf_view){
        .subs = subs->capacity_log2 == 0 ? &subs->one : subs->many,
        .count = subs->count,
    };
}
