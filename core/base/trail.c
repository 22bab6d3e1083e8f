#include "core/base/trail.h"

#include "core/base/assert.h"

#include <stdlib.h>

struct trail {
    uint32_t slot_count;
    uint64_t added; /* since the beginning; the newest record is slot (added - 1) mod slot_count */
    struct trail_record records[];
};

static const char *const names[TRAIL_COUNT] = {
#define TRAIL_ROW(name, text) text,
    TRAIL_TABLE(TRAIL_ROW)
#undef TRAIL_ROW
};

struct trail *trail_new(uint32_t record_count)
{
    ASSERT(record_count > 0);
    struct trail *trail = calloc(1, sizeof(*trail) +
                                        (size_t)record_count * sizeof(struct trail_record));
    if (trail != NULL) {
        trail->slot_count = record_count;
    }
    return trail;
}

void trail_free(struct trail *trail)
{
    free(trail);
}

/* As much as fits, but not half a character: a byte 10xxxxxx after the cut means there is one. */
static uint8_t copy_cut(char *target, uint8_t target_max, struct slice text)
{
    size_t count = text.count;
    if (count > target_max) {
        count = target_max;
        while (count > 0 && (text.data[count] & 0xc0) == 0x80) {
            count--;
        }
    }
    if (count > 0) {
        memcpy(target, text.data, count);
    }
    return (uint8_t)count;
}

void trail_add(struct trail *trail, uint64_t wall_ms, enum trail_what what, enum err why,
               struct slice client, struct slice topic)
{
    ASSERT(what < TRAIL_COUNT);
    struct trail_record *record = &trail->records[trail->added % trail->slot_count];
    trail->added++;
    record->wall_ms = wall_ms;
    record->what = what;
    record->why = why;
    record->client_bytes = copy_cut(record->client, TRAIL_CLIENT_MAX, client);
    record->topic_bytes = copy_cut(record->topic, TRAIL_TOPIC_MAX, topic);
}

const struct trail_record *trail_at(const struct trail *trail, uint32_t index)
{
    if (index >= trail->added || index >= trail->slot_count) {
        return NULL;
    }
    return &trail->records[(trail->added - 1 - index) % trail->slot_count];
}

const char *trail_name(enum trail_what what)
{
    return (unsigned)what < TRAIL_COUNT ? names[what] : "unknown";
}
