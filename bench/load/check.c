#include "bench/load/check.h"

#include "core/base/assert.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_BYTES = 4096, PATTERN_CYCLE = 251 };

static uint8_t pattern_bytes[PATTERN_BYTES + PATTERN_CYCLE];

static void pattern_fill(void)
{
    for (size_t i = 0; i < sizeof(pattern_bytes); i++) {
        pattern_bytes[i] = (uint8_t)(i % PATTERN_CYCLE);
    }
}

/* The bytes behind the stamp begin at a place that depends on the sequence. Threads share them. */
static const uint8_t *pattern(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, pattern_fill);
    return pattern_bytes;
}

static size_t pattern_begin(const struct stamp *stamp)
{
    return (size_t)((stamp->sequence + stamp->publisher) % PATTERN_CYCLE);
}

static uint32_t sum_of(const struct stamp *stamp, size_t count)
{
    uint64_t sum = stamp->publisher;
    sum = (sum ^ stamp->sequence) * 0x9e3779b97f4a7c15u;
    sum = (sum ^ stamp->sent_ns ^ (sum >> 29)) * 0x9e3779b97f4a7c15u;
    sum = (sum ^ count ^ (sum >> 29)) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(sum >> 32);
}

void stamp_write(uint8_t *payload, size_t count, const struct stamp *stamp)
{
    ASSERT(count >= STAMP_BYTES);
    uint32_t sum = sum_of(stamp, count);
    memcpy(payload, &sum, 4);
    memcpy(payload + 4, &stamp->publisher, 4);
    memcpy(payload + 8, &stamp->sequence, 8);
    memcpy(payload + 16, &stamp->sent_ns, 8);
    size_t begin = pattern_begin(stamp);
    for (size_t at = STAMP_BYTES; at < count;) {
        size_t step = count - at < PATTERN_BYTES ? count - at : PATTERN_BYTES;
        memcpy(payload + at, pattern() + begin, step);
        at += step;
        begin = (begin + step) % PATTERN_CYCLE;
    }
}

bool stamp_read(struct slice payload, struct stamp *out)
{
    struct stamp stamp;
    uint32_t sum;

    if (payload.count < STAMP_BYTES) {
        return false;
    }
    memcpy(&sum, payload.data, 4);
    memcpy(&stamp.publisher, payload.data + 4, 4);
    memcpy(&stamp.sequence, payload.data + 8, 8);
    memcpy(&stamp.sent_ns, payload.data + 16, 8);
    if (sum != sum_of(&stamp, payload.count)) {
        return false;
    }
    size_t begin = pattern_begin(&stamp);
    for (size_t at = STAMP_BYTES; at < payload.count;) {
        size_t left = payload.count - at;
        size_t step = left < PATTERN_BYTES ? left : PATTERN_BYTES;
        if (memcmp(payload.data + at, pattern() + begin, step) != 0) {
            return false;
        }
        at += step;
        begin = (begin + step) % PATTERN_CYCLE;
    }
    *out = stamp;
    return true;
}

static uint64_t *word_of(const struct track *track, uint64_t sequence)
{
    return &track->bits[(sequence & (track->size - 1)) / 64];
}

static uint64_t bit_of(uint64_t sequence)
{
    return (uint64_t)1 << (sequence % 64);
}

static bool is_seen(const struct track *track, uint64_t sequence)
{
    return (*word_of(track, sequence) & bit_of(sequence)) != 0;
}

/* Room for the bits of count sequences. */
static void bits_extend(struct track *track, uint64_t count)
{
    struct track larger = *track;
    larger.size = track->size == 0 ? 64 : track->size;
    while (larger.size < count) {
        larger.size *= 2;
    }
    if (larger.size == track->size) {
        return;
    }
    larger.bits = calloc(larger.size / 64, sizeof(uint64_t));
    ASSERT(larger.bits != NULL);
    for (uint64_t i = track->base; track->size > 0 && i < track->next; i++) {
        *word_of(&larger, i) |= is_seen(track, i) ? bit_of(i) : 0;
    }
    free(track->bits);
    *track = larger;
}

/* I2, I4: up to `least` in any case, and on over what was seen. */
static void base_advance(struct track *track, uint64_t least)
{
    if (least > track->next) {
        memset(track->bits, 0, track->size / 8);
        track->base = least;
        return;
    }
    while (track->base < track->next && (track->base < least || is_seen(track, track->base))) {
        *word_of(track, track->base) &= ~bit_of(track->base);
        track->base++;
    }
}

static enum track_verdict add_ahead(struct track *track, uint64_t sequence)
{
    uint64_t skipped = sequence - track->next;
    if (sequence + 1 - track->base > TRACK_WINDOW) {
        bits_extend(track, 1);                            /* there may be none yet */
        base_advance(track, sequence + 1 - TRACK_WINDOW); /* I3 */
    }
    bits_extend(track, sequence + 1 - track->base);
    *word_of(track, sequence) |= bit_of(sequence);
    track->missing += skipped;
    track->next = sequence + 1;
    base_advance(track, track->base);
    return skipped == 0 ? TRACK_IN_ORDER : TRACK_AFTER_GAP;
}

enum track_verdict track_add(struct track *track, uint64_t sequence)
{
    if (sequence == track->next && track->base == sequence) { /* I1 */
        track->base = track->next = sequence + 1;
        return TRACK_IN_ORDER;
    }
    if (sequence >= track->next) {
        return add_ahead(track, sequence);
    }
    if (sequence < track->base || is_seen(track, sequence)) {
        return TRACK_REPEATED;
    }
    *word_of(track, sequence) |= bit_of(sequence);
    track->missing--;
    base_advance(track, track->base);
    return TRACK_LATE;
}

void track_deinit(struct track *track)
{
    free(track->bits);
    *track = (struct track){0};
}

uint64_t track_lost(const struct track *track, uint64_t sent_count)
{
    return track->missing + (sent_count > track->next ? sent_count - track->next : 0);
}
