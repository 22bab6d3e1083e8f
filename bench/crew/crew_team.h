/*
 * crew_team: the members of a crew that are of this process: a thread, a load and a report each.
 *
 * Floor:  bench; included by crew_run.c, crew_leader.c and agent.c only.
 * Thread: the caller starts, watches and joins; each generator has a thread of its own.
 * Memory: the team owns threads, reports and series; room and options are borrowed until it is freed.
 */
#ifndef TERN_BENCH_CREW_TEAM_H
#define TERN_BENCH_CREW_TEAM_H

#include "bench/crew/crew_progress.h"
#include "bench/crew/crew_room.h"
#include "bench/scenario/scenario.h"

struct crew_team;

/*
 * Start members first to first + count - 1 of the room, each with its own copy of the options, and
 * with a series of its own when options.series wants one; progress hears of its seconds.
 * When a thread cannot be started the room fails, and those that run already end by that.
 * NULL: no memory, nothing was started.
 */
struct crew_team *crew_team_start(struct crew_room *room, const struct scenario *scenario,
                                  const struct scenario_options *options,
                                  struct crew_progress *progress, uint32_t first, uint32_t count);

/* Whether every generator has returned: then joining does not wait. */
bool crew_team_is_over(struct crew_team *team);

/*
 * Wait for all, and merge their reports into *out, whose series is options.series (NULL: none).
 * Else the error of the first that failed; out is then not written. Once.
 */
enum err crew_team_join(struct crew_team *team, struct report *out);

void crew_team_free(struct crew_team *team); /* joined, or NULL */

#endif
