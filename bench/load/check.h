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
    TRACK_WINDOW = 1 << 20, /* how far back a repeat is told from a late one */
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

/*
 * What has been seen of a row of messages that are numbered from 0. A zeroed track has seen nothing.
 *
 *        seen all, or forgotten      bits: seen or not       nothing yet
 *     0 ───────────────────────> base ──────────────> next ─────────────
 *
 * Invariants
 *   I1  without a gap base is next, and there are no bits to look at: what comes in order is cheap.
 *   I2  base is not seen, or it is next.
 *   I3  next - base <= TRACK_WINDOW: what falls out of the window unseen stays missing.
 *   I4  bits of sequences outside [base, next) are 0; there are `size` of them, a power of two, and
 *       sequence s has bit s mod size.
 */
struct track {
    uint64_t base, next;
    uint64_t missing; /* below next and not seen (yet) */
    uint64_t *bits;   /* NULL until there is a gap */
    uint32_t size;
};

enum track_verdict {
    TRACK_IN_ORDER,
    TRACK_AFTER_GAP, /* others before it have not come */
    TRACK_LATE,      /* one of those, after all */
    TRACK_REPEATED,
};

/* What this arrival means. Without memory for a gap's bits a generator ends: it has nothing to say. */
enum track_verdict track_add(struct track *track, uint64_t sequence);
void track_deinit(struct track *track);

/* How many of the first sent_count never came. */
uint64_t track_lost(const struct track *track, uint64_t sent_count);

#endif
