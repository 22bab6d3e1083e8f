/*
 *     chunk ──> plain ──> [rest of a record] ──> batch ──> map
 *
 * Invariants
 *   N1  what was taken is in the batch, or is the beginning of a record, which is in rest.
 *   N2  keys rise: none comes twice, and A, which is the first, is kept until the last chunk.
 */
#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/image.h"
#include "storage/machine_parts.h"
#include "storage/raftlog.h"

#include <lz4.h>
#include <stdlib.h>

enum { COUNTS_BYTES = 4 + 4, ARENA_BYTES = 4096 };

struct image_in {
    struct kv *state;
    struct image_head head;
    struct kv_batch *batch;
    uint32_t next;
    uint64_t records, digest;
    bool is_last; /* the last chunk was taken, and all fits */
    struct buf rest, key_last;
    struct buf applied; /* the value of A */
    struct key key;     /* scratch */
    uint8_t plain[IMAGE_CHUNK_BYTES];
};

enum err image_in_new(struct kv *state, const struct image_head *head, struct image_in **out)
{
    struct image_in *image = calloc(1, sizeof(*image));
    struct key *to = malloc(sizeof(*to)); /* 128 KiB */
    if (image != NULL) {
        image->state = state;
        image->head = *head;
        image->batch = kv_batch_new();
    }
    if (image == NULL || to == NULL || image->batch == NULL) {
        free(to);
        image_in_free(image);
        return ERR_NOMEM;
    }
    key_of_partition(&image->key, head->partition);
    key_of_partition(to, head->partition);
    key_end(to);
    kv_batch_delete_range(image->batch, key_slice(&image->key), key_slice(to));
    free(to);
    *out = image;
    return OK;
}

void image_in_free(struct image_in *image)
{
    if (image == NULL) {
        return;
    }
    kv_batch_free(image->batch);
    buf_deinit(&image->rest);
    buf_deinit(&image->key_last);
    buf_deinit(&image->applied);
    free(image);
}

bool image_in_is_whole(const struct image_in *image)
{
    return image->is_last && kv_batch_bytes(image->batch) == 0;
}

uint32_t image_in_next(const struct image_in *image)
{
    return image->next;
}

/* ---- records ------------------------------------------------------------------------------------ */

static bool is_above(struct slice a, struct slice b)
{
    size_t common = a.count < b.count ? a.count : b.count;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order > 0 || (order == 0 && a.count > b.count);
}

static enum err take_applied(struct image_in *image, struct slice value)
{
    struct applied applied = {0};
    struct arena *arena = arena_new(ARENA_BYTES, SIZE_MAX / 2);
    if (arena == NULL) {
        return ERR_NOMEM;
    }
    enum err err = wire_read(&shape_applied, value, true, arena, &applied);
    arena_free(arena);
    TRY(err);
    if (applied.index != image->head.index || applied.term != image->head.term) {
        return ERR_CORRUPT;
    }
    return buf_append(&image->applied, value);
}

static enum err take_record(struct image_in *image, struct slice key, struct slice value)
{
    struct key_parts parts;
    if (!key_read(key, &parts) || parts.partition != image->head.partition ||
        !is_above(key, buf_bytes(&image->key_last))) { /* N2 */
        return ERR_CORRUPT;
    }
    image->key_last.begin = image->key_last.end =
        0; /* keeps the memory, as buf_consume() would not */
    TRY(buf_append(&image->key_last, key));
    image->records++;
    if (parts.kind == KEY_APPLIED) {
        return take_applied(image, value);
    }
    image->digest ^= hash_bytes_seeded(value, hash_bytes(key));
    kv_batch_put(image->batch, key, value);
    return OK;
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* How many bytes the record at the beginning has, as far as that can be told; 0: it cannot be. */
static uint64_t record_bytes(struct slice bytes)
{
    uint64_t count = COUNTS_BYTES;
    if (bytes.count >= COUNTS_BYTES) {
        uint32_t key_count = get_u32(bytes.data), value_count = get_u32(bytes.data + 4);
        bool is_possible = key_count <= KEY_BYTES_MAX && value_count <= RAFTLOG_ENTRY_BYTES_MAX;
        count = is_possible ? count + key_count + value_count : 0;
    }
    return count;
}

static enum err take_whole(struct image_in *image, struct slice record)
{
    uint32_t key_count = get_u32(record.data);
    record = slice_skip(record, COUNTS_BYTES);
    return take_record(image, slice_head(record, key_count), slice_skip(record, key_count));
}

/* Some more of the record that has begun in an earlier chunk. */
static enum err go_on(struct image_in *image, struct slice *plain)
{
    uint64_t wanted = record_bytes(buf_bytes(&image->rest));
    while (wanted > buf_count(&image->rest) && plain->count > 0) {
        uint64_t missing = wanted - buf_count(&image->rest);
        size_t count = missing < plain->count ? (size_t)missing : plain->count;
        TRY(buf_append(&image->rest, slice_head(*plain, count)));
        *plain = slice_skip(*plain, count);
        wanted = record_bytes(buf_bytes(&image->rest)); /* once its counts are there: of all */
    }
    if (wanted == 0) {
        return ERR_CORRUPT;
    }
    if (wanted > buf_count(&image->rest)) {
        return OK;
    }
    TRY(take_whole(image, buf_bytes(&image->rest)));
    buf_deinit(&image->rest);
    return OK;
}

static enum err take_plain(struct image_in *image, struct slice plain)
{
    if (buf_count(&image->rest) > 0) {
        TRY(go_on(image, &plain));
    }
    while (plain.count > 0) {
        uint64_t count = record_bytes(plain);
        if (count == 0) {
            return ERR_CORRUPT;
        }
        if (plain.count < COUNTS_BYTES || count > plain.count) {
            return buf_append(&image->rest, plain);
        }
        TRY(take_whole(image, slice_head(plain, (size_t)count)));
        plain = slice_skip(plain, (size_t)count);
    }
    return OK;
}

/* ---- chunks ------------------------------------------------------------------------------------- */

static enum err unpack(struct image_in *image, const struct image_chunk *chunk, struct slice *out)
{
    *out = chunk->bytes;
    if (!chunk->is_packed) {
        return OK;
    }
    int count = LZ4_decompress_safe((const char *)chunk->bytes.data, (char *)image->plain,
                                    (int)chunk->bytes.count, IMAGE_CHUNK_BYTES);
    *out = slice_of(image->plain, chunk->plain_count);
    return count >= 0 && (uint32_t)count == chunk->plain_count ? OK : ERR_CORRUPT;
}

/* All is there: A makes it a state, in the same batch as what came last. */
static enum err take_last(struct image_in *image)
{
    if (buf_count(&image->rest) > 0 || buf_count(&image->applied) == 0) {
        return ERR_CORRUPT;
    }
    key_of_kind(&image->key, image->head.partition, KEY_APPLIED);
    kv_batch_put(image->batch, key_slice(&image->key), buf_bytes(&image->applied));
    image->is_last = true;
    return OK;
}

enum err image_in_take(struct image_in *image, struct slice bytes)
{
    struct image_chunk chunk;
    struct slice plain;

    ASSERT(kv_batch_bytes(image->batch) == 0); /* what came before is written */
    TRY(image_chunk_read(bytes, &chunk));
    if (image->is_last || chunk.number != image->next || chunk.id != image->head.id ||
        chunk.partition != image->head.partition) {
        return ERR_CORRUPT;
    }
    TRY(unpack(image, &chunk, &plain));
    TRY(take_plain(image, plain));
    if (chunk.records != image->records || chunk.digest != image->digest) {
        return ERR_CORRUPT;
    }
    image->next++;
    return chunk.is_last ? take_last(image) : OK;
}

enum err image_in_write(struct image_in *image)
{
    if (kv_batch_bytes(image->batch) > 0) {
        TRY(kv_write(image->state, image->batch));
        kv_batch_clear(image->batch);
    }
    return OK;
}
