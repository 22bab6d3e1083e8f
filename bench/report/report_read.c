/* Reading a report back. A file is the world's: nothing in it may trip an ASSERT here or later. */
#include "bench/report/report_fields.h"
#include "bench/report/report_json.h"
#include "core/io/sys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 8,
    NAME_BYTES = 96,
    CELL_COUNT_BITS = 48, /* of one cell: so that no sum over cells and agents overflows */
};

struct report_saved {
    struct report report;
    struct environment environment;
    struct series *series;
    char scenario[NAME_BYTES], transport[NAME_BYTES], thing[NAME_BYTES];
    char phase_names[REPORT_PHASES_MAX][NAME_BYTES], phase_units[REPORT_PHASES_MAX][NAME_BYTES];
};

/* What is read, and where to say what is wrong with it. */
struct reading {
    const struct json *top;
    struct report_saved *saved;
    char *problem;
};

struct report *report_saved_report(struct report_saved *saved)
{
    return &saved->report;
}

void report_saved_free(struct report_saved *saved)
{
    if (saved != NULL) {
        series_free(saved->series);
        free(saved);
    }
}

static enum err wrong(struct reading *r, const char *key, const char *what)
{
    snprintf(r->problem, REPORT_PROBLEM_BYTES, "no report of tern-bench: \"%s\" %s", key, what);
    return ERR_INVALID;
}

static bool get_name(const struct json *value, char out[NAME_BYTES])
{
    struct slice text;
    if (json_get_text(value, &text) != OK) {
        return false;
    }
    snprintf(out, NAME_BYTES, "%.*s", (int)(text.count < NAME_BYTES ? text.count : NAME_BYTES),
             (const char *)text.data);
    return true;
}

/* 0 when it is missing; false when it is something else than a number that fits. */
static bool get_count(const struct json *object, const char *key, uint64_t max, uint64_t *out)
{
    const struct json *value = json_member(object, key);
    *out = 0;
    return value == NULL || (json_get_u64(value, out) == OK && *out <= max);
}

static enum err read_fields(struct reading *r)
{
    for (size_t i = 0; i < report_field_count; i++) {
        const struct report_field *field = &report_fields[i];
        const struct json *value = json_member(r->top, field->key);
        void *at = (char *)&r->saved->report + field->offset;
        uint64_t count = 0;
        enum err err = OK;
        if (value == NULL) {
            continue;
        }
        switch (field->kind) {
        case FIELD_U8:
            err = get_count(r->top, field->key, UINT8_MAX, &count) ? OK : ERR_RANGE;
            *(uint8_t *)at = (uint8_t)count;
            break;
        case FIELD_U32:
            err = get_count(r->top, field->key, UINT32_MAX, &count) ? OK : ERR_RANGE;
            *(uint32_t *)at = (uint32_t)count;
            break;
        case FIELD_U64:
            err = json_get_u64(value, at);
            break;
        case FIELD_F64:
            err = json_get_f64(value, at);
            break;
        case FIELD_BOOL:
            err = json_get_bool(value, at);
            break;
        }
        if (err != OK) {
            return wrong(r, field->key, "is not what it should be, or out of range");
        }
    }
    return OK;
}

static enum err read_broker(struct reading *r)
{
    struct report *report = &r->saved->report;
    struct target_usage *before = &report->target_before, *after = &report->target_after;
    uint64_t threads;
    struct {
        const char *key;
        uint64_t *out;
    } const counts[] = {
        {"broker_cpu_ns", &after->cpu_ns},
        {"broker_user_ns", &after->user_ns},
        {"broker_threads", &threads},
        {"broker_resident_before", &before->resident_bytes},
        {"broker_resident", &after->resident_bytes},
        {"broker_private_before", &before->private_bytes},
        {"broker_private", &after->private_bytes},
        {"broker_proportional_before", &before->proportional_bytes},
        {"broker_proportional", &after->proportional_bytes},
    };
    if (json_member(r->top, "broker_cpu_ns") == NULL) {
        return OK;
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (!get_count(r->top, counts[i].key, INT64_MAX, counts[i].out)) {
            return wrong(r, counts[i].key, "is no count");
        }
    }
    after->thread_count = (uint32_t)(threads < UINT32_MAX ? threads : UINT32_MAX);
    report->has_target = true;
    return OK;
}

/* One pair of an array of index, count, index, count. False: no cell that can be. */
static bool get_cell(const struct json *cells, size_t pair, struct histogram_cell *out)
{
    uint64_t index, count;
    if (json_get_u64(json_item(cells, 2 * pair), &index) != OK || index >= HISTOGRAM_CELLS ||
        json_get_u64(json_item(cells, 2 * pair + 1), &count) != OK || count == 0 ||
        count >= (uint64_t)1 << CELL_COUNT_BITS) {
        return false;
    }
    *out = (struct histogram_cell){(uint32_t)index, count};
    return true;
}

static bool is_cells(const struct json *cells)
{
    return json_count(cells) % 2 == 0 && json_count(cells) / 2 <= HISTOGRAM_CELLS;
}

static enum err read_latency(struct reading *r)
{
    const struct json *object = json_member(r->top, "histogram");
    const struct json *cells = json_member(object, "cells");
    struct histogram *latency = &r->saved->report.latency;
    uint64_t min, max;
    double sum = 0;
    if (!is_cells(cells) || !get_count(object, "min", INT64_MAX, &min) ||
        !get_count(object, "max", INT64_MAX, &max)) {
        return wrong(r, "histogram", "is not what it should be");
    }
    for (size_t pair = 0; pair < json_count(cells) / 2; pair++) {
        struct histogram_cell cell;
        if (!get_cell(cells, pair, &cell) || !histogram_add_cell(latency, cell)) {
            return wrong(r, "histogram", "has a cell that cannot be");
        }
    }
    if (latency->count > 0) {
        if (json_get_f64(json_member(object, "sum"), &sum) != OK || min > max) {
            return wrong(r, "histogram", "contradicts itself");
        }
        histogram_set_exact(latency, min, max, sum);
    }
    return OK;
}

static enum err read_phases(struct reading *r)
{
    const struct json *phases = json_member(r->top, "phases");
    struct report *report = &r->saved->report;
    for (size_t i = 0; i < json_count(phases) && i < REPORT_PHASES_MAX; i++) {
        const struct json *object = json_item(phases, i);
        struct report_phase *phase = &report->phases[i];
        if (!get_name(json_member(object, "name"), r->saved->phase_names[i]) ||
            !get_name(json_member(object, "unit"), r->saved->phase_units[i]) ||
            !get_count(object, "count", INT64_MAX, &phase->count) ||
            !get_count(object, "ns", INT64_MAX, &phase->ns) ||
            !get_count(object, "broker_cpu_ns", INT64_MAX, &phase->broker_cpu_ns) ||
            !get_count(object, "p50_ns", INT64_MAX, &phase->p50_ns) ||
            !get_count(object, "p99_ns", INT64_MAX, &phase->p99_ns) ||
            !get_count(object, "max_ns", INT64_MAX, &phase->max_ns)) {
            return wrong(r, "phases", "has one that is not what it should be");
        }
        /* Files of before the disk was looked at have neither. */
        (void)get_count(object, "broker_written_bytes", INT64_MAX, &phase->broker_written_bytes);
        (void)get_count(object, "broker_resident_bytes", INT64_MAX, &phase->broker_resident_bytes);
        phase->name = r->saved->phase_names[i];
        phase->unit = r->saved->phase_units[i];
        report->phase_count++;
    }
    return OK;
}

static enum err read_account(struct reading *r)
{
    const struct json *object = json_member(r->top, "account");
    const struct json *reasons = json_member(object, "reasons");
    struct target_account *account = &r->saved->report.account;
    struct slice key;
    void *cursor = NULL;
    if (object == NULL) {
        return OK;
    }
    if (!get_count(object, "received", INT64_MAX, &account->received_count) ||
        !get_count(object, "sent", INT64_MAX, &account->sent_count)) {
        return wrong(r, "account", "is not what it should be");
    }
    for (const struct json *value; account->reason_count < TARGET_REASONS_MAX &&
                                   (value = json_next(reasons, &cursor, &key)) != NULL;) {
        struct target_dropped *dropped = &account->dropped[account->reason_count++];
        snprintf(dropped->reason, sizeof(dropped->reason), "%.*s", (int)key.count,
                 (const char *)key.data);
        if (json_get_u64(value, &dropped->count) != OK) {
            return wrong(r, "account", "has a reason without a count");
        }
    }
    r->saved->report.has_account = true;
    return OK;
}

static enum err read_second(struct reading *r, const struct json *object,
                            struct histogram_cell *cells)
{
    const struct json *list = json_member(object, "cells");
    struct series_second second = {.cells = cells};
    if (!is_cells(list) || !get_count(object, "length_ns", INT64_MAX, &second.length_ns) ||
        !get_count(object, "sent", INT64_MAX, &second.sent_count) ||
        !get_count(object, "delivered", INT64_MAX, &second.delivered_count) ||
        !get_count(object, "p50_ns", INT64_MAX, &second.p50_ns) ||
        !get_count(object, "p99_ns", INT64_MAX, &second.p99_ns) ||
        !get_count(object, "max_ns", INT64_MAX, &second.max_ns) ||
        !get_count(object, "broker_resident", INT64_MAX, &second.resident_bytes)) {
        return wrong(r, "series", "has a second that is not what it should be");
    }
    for (size_t pair = 0; pair < json_count(list) / 2; pair++) {
        if (!get_cell(list, pair, &cells[second.cell_count++])) {
            return wrong(r, "series", "has a cell that cannot be");
        }
    }
    second.has_target = json_get_f64(json_member(object, "broker_cores"), &second.broker_cores) ==
                        OK;
    return series_append(r->saved->series, &second);
}

static enum err read_series(struct reading *r)
{
    const struct json *object = json_member(r->top, "series");
    const struct json *seconds = json_member(object, "seconds");
    uint64_t begin_ns, end_ns;
    if (object == NULL) {
        return OK;
    }
    if (!get_count(object, "window_begin_ns", INT64_MAX, &begin_ns) ||
        !get_count(object, "window_end_ns", INT64_MAX, &end_ns) || begin_ns > end_ns ||
        json_count(seconds) > SERIES_SECONDS_MAX) {
        return wrong(r, "series", "is not what it should be");
    }
    struct histogram_cell *cells = calloc(HISTOGRAM_CELLS, sizeof(cells[0]));
    r->saved->series = series_new();
    enum err err = cells == NULL || r->saved->series == NULL ? ERR_NOMEM : OK;
    for (size_t i = 0; i < json_count(seconds) && err == OK; i++) {
        err = read_second(r, json_item(seconds, i), cells);
    }
    free(cells);
    TRY(err);
    series_mark_window(r->saved->series, begin_ns, end_ns);
    r->saved->report.series = r->saved->series;
    return OK;
}

static enum err read_head(struct reading *r)
{
    struct report_saved *saved = r->saved;
    uint64_t format;
    if (json_get_u64(json_member(r->top, "format"), &format) != OK) {
        return wrong(r, "format", "is missing");
    }
    if (format != REPORT_FORMAT) {
        snprintf(r->problem, REPORT_PROBLEM_BYTES,
                 "format %" PRIu64 ", and this tern-bench reads format %d", format, REPORT_FORMAT);
        return ERR_UNSUPPORTED;
    }
    if (!get_name(json_member(r->top, "scenario"), saved->scenario) || saved->scenario[0] == '\0') {
        return wrong(r, "scenario", "is missing");
    }
    saved->report.scenario = saved->scenario;
    if (get_name(json_member(r->top, "transport"), saved->transport) &&
        strcmp(saved->transport, "tcp") != 0) {
        saved->report.transport = saved->transport;
    }
    if (get_name(json_member(r->top, "thing"), saved->thing)) {
        saved->report.thing_name = saved->thing;
    }
    char agreed[NAME_BYTES];
    if (get_name(json_member(r->top, "agreed"), agreed)) {
        snprintf(saved->report.agreed, sizeof(saved->report.agreed), "%s", agreed);
    }
    const struct json *environment = json_member(r->top, "environment");
    if (environment != NULL) {
        environment_read_json(environment, &saved->environment);
        saved->report.environment = &saved->environment;
    }
    return OK;
}

static enum err read_all(struct reading *r)
{
    TRY(read_head(r));
    TRY(read_fields(r));
    TRY(read_broker(r));
    TRY(read_latency(r));
    TRY(read_phases(r));
    TRY(read_account(r));
    return read_series(r);
}

enum err report_from_json(struct slice text, struct report_saved **out,
                          char problem[REPORT_PROBLEM_BYTES])
{
    static const struct json_limits limits = {.bytes_max = REPORT_JSON_BYTES_MAX,
                                              .depth_max = DEPTH_MAX};
    char why[JSON_PROBLEM_BYTES];
    struct json *document;
    problem[0] = '\0';
    enum err err = json_read(text, &limits, &document, why);
    if (err != OK) {
        snprintf(problem, REPORT_PROBLEM_BYTES, "no JSON: %s", why);
        return err;
    }
    struct reading reading = {document, calloc(1, sizeof(struct report_saved)), problem};
    err = reading.saved == NULL ? ERR_NOMEM : read_all(&reading);
    json_free(document);
    if (err != OK) {
        if (problem[0] == '\0') {
            snprintf(problem, REPORT_PROBLEM_BYTES, "%s", err_text(err));
        }
        report_saved_free(reading.saved);
        return err;
    }
    *out = reading.saved;
    return OK;
}

enum err report_from_file(const char *path, struct report_saved **out,
                          char problem[REPORT_PROBLEM_BYTES])
{
    char why[REPORT_PROBLEM_BYTES] = "", *text;
    size_t count;
    enum err err = sys_load_file(path, REPORT_JSON_BYTES_MAX, &text, &count);
    if (err == ERR_INVALID) {
        snprintf(why, sizeof(why), "this is a directory");
    } else if (err == OK) {
        err = report_from_json(slice_of(text, count), out, why);
        free(text);
    }
    problem[0] = '\0';
    if (err != OK) {
        snprintf(problem, REPORT_PROBLEM_BYTES, "%.200s: %.400s", path,
                 why[0] != '\0' ? why : err_text(err));
    }
    return err;
}
