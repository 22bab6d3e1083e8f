/*
 * A million filters come and go, and the memory comes back. TERN_FILTERS scales it; sanitizers,
 * which keep freed memory, run a tenth and leave out the look at the process.
 */
#include "core/pubsub/trie.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FILTER_COUNT_DEFAULT = 100000, WATCH_PROCESS = 0 };
#else
enum { FILTER_COUNT_DEFAULT = 1000000, WATCH_PROCESS = 1 };
#endif

enum { SHARD_COUNT = 2, TURN_FILTERS = 1000 };

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &pages, &resident), 2);
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What fleets look like: a command topic per device, lines of a site, everything of a user. */
static struct slice filter_of(uint32_t i, char *buffer, size_t bytes)
{
    unsigned number = (unsigned)i;
    int length;
    if (i % 4 < 2) {
        length = snprintf(buffer, bytes, "dev/%u/cmd", number);
    } else if (i % 4 == 2) {
        length = snprintf(buffer, bytes, "site/%u/line-%u/+", number % 997, number);
    } else {
        length = snprintf(buffer, bytes, "tenant/%u/user/%u/#", number % 499, number);
    }
    return slice_of(buffer, (size_t)length);
}

static void turn(struct epoch *epoch)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_quiescent(epoch, shard);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_collect(epoch, shard);
    }
}

static void a_million_filters_are_loaded_and_unloaded(void **state)
{
    const char *text = getenv("TERN_FILTERS");
    uint32_t count = text == NULL ? FILTER_COUNT_DEFAULT : (uint32_t)strtoul(text, NULL, 10);
    struct epoch *epoch = epoch_new(SHARD_COUNT);
    struct trie *trie = trie_new(epoch, SHARD_COUNT, 1);
    struct sub *subs = calloc(count, sizeof(subs[0]));
    struct leaf_set set = {0};
    struct trie_stats stats;
    char buffer[64];
    (void)state;

    for (uint32_t i = 0; i < count; i++) {
        subs[i].id = i; /* the test's own memory is resident from the start */
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_online(epoch, shard);
    }
    for (int round = 0; round < 2; round++) {
        uint64_t resident_before = resident_bytes();
        for (uint32_t i = 0; i < count; i++) {
            struct slice filter = filter_of(i, buffer, sizeof(buffer));
            assert_int_equal(trie_subscribe(trie, i % SHARD_COUNT, filter, &subs[i]), OK);
            if (i % TURN_FILTERS == 0) {
                turn(epoch);
            }
        }
        turn(epoch);
        uint64_t resident_loaded = resident_bytes();
        trie_stats(trie, &stats);
        assert_int_equal(stats.filter_count, count);
        print_message("%u filters: %.1f bytes each of heap, %.1f of the process\n", (unsigned)count,
                      (double)stats.bytes / count,
                      (double)(resident_loaded - resident_before) / count);

        for (uint32_t i = 0; i < count; i += 37) {
            filter_of(i, buffer, sizeof(buffer));
            char *wildcard = strpbrk(buffer, "+#");
            if (wildcard != NULL) {
                *wildcard = 'x';
            }
            assert_int_equal(trie_match(trie, slice_text(buffer), &set), OK);
            assert_int_equal(set.count, 1);
            assert_ptr_equal(set.leaves[0], subs[i].leaf);
        }

        for (uint32_t i = 0; i < count; i++) {
            uint32_t victim = round == 0 ? i : count - 1 - i;
            trie_unsubscribe(trie, victim % SHARD_COUNT, &subs[victim]);
            if (i % TURN_FILTERS == 0) {
                turn(epoch);
            }
        }
        turn(epoch);
        turn(epoch);
        trie_stats(trie, &stats);
        assert_int_equal(stats.filter_count, 0);
        assert_int_equal(stats.node_count, 0);
        assert_int_equal(stats.bytes, 0);
        malloc_trim(0);
        uint64_t resident_after = resident_bytes();
        print_message("resident: %.1f MB before, %.1f loaded, %.1f unloaded\n",
                      (double)resident_before / 1e6, (double)resident_loaded / 1e6,
                      (double)resident_after / 1e6);
        if (WATCH_PROCESS && count >= 100000) {
            uint64_t kept_max = (resident_loaded - resident_before) / 20 + 4000000;
            assert_true(resident_after <= resident_before + kept_max);
        }
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        epoch_offline(epoch, shard);
    }
    leaf_set_deinit(&set);
    trie_free(trie);
    epoch_free(epoch);
    free(subs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_filters_are_loaded_and_unloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
