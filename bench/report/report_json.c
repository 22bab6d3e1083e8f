#include "bench/report/report_json.h"

#include "bench/report/report_fields.h"

#include <stdlib.h>

/* clang-format off */
#define FIELD(key, kind, member) {key, FIELD_##kind, offsetof(struct report, member)}
const struct report_field report_fields[] = {
    FIELD("publishers",       U32,  publisher_count),
    FIELD("subscribers",      U32,  subscriber_count),
    FIELD("qos",              U8,   qos),
    FIELD("size",             U32,  payload_bytes),
    FIELD("window",           U32,  window),
    FIELD("burst",            U32,  burst),
    FIELD("rate",             F64,  rate),
    FIELD("generators",       U32,  generator_count),
    FIELD("persistent",       BOOL, is_persistent),
    FIELD("resuming",         BOOL, is_resuming),
    FIELD("handshakes",       U64,  handshake_count),
    FIELD("resumed",          U64,  resumed_count),
    FIELD("window_ns",        U64,  window_ns),
    FIELD("delivered",        U64,  delivered_count),
    FIELD("connected",        U64,  connected_count),
    FIELD("bench_cpu_ns",     U64,  bench_cpu_ns),
    FIELD("rate_reached",     F64,  rate_reached),
    FIELD("lateness_p99_ns",  U64,  lateness_p99_ns),
    FIELD("lateness_max_ns",  U64,  lateness_max_ns),
    FIELD("clock_error_ns",   U64,  clock_error_ns),
    FIELD("unsent",           U64,  unsent_count),
    FIELD("generator_bound",  BOOL, is_generator_bound),
    FIELD("stopped_early",    BOOL, is_stopped_early),
    FIELD("sent",             U64,  sent_count),
    FIELD("received",         U64,  received_count),
    FIELD("lost",             U64,  lost_count),
    FIELD("repeated",         U64,  repeated_count),
    FIELD("disordered",       U64,  disordered_count),
    FIELD("corrupt",          U64,  corrupt_count),
    FIELD("misdelivered",     U64,  misdelivered_count),
    FIELD("forgotten",        U64,  forgotten_count),
    FIELD("refused",          U64,  refused_count),
    FIELD("stalled",          BOOL, is_stalled),
    FIELD("members",          U32,  member_count),
    FIELD("member_least",     U64,  member_min),
    FIELD("member_most",      U64,  member_max),
    FIELD("jain",             F64,  jain),
    FIELD("idle_connections", U64,  idle_count),
    FIELD("things",           U64,  thing_count),
    FIELD("kernel_before",    U64,  kernel_bytes_before),
    FIELD("kernel_after",     U64,  kernel_bytes_after),
    FIELD("same_machine",     BOOL, is_same_machine),
};
#undef FIELD

const struct report_quantile report_quantiles[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0},
};
/* clang-format on */

const size_t report_field_count = sizeof(report_fields) / sizeof(report_fields[0]);
const size_t report_quantile_count = sizeof(report_quantiles) / sizeof(report_quantiles[0]);

static void write_fields(const struct report *report, struct json_writer *w)
{
    for (size_t i = 0; i < report_field_count; i++) {
        const struct report_field *field = &report_fields[i];
        const void *at = (const char *)report + field->offset;
        switch (field->kind) {
        case FIELD_U8:
            json_add_u64(w, field->key, *(const uint8_t *)at);
            break;
        case FIELD_U32:
            json_add_u64(w, field->key, *(const uint32_t *)at);
            break;
        case FIELD_U64:
            json_add_u64(w, field->key, *(const uint64_t *)at);
            break;
        case FIELD_F64:
            json_add_f64(w, field->key, *(const double *)at);
            break;
        case FIELD_BOOL:
            json_add_bool(w, field->key, *(const bool *)at);
            break;
        }
    }
}

/* What follows from other keys: for people and scripts; reading skips it. */
static void write_conclusions(const struct report *report, struct json_writer *w)
{
    char advice[REPORT_ADVICE_BYTES];
    json_add_f64(w, "seconds", (double)report->window_ns / 1e9);
    json_add_f64(w, "per_second", report_per_second(report));
    json_add_f64(w, "bench_cpu_percent", 100 * report_bench_cores(report));
    json_add_bool(w, "clean", report_is_clean(report));
    if (report->is_generator_bound) {
        json_add_text(w, "advice", slice_text(report_advice(report, advice)));
    }
    if (report->idle_count > 0) {
        json_add_f64(w, "idle_bytes", report_idle_bytes(report));
    }
    if (report->thing_count > 0) {
        json_add_f64(w, "thing_bytes", report_thing_bytes(report));
    }
    if (report_kernel_bytes(report) > 0) {
        json_add_f64(w, "kernel_bytes", report_kernel_bytes(report));
    }
}

static void write_broker(const struct report *report, struct json_writer *w)
{
    const struct target_usage *before = &report->target_before, *after = &report->target_after;
    if (!report->has_target) {
        return;
    }
    json_add_f64(w, "broker_cpu_us", report_cpu_us(report));
    json_add_f64(w, "broker_user_us", report_cpu_user_us(report));
    json_add_f64(w, "broker_system_us", report_cpu_system_us(report));
    json_add_f64(w, "broker_cpu_percent", 100 * report_broker_cores(report));
    json_add_f64(w, "per_second_and_core", report_per_second_and_core(report));
    json_add_u64(w, "broker_cpu_ns", after->cpu_ns - before->cpu_ns);
    json_add_u64(w, "broker_user_ns", after->user_ns - before->user_ns);
    json_add_u64(w, "broker_threads", after->thread_count);
    json_add_u64(w, "broker_resident_before", before->resident_bytes);
    json_add_u64(w, "broker_resident", after->resident_bytes);
    json_add_u64(w, "broker_private_before", before->private_bytes);
    json_add_u64(w, "broker_private", after->private_bytes);
    json_add_u64(w, "broker_proportional_before", before->proportional_bytes);
    json_add_u64(w, "broker_proportional", after->proportional_bytes);
}

static void write_cells(struct json_writer *w, const struct histogram_cell *cells, uint32_t count)
{
    json_array_begin(w, "cells"); /* index, count, index, count... */
    for (uint32_t i = 0; i < count; i++) {
        json_add_u64(w, NULL, cells[i].index);
        json_add_u64(w, NULL, cells[i].count);
    }
    json_array_end(w);
}

static enum err write_latency(const struct report *report, struct json_writer *w)
{
    const struct histogram *latency = &report->latency;
    json_object_begin(w, "latency_ns");
    for (size_t i = 0; i < report_quantile_count; i++) {
        json_add_u64(w, report_quantiles[i].key,
                     histogram_quantile(latency, report_quantiles[i].part));
    }
    json_add_u64(w, "min", latency->value_min);
    json_add_f64(w, "mean", histogram_mean(latency));
    json_object_end(w);

    uint32_t count = histogram_cells(latency, NULL);
    struct histogram_cell *cells = calloc(count == 0 ? 1 : count, sizeof(cells[0]));
    if (cells == NULL) {
        return ERR_NOMEM;
    }
    (void)histogram_cells(latency, cells);
    json_object_begin(w, "histogram");
    json_add_u64(w, "pieces", HISTOGRAM_PIECES); /* per power of two */
    json_add_u64(w, "min", latency->value_min);
    json_add_u64(w, "max", latency->value_max);
    json_add_f64(w, "sum", latency->sum);
    write_cells(w, cells, count);
    json_object_end(w);
    free(cells);
    return OK;
}

static void write_phases(const struct report *report, struct json_writer *w)
{
    json_array_begin(w, "phases");
    for (uint32_t i = 0; i < report->phase_count; i++) {
        const struct report_phase *phase = &report->phases[i];
        json_object_begin(w, NULL);
        json_add_text(w, "name", slice_text(phase->name));
        json_add_text(w, "unit", slice_text(phase->unit));
        json_add_u64(w, "count", phase->count);
        json_add_u64(w, "ns", phase->ns);
        json_add_u64(w, "broker_cpu_ns", phase->broker_cpu_ns);
        json_add_u64(w, "p50_ns", phase->p50_ns);
        json_add_u64(w, "p99_ns", phase->p99_ns);
        json_add_u64(w, "max_ns", phase->max_ns);
        json_add_u64(w, "broker_written_bytes", phase->broker_written_bytes);
        json_add_u64(w, "broker_resident_bytes", phase->broker_resident_bytes);
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_account(const struct report *report, struct json_writer *w)
{
    const struct target_account *account = &report->account;
    if (!report->has_account) {
        return;
    }
    json_object_begin(w, "account");
    json_add_u64(w, "received", account->received_count);
    json_add_u64(w, "sent", account->sent_count);
    json_add_u64(w, "dropped", target_account_dropped(account));
    json_object_begin(w, "reasons");
    for (uint32_t i = 0; i < account->reason_count; i++) {
        json_add_u64(w, account->dropped[i].reason, account->dropped[i].count);
    }
    json_object_end(w);
    json_object_end(w);
}

static void write_series(const struct series *series, struct json_writer *w)
{
    json_object_begin(w, "series");
    json_add_u64(w, "window_begin_ns", series_window_begin_ns(series));
    json_add_u64(w, "window_end_ns", series_window_end_ns(series));
    json_array_begin(w, "seconds");
    for (uint32_t i = 0; i < series_count(series); i++) {
        const struct series_second *second = series_second(series, i);
        json_object_begin(w, NULL);
        json_add_u64(w, "length_ns", second->length_ns);
        json_add_u64(w, "sent", second->sent_count);
        json_add_u64(w, "delivered", second->delivered_count);
        json_add_u64(w, "p50_ns", second->p50_ns);
        json_add_u64(w, "p99_ns", second->p99_ns);
        json_add_u64(w, "max_ns", second->max_ns);
        if (second->has_target) {
            json_add_f64(w, "broker_cores", second->broker_cores);
            json_add_u64(w, "broker_resident", second->resident_bytes);
        }
        write_cells(w, second->cells, second->cell_count);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

enum err report_write_json(const struct report *report, struct buf *out)
{
    struct json_writer writer = json_writer(out, REPORT_JSON_BYTES_MAX), *w = &writer;
    json_object_begin(w, NULL);
    json_add_u64(w, "format", REPORT_FORMAT);
    json_add_text(w, "scenario", slice_text(report->scenario));
    json_add_text(w, "transport",
                  slice_text(report->transport == NULL ? "tcp" : report->transport));
    write_fields(report, w);
    if (report->agreed[0] != '\0') {
        json_add_text(w, "agreed", slice_text(report->agreed));
    }
    if (report->thing_name != NULL) {
        json_add_text(w, "thing", slice_text(report->thing_name));
    }
    write_conclusions(report, w);
    write_broker(report, w);
    TRY(write_latency(report, w));
    write_phases(report, w);
    write_account(report, w);
    if (report->series != NULL) {
        write_series(report->series, w);
    }
    if (report->environment != NULL) {
        environment_write_json(report->environment, w, "environment");
    }
    json_object_end(w);
    return json_writer_end(w);
}
