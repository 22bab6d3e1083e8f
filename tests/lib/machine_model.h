/*
 * machine_model: what the state of a partition must be after some ops, said in plain C; and lasting
 * changes by chance, as a leader that keeps the rules of op.h would log them.
 *
 * model_tell() and told_reader render the model and a machine as the same lines of text.
 */
#ifndef TERN_TESTS_MACHINE_MODEL_H
#define TERN_TESTS_MACHINE_MODEL_H

#include "core/base/rng.h"
#include "storage/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MODEL_SESSIONS = 12,
    MODEL_ITEMS = 48,
    MODEL_SUBSCRIPTIONS = 4,
    MODEL_PACKET_IDS = 6,
    MODEL_TOPICS = 6,
    MODEL_OUTBOX = 8,
    MODEL_SOURCES = 4,
    MODEL_TAKEN = 16,
    MODEL_PAYLOAD_MAX = 400,
};

/* ---- text ----------------------------------------------------------------------------------- */

struct told {
    char *text;
    size_t count;
    bool is_silent;
};

__attribute__((format(printf, 2, 3))) static inline void tell(struct told *told, const char *format,
                                                              ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    ASSERT(count > 0 && (size_t)count < sizeof(line));
    told->text = realloc(told->text, told->count + (size_t)count + 1);
    ASSERT(told->text != NULL);
    memcpy(told->text + told->count, line, (size_t)count + 1);
    told->count += (size_t)count;
}

#define TEXT(slice) (int)(slice).count, (const char *)((slice).data == NULL ? NULL : (slice).data)

static inline void tell_spec(struct told *told, const struct msg_spec *spec)
{
    tell(told, " [%.*s %.*s %.*s %u %u %lu %lu %u]", TEXT(spec->topic), TEXT(spec->payload),
         TEXT(spec->props), spec->qos, spec->retain, (unsigned long)spec->publisher,
         (unsigned long)spec->expires_wall_ms, spec->expiry_s);
}

static inline enum err told_received(void *context, uint32_t source, uint64_t number)
{
    tell(context, "received %u %lu\n", source, (unsigned long)number);
    return OK;
}

static inline enum err told_taken(void *context, uint32_t source, uint64_t number, uint64_t group)
{
    tell(context, "taken %u %lu %lu\n", source, (unsigned long)number, (unsigned long)group);
    return OK;
}

static inline enum err told_outbox(void *context, uint64_t number,
                                   const struct outgoing_record *record)
{
    tell(context, "outbox %lu %.*s", (unsigned long)number, TEXT(record->group));
    tell_spec(context, &record->message);
    tell(context, "\n");
    return OK;
}

static inline enum err told_retained(void *context, const struct msg_spec *message)
{
    tell(context, "retained");
    tell_spec(context, message);
    tell(context, "\n");
    return OK;
}

static inline enum err told_session(void *context, const struct session_record *session)
{
    const struct op_open *open = &session->open;
    tell(context, "session %lu %.*s %s %.*s %lu %u %u opened %lu", (unsigned long)session->key,
         TEXT(open->client_id), open->username.data == NULL ? "nobody" : "user",
         TEXT(open->username), (unsigned long)open->password_stamp, open->listener_index,
         open->expiry_s, (unsigned long)session->opened_wall_ms);
    if (session->is_closed) {
        tell(context, " closed %lu %lu", (unsigned long)session->closed_wall_ms,
             (unsigned long)session->sent_sequence);
    }
    if (open->will.message.topic.count > 0) {
        tell(context, " will %u %u %u", open->will.delay_s, open->will.has_expiry,
             open->will.expiry_s);
        tell_spec(context, &open->will.message);
    }
    tell(context, "\n");
    return OK;
}

static inline enum err told_subscription(void *context, uint64_t session,
                                         const struct op_subscribe *record)
{
    tell(context, "subscription %lu %.*s %.*s %.*s %u %u %u %u\n", (unsigned long)session,
         TEXT(record->text), TEXT(record->share_name), TEXT(record->filter), record->id,
         record->qos, record->no_local, record->retain_as_published);
    return OK;
}

static inline enum err told_packet_id(void *context, uint64_t session, uint16_t packet_id)
{
    tell(context, "packet id %lu %u\n", (unsigned long)session, packet_id);
    return OK;
}

static inline enum err told_item(void *context, uint64_t session, uint64_t sequence,
                                 const struct item_record *item)
{
    tell(context, "item %lu %lu message %lu qos %u retain %u awaits %u share %.*s ids",
         (unsigned long)session, (unsigned long)sequence, (unsigned long)item->message, item->qos,
         item->retain, item->awaits_pubcomp, TEXT(item->share_text));
    for (uint32_t i = 0; i < item->id_count; i++) {
        tell(context, " %u", item->ids[i]);
    }
    tell_spec(context, &item->spec);
    tell(context, "\n");
    return OK;
}

static const struct machine_reader told_reader = {
    .received = told_received,
    .outbox = told_outbox,
    .retained = told_retained,
    .session = told_session,
    .subscription = told_subscription,
    .packet_id = told_packet_id,
    .item = told_item,
    .taken = told_taken,
};

/* ---- the model ------------------------------------------------------------------------------ */

struct model_item {
    bool is_there;
    uint64_t sequence;
    struct item_record record;
    uint32_t id;
    struct msg *msg; /* a reference */
};

struct model_session {
    bool is_there;
    struct session_record record;
    uint64_t sequence_next;
    bool has_subscription[MODEL_SUBSCRIPTIONS];
    struct op_subscribe subscriptions[MODEL_SUBSCRIPTIONS];
    bool has_packet_id[MODEL_PACKET_IDS];
    struct model_item items[MODEL_ITEMS]; /* by sequence % MODEL_ITEMS */
};

struct model {
    struct rng rng;
    uint64_t wall_ms, message_next, send_next;
    struct model_session sessions[MODEL_SESSIONS];
    struct msg *retained[MODEL_TOPICS]; /* references */
    struct msg *outbox[MODEL_OUTBOX];   /* by number % MODEL_OUTBOX */
    uint64_t outbox_numbers[MODEL_OUTBOX];
    uint64_t received[MODEL_SOURCES];
    uint64_t taken_first[MODEL_SOURCES], taken_next[MODEL_SOURCES]; /* numbers from to, below */
    struct entry_writer writer;
    uint64_t entry_wall_ms;
};

static const char *const model_topics[MODEL_TOPICS] = {"a", "a/b", "a/b/c", "b", "b/1", "z"};
static const char *const model_filters[MODEL_SUBSCRIPTIONS] = {"#", "a/+", "$share/g/a/b", "b/#"};
static const uint32_t model_ids[] = {9, 500};

/* Keys that lie side by side and far apart. */
static inline uint64_t model_key(uint32_t i)
{
    return i < MODEL_SESSIONS / 2 ? 254 + i : UINT64_MAX - i;
}

static inline struct msg *model_message(struct model *model, const char *topic)
{
    static char payload[MODEL_PAYLOAD_MAX];
    size_t count = 1 + rng_below(&model->rng, rng_below(&model->rng, 2) ? 20 : MODEL_PAYLOAD_MAX);
    for (size_t i = 0; i < count; i++) {
        payload[i] = (char)('a' + rng_below(&model->rng, 26));
    }
    struct msg *msg = msg_new(&(struct msg_spec){
        .qos = (uint8_t)rng_below(&model->rng, 3),
        .publisher = rng_u64(&model->rng),
        .expires_wall_ms = rng_below(&model->rng, 2) ? model->wall_ms + 5000 : 0,
        .expiry_s = 5,
        .topic = slice_text(topic),
        .payload = slice_of(payload, count),
        .props = slice_text(rng_below(&model->rng, 2) ? "props" : ""),
    });
    ASSERT(msg != NULL);
    return msg;
}

static inline uint32_t model_put(struct model *model, const struct op *op)
{
    uint32_t place = 0;
    enum err err = entry_put(&model->writer, op, &place);
    ASSERT(err == OK);
    return place;
}

static inline const char *any_topic(struct model *model)
{
    return model_topics[rng_below(&model->rng, MODEL_TOPICS)];
}

static inline void model_forget_item(struct model_item *item)
{
    msg_unref(item->msg);
    *item = (struct model_item){.is_there = false};
}

/* ---- what may happen ------------------------------------------------------------------------ */

static inline void model_open(struct model *model, uint32_t i)
{
    static const char *const names[] = {"ann", ""};
    struct model_session *session = &model->sessions[i];
    struct op op = {.kind = OP_OPEN, .session = model_key(i)};
    op.open = (struct op_open){
        .client_id = slice_text(model_topics[i % MODEL_TOPICS]),
        .password_stamp = i,
        .listener_index = (uint32_t)rng_below(&model->rng, 3),
        .expiry_s = (uint32_t)rng_below(&model->rng, 1000),
    };
    if (rng_below(&model->rng, 3) > 0) {
        op.open.username = slice_text(names[rng_below(&model->rng, 2)]);
    }
    if (rng_below(&model->rng, 2) == 0) {
        op.open.will.message.topic = slice_text(any_topic(model));
        op.open.will.message.payload = slice_text("the will");
        op.open.will.delay_s = (uint32_t)rng_below(&model->rng, 60);
        op.open.will.has_expiry = rng_below(&model->rng, 2);
    }
    model_put(model, &op);
    session->is_there = true;
    session->record = (struct session_record){
        .key = model_key(i), .open = op.open, .opened_wall_ms = model->entry_wall_ms};
}

static inline void model_close(struct model *model, uint32_t i)
{
    struct session_record *record = &model->sessions[i].record;
    struct op op = {.kind = OP_CLOSE, .session = model_key(i)};
    op.close.expiry_s = (uint32_t)rng_below(&model->rng, 1000);
    op.close.sent_sequence = rng_below(&model->rng, 100);
    model_put(model, &op);
    record->is_closed = true;
    record->closed_wall_ms = model->entry_wall_ms;
    record->open.expiry_s = op.close.expiry_s;
    record->sent_sequence = op.close.sent_sequence;
}

static inline void model_end(struct model *model, uint32_t i)
{
    struct model_session *session = &model->sessions[i];
    bool has_more = rng_below(&model->rng, 2);
    for (int k = 0; k < MODEL_ITEMS; k++) {
        has_more = has_more || session->items[k].is_there;
        model_forget_item(&session->items[k]);
    }
    for (int k = 0; k < MODEL_SUBSCRIPTIONS; k++) {
        has_more = has_more || session->has_subscription[k];
    }
    for (int k = 0; k < MODEL_PACKET_IDS; k++) {
        has_more = has_more || session->has_packet_id[k];
    }
    struct op op = {.kind = OP_END, .session = model_key(i), .has_more = has_more};
    model_put(model, &op);
    *session = (struct model_session){.is_there = false};
}

static inline void model_subscribe(struct model *model, uint32_t i)
{
    uint32_t k = (uint32_t)rng_below(&model->rng, MODEL_SUBSCRIPTIONS);
    struct model_session *session = &model->sessions[i];
    struct op op = {.kind = OP_SUBSCRIBE, .session = model_key(i)};
    struct slice text = slice_text(model_filters[k]);
    bool is_shared = slice_starts_with(text, slice_text("$share/"));
    op.subscribe = (struct op_subscribe){
        .text = text,
        .share_name = slice_text(is_shared ? "g" : ""),
        .filter = is_shared ? slice_skip(text, strlen("$share/g/")) : text,
        .id = (uint32_t)rng_below(&model->rng, 3) * 200,
        .qos = (uint8_t)rng_below(&model->rng, 3),
        .no_local = rng_below(&model->rng, 2),
        .retain_as_published = rng_below(&model->rng, 2),
    };
    model_put(model, &op);
    session->has_subscription[k] = true;
    session->subscriptions[k] = op.subscribe;
}

static inline void model_unsubscribe(struct model *model, uint32_t i)
{
    uint32_t k = (uint32_t)rng_below(&model->rng, MODEL_SUBSCRIPTIONS);
    struct op op = {.kind = OP_UNSUBSCRIBE, .session = model_key(i)};
    op.unsubscribe = slice_text(model_filters[k]);
    model_put(model, &op);
    model->sessions[i].has_subscription[k] = false;
}

/* A message for some of the sessions, in a row: so that it is shared, or not. */
static inline void model_enqueue(struct model *model, uint32_t i)
{
    struct msg *msg = model_message(model, any_topic(model));
    uint32_t more = (uint32_t)rng_below(&model->rng, 2) * (uint32_t)rng_below(&model->rng, 6);
    for (uint32_t k = i; k < MODEL_SESSIONS && k <= i + more; k++) {
        struct model_session *session = &model->sessions[k];
        struct model_item *item = &session->items[session->sequence_next % MODEL_ITEMS];
        if (!session->is_there || item->is_there) {
            continue;
        }
        struct op op = {.kind = OP_ENQUEUE, .session = model_key(k)};
        op.enqueue.msg = msg;
        op.enqueue.sequence = session->sequence_next++;
        op.enqueue.ids = model_ids;
        op.enqueue.id_count = (uint32_t)rng_below(&model->rng, 3);
        op.enqueue.qos = (uint8_t)(1 + rng_below(&model->rng, 2));
        op.enqueue.retain = rng_below(&model->rng, 2);
        op.enqueue.share_text = slice_text(rng_below(&model->rng, 2) ? "$share/g/a/b" : "");
        uint32_t place = model_put(model, &op);
        *item = (struct model_item){.is_there = true,
                                    .sequence = op.enqueue.sequence,
                                    .msg = msg_ref(msg),
                                    .record = {.message = model->message_next + place,
                                               .ids = model_ids,
                                               .id_count = op.enqueue.id_count,
                                               .qos = op.enqueue.qos,
                                               .retain = op.enqueue.retain,
                                               .share_text = op.enqueue.share_text,
                                               .spec = record_spec_of(msg)}};
    }
    msg_unref(msg);
}

static inline void model_settle(struct model *model, uint32_t i)
{
    struct model_item *item = &model->sessions[i].items[rng_below(&model->rng, MODEL_ITEMS)];
    if (!item->is_there) {
        return;
    }
    bool awaits = item->record.qos == 2 && !item->record.awaits_pubcomp &&
                  rng_below(&model->rng, 4) > 0;
    struct op op = {.kind = OP_SETTLE, .session = model_key(i)};
    op.settle.sequence = item->sequence;
    op.settle.message = item->record.message;
    op.settle.awaits_pubcomp = awaits;
    model_put(model, &op);
    if (!awaits) {
        model_forget_item(item);
        return;
    }
    item->record = (struct item_record){
        .message = item->record.message, .qos = 2, .awaits_pubcomp = true};
}

static inline void model_packet_id(struct model *model, uint32_t i)
{
    uint32_t k = (uint32_t)rng_below(&model->rng, MODEL_PACKET_IDS);
    bool is_seen = rng_below(&model->rng, 2);
    struct op op = {.kind = is_seen ? OP_SEEN : OP_RELEASE, .session = model_key(i)};
    op.packet_id = (uint16_t)(250 + k * 3);
    model_put(model, &op);
    model->sessions[i].has_packet_id[k] = is_seen;
}

static inline void model_retain(struct model *model)
{
    uint32_t k = (uint32_t)rng_below(&model->rng, MODEL_TOPICS);
    struct msg *msg = model_message(model, model_topics[k]);
    struct op op = {.kind = OP_RETAIN, .retain = msg};
    struct msg *cleared = NULL;
    if (rng_below(&model->rng, 3) == 0) {
        struct msg_spec spec = {.topic = slice_text(model_topics[k])};
        op.retain = cleared = msg_new(&spec);
        msg_unref(msg);
        msg = NULL;
    }
    model_put(model, &op);
    msg_unref(cleared);
    msg_unref(model->retained[k]);
    model->retained[k] = msg;
}

static inline void model_will(struct model *model, uint32_t i)
{
    struct op op = {.kind = OP_WILL, .session = model_key(i)};
    model_put(model, &op);
    model->sessions[i].record.open.will = (struct op_will){.delay_s = 0};
}

static inline struct slice model_group(uint32_t k)
{
    return k % 3 == 0 ? slice_text("group/a/+") : slice_of(NULL, 0);
}

static inline void model_send(struct model *model)
{
    uint32_t k = (uint32_t)(model->send_next % MODEL_OUTBOX);
    if (model->outbox[k] != NULL) { /* full: the oldest has come */
        struct op op = {.kind = OP_SENT, .sent = model->outbox_numbers[k]};
        model_put(model, &op);
        msg_unref(model->outbox[k]);
        model->outbox[k] = NULL;
        return;
    }
    model->outbox[k] = model_message(model, any_topic(model));
    model->outbox_numbers[k] = model->send_next++;
    struct op op = {.kind = OP_SEND};
    op.send.number = model->outbox_numbers[k];
    op.send.msg = model->outbox[k];
    op.send.group = model_group(k);
    model_put(model, &op);
}

static inline void model_received(struct model *model)
{
    uint32_t k = (uint32_t)rng_below(&model->rng, MODEL_SOURCES);
    model->received[k] += 1 + rng_below(&model->rng, 5);
    struct op op = {.kind = OP_RECEIVED};
    op.received.partition = k * 60;
    op.received.number = model->received[k];
    model_put(model, &op);
}

/* One more, and now and then older ones are forgotten, or all of them. */
static inline void model_taken(struct model *model)
{
    uint32_t k = (uint32_t)rng_below(&model->rng, MODEL_SOURCES);
    struct op op = {.kind = OP_RECEIVED};
    uint64_t count = model->taken_next[k] - model->taken_first[k];
    if (count == MODEL_TAKEN || rng_below(&model->rng, 8) == 0) {
        model->taken_first[k] += rng_below(&model->rng, count + 1);
        op.received.done_below = 256 - MODEL_TAKEN + model->taken_first[k];
    }
    op.received.partition = k * 60;
    op.received.number = 256 - MODEL_TAKEN + model->taken_next[k]++;
    op.received.group = model_key(k);
    model_put(model, &op);
}

static inline void model_step(struct model *model)
{
    static void (*const steps[])(struct model * model, uint32_t i) = {
        model_close,   model_subscribe, model_unsubscribe, model_enqueue,   model_enqueue,
        model_enqueue, model_enqueue,   model_settle,      model_settle,    model_settle,
        model_settle,  model_settle,    model_packet_id,   model_packet_id, model_will,
    };
    uint32_t i = (uint32_t)rng_below(&model->rng, MODEL_SESSIONS);
    uint32_t chance = (uint32_t)rng_below(&model->rng, 40);
    if (chance == 0) {
        model_retain(model);
    } else if (chance == 1) {
        model_send(model);
    } else if (chance == 2) {
        model_received(model);
        model_taken(model);
    } else if (!model->sessions[i].is_there || chance == 3) {
        model_open(model, i);
    } else if (chance == 4) {
        model_end(model, i);
    } else {
        steps[rng_below(&model->rng, sizeof(steps) / sizeof(steps[0]))](model, i);
    }
}

/* The bytes of an entry of some steps; the caller free()s them. The clock jumps, also back. */
static inline struct slice model_entry(struct model *model)
{
    model->entry_wall_ms = 1000000 + rng_below(&model->rng, 100000);
    if (model->entry_wall_ms > model->wall_ms) {
        model->wall_ms = model->entry_wall_ms;
    }
    uint32_t step_count = (uint32_t)rng_below(&model->rng, rng_below(&model->rng, 5) ? 10 : 100);
    for (uint32_t i = 0; i < step_count; i++) {
        model_step(model);
    }
    enum err err = entry_close(&model->writer, model->entry_wall_ms, model->message_next);
    ASSERT(err == OK);
    model->message_next += model->writer.message_count;
    struct slice bytes = buf_bytes(&model->writer.bytes);
    uint8_t *copy = malloc(bytes.count);
    ASSERT(copy != NULL);
    memcpy(copy, bytes.data, bytes.count);
    entry_writer_deinit(&model->writer);
    return slice_of(copy, bytes.count);
}

/* ---- told ----------------------------------------------------------------------------------- */

static inline void model_tell_session(struct told *told, const struct model_session *session)
{
    uint64_t key = session->record.key;
    static const int order[MODEL_SUBSCRIPTIONS] = {0, 2, 1, 3}; /* "$" comes before "a" */
    told_session(told, &session->record);
    for (int k = 0; k < MODEL_SUBSCRIPTIONS; k++) {
        if (session->has_subscription[order[k]]) {
            told_subscription(told, key, &session->subscriptions[order[k]]);
        }
    }
    for (int k = 0; k < MODEL_PACKET_IDS; k++) {
        if (session->has_packet_id[k]) {
            told_packet_id(told, key, (uint16_t)(250 + k * 3));
        }
    }
    for (uint64_t i = 0; i < MODEL_ITEMS; i++) { /* the oldest possible first */
        const struct model_item *item = &session->items[(session->sequence_next + i) % MODEL_ITEMS];
        if (item->is_there) {
            told_item(told, key, item->sequence, &item->record);
        }
    }
}

static inline void model_tell(const struct model *model, struct told *told)
{
    for (uint32_t k = 0; k < MODEL_SOURCES; k++) {
        if (model->received[k] > 0) {
            told_received(told, k * 60, model->received[k]);
        }
    }
    for (uint64_t i = 0; i < MODEL_OUTBOX; i++) {
        uint32_t k = (uint32_t)((model->send_next + i) % MODEL_OUTBOX);
        if (model->outbox[k] != NULL) {
            struct outgoing_record record = {record_spec_of(model->outbox[k]), model_group(k)};
            told_outbox(told, model->outbox_numbers[k], &record);
        }
    }
    for (int k = 0; k < MODEL_TOPICS; k++) {
        if (model->retained[k] != NULL) {
            struct msg_spec spec = record_spec_of(model->retained[k]);
            told_retained(told, &spec);
        }
    }
    for (uint32_t i = 0; i < MODEL_SESSIONS / 2; i++) { /* by key, ascending */
        if (model->sessions[i].is_there) {
            model_tell_session(told, &model->sessions[i]);
        }
    }
    for (uint32_t i = MODEL_SESSIONS; i-- > MODEL_SESSIONS / 2;) {
        if (model->sessions[i].is_there) {
            model_tell_session(told, &model->sessions[i]);
        }
    }
    for (uint32_t k = 0; k < MODEL_SOURCES; k++) {
        for (uint64_t n = model->taken_first[k]; n < model->taken_next[k]; n++) {
            told_taken(told, k * 60, 256 - MODEL_TAKEN + n, model_key(k));
        }
    }
}

static inline void model_init(struct model *model, uint64_t seed)
{
    memset(model, 0, sizeof(*model));
    model->message_next = 1;
    model->send_next = 1;
    rng_init(&model->rng, seed);
}

static inline void model_deinit(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_SESSIONS; i++) {
        for (int k = 0; k < MODEL_ITEMS; k++) {
            model_forget_item(&model->sessions[i].items[k]);
        }
    }
    for (int k = 0; k < MODEL_TOPICS; k++) {
        msg_unref(model->retained[k]);
    }
    for (int k = 0; k < MODEL_OUTBOX; k++) {
        msg_unref(model->outbox[k]);
    }
    entry_writer_deinit(&model->writer);
}

#endif
