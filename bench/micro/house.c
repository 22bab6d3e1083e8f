/*
 *      guest ── say[] ──> link ──> io_turn ──> shard ... io_send ──> io_turn ──> guest_heard
 *        ^                                                                          │
 *        └──────────────── answers go into say[] for the next turn ─────────────────┘
 *
 * say has two halves: one is with the broker, the other one is written.
 */
#include "bench/micro/house.h"

#include "bench/micro/door.h"
#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/broker/broker_shared.h"
#include "core/wire/ack.h"
#include "core/wire/connect.h"
#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/subscribe.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    IDLE_TURNS = 4, /* mail from shard to shard and back, and its answer, take fewer */
    TURNS_MAX = 1000000,
};

struct guest {
    struct house *house;
    struct link *link;
    enum mqtt_version version;
    uint8_t *say[2], *heard;
    uint32_t say_count, say_half, heard_count;
    uint16_t packet_id;
    uint32_t expected; /* CONNACK and SUBACK not heard yet */
    struct guest_counts counts;
};

struct house {
    struct config *config;
    struct broker *broker;
    uint32_t shard_count, guest_count_max, guest_count, guest_bytes;
    uint32_t cut_bytes; /* see house_cut(); UINT32_MAX: all at once */
    struct guest *guests;
    bool has_moved; /* in this turn */
    void (*acts)(uint32_t shard);
};

static void *must(void *memory)
{
    ASSERT(memory != NULL);
    return memory;
}

/* ---- what a guest says --------------------------------------------------------------------- */

/* Room for count bytes of what the guest says next. */
static struct writer say(struct guest *guest, size_t count)
{
    ASSERT(guest->say_count + count <= guest->house->guest_bytes);
    struct writer w = writer_of(guest->say[guest->say_half] + guest->say_count, count);
    guest->say_count += (uint32_t)count;
    return w;
}

static void say_ack(struct guest *guest, enum mqtt_type type, uint16_t packet_id)
{
    struct writer w = say(guest, 4);
    mqtt_ack_encode_plain(&w, type, packet_id, 0, guest->version);
}

static uint16_t packet_id_next(struct guest *guest)
{
    guest->packet_id = guest->packet_id == UINT16_MAX ? 1 : guest->packet_id + 1;
    return guest->packet_id;
}

void guest_publish(struct guest *guest, struct slice topic, struct slice payload, uint8_t qos,
                   bool retain)
{
    struct mqtt_publish publish;
    publish.qos = qos;
    publish.dup = false;
    publish.retain = retain;
    publish.packet_id = qos > 0 ? packet_id_next(guest) : 0;
    publish.topic = topic;
    publish.payload = payload;
    publish.props.present = 0;
    publish.props.raw = slice_of(NULL, 0);
    struct writer w = say(guest, mqtt_publish_size(&publish, guest->version));
    mqtt_publish_encode(&w, &publish, guest->version);
}

void guest_subscribe(struct guest *guest, const char *filter, uint8_t qos, uint32_t id)
{
    struct mqtt_filter one = {.filter = slice_text(filter), .qos = qos};
    struct mqtt_props props = {.subscription_id = id};
    props.present = id != 0 ? PROP_BIT(PROP_SUBSCRIPTION_ID) : 0;
    struct writer w = say(guest, mqtt_subscribe_size(&one, 1, &props, guest->version));
    mqtt_subscribe_encode(&w, packet_id_next(guest), &one, 1, &props, guest->version);
    guest->expected++;
}

static void say_connect(struct guest *guest, struct slice client_id)
{
    struct mqtt_connect connect = {
        .version = guest->version, .clean_start = true, .client_id = client_id};
    struct writer w = say(guest, mqtt_connect_size(&connect));
    mqtt_connect_encode(&w, &connect);
    guest->expected++;
}

/* ---- what a guest hears -------------------------------------------------------------------- */

static void on_publish_heard(struct guest *guest, const struct frame *frame)
{
    struct mqtt_publish publish;
    enum err err = mqtt_publish_decode(frame->flags, frame->body, guest->version, &publish);
    ASSERT(err == OK);
    guest->counts.heard[publish.qos]++;
    if (publish.qos > 0) {
        say_ack(guest, publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish.packet_id);
    }
}

static void on_ack_heard(struct guest *guest, const struct frame *frame)
{
    struct mqtt_ack ack;
    enum err err = mqtt_ack_decode(frame->type, frame->body, guest->version, &ack);
    ASSERT(err == OK);
    ASSERT(ack.reason < 0x80);
    if (frame->type == MQTT_PUBREC) {
        say_ack(guest, MQTT_PUBREL, ack.packet_id);
    } else if (frame->type == MQTT_PUBREL) {
        say_ack(guest, MQTT_PUBCOMP, ack.packet_id);
    } else {
        guest->counts.acked++;
    }
}

static void on_frame(struct guest *guest, const struct frame *frame)
{
    guest->counts.heard_bytes += frame->total_bytes;
    switch (frame->type) {
    case MQTT_PUBLISH:
        on_publish_heard(guest, frame);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        on_ack_heard(guest, frame);
        break;
    case MQTT_CONNACK:
    case MQTT_SUBACK:
        ASSERT(frame->body.data[frame->type == MQTT_CONNACK ? 1 : frame->body.count - 1] < 0x80);
        ASSERT(guest->expected > 0);
        guest->expected--;
        break;
    default:
        ASSERT(false);
    }
}

/* Whole packets where they lie; returns what is left of the bytes. */
static struct slice frames_heard(struct guest *guest, struct slice bytes)
{
    struct frame frame;
    while (bytes.count > 0 && frame_next(bytes, MQTT_REMAINING_MAX, &frame) == OK) {
        on_frame(guest, &frame);
        bytes = slice_skip(bytes, frame.total_bytes);
    }
    return bytes;
}

/* A packet may come in several parts (its payload by reference): what is not whole is kept. */
static void guest_heard(void *owner, struct slice bytes)
{
    struct guest *guest = owner;
    guest->house->has_moved = true;
    if (guest->heard_count == 0) {
        bytes = frames_heard(guest, bytes);
    }
    if (bytes.count == 0) {
        return;
    }
    ASSERT(guest->heard_count + bytes.count <= guest->house->guest_bytes);
    memcpy(guest->heard + guest->heard_count, bytes.data, bytes.count);
    guest->heard_count += (uint32_t)bytes.count;
    struct slice rest = frames_heard(guest, slice_of(guest->heard, guest->heard_count));
    memmove(guest->heard, rest.data, rest.count);
    guest->heard_count = (uint32_t)rest.count;
}

const struct guest_counts *guest_counts(const struct guest *guest)
{
    return &guest->counts;
}

uint64_t house_heard(const struct house *house, uint8_t qos)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < house->guest_count; i++) {
        count += house->guests[i].counts.heard[qos];
    }
    return count;
}

/* ---- turns --------------------------------------------------------------------------------- */

static void guest_turn(struct guest *guest)
{
    if (guest->say_count == 0 || !link_is_quiet(guest->link)) {
        return;
    }
    ASSERT(!link_is_closed(guest->link));
    const uint8_t *said = guest->say[guest->say_half];
    uint32_t cut = guest->house->cut_bytes;
    uint32_t count = guest->say_count < cut ? guest->say_count : cut;
    link_say(guest->link, slice_of(said, count));
    guest->say_half = 1 - guest->say_half;
    guest->say_count -= count;
    memcpy(guest->say[guest->say_half], said + count, guest->say_count);
    guest->house->has_moved = true;
}

void house_cut(struct house *house, uint32_t bytes_max)
{
    house->cut_bytes = bytes_max > 0 ? bytes_max : UINT32_MAX;
}

void house_turn(struct house *house)
{
    house->has_moved = false;
    for (uint32_t i = 0; i < house->guest_count; i++) {
        guest_turn(&house->guests[i]);
    }
    for (uint32_t i = 0; i < house->shard_count; i++) {
        house->acts(i);
        bool goes_on = shard_turn(broker_shard(house->broker, i), 0);
        house->acts(HOUSE_NOBODY);
        ASSERT(goes_on);
    }
}

static void nobody_watches(uint32_t shard)
{
    (void)shard;
}

void house_watch_turns(struct house *house, void (*acts)(uint32_t shard))
{
    house->acts = acts;
}

void house_settle(struct house *house)
{
    uint32_t idle = 0;
    for (uint32_t turns = 0; idle < IDLE_TURNS; turns++) {
        ASSERT(turns < TURNS_MAX);
        house_turn(house);
        idle = house->has_moved ? 0 : idle + 1;
    }
    for (uint32_t i = 0; i < house->guest_count; i++) {
        ASSERT(house->guests[i].expected == 0);
    }
}

/* ---- making them --------------------------------------------------------------------------- */

static struct config *make_config(const char *lines)
{
    char text[1024];
    int count = snprintf(text, sizeof(text),
                         "listener 1883 127.0.0.1\nallow_anonymous true\nhttp_listener none\n"
                         "sys_interval 0\n%s\n",
                         lines != NULL ? lines : "");
    ASSERT(count > 0 && (size_t)count < sizeof(text));
    struct config_sources sources = {.text = slice_text(text)};
    struct config_report report;
    struct config *config = NULL;
    config_report_init(&report);
    if (config_load(&sources, &config, &report) != OK) {
        config_report_print(&report, stderr);
    }
    config_report_deinit(&report);
    return must(config);
}

struct house *house_new(uint32_t shard_count, uint32_t guest_count, uint32_t guest_bytes,
                        const char *lines)
{
    return house_new_on(&(struct broker_ports){0}, shard_count, guest_count, guest_bytes, lines);
}

struct house *house_new_on(const struct broker_ports *ports, uint32_t shard_count,
                           uint32_t guest_count, uint32_t guest_bytes, const char *lines)
{
    struct house *house = must(calloc(1, sizeof(*house)));
    log_setup(STDERR_FILENO, LOG_LOGFMT, 1u << LOG_ERROR | 1u << LOG_WARNING);
    house->shard_count = shard_count;
    house->guest_count_max = guest_count;
    house->guest_bytes = guest_bytes;
    house->acts = nobody_watches;
    house->cut_bytes = UINT32_MAX;
    house->guests = must(calloc(guest_count, sizeof(*house->guests)));
    house->config = make_config(lines);
    struct broker_config config = {.config = house->config,
                                   .ports = ports,
                                   .shard_count = shard_count,
                                   .seed = 1,
                                   .stream_count_max = guest_count + 100};
    enum err err = broker_new(&config, &house->broker);
    ASSERT(err == OK);
    for (uint32_t i = 0; i < shard_count; i++) {
        struct broker_failure failure;
        struct shard *shard = broker_shard(house->broker, i);
        err = shard_open(shard, &failure);
        err = err == OK ? shard_load(shard, &failure) : err;
        ASSERT(err == OK);
        err = shard_listen(shard, &failure);
        ASSERT(err == OK);
    }
    for (bool is_settled = false; !is_settled;) {
        is_settled = true;
        for (uint32_t i = 0; i < shard_count; i++) {
            is_settled &= shard_settle(broker_shard(house->broker, i));
        }
    }
    return house;
}

void house_free(struct house *house)
{
    for (uint32_t i = 0; i < house->shard_count; i++) {
        shard_close(broker_shard(house->broker, i));
    }
    broker_free(house->broker);
    for (uint32_t i = 0; i < house->guest_count; i++) {
        struct guest *guest = &house->guests[i];
        link_free(guest->link);
        free(guest->say[0]);
        free(guest->say[1]);
        free(guest->heard);
    }
    config_free(house->config);
    free(house->guests);
    free(house);
}

struct shard *house_shard(struct house *house, uint32_t index)
{
    return broker_shard(house->broker, index);
}

/* The first name, counted up from the guest's number, that belongs to the shard. */
static int client_id_for(const struct house *house, const struct shard *shard, char *name,
                         size_t name_bytes)
{
    for (uint32_t i = 0;; i++) {
        int count = snprintf(name, name_bytes, "guest-%u-%u", house->guest_count, i);
        if (shard_of(shard, slice_of(name, (size_t)count)) == shard->index) {
            return count;
        }
    }
}

struct guest *guest_new(struct house *house, uint32_t shard_index, enum mqtt_version version)
{
    struct shard *shard = house_shard(house, shard_index);
    char name[32];
    ASSERT(house->guest_count < house->guest_count_max);
    size_t count = (size_t)client_id_for(house, shard, name, sizeof(name));
    struct guest *guest = &house->guests[house->guest_count++];
    guest->house = house;
    guest->version = version;
    for (uint32_t i = 0; i < 2; i++) {
        guest->say[i] = must(malloc(house->guest_bytes));
    }
    guest->heard = must(malloc(house->guest_bytes));
    guest->link = must(link_new(shard->io, guest_heard, guest));
    say_connect(guest, slice_of(name, count));
    house_settle(house);
    return guest;
}
