/*
 * How often the broker asks the allocator for memory while messages flow, after it has warmed up.
 * Counted, not timed: a whole broker behind the door in memory (bench/micro/house.h), so that every
 * malloc(), calloc(), realloc() and aligned_alloc() between two counts is the broker's own.
 *
 * A sanitizer has a malloc() of its own: there the messages flow and nothing is counted.
 */
#include "bench/micro/house.h"
#include "bench/micro/micro.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    GUEST_BYTES = 128 * 1024,
    BURST = 16,          /* messages of one publisher between two turns */
    WARM_UP_BURSTS = 40, /* caches, pools and rings reach the size that the load wants */
    COUNTED_BURSTS = 50,
    CUT_BYTES = 1000, /* what a guest says in a turn: few packets end there */
};

enum { RETAIN = 1, IS_GROUP = 2, HAS_IDS = 4, IS_CUT = 8 };

/* Who publishes how, who listens to what. */
struct load {
    const char *name;
    uint32_t shard_count, publisher_count, subscriber_count;
    enum mqtt_version version;
    uint8_t qos;
    uint8_t what;
    uint32_t payload_bytes;
    const char *filters[2]; /* of each subscriber */
    const char *lines;      /* more configuration */
};

static const uint8_t payload[65536] = "payload";

struct scene {
    struct house *house;
    const struct load *load;
    struct guest *publishers[8];
};

static void scene_init(struct scene *scene, const struct load *load)
{
    *scene = (struct scene){.load = load};
    scene->house = house_new(load->shard_count, load->publisher_count + load->subscriber_count,
                             GUEST_BYTES, load->lines);
    for (uint32_t i = 0; i < load->subscriber_count; i++) {
        struct guest *guest = guest_new(scene->house, i % load->shard_count, load->version);
        for (uint32_t k = 0; k < 2 && load->filters[k] != NULL; k++) {
            guest_subscribe(guest, load->filters[k], load->qos,
                            (load->what & HAS_IDS) != 0 ? k + 1 : 0);
        }
        house_settle(scene->house);
    }
    for (uint32_t i = 0; i < load->publisher_count; i++) {
        scene->publishers[i] = guest_new(scene->house, i % load->shard_count, load->version);
    }
    house_cut(scene->house, (load->what & IS_CUT) != 0 ? CUT_BYTES : 0);
}

/* Returns how many messages were published. */
static uint32_t bursts(struct scene *scene, uint32_t count)
{
    const struct load *load = scene->load;
    for (uint32_t burst = 0; burst < count; burst++) {
        for (uint32_t i = 0; i < load->publisher_count; i++) {
            for (uint32_t k = 0; k < BURST; k++) {
                char topic[32];
                int bytes = snprintf(topic, sizeof(topic), "plant/%u/%u", i, k);
                guest_publish(scene->publishers[i], slice_of(topic, (size_t)bytes),
                              slice_of(payload, load->payload_bytes), load->qos,
                              (load->what & RETAIN) != 0);
            }
        }
        house_settle(scene->house);
    }
    return count * load->publisher_count * BURST;
}

/* Return addresses as addr2line wants them: relative to where the program was loaded. */
static void show_sites(const struct load *load, uint64_t allocation_count, uint32_t messages)
{
    extern const char __executable_start[];
    printf(
        "%s: %llu allocations for %u messages; addr2line -f -e test_alloc_publish says by whom:\n",
        load->name, (unsigned long long)allocation_count, messages);
    for (uint32_t i = 0; i < MICRO_SITES_MAX && micro_sites[i].count > 0; i++) {
        printf("    %8llu  0x%zx\n", (unsigned long long)micro_sites[i].count,
               (size_t)((const char *)micro_sites[i].caller - __executable_start));
    }
}

/* Each subscriber hears each message once, however its filters overlap; a group hears it once. */
static void everything_arrived(const struct scene *scene, uint32_t published)
{
    const struct load *load = scene->load;
    uint64_t receivers = (load->what & IS_GROUP) != 0 ? 1 : load->subscriber_count;
    assert_int_equal(house_heard(scene->house, load->qos), receivers * published);
}

static void messages_flow_without_allocations(void **state)
{
    const struct load *load = *state;
    struct scene scene;
    scene_init(&scene, load);
    uint32_t published = bursts(&scene, WARM_UP_BURSTS);

    micro_watch();
    uint64_t before = micro_allocation_count;
    uint32_t counted = bursts(&scene, COUNTED_BURSTS);
    uint64_t allocation_count = micro_allocation_count - before;
    micro_is_watching = false;

    everything_arrived(&scene, published + counted);
    if (allocation_count > 0) {
        show_sites(load, allocation_count, counted);
        fail();
    }
    house_free(scene.house);
}

/* After warm-up no message costs a malloc(): blocks.h keeps what they need. */
/* clang-format off */
static const struct load loads[] = {
    /* name                                    shards from   to  version     qos  what      bytes
       filters of a subscriber                 more configuration */
    {"QoS 0 from one to one",                   1, 1,     1, MQTT_3_1_1, 0, 0,           64,
        {"plant/#"}, NULL},
    {"QoS 0 in MQTT 5 from one to one",         1, 1,     1, MQTT_5,     0, 0,           64,
        {"plant/+/+"}, NULL},
    {"QoS 0 from one to three hundred",         1, 1,   300, MQTT_3_1_1, 0, 0,           64,
        {"plant/#"}, NULL},
    {"QoS 0 through filters that overlap",      1, 2,    10, MQTT_5,     0, HAS_IDS,     64,
        {"plant/#", "plant/+/1"}, NULL},
    {"QoS 0 in packets cut anywhere",           1, 1,     1, MQTT_3_1_1, 0, IS_CUT,      64,
        {"plant/#"}, NULL},
    {"QoS 1 of 3000 bytes in pieces",           1, 1,     1, MQTT_3_1_1, 1, IS_CUT,    3000,
        {"plant/#"}, NULL},
    {"QoS 0 that nobody wants",                 1, 1,     0, MQTT_3_1_1, 0, 0,           64,
        {NULL}, NULL},
    {"QoS 0 from shard to shard",               2, 2,    10, MQTT_3_1_1, 0, 0,           64,
        {"plant/#"}, NULL},
    {"QoS 0 to a share group",                  2, 4,     5, MQTT_5,     0, IS_GROUP,    64,
        {"$share/g/plant/#"}, NULL},
    {"QoS 0 of 6000 bytes",                     1, 1,     2, MQTT_3_1_1, 0, 0,         6000,
        {"plant/#"}, NULL},
    {"QoS 0 retained anew each time",           1, 1,     1, MQTT_3_1_1, 0, RETAIN,      64,
        {"plant/#"}, NULL},
    {"QoS 1 from one to one",                   1, 1,     1, MQTT_3_1_1, 1, 0,           64,
        {"plant/#"}, NULL},
    {"QoS 1 from two to ten, on two shards",    2, 2,    10, MQTT_5,     1, 0,           64,
        {"plant/#"}, NULL},
    {"QoS 1 through filters that overlap",      1, 2,    10, MQTT_5,     1, HAS_IDS,     64,
        {"plant/#", "plant/+/1"}, NULL},
    {"QoS 1 to a share group",                  2, 4,     5, MQTT_5,     1, IS_GROUP,    64,
        {"$share/g/plant/#"}, NULL},
    {"QoS 1 through the queue",                 1, 4,     1, MQTT_3_1_1, 1, 0,           64,
        {"plant/#"}, "max_inflight_messages 3"},
    {"QoS 2 from one to two, on two shards",    2, 1,     2, MQTT_5,     2, 0,           64,
        {"plant/#"}, NULL},
};
/* clang-format on */

/* Or none would ever be found. */
static void an_allocation_is_counted_with_its_caller(void **state)
{
    (void)state;
    if (!MICRO_COUNTS_ALLOCATIONS) {
        skip();
    }
    micro_watch();
    uint64_t before = micro_allocation_count;
    void *volatile memory = malloc(100); /* volatile: the compiler may not leave it out */
    free(memory);
    memory = calloc(10, 10);
    free(memory);
    micro_is_watching = false;
    assert_int_equal(micro_allocation_count - before, 2);
    assert_int_equal(micro_sites[0].count, 1);
    assert_int_equal(micro_sites[1].count, 1);
    assert_true(micro_sites[0].caller != micro_sites[1].caller);
}

int main(void)
{
    enum { COUNT = sizeof(loads) / sizeof(loads[0]) };
    struct CMUnitTest tests[COUNT + 1];
    for (size_t i = 0; i < COUNT; i++) {
        tests[i] = (struct CMUnitTest){.name = loads[i].name,
                                       .test_func = messages_flow_without_allocations,
                                       .initial_state = (void *)(uintptr_t)&loads[i]};
    }
    tests[COUNT] = (struct CMUnitTest)cmocka_unit_test(an_allocation_is_counted_with_its_caller);
    return _cmocka_run_group_tests("publish", tests, COUNT + 1, NULL, NULL);
}
