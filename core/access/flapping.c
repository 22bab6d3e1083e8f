#include "core/access/flapping.h"

#include "core/base/map.h"

#include <pthread.h>
#include <stdlib.h>

enum { WAYS = 4, ROW_COUNT = FLAPPING_IDS_MAX / WAYS, LOCK_COUNT = 64 };

struct seen {
    uint64_t hash; /* with a secret seed: stands for the id */
    uint64_t begin_ns, last_ns;
    uint32_t count;    /* since begin_ns; 0: nobody */
    bool flaps;        /* in this window... */
    bool was_flapping; /* ...and in the one before */
};

struct flapping {
    uint64_t seed;
    pthread_mutex_t locks[LOCK_COUNT];
    struct seen rows[ROW_COUNT][WAYS];
};

struct flapping *flapping_new(uint64_t seed)
{
    struct flapping *flapping = calloc(1, sizeof(*flapping)); /* pages come as they are used */
    if (flapping == NULL) {
        return NULL;
    }
    flapping->seed = seed;
    for (int i = 0; i < LOCK_COUNT; i++) {
        pthread_mutex_init(&flapping->locks[i], NULL);
    }
    return flapping;
}

void flapping_free(struct flapping *flapping)
{
    if (flapping == NULL) {
        return;
    }
    for (int i = 0; i < LOCK_COUNT; i++) {
        pthread_mutex_destroy(&flapping->locks[i]);
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
    uint64_t gone_ns = now_ns - seen->begin_ns;
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
    pthread_mutex_t *lock =
        &flapping->locks[hash % LOCK_COUNT]; /* of its row: both are powers of 2 */
    pthread_mutex_lock(lock);
    struct seen *seen = seen_find(flapping->rows[hash % ROW_COUNT], hash);
    enum flapping_verdict verdict = count_one(seen, count, window_ns, now_ns);
    pthread_mutex_unlock(lock);
    return verdict;
}
