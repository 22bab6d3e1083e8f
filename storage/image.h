/*
 * image: the state of one partition as a row of chunks, out of one map and into another.
 *
 *     map ── image_out_chunk(0), (1), (2), ... ──> bytes ──> image_in_take ── image_in_write ──> map
 *
 * All records of the partition follow each other in the order of their keys (key.h), each as count of key,
 * count of value, key, value; that row is cut every IMAGE_CHUNK_BYTES, wherever that is, so a chunk is
 * bounded and a value is not:
 *
 *     sum8  id8  number4  plain4  records8  digest8  partition1  form1  is_last1  0   bytes
 *
 * Numbers are little-endian. sum: XXH3 of all that follows it. plain: bytes before lz4, if that was worth it
 * (form). records and digest: how many records have ended up to here, and the XOR of their XXH3 as in
 * machine_digest(): those of the last chunk are of the whole.
 *
 * Out: one iterator is one moment of the map, however long it stays open beside writes and flushes. (It
 * keeps files and buffers of that moment alive: close it.) Applied index, message counters and wall clock
 * are of the same moment, as A lies in the same batch as what was applied.
 *
 * In: what the partition had goes first, as one range; A comes with the last chunk. So an image that is not
 * whole has no A. Who installs it says in the log that it has begun, before and after (install.h).
 *
 * Floor:  storage.
 * Thread: one at a time; every call blocks: the image lane's (image_lane.h).
 * Memory: a chunk each, and the largest single record.
 */
#ifndef TERN_STORAGE_IMAGE_H
#define TERN_STORAGE_IMAGE_H

#include "core/base/buf.h"
#include "core/base/err.h"
#include "storage/kv.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    IMAGE_CHUNK_BYTES = 256 * 1024,
    IMAGE_HEADER_BYTES = 8 + 8 + 4 + 4 + 8 + 8 + 4,
    IMAGE_CHUNK_BYTES_MAX = IMAGE_HEADER_BYTES + IMAGE_CHUNK_BYTES, /* as it is sent */
    IMAGE_BACK_MAX = 16, /* so many chunks back from the newest may be asked for again */
};

/* Of what an image is. */
struct image_head {
    uint64_t id; /* not 0; drawn by who sends it: chunks of another one do not fit in between */
    uint32_t partition;
    uint64_t index, term; /* the last entry that is in it */
};

/* What a chunk says of itself. */
struct image_chunk {
    uint64_t id, records, digest;
    uint32_t partition, number, plain_count;
    bool is_packed, is_last;
    struct slice bytes; /* as they were sent */
};
/* ERR_CORRUPT: too short, too long, or it does not fit its sum. bytes are borrowed. */
enum err image_chunk_read(struct slice bytes, struct image_chunk *out);
/* Append one to out, packed if that pays; packed and bytes of chunk are not looked at. ERR_NOMEM. */
enum err image_chunk_write(const struct image_chunk *chunk, struct slice plain, struct buf *out);

/* ---- out --------------------------------------------------------------------------------------- */

struct image_out;

/* The partition as it is now. ERR_NOT_FOUND: its state has nothing yet (or is being replaced itself).
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM, here and below. */
enum err image_out_open(struct kv *state, uint32_t partition, uint64_t id, struct image_out **out);
void image_out_close(struct image_out *image); /* accepts NULL */
struct image_head image_out_head(const struct image_out *image);

/*
 * Append the chunk of that number to bytes: the next one, 0, or one of the last IMAGE_BACK_MAX; the same
 * bytes each time. ERR_RANGE: another one, or one behind the last.
 */
enum err image_out_chunk(struct image_out *image, uint32_t number, struct buf *bytes,
                         bool *is_last);

/* ---- in ---------------------------------------------------------------------------------------- */

struct image_in;

/* To take the place of what that partition has; the first image_in_write() removes that. ERR_NOMEM. */
enum err image_in_new(struct kv *state, const struct image_head *head, struct image_in **out);
void image_in_free(struct image_in *image); /* accepts NULL */

/*
 * The next chunk, to be written. ERR_CORRUPT: it is damaged, not the next one, or of another image, or what
 * it holds makes no sense. ERR_UNSUPPORTED: it is of a newer version. ERR_NOMEM. After an error the image is of no use: free it, begin again.
 */
enum err image_in_take(struct image_in *image, struct slice chunk);
/* Write what was taken. ERR_NO_SPACE: again, later. ERR_IO, ERR_CORRUPT: the map is of no use. */
enum err image_in_write(struct image_in *image);
/* The last chunk is written, and what came is what was sent. */
bool image_in_is_whole(const struct image_in *image);
uint32_t image_in_next(const struct image_in *image); /* number of the next chunk */

#endif
