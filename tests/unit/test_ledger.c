/*
 * The ledger itself, and who enters something in it: in random order, until nothing is left; and
 * what the allocator says of it meanwhile.
 */
#include "core/base/ledger.h"
#include "core/base/rng.h"
#include "core/pubsub/retain.h"
#include "core/pubsub/share.h"
#include "core/session/session.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 60000, THINGS = 3000 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { IS_GLIBC = false };
#else
enum { IS_GLIBC = true };
#endif

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static struct rng rng_of_run(void)
{
    const char *text = getenv("TERN_SEED");
    uint64_t seed = text == NULL ? 20261122 : strtoull(text, NULL, 10);
    struct rng rng;
    print_message("TERN_SEED=%llu\n", (unsigned long long)seed);
    rng_init(&rng, seed);
    return rng;
}

/* What was entered since then is what was taken from malloc(), but for what it keeps for itself. */
static void assert_weighed(enum ledger_use use, uint64_t ledger_before, size_t heap_before)
{
    double entered = (double)(ledger_bytes(use) - ledger_before);
    double taken = (double)(heap_bytes() - heap_before);
    assert_true(entered > 100000);
    if (IS_GLIBC) {
        print_message("%s: %.0f bytes entered, %.0f taken\n", ledger_name(use), entered, taken);
        assert_true(entered > taken * 0.97 && entered < taken * 1.03);
    }
}

static void each_use_has_a_name_and_a_number_of_its_own(void **state)
{
    (void)state;
    for (enum ledger_use use = 0; use < LEDGER_USE_COUNT; use++) {
        uint64_t before = ledger_bytes(use), total = ledger_total();
        assert_true(strlen(ledger_name(use)) > 0);
        ledger_add(use, 12345678);
        ledger_add(use, 1);
        assert_int_equal(ledger_bytes(use), before + 12345679);
        assert_int_equal(ledger_total(), total + 12345679);
        ledger_add(use, -12345679);
        assert_int_equal(ledger_bytes(use), before);
        assert_int_equal(ledger_total(), total);
    }
}

static void what_is_struck_out_before_it_is_seen_is_not_negative(void **state)
{
    (void)state;
    ledger_add(LEDGER_CONNECTIONS, -1000);
    assert_int_equal(ledger_bytes(LEDGER_CONNECTIONS), 0);
    ledger_add(LEDGER_CONNECTIONS, 1000);
}

enum { THREADS = 4 };

static void *enter(void *unused)
{
    for (uint32_t i = 0; i < 10000; i++) {
        ledger_add(LEDGER_SESSIONS, 777);
        ledger_add(LEDGER_MESSAGES, -3);
    }
    return unused;
}

static void threads_are_summed_up_but_for_a_step_of_each(void **state)
{
    enum { STEP = 64 * 1024 };
    pthread_t threads[THREADS];
    uint64_t before = ledger_bytes(LEDGER_SESSIONS), all = THREADS * 10000 * 777;
    (void)state;
    ledger_add(LEDGER_MESSAGES, THREADS * 10000 * 3);
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, enter, NULL), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    uint64_t now = ledger_bytes(LEDGER_SESSIONS) - before;
    assert_true(now <= all && now + THREADS * STEP >= all);
    ledger_add(LEDGER_SESSIONS, -(int64_t)now);
}

static void a_block_weighs_what_malloc_takes(void **state)
{
    (void)state;
    for (size_t count = 0; IS_GLIBC && count < 5000; count++) {
        void *block = malloc(count);
        assert_non_null(block);
        assert_int_equal(ledger_block(count), malloc_usable_size(block) + 8);
        free(block);
    }
}

static struct slice topic_of(uint32_t number, char out[64])
{
    static const char *const shapes[][2] = {{"dev/", ""}, {"site/7/line/", "/state"}, {"", "/a/b"}};
    const char *const *shape = shapes[number % 3];
    int count = snprintf(out, 64, "%s%u%s", shape[0], (unsigned)number, shape[1]);
    return slice_of(out, (size_t)count);
}

static void the_tree_of_retained_topics_is_entered_until_the_last_is_cleared(void **state)
{
    char topic[64];
    struct rng rng = rng_of_run();
    (void)state;
    uint64_t nothing = ledger_bytes(LEDGER_RETAINED);
    struct retain *retain = retain_new(0, 0, 1);
    uint64_t before = ledger_bytes(LEDGER_RETAINED);
    size_t heap = heap_bytes();
    for (uint32_t step = 0; step < STEPS; step++) {
        struct slice name = topic_of((uint32_t)rng_below(&rng, THINGS), topic);
        bool is_flood = step / 10000 % 2 == 0;
        struct msg *cleared = msg_new(&(struct msg_spec){.topic = name});
        assert_int_equal(rng_below(&rng, 10) < (is_flood ? 8 : 2) ? retain_set_away(retain, name, 1)
                                                                  : retain_set(retain, cleared),
                         OK);
        msg_unref(cleared);
    }
    for (uint32_t i = 0; i < THINGS; i++) {
        assert_int_equal(retain_set_away(retain, topic_of(i, topic), 1), OK);
    }
    assert_weighed(LEDGER_RETAINED, before, heap);
    for (uint32_t i = 0; i < THINGS; i++) {
        struct msg *cleared = msg_new(&(struct msg_spec){.topic = topic_of(i, topic)});
        assert_int_equal(retain_set(retain, cleared), OK);
        msg_unref(cleared);
    }
    assert_int_equal(ledger_bytes(LEDGER_RETAINED), before);
    assert_int_equal(retain_set_away(retain, topic_of(1, topic), 1), OK);
    retain_free(retain);
    assert_int_equal(ledger_bytes(LEDGER_RETAINED), nothing);
}

/* What a session subscribed to, and how it hangs in the trie. */
static void hang(struct trie *trie, struct session *session, struct slice filter)
{
    const struct slice none = {0};
    struct subscription *old = session_subscription(session, filter);
    if (old != NULL) {
        trie_unsubscribe(trie, 0, &old->sub);
        session_subscription_remove(old);
        return;
    }
    struct subscription *new = session_subscription_add(session, filter, none, filter, none);
    assert_non_null(new);
    assert_int_equal(trie_subscribe(trie, 0, new->filter, &new->sub), OK);
}

static void sessions_and_subscriptions_are_entered_until_the_last_has_gone(void **state)
{
    enum { SESSIONS = 50 };
    char text[64];
    struct rng rng = rng_of_run();
    struct session *sessions[SESSIONS];
    (void)state;
    struct epoch *epoch = epoch_new(1);
    epoch_online(epoch, 0);
    struct trie *trie = trie_new(epoch, 1, 7);
    uint64_t before = ledger_bytes(LEDGER_SUBSCRIPTIONS);
    uint64_t sessions_before = ledger_bytes(LEDGER_SESSIONS);
    size_t heap;
    for (uint32_t i = 0; i < SESSIONS; i++) {
        sessions[i] = session_new(topic_of(i, text), i + 1);
    }
    heap = heap_bytes();
    for (uint32_t i = 0; i < SESSIONS * 200; i++) {
        hang(trie, sessions[i % SESSIONS], topic_of(i, text));
        epoch_quiescent(epoch, 0);
        epoch_collect(epoch, 0); /* tables that were outgrown go */
    }
    assert_weighed(LEDGER_SUBSCRIPTIONS, before, heap);
    for (uint32_t step = 0; step < STEPS; step++) {
        struct session *session = sessions[rng_below(&rng, SESSIONS)];
        hang(trie, session, topic_of((uint32_t)rng_below(&rng, THINGS), text));
        if (rng_below(&rng, 50) == 0) {
            uint64_t count = rng_below(&rng, 60);
            assert_int_equal(session_set_username(session, count == 50
                                                               ? slice_of(NULL, 0)
                                                               : slice_of(text, count % 20)),
                             OK);
        }
        epoch_quiescent(epoch, 0);
    }
    assert_true(ledger_bytes(LEDGER_SESSIONS) - sessions_before >=
                SESSIONS * sizeof(struct session));
    for (uint32_t i = 0; i < SESSIONS; i++) {
        while (!list_is_empty(&sessions[i]->subscriptions)) {
            struct list *first = sessions[i]->subscriptions.next;
            struct subscription *one = CONTAINER_OF(first, struct subscription, link);
            trie_unsubscribe(trie, 0, &one->sub);
            session_subscription_remove(one);
        }
        session_free(sessions[i]);
    }
    assert_int_equal(ledger_bytes(LEDGER_SUBSCRIPTIONS), before);
    assert_int_equal(ledger_bytes(LEDGER_SESSIONS), sessions_before);
    epoch_offline(epoch, 0);
    trie_free(trie);
    epoch_free(epoch);
}

static void share_groups_are_entered_until_the_last_has_gone(void **state)
{
    struct rng rng = rng_of_run();
    (void)state;
    uint64_t before = ledger_bytes(LEDGER_SUBSCRIPTIONS);
    size_t heap = heap_bytes();
    struct share_group *group = share_group_new();
    for (uint32_t step = 0; step < STEPS; step++) {
        uint64_t key = 1 + rng_below(&rng, THINGS);
        if (rng_below(&rng, 10) < 9) {
            assert_int_equal(share_group_put(group, &(struct share_member){.key = key}), OK);
        } else {
            share_group_remove(group, key);
        }
    }
    assert_weighed(LEDGER_SUBSCRIPTIONS, before, heap);
    share_group_free(group);
    assert_int_equal(ledger_bytes(LEDGER_SUBSCRIPTIONS), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_use_has_a_name_and_a_number_of_its_own),
        cmocka_unit_test(what_is_struck_out_before_it_is_seen_is_not_negative),
        cmocka_unit_test(threads_are_summed_up_but_for_a_step_of_each),
        cmocka_unit_test(a_block_weighs_what_malloc_takes),
        cmocka_unit_test(the_tree_of_retained_topics_is_entered_until_the_last_is_cleared),
        cmocka_unit_test(sessions_and_subscriptions_are_entered_until_the_last_has_gone),
        cmocka_unit_test(share_groups_are_entered_until_the_last_has_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
