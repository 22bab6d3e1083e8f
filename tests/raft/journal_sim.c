/*
 * journal_sim: journals of several nodes under faults (journal_world.h), a run for each seed.
 *
 *     journal_sim [--seeds FROM-TO] [--ms CHAOS] [--loud] [--one]
 *
 * --one     in this very process, for a debugger
 *
 * Each seed runs in a process of its own, as one that trips an assertion is a seed that failed.
 */
#include "tests/raft/journal_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNTS = sizeof(((struct world *)0)->counts) / sizeof(uint64_t) };

/* What a child has to say. */
struct outcome {
    uint64_t counts[COUNTS];
    char failure[300];
};

static struct settings settings_of(uint64_t seed, uint64_t chaos_ms)
{
    return (struct settings){
        .chaos_ms = chaos_ms,
        .quiet_ms = 16000,
        .is_static = seed % 3 == 0,
        .is_small = seed % 4 < 2,
        .is_cut = seed % 4 == 1,
        .stalls = seed % 5 == 0 ? 5000 : 300,
    };
}

static void run_seed(uint64_t seed, uint64_t chaos_ms, struct outcome *out)
{
    struct settings settings = settings_of(seed, chaos_ms);
    struct world *world = world_run(seed, &settings);

    memcpy(out->counts, &world->counts, sizeof(out->counts));
    memcpy(out->failure, world->failure, sizeof(out->failure));
    world_free(world);
}

static void run_child(uint64_t seed, uint64_t chaos_ms, struct outcome *out)
{
    int ends[2];

    if (pipe(ends) != 0) {
        abort();
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct outcome outcome = {{0}, ""};
        run_seed(seed, chaos_ms, &outcome);
        close(ends[0]);
        exit(write(ends[1], &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
    }
    close(ends[1]);
    int status = 0;
    if (read(ends[0], out, sizeof *out) != sizeof *out) {
        *out = (struct outcome){{0}, "the process ended"};
    }
    close(ends[0]);
    waitpid(child, &status, 0);
    if (status != 0 && out->failure[0] == '\0') {
        snprintf(out->failure, sizeof(out->failure), "the process ended badly");
    }
}

int main(int count, char **words)
{
    uint64_t from = 1, to = 20, chaos_ms = 10000, failed = 0, total[COUNTS] = {0};
    bool is_loud = false, is_one = false;

    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : "";
        if (strcmp(words[i], "--seeds") == 0) {
            from = strtoull(value, NULL, 10);
            to = strchr(value, '-') == NULL ? from : strtoull(strchr(value, '-') + 1, NULL, 10);
            i++;
        } else if (strcmp(words[i], "--ms") == 0) {
            chaos_ms = strtoull(value, NULL, 10);
            i++;
        } else if (strcmp(words[i], "--loud") == 0) {
            is_loud = true;
        } else if (strcmp(words[i], "--one") == 0) {
            is_one = true;
        } else {
            fprintf(stderr, "journal_sim: %s is not known: see the head of its source\n", words[i]);
            return 2;
        }
    }
    for (uint64_t seed = from; seed <= to; seed++) {
        struct outcome outcome = {{0}, ""};
        is_one ? run_seed(seed, chaos_ms, &outcome) : run_child(seed, chaos_ms, &outcome);
        for (uint32_t i = 0; i < COUNTS; i++) {
            total[i] += outcome.counts[i];
        }
        failed += outcome.failure[0] != '\0';
        if (outcome.failure[0] != '\0' || is_loud) {
            printf("seed %lu: %s\n", seed, outcome.failure[0] != '\0' ? outcome.failure : "well");
        }
    }
    printf(
        "%lu seeds, %lu failed; %lu waits told, %lu refused, led %lu times, lost %lu, %lu crashes, "
        "%lu changes of who is wanted, %lu letters, %lu installs\n",
        to - from + 1, failed, total[0], total[1], total[2], total[3], total[4], total[5], total[6],
        total[7]);
    return failed > 0 ? 1 : 0;
}
