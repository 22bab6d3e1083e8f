#include "core/base/trail.h"

#include "core/base/assert.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <xxhash.h>

enum shelf { DOOR, LIFE, DENIED, SHELF_COUNT };

enum {
    SET_RECORDS = 64,
    SET_OF_ONE_MAX = SET_RECORDS / 2, /* what one client or address may hold of a set */
    SET_COUNT = TRAIL_RECORDS / SET_RECORDS,
};

/* Which sets a shelf has: half of all are for what clients were denied or lost. */
static const struct {
    uint32_t first, count;
} shelves[SHELF_COUNT] = {
    [DOOR] = {0, SET_COUNT / 4},
    [LIFE] = {SET_COUNT / 4, SET_COUNT / 4},
    [DENIED] = {SET_COUNT / 2, SET_COUNT / 2},
};

/*
 * Hashes of what lies in the records, side by side, so that a search touches no record but those it
 * finds. 64 seeded bits: two names with the same hash count as one.
 */
struct set {
    uint64_t repeat[SET_RECORDS]; /* of all that makes a repeat; 0: a newer one took its place */
    uint64_t client[SET_RECORDS]; /* 0: no client */
    uint64_t address[SET_RECORDS];
    uint64_t sequence[SET_RECORDS]; /* 0: empty */
    struct trail_record records[SET_RECORDS];
};

struct trail {
    uint64_t seed, sequence;
    struct set sets[SET_COUNT];
};

static const struct {
    const char *name, *text;
    bool counts;
    enum shelf shelf;
} rows[TRAIL_COUNT] = {
#define TRAIL_ROW(name, label, counts, shelf, text) {label, text, counts, shelf},
    TRAIL_TABLE(TRAIL_ROW)
#undef TRAIL_ROW
};

struct trail *trail_new(uint64_t seed)
{
    struct trail *trail = calloc(1, sizeof(*trail));
    if (trail != NULL) {
        trail->seed = seed;
    }
    return trail;
}

void trail_free(struct trail *trail)
{
    free(trail);
}

/* ---- texts and hashes ---------------------------------------------------------------------- */

/* As much as fits, but not half a character: a byte 10xxxxxx after the cut means there is one. */
static uint8_t copy_cut(char *target, uint8_t target_max, struct slice text)
{
    static const char ellipsis[3] = "\xe2\x80\xa6";
    if (text.count <= target_max) {
        if (text.count > 0) {
            memcpy(target, text.data, text.count);
        }
        return (uint8_t)text.count;
    }
    size_t count = target_max - sizeof(ellipsis);
    while (count > 0 && (text.data[count] & 0xc0) == 0x80) {
        count--;
    }
    memcpy(target, text.data, count);
    memcpy(target + count, ellipsis, sizeof(ellipsis));
    return (uint8_t)(count + sizeof(ellipsis));
}

static uint64_t hash_text(const struct trail *trail, struct slice text)
{
    return text.count == 0 ? 0 : XXH3_64bits_withSeed(text.data, text.count, trail->seed) | 1;
}

/* Whoever has an IPv6 address has a whole /64 of them. */
static uint64_t hash_address(const struct trail *trail, const struct trail_peer *peer)
{
    enum { PREFIX_BYTES = 8 };
    return peer->kind == 0
               ? 0
               : XXH3_64bits_withSeed(peer->ip, PREFIX_BYTES, trail->seed + peer->kind) | 1;
}

static uint64_t hash_repeat(const struct trail *trail, const struct trail_event *event,
                            uint64_t client, uint64_t address)
{
    uint64_t parts[] = {client, address, hash_text(trail, event->topic),
                        (uint64_t)event->what << 32 | (uint64_t)event->why};
    return XXH3_64bits_withSeed(parts, sizeof(parts), trail->seed) | 1;
}

/* ---- adding -------------------------------------------------------------------------------- */

/* Who is no client yet, or is not believed yet, stands at the door: its address pays. */
static enum shelf shelf_of(const struct trail_event *event, uint64_t client)
{
    return client == 0 ? DOOR : rows[event->what].shelf;
}

static uint32_t set_of(enum shelf shelf, uint64_t client, uint64_t address)
{
    uint64_t payer = shelf == DOOR ? address : client;
    return shelves[shelf].first + (uint32_t)((payer >> 8) % shelves[shelf].count);
}

/* The place for one more: the oldest, or the payer's own oldest when it holds its share. */
static uint32_t place_choose(const struct set *set, const uint64_t *payers, uint64_t payer)
{
    uint32_t own_count = 0, own_oldest = 0, oldest = 0;
    for (uint32_t i = 0; i < SET_RECORDS; i++) {
        if (set->sequence[i] < set->sequence[oldest]) {
            oldest = i;
        }
        if (set->sequence[i] != 0 && payers[i] == payer) {
            if (own_count == 0 || set->sequence[i] < set->sequence[own_oldest]) {
                own_oldest = i;
            }
            own_count++;
        }
    }
    return own_count >= SET_OF_ONE_MAX ? own_oldest : oldest;
}

static void record_write(struct trail_record *record, uint64_t wall_ms,
                         const struct trail_event *event)
{
    record->last_ms = wall_ms;
    record->what = (uint16_t)event->what;
    record->why = (uint16_t)event->why;
    record->peer = event->peer;
    record->packet_id = event->packet_id;
    record->qos = event->qos;
    record->client_bytes = copy_cut(record->client, TRAIL_CLIENT_MAX, event->client);
    record->user_bytes = copy_cut(record->user, TRAIL_USER_MAX, event->user);
    record->topic_bytes = copy_cut(record->topic, TRAIL_TOPIC_MAX, event->topic);
    record->detail_bytes = copy_cut(record->detail, TRAIL_DETAIL_MAX, event->detail);
}

/* The same happened a moment ago: it is counted there. A clock that was set back is a moment, too. */
static bool repeat_count(struct set *set, uint64_t repeat, uint64_t sequence, uint64_t wall_ms,
                         const struct trail_event *event)
{
    for (uint32_t i = 0; i < SET_RECORDS; i++) {
        if (set->repeat[i] != repeat) {
            continue;
        }
        struct trail_record *record = &set->records[i];
        if (wall_ms > record->last_ms + TRAIL_REPEAT_MS) {
            set->repeat[i] = 0;
            return false;
        }
        set->sequence[i] = record->sequence = sequence;
        record->count += record->count < UINT32_MAX;
        record->last_ms = wall_ms;
        record->peer = event->peer;
        record->packet_id = event->packet_id;
        record->qos = event->qos;
        record->user_bytes = copy_cut(record->user, TRAIL_USER_MAX, event->user);
        record->detail_bytes = copy_cut(record->detail, TRAIL_DETAIL_MAX, event->detail);
        return true;
    }
    return false;
}

void trail_add(struct trail *trail, uint64_t wall_ms, const struct trail_event *event)
{
    ASSERT((unsigned)event->what < TRAIL_COUNT);
    uint64_t client = hash_text(trail, event->client);
    uint64_t address = hash_address(trail, &event->peer);
    uint64_t repeat = hash_repeat(trail, event, client, address);
    enum shelf shelf = shelf_of(event, client);
    struct set *set = &trail->sets[set_of(shelf, client, address)];
    uint64_t sequence = ++trail->sequence;

    if (shelf != LIFE && repeat_count(set, repeat, sequence, wall_ms, event)) {
        return;
    }
    uint32_t place = shelf == DOOR ? place_choose(set, set->address, address)
                                   : place_choose(set, set->client, client);
    struct trail_record *record = &set->records[place];
    set->repeat[place] = repeat;
    set->client[place] = client;
    set->address[place] = address;
    set->sequence[place] = record->sequence = sequence;
    record->count = 1;
    record->first_ms = wall_ms;
    record_write(record, wall_ms, event);
}

/* ---- asking -------------------------------------------------------------------------------- */

static int newest_first(const void *a, const void *b)
{
    const struct trail_record *const *first = a, *const *second = b;
    return (*first)->sequence < (*second)->sequence   ? 1
           : (*first)->sequence > (*second)->sequence ? -1
                                                      : 0;
}

static bool is_asked(const struct set *set, uint32_t place, const struct trail_query *query,
                     uint64_t client, uint64_t address)
{
    if (set->sequence[place] == 0) {
        return false;
    }
    if (client != 0) {
        return set->client[place] == client;
    }
    return set->address[place] == address &&
           memcmp(set->records[place].peer.ip, query->peer.ip, sizeof(query->peer.ip)) == 0;
}

uint32_t trail_find(const struct trail *trail, const struct trail_query *query,
                    struct trail_record *records, uint32_t records_max)
{
    const struct trail_record *found[TRAIL_RECORDS];
    uint32_t count = 0;
    uint64_t client = hash_text(trail, query->client);
    uint64_t address = hash_address(trail, &query->peer);
    if (client == 0 && address == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < SET_COUNT; i++) {
        const struct set *set = &trail->sets[i];
        for (uint32_t place = 0; place < SET_RECORDS; place++) {
            if (is_asked(set, place, query, client, address)) {
                found[count++] = &set->records[place];
            }
        }
    }
    qsort(found, count, sizeof(found[0]), newest_first);
    count = count < records_max ? count : records_max;
    for (uint32_t i = 0; i < count; i++) {
        records[i] = *found[i];
    }
    return count;
}

const char *trail_name(enum trail_what what)
{
    return (unsigned)what < TRAIL_COUNT ? rows[what].name : "unknown";
}

const char *trail_text(enum trail_what what)
{
    return (unsigned)what < TRAIL_COUNT ? rows[what].text : "unknown";
}

bool trail_counts(enum trail_what what)
{
    return (unsigned)what < TRAIL_COUNT && rows[what].counts;
}
