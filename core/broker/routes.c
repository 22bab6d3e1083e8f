/*
 * Invariants
 *   R1  an entry is counted (here) or marked (elsewhere), never neither; both only while its partition is
 *       being loaded, which is not led here yet: route.c passes over what hangs for it by then.
 *   R2  marked: its sub hangs in the trie.
 *   R3  digest[p] is the XOR over the entries of p.
 */
#include "core/broker/routes.h"

#include "core/base/assert.h"
#include "core/base/ledger.h"
#include "core/base/map.h"
#include "core/broker/shard.h"
#include "core/pubsub/trie.h"
#include "core/session/mesh.h"
#include "core/session/session.h"

#include <stdlib.h>
#include <string.h>

/* One filter of one partition. */
struct entry {
    struct sub sub; /* the mark */
    uint32_t count; /* of what hangs here */
    bool is_fresh;  /* put since routes_renew() */
    uint32_t filter_bytes;
    uint8_t filter[];
};

struct routes {
    struct map *entries[PARTITION_COUNT]; /* by filter; NULL until the first */
    uint64_t digest[PARTITION_COUNT];
    uint64_t seed;
    uint64_t given_up; /* partitions whose subscriptions go without being counted, a bit each */
};

static void tell(struct shard *shard, uint32_t partition, struct slice filter, bool is_wanted)
{
    if (shard->mesh != NULL) { /* else it is about to go */
        mesh_route(shard->mesh, partition, filter, is_wanted);
    }
}

static struct slice filter_of(const void *value)
{
    const struct entry *entry = value;
    return slice_of(entry->filter, entry->filter_bytes);
}

struct routes *routes_new(uint64_t seed)
{
    struct routes *routes = calloc(1, sizeof(*routes));
    if (routes != NULL) {
        routes->seed = seed;
    }
    return routes;
}

static struct entry *entry_get(const struct routes *routes, uint32_t partition, struct slice filter)
{
    struct map *entries = routes->entries[partition];
    return entries == NULL ? NULL : map_get(entries, filter);
}

static int64_t entry_weight(const struct entry *entry)
{
    return ledger_block(sizeof(*entry) + entry->filter_bytes);
}

/* Neither counted nor marked yet. NULL: memory. */
static struct entry *entry_new(struct routes *routes, uint32_t partition, struct slice filter)
{
    struct map **entries = &routes->entries[partition];
    if (*entries == NULL) {
        *entries = map_new(filter_of, routes->seed);
        if (*entries == NULL) {
            return NULL;
        }
        map_enter(*entries, LEDGER_SUBSCRIPTIONS);
    }
    struct entry *entry = calloc(1, sizeof(*entry) + filter.count);
    if (entry == NULL) {
        return NULL;
    }
    entry->sub.kind = SUB_ROUTE;
    entry->sub.partition = (uint8_t)partition;
    entry->filter_bytes = (uint32_t)filter.count;
    memcpy(entry->filter, filter.data, filter.count);
    if (map_put(*entries, entry) != OK) {
        free(entry);
        return NULL;
    }
    ledger_add(LEDGER_SUBSCRIPTIONS, entry_weight(entry));
    routes->digest[partition] ^= hash_bytes(filter); /* R3 */
    return entry;
}

static void entry_free(struct routes *routes, struct entry *entry)
{
    uint32_t partition = entry->sub.partition;
    ASSERT(entry->sub.leaf == NULL);
    map_remove(routes->entries[partition], filter_of(entry));
    routes->digest[partition] ^= hash_bytes(filter_of(entry));
    ledger_add(LEDGER_SUBSCRIPTIONS, -entry_weight(entry));
    free(entry);
}

static bool is_marked(const struct entry *entry)
{
    return entry->sub.leaf != NULL; /* R2 */
}

static enum err mark(struct shard *shard, struct entry *entry)
{
    return is_marked(entry)
               ? OK
               : trie_subscribe(shard->trie, shard->index, filter_of(entry), &entry->sub);
}

static void unmark(struct shard *shard, struct entry *entry)
{
    if (is_marked(entry)) {
        trie_unsubscribe(shard->trie, shard->index, &entry->sub);
    }
    if (entry->count == 0) {
        entry_free(shard->routes, entry); /* R1 */
    }
}

void routes_free(struct routes *routes, struct shard *shard)
{
    for (uint32_t i = 0; routes != NULL && i < PARTITION_COUNT; i++) {
        uint64_t cursor = 0;
        struct entry *entry;
        while (routes->entries[i] != NULL &&
               (entry = map_next(routes->entries[i], &cursor)) != NULL) {
            entry->count = 0;
            unmark(shard, entry);
        }
        map_free(routes->entries[i]);
    }
    free(routes);
}

/* ---- led here --------------------------------------------------------------------------------- */

enum err routes_hang(struct shard *shard, uint32_t partition, struct slice filter, struct sub *sub)
{
    struct routes *routes = shard->routes;
    sub->partition = (uint8_t)partition;
    if (routes == NULL) {
        return trie_subscribe(shard->trie, shard->index, filter, sub);
    }
    routes->given_up &= ~(UINT64_C(1) << partition);
    struct entry *entry = entry_get(routes, partition, filter);
    bool is_new = entry == NULL;
    if (is_new) {
        entry = entry_new(routes, partition, filter);
    }
    if (entry == NULL) {
        return ERR_NOMEM;
    }
    enum err err = trie_subscribe(shard->trie, shard->index, filter, sub);
    if (err != OK && is_new) {
        entry_free(routes, entry);
    }
    TRY(err);
    entry->count++;
    if (entry->count == 1) {
        tell(shard, partition, filter, true);
    }
    return OK;
}

void routes_unhang(struct shard *shard, struct slice filter, struct sub *sub)
{
    struct routes *routes = shard->routes;
    uint32_t partition = sub->partition;
    trie_unsubscribe(shard->trie, shard->index, sub);
    if (routes == NULL || (routes->given_up >> partition & 1) != 0) {
        return;
    }
    struct entry *entry = entry_get(routes, partition, filter);
    ASSERT(entry != NULL && entry->count > 0);
    entry->count--;
    if (entry->count == 0) {
        tell(shard, partition, filter, false);
    }
    if (entry->count == 0 && !is_marked(entry)) {
        entry_free(routes, entry);
    }
}

bool routes_next(const struct shard *shard, uint32_t partition, uint64_t *cursor,
                 struct slice *filter)
{
    struct map *entries = shard->routes->entries[partition];
    const struct entry *entry = NULL;
    while (entries != NULL && (entry = map_next(entries, cursor)) != NULL && entry->count == 0) {
    }
    if (entry == NULL) {
        return false;
    }
    *filter = filter_of(entry);
    return true;
}

enum err routes_give_up(struct shard *shard, uint32_t partition)
{
    struct routes *routes = shard->routes;
    struct map *entries = routes->entries[partition];
    struct entry *entry;
    uint64_t cursor = 0;
    enum err err = OK;
    routes->given_up |= UINT64_C(1) << partition;
    while (entries != NULL && (entry = map_next(entries, &cursor)) != NULL) {
        entry->count = 0;
        enum err marked = mark(shard, entry);
        if (marked != OK) {
            entry_free(routes, entry);
            err = marked;
        }
    }
    return err;
}

void routes_take_up(struct shard *shard, uint32_t partition)
{
    struct map *entries = shard->routes->entries[partition];
    struct entry *entry;
    uint64_t cursor = 0;
    shard->routes->given_up &= ~(UINT64_C(1) << partition);
    while (entries != NULL && (entry = map_next(entries, &cursor)) != NULL) {
        unmark(shard, entry);
    }
}

/* ---- led elsewhere ---------------------------------------------------------------------------- */

enum err routes_put(struct shard *shard, uint32_t partition, struct slice filter)
{
    struct routes *routes = shard->routes;
    if (shard_leads(shard, partition)) {
        return OK;
    }
    struct entry *entry = entry_get(routes, partition, filter);
    if (entry == NULL) {
        entry = entry_new(routes, partition, filter);
    }
    enum err err = entry == NULL ? ERR_NOMEM : mark(shard, entry);
    if (err != OK && entry != NULL && entry->count == 0) {
        entry_free(routes, entry);
    }
    TRY(err);
    entry->is_fresh = true;
    return OK;
}

void routes_drop(struct shard *shard, uint32_t partition, struct slice filter)
{
    struct entry *entry = entry_get(shard->routes, partition, filter);
    if (entry != NULL && is_marked(entry)) {
        unmark(shard, entry);
    }
}

void routes_renew(struct shard *shard, uint32_t partition)
{
    struct map *entries = shard->routes->entries[partition];
    struct entry *entry;
    uint64_t cursor = 0;
    while (entries != NULL && (entry = map_next(entries, &cursor)) != NULL) {
        entry->is_fresh = false;
    }
}

void routes_renewed(struct shard *shard, uint32_t partition)
{
    struct map *entries = shard->routes->entries[partition];
    struct entry *entry;
    uint64_t cursor = 0;
    while (entries != NULL && (entry = map_next(entries, &cursor)) != NULL) {
        if (is_marked(entry) && !entry->is_fresh) {
            unmark(shard, entry);
        }
    }
}

uint64_t routes_digest(const struct shard *shard, uint32_t partition)
{
    return shard->routes->digest[partition];
}
