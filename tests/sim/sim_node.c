#include "tests/sim/sim_node.h"

#include "core/base/assert.h"
#include "core/broker/broker_shared.h"
#include "storage/store.h"
#include "tests/sim/sim_fiber.h"
#include "tests/sim/sim_flap.h"
#include "tests/sim/sim_flaw.h"
#include "tests/sim/sim_heap.h"
#include "tests/sim/sim_io.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_store.h"

#include <stdlib.h>

enum { STREAMS_PER_SHARD = 100 };

/* ---- turns --------------------------------------------------------------------------------- */

static void shard_fiber(void *context)
{
    struct sim_shard *self = context;
    while (shard_turn(self->shard, UINT64_MAX)) {
    }
    self->has_ended = true;
}

static uint64_t shard_wants_ns(void *object)
{
    const struct sim_shard *self = object;
    if (self->shard == NULL || self->has_ended) {
        return UINT64_MAX;
    }
    return self->has_rested ? sim_io_wants_ns(self->io) : self->node->sim->now_ns;
}

static void shard_turn_of(void *object)
{
    struct sim_shard *self = object;
    self->node->current = self;
    sim_heap_enter();
    fiber_resume(self->fiber);
    sim_heap_leave();
    self->has_rested = true;
    self->node->current = NULL;
}

/* ---- its life ------------------------------------------------------------------------------ */

struct sim_node *sim_node_new(struct sim *sim)
{
    static const char *const names[] = {"shard A", "shard B", "shard C"};
    struct sim_node *node = calloc(1, sizeof(*node));
    ASSERT(node != NULL);
    node->sim = sim;
    node->shard_count = sim->options.shard_count;
    ASSERT(node->shard_count <= SIM_NODE_SHARDS_MAX);
    for (uint32_t i = 0; i < SIM_NODE_SHARDS_MAX; i++) {
        struct sim_shard *self = &node->shards[i];
        self->node = node;
        self->actor = sim_actor_add(sim, names[i], self, shard_wants_ns, shard_turn_of);
    }
    node->store = sim->options.is_durable ? sim_store_new(sim) : NULL;
    node->actor_count = sim->actor_count;
    return node;
}

static void shards_settle(struct sim_node *node)
{
    bool is_settled = false;
    while (!is_settled) {
        is_settled = true;
        for (uint32_t i = 0; i < node->shard_count; i++) {
            is_settled &= shard_settle(node->shards[i].shard);
        }
    }
}

static enum err shards_open(struct sim_node *node, struct broker_failure *failure)
{
    for (uint32_t i = 0; i < node->shard_count; i++) {
        struct sim_shard *self = &node->shards[i];
        self->shard = broker_shard(node->broker, i);
        self->has_rested = false;
        self->has_ended = false;
        enum err err = shard_open(self->shard, failure);
        self->io = self->shard->io;
        TRY(err);
    }
    for (uint32_t i = 0; i < node->shard_count; i++) {
        TRY(shard_load(node->shards[i].shard, failure));
    }
    shards_settle(node);
    for (uint32_t i = 0; i < node->shard_count; i++) {
        TRY(shard_listen(node->shards[i].shard, failure));
    }
    return OK;
}

static enum err broker_open(struct sim_node *node, struct broker_failure *failure)
{
    struct sim *sim = node->sim;
    struct broker_ports ports = {0};
    if (node->store != NULL) {
        bool flaps = sim->options.plan.has[PLAN_FLAPS];
        ports = (struct broker_ports){
            .journal_new = flaps ? flap_journal_new : flaw_journal_new,
            .journal_load = flaps ? flap_journal_load : node_store_journal_load,
            .journal_load_more = flaps ? flap_journal_load_more : node_store_journal_load_more,
            .journal_free = flaps ? flap_journal_free : node_store_journal_free,
            .context = &node->store->ports};
    }
    struct broker_config config = {.config = sim->config,
                                   .ports = &ports,
                                   .shard_count = node->shard_count,
                                   .seed = rng_u64(&sim->rng),
                                   .stream_count_max = sim->options.stream_count_max > 0
                                                           ? sim->options.stream_count_max
                                                           : STREAMS_PER_SHARD};
    enum err err = broker_new(&config, &node->broker);
    ASSERT(err == OK);
    return shards_open(node, failure);
}

static void shards_forget(struct sim_node *node)
{
    for (uint32_t i = 0; i < node->shard_count; i++) {
        struct sim_shard *self = &node->shards[i];
        fiber_free(self->fiber);
        self->fiber = NULL;
        self->shard = NULL;
        self->io = NULL;
    }
    node->broker = NULL;
}

/* Nothing of it is left but the disk. */
static void take_all(struct sim_node *node, bool loses_power)
{
    if (node->store != NULL) {
        sim_store_crash(node->store, loses_power);
    }
    for (uint32_t i = 0; i < node->shard_count; i++) {
        if (node->shards[i].io != NULL) {
            sim_io_crash(node->shards[i].io);
        }
    }
    net_crash(node->sim->net, loses_power);
    shards_forget(node);
    sim_heap_crash();
}

void sim_node_reshard(struct sim_node *node, uint32_t shard_count)
{
    ASSERT(node->broker == NULL);
    ASSERT(shard_count <= SIM_NODE_SHARDS_MAX);
    node->shard_count = shard_count;
}

int64_t sim_node_ahead_ns(const struct sim_node *node)
{
    const struct shard *shard = node->shards[0].shard;
    int64_t at_ns = (int64_t)(io_now_ns(shard->io) / SIM_MS * SIM_MS);
    return (int64_t)((shard_wall_ms(shard) - WALL_MS_START) * SIM_MS) - at_ns;
}

enum err sim_node_start(struct sim_node *node, struct broker_failure *failure)
{
    ASSERT(node->broker == NULL);
    failure->text[0] = 0;
    if (flaw_is(FLAW_CLOCK_AT_ZERO)) {
        node->sim->wall_shift_ms = -(int64_t)(WALL_MS_START + node->sim->now_ns / SIM_MS);
    }
    if (node->store != NULL) {
        sim_kv_lie(node->store->disk, SIM_KV_WRITE, flaw_is(FLAW_REPLAY_SKIPS));
    }
    sim_heap_enter();
    enum err err = node->store != NULL ? sim_store_open(node->store, node->shard_count, failure)
                                       : OK;
    err = err == OK ? broker_open(node, failure) : err;
    sim_heap_leave();
    for (uint32_t i = 0; i < node->shard_count && err == OK; i++) {
        node->shards[i].fiber = fiber_new(shard_fiber, &node->shards[i]);
    }
    if (node->store != NULL) {
        sim_kv_lie(node->store->disk, SIM_KV_WRITE, false);
    }
    if (err != OK) {
        take_all(node, true);
    }
    return err;
}

void sim_node_crash(struct sim_node *node, enum sim_crash how)
{
    struct sim *sim = node->sim;
    ASSERT(node->broker != NULL);
    ASSERT(node->current == NULL);
    sim_trace(sim, "==== the node %s", how == SIM_KILLED ? "is killed" : "loses its power");
    take_all(node, how == SIM_POWER_LOST);
}

/* ---- an end that it knows of ---------------------------------------------------------------- */

static bool shards_run(const struct sim_node *node)
{
    for (uint32_t i = 0; i < node->shard_count; i++) {
        if (!node->shards[i].has_ended) {
            return true;
        }
    }
    return false;
}

static void hold_others(struct sim_node *node, bool is_held)
{
    for (uint32_t i = node->actor_count; i < node->sim->actor_count; i++) {
        node->sim->actors[i].is_held = is_held; /* they have seen enough */
    }
}

static void node_close(struct sim_node *node)
{
    if (node->store != NULL) {
        store_close_soon(node->store->ports.store);
    }
    for (uint32_t i = 0; i < node->shard_count; i++) {
        node->current = &node->shards[i];
        shard_close(node->shards[i].shard);
    }
    node->current = NULL;
    broker_free(node->broker);
    if (node->store != NULL) {
        sim_store_close(node->store);
    }
    shards_forget(node);
}

void sim_node_stop(struct sim_node *node, bool drain)
{
    struct sim *sim = node->sim;
    if (node->broker == NULL) {
        return;
    }
    sim_heap_enter();
    broker_stop(node->broker, drain);
    sim_heap_leave();
    for (uint32_t i = 0; i < node->shard_count; i++) {
        io_wake(NULL, node->shards[i].io);
    }
    /* Also after a failure: a shard is closed by itself, at the end of a turn. */
    uint64_t until_ns = sim->now_ns + 20 * SIM_S;
    hold_others(node, true);
    while (shards_run(node) && sim_step(sim, until_ns)) {
    }
    if (shards_run(node)) {
        sim_fail(sim, "the broker did not stop");
    }
    hold_others(node, false);
    node_close(node);
}

void sim_node_free(struct sim_node *node)
{
    if (node != NULL && node->broker != NULL) {
        node_close(node);
    }
    if (node != NULL) {
        sim_store_free(node->store);
    }
    free(node);
}
