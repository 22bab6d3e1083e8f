/* bench/check: nothing that goes wrong with a message may pass unnoticed. */
#include "bench/load/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_payload_says_what_was_stamped(void **state)
{
    static const size_t sizes[] = {STAMP_BYTES, STAMP_BYTES + 1, 64, 4096 + STAMP_BYTES, 70000};
    uint8_t payload[70000];
    struct stamp stamp = {.publisher = 7, .sequence = 1234567, .sent_ns = 99}, back;
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        stamp_write(payload, sizes[i], &stamp);
        assert_true(stamp_read(slice_of(payload, sizes[i]), &back));
        assert_int_equal(back.publisher, 7);
        assert_int_equal(back.sequence, 1234567);
        assert_int_equal(back.sent_ns, 99);
    }
}

static void a_changed_or_cut_payload_is_noticed(void **state)
{
    uint8_t payload[200];
    struct stamp stamp = {.publisher = 7, .sequence = 5, .sent_ns = 99}, back = {.publisher = 42};
    (void)state;
    stamp_write(payload, sizeof(payload), &stamp);
    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] ^= 0x10;
        assert_false(stamp_read(slice_of(payload, sizeof(payload)), &back));
        payload[i] ^= 0x10;
        assert_false(stamp_read(slice_of(payload, i), &back));
    }
    assert_int_equal(back.publisher, 42);
    assert_true(stamp_read(slice_of(payload, sizeof(payload)), &back));
}

static void messages_in_order_leave_nothing_to_say(void **state)
{
    struct track track = {0};
    (void)state;
    for (uint64_t i = 0; i < 5000; i++) {
        assert_int_equal(track_add(&track, i), TRACK_IN_ORDER);
    }
    assert_int_equal(track_lost(&track, 5000), 0);
    assert_int_equal(track_lost(&track, 5003), 3); /* the last ones never came */
    assert_null(track.bits);                       /* what comes in order costs no memory */
}

static void a_gap_is_a_loss_until_it_is_filled(void **state)
{
    struct track track = {0};
    (void)state;
    assert_int_equal(track_add(&track, 0), TRACK_IN_ORDER);
    assert_int_equal(track_add(&track, 3), TRACK_AFTER_GAP);
    assert_int_equal(track_lost(&track, 4), 2);
    assert_int_equal(track_add(&track, 2), TRACK_LATE);
    assert_int_equal(track_lost(&track, 4), 1);
    assert_int_equal(track_add(&track, 2), TRACK_REPEATED);
    assert_int_equal(track_add(&track, 3), TRACK_REPEATED);
    assert_int_equal(track_add(&track, 1), TRACK_LATE);
    assert_int_equal(track_lost(&track, 4), 0);
    assert_int_equal(track_add(&track, 4), TRACK_IN_ORDER);
    track_deinit(&track);
}

static void gaps_longer_than_the_window_are_counted_in_full(void **state)
{
    struct track track = {0};
    (void)state;
    for (uint64_t i = 0; i < 2 * TRACK_WINDOW; i++) {
        track_add(&track, i);
    }
    assert_int_equal(track_add(&track, 10 * TRACK_WINDOW), TRACK_AFTER_GAP);
    assert_int_equal(track_lost(&track, 10 * TRACK_WINDOW + 1), 8 * TRACK_WINDOW);
    assert_int_equal(track_add(&track, 10 * TRACK_WINDOW - 1), TRACK_LATE);
    assert_int_equal(track_lost(&track, 10 * TRACK_WINDOW + 1), 8 * TRACK_WINDOW - 1);
    assert_int_equal(track_add(&track, 0), TRACK_REPEATED);
    track_deinit(&track);
}

/* Whatever the order, a track agrees with a plain table of what has come. */
static void a_track_agrees_with_a_table(void **state)
{
    enum { COUNT = 3000, ROUNDS = 200 };
    static bool is_seen[COUNT];
    uint64_t random = 42;
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct track track = {0};
        uint64_t next = 0, seen = 0;
        memset(is_seen, 0, sizeof(is_seen));
        for (uint32_t i = 0; i < COUNT; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            /* Mostly in order, sometimes ahead, sometimes back. */
            uint64_t sequence = next;
            if ((random >> 60) == 0) {
                sequence += (random >> 33) % 300;
            } else if ((random >> 60) < 4 && next > 0) {
                sequence = (random >> 33) % next;
            }
            if (sequence >= COUNT) {
                break;
            }
            enum track_verdict verdict = is_seen[sequence] ? TRACK_REPEATED
                                         : sequence < next ? TRACK_LATE
                                         : sequence > next ? TRACK_AFTER_GAP
                                                           : TRACK_IN_ORDER;
            assert_int_equal(track_add(&track, sequence), verdict);
            seen += !is_seen[sequence];
            is_seen[sequence] = true;
            next = sequence >= next ? sequence + 1 : next;
            assert_int_equal(track_lost(&track, next), next - seen);
        }
        track_deinit(&track);
    }
}

/* One that never comes does not make a track grow without end, nor slow. */
static void a_loss_is_forgotten_beyond_the_window_and_stays_a_loss(void **state)
{
    struct track track = {0};
    (void)state;
    track_add(&track, 1); /* 0 is lost */
    for (uint64_t i = 2; i < 3 * (uint64_t)TRACK_WINDOW; i++) {
        assert_int_equal(track_add(&track, i), TRACK_IN_ORDER);
    }
    assert_true(track.size <= TRACK_WINDOW);
    assert_int_equal(track_lost(&track, 3 * (uint64_t)TRACK_WINDOW), 1);
    assert_int_equal(track_add(&track, 0), TRACK_REPEATED); /* too far back to tell */
    assert_int_equal(track_lost(&track, 3 * (uint64_t)TRACK_WINDOW), 1);
    track_deinit(&track);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_says_what_was_stamped),
        cmocka_unit_test(a_changed_or_cut_payload_is_noticed),
        cmocka_unit_test(messages_in_order_leave_nothing_to_say),
        cmocka_unit_test(a_gap_is_a_loss_until_it_is_filled),
        cmocka_unit_test(gaps_longer_than_the_window_are_counted_in_full),
        cmocka_unit_test(a_track_agrees_with_a_table),
        cmocka_unit_test(a_loss_is_forgotten_beyond_the_window_and_stays_a_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
