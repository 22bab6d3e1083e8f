#include "tests/sim/sim.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_node.h"

#include <stdarg.h>
#include <stdlib.h>
#include <xxhash.h>

enum { STEPS_MAX = 4000000, TRACE_LINE_MAX = 512 };

struct sim *sim_world;

/* ---- chance and trace ---------------------------------------------------------------------- */

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return rng_below(&sim->rng, bound);
}

bool sim_may_refuse(const struct sim *sim)
{
    return sim->disk_is_bad || sim->lead_is_bad;
}

bool sim_chance(struct sim *sim, uint32_t percent)
{
    return !sim->options.is_still && sim_below(sim, 100) < percent;
}

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high)
{
    ASSERT(low <= high);
    return low + sim_below(sim, high - low + 1);
}

static void trace_line(struct sim *sim, const char *line)
{
    sim->trace_hash = XXH3_64bits_withSeed(line, strlen(line), sim->trace_hash + sim->now_ns);
    FILE *out = sim->options.trace != NULL ? sim->options.trace : stdout;
    if (!sim->options.show || sim->is_mute) {
        return;
    }
    if (sim->options.is_still) {
        fprintf(out, "%s\n", line); /* a story has an order, not a clock */
        return;
    }
    fprintf(out, "%4llu.%06llu  %s\n", (unsigned long long)(sim->now_ns / SIM_S),
            (unsigned long long)(sim->now_ns % SIM_S / SIM_US), line);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    char line[TRACE_LINE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    trace_line(sim, line);
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    if (sim->has_failed) {
        return;
    }
    sim->has_failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->why, sizeof(sim->why), format, arguments);
    va_end(arguments);
    sim_trace(sim, "BROKEN PROMISE: %s", sim->why);
}

static uint64_t wall_ms(void *context)
{
    (void)context;
    return sim_world != NULL ? sim_world->now_ns / SIM_MS : 0;
}

/* ---- turns --------------------------------------------------------------------------------- */

struct sim_actor *sim_actor_add(struct sim *sim, const char *name, void *object,
                                uint64_t (*wants_ns)(void *object), void (*turn)(void *object))
{
    ASSERT(sim->actor_count < SIM_ACTORS_MAX);
    struct sim_actor *actor = &sim->actors[sim->actor_count++];
    *actor = (struct sim_actor){.wants_ns = wants_ns, .turn = turn, .object = object};
    snprintf(actor->name, sizeof(actor->name), "%s", name);
    return actor;
}

static uint64_t due_ns(const struct sim *sim, const struct sim_actor *actor)
{
    if (actor->is_held) {
        return UINT64_MAX;
    }
    uint64_t wants_ns = actor->wants_ns(actor->object);
    wants_ns = wants_ns < actor->not_before_ns ? actor->not_before_ns : wants_ns;
    return wants_ns < sim->now_ns ? sim->now_ns : wants_ns;
}

/* How long it is kept from its next turn: the scheduler of another machine, another thread. */
static uint64_t pause_ns(struct sim *sim, const struct sim_actor *actor)
{
    uint64_t times = sim->is_stormy && actor->slowness > 1 ? actor->slowness : 1;
    if (sim->options.is_still) {
        return 10 * SIM_US;
    }
    uint64_t kind = sim_below(sim, 1000);
    if (kind < 800) {
        return times * sim_between(sim, SIM_US, 100 * SIM_US);
    }
    if (kind < 990 || !sim->is_stormy) {
        return times * sim_between(sim, 10 * SIM_US, 2 * SIM_MS);
    }
    return sim_between(sim, SIM_MS, 100 * SIM_MS);
}

bool sim_step(struct sim *sim, uint64_t until_ns)
{
    struct sim_actor *next = NULL;
    uint64_t next_ns = UINT64_MAX;
    uint32_t equals = 0;
    for (uint32_t i = 0; i < sim->actor_count; i++) {
        uint64_t at_ns = due_ns(sim, &sim->actors[i]);
        if (at_ns < next_ns) {
            equals = 0;
        }
        if (at_ns <= next_ns && at_ns != UINT64_MAX && sim_below(sim, ++equals) == 0) {
            next = &sim->actors[i];
            next_ns = at_ns;
        }
    }
    if (next == NULL || next_ns > until_ns) {
        return false;
    }
    sim->now_ns = next_ns;
    sim->step_count++;
    next->turn(next->object);
    next->not_before_ns = sim->now_ns + pause_ns(sim, next);
    if (sim->step_count >= STEPS_MAX) {
        sim_fail(sim, "the world does not come to rest");
        return false;
    }
    return true;
}

void sim_run_until(struct sim *sim, uint64_t until_ns)
{
    while (!sim->has_failed && sim_step(sim, until_ns)) {
    }
    if (!sim->has_failed && sim->now_ns < until_ns) {
        sim->now_ns = until_ns;
    }
}

bool sim_run_while(struct sim *sim, bool (*goes_on)(void *context), void *context,
                   uint64_t limit_ns)
{
    uint64_t until_ns = sim->now_ns + limit_ns;
    while (!sim->has_failed && goes_on(context)) {
        if (!sim_step(sim, until_ns)) {
            break;
        }
    }
    return !goes_on(context);
}

/* ---- a world ------------------------------------------------------------------------------- */

static struct config *make_config(const struct sim_options *options)
{
    char text[1024];
    snprintf(
        text, sizeof(text),
        "listener %d 127.0.0.1\nallow_anonymous true\nhttp_listener none\nsys_interval 0\n%s\n",
        SIM_PORT, options->config != NULL ? options->config : "");
    struct config_sources sources = {.text = slice_text(text)};
    struct config_report report;
    struct config *config = NULL;
    config_report_init(&report);
    if (config_load(&sources, &config, &report) != OK) {
        config_report_print(&report, stderr);
    }
    config_report_deinit(&report);
    ASSERT(config != NULL);
    return config;
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    ASSERT(sim != NULL);
    sim->options = *options;
    sim->now_ns = SIM_S;
    rng_init(&sim->rng, options->seed);
    sim_world = sim;
    log_clock(wall_ms, NULL);
    sim->net = net_new(sim);
    sim->config = make_config(options);
    sim->node = sim_node_new(sim);
    struct broker_failure failure;
    enum err err = sim_node_start(sim->node, &failure);
    ASSERT(err == OK);
    return sim;
}

void sim_free(struct sim *sim)
{
    if (sim == NULL) {
        return;
    }
    sim_node_free(sim->node);
    net_free(sim->net);
    config_free(sim->config);
    sim_world = NULL;
    free(sim);
}
