#include "core/base/arena.h"
#include "storage/machine.h"
#include "storage/machine_parts.h"

/* A reading under way: what is given lives in the arena. */
struct reading {
    struct machine *machine;
    struct arena *arena;
    struct stored_item *items;
    uint32_t count;
};

static enum err keep(struct arena *arena, struct slice *bytes)
{
    uint8_t *copy = arena_take(arena, bytes->count);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    if (bytes->count > 0) {
        memcpy(copy, bytes->data, bytes->count);
    }
    bytes->data = copy;
    return OK;
}

/* A message that several items share. */
static enum err get_shared(struct reading *reading, uint64_t number, struct msg_spec *out)
{
    struct machine *machine = reading->machine;
    struct kv_value value;
    key_of_number(&machine->key, machine->partition, KEY_MESSAGE, number);
    enum err err = kv_get(machine->state, key_slice(&machine->key), &value);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    struct slice bytes = value.bytes;
    err = keep(reading->arena, &bytes);
    kv_value_free(&value);
    TRY(err);
    return record_get_message(bytes, reading->arena, out);
}

struct stored_item machine_stored_item(uint64_t sequence, const struct item_record *record)
{
    return (struct stored_item){.sequence = sequence,
                                .stored = record->message,
                                .message = record->spec,
                                .ids = record->ids,
                                .id_count = record->id_count,
                                .qos = record->qos,
                                .retain = record->retain,
                                .awaits_pubcomp = record->awaits_pubcomp,
                                .share_text = record->share_text};
}

static enum err take(struct reading *reading, struct slice key, struct slice value)
{
    struct key_parts parts;
    struct item_record record;
    if (!key_read(key, &parts) || parts.part != PART_ITEM) {
        return ERR_CORRUPT;
    }
    TRY(keep(reading->arena, &value));
    TRY(record_get_item(value, reading->arena, &record));
    if (record.is_shared && !record.awaits_pubcomp) {
        TRY(get_shared(reading, record.message, &record.spec));
    }
    reading->items[reading->count++] = machine_stored_item(parts.second, &record);
    return OK;
}

enum err machine_read_items(struct machine *machine, uint64_t session, uint64_t from_sequence,
                            uint32_t count_max, size_t bytes_max, struct arena *arena,
                            struct stored_item **out, uint32_t *count_out)
{
    struct reading reading = {machine, arena,
                              arena_take(arena, count_max * sizeof(struct stored_item)), 0};
    size_t bytes_before = arena_taken_bytes(arena);
    struct slice key, value;
    enum err err = OK;

    key_of_item(&machine->key, machine->partition, session, from_sequence);
    key_of_session_part(&machine->key_end, machine->partition, session, PART_ITEM);
    key_end(&machine->key_end);
    struct kv_iter *iter = kv_iter_new(machine->state, key_slice(&machine->key),
                                       key_slice(&machine->key_end), false);
    if (iter == NULL) {
        return ERR_NOMEM;
    }
    if (reading.items == NULL) {
        err = ERR_NOMEM;
    }
    while (err == OK && reading.count < count_max &&
           (reading.count == 0 || arena_taken_bytes(arena) - bytes_before < bytes_max) &&
           kv_iter_next(iter, &key, &value)) {
        err = take(&reading, key, value);
    }
    enum err end = kv_iter_end(iter);
    TRY(err);
    TRY(end);
    *out = reading.items;
    *count_out = reading.count;
    return OK;
}

enum err machine_read_retained(struct kv *state, uint32_t partition, struct slice topic,
                               struct key *key, struct arena *arena, struct msg_spec *out)
{
    struct msg_spec record;
    struct kv_value value;

    key_of_retained(key, partition, topic);
    TRY(kv_get(state, key_slice(key), &value));
    struct slice bytes = value.bytes;
    enum err err = keep(arena, &bytes);
    kv_value_free(&value);
    TRY(err);
    TRY(record_get_message(bytes, arena, &record));
    record.topic = topic;
    *out = record;
    return OK;
}
