/* map: put and remove, hits and misses, in a map that fits the cache and in one that does not. */
#include "bench/micro/micro.h"
#include "core/base/map.h"
#include "core/base/rng.h"

#include <string.h>

struct entry {
    uint32_t key_bytes;
    char key[28];
};

struct bench {
    struct map *map;
    struct entry *entries;
    uint32_t count;
    struct rng rng;
};

static struct slice key_of(const void *value)
{
    const struct entry *entry = value;
    return slice_of(entry->key, entry->key_bytes);
}

static void hits(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        const struct entry *entry = &bench->entries[rng_below(&bench->rng, bench->count)];
        micro_keep((uintptr_t)map_get(bench->map, key_of(entry)));
    }
}

static void misses(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t key = rng_u64(&bench->rng);
        micro_keep((uintptr_t)map_get(bench->map, slice_of(&key, sizeof(key))));
    }
}

static void removals_and_puts(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct entry *entry = &bench->entries[rng_below(&bench->rng, bench->count)];
        map_remove(bench->map, key_of(entry));
        micro_keep(map_put(bench->map, entry));
    }
}

static void fill_and_free(void *context, uint64_t ops)
{
    struct bench *bench = context;
    struct map *map = map_new(key_of, 1);
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(map_put(map, &bench->entries[i]));
    }
    map_free(map);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1000, 1000000};
    micro_begin(argc, argv);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint32_t count = (uint32_t)micro_scaled(counts[i]);
        struct bench bench = {.count = count, .map = map_new(key_of, 42)};
        char name[64];
        bench.entries = calloc(count, sizeof(*bench.entries));
        rng_init(&bench.rng, 1);
        for (uint32_t at = 0; at < count; at++) {
            struct entry *entry = &bench.entries[at];
            entry->key_bytes = (uint32_t)snprintf(entry->key, sizeof(entry->key), "client-%u", at);
            map_put(bench.map, entry);
        }
        snprintf(name, sizeof(name), "map get, hit, %u keys", counts[i]);
        micro_run(name, hits, &bench, 1000000);
        snprintf(name, sizeof(name), "map get, miss, %u keys", counts[i]);
        micro_run(name, misses, &bench, 1000000);
        snprintf(name, sizeof(name), "map remove and put, %u keys", counts[i]);
        micro_run(name, removals_and_puts, &bench, 1000000);
        snprintf(name, sizeof(name), "map put into a new map, %u keys", counts[i]);
        micro_run(name, fill_and_free, &bench, counts[i]);
        map_free(bench.map);
        free(bench.entries);
    }
    return 0;
}
