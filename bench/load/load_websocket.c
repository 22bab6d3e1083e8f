/*
 * MQTT inside WebSocket, the client's side.
 *
 *     connected ──request──> ASKED ──101 and the right answer to our key──> UPGRADED
 *                              └── any other answer ──> the client fails
 *
 * What a turn queued leaves as one binary frame. Until UPGRADED it waits in `queued`.
 */
#include "bench/load/load_client.h"
#include "core/wire/http.h"
#include "core/wire/ws.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEAD_MAX = 8192,
    CONTROL_FRAME_MAX = WS_HEADER_CLIENT_MAX + WS_CONTROL_MAX,
    CLOSE_FRAME_BYTES = 8, /* header, mask, code */
};

struct websocket {
    struct ws_decoder decoder;
    uint8_t key[WS_KEY_BYTES];
    size_t scanned; /* of the head, by http_head_find() */
    bool is_asked, is_upgraded;
    /* Being sent. */
    uint8_t header[WS_HEADER_CLIENT_MAX];
    uint8_t close_frame[CLOSE_FRAME_BYTES];
    uint8_t *pong_frame; /* NULL: none */
    size_t pong_frame_bytes;
    /* To be sent: the answer to the last ping; who asked twice meanwhile gets one (RFC 6455 5.5.3). */
    uint8_t *pong;
    uint8_t pong_bytes;
};

static void mask_new(struct load *load, uint8_t mask[4])
{
    uint32_t bits = (uint32_t)rng_u64(&load->rng);
    memcpy(mask, &bits, 4);
}

enum err websocket_new(struct load_client *client)
{
    uint64_t random[2] = {rng_u64(&client->load->rng), rng_u64(&client->load->rng)};
    struct websocket *websocket = calloc(1, sizeof(*websocket));
    if (websocket == NULL) {
        return ERR_NOMEM;
    }
    websocket->decoder.is_client = true;
    ws_key_encode((const uint8_t *)random, websocket->key);
    client->websocket = websocket;
    return OK;
}

void websocket_free(struct load_client *client)
{
    struct websocket *websocket = client->websocket;
    if (websocket != NULL) {
        ws_decoder_deinit(&websocket->decoder);
        free(websocket->pong_frame);
        free(websocket->pong);
        free(websocket);
    }
}

bool websocket_is_upgraded(const struct load_client *client)
{
    return client->websocket->is_upgraded;
}

/* ---- sending ------------------------------------------------------------------------------- */

static uint32_t request_parts(struct load_client *client, struct slice *part)
{
    struct websocket *websocket = client->websocket;
    struct load *load = client->load;
    uint8_t request[WEBSOCKET_REQUEST_MAX];

    size_t count = ws_request_encode(load->host, load->config.websocket_path, websocket->key,
                                     request, sizeof(request));
    ASSERT(count > 0); /* load_new() has tried it */
    memcpy(bytes_extend(load, &client->flying, count), request, count);
    *part = slice_of(client->flying.memory, count);
    websocket->is_asked = true;
    return 1;
}

static struct slice pong_part(struct load_client *client)
{
    struct websocket *websocket = client->websocket;
    uint8_t mask[4];
    mask_new(client->load, mask);
    free(websocket->pong_frame);
    websocket->pong_frame = malloc(CONTROL_FRAME_MAX);
    ASSERT(websocket->pong_frame != NULL);
    size_t head_bytes = ws_header_encode_client(websocket->pong_frame, WS_OP_PONG,
                                                websocket->pong_bytes, mask);
    memcpy(websocket->pong_frame + head_bytes, websocket->pong, websocket->pong_bytes);
    ws_mask(websocket->pong_frame + head_bytes, websocket->pong_bytes, mask, 0);
    websocket->pong_frame_bytes = head_bytes + websocket->pong_bytes;
    free(websocket->pong);
    websocket->pong = NULL;
    return slice_of(websocket->pong_frame, websocket->pong_frame_bytes);
}

static struct slice close_part(struct load_client *client)
{
    uint8_t *frame = client->websocket->close_frame, mask[4];
    uint8_t header[WS_HEADER_CLIENT_MAX];
    uint8_t code[2] = {WS_CLOSE_NORMAL >> 8, WS_CLOSE_NORMAL & 255};
    mask_new(client->load, mask);
    size_t head_bytes = ws_header_encode_client(header, WS_OP_CLOSE, sizeof(code), mask);
    ASSERT(head_bytes + sizeof(code) == CLOSE_FRAME_BYTES);
    memcpy(frame, header, head_bytes);
    ws_mask(code, sizeof(code), mask, 0);
    memcpy(frame + head_bytes, code, sizeof(code));
    return slice_of(frame, CLOSE_FRAME_BYTES);
}

uint32_t websocket_parts(struct load_client *client, struct slice parts[WEBSOCKET_PARTS_MAX])
{
    struct websocket *websocket = client->websocket;
    uint8_t mask[4];
    uint32_t count = 0;

    if (!websocket->is_asked) {
        return request_parts(client, parts);
    }
    if (!websocket->is_upgraded) {
        return 0;
    }
    if (websocket->pong != NULL) {
        parts[count++] = pong_part(client);
    }
    if (client->queued.count > 0) {
        struct bytes empty = client->flying;
        client->flying = client->queued;
        client->queued = empty;
        mask_new(client->load, mask);
        ws_mask(client->flying.memory, client->flying.count, mask, 0);
        size_t head_bytes = ws_header_encode_client(websocket->header, WS_OP_BINARY,
                                                    client->flying.count, mask);
        parts[count++] = slice_of(websocket->header, head_bytes);
        parts[count++] = slice_of(client->flying.memory, client->flying.count);
        if (client->is_ending) {
            parts[count++] = close_part(client);
        }
    }
    return count;
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* The answer to the upgrade, in client->carry until it is whole; what stands behind it. */
static enum err feed_head(struct load_client *client, struct slice *bytes)
{
    struct websocket *websocket = client->websocket;
    size_t before = client->carry.count, head_bytes;
    struct http_head head;

    size_t count = bytes->count < HEAD_MAX - before ? bytes->count : HEAD_MAX - before;
    memcpy(bytes_extend(client->load, &client->carry, count), bytes->data, count);
    struct slice text = slice_of(client->carry.memory, client->carry.count);
    struct slice begin = slice_text("HTTP/1.");
    begin.count = begin.count < text.count ? begin.count : text.count;
    if (!slice_starts_with(text, begin)) {
        return ERR_PROTOCOL; /* another protocol greets, and would be waited for in vain */
    }
    enum err err = http_head_find(text, HEAD_MAX, &websocket->scanned, &head_bytes);
    if (err != OK) {
        return err == ERR_MORE && text.count == HEAD_MAX ? ERR_TOO_LARGE : err;
    }
    TRY(http_response_parse(slice_head(text, head_bytes), &head));
    TRY(ws_response_check(&head, websocket->key));
    *bytes = slice_skip(*bytes, head_bytes - before);
    bytes_clear(client->load, &client->carry);
    websocket->is_upgraded = true;
    client_mark_dirty(client); /* the CONNECT */
    return OK;
}

static void answer_ping(struct load_client *client, struct slice payload)
{
    struct websocket *websocket = client->websocket;
    free(websocket->pong);
    websocket->pong = malloc(payload.count + 1);
    ASSERT(websocket->pong != NULL);
    if (payload.count > 0) {
        memcpy(websocket->pong, payload.data, payload.count);
    }
    websocket->pong_bytes = (uint8_t)payload.count;
    client_mark_dirty(client);
}

static void feed_frames(struct load_client *client, struct slice bytes, uint64_t received_ns)
{
    /* The decoder writes only where it unmasks, and what a server masks it refuses. */
    uint8_t *at = (uint8_t *)(uintptr_t)bytes.data;
    size_t left = bytes.count;
    enum ws_event event = WS_DATA;
    struct slice payload;
    uint16_t close_code;

    while (!client->is_ending && event != WS_MORE) {
        enum err err = ws_decode(&client->websocket->decoder, &at, &left, &event, &payload,
                                 &close_code);
        if (err != OK) {
            client_fail(client, err);
        } else if (event == WS_DATA) {
            packets_feed(client, payload, received_ns);
        } else if (event == WS_PING) {
            answer_ping(client, payload);
        } else if (event == WS_CLOSE) {
            client_fail(client, ERR_CLOSED);
        }
    }
}

void websocket_feed(struct load_client *client, struct slice bytes, uint64_t received_ns)
{
    if (!client->websocket->is_upgraded) {
        enum err err = feed_head(client, &bytes);
        if (err == ERR_MORE) {
            return;
        }
        if (err != OK) {
            client_fail(client, err);
            return;
        }
    }
    if (bytes.count > 0) {
        feed_frames(client, bytes, received_ns);
    }
}
