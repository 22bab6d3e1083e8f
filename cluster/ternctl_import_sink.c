#include "cluster/ternctl_import.h"

#include <stdlib.h>

enum {
    TURN_BYTES = 1 << 20,
    OP_BYTES = 64, /* about, beside what it carries */
    FULL_TURNS_MAX = 250,
};

static struct slice session_client_id(const void *value)
{
    return ((const struct import_session *)value)->client_id;
}

enum err import_init(struct import *import, uint64_t seed)
{
    import->sessions = map_new(session_client_id, seed);
    import->key_last = seed >> 8; /* as shards begin: so that keys of two of them do not meet */
    return import->sessions == NULL ? ERR_NOMEM : OK;
}

void import_deinit(struct import *import)
{
    uint64_t cursor = 0;
    struct import_session *session;
    while (import->sessions != NULL && (session = map_next(import->sessions, &cursor)) != NULL) {
        free(session);
    }
    map_free(import->sessions);
    import->sessions = NULL;
}

struct import_session *import_find(const struct import *import, struct slice client_id)
{
    return map_get(import->sessions, client_id);
}

static enum err session_add(struct import *import, struct slice client_id,
                            struct import_session **out)
{
    struct import_session *session = calloc(1, sizeof(*session) + client_id.count);
    if (session == NULL) {
        return ERR_NOMEM;
    }
    memcpy(session + 1, client_id.data, client_id.count);
    session->client_id = slice_of(session + 1, client_id.count);
    session->partition = partition_of(client_id);
    enum err err = map_put(import->sessions, session);
    if (err != OK) {
        free(session);
        return err;
    }
    *out = session;
    return OK;
}

enum err import_knows(struct import *import, struct slice client_id)
{
    struct import_session *session;
    if (import_find(import, client_id) != NULL) {
        return OK;
    }
    TRY(session_add(import, client_id, &session));
    session->is_left_out = true;
    return OK;
}

/* ---- ops ------------------------------------------------------------------------------------------ */

/* number_out: NULL, or what journal_log() gives. */
static enum err log_op(struct import *import, const struct op *op, size_t bytes,
                       uint64_t *number_out)
{
    enum err err = journal_admit(import->journal, op->partition);
    while (err == OK && journal_is_congested(import->journal)) {
        import->turn(import);
        err = journal_admit(import->journal, op->partition);
    }
    if (err != OK) {
        return err;
    }
    uint64_t number = journal_log(import->journal, op);
    if (number_out != NULL) {
        *number_out = number;
    }
    import->bytes_open += bytes + OP_BYTES;
    if (import->bytes_open >= TURN_BYTES) {
        import->bytes_open = 0;
        import->turn(import);
    }
    return OK;
}

static size_t spec_bytes(const struct msg_spec *spec)
{
    return spec->topic.count + spec->props.count + spec->payload.count;
}

static bool is_over(const struct import *import, const struct msg_spec *spec)
{
    return spec->expires_wall_ms != 0 && spec->expires_wall_ms <= import->wall_ms;
}

/* ---- sessions --------------------------------------------------------------------------------------- */

/* Seconds since its connection was gone; a clock that went back counts as none. */
static uint64_t away_s(const struct import *import, const struct session_record *record)
{
    return record->is_closed && import->wall_ms > record->closed_wall_ms
               ? (import->wall_ms - record->closed_wall_ms) / 1000
               : 0;
}

/*
 * The time that ran while the store was closed has run: what is left counts from now on. A session
 * whose time is over is given a last second if it leaves a will, which the broker then publishes.
 */
static uint32_t left_s(uint32_t interval_s, uint64_t passed_s, uint32_t least_s)
{
    if (interval_s == EXPIRY_NEVER) {
        return EXPIRY_NEVER;
    }
    return interval_s > passed_s + least_s ? (uint32_t)(interval_s - passed_s) : least_s;
}

enum err import_open(struct import *import, const struct session_record *record,
                     struct import_session **out)
{
    struct import_session *session = import_find(import, record->open.client_id);
    struct op op = {.kind = OP_OPEN, .open = record->open};
    uint64_t passed_s = away_s(import, record);
    bool has_will = record->open.will.message.topic.count > 0;

    if (session != NULL) {
        import->figures.sessions_there++;
        return ERR_EXISTS;
    }
    TRY(session_add(import, record->open.client_id, &session));
    *out = session;
    session->expiry_s = left_s(record->open.expiry_s, passed_s, 0);
    if (session->expiry_s == 0 && !has_will) {
        import->figures.sessions_over++;
        session->is_left_out = true;
        return OK;
    }
    session->expiry_s = left_s(record->open.expiry_s, passed_s, 1);
    session->key = record->key != 0 ? record->key : ++import->key_last;
    session->sent_sequence = record->sent_sequence;
    session->was_open = !record->is_closed;
    op.partition = session->partition;
    op.session = session->key;
    op.open.expiry_s = session->expiry_s;
    op.open.password_stamp = 0; /* whoever proves the user next time says which lines did */
    op.open.will.delay_s = has_will ? left_s(record->open.will.delay_s, passed_s, 0) : 0;
    import->figures.sessions++;
    return log_op(import, &op,
                  record->open.client_id.count + spec_bytes(&record->open.will.message), NULL);
}

enum err import_close(struct import *import, struct import_session *session)
{
    struct op op = {.kind = OP_CLOSE, .partition = session->partition, .session = session->key};
    op.close.expiry_s = session->expiry_s;
    /* Of one that was connected to the last, anything may have been sent. */
    op.close.sent_sequence = session->was_open ? session->sequence_last : session->sent_sequence;
    return session->is_left_out ? OK : log_op(import, &op, 0, NULL);
}

enum err import_subscribe(struct import *import, struct import_session *session,
                          const struct op_subscribe *subscription)
{
    struct op op = {.kind = OP_SUBSCRIBE, .partition = session->partition, .session = session->key};
    if (session->is_left_out) {
        import->figures.of_nobody++;
        return OK;
    }
    op.subscribe = *subscription;
    import->figures.subscriptions++;
    return log_op(import, &op, subscription->text.count, NULL);
}

enum err import_packet_id(struct import *import, struct import_session *session, uint16_t packet_id)
{
    struct op op = {.kind = OP_SEEN, .partition = session->partition, .session = session->key};
    if (session->is_left_out) {
        import->figures.of_nobody++;
        return OK;
    }
    op.packet_id = packet_id;
    import->figures.packet_ids++;
    return log_op(import, &op, 0, NULL);
}

/* ---- messages ---------------------------------------------------------------------------------------- */

static enum err enqueue(struct import *import, struct import_session *session, uint64_t sequence,
                        const struct item_record *item, const struct msg_spec *spec)
{
    struct op op = {.kind = OP_ENQUEUE, .partition = session->partition, .session = session->key};
    uint64_t number;
    struct msg *msg = msg_new(spec);
    if (msg == NULL) {
        return ERR_NOMEM;
    }
    op.enqueue = (struct op_enqueue){
        .msg = msg,
        .sequence = sequence,
        .ids = item->ids,
        .id_count = item->id_count,
        .qos = item->qos,
        .retain = item->retain,
        .share_text = item->share_text,
    };
    enum err err = log_op(import, &op, spec_bytes(spec), &number);
    msg_unref(msg);
    if (err != OK || !item->awaits_pubcomp) {
        return err;
    }
    op.kind = OP_SETTLE;
    op.settle = (struct op_settle){.sequence = sequence, .message = number, .awaits_pubcomp = true};
    return log_op(import, &op, 0, NULL);
}

enum err import_item(struct import *import, struct import_session *session, uint64_t sequence,
                     const struct item_record *item)
{
    /* Of a message that the client has nothing is left but its packet id. */
    static const struct msg_spec taken_over = {.qos = 2, .topic = SLICE("-")};
    const struct msg_spec *spec = item->awaits_pubcomp ? &taken_over : &item->spec;
    if (session->is_left_out) {
        import->figures.of_nobody++;
        return OK;
    }
    if (item->qos == 0) {
        import->figures.messages_qos0++;
        return OK;
    }
    if (is_over(import, spec)) {
        import->figures.messages_over++;
        return OK;
    }
    session->sequence_last = sequence > session->sequence_last ? sequence : session->sequence_last;
    import->figures.messages++;
    return enqueue(import, session, sequence, item, spec);
}

static enum err log_message(struct import *import, struct op *op, const struct msg_spec *spec)
{
    struct msg *msg = msg_new(spec);
    if (msg == NULL) {
        return ERR_NOMEM;
    }
    if (op->kind == OP_SEND) {
        op->send.msg = msg;
    } else {
        op->retain = msg;
    }
    enum err err = log_op(import, op, spec_bytes(spec), NULL);
    msg_unref(msg);
    return err;
}

enum err import_retained(struct import *import, const struct msg_spec *spec)
{
    struct op op = {.kind = OP_RETAIN, .partition = partition_of(spec->topic)};
    if (is_over(import, spec) || spec->payload.count == 0) {
        import->figures.messages_over++;
        return OK;
    }
    if (import->has_retained != NULL && import->has_retained(import, spec->topic)) {
        import->figures.retained_there++;
        return OK;
    }
    import->figures.retained++;
    return log_message(import, &op, spec);
}

enum err import_send(struct import *import, uint32_t partition, uint64_t number,
                     const struct outgoing_record *record)
{
    struct op op = {.kind = OP_SEND, .partition = partition, .send.group = record->group};
    const struct msg_spec *spec = &record->message;
    uint64_t *last = &import->outbox_last[partition];
    if (is_over(import, spec)) {
        import->figures.messages_over++;
        return OK;
    }
    import->figures.perhaps_twice += number != 0 && !import->is_fresh;
    op.send.number = import->is_fresh && number != 0 ? number : *last + 1;
    *last = op.send.number > *last ? op.send.number : *last;
    import->figures.on_their_way++;
    return log_message(import, &op, spec);
}

/* group 0: all up to that number. */
static enum err note(struct import *import, uint32_t partition, uint32_t source, uint64_t number,
                     uint64_t group)
{
    struct op op = {.kind = OP_RECEIVED, .partition = partition};
    op.received = (struct op_received){.partition = source, .number = number, .group = group};
    if (!import->is_fresh) {
        return OK; /* the numbers of that store are others */
    }
    if (number > import->outbox_last[source]) {
        import->outbox_last[source] = number;
    }
    return log_op(import, &op, 0, NULL);
}

enum err import_received(struct import *import, uint32_t partition, uint32_t source,
                         uint64_t number)
{
    return note(import, partition, source, number, 0);
}

enum err import_taken(struct import *import, uint32_t partition, uint32_t source, uint64_t number,
                      uint64_t group)
{
    return note(import, partition, source, number, group);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

static void finished(void *context, enum err err)
{
    struct import *import = context;
    import->is_finished = true;
    import->finish_err = err;
}

/* On a full disk what was handed in waits for space, here only for a while. */
enum err import_finish(struct import *import)
{
    enum err err = journal_await(import->journal, UINT64_MAX, finished, import);
    uint32_t full_count = 0;
    if (err != ERR_AGAIN) {
        return err;
    }
    while (!import->is_finished && full_count < FULL_TURNS_MAX) {
        import->turn(import);
        full_count = journal_admit(import->journal, 0) == ERR_NO_SPACE ? full_count + 1 : 0;
    }
    return import->is_finished ? import->finish_err : ERR_NO_SPACE;
}
