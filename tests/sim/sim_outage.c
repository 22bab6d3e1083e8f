#include "tests/sim/sim_outage.h"

#include "tests/sim/sim.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_node.h"

#define DOWN_NS_MAX (3 * SIM_S)

enum { OUTAGES_MAX = 5, TURNS_BETWEEN_MAX = 4000 };

void outages_init(struct outages *outages, struct sim *sim, struct check *check, enum run_kind kind,
                  struct rng *rng)
{
    *outages = (struct outages){.sim = sim, .check = check, .rng = rng, .kind = kind};
    outages->planned_count = kind == RUN_PLAIN ? 0 : 1 + (uint32_t)rng_below(rng, OUTAGES_MAX);
}

struct moment {
    const struct sim *sim;
    uint64_t turn;
};

static bool is_before(void *context)
{
    const struct moment *moment = context;
    return moment->sim->step_count < moment->turn;
}

/* Half of them by the clock, half by turns: there are many of these where much happens. */
static void wait_for_next(struct outages *outages, uint64_t end_ns)
{
    struct sim *sim = outages->sim;
    uint64_t left_ns = end_ns > sim->now_ns ? end_ns - sim->now_ns : 1;
    if (rng_below(outages->rng, 2) == 0) {
        sim_run_until(sim, sim->now_ns + rng_below(outages->rng, left_ns));
        return;
    }
    struct moment moment = {sim, sim->step_count + rng_below(outages->rng, TURNS_BETWEEN_MAX)};
    sim_run_while(sim, is_before, &moment, left_ns);
}

static void go_down(struct outages *outages)
{
    struct sim *sim = outages->sim;
    uint64_t kind = rng_below(outages->rng, 10);
    if (kind < 8) {
        sim_node_crash(sim->node, kind < 4 ? SIM_KILLED : SIM_POWER_LOST);
        return;
    }
    sim_trace(sim, "==== the node is asked to stop");
    net_excuse(sim->net);
    sim_node_stop(sim->node, kind == 8);
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
        struct broker_failure failure;
        sim_trace(sim, "==== the node is started");
        if (!sim_node_start(sim->node, &failure)) {
            sim_fail(sim, "the node does not start: %s", failure.text);
            return;
        }
        check_restart(outages->check);
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
    sim_run_until(sim, end_ns);
    bool is_last = outages->planned_count > 0 && rng_below(outages->rng, 2) == 0;
    if (is_last && !sim->has_failed) {
        outage(outages); /* what waits now is all that was left over */
    }
}
