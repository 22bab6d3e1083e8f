#include "bench/command/goal.h"

#include "bench/command/words.h"
#include "core/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { TIME, COUNT, RATE, CORES, BYTES, RATIO };

/* ---- figures ------------------------------------------------------------------------------- */

static double latency(const struct report *report, double part)
{
    return report->latency.count == 0 ? NAN : (double)histogram_quantile(&report->latency, part);
}

/* clang-format off */
static double get_p50(const struct report *r)          { return latency(r, 0.5); }
static double get_p90(const struct report *r)          { return latency(r, 0.9); }
static double get_p99(const struct report *r)          { return latency(r, 0.99); }
static double get_p999(const struct report *r)         { return latency(r, 0.999); }
static double get_max(const struct report *r)          { return latency(r, 1); }
static double get_mean(const struct report *r)         { return r->latency.count == 0 ? NAN : histogram_mean(&r->latency); }
static double get_loss(const struct report *r)         { return (double)r->lost_count; }
static double get_duplicates(const struct report *r)   { return (double)r->repeated_count; }
static double get_disorder(const struct report *r)     { return (double)r->disordered_count; }
static double get_corrupt(const struct report *r)      { return (double)r->corrupt_count; }
static double get_misdelivered(const struct report *r) { return (double)r->misdelivered_count; }
static double get_refused(const struct report *r)      { return (double)r->refused_count; }
static double get_unsent(const struct report *r)       { return (double)r->unsent_count; }
static double get_rate(const struct report *r)         { return report_per_second(r); }
static double get_cpu(const struct report *r)          { return r->has_target && report_cpu_us(r) > 0 ? report_cpu_us(r) * 1e3 : NAN; }
static double get_cores(const struct report *r)        { return r->has_target ? report_broker_cores(r) : NAN; }
static double get_memory(const struct report *r)       { return r->has_target ? (double)r->target_after.resident_bytes : NAN; }
static double get_lateness(const struct report *r)     { return (double)r->lateness_p99_ns; }
static double get_fairness(const struct report *r)     { return r->member_count == 0 ? NAN : r->jain; }

static double get_each(const struct report *r)
{
    double bytes = r->has_target ? report_thing_bytes(r) : 0;
    return bytes == 0 ? NAN : bytes;
}

static const struct figure {
    const char *name, *also; /* also: "" is none */
    uint8_t kind;
    bool needs_target;
    double (*get)(const struct report *report); /* NAN: the run has none */
    const char *help;
} figures[] = {
    {"p50",          "",           TIME,  false, get_p50,          "latency of half of the deliveries"},
    {"p90",          "",           TIME,  false, get_p90,          "latency of 90 %"},
    {"p99",          "",           TIME,  false, get_p99,          "latency of 99 %"},
    {"p99.9",        "p999",       TIME,  false, get_p999,         "latency of 99.9 %"},
    {"max",          "",           TIME,  false, get_max,          "the longest latency"},
    {"mean",         "avg",        TIME,  false, get_mean,         "mean latency"},
    {"loss",         "lost",       COUNT, false, get_loss,         "deliveries that never came"},
    {"duplicates",   "repeated",   COUNT, false, get_duplicates,   "that came again"},
    {"disorder",     "disordered", COUNT, false, get_disorder,     "that came out of order"},
    {"corrupt",      "",           COUNT, false, get_corrupt,      "that came changed"},
    {"misdelivered", "",           COUNT, false, get_misdelivered, "that came to the wrong one"},
    {"refused",      "",           COUNT, false, get_refused,      "connections refused or broken"},
    {"unsent",       "",           COUNT, false, get_unsent,       "messages that could not leave"},
    {"rate",         "",           RATE,  false, get_rate,         "deliveries (or connects) a second"},
    {"lateness",     "",           TIME,  false, get_lateness,     "of the generator, 99 %"},
    {"fairness",     "jain",       RATIO, false, get_fairness,     "Jain's index of a shared subscription"},
    {"cpu",          "",           TIME,  true,  get_cpu,          "of the broker per delivery"},
    {"cores",        "",           CORES, true,  get_cores,        "that the broker used"},
    {"memory",       "resident",   BYTES, true,  get_memory,       "resident memory of the broker"},
    {"each",         "",           BYTES, true,  get_each,         "memory per connection or thing held"},
};

static const struct sign {
    const char *text;
    bool is_less, is_equal, is_more; /* what keeps it */
} signs[] = { /* longer ones first */
    {"<=", true,  true,  false},
    {">=", false, true,  true},
    {"==", false, true,  false},
    {"<",  true,  false, false},
    {">",  false, false, true},
    {"=",  false, true,  false},
};

static const struct unit {
    const char *name;
    uint8_t kinds; /* bits */
    bool is_part;
    double factor;
} units[] = {
    {"",    1 << COUNT | 1 << RATE | 1 << CORES | 1 << RATIO | 1 << BYTES, false, 1},
    {"ns",  1 << TIME,                          false, 1},
    {"us",  1 << TIME,                          false, 1e3},
    {"ms",  1 << TIME,                          false, 1e6},
    {"s",   1 << TIME,                          false, 1e9},
    {"K",   1 << COUNT | 1 << RATE,             false, 1e3},
    {"k",   1 << COUNT | 1 << RATE,             false, 1e3},
    {"M",   1 << COUNT | 1 << RATE,             false, 1e6},
    {"%",   1 << COUNT,                         true,  0.01},
    {"%",   1 << CORES | 1 << RATIO,            false, 0.01},
    {"B",   1 << BYTES,                         false, 1},
    {"K",   1 << BYTES,                         false, 1024},
    {"KiB", 1 << BYTES,                         false, 1024},
    {"M",   1 << BYTES,                         false, 1048576},
    {"MiB", 1 << BYTES,                         false, 1048576},
    {"G",   1 << BYTES,                         false, 1073741824},
    {"GiB", 1 << BYTES,                         false, 1073741824},
};

static const char *const units_like[] = {
    [TIME] = "a time with its unit: ns, us, ms or s", [COUNT] = "a number, perhaps with K, M or %",
    [RATE] = "a number a second, perhaps with K or M", [CORES] = "cores such as 1.5, or 150%",
    [BYTES] = "bytes, perhaps with K, M or G",         [RATIO] = "a part of 1, or a percentage",
};
/* clang-format on */

enum {
    FIGURE_COUNT = sizeof(figures) / sizeof(figures[0]),
    SIGN_COUNT = sizeof(signs) / sizeof(signs[0]),
    UNIT_COUNT = sizeof(units) / sizeof(units[0]),
};

/* ---- reading ------------------------------------------------------------------------------- */

static enum err find_figure(const char *name, size_t count, uint32_t *out, char *problem)
{
    struct text_nearest nearest = text_nearest(slice_of(name, count));
    char known[GOAL_PROBLEM_BYTES / 2] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < FIGURE_COUNT; i++) {
        if (slice_is(slice_of(name, count), figures[i].name) ||
            (count > 0 && slice_is(slice_of(name, count), figures[i].also))) {
            *out = i;
            return OK;
        }
        text_nearest_offer(&nearest, figures[i].name);
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i == 0 ? "" : " ",
                                 figures[i].name);
    }
    snprintf(problem, GOAL_PROBLEM_BYTES, "there is no figure '%.*s'%s%s%s; known are: %s",
             (int)(count > 40 ? 40 : count), name, nearest.word == NULL ? "" : " (did you mean ",
             nearest.word == NULL ? "" : nearest.word, nearest.word == NULL ? "" : "?)", known);
    return ERR_INVALID;
}

static enum err find_sign(const char *text, uint32_t *out)
{
    for (uint32_t i = 0; i < SIGN_COUNT; i++) {
        if (strncmp(text, signs[i].text, strlen(signs[i].text)) == 0) {
            *out = i;
            return OK;
        }
    }
    return ERR_INVALID;
}

static enum err read_bound(const char *text, uint8_t kind, struct goal *goal)
{
    char *end;
    if ((text[0] < '0' || text[0] > '9') || text[1] == 'x' || text[1] == 'X') {
        return ERR_INVALID;
    }
    double number = strtod(text, &end);
    for (uint32_t i = 0; i < UNIT_COUNT; i++) {
        bool is_zero_time = number == 0 && kind == TIME && i == 0; /* 0 needs no unit */
        if (strcmp(units[i].name, end) == 0 &&
            (((units[i].kinds >> kind) & 1) != 0 || is_zero_time)) {
            goal->bound = number * units[i].factor;
            goal->is_part = units[i].is_part;
            return isfinite(goal->bound) ? OK : ERR_RANGE;
        }
    }
    return ERR_INVALID;
}

/* goal->text is set. */
static enum err read_goal(struct goal *goal, char *problem)
{
    size_t name_count = strcspn(goal->text, "<>=");
    const char *at = goal->text + name_count;
    if (*at == '\0') {
        snprintf(problem, GOAL_PROBLEM_BYTES, "'%s' has none of < <= = >= >, such as p99<5ms",
                 goal->text);
        return ERR_INVALID;
    }
    TRY(find_figure(goal->text, name_count, &goal->figure, problem));
    TRY(find_sign(at, &goal->sign)); /* cannot fail: it begins with one of them */
    const char *bound = at + strlen(signs[goal->sign].text);
    uint8_t kind = figures[goal->figure].kind;
    if (read_bound(bound, kind, goal) != OK) {
        snprintf(problem, GOAL_PROBLEM_BYTES, "'%s': '%s' (character %zu) is not %s", goal->text,
                 bound, (size_t)(bound - goal->text) + 1, units_like[kind]);
        return ERR_INVALID;
    }
    return OK;
}

enum err goals_read(const char *text, struct goals *out, char problem[GOAL_PROBLEM_BYTES])
{
    struct goals goals = {0};

    problem[0] = '\0';
    for (;;) {
        size_t count = strcspn(text, ","), used = 0;
        if (goals.count == GOALS_MAX) {
            snprintf(problem, GOAL_PROBLEM_BYTES, "more than %d goals", GOALS_MAX);
            return ERR_LIMIT;
        }
        struct goal *goal = &goals.items[goals.count++];
        for (size_t i = 0; i < count; i++) {
            if (text[i] == ' ') {
                continue;
            }
            if (used + 1 == GOAL_TEXT_BYTES) {
                snprintf(problem, GOAL_PROBLEM_BYTES, "'%.*s' is too long for a goal",
                         GOAL_TEXT_BYTES, text);
                return ERR_INVALID;
            }
            goal->text[used++] = text[i];
        }
        if (used == 0) {
            snprintf(problem, GOAL_PROBLEM_BYTES, "goal %u is empty; goals are like p99<5ms,loss=0",
                     goals.count);
            return ERR_INVALID;
        }
        TRY(read_goal(goal, problem));
        if (text[count] == '\0') {
            break;
        }
        text += count + 1;
    }
    *out = goals;
    return OK;
}

bool goals_need_target(const struct goals *goals)
{
    for (uint32_t i = 0; i < goals->count; i++) {
        if (figures[goals->items[i].figure].needs_target) {
            return true;
        }
    }
    return false;
}

/* ---- judging ------------------------------------------------------------------------------- */

static void show(uint8_t kind, bool is_part, double value, char out[GOAL_TEXT_BYTES])
{
    char words[WORDS_BYTES];
    if (is_part) {
        snprintf(out, GOAL_TEXT_BYTES, "%.4g %%", value * 100);
        return;
    }
    switch ((enum kind)kind) {
    case TIME:
        snprintf(out, GOAL_TEXT_BYTES, "%s", words_duration((uint64_t)value, words));
        return;
    case COUNT:
        snprintf(out, GOAL_TEXT_BYTES, "%s", words_count((uint64_t)value, words));
        return;
    case RATE:
        snprintf(out, GOAL_TEXT_BYTES, "%s/s", words_number(value, words));
        return;
    case BYTES:
        snprintf(out, GOAL_TEXT_BYTES, "%s", words_bytes(value, words));
        return;
    case CORES:
    case RATIO:
        snprintf(out, GOAL_TEXT_BYTES, "%.4g", value);
        return;
    }
}

enum goal_verdict goal_judge(const struct goal *goal, const struct report *report,
                             char shown[GOAL_TEXT_BYTES])
{
    const struct figure *figure = &figures[goal->figure];
    const struct sign *sign = &signs[goal->sign];
    double value = figure->get(report);

    if (isnan(value)) {
        snprintf(shown, GOAL_TEXT_BYTES, "not known");
        return GOAL_UNKNOWN;
    }
    if (goal->is_part) {
        double all = (double)report->received_count + (double)report->lost_count;
        value = value == 0 ? 0 : all == 0 ? 1 : value / all;
    }
    show(figure->kind, goal->is_part, value, shown);
    bool is_kept = (sign->is_less && value < goal->bound) ||
                   (sign->is_equal && value == goal->bound) ||
                   (sign->is_more && value > goal->bound);
    return is_kept ? GOAL_KEPT : GOAL_BROKEN;
}

bool goals_are_kept(const struct goals *goals, const struct report *report)
{
    return goals_print(goals, report, NULL);
}

bool goals_print(const struct goals *goals, const struct report *report, FILE *out)
{
    static const char *const verdicts[] = {
        [GOAL_KEPT] = "kept", [GOAL_BROKEN] = "BROKEN", [GOAL_UNKNOWN] = "BROKEN"};
    char shown[GOAL_TEXT_BYTES];
    bool are_kept = true;

    for (uint32_t i = 0; i < goals->count; i++) {
        enum goal_verdict verdict = goal_judge(&goals->items[i], report, shown);
        are_kept = are_kept && verdict == GOAL_KEPT;
        if (out != NULL) {
            fprintf(out, "  goal %s: %s, %s\n", goals->items[i].text, verdicts[verdict], shown);
        }
    }
    return are_kept;
}
