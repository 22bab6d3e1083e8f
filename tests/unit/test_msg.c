#include "core/base/ledger.h"
#include "core/base/map.h"
#include "core/pubsub/msg.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_message_is_a_copy_of_what_it_was_made_from(void **state)
{
    char topic[] = "plant/7/temp", props[] = "\x01\x01", payload[] = "21.5";
    struct msg_spec spec = {
        .qos = 2,
        .retain = true,
        .publisher = 77,
        .expires_wall_ms = 1234,
        .topic = slice_text(topic),
        .props = slice_text(props),
        .payload = slice_text(payload),
    };
    uint64_t before = ledger_bytes(LEDGER_MESSAGES);
    (void)state;
    struct msg *msg = msg_new(&spec);
    assert_non_null(msg);
    memset(topic, 'x', sizeof(topic));
    memset(props, 'x', sizeof(props));
    memset(payload, 'x', sizeof(payload));
    assert_true(slice_is(msg->topic, "plant/7/temp"));
    assert_true(slice_is(msg->props, "\x01\x01"));
    assert_true(slice_is(msg->payload, "21.5"));
    assert_int_equal(msg->qos, 2);
    assert_true(msg->retain);
    assert_false(msg->is_shared);
    assert_int_equal(msg->publisher, 77);
    assert_int_equal(msg->expires_wall_ms, 1234);
    assert_int_equal(msg->topic_hash, hash_bytes(slice_text("plant/7/temp")));
    assert_null(msg->blob);
    assert_int_equal(msg_bytes(msg), sizeof(*msg) + 12 + 2 + 4);
    assert_int_equal(ledger_bytes(LEDGER_MESSAGES) - before, msg_bytes(msg));
    msg_unref(msg);
    assert_int_equal(ledger_bytes(LEDGER_MESSAGES), before);
}

static void a_message_lives_until_its_last_reference(void **state)
{
    struct msg_spec spec = {.topic = slice_text("t")};
    uint64_t before = ledger_bytes(LEDGER_MESSAGES);
    (void)state;
    struct msg *msg = msg_new(&spec);
    assert_ptr_equal(msg_ref(msg), msg);
    assert_int_equal(msg->refs, 2);
    msg_unref(msg);
    assert_int_equal(msg->refs, 1);
    assert_true(ledger_bytes(LEDGER_MESSAGES) > before);
    msg_unref(msg);
    assert_int_equal(ledger_bytes(LEDGER_MESSAGES), before);
    msg_unref(NULL);
    blob_unref(NULL);
}

static void an_adopted_payload_is_not_copied_and_keeps_its_blob(void **state)
{
    uint64_t before = ledger_bytes(LEDGER_MESSAGES);
    struct blob *blob = blob_new(100000);
    (void)state;
    assert_non_null(blob);
    memset(blob->bytes, 'p', 100000);
    struct msg_spec spec = {
        .topic = slice_text("big"), .payload = slice_of(blob->bytes + 10, 99990), .blob = blob};
    struct msg *msg = msg_new(&spec);
    assert_ptr_equal(msg->payload.data, blob->bytes + 10);
    assert_int_equal(blob->refs, 2);
    blob_unref(blob);
    assert_int_equal(msg->payload.data[99989], 'p');
    assert_int_equal(msg_bytes(msg), sizeof(*msg) + 3 + 99990);
    /* The memory of the blob counts once, by its capacity. */
    assert_int_equal(ledger_bytes(LEDGER_MESSAGES) - before,
                     sizeof(*msg) + 3 + sizeof(*blob) + 100000);
    msg_unref(msg);
    assert_int_equal(ledger_bytes(LEDGER_MESSAGES), before);
}

static void a_message_may_be_empty(void **state)
{
    struct msg_spec spec = {.topic = slice_text("")};
    (void)state;
    struct msg *msg = msg_new(&spec);
    assert_int_equal(msg->payload.count, 0);
    assert_int_equal(msg->props.count, 0);
    assert_int_equal(msg_bytes(msg), sizeof(*msg));
    msg_unref(msg);
}

enum { THREAD_COUNT = 4, ROUND_COUNT = 2000 };

struct party {
    pthread_barrier_t barrier;
    struct msg *shared[ROUND_COUNT];
};

/* Each thread drops its references and makes and drops messages of its own. */
static void *drop_references(void *argument)
{
    struct party *party = argument;
    struct msg_spec spec = {.topic = slice_text("own"), .payload = slice_text("payload")};
    pthread_barrier_wait(&party->barrier);
    for (int i = 0; i < ROUND_COUNT; i++) {
        struct msg *own = msg_new(&spec);
        msg_ref(party->shared[i]);
        msg_unref(own);
        msg_unref(party->shared[i]);
        msg_unref(party->shared[i]);
    }
    return NULL;
}

static void any_thread_may_drop_the_last_reference(void **state)
{
    static struct party party;
    pthread_t threads[THREAD_COUNT];
    uint64_t before = ledger_bytes(LEDGER_MESSAGES);
    (void)state;
    for (int i = 0; i < ROUND_COUNT; i++) {
        struct msg_spec spec = {.topic = slice_text("shared"), .payload = slice_text("payload")};
        party.shared[i] = msg_new(&spec);
        for (int k = 1; k < THREAD_COUNT; k++) {
            msg_ref(party.shared[i]);
        }
    }
    pthread_barrier_init(&party.barrier, NULL, THREAD_COUNT);
    for (int i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, drop_references, &party), 0);
    }
    for (int i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&party.barrier);
    /* Exact to 64 KiB for each thread that took part, this one included. */
    uint64_t after = ledger_bytes(LEDGER_MESSAGES), slack = (THREAD_COUNT + 1) * 64 * 1024;
    assert_true(after <= before + slack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_a_copy_of_what_it_was_made_from),
        cmocka_unit_test(a_message_lives_until_its_last_reference),
        cmocka_unit_test(an_adopted_payload_is_not_copied_and_keeps_its_blob),
        cmocka_unit_test(a_message_may_be_empty),
        cmocka_unit_test(any_thread_may_drop_the_last_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
