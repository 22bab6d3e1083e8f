/*
 * histogram: how often each latency was seen, to within one percent, in fixed memory.
 *
 * The layout is that of HdrHistogram (G. Tene): every power of two is cut into 128 equal pieces.
 *
 * Floor:  bench.
 * Thread: the owner.
 * Memory: inside the struct, about 58 KiB.
 */
#ifndef TERN_BENCH_HISTOGRAM_H
#define TERN_BENCH_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HISTOGRAM_PIECES = 128,
    HISTOGRAM_POWERS = 58, /* 0 to 127 exactly, then 2^7 to 2^64 */
    HISTOGRAM_CELLS = HISTOGRAM_PIECES * HISTOGRAM_POWERS,
};

struct histogram {
    uint64_t cells[HISTOGRAM_CELLS];
    uint64_t count, value_max, value_min;
    double sum;
};

/* A zeroed histogram is an empty one. */
void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value);

/* Add all of source to target. */
void histogram_merge(struct histogram *target, const struct histogram *source);

/*
 * The value that `part` (0 to 1) of all values do not exceed: the upper end of its cell, and never
 * more than the greatest value seen; so at most 1/128 above the truth and never below it.
 * 0 when empty.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double part);

double histogram_mean(const struct histogram *histogram);

/*
 * The cells that are not empty, lowest first: how a histogram is kept and sent where most of it is
 * empty. Minimum, maximum and sum go beside them; without these a cell stands for its upper end.
 */
struct histogram_cell {
    uint32_t index; /* below HISTOGRAM_CELLS */
    uint64_t count; /* 1 or more */
};

/* How many there are; those are written to out, which may be NULL to only count them. */
uint32_t histogram_cells(const struct histogram *histogram, struct histogram_cell *out);

/* Add a cell's values, each as the cell's upper end. False: there is no such cell, or count is 0. */
bool histogram_add_cell(struct histogram *histogram, struct histogram_cell cell);

/* Give back what the cells alone do not know. The histogram is not empty and minimum <= maximum. */
void histogram_set_exact(struct histogram *histogram, uint64_t value_min, uint64_t value_max,
                         double sum);

#endif
