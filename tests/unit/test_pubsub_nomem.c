/*
 * Memory runs out at every place where the trie and the retained messages ask for it: the call says
 * so, nothing has changed, and nothing is lost. A sanitizer has a malloc() of its own, which must
 * stay: there this program has nothing to do.
 */
#include "core/base/blocks.h"
#include "core/pubsub/retain.h"
#include "core/pubsub/share.h"
#include "core/pubsub/trie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int main(void)
{
    return 0;
}
#else
static uint32_t left = UINT32_MAX; /* so many allocations still succeed */

static bool may_allocate(void)
{
    if (left == 0) {
        return false;
    }
    left -= left != UINT32_MAX;
    return true;
}

static size_t heap_count; /* blocks that were taken and not given back */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void __libc_free(void *memory);

static void *counted(void *memory)
{
    heap_count += memory != NULL;
    return memory;
}

void *malloc(size_t bytes)
{
    return may_allocate() ? counted(__libc_malloc(bytes)) : NULL;
}

void *calloc(size_t count, size_t bytes)
{
    return may_allocate() ? counted(__libc_calloc(count, bytes)) : NULL;
}

void *realloc(void *memory, size_t bytes)
{
    if (!may_allocate()) {
        return NULL;
    }
    return memory == NULL ? counted(__libc_malloc(bytes)) : __libc_realloc(memory, bytes);
}

void free(void *memory)
{
    heap_count -= memory != NULL;
    __libc_free(memory);
}

enum { ATTEMPTS_MAX = 100 };

/* Subscribe with more and more memory until it is enough; every failure leaves no trace. */
static void subscribe_in_need(struct epoch *epoch, struct trie *trie, uint32_t shard,
                              const char *filter, struct sub *sub)
{
    for (uint32_t attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        struct trie_stats before, after;
        uint64_t version = trie_version(trie);
        trie_stats(trie, &before);
        size_t heap = heap_count;
        left = attempt;
        enum err err = trie_subscribe(trie, shard, slice_text(filter), sub);
        left = UINT32_MAX;
        if (err == OK) {
            epoch_quiescent(epoch, shard);
            return;
        }
        assert_int_equal(err, ERR_NOMEM);
        trie_stats(trie, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        assert_int_equal(trie_version(trie), version);
        assert_null(sub->leaf);
        assert_int_equal(heap_count, heap);
    }
    fail_msg("%u allocations were not enough", (unsigned)ATTEMPTS_MAX);
}

static void a_subscription_that_gets_no_memory_leaves_no_trace(void **state)
{
    static const char *const filters[] = {
        "a",   "a/b/c/d/e", "a/b/x/#", "a/b/x/+/y/#", "#",   "a/b",           "a/b/#", "b/#", "b/1",
        "b/2", "b/3",       "b/4",     "b/5",         "b/6", "b/7",           "b/8",   "b/9", "b/+",
        "a",   "a/b/c/d/e", "b/#",     "a",           "a",   "c/d/e/f/g/h/#", "+/+/+", "+",
    };
    enum { COUNT = sizeof(filters) / sizeof(filters[0]) };
    struct epoch *epoch = epoch_new(2);
    struct trie *trie = trie_new(epoch, 2, 3);
    struct sub subs[COUNT] = {{0}};
    struct leaf_set set = {0};
    struct trie_stats stats;
    (void)state;
    epoch_online(epoch, 0);
    epoch_online(epoch, 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        epoch_retire(epoch, i % 2, malloc(1), free); /* its list has room for what follows */
        epoch_retire(epoch, i % 2, malloc(1), free);
        subscribe_in_need(epoch, trie, i >= 18 && i % 2 == 0, filters[i], &subs[i]);
    }
    assert_int_equal(trie_match(trie, slice_text("a/b/c/d/e"), &set), OK);
    assert_int_equal(set.count, 3); /* itself, "#", "a/b/#" */
    left = 0;                       /* taking off needs no memory at all */
    for (uint32_t i = 0; i < COUNT; i++) {
        trie_unsubscribe(trie, i >= 18 && i % 2 == 0, &subs[i]);
    }
    left = UINT32_MAX;
    trie_stats(trie, &stats);
    assert_int_equal(stats.filter_count, 0);
    assert_int_equal(stats.node_count, 0);
    assert_int_equal(stats.bytes, 0);
    leaf_set_deinit(&set);
    epoch_offline(epoch, 0);
    epoch_offline(epoch, 1);
    trie_free(trie);
    epoch_free(epoch);
}

static void a_match_that_gets_no_memory_says_so(void **state)
{
    struct epoch *epoch = epoch_new(1);
    struct trie *trie = trie_new(epoch, 1, 3);
    struct sub sub = {0};
    struct leaf_set set = {0};
    (void)state;
    assert_int_equal(trie_subscribe(trie, 0, slice_text("a/+"), &sub), OK);
    enum err err = ERR_NOMEM;
    for (uint32_t attempt = 0; err != OK; attempt++) {
        assert_true(attempt < ATTEMPTS_MAX);
        left = attempt;
        err = trie_match(trie, slice_text("a/b"), &set);
        left = UINT32_MAX;
        assert_true(err == OK || err == ERR_NOMEM);
    }
    assert_int_equal(set.count, 1);
    trie_unsubscribe(trie, 0, &sub);
    leaf_set_deinit(&set);
    trie_free(trie);
    epoch_free(epoch);
}

static void a_retained_message_that_gets_no_memory_leaves_no_trace(void **state)
{
    static const char *const topics[] = {"a",   "a/b/c/d", "a/1", "a/2", "a/3", "a/4",
                                         "a/5", "a/6",     "a/7", "a/8", "a/b", "c/d/e"};
    enum { COUNT = sizeof(topics) / sizeof(topics[0]) };
    struct retain *retain = retain_new(0, 0, 1);
    size_t heap_empty = heap_count;
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        struct msg_spec spec = {.topic = slice_text(topics[i]), .payload = slice_text("x")};
        struct msg *msg = msg_new(&spec);
        size_t heap = heap_count;
        enum err err = ERR_NOMEM;
        for (uint32_t attempt = 0; err != OK; attempt++) {
            assert_true(attempt < ATTEMPTS_MAX);
            left = attempt;
            err = retain_set(retain, msg);
            left = UINT32_MAX;
            if (err != OK) {
                assert_int_equal(err, ERR_NOMEM);
                assert_int_equal(retain_count(retain), i);
                assert_int_equal(msg->refs, 1);
                assert_int_equal(heap_count, heap);
            }
        }
        msg_unref(msg);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        struct msg_spec spec = {.topic = slice_text(topics[i])};
        struct msg *msg = msg_new(&spec);
        left = 0; /* clearing needs no memory */
        assert_int_equal(retain_set(retain, msg), OK);
        left = UINT32_MAX;
        msg_unref(msg);
    }
    assert_int_equal(retain_count(retain), 0);
    blocks_end(); /* messages come from there */
    assert_int_equal(heap_count, heap_empty);
    retain_free(retain);
}

static void a_share_member_that_gets_no_memory_is_not_in(void **state)
{
    struct share_group *group = share_group_new();
    (void)state;
    for (uint64_t key = 1; key <= 20; key++) {
        struct share_member member = {.key = key, .is_present = true, .window = 1};
        enum err err = ERR_NOMEM;
        for (uint32_t attempt = 0; err != OK; attempt++) {
            left = attempt;
            err = share_group_put(group, &member);
            left = UINT32_MAX;
            assert_int_equal(share_group_find(group, key) != NULL, err == OK);
            assert_int_equal(share_group_count(group), err == OK ? key : key - 1);
        }
    }
    share_group_free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subscription_that_gets_no_memory_leaves_no_trace),
        cmocka_unit_test(a_match_that_gets_no_memory_says_so),
        cmocka_unit_test(a_retained_message_that_gets_no_memory_leaves_no_trace),
        cmocka_unit_test(a_share_member_that_gets_no_memory_is_not_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
