#include "bench/report/histogram.h"

#include "core/base/assert.h"

#include <string.h>

enum { PIECE_BITS = 7 };

static uint32_t cell_of(uint64_t value)
{
    if (value < HISTOGRAM_PIECES) {
        return (uint32_t)value;
    }
    uint32_t shift = 63 - PIECE_BITS - (uint32_t)__builtin_clzll(value);
    uint32_t piece = (uint32_t)(value >> shift) - HISTOGRAM_PIECES;
    return (shift + 1) * HISTOGRAM_PIECES + piece;
}

/* The greatest value that falls into the cell. */
static uint64_t cell_top(uint32_t cell)
{
    if (cell < HISTOGRAM_PIECES) {
        return cell;
    }
    uint32_t shift = cell / HISTOGRAM_PIECES - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_PIECES + cell % HISTOGRAM_PIECES) << shift;
    return low + (((uint64_t)1 << shift) - 1);
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    uint32_t cell = cell_of(value);
    ASSERT(cell < HISTOGRAM_CELLS);
    histogram->cells[cell]++;
    if (histogram->count == 0 || value < histogram->value_min) {
        histogram->value_min = value;
    }
    if (value > histogram->value_max) {
        histogram->value_max = value;
    }
    histogram->count++;
    histogram->sum += (double)value;
}

void histogram_merge(struct histogram *target, const struct histogram *source)
{
    if (source->count == 0) {
        return;
    }
    for (uint32_t cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        target->cells[cell] += source->cells[cell];
    }
    if (target->count == 0 || source->value_min < target->value_min) {
        target->value_min = source->value_min;
    }
    if (source->value_max > target->value_max) {
        target->value_max = source->value_max;
    }
    target->count += source->count;
    target->sum += source->sum;
}

uint64_t histogram_quantile(const struct histogram *histogram, double part)
{
    uint64_t seen = 0;

    ASSERT(part >= 0 && part <= 1);
    if (histogram->count == 0) {
        return 0;
    }
    /* The rank of the value asked for, rounded up: of 10 values the 0.5 quantile is the fifth. */
    double exact = part * (double)histogram->count;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact || rank == 0 ? 1 : 0;
    for (uint32_t cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        seen += histogram->cells[cell];
        if (seen >= rank) {
            uint64_t top = cell_top(cell);
            return top < histogram->value_max ? top : histogram->value_max;
        }
    }
    return histogram->value_max;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : histogram->sum / (double)histogram->count;
}

uint32_t histogram_cells(const struct histogram *histogram, struct histogram_cell *out)
{
    uint32_t found = 0;
    for (uint32_t cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        if (histogram->cells[cell] == 0) {
            continue;
        }
        if (out != NULL) {
            out[found] = (struct histogram_cell){cell, histogram->cells[cell]};
        }
        found++;
    }
    return found;
}

bool histogram_add_cell(struct histogram *histogram, struct histogram_cell cell)
{
    if (cell.index >= HISTOGRAM_CELLS || cell.count == 0) {
        return false;
    }
    uint64_t top = cell_top(cell.index);
    histogram->cells[cell.index] += cell.count;
    if (histogram->count == 0 || top < histogram->value_min) {
        histogram->value_min = top;
    }
    if (top > histogram->value_max) {
        histogram->value_max = top;
    }
    histogram->count += cell.count;
    histogram->sum += (double)top * (double)cell.count;
    return true;
}

void histogram_set_exact(struct histogram *histogram, uint64_t value_min, uint64_t value_max,
                         double sum)
{
    ASSERT(histogram->count > 0);
    ASSERT(value_min <= value_max);
    histogram->value_min = value_min;
    histogram->value_max = value_max;
    histogram->sum = sum;
}
