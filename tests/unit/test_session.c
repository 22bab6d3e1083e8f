#include "core/session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice none = {0};

static struct subscription *add(struct session *session, const char *text)
{
    struct slice filter = slice_text(text);
    return session_subscription_add(session, filter, none, filter, none);
}

/* "$share/name/filter" */
static struct subscription *add_shared(struct session *session, const char *text, size_t name_bytes,
                                       const char *mount)
{
    struct slice whole = slice_text(text);
    struct slice name = slice_of(whole.data + 7, name_bytes);
    struct slice filter = slice_skip(whole, 7 + name_bytes + 1);
    return session_subscription_add(session, whole, name, filter, slice_text(mount));
}

static void remove_all(struct session *session)
{
    while (!list_is_empty(&session->subscriptions)) {
        session_subscription_remove(
            CONTAINER_OF(session->subscriptions.next, struct subscription, link));
    }
}

static void its_id_is_its_own_copy(void **state)
{
    char id[] = "client";
    struct session *session = session_new(slice_text(id), 77);
    (void)state;
    id[0] = 'X';
    assert_true(slice_is(session->client_id, "client"));
    assert_int_equal(session->key, 77);
    session_free(session);
    session_free(NULL);
}

/* Few are found in a list, many by a map: nobody sees the difference. */
static void subscriptions_are_found_however_many_there_are(void **state)
{
    struct session *session = session_new(slice_text("c"), 1);
    char text[32];
    (void)state;
    for (uint32_t count = 1; count <= 300; count++) {
        snprintf(text, sizeof(text), "filter/%u", count);
        assert_non_null(add(session, text));
        assert_int_equal(session->subscription_count, count);
        for (uint32_t i = 1; i <= count; i += 7) {
            snprintf(text, sizeof(text), "filter/%u", i);
            struct subscription *found = session_subscription(session, slice_text(text));
            assert_non_null(found);
            assert_true(slice_is(found->text, text));
        }
        assert_null(session_subscription(session, slice_text("filter/0")));
    }
    for (uint32_t i = 1; i <= 300; i++) {
        snprintf(text, sizeof(text), "filter/%u", i);
        session_subscription_remove(session_subscription(session, slice_text(text)));
        assert_null(session_subscription(session, slice_text(text)));
    }
    assert_int_equal(session->subscription_count, 0);
    assert_non_null(add(session, "filter/1"));
    remove_all(session);
    session_free(session);
}

static void a_mount_point_hangs_in_the_trie_but_is_not_what_the_client_wrote(void **state)
{
    struct session *session = session_new(slice_text("c"), 1);
    struct slice filter = slice_text("a/#");
    (void)state;
    struct subscription *mounted = session_subscription_add(session, filter, none, filter,
                                                            slice_text("site/"));
    assert_true(slice_is(mounted->text, "a/#"));
    assert_true(slice_is(mounted->filter, "site/a/#"));
    assert_ptr_equal(session_subscription(session, slice_text("a/#")), mounted);
    assert_null(session_subscription(session, slice_text("site/a/#")));
    remove_all(session);
    session_free(session);
}

static void a_shared_one_is_found_by_its_group(void **state)
{
    struct session *session = session_new(slice_text("c"), 1);
    (void)state;
    add(session, "a/b");
    struct subscription *one = add_shared(session, "$share/one/a/b", 3, "");
    struct subscription *two = add_shared(session, "$share/two/a/b", 3, "m/");
    assert_true(slice_is(one->share_name, "one"));
    assert_ptr_equal(session_shared_subscription(session, slice_text("one/a/b"), 3), one);
    assert_ptr_equal(session_shared_subscription(session, slice_text("two/m/a/b"), 5), two);
    assert_null(session_shared_subscription(session, slice_text("two/a/b"), 3)); /* mounted */
    assert_null(session_shared_subscription(session, slice_text("on/a/b"), 3));
    assert_null(session_shared_subscription(session, slice_text("one/a/c"), 3));
    remove_all(session);
    session_free(session);
}

/* Looking for the few shared ones must not walk over the many others. */
static void the_shared_ones_come_first_and_alone(void **state)
{
    struct session *session = session_new(slice_text("c"), 1);
    char text[32];
    uint32_t count = 0;
    (void)state;
    assert_null(session_shared_next(session, NULL));
    for (uint32_t i = 0; i < 30; i++) {
        snprintf(text, sizeof(text), i % 3 == 0 ? "$share/g/%u" : "plain/%u", i);
        assert_non_null(i % 3 == 0 ? add_shared(session, text, 1, "") : add(session, text));
    }
    const struct subscription *shared = NULL;
    while ((shared = session_shared_next(session, shared)) != NULL) {
        assert_true(slice_is(shared->share_name, "g"));
        count++;
    }
    assert_int_equal(count, 10);
    remove_all(session);
    session_free(session);
}

static void what_it_holds_goes_with_it(void **state)
{
    struct session *session = session_new(slice_text("c"), 1);
    struct queue_totals totals = {0};
    uint64_t inflight_total = 0;
    const struct queue_bounds bounds = {0};
    const struct window window = {.count_max = 10};
    struct msg *msg = msg_new(&(struct msg_spec){.topic = slice_text("t")});
    uint16_t id;
    (void)state;
    session->queue.totals = &totals;
    session->inflight.total = &inflight_total;
    struct delivery sent = {.msg = msg_ref(msg), .qos = 1, .sequence = 1}, victim;
    struct delivery waiting = {.msg = msg_ref(msg), .qos = 1, .sequence = 2};
    assert_int_equal(inflight_send(&session->inflight, &sent, &window, &id), OK);
    assert_int_equal(queue_offer(&session->queue, &bounds, &waiting, &victim), OK);
    assert_int_equal(inbound_add(&session->inbound, 5), OK);
    assert_null(session_will(session));
    session->afterlife = calloc(1, sizeof(*session->afterlife));
    assert_null(session_will(session));
    session->afterlife->will.msg = msg_ref(msg);
    assert_ptr_equal(session_will(session)->msg, msg);
    assert_int_equal(msg->refs, 4);
    session_free(session);
    assert_int_equal(msg->refs, 1);
    assert_int_equal(totals.count + totals.bytes + inflight_total, 0);
    msg_unref(msg);
}

static void partitions_are_spread_and_always_the_same(void **state)
{
    uint32_t seen[PARTITION_COUNT] = {0};
    char id[32];
    (void)state;
    for (uint32_t i = 0; i < 6400; i++) {
        snprintf(id, sizeof(id), "device-%u", i);
        uint32_t partition = partition_of(slice_text(id));
        assert_true(partition < PARTITION_COUNT);
        assert_int_equal(partition_of(slice_text(id)), partition);
        seen[partition]++;
    }
    for (uint32_t i = 0; i < PARTITION_COUNT; i++) {
        assert_in_range(seen[i], 50, 150);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_id_is_its_own_copy),
        cmocka_unit_test(subscriptions_are_found_however_many_there_are),
        cmocka_unit_test(a_mount_point_hangs_in_the_trie_but_is_not_what_the_client_wrote),
        cmocka_unit_test(a_shared_one_is_found_by_its_group),
        cmocka_unit_test(the_shared_ones_come_first_and_alone),
        cmocka_unit_test(what_it_holds_goes_with_it),
        cmocka_unit_test(partitions_are_spread_and_always_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
