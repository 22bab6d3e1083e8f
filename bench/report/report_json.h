/*
 * report_json: a report as one JSON object, written and read back.
 *
 * Floor:  bench.
 * Thread: the owner.
 * Memory: a report that was read owns everything that it points to.
 *
 * All figures are in the file, the whole latency histogram (as the cells that are not empty), every
 * second of the series with its own cells, and the environment: so runs of several agents can be
 * merged as if they had been one, and a run of last year be compared and drawn again. Keys that a
 * reader does not know are skipped, keys that are missing are 0, so that older files stay readable.
 */
#ifndef TERN_BENCH_REPORT_JSON_H
#define TERN_BENCH_REPORT_JSON_H

#include "bench/report/report.h"
#include "core/base/buf.h"
#include "core/base/json.h"

enum {
    REPORT_FORMAT = 1, /* key "format": a change of meaning raises it, a new key does not */
    REPORT_JSON_BYTES_MAX = 512 * 1024 * 1024,
    REPORT_PROBLEM_BYTES = JSON_PROBLEM_BYTES + 512,
};

/* Append the object, without a line end. ERR_NOMEM, ERR_TOO_LARGE: out holds a part, forget it. */
enum err report_write_json(const struct report *report, struct buf *out);

/* A report that was read: report.series and report.environment are its own, or NULL. */
struct report_saved;
struct report *report_saved_report(struct report_saved *saved);
void report_saved_free(struct report_saved *saved); /* accepts NULL */

/*
 * Read one. The caller frees *out. problem: what is wrong, in words ("" on OK).
 *
 * ERR_INVALID      no JSON, no report of ours, or one that contradicts itself
 * ERR_UNSUPPORTED  of a newer format
 * ERR_TOO_LARGE, ERR_NOMEM
 */
enum err report_from_json(struct slice text, struct report_saved **out,
                          char problem[REPORT_PROBLEM_BYTES]);

/* The same from a file, which problem then names. Also ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO. */
enum err report_from_file(const char *path, struct report_saved **out,
                          char problem[REPORT_PROBLEM_BYTES]);

#endif
