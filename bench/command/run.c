#include "bench/command/run.h"

#include "bench/command/goal.h"
#include "bench/command/job.h"
#include "bench/command/metrics_watch.h"
#include "bench/command/progress.h"
#include "bench/command/run_files.h"
#include "bench/command/search.h"
#include "bench/crew/crew_run.h"
#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A run and, in a search, the best one so far: reports are large, and a series belongs to one. */
struct result {
    struct report report;
    struct series *series;
};

struct run {
    const struct options *options; /* as given */
    struct job job;
    struct goals goals, search_goals;
    struct environment environment;
    struct metrics_watch *watch;
    struct result *now, *best; /* best: kept by a search */
    bool has_best;
    bool is_told; /* a line per second */
    FILE *people; /* where lines for people go */
    char problem[JOB_PROBLEM_BYTES];
};

/* problem "": it has been said already. */
static int say(const char *problem, int code)
{
    if (problem[0] != '\0') {
        fprintf(stderr, "tern-bench: %s\n", problem);
    }
    return code;
}

static int code_of(enum err err)
{
    switch (err) {
    case ERR_INVALID:
        return EXIT_USAGE;
    case ERR_NOT_FOUND:
        return EXIT_NO_HOST;
    default:
        return EXIT_UNAVAILABLE;
    }
}

/* ---- before -------------------------------------------------------------------------------- */

static enum err read_goals(const char *option, const char *text, struct goals *out, char *problem)
{
    char why[GOAL_PROBLEM_BYTES];
    if (text == NULL || goals_read(text, out, why) == OK) {
        return OK;
    }
    snprintf(problem, JOB_PROBLEM_BYTES, "%s: %s", option, why);
    return ERR_INVALID;
}

/* Options that do not go together, or miss another one. */
static enum err check_options(struct run *run)
{
    const struct options *o = run->options;
    bool needs_target = goals_need_target(&run->goals) || goals_need_target(&run->search_goals);

    if (o->search != NULL && o->window > 0) {
        snprintf(run->problem, JOB_PROBLEM_BYTES,
                 "--search: it looks for the highest rate, and --window has none; use one of them");
        return ERR_INVALID;
    }
    if (needs_target && o->broker_pid == 0 && o->target_metrics == NULL) {
        snprintf(run->problem, JOB_PROBLEM_BYTES,
                 "%s: cpu, cores, memory and each are the broker's: tell its process with "
                 "--broker-pid or its metrics with --target-metrics",
                 goals_need_target(&run->goals) ? "--assert" : "--search");
        return ERR_INVALID;
    }
    if (o->broker_pid != 0 && o->target_metrics != NULL) {
        snprintf(run->problem, JOB_PROBLEM_BYTES,
                 "--broker-pid and --target-metrics say the same in two ways; use the first where "
                 "the broker runs on this machine");
        return ERR_INVALID;
    }
    struct target_usage usage;
    if (o->broker_pid != 0 && target_usage_quick((int32_t)o->broker_pid, &usage) != OK) {
        snprintf(run->problem, JOB_PROBLEM_BYTES, "--broker-pid: there is no process %llu here",
                 (unsigned long long)o->broker_pid);
        return ERR_INVALID;
    }
    return OK;
}

static enum err new_result(struct result **out)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL) {
        return ERR_NOMEM;
    }
    (*out)->series = series_new();
    return (*out)->series == NULL ? ERR_NOMEM : OK;
}

static void free_result(struct result *result)
{
    if (result != NULL) {
        series_free(result->series);
        free(result);
    }
}

static int prepare(struct run *run)
{
    const struct options *o = run->options;
    char problem[RUN_FILES_PROBLEM_BYTES];
    enum err err = read_goals("--assert", o->goals, &run->goals, run->problem);

    err = err != OK ? err : read_goals("--search", o->search, &run->search_goals, run->problem);
    err = err != OK ? err : check_options(run);
    err = err != OK ? err : job_make(o, &run->job, run->problem);
    if (err != OK) {
        return say(run->problem, code_of(err));
    }
    if (o->search != NULL && scenario_rate(run->job.scenario) == 0) {
        return say("--search: this scenario has no rate that could be searched for", EXIT_USAGE);
    }
    if (run_files_try(o, problem) != OK) {
        return say(problem, EXIT_USAGE);
    }
    if (o->target_metrics != NULL) {
        char why[TARGET_PROBLEM_BYTES];
        err = metrics_watch_new(o->target_metrics, &run->watch, why);
        if (err != OK) {
            fprintf(stderr, "tern-bench: --target-metrics: %s\n",
                    why[0] == '\0' ? err_text(err) : why);
            return err == ERR_INVALID ? EXIT_USAGE : EXIT_UNAVAILABLE;
        }
    }
    if (new_result(&run->now) != OK || new_result(&run->best) != OK) {
        return say(err_text(ERR_NOMEM), EXIT_UNAVAILABLE);
    }
    run->is_told = o->is_given[OPTION_INDEX_progress] ? o->progress : isatty(STDERR_FILENO) == 1;
    run->people = run_files_take_output(o) ? stderr : stdout;
    return EXIT_WELL;
}

/* ---- the load ------------------------------------------------------------------------------ */

/* By whichever generators were asked for. */
static enum err make_load(struct run *run, const struct scenario_options *options,
                          struct report *report)
{
    const struct options *given = run->options;
    const struct scenario *scenario = run->job.scenario;
    uint32_t thread_count = (uint32_t)given->threads;
    char why[LOAD_TEXT_MAX];

    run->problem[0] = '\0';
    if (given->agents != NULL) {
        struct crew_agents agents = {
            .list = given->agents,
            .key = given->agent_key,
            .job = &run->job.options,
            .thread_count = given->is_given[OPTION_INDEX_threads] ? thread_count : 0,
        };
        return crew_run_agents(&agents, scenario, options, report, run->problem);
    }
    if (thread_count > 1) {
        return crew_run_threads(scenario, options, thread_count, report, run->problem);
    }
    enum err err = scenario_run(scenario, options, report);
    if (err != OK && err != ERR_CLOSED) { /* that one has been told, with its client */
        snprintf(run->problem, JOB_PROBLEM_BYTES, "%s: %s", run->job.options.words[0],
                 load_explain(&options->load, err, 0, why));
    }
    return err;
}

/* The broker's own page, of the window where one is marked, else of everything. */
static void look_at_metrics(struct run *run, uint64_t begin_ns)
{
    const struct series *series = run->now->series;
    uint64_t end_ns = load_clock_ns();
    if (series_window_end_ns(series) > series_window_begin_ns(series)) {
        begin_ns = series_begin_ns(series) + series_window_begin_ns(series);
        end_ns = series_begin_ns(series) + series_window_end_ns(series);
    }
    metrics_watch_end(run->watch, begin_ns, end_ns, &run->now->report);
}

/* NULL: TCP and nothing more. */
static const char *transport_of(const struct load_config *load)
{
    static const char *const names[2][2] = {{NULL, "tls"}, {"websocket", "wss"}};
    return names[load->websocket_path != NULL][load->tls != NULL];
}

/* One run of the scenario into run->now. */
static enum err load_once(struct run *run, double rate)
{
    struct scenario_options options = run->job.run;
    struct report *report = &run->now->report;
    uint64_t begin_ns = load_clock_ns();

    options.rate = rate;
    options.series = run->now->series;
    if (run->is_told) {
        progress_attach(options.series, stderr);
    }
    if (run->watch != NULL) {
        metrics_watch_begin(run->watch);
    }
    TRY(make_load(run, &options, report));
    report->series = series_count(options.series) > 0 ? options.series : NULL;
    report->environment = &run->environment;
    report->transport = transport_of(&options.load);
    report->is_persistent |= options.is_persistent;
    if (run->watch != NULL) {
        look_at_metrics(run, begin_ns);
    }
    return OK;
}

static enum err search_step_run(void *context, double rate, const struct report **report)
{
    struct run *run = context;
    TRY(load_once(run, rate));
    *report = &run->now->report;
    return OK;
}

static void search_step_keep(void *context)
{
    struct run *run = context;
    struct result *spare = run->best;
    run->best = run->now;
    run->now = spare;
    run->has_best = true;
}

static enum err load_search(struct run *run, bool *is_found)
{
    struct search_result result = {0};
    struct search search = {
        .goals = &run->search_goals,
        .rate_first = run->job.run.rate > 0 ? run->job.run.rate : scenario_rate(run->job.scenario),
        .is_stopped = run->job.run.is_stopped,
        .out = run->people,
        .step = search_step_run,
        .keep = search_step_keep,
        .context = run,
    };
    TRY(search_run(&search, &result));
    search_print(&result, run->has_best ? &run->best->report : NULL, run->people);
    *is_found = run->has_best;
    return OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* What is said and left at the end. */
static int conclude(struct run *run, const struct report *report)
{
    char problem[RUN_FILES_PROBLEM_BYTES];
    if (!run_files_take_output(run->options)) {
        report_print(report, stdout);
    }
    bool are_kept = goals_print(&run->goals, report, run->people);
    enum err err = run_files_write(run->options, report, problem);
    if (err != OK) {
        return say(problem, EXIT_UNAVAILABLE);
    }
    if (!run_files_take_output(run->options) && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
        return say("standard output cannot be written", EXIT_UNAVAILABLE);
    }
    return report_is_clean(report) && are_kept ? EXIT_WELL : EXIT_VIOLATION;
}

static int run_it(struct run *run)
{
    bool is_search = run->options->search != NULL, is_found = true;
    enum err err = is_search ? load_search(run, &is_found) : load_once(run, run->job.run.rate);

    environment_end(&run->environment);
    if (err != OK) {
        return say(run->problem, code_of(err));
    }
    if (!is_found) {
        return EXIT_VIOLATION;
    }
    struct result *result = is_search ? run->best : run->now;
    return conclude(run, &result->report);
}

int run_command(const struct options *options, int count, char **values,
                const volatile bool *is_stopped)
{
    struct run *run = calloc(1, sizeof(*run));
    char address[ADDRESS_TEXT_MAX];

    if (run == NULL) {
        return say(err_text(ERR_NOMEM), EXIT_UNAVAILABLE);
    }
    run->options = options;
    int code = prepare(run);
    if (code == EXIT_WELL) {
        run->job.run.is_stopped = is_stopped;
        if (run->job.preset != NULL) {
            preset_print(run->job.preset, &run->job.options, run->people);
        }
        environment_begin(&run->environment, count, values, (int32_t)options->broker_pid,
                          address_text(&run->job.run.load.to, address));
        code = run_it(run);
    }
    metrics_watch_free(run->watch);
    job_free(&run->job);
    free_result(run->now);
    free_result(run->best);
    free(run);
    return code;
}
