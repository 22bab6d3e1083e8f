/*
 * crew_progress: the seconds of several generators as seconds of the crew, while it runs.
 *
 * Every generator tells its seconds when they are complete, each in its own thread; one taker asks
 * for those that all have told. (The report needs none of this: series are merged at the end.)
 *
 * Floor:  bench.
 * Thread: crew_progress_add() any; the others the taker's.
 * Memory: heap; CREW_PROGRESS_PENDING seconds at most wait to be complete.
 */
#ifndef TERN_BENCH_CREW_PROGRESS_H
#define TERN_BENCH_CREW_PROGRESS_H

#include "bench/report/series.h"

enum { CREW_PROGRESS_PENDING = 32 };

struct crew_progress;

/* teller_count: how many have to tell a second before it is complete. NULL: no memory. */
struct crew_progress *crew_progress_new(uint32_t teller_count);
void crew_progress_free(struct crew_progress *progress); /* accepts NULL */

/*
 * One generator's second. A series_teller, with the progress as its context. One that is told
 * already, or too far ahead of the others, is left out.
 */
void crew_progress_add(void *progress, uint32_t index, const struct series_second *second);

/* No more is added: what is pending is as complete as it gets. */
void crew_progress_end(struct crew_progress *progress);

/*
 * The next second of the crew. False: there is none (yet). out's cells are borrowed until the next
 * call.
 */
bool crew_progress_take(struct crew_progress *progress, uint32_t *index, struct series_second *out);

/* Tell all that can be taken to whoever listens to the series. */
void crew_progress_tell(struct crew_progress *progress, const struct series *series);

#endif
