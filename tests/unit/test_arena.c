#include "core/base/arena.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void pieces_are_aligned_and_apart_whatever_their_size(void **state)
{
    enum { COUNT = 300 };
    struct arena *arena = arena_new(4096, 16 << 20);
    struct rng rng;
    uint8_t *pieces[COUNT];
    size_t counts[COUNT];
    (void)state;
    rng_init(&rng, 1);
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < COUNT; i++) {
            counts[i] = rng_below(&rng, rng_below(&rng, 10) == 0 ? 10000 : 300);
            pieces[i] = arena_take(arena, counts[i]);
            assert_non_null(pieces[i]);
            assert_int_equal((uintptr_t)pieces[i] % 16, 0);
            memset(pieces[i], i % 251, counts[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            for (size_t j = 0; j < counts[i]; j++) {
                assert_true(pieces[i][j] == i % 251);
            }
            assert_true(i == 0 || pieces[i] != pieces[i - 1]); /* empty ones too */
        }
        arena_reset(arena);
        assert_int_equal(arena_taken_bytes(arena), 0);
    }
    arena_free(arena);
}

static void a_usual_turn_uses_the_same_block_again(void **state)
{
    struct arena *arena = arena_new(1024, 1 << 20);
    (void)state;
    void *first = arena_take(arena, 100);
    assert_non_null(arena_take(arena, 5000)); /* an unusual one */
    assert_non_null(arena_take(arena, 900));
    arena_reset(arena);
    assert_ptr_equal(arena_take(arena, 100), first);
    arena_free(arena);
}

static void the_bound_of_a_turn_holds_and_a_new_turn_starts_afresh(void **state)
{
    struct arena *arena = arena_new(256, 1024);
    (void)state;
    assert_null(arena_take(arena, 1025));
    assert_null(arena_take(arena, SIZE_MAX));
    assert_int_equal(arena_taken_bytes(arena), 0); /* a refusal takes nothing */
    for (int i = 0; i < 8; i++) {
        assert_non_null(arena_take(arena, 128));
    }
    assert_null(arena_take(arena, 1));
    arena_reset(arena);
    assert_non_null(arena_take(arena, 1024));
    arena_free(arena);
}

static void a_text_is_copied_with_its_end(void **state)
{
    struct arena *arena = arena_new(256, 1024);
    (void)state;
    assert_string_equal(arena_text(arena, slice_text("a/b")), "a/b");
    assert_string_equal(arena_text(arena, slice_of(NULL, 0)), "");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart_whatever_their_size),
        cmocka_unit_test(a_usual_turn_uses_the_same_block_again),
        cmocka_unit_test(the_bound_of_a_turn_holds_and_a_new_turn_starts_afresh),
        cmocka_unit_test(a_text_is_copied_with_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
