/*
 * raft_sim: groups of raft members under faults, a run for each seed.
 *
 *     raft_sim [--seeds FROM-TO] [--ms CHAOS] [--off RULE]... [--find] [--loud]
 *
 * --off     a host rule (1 to 15, cluster/consensus.h) is not kept, to see what it is good for
 * --find    succeed when at least one seed fails: the simulation can see that the rule is missing
 *
 * Each seed runs in a process of its own, as an engine without its rules may do anything.
 */
#include "tests/raft/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct total {
    uint64_t seeds, failed;
    uint64_t commits, elections, crashes, changes, installs, cuts, transfers, late_letters;
};

/* What a child has to say. */
struct outcome {
    struct total total;
    char failure[256];
};

static struct settings settings_of(uint64_t seed, uint64_t chaos_ms, uint32_t rules_off)
{
    return (struct settings){
        .voters = seed % 2 == 0 ? 3 : 5,
        .rules_off = rules_off,
        .chaos_ms = chaos_ms,
        .quiet_ms = seed % 5 == 0 ? 16000 : 8000, /* slow disks catch up slowly */
        .trailing = seed % 3 == 0   ? 20
                    : seed % 3 == 1 ? 2
                                    : 300,
        .stalls = seed % 5 == 0 ? 5000 : 300,
        .has_jumping_clocks = seed % 7 == 0,
        .has_dead = seed / 2 % 2 == 0,
    };
}

static void run_seed(uint64_t seed, const struct settings *settings, struct outcome *out)
{
    struct group *group = group_run(seed, settings);

    out->total = (struct total){
        .seeds = 1,
        .failed = group->failure[0] != '\0',
        .commits = group->counts.commits,
        .elections = group->counts.elections,
        .crashes = group->counts.crashes,
        .changes = group->counts.changes,
        .installs = group->counts.installs,
        .cuts = group->counts.cuts,
        .transfers = group->counts.transfers,
        .late_letters = group->counts.late_letters,
    };
    memcpy(out->failure, group->failure, sizeof out->failure);
    group_free(group);
}

static void run_child(uint64_t seed, const struct settings *settings, struct outcome *out)
{
    int ends[2];

    if (pipe(ends) != 0) {
        abort();
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct outcome outcome = {0};
        run_seed(seed, settings, &outcome);
        if (write(ends[1], &outcome, sizeof outcome) != sizeof outcome) {
            abort();
        }
        close(ends[0]);
        close(ends[1]);
        exit(0);
    }
    close(ends[1]);
    int status = 0;
    if (read(ends[0], out, sizeof *out) != sizeof *out) {
        *out = (struct outcome){.total = {.seeds = 1, .failed = 1}};
        snprintf(out->failure, sizeof out->failure, "the process ended");
    }
    close(ends[0]);
    waitpid(child, &status, 0);
}

int main(int count, char **words)
{
    uint64_t from = 1, to = 100, chaos_ms = 10000;
    uint32_t rules_off = 0;
    bool must_fail = false, is_loud = false;
    struct total total = {0};

    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : "";
        if (strcmp(words[i], "--seeds") == 0) {
            from = strtoull(value, NULL, 10);
            to = strchr(value, '-') == NULL ? from : strtoull(strchr(value, '-') + 1, NULL, 10);
            i++;
        } else if (strcmp(words[i], "--ms") == 0) {
            chaos_ms = strtoull(value, NULL, 10);
            i++;
        } else if (strcmp(words[i], "--off") == 0) {
            rules_off |= 1u << strtoul(value, NULL, 10);
            i++;
        } else if (strcmp(words[i], "--find") == 0) {
            must_fail = true;
        } else if (strcmp(words[i], "--loud") == 0) {
            is_loud = true;
        } else {
            fprintf(stderr, "raft_sim: %s is not known: see the head of tests/raft/raft_sim.c\n",
                    words[i]);
            return 2;
        }
    }
    for (uint64_t seed = from; seed <= to; seed++) {
        struct settings settings = settings_of(seed, chaos_ms, rules_off);
        struct outcome outcome;
        run_child(seed, &settings, &outcome);
        total.seeds++;
        total.failed += outcome.total.failed;
        total.commits += outcome.total.commits;
        total.elections += outcome.total.elections;
        total.crashes += outcome.total.crashes;
        total.changes += outcome.total.changes;
        total.installs += outcome.total.installs;
        total.cuts += outcome.total.cuts;
        total.transfers += outcome.total.transfers;
        total.late_letters += outcome.total.late_letters;
        if (outcome.total.failed || is_loud) {
            printf("seed %lu: %s\n", seed, outcome.total.failed ? outcome.failure : "well");
        }
        if (must_fail && outcome.total.failed) {
            break;
        }
    }
    printf(
        "%lu seeds, %lu failed; %lu commits, %lu elections, %lu crashes, %lu changes of members, "
        "%lu snapshots installed, %lu cuts, %lu transfers, %lu late letters\n",
        total.seeds, total.failed, total.commits, total.elections, total.crashes, total.changes,
        total.installs, total.cuts, total.transfers, total.late_letters);
    return (total.failed > 0) == must_fail ? 0 : 1;
}
