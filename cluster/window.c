#include "cluster/window.h"

#include "core/base/assert.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 16 };

static struct consensus_entry *slot_of(const struct window *window, uint64_t index)
{
    return &window->ring[index & (window->capacity - 1)];
}

static void slot_free(struct window *window, uint64_t index)
{
    struct consensus_entry *entry = slot_of(window, index);

    window->bytes -= entry->bytes.count;
    free((void *)entry->bytes.data);
    *entry = (struct consensus_entry){0};
}

void window_deinit(struct window *window)
{
    window_truncate(window, window->first);
    free(window->ring);
    *window = (struct window){0};
}

enum err window_reserve(struct window *window, uint32_t count)
{
    struct window grown = *window;

    if (count <= window->capacity - window->count) {
        return OK;
    }
    grown.capacity = window->capacity == 0 ? CAPACITY_MIN : window->capacity;
    while (grown.capacity - window->count < count) {
        ASSERT(grown.capacity <= UINT32_MAX / 2);
        grown.capacity *= 2;
    }
    grown.ring = calloc(grown.capacity, sizeof grown.ring[0]);
    if (grown.ring == NULL) {
        return ERR_NOMEM;
    }
    for (uint64_t index = window->first; index < window_end(window); index++) {
        *slot_of(&grown, index) = *slot_of(window, index);
    }
    free(window->ring);
    *window = grown;
    return OK;
}

void window_put(struct window *window, uint64_t index, const struct consensus_entry *entry)
{
    ASSERT(window->count < window->capacity);
    if (window->count == 0) {
        window->first = index;
    }
    ASSERT(index == window_end(window));
    window->count++;
    window->bytes += entry->bytes.count;
    *slot_of(window, index) = *entry;
}

const struct consensus_entry *window_get(const struct window *window, uint64_t index)
{
    return index < window->first || index >= window_end(window) ? NULL : slot_of(window, index);
}

void window_truncate(struct window *window, uint64_t index)
{
    while (window->count > 0 && window_end(window) > index) {
        slot_free(window, window_end(window) - 1);
        window->count--;
    }
}

void window_cut(struct window *window, uint64_t index)
{
    while (window->count > 0 && window->first <= index) {
        slot_free(window, window->first);
        window->first++;
        window->count--;
    }
}
