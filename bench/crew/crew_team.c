#include "bench/crew/crew_team.h"

#include "bench/report/report_merge.h"
#include "core/base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct generator {
    struct crew_team *team;
    uint32_t index; /* in the crew */
    struct scenario_options options;
    struct report report;
    pthread_t thread;
    bool is_started;
};

struct crew_team {
    struct crew_room *room;
    const struct scenario *scenario;
    struct series *series; /* of the caller; where all seconds come together */
    struct crew_progress *progress;
    _Atomic int err;           /* enum err of the first that failed; release, read after joining */
    atomic_uint running_count; /* release when a generator is over, pairs with is_over's acquire */
    uint32_t count;
    bool is_joined;
    struct generator generators[];
};

static void note_error(struct crew_team *team, enum err err)
{
    int none = OK;
    atomic_compare_exchange_strong_explicit(&team->err, &none, (int)err, memory_order_acq_rel,
                                            memory_order_relaxed);
}

static void *generate(void *context)
{
    struct generator *generator = context;
    struct crew_team *team = generator->team;
    enum err err = scenario_run(team->scenario, &generator->options, &generator->report);
    if (err != OK) {
        note_error(team, err);
    }
    crew_room_leave(team->room, generator->index, err);
    atomic_fetch_sub_explicit(&team->running_count, 1, memory_order_release);
    return NULL;
}

static enum err start(struct generator *generator, struct crew_team *team,
                      const struct scenario_options *options, uint32_t index)
{
    generator->team = team;
    generator->index = index;
    generator->options = *options;
    generator->options.crew = crew_room_member(team->room, index);
    if (options->series != NULL) {
        generator->options.series = series_new();
        if (generator->options.series == NULL) {
            return ERR_NOMEM;
        }
        series_on_second(generator->options.series, crew_progress_add, team->progress);
    }
    atomic_fetch_add_explicit(&team->running_count, 1, memory_order_relaxed);
    if (pthread_create(&generator->thread, NULL, generate, generator) != 0) {
        atomic_fetch_sub_explicit(&team->running_count, 1, memory_order_relaxed);
        return ERR_LIMIT;
    }
    generator->is_started = true;
    return OK;
}

struct crew_team *crew_team_start(struct crew_room *room, const struct scenario *scenario,
                                  const struct scenario_options *options,
                                  struct crew_progress *progress, uint32_t first, uint32_t count)
{
    ASSERT(count >= 1 && count <= CREW_THREADS_MAX);
    struct crew_team *team = calloc(1, sizeof(*team) + count * sizeof(team->generators[0]));
    if (team == NULL) {
        return NULL;
    }
    team->room = room;
    team->scenario = scenario;
    team->series = options->series;
    team->progress = progress;
    team->count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum err err = start(&team->generators[i], team, options, first + i);
        if (err != OK) {
            note_error(team, err);
            crew_room_leave(room, first + i, err);
            break;
        }
    }
    return team;
}

bool crew_team_is_over(struct crew_team *team)
{
    return atomic_load_explicit(&team->running_count, memory_order_acquire) == 0;
}

static enum err merge(struct crew_team *team, struct report *out)
{
    const struct report *members[CREW_THREADS_MAX];
    for (uint32_t i = 0; i < team->count; i++) {
        team->generators[i].report.series = team->generators[i].options.series;
        members[i] = &team->generators[i].report;
    }
    return report_merge_all(members, team->count, team->series, out);
}

enum err crew_team_join(struct crew_team *team, struct report *out)
{
    ASSERT(!team->is_joined);
    team->is_joined = true;
    for (uint32_t i = 0; i < team->count; i++) {
        struct generator *generator = &team->generators[i];
        if (generator->is_started) {
            pthread_join(generator->thread, NULL);
            generator->is_started = false;
        }
    }
    enum err err = (enum err)atomic_load_explicit(&team->err, memory_order_acquire);
    char problem[CREW_PROBLEM_BYTES];
    if (err == OK && crew_room_problem(team->room, problem)) {
        err = ERR_UNAVAILABLE; /* each found itself well, and the crew was not */
    }
    return err != OK ? err : merge(team, out);
}

void crew_team_free(struct crew_team *team)
{
    if (team == NULL) {
        return;
    }
    for (uint32_t i = 0; i < team->count; i++) {
        ASSERT(!team->generators[i].is_started);
        if (team->series != NULL) {
            series_free(team->generators[i].options.series);
        }
    }
    free(team);
}
