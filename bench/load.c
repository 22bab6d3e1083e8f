#include "bench/load.h"

#include "core/base/list.h"
#include "core/io/io.h"
#include "core/wire/ack.h"
#include "core/wire/connect.h"
#include "core/wire/control.h"
#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/publish.h"
#include "core/wire/subscribe.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLIENT_ID_MAX = 64, QUEUE_BYTES_MIN = 512, LINGER_NS = 1000000000 };

struct bytes {
    uint8_t *memory;
    size_t count, size;
};

struct load_client {
    struct load *load;
    const struct load_events *events;
    void *owner;
    struct io_stream *stream;
    struct list all, dirty;
    struct bytes queued, flying; /* to be sent; being sent */
    struct bytes carry;          /* the beginning of a packet whose rest has not come */
    uint64_t ping_ns;            /* when the next PINGREQ is due; 0: never */
    uint16_t packet_id;
    uint8_t reason;
    bool is_open, is_ending;
    char client_id[CLIENT_ID_MAX];
};

struct load {
    struct io *io;
    struct load_config config;
    struct list clients, dirty;
    uint32_t client_count;
    uint64_t ping_ns; /* when pings are looked at next */
};

uint64_t load_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Room for count more bytes; a generator without memory has nothing to measure and ends. */
static uint8_t *bytes_extend(struct bytes *bytes, size_t count)
{
    if (bytes->count + count > bytes->size) {
        size_t size = bytes->size == 0 ? QUEUE_BYTES_MIN : bytes->size;
        while (size < bytes->count + count) {
            size *= 2;
        }
        bytes->memory = realloc(bytes->memory, size);
        ASSERT(bytes->memory != NULL);
        bytes->size = size;
    }
    uint8_t *at = bytes->memory + bytes->count;
    bytes->count += count;
    return at;
}

static void mark_dirty(struct load_client *client)
{
    list_remove(&client->dirty);
    list_push_back(&client->load->dirty, &client->dirty);
}

static struct writer packet(struct load_client *client, size_t count)
{
    mark_dirty(client);
    return writer_of(bytes_extend(&client->queued, count), count);
}

static void queue_connect(struct load_client *client)
{
    const struct load_config *config = &client->load->config;
    struct mqtt_connect connect = {
        .version = config->version,
        .clean_start = config->clean_start,
        .keepalive_s = config->keepalive_s,
        .client_id = slice_text(client->client_id),
        .has_username = config->username != NULL,
        .has_password = config->password != NULL,
    };
    if (connect.has_username) {
        connect.username = slice_text(config->username);
    }
    if (connect.has_password) {
        connect.password = slice_text(config->password);
    }
    if (config->version == MQTT_5) {
        connect.props.present = (uint64_t)1 << PROP_RECEIVE_MAX;
        connect.props.receive_max = UINT16_MAX;
        if (config->session_expiry_s > 0) {
            connect.props.present |= (uint64_t)1 << PROP_SESSION_EXPIRY;
            connect.props.session_expiry_s = config->session_expiry_s;
        }
    }
    struct writer w = packet(client, mqtt_connect_size(&connect));
    mqtt_connect_encode(&w, &connect);
}

static void queue_ack(struct load_client *client, enum mqtt_type type, uint16_t packet_id)
{
    uint8_t ack[MQTT_ACK_BYTES_MAX];
    struct writer w = writer_of(ack, sizeof(ack));
    mqtt_ack_encode_plain(&w, type, packet_id, 0, client->load->config.version);
    size_t count = sizeof(ack) - writer_left(&w);
    memcpy(bytes_extend(&client->queued, count), ack, count);
    mark_dirty(client);
}

static void queue_control(struct load_client *client, enum mqtt_type type)
{
    static const struct mqtt_control plain = {0};
    enum mqtt_version version = client->load->config.version;
    struct writer w = packet(client, mqtt_control_size(type, &plain, version));
    mqtt_control_encode(&w, type, &plain, version);
}

static enum err on_connack(struct load_client *client, struct slice body)
{
    struct mqtt_connack connack;
    TRY(mqtt_connack_decode(body, client->load->config.version, &connack));
    client->reason = connack.reason;
    if (connack.reason != 0) {
        return ERR_NOT_AUTHORIZED;
    }
    client->is_open = true;
    if (client->events->opened != NULL) {
        client->events->opened(client);
    }
    return OK;
}

static enum err on_publish(struct load_client *client, const struct frame *frame,
                           uint64_t received_ns)
{
    struct mqtt_publish publish;
    TRY(mqtt_publish_decode(frame->flags, frame->body, client->load->config.version, &publish));
    if (client->events->message != NULL) {
        client->events->message(client, &publish, received_ns);
    }
    if (publish.qos > 0) {
        queue_ack(client, publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, publish.packet_id);
    }
    return OK;
}

static enum err on_ack(struct load_client *client, const struct frame *frame)
{
    struct mqtt_ack ack;
    enum mqtt_type type = (enum mqtt_type)frame->type;
    TRY(mqtt_ack_decode(type, frame->body, client->load->config.version, &ack));
    if (type == MQTT_PUBREC && ack.reason < 0x80) {
        queue_ack(client, MQTT_PUBREL, ack.packet_id);
        return OK;
    }
    if (type == MQTT_PUBREL) {
        queue_ack(client, MQTT_PUBCOMP, ack.packet_id);
        return OK;
    }
    if (ack.reason >= 0x80) {
        client->reason = ack.reason;
        return ERR_QUOTA;
    }
    if (client->events->finished != NULL) {
        client->events->finished(client);
    }
    return OK;
}

static enum err on_suback(struct load_client *client, struct slice body)
{
    struct mqtt_suback suback;
    TRY(mqtt_suback_decode(body, client->load->config.version, &suback));
    if (suback.codes.count == 0 || suback.codes.data[0] >= 0x80) {
        client->reason = suback.codes.count == 0 ? 0x80 : suback.codes.data[0];
        return ERR_NOT_AUTHORIZED;
    }
    if (client->events->subscribed != NULL) {
        client->events->subscribed(client);
    }
    return OK;
}

static enum err on_frame(struct load_client *client, const struct frame *frame,
                         uint64_t received_ns)
{
    struct mqtt_control control;
    switch (frame->type) {
    case MQTT_CONNACK:
        return on_connack(client, frame->body);
    case MQTT_PUBLISH:
        return on_publish(client, frame, received_ns);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return on_ack(client, frame);
    case MQTT_SUBACK:
        return on_suback(client, frame->body);
    case MQTT_PINGRESP:
        return OK;
    case MQTT_DISCONNECT:
        TRY(mqtt_control_decode(MQTT_DISCONNECT, frame->body, client->load->config.version,
                                &control));
        client->reason = control.reason;
        return ERR_CLOSED;
    default:
        return ERR_PROTOCOL;
    }
}

/* Whole packets from the front of bytes; how much was used. */
static enum err take_frames(struct load_client *client, struct slice bytes, uint64_t received_ns,
                            size_t *used_out, size_t *wanted_out)
{
    uint32_t bytes_max = client->load->config.packet_max_bytes;
    struct frame frame;
    size_t used = 0;

    *wanted_out = 0;
    while (used < bytes.count && !client->is_ending) {
        enum err err = frame_next(slice_skip(bytes, used), bytes_max, &frame);
        if (err == ERR_MORE) {
            *wanted_out = frame.total_bytes;
            break;
        }
        if (err == OK) {
            err = on_frame(client, &frame, received_ns);
        }
        if (err != OK) {
            return err;
        }
        used += frame.total_bytes;
    }
    *used_out = client->is_ending ? bytes.count : used;
    return OK;
}

/* Complete the packet in carry with bytes from in; what is left of in goes on without copying. */
static enum err feed_carry(struct load_client *client, struct slice *in, uint64_t received_ns)
{
    size_t used, wanted;
    while (client->carry.count > 0 && in->count > 0) {
        struct slice have = slice_of(client->carry.memory, client->carry.count);
        struct frame frame;
        enum err err = frame_next(have, client->load->config.packet_max_bytes, &frame);
        if (err != ERR_MORE) {
            return err == OK ? ERR_PROTOCOL : err;
        }
        size_t missing = frame.total_bytes == 0 ? 1 : frame.total_bytes - have.count;
        size_t step = missing < in->count ? missing : in->count;
        memcpy(bytes_extend(&client->carry, step), in->data, step);
        *in = slice_skip(*in, step);
        have = slice_of(client->carry.memory, client->carry.count);
        TRY(take_frames(client, have, received_ns, &used, &wanted));
        if (used > 0) {
            client->carry.count = 0;
        }
    }
    return OK;
}

static void fail(struct load_client *client, enum err why)
{
    if (!client->is_ending) {
        client->is_ending = true;
        client->reason = client->reason == 0 ? (uint8_t)(why == ERR_CLOSED ? 0 : 0xff)
                                             : client->reason;
        io_close(client->stream);
    }
}

static void on_stream_bytes(void *owner, struct slice bytes)
{
    struct load_client *client = owner;
    uint64_t received_ns = load_clock_ns();
    size_t used = 0, wanted;

    if (client->is_ending) {
        return;
    }
    enum err err = feed_carry(client, &bytes, received_ns);
    if (err == OK && bytes.count > 0) {
        err = take_frames(client, bytes, received_ns, &used, &wanted);
    }
    if (err != OK) {
        fail(client, err);
        return;
    }
    bytes = slice_skip(bytes, used);
    if (bytes.count > 0) {
        memcpy(bytes_extend(&client->carry, bytes.count), bytes.data, bytes.count);
    }
}

static void on_stream_sent(void *owner)
{
    struct load_client *client = owner;
    client->flying.count = 0;
    if (client->queued.count > 0) {
        mark_dirty(client);
    }
}

static void client_free(struct load_client *client)
{
    list_remove(&client->all);
    list_remove(&client->dirty);
    client->load->client_count--;
    free(client->queued.memory);
    free(client->flying.memory);
    free(client->carry.memory);
    free(client);
}

static void on_stream_closed(void *owner, enum err why)
{
    struct load_client *client = owner;
    /* io says OK when we closed; that may still have been because of what the broker sent. */
    if (why == OK && client->reason != 0) {
        why = ERR_PROTOCOL;
    }
    client->is_ending = true;
    client->events->closed(client, why, client->reason);
    client_free(client);
}

static const struct io_stream_events stream_events = {
    .bytes = on_stream_bytes,
    .sent = on_stream_sent,
    .closed = on_stream_closed,
};

enum err load_new(const struct load_config *config, struct load **out)
{
    struct load *load = calloc(1, sizeof(*load));
    if (load == NULL) {
        return ERR_NOMEM;
    }
    load->config = *config;
    list_init(&load->clients);
    list_init(&load->dirty);
    struct io_config io_config = {
        .stream_count_max = config->client_count_max,
        .receive_bytes = 8 * 1024 * 1024,
    };
    enum err err = io_new(&io_config, &load->io);
    if (err != OK) {
        free(load);
        return err;
    }
    *out = load;
    return OK;
}

void load_free(struct load *load)
{
    if (load == NULL) {
        return;
    }
    io_free(load->io);
    LIST_EACH_SAFE (&load->clients, link) {
        client_free(CONTAINER_OF(link, struct load_client, all));
    }
    free(load);
}

static void flush(struct load *load)
{
    struct list *link;
    while ((link = list_pop_front(&load->dirty)) != NULL) {
        struct load_client *client = CONTAINER_OF(link, struct load_client, dirty);
        if (client->queued.count == 0 || io_is_sending(client->stream)) {
            continue; /* `sent` marks it again */
        }
        struct bytes empty = client->flying;
        client->flying = client->queued;
        client->queued = empty;
        struct slice part = slice_of(client->flying.memory, client->flying.count);
        io_send(client->stream, &part, 1);
        if (client->is_ending) {
            io_close_after_send(client->stream, LINGER_NS);
        }
    }
}

/* Once a second is often enough for keep alives, which are said in seconds. */
static void ping(struct load *load, uint64_t now_ns)
{
    if (load->config.keepalive_s == 0 || now_ns < load->ping_ns) {
        return;
    }
    load->ping_ns = now_ns + 1000000000u;
    LIST_EACH (&load->clients, link) {
        struct load_client *client = CONTAINER_OF(link, struct load_client, all);
        if (client->is_open && !client->is_ending && now_ns >= client->ping_ns) {
            client->ping_ns = now_ns + load->config.keepalive_s * 500000000ull;
            queue_control(client, MQTT_PINGREQ);
        }
    }
}

void load_turn(struct load *load, uint64_t wait_ns)
{
    ping(load, io_now_ns(load->io));
    flush(load);
    if (load->config.keepalive_s != 0 && wait_ns > 1000000000u) {
        wait_ns = 1000000000u;
    }
    io_turn(load->io, wait_ns);
    flush(load);
}

enum err load_connect(struct load *load, const char *client_id, const struct address *from,
                      const struct load_events *events, void *owner, struct load_client **out)
{
    struct load_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return ERR_NOMEM;
    }
    ASSERT(strlen(client_id) < CLIENT_ID_MAX);
    memcpy(client->client_id, client_id, strlen(client_id));
    client->load = load;
    client->events = events;
    client->owner = owner;
    client->ping_ns = io_now_ns(load->io) + load->config.keepalive_s * 500000000ull;
    list_init(&client->dirty);
    list_push_back(&load->clients, &client->all);
    load->client_count++;
    enum err err = io_connect(load->io, &load->config.to, from != NULL ? from : &load->config.from,
                              &stream_events, client, &client->stream);
    if (err != OK) {
        client_free(client);
        return err;
    }
    queue_connect(client);
    *out = client;
    return OK;
}

void *load_owner(const struct load_client *client)
{
    return client->owner;
}

static uint16_t packet_id_next(struct load_client *client)
{
    client->packet_id = client->packet_id == UINT16_MAX ? 1 : (uint16_t)(client->packet_id + 1);
    return client->packet_id;
}

void load_subscribe(struct load_client *client, const char *filter, uint8_t qos)
{
    enum mqtt_version version = client->load->config.version;
    struct mqtt_filter one = {.filter = slice_text(filter), .qos = qos};
    struct writer w = packet(client, mqtt_subscribe_size(&one, 1, NULL, version));
    mqtt_subscribe_encode(&w, packet_id_next(client), &one, 1, NULL, version);
}

uint8_t *load_publish(struct load_client *client, struct slice topic, uint8_t qos, bool retain,
                      uint32_t payload_bytes)
{
    enum mqtt_version version = client->load->config.version;
    struct mqtt_publish publish = {.qos = qos, .retain = retain, .topic = topic};

    if (client->is_ending || client->queued.count > LOAD_QUEUE_MAX) {
        return NULL;
    }
    publish.payload.count = payload_bytes; /* its bytes are written by the caller */
    publish.packet_id = qos == 0 ? 0 : packet_id_next(client);
    size_t head_bytes = mqtt_publish_head_size(&publish, version, NULL, 0);
    ASSERT(head_bytes > 0);
    uint8_t *at = bytes_extend(&client->queued, head_bytes + payload_bytes);
    struct writer w = writer_of(at, head_bytes);
    mqtt_publish_head_encode(&w, &publish, version, NULL, 0);
    mark_dirty(client);
    return at + head_bytes;
}

void load_disconnect(struct load_client *client)
{
    if (client->is_ending) {
        return;
    }
    queue_control(client, MQTT_DISCONNECT);
    client->is_ending = true;
}

uint32_t load_client_count(const struct load *load)
{
    return load->client_count;
}
