#include "bench/report/report_markdown.h"

#include "bench/command/words.h"

#include <inttypes.h>
#include <string.h>

enum { SECONDS_SHOWN_MAX = 30 };

/* ---- cells --------------------------------------------------------------------------------- */

/* A bar would end the cell, a line end the table. */
static void print_escaped(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '|' || *text == '\\' || *text == '<' || *text == '*') {
            fputc('\\', out);
        }
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static void row(FILE *out, const char *title, const char *value)
{
    fprintf(out, "| %s | ", title);
    print_escaped(value, out);
    fprintf(out, " |\n");
}

static void row_number(FILE *out, const char *title, double value, const char *unit)
{
    char number[WORDS_BYTES];
    fprintf(out, "| %s | %s%s |\n", title, words_number(value, number), unit);
}

static void row_duration(FILE *out, const char *title, uint64_t ns)
{
    char text[WORDS_BYTES];
    row(out, title, words_duration(ns, text));
}

static void row_bytes(FILE *out, const char *title, double bytes)
{
    char text[WORDS_BYTES];
    row(out, title, words_bytes(bytes, text));
}

/* ---- parts --------------------------------------------------------------------------------- */

static void print_load(const struct report *report, FILE *out)
{
    char number[WORDS_BYTES];
    const struct environment *environment = report->environment;
    fprintf(out, "# tern-bench: %s\n\n", report->scenario);
    if (report->subscriber_count > 0) {
        fprintf(out, "%u publishers, %u subscribers, QoS %u, %u bytes", report->publisher_count,
                report->subscriber_count, report->qos, report->payload_bytes);
    } else {
        fprintf(out, "%u clients", report->publisher_count);
    }
    fprintf(out, ", %s", report->transport == NULL ? "TCP" : report->transport);
    if (report->rate > 0) {
        fprintf(out,
                ". Open loop: %s/s asked for, latency from the moment each was due (no coordinated "
                "omission)",
                words_number(report->rate, number));
    } else if (report->subscriber_count > 0) {
        fprintf(out,
                ". Closed loop: %u under way per publisher, %u per write; its latency is for "
                "comparing, not for quoting",
                report->window, report->burst);
    }
    if (report->handshake_count > 0) {
        fprintf(out, ". %s, %" PRIu64 " handshakes, %" PRIu64 " of them resumed", report->agreed,
                report->handshake_count, report->resumed_count);
    }
    fprintf(out, ".%s%s\n\n", report->is_persistent ? " Persistent sessions." : "",
            report->is_stopped_early ? " **Stopped early.**" : "");
    if (environment != NULL && environment->command[0] != '\0') {
        fprintf(out, "    %s\n\n", environment->command);
    }
}

static void print_verdict(const struct report *report, FILE *out)
{
    struct report_violation violation;
    char advice[REPORT_ADVICE_BYTES];
    if (report_is_clean(report)) {
        fprintf(out,
                "**Clean**: %" PRIu64 " sent, %" PRIu64
                " received, nothing lost, repeated, out of order or changed.\n\n",
                report->sent_count, report->received_count);
    } else {
        fprintf(out, "**Violations**, so the figures below are none:\n\n");
        for (uint32_t cursor = 0; report_violation_next(report, &cursor, &violation);) {
            if (violation.count > 0) {
                fprintf(out, "- %s: %" PRIu64 "\n", violation.title, violation.count);
            }
        }
        fprintf(out, "\n");
    }
    if (report->is_generator_bound) {
        fprintf(out, "**The generator was the bottleneck**: %s.\n\n",
                report_advice(report, advice));
    }
    if (report_is_hardly_resumed(report)) {
        fprintf(out,
                "**Not all were resumed**: %" PRIu64 " of %" PRIu64 " handshakes; the others were "
                "full ones.\n\n",
                report->resumed_count, report->handshake_count);
    }
    if (report->unsent_count > 0) {
        fprintf(out,
                "**%" PRIu64 " messages were due and never left**: the broker took no more.\n\n",
                report->unsent_count);
    }
}

static void print_broker_rows(const struct report *report, FILE *out)
{
    const struct target_usage *after = &report->target_after;
    if (!report->has_target) {
        return;
    }
    if (report_cpu_us(report) > 0) {
        row_number(out, "broker: CPU each", report_cpu_us(report), " us");
    }
    if (report_cpu_user_us(report) > 0) {
        row_number(out, "broker: in user space", report_cpu_user_us(report), " us");
        row_number(out, "broker: in the kernel", report_cpu_system_us(report), " us");
    }
    if (report->window_ns > 0) {
        row_number(out, "broker: cores used", report_broker_cores(report), "");
    }
    row_bytes(out, "broker: resident memory", (double)after->resident_bytes);
    if (after->proportional_bytes > 0) {
        row_bytes(out, "broker: its share of it (PSS)", (double)after->proportional_bytes);
        row_bytes(out, "broker: private of it", (double)after->private_bytes);
    }
}

static void print_held_rows(const struct report *report, FILE *out)
{
    char title[96];
    bool is_thing = report->thing_count > 0;
    if (!is_thing && report->idle_count == 0) {
        return;
    }
    const char *name = !is_thing                    ? "connections"
                       : report->thing_name == NULL ? "things"
                                                    : report->thing_name;
    snprintf(title, sizeof(title), "%.60s held", name);
    row_number(out, title, (double)(is_thing ? report->thing_count : report->idle_count), "");
    if (report->has_target) {
        row_bytes(out, "memory of the broker each", report_thing_bytes(report));
    }
    if (report_kernel_bytes(report) > 0) {
        row_bytes(out,
                  report->is_same_machine ? "memory of the kernel each, both ends"
                                          : "memory of the kernel each",
                  report_kernel_bytes(report));
    }
}

static void print_latency_rows(const struct report *report, FILE *out)
{
    static const struct {
        const char *title;
        double part;
    } rows[] = {{"latency p50", 0.5},
                {"latency p90", 0.9},
                {"latency p99", 0.99},
                {"latency p99.9", 0.999},
                {"latency max", 1}};
    if (report->latency.count == 0) {
        return;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        row_duration(out, rows[i].title, histogram_quantile(&report->latency, rows[i].part));
    }
}

static void print_figures(const struct report *report, FILE *out)
{
    fprintf(out, "| figure | value |\n|---|---|\n");
    bool has_rate = report->phase_count == 0 ||
                    report->connected_count > 0; /* phases have theirs */
    if (report->window_ns > 0 && has_rate) {
        row_number(out, report->connected_count > 0 ? "connects/s" : "deliveries/s",
                   report_per_second(report), "");
        row_number(out, "measured for", (double)report->window_ns / 1e9, " s");
    }
    if (report_per_second_and_core(report) > 0 && has_rate) {
        row_number(out, "the same per core of the broker", report_per_second_and_core(report), "");
    }
    print_latency_rows(report, out);
    print_broker_rows(report, out);
    print_held_rows(report, out);
    if (report->window_ns > 0) {
        row_number(out, "generator: cores used", report_bench_cores(report), "");
    }
    if (report->lateness_max_ns > 0) {
        row_duration(out, "generator: lateness p99", report->lateness_p99_ns);
        row_duration(out, "generator: lateness max", report->lateness_max_ns);
    }
    if (report->clock_error_ns > 0) {
        row_duration(out, "generators: clocks agree to", report->clock_error_ns);
    }
    if (report->member_count > 0) {
        row_number(out, "fairness (Jain's index)", report->jain, "");
        row_number(out, "least served member", (double)report->member_min, "");
        row_number(out, "most served member", (double)report->member_max, "");
    }
    if (report->has_account) {
        row_number(out, "the broker says: received", (double)report->account.received_count, "");
        row_number(out, "the broker says: sent", (double)report->account.sent_count, "");
    }
    for (uint32_t i = 0; report->has_account && i < report->account.reason_count; i++) {
        const struct target_dropped *dropped = &report->account.dropped[i];
        char title[96];
        snprintf(title, sizeof(title), "the broker says: dropped, %s", dropped->reason);
        if (dropped->count > 0) {
            row_number(out, title, (double)dropped->count, "");
        }
    }
    fprintf(out, "\n");
}

static void print_phases(const struct report *report, FILE *out)
{
    char count[WORDS_BYTES], rate[WORDS_BYTES], p99[WORDS_BYTES];
    if (report->phase_count == 0) {
        return;
    }
    fprintf(out, "| phase | count | seconds | per second | broker CPU each | p99 |\n"
                 "|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < report->phase_count; i++) {
        const struct report_phase *phase = &report->phases[i];
        double each = phase->count == 0 ? 0 : (double)phase->broker_cpu_ns / (double)phase->count;
        fprintf(out, "| %s | %s %s | %.3f | %s | %.3f us | %s |\n", phase->name,
                words_count(phase->count, count), phase->unit, (double)phase->ns / 1e9,
                phase->ns == 0 ? "-"
                               : words_number((double)phase->count * 1e9 / (double)phase->ns, rate),
                each / 1e3, phase->max_ns == 0 ? "-" : words_duration(phase->p99_ns, p99));
    }
    fprintf(out, "\n");
}

static double second_rate(const struct series_second *second)
{
    return second->length_ns == 0
               ? 0
               : (double)second->delivered_count * 1e9 / (double)second->length_ns;
}

static void print_second(const struct series_second *second, uint32_t index, FILE *out)
{
    char rate[WORDS_BYTES], p50[WORDS_BYTES], p99[WORDS_BYTES], max[WORDS_BYTES],
        resident[WORDS_BYTES];
    fprintf(out, "| %u | %" PRIu64 " | %s | %s | %s | %s |", index, second->sent_count,
            words_number(second_rate(second), rate),
            second->delivered_count == 0 ? "-" : words_duration(second->p50_ns, p50),
            second->delivered_count == 0 ? "-" : words_duration(second->p99_ns, p99),
            second->delivered_count == 0 ? "-" : words_duration(second->max_ns, max));
    if (second->has_target) {
        fprintf(out, " %.0f %% | %s |\n", 100 * second->broker_cores,
                words_bytes((double)second->resident_bytes, resident));
    } else {
        fprintf(out, " - | - |\n");
    }
}

/* The second that a reader looks for first. */
static void print_worst(const struct series *series, FILE *out)
{
    uint32_t slowest = 0, count = series_count(series);
    char max[WORDS_BYTES], p99[WORDS_BYTES];
    for (uint32_t i = 1; i < count; i++) {
        if (series_second(series, i)->max_ns > series_second(series, slowest)->max_ns) {
            slowest = i;
        }
    }
    const struct series_second *second = series_second(series, slowest);
    if (second->max_ns > 0) {
        fprintf(out, "The highest latency, %s, came in second %u (p99 there %s).\n\n",
                words_duration(second->max_ns, max), slowest, words_duration(second->p99_ns, p99));
    }
}

static void print_series(const struct series *series, FILE *out)
{
    uint32_t count = series_count(series);
    if (count == 0) {
        return;
    }
    fprintf(out, "## Second by second\n\nThe measured window is %.2f s to %.2f s. ",
            (double)series_window_begin_ns(series) / 1e9,
            (double)series_window_end_ns(series) / 1e9);
    print_worst(series, out);
    uint32_t step = (count + SECONDS_SHOWN_MAX - 1) / SECONDS_SHOWN_MAX;
    if (step > 1) {
        fprintf(out, "Of %u seconds every %u. is shown; all are in the JSON report.\n\n", count,
                step);
    }
    fprintf(out, "| second | sent | deliveries/s | p50 | p99 | max | broker CPU | resident |\n"
                 "|---|---|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < count; i += step) {
        print_second(series_second(series, i), i, out);
    }
    fprintf(out, "\n");
}

static void print_environment(const struct environment *environment, FILE *out)
{
    struct environment_fact fact;
    if (environment == NULL) {
        return;
    }
    fprintf(out, "## Environment\n\n| fact | value |\n|---|---|\n");
    for (uint32_t cursor = 0; environment_next(environment, &cursor, &fact);) {
        if (strcmp(fact.key, "command") != 0) {
            row(out, fact.title, fact.value);
        }
    }
}

void report_print_markdown(const struct report *report, FILE *out)
{
    print_load(report, out);
    print_verdict(report, out);
    print_figures(report, out);
    print_phases(report, out);
    print_series(report->series, out);
    print_environment(report->environment, out);
}
