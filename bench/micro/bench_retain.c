/*
 * bench_retain: retained messages set anew, looked up, walked by filters, and what one weighs.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "core/pubsub/retain.h"

#include <malloc.h>

enum { STEP = 64, OPS = 500000 };

struct scene {
    struct retain *retain;
    struct rng rng;
    uint32_t count;
};

static struct slice topic_of(uint32_t number, char *out, size_t out_bytes)
{
    int count = snprintf(out, out_bytes, "site/%u/device/%u/state", number % 100, number);
    return slice_of(out, (size_t)count);
}

static void set_one(struct scene *scene, uint32_t number)
{
    char topic[64];
    static const uint8_t payload[64];
    struct msg_spec spec = {.topic = topic_of(number, topic, sizeof(topic)),
                            .retain = true,
                            .payload = slice_of(payload, sizeof(payload))};
    struct msg *msg = msg_new(&spec);
    ASSERT(msg != NULL);
    enum err err = retain_set(scene->retain, msg);
    ASSERT(err == OK);
    msg_unref(msg);
}

static void sets(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        set_one(scene, (uint32_t)rng_below(&scene->rng, scene->count));
    }
}

static void gets(void *context, uint64_t ops)
{
    struct scene *scene = context;
    char topic[64];
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t number = (uint32_t)rng_below(&scene->rng, scene->count);
        struct msg *msg = retain_look(scene->retain, topic_of(number, topic, sizeof(topic)), 0).msg;
        ASSERT(msg != NULL);
        msg_unref(msg);
    }
}

/* Returns how many messages the filter found. */
static uint64_t scan(struct scene *scene, const char *filter)
{
    struct retained found[STEP];
    bool is_done = false;
    uint64_t total = 0;
    struct retain_scan *scan = retain_scan_new(scene->retain, slice_text(filter));
    ASSERT(scan != NULL);
    while (!is_done) {
        uint32_t count = retain_scan_next(scan, 0, found, STEP, &is_done);
        for (uint32_t i = 0; i < count; i++) {
            msg_unref(found[i].msg);
        }
        total += count;
    }
    retain_scan_free(scan);
    return total;
}

/* As a subscriber of one site does: an operation is a message found. */
static void scans_of_a_site(void *context, uint64_t ops)
{
    char filter[64];
    struct scene *scene = context;
    for (uint64_t done = 0, site = 0; done < ops; site++) {
        snprintf(filter, sizeof(filter), "site/%u/device/+/state", (unsigned)(site % 100));
        uint64_t found = scan(scene, filter);
        done += found > 0 ? found : 1;
    }
}

/* A subscription that finds one, or none: what every SUBSCRIBE pays. */
static void scans_of_one(void *context, uint64_t ops)
{
    char filter[64];
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        unsigned number = (unsigned)rng_below(&scene->rng, scene->count * UINT64_C(2));
        snprintf(filter, sizeof(filter), "site/%u/device/%u/+", number % 100, number);
        micro_keep(scan(scene, filter));
    }
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void run(uint32_t count)
{
    char name[64];
    size_t before = heap_bytes();
    struct scene scene = {.count = count, .retain = retain_new(0, 0, 1)};
    ASSERT(scene.retain != NULL);
    rng_init(&scene.rng, 1);
    for (uint32_t i = 0; i < count; i++) {
        set_one(&scene, i);
    }
    snprintf(name, sizeof(name), "%u retained of 64 B: memory, each", count);
    micro_value(name, (double)(heap_bytes() - before) / count, "bytes");
    snprintf(name, sizeof(name), "retain set anew, %u topics", count);
    micro_run(name, sets, &scene, OPS);
    snprintf(name, sizeof(name), "retain get, %u topics", count);
    micro_run(name, gets, &scene, OPS);
    snprintf(name, sizeof(name), "retain scan, each found of %u", count);
    micro_run(name, scans_of_a_site, &scene, OPS);
    snprintf(name, sizeof(name), "retain scan for one, of %u", count);
    micro_run(name, scans_of_one, &scene, OPS / 5);
    retain_free(scene.retain);
}

/* On disk alone: what the tree itself needs. */
static void run_away(uint32_t count)
{
    char name[64], topic[64];
    size_t before = heap_bytes();
    struct retain *retain = retain_new(0, 0, 1);
    ASSERT(retain != NULL);
    for (uint32_t i = 0; i < count; i++) {
        enum err err = retain_set_away(retain, topic_of(i, topic, sizeof(topic)), 100);
        ASSERT(err == OK);
    }
    snprintf(name, sizeof(name), "%u retained on disk alone: memory, each", count);
    micro_value(name, (double)(heap_bytes() - before) / count, "bytes");
    retain_free(retain);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1000, 1000000};
    micro_begin(argc, argv);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        run((uint32_t)micro_scaled(counts[i]));
        run_away((uint32_t)micro_scaled(counts[i]));
    }
    return 0;
}
