/*
 * What each op changes: the table in machine.h. Nothing here fails: all that may has been done before.
 */
#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/machine_parts.h"

/* ---- mutations: of the key that stands in machine->key ---------------------------------------- */

/* What the running hash counts. */
enum mutation { MUTATION_PUT = 1, MUTATION_DELETE = 2, MUTATION_DELETE_RANGE = 3 };

/* Is the key there already? New is what I4 says; what it says of a key that is there costs that key. */
enum is_there { MAY_BE_THERE, IS_NEW };

static void count_in(struct work *work, enum mutation mutation, struct slice a, struct slice b)
{
    uint64_t hash = work->applied.hash + (uint64_t)mutation;
    work->applied.hash = hash_bytes_seeded(b, hash_bytes_seeded(a, hash));
}

static void put(struct work *work, struct slice value, enum is_there is_there)
{
    struct slice key = key_slice(&work->machine->key);
    if (is_there == IS_NEW) {
        write_set_put_new(work->writes, key, value);
    } else {
        write_set_put(work->writes, key, value);
    }
    count_in(work, MUTATION_PUT, key, value);
}

/* The record that a record_put_...() wrote into machine->value, which has room for any (prepare). */
static void put_record(struct work *work, enum is_there is_there, enum err err)
{
    struct buf *value = &work->machine->value;
    ASSERT(err == OK);
    put(work, buf_bytes(value), is_there);
    value->begin = value->end = 0; /* keeps the memory, as buf_consume() would not */
}

static void put_shape(struct work *work, enum is_there is_there, const struct shape *shape,
                      const void *record)
{
    uint8_t bytes[128];
    ASSERT(wire_size(shape, record) <= sizeof(bytes));
    put(work, slice_of(bytes, (size_t)(wire_put(shape, record, bytes) - bytes)), is_there);
}

static void erase(struct work *work)
{
    struct slice key = key_slice(&work->machine->key);
    write_set_delete(work->writes, key);
    count_in(work, MUTATION_DELETE, key, slice_of(NULL, 0));
}

static void erase_part(struct work *work, uint64_t session, enum key_part part)
{
    key_of_session_part(&work->machine->key, work->machine->partition, session, part);
    erase(work);
}

/* ---- counts of shared messages (I1) ----------------------------------------------------------- */

static void touch(struct work *work, struct share *share)
{
    if (!share->is_touched) {
        share->is_touched = true;
        work->touched[work->touched_count++] = share->number;
    }
}

static void count_down(struct work *work, uint64_t number)
{
    struct share *share = shared_get(&work->machine->shared, number);
    if (share != NULL && share->count > 0) {
        share->count--;
        touch(work, share);
    }
}

/* A message of this entry: its number is above all before (prepare). */
static enum is_there number_is_new(const struct work *work, uint64_t number)
{
    const struct entry *entry = &work->entry;
    bool is_new = entry->message_count > 0 && number >= entry->message_first;
    return is_new ? IS_NEW : MAY_BE_THERE;
}

/* What the counts have come to in this entry. */
static void write_counts(struct work *work)
{
    struct machine *machine = work->machine;
    for (uint32_t i = 0; i < work->touched_count; i++) {
        uint64_t number = work->touched[i];
        struct share *share = shared_get(&machine->shared, number);
        uint64_t count = share->count;
        share->is_touched = false;
        key_of_number(&machine->key, machine->partition, KEY_SHARED_COUNT, number);
        if (count > 0) {
            put_shape(work, number_is_new(work, number), &shape_number, &count);
            continue;
        }
        erase(work);
        key_of_number(&machine->key, machine->partition, KEY_MESSAGE, number);
        erase(work);
        shared_remove(&machine->shared, share);
    }
}

/* Is it shared by more than the two records it takes cost? */
static bool is_shared(const struct work *work, uint32_t message)
{
    const struct msg_spec *spec = &work->entry.messages[message];
    uint64_t bytes = spec->topic.count + spec->props.count + spec->payload.count;
    uint32_t uses = work->uses[message];
    return uses > 1 && (uses - 1) * bytes >= SHARE_BYTES_MIN;
}

/* The message lies once, from its first OP_ENQUEUE on, and counts all there are in the entry. */
static void share_message(struct work *work, uint32_t message)
{
    struct machine *machine = work->machine;
    uint64_t number = work->entry.message_first + message;
    if (shared_get(&machine->shared, number) != NULL) {
        return;
    }
    struct share *share = shared_add(&machine->shared, number);
    share->count = work->uses[message];
    touch(work, share);
    key_of_number(&machine->key, machine->partition, KEY_MESSAGE, number);
    put_record(work, IS_NEW, record_put_message(&machine->value, &work->entry.messages[message]));
}

/* ---- what each op changes: the table in machine.h --------------------------------------------- */

static void on_open(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    struct session_record record = {.open = op->open, .opened_wall_ms = work->entry.wall_ms};
    record.open.will = (struct op_will){.delay_s = 0};
    key_of_session(&machine->key, machine->partition, op->session);
    put_record(work, MAY_BE_THERE, record_put_session(&machine->value, &record));
    erase_part(work, op->session, PART_AWAY);
    if (op->open.will.message.topic.count == 0) {
        erase_part(work, op->session, PART_WILL);
        return;
    }
    key_of_session_part(&machine->key, machine->partition, op->session, PART_WILL);
    put_record(work, MAY_BE_THERE, record_put_will(&machine->value, &op->open.will));
}

static void on_close(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    struct away away = {work->entry.wall_ms, op->close.expiry_s, op->close.sent_sequence};
    key_of_session_part(&machine->key, machine->partition, op->session, PART_AWAY);
    put_shape(work, MAY_BE_THERE, &shape_away, &away);
}

static void on_end(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    key_of_session(&machine->key, machine->partition, op->session);
    if (!op->has_more) {
        erase(work);
        erase_part(work, op->session, PART_AWAY);
        erase_part(work, op->session, PART_WILL);
        return;
    }
    key_of_session(&machine->key_end, machine->partition, op->session);
    key_end(&machine->key_end);
    struct slice from = key_slice(&machine->key), to = key_slice(&machine->key_end);
    write_set_delete_range(work->writes, from, to);
    count_in(work, MUTATION_DELETE_RANGE, from, to);
    struct ending *ending = machine_ending_of(work, op->session);
    for (struct owed *owed = ending->owed; owed != NULL; owed = owed->next) {
        count_down(work, owed->number);
    }
    ending->owed = NULL;
}

static void on_subscribe(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    struct op_subscribe record = op->subscribe;
    key_of_subscription(&machine->key, machine->partition, op->session, record.text);
    if (slice_equal(record.filter, record.text)) {
        record.filter = slice_of(NULL, 0);
    }
    record.text = slice_of(NULL, 0); /* stands in the key */
    put_record(work, MAY_BE_THERE, record_put_subscription(&machine->value, &record));
}

static void on_unsubscribe(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    key_of_subscription(&machine->key, machine->partition, op->session, op->unsubscribe);
    erase(work);
}

static void on_enqueue(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    uint32_t message = op->enqueue.message;
    struct item_record item = {
        .message = work->entry.message_first + message,
        .is_shared = is_shared(work, message),
        .ids = op->enqueue.ids,
        .id_count = op->enqueue.id_count,
        .qos = op->enqueue.qos,
        .retain = op->enqueue.retain,
        .share_text = op->enqueue.share_text,
    };
    if (item.is_shared) {
        share_message(work, message);
        struct ending *ending = machine_ending_of(work, op->session);
        if (ending != NULL) {
            struct owed *owed = work->owed_spare++;
            *owed = (struct owed){ending->owed, op->enqueue.sequence, item.message};
            ending->owed = owed;
        }
    } else {
        item.spec = work->entry.messages[message];
    }
    key_of_item(&machine->key, machine->partition, op->session, op->enqueue.sequence);
    put_record(work, IS_NEW, record_put_item(&machine->value, &item));
}

static void forget_owed(struct work *work, const struct entry_op *op)
{
    struct ending *ending = machine_ending_of(work, op->session);
    for (struct owed **at = ending == NULL ? NULL : &ending->owed; at != NULL && *at != NULL;
         at = &(*at)->next) {
        if ((*at)->sequence == op->settle.sequence) {
            *at = (*at)->next;
            return;
        }
    }
}

static void on_settle(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    uint64_t number = op->settle.message;
    key_of_item(&machine->key, machine->partition, op->session, op->settle.sequence);
    if (op->settle.awaits_pubcomp) {
        struct item_record item = {
            .message = number,
            .is_shared = shared_get(&machine->shared, number) != NULL, /* I1 */
            .qos = 2,
            .awaits_pubcomp = true,
        };
        put_record(work, MAY_BE_THERE, record_put_item(&machine->value, &item));
        return;
    }
    erase(work);
    count_down(work, number);
    forget_owed(work, op);
}

static void on_seen(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    key_of_packet_id(&machine->key, machine->partition, op->session, op->packet_id);
    put(work, slice_of(NULL, 0), MAY_BE_THERE);
}

static void on_release(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    key_of_packet_id(&machine->key, machine->partition, op->session, op->packet_id);
    erase(work);
}

static void on_retain(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    struct msg_spec record = op->retain;
    key_of_retained(&machine->key, machine->partition, record.topic);
    if (record.payload.count == 0) {
        erase(work);
        return;
    }
    record.topic = slice_of(NULL, 0); /* stands in the key */
    put_record(work, MAY_BE_THERE, record_put_message(&machine->value, &record));
}

static void on_will(struct work *work, const struct entry_op *op)
{
    erase_part(work, op->session, PART_WILL);
}

static void on_send(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    key_of_number(&machine->key, machine->partition, KEY_OUTBOX, op->send.number);
    struct outgoing_record record = {op->send.message, op->send.group};
    bool is_new = op->send.number >= work->applied.send_next;
    put_record(work, is_new ? IS_NEW : MAY_BE_THERE, record_put_outgoing(&machine->value, &record));
    if (is_new) {
        work->applied.send_next = op->send.number + 1;
    }
}

static void on_sent(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    key_of_number(&machine->key, machine->partition, KEY_OUTBOX, op->sent);
    erase(work);
}

/* What is known to have left its outbox can come no more: nobody will ask who took it. */
static void forget_taken(struct work *work, const struct op_received *received)
{
    struct machine *machine = work->machine;
    key_of_taken(&machine->key, machine->partition, received->partition, 0, 0);
    key_of_taken(&machine->key_end, machine->partition, received->partition, received->done_below,
                 0);
    struct slice from = key_slice(&machine->key), to = key_slice(&machine->key_end);
    write_set_delete_range(work->writes, from, to);
    count_in(work, MUTATION_DELETE_RANGE, from, to);
}

static void on_received(struct work *work, const struct entry_op *op)
{
    struct machine *machine = work->machine;
    const struct op_received *received = &op->received;
    if (received->group == 0) {
        key_of_number(&machine->key, machine->partition, KEY_RECEIVED, received->partition);
        put_shape(work, MAY_BE_THERE, &shape_number, &received->number);
        return;
    }
    if (received->done_below > 0) {
        forget_taken(work, received);
    }
    key_of_taken(&machine->key, machine->partition, received->partition, received->number,
                 received->group);
    put(work, slice_of(NULL, 0), MAY_BE_THERE);
}

/* clang-format off */
static void (*const handlers[OP_KIND_END])(struct work *work, const struct entry_op *op) = {
    [OP_OPEN]        = on_open,
    [OP_CLOSE]       = on_close,
    [OP_END]         = on_end,
    [OP_SUBSCRIBE]   = on_subscribe,
    [OP_UNSUBSCRIBE] = on_unsubscribe,
    [OP_ENQUEUE]     = on_enqueue,
    [OP_SETTLE]      = on_settle,
    [OP_SEEN]        = on_seen,
    [OP_RELEASE]     = on_release,
    [OP_RETAIN]      = on_retain,
    [OP_WILL]        = on_will,
    [OP_SEND]        = on_send,
    [OP_SENT]        = on_sent,
    [OP_RECEIVED]    = on_received,
};
/* clang-format on */

void machine_carry_out(struct work *work)
{
    for (uint32_t i = 0; i < work->entry.op_count; i++) {
        const struct entry_op *op = &work->entry.ops[i];
        handlers[op->kind](work, op);
    }
    write_counts(work);
    struct applied applied = work->applied; /* A is not in its own hash */
    key_of_kind(&work->machine->key, work->machine->partition, KEY_APPLIED);
    put_shape(work, MAY_BE_THERE, &shape_applied, &applied);
    work->applied.hash = applied.hash;
}
