/*
 * Linear probing over slots of 16 bytes; the hash is kept beside the value, so that growing touches
 * no value and a miss compares no key.
 *
 * Invariants
 *   I1  slot_count is 0 (no table yet) or a power of two; at least a quarter of the slots is EMPTY,
 *       so every probe ends.
 *   I2  between the slot its hash points to and the slot a value is in, no slot is EMPTY.
 *   I3  only map_put() moves values. map_remove() leaves a tombstone at most, so a walk that
 *       removes sees everything once.
 *   I4  used counts values and tombstones, count counts values.
 */
#include "core/base/map.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <xxhash.h>

enum { SLOT_COUNT_MIN = 8 };

struct slot {
    uint64_t hash;
    void *value; /* NULL: empty */
};

struct map {
    struct slice (*key_of)(const void *value);
    uint64_t seed;
    struct slot *slots;
    uint32_t slot_count, count, used;
    enum ledger_use use; /* LEDGER_USE_COUNT: its table is in no ledger */
};

static char tombstone_place;
#define TOMBSTONE ((void *)&tombstone_place)

static bool holds_value(const struct slot *slot)
{
    return slot->value != NULL && slot->value != TOMBSTONE;
}

uint64_t hash_bytes(struct slice bytes)
{
    return XXH3_64bits(bytes.data, bytes.count);
}

uint64_t hash_bytes_seeded(struct slice bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.count, seed);
}

static uint64_t hash_of(const struct map *map, struct slice key)
{
    return hash_bytes_seeded(key, map->seed);
}

struct map *map_new(struct slice (*key_of)(const void *value), uint64_t seed)
{
    ASSERT(key_of != NULL);
    struct map *map = calloc(1, sizeof(*map));
    if (map == NULL) {
        return NULL;
    }
    map->key_of = key_of;
    map->seed = seed;
    map->use = LEDGER_USE_COUNT;
    return map;
}

void map_enter(struct map *map, enum ledger_use use)
{
    ASSERT(map->slot_count == 0);
    map->use = use;
}

/* Another table, or none. */
static void replace_slots(struct map *map, struct slot *slots, uint32_t slot_count)
{
    if (map->use != LEDGER_USE_COUNT) {
        ledger_add(map->use, ledger_block(slot_count * sizeof(*slots)) -
                                 ledger_block(map->slot_count * sizeof(*slots)));
    }
    free(map->slots);
    map->slots = slots;
    map->slot_count = slot_count;
    map->used = map->count;
}

void map_free(struct map *map)
{
    if (map == NULL) {
        return;
    }
    map->count = 0;
    replace_slots(map, NULL, 0);
    free(map);
}

/* The slot of the key, or NULL. */
static struct slot *slot_find(const struct map *map, struct slice key, uint64_t hash)
{
    if (map->slot_count == 0) {
        return NULL;
    }
    uint32_t mask = map->slot_count - 1;
    for (uint32_t at = (uint32_t)hash & mask;; at = (at + 1) & mask) { /* I1 */
        struct slot *slot = &map->slots[at];
        if (slot->value == NULL) {
            return NULL; /* I2 */
        }
        if (slot->hash == hash && slot->value != TOMBSTONE &&
            slice_equal(map->key_of(slot->value), key)) {
            return slot;
        }
    }
}

void *map_get(const struct map *map, struct slice key)
{
    const struct slot *slot = slot_find(map, key, hash_of(map, key));
    return slot == NULL ? NULL : slot->value;
}

/* Where a value that is not in the map goes: the first slot on its way without a value. */
static struct slot *slot_vacant(struct slot *slots, uint32_t slot_count, uint64_t hash)
{
    uint32_t mask = slot_count - 1;
    uint32_t at = (uint32_t)hash & mask;
    while (holds_value(&slots[at])) {
        at = (at + 1) & mask;
    }
    return &slots[at];
}

/* A fresh table, at most half full after one more value: grows, shrinks, sheds tombstones. */
static enum err rebuild(struct map *map)
{
    uint64_t slot_count = SLOT_COUNT_MIN;
    while (slot_count < ((uint64_t)map->count + 1) * 2) {
        slot_count *= 2;
    }
    if (slot_count > UINT32_MAX) {
        return ERR_NOMEM;
    }
    struct slot *slots = calloc(slot_count, sizeof(*slots));
    if (slots == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        const struct slot *slot = &map->slots[i];
        if (holds_value(slot)) {
            *slot_vacant(slots, (uint32_t)slot_count, slot->hash) = *slot;
        }
    }
    replace_slots(map, slots, (uint32_t)slot_count);
    return OK;
}

enum err map_put(struct map *map, void *value)
{
    ASSERT(value != NULL);
    struct slice key = map->key_of(value);
    uint64_t hash = hash_of(map, key);

    if (slot_find(map, key, hash) != NULL) {
        return ERR_EXISTS;
    }
    bool is_full = (uint64_t)(map->used + 1) * 4 > (uint64_t)map->slot_count * 3; /* I1 */
    bool is_sparse = map->slot_count > SLOT_COUNT_MIN && map->count + 1 < map->slot_count / 8;
    if (is_full || is_sparse) {
        enum err err = rebuild(map);
        if (err != OK && is_full) {
            return err;
        }
    }
    struct slot *slot = slot_vacant(map->slots, map->slot_count, hash);
    map->used += slot->value == NULL;
    map->count++;
    *slot = (struct slot){.hash = hash, .value = value};
    return OK;
}

void *map_remove(struct map *map, struct slice key)
{
    struct slot *slot = slot_find(map, key, hash_of(map, key));
    if (slot == NULL) {
        return NULL;
    }
    void *value = slot->value;
    map->count--;
    if (map->count == 0) { /* the memory of a million goes back with the last of them */
        replace_slots(map, NULL, 0);
        return value;
    }
    *slot = (struct slot){.value = TOMBSTONE};
    /* Tombstones right before an EMPTY slot separate nothing (I2): they become EMPTY too. */
    uint32_t mask = map->slot_count - 1;
    uint32_t at = (uint32_t)(slot - map->slots);
    if (map->slots[(at + 1) & mask].value == NULL) {
        while (map->slots[at].value == TOMBSTONE) {
            map->slots[at].value = NULL;
            map->used--;
            at = (at - 1) & mask;
        }
    }
    return value;
}

uint32_t map_count(const struct map *map)
{
    return map->count;
}

void *map_next(const struct map *map, uint64_t *cursor)
{
    while (*cursor < map->slot_count) {
        const struct slot *slot = &map->slots[(*cursor)++];
        if (holds_value(slot)) {
            return slot->value;
        }
    }
    return NULL;
}
