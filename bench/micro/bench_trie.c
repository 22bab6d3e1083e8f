/*
 * trie: match, subscribe, unsubscribe, with few filters and with many; and what a filter weighs.
 *
 *     bench_trie [filters]     one size instead of 1k, 100k and 1M; 10000000 wants 4 GB
 */
#include "bench/micro/micro.h"
#include "core/base/rng.h"
#include "core/pubsub/trie.h"

#include <malloc.h>
#include <string.h>

enum { RECENT = 1024, TURN_OPS = 64 };

struct bench {
    struct epoch *epoch;
    struct trie *trie;
    struct sub *subs;
    uint32_t count;
    struct rng rng;
    struct leaf_set set;
    struct sub spare[RECENT];
};

static void turn(struct bench *bench)
{
    epoch_quiescent(bench->epoch, 0);
    epoch_collect(bench->epoch, 0);
}

/* What fleets look like: half of the filters literal, a quarter each with "+" and "#". */
static struct slice topic_of(uint32_t i, bool is_filter, char *buffer, size_t bytes)
{
    unsigned number = (unsigned)i;
    int length;
    if (i % 4 < 2) {
        length = snprintf(buffer, bytes, "dev/%u/cmd", number);
    } else if (i % 4 == 2) {
        length = snprintf(buffer, bytes, "site/%u/line-%u/%s", number % 997, number,
                          is_filter ? "+" : "temp");
    } else {
        length = snprintf(buffer, bytes, "tenant/%u/user/%u/%s", number % 499, number,
                          is_filter ? "#" : "a/b");
    }
    return slice_of(buffer, (size_t)length);
}

/* The cost of making the names, to be taken off the rows below. */
static void names_alone(void *context, uint64_t ops)
{
    struct bench *bench = context;
    char buffer[64];
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t number = (uint32_t)rng_below(&bench->rng, bench->count);
        micro_keep(topic_of(number, false, buffer, sizeof(buffer)).count);
    }
}

static void matches(void *context, uint64_t ops)
{
    struct bench *bench = context;
    char buffer[64];
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t number = (uint32_t)rng_below(&bench->rng, bench->count);
        struct slice name = topic_of(number, false, buffer, sizeof(buffer));
        micro_keep(trie_match(bench->trie, name, &bench->set));
        micro_keep((uintptr_t)bench->set.leaves[0]);
    }
}

static void misses(void *context, uint64_t ops)
{
    struct bench *bench = context;
    char buffer[64];
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t number = (uint32_t)rng_below(&bench->rng, bench->count);
        struct slice name = topic_of(number, false, buffer, sizeof(buffer));
        buffer[name.count - 1] = '!';
        buffer[4] = '!';
        micro_keep(trie_match(bench->trie, name, &bench->set));
    }
}

static void match_one_name(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(trie_match(bench->trie, slice_text("dev/1/cmd"), &bench->set));
    }
}

static void subscribe_new_and_unsubscribe(void *context, uint64_t ops)
{
    struct bench *bench = context;
    char buffer[64];
    for (uint64_t i = 0; i < ops; i++) {
        struct sub *sub = &bench->spare[i % RECENT];
        if (sub->leaf != NULL) {
            trie_unsubscribe(bench->trie, 0, sub);
        }
        int length = snprintf(buffer, sizeof(buffer), "dev/new-%u/cmd", (unsigned)i);
        micro_keep(trie_subscribe(bench->trie, 0, slice_of(buffer, (size_t)length), sub));
        if (i % TURN_OPS == 0) {
            turn(bench);
        }
    }
    for (uint32_t i = 0; i < RECENT; i++) {
        if (bench->spare[i].leaf != NULL) {
            trie_unsubscribe(bench->trie, 0, &bench->spare[i]);
        }
    }
    turn(bench);
}

static void join_and_leave_a_known_leaf(void *context, uint64_t ops)
{
    struct bench *bench = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct sub *sub = &bench->spare[i % RECENT];
        if (sub->leaf != NULL) {
            trie_unsubscribe(bench->trie, 0, sub);
        }
        micro_keep(trie_subscribe(bench->trie, 0, slice_text("dev/0/cmd"), sub));
        if (i % TURN_OPS == 0) {
            turn(bench);
        }
    }
    for (uint32_t i = 0; i < RECENT; i++) {
        if (bench->spare[i].leaf != NULL) {
            trie_unsubscribe(bench->trie, 0, &bench->spare[i]);
        }
    }
    turn(bench);
}

static void figure(const struct bench *bench, const char *what, double value, const char *unit)
{
    char name[64];
    snprintf(name, sizeof(name), "%u filters: %s", bench->count, what);
    micro_value(name, value, unit);
}

static void load(struct bench *bench)
{
    char buffer[64];
    struct trie_stats stats;
    size_t heap_before = mallinfo2().uordblks + mallinfo2().hblkhd;
    uint64_t start = micro_cpu_ns();
    for (uint32_t i = 0; i < bench->count; i++) {
        struct slice filter = topic_of(i, true, buffer, sizeof(buffer));
        micro_keep(trie_subscribe(bench->trie, 0, filter, &bench->subs[i]));
        if (i % TURN_OPS == 0) {
            turn(bench);
        }
    }
    turn(bench);
    double ns = (double)(micro_cpu_ns() - start) / bench->count;
    size_t heap = mallinfo2().uordblks + mallinfo2().hblkhd - heap_before;
    trie_stats(bench->trie, &stats);
    figure(bench, "load, each", ns, "ns");
    figure(bench, "memory, each", (double)stats.bytes / bench->count, "bytes");
    figure(bench, "the same as the allocator sees it", (double)heap / bench->count, "bytes");
}

static void unload(struct bench *bench)
{
    uint64_t start = micro_cpu_ns();
    for (uint32_t i = 0; i < bench->count; i++) {
        trie_unsubscribe(bench->trie, 0, &bench->subs[i]);
        if (i % TURN_OPS == 0) {
            turn(bench);
        }
    }
    turn(bench);
    figure(bench, "unload, each", (double)(micro_cpu_ns() - start) / bench->count, "ns");
}

static void run(uint32_t count)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    bench->epoch = epoch_new(1);
    bench->trie = trie_new(bench->epoch, 1, 1);
    bench->subs = calloc(count, sizeof(bench->subs[0]));
    bench->count = count;
    rng_init(&bench->rng, 1);
    epoch_online(bench->epoch, 0);
    load(bench);
    micro_run("making a name (in the next two rows)", names_alone, bench, 1000000);
    micro_run("match, any of the names", matches, bench, 1000000);
    micro_run("match, a name nobody wants", misses, bench, 1000000);
    micro_run("match, always the same name", match_one_name, bench, 1000000);
    micro_run("subscribe a new filter, drop an old one", subscribe_new_and_unsubscribe, bench,
              300000);
    micro_run("join a leaf of this shard, leave it", join_and_leave_a_known_leaf, bench, 1000000);
    unload(bench);
    epoch_offline(bench->epoch, 0);
    trie_free(bench->trie);
    epoch_free(bench->epoch);
    leaf_set_deinit(&bench->set);
    free(bench->subs);
    free(bench);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1000, 100000, 1000000};
    micro_begin(argc, argv);
    if (micro.argument != NULL) {
        run((uint32_t)strtoul(micro.argument, NULL, 10));
        return 0;
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        run((uint32_t)micro_scaled(counts[i]));
    }
    return 0;
}
