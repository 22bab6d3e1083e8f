#include "storage/dump.h"

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/session/session.h"

#include <stdlib.h>

/* ---- parts of a line ------------------------------------------------------------------------- */

static void add_key(struct json_writer *w, const char *name, uint64_t key)
{
    static const char digits[] = "0123456789abcdef";
    char text[DUMP_KEY_DIGITS];
    for (int i = 0; i < DUMP_KEY_DIGITS; i++) {
        text[i] = digits[key >> (60 - 4 * i) & 15];
    }
    json_add_text(w, name, slice_of(text, DUMP_KEY_DIGITS));
}

static void add_number(struct json_writer *w, const char *name, uint64_t number)
{
    if (number > 0) {
        json_add_u64(w, name, number);
    }
}

static void add_true(struct json_writer *w, const char *name, bool is_true)
{
    if (is_true) {
        json_add_bool(w, name, true);
    }
}

static void add_text(struct json_writer *w, const char *name, struct slice text)
{
    if (text.count > 0) {
        json_add_text(w, name, text);
    }
}

static void add_base64(struct json_writer *w, const char *name, struct slice bytes)
{
    char small[512];
    size_t count = TEXT_BASE64_BYTES(bytes.count);
    char *text = count <= sizeof(small) ? small : malloc(count);
    if (bytes.count == 0) {
        return;
    }
    if (text == NULL) {
        w->err = w->err == OK ? ERR_NOMEM : w->err;
        return;
    }
    json_add_text(w, name, slice_of(text, text_base64(TEXT_BASE64, bytes, text)));
    if (text != small) {
        free(text);
    }
}

/* The members of a message; the object is the caller's. */
static void add_spec(struct json_writer *w, const struct msg_spec *spec)
{
    json_add_text(w, "topic", spec->topic);
    add_number(w, "qos", spec->qos);
    add_true(w, "retain", spec->retain);
    if (utf8_is_valid(spec->payload)) {
        add_text(w, "payload", spec->payload);
    } else {
        add_base64(w, "payload_base64", spec->payload);
    }
    add_base64(w, "properties_base64", spec->props);
    if (spec->publisher != 0) {
        add_key(w, "publisher", spec->publisher);
    }
    add_number(w, "expires_ms", spec->expires_wall_ms);
    add_number(w, "expiry_s", spec->expiry_s);
}

static void add_message(struct json_writer *w, const struct msg_spec *spec)
{
    json_object_begin(w, "message");
    add_spec(w, spec);
    json_object_end(w);
}

static void add_will(struct json_writer *w, const struct op_will *will)
{
    if (will->message.topic.count == 0) {
        return;
    }
    json_object_begin(w, "will");
    add_spec(w, &will->message);
    add_number(w, "delay_s", will->delay_s);
    if (will->has_expiry) {
        json_add_u64(w, "will_expiry_s", will->expiry_s);
    }
    json_object_end(w);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static struct json_writer line_begin(struct dumper *dumper, const char *type)
{
    struct json_writer w = json_writer(&dumper->buf, DUMP_LINE_MAX);
    json_object_begin(&w, NULL);
    json_add_text(&w, "type", slice_text(type));
    return w;
}

static enum err line_end(struct dumper *dumper, struct json_writer *w)
{
    json_object_end(w);
    enum err err = json_writer_end(w);
    err = err != OK ? err : buf_append(&dumper->buf, slice_text("\n"));
    err = err != OK ? err : dumper->write(dumper->context, buf_bytes(&dumper->buf));
    buf_consume(&dumper->buf, buf_count(&dumper->buf));
    dumper->line_count += err == OK;
    return err;
}

static enum err write_received(void *context, uint32_t source, uint64_t number)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "received");
    json_add_u64(&w, "partition", dumper->partition);
    json_add_u64(&w, "source", source);
    json_add_u64(&w, "number", number);
    return line_end(dumper, &w);
}

static enum err write_taken(void *context, uint32_t source, uint64_t number, uint64_t group)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "taken");
    json_add_u64(&w, "partition", dumper->partition);
    json_add_u64(&w, "source", source);
    json_add_u64(&w, "number", number);
    add_key(&w, "group", group);
    return line_end(dumper, &w);
}

static enum err write_outbox(void *context, uint64_t number, const struct outgoing_record *record)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "outbox");
    json_add_u64(&w, "partition", dumper->partition);
    json_add_u64(&w, "number", number);
    add_text(&w, "group", record->group);
    add_message(&w, &record->message);
    return line_end(dumper, &w);
}

static enum err write_retained(void *context, const struct msg_spec *message)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "retained");
    add_message(&w, message);
    dumper->retained_count++;
    return line_end(dumper, &w);
}

static enum err write_session(void *context, const struct session_record *session)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "session");
    const struct op_open *open = &session->open;
    add_key(&w, "session", session->key);
    json_add_text(&w, "client", open->client_id);
    if (open->username.data != NULL) {
        json_add_text(&w, "user", open->username);
    }
    add_number(&w, "listener", open->listener_index);
    if (open->expiry_s == EXPIRY_NEVER) {
        json_add_null(&w, "expiry_s");
    } else {
        json_add_u64(&w, "expiry_s", open->expiry_s);
    }
    add_number(&w, "opened_ms", session->opened_wall_ms);
    if (session->is_closed) {
        json_add_u64(&w, "closed_ms", session->closed_wall_ms);
        add_number(&w, "sent_sequence", session->sent_sequence);
    }
    add_will(&w, &open->will);
    dumper->session_count++;
    return line_end(dumper, &w);
}

static enum err write_subscription(void *context, uint64_t session,
                                   const struct op_subscribe *record)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "subscription");
    struct slice written = record->text;
    add_key(&w, "session", session);
    json_add_text(&w, "filter", written);
    if (record->share_name.count > 0) { /* "$share/name/" goes before what the client meant */
        size_t head = strlen("$share//") + record->share_name.count;
        written = slice_skip(written, head < written.count ? head : written.count);
    }
    if (record->filter.count > written.count) { /* the mount point stands before it */
        add_text(&w, "mount", slice_head(record->filter, record->filter.count - written.count));
    }
    add_number(&w, "qos", record->qos);
    add_number(&w, "id", record->id);
    add_true(&w, "no_local", record->no_local);
    add_true(&w, "retain_as_published", record->retain_as_published);
    dumper->subscription_count++;
    return line_end(dumper, &w);
}

static enum err write_packet_id(void *context, uint64_t session, uint16_t packet_id)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "packet_id");
    add_key(&w, "session", session);
    json_add_u64(&w, "packet_id", packet_id);
    return line_end(dumper, &w);
}

static enum err write_item(void *context, uint64_t session, uint64_t sequence,
                           const struct item_record *item)
{
    struct dumper *dumper = context;
    struct json_writer w = line_begin(dumper, "message");
    add_key(&w, "session", session);
    json_add_u64(&w, "sequence", sequence);
    add_number(&w, "qos", item->qos);
    add_true(&w, "retain", item->retain);
    if (item->id_count > 0) {
        json_array_begin(&w, "ids");
        for (uint32_t i = 0; i < item->id_count; i++) {
            json_add_u64(&w, NULL, item->ids[i]);
        }
        json_array_end(&w);
    }
    add_text(&w, "share", item->share_text);
    if (item->awaits_pubcomp) {
        json_add_bool(&w, "awaits_pubcomp", true);
    } else {
        add_message(&w, &item->spec);
    }
    dumper->item_count++;
    return line_end(dumper, &w);
}

const struct machine_reader dump_reader = {
    .received = write_received,
    .outbox = write_outbox,
    .retained = write_retained,
    .session = write_session,
    .subscription = write_subscription,
    .packet_id = write_packet_id,
    .item = write_item,
    .taken = write_taken,
};

/* ---- all of it ------------------------------------------------------------------------------- */

enum err dump_begin(struct dumper *dumper, uint64_t wall_ms)
{
    struct json_writer w = line_begin(dumper, "export");
    json_add_u64(&w, "format", DUMP_FORMAT);
    json_add_text(&w, "program", slice_text("tern " TERN_VERSION));
    json_add_u64(&w, "time_ms", wall_ms);
    return line_end(dumper, &w);
}

enum err dump_machine(struct dumper *dumper, uint32_t partition, struct machine *machine)
{
    dumper->partition = partition;
    return machine_read(machine, &dump_reader, dumper);
}

enum err dump_end(struct dumper *dumper)
{
    uint64_t line_count = dumper->line_count;
    struct json_writer w = line_begin(dumper, "end");
    json_add_u64(&w, "lines", line_count);
    return line_end(dumper, &w);
}

void dumper_deinit(struct dumper *dumper)
{
    buf_deinit(&dumper->buf);
}
