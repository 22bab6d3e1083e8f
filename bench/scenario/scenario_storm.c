/*
 * A storm of connects, open loop: n clients come, rate of them a second, each at its moment however
 * the broker fares, and all stay until the end. Before it, held_count clients are there already;
 * they are silent, and to lose one is a violation. Latency is from the moment a client should have
 * begun to connect to its CONNACK. How long it takes follows from n and rate: there is no warm-up, and
 * its time is spent on the calm before. Over TLS it is a storm of handshakes.
 *
 * A few clients talk to themselves before and during the storm: those two latencies say whether it
 * slows others.
 */
#include "bench/scenario/crowd.h"
#include "bench/scenario/footprint.h"
#include "bench/scenario/pace.h"
#include "bench/scenario/phase.h"
#include "bench/scenario/probe.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"

#include <stdlib.h>

struct storm {
    const struct scenario_options *options;
    struct report *report;
    struct load *load;
    struct crowd held, coming;
    struct probe probe;
    struct pace *pace;
};

#define CALM_NS ((uint64_t)1000000000) /* how long others are listened to before, at least */

static void on_opened(struct crowd_member *member)
{
    struct storm *run = member->crowd->owner;
    run->report->received_count++;
    run->report->connected_count++;
    uint64_t now_ns = load_clock_ns();
    histogram_add(&run->report->latency, now_ns - member->begin_ns);
    watch_delivery(run->options, now_ns, now_ns - member->begin_ns);
    crowd_ready(member);
}

static const struct crowd_events storm_events = {.opened = on_opened};
static const struct crowd_events held_events = {0};

static void come_due(struct storm *run, uint64_t now_ns)
{
    struct crowd *crowd = &run->coming;
    uint64_t moment_ns;
    while ((moment_ns = pace_next_ns(run->pace)) <= now_ns && !crowd_is_over(crowd)) {
        (void)pace_visit(run->pace, now_ns);
        if (run->report->sent_count < crowd->count) {
            watch_sent(run->options, now_ns);
            crowd_connect(&crowd->members[run->report->sent_count++], moment_ns);
        }
    }
}

/* The calm before: what others feel when nobody comes. */
static void listen(struct storm *run)
{
    struct phase phase = phase_begin(run->options);
    uint64_t now_ns = load_clock_ns(), sent_count = run->probe.sent_count;
    uint64_t calm_ns = (uint64_t)(run->options->warmup_seconds * 1e9);
    uint64_t end_ns = now_ns + (calm_ns > CALM_NS ? calm_ns : CALM_NS);
    probe_begin(&run->probe, now_ns);
    while (now_ns < end_ns && !crowd_is_over(&run->coming)) {
        uint64_t next_ns = probe_publish_due(&run->probe, now_ns);
        next_ns = next_ns < end_ns ? next_ns : end_ns;
        watch_turn(run->options, run->load, next_ns - now_ns);
        now_ns = load_clock_ns();
    }
    phase_end(&phase, run->report, now_ns, "others, calm", "messages",
              run->probe.sent_count - sent_count, run->probe.latency);
}

static void blow(struct storm *run)
{
    struct crowd *crowd = &run->coming;
    struct report *report = run->report;
    uint64_t begin_ns = crew_begin_ns(run->options->crew), now_ns = load_clock_ns();
    uint64_t own_ns = phase_own_cpu_ns(), next_ns;

    pace_begin(run->pace, begin_ns);
    probe_begin(&run->probe, begin_ns);
    run->pace->is_measuring = true;
    while ((next_ns = pace_next_ns(run->pace)) != UINT64_MAX && !crowd_is_over(crowd) &&
           !run->held.is_broken && !run->probe.crowd.is_broken) {
        uint64_t probe_ns = probe_publish_due(&run->probe, now_ns);
        next_ns = probe_ns < next_ns ? probe_ns : next_ns;
        uint64_t wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
        watch_turn(run->options, run->load, wait_ns < CROWD_TURN_NS ? wait_ns : CROWD_TURN_NS);
        now_ns = load_clock_ns();
        come_due(run, now_ns);
    }
    report->bench_cpu_ns = phase_own_cpu_ns() - own_ns;
    report->window_ns = now_ns - begin_ns;
    watch_window(run->options, begin_ns, now_ns);
    report->lateness_p99_ns = histogram_quantile(&run->pace->lateness, 0.99);
    report->lateness_max_ns = histogram_quantile(&run->pace->lateness, 1.0);
    report->rate_reached = report->window_ns == 0
                               ? 0
                               : (double)report->sent_count * 1e9 / (double)report->window_ns;
}

/* Those who have begun to come are waited for. */
static void settle(struct storm *run)
{
    struct crowd *crowd = &run->coming;
    uint32_t ready_count = crowd->ready_count;
    uint64_t progress_ns = load_clock_ns();
    while (crowd->coming_count > 0 && !crowd->is_broken) {
        watch_turn(run->options, run->load, CROWD_TURN_NS);
        if (crowd->ready_count != ready_count) {
            ready_count = crowd->ready_count;
            progress_ns = load_clock_ns();
        } else if (load_clock_ns() - progress_ns > CROWD_STALL_NS) {
            run->report->is_stalled = true;
            return;
        }
    }
}

static enum err run_storm(struct storm *run)
{
    struct phase phase = phase_begin(run->options);
    if (run->held.count > 0) {
        TRY(crowd_gather(&run->held, CROWD_COMING_MAX));
        phase_end(&phase, run->report, load_clock_ns(), "held before", "clients", run->held.count,
                  NULL);
    }
    TRY(probe_gather(&run->probe));
    listen(run);
    TRY(crowd_fetch_tickets(&run->coming));
    footprint_before(run->options, true, run->report);
    crowd_meet(&run->coming, CREW_READY);
    uint64_t sent_count = run->probe.sent_count;
    phase = phase_begin(run->options);
    blow(run);
    uint64_t end_ns = load_clock_ns();
    run->report->is_stopped_early = scenario_is_stopped(run->options);
    run->coming.is_settling = true;
    crowd_meet(&run->coming, CREW_SENT);
    settle(run);
    probe_settle(&run->probe);
    phase_end(&phase, run->report, end_ns, "others, storm", "messages",
              run->probe.sent_count - sent_count, run->probe.latency);
    crowd_turn_until(&run->coming, load_clock_ns() + FOOTPRINT_SETTLE_NS);
    footprint_after(run->options, run->report);
    run->report->idle_count = run->coming.ready_count;
    crowd_meet(&run->coming, CREW_DRAINED);
    crowd_leave(&run->coming);
    crowd_leave(&run->probe.crowd);
    crowd_leave(&run->held);
    return OK;
}

enum err scenario_storm(const struct scenario_options *options, struct report *out)
{
    struct storm run = {
        .options = options,
        .report = out,
        .held = {.options = options,
                 .report = out,
                 .name = "held",
                 .events = &held_events,
                 .owner = &run},
        .coming = {.options = options,
                   .report = out,
                   .name = "storm",
                   .events = &storm_events,
                   .owner = &run,
                   .is_tolerant = true},
    };
    uint64_t duration_ns = (uint64_t)((double)options->count * 1e9 / options->rate);
    uint32_t crew_size = crew_count(options->crew);
    run.pace = calloc(1, sizeof(*run.pace));
    enum err err = run.pace == NULL ? ERR_NOMEM : OK;
    struct load_config config = options->load;
    if (err == OK) {
        pace_init(run.pace, options->rate, duration_ns, crew_size, options->crew);
        config.client_count_max = options->count + options->held_count + PROBE_CLIENTS + 64;
        err = load_new(&config, &run.load);
    }
    if (err == OK) {
        run.held.load = run.coming.load = run.load;
        err = crowd_init(&run.held, options->held_count);
    }
    if (err == OK) {
        err = crowd_init(&run.coming, options->count);
    }
    if (err == OK) {
        run.probe = (struct probe){.options = options, .report = out, .load = run.load};
        err = probe_init(&run.probe);
    }
    if (err == OK) {
        err = run_storm(&run);
    }
    load_free(run.load);
    probe_deinit(&run.probe);
    crowd_deinit(&run.held);
    crowd_deinit(&run.coming);
    free(run.pace);
    return err;
}
