/*
 * report_markdown: a report as a page to paste: figures, violations, the seconds, the environment.
 *
 * Floor:  bench.
 * Thread: the owner.
 */
#ifndef TERN_BENCH_REPORT_MARKDOWN_H
#define TERN_BENCH_REPORT_MARKDOWN_H

#include "bench/report/report.h"

#include <stdio.h>

/* What came of writing is seen by ferror(out). */
void report_print_markdown(const struct report *report, FILE *out);

#endif
