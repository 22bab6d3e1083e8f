/*
 * Publishers and subscribers, and the account of every message: the stages of a run.
 *
 *     wipe? ──> set up ──> warm-up ──> measured window ──> drain ──> settle ──> goodbye ──> wipe?
 *                     READY                          SENT       DRAINED
 *
 * Generators of a crew meet at READY, SENT and DRAINED; one alone passes them at once.
 */
#include "bench/scenario/scenario_messages.h"

#include "bench/crew/crew.h"
#include "bench/scenario/bottleneck.h"
#include "bench/scenario/watch.h"
#include "core/base/assert.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

enum { TURN_NS = 50 * 1000 * 1000 };

#define STALL_NS     ((uint64_t)10000000000) /* closed loop, nothing comes back: the run is over */
#define DRAIN_NS     ((uint64_t)5000000000)  /* without any delivery: what is missing is lost */
#define DRAIN_NS_MAX ((uint64_t)300000000000)
#define LINGER_NS    ((uint64_t)100000000)  /* after the last one: is there a repeat? */
#define CATCH_UP_NS  ((uint64_t)1000000000) /* for moments before the end that were not visited */

/*
 * Queued by all publishers together, by one at most, and at least: what is due beyond that waits in
 * the schedule, where it costs no memory and keeps its moment.
 */
#define BACKLOG_BYTES       ((uint64_t)64 * 1024 * 1024)
#define BACKLOG_BYTES_MAX   ((uint64_t)1024 * 1024)
#define BACKLOG_BYTES_LEAST ((uint64_t)64 * 1024)

static uint64_t own_cpu_ns(void)
{
    struct timespec used;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0
               ? 0
               : (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void turn(struct messages *run, uint64_t wait_ns)
{
    watch_turn(run->options, run->load, wait_ns);
}

/* Wait for the others. False: someone failed. */
static bool meet(struct messages *run, enum crew_stage stage)
{
    struct crew *crew = run->options->crew;
    crew_arrive(crew, stage);
    while (!crew_all_arrived(crew, stage)) {
        if (crew_is_failed(crew)) {
            return false;
        }
        turn(run, CREW_TURN_NS);
    }
    return !crew_is_failed(crew);
}

static bool is_over(const struct messages *run)
{
    return scenario_is_stopped(run->options) || crew_is_failed(run->options->crew);
}

/* ---- the window ---- */

struct window {
    uint64_t begin_ns, measure_ns, end_ns; /* planned; measure_ns becomes when it was */
    uint64_t own_cpu_ns, sent_count;       /* when measuring began */
};

static void measure_begin(struct messages *run, struct window *window)
{
    struct report *report = run->report;
    report->has_target = scenario_sample(run->options, &report->target_before);
    if (run->pace != NULL) {
        messages_send_due(run); /* reading the broker's use took time */
        run->pace->is_measuring = true;
    }
    run->is_measuring = true;
    window->own_cpu_ns = own_cpu_ns();
    window->sent_count = run->sent_count;
    /* Of the open loop every moment of the window counts, also one that we came late to. */
    uint64_t planned_ns = window->measure_ns;
    window->measure_ns = load_clock_ns();
    uint64_t begin_ns = run->pace != NULL ? planned_ns : window->measure_ns;
    run->measure_begin_ns = crew_common_ns(run->options->crew, begin_ns);
    run->measure_end_ns = UINT64_MAX;
}

/* Of the rate of all generators, what our publishers have. */
static double rate_share(const struct messages *run)
{
    uint32_t own = crew_own_count(run->options->crew, run->shape->publisher_count);
    return run->pace->rate * own / run->shape->publisher_count;
}

/*
 * Messages a second that left in the window: of those whose moment was in it, the part that left,
 * so that one more or less at either end of a short window makes no rate missed.
 */
static double rate_reached(const struct messages *run, const struct window *window, double rate)
{
    const struct pace *pace = run->pace;
    uint64_t next_ns = pace_next_ns(pace), now_ns = load_clock_ns();
    double overdue = next_ns < now_ns ? (double)(now_ns - next_ns) / 1e9 * rate : 0;
    double due = (double)pace->lateness.count + overdue;
    double part = due > 0 ? (double)(run->sent_count - window->sent_count) / due : 1;
    return rate * (part < 1 ? part : 1);
}

/* How well the open loop kept its time. */
static void measure_pace(struct messages *run, const struct window *window)
{
    struct report *report = run->report;
    report->rate_reached = rate_reached(run, window, rate_share(run));
    report->lateness_p99_ns = histogram_quantile(&run->pace->lateness, 0.99);
    report->lateness_max_ns = run->pace->lateness.value_max;
}

static void measure_end(struct messages *run, struct window *window)
{
    struct report *report = run->report;
    uint64_t now_ns = load_clock_ns();
    run->is_measuring = false;
    if (run->pace != NULL) {
        run->pace->is_measuring = false;
    }
    report->bench_cpu_ns = own_cpu_ns() - window->own_cpu_ns;
    report->has_target = report->has_target && scenario_sample(run->options, &report->target_after);
    report->window_ns = now_ns - window->measure_ns;
    run->measure_end_ns = crew_common_ns(run->options->crew, now_ns);
    watch_window(run->options, window->measure_ns, now_ns);
    if (run->pace != NULL) {
        measure_pace(run, window);
    }
}

/* All begin at the same moment, which is ahead of us when there are others. */
static void begin(struct messages *run, struct window *window)
{
    const struct scenario_options *options = run->options;
    window->begin_ns = crew_begin_ns(options->crew);
    window->measure_ns = window->begin_ns + (uint64_t)(options->warmup_seconds * 1e9);
    window->end_ns = window->measure_ns + (uint64_t)(options->seconds * 1e9);
    if (run->pace != NULL) {
        pace_begin(run->pace, window->begin_ns);
    }
    watch_begin(options, window->begin_ns);
    for (uint64_t now_ns = load_clock_ns(); now_ns < window->begin_ns && !is_over(run);
         now_ns = load_clock_ns()) {
        load_turn(run->load, window->begin_ns - now_ns);
    }
}

/* How long we may sleep: to the next moment at most. */
static uint64_t rest(const struct messages *run, uint64_t now_ns, uint64_t until_ns)
{
    uint64_t next_ns = run->pace != NULL ? pace_next_ns(run->pace) : UINT64_MAX;
    next_ns = next_ns < until_ns ? next_ns : until_ns;
    uint64_t left_ns = next_ns > now_ns ? next_ns - now_ns : 0;
    return left_ns < TURN_NS ? left_ns : TURN_NS;
}

/* Alone a broken run ends at once; in a crew it is not known to the others, who expect us later. */
static bool is_done_early(const struct messages *run)
{
    return is_over(run) || (run->is_broken && crew_count(run->options->crew) == 1);
}

static void run_window(struct messages *run)
{
    struct window window = {0};
    begin(run, &window);
    run->is_sending = !run->is_broken;
    uint64_t now_ns = load_clock_ns();
    run->progress_ns = now_ns;
    for (uint32_t i = 0; i < run->shape->publisher_count; i++) {
        if (crew_owns(run->options->crew, i)) {
            messages_pump(&run->publishers[i]);
        }
    }
    do { /* once at least: a process that got no core for so long still measures */
        if (!run->is_measuring && now_ns >= window.measure_ns) {
            measure_begin(run, &window);
        }
        if (run->pace != NULL && run->is_sending) {
            messages_send_due(run);
        }
        uint64_t until_ns = run->is_measuring ? window.end_ns : window.measure_ns;
        turn(run, run->is_sending ? rest(run, load_clock_ns(), until_ns) : TURN_NS);
        now_ns = load_clock_ns();
        if (run->pace == NULL && run->is_sending && now_ns > run->progress_ns + STALL_NS) {
            run->report->is_stalled = true;
            break;
        }
    } while (now_ns < window.end_ns && !is_done_early(run));
    if (run->is_measuring) {
        measure_end(run, &window);
    }
    run->report->is_stopped_early = scenario_is_stopped(run->options);
}

/* Moments before the end that were not visited in time; then whatever could not leave is given up. */
static void stop_sending(struct messages *run)
{
    if (run->pace != NULL) {
        uint64_t until_ns = load_clock_ns() + CATCH_UP_NS;
        while (pace_next_ns(run->pace) != UINT64_MAX && run->is_sending && !is_over(run) &&
               load_clock_ns() < until_ns) {
            messages_send_due(run);
            turn(run, rest(run, load_clock_ns(), until_ns));
        }
        messages_give_up(run, !run->report->is_stopped_early && !run->is_broken);
    }
    run->is_sending = false;
}

/* ---- the account ---- */

/* What each publisher sent, of all generators. NULL: they could not meet, or memory is exhausted. */
static const uint64_t *share_sent(struct messages *run, uint64_t *own)
{
    struct crew *crew = run->options->crew;
    for (uint32_t i = 0; i < run->shape->publisher_count; i++) {
        own[i] = run->publishers[i].sent;
    }
    crew_share_sent(crew, own, run->shape->publisher_count);
    if (!meet(run, CREW_SENT)) {
        return NULL;
    }
    const uint64_t *of_all = crew_sent(crew);
    return of_all != NULL ? of_all : own;
}

static bool is_finished(const struct messages *run)
{
    for (uint32_t i = 0; i < run->shape->publisher_count; i++) {
        const struct publisher *publisher = &run->publishers[i];
        if (publisher->qos > 0 && publisher->finished < publisher->sent) {
            return false;
        }
    }
    for (uint32_t i = 0; run->options->qos == 2 && i < run->shape->subscriber_count; i++) {
        const struct load_client *client = run->subscribers[i].client;
        if (client != NULL && load_unreleased(client) > 0) {
            return false;
        }
    }
    return true;
}

static void drain(struct messages *run, const uint64_t *sent)
{
    uint64_t expected = account_expected(run->account, sent);
    uint64_t begin_ns = load_clock_ns(), now_ns = begin_ns;
    run->progress_ns = begin_ns;
    while (!run->is_broken && !crew_is_failed(run->options->crew) &&
           (account_totals(run->account)->unique_count < expected || !is_finished(run)) &&
           now_ns < run->progress_ns + DRAIN_NS) {
        if (now_ns > begin_ns + DRAIN_NS_MAX) {
            run->report->is_stalled = true;
            break;
        }
        turn(run, TURN_NS);
        now_ns = load_clock_ns();
    }
    uint64_t until_ns = now_ns + LINGER_NS;
    while (!run->is_broken && now_ns < until_ns) {
        turn(run, until_ns - now_ns);
        now_ns = load_clock_ns();
    }
}

/* When all latencies are known. Of a broken run nothing is said: it broke. */
static bool is_generator_bound(const struct messages *run)
{
    const struct report *report = run->report;
    if (report->window_ns == 0 || run->is_broken) {
        return false;
    }
    struct bottleneck_facts facts = {
        .own_cores = (double)report->bench_cpu_ns / (double)report->window_ns,
        .lateness_p99_ns = (double)report->lateness_p99_ns,
        .latency_p99_ns = (double)histogram_quantile(&report->latency, 0.99),
        .rate_reached = report->rate_reached,
        .is_held_back = run->is_held_back,
        .has_broker_cores = report->has_target,
        .broker_cores = report_broker_cores(report),
    };
    /* Whether our share of the rate is missed is for the one to say who sees the broker. */
    if (run->pace != NULL && crew_measures(run->options->crew)) {
        facts.rate = rate_share(run);
    }
    return bottleneck_is_generator(&facts);
}

static void settle(struct messages *run, const uint64_t *sent)
{
    struct report *report = run->report;
    struct account_totals totals = account_settle(run->account, sent);
    struct fairness fairness = account_fairness(run->account);
    report->sent_count = run->sent_count;
    report->lost_count = totals.lost_count;
    report->repeated_count = totals.repeated_count;
    report->disordered_count = totals.late_count;
    report->misdelivered_count = totals.misdelivered_count;
    report->member_count = fairness.member_count;
    report->member_min = fairness.member_min;
    report->member_max = fairness.member_max;
    report->jain = fairness.jain;
    report->is_stalled |= !is_finished(run);
    report->is_generator_bound = is_generator_bound(run);
}

/* ---- the run ---- */

static enum err allocate_clients(struct messages *run)
{
    const struct shape *shape = run->shape;
    run->publishers = calloc(shape->publisher_count, sizeof(run->publishers[0]));
    run->subscribers = calloc(shape->subscriber_count, sizeof(run->subscribers[0]));
    run->topics = calloc(shape->topic_count, sizeof(run->topics[0]));
    if (run->publishers == NULL || run->subscribers == NULL || run->topics == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < shape->publisher_count; i++) {
        run->publishers[i].run = run;
        run->publishers[i].index = i;
        run->publishers[i].qos = run->options->is_mixed ? (uint8_t)(i % 3) : run->options->qos;
    }
    for (uint32_t i = 0; i < shape->subscriber_count; i++) {
        run->subscribers[i].run = run;
        run->subscribers[i].index = i;
    }
    for (uint32_t i = 0; i < shape->topic_count; i++) {
        shape_topic(shape, i, run->topics[i].text);
        run->topics[i].bytes = (uint32_t)slice_text(run->topics[i].text).count;
    }
    return OK;
}

static enum err allocate(struct messages *run)
{
    const struct scenario_options *options = run->options;
    TRY(allocate_clients(run));
    uint64_t share = BACKLOG_BYTES / run->shape->publisher_count;
    share = share < BACKLOG_BYTES_MAX ? share : BACKLOG_BYTES_MAX;
    run->backlog_bytes_max = share > BACKLOG_BYTES_LEAST ? share : BACKLOG_BYTES_LEAST;
    if (options->window == 0) {
        run->pace = calloc(1, sizeof(*run->pace));
        if (run->pace == NULL) {
            return ERR_NOMEM;
        }
        double seconds = options->warmup_seconds + options->seconds;
        pace_init(run->pace, options->rate, (uint64_t)(seconds * 1e9 + 0.5),
                  run->shape->publisher_count, options->crew);
    }
    TRY(account_new(run->shape, options->crew, &run->account));
    return load_new(&options->load, &run->load);
}

static void deallocate(struct messages *run)
{
    load_free(run->load);
    account_free(run->account);
    free(run->pace);
    free(run->topics);
    free(run->subscribers);
    free(run->publishers);
}

/* From the first connect to the last word. ERR_CLOSED: another generator failed. */
static enum err go(struct messages *run)
{
    bool is_persistent = run->options->is_persistent;
    if (is_persistent) {
        TRY(messages_wipe(run));
    }
    TRY(messages_set_up(run));
    if (!meet(run, CREW_READY)) {
        return ERR_CLOSED;
    }
    run_window(run);
    stop_sending(run);
    uint64_t *own = calloc(run->shape->publisher_count, sizeof(own[0]));
    if (own == NULL) {
        return ERR_NOMEM;
    }
    const uint64_t *sent = share_sent(run, own);
    if (sent != NULL) {
        drain(run, sent);
    }
    bool is_whole = sent != NULL && meet(run, CREW_DRAINED);
    if (is_whole) {
        settle(run, sent);
    }
    free(own);
    watch_end(run->options);
    messages_say_goodbye(run);
    if (is_persistent && messages_wipe(run) != OK) {
        fprintf(stderr, "tern-bench: the broker did not let all persistent sessions end\n");
    }
    return is_whole ? OK : ERR_CLOSED;
}

enum err scenario_messages(const struct scenario_options *options, const struct shape *shape,
                           struct report *out)
{
    struct messages run = {.options = options, .shape = shape, .report = out};
    /* A sleep ends when it should: the default slack of 50 us would be in every open loop. */
    (void)prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
    enum err err = allocate(&run);
    if (err == OK) {
        err = go(&run);
    }
    if (err != OK) {
        crew_fail(options->crew, run.why_broken[0] != '\0' ? run.why_broken : err_text(err));
    }
    deallocate(&run);
    return err;
}
