/*
 * pace: the moments of an open loop, which depend on the clock alone.
 *
 *     moment k is at begin + k / rate, and is publisher k mod n's: its turn number k / n
 *
 *         publisher   0   1   2   0   1   2   0  ...
 *         turn        0   0   0   1   1   1   2
 *                     ├───┼───┼───┼───┼───┼───┼──> time, 1 / rate apart
 *
 * A generator of a crew walks over the moments of its own publishers. It visits each moment once,
 * as soon as it can; how late that is, is the generator's own doing. What a broker that does not
 * read, or does not acknowledge, makes a publisher wait comes on top of that, and is not.
 *
 * Floor:  bench; knows histogram and crew.
 * Thread: the owner.
 * Memory: inside the struct, which is large: a histogram.
 */
#ifndef TERN_BENCH_PACE_H
#define TERN_BENCH_PACE_H

#include "bench/report/histogram.h"

#include <stdbool.h>
#include <stdint.h>

struct crew;

struct pace {
    double rate;
    uint64_t begin_ns, moment_count; /* of the whole crew */
    uint32_t publisher_count;
    uint32_t publisher_first, publisher_step; /* ours are first, first + step, ... */
    uint32_t publisher;                       /* whose moment comes next */
    uint64_t turn;                            /* and which of its moments that is */
    struct histogram lateness;                /* ns, of the visits while is_measuring */
    bool is_measuring;
};

/* rate > 0. Moments end with duration_ns: there are rate * duration of them, rounded up. */
void pace_init(struct pace *pace, double rate, uint64_t duration_ns, uint32_t publisher_count,
               const struct crew *crew);

/* The moment of begin comes to be known when a crew has met. */
void pace_begin(struct pace *pace, uint64_t begin_ns);

/* When this publisher's turn is. */
uint64_t pace_moment_ns(const struct pace *pace, uint32_t publisher, uint64_t turn);

/* How many turns this publisher has in all. */
uint64_t pace_turn_count(const struct pace *pace, uint32_t publisher);

/* When our next moment is; UINT64_MAX: there is none any more. */
uint64_t pace_next_ns(const struct pace *pace);

/*
 * Visit it: write down that it was now_ns, and go on to the next. Returns whose it was.
 * There is one: pace_next_ns() <= now_ns.
 */
uint32_t pace_visit(struct pace *pace, uint64_t now_ns);

#endif
