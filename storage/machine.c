#include "storage/machine.h"

#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/machine_parts.h"
#include "storage/record_shapes.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 64 * 1024,
    /* A value holds parts of one op of its entry, each of which stands there at no less length, and
     * besides a few numbers, tags and lengths. */
    VALUE_BYTES_MORE = 256,
    KEY_BYTES_MORE = 32, /* of a key, besides its text */
};

/* clang-format off */
#define FIELD(form, record, member) {form, offsetof(struct record, member), 0, UINT64_MAX, NULL}
static const struct field applied_fields[] = {
    FIELD(FIELD_U64,     applied, index),
    FIELD(FIELD_U64,     applied, term),
    FIELD(FIELD_FIXED64, applied, hash),
    FIELD(FIELD_U64,     applied, message_next),
    FIELD(FIELD_U64,     applied, send_next),
    FIELD(FIELD_U64,     applied, wall_ms),
};
static const struct field away_fields[] = {
    FIELD(FIELD_U64,     away, closed_wall_ms),
    {FIELD_U32, offsetof(struct away, expiry_s), 0, UINT32_MAX, NULL},
    FIELD(FIELD_U64,     away, sent_sequence),
};
static const struct field number_fields[] = {{FIELD_U64, 0, 0, UINT64_MAX, NULL}};
const struct shape shape_applied = {applied_fields, sizeof(applied_fields) / sizeof(struct field)};
const struct shape shape_away = {away_fields, sizeof(away_fields) / sizeof(struct field)};
const struct shape shape_number = {number_fields, 1};
/* clang-format on */

/* ---- opened and closed ---------------------------------------------------------------------- */

static enum err read_applied(struct machine *machine)
{
    struct kv_value value;
    key_of_kind(&machine->key, machine->partition, KEY_APPLIED);
    enum err err = kv_get(machine->state, key_slice(&machine->key), &value);
    if (err == ERR_NOT_FOUND) {
        machine->applied = (struct applied){.message_next = 1, .send_next = 1};
        return OK;
    }
    TRY(err);
    /* Strictly: what a newer version counts there, this one would not go on counting. */
    err = wire_read(&shape_applied, value.bytes, true, machine->arena, &machine->applied);
    kv_value_free(&value);
    TRY(err);
    bool is_whole = machine->applied.message_next > 0 && machine->applied.send_next > 0;
    return is_whole ? OK : ERR_CORRUPT;
}

static enum err read_share(struct machine *machine, struct slice key, struct slice value)
{
    struct key_parts parts;
    uint64_t count = 0;
    if (!key_read(key, &parts) || parts.kind != KEY_SHARED_COUNT || parts.number == 0) {
        return ERR_CORRUPT;
    }
    TRY(wire_read(&shape_number, value, true, machine->arena, &count));
    if (count == 0 || count > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    TRY(shared_reserve(&machine->shared, 1));
    shared_add(&machine->shared, parts.number)->count = (uint32_t)count;
    return OK;
}

static enum err read_shares(struct machine *machine)
{
    struct slice key, value;
    key_of_kind(&machine->key, machine->partition, KEY_SHARED_COUNT);
    key_of_kind(&machine->key_end, machine->partition, KEY_SHARED_COUNT);
    key_end(&machine->key_end);
    struct kv_iter *iter = kv_iter_new(machine->state, key_slice(&machine->key),
                                       key_slice(&machine->key_end), true);
    if (iter == NULL) {
        return ERR_NOMEM;
    }
    enum err err = OK;
    while (err == OK && kv_iter_next(iter, &key, &value)) {
        err = read_share(machine, key, value);
    }
    enum err walk_err = kv_iter_end(iter);
    return err != OK ? err : walk_err;
}

enum err machine_open(struct kv *state, uint32_t partition, struct machine **out)
{
    struct machine *machine = calloc(1, sizeof(*machine));
    enum err err = ERR_NOMEM;
    if (machine == NULL) {
        goto fail;
    }
    machine->state = state;
    machine->partition = partition;
    machine->arena = arena_new(ARENA_BYTES, SIZE_MAX / 2);
    if (machine->arena == NULL) {
        goto fail;
    }
    err = read_applied(machine);
    err = err == OK ? read_shares(machine) : err;
    if (err != OK) {
        goto fail;
    }
    *out = machine;
    return OK;
fail:
    machine_close(machine);
    return err;
}

void machine_close(struct machine *machine)
{
    if (machine == NULL) {
        return;
    }
    arena_free(machine->arena);
    shared_deinit(&machine->shared);
    buf_deinit(&machine->value);
    free(machine);
}

uint64_t machine_index(const struct machine *machine)
{
    return machine->applied.index;
}

uint64_t machine_term(const struct machine *machine)
{
    return machine->applied.term;
}

uint64_t machine_hash(const struct machine *machine)
{
    return machine->applied.hash;
}

uint64_t machine_message_next(const struct machine *machine)
{
    return machine->applied.message_next;
}

uint64_t machine_send_next(const struct machine *machine)
{
    return machine->applied.send_next;
}

uint64_t machine_wall_ms(const struct machine *machine)
{
    return machine->applied.wall_ms;
}

/* ---- an entry, looked over before anything is written ----------------------------------------- */

static bool is_ending(const struct entry_op *op)
{
    return op->kind == OP_END && op->has_more;
}

static int compare_endings(const void *a, const void *b)
{
    uint64_t x = ((const struct ending *)a)->session, y = ((const struct ending *)b)->session;
    return (x > y) - (x < y);
}

struct ending *machine_ending_of(const struct work *work, uint64_t session)
{
    struct ending key = {.session = session};
    return work->ending_count == 0
               ? NULL
               : bsearch(&key, work->endings, work->ending_count, sizeof(key), compare_endings);
}

/* An item of a session that ends, as the map has it. */
static enum err look_at_item(struct machine *machine, struct slice key, struct slice value,
                             struct ending *ending, uint64_t *owed_count)
{
    struct key_parts parts;
    struct item_record item;
    if (!key_read(key, &parts) || parts.part != PART_ITEM) {
        return ERR_CORRUPT;
    }
    TRY(record_get_item(value, machine->arena, &item));
    if (!item.is_shared) {
        return OK;
    }
    struct owed *owed = arena_take(machine->arena, sizeof(*owed));
    if (owed == NULL) {
        return ERR_NOMEM;
    }
    *owed = (struct owed){ending->owed, parts.second, item.message};
    ending->owed = owed;
    ++*owed_count;
    return OK;
}

static enum err look_at_items(struct machine *machine, struct ending *ending, uint64_t *owed_count)
{
    struct slice key, value;
    key_of_session_part(&machine->key, machine->partition, ending->session, PART_ITEM);
    key_of_session_part(&machine->key_end, machine->partition, ending->session, PART_ITEM);
    key_end(&machine->key_end);
    struct kv_iter *iter = kv_iter_new(machine->state, key_slice(&machine->key),
                                       key_slice(&machine->key_end), false);
    if (iter == NULL) {
        return ERR_NOMEM;
    }
    enum err err = OK;
    while (err == OK && kv_iter_next(iter, &key, &value)) {
        err = look_at_item(machine, key, value, ending, owed_count);
    }
    enum err walk_err = kv_iter_end(iter);
    return err != OK ? err : walk_err;
}

/*
 * What the items of sessions that end in this entry share, as it was before the entry: the ops before
 * their OP_END then add and take away. The map is read, so what waits in the set is written first.
 */
static enum err look_at_endings(struct work *work, uint64_t *owed_count)
{
    struct machine *machine = work->machine;
    uint32_t count = 0;
    for (uint32_t i = 0; i < work->entry.op_count; i++) {
        count += is_ending(&work->entry.ops[i]);
    }
    if (count == 0) {
        return OK;
    }
    work->endings = arena_take(machine->arena, count * sizeof(*work->endings));
    if (work->endings == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < work->entry.op_count; i++) {
        if (is_ending(&work->entry.ops[i])) {
            struct ending ending = {.session = work->entry.ops[i].session};
            work->endings[work->ending_count++] = ending;
        }
    }
    qsort(work->endings, count, sizeof(*work->endings), compare_endings);
    work->ending_count = 0;
    for (uint32_t i = 0; i < count; i++) { /* each once */
        if (i == 0 || work->endings[i].session != work->endings[i - 1].session) {
            work->endings[work->ending_count++] = work->endings[i];
        }
    }
    if (machine->shared.count == 0) {
        return OK; /* nobody's items share anything */
    }
    TRY(write_set_write(work->writes, machine->state));
    for (uint32_t i = 0; i < work->ending_count; i++) {
        TRY(look_at_items(machine, &work->endings[i], owed_count));
    }
    return OK;
}

/*
 * An op writes three keys at most, a message one, a number that is touched two, and there is A. Their
 * texts are those of the entry, none more than twice: of a subscription in the key and in the value. A
 * message may be in several items, but then for less than SHARE_BYTES_MIN more (is_shared).
 */
static enum err reserve_writes(struct work *work, size_t bytes, uint64_t touched_max)
{
    const struct entry *entry = &work->entry;
    uint64_t count = 3 * (uint64_t)entry->op_count + entry->message_count + 2 * touched_max + 1;
    uint64_t write_bytes_max = KEY_BYTES_MORE + VALUE_BYTES_MORE;
    _Static_assert((int)VALUE_BYTES_MORE >= (int)SHARE_BYTES_MIN, "a message in several items");
    return write_set_reserve(work->writes, count, 2 * (uint64_t)bytes + count * write_bytes_max);
}

/* Everything that may fail. */
static enum err prepare(struct work *work, struct slice bytes)
{
    struct machine *machine = work->machine;
    struct arena *arena = machine->arena;
    struct entry *entry = &work->entry;
    uint64_t touched_max = 0, enqueued = 0;

    TRY(entry_read(bytes, arena, entry));
    if (entry->message_count > 0 && entry->message_first < work->applied.message_next) {
        return ERR_CORRUPT; /* numbers that others have already */
    }
    work->uses = arena_take(arena, entry->message_count * sizeof(*work->uses));
    if (work->uses == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < entry->message_count; i++) {
        work->uses[i] = 0;
    }
    for (uint32_t i = 0; i < entry->op_count; i++) {
        const struct entry_op *op = &entry->ops[i];
        if (op->kind == OP_ENQUEUE) {
            work->uses[op->enqueue.message]++;
            enqueued++;
        }
        touched_max += op->kind == OP_SETTLE;
    }
    TRY(look_at_endings(work, &touched_max));
    touched_max += entry->message_count;
    work->touched = arena_take(arena, touched_max * sizeof(*work->touched));
    size_t spare = work->ending_count > 0 ? enqueued * sizeof(*work->owed_spare) : 0;
    work->owed_spare = arena_take(arena, spare);
    if (work->touched == NULL || work->owed_spare == NULL) {
        return ERR_NOMEM;
    }
    TRY(shared_reserve(&machine->shared, entry->message_count));
    TRY(reserve_writes(work, bytes.count, touched_max));
    buf_deinit(&machine->value);
    return buf_reserve(&machine->value, bytes.count + VALUE_BYTES_MORE);
}

/* ---- applied -------------------------------------------------------------------------------- */

enum err machine_apply(struct machine *machine, uint64_t index, uint64_t term, struct slice bytes,
                       struct write_set *writes)
{
    struct work work = {.machine = machine, .writes = writes, .applied = machine->applied};

    ASSERT(index > machine->applied.index);
    arena_reset(machine->arena);
    TRY(prepare(&work, bytes));
    work.applied.index = index;
    work.applied.term = term;
    if (work.entry.message_count > 0) {
        work.applied.message_next = work.entry.message_first + work.entry.message_count;
    }
    if (work.entry.wall_ms > work.applied.wall_ms) {
        work.applied.wall_ms = work.entry.wall_ms;
    }
    machine_carry_out(&work);
    machine->applied = work.applied;
    return OK;
}
