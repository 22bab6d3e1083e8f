#include "core/base/json.h"

#include "core/base/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- reading ------------------------------------------------------------------------------- */

enum { DEPTH_MAX = 128 }; /* far below what the library's recursion bears */

static const json_t *in(const struct json *value)
{
    return (const json_t *)value;
}

static const struct json *out_of(const json_t *value)
{
    return (const struct json *)value;
}

/*
 * The depth that the parser would reach. It reads a valid text as this loop does, and stops where
 * the text is not valid: so it never goes deeper than this says.
 */
static uint32_t depth_of(struct slice text)
{
    uint32_t depth = 0, deepest = 0;
    bool in_text = false;
    for (size_t i = 0; i < text.count; i++) {
        uint8_t byte = text.data[i];
        if (in_text) {
            i += byte == '\\';
            in_text = byte != '"';
        } else if (byte == '"') {
            in_text = true;
        } else if (byte == '{' || byte == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

enum err json_read(struct slice text, const struct json_limits *limits, struct json **out,
                   char problem[JSON_PROBLEM_BYTES])
{
    char unread[JSON_PROBLEM_BYTES];
    json_error_t error;

    ASSERT(limits->depth_max >= 1 && limits->depth_max <= DEPTH_MAX);
    problem = problem != NULL ? problem : unread;
    problem[0] = 0;
    if (text.count > limits->bytes_max) {
        snprintf(problem, JSON_PROBLEM_BYTES, "larger than %zu bytes", limits->bytes_max);
        return ERR_TOO_LARGE;
    }
    if (depth_of(text) > limits->depth_max) {
        snprintf(problem, JSON_PROBLEM_BYTES, "nested deeper than %u", (unsigned)limits->depth_max);
        return ERR_LIMIT;
    }
    json_t *document = json_loadb(text.count == 0 ? "" : (const char *)text.data, text.count,
                                  JSON_REJECT_DUPLICATES, &error);
    if (document == NULL) {
        snprintf(problem, JSON_PROBLEM_BYTES, "line %d column %d: %.120s", error.line, error.column,
                 error.text);
        return json_error_code(&error) == json_error_out_of_memory ? ERR_NOMEM : ERR_INVALID;
    }
    *out = (struct json *)document;
    return OK;
}

void json_free(struct json *document)
{
    json_decref((json_t *)document);
}

enum json_kind json_kind(const struct json *value)
{
    if (value == NULL) {
        return JSON_IS_NULL;
    }
    switch (json_typeof(in(value))) {
    case JSON_OBJECT:
        return JSON_IS_OBJECT;
    case JSON_ARRAY:
        return JSON_IS_ARRAY;
    case JSON_STRING:
        return JSON_IS_TEXT;
    case JSON_INTEGER:
    case JSON_REAL:
        return JSON_IS_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_IS_BOOL;
    case JSON_NULL:
        break;
    }
    return JSON_IS_NULL;
}

const struct json *json_member(const struct json *object, const char *key)
{
    return out_of(json_object_get(in(object), key));
}

size_t json_count(const struct json *value)
{
    /* Each is 0 for other kinds and for NULL. */
    return json_object_size(in(value)) + json_array_size(in(value));
}

const struct json *json_item(const struct json *array, size_t index)
{
    return out_of(json_array_get(in(array), index));
}

const struct json *json_next(const struct json *object, void **cursor, struct slice *key)
{
    json_t *members = (json_t *)in(object); /* the library's iterators want no const */
    void *next = *cursor == NULL ? json_object_iter(members)
                                 : json_object_iter_next(members, *cursor);
    if (next == NULL) {
        return NULL;
    }
    *cursor = next;
    *key = slice_text(json_object_iter_key(next)); /* no U+0000 in it */
    return out_of(json_object_iter_value(next));
}

enum err json_get_text(const struct json *value, struct slice *out)
{
    if (!json_is_string(in(value))) {
        return ERR_INVALID;
    }
    *out = slice_of(json_string_value(in(value)), json_string_length(in(value)));
    return OK;
}

enum err json_get_i64(const struct json *value, int64_t *out)
{
    if (!json_is_integer(in(value))) {
        return ERR_INVALID;
    }
    *out = json_integer_value(in(value));
    return OK;
}

enum err json_get_u64(const struct json *value, uint64_t *out)
{
    int64_t number;
    TRY(json_get_i64(value, &number));
    if (number < 0) {
        return ERR_RANGE;
    }
    *out = (uint64_t)number;
    return OK;
}

enum err json_get_f64(const struct json *value, double *out)
{
    if (!json_is_number(in(value))) {
        return ERR_INVALID;
    }
    *out = json_number_value(in(value));
    return OK;
}

enum err json_get_bool(const struct json *value, bool *out)
{
    if (!json_is_boolean(in(value))) {
        return ERR_INVALID;
    }
    *out = json_is_true(in(value));
    return OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* How many bytes at the start of text may stand in a JSON text as they are. */
static size_t plain_bytes(struct slice text)
{
    size_t at = 0;
    while (at < text.count) {
        uint8_t byte = text.data[at];
        if (byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x7f) {
            break;
        }
        at++;
    }
    return at;
}

/* The first character of text, which is not plain, as it is written; returns its length in text. */
static uint32_t escaped(struct slice text, char out[8])
{
    uint32_t code_point = 0xfffd; /* for a byte that is no UTF-8 */
    uint32_t length = utf8_first(text, &code_point);
    const char *short_forms = "\"\\\b\f\n\r\t", *letters = "\"\\bfnrt";
    const char *hit = code_point != 0 && code_point < 0x80 ? strchr(short_forms, (int)code_point)
                                                           : NULL;
    if (hit != NULL) {
        snprintf(out, 8, "\\%c", letters[hit - short_forms]);
    } else if (length == 0 || code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0) ||
               code_point == 0x2028 || code_point == 0x2029) {
        /* Valid in JSON from 0x7f on, but no friend of terminals and scripts. */
        snprintf(out, 8, "\\u%04x", (unsigned)(code_point & 0xffff));
    } else {
        memcpy(out, text.data, length);
        out[length] = 0;
    }
    return length == 0 ? 1 : length;
}

enum err json_escape(struct buf *out, struct slice text)
{
    TRY(buf_append(out, slice_text("\"")));
    while (text.count > 0) {
        size_t plain = plain_bytes(text);
        TRY(buf_append(out, slice_head(text, plain)));
        text = slice_skip(text, plain);
        if (text.count > 0) {
            char as_written[8];
            uint32_t length = escaped(text, as_written);
            TRY(buf_append(out, slice_text(as_written)));
            text = slice_skip(text, length);
        }
    }
    return buf_append(out, slice_text("\""));
}

struct json_writer json_writer(struct buf *out, size_t bytes_max)
{
    return (struct json_writer){.out = out, .bytes_max = bytes_max};
}

/* What was appended to out since `before` counts against the bound. */
static void account(struct json_writer *writer, size_t before, enum err err)
{
    writer->err = err;
    writer->written += buf_count(writer->out) - before;
    if (err == OK && writer->written > writer->bytes_max) {
        writer->err = ERR_TOO_LARGE;
    }
}

static void put(struct json_writer *writer, const char *text)
{
    if (writer->err == OK) {
        size_t before = buf_count(writer->out);
        account(writer, before, buf_append(writer->out, slice_text(text)));
    }
}

static void put_escaped(struct json_writer *writer, struct slice text)
{
    if (writer->err != OK) {
        return;
    }
    if (text.count > writer->bytes_max) {
        writer->err = ERR_TOO_LARGE;
        return;
    }
    size_t before = buf_count(writer->out);
    account(writer, before, json_escape(writer->out, text));
}

/* The comma and the key before a value. */
static void before_value(struct json_writer *writer, const char *key)
{
    uint64_t bit = 1ull << writer->depth;
    bool in_object = (writer->is_object & bit) != 0;

    ASSERT(in_object == (key != NULL));
    ASSERT(writer->depth > 0 || (writer->has_members & bit) == 0); /* one value at the top */
    if ((writer->has_members & bit) != 0) {
        put(writer, ",");
    }
    writer->has_members |= bit;
    if (key != NULL) {
        put_escaped(writer, slice_text(key));
        put(writer, ":");
    }
}

static void begin(struct json_writer *writer, const char *key, bool is_object)
{
    before_value(writer, key);
    ASSERT(writer->depth < JSON_WRITER_DEPTH_MAX);
    writer->depth++;
    uint64_t bit = 1ull << writer->depth;
    writer->has_members &= ~bit;
    writer->is_object = is_object ? writer->is_object | bit : writer->is_object & ~bit;
    put(writer, is_object ? "{" : "[");
}

static void end(struct json_writer *writer, bool is_object)
{
    ASSERT(writer->depth > 0);
    ASSERT(((writer->is_object >> writer->depth & 1) != 0) == is_object);
    writer->depth--;
    put(writer, is_object ? "}" : "]");
}

void json_object_begin(struct json_writer *writer, const char *key)
{
    begin(writer, key, true);
}

void json_object_end(struct json_writer *writer)
{
    end(writer, true);
}

void json_array_begin(struct json_writer *writer, const char *key)
{
    begin(writer, key, false);
}

void json_array_end(struct json_writer *writer)
{
    end(writer, false);
}

void json_add_text(struct json_writer *writer, const char *key, struct slice text)
{
    before_value(writer, key);
    put_escaped(writer, text);
}

static void add_literal(struct json_writer *writer, const char *key, const char *literal)
{
    before_value(writer, key);
    put(writer, literal);
}

void json_add_u64(struct json_writer *writer, const char *key, uint64_t number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    add_literal(writer, key, digits);
}

void json_add_i64(struct json_writer *writer, const char *key, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%lld", (long long)number);
    add_literal(writer, key, digits);
}

void json_add_f64(struct json_writer *writer, const char *key, double number)
{
    char digits[32];
    if (!isfinite(number)) {
        json_add_null(writer, key); /* JSON has no word for it */
        return;
    }
    /* 15 digits read better and are often exact; 17 always are. */
    snprintf(digits, sizeof(digits), "%.15g", number);
    if (strtod(digits, NULL) != number) {
        snprintf(digits, sizeof(digits), "%.17g", number);
    }
    add_literal(writer, key, digits);
}

void json_add_bool(struct json_writer *writer, const char *key, bool is_true)
{
    add_literal(writer, key, is_true ? "true" : "false");
}

void json_add_null(struct json_writer *writer, const char *key)
{
    add_literal(writer, key, "null");
}

enum err json_writer_end(struct json_writer *writer)
{
    ASSERT(writer->depth == 0);
    return writer->err;
}
