/*
 * sim_kv: storage/kv.h in memory: a disk that forgets what was not synced, fails, fills up, is slow,
 * and turns bits over.
 *
 * Floor:  tests.
 * Thread: one.
 *
 * A disk is what lies below one folder; its maps outlive the handles on them. kv_open() finds the disk
 * by the beginning of its path: there has to be one. Of each map the disk knows the contents after
 * every batch since the last that is safe:
 *
 *     safe ──> batch ──> batch ──> handed over ──> batch ──> batch (now)
 *      └── what a loss of power leaves: any of these, drawn
 *                                       └── what the end of the process leaves: any of these, drawn
 *
 *     KV_LOGGED     handed over by kv_sync(), safe after kv_sync(durable)
 *     KV_UNLOGGED   both after kv_flush()
 *
 * No call waits: what it would have cost is added up for who hands out the turns (sim_kv_take_ns).
 */
#ifndef TERN_SIM_SIM_KV_H
#define TERN_SIM_SIM_KV_H

#include "core/base/rng.h"
#include "storage/kv.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_disk;

/* All chance of the disk is of rng, which is borrowed. */
struct sim_disk *sim_kv_disk_new(const char *root, struct rng *rng);
void sim_kv_disk_free(struct sim_disk *disk); /* none of its maps is open. Accepts NULL */

/*
 * The process ends, or the machine loses power, now. Handles that are open answer with ERR_IO from
 * here on and are to be closed, which does nothing more; iterators and values go on.
 */
enum sim_kv_crash { SIM_KV_PROCESS_ENDS, SIM_KV_POWER_FAILS };
void sim_kv_crash(struct sim_disk *disk, enum sim_kv_crash crash);

/* Let the next call of that kind but skip fail with err, once; what follows is up to kv.h: after
 * ERR_IO the map takes no more, after ERR_NO_SPACE a logged one not before kv_reopen(). */
enum sim_kv_call {
    SIM_KV_WRITE,
    SIM_KV_SYNC,
    SIM_KV_FLUSH,
    SIM_KV_READ,
    SIM_KV_OPEN,
    SIM_KV_CALLS
};
void sim_kv_fail(struct sim_disk *disk, enum sim_kv_call call, uint32_t skip, enum err err);

/* From here on such a call says that it was done, and does nothing: a write of an unlogged map, a sync,
 * a flush. SIM_KV_READ: damage is not noticed. */
void sim_kv_lie(struct sim_disk *disk, enum sim_kv_call call, bool does_lie);

/* Room on the disk: what is synced and flushed uses it up; UINT64_MAX, as at first: without end. */
void sim_kv_set_free(struct sim_disk *disk, uint64_t bytes);

/* What each of those calls costs, and each KiB written; at first nothing. */
void sim_kv_set_pace(struct sim_disk *disk, enum sim_kv_call call, uint64_t call_ns,
                     uint64_t kib_ns);
/* What all calls since the last time would have cost. */
uint64_t sim_kv_take_ns(struct sim_disk *disk);
/* What kv_is_stalling() says. */
void sim_kv_set_stalling(struct sim_disk *disk, bool is_stalling);

/*
 * Turn a bit over in a value that is drawn among those whose key begins so, of the map in that folder.
 * is_noticed: as a disk under checksums: who reads it gets ERR_CORRUPT. Otherwise the value just
 * changes. false: there is no such key with a value.
 */
bool sim_kv_flip(struct sim_disk *disk, const char *folder, struct slice prefix, bool is_noticed);

/* Keep what is safe now aside, in place of what was kept before; put it back: no map is open. */
void sim_kv_copy(struct sim_disk *disk);
void sim_kv_restore(struct sim_disk *disk);

/* A hash of all that is safe now, to compare runs. */
uint64_t sim_kv_digest(const struct sim_disk *disk);

#endif
