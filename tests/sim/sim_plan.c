#include "tests/sim/sim_plan.h"

#include "core/base/rng.h"

#include <stdio.h>
#include <string.h>

static const struct {
    uint32_t percent;
    const char *words;
} choices[PLAN_COUNT] = {
#define PLAN_ROW(name, share, text) [name] = {share, text},
    PLAN_TABLE(PLAN_ROW)
#undef PLAN_ROW
};

void plan_draw(struct plan *plan, struct rng *rng)
{
    for (uint32_t i = 0; i < PLAN_COUNT; i++) {
        plan->has[i] = rng_below(rng, 100) < choices[i].percent;
    }
    /* What is acknowledged before the disk has it is lost with a disk that fails, or at an end without
     * space; a node that is fenced or full may well end so. */
    bool may_lose = plan->has[PLAN_ERRORS] || plan->has[PLAN_FULL] || plan->has[PLAN_READS];
    plan->has[PLAN_RELAXED] = plan->has[PLAN_RELAXED] && !may_lose;
    plan->has[PLAN_QUORUM] = plan->has[PLAN_QUORUM] && !plan->has[PLAN_RELAXED];
}

void plan_text(const struct plan *plan, char *out, size_t out_bytes)
{
    size_t count = (size_t)snprintf(out, out_bytes, "plan:");
    size_t empty = count;
    for (uint32_t i = 0; i < PLAN_COUNT && count < out_bytes; i++) {
        if (plan->has[i]) {
            count += (size_t)snprintf(out + count, out_bytes - count, "%s %s",
                                      count > empty ? ";" : "", choices[i].words);
        }
    }
    if (count == empty) {
        snprintf(out + count, out_bytes - count, " crashes and nothing else");
    }
}
