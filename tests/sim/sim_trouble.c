#include "tests/sim/sim_trouble.h"

#include "tests/sim/sim.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_store.h"

#define PAUSE_NS_MAX (2 * SIM_S)
#define FULL_NS_MAX  (1500 * SIM_MS)
#define STALL_NS_MAX (1500 * SIM_MS)
#define GRACE_NS     (2 * SIM_S) /* until a disk that has space again takes everything, far and away */
#define LOOKS_NS_MAX SIM_S /* until somebody sees that the node does nothing durable any more */
#define DAY_MS       (24 * 3600 * INT64_C(1000))

static uint64_t wants_ns(void *object)
{
    const struct trouble *trouble = object;
    uint64_t at_ns = trouble->sim->is_stormy ? trouble->next_ns : UINT64_MAX;
    at_ns = trouble->space_ns < at_ns ? trouble->space_ns : at_ns;
    return trouble->trust_ns < at_ns ? trouble->trust_ns : at_ns;
}

/* From here on the node may refuse what lasts. */
static void distrust(struct trouble *trouble)
{
    trouble->sim->disk_is_bad = true;
    trouble->trust_ns = UINT64_MAX;
    net_doubt(trouble->sim->net);
}

static void fill_up(struct trouble *trouble)
{
    struct sim *sim = trouble->sim;
    if (trouble->space_ns != UINT64_MAX) {
        return;
    }
    sim_trace(sim, "==== the disk is full");
    distrust(trouble);
    sim_store_fill(sim->node->store, true);
    trouble->space_ns = sim->now_ns + rng_below(&trouble->rng, FULL_NS_MAX);
}

static void have_space(struct trouble *trouble)
{
    sim_trace(trouble->sim, "==== the disk has space again");
    sim_store_fill(trouble->sim->node->store, false);
    trouble->space_ns = UINT64_MAX;
    if (trouble->restart_ns == UINT64_MAX) {
        trouble->trust_ns = trouble->sim->now_ns + GRACE_NS;
    }
}

static void break_disk(struct trouble *trouble)
{
    struct sim *sim = trouble->sim;
    if (trouble->restart_ns == UINT64_MAX) {
        sim_trace(sim, "==== the disk will fail");
        distrust(trouble);
        sim_store_break(sim->node->store);
        trouble->restart_ns = sim->now_ns + rng_below(&trouble->rng, LOOKS_NS_MAX);
    }
}

/* Whoever asks for what cannot be read is told, or shown nothing; the next one who asks finds it. */
static void break_reads(struct trouble *trouble)
{
    struct sim *sim = trouble->sim;
    if (trouble->restart_ns == UINT64_MAX && trouble->space_ns == UINT64_MAX) {
        sim_trace(sim, "==== a read will fail");
        distrust(trouble);
        sim_store_break_reads(sim->node->store);
        trouble->trust_ns = sim->now_ns + rng_below(&trouble->rng, LOOKS_NS_MAX) + GRACE_NS;
    }
}

/* The node said what it thinks of its disk, and somebody has read it. */
static void look_at_node(struct trouble *trouble)
{
    trouble->trust_ns = UINT64_MAX;
    if (sim_store_is_fenced(trouble->sim->node->store)) {
        trouble->restart_ns = trouble->sim->now_ns;
        return;
    }
    trouble->sim->disk_is_bad = false;
    if (trouble->sim->options.plan.has[PLAN_READS]) {
        sim_store_mend(trouble->sim->node->store);
    }
}

static void stall(struct trouble *trouble)
{
    uint64_t stall_ns = rng_below(&trouble->rng, STALL_NS_MAX);
    sim_trace(trouble->sim, "==== the disk stalls for %llu ms",
              (unsigned long long)(stall_ns / SIM_MS));
    sim_store_stall(trouble->sim->node->store, stall_ns);
}

void trouble_set_clock(struct trouble *trouble)
{
    static const int64_t jumps_ms[] = {2000, 60 * 1000, 3600 * 1000, DAY_MS};
    int64_t jump_ms = jumps_ms[rng_below(&trouble->rng, 4)];
    jump_ms = rng_below(&trouble->rng, 2) == 0 ? jump_ms : -jump_ms;
    trouble->sim->wall_shift_ms += jump_ms;
    sim_trace(trouble->sim, "==== the wall clock jumps by %lld s", (long long)(jump_ms / 1000));
}

static void befall(struct trouble *trouble)
{
    static void (*const befalls[PLAN_COUNT])(struct trouble * trouble) = {
        [PLAN_ERRORS] = break_disk,       [PLAN_FULL] = fill_up,      [PLAN_STALLS] = stall,
        [PLAN_CLOCK] = trouble_set_clock, [PLAN_READS] = break_reads,
    };
    uint64_t drawn = rng_below(&trouble->rng, PLAN_COUNT);
    for (uint32_t i = 0; i < PLAN_COUNT; i++) {
        uint32_t at = (uint32_t)(drawn + i) % PLAN_COUNT;
        if (trouble->sim->options.plan.has[at] && befalls[at] != NULL) {
            befalls[at](trouble);
            return;
        }
    }
}

static void turn(void *object)
{
    struct trouble *trouble = object;
    struct sim *sim = trouble->sim;
    if (trouble->space_ns <= sim->now_ns) {
        have_space(trouble);
    }
    if (trouble->trust_ns <= sim->now_ns) {
        look_at_node(trouble);
    }
    if (sim->is_stormy && trouble->next_ns <= sim->now_ns) {
        if (sim->node->broker != NULL) {
            befall(trouble);
            trouble->count++;
        }
        trouble->next_ns = sim->now_ns + rng_below(&trouble->rng, PAUSE_NS_MAX);
    }
}

void trouble_init(struct trouble *trouble, struct sim *sim)
{
    static const enum plan_what running[] = {PLAN_ERRORS, PLAN_FULL, PLAN_STALLS, PLAN_CLOCK,
                                             PLAN_READS};
    bool has_any = false;
    *trouble = (struct trouble){.sim = sim,
                                .next_ns = UINT64_MAX,
                                .space_ns = UINT64_MAX,
                                .trust_ns = UINT64_MAX,
                                .restart_ns = UINT64_MAX};
    rng_init(&trouble->rng, sim->options.seed ^ UINT64_C(0x74726f75));
    for (uint32_t i = 0; i < sizeof(running) / sizeof(running[0]); i++) {
        has_any |= sim->options.plan.has[running[i]];
    }
    if (has_any) {
        trouble->next_ns = sim->now_ns + rng_below(&trouble->rng, PAUSE_NS_MAX);
        sim_actor_add(sim, "trouble", trouble, wants_ns, turn);
    }
}

bool trouble_has_broken(const struct trouble *trouble)
{
    const struct sim_store *store = trouble->sim->node->store;
    return trouble->restart_ns != UINT64_MAX || (store != NULL && sim_store_is_fenced(store));
}

bool trouble_wants_restart(const struct trouble *trouble)
{
    return trouble->restart_ns <= trouble->sim->now_ns;
}

void trouble_heal(struct trouble *trouble)
{
    if (trouble->space_ns != UINT64_MAX) {
        have_space(trouble);
    }
    if (trouble->sim->node->store != NULL) {
        sim_store_mend(trouble->sim->node->store);
    }
    if (trouble->restart_ns != UINT64_MAX) {
        trouble->restart_ns = UINT64_MAX;
        trouble->trust_ns = trouble->sim->now_ns;
    }
}
