#include "core/wire/ws.h"

#include "core/wire/sha1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The decoder:
 *
 *     ┌────────── payload used up ──────────┐
 *     v                                     │
 *   HEADER ── header whole and legal ──> PAYLOAD ── of a close frame ──> CLOSED
 *     └───────────── anything illegal ──────┴──────────────────────────> BROKEN
 *
 * Invariants
 *   I1  HEADER: header holds header_count bytes of a frame header, less than it needs.
 *   I2  PAYLOAD: left bytes are missing; mask[0] belongs to the first of them.
 *   I3  control holds control_count bytes of the current control frame, unmasked; they and left
 *       are WS_CONTROL_MAX together at most.
 *   I4  in_message is true exactly between a data frame without FIN and one with it.
 */
enum { HEADER, PAYLOAD, CLOSED, BROKEN };

enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f };

void ws_decoder_deinit(struct ws_decoder *d)
{
    free(d->control);
    *d = (struct ws_decoder){.is_client = d->is_client};
}

void ws_mask(uint8_t *data, size_t count, const uint8_t mask[4], uint64_t offset)
{
    uint8_t turned[8];
    for (size_t i = 0; i < sizeof(turned); i++) {
        turned[i] = mask[(offset + i) % 4];
    }
    uint64_t word;
    memcpy(&word, turned, sizeof(word));
    size_t i = 0;
    for (; i + sizeof(word) <= count; i += sizeof(word)) { /* the compiler makes vectors of it */
        uint64_t bytes;
        memcpy(&bytes, data + i, sizeof(bytes));
        bytes ^= word;
        memcpy(data + i, &bytes, sizeof(bytes));
    }
    for (; i < count; i++) {
        data[i] ^= turned[i % 4];
    }
}

static bool is_control(uint8_t opcode)
{
    return opcode >= WS_OP_CLOSE;
}

static enum err broken(struct ws_decoder *d, uint16_t code, uint16_t *close_code)
{
    d->state = BROKEN;
    *close_code = code;
    return code == WS_CLOSE_TOO_LARGE  ? ERR_TOO_LARGE
           : code == WS_CLOSE_INTERNAL ? ERR_NOMEM
                                       : ERR_PROTOCOL;
}

/* What the first two bytes of a header may say: 0, or the code to close with. RFC 6455 5.2 to 5.5 */
static uint16_t header_refusal(const struct ws_decoder *d)
{
    uint8_t first = d->header[0], second = d->header[1], opcode = first & OPCODE;

    if ((first & RESERVED) != 0) {
        return WS_CLOSE_PROTOCOL; /* we never agree on an extension */
    }
    if (((second & MASKED) != 0) == d->is_client) {
        return WS_CLOSE_PROTOCOL; /* clients mask, servers do not */
    }
    switch (opcode) {
    case WS_OP_CLOSE:
    case WS_OP_PING:
    case WS_OP_PONG:
        return (first & FIN) == 0 || (second & LENGTH) > WS_CONTROL_MAX ? WS_CLOSE_PROTOCOL : 0;
    case WS_OP_CONTINUATION:
        return d->in_message ? 0 : WS_CLOSE_PROTOCOL;
    case WS_OP_BINARY:
        return d->in_message ? WS_CLOSE_PROTOCOL : 0;
    case WS_OP_TEXT:
        return d->in_message ? WS_CLOSE_PROTOCOL : WS_CLOSE_UNSUPPORTED; /* [MQTT-6.0.0-1] */
    default:
        return WS_CLOSE_PROTOCOL;
    }
}

static size_t length_bytes(uint8_t second)
{
    return (second & LENGTH) == 126 ? 2 : (second & LENGTH) == 127 ? 8 : 0;
}

static size_t header_bytes(uint8_t second)
{
    return 2 + length_bytes(second) + ((second & MASKED) != 0 ? 4 : 0);
}

/* Copy from the input until header has wanted bytes. */
static bool header_fill(struct ws_decoder *d, size_t wanted, uint8_t **in, size_t *in_count)
{
    while (d->header_count<wanted && * in_count> 0) {
        d->header[d->header_count++] = **in;
        (*in)++;
        (*in_count)--;
    }
    return d->header_count == wanted;
}

/* The header is whole: read length and mask, 0 or the code to close with. */
static uint16_t header_finish(struct ws_decoder *d)
{
    size_t extended = length_bytes(d->header[1]);
    uint64_t length = extended == 0 ? d->header[1] & LENGTH : 0;

    for (size_t i = 0; i < extended; i++) {
        length = length << 8 | d->header[2 + i];
    }
    if ((extended == 2 && length < 126) || (extended == 8 && length <= UINT16_MAX) ||
        length > INT64_MAX) {
        return WS_CLOSE_PROTOCOL; /* the shortest form is a must; the top bit is zero */
    }
    if (length > WS_FRAME_BYTES_MAX) {
        return WS_CLOSE_TOO_LARGE;
    }
    d->left = length;
    d->opcode = d->header[0] & OPCODE;
    if ((d->header[1] & MASKED) != 0) {
        memcpy(d->mask, d->header + 2 + extended, sizeof(d->mask));
    } else {
        memset(d->mask, 0, sizeof(d->mask));
    }
    if (!is_control(d->opcode)) {
        d->in_message = (d->header[0] & FIN) == 0; /* I4 */
    }
    d->header_count = 0;
    d->control_count = 0;
    d->state = PAYLOAD;
    return 0;
}

/* Unmask what is here of the payload, in place. */
static struct slice payload_take(struct ws_decoder *d, uint8_t **in, size_t *in_count)
{
    size_t count = *in_count < d->left ? *in_count : (size_t)d->left;
    uint8_t *data = *in;

    if (!d->is_client && count > 0) {
        uint8_t turned[4];
        ws_mask(data, count, d->mask, 0);
        for (size_t i = 0; i < sizeof(turned); i++) {
            turned[i] = d->mask[(count + i) % 4];
        }
        memcpy(d->mask, turned, sizeof(turned)); /* I2 */
    }
    *in += count;
    *in_count -= count;
    d->left -= count;
    return slice_of(data, count);
}

/* Codes that may stand in a close frame, RFC 6455 7.4. */
static bool is_close_legal(struct slice payload)
{
    if (payload.count == 0) {
        return true;
    }
    if (payload.count == 1) {
        return false;
    }
    uint32_t code = (uint32_t)payload.data[0] << 8 | payload.data[1];
    return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
           (code >= 3000 && code <= 4999);
}

/*
 * The payload of a control frame. Whole in the input, as nearly always, it stays there; in pieces
 * it is gathered. ERR_MORE until it is whole.
 */
static enum err control_gather(struct ws_decoder *d, uint8_t **in, size_t *in_count,
                               struct slice *payload)
{
    struct slice piece = payload_take(d, in, in_count);
    if (d->left == 0 && d->control_count == 0) {
        *payload = piece;
        return OK;
    }
    if (piece.count > 0) {
        if (d->control == NULL && (d->control = malloc(WS_CONTROL_MAX)) == NULL) {
            return ERR_NOMEM;
        }
        ASSERT(d->control_count + piece.count <= WS_CONTROL_MAX); /* I3 */
        memcpy(d->control + d->control_count, piece.data, piece.count);
        d->control_count = (uint8_t)(d->control_count + piece.count);
    }
    if (d->left > 0) {
        return ERR_MORE;
    }
    *payload = slice_of(d->control, d->control_count);
    return OK;
}

static enum err control_finish(struct ws_decoder *d, struct slice payload, enum ws_event *event,
                               struct slice *out, uint16_t *close_code)
{
    d->state = HEADER;
    if (d->opcode == WS_OP_CLOSE) {
        if (!is_close_legal(payload)) {
            return broken(d, WS_CLOSE_PROTOCOL, close_code);
        }
        d->state = CLOSED;
    }
    *event = d->opcode == WS_OP_PING ? WS_PING : d->opcode == WS_OP_PONG ? WS_PONG : WS_CLOSE;
    *out = payload;
    return OK;
}

enum err ws_decode(struct ws_decoder *d, uint8_t **in, size_t *in_count, enum ws_event *event,
                   struct slice *out, uint16_t *close_code)
{
    for (;;) {
        if (d->state == BROKEN) {
            return broken(d, WS_CLOSE_PROTOCOL, close_code);
        }
        if (d->state == CLOSED) {
            *in += *in_count;
            *in_count = 0;
            break;
        }
        if (d->state == HEADER) {
            if (d->header_count < 2) {
                if (!header_fill(d, 2, in, in_count)) {
                    break;
                }
                uint16_t code = header_refusal(d);
                if (code != 0) {
                    return broken(d, code, close_code);
                }
            }
            if (!header_fill(d, header_bytes(d->header[1]), in, in_count)) {
                break;
            }
            uint16_t code = header_finish(d);
            if (code != 0) {
                return broken(d, code, close_code);
            }
        }
        if (is_control(d->opcode)) {
            struct slice payload;
            enum err err = control_gather(d, in, in_count, &payload);
            if (err == ERR_MORE) {
                break;
            }
            if (err != OK) {
                return broken(d, WS_CLOSE_INTERNAL, close_code);
            }
            return control_finish(d, payload, event, out, close_code);
        }
        struct slice piece = payload_take(d, in, in_count);
        if (d->left == 0) {
            d->state = HEADER;
        }
        if (piece.count > 0) {
            *event = WS_DATA;
            *out = piece;
            return OK;
        }
        if (d->left > 0) {
            break;
        }
    }
    *event = WS_MORE;
    return OK;
}

static size_t header_write(uint8_t *out, uint8_t opcode, uint64_t payload_bytes, uint8_t masked)
{
    ASSERT(opcode <= OPCODE);
    ASSERT(!is_control(opcode) || payload_bytes <= WS_CONTROL_MAX);
    out[0] = FIN | opcode;
    size_t extended = payload_bytes < 126 ? 0 : payload_bytes <= UINT16_MAX ? 2 : 8;
    out[1] = masked | (extended == 0 ? (uint8_t)payload_bytes : extended == 2 ? 126 : 127);
    for (size_t i = 0; i < extended; i++) {
        out[2 + i] = (uint8_t)(payload_bytes >> (8 * (extended - 1 - i)));
    }
    return 2 + extended;
}

size_t ws_header_encode(uint8_t out[WS_HEADER_MAX], uint8_t opcode, uint64_t payload_bytes)
{
    return header_write(out, opcode, payload_bytes, 0);
}

size_t ws_header_encode_client(uint8_t out[WS_HEADER_CLIENT_MAX], uint8_t opcode,
                               uint64_t payload_bytes, const uint8_t mask[4])
{
    size_t count = header_write(out, opcode, payload_bytes, MASKED);
    memcpy(out + count, mask, 4);
    return count + 4;
}

size_t ws_close_encode(uint8_t out[4], uint16_t code)
{
    size_t count = header_write(out, WS_OP_CLOSE, 2, 0);
    out[count] = (uint8_t)(code >> 8);
    out[count + 1] = (uint8_t)code;
    return count + 2;
}
