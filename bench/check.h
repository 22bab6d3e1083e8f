/*
 * check: what a payload says about itself, and whether all of them came, once and in order.
 *
 * Floor:  bench.
 * Thread: the owner.
 *
 * A payload of ours is a stamp and then bytes that follow from the stamp, so that one that was
 * cut, mixed up or changed is noticed.
 */
#ifndef TERN_BENCH_CHECK_H
#define TERN_BENCH_CHECK_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    STAMP_BYTES = 24,
    TRACK_WINDOW = 1024, /* how far back a repeat is told from a late one */
};

struct stamp {
    uint32_t publisher;
    uint64_t sequence; /* from 0, without gaps */
    uint64_t sent_ns;  /* when it was sent; with a fixed rate, when it should have been */
};

/* Fill count bytes; count >= STAMP_BYTES. */
void stamp_write(uint8_t *payload, size_t count, const struct stamp *stamp);

/* False: these are not the bytes that were written. *out is set only on true. */
bool stamp_read(struct slice payload, struct stamp *out);

/* What one subscriber has seen of one publisher. A zeroed track has seen nothing. */
struct track {
    uint64_t next;    /* the sequence that comes next if all is well */
    uint64_t missing; /* below next and not seen (yet) */
    uint64_t seen[TRACK_WINDOW / 64];
};

enum track_verdict {
    TRACK_IN_ORDER,
    TRACK_AFTER_GAP, /* others before it have not come */
    TRACK_LATE,      /* one of those, after all */
    TRACK_REPEATED,
};

enum track_verdict track_add(struct track *track, uint64_t sequence);

/* How many of the first sent_count never came. */
uint64_t track_lost(const struct track *track, uint64_t sent_count);

#endif
