/*
 * sync: how fast a disk makes things last, with nothing of a broker's in the way.
 *
 * One writer appends 4 KiB to a file and waits for fdatasync(), again and again: that is the shortest
 * that a message which has to last can take, and one sync may carry any number of them.
 *
 * Floor:  bench.
 * Thread: the caller, which it blocks.
 */
#ifndef TERN_LIMIT_SYNC_H
#define TERN_LIMIT_SYNC_H

#include <stdbool.h>
#include <stdint.h>

struct sync_figures {
    double per_second, p50_ms, p99_ms, max_ms;
};

/* In a file of its own in that folder, which is gone afterwards. false: errno says why not. */
bool sync_measure(const char *folder, uint32_t seconds, struct sync_figures *out);

#endif
