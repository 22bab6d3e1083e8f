/*
 * image_map: partitions with a state in a map, for the tests of images.
 */
#ifndef TERN_TESTS_LIB_IMAGE_MAP_H
#define TERN_TESTS_LIB_IMAGE_MAP_H

#include "storage/image.h"
#include "storage/key.h"
#include "tests/lib/machine_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline struct machine *machine_of(struct kv *state, uint32_t partition)
{
    struct machine *machine;
    assert_int_equal(machine_open(state, partition, &machine), OK);
    return machine;
}

/* What the map has of a partition. */
struct standing {
    uint64_t index, term, hash, digest, message_next, wall_ms;
};

static inline struct standing standing_of(struct kv *state, uint32_t partition)
{
    struct machine *machine = machine_of(state, partition);
    struct standing standing = {.index = machine_index(machine),
                                .term = machine_term(machine),
                                .hash = machine_hash(machine),
                                .message_next = machine_message_next(machine),
                                .wall_ms = machine_wall_ms(machine)};
    assert_int_equal(machine_digest(machine, &standing.digest), OK);
    machine_close(machine);
    return standing;
}

static inline bool standing_equal(const struct standing *a, const struct standing *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Entries of a model, applied one after another from where the partition stands. */
static inline void map_apply(struct kv *state, uint32_t partition, uint64_t seed, uint32_t count)
{
    static struct model model;
    struct machine *machine = machine_of(state, partition);
    struct write_set *writes = write_set_new();
    model_init(&model, seed);
    model.message_next = machine_message_next(machine);
    for (uint32_t i = 0; i < count; i++) {
        struct slice entry = model_entry(&model);
        assert_int_equal(
            machine_apply(machine, machine_index(machine) + 1, 1 + i / 8, entry, writes), OK);
        assert_int_equal(write_set_write(writes, state), OK);
        free((void *)entry.data);
    }
    model_deinit(&model);
    write_set_free(writes);
    machine_close(machine);
}

/* Retained messages beside it, of so many bytes each: nothing that lz4 could make smaller. */
static inline void map_fill(struct kv *state, uint32_t partition, uint64_t seed, uint32_t count,
                            size_t bytes)
{
    struct key *key = malloc(sizeof(*key));
    uint8_t *value = malloc(bytes);
    struct kv_batch *batch = kv_batch_new();
    struct rng rng;
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < count; i++) {
        char topic[64];
        snprintf(topic, sizeof(topic), "filled/%08x", (uint32_t)rng_below(&rng, UINT32_MAX));
        for (size_t k = 0; k < bytes; k += sizeof(uint64_t)) {
            uint64_t drawn = rng_u64(&rng);
            size_t left = bytes - k < sizeof(drawn) ? bytes - k : sizeof(drawn);
            memcpy(value + k, &drawn, left);
        }
        key_of_retained(key, partition, slice_text(topic));
        kv_batch_put(batch, key_slice(key), slice_of(value, bytes));
    }
    assert_int_equal(kv_write(state, batch), OK);
    kv_batch_free(batch);
    free(value);
    free(key);
}

/* All chunks of what the map has of a partition. */
enum { CHUNKS_MAX = 64 };
struct chunks {
    struct image_head head;
    uint32_t count;
    struct buf bytes[CHUNKS_MAX];
};

static inline void chunks_read_rest(struct image_out *out, struct chunks *chunks)
{
    bool is_last = false;
    chunks->head = image_out_head(out);
    while (!is_last) {
        assert_true(chunks->count < CHUNKS_MAX);
        assert_int_equal(
            image_out_chunk(out, chunks->count, &chunks->bytes[chunks->count], &is_last), OK);
        chunks->count++;
    }
}

static inline struct chunks chunks_of(struct kv *state, uint32_t partition, uint64_t id)
{
    struct chunks chunks = {.count = 0};
    struct image_out *out;
    assert_int_equal(image_out_open(state, partition, id, &out), OK);
    chunks_read_rest(out, &chunks);
    image_out_close(out);
    return chunks;
}

static inline struct slice chunk_at(const struct chunks *chunks, uint32_t number)
{
    assert_true(number < chunks->count);
    return buf_bytes(&chunks->bytes[number]);
}

static inline void chunks_free(struct chunks *chunks)
{
    for (uint32_t i = 0; i < chunks->count; i++) {
        buf_deinit(&chunks->bytes[i]);
    }
    chunks->count = 0;
}

#endif
