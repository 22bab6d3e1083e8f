/*
 * sim_outage: when the node goes in a storm, how, and when it is back; and what has become of its disk
 * meanwhile.
 *
 * Floor:  tests.
 */
#ifndef TERN_SIM_SIM_OUTAGE_H
#define TERN_SIM_SIM_OUTAGE_H

#include "tests/sim/sim_check.h"
#include "tests/sim/sim_run.h"
#include "tests/sim/sim_trouble.h"

#include <stdint.h>

struct rng;
struct sim;

struct outages {
    struct sim *sim;
    struct check *check;
    struct rng *rng;
    enum run_kind kind;
    struct trouble trouble;
    uint32_t planned_count, done_count;
    uint32_t refused_count; /* starts that were refused, as they had to be */
};

/* rng is borrowed. */
void outages_init(struct outages *outages, struct sim *sim, struct check *check, enum run_kind kind,
                  struct rng *rng);

/* Run the world until then; the node is up at the end. */
void outages_until(struct outages *outages, uint64_t end_ns);

#endif
