/*
 * A record:
 *
 *     sum8   term8   type1   form1   [count4]   bytes          'E'; count4: of LZ4, what it was before
 *     sum8   term8   vote8                                     'H'
 *     sum8   index8  term8                                     'C', 'I'
 *     sum8   bytes                                             'M'
 *     sum8   index8  term8   bytes                             'S'
 *
 * Numbers are little-endian, but in keys. The sum is XXH3 of all that follows it, seeded with where
 * the record lies.
 */
#include "storage/raftlog.h"

#include "core/base/blocks.h"
#include "core/base/map.h"

#include <inttypes.h>
#include <lz4.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SUM_BYTES = 8,
    HEADER_BYTES = SUM_BYTES + 8 + 1 + 1,
    PAIR_BYTES = SUM_BYTES + 8 + 8,
    MEMBERS_BYTES_MAX = 1024,
    KEY_SIZE = 1 + 1 + 8,
    /* Below this lz4 hardly ever wins, and costs as much as for eight times as many bytes. */
    LZ4_BYTES_MIN = 256,
    /* No more than this many times smaller: so much can be asked of memory by a record's word. */
    LZ4_RATIO_MAX = 256,
};
enum form { FORM_PLAIN, FORM_LZ4 };
enum kind {
    KIND_CUT = 'C',
    KIND_ENTRY = 'E',
    KIND_HARD = 'H',
    KIND_MARK = 'I',
    KIND_MEMBERS = 'M',
    KIND_STATE = 'S',
};

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static void put_u64(uint8_t *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const uint8_t *at)
{
    return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

/* ---- keys and sums -------------------------------------------------------------------------- */

struct log_key {
    uint8_t bytes[KEY_SIZE];
    size_t count;
};

static struct log_key key_of(uint32_t partition, enum kind kind, uint64_t index)
{
    struct log_key key = {.bytes = {(uint8_t)partition, (uint8_t)kind}, .count = 2};
    ASSERT(partition <= UINT8_MAX);
    if (kind == KIND_ENTRY || kind == KIND_MEMBERS) {
        for (int i = 0; i < 8; i++) {
            key.bytes[2 + i] = (uint8_t)(index >> (56 - 8 * i));
        }
        key.count = KEY_SIZE;
    }
    return key;
}

/* The first key behind all entries of the partition. */
static struct log_key key_behind(uint32_t partition)
{
    return (struct log_key){{(uint8_t)partition, KIND_ENTRY + 1}, 2};
}

static struct slice key_bytes(const struct log_key *key)
{
    return slice_of(key->bytes, key->count);
}

static uint64_t sum_of(uint32_t partition, enum kind kind, uint64_t index, struct slice record)
{
    uint64_t place = (uint64_t)partition << 56 ^ (uint64_t)kind << 48 ^ index;
    return hash_bytes_seeded(slice_skip(record, SUM_BYTES), place);
}

static bool is_whole(uint32_t partition, enum kind kind, uint64_t index, struct slice record)
{
    return record.count >= SUM_BYTES &&
           get_u64(record.data) == sum_of(partition, kind, index, record);
}

static void seal_and_put(struct kv_batch *batch, uint32_t partition, enum kind kind, uint64_t index,
                         uint8_t *record, size_t count)
{
    struct log_key key = key_of(partition, kind, index);
    put_u64(record, sum_of(partition, kind, index, slice_of(record, count)));
    kv_batch_put(batch, key_bytes(&key), slice_of(record, count));
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Two numbers under a key of their own. */
static void put_pair(struct kv_batch *batch, uint32_t partition, enum kind kind, uint64_t first,
                     uint64_t second)
{
    uint8_t record[PAIR_BYTES];
    put_u64(record + SUM_BYTES, first);
    put_u64(record + SUM_BYTES + 8, second);
    seal_and_put(batch, partition, kind, 0, record, sizeof(record));
}

enum err raftlog_put_hard(struct kv_batch *batch, uint32_t partition,
                          const struct raftlog_hard *hard)
{
    put_pair(batch, partition, KIND_HARD, hard->term, hard->vote);
    return OK;
}

/* The bytes behind the header, shrunk if that saves an eighth; how many they are now, 0: as before. */
static size_t shrink(struct slice bytes, uint8_t *out)
{
    if (bytes.count < LZ4_BYTES_MIN) {
        return 0;
    }
    /* Bounded by what pays: lz4 gives up by itself where it gets no further. */
    size_t count_max = bytes.count - bytes.count / 8 - 4;
    int count = LZ4_compress_default((const char *)bytes.data, (char *)out + 4, (int)bytes.count,
                                     (int)count_max);
    if (count <= 0) {
        return 0;
    }
    put_u32(out, (uint32_t)bytes.count);
    return 4 + (size_t)count;
}

enum err raftlog_put(struct kv_batch *batch, uint32_t partition, const struct raftlog_entry *entry)
{
    struct slice bytes = entry->bytes;
    size_t room = HEADER_BYTES + bytes.count;
    uint8_t *record;

    ASSERT(entry->index > 0);
    ASSERT(bytes.count <= RAFTLOG_ENTRY_BYTES_MAX);
    record = blocks_take(room);
    if (record == NULL) {
        return ERR_NOMEM;
    }
    put_u64(record + SUM_BYTES, entry->term);
    record[SUM_BYTES + 8] = entry->type;
    size_t count = shrink(bytes, record + HEADER_BYTES);
    record[SUM_BYTES + 9] = count > 0 ? FORM_LZ4 : FORM_PLAIN;
    if (count == 0 && bytes.count > 0) {
        count = bytes.count;
        memcpy(record + HEADER_BYTES, bytes.data, count);
    }
    seal_and_put(batch, partition, KIND_ENTRY, entry->index, record, HEADER_BYTES + count);
    blocks_give(record, room);
    return OK;
}

void raftlog_put_members(struct kv_batch *batch, uint32_t partition, uint64_t index,
                         struct slice bytes)
{
    uint8_t record[SUM_BYTES + MEMBERS_BYTES_MAX];
    ASSERT(bytes.count <= MEMBERS_BYTES_MAX);
    memcpy(record + SUM_BYTES, bytes.data, bytes.count);
    seal_and_put(batch, partition, KIND_MEMBERS, index, record, SUM_BYTES + bytes.count);
}

void raftlog_forget_members(struct kv_batch *batch, uint32_t partition, uint64_t index)
{
    struct log_key from = key_of(partition, KIND_MEMBERS, 0);
    struct log_key to = key_of(partition, KIND_MEMBERS, index);
    kv_batch_delete_range(batch, key_bytes(&from), key_bytes(&to));
}

void raftlog_truncate(struct kv_batch *batch, uint32_t partition, uint64_t index)
{
    struct log_key from = key_of(partition, KIND_ENTRY, index), to = key_behind(partition);
    kv_batch_delete_range(batch, key_bytes(&from), key_bytes(&to));
}

enum err raftlog_cut(struct kv_batch *batch, uint32_t partition, const struct raftlog_hard *hard)
{
    struct log_key from = key_of(partition, KIND_ENTRY, 0);
    struct log_key to = key_of(partition, KIND_ENTRY, hard->cut_index + 1);
    put_pair(batch, partition, KIND_CUT, hard->cut_index, hard->cut_term);
    kv_batch_delete_range(batch, key_bytes(&from), key_bytes(&to));
    return OK;
}

static void forget(struct kv_batch *batch, uint32_t partition, enum kind kind)
{
    struct log_key key = key_of(partition, kind, 0);
    kv_batch_delete(batch, key_bytes(&key));
}

void raftlog_put_mark(struct kv_batch *batch, uint32_t partition, const struct raftlog_mark *mark)
{
    put_pair(batch, partition, KIND_MARK, mark->index, mark->term);
    forget(batch, partition, KIND_CUT);
    raftlog_truncate(batch, partition, 0);
}

void raftlog_end_mark(struct kv_batch *batch, uint32_t partition, const struct raftlog_mark *mark)
{
    forget(batch, partition, KIND_MARK);
    put_pair(batch, partition, KIND_CUT, mark->index, mark->term);
}

enum err raftlog_put_state(struct kv_batch *batch, uint32_t partition,
                           const struct raftlog_state *state)
{
    size_t room = PAIR_BYTES + state->bytes.count;
    uint8_t *record = malloc(room);
    ASSERT(state->bytes.count <= RAFTLOG_ENTRY_BYTES_MAX);
    if (record == NULL) {
        return ERR_NOMEM;
    }
    put_u64(record + SUM_BYTES, state->index);
    put_u64(record + SUM_BYTES + 8, state->term);
    if (state->bytes.count > 0) {
        memcpy(record + PAIR_BYTES, state->bytes.data, state->bytes.count);
    }
    seal_and_put(batch, partition, KIND_STATE, 0, record, room);
    free(record);
    return OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum err damaged(struct kv_failure *failure, uint32_t partition, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err damaged(struct kv_failure *failure, uint32_t partition, const char *format, ...)
{
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    snprintf(failure->text, sizeof(failure->text),
             "the log of partition %" PRIu32 " is damaged: %s: restore a backup (ternctl restore); "
             "in a cluster remove this node and let it join again, with an empty folder",
             partition, what);
    return ERR_CORRUPT;
}

static enum err cannot_read(struct kv_failure *failure, uint32_t partition, enum err err)
{
    if (err == ERR_CORRUPT) {
        return damaged(failure, partition, "the disk's files do not fit their checksums");
    }
    snprintf(failure->text, sizeof(failure->text),
             "the log of partition %" PRIu32 " cannot be read: %s: %s", partition, err_text(err),
             err == ERR_NOMEM ? "give tern more memory" : "look at the disk (dmesg)");
    return err;
}

/* false: err says whether it is missing (ERR_NOT_FOUND), damaged or cannot be read. */
static bool get_pair(struct kv *log, uint32_t partition, enum kind kind, uint64_t *first,
                     uint64_t *second, enum err *err, struct kv_failure *failure)
{
    struct log_key key = key_of(partition, kind, 0);
    struct kv_value value;
    *err = kv_get(log, key_bytes(&key), &value);
    if (*err == ERR_NOT_FOUND) {
        return false;
    }
    if (*err != OK) {
        *err = cannot_read(failure, partition, *err);
        return false;
    }
    if (value.bytes.count == PAIR_BYTES && is_whole(partition, kind, 0, value.bytes)) {
        *first = get_u64(value.bytes.data + SUM_BYTES);
        *second = get_u64(value.bytes.data + SUM_BYTES + 8);
    } else {
        *err = damaged(failure, partition, "its %s does not fit its checksum",
                       kind == KIND_HARD   ? "term and vote"
                       : kind == KIND_MARK ? "mark of an image"
                                           : "beginning");
    }
    kv_value_free(&value);
    return *err == OK;
}

enum err raftlog_get_mark(struct kv *log, uint32_t partition, struct raftlog_mark *out,
                          struct kv_failure *failure)
{
    struct raftlog_mark mark = {0};
    enum err err;
    if (get_pair(log, partition, KIND_MARK, &mark.index, &mark.term, &err, failure)) {
        *out = mark;
    }
    return err;
}

enum err raftlog_get_state(struct kv *log, uint32_t partition,
                           enum err (*take)(void *context, const struct raftlog_state *state),
                           void *context, struct kv_failure *failure)
{
    struct log_key key = key_of(partition, KIND_STATE, 0);
    struct kv_value value;
    enum err err = kv_get(log, key_bytes(&key), &value);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? err : cannot_read(failure, partition, err);
    }
    if (value.bytes.count >= PAIR_BYTES && is_whole(partition, KIND_STATE, 0, value.bytes)) {
        struct raftlog_state state = {.index = get_u64(value.bytes.data + SUM_BYTES),
                                      .term = get_u64(value.bytes.data + SUM_BYTES + 8),
                                      .bytes = slice_skip(value.bytes, PAIR_BYTES)};
        err = take(context, &state);
    } else {
        err = damaged(failure, partition, "its state does not fit its checksum");
    }
    kv_value_free(&value);
    return err;
}

/* What a walk needs: the memory that the larger entries are unpacked into is used again. */
struct walk {
    uint32_t partition;
    raftlog_walk entry;
    void *context;
    struct kv_failure *failure;
    uint8_t *plain;
    size_t plain_room;
    bool may_be_cut; /* that the first one is missing is no damage */
};

static enum err unpack(struct walk *walk, uint64_t index, struct slice packed, struct slice *out)
{
    uint32_t count = packed.count < 4 ? 0 : get_u32(packed.data);
    if (count == 0 || count > RAFTLOG_ENTRY_BYTES_MAX || count / LZ4_RATIO_MAX > packed.count) {
        return damaged(walk->failure, walk->partition, "entry %" PRIu64 " has no size", index);
    }
    if (count > walk->plain_room) {
        free(walk->plain);
        walk->plain = malloc(count);
        walk->plain_room = walk->plain == NULL ? 0 : count;
        if (walk->plain == NULL) {
            return cannot_read(walk->failure, walk->partition, ERR_NOMEM);
        }
    }
    packed = slice_skip(packed, 4);
    int read = LZ4_decompress_safe((const char *)packed.data, (char *)walk->plain,
                                   (int)packed.count, (int)count);
    if (read < 0 || (uint32_t)read != count) {
        return damaged(walk->failure, walk->partition, "entry %" PRIu64 " does not unpack", index);
    }
    *out = slice_of(walk->plain, count);
    return OK;
}

static uint64_t get_index(struct slice key)
{
    uint64_t index = 0;
    for (int i = 2; i < KEY_SIZE; i++) {
        index = index << 8 | key.data[i];
    }
    return index;
}

static enum err read_entry(struct walk *walk, struct slice key, struct slice record,
                           struct raftlog_entry *out)
{
    if (key.count != KEY_SIZE) {
        return damaged(walk->failure, walk->partition, "a key of %zu bytes", key.count);
    }
    *out = (struct raftlog_entry){.index = get_index(key)};
    if (record.count < HEADER_BYTES || !is_whole(walk->partition, KIND_ENTRY, out->index, record)) {
        return damaged(walk->failure, walk->partition,
                       "entry %" PRIu64 " does not fit its checksum", out->index);
    }
    out->term = get_u64(record.data + SUM_BYTES);
    out->type = record.data[SUM_BYTES + 8];
    out->bytes = slice_skip(record, HEADER_BYTES);
    switch (record.data[SUM_BYTES + 9]) {
    case FORM_PLAIN:
        return OK;
    case FORM_LZ4:
        return unpack(walk, out->index, out->bytes, &out->bytes);
    default:
        return damaged(walk->failure, walk->partition,
                       "entry %" PRIu64 " is written in a way that is not known", out->index);
    }
}

/* Entries from that index on, one after another. */
static enum err walk_from(struct walk *walk, struct kv *log, uint64_t first)
{
    uint64_t index = first;
    struct log_key from = key_of(walk->partition, KIND_ENTRY, index);
    struct log_key to = key_behind(walk->partition);
    struct kv_iter *iter = kv_iter_new(log, key_bytes(&from), key_bytes(&to), true);
    struct slice key, record;
    enum err err = OK;

    if (iter == NULL) {
        return cannot_read(walk->failure, walk->partition, ERR_NOMEM);
    }
    while (err == OK && kv_iter_next(iter, &key, &record)) {
        struct raftlog_entry entry;
        err = read_entry(walk, key, record, &entry);
        if (err == OK && entry.index != index) {
            err = walk->may_be_cut && index == first
                      ? ERR_NOT_FOUND
                      : damaged(walk->failure, walk->partition,
                                "entry %" PRIu64 " is missing, %" PRIu64 " is there", index,
                                entry.index);
        }
        if (err == OK) {
            index++;
            err = walk->entry(walk->context, &entry);
        }
    }
    enum err end = kv_iter_end(iter);
    if (err == OK && end != OK) {
        err = cannot_read(walk->failure, walk->partition, end);
    }
    free(walk->plain);
    walk->plain = NULL;
    return err;
}

/* raftlog_load's own look at each entry before its caller's. */
struct load {
    uint64_t term_min, term_max;
    struct walk *walk;
    raftlog_walk entry;
    void *context;
};

static enum err load_entry(void *context, const struct raftlog_entry *entry)
{
    struct load *load = context;
    if (entry->term < load->term_min || entry->term > load->term_max) {
        return damaged(load->walk->failure, load->walk->partition,
                       "entry %" PRIu64 " is of term %" PRIu64 ", between %" PRIu64 " and %" PRIu64,
                       entry->index, entry->term, load->term_min, load->term_max);
    }
    load->term_min = entry->term;
    return load->entry(load->context, entry);
}

enum err raftlog_load(struct kv *log, uint32_t partition, struct raftlog_hard *hard,
                      raftlog_walk entry, void *context, struct kv_failure *failure)
{
    struct raftlog_hard read = {0};
    enum err err;

    if (!get_pair(log, partition, KIND_HARD, &read.term, &read.vote, &err, failure) &&
        err != ERR_NOT_FOUND) {
        return err;
    }
    if (!get_pair(log, partition, KIND_CUT, &read.cut_index, &read.cut_term, &err, failure) &&
        err != ERR_NOT_FOUND) {
        return err;
    }
    if (read.cut_term > read.term) {
        return damaged(failure, partition,
                       "its term is %" PRIu64 ", but it was cut in term %" PRIu64, read.term,
                       read.cut_term);
    }
    struct walk walk = {.partition = partition, .failure = failure};
    struct load load = {read.cut_term, read.term, &walk, entry, context};
    walk.entry = load_entry;
    walk.context = &load;
    *hard = read;
    return walk_from(&walk, log, read.cut_index + 1);
}

enum err raftlog_read(struct kv *log, uint32_t partition, uint64_t index, raftlog_walk entry,
                      void *context, struct kv_failure *failure)
{
    struct walk walk = {.partition = partition,
                        .entry = entry,
                        .context = context,
                        .failure = failure,
                        .may_be_cut = true};
    return walk_from(&walk, log, index);
}

enum err raftlog_read_members(struct kv *log, uint32_t partition, uint64_t index,
                              uint64_t *index_out, uint8_t *bytes, size_t room, size_t *count,
                              struct kv_failure *failure)
{
    struct log_key from = key_of(partition, KIND_MEMBERS, 0);
    struct log_key to = key_of(partition, KIND_MEMBERS, index + 1);
    struct kv_iter *iter = kv_iter_new(log, key_bytes(&from), key_bytes(&to), true);
    struct slice key, record;
    enum err err = ERR_NOT_FOUND;

    if (iter == NULL) {
        return cannot_read(failure, partition, ERR_NOMEM);
    }
    while (err != ERR_CORRUPT && kv_iter_next(iter, &key, &record)) {
        uint64_t at = key.count == KEY_SIZE ? get_index(key) : 0;
        if (at == 0 || !is_whole(partition, KIND_MEMBERS, at, record) ||
            record.count - SUM_BYTES > room) {
            err = damaged(failure, partition, "its members do not fit their checksum");
            continue;
        }
        *index_out = at;
        *count = record.count - SUM_BYTES;
        memcpy(bytes, record.data + SUM_BYTES, *count);
        err = OK;
    }
    enum err end = kv_iter_end(iter);
    return end != OK && err != ERR_CORRUPT ? cannot_read(failure, partition, end) : err;
}
