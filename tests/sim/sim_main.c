/*
 * tern-sim: replay one seed, or run many. See README.md beside this file.
 */
#include "core/base/asan.h"
#include "core/base/log.h"
#include "tests/sim/sim_flaw.h"
#include "tests/sim/sim_run.h"
#include "tests/sim/sim_story.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#endif

enum { CALM_SEEDS = 10, TWICE_SEEDS = 5, LONG_TIMES = 100, FLAW_SEEDS = 1000 };

/* How a kind is asked for, and named in what is printed. */
static const char *const kind_words[RUN_KIND_COUNT] = {
    [RUN_PLAIN] = "", [RUN_FORGETS] = "--forgets ", [RUN_DURABLE] = "--durable "};

static const uint32_t short_seeds[RUN_KIND_COUNT] = {
    [RUN_PLAIN] = 200, [RUN_FORGETS] = 100, [RUN_DURABLE] = 170};

/* Of --durable, each of which found a bug: the log's first entry lost on a full disk, QoS 2 and wills
 * lost on a full disk, an UNSUBACK for what was not done, a shared message for a second member. */
static const uint64_t found_bugs[] = {305, 365, 277, 329, 608};

static uint64_t running_seed;
static enum run_kind running_kind;
static uint32_t passed, failed;

/* When an assertion or a sanitizer ends the process, the seed is what counts. */
static void say_seed(void)
{
    char text[120];
    int count = snprintf(text, sizeof(text),
                         "tern-sim: it was seed %llu, see it with: tern-sim %s%llu\n"
                         "0 passed, 1 failed\n",
                         (unsigned long long)running_seed, kind_words[running_kind],
                         (unsigned long long)running_seed);
    (void)!write(STDERR_FILENO, text, (size_t)count);
}

static void on_abort(int number)
{
    say_seed();
    signal(number, SIG_DFL);
    raise(number);
}

static void count(bool has_passed, const char *what, uint64_t seed, const char *why)
{
    passed += has_passed;
    failed += !has_passed;
    if (!has_passed) {
        printf("FAIL %s, seed %llu: %s\n", what, (unsigned long long)seed, why);
        fflush(stdout);
    }
}

static struct run_result run(enum run_kind kind, uint64_t seed, uint32_t shard_count, bool is_calm,
                             bool show)
{
    struct run_options options = {
        .seed = seed, .shard_count = shard_count, .kind = kind, .is_calm = is_calm, .show = show};
    struct run_result result;
    running_seed = seed;
    running_kind = kind;
    run_seed(&options, &result);
    return result;
}

static bool storm_seeds(enum run_kind kind, uint64_t first, uint64_t seed_count, bool goes_on)
{
    uint64_t messages = 0, deliveries = 0, steps = 0, crashes = 0;
    char what[320];
    for (uint64_t seed = first; seed < first + seed_count; seed++) {
        struct run_result result = run(kind, seed, 0, false, false);
        snprintf(what, sizeof(what), "tern-sim %s%llu (%s)", kind_words[kind],
                 (unsigned long long)seed, result.plan);
        count(result.has_passed, what, seed, result.why);
        messages += result.message_count;
        deliveries += result.delivery_count;
        steps += result.step_count;
        crashes += result.crash_count;
        if (!result.has_passed && !goes_on) {
            return false;
        }
    }
    printf("%s%llu seeds from %llu: %llu messages, %llu deliveries, %llu turns, %llu crashes\n",
           kind_words[kind], (unsigned long long)seed_count, (unsigned long long)first,
           (unsigned long long)messages, (unsigned long long)deliveries, (unsigned long long)steps,
           (unsigned long long)crashes);
    return true;
}

/* The number of shards is nobody's business: the same script, the same deliveries. */
static void calm_seeds(uint64_t first, uint64_t seed_count)
{
    for (uint64_t seed = first; seed < first + seed_count; seed++) {
        struct run_result one = run(RUN_PLAIN, seed, 1, true, false),
                          two = run(RUN_PLAIN, seed, 2, true, false);
        bool is_same = one.deliveries_hash == two.deliveries_hash &&
                       one.delivery_count == two.delivery_count;
        count(one.has_passed, "calm, one shard", seed, one.why);
        count(two.has_passed, "calm, two shards", seed, two.why);
        count(is_same, "one shard and two deliver the same", seed, "the deliveries differ");
    }
}

static void twice_seeds(enum run_kind kind, uint64_t first, uint64_t seed_count)
{
    for (uint64_t seed = first; seed < first + seed_count; seed++) {
        struct run_result one = run(kind, seed, 0, false, false),
                          two = run(kind, seed, 0, false, false);
        count(one.trace_hash == two.trace_hash, "the same seed gives the same trace", seed,
              "the traces differ");
    }
}

/* ---- flaws ----------------------------------------------------------------------------------- */

/* Seeds until one fails; the process may end on the way: that is found, too. */
static int flaw_hunt(enum flaw flaw)
{
    flaw_set(flaw);
    for (uint64_t seed = 1; seed <= FLAW_SEEDS; seed++) {
        struct run_result result = run(RUN_DURABLE, seed, 0, false, false);
        if (!result.has_passed) {
            printf("found at seed %llu: %s: %.100s\n", (unsigned long long)seed, flaw_words[flaw],
                   result.why);
            fflush(stdout);
            return 1;
        }
    }
    return 0;
}

/* Each in a process of its own: a broken node may well trip over itself. */
static void flaws_run(void)
{
    for (enum flaw flaw = FLAW_NONE + 1; flaw < FLAW_COUNT; flaw++) {
        int status = 0;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            (void)!freopen("/dev/null", "w", stderr);
            _exit(flaw_hunt(flaw));
        }
        bool is_known = child > 0 && waitpid(child, &status, 0) == child;
        bool is_found = is_known && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        if (is_found && !WIFEXITED(status)) {
            printf("found by an assertion: %s\n", flaw_words[flaw]);
        }
        count(is_found, "a flaw is found", flaw, flaw_words[flaw]);
    }
}

static int totals(void)
{
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}

static int replay(enum run_kind kind, uint64_t seed, uint32_t shard_count, bool is_calm)
{
    struct run_result result = run(kind, seed, shard_count, is_calm, true);
    printf("%s  seed %llu, trace %016llx%s%s\n", result.has_passed ? "PASS" : "FAIL",
           (unsigned long long)seed, (unsigned long long)result.trace_hash,
           result.has_passed ? "" : ": ", result.why);
    return result.has_passed ? 0 : 1;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: tern-sim [KIND] SEED                  replay one seed with its trace\n"
            "       tern-sim [KIND] --seeds FIRST COUNT   run many, stop at the first failure\n"
            "       tern-sim [KIND] --all FIRST COUNT     run many, name all failures\n"
            "       tern-sim --calm SEED SHARDS           replay one of the runs without faults\n"
            "       tern-sim --stories [--write]          the fixed stories only\n"
            "       tern-sim --flaws                      is each built-in flaw found?\n"
            "       tern-sim --short | --long             what CI runs\n"
            "KIND   --forgets   the node crashes, and keeps nothing\n"
            "       --durable   it crashes, and its disk fails too\n");
    return 64;
}

static int suite(uint64_t times)
{
    stories_run(false, count);
    calm_seeds(1, CALM_SEEDS);
    for (enum run_kind kind = 0; kind < RUN_KIND_COUNT; kind++) {
        twice_seeds(kind, 1, TWICE_SEEDS);
        storm_seeds(kind, 1, times * short_seeds[kind], true);
    }
    for (size_t i = 0; i < sizeof(found_bugs) / sizeof(found_bugs[0]); i++) {
        storm_seeds(RUN_DURABLE, found_bugs[i], 1, true);
    }
    return totals();
}

static enum run_kind kind_of(const char *word)
{
    for (enum run_kind kind = 1; kind < RUN_KIND_COUNT; kind++) {
        size_t count = strlen(kind_words[kind]) - 1; /* without the space */
        if (strncmp(word, kind_words[kind], count) == 0 && word[count] == 0) {
            return kind;
        }
    }
    return RUN_PLAIN;
}

static int run_as_asked(int argument_count, char **arguments)
{
    enum run_kind kind = argument_count > 1 ? kind_of(arguments[1]) : RUN_PLAIN;
    int skipped = kind != RUN_PLAIN ? 1 : 0;
    argument_count -= skipped;
    arguments += skipped;
    const char *what = argument_count > 1 ? arguments[1] : "";
    uint64_t first = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 0;
    uint64_t second = argument_count > 3 ? strtoull(arguments[3], NULL, 10) : 0;
    if (strcmp(what, "--short") == 0) {
        return suite(1);
    }
    if (strcmp(what, "--flaws") == 0) {
        flaws_run();
        return totals();
    }
    if (strcmp(what, "--long") == 0) {
        return suite(LONG_TIMES);
    }
    if (strcmp(what, "--stories") == 0) {
        stories_run(argument_count > 2 && strcmp(arguments[2], "--write") == 0, count);
        return totals();
    }
    if ((strcmp(what, "--seeds") == 0 || strcmp(what, "--all") == 0) && argument_count == 4) {
        storm_seeds(kind, first, second, what[2] == 'a');
        return totals();
    }
    if (strcmp(what, "--calm") == 0 && argument_count == 4) {
        return replay(RUN_PLAIN, first, (uint32_t)second, true);
    }
    if (argument_count == 2 && what[0] >= '0' && what[0] <= '9') {
        return replay(kind, strtoull(what, NULL, 10), 0, false);
    }
    return usage();
}

int main(int argument_count, char **arguments)
{
    signal(SIGABRT, on_abort);
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
    __sanitizer_set_death_callback(say_seed);
#endif
    log_setup(STDERR_FILENO, LOG_LOGFMT, 0);
    return run_as_asked(argument_count, arguments);
}
