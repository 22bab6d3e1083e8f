#include "cluster/mesh_msg.h"
#include "tests/lib/record_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool same_message(const struct msg_spec *a, const struct msg_spec *b)
{
    return a->qos == b->qos && a->retain == b->retain && a->publisher == b->publisher &&
           a->expires_wall_ms == b->expires_wall_ms && a->expiry_s == b->expiry_s &&
           slice_equal(a->topic, b->topic) && slice_equal(a->props, b->props) &&
           slice_equal(a->payload, b->payload);
}

static struct mesh_errand_msg random_errand(struct rng *rng)
{
    struct mesh_errand_msg errand = {.number = random_number(rng, UINT64_MAX),
                                     .kind = (uint32_t)rng_below(rng, MESH_GROUP + 1),
                                     .message = random_spec(rng),
                                     .origin = {.number = random_number(rng, UINT64_MAX),
                                                .behind = (uint32_t)random_number(rng, UINT32_MAX),
                                                .partition = (uint8_t)rng_below(rng, 64),
                                                .is_again = rng_below(rng, 2)}};
    errand.message.topic = slice_text("some/topic");
    errand.partitions = errand.kind == MESH_PUBLISH ? rng_u64(rng) | 1
                                                    : UINT64_C(1) << rng_below(rng, 64);
    errand.restarts = errand.partitions & rng_u64(rng);
    errand.open = random_number(rng, errand.number);
    if (errand.kind == MESH_GROUP) {
        errand.group = slice_text("g/some/+");
    }
    return errand;
}

static void an_errand_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1);
    for (int i = 0; i < 2000; i++) {
        struct mesh_errand_msg errand = random_errand(&rng), read;
        struct buf bytes = {0};
        assert_int_equal(mesh_errand_encode(&errand, &bytes), OK);
        assert_int_equal(mesh_errand_decode(buf_bytes(&bytes), &read), OK);
        assert_true(same_message(&errand.message, &read.message));
        assert_true(slice_equal(errand.group, read.group));
        assert_true(errand.number == read.number && errand.partitions == read.partitions);
        assert_true(errand.kind == read.kind && errand.restarts == read.restarts);
        assert_true(errand.open == read.open && errand.origin.number == read.origin.number);
        assert_true(errand.origin.behind == read.origin.behind);
        assert_int_equal(errand.origin.partition, read.origin.partition);
        assert_int_equal(errand.origin.is_again, read.origin.is_again);
        buf_deinit(&bytes);
    }
}

static void an_errand_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct msg_spec message = {.topic = slice_text("t")};
    const struct mesh_errand_msg bad[] = {
        {.number = 1, .partitions = 0, .message = message},
        {.number = 1, .partitions = 1},
        {.number = 1, .partitions = 3, .kind = MESH_RETAIN, .message = message},
        {.number = 1, .partitions = 1, .kind = MESH_GROUP, .message = message},
        {.number = 1, .partitions = 1, .group = slice_text("g/t"), .message = message},
        {.number = 1, .partitions = 1, .restarts = 2, .message = message},
        {.number = 1, .partitions = 1, .open = 2, .message = message},
        {.number = 1, .partitions = 1, .kind = 9, .message = message},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf bytes = {0};
        struct mesh_errand_msg read;
        assert_int_equal(mesh_errand_encode(&bad[i], &bytes), OK);
        assert_int_equal(mesh_errand_decode(buf_bytes(&bytes), &read), ERR_CORRUPT);
        buf_deinit(&bytes);
    }
}

static void answers_and_what_was_seen_are_read_as_written(void **state)
{
    (void)state;
    struct mesh_answer_msg answer = {7, UINT64_MAX, MESH_NO_QUOTA, 5}, answer_read;
    struct mesh_seen_msg seen = {63, 5, 1000000, true}, seen_read;
    struct buf bytes = {0};
    assert_int_equal(mesh_answer_encode(&answer, &bytes), OK);
    assert_int_equal(mesh_answer_decode(buf_bytes(&bytes), &answer_read), OK);
    assert_true(answer_read.number == 7 && answer_read.partitions == UINT64_MAX);
    assert_true(answer_read.verdict == MESH_NO_QUOTA && answer_read.incarnation == 5);
    buf_deinit(&bytes);
    assert_int_equal(mesh_seen_encode(&seen, &bytes), OK);
    assert_int_equal(mesh_seen_decode(buf_bytes(&bytes), &seen_read), OK);
    assert_int_equal(seen_read.partition, 63);
    assert_true(seen_read.term == 5 && seen_read.sequence == 1000000 && seen_read.is_lost);
    buf_deinit(&bytes);
}

static void routes_are_read_as_written(void **state)
{
    (void)state;
    struct mesh_routes_msg routes = {.partition = 63,
                                     .term = UINT64_MAX,
                                     .sequence = UINT64_MAX,
                                     .digest = UINT64_MAX,
                                     .part = MESH_CHECK},
                           read;
    struct buf bytes = {0};
    struct slice filter;
    bool is_wanted;
    assert_int_equal(mesh_routes_encode(&routes, &bytes), OK);
    assert_int_equal(mesh_routes_add(slice_text("a/+"), true, &bytes), OK);
    assert_int_equal(mesh_routes_add(slice_text("b/#"), false, &bytes), OK);
    assert_int_equal(mesh_routes_decode(buf_bytes(&bytes), &read), OK);
    assert_int_equal(read.partition, 63);
    assert_true(read.term == UINT64_MAX && read.sequence == UINT64_MAX);
    assert_true(read.digest == UINT64_MAX && read.part == MESH_CHECK);
    assert_true(mesh_routes_next(&read.filters, &filter, &is_wanted));
    assert_true(slice_is(filter, "a/+") && is_wanted);
    assert_true(mesh_routes_next(&read.filters, &filter, &is_wanted));
    assert_true(slice_is(filter, "b/#") && !is_wanted);
    assert_false(mesh_routes_next(&read.filters, &filter, &is_wanted));
    buf_deinit(&bytes);
}

/* Whatever comes: never beyond it, never an assertion. */
static void bytes_by_chance_are_read_or_refused(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        size_t count = rng_below(&rng, 40);
        uint8_t *bytes = malloc(count + 1); /* of no more than that, for the address sanitizer */
        uint8_t *exact = bytes + 1;
        for (size_t k = 0; k < count; k++) {
            exact[k] = (uint8_t)(rng_below(&rng, 3) == 0 ? rng_below(&rng, 100) : rng_u64(&rng));
        }
        struct slice all = slice_of(exact, count), filter;
        struct mesh_errand_msg errand;
        struct mesh_answer_msg answer;
        struct mesh_routes_msg routes;
        struct mesh_seen_msg seen;
        bool is_wanted;
        (void)mesh_errand_decode(all, &errand);
        (void)mesh_answer_decode(all, &answer);
        (void)mesh_seen_decode(all, &seen);
        if (mesh_routes_decode(all, &routes) == OK) {
            assert_true(routes.partition < 64);
            while (mesh_routes_next(&routes.filters, &filter, &is_wanted)) {
                assert_true(filter.count > 0);
            }
        }
        free(bytes);
    }
}

static void every_verdict_has_an_error_and_back(void **state)
{
    (void)state;
    for (uint32_t i = MESH_DONE; i < MESH_VERDICT_END; i++) {
        assert_int_equal(mesh_verdict_of(mesh_verdict_err((enum mesh_verdict)i)), i);
    }
    assert_int_equal(mesh_verdict_of(ERR_PROTOCOL), MESH_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_errand_is_read_as_it_was_written),
        cmocka_unit_test(an_errand_that_makes_no_sense_is_refused),
        cmocka_unit_test(answers_and_what_was_seen_are_read_as_written),
        cmocka_unit_test(routes_are_read_as_written),
        cmocka_unit_test(bytes_by_chance_are_read_or_refused),
        cmocka_unit_test(every_verdict_has_an_error_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
