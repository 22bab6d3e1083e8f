#include "storage/check.h"

#include "core/base/map.h"
#include "core/pubsub/topic.h"
#include "core/session/session.h"
#include "storage/machine.h"
#include "storage/machine_parts.h"
#include "storage/raftlog.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ENTRY_COMMAND = 1, /* the type of an entry that has ops (cluster/consensus.h) */
    ARENA_BLOCK_BYTES = 64 * 1024,
    FINDING_BYTES = 1200,
};
#define ARENA_BYTES_MAX ((size_t)2 << 30)

/* Of one partition. */
struct walk {
    struct check *check;
    uint32_t partition;
    struct arena *arena;  /* of one record */
    struct shared counts; /* by message: what C says, less the items seen; is_touched: M is there */
    struct shared clients;            /* of sessions that were seen: hashes of their client ids */
    bool has_session;                 /* a session's own record has come: */
    uint64_t session;                 /* whose */
    uint64_t index_first, index_last; /* of entries in the log */
    uint64_t index_applied;           /* of the last one that the state has; 0: of none */
};

static void find(struct walk *walk, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void find(struct walk *walk, const char *format, ...)
{
    char text[FINDING_BYTES];
    int used = snprintf(text, sizeof(text), "partition %u: ", walk->partition);
    va_list values;
    va_start(values, format);
    vsnprintf(text + used, sizeof(text) - (size_t)used, format, values);
    va_end(values);
    walk->check->finding_count++;
    walk->check->finding(walk->check->context, text);
}

#define RESTORE "restore a backup (ternctl restore)"

/* A record that cannot be read is a finding; no memory is an error. */
static enum err judge(struct walk *walk, enum err err, const char *what, uint64_t number)
{
    if (err == ERR_UNSUPPORTED) {
        find(walk, "%s %" PRIu64 " is of a newer version: use that one", what, number);
    } else if (err == ERR_CORRUPT) {
        find(walk, "%s %" PRIu64 " is damaged: " RESTORE, what, number);
    }
    return err == ERR_UNSUPPORTED || err == ERR_CORRUPT ? OK : err;
}

/* ---- the log ---------------------------------------------------------------------------------- */

static enum err on_entry(void *context, const struct raftlog_entry *entry)
{
    struct walk *walk = context;
    struct entry parts;
    walk->index_first = walk->index_first == 0 ? entry->index : walk->index_first;
    walk->index_last = entry->index;
    walk->check->figures.entries++;
    if (entry->type != ENTRY_COMMAND || entry->bytes.count == 0) {
        return OK;
    }
    walk->check->figures.waiting += entry->index > walk->index_applied;
    arena_reset(walk->arena);
    return judge(walk, entry_read(entry->bytes, walk->arena, &parts), "entry", entry->index);
}

/* *hard: also what it says when the log is damaged: all 0. */
static enum err check_log(struct walk *walk, struct kv *log, struct raftlog_hard *hard)
{
    struct kv_failure failure = {""};
    *hard = (struct raftlog_hard){0};
    enum err err = raftlog_load(log, walk->partition, hard, on_entry, walk, &failure);
    if (err == ERR_CORRUPT || err == ERR_UNSUPPORTED) {
        find(walk, "%s", failure.text[0] == '\0' ? "the log is damaged: " RESTORE : failure.text);
        *hard = (struct raftlog_hard){0};
        return OK;
    }
    return err;
}

static enum err applied_get(struct walk *walk, struct kv *state)
{
    struct applied applied = {0};
    struct kv_value value;
    struct key *key = malloc(sizeof(*key)); /* 128 KiB */
    if (key == NULL) {
        return ERR_NOMEM;
    }
    key_of_kind(key, walk->partition, KEY_APPLIED);
    enum err err = kv_get(state, key_slice(key), &value);
    free(key);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    arena_reset(walk->arena);
    err = wire_read(&shape_applied, value.bytes, false, walk->arena, &applied);
    kv_value_free(&value);
    walk->index_applied = applied.index;
    return err;
}

/* The state is of an entry that the log had: not of one that it lost, nor of one before its cut. */
static void check_index(struct walk *walk, const struct raftlog_hard *hard)
{
    uint64_t last = walk->index_last > hard->cut_index ? walk->index_last : hard->cut_index;
    uint64_t index = walk->index_applied;
    if (index > last) {
        find(walk,
             "its state is of entry %" PRIu64 ", and its log ends at %" PRIu64
             ": the log was lost; " RESTORE,
             index, last);
    }
    if (index < hard->cut_index) {
        find(walk,
             "its state is of entry %" PRIu64 ", and its log begins behind %" PRIu64
             ": the state is older than it was; " RESTORE,
             index, hard->cut_index);
    }
}

/* ---- the state: records ------------------------------------------------------------------------- */

static enum err on_count(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    uint64_t count = 0;
    TRY(wire_read(&shape_number, value, false, walk->arena, &count));
    if (parts->number == 0 || count == 0 || count > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    TRY(shared_reserve(&walk->counts, 1));
    shared_add(&walk->counts, parts->number)->count = (uint32_t)count;
    return OK;
}

static enum err on_message(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct msg_spec record;
    struct share *share = shared_get(&walk->counts, parts->number);
    if (share == NULL) {
        find(walk, "message %" PRIu64 " is kept, and for nobody: " RESTORE, parts->number);
    } else {
        share->is_touched = true;
    }
    walk->check->figures.shared_messages++;
    return record_get_message(value, walk->arena, &record);
}

static enum err on_received(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    uint64_t number = 0;
    return parts->number >= PARTITION_COUNT
               ? ERR_CORRUPT
               : wire_read(&shape_number, value, false, walk->arena, &number);
}

static enum err on_outbox(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct outgoing_record record;
    (void)parts;
    walk->check->figures.outbox++;
    return record_get_outgoing(value, walk->arena, &record);
}

static enum err on_retained(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct msg_spec record;
    walk->check->figures.retained++;
    if (topic_name_check(parts->text, UINT32_MAX) != OK ||
        partition_of(parts->text) != walk->partition) {
        return ERR_CORRUPT;
    }
    return record_get_message(value, walk->arena, &record);
}

static enum err on_session(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct session_record record;
    walk->has_session = true;
    walk->session = parts->number;
    walk->check->figures.sessions++;
    TRY(record_get_session(value, walk->arena, &record));
    if (partition_of(record.open.client_id) != walk->partition) {
        return ERR_CORRUPT;
    }
    uint64_t hash = hash_bytes(record.open.client_id);
    hash += hash == 0;
    if (shared_get(&walk->clients, hash) != NULL) {
        find(walk, "the client of session %016" PRIx64 " has another session, too: " RESTORE,
             walk->session);
        return OK;
    }
    TRY(shared_reserve(&walk->clients, 1));
    shared_add(&walk->clients, hash);
    return OK;
}

static enum err on_away(struct walk *walk, struct slice value)
{
    struct away away = {0};
    return wire_read(&shape_away, value, false, walk->arena, &away);
}

static enum err on_subscription(struct walk *walk, const struct key_parts *parts,
                                struct slice value)
{
    struct op_subscribe record;
    struct topic_filter filter;
    walk->check->figures.subscriptions++;
    TRY(record_get_subscription(value, walk->arena, &record));
    return topic_filter_parse(parts->text, UINT32_MAX, &filter) == OK ? OK : ERR_CORRUPT;
}

static enum err on_item(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct item_record record;
    walk->check->figures.items++;
    TRY(record_get_item(value, walk->arena, &record));
    if (!record.is_shared) {
        return OK;
    }
    struct share *share = shared_get(&walk->counts, record.message);
    if (share == NULL || share->count == 0) {
        find(walk,
             "session %016" PRIx64 " is owed message %" PRIu64 " (sequence %" PRIu64
             "), which is %s: " RESTORE,
             walk->session, record.message, parts->second,
             share == NULL ? "not there" : "counted for fewer");
        return OK;
    }
    share->count--;
    return OK;
}

static enum err on_session_key(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    struct op_will will;
    if (parts->part == PART_SESSION) {
        return on_session(walk, parts, value);
    }
    if (!walk->has_session || walk->session != parts->number) {
        find(walk, "session %016" PRIx64 " is not there, and something of it is: " RESTORE,
             parts->number);
    }
    switch (parts->part) {
    case PART_SESSION:
        break;
    case PART_AWAY:
        return on_away(walk, value);
    case PART_WILL:
        return record_get_will(value, walk->arena, &will);
    case PART_SUBSCRIPTION:
        return on_subscription(walk, parts, value);
    case PART_ITEM:
        return on_item(walk, parts, value);
    case PART_PACKET_ID:
        walk->check->figures.packet_ids++;
        return parts->second == 0 || parts->second > UINT16_MAX ? ERR_CORRUPT : OK;
    }
    return OK;
}

static enum err on_parts(struct walk *walk, const struct key_parts *parts, struct slice value)
{
    switch (parts->kind) {
    case KEY_APPLIED:
        return OK; /* check_index() */
    case KEY_SHARED_COUNT:
        return on_count(walk, parts, value);
    case KEY_MESSAGE:
        return on_message(walk, parts, value);
    case KEY_RECEIVED:
        return on_received(walk, parts, value);
    case KEY_OUTBOX:
        return on_outbox(walk, parts, value);
    case KEY_RETAINED:
        return on_retained(walk, parts, value);
    case KEY_SESSION:
        return on_session_key(walk, parts, value);
    case KEY_TAKEN:
        return parts->source >= PARTITION_COUNT || parts->second == 0 ? ERR_CORRUPT : OK;
    }
    return OK;
}

/* ---- the state: all of it ------------------------------------------------------------------------- */

/* The name of a record by its key. */
static const char *name_of(const struct key_parts *parts)
{
    switch (parts->kind) {
    case KEY_APPLIED:
        return "what is applied: record";
    case KEY_SHARED_COUNT:
        return "the count of message";
    case KEY_MESSAGE:
        return "message";
    case KEY_RECEIVED:
        return "what was received of partition";
    case KEY_OUTBOX:
        return "message of the outbox";
    case KEY_RETAINED:
        return "a retained message: record";
    case KEY_SESSION:
        return parts->part == PART_ITEM           ? "a message owed to session"
               : parts->part == PART_SUBSCRIPTION ? "a subscription of session"
               : parts->part == PART_WILL         ? "the will of session"
                                                  : "session";
    case KEY_TAKEN:
        return "what was taken for a group: message";
    }
    return "record";
}

static enum err on_key(struct walk *walk, struct slice key, struct slice value)
{
    struct key_parts parts;
    if (!key_read(key, &parts)) {
        find(walk, "a key is none of ours: " RESTORE);
        return OK;
    }
    arena_reset(walk->arena);
    return judge(walk, on_parts(walk, &parts, value), name_of(&parts), parts.number);
}

static void check_counts(struct walk *walk)
{
    for (uint32_t i = 0; i < walk->counts.place_count; i++) {
        const struct share *share = &walk->counts.places[i];
        if (share->number != 0 && !share->is_touched) {
            find(walk, "message %" PRIu64 " is counted, and not there: " RESTORE, share->number);
        } else if (share->number != 0 && share->count > 0) {
            find(walk, "message %" PRIu64 " is counted for %u more than it is owed to: " RESTORE,
                 share->number, share->count);
        }
    }
}

static enum err check_state(struct walk *walk, struct kv *state)
{
    struct key *from = malloc(sizeof(*from)), *to = malloc(sizeof(*to)); /* 128 KiB each */
    struct kv_iter *iter = NULL;
    struct slice key, value;
    enum err err = ERR_NOMEM;
    if (from != NULL && to != NULL) {
        key_of_partition(from, walk->partition);
        key_of_partition(to, walk->partition);
        key_end(to);
        iter = kv_iter_new(state, key_slice(from), key_slice(to), true);
    }
    free(from);
    free(to);
    if (iter == NULL) {
        return err;
    }
    err = OK;
    while (err == OK && kv_iter_next(iter, &key, &value)) {
        err = on_key(walk, key, value);
    }
    enum err walk_err = kv_iter_end(iter);
    if (walk_err == ERR_CORRUPT) {
        find(walk, "a file of its state is damaged: " RESTORE);
        return err;
    }
    if (err == OK && walk_err == OK) {
        check_counts(walk);
    }
    return err != OK ? err : walk_err;
}

/* An image was taking its place: what there is of it means nothing, and its log is void. */
static enum err check_mark(struct walk *walk, struct kv *log, bool *is_void)
{
    struct kv_failure failure = {""};
    struct raftlog_mark mark;
    enum err err = raftlog_get_mark(log, walk->partition, &mark, &failure);
    *is_void = err == OK;
    if (err == OK) {
        find(
            walk,
            "it was being replaced by what another node has of it, up to entry %" PRIu64
            ", and is not whole: start this node, its cluster helps it on; nothing of it is in this "
            "store until then",
            mark.index);
    } else if (err == ERR_CORRUPT) {
        find(walk, "%s", failure.text);
    }
    return err == ERR_NOT_FOUND || err == ERR_CORRUPT ? OK : err;
}

enum err check_partition(struct kv *log, struct kv *state, uint32_t partition, struct check *check)
{
    struct walk walk = {.check = check, .partition = partition};
    struct raftlog_hard hard;
    walk.arena = arena_new(ARENA_BLOCK_BYTES, ARENA_BYTES_MAX);
    if (walk.arena == NULL) {
        return ERR_NOMEM;
    }
    uint64_t before = check->finding_count;
    bool is_void = false;
    enum err marked = check_mark(&walk, log, &is_void);
    if (marked != OK || is_void) {
        arena_free(walk.arena);
        return marked;
    }
    enum err err = judge(&walk, applied_get(&walk, state), "what is applied: record", 0);
    err = err == OK ? check_log(&walk, log, &hard) : err;
    if (err == OK && check->finding_count == before) { /* else its indexes say nothing */
        check_index(&walk, &hard);
    }
    err = err == OK ? check_state(&walk, state) : err;
    shared_deinit(&walk.counts);
    shared_deinit(&walk.clients);
    arena_free(walk.arena);
    return err;
}
