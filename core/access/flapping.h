/*
 * flapping: clients that connect again and again.
 *
 * A client id that is let in more than count times within window flaps, until a window passes in
 * which it does not. Only who has proved who it is counts: nobody makes another's id flap.
 *
 * Floor:  access.
 * Thread: any; a lock for each part of the table, held for a few comparisons.
 * Memory: a table of fixed size, made in 64 parts as they are needed. When a row of it is full, the
 *         id that was seen longest ago is forgotten: who flaps is seen all the time.
 */
#ifndef TERN_ACCESS_FLAPPING_H
#define TERN_ACCESS_FLAPPING_H

#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { FLAPPING_IDS_MAX = 1 << 16 }; /* remembered at once, of 32 bytes each */

enum flapping_verdict {
    FLAPPING_NO,
    FLAPPING_BEGINS, /* once: worth a line in the log */
    FLAPPING_GOES_ON,
};

struct flapping;

/* NULL: memory is exhausted. */
struct flapping *flapping_new(uint64_t seed);
void flapping_free(struct flapping *flapping); /* accepts NULL */

/* It was let in. count 0: nobody flaps. */
enum flapping_verdict flapping_seen(struct flapping *flapping, struct slice client_id,
                                    uint32_t count, uint64_t window_ns, uint64_t now_ns);

#endif
