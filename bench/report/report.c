/* What follows from the figures; report_text.c and its neighbours print it. */
#include "bench/report/report.h"

#include "bench/command/words.h"
#include "bench/report/report_json.h"

#include <stddef.h>

/* clang-format off */
static const struct {
    const char *key, *title;
    size_t offset; /* of a uint64_t in struct report */
} violations[] = {
    {"lost",         "lost",                          offsetof(struct report, lost_count)},
    {"repeated",     "repeated",                      offsetof(struct report, repeated_count)},
    {"disordered",   "out of order",                  offsetof(struct report, disordered_count)},
    {"corrupt",      "corrupt",                       offsetof(struct report, corrupt_count)},
    {"misdelivered", "delivered to the wrong client", offsetof(struct report, misdelivered_count)},
    {"forgotten", "sessions forgotten", offsetof(struct report, forgotten_count)},
    {"refused",      "connections refused or broken", offsetof(struct report, refused_count)},
};
/* clang-format on */

#define RESUMED_LEAST 0.99 /* of the handshakes that were to resume a session */
#define BUSY_CORES    0.95 /* of a thread that makes the load: it had no time to spare */

enum { VIOLATION_COUNT = sizeof(violations) / sizeof(violations[0]) };

bool report_violation_next(const struct report *report, uint32_t *cursor,
                           struct report_violation *out)
{
    if (*cursor > VIOLATION_COUNT) {
        return false;
    }
    uint32_t index = (*cursor)++;
    if (index == VIOLATION_COUNT) {
        *out = (struct report_violation){"stalled", "stalled", report->is_stalled ? 1 : 0};
        return true;
    }
    const uint64_t *count = (const void *)((const char *)report + violations[index].offset);
    *out = (struct report_violation){violations[index].key, violations[index].title, *count};
    return true;
}

bool report_is_clean(const struct report *report)
{
    struct report_violation violation;
    for (uint32_t cursor = 0; report_violation_next(report, &cursor, &violation);) {
        if (violation.count > 0) {
            return false;
        }
    }
    return true;
}

static uint64_t unit_count(const struct report *report)
{
    return report->connected_count > 0 ? report->connected_count : report->delivered_count;
}

static uint64_t cpu_ns(const struct report *report)
{
    return report->target_after.cpu_ns - report->target_before.cpu_ns;
}

/* Of that in user space; what the kernel splits roughly is never more than the whole. */
static uint64_t user_ns(const struct report *report)
{
    uint64_t ns = report->target_after.user_ns - report->target_before.user_ns;
    return ns < cpu_ns(report) ? ns : cpu_ns(report);
}

static double each_us(const struct report *report, uint64_t ns)
{
    uint64_t count = unit_count(report);
    return !report->has_target || count == 0 ? 0 : (double)ns / 1e3 / (double)count;
}

double report_cpu_us(const struct report *report)
{
    return each_us(report, cpu_ns(report));
}

double report_cpu_user_us(const struct report *report)
{
    return each_us(report, user_ns(report));
}

double report_cpu_system_us(const struct report *report)
{
    return each_us(report, cpu_ns(report) - user_ns(report));
}

static double cores(const struct report *report, uint64_t ns)
{
    return report->window_ns == 0 ? 0 : (double)ns / (double)report->window_ns;
}

double report_broker_cores(const struct report *report)
{
    return report->has_target ? cores(report, cpu_ns(report)) : 0;
}

double report_bench_cores(const struct report *report)
{
    return cores(report, report->bench_cpu_ns);
}

double report_per_second(const struct report *report)
{
    return report->window_ns == 0 ? 0
                                  : (double)unit_count(report) * 1e9 / (double)report->window_ns;
}

double report_per_second_and_core(const struct report *report)
{
    double used = report_broker_cores(report);
    return used <= 0 ? 0 : report_per_second(report) / used;
}

bool report_is_hardly_resumed(const struct report *report)
{
    return report->is_resuming &&
           (double)report->resumed_count < RESUMED_LEAST * (double)report->handshake_count;
}

static double grown_each(const struct report *report, uint64_t count)
{
    if (!report->has_target || count == 0) {
        return 0;
    }
    return ((double)report->target_after.resident_bytes -
            (double)report->target_before.resident_bytes) /
           (double)count;
}

double report_idle_bytes(const struct report *report)
{
    return grown_each(report, report->idle_count);
}

static uint64_t held_count(const struct report *report)
{
    return report->thing_count > 0 ? report->thing_count : report->idle_count;
}

double report_thing_bytes(const struct report *report)
{
    return grown_each(report, held_count(report));
}

double report_kernel_bytes(const struct report *report)
{
    uint64_t count = held_count(report);
    if (count < REPORT_KERNEL_CONNECTIONS_MIN ||
        report->kernel_bytes_after <= report->kernel_bytes_before) {
        return 0;
    }
    return ((double)report->kernel_bytes_after - (double)report->kernel_bytes_before) /
           (double)count;
}

/* The rule itself is the scenario's; this finds the figure that stands out. */
const char *report_advice(const struct report *report, char out[REPORT_ADVICE_BYTES])
{
    char a[WORDS_BYTES], b[WORDS_BYTES];
    uint32_t generators = report->generator_count == 0 ? 1 : report->generator_count;
    double busy = report_bench_cores(report) / generators;
    bool is_busy = busy >= BUSY_CORES;
    if (!report->is_generator_bound) {
        out[0] = '\0';
    } else if (!is_busy && report->rate > 0 && report->rate_reached < 0.99 * report->rate) {
        snprintf(
            out, REPORT_ADVICE_BYTES,
            "%s messages/s left of %s asked for, while the broker had time to spare. Give it "
            "more publishers, more threads (--threads) or machines (--agents), or ask for less",
            words_number(report->rate_reached, a), words_number(report->rate, b));
    } else if (!is_busy && report->lateness_max_ns > 0) {
        snprintf(out, REPORT_ADVICE_BYTES,
                 "messages left late, p99 %s, at most %s. That is in every latency here. Give it a "
                 "core of its own (taskset), a quieter machine, or a lower --rate",
                 words_duration(report->lateness_p99_ns, a),
                 words_duration(report->lateness_max_ns, b));
    } else {
        snprintf(
            out, REPORT_ADVICE_BYTES,
            "its CPU was busy for %.0f %% of the window%s. Throughput and latency are its own; "
            "the broker's CPU time per message still stands. Give it more threads (--threads), "
            "machines (--agents) or a core of its own",
            100 * busy, generators > 1 ? ", the mean of all, and one at least was always so" : "");
    }
    return out;
}

void report_print_json(const struct report *report, FILE *out)
{
    struct buf text = {0};
    if (report_write_json(report, &text) == OK) {
        fwrite(text.data + text.begin, 1, buf_count(&text), out);
        fputc('\n', out);
    } else {
        fprintf(stderr, "tern-bench: no memory for the report\n");
    }
    buf_deinit(&text);
}
