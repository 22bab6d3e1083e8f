/*
 * sim_replay: is the state what its log says? The whole log is replayed from the beginning, twice, into
 * maps of its own, and all three are compared, partition by partition.
 *
 * Floor:  tests; stands on storage/.
 *
 * Two replays are cut into batches at different places, and the second one is closed and opened again on
 * its way, as by crashes: neither may make a difference.
 */
#ifndef TERN_SIM_SIM_REPLAY_H
#define TERN_SIM_SIM_REPLAY_H

#include <stdbool.h>

struct rng;
struct sim;

/* The node has just been started, took no turn yet, and has never cut its log (PLAN_WHOLE_LOG). */
void replay_compare(struct sim *sim, struct rng *rng);

/* No damaged record is left in the state: the log has said all of it anew. */
bool replay_has_healed(struct sim *sim);

/* Nobody has a session any more: nothing of one may lie in the state. */
void replay_is_empty(struct sim *sim);

#endif
