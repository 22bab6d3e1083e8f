/*
 * sim_store: the store of the node: its disk, its two lanes as actors, and what goes wrong with them.
 *
 * Floor:  tests; stands on storage/ and cluster/node_store.h, with sim_kv.c behind the door.
 *
 * A lane's run begins some time after there is work, which is what the disk takes; all that comes
 * meanwhile is part of it. The disk outlives the store.
 */
#ifndef TERN_SIM_SIM_STORE_H
#define TERN_SIM_SIM_STORE_H

#include "cluster/node_store.h"
#include "core/base/rng.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_kv.h"

#include <stdbool.h>
#include <stdint.h>

/* Of a will whose client lost its leader, where the plan has it. */
#define SIM_STORE_GRACE_MS 2000

struct lane;

struct sim_store {
    struct sim *sim;
    struct rng rng;
    struct sim_disk *disk;
    struct node_store ports; /* store NULL: it is down */
    uint64_t flush_bytes;
    uint64_t latency_ns_max; /* of a run, as a rule */
    struct sim_lane {
        struct sim_store *store;
        bool is_log;
        struct sim_actor *actor;
        uint64_t begin_ns; /* of the run that is due; UINT64_MAX: none is */
        uint64_t latency_ns;
        uint64_t stalled_until_ns;
    } lanes[2];
};

/* Adds two actors. */
struct sim_store *sim_store_new(struct sim *sim);
void sim_store_free(struct sim_store *store); /* it is down. Accepts NULL */

/* Not OK: it cannot be opened; text says why. Inside of the node's heap. */
enum err sim_store_open(struct sim_store *store, uint32_t shard_count,
                        struct broker_failure *failure);
/* As the node does at its end. */
void sim_store_close(struct sim_store *store);

/* Before the memory of the node is taken away. A lane may be in the middle of its run. */
void sim_store_crash(struct sim_store *store, bool loses_power);

/* ---- faults --------------------------------------------------------------------------------- */

/* Neither lane gets anything done for so long. */
void sim_store_stall(struct sim_store *store, uint64_t stall_ns);
/* A write, a sync or a flush to come fails: it is fenced from then on. */
void sim_store_break(struct sim_store *store);
/* A read to come fails, once. It is fenced only if what cannot be read is needed to go on. */
void sim_store_break_reads(struct sim_store *store);
bool sim_store_is_fenced(const struct sim_store *store);
/* A call of the next start fails, unless it does not come that far: until sim_store_mend(). */
void sim_store_break_start(struct sim_store *store);
/* No call fails any more. */
void sim_store_mend(struct sim_store *store);
/* Its disk as it is now, and back to that: while it is down. */
void sim_store_copy(struct sim_store *store);
void sim_store_restore(struct sim_store *store);
/* A bit of what lies on the disk turns over. What it was, in words; NULL: nothing lies there. */
const char *sim_store_flip(struct sim_store *store);
/* No space is left, or enough again. */
void sim_store_fill(struct sim_store *store, bool is_full);

#endif
