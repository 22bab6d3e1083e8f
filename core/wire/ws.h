/*
 * ws: WebSocket, RFC 6455, as MQTT uses it: opening handshake and frames, both directions.
 *
 * Floor:  wire; pure.
 * Memory: a decoder lives inside its connection. It allocates only when a control frame comes in
 *         pieces: 125 bytes, once, given back by ws_decoder_deinit().
 *
 * MQTT packets may be cut over frames and frames may hold several packets [MQTT-6.0.0-2]: borders of
 * messages and frames mean nothing to us, so payload is handed out as it comes and never assembled.
 */
#ifndef TERN_WIRE_WS_H
#define TERN_WIRE_WS_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/wire/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WS_HEADER_MAX = 10,           /* bytes of a header that ws_header_encode() writes, at most */
    WS_HEADER_CLIENT_MAX = 14,    /* with the mask */
    WS_CONTROL_MAX = 125,         /* payload bytes of a control frame, at most */
    WS_KEY_BYTES = 24,            /* base64 of 16 bytes */
    WS_ACCEPT_BYTES = 28,         /* base64 of a SHA-1 */
    WS_REPLY_MAX = 512,           /* room for any answer that the handshake functions write */
    WS_FRAME_BYTES_MAX = 1 << 30, /* longest payload of one frame that a peer may announce; it is
                                     streamed and costs no memory, so this only stops nonsense */
};

enum ws_opcode {
    WS_OP_CONTINUATION = 0,
    WS_OP_TEXT = 1,
    WS_OP_BINARY = 2,
    WS_OP_CLOSE = 8,
    WS_OP_PING = 9,
    WS_OP_PONG = 10,
};

enum ws_close {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNSUPPORTED = 1003, /* a text frame */
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_LARGE = 1009,
    WS_CLOSE_INTERNAL = 1011,
};

/*
 * ----- frames -----------------------------------------------------------------------------------
 */

/* Zero-initialised it reads what clients send; with is_client it reads what servers send. */
struct ws_decoder {
    uint64_t left;        /* payload bytes of the current frame still to come */
    uint8_t *control;     /* payload of a control frame that came in pieces, or NULL */
    uint8_t mask[4];      /* turned so that mask[0] is for the next payload byte */
    uint8_t header[14];   /* of a frame whose header came in pieces */
    uint8_t header_count; /* bytes in header */
    uint8_t control_count;
    uint8_t state;
    uint8_t opcode;
    bool in_message; /* a fragmented message is open: continuation frames are expected */
    bool is_client;
};

_Static_assert(sizeof(struct ws_decoder) <= 48, "a decoder lies in every connection");

/* Give the memory back; the decoder is as new afterwards (is_client stands). */
void ws_decoder_deinit(struct ws_decoder *d);

enum ws_event {
    WS_MORE, /* all input is used up, or the peer has closed: nothing more to say */
    WS_DATA, /* out: payload of a binary message, never empty */
    WS_PING, /* out: what the PONG has to carry */
    WS_PONG, /* out: what it carried */
    WS_CLOSE /* out: the close payload: empty, or a code of 2 bytes (checked) and a reason. What the
                peer sends after it is ignored, RFC 6455 5.5.1; answer with a close frame */
};

/*
 * Read up to the next event. *in and *in_count are moved on past what was used; call again until
 * WS_MORE.
 *
 * in   must be writable: payload is unmasked in place
 * out  written for every event but WS_MORE; lies in the input, or in the decoder: valid until the
 *      next call
 *
 * ERR_PROTOCOL   the peer broke RFC 6455 or sent text [MQTT-6.0.0-1]
 * ERR_TOO_LARGE  a frame beyond WS_FRAME_BYTES_MAX
 * ERR_NOMEM
 * With any of them *close_code is what to send in a close frame before closing, and the decoder
 * stays broken: later calls return ERR_PROTOCOL.
 */
enum err ws_decode(struct ws_decoder *d, uint8_t **in, size_t *in_count, enum ws_event *event,
                   struct slice *out, uint16_t *close_code);

/* The header of an unfragmented frame from a server. Returns its length, 2 to WS_HEADER_MAX. */
size_t ws_header_encode(uint8_t out[WS_HEADER_MAX], uint8_t opcode, uint64_t payload_bytes);

/* The same from a client; the caller then masks the payload with ws_mask(). */
size_t ws_header_encode_client(uint8_t out[WS_HEADER_CLIENT_MAX], uint8_t opcode,
                               uint64_t payload_bytes, const uint8_t mask[4]);

/* XOR the payload with the mask; offset: index of data[0] within the payload of the frame. */
void ws_mask(uint8_t *data, size_t count, const uint8_t mask[4], uint64_t offset);

/* A whole close frame of a server, with the code and no reason: 4 bytes. */
size_t ws_close_encode(uint8_t out[4], uint16_t code);

/*
 * ----- opening handshake ------------------------------------------------------------------------
 */

struct ws_handshake {
    struct slice path;     /* of the request; whether it is ours is for the caller */
    struct slice origin;   /* empty: none was sent; whether it is allowed is for the caller */
    struct slice key;      /* WS_KEY_BYTES */
    struct slice protocol; /* "mqtt" [MQTT-6.0.0-4], or "mqttv3.1" if only that was offered */
};

/*
 * Is this request an opening handshake for MQTT? 101 and *out, borrowed from head; else the status
 * of the refusal for ws_handshake_refuse(): 400, 405, or 426 (not an upgrade to WebSocket 13).
 */
uint16_t ws_handshake_check(const struct http_head *head, struct ws_handshake *out);

/* Write the answer 101. Returns its length. */
size_t ws_handshake_accept(const struct ws_handshake *handshake, uint8_t out[WS_REPLY_MAX]);

/* Write a refusal (any status of http_status_text(), 403 and 404 for instance); then close. */
size_t ws_handshake_refuse(uint16_t status, uint8_t out[WS_REPLY_MAX]);

/* What the server answers to the key. */
void ws_accept_value(struct slice key, uint8_t out[WS_ACCEPT_BYTES]);

/* A client's key out of 16 random bytes. */
void ws_key_encode(const uint8_t random[16], uint8_t out[WS_KEY_BYTES]);

/* A client's request with sub-protocol "mqtt". Returns its length, 0 when out is too small. */
size_t ws_request_encode(const char *host, const char *path, const uint8_t key[WS_KEY_BYTES],
                         uint8_t *out, size_t out_bytes);

/* A server's answer, parsed by http_response_parse(): did it accept that key? ERR_PROTOCOL. */
enum err ws_response_check(const struct http_head *head, const uint8_t key[WS_KEY_BYTES]);

#endif
