/*
 * body: text of an answer that grows up to a bound.
 *
 * Floor:  admin.
 * Memory: heap, up to BODY_BYTES_MAX; body_free() gives it back. Zero-initialised it is empty.
 *
 * The first failure stays in err and later additions do nothing, so that who writes an answer looks
 * once, at the end.
 */
#ifndef TERN_ADMIN_BODY_H
#define TERN_ADMIN_BODY_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stddef.h>
#include <stdint.h>

enum { BODY_BYTES_MAX = 1 << 20 };

struct body {
    uint8_t *data;
    size_t count, capacity;
    enum err err; /* OK, ERR_NOMEM or ERR_TOO_LARGE */
};

void body_free(struct body *body);

/* Add text; one call adds less than 1 KiB (what is longer is ERR_TOO_LARGE). */
void body_add(struct body *body, const char *format, ...) __attribute__((format(printf, 2, 3)));

void body_add_slice(struct body *body, struct slice bytes);

#endif
