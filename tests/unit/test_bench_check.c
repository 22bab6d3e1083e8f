/*
 * bench/check against a model that remembers everything: whatever a network loses, repeats, delays
 * and mixes up, each arrival gets the right verdict, and the account is right at every moment.
 */
#include "bench/load/check.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 3000, ARRIVALS_MAX = 2 * COUNT };

/* How a network treats COUNT messages; chances are of 1000. */
struct weather {
    const char *name;
    uint32_t loss, repeat, delay, delay_max;
};

static const struct weather weathers[] = {
    {"fair", 0, 0, 0, 0},
    {"lossy", 100, 0, 0, 0},
    {"echoing", 0, 200, 0, 0},
    {"mixing", 0, 0, 300, 40},
    {"everything", 50, 50, 100, 300},
    {"hopeless", 900, 300, 500, 2000},
    {"backwards", 0, 100, 1000, COUNT},
};

struct model {
    bool is_seen[COUNT];
    uint64_t next, seen_count;
};

static enum track_verdict model_add(struct model *model, uint64_t sequence)
{
    bool was_seen = model->is_seen[sequence], is_new_top = sequence >= model->next;
    enum track_verdict at_top = sequence == model->next ? TRACK_IN_ORDER : TRACK_AFTER_GAP;
    model->seen_count += was_seen ? 0 : 1;
    model->is_seen[sequence] = true;
    model->next = is_new_top ? sequence + 1 : model->next;
    return is_new_top ? at_top : was_seen ? TRACK_REPEATED : TRACK_LATE;
}

static bool happens(struct rng *rng, uint32_t chance)
{
    return rng_below(rng, 1000) < chance;
}

/* Put a sequence into the arrivals, at its place or behind it. */
static void arrive(struct rng *rng, const struct weather *weather, uint64_t *slots,
                   uint32_t sequence)
{
    uint32_t slot = 2 * sequence;
    if (happens(rng, weather->delay)) {
        slot += 2 * (uint32_t)rng_below(rng, weather->delay_max);
    }
    while (slot < ARRIVALS_MAX && slots[slot] != UINT64_MAX) {
        slot++;
    }
    if (slot < ARRIVALS_MAX) { /* else it comes too late for anybody */
        slots[slot] = sequence;
    }
}

static void run_through(const struct weather *weather, uint64_t seed)
{
    static uint64_t slots[ARRIVALS_MAX];
    static struct model model;
    struct track track = {0};
    struct rng rng;

    memset(&model, 0, sizeof(model));
    memset(slots, 0xff, sizeof(slots));
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < COUNT; i++) {
        if (!happens(&rng, weather->loss)) {
            arrive(&rng, weather, slots, i);
        }
        if (happens(&rng, weather->repeat)) {
            arrive(&rng, weather, slots, i);
        }
    }
    for (uint32_t i = 0; i < ARRIVALS_MAX; i++) {
        if (slots[i] != UINT64_MAX) {
            assert_int_equal(track_add(&track, slots[i]), model_add(&model, slots[i]));
            assert_int_equal(track_lost(&track, model.next), model.next - model.seen_count);
        }
    }
    assert_int_equal(track_lost(&track, COUNT), COUNT - model.seen_count);
    track_deinit(&track);
}

static void every_verdict_is_that_of_a_model_that_forgets_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(weathers) / sizeof(weathers[0]); i++) {
        for (uint64_t seed = 1; seed <= 20; seed++) {
            run_through(&weathers[i], seed);
        }
    }
}

/* No two messages of a run have the same bytes, and none reads as another one. */
static void one_byte_changed_anywhere_is_never_a_message(void **state)
{
    enum { BYTES = 48 };
    uint8_t payload[BYTES];
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    for (uint32_t i = 0; i < 20000; i++) {
        struct stamp stamp = {.publisher = (uint32_t)rng_below(&rng, 1000),
                              .sequence = rng_below(&rng, 1000000),
                              .sent_ns = rng_u64(&rng) >> 1};
        struct stamp back;
        stamp_write(payload, sizeof(payload), &stamp);
        payload[rng_below(&rng, BYTES)] ^= (uint8_t)(1 + rng_below(&rng, 255));
        assert_false(stamp_read(slice_of(payload, sizeof(payload)), &back));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verdict_is_that_of_a_model_that_forgets_nothing),
        cmocka_unit_test(one_byte_changed_anywhere_is_never_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
