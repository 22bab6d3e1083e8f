/*
 * report_fields: the plain figures of a report, as a table that writing and reading share.
 *
 * Floor:  bench; included by report_json.c and report_read.c only.
 */
#ifndef TERN_BENCH_REPORT_FIELDS_H
#define TERN_BENCH_REPORT_FIELDS_H

#include "bench/report/report.h"

#include <stddef.h>

enum report_field_kind { FIELD_U8, FIELD_U32, FIELD_U64, FIELD_F64, FIELD_BOOL };

struct report_field {
    const char *key;
    enum report_field_kind kind;
    size_t offset; /* in struct report */
};

extern const struct report_field report_fields[];
extern const size_t report_field_count;

/* The quantiles of latency_ns. */
struct report_quantile {
    const char *key;
    double part;
};

extern const struct report_quantile report_quantiles[];
extern const size_t report_quantile_count;

#endif
