/*
 * n retained messages: what each costs, how fast they are stored, found again, and erased.
 *
 *     weigh ──> store (QoS 1, retain) ──> weigh ──> scan: a subscriber of all ──> erase ──> scan
 *
 * The scan must bring every message once, with RETAIN set, unchanged and under its own topic; the
 * second one, after an empty message to each topic, nothing.
 */
#include "bench/scenario/feeder.h"
#include "bench/scenario/footprint.h"
#include "bench/scenario/phase.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"

#include <stdlib.h>

enum { PER_SHELF = 1000 };

struct retained {
    const struct scenario_options *options;
    struct report *report;
    struct load *load;
    struct feeder feeder;
    struct crowd scanner;
    uint64_t *seen; /* a bit per message */
    uint64_t found_count, progress_ns;
    bool is_erased;
};

/* Publisher p has the messages p, p + publishers, ...: the same ones when they are erased. */
static uint64_t number_of(const struct feeder *feeder, uint32_t publisher, uint64_t number)
{
    return number * feeder->publisher_count + publisher;
}

static void topic_of(uint64_t number, char out[FEEDER_TOPIC_BYTES])
{
    snprintf(out, FEEDER_TOPIC_BYTES, "bench/retained/%u/%u", (uint32_t)(number / PER_SHELF),
             (uint32_t)(number % PER_SHELF));
}

static void write_message(struct feeder *feeder, uint32_t publisher, uint64_t number,
                          char topic[FEEDER_TOPIC_BYTES], struct stamp *stamp)
{
    stamp->publisher = 0;
    stamp->sequence = number_of(feeder, publisher, number);
    topic_of(stamp->sequence, topic);
}

/* ---- scan ---------------------------------------------------------------------------------- */

static void on_opened(struct crowd_member *member)
{
    struct retained *run = member->crowd->owner;
    load_subscribe(member->client, "bench/retained/#", run->options->qos);
}

static void on_subscribed(struct crowd_member *member)
{
    crowd_ready(member);
}

static void on_message(struct crowd_member *member, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct retained *run = member->crowd->owner;
    struct report *report = run->report;
    char topic[FEEDER_TOPIC_BYTES];
    struct stamp stamp;

    report->received_count++;
    run->progress_ns = received_ns;
    if (run->is_erased) {
        report->misdelivered_count++;
        return;
    }
    bool is_ours = message->payload.count == run->options->payload_bytes &&
                   stamp_read(message->payload, &stamp) && stamp.sequence < run->options->count;
    if (is_ours) {
        topic_of(stamp.sequence, topic);
    }
    if (!is_ours || !crowd_message_is(message, topic, run->options->qos, true)) {
        report->corrupt_count++;
        return;
    }
    uint64_t bit = (uint64_t)1 << (stamp.sequence % 64);
    if ((run->seen[stamp.sequence / 64] & bit) != 0) {
        report->repeated_count++;
        return;
    }
    run->seen[stamp.sequence / 64] |= bit;
    run->found_count++;
}

static const struct crowd_events scanner_events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
};

/* Until all are found or nothing has come for long, and then a little more. */
static void scan(struct retained *run, uint64_t want_count)
{
    run->scanner.is_settling = true;
    run->progress_ns = load_clock_ns();
    if (crowd_gather(&run->scanner, 1) != OK) {
        run->report->is_stalled |= !run->scanner.is_broken; /* what broke has been counted */
        return;
    }
    while (run->found_count < want_count && !run->scanner.is_broken &&
           load_clock_ns() - run->progress_ns < CROWD_DRAIN_NS) {
        watch_turn(run->options, run->load, CROWD_TURN_NS);
    }
    crowd_turn_until(&run->scanner, load_clock_ns() + CROWD_QUIET_NS);
    crowd_leave(&run->scanner);
}

/* ---- the run ------------------------------------------------------------------------------- */

static void store(struct retained *run)
{
    struct report *report = run->report;

    footprint_before(run->options, false, report);
    uint64_t own_ns = phase_own_cpu_ns();
    struct phase phase = phase_begin(run->options);
    feeder_send(&run->feeder, run->options->count);
    uint64_t end_ns = load_clock_ns();
    phase_end(&phase, report, end_ns, "store", "messages", run->feeder.finished_count,
              run->feeder.latency);
    report->bench_cpu_ns = phase_own_cpu_ns() - own_ns;
    report->window_ns = end_ns - phase.begin_ns;
    watch_window(run->options, phase.begin_ns, end_ns);
    report->delivered_count = run->feeder.finished_count;
    report->latency = *run->feeder.latency;
    report->thing_name = "retained messages";
    report->thing_count = run->feeder.finished_count;
    report->is_stopped_early = scenario_is_stopped(run->options);
    run->feeder.crowd.is_settling = true;
    crowd_turn_until(&run->feeder.crowd, end_ns + FOOTPRINT_SETTLE_NS);
    footprint_after(run->options, report);
}

static enum err run_retained(struct retained *run)
{
    struct report *report = run->report;
    TRY(feeder_gather(&run->feeder));
    store(run);
    uint64_t stored_count = run->feeder.finished_count;

    struct phase phase = phase_begin(run->options);
    scan(run, stored_count);
    phase_end(&phase, report, run->progress_ns, "scan", "messages", run->found_count, NULL);
    report->lost_count += run->feeder.sent_count > run->found_count
                              ? run->feeder.sent_count - run->found_count
                              : 0;
    if (report->is_stalled || report->refused_count > 0) {
        return OK; /* it does not serve any more: nothing can be erased */
    }
    run->feeder.payload_bytes = 0;
    run->feeder.is_quiet = true;
    phase = phase_begin(run->options);
    feeder_send_again(&run->feeder);
    phase_end(&phase, report, load_clock_ns(), "erase", "messages", run->feeder.finished_count,
              NULL);
    run->is_erased = true;
    scan(run, 0);
    feeder_leave(&run->feeder);
    return OK;
}

enum err scenario_retained(const struct scenario_options *options, struct report *out)
{
    struct retained run = {
        .options = options,
        .report = out,
        .feeder = {.options = options,
                   .report = out,
                   .write = write_message,
                   .owner = &run,
                   .qos = options->qos == 2 ? 2 : 1,
                   .retain = true,
                   .payload_bytes = options->payload_bytes,
                   .publisher_count = options->publisher_count,
                   .window = feeder_window(options)},
        .scanner = {.options = options,
                    .report = out,
                    .name = "scan",
                    .events = &scanner_events,
                    .owner = &run,
                    .session = LOAD_SESSION_CLEAN},
    };
    struct load_config config = options->load;
    config.client_count_max = options->publisher_count + 64;
    run.seen = calloc((size_t)options->count / 64 + 1, sizeof(uint64_t));
    enum err err = run.seen == NULL ? ERR_NOMEM : load_new(&config, &run.load);
    if (err == OK) {
        run.feeder.load = run.scanner.load = run.load;
        err = feeder_init(&run.feeder);
        out->window = run.feeder.window;
        out->qos = run.feeder.qos;
    }
    if (err == OK) {
        err = crowd_init(&run.scanner, 1);
    }
    if (err == OK) {
        err = run_retained(&run);
    }
    load_free(run.load);
    feeder_deinit(&run.feeder);
    crowd_deinit(&run.scanner);
    free(run.seen);
    return err;
}
