#include "core/wire/sha1.h"
#include "core/wire/ws.h"

#include <stdio.h>
#include <string.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes 4 characters for each 3 bytes begun. */
static void base64_encode(struct slice in, uint8_t *out)
{
    for (; in.count > 0; out += 4) {
        size_t count = in.count < 3 ? in.count : 3;
        uint32_t bits = (uint32_t)in.data[0] << 16 | (count > 1 ? (uint32_t)in.data[1] << 8 : 0) |
                        (count > 2 ? in.data[2] : 0);
        out[0] = (uint8_t)base64_digits[bits >> 18];
        out[1] = (uint8_t)base64_digits[bits >> 12 & 63];
        out[2] = count > 1 ? (uint8_t)base64_digits[bits >> 6 & 63] : '=';
        out[3] = count > 2 ? (uint8_t)base64_digits[bits & 63] : '=';
        in = slice_skip(in, count);
    }
}

/*
 * 16 bytes in base64: 22 digits and "==". The last digit has four bits too many; the RFC's own
 * example does not zero them, so neither must a client.
 */
static bool is_key(struct slice key)
{
    if (key.count != WS_KEY_BYTES || key.data[22] != '=' || key.data[23] != '=') {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        if (key.data[i] == 0 || strchr(base64_digits, key.data[i]) == NULL) {
            return false;
        }
    }
    return true;
}

void ws_key_encode(const uint8_t random[16], uint8_t out[WS_KEY_BYTES])
{
    base64_encode(slice_of(random, 16), out);
}

void ws_accept_value(struct slice key, uint8_t out[WS_ACCEPT_BYTES])
{
    static const char constant[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t text[WS_KEY_BYTES + sizeof(constant) - 1], digest[SHA1_BYTES];

    ASSERT(key.count == WS_KEY_BYTES);
    memcpy(text, key.data, WS_KEY_BYTES);
    memcpy(text + WS_KEY_BYTES, constant, sizeof(constant) - 1);
    sha1(slice_of(text, sizeof(text)), digest);
    base64_encode(slice_of(digest, sizeof(digest)), out);
}

static bool is_upgrade(const struct http_head *head)
{
    return http_list_contains(head, "Upgrade", "websocket") &&
           http_list_contains(head, "Connection", "upgrade");
}

/* "mqtt" if it was offered, else "mqttv3.1", which old clients offer and mosquitto takes. */
static struct slice protocol_choose(const struct http_head *head)
{
    struct slice chosen = {0};
    for (uint32_t i = 0; i < head->header_count; i++) {
        if (!http_text_equal(head->headers[i].name, slice_text("Sec-WebSocket-Protocol"))) {
            continue;
        }
        struct slice rest = head->headers[i].value, element;
        while (http_list_next(&rest, &element)) {
            if (slice_is(element, "mqtt")) {
                return element;
            }
            if (slice_is(element, "mqttv3.1")) {
                chosen = element;
            }
        }
    }
    return chosen;
}

uint16_t ws_handshake_check(const struct http_head *head, struct ws_handshake *out)
{
    if (head->method != HTTP_GET) {
        return 405;
    }
    if (head->minor != 1 || head->content_length > 0) {
        return 400; /* a body would be read as frames */
    }
    const struct http_header *version = http_header_find(head, "Sec-WebSocket-Version");
    if (!is_upgrade(head) || version == NULL || !slice_is(version->value, "13") ||
        http_header_count(head, "Sec-WebSocket-Version") > 1) {
        return 426;
    }
    const struct http_header *key = http_header_find(head, "Sec-WebSocket-Key");
    if (key == NULL || http_header_count(head, "Sec-WebSocket-Key") > 1 || !is_key(key->value)) {
        return 400;
    }
    struct slice protocol = protocol_choose(head);
    if (protocol.count == 0) {
        return 400; /* [MQTT-6.0.0-3] */
    }
    const struct http_header *origin = http_header_find(head, "Origin");
    *out = (struct ws_handshake){
        .path = head->path,
        .origin = origin == NULL ? (struct slice){0} : origin->value,
        .key = key->value,
        .protocol = protocol,
    };
    return 101;
}

size_t ws_handshake_accept(const struct ws_handshake *handshake, uint8_t out[WS_REPLY_MAX])
{
    uint8_t accept[WS_ACCEPT_BYTES];
    char headers[192];
    size_t count;

    ws_accept_value(handshake->key, accept);
    snprintf(headers, sizeof(headers),
             "Upgrade: websocket\r\nSec-WebSocket-Accept: %.*s\r\n"
             "Sec-WebSocket-Protocol: %.*s\r\n",
             WS_ACCEPT_BYTES, (const char *)accept, (int)handshake->protocol.count,
             (const char *)handshake->protocol.data); /* [MQTT-6.0.0-4] */
    struct http_reply reply = {.status = 101, .connection = "Upgrade", .headers = headers};
    enum err err = http_reply_write(&reply, out, WS_REPLY_MAX, &count);
    ASSERT(err == OK);
    return count;
}

size_t ws_handshake_refuse(uint16_t status, uint8_t out[WS_REPLY_MAX])
{
    const char *text = http_status_text(status);
    struct http_reply reply = {
        .status = status,
        .has_content_length = true,
        .content_length = strlen(text) + 1,
        .content_type = "text/plain",
        .connection = status == 426 ? "upgrade, close" : "close",
        .headers = status == 426   ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                   : status == 405 ? "Allow: GET\r\n"
                                   : NULL,
    };
    size_t count;
    enum err err = http_reply_write(&reply, out, WS_REPLY_MAX, &count);
    ASSERT(err == OK);
    int body = snprintf((char *)out + count, WS_REPLY_MAX - count, "%s\n", text);
    ASSERT(body > 0 && count + (size_t)body < WS_REPLY_MAX);
    return count + (size_t)body;
}

size_t ws_request_encode(const char *host, const char *path, const uint8_t key[WS_KEY_BYTES],
                         uint8_t *out, size_t out_bytes)
{
    int count = snprintf((char *)out, out_bytes,
                         "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Key: %.*s\r\n"
                         "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n",
                         path, host, WS_KEY_BYTES, (const char *)key);
    return count < 0 || (size_t)count >= out_bytes ? 0 : (size_t)count;
}

enum err ws_response_check(const struct http_head *head, const uint8_t key[WS_KEY_BYTES])
{
    uint8_t accept[WS_ACCEPT_BYTES];
    const struct http_header *value = http_header_find(head, "Sec-WebSocket-Accept");
    const struct http_header *protocol = http_header_find(head, "Sec-WebSocket-Protocol");

    ws_accept_value(slice_of(key, WS_KEY_BYTES), accept);
    if (head->status != 101 || !is_upgrade(head) || value == NULL ||
        !slice_equal(value->value, slice_of(accept, sizeof(accept))) || protocol == NULL ||
        !slice_is(protocol->value, "mqtt") ||
        http_header_count(head, "Sec-WebSocket-Extensions") > 0) {
        return ERR_PROTOCOL;
    }
    return OK;
}
