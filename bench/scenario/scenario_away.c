/*
 * What is kept for those who are away: persistent sessions and their queues, through a whole life. And
 * what it takes when they are there.
 *
 *     end old sessions ──> subscribe ──> leave ──> weigh ──> store n messages ──> weigh
 *        ──> come back ──> drain ──> account ──> end the sessions
 *
 *     queued     few sessions, long queues: what a queued message costs
 *     persist    many sessions, all come back at once: how fast they are served
 *     online     they do not leave: how long a publisher waits for what makes a message last
 *
 * Session s hears its own topics only. Its messages all come from one publisher, so that their order
 * is promised; they must come once, in order, unchanged. A session that the broker does not
 * remember is a violation of its own.
 */
#include "bench/scenario/feeder.h"
#include "bench/scenario/footprint.h"
#include "bench/scenario/phase.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"

#include <stdlib.h>

enum { TOPICS_EACH = 10, FILTER_BYTES = 48 };

enum stage { CLEARING, SUBSCRIBING, RETURNING, STAYING };
enum kind { QUEUED, PERSIST, ONLINE };

struct away {
    const struct scenario_options *options;
    struct report *report;
    struct load *load;
    struct feeder feeder;
    struct crowd crowd;
    struct track *tracks;        /* of each session */
    struct histogram *comebacks; /* from the moment all come to CONNACK */
    struct histogram *waits;     /* from that moment to each message */
    uint64_t return_ns, progress_ns, unique_count;
    enum stage stage;
    enum kind kind; /* the figures are of storing, of coming back, of storing */
};

static void topic_of(const struct stamp *stamp, char out[FEEDER_TOPIC_BYTES])
{
    snprintf(out, FEEDER_TOPIC_BYTES, "bench/away/%u/%u", stamp->publisher,
             (uint32_t)(stamp->sequence % TOPICS_EACH));
}

/* Publisher p has the sessions p, p + publishers, ..., and gives to each in turn. */
static void write_message(struct feeder *feeder, uint32_t publisher, uint64_t number,
                          char topic[FEEDER_TOPIC_BYTES], struct stamp *stamp)
{
    struct away *run = feeder->owner;
    uint32_t publishers = feeder->publisher_count;
    uint32_t own_count = run->crowd.count / publishers +
                         (publisher < run->crowd.count % publishers ? 1 : 0);
    uint32_t session = publisher + publishers * (uint32_t)(number % own_count);
    stamp->publisher = session;
    stamp->sequence = number / own_count;
    topic_of(stamp, topic);
}

static void on_opened(struct crowd_member *member)
{
    struct away *run = member->crowd->owner;
    char filter[FILTER_BYTES];

    if (run->stage == SUBSCRIBING) {
        snprintf(filter, sizeof(filter), "bench/away/%u/#", member->index);
        load_subscribe(member->client, filter, run->feeder.qos);
        return;
    }
    if (run->stage == RETURNING) {
        run->progress_ns = load_clock_ns();
        histogram_add(run->comebacks, run->progress_ns - run->return_ns);
        /* 3.1 does not say; what is lost is noticed there, too. */
        bool is_told = run->options->load.version != MQTT_3_1;
        run->report->forgotten_count += is_told && !load_is_resumed(member->client) ? 1 : 0;
    }
    crowd_ready(member);
}

static void on_subscribed(struct crowd_member *member)
{
    crowd_ready(member);
}

static void on_message(struct crowd_member *member, const struct mqtt_publish *message,
                       uint64_t received_ns)
{
    struct away *run = member->crowd->owner;
    struct report *report = run->report;
    struct stamp stamp;
    char topic[FEEDER_TOPIC_BYTES];

    report->received_count++;
    run->progress_ns = received_ns;
    bool is_ours = message->payload.count == run->options->payload_bytes &&
                   stamp_read(message->payload, &stamp);
    if (is_ours) {
        topic_of(&stamp, topic);
    }
    if (!is_ours || !crowd_message_is(message, topic, run->feeder.qos, false)) {
        report->corrupt_count++;
        return;
    }
    bool is_due = run->stage == RETURNING || run->stage == STAYING;
    if (!is_due || stamp.publisher != member->index) {
        report->misdelivered_count++;
        return;
    }
    enum track_verdict verdict = track_add(&run->tracks[member->index], stamp.sequence);
    if (verdict == TRACK_REPEATED) {
        report->repeated_count++;
        return;
    }
    report->disordered_count += verdict == TRACK_LATE ? 1 : 0;
    run->unique_count++;
    if (run->stage == STAYING) { /* the series is of acknowledgements */
        histogram_add(run->waits, received_ns - stamp.sent_ns);
        return;
    }
    histogram_add(run->waits, received_ns - run->return_ns);
    watch_delivery(run->options, received_ns, received_ns - run->return_ns);
}

static const struct crowd_events events = {
    .opened = on_opened,
    .subscribed = on_subscribed,
    .message = on_message,
};

/* ---- the run ------------------------------------------------------------------------------- */

/* Sessions of an earlier run, or of this one, end. */
static enum err clear(struct away *run)
{
    run->stage = CLEARING;
    run->crowd.session = LOAD_SESSION_CLEAN;
    TRY(crowd_gather(&run->crowd, CROWD_COMING_MAX));
    crowd_leave(&run->crowd);
    return OK;
}

static enum err subscribe(struct away *run)
{
    struct phase phase = phase_begin(run->options);
    run->stage = SUBSCRIBING;
    run->crowd.session = LOAD_SESSION_KEEP;
    TRY(crowd_gather(&run->crowd, CROWD_COMING_MAX));
    phase_end(&phase, run->report, load_clock_ns(), "subscribe", "sessions", run->crowd.ready_count,
              NULL);
    return OK;
}

/* The measured window, which is one of two parts of the run. */
struct window {
    struct away *run;
    bool is_measured;
    uint64_t begin_ns, own_cpu_ns;
};

static struct window window_begin(struct away *run, bool is_measured)
{
    struct window window = {.run = run, .is_measured = is_measured};
    if (is_measured) {
        footprint_before(run->options, false, run->report);
    }
    window.own_cpu_ns = phase_own_cpu_ns();
    window.begin_ns = load_clock_ns();
    return window;
}

static void window_end(const struct window *window, uint64_t end_ns, uint64_t count,
                       const struct histogram *latency)
{
    struct report *report = window->run->report;
    if (!window->is_measured) {
        return;
    }
    report->bench_cpu_ns = phase_own_cpu_ns() - window->own_cpu_ns;
    footprint_after(window->run->options, report);
    report->window_ns = end_ns - window->begin_ns;
    watch_window(window->run->options, window->begin_ns, end_ns);
    report->delivered_count = count;
    report->latency = *latency;
}

static void tell_pace(struct away *run, uint64_t took_ns)
{
    struct report *report = run->report;
    if (run->feeder.rate > 0) {
        report->rate_reached = (double)run->feeder.sent_count * 1e9 / (double)took_ns;
        report->lateness_p99_ns = histogram_quantile(&run->feeder.pace->lateness, 0.99);
        report->lateness_max_ns = histogram_quantile(&run->feeder.pace->lateness, 1.0);
    }
}

static void store(struct away *run)
{
    struct report *report = run->report;
    struct window window = window_begin(run, run->kind == QUEUED);
    struct phase phase = phase_begin(run->options);
    feeder_send(&run->feeder, run->options->count);
    uint64_t end_ns = load_clock_ns();
    phase_end(&phase, report, end_ns, "store", "messages", run->feeder.finished_count,
              run->feeder.latency);
    report->is_stopped_early = scenario_is_stopped(run->options);
    run->feeder.crowd.is_settling = run->crowd.is_settling = true;
    if (run->kind == QUEUED) {
        crowd_turn_until(&run->feeder.crowd, end_ns + FOOTPRINT_SETTLE_NS);
        report->thing_name = "queued messages";
        report->thing_count = run->feeder.finished_count;
    }
    tell_pace(run, end_ns - window.begin_ns);
    window_end(&window, end_ns, run->feeder.finished_count, run->feeder.latency);
}

static void drain(struct away *run)
{
    while (run->unique_count < run->feeder.sent_count && !run->crowd.is_broken &&
           load_clock_ns() - run->progress_ns < CROWD_DRAIN_NS) {
        watch_turn(run->options, run->load, CROWD_TURN_NS);
    }
}

/* Whoever does not come back in the end has lost its messages, and that is told. */
static void come_back(struct away *run)
{
    struct report *report = run->report;
    struct window window = window_begin(run, run->kind == PERSIST);
    struct phase back = phase_begin(run->options), draining = back;

    run->stage = RETURNING;
    run->return_ns = run->progress_ns = load_clock_ns();
    enum err err = crowd_gather(&run->crowd, run->kind == QUEUED ? CROWD_COMING_MAX : UINT32_MAX);
    report->is_stalled |= err == ERR_TIMEOUT;
    phase_end(&back, report, load_clock_ns(), "come back", "sessions", run->crowd.ready_count,
              run->comebacks);
    drain(run);
    phase_end(&draining, report, run->progress_ns, "drain", "messages", run->unique_count,
              run->waits);
    window_end(&window, run->progress_ns, run->unique_count, run->waits);
    crowd_turn_until(&run->crowd, load_clock_ns() + CROWD_QUIET_NS);
}

/* What publisher p sent went to its sessions in turn. */
static void settle(struct away *run)
{
    uint32_t publishers = run->feeder.publisher_count;
    for (uint32_t s = 0; s < run->crowd.count; s++) {
        uint32_t publisher = s % publishers, place = s / publishers;
        uint32_t own_count = run->crowd.count / publishers +
                             (publisher < run->crowd.count % publishers ? 1 : 0);
        uint64_t sent = feeder_sent(&run->feeder, publisher);
        uint64_t own_sent = sent / own_count + (place < sent % own_count ? 1 : 0);
        run->report->lost_count += track_lost(&run->tracks[s], own_sent);
    }
}

/* They stay: what is stored comes to them meanwhile. */
static void feed(struct away *run)
{
    struct report *report = run->report;
    struct window window = window_begin(run, true);
    struct phase store = phase_begin(run->options), deliver = store;
    deliver.has_target = false; /* what both took together is told once */
    run->stage = STAYING;
    feeder_send(&run->feeder, run->options->count);
    uint64_t end_ns = load_clock_ns();
    phase_end(&store, report, end_ns, "store", "messages", run->feeder.finished_count,
              run->feeder.latency);
    report->is_stopped_early = scenario_is_stopped(run->options);
    window_end(&window, end_ns, run->feeder.finished_count, run->feeder.latency);
    tell_pace(run, end_ns - window.begin_ns);
    run->progress_ns = end_ns;
    drain(run);
    phase_end(&deliver, report, run->progress_ns, "deliver", "messages", run->unique_count,
              run->waits);
    crowd_turn_until(&run->crowd, load_clock_ns() + CROWD_QUIET_NS);
}

static enum err run_away(struct away *run)
{
    TRY(clear(run));
    TRY(subscribe(run));
    if (run->kind != ONLINE) {
        crowd_leave(&run->crowd);
    }
    TRY(feeder_gather(&run->feeder));
    if (scenario_is_stopped(run->options)) {
        run->report->is_stopped_early = true; /* not all have subscribed: nothing is promised */
        crowd_leave(&run->feeder.crowd);
        return OK;
    }
    if (run->kind == ONLINE) {
        feed(run);
        feeder_leave(&run->feeder);
    } else {
        store(run);
        feeder_leave(&run->feeder);
        come_back(run);
    }
    settle(run);
    crowd_leave(&run->crowd);
    bool is_served = !run->report->is_stalled && run->report->refused_count == 0;
    return is_served ? clear(run) : OK;
}

static enum err away(const struct scenario_options *options, enum kind kind, struct report *out)
{
    uint32_t session_count = options->subscriber_count;
    uint32_t publishers = options->publisher_count < session_count ? options->publisher_count
                                                                   : session_count;
    struct away run = {
        .options = options,
        .report = out,
        .kind = kind,
        .feeder = {.options = options,
                   .report = out,
                   .write = write_message,
                   .owner = &run,
                   .qos = options->qos == 2 ? 2 : 1,
                   .payload_bytes = options->payload_bytes,
                   .publisher_count = publishers,
                   .rate = options->rate,
                   .window = feeder_window(options)},
        .crowd =
            {.options = options, .report = out, .name = "away", .events = &events, .owner = &run},
    };
    struct load_config config = options->load;
    config.client_count_max = session_count + publishers + 64;
    run.tracks = calloc(session_count, sizeof(run.tracks[0]));
    run.comebacks = calloc(1, sizeof(*run.comebacks));
    run.waits = calloc(1, sizeof(*run.waits));
    bool is_full = run.tracks == NULL || run.comebacks == NULL || run.waits == NULL;
    enum err err = is_full ? ERR_NOMEM : load_new(&config, &run.load);
    if (err == OK) {
        run.feeder.load = run.crowd.load = run.load;
        err = feeder_init(&run.feeder);
        out->window = run.feeder.window;
        out->qos = run.feeder.qos;
        out->is_persistent = true;
    }
    if (err == OK) {
        err = crowd_init(&run.crowd, session_count);
    }
    if (err == OK) {
        err = run_away(&run);
    }
    load_free(run.load);
    feeder_deinit(&run.feeder);
    crowd_deinit(&run.crowd);
    for (uint32_t i = 0; run.tracks != NULL && i < session_count; i++) {
        track_deinit(&run.tracks[i]);
    }
    free(run.tracks);
    free(run.comebacks);
    free(run.waits);
    return err;
}

enum err scenario_queued(const struct scenario_options *options, struct report *out)
{
    return away(options, QUEUED, out);
}

enum err scenario_persist(const struct scenario_options *options, struct report *out)
{
    return away(options, PERSIST, out);
}

enum err scenario_online(const struct scenario_options *options, struct report *out)
{
    return away(options, ONLINE, out);
}
