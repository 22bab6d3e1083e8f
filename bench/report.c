#include "bench/report.h"

#include <inttypes.h>

static const struct {
    const char *name;
    double part;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}};

enum { QUANTILE_COUNT = sizeof(quantiles) / sizeof(quantiles[0]) };

bool report_is_clean(const struct report *report)
{
    return report->lost_count == 0 && report->repeated_count == 0 &&
           report->disordered_count == 0 && report->corrupt_count == 0 &&
           report->refused_count == 0 && !report->is_stalled;
}

static uint64_t unit_count(const struct report *report)
{
    return report->connected_count > 0 ? report->connected_count : report->delivered_count;
}

double report_cpu_us(const struct report *report)
{
    uint64_t count = unit_count(report);
    if (!report->has_target || count == 0) {
        return 0;
    }
    return (double)(report->target_after.cpu_ns - report->target_before.cpu_ns) / 1e3 /
           (double)count;
}

double report_per_second(const struct report *report)
{
    return report->window_ns == 0 ? 0
                                  : (double)unit_count(report) * 1e9 / (double)report->window_ns;
}

double report_idle_bytes(const struct report *report)
{
    if (!report->has_target || report->idle_count == 0) {
        return 0;
    }
    return ((double)report->target_after.resident_bytes -
            (double)report->target_before.resident_bytes) /
           (double)report->idle_count;
}

/* Of the measured window, in percent of one core. */
static double percent(const struct report *report, uint64_t ns)
{
    return report->window_ns == 0 ? 0 : 100.0 * (double)ns / (double)report->window_ns;
}

static void print_violations(const struct report *report, FILE *out)
{
    if (report_is_clean(report)) {
        fprintf(out, "  checked: nothing lost, repeated, out of order or changed\n");
        return;
    }
    fprintf(out,
            "  VIOLATIONS: lost %" PRIu64 ", repeated %" PRIu64 ", out of order %" PRIu64
            ", corrupt %" PRIu64 ", connections refused or broken %" PRIu64 "%s\n",
            report->lost_count, report->repeated_count, report->disordered_count,
            report->corrupt_count, report->refused_count, report->is_stalled ? ", stalled" : "");
}

void report_print(const struct report *report, FILE *out)
{
    fprintf(out, "%s: %u publishers, %u subscribers, QoS %u, %u bytes", report->scenario,
            report->publisher_count, report->subscriber_count, report->qos, report->payload_bytes);
    if (report->rate > 0) {
        fprintf(out, ", %.0f messages/s asked for\n", report->rate);
    } else {
        fprintf(out, ", window %u, burst %u\n", report->window, report->burst);
    }
    if (report->idle_count > 0) {
        fprintf(out, "  %" PRIu64 " connections held", report->idle_count);
        if (report->has_target) {
            fprintf(out, ", %.0f bytes of the broker each (resident %.1f -> %.1f MiB)",
                    report_idle_bytes(report),
                    (double)report->target_before.resident_bytes / 1048576,
                    (double)report->target_after.resident_bytes / 1048576);
        }
        fprintf(out, "\n");
        print_violations(report, out);
        return;
    }
    fprintf(out, "  %.0f %s/s over %.2f s\n", report_per_second(report),
            report->connected_count > 0 ? "connects" : "deliveries",
            (double)report->window_ns / 1e9);
    if (report->has_target) {
        uint64_t cpu_ns = report->target_after.cpu_ns - report->target_before.cpu_ns;
        uint64_t user_ns = report->target_after.user_ns - report->target_before.user_ns;
        fprintf(out,
                "  broker: %.3f us CPU each (%.0f %% of it user space), %.0f %% of a core, "
                "resident %.1f MiB\n",
                report_cpu_us(report), cpu_ns == 0 ? 0 : 100.0 * (double)user_ns / (double)cpu_ns,
                percent(report, cpu_ns), (double)report->target_after.resident_bytes / 1048576);
    }
    fprintf(out, "  this generator: %.0f %% of a core\n", percent(report, report->bench_cpu_ns));
    fprintf(out, "  latency ms:");
    for (uint32_t i = 0; i < QUANTILE_COUNT; i++) {
        fprintf(out, " %s %.3f", quantiles[i].name,
                (double)histogram_quantile(&report->latency, quantiles[i].part) / 1e6);
    }
    fprintf(out, "\n");
    print_violations(report, out);
}

void report_print_json(const struct report *report, FILE *out)
{
    fprintf(out,
            "{\"scenario\":\"%s\",\"publishers\":%u,\"subscribers\":%u,\"qos\":%u,\"size\":%u,"
            "\"window\":%u,\"burst\":%u,\"rate\":%.3f,\"seconds\":%.6f,",
            report->scenario, report->publisher_count, report->subscriber_count, report->qos,
            report->payload_bytes, report->window, report->burst, report->rate,
            (double)report->window_ns / 1e9);
    fprintf(out,
            "\"delivered\":%" PRIu64 ",\"connected\":%" PRIu64 ",\"per_second\":%.3f,"
            "\"bench_cpu_percent\":%.2f,",
            report->delivered_count, report->connected_count, report_per_second(report),
            percent(report, report->bench_cpu_ns));
    if (report->has_target) {
        fprintf(out,
                "\"broker_cpu_us\":%.6f,\"broker_cpu_percent\":%.2f,"
                "\"broker_resident_before\":%" PRIu64 ",\"broker_resident\":%" PRIu64
                ",\"broker_private_before\":%" PRIu64 ",\"broker_private\":%" PRIu64 ",",
                report_cpu_us(report),
                percent(report, report->target_after.cpu_ns - report->target_before.cpu_ns),
                report->target_before.resident_bytes, report->target_after.resident_bytes,
                report->target_before.private_bytes, report->target_after.private_bytes);
    }
    if (report->idle_count > 0) {
        fprintf(out, "\"idle_connections\":%" PRIu64 ",\"idle_bytes\":%.1f,", report->idle_count,
                report_idle_bytes(report));
    }
    fprintf(out, "\"latency_ns\":{");
    for (uint32_t i = 0; i < QUANTILE_COUNT; i++) {
        fprintf(out, "%s\"%s\":%" PRIu64, i == 0 ? "" : ",", quantiles[i].name,
                histogram_quantile(&report->latency, quantiles[i].part));
    }
    fprintf(out,
            "},\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64
            ",\"repeated\":%" PRIu64 ",\"disordered\":%" PRIu64 ",\"corrupt\":%" PRIu64
            ",\"refused\":%" PRIu64 ",\"stalled\":%s,\"clean\":%s}\n",
            report->sent_count, report->received_count, report->lost_count, report->repeated_count,
            report->disordered_count, report->corrupt_count, report->refused_count,
            report->is_stalled ? "true" : "false", report_is_clean(report) ? "true" : "false");
}
