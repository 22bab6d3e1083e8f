/*
 * job: what `tern-bench run` was told, as the engine wants it; on this machine or as an agent.
 *
 * Floor:  bench.
 * Thread: any; a look-up of the host blocks.
 * Memory: borrows the texts of the options; a context of TLS is given back with job_free().
 */
#ifndef TERN_BENCH_JOB_H
#define TERN_BENCH_JOB_H

#include "bench/command/options.h"
#include "bench/command/preset.h"
#include "bench/scenario/scenario.h"

enum { JOB_PROBLEM_BYTES = 640 };

struct job {
    struct options options;      /* expanded, if it was a preset */
    const struct preset *preset; /* NULL: none */
    const struct scenario *scenario;
    struct scenario_options run; /* crew, series, is_stopped are left to the caller */
};

/*
 * problem: which option, why, and what would do ("" on OK).
 *
 * ERR_INVALID    no such scenario, or its options do not fit
 * ERR_NOT_FOUND  no such host
 */
enum err job_make(const struct options *options, struct job *out, char problem[JOB_PROBLEM_BYTES]);

void job_free(struct job *job); /* accepts a zeroed one */

/* What options say of the clients and the way to the broker, for run and for conn, pub, sub alike;
 * secure_release() (secure.h) gives it back. */
enum err job_load(const struct options *options, struct load_config *out,
                  char problem[JOB_PROBLEM_BYTES]);

#endif
