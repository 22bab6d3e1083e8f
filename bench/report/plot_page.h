/*
 * plot_page: text of a page as it grows: formatted, and with the world's texts made harmless.
 *
 * Floor:  bench; included by plot*.c only.
 * Memory: the buf is the caller's.
 */
#ifndef TERN_BENCH_PLOT_PAGE_H
#define TERN_BENCH_PLOT_PAGE_H

#include "core/base/buf.h"

struct page {
    struct buf *out;
    enum err err; /* the first failure stays, and later calls do nothing */
};

/* At most PAGE_LINE_BYTES at once, else it is our mistake. */
enum { PAGE_LINE_BYTES = 4096 };
void page_add(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Any bytes as text of an XML or HTML element or attribute; control characters become spaces. */
void page_add_text(struct page *page, const char *text);

#endif
