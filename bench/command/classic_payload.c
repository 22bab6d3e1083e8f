#include "bench/command/classic_payload.h"

#include "bench/load/check.h"
#include "core/base/assert.h"
#include "core/base/buf.h"
#include "core/base/rng.h"
#include "core/io/sys.h"
#include "core/wire/mqtt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    HEADERS_MAX = 2,
    HEADER_BYTES = 8,
    PARTS_MAX = 64,
    TEMPLATE_BYTES_MAX = 16 * 1024 * 1024,
    NUMBER_BYTES = 24,
};

static const char template_prefix[] = "template://";

enum header { HEADER_COUNT, HEADER_TIME };

enum part_kind { LITERAL, TIME_MS, TIME_US, TIME_NS, UNIQUE, RANDOM };

/* clang-format off */
static const struct {
    const char *name;
    enum part_kind kind;
} variables[] = {
    {"%TIMESTAMP%",   TIME_MS},
    {"%TIMESTAMPMS%", TIME_MS},
    {"%TIMESTAMPUS%", TIME_US},
    {"%TIMESTAMPNS%", TIME_NS},
    {"%UNIQUE%",      UNIQUE},
    {"%RANDOM%",      RANDOM},
};
/* clang-format on */

enum { VARIABLE_COUNT = sizeof(variables) / sizeof(variables[0]) };

struct payload {
    enum header headers[HEADERS_MAX];
    uint32_t header_count;
    uint32_t size;
    bool is_message; /* parts say what it is; else stamp or letters */
    char *template;  /* what literal parts point into; NULL: they borrow from the options */
    struct part {
        enum part_kind kind;
        struct slice literal;
    } parts[PARTS_MAX];
    uint32_t part_count;
    uint64_t unique;
    struct rng rng;
    struct buf made;
};

/* ---- reading the options ------------------------------------------------------------------- */

static enum err read_headers(struct payload *payload, const char *text,
                             char problem[PAYLOAD_PROBLEM_BYTES])
{
    while (text != NULL && *text != '\0') {
        size_t count = strcspn(text, ",");
        struct slice name = slice_of(text, count);
        bool is_count = slice_is(name, "cnt64");
        if ((!is_count && !slice_is(name, "ts")) || payload->header_count == HEADERS_MAX) {
            snprintf(problem, PAYLOAD_PROBLEM_BYTES,
                     "--payload-hdrs: '%.*s': headers are cnt64, ts or both, with a comma",
                     (int)(count > 40 ? 40 : count), text);
            return ERR_INVALID;
        }
        payload->headers[payload->header_count++] = is_count ? HEADER_COUNT : HEADER_TIME;
        text += count + (text[count] == ',' ? 1 : 0);
    }
    return OK;
}

static enum err add_part(struct payload *payload, enum part_kind kind, struct slice literal,
                         char problem[PAYLOAD_PROBLEM_BYTES])
{
    if (kind == LITERAL && literal.count == 0) {
        return OK;
    }
    if (payload->part_count == PARTS_MAX) {
        snprintf(problem, PAYLOAD_PROBLEM_BYTES, "-m: more than %d pieces in the template",
                 PARTS_MAX);
        return ERR_INVALID;
    }
    payload->parts[payload->part_count++] = (struct part){kind, literal};
    return OK;
}

/* Cut the template at its variables; a % that begins none stays as it is. */
static enum err cut_template(struct payload *payload, struct slice text,
                             char problem[PAYLOAD_PROBLEM_BYTES])
{
    size_t begin = 0;
    for (size_t at = 0; at < text.count; at++) {
        if (text.data[at] != '%') {
            continue;
        }
        for (uint32_t i = 0; i < VARIABLE_COUNT; i++) {
            struct slice name = slice_text(variables[i].name);
            if (!slice_starts_with(slice_skip(text, at), name)) {
                continue;
            }
            TRY(add_part(payload, LITERAL, slice_of(text.data + begin, at - begin), problem));
            TRY(add_part(payload, variables[i].kind, slice_of(NULL, 0), problem));
            begin = at + name.count;
            at = begin - 1;
            break;
        }
    }
    return add_part(payload, LITERAL, slice_skip(text, begin), problem);
}

static enum err read_message(struct payload *payload, const char *message,
                             char problem[PAYLOAD_PROBLEM_BYTES])
{
    const char *path = message + strlen(template_prefix);
    size_t count = 0;

    payload->is_message = true;
    if (strncmp(message, template_prefix, strlen(template_prefix)) != 0) {
        return add_part(payload, LITERAL, slice_text(message), problem);
    }
    enum err err = sys_load_file(path, TEMPLATE_BYTES_MAX, &payload->template, &count);
    if (err != OK) {
        snprintf(problem, PAYLOAD_PROBLEM_BYTES, "-m: %.150s: %s", path, err_text(err));
        return ERR_INVALID;
    }
    return cut_template(payload, slice_of(payload->template, count), problem);
}

enum err payload_new(const struct options *options, struct payload **out,
                     char problem[PAYLOAD_PROBLEM_BYTES])
{
    struct payload *payload = calloc(1, sizeof(*payload));

    snprintf(problem, PAYLOAD_PROBLEM_BYTES, "%s", err_text(ERR_NOMEM));
    if (payload == NULL) {
        return ERR_NOMEM;
    }
    payload->size = (uint32_t)options->payload_bytes;
    rng_init(&payload->rng, rng_system_seed());
    payload->unique = rng_below(&payload->rng, (uint64_t)1 << 40);
    enum err err = read_headers(payload, options->payload_headers, problem);
    if (err == OK && options->message != NULL) {
        err = read_message(payload, options->message, problem);
    }
    if (err != OK) {
        payload_free(payload);
        return err;
    }
    problem[0] = '\0';
    *out = payload;
    return OK;
}

void payload_free(struct payload *payload)
{
    if (payload != NULL) {
        free(payload->template);
        buf_deinit(&payload->made);
        free(payload);
    }
}

/* ---- making one ---------------------------------------------------------------------------- */

static uint64_t calendar_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static enum err add_header(struct payload *payload, enum header header, uint64_t sequence)
{
    uint64_t value = header == HEADER_COUNT ? sequence : calendar_ns() / 1000000;
    uint8_t bytes[HEADER_BYTES];
    for (int i = 0; i < HEADER_BYTES; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (HEADER_BYTES - 1 - i)));
    }
    return buf_append(&payload->made, slice_of(bytes, sizeof(bytes)));
}

static enum err add_number(struct payload *payload, uint64_t number)
{
    char text[NUMBER_BYTES];
    int count = snprintf(text, sizeof(text), "%" PRIu64, number);
    return buf_append(&payload->made, slice_of(text, (size_t)count));
}

/* --size random letters and digits. */
static enum err add_random(struct payload *payload)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    TRY(buf_reserve(&payload->made, payload->size));
    uint8_t *out = buf_tail(&payload->made);
    uint64_t bits = 0;
    for (uint32_t i = 0; i < payload->size; i++) {
        bits = i % 10 == 0 ? rng_u64(&payload->rng) : bits >> 6;
        out[i] = (uint8_t)letters[bits & 63];
    }
    buf_commit(&payload->made, payload->size);
    return OK;
}

static enum err add_part_of(struct payload *payload, const struct part *part)
{
    switch (part->kind) {
    case LITERAL:
        return buf_append(&payload->made, part->literal);
    case TIME_MS:
        return add_number(payload, calendar_ns() / 1000000);
    case TIME_US:
        return add_number(payload, calendar_ns() / 1000);
    case TIME_NS:
        return add_number(payload, calendar_ns());
    case UNIQUE:
        return add_number(payload, ++payload->unique);
    case RANDOM:
        return add_random(payload);
    }
    return OK;
}

static enum err make(struct payload *payload, const struct stamp *stamp)
{
    for (uint32_t i = 0; i < payload->header_count; i++) {
        TRY(add_header(payload, payload->headers[i], stamp->sequence));
    }
    for (uint32_t i = 0; i < payload->part_count; i++) {
        TRY(add_part_of(payload, &payload->parts[i]));
    }
    if (payload->is_message || payload->size == 0) {
        return OK;
    }
    TRY(buf_reserve(&payload->made, payload->size));
    if (payload->size >= STAMP_BYTES) {
        stamp_write(buf_tail(&payload->made), payload->size, stamp);
    } else {
        memset(buf_tail(&payload->made), 'a', payload->size);
    }
    buf_commit(&payload->made, payload->size);
    return OK;
}

struct slice payload_make(struct payload *payload, uint32_t number, uint64_t sequence,
                          uint64_t moment_ns)
{
    static const uint8_t nothing[1];
    struct stamp stamp = {.publisher = number, .sequence = sequence, .sent_ns = moment_ns};

    buf_consume(&payload->made, buf_count(&payload->made));
    if (make(payload, &stamp) != OK ||
        buf_count(&payload->made) > MQTT_REMAINING_MAX - UINT16_MAX - 64) {
        return slice_of(NULL, 0);
    }
    return buf_count(&payload->made) == 0 ? slice_of(nothing, 0) : buf_bytes(&payload->made);
}

/* ---- reading one --------------------------------------------------------------------------- */

struct payload_facts payload_read(const struct payload *payload, struct slice bytes,
                                  bool is_stamped)
{
    struct payload_facts facts = {0};
    struct stamp stamp;

    for (uint32_t i = 0; i < payload->header_count && bytes.count >= HEADER_BYTES; i++) {
        uint64_t value = 0;
        for (int j = 0; j < HEADER_BYTES; j++) {
            value = value << 8 | bytes.data[j];
        }
        if (payload->headers[i] == HEADER_COUNT) {
            facts.has_count = true;
            facts.count = value;
        } else {
            facts.has_time = true;
            facts.time_ms = value;
        }
        bytes = slice_skip(bytes, HEADER_BYTES);
    }
    if (is_stamped && stamp_read(bytes, &stamp)) {
        facts.has_stamp = true;
        facts.stamp_ns = stamp.sent_ns;
    }
    return facts;
}
