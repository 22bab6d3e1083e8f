#include "bench/load/load_client.h"
#include "core/io/tls.h"
#include "core/wire/reason.h"
#include "core/wire/ws.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUEUE_BYTES_MIN = 512 };

#define LINGER_NS ((uint64_t)1000000000)
#define SECOND_NS ((uint64_t)1000000000)

struct spare {
    struct spare *next;
};

uint64_t load_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- buffers ------------------------------------------------------------------------------- */

static void bytes_take_spare(struct load *load, struct bytes *bytes)
{
    struct spare *spare = load->spares;
    if (spare != NULL) {
        load->spares = spare->next;
        bytes->memory = (uint8_t *)spare;
        bytes->size = QUEUE_BYTES_MIN;
    }
}

uint8_t *bytes_extend(struct load *load, struct bytes *bytes, size_t count)
{
    if (bytes->size == 0 && count <= QUEUE_BYTES_MIN) {
        bytes_take_spare(load, bytes);
    }
    if (bytes->count + count > bytes->size) {
        size_t size = bytes->size == 0 ? QUEUE_BYTES_MIN : bytes->size;
        while (size < bytes->count + count) {
            size *= 2;
        }
        ASSERT(size <= UINT32_MAX); /* LOAD_QUEUE_MAX and one packet */
        bytes->memory = realloc(bytes->memory, size);
        ASSERT(bytes->memory != NULL);
        bytes->size = (uint32_t)size;
    }
    uint8_t *at = bytes->memory + bytes->count;
    bytes->count += (uint32_t)count;
    return at;
}

void bytes_clear(struct load *load, struct bytes *bytes)
{
    bytes->count = 0;
    if (bytes->size == QUEUE_BYTES_MIN) {
        struct spare *spare = (struct spare *)(void *)bytes->memory;
        spare->next = load->spares;
        load->spares = spare;
        *bytes = (struct bytes){0};
    }
}

void client_mark_dirty(struct load_client *client)
{
    list_remove(&client->dirty);
    list_push_back(&client->load->dirty, &client->dirty);
}

/* ---- a client's socket --------------------------------------------------------------------- */

void client_fail(struct load_client *client, enum err why)
{
    if (!client->is_ending) {
        client->is_ending = true;
        client->why = why;
        io_close(client->stream);
    }
}

void client_hear(struct load_client *client, struct slice bytes, uint64_t received_ns)
{
    if (client->websocket != NULL) {
        websocket_feed(client, bytes, received_ns);
    } else {
        packets_feed(client, bytes, received_ns);
    }
}

static void on_stream_bytes(void *owner, struct slice bytes)
{
    struct load_client *client = owner;
    uint64_t received_ns = load_clock_ns();

    if (client->is_ending) {
        return;
    }
    if (client->tls != NULL) {
        secure_feed(client, bytes, received_ns);
    } else {
        client_hear(client, bytes, received_ns);
    }
}

static void on_stream_sent(void *owner)
{
    struct load_client *client = owner;
    bytes_clear(client->load, &client->flying);
    if (client->queued.count > 0 || client->sealed.count > 0 || client->websocket != NULL) {
        client_mark_dirty(client);
    }
}

static void client_free(struct load_client *client)
{
    struct load *load = client->load;
    list_remove(&client->all);
    list_remove(&client->dirty);
    load->client_count--;
    bytes_clear(load, &client->queued);
    bytes_clear(load, &client->flying);
    bytes_clear(load, &client->sealed);
    bytes_clear(load, &client->carry);
    free(client->queued.memory); /* the large ones */
    free(client->flying.memory);
    free(client->sealed.memory);
    free(client->carry.memory);
    websocket_free(client);
    secure_free(client);
    exchanges_free(&client->exchanges);
    free(client->unreleased);
    free(client);
}

static void on_stream_closed(void *owner, enum err why)
{
    struct load_client *client = owner;
    client->is_ending = true;
    if (client->is_leaving) {
        why = OK; /* that the broker was faster does not matter */
    } else if (client->why != OK) {
        why = client->why; /* for io it was we who closed */
    }
    client->events->closed(client, why, client->reason);
    client_free(client);
}

static const struct io_stream_events stream_events = {
    .bytes = on_stream_bytes,
    .sent = on_stream_sent,
    .closed = on_stream_closed,
};

static void swap(struct bytes *a, struct bytes *b)
{
    struct bytes kept = *a;
    *a = *b;
    *b = kept;
}

/* What is to be said now, of queued, and moved to flying; 0: nothing. */
static uint32_t plain_parts(struct load_client *client, struct slice parts[WEBSOCKET_PARTS_MAX])
{
    if (client->websocket != NULL) {
        return websocket_parts(client, parts);
    }
    swap(&client->flying, &client->queued);
    parts[0] = slice_of(client->flying.memory, client->flying.count);
    return client->flying.count > 0 ? 1 : 0;
}

/* The same, sealed; an alert or a step of the handshake may be all there is. */
static uint32_t cipher_parts(struct load_client *client, struct slice parts[WEBSOCKET_PARTS_MAX])
{
    if (secure_is_open(client) && !client->is_tls_broken) {
        uint32_t count = plain_parts(client, parts);
        if (count > 0) {
            secure_parts(client, parts, count);
        }
        bytes_clear(client->load, &client->flying);
    }
    swap(&client->flying, &client->sealed);
    parts[0] = slice_of(client->flying.memory, client->flying.count);
    return client->flying.count > 0 ? 1 : 0;
}

static void flush_client(struct load_client *client)
{
    struct slice parts[WEBSOCKET_PARTS_MAX];

    if (io_is_sending(client->stream)) {
        return; /* `sent` marks it again */
    }
    uint32_t count = client->tls != NULL ? cipher_parts(client, parts) : plain_parts(client, parts);
    if (count > 0) {
        io_send(client->stream, parts, count);
        if (client->is_ending) {
            io_close_after_send(client->stream, LINGER_NS);
        }
    }
}

static void flush(struct load *load)
{
    struct list *link;
    while ((link = list_pop_front(&load->dirty)) != NULL) {
        flush_client(CONTAINER_OF(link, struct load_client, dirty));
    }
}

/* ---- all of them --------------------------------------------------------------------------- */

/* The longest request for the upgrade must fit; it is the same for all. */
static enum err check_websocket(const struct load *load)
{
    const struct load_config *config = &load->config;
    uint8_t key[WS_KEY_BYTES] = {0}, request[WEBSOCKET_REQUEST_MAX];
    bool is_fine = config->websocket_path == NULL ||
                   (config->websocket_path[0] == '/' &&
                    ws_request_encode(load->host, config->websocket_path, key, request,
                                      sizeof(request)) > 0);
    return is_fine ? OK : ERR_INVALID;
}

/*
 * Loads of several threads come and go one at a time: rings are mapped behind the back of the thread
 * sanitizer, and memory that one gave back and another one got would look like a race.
 */
static pthread_mutex_t rings = PTHREAD_MUTEX_INITIALIZER;

enum err load_new(const struct load_config *config, struct load **out)
{
    struct load *load = calloc(1, sizeof(*load));
    if (load == NULL) {
        return ERR_NOMEM;
    }
    load->config = *config;
    list_init(&load->clients);
    list_init(&load->dirty);
    rng_init(&load->rng, rng_system_seed());
    address_text(&config->to, load->host);
    if (config->to.kind == ADDRESS_UNIX || config->websocket_host != NULL) {
        snprintf(load->host, sizeof(load->host), "%s",
                 config->websocket_host != NULL ? config->websocket_host : "localhost");
    }
    struct io_config io_config = {
        .stream_count_max = config->client_count_max,
        .receive_bytes = 8 * 1024 * 1024,
    };
    load->plain = config->tls == NULL ? NULL : malloc(TLS_PLAIN_BYTES);
    enum err err = config->tls != NULL && load->plain == NULL ? ERR_NOMEM : check_websocket(load);
    if (err == OK) {
        pthread_mutex_lock(&rings);
        err = io_new(&io_config, &load->io);
        pthread_mutex_unlock(&rings);
    }
    if (err != OK) {
        free(load->plain);
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
    pthread_mutex_lock(&rings);
    io_free(load->io);
    pthread_mutex_unlock(&rings);
    LIST_EACH_SAFE (&load->clients, link) {
        client_free(CONTAINER_OF(link, struct load_client, all));
    }
    while (load->spares != NULL) {
        struct spare *spare = load->spares;
        load->spares = spare->next;
        free(spare);
    }
    free(load->plain);
    free(load);
}

/* Once a second is often enough for keep alives, which are said in seconds. */
static void ping(struct load *load, uint64_t now_ns)
{
    if (load->config.keepalive_s == 0 || now_ns < load->ping_ns) {
        return;
    }
    load->ping_ns = now_ns + SECOND_NS;
    LIST_EACH (&load->clients, link) {
        struct load_client *client = CONTAINER_OF(link, struct load_client, all);
        if (client->is_open && !client->is_ending && now_ns >= client->ping_ns) {
            client->ping_ns = now_ns + load->config.keepalive_s * (SECOND_NS / 2);
            packets_queue_control(client, MQTT_PINGREQ);
        }
    }
}

void load_turn(struct load *load, uint64_t wait_ns)
{
    ping(load, io_now_ns(load->io));
    flush(load);
    if (load->config.keepalive_s != 0 && wait_ns > SECOND_NS) {
        wait_ns = SECOND_NS;
    }
    io_turn(load->io, wait_ns);
    flush(load);
}

enum err load_connect_with(struct load *load, const struct load_client_options *options,
                           const struct load_events *events, void *owner, struct load_client **out)
{
    const struct address *from = options->from != NULL ? options->from : &load->config.from;
    struct load_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return ERR_NOMEM;
    }
    client->load = load;
    client->events = events;
    client->owner = owner;
    client->ping_ns = io_now_ns(load->io) + load->config.keepalive_s * (SECOND_NS / 2);
    list_init(&client->dirty);
    list_push_back(&load->clients, &client->all);
    load->client_count++;
    enum err err = load->config.websocket_path == NULL ? OK : websocket_new(client);
    if (err == OK && load->config.tls != NULL) {
        err = secure_new(client, options->ticket);
    }
    if (err == OK) {
        err = io_connect(load->io, &load->config.to, from, &stream_events, client, &client->stream);
    }
    if (err != OK) {
        client_free(client);
        return err;
    }
    packets_queue_connect(client, options);
    *out = client;
    return OK;
}

enum err load_connect(struct load *load, const char *client_id, const struct address *from,
                      const struct load_events *events, void *owner, struct load_client **out)
{
    struct load_client_options options = {.client_id = client_id, .from = from};
    return load_connect_with(load, &options, events, owner, out);
}

void load_disconnect(struct load_client *client)
{
    if (client->is_ending) {
        return;
    }
    client->is_leaving = true;
    bool is_mute = (client->tls != NULL && !secure_is_open(client)) ||
                   (client->websocket != NULL && !websocket_is_upgraded(client));
    if (is_mute) {
        client->is_ending = true;
        io_close(client->stream); /* there is no way to say it */
        return;
    }
    packets_queue_control(client, MQTT_DISCONNECT);
    client->is_ending = true;
}

void load_drop(struct load_client *client)
{
    if (!client->is_ending) {
        client->is_leaving = true;
        client->is_ending = true;
        io_close(client->stream);
    }
}

void *load_owner(const struct load_client *client)
{
    return client->owner;
}

bool load_is_resumed(const struct load_client *client)
{
    return client->is_resumed;
}

uint64_t load_unsent_bytes(const struct load_client *client)
{
    return (uint64_t)client->queued.count + client->flying.count + client->sealed.count;
}

uint32_t load_client_count(const struct load *load)
{
    return load->client_count;
}

/* ---- what to tell people ------------------------------------------------------------------- */

const char *load_explain(const struct load_config *config, enum err why, uint8_t reason,
                         char out[LOAD_TEXT_MAX])
{
    char to[ADDRESS_TEXT_MAX];
    address_text(&config->to, to);
    if (reason != 0) {
        snprintf(out, LOAD_TEXT_MAX, "%s: the broker at %s said 0x%02x%s%s%s", err_text(why), to,
                 reason, config->version == MQTT_5 ? " (" : "",
                 config->version == MQTT_5 ? reason_name(reason) : "",
                 config->version == MQTT_5 ? ")" : "");
        return out;
    }
    switch (why) {
    case ERR_REFUSED:
        snprintf(out, LOAD_TEXT_MAX, "connection refused: is the broker listening on %s?", to);
        break;
    case ERR_NOT_FOUND: /* a Unix socket's path */
        snprintf(out, LOAD_TEXT_MAX, "there is no such socket: is the broker listening on %s?", to);
        break;
    case ERR_LIMIT:
        snprintf(out, LOAD_TEXT_MAX,
                 "no room for another connection to %s: too few open files (ulimit -n) or local "
                 "ports (--ifaddr)",
                 to);
        break;
    case ERR_PROTOCOL:
    case ERR_MALFORMED:
        snprintf(out, LOAD_TEXT_MAX, "%s: does %s speak MQTT%s?", err_text(why), to,
                 config->websocket_path != NULL ? " over WebSocket at that path" : "");
        break;
    case ERR_ID_UNKNOWN:
        snprintf(out, LOAD_TEXT_MAX, "%s acknowledged what was not sent, or acknowledged it twice",
                 to);
        break;
    case ERR_QOS:
        snprintf(out, LOAD_TEXT_MAX, "%s grants a lower QoS than was asked for", to);
        break;
    case ERR_CLOSED:
    case ERR_RESET:
        snprintf(out, LOAD_TEXT_MAX, "%s: the broker at %s gave no reason", err_text(why), to);
        break;
    default:
        snprintf(out, LOAD_TEXT_MAX, "%s (%s)", err_text(why), to);
    }
    return out;
}
