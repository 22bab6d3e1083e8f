/*
 * footprint: which cache lines move between shards while messages flow, counted, not timed.
 *
 * Floor:  bench.
 * Thread: one, which takes the turns of all shards and says whose turn it is.
 * Memory: static tables.
 *
 * The rooms are compiled with -fsanitize=thread, which calls a function at each load, each store and
 * each atomic operation; but instead of the sanitizer's library this file stands behind those calls.
 * It keeps for each line which shards' caches would hold it, if caches had no end:
 *
 *     read  by a shard that does not hold the line, which another one wrote last:   the line moves
 *     write by a shard while another one holds the line:                            the line moves
 *
 * So a line that only one shard writes and reads never moves, and neither does one that all read.
 * Lines are forgotten when their memory is freed, and malloc() gives whole lines here: what is
 * counted is what the broker shares, not what an allocator puts side by side. Not seen: the stack,
 * what threads have each for themselves, other libraries, the kernel.
 */
#ifndef TERN_BENCH_MICRO_FOOTPRINT_H
#define TERN_BENCH_MICRO_FOOTPRINT_H

#include <stdint.h>

#define FOOTPRINT_NOBODY UINT32_MAX

enum footprint_kind { FOOTPRINT_READ, FOOTPRINT_WRITE, FOOTPRINT_ATOMIC };

/* Whose accesses come now: a shard's (below 64), or nobody's, which are not counted. */
void footprint_acts(uint32_t shard);

/* Forget what was counted; what caches hold stays. */
void footprint_begin(void);

/* Where lines moved, or where an atomic read-modify-write was done. */
struct footprint_site {
    enum footprint_kind kind; /* ATOMIC: a read-modify-write */
    const void *at;           /* return address of the access */
    const void *other;        /* who wrote the line before, or NULL */
    uint64_t moved;           /* lines that came from another shard */
    uint64_t done;            /* of ATOMIC: how often at all */
};

/* All of them, in no order; borrowed until footprint_begin(). */
const struct footprint_site *footprint_sites(uint32_t *count);

/* Lines that moved, over all sites. */
uint64_t footprint_moved(void);

#endif
