#include "core/broker/mailbox.h"
#include "core/broker/shard.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* As much of a shard as a mailbox looks at: no io, so nobody has to be woken. */
static struct shard *shard_of_test(uint32_t index, struct mail_rings *rings)
{
    struct shard *shard = calloc(1, sizeof(*shard));
    shard->index = index;
    shard->metrics = metrics_new();
    shard->mailbox = mailbox_new(shard, rings);
    return shard;
}

static void shard_free(struct shard *shard)
{
    mailbox_free(shard->mailbox);
    metrics_free(shard->metrics);
    free(shard);
}

static void post(struct shard *from, uint32_t to, uint64_t number)
{
    struct mail mail = {.kind = MAIL_SHARE_SETTLE, .a = number};
    mailbox_post(from->mailbox, to, &mail);
}

/* key_last counts what came, in order, from one sender. */
static void expect_next(struct shard *shard, struct mail *mail)
{
    assert_int_equal(mail->kind, MAIL_SHARE_SETTLE);
    assert_int_equal(mail->a, ++shard->key_last);
    assert_int_not_equal(mail->from, shard->index);
}

static void mail_arrives_in_order_with_its_sender(void **state)
{
    struct mail_rings *rings = mail_rings_new(2);
    struct shard *one = shard_of_test(0, rings), *two = shard_of_test(1, rings);
    (void)state;
    assert_true(mailbox_is_empty(two->mailbox));
    for (uint64_t i = 1; i <= 10; i++) {
        post(one, 1, i);
    }
    assert_false(mailbox_is_empty(two->mailbox));
    assert_true(mailbox_is_empty(one->mailbox));
    assert_int_equal(mailbox_read(two->mailbox, expect_next), 10);
    assert_int_equal(mailbox_read(two->mailbox, expect_next), 0);
    assert_true(mailbox_is_empty(two->mailbox));
    shard_free(one);
    shard_free(two);
    mail_rings_free(rings);
}

/* A ring that is full loses nothing and changes no order; it says that senders should wait. */
static void a_full_ring_stalls_its_sender_and_keeps_the_order(void **state)
{
    struct mail_rings *rings = mail_rings_new(2);
    struct shard *one = shard_of_test(0, rings), *two = shard_of_test(1, rings);
    uint64_t posted = 0;
    (void)state;
    while (!mailbox_is_stalled(one->mailbox)) {
        post(one, 1, ++posted);
    }
    for (uint32_t i = 0; i < 3000; i++) {
        post(one, 1, ++posted);
    }
    mailbox_read(two->mailbox, expect_next); /* now there is room in the ring... */
    post(one, 1, ++posted);                  /* ...but not before those that wait */
    mailbox_flush(one->mailbox);
    while (mailbox_read(two->mailbox, expect_next) > 0) {
        mailbox_flush(one->mailbox);
    }
    assert_false(mailbox_is_stalled(one->mailbox));
    assert_int_equal(two->key_last, posted);
    shard_free(one);
    shard_free(two);
    mail_rings_free(rings);
}

static void nobody_sleeps_over_mail(void **state)
{
    struct mail_rings *rings = mail_rings_new(2);
    struct shard *one = shard_of_test(0, rings), *two = shard_of_test(1, rings);
    (void)state;
    assert_true(mailbox_may_sleep(two->mailbox));
    mailbox_awake(two->mailbox);
    post(one, 1, 1);
    mailbox_flush(one->mailbox);
    assert_false(mailbox_may_sleep(two->mailbox));
    mailbox_awake(two->mailbox);
    mailbox_read(two->mailbox, expect_next);
    assert_true(mailbox_may_sleep(two->mailbox));
    mailbox_awake(two->mailbox);
    shard_free(one);
    shard_free(two);
    mail_rings_free(rings);
}

/* At the end nobody reads any more: what mail owns is given back, also what never found room. */
static void mail_that_nobody_reads_gives_back_what_it_owns(void **state)
{
    struct mail_rings *rings = mail_rings_new(2);
    struct shard *one = shard_of_test(0, rings), *two = shard_of_test(1, rings);
    struct msg *msg = msg_new(&(struct msg_spec){.topic = slice_text("t")});
    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        struct mail mail = {.kind = MAIL_PUBLISH, .msg = msg_ref(msg)};
        mailbox_post(one->mailbox, 1, &mail);
    }
    assert_true(mailbox_is_stalled(one->mailbox));
    assert_int_equal(msg->refs, 5001);
    shard_free(one);
    shard_free(two);
    mail_rings_free(rings);
    assert_int_equal(msg->refs, 1);
    msg_unref(msg);
}

/* ---- two threads --------------------------------------------------------------------------- */

enum { MAILS = 200000, BURST = 700 };

static _Atomic uint32_t finished;

static void count_only(struct shard *shard, struct mail *mail)
{
    shard->conn_count += mail->a != ++shard->key_last; /* cmocka's asserts are for one thread */
}

static void *live(void *context)
{
    struct shard *shard = context;
    uint64_t posted = 0;
    bool told = false;
    while (finished < 2) {
        for (uint32_t i = 0; i < BURST && posted < MAILS && !mailbox_is_stalled(shard->mailbox);
             i++) {
            post(shard, 1 - shard->index, ++posted);
        }
        mailbox_flush(shard->mailbox);
        if (mailbox_read(shard->mailbox, count_only) == 0) {
            mailbox_may_sleep(shard->mailbox);
            sched_yield();
            mailbox_awake(shard->mailbox);
        }
        if (!told && posted == MAILS && shard->key_last == MAILS &&
            !mailbox_is_stalled(shard->mailbox)) {
            told = true;
            finished++;
        }
    }
    return NULL;
}

static void two_threads_exchange_mail_and_lose_none(void **state)
{
    struct mail_rings *rings = mail_rings_new(2);
    struct shard *shards[2] = {shard_of_test(0, rings), shard_of_test(1, rings)};
    pthread_t threads[2];
    (void)state;
    finished = 0;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, live, shards[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(shards[i]->key_last, MAILS);
        assert_int_equal(shards[i]->conn_count, 0); /* out of order */
        shard_free(shards[i]);
    }
    mail_rings_free(rings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_arrives_in_order_with_its_sender),
        cmocka_unit_test(a_full_ring_stalls_its_sender_and_keeps_the_order),
        cmocka_unit_test(nobody_sleeps_over_mail),
        cmocka_unit_test(mail_that_nobody_reads_gives_back_what_it_owns),
        cmocka_unit_test(two_threads_exchange_mail_and_lose_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
