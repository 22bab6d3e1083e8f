/*
 * fuzz_bridge: whatever the two brokers say to a bridge, in whatever order, and whenever they go: no
 * assertion fails, its windows are kept, and it always has a next thing to do.
 *
 * The world is played here: io.h, pairs and look-ups. The first byte chooses the configuration; after it
 * stand steps: which side, and what happens there.
 */
#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/bridge/bridge_parts.h"
#include "core/io/pair.h"
#include "core/wire/frame.h"
#include "core/wire/props.h"
#include "core/wire/subscribe.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAMS_MAX = 4096, STEPS_MAX = 2000 };

/* ---- the world ----------------------------------------------------------------------------- */

struct io_stream {
    const struct io_stream_events *events;
    void *owner;
    bool is_remote, is_connected, is_sending, is_closing, is_paused;
    struct buf said; /* by the bridge, not answered yet */
    enum mqtt_version version;
    uint32_t hello_count;
};

struct io {
    uint64_t now_ns;
};

static struct io the_io;
static struct io_stream streams[STREAMS_MAX];
static uint32_t stream_count;

uint64_t io_now_ns(const struct io *io)
{
    return io->now_ns;
}

void io_handle_close(int64_t handle)
{
    (void)handle;
}

enum err pair_new(int64_t handles[2])
{
    handles[0] = handles[1] = -1;
    return OK;
}

static enum err stream_make(const struct io_stream_events *events, void *owner, bool is_remote,
                            struct io_stream **out)
{
    if (stream_count == STREAMS_MAX) {
        return ERR_LIMIT;
    }
    struct io_stream *stream = &streams[stream_count++];
    *stream = (struct io_stream){.events = events,
                                 .owner = owner,
                                 .is_remote = is_remote,
                                 .is_connected = !is_remote,
                                 .is_sending = is_remote};
    *out = stream;
    return OK;
}

enum err io_attach(struct io *io, int64_t handle, const struct io_stream_events *events,
                   void *owner, struct io_stream **out)
{
    (void)io;
    (void)handle;
    return stream_make(events, owner, false, out);
}

enum err io_connect(struct io *io, const struct address *to, const struct address *from,
                    const struct io_stream_events *events, void *owner, struct io_stream **out)
{
    (void)io;
    (void)to;
    (void)from;
    return stream_make(events, owner, true, out);
}

bool io_is_sending(const struct io_stream *stream)
{
    return stream->is_sending;
}

void io_send(struct io_stream *stream, const struct slice *parts, uint32_t part_count)
{
    ASSERT(!stream->is_sending);
    ASSERT(part_count == 1 && parts[0].count > 0);
    stream->is_sending = true;
    if (!stream->is_closing) {
        ASSERT(buf_append(&stream->said, parts[0]) == OK);
    }
}

void io_pause(struct io_stream *stream)
{
    stream->is_paused = true;
}

void io_resume(struct io_stream *stream)
{
    stream->is_paused = false;
}

void io_close(struct io_stream *stream)
{
    stream->is_closing = true;
}

void io_close_after_send(struct io_stream *stream, uint64_t linger_ns)
{
    (void)linger_ns;
    stream->is_closing = true;
}

struct lookup {
    int unused;
};
static struct lookup the_lookup;

struct lookup *lookup_new(const struct bridge_config *config, const struct bridge_address *address)
{
    (void)config;
    (void)address;
    return &the_lookup;
}

bool lookup_done(struct lookup *lookup, struct lookup_result *out)
{
    (void)lookup;
    *out = (struct lookup_result){.count = 2, .trouble = ""};
    return true;
}

void lookup_free(struct lookup *lookup)
{
    (void)lookup;
}

static enum err enter(void *context, int64_t handle)
{
    (void)context;
    (void)handle;
    return OK;
}

/* ---- what happens -------------------------------------------------------------------------- */

static void gone(struct io_stream *stream, enum err why)
{
    const struct io_stream_events *events = stream->events;
    if (events != NULL) {
        stream->events = NULL;
        events->closed(stream->owner, why);
        buf_deinit(&stream->said);
    }
}

/* The newest one of that side that is not closing. */
static struct io_stream *stream_of(bool is_remote)
{
    for (uint32_t i = stream_count; i > 0; i--) {
        struct io_stream *stream = &streams[i - 1];
        if (stream->is_remote == is_remote && stream->events != NULL && !stream->is_closing) {
            return stream;
        }
    }
    return NULL;
}

static void hear(struct io_stream *stream, struct slice bytes)
{
    if (stream->events != NULL && !stream->is_closing && stream->is_connected && bytes.count > 0) {
        /* A copy of its own, so that reading over the end is seen. */
        uint8_t *copy = malloc(bytes.count);
        memcpy(copy, bytes.data, bytes.count);
        stream->events->bytes(stream->owner, slice_of(copy, bytes.count));
        free(copy);
    }
}

static void sent(struct io_stream *stream)
{
    if (stream->events != NULL && stream->is_sending && !stream->is_closing) {
        stream->is_sending = false;
        stream->is_connected = true;
        stream->events->sent(stream->owner);
    }
}

/* The honest answer to one packet that the bridge has said; mood: in which of the ways it may be. */
static void answer(struct io_stream *stream, uint8_t mood)
{
    struct frame frame;
    uint8_t out[600];
    struct writer w = writer_of(out, sizeof(out));
    enum err err = frame_next_3_1(buf_bytes(&stream->said), UINT32_MAX, &frame);
    ASSERT(err == OK || err == ERR_MORE); /* what the bridge says is well formed */
    if (err == ERR_MORE) {
        return;
    }
    uint16_t id = frame.body.count >= 2 ? (uint16_t)(frame.body.data[0] << 8 | frame.body.data[1])
                                        : 0;
    bool is_v5 = stream->version == MQTT_5;
    if (frame.type == MQTT_CONNECT) {
        ASSERT(stream->hello_count++ == 0);
        uint8_t level = frame.body.data[2 + id] & 0x7f;
        stream->version = (enum mqtt_version)level;
        is_v5 = level == MQTT_5;
        static const uint8_t props[] = {6, 0x21, 0, 2, 0x22, 0, 5}; /* receive and alias maximum */
        writer_u8(&w, 0x20);
        writer_u8(&w, is_v5 ? 2 + sizeof(props) : 2);
        writer_u8(&w, level == MQTT_3_1 ? 0 : mood & 1);
        writer_u8(&w, 0);
        if (is_v5) {
            writer_bytes(&w, slice_of(props, sizeof(props)));
        }
    } else if (frame.type == MQTT_SUBSCRIBE || frame.type == MQTT_UNSUBSCRIBE) {
        struct mqtt_subscribe subscribe;
        bool is_subscribe = frame.type == MQTT_SUBSCRIBE;
        enum err read = is_subscribe
                            ? mqtt_subscribe_decode(frame.body, stream->version, &subscribe)
                            : mqtt_unsubscribe_decode(frame.body, stream->version, &subscribe);
        ASSERT(read == OK);
        uint32_t codes = is_subscribe || is_v5 ? subscribe.filter_count : 0;
        writer_u8(&w, is_subscribe ? 0x90 : 0xb0);
        writer_u8(&w, (uint8_t)(2 + is_v5 + codes));
        writer_u16(&w, id);
        if (is_v5) {
            writer_u8(&w, 0);
        }
        for (uint32_t i = 0; i < codes; i++) {
            writer_u8(&w, is_subscribe && mood > 200 ? 0x80 : 0);
        }
    } else if (frame.type == MQTT_PUBLISH && (frame.flags >> 1 & 3) > 0) {
        uint8_t qos = frame.flags >> 1 & 3;
        const uint8_t *at = frame.body.data + 2 + id; /* behind the topic */
        writer_u8(&w, qos == 1 ? 0x40 : 0x50);
        writer_u8(&w, 2);
        writer_u16(&w, (uint16_t)(at[0] << 8 | at[1]));
    } else if (frame.type == MQTT_PUBREC || frame.type == MQTT_PUBREL) {
        writer_u8(&w, frame.type == MQTT_PUBREC ? 0x62 : 0x70);
        writer_u8(&w, 2);
        writer_u16(&w, id);
    } else if (frame.type == MQTT_PINGREQ) {
        writer_u8(&w, 0xd0);
        writer_u8(&w, 0);
    }
    buf_consume(&stream->said, frame.total_bytes);
    hear(stream, slice_of(out, sizeof(out) - writer_left(&w)));
}

static void check(const struct bridges *bridges)
{
    LIST_EACH (&bridges->all, link) {
        const struct bridge *bridge = CONTAINER_OF(link, struct bridge, link);
        ASSERT(bridge->state == BRIDGE_REST || timer_is_set(&bridge->timer));
        const struct leg *legs[] = {bridge->local, bridge->remote};
        for (uint32_t i = 0; i < 2; i++) {
            ASSERT(legs[i] == NULL || legs[i]->open.count <= legs[i]->window_max);
        }
    }
}

static const char *const configs[] = {
    "connection a\naddress 192.0.2.1\ntopic # both 2\ntopic \"\" in 1 l r\n",
    "connection a\naddress 192.0.2.1 192.0.2.2\ntopic a/# both 1 l/ r/\n"
    "bridge_protocol_version mqttv50\n",
    "connection a\naddress 192.0.2.1\ntopic # out 2\ncleansession true\n"
    "bridge_protocol_version mqttv31\nbridge_max_packet_size 64\n",
    "connection a\naddress 192.0.2.1\ntopic # both 2\nstart_type lazy\nthreshold 2\n"
    "bridge_protocol_version mqttv50\n",
};

/* Loaded once, and kept. */
static struct config *config_of(uint8_t which)
{
    static struct config *loaded[4];
    if (loaded[which % 4] != NULL) {
        return loaded[which % 4];
    }
    const struct config_sources sources = {.text = slice_text(configs[which % 4])};
    struct config_report report;
    struct config *config = NULL;
    config_report_init(&report);
    enum err err = config_load(&sources, &config, &report);
    ASSERT(err == OK);
    config_report_deinit(&report);
    loaded[which % 4] = config;
    return config;
}

static void step(struct bridges *bridges, uint8_t what, struct slice *rest)
{
    struct io_stream *stream = stream_of((what & 1) != 0);
    uint8_t more = rest->count > 0 ? rest->data[0] : 0;
    switch (what >> 1 & 7) {
    case 0:
    case 1: /* bytes, as many as the next one says */
        if (rest->count > 0) {
            *rest = slice_skip(*rest, 1);
            struct slice bytes = slice_head(*rest, more < rest->count ? more : rest->count);
            *rest = slice_skip(*rest, bytes.count);
            if (stream != NULL) {
                hear(stream, bytes);
            }
        }
        return;
    case 2:
        if (stream != NULL) {
            sent(stream);
        }
        return;
    case 3:
    case 4:
        if (stream != NULL) {
            sent(stream);
            answer(stream, what);
        }
        return;
    case 5:
        if (stream != NULL) {
            gone(stream, ERR_RESET);
        }
        return;
    case 6: /* what closes is closed */
        for (uint32_t i = 0; i < stream_count; i++) {
            if (streams[i].is_closing) {
                gone(&streams[i], OK);
            }
        }
        return;
    default:
        the_io.now_ns += (what & 0x80) != 0 ? 40000000000 : 1000000000;
        wheel_run(bridges->wheel, the_io.now_ns);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    log_setup(-1, LOG_LOGFMT, 0);
    the_io.now_ns = 1000000000;
    stream_count = 0;
    struct config *config = config_of(data[0]), *other = config_of((uint8_t)(data[0] + 1));
    struct wheel *wheel = wheel_new(the_io.now_ns);
    struct bridge_ports ports = {.enter = enter, .metrics = metrics_new(), .seed = 1};
    struct bridges *bridges;
    enum err err = bridges_new(&the_io, wheel, config, &ports, &bridges);
    ASSERT(err == OK);
    the_io.now_ns += 1000000;
    wheel_run(wheel, the_io.now_ns);
    struct slice rest = slice_of(data + 1, size - 1);
    for (uint32_t i = 0; rest.count > 0 && i < STEPS_MAX; i++) {
        uint8_t what = rest.data[0];
        rest = slice_skip(rest, 1);
        step(bridges, what, &rest);
        check(bridges);
        if (i == STEPS_MAX / 2) {
            bridges_renew(bridges, other);
        }
    }
    for (uint32_t i = 0; i < stream_count; i++) {
        buf_deinit(&streams[i].said); /* as io_free(): no events */
    }
    bridges_free(bridges);
    metrics_free(ports.metrics);
    wheel_free(wheel);
    return 0;
}
