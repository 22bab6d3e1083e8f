/*
 * json: DOORMAN of the JSON library: read a bounded document, write our own.
 *
 * Floor:  base. <jansson.h> is included by json.c only.
 * Thread: a document belongs to one thread; different documents have nothing to do with each other.
 * Memory: json_read() allocates the document, json_free() gives all of it back; what is asked of it
 *         is borrowed until then. Writing goes into a struct buf.
 */
#ifndef TERN_BASE_JSON_H
#define TERN_BASE_JSON_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- reading ------------------------------------------------------------------------------- */

struct json; /* one value: an object, an array, a text, a number, true, false, null */

enum json_kind {
    JSON_IS_OBJECT,
    JSON_IS_ARRAY,
    JSON_IS_TEXT,
    JSON_IS_NUMBER,
    JSON_IS_BOOL,
    JSON_IS_NULL
};

struct json_limits {
    size_t bytes_max;
    uint32_t depth_max; /* arrays and objects within each other; 1: a flat one; 128 at most */
};

enum { JSON_PROBLEM_BYTES = 160 };

/*
 * Read one document, an object or an array. No key twice, no U+0000 in texts, only UTF-8, nothing
 * behind it. problem: NULL, or what is wrong, in words, with line and column ("" on OK).
 *
 * ERR_TOO_LARGE  more than bytes_max
 * ERR_LIMIT      deeper than depth_max
 * ERR_INVALID    not such a document
 */
enum err json_read(struct slice text, const struct json_limits *limits, struct json **out,
                   char problem[JSON_PROBLEM_BYTES]);
void json_free(struct json *document); /* accepts NULL; what json_read() gave, nothing inside it */

/* All of these accept NULL as a value that is not there, so that lookups may be chained. */
enum json_kind json_kind(const struct json *value); /* of NULL: JSON_IS_NULL */

/* NULL: not an object, or it has no such member. */
const struct json *json_member(const struct json *object, const char *key);

/* Items of an array, members of an object; 0 for anything else. */
size_t json_count(const struct json *value);

/* NULL: not an array, or index >= json_count(). */
const struct json *json_item(const struct json *array, size_t index);

/* Walk the members: *cursor starts as NULL. NULL: no (more) members; key is then not written. */
const struct json *json_next(const struct json *object, void **cursor, struct slice *key);

/* ERR_INVALID: it is of another kind (1.0 is no integer). ERR_RANGE: it does not fit. */
enum err json_get_text(const struct json *value, struct slice *out);
enum err json_get_u64(const struct json *value, uint64_t *out); /* up to INT64_MAX */
enum err json_get_i64(const struct json *value, int64_t *out);
enum err json_get_f64(const struct json *value, double *out); /* any number */
enum err json_get_bool(const struct json *value, bool *out);

/* ---- writing ------------------------------------------------------------------------------- */

enum { JSON_WRITER_DEPTH_MAX = 63 };

/*
 *     struct json_writer w = json_writer(&buf, 1 << 20);
 *     json_object_begin(&w, NULL);
 *     json_add_text(&w, "client", id);
 *     json_object_end(&w);
 *     TRY(json_writer_end(&w));
 *
 * key: the member's name inside an object, NULL inside an array and at the top. Texts may be any
 * bytes: what is not UTF-8 becomes U+FFFD. The first failure stays and later calls do nothing, so
 * that who writes an answer looks once, at the end. Wrong nesting is our mistake: ASSERT.
 */
struct json_writer {
    struct buf *out;
    size_t bytes_max, written;
    enum err err; /* OK, ERR_NOMEM or ERR_TOO_LARGE */
    uint32_t depth;
    uint64_t is_object, has_members; /* a bit per depth */
};

/* Appends to out, at most bytes_max bytes. */
struct json_writer json_writer(struct buf *out, size_t bytes_max);

void json_object_begin(struct json_writer *writer, const char *key);
void json_object_end(struct json_writer *writer);
void json_array_begin(struct json_writer *writer, const char *key);
void json_array_end(struct json_writer *writer);
void json_add_text(struct json_writer *writer, const char *key, struct slice text);
void json_add_u64(struct json_writer *writer, const char *key, uint64_t number);
void json_add_i64(struct json_writer *writer, const char *key, int64_t number);
void json_add_f64(struct json_writer *writer, const char *key,
                  double number); /* not finite: null */
void json_add_bool(struct json_writer *writer, const char *key, bool is_true);
void json_add_null(struct json_writer *writer, const char *key);

/* How it went; on OK the document is complete. On an error out holds a part of it: throw it away. */
enum err json_writer_end(struct json_writer *writer);

/* The text with quotes around it, escaped as above. ERR_NOMEM. */
enum err json_escape(struct buf *out, struct slice text);

#endif
