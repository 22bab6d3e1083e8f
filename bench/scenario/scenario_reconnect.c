/*
 * All n clients lose their connection at once, without DISCONNECT, and all come back at once.
 *
 *     round k:  drop all ──> connect all ──> CONNACK ──> SUBACK ──> publish to itself ──> it came
 *
 * A client is served again when its own message of that round has come back to it; latency is from
 * the moment of the drop to then. Rounds follow each other for the length of the window, at least
 * one is measured. Every message is checked: only its publisher hears it, once, unchanged.
 */
#include "bench/load/check.h"
#include "bench/scenario/crowd.h"
#include "bench/scenario/phase.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"

#include <stdlib.h>

enum { TOPIC_BYTES = 48 };

struct reconnect {
    const struct scenario_options *options;
    struct report *report;
    struct crowd crowd;
    uint64_t round, drop_ns;  /* from 0, which brings all for the first time and is not measured */
    uint64_t *heard_rounds;   /* of each member: messages that came */
    struct histogram *rounds; /* how long until all were served again */
};

static uint32_t position(const struct crowd_member *member)
{
    return (uint32_t)(member - member->crowd->members);
}

static void topic_of(uint32_t index, char out[TOPIC_BYTES])
{
    snprintf(out, TOPIC_BYTES, "bench/reconnect/%u", index);
}

static void on_opened(struct crowd_member *member)
{
    struct reconnect *run = member->crowd->owner;
    char topic[TOPIC_BYTES];
    topic_of(member->index, topic);
    load_subscribe(member->client, topic, run->options->qos);
}

static void on_subscribed(struct crowd_member *member)
{
    struct reconnect *run = member->crowd->owner;
    struct stamp stamp = {
        .publisher = member->index, .sequence = run->round, .sent_ns = load_clock_ns()};
    char topic[TOPIC_BYTES];
    topic_of(member->index, topic);
    uint8_t *payload = load_publish(member->client, slice_text(topic), run->options->qos, false,
                                    run->options->payload_bytes);
    if (payload == NULL) {
        run->crowd.is_broken = true;
        return;
    }
    stamp_write(payload, run->options->payload_bytes, &stamp);
    run->report->sent_count++;
}

static void on_message(struct crowd_member *member, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct reconnect *run = member->crowd->owner;
    struct report *report = run->report;
    uint64_t *heard = &run->heard_rounds[position(member)];
    struct stamp stamp;
    char topic[TOPIC_BYTES];

    report->received_count++;
    bool is_ours = message->payload.count == run->options->payload_bytes &&
                   stamp_read(message->payload, &stamp);
    topic_of(is_ours ? stamp.publisher : member->index, topic);
    if (!is_ours || !crowd_message_is(message, topic, run->options->qos, false)) {
        report->corrupt_count++;
    } else if (stamp.publisher != member->index) {
        report->misdelivered_count++;
    } else if (stamp.sequence != run->round || *heard > run->round) {
        report->repeated_count++;
    } else {
        *heard = run->round + 1;
        if (run->round > 0) {
            report->connected_count++;
            histogram_add(&report->latency, received_ns - run->drop_ns);
            watch_delivery(run->options, received_ns, received_ns - run->drop_ns);
        }
        crowd_ready(member);
    }
}

static const struct crowd_events events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
};

/* One round; all are connected. */
static enum err come_back(struct reconnect *run)
{
    run->round++;
    run->drop_ns = load_clock_ns();
    crowd_drop(&run->crowd);
    return crowd_gather(&run->crowd, UINT32_MAX);
}

static enum err run_rounds(struct reconnect *run)
{
    const struct scenario_options *options = run->options;
    struct report *report = run->report;

    TRY(crowd_fetch_tickets(&run->crowd));
    TRY(crowd_gather(&run->crowd, CROWD_COMING_MAX));
    report->has_target = scenario_sample(options, &report->target_before);
    uint64_t own_ns = phase_own_cpu_ns(), begin_ns = load_clock_ns();
    uint64_t end_ns = begin_ns + (uint64_t)(options->seconds * 1e9);
    struct phase phase = phase_begin(options);
    enum err err;
    do {
        err = come_back(run);
        histogram_add(run->rounds, load_clock_ns() - run->drop_ns);
    } while (err == OK && load_clock_ns() < end_ns && !crowd_is_over(&run->crowd));
    report->is_stalled = err == ERR_TIMEOUT; /* what broke otherwise has been counted */
    report->window_ns = load_clock_ns() - begin_ns;
    watch_window(options, begin_ns, begin_ns + report->window_ns);
    phase_end(&phase, report, begin_ns + report->window_ns, "all served", "rounds", run->round,
              run->rounds);
    report->has_target = report->has_target && scenario_sample(options, &report->target_after);
    report->bench_cpu_ns = phase_own_cpu_ns() - own_ns;
    return OK;
}

static void settle(struct reconnect *run)
{
    bool is_stopped = scenario_is_stopped(run->options);
    run->report->is_stopped_early = is_stopped;
    for (uint32_t i = 0; i < run->crowd.count && !is_stopped; i++) {
        run->report->lost_count += run->heard_rounds[i] <= run->round ? 1 : 0;
    }
}

enum err scenario_reconnect(const struct scenario_options *options, struct report *out)
{
    struct reconnect run = {
        .options = options,
        .report = out,
        .crowd = {.options = options,
                  .report = out,
                  .name = "reconnect",
                  .events = &events,
                  .owner = &run},
    };
    enum err err = load_new(&options->load, &run.crowd.load);
    if (err == OK) {
        err = crowd_init(&run.crowd, options->count);
    }
    if (err == OK) {
        run.heard_rounds = calloc(run.crowd.count + 1, sizeof(uint64_t));
        run.rounds = calloc(1, sizeof(*run.rounds));
        err = run.heard_rounds == NULL || run.rounds == NULL ? ERR_NOMEM : run_rounds(&run);
    }
    if (err == OK) {
        settle(&run);
        crowd_leave(&run.crowd);
    }
    load_free(run.crowd.load);
    free(run.heard_rounds);
    free(run.rounds);
    crowd_deinit(&run.crowd);
    return err;
}
