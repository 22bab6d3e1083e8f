#include "bench/command/show.h"

#include "bench/command/run.h"
#include "bench/command/run_files.h"
#include "bench/report/report_json.h"

static int say(const char *problem, int code)
{
    fprintf(stderr, "tern-bench: show: %s\n", problem);
    return code;
}

int show_command(const struct options *options)
{
    char problem[REPORT_PROBLEM_BYTES], why[RUN_FILES_PROBLEM_BYTES];
    struct report_saved *saved = NULL;

    if (report_from_file(options->words[0], &saved, problem) != OK) {
        return say(problem, EXIT_USAGE);
    }
    const struct report *report = report_saved_report(saved);
    int code = EXIT_WELL;
    if (run_files_try(options, why) != OK || run_files_write(options, report, why) != OK) {
        code = say(why, EXIT_UNAVAILABLE);
    } else if (!run_files_take_output(options)) {
        report_print(report, stdout);
    }
    report_saved_free(saved);
    return code;
}
