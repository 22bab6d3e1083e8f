#include "tests/sim/sim_outage.h"

#include "core/broker/broker.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_replay.h"
#include "tests/sim/sim_store.h"

#define DOWN_NS_MAX (3 * SIM_S)

enum { OUTAGES_MAX = 5, TURNS_BETWEEN_MAX = 4000 };

void outages_init(struct outages *outages, struct sim *sim, struct check *check, enum run_kind kind,
                  struct rng *rng)
{
    *outages = (struct outages){.sim = sim, .check = check, .rng = rng, .kind = kind};
    trouble_init(&outages->trouble, sim);
    outages->planned_count = kind == RUN_PLAIN ? 0 : 1 + (uint32_t)rng_below(rng, OUTAGES_MAX);
}

struct moment {
    const struct outages *outages;
    uint64_t turn;
};

static bool is_before(void *context)
{
    const struct moment *moment = context;
    return moment->outages->sim->step_count < moment->turn &&
           !trouble_wants_restart(&moment->outages->trouble);
}

/* Half of them by the clock, half by turns: there are many of these where much happens. */
static void wait_for_next(struct outages *outages, uint64_t end_ns)
{
    struct sim *sim = outages->sim;
    uint64_t left_ns = end_ns > sim->now_ns ? end_ns - sim->now_ns : 1;
    struct moment moment = {outages, UINT64_MAX};
    if (rng_below(outages->rng, 2) == 0) {
        left_ns = rng_below(outages->rng, left_ns);
    } else {
        moment.turn = sim->step_count + rng_below(outages->rng, TURNS_BETWEEN_MAX);
    }
    uint64_t until_ns = sim->now_ns + left_ns;
    if (sim_run_while(sim, is_before, &moment, left_ns)) {
        return;
    }
    sim_run_until(sim, until_ns);
}

/* Ends that lose something acknowledged, as `durability` allows, are not tried with it. */
static void go_down(struct outages *outages)
{
    struct sim *sim = outages->sim;
    const bool *has = sim->options.plan.has;
    uint64_t kind = rng_below(outages->rng, 10);
    if (kind < 8 && !has[PLAN_RELAXED]) {
        sim_node_crash(sim->node, kind < 4 || has[PLAN_QUORUM] ? SIM_KILLED : SIM_POWER_LOST);
        return;
    }
    sim_trace(sim, "==== the node is asked to stop");
    net_excuse(sim->net);
    sim_node_stop(sim->node, kind == 8);
}

/* ---- and back ------------------------------------------------------------------------------- */

/* A store in which a bit has turned over is refused, whichever it is; a copy of it does. */
static void start_damaged(struct outages *outages)
{
    struct sim *sim = outages->sim;
    struct broker_failure failure;
    sim_store_copy(sim->node->store);
    const char *what = sim_store_flip(sim->node->store);
    if (what == NULL) {
        return;
    }
    sim_trace(sim, "==== a bit has turned over in %s", what);
    enum err err = sim_node_start(sim->node, &failure);
    if (err == OK && !replay_has_healed(sim)) {
        sim_fail(sim, "P11: a bit has turned over in %s, and it is served", what);
        return;
    }
    if (err == OK) {
        sim_node_crash(sim->node, SIM_POWER_LOST); /* before anything of it was synced */
        sim_store_restore(sim->node->store);
        return;
    }
    sim_trace(sim, "==== the node refuses: %s", failure.text);
    if (err != ERR_CORRUPT) {
        sim_fail(sim, "P11: a bit has turned over in %s, and is called: %s", what, err_text(err));
    }
    outages->refused_count++;
    sim_store_restore(sim->node->store);
}

/* The disk fails while the node reads it and brings it up to date; the next start finds all the same. */
static void start_half(struct outages *outages)
{
    struct sim *sim = outages->sim;
    struct broker_failure failure;
    sim_trace(sim, "==== the node is started on a disk that fails");
    sim_store_break_start(sim->node->store);
    enum err err = sim_node_start(sim->node, &failure);
    if (err != OK) {
        sim_trace(sim, "==== the node refuses: %s", failure.text);
        outages->refused_count++;
    } else {
        sim_node_crash(sim->node, SIM_KILLED); /* it did not come that far */
    }
    sim_store_mend(sim->node->store);
}

static void start(struct outages *outages)
{
    struct sim *sim = outages->sim;
    const struct plan *plan = &sim->options.plan;
    struct broker_failure failure;
    trouble_heal(&outages->trouble);
    if (plan->has[PLAN_RESHARDS]) {
        sim_node_reshard(sim->node, 1 + (uint32_t)rng_below(outages->rng, SIM_NODE_SHARDS_MAX));
    }
    if (plan->has[PLAN_CLOCK] && rng_below(outages->rng, 2) == 0) {
        trouble_set_clock(&outages->trouble);
    }
    if (plan->has[PLAN_FLIPS] && rng_below(outages->rng, 2) == 0) {
        start_damaged(outages);
    }
    if (plan->has[PLAN_BAD_STARTS] && !sim->has_failed) {
        start_half(outages);
    }
    if (sim->has_failed) {
        return;
    }
    sim_trace(sim, "==== the node is started, with %u shards", sim->node->shard_count);
    if (sim_node_start(sim->node, &failure) != OK) {
        sim_fail(sim, "the node does not start: %s", failure.text);
        return;
    }
    if (plan->has[PLAN_WHOLE_LOG]) {
        replay_compare(sim, outages->rng);
    }
    check_restart(outages->check, sim_node_ahead_ns(sim->node),
                  (int64_t)sim->now_ns + sim->wall_shift_ms * (int64_t)SIM_MS);
}

static void outage(struct outages *outages)
{
    struct sim *sim = outages->sim;
    uint64_t begun_ns = sim->now_ns;
    go_down(outages);
    outages->done_count++;
    if (sim->has_failed) {
        return;
    }
    check_crash(outages->check, begun_ns, outages->kind == RUN_FORGETS);
    uint64_t down_ns = rng_below(outages->rng, 4) == 0 ? 0 : rng_below(outages->rng, DOWN_NS_MAX);
    sim_run_until(sim, sim->now_ns + down_ns);
    if (!sim->has_failed) {
        start(outages);
    }
}

void outages_until(struct outages *outages, uint64_t end_ns)
{
    struct sim *sim = outages->sim;
    for (uint32_t i = 0; i < outages->planned_count && !sim->has_failed; i++) {
        wait_for_next(outages, end_ns);
        if (sim->now_ns < end_ns && !sim->has_failed) {
            outage(outages);
        }
    }
    while (sim->now_ns < end_ns && !sim->has_failed) { /* a disk that failed waits for somebody */
        struct moment moment = {outages, UINT64_MAX};
        if (sim_run_while(sim, is_before, &moment, end_ns - sim->now_ns)) {
            outage(outages);
        } else {
            sim_run_until(sim, end_ns);
        }
    }
    bool is_broken = trouble_has_broken(&outages->trouble);
    trouble_heal(&outages->trouble);
    bool is_last = outages->planned_count > 0 && rng_below(outages->rng, 2) == 0;
    if ((is_last || is_broken) && !sim->has_failed) {
        outage(outages); /* what waits now is all that was left over */
    }
}
