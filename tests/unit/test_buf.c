#include "core/base/buf.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void bytes_come_out_as_they_went_in(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(buf_count(&buf), 0);
    assert_null(buf_bytes(&buf).data);
    assert_int_equal(buf_append(&buf, slice_text("hello ")), OK);
    assert_int_equal(buf_append(&buf, slice_text("world")), OK);
    assert_true(slice_is(buf_bytes(&buf), "hello world"));
    buf_consume(&buf, 6);
    assert_true(slice_is(buf_bytes(&buf), "world"));
    assert_int_equal(buf_append(&buf, slice_text("!")), OK);
    assert_true(slice_is(buf_bytes(&buf), "world!"));
    buf_deinit(&buf);
    buf_deinit(&buf);
}

static void an_empty_buf_has_no_memory(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(buf_append(&buf, slice_of(NULL, 0)), OK);
    assert_null(buf.data);
    assert_int_equal(buf_append(&buf, slice_text("abc")), OK);
    buf_consume(&buf, 0);
    assert_non_null(buf.data);
    buf_consume(&buf, 3);
    assert_null(buf.data);
    assert_int_equal(buf.capacity, 0);
    assert_int_equal(buf_reserve(&buf, 10), OK); /* room for a read that then brings nothing */
    assert_non_null(buf_tail(&buf));
    buf_commit(&buf, 0);
    assert_null(buf.data);
}

static void reserved_room_is_written_in_place(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(buf_append(&buf, slice_text("ab")), OK);
    assert_int_equal(buf_reserve(&buf, 1000), OK);
    memcpy(buf_tail(&buf), "cd", 2);
    buf_commit(&buf, 2);
    assert_true(slice_is(buf_bytes(&buf), "abcd"));
    buf_deinit(&buf);
}

static void a_request_beyond_all_memory_changes_nothing(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(buf_append(&buf, slice_text("abc")), OK);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), ERR_NOMEM);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX - 3), ERR_NOMEM);
    assert_true(slice_is(buf_bytes(&buf), "abc"));
    buf_deinit(&buf);
}

static void a_buf_may_append_its_own_bytes(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(buf_append(&buf, slice_text("x0123456789")), OK);
    buf_consume(&buf, 1);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(buf_append(&buf, buf_bytes(&buf)), OK);
    }
    assert_int_equal(buf_count(&buf), 2560);
    for (size_t i = 0; i < 2560; i++) {
        assert_int_equal(buf_bytes(&buf).data[i], '0' + i % 10);
    }
    buf_deinit(&buf);
}

static void a_queue_that_never_empties_stays_small(void **state)
{
    struct buf buf = {0};
    (void)state;
    assert_int_equal(buf_append(&buf, slice_text("0123456789")), OK);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(buf_append(&buf, slice_text("0123456789")), OK);
        buf_consume(&buf, 10);
    }
    assert_true(buf.capacity <= 256);
    buf_deinit(&buf);
}

static void a_buf_and_a_plain_counter_agree(void **state)
{
    struct buf buf = {0};
    struct rng rng;
    uint64_t written = 0, read = 0; /* byte number n of the stream is n mod 251 */
    (void)state;
    rng_init(&rng, 4);
    for (int step = 0; step < 20000; step++) {
        size_t count = rng_below(&rng, rng_below(&rng, 20) == 0 ? 20000 : 200);
        if (rng_below(&rng, 2) == 0) {
            assert_int_equal(buf_reserve(&buf, count), OK);
            for (size_t i = 0; i < count; i++) {
                buf_tail(&buf)[i] = (uint8_t)(written++ % 251);
            }
            buf_commit(&buf, count);
        } else {
            count = count < buf_count(&buf) ? count : buf_count(&buf);
            for (size_t i = 0; i < count; i++) {
                assert_true(buf_bytes(&buf).data[i] == read++ % 251);
            }
            buf_consume(&buf, count);
        }
        assert_int_equal(buf_count(&buf), written - read);
        assert_true((buf.data == NULL) == (written == read));
    }
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(an_empty_buf_has_no_memory),
        cmocka_unit_test(reserved_room_is_written_in_place),
        cmocka_unit_test(a_request_beyond_all_memory_changes_nothing),
        cmocka_unit_test(a_buf_may_append_its_own_bytes),
        cmocka_unit_test(a_queue_that_never_empties_stays_small),
        cmocka_unit_test(a_buf_and_a_plain_counter_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
