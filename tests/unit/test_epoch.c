#include "core/base/epoch.h"
#include "core/base/rng.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t freed_count;

static void count_free(void *object)
{
    free(object);
    freed_count++;
}

static int setup(void **state)
{
    (void)state;
    freed_count = 0;
    return 0;
}

static void what_an_online_reader_may_see_is_kept_until_it_is_quiescent(void **state)
{
    struct epoch *epoch = epoch_new(2);
    (void)state;
    epoch_online(epoch, 0);
    epoch_online(epoch, 1);
    epoch_retire(epoch, 0, malloc(1), count_free);
    epoch_quiescent(epoch, 0);
    assert_int_equal(epoch_collect(epoch, 0), 1); /* stamped here: 0 was quiescent before it */
    epoch_quiescent(epoch, 0);
    assert_int_equal(epoch_collect(epoch, 0), 1); /* 1 may still hold it */
    assert_int_equal(freed_count, 0);
    epoch_quiescent(epoch, 1);
    assert_int_equal(epoch_collect(epoch, 0), 0);
    assert_int_equal(freed_count, 1);
    epoch_offline(epoch, 0);
    epoch_offline(epoch, 1);
    epoch_free(epoch);
}

static void who_is_offline_holds_nothing_up(void **state)
{
    struct epoch *epoch = epoch_new(3);
    (void)state;
    epoch_online(epoch, 1);
    epoch_retire(epoch, 0, malloc(1), count_free); /* the retiring slot itself is offline */
    assert_int_equal(epoch_collect(epoch, 0), 1);
    epoch_offline(epoch, 1);
    assert_int_equal(epoch_collect(epoch, 0), 0);
    epoch_online(epoch, 1); /* came after the unlinking, so it cannot have seen it */
    epoch_retire(epoch, 0, malloc(1), count_free);
    epoch_offline(epoch, 1);
    epoch_online(epoch, 1);
    assert_int_equal(epoch_collect(epoch, 0), 1); /* stamped only now: careful, not wrong */
    epoch_quiescent(epoch, 1);
    assert_int_equal(epoch_collect(epoch, 0), 0);
    assert_int_equal(freed_count, 2);
    epoch_offline(epoch, 1);
    epoch_free(epoch);
}

static void all_that_was_retired_goes_in_the_order_it_came(void **state)
{
    enum { COUNT = 1000 };
    struct epoch *epoch = epoch_new(2);
    (void)state;
    epoch_online(epoch, 1);
    for (int batch = 0; batch < 10; batch++) {
        for (int i = 0; i < COUNT; i++) {
            epoch_retire(epoch, 0, malloc(1), count_free);
        }
        assert_int_equal(epoch_collect(epoch, 0), COUNT);
        assert_int_equal(freed_count, COUNT * batch);
        epoch_quiescent(epoch, 1);
        if (batch % 2 == 0) {
            assert_int_equal(epoch_collect(epoch, 0), 0);
        }
    }
    epoch_offline(epoch, 1);
    epoch_free(epoch);
    assert_int_equal(freed_count, COUNT * 10);
}

static struct epoch *shared_epoch;

static void free_and_retire_its_child(void *object)
{
    void **parent = object;
    epoch_retire(shared_epoch, 0, *parent, count_free);
    count_free(parent);
}

static void freeing_may_retire_more(void **state)
{
    (void)state;
    shared_epoch = epoch_new(1);
    for (int i = 0; i < 200; i++) {
        void **parent = malloc(sizeof(*parent));
        *parent = malloc(1);
        epoch_retire(shared_epoch, 0, parent, free_and_retire_its_child);
    }
    assert_int_equal(epoch_collect(shared_epoch, 0), 200);
    assert_int_equal(freed_count, 200);
    assert_int_equal(epoch_collect(shared_epoch, 0), 0);
    assert_int_equal(freed_count, 400);
    void **parent = malloc(sizeof(*parent));
    *parent = malloc(1);
    epoch_retire(shared_epoch, 0, parent, free_and_retire_its_child);
    epoch_free(shared_epoch); /* both generations */
    assert_int_equal(freed_count, 402);
}

/* ---- readers, and writers that retire, all at once: TSan and ASan are the judges ----------- */

enum { READER_COUNT = 2, WRITER_COUNT = 2, WRITES = 20000, CELL_COUNT = 8 };

struct node {
    uint64_t value, twice; /* twice == 2 * value while the node lives */
};

struct race {
    struct epoch *epoch;
    struct node *_Atomic cells[CELL_COUNT];
    pthread_mutex_t writers; /* writers are serialised, as in the trie */
    _Atomic uint32_t writers_left;
    _Atomic uint32_t slot_next, writer_next;
    _Atomic uint64_t wrong_count;
};

static void node_free(void *object)
{
    struct node *node = object;
    node->twice = 1; /* a reader that still looks would notice, without any sanitizer too */
    node->value = 1;
    free(node);
}

static struct node *node_new(uint64_t value)
{
    struct node *node = malloc(sizeof(*node));
    *node = (struct node){value, value * 2};
    return node;
}

static void walk(struct race *race)
{
    for (int i = 0; i < CELL_COUNT; i++) {
        const struct node *node = atomic_load_explicit(&race->cells[i], memory_order_acquire);
        if (node->twice != node->value * 2) {
            atomic_fetch_add(&race->wrong_count, 1);
        }
    }
}

static void *read_all_the_time(void *context)
{
    struct race *race = context;
    uint32_t slot = atomic_fetch_add(&race->slot_next, 1);
    struct rng rng;
    rng_init(&rng, slot);
    epoch_online(race->epoch, slot);
    while (atomic_load(&race->writers_left) > 0) {
        walk(race);
        epoch_quiescent(race->epoch, slot);
        if (rng_below(&rng, 8) == 0) {
            epoch_offline(race->epoch, slot);
            sched_yield();
            epoch_online(race->epoch, slot);
        }
    }
    epoch_offline(race->epoch, slot);
    return NULL;
}

static void *write_all_the_time(void *context)
{
    struct race *race = context;
    uint32_t slot = atomic_fetch_add(&race->slot_next, 1);
    bool stays_offline = atomic_fetch_add(&race->writer_next, 1) ==
                         0; /* as main() does while it sets up */
    struct rng rng;
    rng_init(&rng, slot);
    if (!stays_offline) {
        epoch_online(race->epoch, slot);
    }
    for (uint64_t i = 0; i < WRITES; i++) {
        struct node *fresh = node_new(i);
        struct node *_Atomic *cell = &race->cells[rng_below(&rng, CELL_COUNT)];
        pthread_mutex_lock(&race->writers);
        struct node *old = atomic_load_explicit(cell, memory_order_relaxed);
        atomic_store_explicit(cell, fresh, memory_order_release);
        pthread_mutex_unlock(&race->writers);
        epoch_retire(race->epoch, slot, old, node_free);
        if (!stays_offline) {
            walk(race);
            epoch_quiescent(race->epoch, slot);
        }
        if (i % 4 == 0) {
            epoch_collect(race->epoch, slot);
        }
        if (i % 64 == 0) {
            sched_yield();
        }
    }
    if (!stays_offline) {
        epoch_offline(race->epoch, slot);
    }
    atomic_fetch_sub(&race->writers_left, 1);
    return NULL;
}

static void readers_never_touch_what_was_freed(void **state)
{
    enum { THREAD_COUNT = READER_COUNT + WRITER_COUNT };
    struct race race = {.epoch = epoch_new(THREAD_COUNT), .writers_left = WRITER_COUNT};
    pthread_t threads[THREAD_COUNT];
    (void)state;
    pthread_mutex_init(&race.writers, NULL);
    for (uint64_t i = 0; i < CELL_COUNT; i++) {
        atomic_init(&race.cells[i], node_new(i));
    }
    for (int i = 0; i < THREAD_COUNT; i++) {
        void *(*body)(void *) = i < READER_COUNT ? read_all_the_time : write_all_the_time;
        assert_int_equal(pthread_create(&threads[i], NULL, body, &race), 0);
    }
    for (int i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(race.wrong_count, 0);
    for (int i = 0; i < CELL_COUNT; i++) {
        free(race.cells[i]);
    }
    epoch_free(race.epoch);
    pthread_mutex_destroy(&race.writers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_an_online_reader_may_see_is_kept_until_it_is_quiescent, setup),
        cmocka_unit_test_setup(who_is_offline_holds_nothing_up, setup),
        cmocka_unit_test_setup(all_that_was_retired_goes_in_the_order_it_came, setup),
        cmocka_unit_test_setup(freeing_may_retire_more, setup),
        cmocka_unit_test_setup(readers_never_touch_what_was_freed, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
