/*
 * run_files: the files that a run leaves.
 *
 * Floor:  bench.
 * Thread: the owner.
 *
 * That a file can be written is tried before the run: nobody wants to learn after half an hour that
 * the folder does not exist. "-" is standard output.
 */
#ifndef TERN_BENCH_RUN_FILES_H
#define TERN_BENCH_RUN_FILES_H

#include "bench/command/options.h"
#include "bench/report/report.h"

enum { RUN_FILES_PROBLEM_BYTES = 512 };

/* ERR_INVALID, ERR_PERMISSION, ERR_NOT_FOUND, ERR_IO: problem names the option and the file. */
enum err run_files_try(const struct options *options, char problem[RUN_FILES_PROBLEM_BYTES]);

/* Write all that were asked for; the first that fails is told in problem, after the others. */
enum err run_files_write(const struct options *options, const struct report *report,
                         char problem[RUN_FILES_PROBLEM_BYTES]);

/* Standard output belongs to a machine or a page: lines for people go elsewhere. */
bool run_files_take_output(const struct options *options);

#endif
