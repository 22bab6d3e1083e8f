#include "bench/report/compare_runs.h"

#include "bench/command/words.h"
#include "bench/report/report_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXIT_WORSE = 1,
    EXIT_USAGE = 64,
    JSON_BYTES_MAX = 1024 * 1024,
    CELL_BYTES = 2 * WORDS_BYTES,
};

/* ---- the figures --------------------------------------------------------------------------- */

/* NAN: this run does not know it. */
typedef double figure_of(const struct report *report);
typedef double phase_figure_of(const struct report_phase *phase);

static double or_unknown(double value)
{
    return value > 0 ? value : (double)NAN;
}

static double quantile_us(const struct report *report, double part)
{
    return report->latency.count == 0 ? (double)NAN
                                      : (double)histogram_quantile(&report->latency, part) / 1e3;
}

/* clang-format off */
static double get_rate(const struct report *r)      { return or_unknown(report_per_second(r)); }
static double get_core_rate(const struct report *r) { return or_unknown(report_per_second_and_core(r)); }
static double get_cpu(const struct report *r)       { return or_unknown(report_cpu_us(r)); }
static double get_user(const struct report *r)      { return or_unknown(report_cpu_user_us(r)); }
static double get_system(const struct report *r)    { return report_cpu_user_us(r) > 0 ? report_cpu_system_us(r) : (double)NAN; }
static double get_p50(const struct report *r)       { return quantile_us(r, 0.5); }
static double get_p90(const struct report *r)       { return quantile_us(r, 0.9); }
static double get_p99(const struct report *r)       { return quantile_us(r, 0.99); }
static double get_p999(const struct report *r)      { return quantile_us(r, 0.999); }
static double get_max(const struct report *r)       { return quantile_us(r, 1); }
static double get_resident(const struct report *r)  { return r->has_target ? or_unknown((double)r->target_after.resident_bytes) : (double)NAN; }
static double get_each(const struct report *r)      { return or_unknown(report_thing_bytes(r)); }
static double get_kernel(const struct report *r)    { return or_unknown(report_kernel_bytes(r)); }
static double get_jain(const struct report *r)      { return r->member_count > 0 ? r->jain : (double)NAN; }
static double get_generator(const struct report *r) { return or_unknown(100 * report_bench_cores(r)); }
static double get_lateness(const struct report *r)  { return r->lateness_max_ns > 0 ? (double)r->lateness_p99_ns / 1e3 : (double)NAN; }

static double get_phase_rate(const struct report_phase *p) { return p->ns == 0 ? (double)NAN : or_unknown((double)p->count * 1e9 / (double)p->ns); }
static double get_phase_cpu(const struct report_phase *p)  { return p->count == 0 ? (double)NAN : or_unknown((double)p->broker_cpu_ns / 1e3 / (double)p->count); }
static double get_phase_p99(const struct report_phase *p)  { return or_unknown((double)p->p99_ns / 1e3); }

/* is_judged: --worse-than looks at it; the others are rough, or say the same another way. */
static const struct figure {
    const char *key, *title;
    figure_of *get;
    phase_figure_of *get_of_phase; /* one of the two */
    int better; /* 1: more is better, -1: less is, 0: neither */
    bool is_judged;
} figures[] = {
    {"per_second",           "deliveries or connects/s",    get_rate,       NULL,  1, true},
    {"per_second_and_core",  "the same per core used",      get_core_rate,  NULL,  1, false},
    {"broker_cpu_us",        "broker CPU each, us",         get_cpu,        NULL, -1, true},
    {"broker_user_us",       "  in user space, us",         get_user,       NULL, -1, false},
    {"broker_system_us",     "  in the kernel, us",         get_system,     NULL, -1, false},
    {"p50_us",               "latency p50, us",             get_p50,        NULL, -1, true},
    {"p90_us",               "latency p90, us",             get_p90,        NULL, -1, false},
    {"p99_us",               "latency p99, us",             get_p99,        NULL, -1, true},
    {"p999_us",              "latency p99.9, us",           get_p999,       NULL, -1, false},
    {"max_us",               "latency max, us",             get_max,        NULL, -1, false},
    {"broker_resident",      "broker resident, bytes",      get_resident,   NULL, -1, true},
    {"each_bytes",           "broker bytes per thing",      get_each,       NULL, -1, true},
    {"kernel_bytes",         "kernel bytes per thing",      get_kernel,     NULL, -1, false},
    {"jain",                 "fairness (Jain)",             get_jain,       NULL,  1, true},
    {"bench_cpu_percent",    "generator, % of a core",      get_generator,  NULL,  0, false},
    {"lateness_p99_us",      "generator lateness p99, us",  get_lateness,   NULL,  0, false},
};

/* Asked of each phase: "store", "drain". */
static const struct figure phase_figures[] = {
    {"per_second",    "per second",          NULL, get_phase_rate,  1, true},
    {"broker_cpu_us", "broker CPU each, us", NULL, get_phase_cpu,  -1, true},
    {"p99_us",        "p99, us",             NULL, get_phase_p99,  -1, false},
};
/* clang-format on */

enum {
    FIGURE_COUNT = sizeof(figures) / sizeof(figures[0]),
    PHASE_FIGURE_COUNT = sizeof(phase_figures) / sizeof(phase_figures[0]),
    LINES_MAX = FIGURE_COUNT + PHASE_FIGURE_COUNT * REPORT_PHASES_MAX,
};

/* phase: NULL, or the name of the phase that is asked. */
static double value_of(const struct report *report, const struct figure *figure, const char *phase)
{
    if (phase == NULL) {
        return figure->get(report);
    }
    for (uint32_t i = 0; i < report->phase_count; i++) {
        if (strcmp(report->phases[i].name, phase) == 0) {
            return figure->get_of_phase(&report->phases[i]);
        }
    }
    return (double)NAN;
}

/* ---- the two sides ------------------------------------------------------------------------- */

struct side {
    struct report_saved *runs[COMPARE_RUNS_MAX];
    uint32_t count;
};

struct spread {
    uint32_t count; /* of the runs that know the figure */
    double least, median, most;
};

static void side_deinit(struct side *side)
{
    for (uint32_t i = 0; i < side->count; i++) {
        report_saved_free(side->runs[i]);
    }
}

/* The runs named in a list. False: problems has been told. */
static bool side_read(const char *list, struct side *side, FILE *problems)
{
    char path[4096], problem[REPORT_PROBLEM_BYTES];
    while (*list != '\0') {
        size_t count = strcspn(list, ",");
        if (count >= sizeof(path)) {
            fprintf(problems, "tern-bench: compare: a path is too long\n");
            return false;
        }
        if (side->count == COMPARE_RUNS_MAX) {
            fprintf(problems, "tern-bench: compare: more than %d runs on one side\n",
                    COMPARE_RUNS_MAX);
            return false;
        }
        memcpy(path, list, count);
        path[count] = '\0';
        if (count > 0) {
            if (report_from_file(path, &side->runs[side->count], problem) != OK) {
                fprintf(
                    problems,
                    "tern-bench: compare: %s; give files that tern-bench run --json FILE wrote\n",
                    problem);
                return false;
            }
            side->count++;
        }
        list += count + (list[count] == ',' ? 1 : 0);
    }
    if (side->count == 0) {
        fprintf(problems, "tern-bench: compare: a side has no file\n");
    }
    return side->count > 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static struct spread spread_of(const struct side *side, const struct figure *figure,
                               const char *phase)
{
    double values[COMPARE_RUNS_MAX];
    struct spread spread = {.count = 0};
    for (uint32_t i = 0; i < side->count; i++) {
        double value = value_of(report_saved_report(side->runs[i]), figure, phase);
        if (!isnan(value)) {
            values[spread.count++] = value;
        }
    }
    if (spread.count == 0) {
        return spread;
    }
    qsort(values, spread.count, sizeof(values[0]), by_size);
    uint32_t middle = spread.count / 2;
    spread.least = values[0];
    spread.most = values[spread.count - 1];
    spread.median = spread.count % 2 == 1 ? values[middle]
                                          : (values[middle - 1] + values[middle]) / 2;
    return spread;
}

/* ---- what differs besides the figures ------------------------------------------------------ */

struct difference {
    const char *what;
    char before[96], after[96];
};

enum { DIFFERENCES_MAX = 48 };

struct differences {
    struct difference items[DIFFERENCES_MAX];
    uint32_t count;
};

static void differ(struct differences *list, const char *what, const char *before,
                   const char *after)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].what, what) == 0) {
            return; /* one example is enough */
        }
    }
    if (strcmp(before, after) != 0 && list->count < DIFFERENCES_MAX) {
        struct difference *item = &list->items[list->count++];
        item->what = what;
        snprintf(item->before, sizeof(item->before), "%s", before[0] == '\0' ? "-" : before);
        snprintf(item->after, sizeof(item->after), "%s", after[0] == '\0' ? "-" : after);
    }
}

static void differ_number(struct differences *list, const char *what, double before, double after)
{
    char x[WORDS_BYTES], y[WORDS_BYTES];
    differ(list, what, words_number(before, x), words_number(after, y));
}

static const char *text_or(const char *text, const char *other)
{
    return text == NULL ? other : text;
}

static void differ_options(struct differences *list, const struct report *a, const struct report *b)
{
    differ(list, "scenario", a->scenario, b->scenario);
    differ(list, "transport", text_or(a->transport, "tcp"), text_or(b->transport, "tcp"));
    differ(list, "TLS", a->agreed, b->agreed);
    differ(list, "handshakes", a->is_resuming ? "resumed" : "full",
           b->is_resuming ? "resumed" : "full");
    differ_number(list, "publishers", a->publisher_count, b->publisher_count);
    differ_number(list, "subscribers", a->subscriber_count, b->subscriber_count);
    differ_number(list, "QoS", a->qos, b->qos);
    differ_number(list, "payload bytes", a->payload_bytes, b->payload_bytes);
    differ_number(list, "rate", a->rate, b->rate);
    differ_number(list, "window", a->window, b->window);
    differ_number(list, "burst", a->burst, b->burst);
    differ_number(list, "generators", a->generator_count, b->generator_count);
    differ_number(list, "persistent sessions", a->is_persistent, b->is_persistent);
    differ_number(list, "things held", (double)(a->thing_count + a->idle_count),
                  (double)(b->thing_count + b->idle_count));
}

/* Facts of a machine that stay what they are from run to run, also those that one side lacks. */
static void differ_environment(struct differences *list, const struct environment *a,
                               const struct environment *b)
{
    const struct environment *const sides[] = {a, b};
    struct environment_fact fact;
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t cursor = 0; environment_next(sides[i], &cursor, &fact);) {
            /* "3.8 GiB, 2.1 GiB of it available" changes with every breath. */
            if (!fact.is_of_run && strcmp(fact.key, "memory") != 0) {
                differ(list, fact.title, environment_value(a, fact.key),
                       environment_value(b, fact.key));
            }
        }
    }
}

/* The first run against all others, of its own side too. */
static void find_differences(const struct side *before, const struct side *after,
                             struct differences *list)
{
    const struct report *first = report_saved_report(before->runs[0]);
    for (uint32_t i = 1; i < before->count + after->count; i++) {
        const struct report *other = report_saved_report(
            i < before->count ? before->runs[i] : after->runs[i - before->count]);
        differ_options(list, first, other);
        if (first->environment != NULL && other->environment != NULL) {
            differ_environment(list, first->environment, other->environment);
        }
    }
}

/* ---- the verdict --------------------------------------------------------------------------- */

struct line {
    const struct figure *figure;
    const char *phase; /* NULL: of the whole run */
    struct spread before, after;
    double ratio;     /* after / before; NAN: no telling */
    const char *word; /* "better", "worse", "same", "within the spread", "" */
    bool is_worse;    /* by as much as the options allow, or more */
};

static struct line line_of(const struct figure *figure, const char *phase,
                           const struct side *before, const struct side *after,
                           double worse_percent)
{
    struct line line = {
        .figure = figure,
        .phase = phase,
        .before = spread_of(before, figure, phase),
        .after = spread_of(after, figure, phase),
        .ratio = (double)NAN,
        .word = "",
    };
    if (line.before.count == 0 || line.after.count == 0) {
        return line;
    }
    if (line.before.median > 0) {
        line.ratio = line.after.median / line.before.median;
    }
    if (figure->better == 0) {
        return line;
    }
    bool is_overlap = line.before.least <= line.after.most && line.after.least <= line.before.most;
    if (line.before.median == line.after.median) {
        line.word = "same";
    } else if (is_overlap) {
        line.word = "within the spread";
    } else {
        bool is_more = line.after.median > line.before.median;
        line.word = is_more == (figure->better > 0) ? "better" : "worse";
        double by = 100 * fabs(line.after.median - line.before.median) / line.before.median;
        line.is_worse = figure->is_judged && line.word[0] == 'w' && worse_percent > 0 &&
                        by >= worse_percent;
    }
    return line;
}

static uint64_t unclean_count(const struct side *side)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < side->count; i++) {
        count += report_is_clean(report_saved_report(side->runs[i])) ? 0 : 1;
    }
    return count;
}

static uint64_t bound_count(const struct side *side)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < side->count; i++) {
        count += report_saved_report(side->runs[i])->is_generator_bound ? 1 : 0;
    }
    return count;
}

/* ---- output -------------------------------------------------------------------------------- */

struct comparison {
    struct line lines[LINES_MAX];
    uint32_t line_count;
    struct differences differences;
    struct side before, after;
    bool is_worse;
};

static const char *cell_of(const struct spread *spread, char out[CELL_BYTES])
{
    char median[WORDS_BYTES];
    if (spread->count == 0) {
        snprintf(out, CELL_BYTES, "-");
        return out;
    }
    words_number(spread->median, median);
    if (spread->count == 1 || spread->median == 0) {
        snprintf(out, CELL_BYTES, "%s", median);
    } else {
        snprintf(out, CELL_BYTES, "%s +-%.0f%%", median,
                 50 * (spread->most - spread->least) / fabs(spread->median));
    }
    return out;
}

static void print_lines(const struct comparison *c, FILE *out)
{
    char before[CELL_BYTES], after[CELL_BYTES], ratio[WORDS_BYTES], title[CELL_BYTES];
    fprintf(out, "%-32s %20s %20s %8s\n", "", c->before.count > 1 ? "A, median" : "A",
            c->after.count > 1 ? "B, median" : "B", "B / A");
    for (uint32_t i = 0; i < c->line_count; i++) {
        const struct line *line = &c->lines[i];
        if (line->before.count == 0 && line->after.count == 0) {
            continue;
        }
        snprintf(title, sizeof(title), "%.30s%s%s", line->phase == NULL ? "" : line->phase,
                 line->phase == NULL ? "" : ": ", line->figure->title);
        snprintf(ratio, sizeof(ratio), "-");
        if (!isnan(line->ratio)) {
            snprintf(ratio, sizeof(ratio), "%.3f", line->ratio);
        }
        fprintf(out, "%-32s %20s %20s %8s  %s%s\n", title, cell_of(&line->before, before),
                cell_of(&line->after, after), ratio, line->word,
                line->is_worse ? ", MORE THAN ALLOWED" : "");
    }
}

static void print_warnings(const struct comparison *c, FILE *out)
{
    const struct {
        const char *name;
        const struct side *side;
    } sides[] = {{"A", &c->before}, {"B", &c->after}};
    for (uint32_t i = 0; i < 2; i++) {
        if (unclean_count(sides[i].side) > 0) {
            fprintf(out,
                    "VIOLATIONS in %s: %u of %u runs lost, repeated, reordered or changed "
                    "messages or clients; figures of such a run are none\n",
                    sides[i].name, (unsigned)unclean_count(sides[i].side), sides[i].side->count);
        }
        if (bound_count(sides[i].side) > 0) {
            fprintf(out,
                    "the generator was the bottleneck in %u of %u runs of %s: throughput and "
                    "latency are its own\n",
                    (unsigned)bound_count(sides[i].side), sides[i].side->count, sides[i].name);
        }
    }
    if (c->differences.count > 0) {
        fprintf(out, "NOT THE SAME CONDITIONS:\n");
    }
    for (uint32_t i = 0; i < c->differences.count; i++) {
        const struct difference *item = &c->differences.items[i];
        fprintf(out, "  %-24s %s  ->  %s\n", item->what, item->before, item->after);
    }
}

static void write_spread(struct json_writer *w, const char *key, const struct spread *spread)
{
    if (spread->count == 0) {
        json_add_null(w, key);
        return;
    }
    json_object_begin(w, key);
    json_add_f64(w, "median", spread->median);
    json_add_f64(w, "least", spread->least);
    json_add_f64(w, "most", spread->most);
    json_add_u64(w, "runs", spread->count);
    json_object_end(w);
}

static void print_json(const struct comparison *c, FILE *out)
{
    struct buf text = {0};
    struct json_writer writer = json_writer(&text, JSON_BYTES_MAX), *w = &writer;
    json_object_begin(w, NULL);
    json_object_begin(w, "figures");
    for (uint32_t i = 0; i < c->line_count; i++) {
        const struct line *line = &c->lines[i];
        char key[CELL_BYTES];
        snprintf(key, sizeof(key), "%.40s%s%s", line->phase == NULL ? "" : line->phase,
                 line->phase == NULL ? "" : ".", line->figure->key);
        json_object_begin(w, key);
        write_spread(w, "a", &line->before);
        write_spread(w, "b", &line->after);
        json_add_f64(w, "ratio", line->ratio);
        json_add_text(w, "verdict", slice_text(line->word));
        json_add_bool(w, "worse_than_allowed", line->is_worse);
        json_object_end(w);
    }
    json_object_end(w);
    json_array_begin(w, "differences");
    for (uint32_t i = 0; i < c->differences.count; i++) {
        const struct difference *item = &c->differences.items[i];
        json_object_begin(w, NULL);
        json_add_text(w, "what", slice_text(item->what));
        json_add_text(w, "a", slice_text(item->before));
        json_add_text(w, "b", slice_text(item->after));
        json_object_end(w);
    }
    json_array_end(w);
    json_add_u64(w, "a_unclean", unclean_count(&c->before));
    json_add_u64(w, "b_unclean", unclean_count(&c->after));
    json_add_bool(w, "worse", c->is_worse);
    json_object_end(w);
    if (json_writer_end(w) == OK) {
        fwrite(text.data + text.begin, 1, buf_count(&text), out);
        fputc('\n', out);
    }
    buf_deinit(&text);
}

static void add_line(struct comparison *c, const struct figure *figure, const char *phase,
                     double worse_percent)
{
    struct line line = line_of(figure, phase, &c->before, &c->after, worse_percent);
    c->lines[c->line_count++] = line;
    c->is_worse |= line.is_worse;
}

/* The figures of the run, then those of each phase that its first run has. */
static void add_lines(struct comparison *c, double worse_percent)
{
    const struct report *first = report_saved_report(c->before.runs[0]);
    for (uint32_t i = 0; i < FIGURE_COUNT; i++) {
        add_line(c, &figures[i], NULL, worse_percent);
    }
    for (uint32_t i = 0; i < first->phase_count; i++) {
        for (uint32_t k = 0; k < PHASE_FIGURE_COUNT; k++) {
            add_line(c, &phase_figures[k], first->phases[i].name, worse_percent);
        }
    }
}

int compare_runs(const struct compare_options *options, FILE *out, FILE *problems)
{
    struct comparison *c = calloc(1, sizeof(*c));
    int status = EXIT_USAGE;
    if (c == NULL) {
        fprintf(problems, "tern-bench: compare: no memory\n");
        return status;
    }
    if (!side_read(options->before, &c->before, problems) ||
        !side_read(options->after, &c->after, problems)) {
        goto done;
    }
    find_differences(&c->before, &c->after, &c->differences);
    c->is_worse = unclean_count(&c->after) > 0 && unclean_count(&c->before) == 0;
    add_lines(c, options->worse_percent);
    if (options->is_json) {
        print_json(c, out);
    } else {
        print_lines(c, out);
        print_warnings(c, out);
    }
    status = c->is_worse ? EXIT_WORSE : 0;
done:
    side_deinit(&c->before);
    side_deinit(&c->after);
    free(c);
    return status;
}
