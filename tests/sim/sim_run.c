#include "tests/sim/sim_run.h"

#include "core/pubsub/msg.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_flap.h"
#include "tests/sim/sim_life.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_outage.h"
#include "tests/sim/sim_replay.h"
#include "tests/sim/sim_store.h"

#include <stdio.h>
#include <stdlib.h>

#define STORM_NS  UINT64_C(8000000000)
#define QUIET_NS  UINT64_C(45000000000)
#define LIMIT_NS  UINT64_C(60000000000)
#define SCRIPT_NS UINT64_C(30000000000)

enum { SCRIPT_MESSAGES = 40, AUDIT_FILTER = 5 /* r/# */ };

/* ---- the audit: a client that collects what is retained ------------------------------------ */

struct audit {
    struct client *client;
    struct life_world *world;
};

static uint64_t audit_wants_ns(void *object)
{
    return client_wants_ns(((struct audit *)object)->client);
}

static void audit_turn(void *object)
{
    struct client *client = ((struct audit *)object)->client;
    client_read(client);
    client_flush_acks(client, CLIENT_ACKS_MAX);
    client_write(client);
}

static bool is_connecting(void *context)
{
    return ((struct audit *)context)->client->state == CLIENT_CONNECTING;
}

static bool is_subscribing(void *context)
{
    return ((struct audit *)context)->client->pending_id != 0;
}

/* P6: the retained messages that a new subscriber is shown. */
static void audit_retained(struct sim *sim, struct life_world *world)
{
    const struct client_character character = {.version = MQTT_5, .window = 1};
    struct audit audit = {.world = world};
    uint32_t index = world->client_count;
    audit.client = client_new(sim, world->check, index, "audit", &character);
    struct sim_actor *actor = sim_actor_add(sim, "audit", &audit, audit_wants_ns, audit_turn);
    check_retained_forget(world->check);
    client_connect(audit.client, true);
    client_write(audit.client);
    bool is_open = sim_run_while(sim, is_connecting, &audit, LIMIT_NS);
    if (is_open) {
        client_subscribe(audit.client, AUDIT_FILTER, 2);
        client_write(audit.client);
        sim_run_while(sim, is_subscribing, &audit, LIMIT_NS);
        sim_run_until(sim, sim->now_ns + 5 * SIM_S);
    }
    if (!sim->has_failed && !is_open) {
        sim_fail(sim, "a new client cannot connect when all is quiet");
    }
    for (uint32_t i = 0; i < world->client_count && !sim->has_failed; i++) {
        char topic[CHECK_TOPIC_MAX];
        snprintf(topic, sizeof(topic), "r/%u", i);
        check_retained(world->check, topic, check_retained_seen(world->check, topic));
    }
    if (!sim->has_failed) {
        client_disconnect(audit.client, 0, true);
        client_write(audit.client);
        sim_run_until(sim, sim->now_ns + 3 * SIM_S);
    }
    actor->is_held = true;
    client_free(audit.client);
}

/* ---- phases -------------------------------------------------------------------------------- */

static bool not_begun(void *context)
{
    return !life_has_begun(context);
}

static bool not_sent(void *context)
{
    return !life_has_sent(context);
}

static bool not_quiet(void *context)
{
    return !life_is_quiet(context);
}

static bool not_left(void *context)
{
    return !life_has_left(context);
}

static void storm(struct sim *sim, struct life_world *world, struct outages *outages)
{
    uint64_t end_ns = sim->now_ns + STORM_NS;
    sim->is_stormy = true;
    world->phase = LIFE_BUSY;
    outages_until(outages, end_ns);
    sim->is_stormy = false;
    world->phase = LIFE_QUIET;
    world->quiet_ns = sim->now_ns;
    for (uint32_t i = 0; i < world->client_count; i++) {
        world->clients[i]->stalled_until_ns = 0;
        world->clients[i]->character.ack_delay_ns = 0;
    }
    sim_trace(sim, "---- the storm is over");
    sim_run_until(sim, sim->now_ns + QUIET_NS);
}

static void calm(struct sim *sim, struct life_world *world)
{
    if (!sim_run_while(sim, not_begun, world, LIMIT_NS)) {
        sim_fail(sim, "not everybody could subscribe");
    }
    world->phase = LIFE_BUSY;
    if (!sim->has_failed && !sim_run_while(sim, not_sent, world, SCRIPT_NS)) {
        sim_fail(sim, "not everybody could send its script");
    }
    world->phase = LIFE_QUIET;
    sim_run_until(sim, sim->now_ns + QUIET_NS / 3);
}

static void shards_are_empty(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node->shard_count; i++) {
        const struct shard *shard = sim->node->shards[i].shard;
        if (shard->queue_totals.count != 0 || shard->queue_totals.bytes != 0 ||
            shard->inflight_total != 0 || map_count(shard->sessions) != 0 ||
            shard->conn_count != 0) {
            sim_fail(
                sim,
                "after all left, %s still has %u sessions, %u connections, %llu queued, %llu in "
                "flight",
                sim->node->shards[i].actor->name, (unsigned)map_count(shard->sessions),
                shard->conn_count, (unsigned long long)shard->queue_totals.count,
                (unsigned long long)shard->inflight_total);
        }
    }
}

static void leave(struct sim *sim, struct life_world *world)
{
    world->phase = LIFE_LEAVE;
    if (!sim_run_while(sim, not_left, world, LIMIT_NS)) {
        sim_fail(sim, "not everybody could leave");
    }
    sim_run_until(sim, sim->now_ns + 15 * SIM_S); /* wills and sessions of some seconds */
    if (!sim->has_failed) {
        shards_are_empty(sim);
    }
    if (!sim->has_failed && sim->options.is_durable) {
        replay_is_empty(sim);
    }
}

static void phases(struct sim *sim, struct life_world *world, struct outages *outages)
{
    if (world->is_calm) {
        calm(sim, world);
    } else {
        storm(sim, world, outages);
    }
    if (!sim->has_failed && !life_is_quiet(world) &&
        !sim_run_while(sim, not_quiet, world, LIMIT_NS)) {
        for (uint32_t i = 0; i < world->client_count; i++) {
            const struct client *client = world->clients[i];
            if (!client_is_quiet(client)) {
                sim_fail(sim, "%s has unfinished business: state %d, %u out, %u in, %u acks",
                         client->id, client->state, client->outbound_count, client->received_count,
                         client->ack_count);
            }
        }
    }
    if (!sim->has_failed) {
        check_all_paid(world->check);
    }
    if (!sim->has_failed) {
        audit_retained(sim, world);
    }
    if (!sim->has_failed && sim_below(sim, 4) != 0) {
        leave(sim, world); /* else the broker ends with sessions and messages in it */
    }
}

/* Queues are unbounded but where the publisher hears of it: what is dropped is owed to nobody. */
static const char *const settings[] = {
    "max_queued_messages 0",
    "max_queued_messages 0\nmax_receive 4\nmax_inflight_messages 3",
    /* Slow readers lose QoS 0 from here on: */
    "max_queued_messages 0\nmax_output_bytes 4096",
    "max_queued_messages 0\nmax_inflight_bytes 3000",
};
enum { SETTINGS = sizeof(settings) / sizeof(settings[0]), SETTINGS_CALM = 2, STREAMS_FEW = 14 };
static const char settings_rejecting[] = "max_queued_messages 8\nqueue_policy reject";

/* How much of what is retained may be in memory: none (all of it is on disk alone), some, or all. Drawn
 * apart, so that a seed's other choices are what they were. */
static const char *retained_memory_of(uint64_t seed)
{
    static const char *const lines[] = {"retained_memory 1", "retained_memory 400", ""};
    struct rng rng;
    rng_init(&rng, seed ^ UINT64_C(0x72657461696e));
    return lines[rng_below(&rng, sizeof(lines) / sizeof(lines[0]))];
}

void run_seed(const struct run_options *options, struct run_result *out)
{
    struct rng rng;
    rng_init(&rng, options->seed ^ UINT64_C(0x7465726e));
    uint32_t drawn = (uint32_t)rng_below(&rng, 10);
    uint32_t shard_count = drawn < 1 ? 1 : drawn < 8 ? 2 : 3;
    struct life_world world = {.is_calm = options->is_calm,
                               .client_count = 5 + (uint32_t)rng_below(&rng, 5),
                               .is_rejecting = !options->is_calm && rng_below(&rng, 6) == 0,
                               .fleeting_may_share = rng_below(&rng, 2) == 0,
                               .script_messages = SCRIPT_MESSAGES};
    char config[160];
    snprintf(config, sizeof(config), "%s\n%s",
             world.is_rejecting
                 ? settings_rejecting
                 : settings[rng_below(&rng, options->is_calm ? SETTINGS_CALM : SETTINGS)],
             retained_memory_of(options->seed));
    struct sim_options sim_options = {
        .seed = options->seed,
        .is_durable = options->kind == RUN_DURABLE,
        .shard_count = options->shard_count > 0 ? options->shard_count : shard_count,
        .show = options->show,
        .config = config,
        .stream_count_max = !options->is_calm && rng_below(&rng, 8) == 0 ? STREAMS_FEW : 0,
    };
    if (options->kind == RUN_DURABLE) {
        struct rng plan_rng;
        rng_init(&plan_rng, options->seed ^ UINT64_C(0x706c616e));
        plan_draw(&sim_options.plan, &plan_rng);
    }
    plan_text(&sim_options.plan, out->plan, sizeof(out->plan));
    struct sim *sim = sim_new(&sim_options);
    if (options->kind == RUN_DURABLE) {
        sim_trace(sim, "%s", out->plan);
    }
    world.sim = sim;
    for (uint32_t i = 0; i < sim_options.shard_count; i++) {
        sim->node->shards[i].actor->slowness = rng_below(&rng, 4) == 0
                                                   ? 2 + (uint32_t)rng_below(&rng, 40)
                                                   : 1;
    }
    world.check = check_new(sim, world.client_count + 1);
    if (world.is_rejecting) {
        check_allow_refusals(world.check);
    }
    if (sim_options.plan.has[PLAN_FULL] || sim_options.plan.has[PLAN_ERRORS]) {
        check_allow_bad_disk(world.check);
    }
    if (sim_options.plan.has[PLAN_FLAPS]) {
        check_allow_flaps(world.check,
                          sim_options.plan.has[PLAN_GRACE] ? SIM_STORE_GRACE_MS * SIM_MS : 0);
    }
    flaps_init(sim, world.check);
    for (uint32_t i = 0; i < world.client_count; i++) {
        world.clients[i] = life_client(&world, i);
    }
    struct outages outages;
    outages_init(&outages, sim, world.check, options->kind, &rng);
    phases(sim, &world, &outages);
    sim_node_stop(sim->node, rng_below(&rng, 2) == 0);
    out->has_passed = !sim->has_failed;
    out->trace_hash = sim->trace_hash;
    out->deliveries_hash = check_deliveries_hash(world.check);
    out->message_count = check_message_count(world.check);
    out->delivery_count = check_delivery_count(world.check);
    out->step_count = sim->step_count;
    out->crash_count = outages.done_count;
    out->refused_count = outages.refused_count;
    out->trouble_count = outages.trouble.count;
    snprintf(out->why, sizeof(out->why), "%s", sim->why);
    for (uint32_t i = 0; i < world.client_count; i++) {
        life_free(world.clients[i]);
    }
    check_free(world.check);
    sim_free(sim);
}
