/*
 * Publishers and subscribers, and the account of every message.
 *
 *   set up ──> warm-up ──> measured window ──> drain ──> settle the account
 */
#include "bench/check.h"
#include "bench/scenario_kinds.h"

#include <stdlib.h>

enum {
    CONNECTING_MAX = 64, /* connects under way at once: fewer than any backlog holds */
    TOPIC_MAX = 48,
    TURN_NS = 50 * 1000 * 1000,
};

#define SETUP_NS  ((uint64_t)60000000000)
#define STALL_NS  ((uint64_t)10000000000) /* without any delivery: the run is over */
#define DRAIN_NS  ((uint64_t)5000000000)
#define SECOND_NS ((uint64_t)1000000000)

struct messages;

struct publisher {
    struct messages *run;
    struct load_client *client; /* NULL when it is gone */
    uint32_t index;
    uint64_t sent, delivered, finished; /* delivered counts each subscriber */
    char topic[TOPIC_MAX];
    uint32_t topic_bytes;
};

struct subscriber {
    struct messages *run;
    struct load_client *client;
    uint32_t index;
    struct track *tracks; /* one per publisher it listens to */
};

struct messages {
    const struct scenario_options *options;
    struct report *report;
    struct load *load;
    struct publisher *publishers;
    struct subscriber *subscribers;
    uint32_t publisher_count, subscriber_count;
    uint32_t started_count, ready_count; /* subscribers first, then publishers */
    uint64_t progress_ns;                /* when anything was last delivered or finished */
    uint64_t due_count;                  /* open loop: messages sent on schedule so far */
    uint64_t measure_begin_ns; /* latencies are of messages meant to leave from here ... */
    uint64_t measure_end_ns;   /* ... to here, even if they come in the drain */
    bool is_sending, is_measuring, is_broken, is_ending;
};

/* A pair's subscriber hears one publisher, the fan's hears the one or all of them. */
static bool is_pairs(const struct messages *run)
{
    return run->publisher_count == run->subscriber_count;
}

static uint32_t receivers(const struct messages *run)
{
    return is_pairs(run) ? 1 : run->subscriber_count;
}

static uint32_t track_count(const struct messages *run)
{
    return run->subscriber_count == 1 ? run->publisher_count : 1;
}

static void publish(struct publisher *publisher, uint64_t sent_ns)
{
    struct messages *run = publisher->run;
    struct stamp stamp = {
        .publisher = publisher->index, .sequence = publisher->sent, .sent_ns = sent_ns};
    struct slice topic = slice_of(publisher->topic, publisher->topic_bytes);
    uint32_t payload_bytes = run->options->payload_bytes;

    uint8_t *payload = publisher->client == NULL
                           ? NULL
                           : load_publish(publisher->client, topic, run->options->qos, false,
                                          payload_bytes);
    if (payload == NULL) {
        run->is_broken = true; /* gone, or the broker takes nothing any more */
        return;
    }
    stamp_write(payload, payload_bytes, &stamp);
    publisher->sent++;
}

/* Closed loop: fill the window, a burst at a time. */
static void pump(struct publisher *publisher)
{
    struct messages *run = publisher->run;
    const struct scenario_options *options = run->options;

    if (!run->is_sending || options->rate > 0) {
        return;
    }
    uint64_t done = publisher->delivered / receivers(run);
    if (options->qos > 0 && publisher->finished < done) {
        done = publisher->finished;
    }
    while (!run->is_broken && publisher->sent - done + options->burst <= options->window) {
        uint64_t now_ns = load_clock_ns();
        for (uint32_t i = 0; i < options->burst; i++) {
            publish(publisher, now_ns);
        }
    }
}

/* Open loop: what should have left by now, each with the moment it should have left at. */
static void send_due(struct messages *run, uint64_t begin_ns, uint64_t now_ns)
{
    double rate = run->options->rate;
    while (!run->is_broken) {
        uint64_t due_ns = begin_ns + (uint64_t)((double)run->due_count * 1e9 / rate);
        if (due_ns > now_ns) {
            return;
        }
        publish(&run->publishers[run->due_count % run->publisher_count], due_ns);
        run->due_count++;
    }
}

static void account(struct messages *run, struct track *track, uint64_t sequence)
{
    switch (track_add(track, sequence)) {
    case TRACK_IN_ORDER:
    case TRACK_AFTER_GAP: /* lost, unless it comes late: the account is settled at the end */
        break;
    case TRACK_LATE:
        run->report->disordered_count++;
        break;
    case TRACK_REPEATED:
        run->report->repeated_count++;
        break;
    }
}

static void on_message(struct load_client *client, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct subscriber *subscriber = load_owner(client);
    struct messages *run = subscriber->run;
    struct stamp stamp;

    run->report->received_count++;
    run->progress_ns = received_ns;
    bool is_ours = message->payload.count == run->options->payload_bytes &&
                   stamp_read(message->payload, &stamp) && stamp.publisher < run->publisher_count &&
                   (!is_pairs(run) || stamp.publisher == subscriber->index);
    if (!is_ours) {
        run->report->corrupt_count++;
        return;
    }
    account(run, &subscriber->tracks[track_count(run) == 1 ? 0 : stamp.publisher], stamp.sequence);
    run->report->delivered_count += run->is_measuring ? 1 : 0;
    if (stamp.sent_ns >= run->measure_begin_ns && stamp.sent_ns < run->measure_end_ns) {
        histogram_add(&run->report->latency,
                      received_ns > stamp.sent_ns ? received_ns - stamp.sent_ns : 0);
    }
    struct publisher *publisher = &run->publishers[stamp.publisher];
    publisher->delivered++;
    pump(publisher);
}

static void on_finished(struct load_client *client)
{
    struct publisher *publisher = load_owner(client);
    publisher->finished++;
    publisher->run->progress_ns = load_clock_ns();
    pump(publisher);
}

static void on_subscriber_opened(struct load_client *client)
{
    struct subscriber *subscriber = load_owner(client);
    struct messages *run = subscriber->run;
    char filter[TOPIC_MAX];
    if (run->publisher_count > 1 && !is_pairs(run)) {
        snprintf(filter, sizeof(filter), "bench/+");
    } else {
        snprintf(filter, sizeof(filter), "bench/%u", is_pairs(run) ? subscriber->index : 0);
    }
    load_subscribe(client, filter, run->options->qos);
}

static void on_subscribed(struct load_client *client)
{
    struct subscriber *subscriber = load_owner(client);
    subscriber->run->ready_count++;
}

static void on_publisher_opened(struct load_client *client)
{
    struct publisher *publisher = load_owner(client);
    publisher->run->ready_count++;
}

static void gone(struct messages *run, enum err why, uint8_t reason)
{
    if (run->is_ending) {
        return;
    }
    if (!run->is_broken) {
        fprintf(stderr, "tern-bench: a client was refused or lost: %s (reason 0x%02x)\n",
                err_text(why), reason);
    }
    run->report->refused_count++;
    run->is_broken = true;
}

static void on_subscriber_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct subscriber *subscriber = load_owner(client);
    subscriber->client = NULL;
    gone(subscriber->run, why, reason);
}

static void on_publisher_closed(struct load_client *client, enum err why, uint8_t reason)
{
    struct publisher *publisher = load_owner(client);
    publisher->client = NULL;
    gone(publisher->run, why, reason);
}

static const struct load_events subscriber_events = {
    .opened = on_subscriber_opened,
    .subscribed = on_subscribed,
    .message = on_message,
    .closed = on_subscriber_closed,
};

static const struct load_events publisher_events = {
    .opened = on_publisher_opened,
    .finished = on_finished,
    .closed = on_publisher_closed,
};

static enum err start_client(struct messages *run, uint32_t index)
{
    char client_id[TOPIC_MAX];
    if (index < run->subscriber_count) {
        struct subscriber *subscriber = &run->subscribers[index];
        snprintf(client_id, sizeof(client_id), "bench-sub-%u", index);
        return load_connect(run->load, client_id, NULL, &subscriber_events, subscriber,
                            &subscriber->client);
    }
    struct publisher *publisher = &run->publishers[index - run->subscriber_count];
    snprintf(client_id, sizeof(client_id), "bench-pub-%u", publisher->index);
    return load_connect(run->load, client_id, NULL, &publisher_events, publisher,
                        &publisher->client);
}

static enum err set_up(struct messages *run)
{
    uint32_t total = run->subscriber_count + run->publisher_count;
    uint64_t until_ns = load_clock_ns() + SETUP_NS;

    while (run->ready_count < total && !run->is_broken) {
        while (run->started_count < total &&
               run->started_count - run->ready_count < CONNECTING_MAX) {
            TRY(start_client(run, run->started_count));
            run->started_count++;
        }
        load_turn(run->load, TURN_NS);
        if (load_clock_ns() > until_ns) {
            return ERR_TIMEOUT;
        }
    }
    return run->is_broken ? ERR_CLOSED : OK;
}

static void measure_begin(struct messages *run)
{
    struct target_usage own;
    run->is_measuring = true;
    run->measure_begin_ns = load_clock_ns();
    run->measure_end_ns = UINT64_MAX;
    run->report->has_target = scenario_sample(run->options, &run->report->target_before);
    run->report->bench_cpu_ns = target_usage(0, &own) == OK ? own.cpu_ns : 0;
}

static void measure_end(struct messages *run, uint64_t window_ns)
{
    struct report *report = run->report;
    struct target_usage own;
    report->has_target = report->has_target && scenario_sample(run->options, &report->target_after);
    report->bench_cpu_ns = target_usage(0, &own) == OK ? own.cpu_ns - report->bench_cpu_ns : 0;
    report->window_ns = window_ns;
    run->is_measuring = false;
    run->measure_end_ns = run->measure_begin_ns + window_ns;
}

static void run_window(struct messages *run)
{
    const struct scenario_options *options = run->options;
    uint64_t begin_ns = load_clock_ns(), now_ns = begin_ns;
    uint64_t measure_ns = begin_ns + (uint64_t)(options->warmup_seconds * 1e9);
    uint64_t end_ns = measure_ns + (uint64_t)(options->seconds * 1e9);

    run->is_sending = true;
    run->progress_ns = now_ns;
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        pump(&run->publishers[i]);
    }
    while (now_ns < end_ns && !run->is_broken) {
        if (!run->is_measuring && now_ns >= measure_ns) {
            measure_begin(run);
            measure_ns = run->measure_begin_ns;
        }
        uint64_t wait_ns = TURN_NS;
        if (options->rate > 0) {
            send_due(run, begin_ns, now_ns);
            uint64_t due_ns = begin_ns + (uint64_t)((double)run->due_count * 1e9 / options->rate);
            wait_ns = due_ns - now_ns < wait_ns ? due_ns - now_ns : wait_ns;
        }
        load_turn(run->load, wait_ns);
        now_ns = load_clock_ns();
        if (now_ns - run->progress_ns > STALL_NS) {
            run->report->is_stalled = true;
            break;
        }
    }
    if (run->is_measuring) {
        measure_end(run, load_clock_ns() - measure_ns);
    }
    run->is_sending = false;
}

static bool is_all_delivered(const struct messages *run)
{
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        const struct publisher *publisher = &run->publishers[i];
        if (publisher->delivered < publisher->sent * receivers(run) ||
            (run->options->qos > 0 && publisher->finished < publisher->sent)) {
            return false;
        }
    }
    return true;
}

static void drain(struct messages *run)
{
    run->progress_ns = load_clock_ns();
    while (!run->is_broken && !is_all_delivered(run) &&
           load_clock_ns() - run->progress_ns < DRAIN_NS) {
        load_turn(run->load, TURN_NS);
    }
}

static void settle(struct messages *run)
{
    struct report *report = run->report;
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        report->sent_count += run->publishers[i].sent;
        report->is_stalled |= run->options->qos > 0 &&
                              run->publishers[i].finished < run->publishers[i].sent;
    }
    for (uint32_t i = 0; i < run->subscriber_count; i++) {
        for (uint32_t k = 0; k < track_count(run); k++) {
            uint32_t publisher = is_pairs(run) ? i : k;
            report->lost_count += track_lost(&run->subscribers[i].tracks[k],
                                             run->publishers[publisher].sent);
        }
    }
}

static void say_goodbye(struct messages *run)
{
    uint64_t until_ns = load_clock_ns() + 2 * SECOND_NS;
    run->is_ending = true;
    for (uint32_t i = 0; i < run->subscriber_count; i++) {
        if (run->subscribers[i].client != NULL) {
            load_disconnect(run->subscribers[i].client);
        }
    }
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        if (run->publishers[i].client != NULL) {
            load_disconnect(run->publishers[i].client);
        }
    }
    while (load_client_count(run->load) > 0 && load_clock_ns() < until_ns) {
        load_turn(run->load, TURN_NS);
    }
}

static enum err allocate(struct messages *run)
{
    run->publishers = calloc(run->publisher_count, sizeof(run->publishers[0]));
    run->subscribers = calloc(run->subscriber_count, sizeof(run->subscribers[0]));
    if (run->publishers == NULL || run->subscribers == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        struct publisher *publisher = &run->publishers[i];
        publisher->run = run;
        publisher->index = i;
        publisher->topic_bytes = (uint32_t)snprintf(publisher->topic, sizeof(publisher->topic),
                                                    "bench/%u", i);
    }
    for (uint32_t i = 0; i < run->subscriber_count; i++) {
        run->subscribers[i].run = run;
        run->subscribers[i].index = i;
        run->subscribers[i].tracks = calloc(track_count(run), sizeof(struct track));
        if (run->subscribers[i].tracks == NULL) {
            return ERR_NOMEM;
        }
    }
    return load_new(&run->options->load, &run->load);
}

static void deallocate(struct messages *run)
{
    load_free(run->load);
    for (uint32_t i = 0; run->subscribers != NULL && i < run->subscriber_count; i++) {
        free(run->subscribers[i].tracks);
    }
    free(run->subscribers);
    free(run->publishers);
}

enum err scenario_messages(const struct scenario_options *options, struct report *out)
{
    struct messages run = {
        .options = options,
        .report = out,
        .publisher_count = options->publisher_count,
        .subscriber_count = options->subscriber_count,
    };
    enum err err = allocate(&run);
    if (err == OK) {
        err = set_up(&run);
    }
    if (err == OK) {
        run_window(&run);
        drain(&run);
        settle(&run);
        say_goodbye(&run);
    }
    deallocate(&run);
    return err;
}
