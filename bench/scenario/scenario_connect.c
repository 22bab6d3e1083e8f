/*
 * Closed loop: n clients connect, are welcomed, disconnect, and come again at once. Over TLS each makes
 * a handshake, full or (--tls-resume) with the newest ticket it got.
 */
#include "bench/scenario/crowd.h"
#include "bench/scenario/phase.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"

struct connects {
    struct report *report;
    struct crowd crowd;
    uint64_t begin_ns, end_ns; /* latencies are of connects that began from here to there */
    bool is_running, is_measuring;
};

static void come(struct connects *run, struct crowd_member *member)
{
    run->report->sent_count++;
    crowd_connect(member, load_clock_ns());
}

static void on_opened(struct crowd_member *member)
{
    struct connects *run = member->crowd->owner;
    uint64_t now_ns = load_clock_ns();
    run->report->received_count++;
    run->report->connected_count += run->is_measuring ? 1 : 0;
    if (member->begin_ns >= run->begin_ns && member->begin_ns < run->end_ns) {
        histogram_add(&run->report->latency, now_ns - member->begin_ns);
    }
    watch_delivery(run->crowd.options, now_ns, now_ns - member->begin_ns);
    crowd_ready(member);
    load_disconnect(member->client);
}

static void on_closed(struct crowd_member *member)
{
    struct connects *run = member->crowd->owner;
    if (run->is_running && !crowd_is_over(&run->crowd)) {
        come(run, member);
    }
}

static const struct crowd_events events = {.opened = on_opened, .closed = on_closed};

static void measure(struct connects *run)
{
    const struct scenario_options *options = run->crowd.options;
    struct report *report = run->report;

    run->is_measuring = true;
    report->has_target = scenario_sample(options, &report->target_before);
    uint64_t own_ns = phase_own_cpu_ns(), begin_ns = load_clock_ns();
    run->begin_ns = begin_ns;
    run->end_ns = UINT64_MAX;
    crowd_turn_until(&run->crowd, begin_ns + (uint64_t)(options->seconds * 1e9));
    run->end_ns = load_clock_ns();
    report->window_ns = run->end_ns - begin_ns;
    watch_window(options, begin_ns, run->end_ns);
    report->has_target = report->has_target && scenario_sample(options, &report->target_after);
    report->bench_cpu_ns = phase_own_cpu_ns() - own_ns;
    run->is_measuring = false;
}

/* Who is on the way at the end is waited for: a welcome that never comes is not forgotten. */
static void drain(struct connects *run)
{
    struct crowd *crowd = &run->crowd;
    uint64_t until_ns = load_clock_ns() + CROWD_DRAIN_NS;
    crowd->is_settling = true;
    while (crowd->coming_count > 0 && !crowd->is_broken && load_clock_ns() < until_ns) {
        watch_turn(crowd->options, crowd->load, CROWD_TURN_NS);
    }
    run->report->is_stalled |= crowd->coming_count > 0 && !crowd->is_broken;
}

enum err scenario_connects(const struct scenario_options *options, struct report *out)
{
    struct connects run = {
        .report = out,
        .crowd = {.options = options,
                  .report = out,
                  .name = "connect",
                  .events = &events,
                  .owner = &run,
                  .is_tolerant = true},
        .is_running = true,
    };
    enum err err = load_new(&options->load, &run.crowd.load);
    if (err == OK) {
        err = crowd_init(&run.crowd, options->count);
    }
    if (err == OK) {
        err = crowd_fetch_tickets(&run.crowd);
    }
    if (err == OK) {
        crowd_meet(&run.crowd, CREW_READY);
        uint64_t begin_ns = crew_begin_ns(options->crew);
        crowd_turn_until(&run.crowd, begin_ns);
        for (uint32_t i = 0; i < run.crowd.count; i++) {
            come(&run, &run.crowd.members[i]);
        }
        crowd_turn_until(&run.crowd, begin_ns + (uint64_t)(options->warmup_seconds * 1e9));
        measure(&run);
        out->is_stopped_early = scenario_is_stopped(options);
        run.is_running = false;
        drain(&run);
        crowd_leave(&run.crowd);
        crowd_meet(&run.crowd, CREW_SENT);
        crowd_meet(&run.crowd, CREW_DRAINED);
    }
    load_free(run.crowd.load);
    crowd_deinit(&run.crowd);
    return err;
}
