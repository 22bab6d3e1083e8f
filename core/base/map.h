/*
 * map: open-addressing hash map from byte strings to pointers; the keys stay in the values.
 *
 * Floor:  base.
 * Thread: the owner.
 * Memory: the table; neither keys nor values. A key must stay in place and unchanged while its
 *         value is in the map (it is read again through key_of when probing).
 *
 * Hash: XXH3 with a seed from the map's creator, so that nobody outside can choose collisions.
 */
#ifndef TERN_BASE_MAP_H
#define TERN_BASE_MAP_H

#include "core/base/err.h"
#include "core/base/ledger.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct map;

/* key_of gives the key of a value. NULL: memory is exhausted. */
struct map *map_new(struct slice (*key_of)(const void *value), uint64_t seed);
void map_free(struct map *map); /* accepts NULL; values are not touched */

/* It is empty: what its table takes from now on is entered in the ledger. */
void map_enter(struct map *map, enum ledger_use use);

void *map_get(const struct map *map, struct slice key);

/* ERR_EXISTS: a value with that key is there, nothing changed. ERR_NOMEM: nothing changed. */
enum err map_put(struct map *map, void *value);

/* The removed value, or NULL. */
void *map_remove(struct map *map, struct slice key);

uint32_t map_count(const struct map *map);

/*
 * Walk: `cursor` starts at 0; NULL ends the walk. Values may be removed during a walk (each is
 * still seen at most once, unless others are put in), and the walk may go on in a later turn.
 */
void *map_next(const struct map *map, uint64_t *cursor);

/* The node-wide hash of a client id or topic: XXH3_64bits, seed 0 (partitions depend on it). */
uint64_t hash_bytes(struct slice bytes);

/* XXH3_64bits with a seed: for what must not collide at the will of others, who do not know it. */
uint64_t hash_bytes_seeded(struct slice bytes, uint64_t seed);

#endif
