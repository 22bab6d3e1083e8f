/* The lines of a report that people read in a terminal. */
#include "bench/command/words.h"
#include "bench/report/report.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    double part;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};

enum { QUANTILE_COUNT = sizeof(quantiles) / sizeof(quantiles[0]) };

#define MS(ns) ((double)(ns) / 1e6)

static void print_head(const struct report *report, FILE *out)
{
    char number[WORDS_BYTES];
    fprintf(out, "%s: ", report->scenario);
    if (report->subscriber_count > 0) {
        fprintf(out, "%u publisher%s, %u subscriber%s, QoS %u, %u bytes", report->publisher_count,
                report->publisher_count == 1 ? "" : "s", report->subscriber_count,
                report->subscriber_count == 1 ? "" : "s", report->qos, report->payload_bytes);
    } else {
        fprintf(out, "%u clients", report->publisher_count);
    }
    if (report->rate > 0) {
        fprintf(out, ", open loop: %s/s asked for", words_number(report->rate, number));
    } else if (report->subscriber_count > 0) {
        fprintf(out, ", closed loop: window %u, burst %u", report->window, report->burst);
    }
    if (report->transport != NULL) {
        fprintf(out, ", %s", report->transport);
    }
    if (report->is_persistent) {
        fprintf(out, ", persistent sessions");
    }
    if (report->generator_count > 1) {
        fprintf(out, ", %u generators", report->generator_count);
    }
    fprintf(out, "\n");
    if (report->is_stopped_early) {
        fprintf(out, "  stopped early: the window is shorter than asked for\n");
    }
}

static void print_rate(const struct report *report, FILE *out)
{
    char each[WORDS_BYTES], core[WORDS_BYTES];
    if (report->window_ns == 0 || (report->phase_count > 0 && report->connected_count == 0)) {
        return; /* of phases each has a rate of its own */
    }
    fprintf(out, "  rate:      %s %s/s over %.2f s", words_number(report_per_second(report), each),
            report->connected_count == 0   ? "deliveries"
            : report->handshake_count == 0 ? "connects"
            : report->is_resuming          ? "connects with a resumed handshake"
                                           : "connects with a full handshake",
            (double)report->window_ns / 1e9);
    if (report_per_second_and_core(report) > 0) {
        fprintf(out, ", %s/s for each core the broker used",
                words_number(report_per_second_and_core(report), core));
    }
    if (report->rate > 0 && report->rate_reached > 0) {
        fprintf(out, "; %s/s sent", words_number(report->rate_reached, each));
    }
    fprintf(out, "\n");
}

static void print_broker(const struct report *report, FILE *out)
{
    char text[WORDS_BYTES];
    if (!report->has_target) {
        return;
    }
    fprintf(out, "  broker:    ");
    if (report_cpu_us(report) > 0) {
        fprintf(out, "%.3f us CPU each", report_cpu_us(report));
        if (report_cpu_user_us(report) > 0) {
            fprintf(out, " (user %.3f, system %.3f)", report_cpu_user_us(report),
                    report_cpu_system_us(report));
        }
        fprintf(out, ", %.0f %% of a core, ", 100 * report_broker_cores(report));
    }
    fprintf(out, "resident %s", words_bytes((double)report->target_after.resident_bytes, text));
    if (report->target_after.private_bytes > 0) {
        fprintf(out, ", private %s", words_bytes((double)report->target_after.private_bytes, text));
    }
    if (report->target_after.thread_count > 0) {
        fprintf(out, ", %u thread%s", report->target_after.thread_count,
                report->target_after.thread_count == 1 ? "" : "s");
    }
    fprintf(out, "\n");
}

static void print_generator(const struct report *report, FILE *out)
{
    char advice[REPORT_ADVICE_BYTES], p99[WORDS_BYTES], max[WORDS_BYTES];
    if (report->window_ns > 0) {
        fprintf(out, "  generator: %.0f %% of a core", 100 * report_bench_cores(report));
        if (report->lateness_max_ns > 0) {
            fprintf(out, "; messages left late by p99 %s, max %s",
                    words_duration(report->lateness_p99_ns, p99),
                    words_duration(report->lateness_max_ns, max));
        }
        fprintf(out, "\n");
    }
    if (report->unsent_count > 0) {
        fprintf(out,
                "  unsent:    %" PRIu64 " messages never left, as the broker took no more: it was "
                "asked for more than it can do\n",
                report->unsent_count);
    }
    if (report->is_generator_bound) {
        fprintf(out, "  THE GENERATOR WAS THE BOTTLENECK: %s.\n", report_advice(report, advice));
    }
}

static void print_latency(const struct report *report, FILE *out)
{
    if (report->latency.count == 0) {
        return;
    }
    fprintf(out, "  latency:  ");
    for (uint32_t i = 0; i < QUANTILE_COUNT; i++) {
        fprintf(out, " %s %.3f", quantiles[i].name,
                MS(histogram_quantile(&report->latency, quantiles[i].part)));
    }
    fprintf(out, " mean %.3f ms%s\n", histogram_mean(&report->latency) / 1e6,
            report->rate > 0 || report->phase_count > 0
                ? ""
                : " (of a closed loop: compare it, do not quote it)");
}

static void print_tls(const struct report *report, FILE *out)
{
    char count[WORDS_BYTES], resumed[WORDS_BYTES];
    if (report->handshake_count == 0) {
        return;
    }
    fprintf(out, "  tls:       %s; %s handshakes, %s of them resumed\n", report->agreed,
            words_count(report->handshake_count, count),
            words_count(report->resumed_count, resumed));
    if (report_is_hardly_resumed(report)) {
        fprintf(
            out,
            "  NOT ALL WERE RESUMED: %.1f %% of the handshakes; the others were full ones, and are "
            "in every figure. Does the broker give tickets, and take them back?\n",
            100 * (double)report->resumed_count / (double)report->handshake_count);
    }
}

/* Several machines have several clocks. */
static void print_clocks(const struct report *report, FILE *out)
{
    char error[WORDS_BYTES];
    if (report->clock_error_ns > 0) {
        fprintf(out,
                "  clocks:    of leader and agents agree to %s at least; that is in every latency "
                "between two machines\n",
                words_duration(report->clock_error_ns, error));
    }
}

/* Of connections: the kernel's share, or that it cannot be told from what else goes on. */
static void print_kernel(const struct report *report, FILE *out)
{
    char least[WORDS_BYTES], before[WORDS_BYTES], after[WORDS_BYTES];
    words_bytes((double)report->kernel_bytes_before, before);
    words_bytes((double)report->kernel_bytes_after, after);
    if (report->kernel_bytes_after == 0) {
        return;
    }
    if (report_kernel_bytes(report) <= 0) {
        fprintf(out,
                "  kernel:    not known: slab and socket memory %s -> %s is noise of the machine; "
                "some %s connections or more stand out\n",
                before, after, words_count(REPORT_KERNEL_CONNECTIONS_MIN, least));
        return;
    }
    fprintf(out, "  kernel:    %.0f bytes each (slab and socket memory %s -> %s%s)\n",
            report_kernel_bytes(report), before, after,
            report->is_same_machine
                ? "; the generator's end of each connection is in it: about half is the broker's"
                : "");
}

/* What each thing costs the broker, and the kernel on its behalf. */
static void print_held(const struct report *report, FILE *out)
{
    char count[WORDS_BYTES], before[WORDS_BYTES], after[WORDS_BYTES];
    bool is_idle = report->thing_count == 0;
    uint64_t held = is_idle ? report->idle_count : report->thing_count;
    if (held == 0) {
        return;
    }
    fprintf(out, "  held:      %s %s\n", words_count(held, count),
            is_idle                      ? "connections"
            : report->thing_name == NULL ? "things"
                                         : report->thing_name);
    if (report->has_target) {
        fprintf(out, "  memory:    %.0f bytes of the broker each (resident %s -> %s)\n",
                report_thing_bytes(report),
                words_bytes((double)report->target_before.resident_bytes, before),
                words_bytes((double)report->target_after.resident_bytes, after));
    }
    print_kernel(report, out);
}

/* What the broker wrote for each, beside the payload that it was given; and what it holds by now. */
static void print_disk(const struct report *report, const struct report_phase *phase, FILE *out)
{
    char bytes[WORDS_BYTES];
    if (phase->broker_written_bytes > 0 && phase->count > 0) {
        double each = (double)phase->broker_written_bytes / (double)phase->count;
        fprintf(out, ", %s to its disk each", words_bytes(each, bytes));
        if (report->payload_bytes > 0 && strcmp(phase->unit, "messages") == 0) {
            fprintf(out, " (%.1f times the payload)", each / (double)report->payload_bytes);
        }
    }
    if (phase->broker_resident_bytes > 0) {
        fprintf(out, ", resident %s", words_bytes((double)phase->broker_resident_bytes, bytes));
    }
}

static void print_phases(const struct report *report, FILE *out)
{
    char count[WORDS_BYTES], rate[WORDS_BYTES], p50[WORDS_BYTES], p99[WORDS_BYTES],
        max[WORDS_BYTES];
    for (uint32_t i = 0; i < report->phase_count; i++) {
        const struct report_phase *phase = &report->phases[i];
        fprintf(out, "  %-10s %s %s in %.3f s", phase->name, words_count(phase->count, count),
                phase->unit, (double)phase->ns / 1e9);
        if (phase->ns > 0) {
            fprintf(out, ", %s/s",
                    words_number((double)phase->count * 1e9 / (double)phase->ns, rate));
        }
        if (phase->broker_cpu_ns > 0 && phase->count > 0) {
            fprintf(out, ", broker %.3f us CPU each",
                    (double)phase->broker_cpu_ns / 1e3 / (double)phase->count);
        }
        print_disk(report, phase, out);
        if (phase->max_ns > 0) {
            fprintf(out, ", p50 %s, p99 %s, max %s", words_duration(phase->p50_ns, p50),
                    words_duration(phase->p99_ns, p99), words_duration(phase->max_ns, max));
        }
        fprintf(out, "\n");
    }
}

static const struct report_phase *phase_named(const struct report *report, const char *name)
{
    for (uint32_t i = 0; i < report->phase_count; i++) {
        if (strcmp(report->phases[i].name, name) == 0) {
            return &report->phases[i];
        }
    }
    return NULL;
}

/* What others feel of a storm, beside what they felt before. */
static void print_others(const struct report *report, FILE *out)
{
    const struct report_phase *calm = phase_named(report, "others, calm");
    const struct report_phase *storm = phase_named(report, "others, storm");
    char a[WORDS_BYTES], b[WORDS_BYTES];
    if (calm == NULL || storm == NULL || calm->max_ns == 0 || storm->max_ns == 0) {
        return;
    }
    fprintf(out, "  others:    before -> during the storm: p50 %s -> %s",
            words_duration(calm->p50_ns, a), words_duration(storm->p50_ns, b));
    fprintf(out, ", p99 %s -> %s", words_duration(calm->p99_ns, a),
            words_duration(storm->p99_ns, b));
    fprintf(out, ", max %s -> %s\n", words_duration(calm->max_ns, a),
            words_duration(storm->max_ns, b));
}

static void print_account(const struct report *report, FILE *out)
{
    uint64_t dropped = target_account_dropped(&report->account);
    if (!report->has_account) {
        return;
    }
    fprintf(out, "  it says:   %" PRIu64 " received, %" PRIu64 " sent, %" PRIu64 " dropped",
            report->account.received_count, report->account.sent_count, dropped);
    for (uint32_t i = 0; i < report->account.reason_count; i++) {
        if (report->account.dropped[i].count > 0) {
            fprintf(out, ", %s %" PRIu64, report->account.dropped[i].reason,
                    report->account.dropped[i].count);
        }
    }
    fprintf(out, "\n");
}

static void print_violations(const struct report *report, FILE *out)
{
    struct report_violation violation;
    const char *comma = "";
    if (report_is_clean(report)) {
        fprintf(out, "  checked:   nothing lost, repeated, out of order or changed\n");
        return;
    }
    fprintf(out, "  VIOLATIONS: ");
    for (uint32_t cursor = 0; report_violation_next(report, &cursor, &violation);) {
        if (violation.count > 0) {
            fprintf(out, "%s%s %" PRIu64, comma, violation.title, violation.count);
            comma = ", ";
        }
    }
    fprintf(out, "\n");
}

void report_print(const struct report *report, FILE *out)
{
    print_head(report, out);
    print_rate(report, out);
    print_phases(report, out);
    print_others(report, out);
    print_held(report, out);
    print_broker(report, out);
    print_generator(report, out);
    print_latency(report, out);
    print_tls(report, out);
    print_clocks(report, out);
    if (report->member_count > 0) {
        fprintf(out,
                "  fairness:  %u members, least %" PRIu64 ", most %" PRIu64
                " deliveries; Jain's index %.4f (1 is fair)\n",
                report->member_count, report->member_min, report->member_max, report->jain);
    }
    print_account(report, out);
    print_violations(report, out);
}
