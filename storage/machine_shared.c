#include "storage/machine_shared.h"

#include "core/base/assert.h"

#include <stdlib.h>

enum { PLACES_MIN = 64 };

/* Fibonacci hashing: numbers follow each other, and old ones must not lie in a row with new ones. */
static uint32_t home_of(const struct shared *shared, uint64_t number)
{
    return (uint32_t)(number * 0x9E3779B97F4A7C15 >> 32) & (shared->place_count - 1);
}

static uint32_t after(const struct shared *shared, uint32_t place)
{
    return (place + 1) & (shared->place_count - 1);
}

void shared_deinit(struct shared *shared)
{
    free(shared->places);
    *shared = (struct shared){.count = 0};
}

static struct share *place_for(const struct shared *shared, uint64_t number)
{
    uint32_t place = home_of(shared, number);
    while (shared->places[place].number != 0 && shared->places[place].number != number) {
        place = after(shared, place);
    }
    return &shared->places[place];
}

static enum err resize(struct shared *shared, uint64_t place_count)
{
    struct shared resized = {.count = shared->count};
    if (place_count > UINT32_MAX) {
        return ERR_NOMEM;
    }
    resized.place_count = (uint32_t)place_count;
    resized.places = calloc(place_count, sizeof(*resized.places));
    if (resized.places == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < shared->place_count; i++) {
        if (shared->places[i].number != 0) {
            *place_for(&resized, shared->places[i].number) = shared->places[i];
        }
    }
    free(shared->places);
    *shared = resized;
    return OK;
}

enum err shared_reserve(struct shared *shared, uint32_t more)
{
    uint64_t needed = (uint64_t)shared->count + more;
    uint64_t place_count = PLACES_MIN;
    while (needed > place_count / 4 * 3) {
        place_count *= 2;
    }
    if (place_count > shared->place_count) {
        return resize(shared, place_count);
    }
    if (place_count * 4 < shared->place_count) {
        (void)resize(shared, place_count * 2); /* no memory to save memory: later, then */
    }
    return OK;
}

struct share *shared_get(const struct shared *shared, uint64_t number)
{
    if (shared->count == 0 || number == 0) {
        return NULL;
    }
    struct share *share = place_for(shared, number);
    return share->number == 0 ? NULL : share;
}

struct share *shared_add(struct shared *shared, uint64_t number)
{
    ASSERT(number != 0);
    ASSERT(shared->count < shared->place_count / 4 * 3);
    struct share *share = place_for(shared, number);
    ASSERT(share->number == 0);
    *share = (struct share){.number = number};
    shared->count++;
    return share;
}

/* Whoever was pushed on by the one that goes moves up, so that no gap ends a search too early. */
void shared_remove(struct shared *shared, struct share *share)
{
    uint32_t gap = (uint32_t)(share - shared->places);
    ASSERT(gap < shared->place_count && share->number != 0);
    for (uint32_t i = after(shared, gap); shared->places[i].number != 0; i = after(shared, i)) {
        uint32_t mask = shared->place_count - 1;
        uint32_t home = home_of(shared, shared->places[i].number);
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            shared->places[gap] = shared->places[i];
            gap = i;
        }
    }
    shared->places[gap].number = 0;
    shared->count--;
}
