#include "bench/crew/crew_run.h"

#include "bench/crew/crew_room.h"
#include "bench/crew/crew_team.h"
#include "bench/scenario/bottleneck.h"
#include "core/base/assert.h"

#include <stdio.h>
#include <time.h>

enum err crew_run_check(struct crew *crew, const struct scenario *scenario,
                        const struct scenario_options *options, char problem[CREW_PROBLEM_BYTES])
{
    struct scenario_options asked = *options;
    char why[SCENARIO_WHY_BYTES];
    asked.crew = crew;
    enum err err = scenario_check(scenario, &asked, why);
    if (err != OK) {
        snprintf(problem, CREW_PROBLEM_BYTES, "%s", why);
    }
    return err;
}

void crew_run_judge(struct report *report)
{
    struct bottleneck_facts facts = {
        .latency_p99_ns = (double)histogram_quantile(&report->latency, 0.99),
        .rate = report->rate_reached > 0 ? report->rate
                                         : 0, /* else nothing was sent by the clock */
        .rate_reached = report->rate_reached,
        .is_held_back = report->unsent_count > 0, /* the broker took no more */
        .has_broker_cores = report->has_target,
        .broker_cores = report_broker_cores(report),
    };
    report->is_generator_bound |= bottleneck_is_generator(&facts);
}

/* The generators work; we say how far they are. */
static void watch(struct crew_team *team, struct crew_progress *progress,
                  const struct series *series)
{
    static const struct timespec rest = {.tv_nsec = 20000000};
    while (!crew_team_is_over(team)) {
        nanosleep(&rest, NULL);
        if (series != NULL) {
            crew_progress_tell(progress, series);
        }
    }
    if (series != NULL) {
        crew_progress_end(progress);
        crew_progress_tell(progress, series);
    }
}

enum err crew_run_threads(const struct scenario *scenario, const struct scenario_options *options,
                          uint32_t thread_count, struct report *out,
                          char problem[CREW_PROBLEM_BYTES])
{
    ASSERT(thread_count >= 1 && thread_count <= CREW_THREADS_MAX);
    struct crew_room_config config = {.count = thread_count};
    struct crew_room *room = crew_room_new(&config);
    struct crew_progress *progress = crew_progress_new(thread_count);
    struct crew_team *team = NULL;
    enum err err = room == NULL || progress == NULL ? ERR_NOMEM : OK;

    problem[0] = '\0';
    if (err == OK) {
        err = crew_run_check(crew_room_member(room, 0), scenario, options, problem);
    }
    if (err == OK) {
        team = crew_team_start(room, scenario, options, progress, 0, thread_count);
        err = team == NULL ? ERR_NOMEM : OK;
    }
    if (err == OK) {
        watch(team, progress, options->series);
        err = crew_team_join(team, out);
    }
    if (err == OK) {
        crew_run_judge(out);
    }
    if (err != OK && problem[0] == '\0' && (room == NULL || !crew_room_problem(room, problem))) {
        snprintf(problem, CREW_PROBLEM_BYTES, "%s", err_text(err));
    }
    crew_team_free(team);
    crew_progress_free(progress);
    crew_room_free(room);
    return err;
}
