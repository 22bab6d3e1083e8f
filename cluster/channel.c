#include "cluster/channel.h"

#include "core/base/assert.h"
#include "core/base/blocks.h"
#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/limits.h"
#include "core/session/session.h"
#include "storage/record_wire.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* By what a channel is known: the node at the other end, and a number of the front's. */
struct channel_key {
    uint64_t number;
    uint32_t node;
    uint32_t is_front; /* we are */
};

struct mesh_channel {
    struct list link; /* in channels->all */
    struct channel_key key;
    uint32_t partition;
    const struct mesh_channel_events *events;
    void *owner;
    uint32_t credit; /* what may still be sent; what was sent beyond it is owed */
    uint32_t debt;
    uint32_t taken; /* received, and not given credit for yet */
    bool is_paused;
};

struct channels {
    struct channels_host host;
    struct map *by_key;
    struct list all;
    uint64_t number_last;
    struct buf scratch;
};

/* Between nodes: none may change. */
enum channel_what {
    CHANNEL_OPEN = 1,
    CHANNEL_BYTES,
    CHANNEL_CREDIT_MORE,
    CHANNEL_CLOSE,
    CHANNEL_WHAT_END
};

struct channel_msg {
    uint64_t number;
    bool is_of_front;
    uint32_t what, credit;
    struct slice bytes;
    uint32_t partition;
    uint32_t address_kind, port, scope_id, listener_index;
    bool is_private;
    struct slice ip, tls_version, certificate_name;
};

/* clang-format off */
#define NUMBER(member, form_, max_) {form_, offsetof(struct channel_msg, member), 0, max_, NULL}
#define BYTES(member, max_)         {FIELD_BYTES, offsetof(struct channel_msg, member), 0, max_, NULL}
enum { IP_BYTES = 16, NAME_MAX_BYTES = 4096, VERSION_MAX = 32 };

static const struct field fields[] = {
    NUMBER(number,           FIELD_U64, UINT64_MAX),
    NUMBER(is_of_front,      FIELD_U8,  1),
    NUMBER(what,             FIELD_U32, CHANNEL_WHAT_END - 1),
    NUMBER(credit,           FIELD_U32, UINT32_MAX),
    BYTES (bytes,            LIMIT_PACKET_BYTES_MAX),
    NUMBER(partition,        FIELD_U32, PARTITION_COUNT - 1),
    NUMBER(address_kind,     FIELD_U32, UINT8_MAX),
    NUMBER(port,             FIELD_U32, UINT16_MAX),
    NUMBER(scope_id,         FIELD_U32, UINT32_MAX),
    BYTES (ip,               IP_BYTES),
    NUMBER(listener_index,   FIELD_U32, UINT16_MAX),
    NUMBER(is_private,       FIELD_U8,  1),
    BYTES (tls_version,      VERSION_MAX),
    BYTES (certificate_name, NAME_MAX_BYTES),
};
static const struct shape shape = {fields, sizeof(fields) / sizeof(fields[0])};
/* clang-format on */

static struct slice key_of(const void *value)
{
    const struct mesh_channel *channel = value;
    return slice_of(&channel->key, sizeof(channel->key));
}

struct channels *channels_new(const struct channels_host *host)
{
    struct channels *channels = calloc(1, sizeof(*channels));
    if (channels == NULL) {
        return NULL;
    }
    channels->host = *host;
    list_init(&channels->all);
    channels->by_key = map_new(key_of, 1);
    if (channels->by_key == NULL) {
        free(channels);
        return NULL;
    }
    return channels;
}

/* ---- coming and going ----------------------------------------------------------------------- */

/* NULL: memory, or one of that key is there. */
static struct mesh_channel *channel_new(struct channels *channels, const struct channel_key *key,
                                        uint32_t partition)
{
    if (map_count(channels->by_key) >= CHANNELS_MAX) {
        return NULL;
    }
    struct mesh_channel *channel = blocks_take(sizeof(*channel));
    if (channel == NULL) {
        return NULL;
    }
    *channel = (struct mesh_channel){.key = *key, .partition = partition, .credit = CHANNEL_WINDOW};
    if (map_put(channels->by_key, channel) != OK) {
        blocks_give(channel, sizeof(*channel));
        return NULL;
    }
    list_push_back(&channels->all, &channel->link);
    return channel;
}

static void channel_free(struct channels *channels, struct mesh_channel *channel)
{
    map_remove(channels->by_key, key_of(channel));
    list_remove(&channel->link);
    blocks_give(channel, sizeof(*channel));
}

static void channel_end(struct channels *channels, struct mesh_channel *channel, enum err why)
{
    const struct mesh_channel_events *events = channel->events;
    void *owner = channel->owner;
    channel_free(channels, channel);
    events->closed(owner, why);
}

/* ---- saying --------------------------------------------------------------------------------- */

/* On an error the link is down, and the channel goes with it. */
static enum err say(struct channels *channels, const struct mesh_channel *channel,
                    struct channel_msg *msg)
{
    msg->number = channel->key.number;
    msg->is_of_front = channel->key.is_front;
    buf_consume(&channels->scratch, buf_count(&channels->scratch));
    size_t count = wire_size(&shape, msg);
    TRY(buf_reserve(&channels->scratch, count));
    wire_put(&shape, msg, buf_tail(&channels->scratch));
    buf_commit(&channels->scratch, count);
    return channels->host.send(channels->host.context, channel->key.node, channel->partition,
                               buf_bytes(&channels->scratch));
}

enum err channels_open(struct channels *channels, uint32_t node, uint32_t partition,
                       const struct mesh_client *client, const struct mesh_channel_events *events,
                       void *owner, struct mesh_channel **out)
{
    struct channel_key key = {.number = ++channels->number_last, .node = node, .is_front = true};
    struct mesh_channel *channel = channel_new(channels, &key, partition);
    if (channel == NULL) {
        return ERR_NOMEM;
    }
    struct channel_msg msg = {.what = CHANNEL_OPEN,
                              .partition = partition,
                              .address_kind = client->address_kind,
                              .port = client->port,
                              .scope_id = client->scope_id,
                              .listener_index = client->listener_index,
                              .is_private = client->is_private,
                              .ip = slice_of(client->ip, sizeof(client->ip)),
                              .tls_version = client->tls_version,
                              .certificate_name = client->certificate_name};
    channel->events = events;
    channel->owner = owner;
    enum err err = say(channels, channel, &msg);
    if (err != OK) {
        channel_free(channels, channel);
        return err == ERR_NOMEM ? err : ERR_UNAVAILABLE;
    }
    *out = channel;
    return OK;
}

bool channels_send(struct channels *channels, struct mesh_channel *channel, struct slice bytes)
{
    struct channel_msg msg = {.what = CHANNEL_BYTES, .bytes = bytes};
    (void)say(channels, channel, &msg); /* or channels_lost() follows */
    uint32_t paid = bytes.count < channel->credit ? (uint32_t)bytes.count : channel->credit;
    channel->credit -= paid;
    channel->debt += (uint32_t)bytes.count - paid;
    return channel->credit > 0;
}

/* Nothing is given back while nothing more is wanted. */
static void give_credit(struct channels *channels, struct mesh_channel *channel)
{
    if (channel->is_paused || channel->taken < CHANNEL_CREDIT) {
        return;
    }
    struct channel_msg msg = {.what = CHANNEL_CREDIT_MORE, .credit = channel->taken};
    channel->taken = 0;
    (void)say(channels, channel, &msg);
}

void channels_pause(struct channels *channels, struct mesh_channel *channel, bool is_paused)
{
    channel->is_paused = is_paused;
    give_credit(channels, channel);
}

void channels_close(struct channels *channels, struct mesh_channel *channel)
{
    struct channel_msg msg = {.what = CHANNEL_CLOSE};
    (void)say(channels, channel, &msg);
    channel_free(channels, channel);
}

/* ---- hearing -------------------------------------------------------------------------------- */

static void on_open(struct channels *channels, const struct channel_key *key,
                    const struct channel_msg *msg)
{
    struct mesh_client client = {.address_kind = (uint8_t)msg->address_kind,
                                 .port = (uint16_t)msg->port,
                                 .scope_id = msg->scope_id,
                                 .listener_index = msg->listener_index,
                                 .is_private = msg->is_private,
                                 .tls_version = msg->tls_version,
                                 .certificate_name = msg->certificate_name};
    if (msg->ip.count > 0) {
        memcpy(client.ip, msg->ip.data, msg->ip.count);
    }
    struct mesh_channel *channel = channel_new(channels, key, msg->partition);
    if (channel == NULL) {
        struct mesh_channel nobody = {.key = *key, .partition = msg->partition};
        (void)say(channels, &nobody, &(struct channel_msg){.what = CHANNEL_CLOSE});
        return;
    }
    channel->owner = channels->host.accept(channels->host.context, channel, msg->partition, &client,
                                           &channel->events);
    if (channel->owner == NULL) {
        channels_close(channels, channel);
    }
}

static void on_bytes(struct channels *channels, struct mesh_channel *channel, struct slice bytes)
{
    struct channel_key key = channel->key;
    channel->taken += (uint32_t)bytes.count;
    channel->events->bytes(channel->owner, bytes);
    channel = map_get(channels->by_key, slice_of(&key, sizeof(key))); /* it may be closed by now */
    if (channel != NULL) {
        give_credit(channels, channel);
    }
}

static void on_credit(struct mesh_channel *channel, uint32_t credit)
{
    bool was_full = channel->credit == 0;
    uint32_t paid = credit < channel->debt ? credit : channel->debt;
    channel->debt -= paid;
    channel->credit += credit - paid;
    if (channel->credit > CHANNEL_WINDOW) {
        channel->credit = CHANNEL_WINDOW; /* more than was taken cannot be given back */
    }
    if (was_full && channel->credit > 0) {
        channel->events->room(channel->owner);
    }
}

enum err channels_receive(struct channels *channels, uint32_t node, struct slice body)
{
    struct channel_msg msg = {0};
    TRY(wire_read(&shape, body, false, NULL, &msg));
    struct channel_key key = {.number = msg.number, .node = node, .is_front = !msg.is_of_front};
    struct mesh_channel *channel = map_get(channels->by_key, slice_of(&key, sizeof(key)));
    if (msg.what == 0 || (msg.what == CHANNEL_OPEN && (channel != NULL || key.is_front))) {
        return ERR_CORRUPT;
    }
    if (msg.what == CHANNEL_OPEN) {
        on_open(channels, &key, &msg);
    } else if (channel == NULL) {
        return OK; /* closed here, which the other does not know yet */
    } else if (msg.what == CHANNEL_BYTES) {
        on_bytes(channels, channel, msg.bytes);
    } else if (msg.what == CHANNEL_CREDIT_MORE) {
        on_credit(channel, msg.credit);
    } else {
        channel_end(channels, channel, ERR_CLOSED);
    }
    return OK;
}

/* An event may close others: so it is begun anew after each. */
void channels_lost(struct channels *channels, uint32_t node)
{
    struct list *link = channels->all.next;
    while (link != &channels->all) {
        struct mesh_channel *channel = CONTAINER_OF(link, struct mesh_channel, link);
        link = link->next;
        if (channel->key.node == node) {
            channel_end(channels, channel, ERR_UNAVAILABLE);
            link = channels->all.next;
        }
    }
}

uint32_t channels_count(const struct channels *channels)
{
    return map_count(channels->by_key);
}

void channels_free(struct channels *channels)
{
    if (channels == NULL) {
        return;
    }
    while (!list_is_empty(&channels->all)) {
        channel_free(channels, CONTAINER_OF(channels->all.next, struct mesh_channel, link));
    }
    map_free(channels->by_key);
    buf_deinit(&channels->scratch);
    free(channels);
}
