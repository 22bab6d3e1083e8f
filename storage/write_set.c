/*
 * What is known of a key, and what a call makes of it:
 *
 *                     put         put_new     delete
 *     not in the set  PUT         PUT_NEW     DELETE
 *     PUT             PUT         PUT         DELETE      the map may have it
 *     DELETE          PUT         PUT         DELETE      likewise
 *     PUT_NEW         PUT_NEW     PUT_NEW     NOTHING     the map has not
 *     NOTHING         PUT_NEW     PUT_NEW     NOTHING     likewise
 *
 * Invariants
 *   W1  a key has one write, found through places; what it has come to stays, also NOTHING.
 *   W2  what is in the batch is older than all writes, and goes first. "The map" above is the map
 *       with the batch written to it.
 *   W3  places is a power of two and at least a quarter of it free, so that a search ends; and it has
 *       room for one number for each write (pour).
 */
#include "storage/write_set.h"

#include "core/base/assert.h"
#include "core/base/buf.h"
#include "core/base/map.h"
#include "core/base/rng.h"

#include <stdlib.h>
#include <string.h>

enum {
    PLACES_MIN = 256,
    BYTES_KEPT_MAX = 4 << 20, /* of memory, by a set that is empty */
};

enum known { NOTHING, PUT, PUT_NEW, DELETE, KNOWN_COUNT };
enum call { CALL_PUT, CALL_PUT_NEW, CALL_DELETE, CALL_COUNT };

/* clang-format off */
static const enum known steps[KNOWN_COUNT][CALL_COUNT] = {
    /*             put      put_new  delete  */
    [PUT]     = {  PUT,     PUT,     DELETE  },
    [DELETE]  = {  PUT,     PUT,     DELETE  },
    [PUT_NEW] = {  PUT_NEW, PUT_NEW, NOTHING },
    [NOTHING] = {  PUT_NEW, PUT_NEW, NOTHING },
};
static const enum known first_step[CALL_COUNT] = {PUT, PUT_NEW, DELETE};
/* clang-format on */

/* Of one key; where key and value begin in bytes. */
struct write {
    size_t key_at, value_at;
    uint32_t key_count, value_count;
    uint32_t value_room; /* a later value that is no longer takes the place of the first */
    uint32_t hash;
    enum known known;
};

struct write_set {
    struct write *writes;
    uint32_t count, capacity;
    uint32_t *places; /* 1 + index of a write, by hash; 0: free (W3) */
    uint32_t place_count;
    struct buf bytes; /* keys and values, from begin = 0 on */
    struct kv_batch *batch;
    uint64_t seed; /* clients choose topics: not their hashes */
};

static struct slice key_of(const struct write_set *set, const struct write *write)
{
    return slice_of(set->bytes.data + write->key_at, write->key_count);
}

static struct slice value_of(const struct write_set *set, const struct write *write)
{
    return slice_of(set->bytes.data + write->value_at, write->value_count);
}

struct write_set *write_set_new(void)
{
    struct write_set *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return NULL;
    }
    set->seed = rng_system_seed();
    set->batch = kv_batch_new();
    if (set->batch == NULL) {
        free(set);
        return NULL;
    }
    return set;
}

static void give_memory(struct write_set *set)
{
    buf_deinit(&set->bytes);
    free(set->writes);
    free(set->places);
    set->writes = NULL;
    set->places = NULL;
    set->capacity = set->place_count = 0;
}

void write_set_free(struct write_set *set)
{
    if (set == NULL) {
        return;
    }
    give_memory(set);
    kv_batch_free(set->batch);
    free(set);
}

/* ---- found by key --------------------------------------------------------------------------- */

/* Where the write of that key is, or the free place for it. */
static uint32_t *place_of(const struct write_set *set, struct slice key, uint32_t hash)
{
    uint32_t mask = set->place_count - 1;
    for (uint32_t at = hash & mask;; at = (at + 1) & mask) {
        if (set->places[at] == 0) {
            return &set->places[at];
        }
        const struct write *write = &set->writes[set->places[at] - 1];
        if (write->hash == hash && slice_equal(key_of(set, write), key)) {
            return &set->places[at];
        }
    }
}

static enum err reserve_places(struct write_set *set, uint64_t count)
{
    uint64_t place_count = set->place_count == 0 ? PLACES_MIN : set->place_count;
    while (count > place_count / 4 * 3) {
        place_count *= 2;
    }
    if (place_count == set->place_count) {
        return OK;
    }
    uint32_t *places = place_count > UINT32_MAX ? NULL : calloc(place_count, sizeof(*places));
    if (places == NULL) {
        return ERR_NOMEM;
    }
    free(set->places);
    set->places = places;
    set->place_count = (uint32_t)place_count;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct write *write = &set->writes[i];
        *place_of(set, key_of(set, write), write->hash) = i + 1;
    }
    return OK;
}

static enum err reserve_writes(struct write_set *set, uint64_t count)
{
    uint64_t capacity = set->capacity == 0 ? PLACES_MIN : set->capacity;
    while (capacity < count) {
        capacity *= 2;
    }
    if (capacity == set->capacity) {
        return OK;
    }
    struct write *grown = capacity > UINT32_MAX ? NULL
                                                : realloc(set->writes, capacity * sizeof(*grown));
    if (grown == NULL) {
        return ERR_NOMEM;
    }
    set->writes = grown;
    set->capacity = (uint32_t)capacity;
    return OK;
}

enum err write_set_reserve(struct write_set *set, uint64_t count, uint64_t bytes)
{
    TRY(reserve_writes(set, set->count + count));
    TRY(reserve_places(set, set->count + count));
    return buf_reserve(&set->bytes, bytes);
}

/* ---- put and deleted ------------------------------------------------------------------------ */

static size_t keep(struct write_set *set, struct slice bytes)
{
    size_t at = set->bytes.end;
    ASSERT(bytes.count <= set->bytes.capacity - at); /* it was reserved */
    if (bytes.count > 0) {
        memcpy(set->bytes.data + at, bytes.data, bytes.count);
        set->bytes.end += bytes.count;
    }
    return at;
}

static struct write *add(struct write_set *set, struct slice key, uint32_t hash)
{
    ASSERT(set->count < set->capacity); /* it was reserved */
    struct write *write = &set->writes[set->count++];
    *write = (struct write){
        .key_at = keep(set, key), .key_count = (uint32_t)key.count, .hash = hash};
    return write;
}

static void set_value(struct write_set *set, struct write *write, struct slice value)
{
    if (value.count > write->value_room) {
        write->value_at = keep(set, value);
        write->value_room = (uint32_t)value.count;
    } else if (value.count > 0) {
        memcpy(set->bytes.data + write->value_at, value.data, value.count);
    }
    write->value_count = (uint32_t)value.count;
}

static void take(struct write_set *set, struct slice key, struct slice value, enum call call)
{
    uint32_t hash = (uint32_t)hash_bytes_seeded(key, set->seed);
    ASSERT(set->place_count > 0);
    uint32_t *place = place_of(set, key, hash);
    struct write *write;
    if (*place == 0) {
        write = add(set, key, hash);
        write->known = first_step[call];
        *place = set->count;
    } else {
        write = &set->writes[*place - 1];
        write->known = steps[write->known][call];
    }
    set_value(set, write, value);
}

void write_set_put(struct write_set *set, struct slice key, struct slice value)
{
    take(set, key, value, CALL_PUT);
}

void write_set_put_new(struct write_set *set, struct slice key, struct slice value)
{
    take(set, key, value, CALL_PUT_NEW);
}

void write_set_delete(struct write_set *set, struct slice key)
{
    take(set, key, slice_of(NULL, 0), CALL_DELETE);
}

/* ---- written -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b, void *context)
{
    const struct write_set *set = context;
    const struct write *x = &set->writes[*(const uint32_t *)a];
    const struct write *y = &set->writes[*(const uint32_t *)b];
    uint32_t common = x->key_count < y->key_count ? x->key_count : y->key_count;
    int order = memcmp(set->bytes.data + x->key_at, set->bytes.data + y->key_at, common);
    return order != 0 ? order : (x->key_count > y->key_count) - (x->key_count < y->key_count);
}

static void forget_writes(struct write_set *set)
{
    if (set->bytes.capacity > BYTES_KEPT_MAX) {
        give_memory(set);
    } else if (set->place_count > 0) {
        memset(set->places, 0, set->place_count * sizeof(*set->places));
    }
    set->count = 0;
    set->bytes.end = 0; /* keeps the memory, as buf_consume() would not */
}

/* The writes into the batch, in the order of their keys. */
static void pour(struct write_set *set)
{
    uint32_t *order = set->places; /* needed no more (W3) */
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->writes[i].known != NOTHING) {
            order[count++] = i;
        }
    }
    if (count > 0) {
        qsort_r(order, count, sizeof(*order), compare, set);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct write *write = &set->writes[order[i]];
        if (write->known == DELETE) {
            kv_batch_delete(set->batch, key_of(set, write));
        } else {
            kv_batch_put(set->batch, key_of(set, write), value_of(set, write));
        }
    }
    forget_writes(set);
}

void write_set_delete_range(struct write_set *set, struct slice from, struct slice to)
{
    pour(set); /* W2 */
    kv_batch_delete_range(set->batch, from, to);
}

void write_set_clear(struct write_set *set)
{
    forget_writes(set);
    kv_batch_clear(set->batch);
}

uint64_t write_set_bytes(const struct write_set *set)
{
    return set->bytes.end + set->count * sizeof(struct write) + kv_batch_bytes(set->batch);
}

enum err write_set_write(struct write_set *set, struct kv *kv)
{
    pour(set);
    if (kv_batch_bytes(set->batch) > 0) {
        TRY(kv_write(kv, set->batch));
        kv_batch_clear(set->batch);
    }
    return OK;
}
