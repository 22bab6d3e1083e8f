#include "core/access/flapping.h"

#include "core/base/map.h"

#include <pthread.h>
#include <stdlib.h>

enum { WAYS = 4, PART_COUNT = 64, ROW_COUNT = FLAPPING_IDS_MAX / WAYS / PART_COUNT };

struct seen {
    uint64_t hash; /* with a secret seed: stands for the id */
    uint64_t begin_ns, last_ns;
    uint32_t count;    /* since begin_ns; 0: nobody */
    bool flaps;        /* in this window... */
    bool was_flapping; /* ...and in the one before */
};

struct part {
    pthread_mutex_t lock;
    struct seen (*rows)[WAYS]; /* NULL until somebody is seen here */
};

struct flapping {
    uint64_t seed;
    struct part parts[PART_COUNT];
};

struct flapping *flapping_new(uint64_t seed)
{
    struct flapping *flapping = calloc(1, sizeof(*flapping));
    if (flapping == NULL) {
        return NULL;
    }
    flapping->seed = seed;
    for (int i = 0; i < PART_COUNT; i++) {
        pthread_mutex_init(&flapping->parts[i].lock, NULL);
    }
    return flapping;
}

void flapping_free(struct flapping *flapping)
{
    if (flapping == NULL) {
        return;
    }
    for (int i = 0; i < PART_COUNT; i++) {
        pthread_mutex_destroy(&flapping->parts[i].lock);
        free(flapping->parts[i].rows);
    }
    free(flapping);
}

/* Its own, or else the one that was seen longest ago, emptied. */
static struct seen *seen_find(struct seen row[WAYS], uint64_t hash)
{
    struct seen *oldest = &row[0];
    for (int i = 0; i < WAYS; i++) {
        if (row[i].count > 0 && row[i].hash == hash) {
            return &row[i];
        }
        if (row[i].last_ns < oldest->last_ns) {
            oldest = &row[i];
        }
    }
    *oldest = (struct seen){.hash = hash};
    return oldest;
}

static enum flapping_verdict count_one(struct seen *seen, uint32_t count, uint64_t window_ns,
                                       uint64_t now_ns)
{
    /* Another shard's clock may be of a later turn. */
    uint64_t gone_ns = now_ns > seen->begin_ns ? now_ns - seen->begin_ns : 0;
    if (seen->count == 0 || gone_ns > window_ns) {
        seen->was_flapping = seen->flaps && gone_ns <= 2 * window_ns;
        seen->flaps = false;
        seen->begin_ns = now_ns;
        seen->count = 0;
    }
    seen->count++;
    seen->last_ns = now_ns;
    if (seen->count <= count) {
        return FLAPPING_NO;
    }
    bool begins = !seen->flaps && !seen->was_flapping;
    seen->flaps = true;
    return begins ? FLAPPING_BEGINS : FLAPPING_GOES_ON;
}

enum flapping_verdict flapping_seen(struct flapping *flapping, struct slice client_id,
                                    uint32_t count, uint64_t window_ns, uint64_t now_ns)
{
    if (count == 0) {
        return FLAPPING_NO;
    }
    uint64_t hash = hash_bytes_seeded(client_id, flapping->seed);
    struct part *part = &flapping->parts[hash % PART_COUNT];
    enum flapping_verdict verdict = FLAPPING_NO;
    pthread_mutex_lock(&part->lock);
    if (part->rows == NULL) {
        part->rows = calloc(ROW_COUNT, sizeof(part->rows[0]));
    }
    if (part->rows != NULL) { /* without memory nobody is told to flap */
        struct seen *seen = seen_find(part->rows[hash / PART_COUNT % ROW_COUNT], hash);
        verdict = count_one(seen, count, window_ns, now_ns);
    }
    pthread_mutex_unlock(&part->lock);
    return verdict;
}
