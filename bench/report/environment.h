/*
 * environment: where a run took place: the machine, the generator and the broker's process.
 *
 * Floor:  bench.
 * Thread: any; reads /proc and /sys, executes nothing.
 * Memory: inside the struct; texts that do not fit are cut.
 *
 * What the system hides is an empty text; nothing here fails a run. Facts are few and flat, so
 * that they are a table: environment.c has one line per fact, and reports, JSON and `compare` walk it.
 */
#ifndef TERN_BENCH_ENVIRONMENT_H
#define TERN_BENCH_ENVIRONMENT_H

#include "core/base/json.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    ENVIRONMENT_TEXT_BYTES = 192,
    ENVIRONMENT_COMMAND_BYTES = 2048,
};

struct environment {
    /* The machine. */
    char time[ENVIRONMENT_TEXT_BYTES];   /* UTC, when the run began */
    char system[ENVIRONMENT_TEXT_BYTES]; /* name of the distribution */
    char kernel[ENVIRONMENT_TEXT_BYTES];
    char cpu[ENVIRONMENT_TEXT_BYTES];
    char cores[ENVIRONMENT_TEXT_BYTES]; /* how many, and which this process may use */
    char governor[ENVIRONMENT_TEXT_BYTES];
    char virtualisation[ENVIRONMENT_TEXT_BYTES];
    char mitigations[ENVIRONMENT_TEXT_BYTES];
    char memory[ENVIRONMENT_TEXT_BYTES];
    char clock_source[ENVIRONMENT_TEXT_BYTES];
    char congestion_control[ENVIRONMENT_TEXT_BYTES];
    char backlog_max[ENVIRONMENT_TEXT_BYTES]; /* net.core.somaxconn */
    char port_range[ENVIRONMENT_TEXT_BYTES];
    char file_limit[ENVIRONMENT_TEXT_BYTES];  /* soft, of the generator */
    char load_before[ENVIRONMENT_TEXT_BYTES]; /* load average */
    char load_after[ENVIRONMENT_TEXT_BYTES];

    /* The generator. */
    char generator[ENVIRONMENT_TEXT_BYTES]; /* program, version, commit */
    char command[ENVIRONMENT_COMMAND_BYTES];

    /* The broker. */
    char broker_address[ENVIRONMENT_TEXT_BYTES];
    char broker_process[ENVIRONMENT_TEXT_BYTES]; /* its name and id */
    char broker_command[ENVIRONMENT_COMMAND_BYTES];
    char broker_cores[ENVIRONMENT_TEXT_BYTES];
    char broker_threads[ENVIRONMENT_TEXT_BYTES];
    char broker_file_limit[ENVIRONMENT_TEXT_BYTES];
};

/*
 * Before the run. count, values: the command line, for the report; a secret (what
 * follows -P, --password or --agent-key) is written as "***", also in the broker's command line. broker_pid 0: unknown. broker_address: "127.0.0.1:1883".
 */
void environment_begin(struct environment *out, int count, char **values, int32_t broker_pid,
                       const char *broker_address);

/* After it: what has changed. */
void environment_end(struct environment *environment);

/* One fact after the other: *cursor starts at 0. False: no (more) facts. Empty ones are skipped. */
struct environment_fact {
    const char *key;   /* "clock_source": of JSON */
    const char *title; /* "clock source": for people */
    const char *value; /* borrowed from the environment */
    bool is_of_run;    /* the same machine may say otherwise tomorrow: time, load, command */
};
bool environment_next(const struct environment *environment, uint32_t *cursor,
                      struct environment_fact *out);

/* As an object, written and read back; unknown keys are skipped, what is missing is empty. */
void environment_write_json(const struct environment *environment, struct json_writer *writer,
                            const char *key);
void environment_read_json(const struct json *object, struct environment *out);

/* The commit that this program was built from; "-dirty": with changes. See bench/commit.cmake. */
const char *environment_commit(void);

/* The one fact, by its key; "" when there is none of that name or it is unknown. */
const char *environment_value(const struct environment *environment, const char *key);

#endif
