/*
 * footprint: what two shards share while messages flow, as cache lines that would move between their
 * cores, and as atomic read-modify-writes, both for each message and by name.
 *
 *     footprint            the figures of each load
 *     footprint --sites    with the places in the code, by addr2line
 *
 * Clients whose partners live on the same shard must cost no line at all (in a fan-out now and then
 * the one of the memory count, which each shard adds to by steps); where messages cross, no more
 * than their own lines, their mail's, and the wake-ups. That is checked, and the program ends with 1
 * if more move. It is no bench of time: it says the same on any machine.
 */
#include "bench/micro/footprint.h"
#include "bench/micro/house.h"
#include "core/base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GUEST_BYTES = 64 * 1024, BURST = 16, WARM_UP = 40, COUNTED = 50, SHARDS = 2, PAIRS = 8 };
enum { EXIT_SHARED = 1, EXIT_USAGE = 64 };

/* Where the subscribers of a publisher live. */
enum where { AT_HOME, ACROSS, BOTH };

struct load {
    const char *name;
    enum where where;
    uint32_t pair_count, subscriber_count; /* subscribers of each publisher */
    uint8_t qos;
    bool retain, is_group;
    double moved_max; /* lines, each message */
};

/* clang-format off */
static const struct load loads[] = {
    /* name                                   where    pairs  subs qos retain group  moved at most */
    {"QoS 0, pairs at home",                  AT_HOME, PAIRS,   1, 0,  false, false, 0},
    {"QoS 1, pairs at home",                  AT_HOME, PAIRS,   1, 1,  false, false, 0},
    {"QoS 2, pairs at home",                  AT_HOME, PAIRS,   1, 2,  false, false, 0},
    {"QoS 0, one to 20 at home",              AT_HOME, 2,      20, 0,  false, false, 0.25},
    {"QoS 1, one to 20 at home",              AT_HOME, 2,      20, 1,  false, false, 0.25},
    {"QoS 0, retained, pairs at home",        AT_HOME, PAIRS,   1, 0,  true,  false, 0.25},
    {"QoS 0, pairs across",                   ACROSS,  PAIRS,   1, 0,  false, false, 6},
    {"QoS 1, pairs across",                   ACROSS,  PAIRS,   1, 1,  false, false, 9},
    {"QoS 0, one to 40 on both",              BOTH,    2,      40, 0,  false, false, 6},
    {"QoS 1, one to 40 on both",              BOTH,    2,      40, 1,  false, false, 14},
    {"QoS 0, group of 4 on both",             BOTH,    PAIRS,   4, 0,  false, true,  8},
    {"QoS 1, group of 4 on both",             BOTH,    PAIRS,   4, 1,  false, true,  10},
};
/* clang-format on */

struct scene {
    const struct load *load;
    struct house *house;
    struct guest *publishers[PAIRS];
};

static uint32_t shard_for(const struct load *load, uint32_t publisher, uint32_t subscriber)
{
    uint32_t home = publisher % SHARDS;
    return load->where == AT_HOME ? home : load->where == ACROSS ? 1 - home : subscriber % SHARDS;
}

static void scene_init(struct scene *scene, const struct load *load)
{
    scene->load = load;
    scene->house = house_new(SHARDS, load->pair_count * (1 + load->subscriber_count), GUEST_BYTES,
                             "max_inflight_messages 1000");
    house_watch_turns(scene->house, footprint_acts);
    for (uint32_t i = 0; i < load->pair_count; i++) {
        char filter[64];
        snprintf(filter, sizeof(filter), "%ssite/%u/#", load->is_group ? "$share/g/" : "", i);
        for (uint32_t k = 0; k < load->subscriber_count; k++) {
            struct guest *guest = guest_new(scene->house, shard_for(load, i, k), MQTT_3_1_1);
            guest_subscribe(guest, filter, load->qos, 0);
        }
        scene->publishers[i] = guest_new(scene->house, i % SHARDS, MQTT_3_1_1);
    }
    house_settle(scene->house);
}

/* Returns how many messages were published. */
static uint32_t bursts(struct scene *scene, uint32_t count)
{
    static const uint8_t payload[64];
    const struct load *load = scene->load;
    for (uint32_t burst = 0; burst < count; burst++) {
        for (uint32_t i = 0; i < load->pair_count; i++) {
            char topic[64];
            int bytes = snprintf(topic, sizeof(topic), "site/%u/device/7", i);
            for (uint32_t k = 0; k < BURST; k++) {
                guest_publish(scene->publishers[i], slice_of(topic, (size_t)bytes),
                              slice_of(payload, sizeof(payload)), load->qos, load->retain);
            }
        }
        house_settle(scene->house);
    }
    return count * load->pair_count * BURST;
}

/* ---- by name ------------------------------------------------------------------------------- */

/* "function file:line" of an address, by addr2line; the address itself where there is none. */
static void name_of(const void *at, char *out, size_t out_bytes)
{
    extern const char __executable_start[];
    char command[256], function[64] = "", line[64] = "";
    snprintf(out, out_bytes, "%p", at);
    if (at == NULL) {
        snprintf(out, out_bytes, "-");
        return;
    }
    snprintf(command, sizeof(command), "addr2line -s -f -e /proc/%ld/exe %#zx 2>&1", (long)getpid(),
             (size_t)((const char *)at - __executable_start) - 1);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) {
        return;
    }
    if (fgets(function, sizeof(function), pipe) != NULL &&
        fgets(line, sizeof(line), pipe) != NULL) {
        function[strcspn(function, "\n")] = 0;
        line[strcspn(line, " \n")] = 0;
        snprintf(out, out_bytes, "%s %s", function, line);
    }
    pclose(pipe);
}

static void show_site(const struct footprint_site *site, uint32_t messages)
{
    static const char *const kinds[] = {"reads", "writes", "atomic"};
    char at[160], other[160];
    name_of(site->at, at, sizeof(at));
    name_of(site->other, other, sizeof(other));
    if (site->done > 0) {
        printf("    %8.3f done     %-6s %s\n", (double)site->done / messages, kinds[site->kind],
               at);
    } else {
        printf("    %8.3f moved    %-6s %s   last written by %s\n", (double)site->moved / messages,
               kinds[site->kind], at, other);
    }
}

static void show_sites(uint32_t messages)
{
    uint32_t count;
    const struct footprint_site *sites = footprint_sites(&count);
    for (uint32_t i = 0; i < count; i++) {
        show_site(&sites[i], messages);
    }
}

/* Returns whether lines moved that must not. */
static bool run(const struct load *load, bool with_sites)
{
    struct scene scene;
    uint64_t done = 0;
    uint32_t count;
    scene_init(&scene, load);
    bursts(&scene, WARM_UP);
    footprint_begin();
    uint32_t messages = bursts(&scene, COUNTED);
    const struct footprint_site *sites = footprint_sites(&count);
    for (uint32_t i = 0; i < count; i++) {
        done += sites[i].done;
    }
    uint64_t moved = footprint_moved();
    bool is_wrong = (double)moved / messages > load->moved_max;
    printf("%-36s %9.3f lines moved, %9.3f atomic read-modify-writes, each message%s\n", load->name,
           (double)moved / messages, (double)done / messages, is_wrong ? ": TOO MANY" : "");
    if (with_sites || is_wrong) {
        show_sites(messages);
    }
    fflush(stdout);
    house_free(scene.house);
    return is_wrong;
}

int main(int argc, char **argv)
{
    bool with_sites = argc == 2 && strcmp(argv[1], "--sites") == 0;
    bool is_wrong = false;
    if (argc > 2 || (argc == 2 && !with_sites)) {
        fprintf(stderr, "footprint: %s: there is --sites\n", argv[1]);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        is_wrong = run(&loads[i], with_sites) || is_wrong;
    }
    return is_wrong ? EXIT_SHARED : 0;
}
