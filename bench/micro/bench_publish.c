/*
 * bench_publish: the whole way of a message through the broker, from the bytes of a publisher to
 * the bytes of its receivers, without a kernel: decode, check, route, deliver, acknowledge, write.
 *
 * The guests' own work (they decode what they hear, and answer) is in it, about a fifth; so compare
 * with yesterday's figure of the same row. Operations are deliveries, but for the row in which
 * nobody listens.
 */
#include "bench/micro/house.h"
#include "bench/micro/micro.h"

enum { BURST = 64, GUEST_BYTES = 64 * 1024, TOPICS_MANY = 100000 };

struct load {
    const char *name;
    uint32_t shard_count, pair_count, subscriber_count; /* subscribers of each publisher */
    enum mqtt_version version;
    uint8_t qos;
    uint32_t burst, topic_count, payload_bytes;
    bool retain, is_group, has_overlap; /* each subscriber has a second filter */
};

struct scene {
    const struct load *load;
    struct house *house;
    struct guest **publishers;
    uint64_t next_topic;
};

static const uint8_t payload[4096] = "payload";

/* What ops means here: messages come in whole bursts of all publishers. */
static uint64_t deliveries_of(const struct load *load)
{
    uint64_t receivers = load->is_group || load->subscriber_count == 0 ? 1 : load->subscriber_count;
    return (uint64_t)load->pair_count * load->burst * receivers;
}

static void publish_burst(struct scene *scene, uint32_t publisher)
{
    const struct load *load = scene->load;
    for (uint32_t i = 0; i < load->burst; i++) {
        char topic[64];
        unsigned number = (unsigned)(scene->next_topic++ % load->topic_count);
        int count = snprintf(topic, sizeof(topic), "site/%u/device/%u", publisher, number);
        guest_publish(scene->publishers[publisher], slice_of(topic, (size_t)count),
                      slice_of(payload, load->payload_bytes), load->qos, load->retain);
    }
}

static void messages(void *context, uint64_t ops)
{
    struct scene *scene = context;
    uint64_t each = deliveries_of(scene->load);
    for (uint64_t done = 0; done < ops; done += each) {
        for (uint32_t i = 0; i < scene->load->pair_count; i++) {
            publish_burst(scene, i);
        }
        house_settle(scene->house);
    }
}

static void scene_init(struct scene *scene, const struct load *load)
{
    char filter[64];
    uint32_t guests = load->pair_count * (1 + load->subscriber_count);
    *scene = (struct scene){.load = load};
    scene->house = house_new(load->shard_count, guests, GUEST_BYTES,
                             "max_inflight_messages 1000\nmax_queued_messages 0");
    scene->publishers = calloc(load->pair_count, sizeof(struct guest *));
    ASSERT(scene->publishers != NULL);
    for (uint32_t i = 0; i < load->pair_count; i++) {
        scene->publishers[i] = guest_new(scene->house, 0, load->version);
        for (uint32_t k = 0; k < load->subscriber_count; k++) {
            /* The last shard: with two of them every message crosses. */
            struct guest *guest = guest_new(scene->house, load->shard_count - 1, load->version);
            snprintf(filter, sizeof(filter), "%ssite/%u/#", load->is_group ? "$share/g/" : "", i);
            guest_subscribe(guest, filter, load->qos, 0);
            if (load->has_overlap) {
                snprintf(filter, sizeof(filter), "site/%u/+/0", i);
                guest_subscribe(guest, filter, load->qos, 0);
            }
        }
    }
    house_settle(scene->house);
}

/* clang-format off */
static const struct load loads[] = {
    /* name                                shards pairs subs version   qos burst  topics       bytes retain group  overlap */
    {"publish: QoS 0, nobody listens",          1,  10,    0, MQTT_3_1_1, 0, BURST, 1,           64, false, false, false},
    {"publish: QoS 0, 10 pairs, bursts",        1,  10,    1, MQTT_3_1_1, 0, BURST, 1,           64, false, false, false},
    {"publish: QoS 0, 10 pairs, one a turn",    1,  10,    1, MQTT_3_1_1, 0, 1,     1,           64, false, false, false},
    {"publish: QoS 0, MQTT 5, 10 pairs",        1,  10,    1, MQTT_5,     0, BURST, 1,           64, false, false, false},
    {"publish: QoS 0, 100,000 topics",          1,  10,    1, MQTT_3_1_1, 0, BURST, TOPICS_MANY, 64, false, false, false},
    {"publish: QoS 0, one to 100",              1,   1,  100, MQTT_3_1_1, 0, BURST, 1,           64, false, false, false},
    {"publish: QoS 0, one to 500",              1,   1,  500, MQTT_3_1_1, 0, 8,     1,           64, false, false, false},
    {"publish: QoS 0, filters overlap",         1,  10,    1, MQTT_3_1_1, 0, BURST, 1,           64, false, false, true},
    {"publish: QoS 0, retained",                1,  10,    1, MQTT_3_1_1, 0, BURST, 100,         64, true,  false, false},
    {"publish: QoS 0, group of 5",              1,  10,    5, MQTT_3_1_1, 0, BURST, 1,           64, false, true,  false},
    {"publish: QoS 0, 4000 bytes",              1,  10,    1, MQTT_3_1_1, 0, 8,     1,         4000, false, false, false},
    {"publish: QoS 0, to another shard",        2,  10,    1, MQTT_3_1_1, 0, BURST, 1,           64, false, false, false},
    {"publish: QoS 1, 10 pairs, bursts",        1,  10,    1, MQTT_3_1_1, 1, BURST, 1,           64, false, false, false},
    {"publish: QoS 1, one to 100",              1,   1,  100, MQTT_3_1_1, 1, BURST, 1,           64, false, false, false},
    {"publish: QoS 1, to another shard",        2,  10,    1, MQTT_3_1_1, 1, BURST, 1,           64, false, false, false},
    {"publish: QoS 2, 10 pairs, bursts",        1,  10,    1, MQTT_3_1_1, 2, BURST, 1,           64, false, false, false},
};
/* clang-format on */

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        struct scene scene;
        scene_init(&scene, &loads[i]);
        /* A whole number of bursts, also with --quick. */
        uint64_t each = deliveries_of(&loads[i]);
        uint64_t bursts = 300000 / each;
        micro_run(loads[i].name, messages, &scene, (bursts > 0 ? bursts : 1) * each);
        house_free(scene.house);
        free(scene.publishers);
    }
    return 0;
}
