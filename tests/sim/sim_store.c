#include "tests/sim/sim_store.h"

#include "core/base/assert.h"
#include "storage/lane.h"
#include "storage/store.h"
#include "tests/sim/sim_flaw.h"
#include "tests/sim/sim_heap.h"

#include <stdio.h>
#include <stdlib.h>

#define FREE_BYTES  (UINT64_C(1) << 40)
#define NEVER_SKIPS UINT32_MAX

static const char folder[] = "/sim/node";

/* ---- lanes --------------------------------------------------------------------------------- */

static struct lane *lane_of(const struct sim_lane *self)
{
    struct store *store = self->store->ports.store;
    if (store == NULL) {
        return NULL;
    }
    return self->is_log ? store_log_lane(store) : store_state_lane(store);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t lane_wants_ns(void *object)
{
    struct sim_lane *self = object;
    const struct lane *lane = lane_of(self);
    uint64_t wanted_ns = lane != NULL ? lane_turn_ns(lane) : UINT64_MAX;
    if (wanted_ns == UINT64_MAX) {
        self->begin_ns = UINT64_MAX;
        return UINT64_MAX;
    }
    uint64_t begin_ns = later(wanted_ns, self->store->sim->now_ns) + self->latency_ns;
    self->begin_ns = begin_ns < self->begin_ns ? begin_ns : self->begin_ns;
    return later(self->begin_ns, self->stalled_until_ns);
}

static void latency_draw(struct sim_lane *self)
{
    struct sim_store *store = self->store;
    bool is_long = store->sim->is_stormy && rng_below(&store->rng, 50) == 0;
    self->latency_ns = rng_below(&store->rng, store->latency_ns_max) * (is_long ? 20 : 1);
}

static void lane_run(struct sim_lane *self)
{
    sim_heap_enter();
    lane_turn(lane_of(self), self->store->sim->now_ns);
    sim_heap_leave();
}

static void lane_turn_of(void *object)
{
    struct sim_lane *self = object;
    self->begin_ns = UINT64_MAX;
    lane_run(self);
    latency_draw(self);
}

/* ---- its life ------------------------------------------------------------------------------ */

struct sim_store *sim_store_new(struct sim *sim)
{
    static const uint64_t latencies_ns[] = {20 * SIM_US, SIM_MS, 20 * SIM_MS};
    struct sim_store *store = calloc(1, sizeof(*store));
    ASSERT(store != NULL);
    store->sim = sim;
    rng_init(&store->rng, sim->options.seed ^ UINT64_C(0x6469736b));
    store->disk = sim_kv_disk_new("/sim", &store->rng);
    sim_kv_set_free(store->disk, FREE_BYTES);
    sim_kv_lie(store->disk, SIM_KV_SYNC, flaw_is(FLAW_NO_SYNC));
    sim_kv_lie(store->disk, SIM_KV_FLUSH, flaw_is(FLAW_NO_FLUSH));
    sim_kv_lie(store->disk, SIM_KV_READ, flaw_is(FLAW_BLIND));
    store->latency_ns_max = latencies_ns[rng_below(&store->rng, 3)];
    store->flush_bytes = UINT64_C(1) << (10 + rng_below(&store->rng, 10));
    for (uint32_t i = 0; i < 2; i++) {
        struct sim_lane *self = &store->lanes[i];
        *self = (struct sim_lane){.store = store, .is_log = i == 0, .begin_ns = UINT64_MAX};
        self->actor = sim_actor_add(sim, i == 0 ? "log lane" : "state lane", self, lane_wants_ns,
                                    lane_turn_of);
        latency_draw(self);
    }
    return store;
}

void sim_store_free(struct sim_store *store)
{
    if (store != NULL) {
        ASSERT(store->ports.store == NULL);
        sim_kv_disk_free(store->disk);
        free(store);
    }
}

/* Nothing of the log is ever given up, whatever is flushed: it can be replayed from its beginning. */
static void keep_log(struct store *store)
{
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        store_keep_from(store, i, 1);
    }
}

static enum store_durability durability_of(const struct plan *plan)
{
    return plan->has[PLAN_RELAXED]  ? STORE_RELAXED
           : plan->has[PLAN_QUORUM] ? STORE_QUORUM
                                    : STORE_FSYNC;
}

/* A few messages for one of them, so that publishers are not read for a while. */
static uint64_t backlog_draw(struct sim_store *store)
{
    return UINT64_C(1) << (9 + rng_below(&store->rng, 5));
}

enum err sim_store_open(struct sim_store *store, uint32_t shard_count,
                        struct broker_failure *failure)
{
    const struct plan *plan = &store->sim->options.plan;
    struct store_config config = {.folder = folder,
                                  .durability = durability_of(plan),
                                  .flush_bytes = store->flush_bytes,
                                  .backlog_bytes = plan->has[PLAN_BACKLOG] ? backlog_draw(store)
                                                                           : 0,
                                  .gather_ns = STORE_GATHER_NS};
    struct kv_failure why = {.text = ""};
    store->ports = (struct node_store){
        .shard_count = shard_count,
        .seed = rng_u64(&store->rng),
        .load_keys_max = plan->has[PLAN_STALLS] ? 2 : 40, /* many turns, or few */
        .will_grace_ms = plan->has[PLAN_GRACE] ? SIM_STORE_GRACE_MS : 0};
    enum err err = store_open(&config, &store->ports.store, &why);
    if (err != OK) {
        snprintf(failure->text, sizeof(failure->text), "%.900s (%s)", why.text, err_text(err));
    } else if (plan->has[PLAN_WHOLE_LOG]) {
        keep_log(store->ports.store);
    }
    return err;
}

void sim_store_close(struct sim_store *store)
{
    node_store_load_stop(&store->ports);
    store_close(store->ports.store);
    store->ports.store = NULL;
}

/* ---- faults -------------------------------------------------------------------------------- */

static void fail_once(struct sim_store *store, enum err err)
{
    static const enum sim_kv_call calls[] = {SIM_KV_WRITE, SIM_KV_SYNC, SIM_KV_FLUSH};
    sim_kv_fail(store->disk, calls[rng_below(&store->rng, 3)], (uint32_t)rng_below(&store->rng, 3),
                err);
}

void sim_store_break_start(struct sim_store *store)
{
    static const struct {
        enum sim_kv_call call;
        uint32_t skip_max;
    } calls[] = {{SIM_KV_OPEN, 2},
                 {SIM_KV_READ, 600},
                 {SIM_KV_WRITE, 70},
                 {SIM_KV_SYNC, 3},
                 {SIM_KV_FLUSH, 1}};
    uint64_t drawn = rng_below(&store->rng, sizeof(calls) / sizeof(calls[0]));
    sim_kv_fail(store->disk, calls[drawn].call,
                (uint32_t)rng_below(&store->rng, calls[drawn].skip_max), ERR_IO);
}

void sim_store_copy(struct sim_store *store)
{
    sim_kv_copy(store->disk);
}

void sim_store_restore(struct sim_store *store)
{
    sim_kv_restore(store->disk);
}

/* Any record of the log: its own sum has to tell. The state is under the sums of the map's files. */
const char *sim_store_flip(struct sim_store *store)
{
    bool is_log = rng_below(&store->rng, 2) == 0;
    bool is_noticed = !is_log || rng_below(&store->rng, 4) == 0;
    char path[64];
    snprintf(path, sizeof(path), "%s/%s", folder, is_log ? "log" : "state");
    if (!sim_kv_flip(store->disk, path, (struct slice){0}, is_noticed)) {
        return NULL;
    }
    return !is_log ? "the state" : is_noticed ? "a block of the log" : "a record of the log";
}

static void fail_no_more(struct sim_store *store)
{
    for (enum sim_kv_call call = 0; call < SIM_KV_CALLS; call++) {
        sim_kv_fail(store->disk, call, NEVER_SKIPS, OK);
    }
}

void sim_store_mend(struct sim_store *store)
{
    fail_no_more(store);
}

void sim_store_stall(struct sim_store *store, uint64_t stall_ns)
{
    for (uint32_t i = 0; i < 2; i++) {
        store->lanes[i].stalled_until_ns = store->sim->now_ns + stall_ns;
    }
}

void sim_store_break(struct sim_store *store)
{
    fail_once(store, ERR_IO);
}

void sim_store_break_reads(struct sim_store *store)
{
    sim_kv_fail(store->disk, SIM_KV_READ, (uint32_t)rng_below(&store->rng, 40), ERR_IO);
}

bool sim_store_is_fenced(const struct sim_store *store)
{
    return store->ports.store != NULL && store_admits(store->ports.store) == ERR_IO;
}

void sim_store_fill(struct sim_store *store, bool is_full)
{
    sim_kv_set_free(store->disk, is_full ? rng_below(&store->rng, 4096) : FREE_BYTES);
}

/* A call that fails ends the run there: what it would have kept is not kept, and nobody hears it. */
static void cut_off(struct sim_lane *self)
{
    const struct lane *lane = lane_of(self);
    if (lane != NULL && lane_turn_ns(lane) <= self->store->sim->now_ns) {
        fail_once(self->store, ERR_IO);
        lane_run(self);
    }
}

void sim_store_crash(struct sim_store *store, bool loses_power)
{
    if (rng_below(&store->rng, 2) == 0) {
        cut_off(&store->lanes[rng_below(&store->rng, 2)]);
    }
    fail_no_more(store);
    sim_kv_crash(store->disk, loses_power ? SIM_KV_POWER_FAILS : SIM_KV_PROCESS_ENDS);
    store->ports.store = NULL;
    for (uint32_t i = 0; i < 2; i++) {
        store->lanes[i].begin_ns = UINT64_MAX;
        store->lanes[i].stalled_until_ns = 0;
    }
}
