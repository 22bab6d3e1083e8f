/*
 * tern-bench: load for MQTT brokers, and the account of what they did with it.
 *
 *     tern-bench run pairs --rate 20K --port 1883 --broker-pid 4711
 *     tern-bench sub -p 1883 -c 10 -t 'room/#'
 *
 * options.def has the options, scenario.c and preset.c what can be run.
 */
#include "bench/command/classic.h"
#include "bench/command/options.h"
#include "bench/command/preset.h"
#include "bench/command/run.h"
#include "bench/command/show.h"
#include "bench/crew/agent.h"
#include "bench/report/compare_runs.h"
#include "bench/report/environment.h"
#include "bench/scenario/scenario.h"
#include "core/base/buf.h"
#include "core/io/io.h"
#include "core/io/sys.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_TEXT_BYTES = 512 };

static volatile bool is_stopped;

/* The first one ends the run with its account, the second one ends us. */
static void on_signal(int number)
{
    __atomic_store_n(&is_stopped, true, __ATOMIC_RELAXED); /* scenario_is_stopped() */
    signal(number, SIG_DFL);
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static int list(void)
{
    printf("scenarios:\n");
    scenario_list(stdout);
    printf("\npresets, the use cases of the open MQTT benchmark suite (QoS 1, 24 bytes, 30 s; "
           "--scale F):\n");
    preset_list(stdout);
    return 0;
}

static int compare(const struct options *options)
{
    struct compare_options compare = {
        .before = options->words[0],
        .after = options->words[1],
        .worse_percent = options->worse_than,
        .is_json = options->compare_json,
    };
    return compare_runs(&compare, stdout, stderr);
}

/* What needs the door to the world. */
static int make_load(const struct options *options, int count, char **values)
{
    char text[PROBE_TEXT_BYTES];
    if (io_probe(text, sizeof(text)) != OK) {
        fprintf(stderr, "tern-bench: %s\n", text);
        return EXIT_UNAVAILABLE;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    sys_raise_file_limit();
    switch (options->command) {
    case COMMAND_RUN:
        return run_command(options, count, values, &is_stopped);
    case COMMAND_AGENT:
        return agent_command(options, &is_stopped);
    default:
        return classic_command(options, &is_stopped);
    }
}

static int take_command(int count, char **values)
{
    static struct options options;
    char problem[OPTIONS_PROBLEM_BYTES];

    if (count < 2) {
        options_help(0, stderr);
        return EXIT_USAGE;
    }
    if (is_one_of(values[1], "--help", "help")) {
        options_help(0, stdout);
        return 0;
    }
    if (is_one_of(values[1], "--version", "version")) {
        printf("tern-bench %s, commit %s\n", TERN_VERSION, environment_commit());
        return 0;
    }
    enum err err = options_read(count - 1, (const char *const *)(values + 1), &options, problem);
    if (options.is_help) {
        options_help(options.command, stdout);
        if (options.command == COMMAND_RUN) {
            printf("\n");
            list();
        }
        return 0;
    }
    if (err != OK) {
        fprintf(stderr, "tern-bench: %s\n", problem);
        return EXIT_USAGE;
    }
    switch (options.command) {
    case COMMAND_LIST:
        return list();
    case COMMAND_COMPARE:
        return compare(&options);
    case COMMAND_SHOW:
        return show_command(&options);
    default:
        return make_load(&options, count, values);
    }
}

int main(int count, char **values)
{
    int code = take_command(count, values);
    if (code == EXIT_WELL && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
        fprintf(stderr, "tern-bench: standard output cannot be written\n");
        code = EXIT_UNAVAILABLE;
    }
    return code;
}
