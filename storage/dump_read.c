#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/pubsub/topic.h"
#include "core/session/session.h"
#include "core/wire/props.h"
#include "storage/dump.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEPTH_MAX = 3, QOS_MAX = 2, SEQUENCE_MIN = 1 };

/* What is read, and where the first trouble is told. */
struct source {
    struct dump_line *line;
    size_t byte_count; /* of line->bytes: used so far */
    char *problem;
};

static enum err refuse(const struct source *source, const char *name, const char *wanted)
{
    snprintf(source->problem, DUMP_PROBLEM_BYTES, "\"%s\" is not there, or not %s", name, wanted);
    return ERR_INVALID;
}

/* ---- members ---------------------------------------------------------------------------------- */

/* Not there: 0. */
static enum err number_of(const struct source *source, const struct json *object, const char *name,
                          uint64_t max, uint64_t *out)
{
    const struct json *value = json_member(object, name);
    uint64_t number = 0;
    if (value != NULL && (json_get_u64(value, &number) != OK || number > max)) {
        return refuse(source, name, "such a number as it has to be");
    }
    *out = number;
    return OK;
}

static enum err u32_of(const struct source *source, const struct json *object, const char *name,
                       uint32_t max, uint32_t *out)
{
    uint64_t number;
    TRY(number_of(source, object, name, max, &number));
    *out = (uint32_t)number;
    return OK;
}

static enum err qos_of(const struct source *source, const struct json *object, uint8_t *out)
{
    uint32_t number;
    TRY(u32_of(source, object, "qos", QOS_MAX, &number));
    *out = (uint8_t)number;
    return OK;
}

/* Not there: false. */
static enum err bool_of(const struct source *source, const struct json *object, const char *name,
                        bool *out)
{
    const struct json *value = json_member(object, name);
    *out = false;
    return value == NULL || json_get_bool(value, out) == OK ? OK
                                                            : refuse(source, name, "true or false");
}

/* As MQTT has texts: 65535 bytes at most. Not there: data NULL. */
static enum err text_of(const struct source *source, const struct json *object, const char *name,
                        struct slice *out)
{
    const struct json *value = json_member(object, name);
    struct slice text = {NULL, 0};
    if (value != NULL &&
        (json_get_text(value, &text) != OK || text.count > UINT16_MAX || !utf8_is_valid(text))) {
        return refuse(source, name, "a text of at most 65535 bytes");
    }
    *out = text;
    return OK;
}

/* 16 hexadecimal digits. Not there: 0. */
static enum err key_of(const struct source *source, const struct json *object, const char *name,
                       uint64_t *out)
{
    const struct json *value = json_member(object, name);
    struct slice text;
    uint8_t bytes[DUMP_KEY_DIGITS / 2];
    uint64_t key = 0;
    if (value != NULL) {
        if (json_get_text(value, &text) != OK || text.count != DUMP_KEY_DIGITS ||
            text_read_hex(text, bytes) != OK) {
            return refuse(source, name, "16 hexadecimal digits");
        }
        for (size_t i = 0; i < sizeof(bytes); i++) {
            key = key << 8 | bytes[i];
        }
    }
    *out = key;
    return OK;
}

/* How many bytes its base64 members come to, at most: they share one block. */
static size_t base64_bytes(const struct json *message)
{
    struct slice payload = {NULL, 0}, props = {NULL, 0};
    json_get_text(json_member(message, "payload_base64"), &payload);
    json_get_text(json_member(message, "properties_base64"), &props);
    return TEXT_BASE64_READ_BYTES(payload.count) + TEXT_BASE64_READ_BYTES(props.count);
}

static enum err base64_of(struct source *source, const struct json *object, const char *name,
                          struct slice *out)
{
    const struct json *value = json_member(object, name);
    struct slice text;
    size_t count;
    *out = slice_of(NULL, 0);
    if (value == NULL) {
        return OK;
    }
    if (json_get_text(value, &text) != OK) {
        return refuse(source, name, "base64");
    }
    if (text.count == 0) {
        return OK;
    }
    uint8_t *bytes = source->line->bytes + source->byte_count;
    if (text_read_base64(TEXT_BASE64, text, bytes, &count) != OK) {
        return refuse(source, name, "base64");
    }
    source->byte_count += count;
    *out = slice_of(bytes, count);
    return OK;
}

/* ---- messages ----------------------------------------------------------------------------------- */

/* Only what a broker keeps with a message, and no byte that is not a property. */
static bool props_are_good(struct slice props)
{
    struct slice rest = props;
    struct prop_item item;
    size_t count = 0;
    while (props_next(&rest, &item)) {
        count += (PROP_BIT(item.prop) & PROPS_FORWARDABLE) != 0 ? item.bytes.count : 0;
    }
    return count == props.count;
}

static enum err payload_of(struct source *source, const struct json *message, struct slice *out)
{
    const struct json *text = json_member(message, "payload");
    TRY(base64_of(source, message, "payload_base64", out));
    if (text != NULL && (out->count > 0 || json_get_text(text, out) != OK)) {
        return refuse(source, "payload", "a text, without \"payload_base64\" beside it");
    }
    return out->count <= VARINT_MAX ? OK : refuse(source, "payload", "of at most 256 MiB");
}

static enum err spec_of(struct source *source, const struct json *message, struct msg_spec *out)
{
    struct msg_spec spec = {0};
    size_t bytes = base64_bytes(message);
    ASSERT(source->line->bytes == NULL); /* a line has one message */
    if (bytes > 0) {
        source->line->bytes = malloc(bytes);
        if (source->line->bytes == NULL) {
            return ERR_NOMEM;
        }
    }
    TRY(text_of(source, message, "topic", &spec.topic));
    if (topic_name_check(spec.topic, UINT32_MAX) != OK) {
        return refuse(source, "topic", "a topic name");
    }
    TRY(payload_of(source, message, &spec.payload));
    TRY(base64_of(source, message, "properties_base64", &spec.props));
    if (!props_are_good(spec.props)) {
        return refuse(source, "properties_base64", "properties of a message in MQTT 5");
    }
    TRY(qos_of(source, message, &spec.qos));
    TRY(bool_of(source, message, "retain", &spec.retain));
    TRY(key_of(source, message, "publisher", &spec.publisher));
    TRY(number_of(source, message, "expires_ms", INT64_MAX, &spec.expires_wall_ms));
    TRY(u32_of(source, message, "expiry_s", UINT32_MAX, &spec.expiry_s));
    *out = spec;
    return OK;
}

static enum err message_of(struct source *source, const struct json *object, struct msg_spec *out)
{
    const struct json *message = json_member(object, "message");
    return json_kind(message) == JSON_IS_OBJECT ? spec_of(source, message, out)
                                                : refuse(source, "message", "an object");
}

/* ---- lines -------------------------------------------------------------------------------------- */

static enum err read_export(struct source *source, const struct json *object)
{
    TRY(number_of(source, object, "format", INT64_MAX, &source->line->number));
    if (source->line->number != DUMP_FORMAT) {
        snprintf(source->problem, DUMP_PROBLEM_BYTES,
                 "it has format %llu, and this program knows %d: use a newer ternctl",
                 (unsigned long long)source->line->number, DUMP_FORMAT);
        return ERR_UNSUPPORTED;
    }
    return OK;
}

static enum err will_of(struct source *source, const struct json *object, struct op_will *out)
{
    const struct json *will = json_member(object, "will");
    if (will == NULL) {
        return OK;
    }
    TRY(spec_of(source, will, &out->message));
    TRY(u32_of(source, will, "delay_s", UINT32_MAX, &out->delay_s));
    out->has_expiry = json_member(will, "will_expiry_s") != NULL;
    return u32_of(source, will, "will_expiry_s", UINT32_MAX, &out->expiry_s);
}

static enum err read_session(struct source *source, const struct json *object)
{
    struct session_record *session = &source->line->session;
    struct op_open *open = &session->open;
    *session = (struct session_record){.key = source->line->key};
    TRY(text_of(source, object, "client", &open->client_id));
    if (open->client_id.count == 0) {
        return refuse(source, "client", "a client identifier");
    }
    TRY(text_of(source, object, "user", &open->username));
    TRY(u32_of(source, object, "listener", UINT16_MAX, &open->listener_index));
    const struct json *expiry = json_member(object, "expiry_s");
    if (expiry != NULL && json_kind(expiry) == JSON_IS_NULL) {
        open->expiry_s = EXPIRY_NEVER;
    } else {
        TRY(u32_of(source, object, "expiry_s", UINT32_MAX, &open->expiry_s));
    }
    session->is_closed = json_member(object, "closed_ms") != NULL;
    TRY(number_of(source, object, "opened_ms", INT64_MAX, &session->opened_wall_ms));
    TRY(number_of(source, object, "closed_ms", INT64_MAX, &session->closed_wall_ms));
    TRY(number_of(source, object, "sent_sequence", INT64_MAX, &session->sent_sequence));
    return will_of(source, object, &open->will);
}

static enum err read_subscription(struct source *source, const struct json *object)
{
    struct op_subscribe *record = &source->line->subscription;
    struct topic_filter parts;
    *record = (struct op_subscribe){0};
    TRY(text_of(source, object, "filter", &record->text));
    if (topic_filter_parse(record->text, UINT32_MAX, &parts) != OK) {
        return refuse(source, "filter", "a topic filter");
    }
    record->share_name = parts.share;
    record->filter = parts.filter;
    TRY(text_of(source, object, "mount", &record->prefix));
    TRY(qos_of(source, object, &record->qos));
    TRY(u32_of(source, object, "id", VARINT_MAX, &record->id));
    TRY(bool_of(source, object, "no_local", &record->no_local));
    return bool_of(source, object, "retain_as_published", &record->retain_as_published);
}

static enum err read_packet_id(struct source *source, const struct json *object)
{
    TRY(number_of(source, object, "packet_id", UINT16_MAX, &source->line->number));
    return source->line->number > 0 ? OK : refuse(source, "packet_id", "from 1 to 65535");
}

static enum err ids_of(struct source *source, const struct json *object, struct item_record *item)
{
    const struct json *ids = json_member(object, "ids");
    size_t count = json_count(ids);
    if (ids == NULL || count == 0) {
        return OK;
    }
    if (count > UINT16_MAX || json_kind(ids) != JSON_IS_ARRAY) {
        return refuse(source, "ids", "an array of numbers");
    }
    source->line->ids = malloc(count * sizeof(*source->line->ids));
    if (source->line->ids == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t id;
        if (json_get_u64(json_item(ids, i), &id) != OK || id == 0 || id > VARINT_MAX) {
            return refuse(source, "ids", "numbers from 1 to 268435455");
        }
        source->line->ids[i] = (uint32_t)id;
    }
    item->ids = source->line->ids;
    item->id_count = (uint32_t)count;
    return OK;
}

static enum err read_item(struct source *source, const struct json *object)
{
    struct item_record *item = &source->line->item;
    struct topic_filter parts;
    *item = (struct item_record){0};
    TRY(number_of(source, object, "sequence", INT64_MAX, &source->line->number));
    if (source->line->number < SEQUENCE_MIN) {
        return refuse(source, "sequence", "a number from 1 on");
    }
    TRY(qos_of(source, object, &item->qos));
    TRY(bool_of(source, object, "retain", &item->retain));
    TRY(bool_of(source, object, "awaits_pubcomp", &item->awaits_pubcomp));
    TRY(text_of(source, object, "share", &item->share_text));
    if (item->share_text.count > 0 &&
        (topic_filter_parse(item->share_text, UINT32_MAX, &parts) != OK ||
         parts.share.count == 0)) {
        return refuse(source, "share", "a filter that begins with $share/");
    }
    TRY(ids_of(source, object, item));
    if (item->awaits_pubcomp) {
        return item->qos == 2 ? OK : refuse(source, "qos", "2, as it is where PUBCOMP is awaited");
    }
    return message_of(source, object, &item->spec);
}

static enum err read_retained(struct source *source, const struct json *object)
{
    return message_of(source, object, &source->line->message);
}

static enum err read_number(struct source *source, const struct json *object)
{
    TRY(u32_of(source, object, "partition", PARTITION_COUNT - 1, &source->line->partition));
    TRY(u32_of(source, object, "source", PARTITION_COUNT - 1, &source->line->source));
    TRY(number_of(source, object, "number", INT64_MAX, &source->line->number));
    return source->line->number > 0 ? OK : refuse(source, "number", "from 1 on");
}

static enum err read_taken(struct source *source, const struct json *object)
{
    TRY(read_number(source, object));
    TRY(key_of(source, object, "group", &source->line->key));
    return source->line->key > 0 ? OK : refuse(source, "group", "16 hexadecimal digits");
}

/* "name/filter" */
static bool is_group(struct slice text)
{
    const uint8_t *slash = memchr(text.data, '/', text.count);
    if (slash == NULL || slash == text.data) {
        return false;
    }
    struct topic_filter parts;
    struct slice filter = slice_skip(text, (size_t)(slash - text.data) + 1);
    return topic_filter_parse(filter, UINT32_MAX, &parts) == OK && parts.share.count == 0;
}

static enum err read_outbox(struct source *source, const struct json *object)
{
    struct outgoing_record *record = &source->line->outgoing;
    *record = (struct outgoing_record){.group = {0}};
    TRY(read_number(source, object));
    TRY(text_of(source, object, "group", &record->group));
    if (record->group.count > 0 && !is_group(record->group)) {
        return refuse(source, "group", "the name and the filter of a shared subscription");
    }
    return message_of(source, object, &record->message);
}

static enum err read_last(struct source *source, const struct json *object)
{
    return number_of(source, object, "lines", INT64_MAX, &source->line->number);
}

static const struct type {
    const char *name;
    enum dump_kind kind;
    bool has_key;
    enum err (*read)(struct source *source, const struct json *object);
} types[] = {
    {"export", DUMP_EXPORT, false, read_export},
    {"session", DUMP_SESSION, true, read_session},
    {"subscription", DUMP_SUBSCRIPTION, true, read_subscription},
    {"packet_id", DUMP_PACKET_ID, true, read_packet_id},
    {"message", DUMP_ITEM, true, read_item},
    {"retained", DUMP_RETAINED, false, read_retained},
    {"outbox", DUMP_OUTBOX, false, read_outbox},
    {"received", DUMP_RECEIVED, false, read_number},
    {"taken", DUMP_TAKEN, false, read_taken},
    {"end", DUMP_END, false, read_last},
};

static const struct type *type_find(struct slice name)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (slice_is(name, types[i].name)) {
            return &types[i];
        }
    }
    return NULL;
}

static enum err object_read(struct source *source, const struct json *object)
{
    struct slice name;
    if (json_get_text(json_member(object, "type"), &name) != OK) {
        return refuse(source, "type", "a text");
    }
    const struct type *type = type_find(name);
    if (type == NULL) {
        snprintf(source->problem, DUMP_PROBLEM_BYTES,
                 "its \"type\" is not known: use a newer ternctl");
        return ERR_UNSUPPORTED;
    }
    source->line->kind = type->kind;
    if (type->has_key) {
        TRY(key_of(source, object, "session", &source->line->key));
        if (source->line->key == 0) {
            return refuse(source, "session", "16 hexadecimal digits");
        }
    }
    return type->read(source, object);
}

enum err dump_read(struct slice line, struct dump_line *out, char problem[DUMP_PROBLEM_BYTES])
{
    static const struct json_limits limits = {.bytes_max = DUMP_LINE_MAX, .depth_max = DEPTH_MAX};
    char why[JSON_PROBLEM_BYTES] = "";
    struct source source = {.line = out, .problem = problem};
    *out = (struct dump_line){0};
    problem[0] = '\0';
    enum err err = json_read(line, &limits, &out->document, why);
    if (err != OK) {
        static const char first[] = "line 1 "; /* there is but this one */
        const char *where = strncmp(why, first, sizeof(first) - 1) == 0 ? why + sizeof(first) - 1
                                                                        : why;
        snprintf(problem, DUMP_PROBLEM_BYTES, "it is no JSON object: %s", where);
        out->document = NULL;
        return err == ERR_LIMIT ? ERR_INVALID : err;
    }
    err = object_read(&source, out->document);
    if (err != OK) {
        dump_line_deinit(out);
    }
    return err;
}

void dump_line_deinit(struct dump_line *line)
{
    json_free(line->document);
    free(line->bytes);
    free(line->ids);
    line->document = NULL;
    line->bytes = NULL;
    line->ids = NULL;
}
