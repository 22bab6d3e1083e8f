/*
 * kv_memory: storage/kv.h in an array, for tests: KV_UNLOGGED, forgets on demand, fails on demand.
 *
 * Included by one .c file of a program, which then has this disk instead of RocksDB.
 */
#ifndef TERN_TESTS_KV_MEMORY_H
#define TERN_TESTS_KV_MEMORY_H

#include "core/base/assert.h"
#include "storage/kv.h"

#include <stdlib.h>

struct kv_pair {
    uint8_t *bytes; /* key, then value */
    size_t key_count, value_count;
};

struct kv_table { /* sorted by key */
    struct kv_pair *pairs;
    size_t count;
};

struct kv {
    struct kv_table now, flushed;
    enum err write_err, read_err, iter_err; /* what the next calls give */
    uint64_t write_count, get_count, change_count;
    bool is_disordered; /* of some batch a key was not above the one before */
};

enum kv_change_kind { KV_CHANGE_PUT, KV_CHANGE_DELETE, KV_CHANGE_RANGE };
struct kv_change {
    enum kv_change_kind kind;
    struct kv_pair pair; /* of a range: from, to */
};

struct kv_batch {
    struct kv_change *changes;
    size_t count;
    uint64_t bytes;
};

struct kv_iter {
    struct kv_table table;
    size_t at, end;
    enum err err;
};

static struct kv_pair pair_of(struct slice key, struct slice value)
{
    struct kv_pair pair = {malloc(key.count + value.count + 1), key.count, value.count};
    ASSERT(pair.bytes != NULL);
    if (key.count > 0) {
        memcpy(pair.bytes, key.data, key.count);
    }
    if (value.count > 0) {
        memcpy(pair.bytes + key.count, value.data, value.count);
    }
    return pair;
}

static struct slice pair_key(const struct kv_pair *pair)
{
    return slice_of(pair->bytes, pair->key_count);
}

static struct slice pair_value(const struct kv_pair *pair)
{
    return slice_of(pair->bytes + pair->key_count, pair->value_count);
}

static int kv_compare(struct slice a, struct slice b)
{
    size_t count = a.count < b.count ? a.count : b.count;
    int order = count == 0 ? 0 : memcmp(a.data, b.data, count);
    return order != 0 ? order : (a.count > b.count) - (a.count < b.count);
}

/* The place of the first key not below this one. */
static size_t table_place(const struct kv_table *table, struct slice key)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (kv_compare(pair_key(&table->pairs[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool table_has(const struct kv_table *table, size_t place, struct slice key)
{
    return place < table->count && slice_equal(pair_key(&table->pairs[place]), key);
}

static void table_remove(struct kv_table *table, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        free(table->pairs[i].bytes);
    }
    if (to > from) {
        size_t rest = table->count - to;
        memmove(&table->pairs[from], &table->pairs[to], rest * sizeof(*table->pairs));
        table->count -= to - from;
    }
}

static void table_put(struct kv_table *table, struct slice key, struct slice value)
{
    size_t place = table_place(table, key);
    if (table_has(table, place, key)) {
        free(table->pairs[place].bytes);
    } else {
        table->pairs = realloc(table->pairs, (table->count + 1) * sizeof(*table->pairs));
        ASSERT(table->pairs != NULL);
        size_t rest = table->count - place;
        memmove(&table->pairs[place + 1], &table->pairs[place], rest * sizeof(*table->pairs));
        table->count++;
    }
    table->pairs[place] = pair_of(key, value);
}

static void table_clear(struct kv_table *table)
{
    table_remove(table, 0, table->count);
    free(table->pairs);
    *table = (struct kv_table){.count = 0};
}

static struct kv_table table_copy(const struct kv_table *table)
{
    struct kv_table copy = {calloc(table->count + 1, sizeof(*copy.pairs)), table->count};
    ASSERT(copy.pairs != NULL);
    for (size_t i = 0; i < table->count; i++) {
        copy.pairs[i] = pair_of(pair_key(&table->pairs[i]), pair_value(&table->pairs[i]));
    }
    return copy;
}

/* ---- kv.h ----------------------------------------------------------------------------------- */

enum err kv_open(const struct kv_config *config, struct kv **out, struct kv_failure *failure)
{
    (void)config;
    (void)failure;
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? ERR_NOMEM : OK;
}

void kv_close(struct kv *kv)
{
    table_clear(&kv->now);
    table_clear(&kv->flushed);
    free(kv);
}

/* The power is gone: what was not flushed is gone too. */
static inline void kv_memory_crash(struct kv *kv)
{
    table_clear(&kv->now);
    kv->now = table_copy(&kv->flushed);
}

enum err kv_flush(struct kv *kv)
{
    table_clear(&kv->flushed);
    kv->flushed = table_copy(&kv->now);
    return OK;
}

struct kv_batch *kv_batch_new(void)
{
    return calloc(1, sizeof(struct kv_batch));
}

void kv_batch_clear(struct kv_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->changes[i].pair.bytes);
    }
    batch->count = 0;
    batch->bytes = 0;
}

void kv_batch_free(struct kv_batch *batch)
{
    kv_batch_clear(batch);
    free(batch->changes);
    free(batch);
}

static void batch_add(struct kv_batch *batch, enum kv_change_kind kind, struct slice a,
                      struct slice b)
{
    batch->changes = realloc(batch->changes, (batch->count + 1) * sizeof(*batch->changes));
    ASSERT(batch->changes != NULL);
    batch->changes[batch->count++] = (struct kv_change){kind, pair_of(a, b)};
    batch->bytes += 1 + a.count + b.count;
}

void kv_batch_put(struct kv_batch *batch, struct slice key, struct slice value)
{
    batch_add(batch, KV_CHANGE_PUT, key, value);
}

void kv_batch_delete(struct kv_batch *batch, struct slice key)
{
    batch_add(batch, KV_CHANGE_DELETE, key, slice_of(NULL, 0));
}

void kv_batch_delete_range(struct kv_batch *batch, struct slice from, struct slice to)
{
    batch_add(batch, KV_CHANGE_RANGE, from, to);
}

uint64_t kv_batch_bytes(const struct kv_batch *batch)
{
    return batch->bytes;
}

enum err kv_write(struct kv *kv, const struct kv_batch *batch)
{
    TRY(kv->write_err);
    kv->write_count++;
    for (size_t i = 0; i < batch->count; i++) {
        const struct kv_change *change = &batch->changes[i];
        struct slice key = pair_key(&change->pair), value = pair_value(&change->pair);
        size_t place = table_place(&kv->now, key);
        kv->change_count++;
        kv->is_disordered = kv->is_disordered ||
                            (i > 0 && kv_compare(pair_key(&change[-1].pair), key) >= 0);
        if (change->kind == KV_CHANGE_PUT) {
            table_put(&kv->now, key, value);
        } else if (change->kind == KV_CHANGE_RANGE) {
            table_remove(&kv->now, place, table_place(&kv->now, value));
        } else if (table_has(&kv->now, place, key)) {
            table_remove(&kv->now, place, place + 1);
        }
    }
    return OK;
}

enum err kv_get(struct kv *kv, struct slice key, struct kv_value *out)
{
    TRY(kv->read_err);
    kv->get_count++;
    size_t place = table_place(&kv->now, key);
    if (!table_has(&kv->now, place, key)) {
        return ERR_NOT_FOUND;
    }
    struct kv_pair pair = pair_of(slice_of(NULL, 0), pair_value(&kv->now.pairs[place]));
    *out = (struct kv_value){pair_value(&pair), pair.bytes};
    return OK;
}

void kv_value_free(struct kv_value *value)
{
    free(value->own);
}

struct kv_iter *kv_iter_new(struct kv *kv, struct slice from, struct slice to, bool is_bulk)
{
    struct kv_iter *iter = calloc(1, sizeof(*iter));
    ASSERT(iter != NULL);
    (void)is_bulk;
    iter->table = table_copy(&kv->now);
    iter->at = table_place(&iter->table, from);
    iter->end = to.count == 0 ? iter->table.count : table_place(&iter->table, to);
    iter->err = kv->iter_err;
    return iter;
}

bool kv_iter_next(struct kv_iter *iter, struct slice *key, struct slice *value)
{
    if (iter->at >= iter->end || iter->err != OK) {
        return false;
    }
    *key = pair_key(&iter->table.pairs[iter->at]);
    *value = pair_value(&iter->table.pairs[iter->at]);
    iter->at++;
    return true;
}

enum err kv_iter_end(struct kv_iter *iter)
{
    enum err err = iter->err;
    table_clear(&iter->table);
    free(iter);
    return err;
}

#endif
