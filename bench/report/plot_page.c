/* The page around the picture, and how it reaches a file. */
#include "bench/report/plot_page.h"

#include "bench/report/plot.h"
#include "core/base/assert.h"
#include "core/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

void page_add(struct page *page, const char *format, ...)
{
    char line[PAGE_LINE_BYTES];
    va_list values;
    va_start(values, format);
    int count = vsnprintf(line, sizeof(line), format, values);
    va_end(values);
    ASSERT(count >= 0 && (size_t)count < sizeof(line));
    if (page->err == OK) {
        page->err = buf_append(page->out, slice_of(line, (size_t)count));
    }
}

void page_add_text(struct page *page, const char *text)
{
    static const struct {
        char byte;
        const char *name;
    } names[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}};
    bool is_valid = utf8_is_valid(slice_text(text));
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        char one[2] = {byte < ' ' ? ' ' : byte >= 0x7F && !is_valid ? '?' : *text, '\0'};
        const char *written = one;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            written = names[i].byte == *text ? names[i].name : written;
        }
        page_add(page, "%s", written);
    }
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n<style>\n"
    "body{font:15px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "background:#fff;color:#24292f}\n"
    "svg{max-width:100%;height:auto}pre{overflow-x:auto;padding:.8rem;background:#f6f8fa;"
    "border-radius:6px}\n"
    "table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top;"
    "overflow-wrap:anywhere}td:first-child{white-space:nowrap;color:#57606a}\n"
    "@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}"
    "pre{background:#161b22}td:first-child{color:#9198a1}}\n</style>\n";

static void add_lines(struct page *page, const struct report *report)
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);
    if (out != NULL) {
        report_print(report, out);
        fclose(out);
    }
    if (text == NULL) {
        page->err = ERR_NOMEM;
        return;
    }
    page_add(page, "<pre>");
    for (char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        char end = line[length];
        line[length] = '\0';
        page_add_text(page, line);
        page_add(page, "\n");
        line += length + (end == '\0' ? 0 : 1);
    }
    page_add(page, "</pre>\n");
    free(text);
}

static void add_environment(struct page *page, const struct environment *environment)
{
    struct environment_fact fact;
    page_add(page, "<table>\n");
    for (uint32_t cursor = 0; environment_next(environment, &cursor, &fact);) {
        page_add(page, "<tr><td>%s</td><td>", fact.title);
        page_add_text(page, fact.value);
        page_add(page, "</td></tr>\n");
    }
    page_add(page, "</table>\n");
}

enum err plot_html(const struct report *report, struct buf *out)
{
    struct page page = {.out = out};
    page_add(&page, "%s<title>tern-bench: ", head);
    page_add_text(&page, report->scenario);
    page_add(&page, "</title>\n</head>\n<body>\n");
    TRY(page.err);
    TRY(plot_svg(report, out));
    add_lines(&page, report);
    if (report->environment != NULL) {
        add_environment(&page, report->environment);
    }
    page_add(&page, "</body>\n</html>\n");
    return page.err;
}

static bool is_html(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".html") == 0 || strcmp(dot, ".htm") == 0);
}

/* Beside the file first, so that a full disk leaves what was there. */
static enum err write_file(const char *path, struct slice text)
{
    char beside[PATH_BYTES];
    if (snprintf(beside, sizeof(beside), "%s.%d", path, (int)getpid()) >= (int)sizeof(beside)) {
        return ERR_INVALID;
    }
    FILE *file = fopen(beside, "we");
    if (file == NULL) {
        return err_from_errno(errno);
    }
    bool is_written = fwrite(text.data, 1, text.count, file) == text.count;
    int problem = errno;
    if (fclose(file) != 0) {
        problem = is_written ? errno : problem;
        is_written = false;
    }
    if (is_written && rename(beside, path) == 0) {
        return OK;
    }
    problem = is_written ? errno : problem;
    unlink(beside);
    return err_from_errno(problem);
}

enum err plot_write(const struct report *report, const char *path)
{
    struct buf text = {0};
    enum err err = is_html(path) ? plot_html(report, &text) : plot_svg(report, &text);
    if (err == OK) {
        err = write_file(path, buf_bytes(&text));
    }
    buf_deinit(&text);
    return err;
}
