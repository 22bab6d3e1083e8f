/*
 * The state of a partition, told key by key in the order of the map. What belongs to a session's
 * record stands under three keys that follow each other (S, C, D): the record is told when the third
 * can come no more.
 */
#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/machine.h"
#include "storage/machine_parts.h"

/* Of one walk. */
struct walk {
    struct machine *machine;
    const struct machine_reader *reader;
    void *context;
    struct arena *arena; /* of one key */
    bool has_session;    /* session is the one that keys may belong to */
    bool is_told;
    uint64_t session;
    struct away away;
    bool is_away;
    struct buf record, will; /* values of S and D */
};

static enum err keep(struct buf *buf, struct slice value)
{
    buf_deinit(buf);
    return buf_append(buf, value);
}

/* The session whose keys have come, before its other parts. */
static enum err tell_session(struct walk *walk)
{
    struct session_record record;
    if (!walk->has_session || walk->is_told) {
        return OK;
    }
    walk->is_told = true;
    TRY(record_get_session(buf_bytes(&walk->record), walk->arena, &record));
    TRY(record_get_will(buf_bytes(&walk->will), walk->arena, &record.open.will));
    record.key = walk->session;
    if (walk->is_away) {
        record.is_closed = true;
        record.closed_wall_ms = walk->away.closed_wall_ms;
        record.open.expiry_s = walk->away.expiry_s;
        record.sent_sequence = walk->away.sent_sequence;
    }
    const struct machine_reader *reader = walk->reader;
    return reader->session == NULL ? OK : reader->session(walk->context, &record);
}

static enum err on_session(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    walk->has_session = true;
    walk->is_told = false;
    walk->is_away = false;
    walk->session = parts->number;
    buf_deinit(&walk->will);
    return keep(&walk->record, value);
}

static enum err on_away(struct walk *walk, struct slice value)
{
    walk->away = (struct away){.expiry_s = 0};
    walk->is_away = true;
    return wire_read(&shape_away, value, false, walk->arena, &walk->away);
}

static enum err on_subscription(struct walk *walk, const struct key_parts *parts,
                                struct slice value)
{
    struct op_subscribe record;
    if (walk->reader->subscription == NULL) {
        return OK;
    }
    TRY(record_get_subscription(value, walk->arena, &record));
    record.text = parts->text;
    if (record.filter.count == 0) {
        record.filter = parts->text;
    }
    return walk->reader->subscription(walk->context, walk->session, &record);
}

/* A message that stands apart goes into the item for the call. */
static enum err tell_shared_item(struct walk *walk, uint64_t sequence, struct item_record *item)
{
    struct machine *machine = walk->machine;
    struct kv_value value;
    key_of_number(&machine->key, machine->partition, KEY_MESSAGE, item->message);
    enum err err = kv_get(machine->state, key_slice(&machine->key), &value);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    err = record_get_message(value.bytes, walk->arena, &item->spec);
    if (err == OK) {
        err = walk->reader->item(walk->context, walk->session, sequence, item);
    }
    kv_value_free(&value);
    return err;
}

static enum err on_item(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct item_record item;
    if (walk->reader->item == NULL) {
        return OK;
    }
    TRY(record_get_item(value, walk->arena, &item));
    if (item.is_shared && !item.awaits_pubcomp) {
        return tell_shared_item(walk, parts->second, &item);
    }
    return walk->reader->item(walk->context, walk->session, parts->second, &item);
}

static enum err on_session_key(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    const struct machine_reader *reader = walk->reader;
    if (parts->part == PART_SESSION) {
        TRY(tell_session(walk));
        return on_session(walk, parts, value);
    }
    if (!walk->has_session || walk->session != parts->number) {
        return ERR_CORRUPT; /* of nobody (machine.h, I2) */
    }
    if (parts->part == PART_AWAY) {
        return on_away(walk, value);
    }
    if (parts->part == PART_WILL) {
        return keep(&walk->will, value);
    }
    TRY(tell_session(walk));
    if (parts->part == PART_SUBSCRIPTION) {
        return on_subscription(walk, parts, value);
    }
    if (parts->part == PART_ITEM) {
        return on_item(walk, parts, value);
    }
    return reader->packet_id == NULL
               ? OK
               : reader->packet_id(walk->context, walk->session, (uint16_t)parts->second);
}

static enum err on_received(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    uint64_t number = 0;
    TRY(wire_read(&shape_number, value, false, walk->arena, &number));
    return walk->reader->received == NULL
               ? OK
               : walk->reader->received(walk->context, (uint32_t)parts->number, number);
}

static enum err on_taken(struct walk *walk, const struct key_parts *parts)
{
    TRY(tell_session(walk)); /* the last one comes before */
    return walk->reader->taken == NULL
               ? OK
               : walk->reader->taken(walk->context, parts->source, parts->number, parts->second);
}

static enum err on_outbox(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct outgoing_record record;
    if (walk->reader->outbox == NULL) {
        return OK;
    }
    TRY(record_get_outgoing(value, walk->arena, &record));
    return walk->reader->outbox(walk->context, parts->number, &record);
}

static enum err on_retained(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct msg_spec record;
    if (walk->reader->retained == NULL) {
        return OK;
    }
    TRY(record_get_message(value, walk->arena, &record));
    record.topic = parts->text;
    return walk->reader->retained(walk->context, &record);
}

static enum err on_key(struct walk *walk, struct slice key, struct slice value)
{
    struct key_parts parts;
    if (!key_read(key, &parts)) {
        return ERR_CORRUPT;
    }
    switch (parts.kind) {
    case KEY_RECEIVED:
        return on_received(walk, &parts, value);
    case KEY_OUTBOX:
        return on_outbox(walk, &parts, value);
    case KEY_RETAINED:
        return on_retained(walk, &parts, value);
    case KEY_SESSION:
        return on_session_key(walk, &parts, value);
    case KEY_TAKEN:
        return on_taken(walk, &parts);
    case KEY_APPLIED:
    case KEY_SHARED_COUNT:
    case KEY_MESSAGE:
        break;
    }
    return OK;
}

static struct kv_iter *iter_of_all(struct machine *machine)
{
    key_of_partition(&machine->key, machine->partition);
    key_of_partition(&machine->key_end, machine->partition);
    key_end(&machine->key_end);
    return kv_iter_new(machine->state, key_slice(&machine->key), key_slice(&machine->key_end),
                       true);
}

enum err machine_read(struct machine *machine, const struct machine_reader *reader, void *context)
{
    struct walk walk = {
        .machine = machine, .reader = reader, .context = context, .arena = machine->arena};
    struct slice key, value;
    struct kv_iter *iter = iter_of_all(machine);
    if (iter == NULL) {
        return ERR_NOMEM;
    }
    enum err err = OK;
    while (err == OK && kv_iter_next(iter, &key, &value)) {
        arena_reset(walk.arena);
        err = on_key(&walk, key, value);
    }
    enum err walk_err = kv_iter_end(iter);
    err = err == OK ? walk_err : err;
    err = err == OK ? tell_session(&walk) : err;
    buf_deinit(&walk.record);
    buf_deinit(&walk.will);
    return err;
}

enum err machine_digest(struct machine *machine, uint64_t *out)
{
    struct slice key, value;
    uint64_t digest = 0;
    struct kv_iter *iter = iter_of_all(machine);
    if (iter == NULL) {
        return ERR_NOMEM;
    }
    while (kv_iter_next(iter, &key, &value)) {
        if (key.count != 2 || key.data[1] != KEY_APPLIED) {
            digest ^= hash_bytes_seeded(value, hash_bytes(key));
        }
    }
    TRY(kv_iter_end(iter));
    *out = digest;
    return OK;
}
