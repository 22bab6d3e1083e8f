#include "storage/image.h"

#include "core/base/assert.h"
#include "core/base/map.h"

#include <lz4.h>
#include <string.h>

enum { SUM_AT = 0, ID_AT = 8, NUMBER_AT = 16, PLAIN_AT = 20, RECORDS_AT = 24, DIGEST_AT = 32 };
enum { PARTITION_AT = 40, FORM_AT = 41, LAST_AT = 42, ZERO_AT = 43 };
_Static_assert(ZERO_AT + 1 == IMAGE_HEADER_BYTES, "the drawing in image.h");

static void put_number(uint8_t *at, uint64_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t get_number(const uint8_t *at, uint32_t count)
{
    uint64_t value = 0;
    for (uint32_t i = count; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

/* How many bytes they are packed, 0: it does not save an eighth. at has room for as many as there are. */
static size_t pack(struct slice plain, uint8_t *at)
{
    size_t count_max = plain.count - plain.count / 8;
    int count = LZ4_compress_default((const char *)plain.data, (char *)at, (int)plain.count,
                                     (int)count_max);
    return count > 0 ? (size_t)count : 0;
}

enum err image_chunk_write(const struct image_chunk *chunk, struct slice plain, struct buf *out)
{
    ASSERT(plain.count > 0 && plain.count <= IMAGE_CHUNK_BYTES);
    TRY(buf_reserve(out, IMAGE_HEADER_BYTES + plain.count));
    uint8_t *at = buf_tail(out);
    size_t count = pack(plain, at + IMAGE_HEADER_BYTES);
    put_number(at + ID_AT, chunk->id, 8);
    put_number(at + NUMBER_AT, chunk->number, 4);
    put_number(at + PLAIN_AT, plain.count, 4);
    put_number(at + RECORDS_AT, chunk->records, 8);
    put_number(at + DIGEST_AT, chunk->digest, 8);
    at[PARTITION_AT] = (uint8_t)chunk->partition;
    at[FORM_AT] = count > 0;
    at[LAST_AT] = chunk->is_last;
    at[ZERO_AT] = 0;
    if (count == 0) {
        count = plain.count;
        memcpy(at + IMAGE_HEADER_BYTES, plain.data, count);
    }
    count += IMAGE_HEADER_BYTES;
    put_number(at, hash_bytes(slice_of(at + ID_AT, count - ID_AT)), 8);
    buf_commit(out, count);
    return OK;
}

enum err image_chunk_read(struct slice bytes, struct image_chunk *out)
{
    const uint8_t *at = bytes.data;
    if (bytes.count <= IMAGE_HEADER_BYTES || bytes.count > IMAGE_CHUNK_BYTES_MAX ||
        get_number(at, 8) != hash_bytes(slice_skip(bytes, ID_AT)) || at[FORM_AT] > 1 ||
        at[LAST_AT] > 1 || at[ZERO_AT] != 0) {
        return ERR_CORRUPT;
    }
    struct image_chunk chunk = {
        .id = get_number(at + ID_AT, 8),
        .number = (uint32_t)get_number(at + NUMBER_AT, 4),
        .plain_count = (uint32_t)get_number(at + PLAIN_AT, 4),
        .records = get_number(at + RECORDS_AT, 8),
        .digest = get_number(at + DIGEST_AT, 8),
        .partition = at[PARTITION_AT],
        .is_packed = at[FORM_AT] == 1,
        .is_last = at[LAST_AT] == 1,
        .bytes = slice_skip(bytes, IMAGE_HEADER_BYTES),
    };
    bool is_full = chunk.plain_count == IMAGE_CHUNK_BYTES;
    if (chunk.plain_count == 0 || chunk.plain_count > IMAGE_CHUNK_BYTES ||
        (!is_full && !chunk.is_last) ||
        (!chunk.is_packed && chunk.bytes.count != chunk.plain_count)) {
        return ERR_CORRUPT;
    }
    *out = chunk;
    return OK;
}
