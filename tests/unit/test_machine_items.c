#include "storage/key.h"
#include "tests/lib/kv_memory.h"
#include "tests/lib/machine_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PARTITION = 7, ENTRIES = 60, SEEDS = 10, BYTES_MAX = 1 << 20 };

static const struct model_item *item_from(const struct model_session *session, uint64_t sequence)
{
    const struct model_item *found = NULL;
    for (int k = 0; k < MODEL_ITEMS; k++) {
        const struct model_item *item = &session->items[k];
        if (item->is_there && item->sequence >= sequence &&
            (found == NULL || item->sequence < found->sequence)) {
            found = item;
        }
    }
    return found;
}

static void check_item(const struct stored_item *item, const struct model_item *expected)
{
    struct told by_machine = {.text = NULL}, by_model = {.text = NULL};
    assert_non_null(expected);
    struct item_record record = {.message = item->stored,
                                 .spec = item->message,
                                 .ids = item->ids,
                                 .id_count = item->id_count,
                                 .qos = item->qos,
                                 .retain = item->retain,
                                 .awaits_pubcomp = item->awaits_pubcomp,
                                 .share_text = expected->record.share_text};
    told_item(&by_machine, 0, item->sequence, &record);
    told_item(&by_model, 0, expected->sequence, &expected->record);
    assert_string_equal(by_machine.text, by_model.text);
    free(by_machine.text);
    free(by_model.text);
}

/* All of a session, some at a time. */
static uint32_t check_session(struct machine *machine, const struct model_session *session,
                              uint64_t key, uint32_t max)
{
    uint32_t count = max, all = 0;
    for (uint64_t from = 0; count == max;) {
        struct arena *arena = arena_new(4096, 16 << 20);
        struct stored_item *items;
        assert_int_equal(
            machine_read_items(machine, key, from, max, BYTES_MAX, arena, &items, &count), OK);
        assert_true(count <= max);
        for (uint32_t i = 0; i < count; i++) {
            check_item(&items[i], item_from(session, from));
            from = items[i].sequence + 1;
        }
        assert_true(count == max || item_from(session, from) == NULL);
        all += count;
        arena_free(arena);
    }
    return all;
}

static void what_is_owed_to_a_session_comes_in_pieces_and_in_order(void **state)
{
    static struct model model;
    uint32_t all = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct kv *kv;
        struct write_set *writes = write_set_new();
        struct machine *machine;
        assert_int_equal(kv_open(NULL, &kv, NULL), OK);
        assert_int_equal(machine_open(kv, PARTITION, &machine), OK);
        model_init(&model, seed + 70);
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            struct slice bytes = model_entry(&model);
            assert_int_equal(machine_apply(machine, index, 1, bytes, writes), OK);
            free((void *)bytes.data);
        }
        assert_int_equal(write_set_write(writes, kv), OK);
        for (uint32_t i = 0; i < MODEL_SESSIONS; i++) {
            uint32_t max = 1 + (uint32_t)rng_below(&model.rng, 10);
            all += check_session(machine, &model.sessions[i], model_key(i), max);
        }
        machine_close(machine);
        write_set_free(writes);
        kv_close(kv);
        model_deinit(&model);
    }
    assert_true(all > 500);
}

static void a_bound_on_bytes_ends_a_piece_after_one_item_at_the_least(void **state)
{
    static struct key key;
    static const uint8_t value[100] = {0x1A, 98, 0x12, 96}; /* item: message {payload of 96} */
    struct arena *arena = arena_new(4096, 16 << 20);
    struct stored_item *items;
    struct machine *machine;
    struct kv *kv;
    uint32_t count;
    (void)state;
    assert_int_equal(kv_open(NULL, &kv, NULL), OK);
    assert_int_equal(machine_open(kv, PARTITION, &machine), OK);
    for (uint64_t sequence = 1; sequence <= 10; sequence++) {
        key_of_item(&key, PARTITION, 5, sequence);
        table_put(&kv->now, key_slice(&key), slice_of(value, sizeof(value)));
    }
    assert_int_equal(machine_read_items(machine, 5, 3, 8, 1, arena, &items, &count), OK);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].sequence, 3);
    assert_int_equal(items[0].message.payload.count, 96);
    size_t more = arena_taken_bytes(arena) - 8 * sizeof(*items); /* what the one took */
    more = more * 5 / 2;
    arena_reset(arena);
    assert_int_equal(machine_read_items(machine, 5, 3, 8, more, arena, &items, &count), OK);
    assert_true(count > 1 && count < 8);
    arena_free(arena);
    machine_close(machine);
    kv_close(kv);
}

static void damage_and_a_disk_that_fails_are_told(void **state)
{
    static struct key key;
    static const struct slice shared = SLICE("\x08\x05\x10\x01"); /* item: message 5, shared */
    struct arena *arena = arena_new(4096, 16 << 20);
    struct stored_item *items;
    struct machine *machine;
    struct kv *kv;
    uint32_t count;
    (void)state;
    assert_int_equal(kv_open(NULL, &kv, NULL), OK);
    assert_int_equal(machine_open(kv, PARTITION, &machine), OK);
    key_of_item(&key, PARTITION, 5, 1);
    table_put(&kv->now, key_slice(&key), shared); /* a message that is not there */
    assert_int_equal(machine_read_items(machine, 5, 0, 8, 999, arena, &items, &count), ERR_CORRUPT);
    table_put(&kv->now, key_slice(&key), (struct slice)SLICE("\xFF"));
    assert_int_equal(machine_read_items(machine, 5, 0, 8, 999, arena, &items, &count), ERR_CORRUPT);
    kv->iter_err = ERR_IO;
    assert_int_equal(machine_read_items(machine, 5, 0, 8, 999, arena, &items, &count), ERR_IO);
    arena_free(arena);
    machine_close(machine);
    kv_close(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_owed_to_a_session_comes_in_pieces_and_in_order),
        cmocka_unit_test(a_bound_on_bytes_ends_a_piece_after_one_item_at_the_least),
        cmocka_unit_test(damage_and_a_disk_that_fails_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
