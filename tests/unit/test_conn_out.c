#include "core/base/ledger.h"
#include "core/broker/conn_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void write_text(struct conn_out *out, uint64_t *waiting, const char *text)
{
    uint32_t count = (uint32_t)strlen(text);
    uint8_t *bytes = out_reserve(out, waiting, count);
    assert_non_null(bytes);
    memcpy(bytes, text, count);
}

/* What would leave now, in one text. */
static uint64_t take(struct conn_out *out, uint32_t parts_max, char *text, size_t text_bytes)
{
    struct slice parts[IO_PARTS_MAX];
    uint64_t bytes = 0, sum = 0;
    uint32_t count = out_take(out, parts, parts_max, &bytes);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(parts[i].count > 0);
        assert_true(sum + parts[i].count < text_bytes);
        memcpy(text + sum, parts[i].data, parts[i].count);
        sum += parts[i].count;
    }
    text[sum] = 0;
    assert_int_equal(sum, bytes);
    return bytes;
}

static struct msg *message(uint32_t payload_bytes, char fill)
{
    uint8_t *payload = malloc(payload_bytes + 1);
    memset(payload, fill, payload_bytes);
    struct msg_spec spec = {.topic = slice_text("t"), .payload = slice_of(payload, payload_bytes)};
    struct msg *msg = msg_new(&spec);
    free(payload);
    return msg;
}

static void what_is_written_leaves_in_order_and_together(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    char text[64];
    (void)state;
    write_text(&out, &waiting, "one ");
    write_text(&out, &waiting, "two ");
    assert_int_equal(out.bytes, 8);
    assert_int_equal(waiting, 8);
    assert_int_equal(take(&out, IO_PARTS_MAX, text, sizeof(text)), 8);
    assert_string_equal(text, "one two ");
    out_sent(&out, &waiting);
    assert_int_equal(out.bytes, 0);
    assert_int_equal(waiting, 0);
    assert_int_equal(take(&out, IO_PARTS_MAX, text, sizeof(text)), 0);
    out_clear(&out, &waiting);
}

/* The kernel reads what is in flight: later bytes go elsewhere and leave later. */
static void what_is_in_flight_is_not_touched(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    struct slice parts[2];
    uint64_t bytes;
    char text[64];
    (void)state;
    write_text(&out, &waiting, "flying");
    assert_int_equal(out_take(&out, parts, 2, &bytes), 1);
    write_text(&out, &waiting, "later");
    assert_memory_equal(parts[0].data, "flying", 6);
    assert_int_equal(parts[0].count, 6);
    assert_int_equal(out.bytes, 11);
    out_sent(&out, &waiting);
    assert_int_equal(out.bytes, 5);
    take(&out, IO_PARTS_MAX, text, sizeof(text));
    assert_string_equal(text, "later");
    out_clear(&out, &waiting);
}

static void a_large_payload_is_referenced_and_a_small_one_copied(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    char *text = malloc(10000);
    struct msg *large = message(OUT_REFERENCE_BYTES, 'L');
    struct msg *small = message(OUT_REFERENCE_BYTES - 1, 's'), *empty = message(0, 0);
    (void)state;
    write_text(&out, &waiting, "[");
    assert_true(out_payload(&out, &waiting, large));
    write_text(&out, &waiting, "|");
    assert_true(out_payload(&out, &waiting, small));
    assert_true(out_payload(&out, &waiting, empty));
    write_text(&out, &waiting, "]");
    assert_int_equal(large->refs, 2);
    assert_int_equal(small->refs, 1);
    assert_int_equal(take(&out, IO_PARTS_MAX, text, 10000), 2 * OUT_REFERENCE_BYTES + 2);
    assert_int_equal(text[0], '[');
    assert_int_equal(text[OUT_REFERENCE_BYTES], 'L');
    assert_int_equal(text[OUT_REFERENCE_BYTES + 1], '|');
    assert_int_equal(text[2 * OUT_REFERENCE_BYTES + 1], ']');
    out_sent(&out, &waiting);
    assert_int_equal(large->refs, 1);
    msg_unref(large);
    msg_unref(small);
    msg_unref(empty);
    free(text);
}

static void no_more_parts_leave_at_once_than_fit(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    struct slice parts[3];
    uint64_t bytes, sum = 0;
    struct msg *msg = message(OUT_REFERENCE_BYTES, 'x');
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_true(out_payload(&out, &waiting, msg));
    }
    for (uint32_t left = 10; left > 0; left -= left < 3 ? left : 3) {
        assert_int_equal(out_take(&out, parts, 3, &bytes), left < 3 ? left : 3);
        sum += bytes;
        out_sent(&out, &waiting);
    }
    assert_int_equal(sum, 10 * OUT_REFERENCE_BYTES);
    assert_int_equal(msg->refs, 1);
    msg_unref(msg);
}

static void a_connection_that_ends_in_flight_gives_everything_back(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    struct slice parts[4];
    uint64_t bytes;
    struct msg *msg = message(OUT_REFERENCE_BYTES, 'x');
    (void)state;
    write_text(&out, &waiting, "head");
    assert_true(out_payload(&out, &waiting, msg));
    out_take(&out, parts, 4, &bytes);
    write_text(&out, &waiting, "more");
    out_clear(&out, &waiting);
    assert_int_equal(out.bytes, 0);
    assert_int_equal(out.segment_count, 0);
    assert_int_equal(waiting, 0);
    assert_int_equal(msg->refs, 1);
    msg_unref(msg);
}

/* Chunks weigh, or slow readers would not count against memory_limit. */
static void chunks_count_as_memory_until_they_are_sent(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    uint64_t before = ledger_bytes(LEDGER_MESSAGES);
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_non_null(out_reserve(&out, &waiting, 30000));
    }
    assert_true(ledger_bytes(LEDGER_MESSAGES) >= before + 100 * 30000);
    out_clear(&out, &waiting);
    assert_int_equal(ledger_bytes(LEDGER_MESSAGES), before);
}

/* A frame is contiguous, however large it is. */
static void room_is_contiguous_whatever_the_size(void **state)
{
    uint64_t waiting = 0;
    struct conn_out out = {0};
    struct slice parts[IO_PARTS_MAX];
    uint64_t bytes, sum = 0;
    (void)state;
    const uint32_t sizes[] = {1, 511, 512, 513, 4095, 4097, 32768, 32769, 1000000};
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *room = out_reserve(&out, &waiting, sizes[i]);
        assert_non_null(room);
        memset(room, (int)i, sizes[i]);
        sum += sizes[i];
    }
    out_take(&out, parts, IO_PARTS_MAX, &bytes);
    assert_int_equal(bytes, sum);
    out_sent(&out, &waiting);
    out_clear(&out, &waiting);
}

/* TLS reads what waits, seals it, and forgets exactly that much. */
static void what_is_shown_can_be_consumed_in_pieces(void **state)
{
    enum { LARGE = 100000 };
    uint64_t waiting = 0, bytes = 0;
    struct conn_out out = {0};
    struct slice parts[IO_PARTS_MAX];
    (void)state;
    struct msg *msg = message(LARGE, 'x');
    write_text(&out, &waiting, "head");
    assert_true(out_payload(&out, &waiting, msg));
    write_text(&out, &waiting, "tail");

    assert_int_equal(out_peek(&out, parts, IO_PARTS_MAX, 1000, &bytes), 2);
    assert_int_equal(bytes, 1000); /* a chunk is shown whole, a payload as far as is asked */
    assert_memory_equal(parts[0].data, "head", 4);
    assert_int_equal(parts[1].count, 996);
    assert_int_equal(out.bytes, LARGE + 8); /* looking changes nothing */
    out_consume(&out, &waiting, bytes);
    assert_int_equal(out.bytes, LARGE + 8 - 1000);
    assert_int_equal(waiting, LARGE + 8 - 1000);

    assert_int_equal(out_peek(&out, parts, IO_PARTS_MAX, UINT64_MAX, &bytes), 2);
    assert_int_equal(parts[0].count, LARGE - 996);
    assert_ptr_equal(parts[0].data, msg->payload.data + 996);
    assert_memory_equal(parts[1].data, "tail", 4);
    out_consume(&out, &waiting, bytes);
    assert_int_equal(out.bytes, 0);
    assert_int_equal(waiting, 0);
    assert_int_equal(out_peek(&out, parts, IO_PARTS_MAX, UINT64_MAX, &bytes), 0);
    assert_int_equal(msg->refs, 1); /* and let go */
    msg_unref(msg);
}

static void what_comes_after_a_consumed_piece_follows_it(void **state)
{
    uint64_t waiting = 0, bytes = 0;
    struct conn_out out = {0};
    char text[64];
    struct slice parts[IO_PARTS_MAX];
    (void)state;
    write_text(&out, &waiting, "one ");
    out_peek(&out, parts, IO_PARTS_MAX, UINT64_MAX, &bytes);
    out_consume(&out, &waiting, bytes);
    write_text(&out, &waiting, "two");
    assert_int_equal(take(&out, IO_PARTS_MAX, text, sizeof(text)), 3);
    assert_string_equal(text, "two");
    out_sent(&out, &waiting);
    assert_int_equal(waiting, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_leaves_in_order_and_together),
        cmocka_unit_test(what_is_in_flight_is_not_touched),
        cmocka_unit_test(a_large_payload_is_referenced_and_a_small_one_copied),
        cmocka_unit_test(no_more_parts_leave_at_once_than_fit),
        cmocka_unit_test(a_connection_that_ends_in_flight_gives_everything_back),
        cmocka_unit_test(chunks_count_as_memory_until_they_are_sent),
        cmocka_unit_test(room_is_contiguous_whatever_the_size),
        cmocka_unit_test(what_is_shown_can_be_consumed_in_pieces),
        cmocka_unit_test(what_comes_after_a_consumed_piece_follows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
