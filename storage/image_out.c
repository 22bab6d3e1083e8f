/*
 * Invariants
 *   O1  the walk stands on a record that is not wholly sent (key, value, sent), or is over.
 *   O2  places has where each of the last IMAGE_BACK_MAX chunks and the next one begins; where the first
 *       one does needs no place.
 */
#include "core/base/assert.h"
#include "core/base/map.h"
#include "storage/image.h"
#include "storage/machine_parts.h"

#include <stdlib.h>

enum { COUNTS_BYTES = 4 + 4, PLACES = IMAGE_BACK_MAX + 1, ARENA_BYTES = 4096 };

/* Where a chunk begins: so many bytes of that record have been sent before, and that was sent in all. */
struct place {
    struct buf key;
    uint64_t sent, records, digest;
};

struct image_out {
    struct kv_iter *iter;
    struct image_head head;
    uint32_t next;               /* number of the next chunk, unless another one is asked for */
    uint32_t newest;             /* the highest that next ever was */
    uint32_t end;                /* how many chunks there are; 0: that is not known yet */
    struct place places[PLACES]; /* of chunk number n: n % PLACES */
    struct slice key, value;     /* O1: the record that the walk stands on */
    uint64_t sent;               /* bytes of it, and of its counts */
    bool is_over;
    uint64_t records, digest;
    struct key from; /* of the partition */
    uint8_t plain[IMAGE_CHUNK_BYTES];
};

/* ---- the walk ----------------------------------------------------------------------------------- */

static enum err step(struct image_out *image)
{
    image->sent = 0;
    image->is_over = !kv_iter_next(image->iter, &image->key, &image->value);
    return image->is_over ? kv_iter_error(image->iter) : OK;
}

static void copy_part(struct slice part, uint64_t *skip, uint8_t *at, size_t *used)
{
    if (*skip >= part.count) {
        *skip -= part.count;
        return;
    }
    part = slice_skip(part, (size_t)*skip);
    *skip = 0;
    size_t room = IMAGE_CHUNK_BYTES - *used;
    size_t count = part.count < room ? part.count : room;
    memcpy(at + *used, part.data, count);
    *used += count;
}

/* As much of the record as the chunk has room for. */
static void send_some(struct image_out *image, size_t *used)
{
    uint8_t counts[COUNTS_BYTES];
    for (int i = 0; i < 4; i++) {
        counts[i] = (uint8_t)(image->key.count >> 8 * i);
        counts[4 + i] = (uint8_t)(image->value.count >> 8 * i);
    }
    size_t before = *used;
    uint64_t skip = image->sent;
    copy_part(slice_of(counts, sizeof(counts)), &skip, image->plain, used);
    copy_part(image->key, &skip, image->plain, used);
    copy_part(image->value, &skip, image->plain, used);
    image->sent += *used - before;
}

static enum err fill(struct image_out *image, size_t *used)
{
    *used = 0;
    while (!image->is_over && *used < IMAGE_CHUNK_BYTES) {
        send_some(image, used);
        if (image->sent < COUNTS_BYTES + image->key.count + image->value.count) {
            break; /* it goes on in the next one */
        }
        image->records++;
        if (image->key.count != 2 || image->key.data[1] != KEY_APPLIED) {
            image->digest ^= hash_bytes_seeded(image->value, hash_bytes(image->key));
        }
        TRY(step(image));
    }
    return OK;
}

/* ---- places ------------------------------------------------------------------------------------- */

static enum err note_place(struct image_out *image, uint32_t number)
{
    struct place *place = &image->places[number % PLACES];
    place->sent = image->sent;
    place->records = image->records;
    place->digest = image->digest;
    buf_consume(&place->key, buf_count(&place->key));
    return image->is_over ? OK : buf_append(&place->key, image->key);
}

/* Back to where that chunk begins. */
static enum err go_back(struct image_out *image, uint32_t number)
{
    const struct place *place = &image->places[number % PLACES];
    struct slice key = number == 0 ? key_slice(&image->from) : buf_bytes(&place->key);
    kv_iter_seek(image->iter, key);
    TRY(step(image));
    ASSERT(!image->is_over); /* it was there: the walk is of one moment */
    image->sent = number == 0 ? 0 : place->sent;
    image->records = number == 0 ? 0 : place->records;
    image->digest = number == 0 ? 0 : place->digest;
    image->next = number;
    return OK;
}

/* ---- opened, read, closed ----------------------------------------------------------------------- */

/* The record of the state itself, which is the first one. */
static enum err read_applied(struct image_out *image)
{
    struct applied applied = {0};
    TRY(step(image));
    if (image->is_over || image->key.count != 2 || image->key.data[1] != KEY_APPLIED) {
        return ERR_NOT_FOUND;
    }
    struct arena *arena = arena_new(ARENA_BYTES, SIZE_MAX / 2);
    if (arena == NULL) {
        return ERR_NOMEM;
    }
    enum err err = wire_read(&shape_applied, image->value, false, arena, &applied);
    arena_free(arena);
    image->head.index = applied.index;
    image->head.term = applied.term;
    return err;
}

enum err image_out_open(struct kv *state, uint32_t partition, uint64_t id, struct image_out **out)
{
    struct image_out *image = calloc(1, sizeof(*image));
    struct key *to = malloc(sizeof(*to)); /* 128 KiB */
    enum err err = ERR_NOMEM;

    ASSERT(id != 0);
    if (image != NULL && to != NULL) {
        image->head = (struct image_head){.id = id, .partition = partition};
        key_of_partition(&image->from, partition);
        key_of_partition(to, partition);
        key_end(to);
        image->iter = kv_iter_new(state, key_slice(&image->from), key_slice(to), true);
        err = image->iter == NULL ? ERR_NOMEM : read_applied(image);
    }
    free(to);
    if (err != OK) {
        image_out_close(image);
        return err;
    }
    *out = image;
    return OK;
}

void image_out_close(struct image_out *image)
{
    if (image == NULL) {
        return;
    }
    if (image->iter != NULL) {
        (void)kv_iter_end(image->iter); /* what it met was told when it was met */
    }
    for (uint32_t i = 0; i < PLACES; i++) {
        buf_deinit(&image->places[i].key);
    }
    free(image);
}

struct image_head image_out_head(const struct image_out *image)
{
    return image->head;
}

enum err image_out_chunk(struct image_out *image, uint32_t number, struct buf *bytes, bool *is_last)
{
    size_t used;
    if (number > image->newest || (image->end != 0 && number >= image->end) ||
        (number != 0 && image->newest - number > IMAGE_BACK_MAX)) {
        return ERR_RANGE;
    }
    if (number != image->next) {
        TRY(go_back(image, number));
    }
    TRY(fill(image, &used));
    image->next = number + 1;
    image->end = image->is_over ? image->next : image->end;
    if (image->next > image->newest) {
        TRY(note_place(image, image->next));
        image->newest = image->next;
    }
    struct image_chunk chunk = {.id = image->head.id,
                                .partition = image->head.partition,
                                .number = number,
                                .records = image->records,
                                .digest = image->digest,
                                .is_last = image->is_over};
    *is_last = image->is_over;
    return image_chunk_write(&chunk, slice_of(image->plain, used), bytes);
}
