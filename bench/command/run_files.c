#include "bench/command/run_files.h"

#include "bench/report/plot.h"
#include "bench/report/report_markdown.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- what goes into them ------------------------------------------------------------------- */

static void write_json(const struct report *report, FILE *out)
{
    report_print_json(report, out);
}

static void write_markdown(const struct report *report, FILE *out)
{
    report_print_markdown(report, out);
}

static void write_series(const struct report *report, FILE *out)
{
    series_print_csv(report->series, out);
}

typedef void file_writer(const struct report *report, FILE *out);

struct file {
    const char *option;
    const char *path; /* NULL: not asked for */
    file_writer *write;
};

enum { FILE_COUNT = 3 };

static void list_files(const struct options *options, struct file files[FILE_COUNT])
{
    files[0] = (struct file){"--json", options->json, write_json};
    files[1] = (struct file){"--markdown", options->markdown, write_markdown};
    files[2] = (struct file){"--series", options->series, write_series};
}

static bool is_output(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

bool run_files_take_output(const struct options *options)
{
    return is_output(options->json) || is_output(options->markdown) || is_output(options->series);
}

/* ---- writing ------------------------------------------------------------------------------- */

static enum err refuse(char problem[RUN_FILES_PROBLEM_BYTES], const char *option, const char *path,
                       int error)
{
    snprintf(problem, RUN_FILES_PROBLEM_BYTES, "%s: %.300s: %s", option, path, strerror(error));
    return err_from_errno(error);
}

/* Leaves no trace where the file was not there. */
static enum err try_file(const char *option, const char *path,
                         char problem[RUN_FILES_PROBLEM_BYTES])
{
    if (path == NULL || is_output(path)) {
        return OK;
    }
    bool was_there = access(path, F_OK) == 0;
    FILE *file = fopen(path, "ae");
    if (file == NULL) {
        return refuse(problem, option, path, errno);
    }
    fclose(file);
    if (!was_there) {
        unlink(path);
    }
    return OK;
}

enum err run_files_try(const struct options *options, char problem[RUN_FILES_PROBLEM_BYTES])
{
    struct file files[FILE_COUNT];
    uint32_t output_count = 0;

    problem[0] = '\0';
    list_files(options, files);
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        TRY(try_file(files[i].option, files[i].path, problem));
        output_count += is_output(files[i].path) ? 1 : 0;
    }
    if (output_count > 1) {
        snprintf(problem, RUN_FILES_PROBLEM_BYTES,
                 "only one of --json, --markdown and --series can have standard output; "
                 "name files for the others");
        return ERR_INVALID;
    }
    return try_file("--plot", options->plot, problem);
}

static enum err write_file(const struct file *file, const struct report *report,
                           char problem[RUN_FILES_PROBLEM_BYTES])
{
    if (is_output(file->path)) {
        file->write(report, stdout);
        return fflush(stdout) == 0 && !ferror(stdout)
                   ? OK
                   : refuse(problem, file->option, "standard output", errno);
    }
    FILE *out = fopen(file->path, "we");
    if (out == NULL) {
        return refuse(problem, file->option, file->path, errno);
    }
    file->write(report, out);
    errno = 0;
    bool is_bad = fflush(out) != 0 || ferror(out) != 0;
    int error = errno == 0 ? EIO : errno;
    fclose(out);
    return is_bad ? refuse(problem, file->option, file->path, error) : OK;
}

enum err run_files_write(const struct options *options, const struct report *report,
                         char problem[RUN_FILES_PROBLEM_BYTES])
{
    struct file files[FILE_COUNT];
    enum err result = OK;

    problem[0] = '\0';
    list_files(options, files);
    for (uint32_t i = 0; i < FILE_COUNT; i++) {
        char why[RUN_FILES_PROBLEM_BYTES];
        enum err err = files[i].path == NULL ? OK : write_file(&files[i], report, why);
        if (err != OK && result == OK) {
            memcpy(problem, why, sizeof(why));
            result = err;
        }
    }
    enum err err = options->plot == NULL ? OK : plot_write(report, options->plot);
    if (err != OK && result == OK) {
        snprintf(problem, RUN_FILES_PROBLEM_BYTES, "--plot: %.300s: %s", options->plot,
                 err == ERR_NOT_FOUND && report->series == NULL
                     ? "this scenario has no seconds to draw"
                     : err_text(err));
        result = err;
    }
    return result;
}
