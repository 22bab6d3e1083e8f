#include "core/session/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct queue_totals totals;

static struct queue empty(void)
{
    totals = (struct queue_totals){0};
    return (struct queue){.totals = &totals};
}

static struct delivery of_bytes(uint64_t sequence, uint32_t payload_bytes)
{
    static const uint8_t payload[100000];
    struct msg_spec spec = {.topic = slice_text("t"), .payload = slice_of(payload, payload_bytes)};
    return (struct delivery){.msg = msg_new(&spec), .sequence = sequence, .qos = 1};
}

static uint64_t oldest(const struct queue *queue)
{
    const struct delivery *delivery = queue_peek(queue);
    return delivery == NULL ? 0 : delivery->sequence;
}

static void offer(struct queue *queue, const struct queue_bounds *bounds, uint64_t sequence)
{
    struct delivery delivery = of_bytes(sequence, 10), victim;
    assert_int_equal(queue_offer(queue, bounds, &delivery, &victim), OK);
    assert_null(victim.msg);
}

/* The shard's totals are what all its queues hold, whatever way a delivery goes. */
static void totals_follow_every_way_in_and_out(void **state)
{
    struct queue one = empty(), two = {.totals = &totals};
    const struct queue_bounds none = {0};
    (void)state;
    for (uint64_t i = 1; i <= 4; i++) {
        offer(&one, &none, i);
        offer(&two, &none, i);
    }
    assert_int_equal(totals.count, 8);
    assert_int_equal(totals.bytes, one.bytes + two.bytes);
    struct delivery popped = queue_pop(&one);
    assert_int_equal(totals.count, 7);
    assert_int_equal(queue_put_back(&one, &popped), OK);
    assert_int_equal(totals.count, 8);
    assert_int_equal(oldest(&one), 2);
    struct delivery sent = *queue_peek(&one);
    queue_forget(&one, msg_bytes(sent.msg));
    delivery_deinit(&sent);
    assert_int_equal(totals.count, 7);
    assert_int_equal(totals.bytes, one.bytes + two.bytes);
    queue_deinit(&one);
    assert_int_equal(totals.count, 4);
    assert_int_equal(totals.bytes, two.bytes);
    queue_deinit(&two);
    assert_int_equal(totals.count, 0);
    assert_int_equal(totals.bytes, 0);
}

static void at_its_bound_the_oldest_gives_way(void **state)
{
    struct queue queue = empty();
    const struct queue_bounds bounds = {.count_max = 2, .policy = QUEUE_DROP_OLDEST};
    (void)state;
    offer(&queue, &bounds, 1);
    offer(&queue, &bounds, 2);
    struct delivery three = of_bytes(3, 10), victim;
    assert_int_equal(queue_offer(&queue, &bounds, &three, &victim), ERR_AGAIN);
    assert_int_equal(victim.sequence, 1);
    assert_int_equal(queue.waiting.count, 1); /* three is still the caller's */
    delivery_deinit(&victim);
    assert_int_equal(queue_offer(&queue, &bounds, &three, &victim), OK);
    assert_null(victim.msg);
    assert_int_equal(oldest(&queue), 2);
    queue_deinit(&queue);
}

static void at_its_bound_the_newest_gives_way(void **state)
{
    struct queue queue = empty();
    const struct queue_bounds bounds = {.count_max = 2, .policy = QUEUE_DROP_NEWEST};
    (void)state;
    offer(&queue, &bounds, 1);
    offer(&queue, &bounds, 2);
    struct delivery three = of_bytes(3, 10), victim;
    assert_int_equal(queue_offer(&queue, &bounds, &three, &victim), OK);
    assert_ptr_equal(victim.msg, three.msg);
    assert_int_equal(queue.waiting.count, 2);
    assert_int_equal(oldest(&queue), 1);
    delivery_deinit(&victim);
    queue_deinit(&queue);
}

static void at_its_bound_the_publisher_is_refused_and_nothing_changes(void **state)
{
    struct queue queue = empty();
    const struct queue_bounds bounds = {.count_max = 1, .policy = QUEUE_REJECT};
    (void)state;
    offer(&queue, &bounds, 1);
    struct delivery two = of_bytes(2, 10), victim;
    struct queue_totals before = totals;
    assert_int_equal(queue_offer(&queue, &bounds, &two, &victim), ERR_QUOTA);
    assert_null(victim.msg);
    assert_int_equal(two.msg->refs, 1); /* the caller keeps it */
    assert_int_equal(oldest(&queue), 1);
    assert_memory_equal(&before, &totals, sizeof(before));
    delivery_deinit(&two);
    queue_deinit(&queue);
}

/* A bound of bytes holds whatever the sizes are: as many give way as are needed, and no more. */
static void a_large_message_takes_the_room_of_many_small_ones(void **state)
{
    struct queue queue = empty();
    const struct queue_bounds bounds = {.bytes_max = 10000, .policy = QUEUE_DROP_OLDEST};
    uint64_t gone = 0;
    (void)state;
    for (uint64_t i = 1; i <= 20; i++) {
        offer(&queue, &bounds, i);
    }
    struct delivery large = of_bytes(21, 9000), victim;
    enum err err;
    while ((err = queue_offer(&queue, &bounds, &large, &victim)) == ERR_AGAIN) {
        assert_int_equal(victim.sequence, ++gone);
        delivery_deinit(&victim);
    }
    assert_int_equal(err, OK);
    assert_null(victim.msg);
    assert_true(queue.bytes <= bounds.bytes_max);
    assert_true(gone > 1);
    assert_int_equal(queue.waiting.count, 21 - gone);
    uint32_t small_bytes = msg_bytes(queue_peek(&queue)->msg);
    assert_true(queue.bytes + small_bytes > bounds.bytes_max);
    queue_deinit(&queue);
}

static void a_message_that_never_fits_does_not_empty_the_queue_for_nothing(void **state)
{
    struct queue queue = empty();
    const struct queue_bounds bounds = {.bytes_max = 1000, .policy = QUEUE_DROP_OLDEST};
    (void)state;
    offer(&queue, &bounds, 1);
    struct delivery huge = of_bytes(2, 5000), victim;
    assert_int_equal(queue_offer(&queue, &bounds, &huge, &victim), OK);
    assert_ptr_equal(victim.msg, huge.msg);
    assert_int_equal(oldest(&queue), 1);
    delivery_deinit(&victim);
    queue_deinit(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(totals_follow_every_way_in_and_out),
        cmocka_unit_test(at_its_bound_the_oldest_gives_way),
        cmocka_unit_test(at_its_bound_the_newest_gives_way),
        cmocka_unit_test(at_its_bound_the_publisher_is_refused_and_nothing_changes),
        cmocka_unit_test(a_large_message_takes_the_room_of_many_small_ones),
        cmocka_unit_test(a_message_that_never_fits_does_not_empty_the_queue_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
