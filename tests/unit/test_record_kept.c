#include "storage/record.h"
#include "tests/lib/record_random.h"

#include "proto/store.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena_of_test(void)
{
    struct arena *arena = arena_new(4096, 16 << 20);
    assert_non_null(arena);
    return arena;
}

static void check_data(ProtobufCBinaryData data, const char *expected)
{
    check_slice(slice_of(data.data, data.len), slice_text(expected));
}

static void what_is_kept_comes_back_as_it_was(void **state)
{
    struct arena *arena = arena_of_test();
    struct buf buf = {.data = NULL};
    struct rng rng;
    (void)state;
    rng_init(&rng, 4);
    for (int turn = 0; turn < 3000; turn++) {
        struct session_record session = {.open = random_open(&rng),
                                         .is_closed = rng_below(&rng, 2),
                                         .closed_wall_ms = random_number(&rng, UINT64_MAX),
                                         .opened_wall_ms = random_number(&rng, UINT64_MAX),
                                         .sent_sequence = random_number(&rng, UINT64_MAX)};
        struct session_record session_again;
        assert_int_equal(record_put_session(&buf, &session), OK);
        assert_int_equal(record_get_session(buf_bytes(&buf), arena, &session_again), OK);
        check_open(&session.open, &session_again.open);
        assert_int_equal(session.is_closed, session_again.is_closed);
        assert_int_equal(session.closed_wall_ms, session_again.closed_wall_ms);
        assert_int_equal(session.opened_wall_ms, session_again.opened_wall_ms);
        assert_int_equal(session.sent_sequence, session_again.sent_sequence);
        buf_deinit(&buf);

        struct op_subscribe subscribe = random_subscribe(&rng), subscribe_again;
        assert_int_equal(record_put_subscription(&buf, &subscribe), OK);
        assert_int_equal(record_get_subscription(buf_bytes(&buf), arena, &subscribe_again), OK);
        check_subscribe(&subscribe, &subscribe_again);
        buf_deinit(&buf);

        uint32_t ids[RANDOM_IDS_MAX] = {0, 1, 300, 70000, UINT32_MAX};
        struct item_record item = {.message = random_number(&rng, UINT64_MAX),
                                   .is_shared = rng_below(&rng, 2),
                                   .spec = random_spec(&rng),
                                   .ids = ids,
                                   .id_count = (uint32_t)rng_below(&rng, RANDOM_IDS_MAX + 1),
                                   .qos = (uint8_t)rng_below(&rng, 3),
                                   .retain = rng_below(&rng, 2),
                                   .awaits_pubcomp = rng_below(&rng, 2),
                                   .share_text = random_text(&rng)};
        struct item_record item_again;
        assert_int_equal(record_put_item(&buf, &item), OK);
        assert_int_equal(record_get_item(buf_bytes(&buf), arena, &item_again), OK);
        assert_int_equal(item.message, item_again.message);
        assert_int_equal(item.is_shared, item_again.is_shared);
        check_spec(&item.spec, &item_again.spec);
        check_ids(item.ids, item.id_count, item_again.ids, item_again.id_count);
        assert_int_equal(item.qos, item_again.qos);
        assert_int_equal(item.retain, item_again.retain);
        assert_int_equal(item.awaits_pubcomp, item_again.awaits_pubcomp);
        check_slice(item.share_text, item_again.share_text);
        buf_deinit(&buf);

        struct msg_spec message_record = random_spec(&rng), message_again;
        assert_int_equal(record_put_message(&buf, &message_record), OK);
        assert_int_equal(record_get_message(buf_bytes(&buf), arena, &message_again), OK);
        check_spec(&message_record, &message_again);
        buf_deinit(&buf);
        arena_reset(arena);
    }
    arena_free(arena);
}

static void what_is_kept_is_what_the_schema_says(void **state)
{
    struct buf buf = {.data = NULL};
    const uint32_t ids[] = {7, 300};
    struct session_record session = {.open = {.client_id = slice_text("id"), .expiry_s = 5},
                                     .is_closed = true,
                                     .closed_wall_ms = 1,
                                     .opened_wall_ms = 2,
                                     .sent_sequence = 3};
    struct item_record item = {.message = 4,
                               .is_shared = true,
                               .spec = {.topic = slice_text("t")},
                               .ids = ids,
                               .id_count = 2,
                               .qos = 2,
                               .retain = true,
                               .awaits_pubcomp = true,
                               .share_text = slice_text("$share/g/t")};
    (void)state;
    assert_int_equal(record_put_session(&buf, &session), OK);
    Tern__Session *s = tern__session__unpack(NULL, buf_count(&buf), buf_bytes(&buf).data);
    assert_non_null(s);
    assert_true(s->is_closed && s->closed_wall_ms == 1 && s->opened_wall_ms == 2);
    assert_true(s->sent_sequence == 3 && s->expiry_s == 5);
    assert_int_equal(s->user_case, TERN__SESSION__USER__NOT_SET);
    check_data(s->client_id, "id");
    tern__session__free_unpacked(s, NULL);
    buf_deinit(&buf);

    assert_int_equal(record_put_item(&buf, &item), OK);
    Tern__Item *i = tern__item__unpack(NULL, buf_count(&buf), buf_bytes(&buf).data);
    assert_non_null(i);
    assert_true(i->message == 4 && i->is_shared && i->qos == 2 && i->retain && i->awaits_pubcomp);
    check_ids(ids, 2, i->ids, (uint32_t)i->n_ids);
    check_data(i->spec->topic, "t");
    check_data(i->share_text, "$share/g/t");
    tern__item__free_unpacked(i, NULL);
    buf_deinit(&buf);
}

static void a_sum_finds_every_damage(void **state)
{
    struct buf buf = {.data = NULL};
    struct slice out, before = SLICE("before"), record = SLICE("a record of some bytes");
    (void)state;
    assert_int_equal(buf_append(&buf, before), OK);
    assert_int_equal(buf_append(&buf, record), OK);
    assert_int_equal(record_seal(&buf, before.count), OK);
    check_slice(slice_head(buf_bytes(&buf), before.count), before);
    struct slice sealed = slice_skip(buf_bytes(&buf), before.count);
    assert_int_equal(sealed.count, record.count + RECORD_SUM_BYTES);
    assert_int_equal(record_unseal(sealed, &out), OK);
    check_slice(out, record);
    for (size_t bit = 0; bit < sealed.count * 8; bit++) {
        uint8_t *byte = buf.data + buf.begin + before.count + bit / 8;
        *byte ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(record_unseal(sealed, &out), ERR_CORRUPT);
        *byte ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t count = 0; count < sealed.count; count++) {
        assert_int_equal(record_unseal(slice_head(sealed, count), &out), ERR_CORRUPT);
    }
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_comes_back_as_it_was),
        cmocka_unit_test(what_is_kept_is_what_the_schema_says),
        cmocka_unit_test(a_sum_finds_every_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
