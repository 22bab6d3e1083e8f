#include "core/broker/taken.h"

#include "core/base/blocks.h"
#include "core/base/map.h"

#include <pthread.h>
#include <stdlib.h>

struct note {
    struct note_key {
        uint64_t source, number, group;
    } key;
    uint32_t partition;
};

struct taken {
    pthread_mutex_t lock;
    struct map *notes; /* struct note, by its key */
};

static struct slice key_of(const void *value)
{
    return slice_of(&((const struct note *)value)->key, sizeof(struct note_key));
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
        blocks_give(note, sizeof(*note));
    }
    map_free(taken->notes);
    pthread_mutex_destroy(&taken->lock);
    free(taken);
}

enum err taken_add(struct taken *taken, uint32_t partition, uint32_t source, uint64_t number,
                   uint64_t group)
{
    struct note *note = blocks_take(sizeof(*note));
    if (note == NULL) {
        return ERR_NOMEM;
    }
    *note = (struct note){{source, number, group}, partition};
    pthread_mutex_lock(&taken->lock);
    enum err err = map_put(taken->notes, note);
    pthread_mutex_unlock(&taken->lock);
    if (err != OK) {
        blocks_give(note, sizeof(*note));
    }
    return err == ERR_EXISTS ? OK : err;
}

bool taken_has(struct taken *taken, uint32_t source, uint64_t number, uint64_t group)
{
    const struct note_key key = {source, number, group};
    pthread_mutex_lock(&taken->lock);
    bool has = map_get(taken->notes, slice_of(&key, sizeof(key))) != NULL;
    pthread_mutex_unlock(&taken->lock);
    return has;
}

#define SOURCE_ANY UINT32_MAX

static void forget(struct taken *taken, uint32_t partition, uint32_t source, uint64_t below)
{
    uint64_t cursor = 0;
    struct note *note;
    pthread_mutex_lock(&taken->lock);
    while ((note = map_next(taken->notes, &cursor)) != NULL) {
        bool is_of_source = source == SOURCE_ANY || note->key.source == source;
        if (note->partition == partition && is_of_source && note->key.number < below) {
            map_remove(taken->notes, key_of(note));
            blocks_give(note, sizeof(*note));
        }
    }
    pthread_mutex_unlock(&taken->lock);
}

void taken_forget_below(struct taken *taken, uint32_t partition, uint32_t source, uint64_t number)
{
    forget(taken, partition, source, number);
}

void taken_forget(struct taken *taken, uint32_t partition)
{
    forget(taken, partition, SOURCE_ANY, UINT64_MAX);
}
