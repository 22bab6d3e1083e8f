/*
 * The state of a partition, told key by key in the order of the map. What belongs to a session's
 * record stands under three keys that follow each other (S, C, D): the record is told when the third
 * can come no more.
 */
#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/machine.h"
#include "storage/machine_parts.h"

#include <stdlib.h>

/* Of one walk. */
struct machine_walk {
    struct machine *machine;
    const struct machine_reader *reader;
    void *context;
    struct kv_iter *iter; /* NULL: at its end */
    struct arena *arena;  /* of one key */
    bool has_session;     /* session is the one that keys may belong to */
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
static enum err tell_session(struct machine_walk *walk)
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

static enum err on_session(struct machine_walk *walk, const struct key_parts *parts,
                           struct slice value)
{
    walk->has_session = true;
    walk->is_told = false;
    walk->is_away = false;
    walk->session = parts->number;
    buf_deinit(&walk->will);
    return keep(&walk->record, value);
}

static enum err on_away(struct machine_walk *walk, struct slice value)
{
    walk->away = (struct away){.expiry_s = 0};
    walk->is_away = true;
    return wire_read(&shape_away, value, false, walk->arena, &walk->away);
}

static enum err on_subscription(struct machine_walk *walk, const struct key_parts *parts,
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
static enum err tell_shared_item(struct machine_walk *walk, uint64_t sequence,
                                 struct item_record *item)
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

static enum err on_item(struct machine_walk *walk, const struct key_parts *parts,
                        struct slice value)
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

static enum err on_session_key(struct machine_walk *walk, const struct key_parts *parts,
                               struct slice value)
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

static enum err on_received(struct machine_walk *walk, const struct key_parts *parts,
                            struct slice value)
{
    uint64_t number = 0;
    TRY(wire_read(&shape_number, value, false, walk->arena, &number));
    return walk->reader->received == NULL
               ? OK
               : walk->reader->received(walk->context, (uint32_t)parts->number, number);
}

static enum err on_taken(struct machine_walk *walk, const struct key_parts *parts)
{
    TRY(tell_session(walk)); /* the last one comes before */
    return walk->reader->taken == NULL
               ? OK
               : walk->reader->taken(walk->context, parts->source, parts->number, parts->second);
}

static enum err on_outbox(struct machine_walk *walk, const struct key_parts *parts,
                          struct slice value)
{
    struct outgoing_record record;
    if (walk->reader->outbox == NULL) {
        return OK;
    }
    TRY(record_get_outgoing(value, walk->arena, &record));
    return walk->reader->outbox(walk->context, parts->number, &record);
}

static enum err on_retained(struct machine_walk *walk, const struct key_parts *parts,
                            struct slice value)
{
    struct msg_spec record;
    if (walk->reader->retained == NULL) {
        return OK;
    }
    TRY(record_get_message(value, walk->arena, &record));
    record.topic = parts->text;
    return walk->reader->retained(walk->context, &record);
}

static enum err on_key(struct machine_walk *walk, struct slice key, struct slice value)
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

struct machine_walk *machine_walk_new(struct machine *machine, const struct machine_reader *reader,
                                      void *context)
{
    struct machine_walk *walk = calloc(1, sizeof(*walk));
    if (walk == NULL) {
        return NULL;
    }
    *walk = (struct machine_walk){.machine = machine,
                                  .reader = reader,
                                  .context = context,
                                  .arena = machine->arena,
                                  .iter = iter_of_all(machine)};
    if (walk->iter == NULL) {
        free(walk);
        return NULL;
    }
    return walk;
}

/* The map may end early, as the disk fails: kv_iter_end() knows. */
static enum err walk_end(struct machine_walk *walk)
{
    struct kv_iter *iter = walk->iter;
    walk->iter = NULL;
    TRY(kv_iter_end(iter));
    return tell_session(walk);
}

enum err machine_walk_step(struct machine_walk *walk, uint32_t keys_max, bool *is_done)
{
    struct slice key, value;
    *is_done = false;
    for (uint32_t i = 0; i < keys_max; i++) {
        if (!kv_iter_next(walk->iter, &key, &value)) {
            *is_done = true;
            return walk_end(walk);
        }
        arena_reset(walk->arena);
        TRY(on_key(walk, key, value));
    }
    return OK;
}

void machine_walk_free(struct machine_walk *walk)
{
    if (walk == NULL) {
        return;
    }
    if (walk->iter != NULL) {
        (void)kv_iter_end(walk->iter);
    }
    buf_deinit(&walk->record);
    buf_deinit(&walk->will);
    free(walk);
}

enum err machine_read(struct machine *machine, const struct machine_reader *reader, void *context)
{
    struct machine_walk *walk = machine_walk_new(machine, reader, context);
    bool is_done = false;
    enum err err = walk == NULL ? ERR_NOMEM : OK;
    while (err == OK && !is_done) {
        err = machine_walk_step(walk, UINT32_MAX, &is_done);
    }
    machine_walk_free(walk);
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
