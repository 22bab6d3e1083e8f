#include "bench/scenario/scenario.h"

#include "bench/crew/crew.h"
#include "bench/load/check.h"
#include "bench/scenario/bottleneck.h"
#include "bench/scenario/scenario_kinds.h"
#include "bench/scenario/watch.h"
#include "core/base/text.h"

#include <string.h>

#define N_OF 0 /* as many as n says */

enum { SESSION_EXPIRY_S = 3600 }; /* of persistent sessions, if the user does not say */

/*
 * One line adds a scenario. run NULL: messages between publishers and subscribers of a shape.
 * publishers, subscribers: how many there are if n does not say; of scenarios about clients, those
 * who feed and those over whom n things are spread. rate: of its open loop, a second; 0: it has none.
 */
enum traits {
    STAMPS = 1,  /* payloads carry our stamp */
    CREW = 2,    /* several generators can share it */
    HELD = 4,    /* knows --held */
    MIXED = 8,   /* publishers are of QoS 0, 1 and 2 in turn */
    RESUME = 16, /* its clients come more than once: they may resume sessions of TLS */
    PACED = 32,  /* as fast as --window allows, or at --rate */
};

/* clang-format off */
static const struct scenario {
    const char *name;
    scenario_runner *run;
    enum shape_kind shape;
    uint32_t publishers, subscribers, count;
    double rate;
    uint32_t traits;
    const char *help;
} scenarios[] = {
    /*name             run                     shape        publ. subscr.       n  rate  traits         help */
    {"pairs",          NULL,                   SHAPE_PAIRS,     N_OF,  N_OF,      64, 1000, STAMPS | CREW, "n publishers, n subscribers, each pair on a topic of its own"},
    {"mixed",          NULL,                   SHAPE_PAIRS,     N_OF,  N_OF,      63, 1000, STAMPS | CREW | MIXED, "n pairs of QoS 0, 1 and 2 in turn, side by side"},
    {"fanout",         NULL,                   SHAPE_ALL,          1,  N_OF,     500, 1000, STAMPS | CREW, "1 publisher, n subscribers of its topic"},
    {"fanin",          NULL,                   SHAPE_ALL,       N_OF,     1,     500, 1000, STAMPS | CREW, "n publishers on topics of their own, 1 subscriber of all"},
    {"shared",         NULL,                   SHAPE_SHARED,    N_OF,     5,     500, 1000, STAMPS | CREW, "n publishers, 5 subscribers that share one subscription: each message to one of them"},
    {"wildcards",      NULL,                   SHAPE_WILDCARDS,   16,  N_OF,     100, 1000, STAMPS | CREW, "16 publishers, n subscribers with 10,000 wildcard filters; 1 to 3 match a message"},
    {"connect",        scenario_connects,      0,               N_OF,  N_OF,      64,    0, CREW | RESUME, "n clients connect, disconnect, and come again at once"},
    {"storm",          scenario_storm,         0,               N_OF,  N_OF,    5000, 1000, CREW | HELD | RESUME, "n clients connect, --rate a second at their moments, and stay; --held others are there before"},
    {"reconnect",      scenario_reconnect,     0,               N_OF,  N_OF,    1000,    0, STAMPS | RESUME, "n clients lose their connections at once, and come back at once until all are served again"},
    {"idle",           scenario_idles,         0,               N_OF,  N_OF,   10000,    0, CREW,          "n clients connect and stay silent: memory of the broker for each"},
    {"subscriptions",  scenario_subscriptions, 0,                  1,  1000, 1000000,    0, STAMPS,        "n subscriptions of 1000 clients (--subscribers): memory for each, and whether they work"},
    {"retained",       scenario_retained,      0,                  8,     1, 1000000,    0, STAMPS,        "n retained messages: memory for each, how fast they are stored, found, erased"},
    {"queued",         scenario_queued,        0,                  8,   100, 1000000,    0, STAMPS | PACED, "n messages for 100 sessions (--subscribers) that are away: memory for each; all must come in the end"},
    {"online",         scenario_online,        0,                  8,  1000,  100000,    0, STAMPS | PACED, "n messages for 1000 persistent sessions (--subscribers) that are there: how long until they are acknowledged, and delivered"},
    {"persist",        scenario_persist,       0,                  8,  1000,  100000,    0, STAMPS,        "n messages for 1000 sessions (--subscribers) that are away, and come back all at once"},
};
/* clang-format on */

const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            return &scenarios[i];
        }
    }
    return NULL;
}

void scenario_list(FILE *out)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        fprintf(out, "  %-13s %s; n is %u\n", scenarios[i].name, scenarios[i].help,
                scenarios[i].count);
    }
}

void scenario_offer(struct text_nearest *nearest)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        text_nearest_offer(nearest, scenarios[i].name);
    }
}

double scenario_rate(const struct scenario *scenario)
{
    return scenario->rate;
}

bool scenario_sample(const struct scenario_options *options, struct target_usage *out)
{
    return options->broker_pid > 0 && crew_measures(options->crew) &&
           target_usage(options->broker_pid, out) == OK;
}

static bool is_messages(const struct scenario *scenario)
{
    return scenario->run == NULL;
}

static uint32_t first_given(uint32_t a, uint32_t b, uint32_t c)
{
    return a != 0 ? a : b != 0 ? b : c;
}

/* What was not said. */
static struct scenario_options fill_in(const struct scenario *scenario,
                                       const struct scenario_options *options)
{
    struct scenario_options mine = *options;
    mine.count = first_given(mine.count, scenario->count, 1);
    mine.burst = first_given(mine.burst, 1, 1);
    if (mine.rate <= 0 && mine.window == 0) {
        mine.rate = scenario->rate;
    }
    mine.is_mixed = (scenario->traits & MIXED) != 0;
    if (mine.is_persistent) {
        mine.load.clean_start = false;
        mine.load.session_expiry_s = first_given(mine.load.session_expiry_s, SESSION_EXPIRY_S, 1);
    }
    mine.load.packet_max_bytes = MQTT_REMAINING_MAX;
    mine.load.client_count_max = mine.count + mine.held_count + 64;
    if (is_messages(scenario)) {
        mine.publisher_count = first_given(mine.publisher_count, scenario->publishers, mine.count);
        mine.subscriber_count = first_given(mine.subscriber_count, scenario->subscribers,
                                            mine.count);
        mine.load.client_count_max = mine.publisher_count + mine.subscriber_count + 64;
    } else if (scenario->publishers != N_OF) {
        mine.publisher_count = first_given(mine.publisher_count, scenario->publishers, 1);
        mine.subscriber_count = first_given(mine.subscriber_count, scenario->subscribers, 1);
    }
    return mine;
}

static enum err refuse(char why[SCENARIO_WHY_BYTES], const char *reason)
{
    snprintf(why, SCENARIO_WHY_BYTES, "%s", reason);
    return ERR_INVALID;
}

/* Whether a loop is open or closed. */
static enum err check_loop(const struct scenario_options *options, const struct shape *shape,
                           char why[SCENARIO_WHY_BYTES])
{
    if (options->window > 0 && options->rate > 0) {
        return refuse(why, "--rate (open loop: so many a second, whatever happens) and --window "
                           "(closed loop: as fast as they come back) exclude each other; use one");
    }
    if (options->window == 0 && options->burst > 1) {
        return refuse(why, "--burst says how much of the window leaves in one write; "
                           "use it with --window");
    }
    if (options->window > 0 && options->burst > options->window) {
        return refuse(why, "the burst does not fit into the window; "
                           "use a --window of at least --burst");
    }
    if (options->window > 0 && crew_count(options->crew) > 1 && !shape_is_paired(shape)) {
        return refuse(why, "several generators cannot share a closed loop but that of pairs: a "
                           "publisher would not see what comes to the others; use --rate");
    }
    return OK;
}

static enum err check_messages(const struct scenario *scenario,
                               const struct scenario_options *options, struct shape *shape,
                               char why[SCENARIO_WHY_BYTES])
{
    const char *reason;
    if (options->is_persistent && options->qos == 0 && !options->is_mixed) {
        return refuse(why, "persistent sessions keep nothing of QoS 0; use -q 1 or -q 2");
    }
    if (shape_init(scenario->shape, options->publisher_count, options->subscriber_count,
                   options->group_count, options->filter_count, shape, &reason) != OK) {
        return refuse(why, reason);
    }
    return check_loop(options, shape, why);
}

/* What all scenarios have in common; options are filled in. */
static enum err check_traits(const struct scenario *scenario,
                             const struct scenario_options *options, char why[SCENARIO_WHY_BYTES])
{
    if ((scenario->traits & STAMPS) != 0 && options->payload_bytes < STAMP_BYTES) {
        return refuse(why, "the payload is too short: 24 bytes say who sent it, its number and "
                           "when, so that every message can be checked; use -s 24 or more");
    }
    if (options->qos > 2) {
        return refuse(why, "QoS is 0, 1 or 2");
    }
    if (options->is_mixed && options->qos > 0) {
        return refuse(why, "this scenario has publishers of every QoS; leave -q out");
    }
    if ((scenario->traits & HELD) == 0 && options->held_count > 0) {
        return refuse(why, "--held is of the scenario storm; leave it out");
    }
    if ((scenario->traits & RESUME) == 0 && options->is_resuming) {
        return refuse(why, "its clients come once, so that there is nothing to resume; leave "
                           "--tls-resume out, or measure connect, storm or reconnect");
    }
    if ((scenario->traits & CREW) == 0 && crew_count(options->crew) > 1) {
        return refuse(why, "this scenario is run by one generator; leave --threads and --agents "
                           "out");
    }
    bool is_paced = (scenario->traits & PACED) != 0;
    if (is_paced && options->window > 0 && options->rate > 0) {
        return refuse(why, "--rate (so many a second, whatever happens) and --window (as fast as "
                           "they are acknowledged) exclude each other; use one");
    }
    if (!is_paced && scenario->rate <= 0 && options->rate > 0) {
        return refuse(why, "this scenario has no open loop, it goes as fast as the broker does; "
                           "leave --rate out");
    }
    if (!is_messages(scenario) && scenario->rate > 0 && options->window > 0) {
        return refuse(why, "this scenario has no closed loop; use --rate instead of --window");
    }
    return OK;
}

static enum err check(const struct scenario *scenario, const struct scenario_options *options,
                      struct shape *shape, char why[SCENARIO_WHY_BYTES])
{
    TRY(check_traits(scenario, options, why));
    return is_messages(scenario) ? check_messages(scenario, options, shape, why) : OK;
}

enum err scenario_check(const struct scenario *scenario, const struct scenario_options *options,
                        char why[SCENARIO_WHY_BYTES])
{
    struct scenario_options mine = fill_in(scenario, options);
    struct shape shape;
    return check(scenario, &mine, &shape, why);
}

/* Of the scenarios about clients; those about messages know more. A crew is judged as a whole. */
static bool is_generator_bound(const struct scenario_options *options, const struct report *report)
{
    if (report->window_ns == 0 || report->is_stopped_early || report->refused_count > 0) {
        return false;
    }
    struct bottleneck_facts facts = {
        .own_cores = (double)report->bench_cpu_ns / (double)report->window_ns,
        .lateness_p99_ns = (double)report->lateness_p99_ns,
        .latency_p99_ns = (double)histogram_quantile(&report->latency, 0.99),
        .rate = crew_count(options->crew) == 1 ? options->rate : 0,
        .rate_reached = report->rate_reached,
        .has_broker_cores = report->has_target,
        .broker_cores = report_broker_cores(report),
    };
    return bottleneck_is_generator(&facts);
}

enum err scenario_run(const struct scenario *scenario, const struct scenario_options *options,
                      struct report *out)
{
    struct scenario_options mine = fill_in(scenario, options);
    struct shape shape;
    char why[SCENARIO_WHY_BYTES];
    TRY(check(scenario, &mine, &shape, why));
    mine.qos = mine.is_mixed ? 2 : mine.qos; /* what subscribers ask for */
    struct load_tally tally = {0};
    mine.load.tally = mine.load.tls == NULL ? NULL : &tally;
    bool has_roles = is_messages(scenario) || scenario->publishers != N_OF;
    *out = (struct report){
        .scenario = scenario->name,
        .publisher_count = has_roles ? mine.publisher_count : mine.count,
        .subscriber_count = has_roles ? mine.subscriber_count : 0,
        .window = mine.window,
        .burst = mine.burst,
        .payload_bytes = mine.payload_bytes,
        .qos = mine.qos,
        .rate = mine.rate,
        .is_persistent = mine.is_persistent,
        .is_resuming = mine.is_resuming,
        .generator_count = 1,
    };
    enum err err = OK;
    if (is_messages(scenario)) {
        err = scenario_messages(&mine, &shape, out);
    } else {
        watch_begin(&mine, load_clock_ns());
        err = scenario->run(&mine, out);
        watch_end(&mine);
        out->is_generator_bound = is_generator_bound(&mine, out);
    }
    out->handshake_count = tally.handshake_count;
    out->resumed_count = tally.resumed_count;
    memcpy(out->agreed, tally.agreed, sizeof(out->agreed));
    return err;
}
