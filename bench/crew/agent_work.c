#include "bench/crew/agent_work.h"

#include "bench/crew/crew_clock.h"
#include "bench/crew/crew_room.h"
#include "bench/crew/crew_run.h"
#include "bench/crew/crew_team.h"
#include "bench/load/load.h"
#include "bench/report/report_json.h"
#include "core/base/assert.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The first pings come quickly: the run does not begin before the clocks are compared. */
enum { PINGS_QUICK = 16, PINGS_WANTED = 8 };

#define PING_QUICK_NS ((uint64_t)10000000)
#define PING_NS       ((uint64_t)1000000000)
#define SILENCE_NS    ((uint64_t)15000000000) /* pongs come every second */

struct agent_work {
    struct crew_message message; /* owns the texts that everything below borrows */
    struct options options;
    struct job job;
    struct report report; /* of all generators here, once they are over */
    struct series *series;
    struct crew_room *room;
    struct crew_progress *progress;
    struct crew_team *team;
    struct crew_clock clock;
    uint64_t ping_ns;    /* when the next one is due */
    uint32_t ping_count; /* that were sent */
    uint32_t told_count; /* stages that the leader knows us to have arrived at */
    bool is_failure_told;
    bool is_stopped; /* the generators look at it: see stop() */
};

/* The run ends early. Relaxed, as scenario_is_stopped() is: nothing else goes by it. */
static void stop(struct agent_work *work)
{
    __atomic_store_n(&work->is_stopped, true, __ATOMIC_RELAXED);
}

static enum err read_job(struct agent_work *work, char problem[JOB_PROBLEM_BYTES])
{
    const struct crew_texts *texts = &work->message.texts;
    TRY(options_read((int)texts->count, texts->values, &work->options, problem));
    if (work->options.command != COMMAND_RUN || work->options.is_help) {
        snprintf(problem, JOB_PROBLEM_BYTES, "an agent does nothing but run scenarios");
        return ERR_INVALID;
    }
    TRY(job_make(&work->options, &work->job, problem));
    work->job.run.broker_pid = 0; /* no process of this machine is the leader's to look at */
    work->job.run.series = work->series;
    work->job.run.is_stopped = &work->is_stopped;
    return OK;
}

static enum err begin(struct agent_work *work, uint32_t thread_count,
                      char problem[JOB_PROBLEM_BYTES])
{
    uint64_t first = work->message.first, count = work->message.count;
    if (count > CREW_MEMBERS_MAX || first > count || thread_count > count - first) {
        snprintf(problem, JOB_PROBLEM_BYTES, "%u generators do not fit into this crew",
                 thread_count);
        return ERR_INVALID;
    }
    struct crew_room_config config = {.count = (uint32_t)count,
                                      .is_ruled = true,
                                      .first = (uint32_t)first,
                                      .here_count = thread_count};
    work->room = crew_room_new(&config);
    work->series = series_new();
    work->progress = crew_progress_new(thread_count);
    if (work->room == NULL || work->series == NULL || work->progress == NULL) {
        return ERR_NOMEM;
    }
    TRY(read_job(work, problem));
    struct scenario_options *run = &work->job.run;
    run->crew = crew_room_member(work->room, config.first);
    TRY(crew_run_check(run->crew, work->job.scenario, run, problem));
    work->team = crew_team_start(work->room, work->job.scenario, run, work->progress, config.first,
                                 thread_count);
    return work->team == NULL ? ERR_NOMEM : OK;
}

enum err agent_work_new(struct crew_message *message, uint32_t thread_count, bool is_same_clock,
                        struct agent_work **out, char problem[JOB_PROBLEM_BYTES])
{
    snprintf(problem, JOB_PROBLEM_BYTES, "%s", err_text(ERR_NOMEM));
    struct agent_work *work = calloc(1, sizeof(*work));
    if (work == NULL) {
        crew_message_deinit(message);
        return ERR_NOMEM;
    }
    work->message = *message;
    *message = (struct crew_message){0};
    work->clock.is_same = is_same_clock;
    enum err err = begin(work, thread_count, problem);
    if (err != OK) {
        agent_work_free(work);
        return err;
    }
    *out = work;
    return OK;
}

void agent_work_free(struct agent_work *work)
{
    if (work == NULL) {
        return;
    }
    if (work->team != NULL) {
        agent_work_fail(work, "it was given up");
        (void)crew_team_join(work->team, &work->report);
    }
    crew_team_free(work->team);
    crew_progress_free(work->progress);
    crew_room_free(work->room);
    job_free(&work->job);
    series_free(work->series);
    crew_message_deinit(&work->message);
    free(work);
}

enum err agent_work_describe(const struct agent_work *work, struct buf *out)
{
    return options_write(&work->options, true, out);
}

static void ping(struct agent_work *work, struct crew_link *leader, uint64_t now_ns)
{
    if (now_ns < work->ping_ns) {
        return;
    }
    crew_link_say(leader, &(struct crew_message){.say = CREW_SAY_PING, .ns = load_clock_ns()});
    work->ping_count++;
    work->ping_ns = now_ns + (work->ping_count < PINGS_QUICK ? PING_QUICK_NS : PING_NS);
}

static void tell_failure(struct agent_work *work, struct crew_link *leader)
{
    char why[CREW_PROBLEM_BYTES];
    if (!work->is_failure_told && crew_room_problem(work->room, why)) {
        crew_link_say(leader,
                      &(struct crew_message){.say = CREW_SAY_FAILED, .text = slice_text(why)});
        work->is_failure_told = true;
        stop(work);
    }
}

/* Before the clocks are compared nobody here is ready, whatever the generators say. */
static void tell_arrivals(struct agent_work *work, struct crew_link *leader)
{
    bool is_clock_known = work->clock.is_same || work->clock.count >= PINGS_WANTED;
    while (work->told_count < CREW_STAGE_COUNT && is_clock_known &&
           crew_room_here(work->room, (enum crew_stage)work->told_count)) {
        struct crew_message message = {.say = CREW_SAY_ARRIVED, .stage = work->told_count};
        if (work->told_count == CREW_SENT) {
            message.sent.values = (uint64_t *)(uintptr_t)crew_room_sent(work->room,
                                                                        &message.sent.count);
        }
        crew_link_say(leader, &message);
        work->told_count++;
    }
}

static void tell_second(struct crew_link *leader, uint32_t index,
                        const struct series_second *second)
{
    uint32_t count = 4;
    uint64_t *values = calloc(4 + 2 * (size_t)second->cell_count, sizeof(values[0]));
    if (values == NULL) {
        return; /* it is for eyes only */
    }
    values[0] = second->length_ns;
    values[1] = second->sent_count;
    values[2] = second->delivered_count;
    values[3] = second->max_ns;
    for (uint32_t i = 0; i < second->cell_count; i++) {
        values[count++] = second->cells[i].index;
        values[count++] = second->cells[i].count;
    }
    crew_link_say(leader, &(struct crew_message){
                              .say = CREW_SAY_SECOND, .index = index, .second = {values, count}});
    free(values);
}

static void tell_seconds(struct agent_work *work, struct crew_link *leader)
{
    struct series_second second;
    uint32_t index;
    while (crew_progress_take(work->progress, &index, &second)) {
        tell_second(leader, index, &second);
    }
}

void agent_work_turn(struct agent_work *work, struct crew_link *leader)
{
    uint64_t now_ns = load_clock_ns();
    if (leader == NULL) {
        agent_work_fail(work, "the leader is gone");
        return;
    }
    if (now_ns > leader->heard_ns && now_ns - leader->heard_ns > SILENCE_NS) {
        agent_work_fail(work, "the leader is silent");
    }
    ping(work, leader, now_ns);
    tell_failure(work, leader);
    tell_arrivals(work, leader);
    tell_seconds(work, leader);
}

static void on_pong(struct agent_work *work, const struct crew_message *pong, uint64_t heard_ns)
{
    int64_t offset_ns;
    uint64_t error_ns;
    crew_clock_add(&work->clock, pong->ns, pong->at_ns, heard_ns);
    if (crew_clock_read(&work->clock, heard_ns, &offset_ns, &error_ns)) {
        crew_room_set_offset(work->room, offset_ns);
    }
}

/* A stage that we have not arrived at, or the same one again: no leader of ours says that. */
static enum err on_passed(struct agent_work *work, const struct crew_message *message)
{
    enum crew_stage stage = (enum crew_stage)message->stage;
    uint64_t begin_ns;
    if ((uint32_t)stage >= work->told_count || crew_room_passed(work->room, stage, &begin_ns)) {
        return ERR_MALFORMED;
    }
    if (stage == CREW_SENT) {
        uint32_t given_count;
        crew_room_sent(work->room, &given_count);
        if (message->sent.count != given_count) {
            return ERR_MALFORMED; /* the generators index it by their publishers */
        }
        TRY(crew_room_set_sent(work->room, message->sent.values, message->sent.count));
    }
    crew_room_pass(work->room, stage, message->begin_ns);
    return OK;
}

static void fail_as_told(struct agent_work *work, struct slice text)
{
    char why[CREW_PROBLEM_BYTES];
    size_t count = text.count < sizeof(why) / 2 ? text.count : sizeof(why) / 2;
    snprintf(why, sizeof(why), "the leader says: %.*s", (int)count, (const char *)text.data);
    agent_work_fail(work, why);
}

static enum err hear(struct agent_work *work, const struct crew_message *message, uint64_t heard_ns)
{
    switch (message->say) {
    case CREW_SAY_PONG:
        on_pong(work, message, heard_ns);
        return OK;
    case CREW_SAY_PASSED:
        return on_passed(work, message);
    case CREW_SAY_FAILED:
        work->is_failure_told = true; /* it knows */
        fail_as_told(work, message->text);
        return OK;
    case CREW_SAY_STOP:
        stop(work);
        return OK;
    default:
        return ERR_MALFORMED;
    }
}

enum err agent_work_hear(struct agent_work *work, const struct crew_message *message,
                         uint64_t heard_ns)
{
    enum err err = hear(work, message, heard_ns);
    if (err != OK) {
        agent_work_fail(work, "the leader said something out of place");
    }
    return err;
}

void agent_work_fail(struct agent_work *work, const char *why)
{
    crew_room_fail(work->room, why);
    stop(work);
}

bool agent_work_is_over(struct agent_work *work)
{
    return crew_team_is_over(work->team);
}

static enum err send_report(struct agent_work *work, struct crew_link *leader)
{
    struct crew_message message = {.say = CREW_SAY_REPORT};
    struct buf line = {0};
    (void)crew_clock_read(&work->clock, load_clock_ns(), &message.offset_ns, &message.error_ns);
    enum err err = report_write_json(&work->report, &line);
    if (err == OK) {
        err = buf_append(&line, slice_text("\n"));
    }
    if (err == OK) {
        crew_link_say(leader, &message);
        crew_link_send(leader, buf_bytes(&line));
    }
    buf_deinit(&line);
    return err;
}

bool agent_work_end(struct agent_work *work, struct crew_link *leader,
                    char text[AGENT_WORK_TEXT_BYTES])
{
    ASSERT(agent_work_is_over(work));
    enum err err = crew_team_join(work->team, &work->report);
    crew_team_free(work->team);
    work->team = NULL;
    if (err == OK && leader != NULL) {
        crew_progress_end(work->progress);
        tell_seconds(work, leader);
        err = send_report(work, leader);
    }
    if (err == OK) {
        snprintf(text, AGENT_WORK_TEXT_BYTES,
                 "done: sent %" PRIu64 ", received %" PRIu64 " messages", work->report.sent_count,
                 work->report.received_count);
        return true;
    }
    crew_room_fail(work->room, err_text(err));
    if (leader != NULL) {
        tell_failure(work, leader);
    }
    (void)crew_room_problem(work->room, text);
    return false;
}
