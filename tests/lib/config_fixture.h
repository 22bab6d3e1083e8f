/*
 * config_fixture: load a configuration from a text and ask what was said about it.
 */
#ifndef TERN_TESTS_CONFIG_FIXTURE_H
#define TERN_TESTS_CONFIG_FIXTURE_H

#include "core/base/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct config_sources sources;
    struct config *config;
    struct config_report report;
    enum err err;
};

static inline void load_sources(struct fixture *f)
{
    config_report_init(&f->report);
    f->config = NULL;
    f->err = config_load(&f->sources, &f->config, &f->report);
}

static inline void load(struct fixture *f, const char *text)
{
    *f = (struct fixture){.sources = {.text = slice_text(text)}};
    load_sources(f);
}

static inline void unload(struct fixture *f)
{
    config_free(f->config);
    config_report_deinit(&f->report);
}

static inline bool says(const struct fixture *f, enum config_severity severity, uint32_t line,
                        const char *part)
{
    for (uint32_t i = 0; i < f->report.finding_count; i++) {
        const struct config_finding *finding = &f->report.findings[i];
        if (finding->severity == severity && finding->line == line &&
            strstr(finding->text, part) != NULL) {
            return true;
        }
    }
    return false;
}

#define assert_says(f, severity, line, part)                               \
    do {                                                                   \
        if (!says((f), (severity), (line), (part))) {                      \
            config_report_print(&(f)->report, stderr);                     \
            fail_msg("no such finding: line %d, %s", (int)(line), (part)); \
        }                                                                  \
    } while (0)

/* One bad line: refused with these words, and nothing else is said. */
static inline void refused(const char *text, const char *part)
{
    struct fixture f;
    load(&f, text);
    assert_int_equal(f.err, ERR_INVALID);
    assert_null(f.config);
    assert_int_equal(f.report.error_count, 1);
    assert_says(&f, CONFIG_ERROR, 1, part);
    unload(&f);
}

static inline void loaded(struct fixture *f, const char *text)
{
    load(f, text);
    if (f->err != OK) {
        config_report_print(&f->report, stderr);
    }
    assert_int_equal(f->err, OK);
    assert_int_equal(f->report.error_count, 0);
}

#endif
