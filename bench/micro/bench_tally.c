/*
 * bench_tally: what a shard does beside each message or turn: count, say that it holds nothing,
 * remember a reason, not write to the log, draw a number.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/base/epoch.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/rng.h"
#include "core/base/trail.h"

#include <fcntl.h>

enum { OPS = 10000000, SHARDS = 16, TURN_RETIRES = 16 };

static void counts(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        metric_add(context, METRIC_publish_bytes_sent, i & 63);
        micro_keep(0); /* each one stands by itself, as in the broker */
    }
}

static void counts_by_qos(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        metric_add_label(context, METRIC_publish_sent, i % 3, 1);
        micro_keep(0);
    }
}

static void observations(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        metric_observe(context, METRIC_turn_ns, i & 0xfffff);
        micro_keep(0);
    }
}

static void nothing(void *object)
{
    micro_keep((uint64_t)(uintptr_t)object);
}

static void quiet_turns(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        epoch_quiescent(context, 0);
        epoch_collect(context, 0);
    }
}

static void sleeps(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        epoch_offline(context, 0);
        epoch_online(context, 0);
    }
}

/* As a turn with many SUBSCRIBEs: an operation is one object retired and freed. */
static void retired(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        epoch_retire(context, 0, context, nothing);
        if (i % TURN_RETIRES == TURN_RETIRES - 1) {
            epoch_quiescent(context, 0);
            epoch_collect(context, 0);
        }
    }
    while (epoch_collect(context, 0) > 0) {
        epoch_quiescent(context, 0);
    }
}

static struct trail_event dropped(void)
{
    return (struct trail_event){.what = TRAIL_DROP_QUEUE_FULL,
                                .why = ERR_QUOTA,
                                .client = slice_text("device-000017"),
                                .topic = slice_text("factory/7/line/3/temperature")};
}

static void reasons(void *context, uint64_t ops)
{
    struct trail_event event = dropped();
    for (uint64_t i = 0; i < ops; i++) {
        trail_add(context, i / 1000, &event);
    }
}

/* A fan-out to clients that are all behind: each time another client, and another set. */
static void reasons_of_many(void *context, uint64_t ops)
{
    char client[] = "device-000017";
    struct trail_event event = dropped();
    event.client = slice_of(client, sizeof(client) - 1);
    for (uint64_t i = 0; i < ops; i++) {
        client[10] = (char)('0' + i / 100 % 10);
        client[11] = (char)('0' + i / 10 % 10);
        client[12] = (char)('0' + i % 10);
        trail_add(context, i / 1000, &event);
    }
}

/* Never the same: each time the oldest record makes room. */
static void reasons_anew(void *context, uint64_t ops)
{
    struct trail_event event = dropped();
    for (uint64_t i = 0; i < ops; i++) {
        event.topic = slice_of(&i, sizeof(i));
        trail_add(context, i / 1000, &event);
    }
}

static void lines_that_are_off(void *context, uint64_t ops)
{
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        log_event(LOG_DEBUG, "a line", LOG_TEXT("client", "device-000017"), LOG_U64("i", i));
    }
}

static void lines_held_back(void *context, uint64_t ops)
{
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        log_event(LOG_WARNING, "a line", LOG_TEXT("client", "device-000017"), LOG_U64("i", i));
    }
}

static void numbers(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(rng_below(context, 1000));
    }
}

int main(int argc, char **argv)
{
    struct metrics *metrics = metrics_new();
    struct epoch *epoch = epoch_new(SHARDS);
    struct trail *trail = trail_new(1);
    struct rng rng;
    ASSERT(metrics != NULL);
    ASSERT(epoch != NULL);
    ASSERT(trail != NULL);
    micro_begin(argc, argv);
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < SHARDS; i++) {
        epoch_online(epoch, i);
    }
    micro_run("metric add", counts, metrics, OPS);
    micro_run("metric add by label", counts_by_qos, metrics, OPS);
    micro_run("metric observe", observations, metrics, OPS);
    micro_run("epoch: a turn that retires nothing", quiet_turns, epoch, OPS);
    micro_run("epoch: offline, online", sleeps, epoch, OPS / 4);
    for (uint32_t i = 1; i < SHARDS; i++) {
        epoch_offline(epoch, i); /* nobody says that it is quiescent: all would wait for ever */
    }
    micro_run("epoch: retire, 16 a turn", retired, epoch, OPS / 4);
    epoch_offline(epoch, 0);
    micro_run("trail add, a repeat", reasons, trail, OPS);
    micro_run("trail add, repeats of 1000 clients", reasons_of_many, trail, OPS);
    micro_run("trail add, never the same", reasons_anew, trail, OPS);
    log_setup(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LOGFMT, 1u << LOG_WARNING);
    micro_run("log line, level off", lines_that_are_off, NULL, OPS);
    micro_run("log line, beyond 50 a second", lines_held_back, NULL, OPS / 10);
    micro_run("rng below", numbers, &rng, OPS);
    trail_free(trail);
    epoch_free(epoch);
    metrics_free(metrics);
    return 0;
}
