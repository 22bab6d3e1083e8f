#include "bench/command/search.h"

#include "bench/command/words.h"

#include <string.h>

#define REACHED_LOW 0.99 /* of the rate that was asked for */

enum verdict { KEPT, BROKEN, BROKEN_BY_GENERATOR, NOTHING_CAME };

struct state {
    const struct search *search;
    struct search_result result;
};

/* Why the run does not count as kept; "" when it does. */
static void judge(const struct goals *goals, double rate, const struct report *report,
                  char why[SEARCH_WHY_BYTES])
{
    char shown[GOAL_TEXT_BYTES], number[WORDS_BYTES];
    struct report_violation violation;
    uint32_t cursor = 0;

    why[0] = '\0';
    for (uint32_t i = 0; i < goals->count; i++) {
        if (goal_judge(&goals->items[i], report, shown) != GOAL_KEPT) {
            snprintf(why, SEARCH_WHY_BYTES, "%s: %s", goals->items[i].text, shown);
            return;
        }
    }
    while (report_violation_next(report, &cursor, &violation)) {
        if (violation.count > 0) {
            snprintf(why, SEARCH_WHY_BYTES, "%s: %s", violation.title,
                     words_count(violation.count, number));
            return;
        }
    }
    if (report->unsent_count > 0) {
        snprintf(why, SEARCH_WHY_BYTES, "unsent: %s", words_count(report->unsent_count, number));
    } else if (report->rate_reached > 0 && report->rate_reached < rate * REACHED_LOW) {
        snprintf(why, SEARCH_WHY_BYTES, "only %s messages/s left",
                 words_number(report->rate_reached, number));
    }
}

static void print_step(const struct state *state, double rate, const struct report *report,
                       const char *why)
{
    char asked[WORDS_BYTES], p50[WORDS_BYTES], p99[WORDS_BYTES];
    if (state->search->out == NULL) {
        return;
    }
    const struct histogram *latency = &report->latency;
    fprintf(state->search->out, "  step %2u: %10s/s  %s  p50 %s, p99 %s", state->result.step_count,
            words_number(rate, asked), why[0] == '\0' ? "kept  " : "broken",
            words_duration(histogram_quantile(latency, 0.5), p50),
            words_duration(histogram_quantile(latency, 0.99), p99));
    if (report->has_target) {
        fprintf(state->search->out, ", broker %.0f %% of a core",
                100 * report_broker_cores(report));
    }
    fprintf(state->search->out, "%s%s%s\n", why[0] == '\0' ? "" : " (", why,
            why[0] == '\0' ? "" : ")");
    fflush(state->search->out);
}

/* A signal sets it; relaxed: nothing else is read by it. */
static bool is_stopped(const struct search *search)
{
    return search->is_stopped != NULL && __atomic_load_n(search->is_stopped, __ATOMIC_RELAXED);
}

static bool is_over(const struct state *state)
{
    const struct search *search = state->search;
    return is_stopped(search) || state->result.step_count >= SEARCH_STEPS_MAX;
}

/* Run once or twice. Where the user stops it in the middle, *verdict is BROKEN and is_over(). */
static enum err attempt(struct state *state, double rate, enum verdict *verdict)
{
    const struct search *search = state->search;
    char why[SEARCH_WHY_BYTES] = "";
    uint32_t bound_count = 0, silent_count = 0;

    *verdict = BROKEN;
    for (uint32_t i = 0; i < 2 && !is_over(state); i++) {
        const struct report *report = NULL;
        TRY(search->step(search->context, rate, &report));
        if (is_stopped(search)) {
            return OK; /* cut short: it tells nothing */
        }
        state->result.step_count++;
        judge(search->goals, rate, report, why);
        print_step(state, rate, report, why);
        if (why[0] == '\0') {
            state->result.rate = rate;
            search->keep(search->context);
            *verdict = KEPT;
            return OK;
        }
        bound_count += report->is_generator_bound ? 1 : 0;
        silent_count += report->received_count == 0 && !report->is_generator_bound ? 1 : 0;
    }
    state->result.rate_broken = rate;
    memcpy(state->result.why, why, sizeof(why));
    *verdict = bound_count == 2 ? BROKEN_BY_GENERATOR : silent_count == 2 ? NOTHING_CAME : BROKEN;
    return OK;
}

/* Up from the first rate until one breaks, or down until one is kept. */
static enum err find_bounds(struct state *state, enum search_end *end, bool *is_done)
{
    double rate = state->search->rate_first;
    bool is_down = false;
    enum verdict verdict;

    *is_done = true;
    for (;;) {
        TRY(attempt(state, rate, &verdict));
        if (is_over(state)) {
            *end = SEARCH_STOPPED;
            return OK;
        }
        if (verdict == BROKEN_BY_GENERATOR && state->result.rate > 0) {
            *end = SEARCH_GENERATOR;
            return OK;
        }
        if (verdict == NOTHING_CAME && state->result.rate <= 0) {
            *end = SEARCH_SILENCE;
            return OK;
        }
        if (verdict == KEPT ? is_down : state->result.rate > 0) {
            *is_done = false; /* one of each: the knee lies between them */
            return OK;
        }
        is_down = verdict != KEPT;
        if (is_down ? rate <= SEARCH_RATE_LOW : rate >= SEARCH_RATE_HIGH) {
            *end = is_down ? SEARCH_NOTHING : SEARCH_CEILING;
            return OK;
        }
        rate = is_down ? rate / 2 : rate * 2;
        rate = rate < SEARCH_RATE_LOW    ? SEARCH_RATE_LOW
               : rate > SEARCH_RATE_HIGH ? SEARCH_RATE_HIGH
                                         : rate;
    }
}

enum err search_run(const struct search *search, struct search_result *out)
{
    struct state state = {.search = search};
    enum verdict verdict;
    bool is_done;

    TRY(find_bounds(&state, &state.result.end, &is_done));
    while (!is_done) {
        struct search_result *result = &state.result;
        if (result->rate_broken <= result->rate * SEARCH_PRECISION) {
            result->end = SEARCH_FOUND;
            break;
        }
        TRY(attempt(&state, (result->rate + result->rate_broken) / 2, &verdict));
        if (is_over(&state)) {
            result->end = SEARCH_STOPPED;
            break;
        }
        if (verdict == BROKEN_BY_GENERATOR) {
            result->end = SEARCH_GENERATOR;
            break;
        }
    }
    *out = state.result;
    return OK;
}

void search_print(const struct search_result *result, const struct report *best, FILE *out)
{
    char rate[WORDS_BYTES], broken[WORDS_BYTES], number[WORDS_BYTES];
    words_number(result->rate, rate);
    words_number(result->rate_broken, broken);
    if (best == NULL) {
        fprintf(out, "search: no rate was found that keeps the goals%s%s\n",
                result->why[0] == '\0' ? "" : "; the last one broke ", result->why);
    } else if (result->end == SEARCH_FOUND) {
        fprintf(out, "search: the knee is at %s messages/s; %s/s breaks %s\n", rate, broken,
                result->why);
    } else {
        fprintf(out, "search: %s messages/s are kept; how much more there is, is not known\n",
                rate);
    }
    if (result->end == SEARCH_GENERATOR) {
        fprintf(out,
                "  the generator was the bottleneck at %s/s (%s): what lies beyond is not the "
                "broker's limit but this generator's; give it --threads, --agents or cores of "
                "its own\n",
                broken, result->why);
    } else if (result->end == SEARCH_SILENCE) {
        fprintf(
            out,
            "  nothing at all arrived at %s/s, twice, and at lower rates there is less to come: "
            "does the broker deliver, and is a step (--seconds) long enough for some messages?\n",
            broken);
    } else if (result->end == SEARCH_STOPPED) {
        fprintf(out, "  stopped before the end, after %u steps\n", result->step_count);
    } else if (result->end == SEARCH_CEILING) {
        fprintf(out, "  there is no end to it: are the goals goals?\n");
    }
    if (best != NULL && best->has_target && report_cpu_us(best) > 0) {
        fprintf(out, "  there the broker took %.3f us CPU per delivery: %s deliveries/s per core\n",
                report_cpu_us(best), words_number(report_per_second_and_core(best), number));
    }
}
