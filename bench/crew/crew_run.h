/*
 * crew_run: one scenario by several generators: threads of this process, agents on machines.
 *
 * A run of one generator is scenario_run() itself. From two on:
 *
 *     crew_run_threads(scenario, &options, 4, &report, problem);          --threads 4
 *     crew_run_agents(&agents, scenario, &options, &report, problem);     --agents a:7883,b:7883
 *
 * options.count, options.rate and so on are of the whole crew; each member takes its share. Member 0
 * alone reads the broker's use; where all generators are far away, we do it from here.
 *
 * Floor:  bench.
 * Thread: the caller, which waits; generators get threads of their own. Not from two threads.
 * Memory: options.series, if any, is the caller's and holds the sum of all generators afterwards.
 */
#ifndef TERN_BENCH_CREW_RUN_H
#define TERN_BENCH_CREW_RUN_H

#include "bench/command/options.h"
#include "bench/crew/crew.h"
#include "bench/scenario/scenario.h"

enum { CREW_AGENTS_MAX = 64 };

/* scenario_check() with the eyes of that member: some options do not fit a crew. */
enum err crew_run_check(struct crew *crew, const struct scenario *scenario,
                        const struct scenario_options *options, char problem[CREW_PROBLEM_BYTES]);

/*
 * Whether the crew as a whole missed the rate asked for while the broker had time left (B3 of
 * bench/scenario/bottleneck.h), which no member can tell from its share alone; into the merged report.
 */
void crew_run_judge(struct report *report);

/*
 * thread_count 1 to CREW_THREADS_MAX. As scenario_run(): the first error of any generator, and
 * problem names which one and says why ("" on OK). out is written only on OK.
 */
enum err crew_run_threads(const struct scenario *scenario, const struct scenario_options *options,
                          uint32_t thread_count, struct report *out,
                          char problem[CREW_PROBLEM_BYTES]);

struct crew_agents {
    const char *list;          /* "host:port,[::1]:port,..."; names are looked up here */
    const char *key;           /* what agents were started with; NULL: nothing */
    const struct options *job; /* what they are told to run: job.options of job_make() */
    uint32_t thread_count;     /* generators of our own beside them; 0: none */
};

/*
 * Agents must be of our version. What only the leader can do (files, goals, search, the broker's
 * process) is taken out of the job, and the rate of `options` put in: a search changes it.
 * When *options->is_stopped, all end early, with their account.
 *
 * ERR_INVALID      the list makes no sense, or a generator found the options unfit
 * ERR_NOT_FOUND    no such host
 * ERR_PERMISSION   an agent wants another key
 * ERR_VERSION      an agent is of another version
 * ERR_BUSY         an agent works for somebody else
 * ERR_UNAVAILABLE  an agent cannot be reached, is lost, or failed
 * problem names the agent and says why. out is written only on OK.
 */
enum err crew_run_agents(const struct crew_agents *agents, const struct scenario *scenario,
                         const struct scenario_options *options, struct report *out,
                         char problem[CREW_PROBLEM_BYTES]);

#endif
