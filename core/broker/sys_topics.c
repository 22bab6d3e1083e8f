/*
 * Topics are retained, and a value is published only when it has changed since the last time, as
 * mosquitto does. Loads are exponential averages per minute over 1, 5 and 15 minutes.
 */
#include "core/broker/sys_topics.h"

#include "core/base/ledger.h"
#include "core/base/wheel.h"
#include "core/broker/broker_shared.h"
#include "core/broker/retained.h"
#include "core/broker/route.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "$SYS/broker/"

enum { VALUE_MAX = 64, TOPIC_MAX = 128 };

enum { NO_METRIC = -1 };

/* A plain number: the sum of one metric, or of one more or less another. */
static const struct number_row {
    const char *topic;
    enum metric metric;
    int minus, plus; /* a metric to take away, to add; NO_METRIC: none */
} numbers[] = {
    {ROOT "clients/connected", METRIC_clients_connected, NO_METRIC, NO_METRIC},
    {ROOT "clients/active", METRIC_clients_connected, NO_METRIC, NO_METRIC},
    {ROOT "clients/disconnected", METRIC_sessions, METRIC_clients_connected, NO_METRIC},
    {ROOT "clients/inactive", METRIC_sessions, METRIC_clients_connected, NO_METRIC},
    {ROOT "clients/total", METRIC_sessions, NO_METRIC, NO_METRIC},
    {ROOT "clients/expired", METRIC_sessions_expired, NO_METRIC, NO_METRIC},
    {ROOT "connections/socket/count", METRIC_connections_open, NO_METRIC, NO_METRIC},
    {ROOT "messages/received", METRIC_packets_received, NO_METRIC, NO_METRIC},
    {ROOT "messages/sent", METRIC_packets_sent, NO_METRIC, NO_METRIC},
    {ROOT "messages/inflight", METRIC_inflight, NO_METRIC, NO_METRIC},
    {ROOT "messages/stored", METRIC_queued, NO_METRIC, METRIC_retained},
    {ROOT "store/messages/count", METRIC_queued, NO_METRIC, METRIC_retained},
    {ROOT "store/messages/bytes", METRIC_queued_bytes, NO_METRIC, METRIC_retained_bytes},
    {ROOT "publish/messages/received", METRIC_publish_received, NO_METRIC, NO_METRIC},
    {ROOT "publish/messages/sent", METRIC_publish_sent, NO_METRIC, NO_METRIC},
    {ROOT "publish/bytes/received", METRIC_publish_bytes_received, NO_METRIC, NO_METRIC},
    {ROOT "publish/bytes/sent", METRIC_publish_bytes_sent, NO_METRIC, NO_METRIC},
    {ROOT "bytes/received", METRIC_bytes_received, NO_METRIC, NO_METRIC},
    {ROOT "bytes/sent", METRIC_bytes_sent, NO_METRIC, NO_METRIC},
    {ROOT "retained messages/count", METRIC_retained, NO_METRIC, NO_METRIC},
    {ROOT "subscriptions/count", METRIC_subscriptions, NO_METRIC, NO_METRIC},
    {ROOT "shared_subscriptions/count", METRIC_subscriptions_shared, NO_METRIC, NO_METRIC},
    {ROOT "packet/out/bytes", METRIC_output_bytes, NO_METRIC, NO_METRIC},
    {ROOT "heap/current", METRIC_memory_bytes, NO_METRIC, NO_METRIC},
};

/* A rate: the growth of a metric per minute. */
static const struct load_row {
    const char *name;
    enum metric metric;
} loads[] = {
    {"messages/received", METRIC_packets_received},
    {"messages/sent", METRIC_packets_sent},
    {"publish/received", METRIC_publish_received},
    {"publish/sent", METRIC_publish_sent},
    {"publish/dropped", METRIC_dropped},
    {"bytes/received", METRIC_bytes_received},
    {"bytes/sent", METRIC_bytes_sent},
    {"sockets", METRIC_connections_accepted},
    {"connections", METRIC_connect_accepted},
};

enum {
    NUMBER_COUNT = sizeof(numbers) / sizeof(numbers[0]),
    LOAD_COUNT = sizeof(loads) / sizeof(loads[0]),
    PERIOD_COUNT = 3,
    /* Version, uptime, maximum of clients, of heap, dropped messages; the heap by its uses. */
    OTHER_COUNT = 5 + LEDGER_USE_COUNT,
    VALUE_COUNT = NUMBER_COUNT + LOAD_COUNT * PERIOD_COUNT + OTHER_COUNT,
};

static const uint32_t period_minutes[PERIOD_COUNT] = {1, 5, 15};

struct sys_topics {
    struct shard *shard;
    struct timer timer;
    uint64_t last_ns;
    uint64_t clients_max, heap_max;
    uint64_t load_last[LOAD_COUNT];
    double load[LOAD_COUNT][PERIOD_COUNT];
    char said[VALUE_COUNT][VALUE_MAX];
};

static uint64_t total(const struct shard *shard, enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < shard->broker_shard_count; i++) {
        sum += metric_value(shard->broker->metrics[i], metric);
    }
    return sum;
}

/* Of the metric `dropped` only what happened to messages. */
static uint64_t total_dropped(const struct shard *shard)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < shard->broker_shard_count; i++) {
        for (uint32_t what = TRAIL_DROP_QUEUE_FULL; what <= TRAIL_DROP_LAST; what++) {
            sum += metric_label_value(shard->broker->metrics[i], METRIC_dropped, what);
        }
    }
    return sum;
}

static void say(struct sys_topics *sys, uint32_t index, const char *topic, const char *value)
{
    if (strcmp(sys->said[index], value) == 0) {
        return;
    }
    snprintf(sys->said[index], VALUE_MAX, "%s", value);
    struct msg_spec spec = {
        .retain = true, .topic = slice_text(topic), .payload = slice_text(value)};
    struct msg *msg = msg_new(&spec);
    if (msg != NULL) {
        retained_publish(sys->shard, msg, NULL);
        msg_unref(msg);
    }
}

static void say_u64(struct sys_topics *sys, uint32_t index, const char *topic, uint64_t value)
{
    char text[VALUE_MAX];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    say(sys, index, topic, text);
}

static void say_numbers(struct sys_topics *sys)
{
    for (uint32_t i = 0; i < NUMBER_COUNT; i++) {
        uint64_t value = total(sys->shard, numbers[i].metric);
        if (numbers[i].plus != NO_METRIC) {
            value += total(sys->shard, (enum metric)numbers[i].plus);
        }
        if (numbers[i].minus != NO_METRIC) {
            uint64_t minus = total(sys->shard, (enum metric)numbers[i].minus);
            value = value > minus ? value - minus : 0; /* read at slightly different moments */
        }
        say_u64(sys, i, numbers[i].topic, value);
    }
}

static void say_loads(struct sys_topics *sys, double passed_s)
{
    for (uint32_t i = 0; i < LOAD_COUNT; i++) {
        uint64_t now = loads[i].metric == METRIC_dropped ? total_dropped(sys->shard)
                                                         : total(sys->shard, loads[i].metric);
        double per_minute = (double)(now - sys->load_last[i]) / passed_s * 60;
        sys->load_last[i] = now;
        for (uint32_t k = 0; k < PERIOD_COUNT; k++) {
            char topic[TOPIC_MAX], text[VALUE_MAX];
            double decay = exp(-passed_s / (60.0 * period_minutes[k]));
            sys->load[i][k] = per_minute + decay * (sys->load[i][k] - per_minute);
            snprintf(topic, sizeof(topic), ROOT "load/%s/%umin", loads[i].name, period_minutes[k]);
            snprintf(text, sizeof(text), "%.2f", sys->load[i][k]);
            say(sys, NUMBER_COUNT + i * PERIOD_COUNT + k, topic, text);
        }
    }
}

static void say_others(struct sys_topics *sys)
{
    struct shard *shard = sys->shard;
    uint32_t index = NUMBER_COUNT + LOAD_COUNT * PERIOD_COUNT;
    char text[VALUE_MAX];
    uint64_t clients = total(shard, METRIC_clients_connected);
    uint64_t heap = total(shard, METRIC_memory_bytes);
    uint64_t up_ms = io_wall_ms(shard->io) - shard->broker->start_wall_ms;
    sys->clients_max = clients > sys->clients_max ? clients : sys->clients_max;
    sys->heap_max = heap > sys->heap_max ? heap : sys->heap_max;
    say(sys, index++, ROOT "version", "tern version " TERN_VERSION);
    snprintf(text, sizeof(text), "%llu seconds", (unsigned long long)(up_ms / 1000));
    say(sys, index++, ROOT "uptime", text);
    say_u64(sys, index++, ROOT "clients/maximum", sys->clients_max);
    say_u64(sys, index++, ROOT "heap/maximum", sys->heap_max);
    say_u64(sys, index++, ROOT "publish/messages/dropped", total_dropped(shard));
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        char topic[TOPIC_MAX];
        snprintf(topic, sizeof(topic), ROOT "heap/%s", ledger_name(use));
        say_u64(sys, index++, topic, ledger_bytes(use));
    }
}

static void rest(struct sys_topics *sys)
{
    uint32_t interval_s = sys->shard->config->sys_interval_s;
    /* Turned off it still looks, now and then, whether a reload has turned it on. */
    uint64_t wait_s = interval_s == 0 ? 10 : interval_s;
    wheel_set(sys->shard->wheel, &sys->timer,
              io_now_ns(sys->shard->io) + wait_s * UINT64_C(1000000000));
}

static void on_timer(struct timer *timer)
{
    struct sys_topics *sys = CONTAINER_OF(timer, struct sys_topics, timer);
    uint64_t now = io_now_ns(sys->shard->io);
    double passed_s = (double)(now - sys->last_ns) / 1e9;
    if (sys->shard->config->sys_interval_s > 0) {
        say_numbers(sys);
        if (passed_s > 0) {
            say_loads(sys, passed_s);
        }
        say_others(sys);
        sys->last_ns = now;
    }
    rest(sys);
}

enum err sys_topics_new(struct shard *shard, struct sys_topics **out)
{
    struct sys_topics *sys = calloc(1, sizeof(*sys));
    if (sys == NULL) {
        return ERR_NOMEM;
    }
    sys->shard = shard;
    sys->last_ns = io_now_ns(shard->io);
    timer_init(&sys->timer, on_timer);
    /* The first time soon, so that whoever subscribes finds something. */
    wheel_set(shard->wheel, &sys->timer, sys->last_ns + UINT64_C(100000000));
    *out = sys;
    return OK;
}

void sys_topics_free(struct sys_topics *sys_topics)
{
    if (sys_topics != NULL) {
        wheel_unset(sys_topics->shard->wheel, &sys_topics->timer);
        free(sys_topics);
    }
}
