#include "core/broker/taken.h"

#include "core/base/map.h"

#include <pthread.h>
#include <stdlib.h>

struct note {
    uint64_t source, number, group;
};

struct taken {
    pthread_mutex_t lock; /* while shards load */
    struct map *notes;    /* struct note, by all of it */
};

static struct slice key_of(const void *value)
{
    return slice_of(value, sizeof(struct note));
}

struct taken *taken_new(uint64_t seed)
{
    struct taken *taken = calloc(1, sizeof(*taken));
    if (taken == NULL) {
        return NULL;
    }
    taken->notes = map_new(key_of, seed);
    if (taken->notes == NULL || pthread_mutex_init(&taken->lock, NULL) != 0) {
        map_free(taken->notes);
        free(taken);
        return NULL;
    }
    return taken;
}

void taken_free(struct taken *taken)
{
    uint64_t cursor = 0;
    struct note *note;
    if (taken == NULL) {
        return;
    }
    while ((note = map_next(taken->notes, &cursor)) != NULL) {
        free(note);
    }
    map_free(taken->notes);
    pthread_mutex_destroy(&taken->lock);
    free(taken);
}

enum err taken_add(struct taken *taken, uint32_t source, uint64_t number, uint64_t group)
{
    struct note *note = malloc(sizeof(*note));
    if (note == NULL) {
        return ERR_NOMEM;
    }
    *note = (struct note){source, number, group};
    pthread_mutex_lock(&taken->lock);
    enum err err = map_put(taken->notes, note);
    pthread_mutex_unlock(&taken->lock);
    if (err != OK) {
        free(note);
    }
    return err == ERR_EXISTS ? OK : err;
}

bool taken_has(const struct taken *taken, uint32_t source, uint64_t number, uint64_t group)
{
    const struct note note = {source, number, group};
    return map_get(taken->notes, slice_of(&note, sizeof(note))) != NULL;
}
