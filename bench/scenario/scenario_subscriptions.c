/*
 * n subscriptions of m clients: what each costs, how fast they are made, and whether they work.
 *
 *     connect all ──> weigh ──> subscribe, FILTERS_EACH filters a packet ──> weigh ──> try a sample
 *
 * Client c has the filters site/c/device/0/+, site/c/device/1/+, ... . The sample is spread evenly
 * over all subscriptions: a message to each must come once, to its client alone, unchanged. As many
 * messages again go to topics that nobody has a filter for, and must come to nobody.
 */
#include "bench/scenario/feeder.h"
#include "bench/scenario/footprint.h"
#include "bench/scenario/phase.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"

#include <stdlib.h>

enum {
    FILTERS_EACH = 100, /* of one SUBSCRIBE */
    FILTER_BYTES = 48,
    SAMPLE_MAX = 10000,
};

/* A client's work: its filters from `first` on are to be subscribed. */
struct work {
    uint32_t made, asked, total;
    uint64_t asked_ns;
};

struct subscriptions {
    const struct scenario_options *options;
    struct report *report;
    struct load *load;
    struct feeder feeder;
    struct crowd crowd;
    struct work *works;
    bool *seen; /* of the sample */
    uint32_t sample_count;
    uint64_t made_count, came_count, progress_ns;
    bool is_trying;
};

/* Subscriptions are dealt out round and round: number k is client k mod m's device k / m. */
static void filter_of(uint32_t client, uint32_t device, char out[FILTER_BYTES])
{
    snprintf(out, FILTER_BYTES, "site/%u/device/%u/+", client, device);
}

/* ---- subscribing --------------------------------------------------------------------------- */

static void subscribe_next(struct subscriptions *run, struct crowd_member *member)
{
    struct work *work = &run->works[member->index];
    char texts[FILTERS_EACH][FILTER_BYTES];
    struct mqtt_filter filters[FILTERS_EACH];
    uint32_t count = work->total - work->made;

    if (count == 0 || crowd_is_over(&run->crowd)) {
        return;
    }
    count = count < FILTERS_EACH ? count : FILTERS_EACH;
    for (uint32_t i = 0; i < count; i++) {
        filter_of(member->index, work->made + i, texts[i]);
        filters[i] = (struct mqtt_filter){.filter = slice_text(texts[i]), .qos = run->options->qos};
    }
    work->asked = count;
    work->asked_ns = load_clock_ns();
    load_subscribe_many(member->client, filters, count);
}

static void on_subscribed(struct crowd_member *member)
{
    struct subscriptions *run = member->crowd->owner;
    struct work *work = &run->works[member->index];
    run->progress_ns = load_clock_ns();
    histogram_add(&run->report->latency, run->progress_ns - work->asked_ns);
    watch_delivery(run->options, run->progress_ns, run->progress_ns - work->asked_ns);
    work->made += work->asked;
    run->made_count += work->asked;
    subscribe_next(run, member);
}

static void subscribe_all(struct subscriptions *run)
{
    struct report *report = run->report;
    footprint_before(run->options, false, report);
    uint64_t own_ns = phase_own_cpu_ns();
    struct phase phase = phase_begin(run->options);
    run->progress_ns = phase.begin_ns;
    for (uint32_t i = 0; i < run->crowd.count; i++) {
        subscribe_next(run, &run->crowd.members[i]);
    }
    while (run->made_count < run->options->count && !crowd_is_over(&run->crowd)) {
        watch_turn(run->options, run->load, CROWD_TURN_NS);
        if (load_clock_ns() - run->progress_ns > CROWD_STALL_NS) {
            report->is_stalled = true;
            break;
        }
    }
    uint64_t end_ns = load_clock_ns();
    phase_end(&phase, report, end_ns, "subscribe", "subscriptions", run->made_count, NULL);
    report->bench_cpu_ns = phase_own_cpu_ns() - own_ns;
    report->window_ns = end_ns - phase.begin_ns;
    watch_window(run->options, phase.begin_ns, end_ns);
    report->delivered_count = run->made_count;
    report->thing_name = "subscriptions";
    report->thing_count = run->made_count;
    report->is_stopped_early = scenario_is_stopped(run->options);
    run->crowd.is_settling = run->feeder.crowd.is_settling = true;
    crowd_turn_until(&run->crowd, end_ns + FOOTPRINT_SETTLE_NS);
    footprint_after(run->options, report);
}

/* ---- trying -------------------------------------------------------------------------------- */

/* The sample's k-th subscription; its client and its device. */
static void sample_of(const struct subscriptions *run, uint64_t k, uint32_t *client,
                      uint32_t *device)
{
    uint64_t number = k * run->options->count / run->sample_count;
    *client = (uint32_t)(number % run->crowd.count);
    *device = (uint32_t)(number / run->crowd.count);
}

/* Even numbers go to somebody, odd ones to nobody: too many levels, and a device nobody asked for. */
static void write_message(struct feeder *feeder, uint32_t publisher, uint64_t number,
                          char topic[FEEDER_TOPIC_BYTES], struct stamp *stamp)
{
    struct subscriptions *run = feeder->owner;
    uint32_t client, device;
    uint64_t k = number / 2;

    sample_of(run, k, &client, &device);
    stamp->publisher = publisher;
    stamp->sequence = number;
    if (number % 2 == 0) {
        snprintf(topic, FEEDER_TOPIC_BYTES, "site/%u/device/%u/state", client, device);
    } else if (k % 2 == 0) {
        snprintf(topic, FEEDER_TOPIC_BYTES, "site/%u/device/%u/state/deep", client, device);
    } else {
        snprintf(topic, FEEDER_TOPIC_BYTES, "site/%u/device/nobody-%u/state", client, device);
    }
}

static void on_message(struct crowd_member *member, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct subscriptions *run = member->crowd->owner;
    struct report *report = run->report;
    struct stamp stamp;
    char topic[FEEDER_TOPIC_BYTES];
    uint32_t client, device;

    report->received_count++;
    run->progress_ns = received_ns;
    if (message->payload.count != run->options->payload_bytes ||
        !stamp_read(message->payload, &stamp) || stamp.sequence / 2 >= run->sample_count) {
        report->corrupt_count++;
        return;
    }
    sample_of(run, stamp.sequence / 2, &client, &device);
    snprintf(topic, sizeof(topic), "site/%u/device/%u/state", client, device);
    if (stamp.sequence % 2 != 0 || client != member->index) {
        report->misdelivered_count++;
    } else if (!crowd_message_is(message, topic, run->options->qos, false)) {
        report->corrupt_count++;
    } else if (run->seen[stamp.sequence / 2]) {
        report->repeated_count++;
    } else {
        run->seen[stamp.sequence / 2] = true;
        run->came_count++;
    }
}

static void try_sample(struct subscriptions *run)
{
    struct phase phase = phase_begin(run->options);
    feeder_send(&run->feeder, 2 * (uint64_t)run->sample_count);
    run->progress_ns = load_clock_ns();
    while (run->came_count < run->sample_count && !run->crowd.is_broken &&
           load_clock_ns() - run->progress_ns < CROWD_DRAIN_NS) {
        watch_turn(run->options, run->load, CROWD_TURN_NS);
    }
    phase_end(&phase, run->report, run->progress_ns, "try", "messages", run->feeder.finished_count,
              NULL);
    crowd_turn_until(&run->crowd, load_clock_ns() + CROWD_QUIET_NS);
    run->report->lost_count += run->sample_count - run->came_count;
}

static const struct crowd_events events = {.subscribed = on_subscribed, .message = on_message};

static enum err run_subscriptions(struct subscriptions *run)
{
    TRY(crowd_gather(&run->crowd, CROWD_COMING_MAX));
    TRY(feeder_gather(&run->feeder));
    subscribe_all(run);
    if (!run->report->is_stopped_early && !run->report->is_stalled && !run->crowd.is_broken) {
        try_sample(run);
    }
    feeder_leave(&run->feeder);
    crowd_leave(&run->crowd);
    return OK;
}

enum err scenario_subscriptions(const struct scenario_options *options, struct report *out)
{
    uint32_t client_count = options->subscriber_count < options->count ? options->subscriber_count
                                                                       : options->count;
    struct subscriptions run = {
        .options = options,
        .report = out,
        .sample_count = options->count < SAMPLE_MAX ? options->count : SAMPLE_MAX,
        .feeder = {.options = options,
                   .report = out,
                   .write = write_message,
                   .owner = &run,
                   .qos = options->qos == 2 ? 2 : 1,
                   .payload_bytes = options->payload_bytes,
                   .publisher_count = 1,
                   .window = feeder_window(options)},
        .crowd = {.options = options,
                  .report = out,
                  .name = "site",
                  .events = &events,
                  .owner = &run,
                  .session = LOAD_SESSION_CLEAN},
    };
    struct load_config config = options->load;
    config.client_count_max = client_count + 64;
    run.works = calloc(client_count, sizeof(run.works[0]));
    run.seen = calloc(run.sample_count, sizeof(run.seen[0]));
    enum err err = run.works == NULL || run.seen == NULL ? ERR_NOMEM : load_new(&config, &run.load);
    if (err == OK) {
        run.feeder.load = run.crowd.load = run.load;
        err = feeder_init(&run.feeder);
        out->window = run.feeder.window;
    }
    if (err == OK) {
        err = crowd_init(&run.crowd, client_count);
    }
    for (uint32_t i = 0; err == OK && i < client_count; i++) {
        run.works[i].total = options->count / client_count +
                             (i < options->count % client_count ? 1 : 0);
    }
    if (err == OK) {
        err = run_subscriptions(&run);
    }
    load_free(run.load);
    feeder_deinit(&run.feeder);
    crowd_deinit(&run.crowd);
    free(run.works);
    free(run.seen);
    return err;
}
