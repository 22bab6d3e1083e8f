#include "core/broker/ends.h"

#include "core/base/blocks.h"
#include "core/base/map.h"
#include "core/broker/shard.h"
#include "core/session/journal.h"

#include <stdlib.h>

struct ends {
    struct map *by_client;
};

struct end {
    struct ends *ends;
    uint64_t client; /* hash of its id: whoever shares it waits in vain, which harms nobody */
    uint32_t partition;
    uint32_t count; /* it may come and go more than once meanwhile */
};

static struct slice client_of(const void *value)
{
    return slice_of(&((const struct end *)value)->client, sizeof(uint64_t));
}

static struct end *end_of(const struct ends *ends, uint64_t client)
{
    return map_get(ends->by_client, slice_of(&client, sizeof(client)));
}

struct ends *ends_new(uint64_t seed)
{
    struct ends *ends = calloc(1, sizeof(*ends));
    if (ends == NULL) {
        return NULL;
    }
    ends->by_client = map_new(client_of, seed);
    if (ends->by_client == NULL) {
        free(ends);
        return NULL;
    }
    return ends;
}

void ends_free(struct ends *ends)
{
    uint64_t cursor = 0;
    struct end *end;
    while (ends != NULL && (end = map_next(ends->by_client, &cursor)) != NULL) {
        blocks_give(end, sizeof(*end));
    }
    if (ends != NULL) {
        map_free(ends->by_client);
        free(ends);
    }
}

static struct end *end_new(struct ends *ends, uint64_t client, uint32_t partition)
{
    struct end *end = blocks_take(sizeof(*end));
    if (end == NULL) {
        return NULL;
    }
    *end = (struct end){.ends = ends, .client = client, .partition = partition};
    if (map_put(ends->by_client, end) != OK) {
        blocks_give(end, sizeof(*end));
        return NULL;
    }
    return end;
}

static void end_release(struct end *end)
{
    if (end->count == 0) {
        map_remove(end->ends->by_client, client_of(end));
        blocks_give(end, sizeof(*end));
    }
}

static void on_committed(void *context, enum err err)
{
    struct end *end = context;
    if (err == OK) {
        end->count--;
        end_release(end);
    }
}

void ends_add(struct shard *shard, struct slice client_id, uint32_t partition)
{
    uint64_t client = hash_bytes(client_id), bit = UINT64_C(1) << partition;
    struct end *known = end_of(shard->ends, client);
    struct end *end = known != NULL ? known : end_new(shard->ends, client, partition);
    if (end == NULL) {
        return;
    }
    if (journal_await(shard->journal, bit, on_committed, end) == ERR_AGAIN) {
        end->count++;
    }
    end_release(end);
}

void ends_forget(struct shard *shard, uint32_t partition)
{
    uint64_t cursor = 0;
    struct end *end;
    while ((end = map_next(shard->ends->by_client, &cursor)) != NULL) {
        if (end->partition == partition) {
            map_remove(shard->ends->by_client, client_of(end));
            blocks_give(end, sizeof(*end));
        }
    }
}

bool ends_has(const struct shard *shard, struct slice client_id)
{
    return shard->ends != NULL && end_of(shard->ends, hash_bytes(client_id)) != NULL;
}
