/*
 * Shards on threads of their own set, clear and scan retained messages at once. Each knows exactly
 * what became of its own topics, and checks them in every scan of everybody's.
 */
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "core/pubsub/retain.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 4, TOPICS = 400, ROUNDS = 60, BATCH = 8 };

struct party {
    struct retain *retain;
    uint32_t number; /* of this thread: topics of others have other numbers */
    uint64_t seed;
};

/* On these threads ASSERT(), which ends the process: cmocka's checks are for the main thread. */
static void change(struct party *party, uint32_t topic, bool want)
{
    char text[32];
    snprintf(text, sizeof(text), "dev/%u/%u", (unsigned)topic, (unsigned)party->number);
    struct msg_spec spec = {.topic = slice_text(text),
                            .publisher = (uint64_t)party->number << 32 | topic,
                            .payload = slice_text(want ? "x" : "")};
    struct msg *msg = msg_new(&spec);
    ASSERT(retain_set(party->retain, msg) == OK);
    msg_unref(msg);
}

static void *run_shard(void *argument)
{
    struct party *party = argument;
    bool is_set[TOPICS] = {false}, stayed[TOPICS];
    uint32_t seen[TOPICS];
    struct retained out[BATCH];
    struct rng rng;

    rng_init(&rng, party->seed);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct retain_scan *scan = retain_scan_new(party->retain,
                                                   slice_text(round % 2 == 0 ? "#" : "dev/+/#"));
        bool is_done = false;
        memset(seen, 0, sizeof(seen));
        memcpy(stayed, is_set, sizeof(stayed));
        while (!is_done) {
            uint32_t count = retain_scan_next(scan, 0, out, BATCH, &is_done);
            for (uint32_t i = 0; i < count; i++) {
                uint32_t topic = (uint32_t)out[i].msg->publisher;
                if (out[i].msg->publisher >> 32 == party->number) {
                    ASSERT(is_set[topic]);
                    seen[topic]++;
                }
                msg_unref(out[i].msg);
            }
            uint32_t topic = (uint32_t)rng_below(&rng, TOPICS);
            is_set[topic] = rng_below(&rng, 4) < (round / 10 % 2 == 0 ? 3 : 1);
            stayed[topic] = stayed[topic] && is_set[topic];
            change(party, topic, is_set[topic]);
        }
        for (uint32_t topic = 0; topic < TOPICS; topic++) {
            ASSERT(seen[topic] <= 1);
            ASSERT(seen[topic] == 1 || !stayed[topic]);
        }
        retain_scan_free(scan);
    }
    for (uint32_t topic = 0; topic < TOPICS; topic++) {
        change(party, topic, false);
    }
    return NULL;
}

static void scans_of_one_shard_bear_the_changes_of_others(void **state)
{
    struct retain *retain = retain_new(0, 0, 5);
    struct party parties[THREADS];
    pthread_t threads[THREADS];
    const char *text = getenv("TERN_SEED");
    uint64_t seed = text == NULL ? rng_system_seed() : strtoull(text, NULL, 10);
    (void)state;

    print_message("TERN_SEED=%llu\n", (unsigned long long)seed);
    for (uint32_t i = 0; i < THREADS; i++) {
        parties[i] = (struct party){.retain = retain, .number = i, .seed = seed + i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_shard, &parties[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(retain_count(retain), 0);
    assert_int_equal(retain_bytes(retain), 0);
    retain_free(retain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_of_one_shard_bear_the_changes_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
