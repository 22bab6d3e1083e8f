#include "bench/command/host.h"
#include "bench/crew/crew_leader.h"
#include "bench/load/load.h"
#include "bench/report/report_merge.h"
#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_BYTES_MAX = CREW_AGENTS_MAX * 272 };

#define MS_NS       ((uint64_t)1000000)
#define TURN_NS     (2 * MS_NS)
#define AHEAD_NS    (500 * MS_NS)   /* for the word to reach every agent before it begins */
#define GREETING_NS (15000 * MS_NS) /* connect and welcome; an agent may still clean up */
#define SILENCE_NS  (15000 * MS_NS) /* pings come every second */
#define FAREWELL_NS (2000 * MS_NS)

/* An address that means something else on each machine. */
static void warn_of_loopback(const struct peer *peer)
{
    char text[ADDRESS_TEXT_MAX];
    const struct address *broker = &peer->leader->options->load.to;
    if (address_is_loopback(broker) && !address_is_loopback(&peer->address)) {
        fprintf(
            stderr,
            "tern-bench: %s loads %s of its own machine: if the broker is not there, name it by "
            "an address that all reach (-h)\n",
            peer->name, address_text(broker, text));
    }
}

static enum err find_peers(struct leader *leader, char *list)
{
    char problem[HOST_PROBLEM_BYTES], *rest = NULL;
    for (char *item = strtok_r(list, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        if (leader->peer_count == CREW_AGENTS_MAX) {
            leader_fail(leader, ERR_INVALID, "--agents: more than %d", CREW_AGENTS_MAX);
            return ERR_INVALID;
        }
        struct peer *peer = &leader->peers[leader->peer_count++];
        peer->leader = leader;
        enum err err = host_find_port(item, &peer->address, problem);
        if (err == OK && peer->address.port == 0) {
            err = ERR_INVALID;
            snprintf(problem, sizeof(problem), "'%s' has no port (HOST:PORT)", item);
        }
        if (err != OK) {
            leader_fail(leader, err, "--agents: %s", problem);
            return err;
        }
        snprintf(peer->name, sizeof(peer->name), "agent %s", item);
        warn_of_loopback(peer);
    }
    if (leader->peer_count == 0) {
        leader_fail(leader, ERR_INVALID, "--agents: '%s' names none (HOST:PORT,...)",
                    leader->agents->list);
        return ERR_INVALID;
    }
    return OK;
}

static enum err read_list(struct leader *leader)
{
    char list[LIST_BYTES_MAX];
    if (strlen(leader->agents->list) >= sizeof(list)) {
        leader_fail(leader, ERR_INVALID, "--agents: the list is too long");
        return ERR_INVALID;
    }
    snprintf(list, sizeof(list), "%s", leader->agents->list);
    return find_peers(leader, list);
}

static uint32_t count_in(const struct leader *leader, enum peer_state state)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        count += leader->peers[i].state == state ? 1 : 0;
    }
    return count;
}

static bool is_stopped(const struct leader *leader)
{
    return scenario_is_stopped(leader->options);
}

static void connect_all(struct leader *leader)
{
    uint64_t until_ns = load_clock_ns() + GREETING_NS;
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        peer_connect(&leader->peers[i]);
    }
    while (leader->err == OK && count_in(leader, WELCOMED) < leader->peer_count) {
        io_turn(leader->io, TURN_NS);
        if (is_stopped(leader)) {
            leader_fail(leader, ERR_SHUTDOWN, "stopped before the run began");
        }
        for (uint32_t i = 0; i < leader->peer_count && load_clock_ns() > until_ns; i++) {
            if (leader->peers[i].state != WELCOMED) {
                leader_fail(leader, ERR_UNAVAILABLE, "%s does not answer", leader->peers[i].name);
            }
        }
    }
}

/* Who is who: our own generators first, then those of one agent after the other. */
static void number_all(struct leader *leader)
{
    uint32_t count = leader->agents->thread_count;
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        leader->peers[i].first = count;
        count += leader->peers[i].generators;
    }
    leader->member_count = count;
    if (count > CREW_MEMBERS_MAX) {
        leader_fail(leader, ERR_INVALID, "%u generators are more than %d", count, CREW_MEMBERS_MAX);
        return;
    }
    struct crew_room_config config = {.count = count, .ahead_ns = AHEAD_NS};
    leader->room = crew_room_new(&config);
    if (leader->room == NULL) {
        leader_fail(leader, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
        return;
    }
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        struct peer *peer = &leader->peers[i];
        for (uint32_t k = 0; k < peer->generators; k++) {
            crew_room_name(leader->room, peer->first + k, peer->name);
        }
    }
}

/* What agents have nothing to do with, or what they are told in another way. */
static const enum option_index leader_only[] = {
    OPTION_INDEX_threads,  OPTION_INDEX_agents,     OPTION_INDEX_agent_key,
    OPTION_INDEX_goals,    OPTION_INDEX_broker_pid, OPTION_INDEX_target_metrics,
    OPTION_INDEX_search,   OPTION_INDEX_progress,   OPTION_INDEX_json,
    OPTION_INDEX_markdown, OPTION_INDEX_plot,       OPTION_INDEX_series,
};

/* As a JSON array of texts: what an agent makes the same options from. */
static enum err write_job(const struct leader *leader, struct buf *out)
{
    struct options job = *leader->agents->job;
    for (size_t i = 0; i < sizeof(leader_only) / sizeof(leader_only[0]); i++) {
        job.is_given[leader_only[i]] = false;
    }
    if (leader->options->window == 0 && leader->options->rate > 0) {
        job.rate = leader->options->rate;
        job.is_given[OPTION_INDEX_rate] = true;
    }
    return options_write(&job, false, out);
}

static void send_job(struct leader *leader, struct peer *peer, const struct crew_texts *texts)
{
    crew_link_say(&peer->link, &(struct crew_message){.say = CREW_SAY_JOB,
                                                      .texts = *texts,
                                                      .first = peer->first,
                                                      .count = leader->member_count});
    peer->state = WORKING;
}

static void send_jobs(struct leader *leader)
{
    struct json_limits limits = {.bytes_max = SIZE_MAX, .depth_max = 1};
    const char *values[CREW_TEXTS_MAX];
    struct crew_texts texts = {.values = values};
    struct buf job = {0};
    struct json *document = NULL;

    enum err err = write_job(leader, &job);
    if (err == OK) {
        err = json_read(buf_bytes(&job), &limits, &document, NULL);
    }
    for (size_t i = 0; err == OK && i < json_count(document); i++) {
        struct slice text;
        err = texts.count < CREW_TEXTS_MAX ? json_get_text(json_item(document, i), &text)
                                           : ERR_LIMIT;
        if (err == OK) {
            values[texts.count++] = (const char *)text.data;
        }
    }
    if (err != OK) {
        leader_fail(leader, err, "the job cannot be written: %s", err_text(err));
    }
    for (uint32_t i = 0; err == OK && i < leader->peer_count; i++) {
        send_job(leader, &leader->peers[i], &texts);
    }
    json_free(document);
    buf_deinit(&job);
}

/* ---- the run ----------------------------------------------------------------------------------- */

static void tell_passed(struct leader *leader)
{
    uint64_t begin_ns;
    while (leader->told_count < CREW_STAGE_COUNT &&
           crew_room_passed(leader->room, (enum crew_stage)leader->told_count, &begin_ns)) {
        struct crew_message message = {
            .say = CREW_SAY_PASSED, .stage = leader->told_count, .begin_ns = begin_ns};
        if (leader->told_count == CREW_SENT) {
            message.sent.values = (uint64_t *)(uintptr_t)crew_room_sent(leader->room,
                                                                        &message.sent.count);
        }
        leader_say(leader, &message);
        leader->told_count++;
    }
}

/* Without a generator here, the window as all agents know it is all we have to go by. */
static void look_at_window(struct leader *leader, uint64_t begin_ns, uint64_t now_ns)
{
    const struct scenario_options *options = leader->options;
    uint64_t window_ns = begin_ns + (uint64_t)(options->warmup_seconds * 1e9), unused_ns;
    uint64_t end_ns = window_ns + (uint64_t)(options->seconds * 1e9);
    if (!leader->has_before && now_ns >= window_ns) {
        leader->has_before = target_usage(options->broker_pid, &leader->before) == OK;
    }
    bool is_over = now_ns >= end_ns || crew_room_passed(leader->room, CREW_SENT, &unused_ns);
    if (leader->has_before && !leader->has_after && is_over) {
        leader->has_after = target_usage(options->broker_pid, &leader->after) == OK;
    }
}

static void look_at_broker(struct leader *leader, uint64_t now_ns)
{
    struct target_usage usage;
    uint64_t begin_ns;
    int32_t pid = leader->options->broker_pid;
    if (leader->observed == NULL || !crew_room_passed(leader->room, CREW_READY, &begin_ns) ||
        now_ns < begin_ns) {
        return;
    }
    look_at_window(leader, begin_ns, now_ns);
    if (!leader->is_observing) {
        leader->is_observing = true;
        series_begin(leader->observed, begin_ns);
        series_tick(leader->observed, now_ns,
                    target_usage_quick(pid, &usage) == OK ? &usage : NULL);
    }
    if (series_is_due(leader->observed, now_ns)) {
        series_tick(leader->observed, now_ns,
                    target_usage_quick(pid, &usage) == OK ? &usage : NULL);
    }
}

static void watch_peers(struct leader *leader, uint64_t now_ns)
{
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        struct peer *peer = &leader->peers[i];
        crew_link_turn(&peer->link, now_ns);
        if (peer->state == WORKING && now_ns > peer->link.heard_ns &&
            now_ns - peer->link.heard_ns > SILENCE_NS) {
            leader_fail(leader, ERR_UNAVAILABLE, "%s is lost: it is silent", peer->name);
        }
    }
    char problem[CREW_PROBLEM_BYTES];
    crew_room_watch(leader->room);
    if (crew_room_problem(leader->room, problem)) {
        leader_fail(leader, ERR_UNAVAILABLE, "%s", problem);
    }
}

static bool is_team_over(const struct leader *leader)
{
    return leader->team == NULL || crew_team_is_over(leader->team);
}

static void work(struct leader *leader)
{
    while (leader->err == OK &&
           (count_in(leader, REPORTED) < leader->peer_count || !is_team_over(leader))) {
        io_turn(leader->io, TURN_NS);
        uint64_t now_ns = load_clock_ns();
        watch_peers(leader, now_ns);
        look_at_broker(leader, now_ns);
        tell_passed(leader);
        if (leader->options->series != NULL) {
            crew_progress_tell(leader->progress, leader->options->series);
        }
        if (is_stopped(leader) && !leader->is_stop_told) {
            leader_say(leader, &(struct crew_message){.say = CREW_SAY_STOP});
            leader->is_stop_told = true;
        }
    }
}

/* What not all of them have told. */
static void end_progress(struct leader *leader)
{
    if (leader->options->series != NULL) {
        crew_progress_end(leader->progress);
        crew_progress_tell(leader->progress, leader->options->series);
    }
}

/* Everybody still there hears that it is over, and why. */
static void farewell(struct leader *leader)
{
    uint64_t until_ns = load_clock_ns() + FAREWELL_NS;
    bool is_open = true;
    if (leader->err != OK) {
        leader_say(leader, &(struct crew_message){.say = CREW_SAY_FAILED,
                                                  .text = slice_text(leader->problem)});
    }
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        if (leader->peers[i].link.stream != NULL) {
            crew_link_close(&leader->peers[i].link, OK);
        }
    }
    while (is_open && load_clock_ns() < until_ns) {
        io_turn(leader->io, TURN_NS);
        is_open = false;
        for (uint32_t i = 0; i < leader->peer_count; i++) {
            is_open |= leader->peers[i].link.stream != NULL;
        }
    }
}

/* ---- the sum ------------------------------------------------------------------------------------ */

/*
 * A report that was read owns its words, and goes away; ours stay as long as the process. There are
 * few: names of scenarios, of things and of phases.
 */
static const char *lasting(const char *text)
{
    enum { WORDS_MAX = 64, WORD_BYTES = 64 };
    static char words[WORDS_MAX][WORD_BYTES];
    static uint32_t count;
    if (text == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (strncmp(words[i], text, WORD_BYTES - 1) == 0) {
            return words[i];
        }
    }
    if (count == WORDS_MAX) {
        return "";
    }
    snprintf(words[count], WORD_BYTES, "%s", text);
    return words[count++];
}

static void keep_words(struct report *report)
{
    report->scenario = lasting(report->scenario);
    report->transport = lasting(report->transport);
    report->thing_name = lasting(report->thing_name);
    for (uint32_t i = 0; i < report->phase_count; i++) {
        report->phases[i].name = lasting(report->phases[i].name);
        report->phases[i].unit = lasting(report->phases[i].unit);
    }
    report->environment = NULL;
}

static enum err sum_up(struct leader *leader, struct report *out)
{
    const struct report *members[CREW_AGENTS_MAX];
    for (uint32_t i = 0; i < leader->peer_count; i++) {
        members[i] = report_saved_report(leader->peers[i].saved);
    }
    if (leader->team == NULL) {
        TRY(report_merge_all(members, leader->peer_count, leader->options->series, out));
    } else {
        enum err err = crew_team_join(leader->team, out);
        crew_team_free(leader->team);
        leader->team = NULL;
        TRY(err);
        for (uint32_t i = 0; i < leader->peer_count; i++) {
            TRY(report_merge(out, members[i]));
        }
    }
    keep_words(out);
    if (leader->observed != NULL && out->series != NULL) {
        TRY(series_merge(out->series, leader->observed));
    }
    if (leader->has_after) {
        out->has_target = true;
        out->target_before = leader->before;
        out->target_after = leader->after;
    }
    crew_run_judge(out);
    return OK;
}

static void free_all(struct leader *leader)
{
    static struct report unused; /* of a team that failed */
    if (leader->team != NULL) {
        (void)crew_team_join(leader->team, &unused);
    }
    crew_team_free(leader->team);
    crew_progress_free(leader->progress);
    series_free(leader->observed);
    crew_room_free(leader->room);
    io_free(leader->io);
    for (uint32_t i = 0; leader->peers != NULL && i < leader->peer_count; i++) {
        crew_link_forget(&leader->peers[i].link);
        report_saved_free(leader->peers[i].saved);
    }
    free(leader->peers);
}

static void check_options(struct leader *leader)
{
    char why[CREW_PROBLEM_BYTES];
    enum err err = crew_run_check(crew_room_member(leader->room, 0), leader->scenario,
                                  leader->options, why);
    if (err != OK) {
        leader_fail(leader, err, "%s", why);
    }
}

/* Everybody with seconds of its own: our threads, each agent, and we if we look at the broker. */
static void start_progress(struct leader *leader)
{
    uint32_t own_count = leader->agents->thread_count;
    bool is_observer = own_count == 0 && leader->options->broker_pid > 0;
    leader->progress = crew_progress_new(leader->peer_count + own_count + (is_observer ? 1 : 0));
    leader->observed = is_observer ? series_new() : NULL;
    if (leader->progress == NULL || (is_observer && leader->observed == NULL)) {
        leader_fail(leader, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    } else if (is_observer) {
        series_on_second(leader->observed, crew_progress_add, leader->progress);
    }
}

static void start_own(struct leader *leader)
{
    uint32_t count = leader->agents->thread_count;
    if (count == 0) {
        return;
    }
    leader->team = crew_team_start(leader->room, leader->scenario, leader->options,
                                   leader->progress, 0, count);
    if (leader->team == NULL) {
        leader_fail(leader, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    }
}

/* Each step as long as none has failed; the last one in any case. */
static void lead(struct leader *leader)
{
    static void (*const steps[])(struct leader *) = {
        connect_all, number_all, check_options, start_progress,
        send_jobs,   start_own,  work,          end_progress,
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && leader->err == OK; i++) {
        steps[i](leader);
    }
    farewell(leader);
}

enum err crew_run_agents(const struct crew_agents *agents, const struct scenario *scenario,
                         const struct scenario_options *options, struct report *out,
                         char problem[CREW_PROBLEM_BYTES])
{
    struct io_config config = {.stream_count_max = CREW_AGENTS_MAX};
    struct leader leader = {
        .agents = agents, .scenario = scenario, .options = options, .problem = problem};

    ASSERT(agents->thread_count <= CREW_THREADS_MAX);
    problem[0] = '\0';
    crew_version(leader.version);
    crew_clock_name(leader.clock);
    leader.peers = calloc(CREW_AGENTS_MAX, sizeof(leader.peers[0]));
    enum err err = leader.peers == NULL ? ERR_NOMEM : io_new(&config, &leader.io);
    if (err == OK) {
        err = read_list(&leader);
    }
    if (err == OK) {
        lead(&leader);
        err = leader.err;
    }
    if (err == OK) {
        err = sum_up(&leader, out);
    }
    if (err != OK && problem[0] == '\0') {
        snprintf(problem, CREW_PROBLEM_BYTES, "%s", err_text(err));
    }
    free_all(&leader);
    return err;
}
