#include "bench/crew/crew_message.h"

#include "bench/crew/crew_room.h"
#include "bench/report/environment.h"
#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES_MAX = 32 * 1024 * 1024, DEPTH_MAX = 3 };

enum how { AS_TEXT, AS_STAGE, AS_NUMBER, AS_SIGNED, AS_NUMBERS, AS_TEXTS };

#define MEMBER_INDEX(name, ...) INDEX_##name,
enum { CREW_MEMBER_TABLE(MEMBER_INDEX) MEMBER_COUNT };
#undef MEMBER_INDEX

#define MEMBER_BIT(name, ...) name = 1 << INDEX_##name,
enum { CREW_MEMBER_TABLE(MEMBER_BIT) };
#undef MEMBER_BIT

#define MEMBER_ROW(name, key, how, field) {key, how, offsetof(struct crew_message, field)},
static const struct member {
    const char *key;
    enum how how;
    size_t offset;
} members[MEMBER_COUNT] = {CREW_MEMBER_TABLE(MEMBER_ROW)};
#undef MEMBER_ROW

#define SAY_ROW(name, word, has) {word, has},
static const struct {
    const char *word;
    uint32_t has; /* a bit per member */
} says[CREW_SAY_COUNT] = {CREW_SAY_TABLE(SAY_ROW)};
#undef SAY_ROW

const char *crew_version(char out[CREW_VERSION_BYTES])
{
    snprintf(out, CREW_VERSION_BYTES, "%s %s", TERN_VERSION, environment_commit());
    return out;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_numbers(struct json_writer *writer, const char *key,
                          const struct crew_numbers *numbers)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < numbers->count; i++) {
        json_add_u64(writer, NULL, numbers->values[i]);
    }
    json_array_end(writer);
}

static void write_texts(struct json_writer *writer, const char *key, const struct crew_texts *texts)
{
    json_array_begin(writer, key);
    for (uint32_t i = 0; i < texts->count; i++) {
        json_add_text(writer, NULL, slice_text(texts->values[i]));
    }
    json_array_end(writer);
}

static void write_member(struct json_writer *writer, const struct member *member,
                         const struct crew_message *message)
{
    const void *field = (const char *)message + member->offset;
    switch (member->how) {
    case AS_TEXT:
        json_add_text(writer, member->key, *(const struct slice *)field);
        return;
    case AS_STAGE:
        json_add_text(writer, member->key,
                      slice_text(crew_stage_name((enum crew_stage) * (const uint64_t *)field)));
        return;
    case AS_NUMBER:
        json_add_u64(writer, member->key, *(const uint64_t *)field);
        return;
    case AS_SIGNED:
        json_add_i64(writer, member->key, *(const int64_t *)field);
        return;
    case AS_NUMBERS:
        write_numbers(writer, member->key, field);
        return;
    case AS_TEXTS:
        write_texts(writer, member->key, field);
        return;
    }
}

enum err crew_message_write(const struct crew_message *message, struct buf *out)
{
    ASSERT(message->say < CREW_SAY_COUNT);
    struct json_writer writer = json_writer(out, LINE_BYTES_MAX - 1);
    json_object_begin(&writer, NULL);
    json_add_text(&writer, "say", slice_text(says[message->say].word));
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        if ((says[message->say].has & (1u << i)) != 0) {
            write_member(&writer, &members[i], message);
        }
    }
    json_object_end(&writer);
    TRY(json_writer_end(&writer));
    return buf_append(out, slice_text("\n"));
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum err read_stage(const struct json *value, uint64_t *out)
{
    struct slice name;
    TRY(json_get_text(value, &name));
    for (enum crew_stage stage = 0; stage < CREW_STAGE_COUNT; stage++) {
        if (slice_is(name, crew_stage_name(stage))) {
            *out = stage;
            return OK;
        }
    }
    return ERR_INVALID;
}

static enum err read_numbers(const struct json *value, struct crew_numbers *out)
{
    size_t count = json_count(value);
    if (json_kind(value) != JSON_IS_ARRAY || count > CREW_PUBLISHERS_MAX) {
        return ERR_INVALID;
    }
    out->values = calloc(count + 1, sizeof(out->values[0])); /* an empty one is no failure */
    if (out->values == NULL) {
        return ERR_NOMEM;
    }
    out->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        TRY(json_get_u64(json_item(value, i), &out->values[i]));
    }
    return OK;
}

/* Texts of a document have a NUL behind them, and none inside: json_read() refuses that. */
static enum err read_texts(const struct json *value, struct crew_texts *out)
{
    size_t count = json_count(value);
    if (json_kind(value) != JSON_IS_ARRAY || count > CREW_TEXTS_MAX) {
        return ERR_INVALID;
    }
    out->values = calloc(count + 1, sizeof(out->values[0]));
    if (out->values == NULL) {
        return ERR_NOMEM;
    }
    out->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        struct slice text;
        TRY(json_get_text(json_item(value, i), &text));
        out->values[i] = (const char *)text.data;
    }
    return OK;
}

static enum err read_member(const struct json *object, const struct member *member,
                            struct crew_message *out)
{
    const struct json *value = json_member(object, member->key);
    void *field = (char *)out + member->offset;
    switch (member->how) {
    case AS_TEXT:
        return json_get_text(value, field);
    case AS_STAGE:
        return read_stage(value, field);
    case AS_NUMBER:
        return json_get_u64(value, field);
    case AS_SIGNED:
        return json_get_i64(value, field);
    case AS_NUMBERS:
        return read_numbers(value, field);
    case AS_TEXTS:
        return read_texts(value, field);
    }
    return ERR_INVALID;
}

static enum err read_say(const struct json *object, enum crew_say *out)
{
    struct slice word;
    TRY(json_get_text(json_member(object, "say"), &word));
    for (uint32_t i = 0; i < CREW_SAY_COUNT; i++) {
        if (slice_is(word, says[i].word)) {
            *out = (enum crew_say)i;
            return OK;
        }
    }
    return ERR_INVALID;
}

static enum err read_members(struct crew_message *out, char problem[CREW_PROBLEM_BYTES])
{
    if (read_say(out->document, &out->say) != OK) {
        snprintf(problem, CREW_PROBLEM_BYTES, "it does not say what it is ('say')");
        return ERR_MALFORMED;
    }
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        if ((says[out->say].has & (1u << i)) == 0) {
            continue;
        }
        enum err err = read_member(out->document, &members[i], out);
        if (err == ERR_NOMEM) {
            return err;
        }
        if (err != OK) {
            snprintf(problem, CREW_PROBLEM_BYTES, "'%s' without a proper '%s'", says[out->say].word,
                     members[i].key);
            return ERR_MALFORMED;
        }
    }
    return OK;
}

enum err crew_message_read(struct slice line, struct crew_message *out,
                           char problem[CREW_PROBLEM_BYTES])
{
    struct json_limits limits = {.bytes_max = LINE_BYTES_MAX, .depth_max = DEPTH_MAX};
    char json_problem[JSON_PROBLEM_BYTES];
    struct crew_message message = {0};

    enum err err = json_read(line, &limits, &message.document, json_problem);
    if (err != OK) {
        snprintf(problem, CREW_PROBLEM_BYTES, "%s", json_problem);
        return err == ERR_NOMEM ? err : ERR_MALFORMED;
    }
    err = read_members(&message, problem);
    if (err != OK) {
        crew_message_deinit(&message);
        return err;
    }
    *out = message;
    return OK;
}

void crew_message_deinit(struct crew_message *message)
{
    free(message->sent.values);
    free(message->second.values);
    free(message->texts.values);
    json_free(message->document);
    *message = (struct crew_message){0};
}
