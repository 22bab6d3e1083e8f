#include "core/session/inflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t total;

static struct inflight empty(void)
{
    total = 0;
    return (struct inflight){.total = &total};
}

static const struct window wide = {.count_max = 65535};

static struct delivery delivery_of(uint8_t qos, uint64_t sequence, uint64_t share)
{
    struct msg_spec spec = {.topic = slice_text("t"), .payload = slice_text("payload")};
    return (
        struct delivery){.msg = msg_new(&spec), .qos = qos, .sequence = sequence, .share = share};
}

static uint16_t send(struct inflight *in, uint8_t qos, uint64_t sequence)
{
    struct delivery delivery = delivery_of(qos, sequence, 0);
    uint16_t id = 0;
    assert_int_equal(inflight_send(in, &delivery, &wide, &id), OK);
    return id;
}

/* The client's answer is accepted; returns whether the exchange is over. */
static bool answer(struct inflight *in, uint16_t id, enum inflight_event event, bool *send_pubrel)
{
    struct delivery done = {0};
    assert_int_equal(inflight_ack(in, id, event, send_pubrel, &done), OK);
    bool is_over = done.state == DELIVERY_FREE;
    delivery_deinit(&done);
    return is_over;
}

static enum err refused(struct inflight *in, uint16_t id, enum inflight_event event)
{
    struct delivery done = {0};
    bool send_pubrel = false;
    uint32_t used = in->used;
    uint64_t bytes = in->bytes;
    enum err err = inflight_ack(in, id, event, &send_pubrel, &done);
    assert_int_not_equal(err, OK);
    assert_null(done.msg);
    assert_false(send_pubrel);
    assert_int_equal(in->used, used); /* the refusal changed nothing */
    assert_int_equal(in->bytes, bytes);
    return err;
}

static void qos_1_is_over_with_puback(void **state)
{
    struct inflight in = empty();
    bool send_pubrel = true;
    (void)state;
    uint16_t id = send(&in, 1, 1);
    assert_int_equal(total, 1);
    assert_true(in.bytes > 0);
    assert_int_equal(refused(&in, id, ON_PUBREC), ERR_PROTOCOL);
    assert_int_equal(refused(&in, id, ON_PUBCOMP), ERR_PROTOCOL);
    assert_true(answer(&in, id, ON_PUBACK, &send_pubrel));
    assert_false(send_pubrel);
    assert_int_equal(refused(&in, id, ON_PUBACK), ERR_NOT_FOUND);
    assert_int_equal(in.used, 0);
    assert_int_equal(in.bytes, 0);
    assert_int_equal(total, 0);
    inflight_deinit(&in);
}

/* [MQTT-4.3.3-4] [MQTT-4.3.3-6] */
static void qos_2_lets_go_of_the_payload_at_pubrec_and_ends_with_pubcomp(void **state)
{
    struct inflight in = empty();
    bool send_pubrel = false;
    (void)state;
    struct delivery delivery = delivery_of(2, 9, 0);
    struct msg *msg = msg_ref(delivery.msg);
    uint16_t id = 0;
    assert_int_equal(inflight_send(&in, &delivery, &wide, &id), OK);
    assert_int_equal(refused(&in, id, ON_PUBACK), ERR_PROTOCOL);
    assert_int_equal(refused(&in, id, ON_PUBCOMP), ERR_PROTOCOL);
    assert_false(answer(&in, id, ON_PUBREC, &send_pubrel));
    assert_true(send_pubrel);
    assert_int_equal(msg->refs, 1); /* only ours is left */
    assert_int_equal(in.bytes, 0);
    send_pubrel = false;
    assert_false(answer(&in, id, ON_PUBREC, &send_pubrel)); /* our PUBREL was lost: again */
    assert_true(send_pubrel);
    assert_int_equal(in.used, 1);
    assert_true(answer(&in, id, ON_PUBCOMP, &send_pubrel));
    assert_int_equal(in.used, 0);
    msg_unref(msg);
    inflight_deinit(&in);
}

static void qos_2_is_over_when_the_client_refuses(void **state)
{
    struct inflight in = empty();
    bool send_pubrel = true;
    (void)state;
    uint16_t id = send(&in, 2, 1);
    assert_true(answer(&in, id, ON_PUBREC_REFUSED, &send_pubrel));
    assert_false(send_pubrel);
    assert_int_equal(in.used, 0);
    inflight_deinit(&in);
}

/* [MQTT-3.3.4-9] The window refuses, takes nothing over, and opens again with an answer. */
static void a_full_window_refuses_and_recovers(void **state)
{
    struct inflight in = empty();
    const struct window window = {.count_max = 1};
    struct delivery one = delivery_of(1, 7, 0), two = delivery_of(1, 8, 0);
    uint16_t id = 0, unset = 0;
    bool send_pubrel;
    (void)state;
    assert_int_equal(inflight_send(&in, &one, &window, &id), OK);
    assert_false(inflight_has_room(&in, &window, 8));
    assert_int_equal(inflight_send(&in, &two, &window, &unset), ERR_LIMIT);
    assert_int_equal(unset, 0);
    assert_int_equal(two.msg->refs, 1);
    answer(&in, id, ON_PUBACK, &send_pubrel);
    assert_int_equal(inflight_send(&in, &two, &window, &id), OK);
    inflight_deinit(&in);
    assert_int_equal(total, 0);
}

static void one_message_is_allowed_however_few_bytes_are(void **state)
{
    struct inflight in = empty();
    const struct window window = {.count_max = 10, .bytes_max = 1};
    struct delivery one = delivery_of(1, 1, 0);
    uint16_t id;
    (void)state;
    assert_true(inflight_has_room(&in, &window, 1));
    assert_int_equal(inflight_send(&in, &one, &window, &id), OK);
    assert_false(inflight_has_room(&in, &window, 2));
    inflight_deinit(&in);
}

/* [MQTT-2.2.1-4] An id is not used again while its exchange goes on, however far the others got. */
static void ids_do_not_repeat_while_one_message_is_never_answered(void **state)
{
    struct inflight in = empty();
    bool send_pubrel;
    (void)state;
    uint16_t stubborn = send(&in, 1, 1);
    for (uint64_t sequence = 2; sequence <= 65535; sequence++) {
        assert_true(inflight_has_room(&in, &wide, sequence));
        uint16_t id = send(&in, 1, sequence);
        assert_int_not_equal(id, 0);
        assert_int_not_equal(id, stubborn);
        answer(&in, id, ON_PUBACK, &send_pubrel);
    }
    assert_false(inflight_has_room(&in, &wide, 65536)); /* it would have the stubborn one's id */
    assert_int_equal(inflight_id(65536), stubborn);
    answer(&in, stubborn, ON_PUBACK, &send_pubrel);
    assert_int_equal(in.slots.count, 0); /* those answered in the middle went with it */
    assert_int_equal(send(&in, 1, 65536), stubborn);
    inflight_deinit(&in);
}

static void answers_come_in_any_order_and_across_the_wrap_of_ids(void **state)
{
    struct inflight in = empty();
    bool send_pubrel;
    (void)state;
    for (uint64_t sequence = 65530; sequence < 65545; sequence++) {
        send(&in, 1, sequence);
    }
    assert_int_equal(inflight_id(65534), 65535);
    assert_int_equal(inflight_id(65535), 1);
    assert_int_equal(refused(&in, 0, ON_PUBACK), ERR_NOT_FOUND);
    assert_int_equal(refused(&in, 65530, ON_PUBACK), ERR_NOT_FOUND); /* before the oldest */
    assert_int_equal(refused(&in, inflight_id(65545), ON_PUBACK), ERR_NOT_FOUND);
    for (uint64_t step = 0; step < 15; step++) {
        uint64_t sequence = 65530 + step * 7 % 15;
        assert_true(answer(&in, inflight_id(sequence), ON_PUBACK, &send_pubrel));
        assert_int_equal(refused(&in, inflight_id(sequence), ON_PUBACK), ERR_NOT_FOUND);
        assert_int_equal(in.used, 14 - step);
    }
    assert_int_equal(in.slots.count, 0);
    inflight_deinit(&in);
}

/* Sequences have gaps where messages were dropped from the queue. */
static void gaps_between_sequences_confuse_nobody(void **state)
{
    struct inflight in = empty();
    bool send_pubrel;
    (void)state;
    const uint64_t sequences[] = {3, 10, 11, 500, 60000};
    for (uint32_t i = 0; i < 5; i++) {
        send(&in, 1, sequences[i]);
    }
    assert_int_equal(refused(&in, inflight_id(4), ON_PUBACK), ERR_NOT_FOUND);
    assert_int_equal(refused(&in, inflight_id(12), ON_PUBACK), ERR_NOT_FOUND);
    for (uint32_t i = 5; i > 0; i--) {
        assert_true(answer(&in, inflight_id(sequences[i - 1]), ON_PUBACK, &send_pubrel));
    }
    inflight_deinit(&in);
}

static void what_is_unfinished_is_walked_oldest_first(void **state)
{
    struct inflight in = empty();
    bool send_pubrel;
    uint32_t cursor = 0;
    (void)state;
    for (uint64_t sequence = 1; sequence <= 5; sequence++) {
        send(&in, 2, sequence);
    }
    answer(&in, inflight_id(3), ON_PUBREC_REFUSED, &send_pubrel);
    answer(&in, inflight_id(4), ON_PUBREC, &send_pubrel);
    const uint64_t expected[] = {1, 2, 4, 5};
    for (uint32_t i = 0; i < 4; i++) {
        struct delivery *slot = inflight_next(&in, &cursor);
        assert_non_null(slot);
        assert_int_equal(slot->sequence, expected[i]);
        assert_int_equal(slot->state, expected[i] == 4 ? WAIT_PUBCOMP : WAIT_PUBREC);
    }
    assert_null(inflight_next(&in, &cursor));
    inflight_deinit(&in);
}

/* The answer says that it arrived: it is not sent again, and whoever counts is told. */
static void an_answer_ends_the_wish_to_send_again(void **state)
{
    struct inflight in = empty();
    struct delivery done;
    bool send_pubrel;
    uint32_t cursor = 0;
    (void)state;
    uint16_t id = send(&in, 2, 1);
    inflight_next(&in, &cursor)->must_resend = true;
    assert_int_equal(inflight_ack(&in, id, ON_PUBREC, &send_pubrel, &done), OK);
    assert_true(done.must_resend);
    assert_int_equal(inflight_ack(&in, id, ON_PUBCOMP, &send_pubrel, &done), OK);
    assert_false(done.must_resend);
    inflight_deinit(&in);
}

static void a_session_that_ends_gets_back_what_was_never_answered(void **state)
{
    struct inflight in = empty();
    struct delivery out;
    bool send_pubrel;
    (void)state;
    for (uint64_t sequence = 1; sequence <= 3; sequence++) {
        send(&in, 2, sequence);
    }
    answer(&in, inflight_id(2), ON_PUBREC, &send_pubrel);
    assert_true(inflight_take(&in, &out));
    assert_int_equal(out.sequence, 1);
    assert_non_null(out.msg);
    delivery_deinit(&out);
    assert_true(inflight_take(&in, &out));
    assert_int_equal(out.state, WAIT_PUBCOMP);
    assert_null(out.msg); /* gone since PUBREC */
    delivery_deinit(&out);
    assert_true(inflight_take(&in, &out));
    delivery_deinit(&out);
    assert_false(inflight_take(&in, &out));
    assert_int_equal(in.used, 0);
    assert_int_equal(in.bytes, 0);
    assert_int_equal(total, 0);
    inflight_deinit(&in);
}

static void one_slot_can_be_given_up_and_only_once(void **state)
{
    struct inflight in = empty();
    struct delivery out = {0};
    uint32_t cursor = 1;
    (void)state;
    for (uint64_t sequence = 1; sequence <= 3; sequence++) {
        send(&in, 1, sequence);
    }
    struct delivery *slot = inflight_next(&in, &cursor);
    assert_true(inflight_give_up(&in, slot, &out));
    assert_int_equal(out.sequence, 2);
    delivery_deinit(&out);
    assert_false(inflight_give_up(&in, deque_at(&in.slots, 1), &out));
    assert_int_equal(in.used, 2);
    assert_int_equal(total, 2);
    assert_int_equal(refused(&in, inflight_id(2), ON_PUBACK), ERR_NOT_FOUND);
    inflight_deinit(&in);
    assert_int_equal(total, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qos_1_is_over_with_puback),
        cmocka_unit_test(qos_2_lets_go_of_the_payload_at_pubrec_and_ends_with_pubcomp),
        cmocka_unit_test(qos_2_is_over_when_the_client_refuses),
        cmocka_unit_test(a_full_window_refuses_and_recovers),
        cmocka_unit_test(one_message_is_allowed_however_few_bytes_are),
        cmocka_unit_test(ids_do_not_repeat_while_one_message_is_never_answered),
        cmocka_unit_test(answers_come_in_any_order_and_across_the_wrap_of_ids),
        cmocka_unit_test(gaps_between_sequences_confuse_nobody),
        cmocka_unit_test(what_is_unfinished_is_walked_oldest_first),
        cmocka_unit_test(an_answer_ends_the_wish_to_send_again),
        cmocka_unit_test(a_session_that_ends_gets_back_what_was_never_answered),
        cmocka_unit_test(one_slot_can_be_given_up_and_only_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
