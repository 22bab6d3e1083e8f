#include "core/wire/ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(literal) slice_of(literal, sizeof(literal) - 1)

/* What a decoder said: data joined, a letter per control event, and how it ended. */
struct story {
    uint8_t data[70000];
    size_t data_count;
    uint8_t control[256]; /* payloads of control frames, each after a letter */
    size_t control_count;
    enum err err;
    uint16_t close_code;
};

static void control_note(struct story *story, char letter, struct slice payload)
{
    assert_true(payload.count <= WS_CONTROL_MAX);
    assert_true(story->control_count + 1 + payload.count <= sizeof(story->control));
    story->control[story->control_count++] = (uint8_t)letter;
    if (payload.count > 0) {
        memcpy(story->control + story->control_count, payload.data, payload.count);
    }
    story->control_count += payload.count;
}

/* One piece of input, in memory of its exact size. */
static void feed(struct ws_decoder *d, struct slice piece, struct story *story)
{
    uint8_t *copy = malloc(piece.count + 1), *in = copy;
    size_t in_count = piece.count;
    enum ws_event event = WS_DATA;

    if (piece.count > 0) {
        memcpy(copy, piece.data, piece.count);
    }
    while (story->err == OK && event != WS_MORE) {
        struct slice out = {0};
        story->err = ws_decode(d, &in, &in_count, &event, &out, &story->close_code);
        if (story->err != OK || event == WS_MORE) {
            continue;
        }
        if (event == WS_DATA) {
            assert_true(out.count > 0);
            assert_true(story->data_count + out.count <= sizeof(story->data));
            memcpy(story->data + story->data_count, out.data, out.count);
            story->data_count += out.count;
        } else {
            control_note(story, event == WS_PING ? 'i' : event == WS_PONG ? 'o' : 'c', out);
        }
    }
    assert_true(story->err != OK || in_count == 0);
    free(copy);
}

static void story_start(struct story *story)
{
    story->data_count = 0;
    story->control_count = 0;
    story->err = OK;
    story->close_code = 0;
}

static void assert_same(const struct story *a, const struct story *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->close_code, b->close_code);
    assert_int_equal(a->data_count, b->data_count);
    assert_memory_equal(a->data, b->data, a->data_count);
    assert_int_equal(a->control_count, b->control_count);
    assert_memory_equal(a->control, b->control, a->control_count);
}

/* Decode in one piece, in two at every border, and byte by byte: it must be the same story. */
static void decode_as(bool is_client, struct slice in, struct story *story)
{
    static struct story other;
    struct ws_decoder d = {.is_client = is_client};

    story_start(story);
    feed(&d, in, story);
    ws_decoder_deinit(&d);
    for (size_t cut = 0; cut <= in.count && cut < 300; cut++) {
        story_start(&other);
        feed(&d, slice_head(in, cut), &other);
        feed(&d, slice_skip(in, cut), &other);
        ws_decoder_deinit(&d);
        assert_same(story, &other);
    }
    story_start(&other);
    for (size_t i = 0; i < in.count; i++) {
        feed(&d, slice_of(in.data + i, 1), &other);
    }
    ws_decoder_deinit(&d);
    assert_same(story, &other);
}

static void decode(struct slice in, struct story *story)
{
    decode_as(false, in, story);
}

static void assert_data(const struct story *story, const char *text)
{
    assert_int_equal(story->err, OK);
    assert_int_equal(story->data_count, strlen(text));
    assert_memory_equal(story->data, text, story->data_count);
}

/* The mask of zeros keeps the tables readable; the masks themselves have their own test. */
#define M "\0\0\0\0"

static void data_comes_out_unmasked(void **state)
{
    static struct story story;
    (void)state;
    /* RFC 6455 5.7: "Hello" masked, here as binary */
    decode(BYTES("\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), &story);
    assert_data(&story, "Hello");
    assert_int_equal(story.control_count, 0);
}

static void a_message_may_come_in_fragments_with_pings_between(void **state)
{
    static struct story story;
    (void)state;
    decode(BYTES("\x02\x82" M "He"
                 "\x89\x83" M "abc"
                 "\x00\x80" M /* an empty fragment */
                 "\x00\x81" M "l"
                 "\x8a\x80" M "\x80\x82" M "lo"
                 "\x82\x81" M "!"),
           &story);
    assert_data(&story, "Hello!");
    assert_int_equal(story.control_count, 5);
    assert_memory_equal(story.control, "iabco", 5);
}

static void a_ping_of_125_bytes_is_whole_however_it_comes(void **state)
{
    static struct story story;
    uint8_t frame[2 + 4 + 125] = {0x89, 0x80 | 125, 1, 2, 3, 4};
    (void)state;
    for (size_t i = 0; i < 125; i++) {
        frame[6 + i] = (uint8_t)(i ^ (1 + i % 4));
    }
    decode(slice_of(frame, sizeof(frame)), &story);
    assert_int_equal(story.control_count, 126);
    for (size_t i = 0; i < 125; i++) {
        assert_int_equal(story.control[1 + i], i);
    }
}

static void after_a_close_nothing_is_heard(void **state)
{
    static struct story story;
    (void)state;
    decode(BYTES("\x82\x81" M "a"
                 "\x88\x85" M "\x03\xe8"
                 "bye"
                 "\x82\x81" M "b\xff\xff\xff\xff"),
           &story);
    assert_data(&story, "a");
    assert_int_equal(story.control_count, 6);
    assert_memory_equal(story.control,
                        "c\x03\xe8"
                        "bye",
                        6);
    decode(BYTES("\x88\x80" M), &story);
    assert_int_equal(story.err, OK);
    assert_int_equal(story.control_count, 1);
}

static void close_codes_are_checked(void **state)
{
    static const struct {
        uint16_t code;
        bool is_legal;
    } rows[] = {
        {0, false},    {999, false}, {1000, true}, {1003, true},  {1004, false},  {1005, false},
        {1006, false}, {1007, true}, {1011, true}, {1014, true},  {1015, false},  {1016, false},
        {2999, false}, {3000, true}, {4999, true}, {5000, false}, {65535, false},
    };
    static struct story story;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t frame[] = {
            0x88, 0x82, 0, 0, 0, 0, (uint8_t)(rows[i].code >> 8), (uint8_t)rows[i].code};
        decode(slice_of(frame, sizeof(frame)), &story);
        assert_int_equal(story.err, rows[i].is_legal ? OK : ERR_PROTOCOL);
        assert_int_equal(story.close_code, rows[i].is_legal ? 0 : WS_CLOSE_PROTOCOL);
    }
}

static void what_breaks_the_protocol_is_refused(void **state)
{
    static const struct {
        struct slice bytes;
        enum err err;
        uint16_t close_code;
    } rows[] = {
        {SLICE("\x82\x05Hello"), ERR_PROTOCOL, 1002},                /* not masked */
        {SLICE("\x89\x00"), ERR_PROTOCOL, 1002},                     /* not masked */
        {SLICE("\xc2\x81" M "a"), ERR_PROTOCOL, 1002},               /* RSV1 */
        {SLICE("\xa2\x81" M "a"), ERR_PROTOCOL, 1002},               /* RSV2 */
        {SLICE("\x92\x81" M "a"), ERR_PROTOCOL, 1002},               /* RSV3 */
        {SLICE("\xc9\x80" M), ERR_PROTOCOL, 1002},                   /* RSV1 on a PING */
        {SLICE("\x83\x81" M "a"), ERR_PROTOCOL, 1002},               /* opcode 3 */
        {SLICE("\x87\x81" M "a"), ERR_PROTOCOL, 1002},               /* opcode 7 */
        {SLICE("\x8b\x80" M), ERR_PROTOCOL, 1002},                   /* opcode 11 */
        {SLICE("\x8f\x80" M), ERR_PROTOCOL, 1002},                   /* opcode 15 */
        {SLICE("\x81\x81" M "a"), ERR_PROTOCOL, 1003},               /* text [MQTT-6.0.0-1] */
        {SLICE("\x01\x81" M "a"), ERR_PROTOCOL, 1003},               /* text in fragments */
        {SLICE("\x80\x81" M "a"), ERR_PROTOCOL, 1002},               /* continues nothing */
        {SLICE("\x82\x80" M "\x80\x81" M "a"), ERR_PROTOCOL, 1002},  /* continues nothing */
        {SLICE("\x02\x81" M "a\x82\x81" M "b"), ERR_PROTOCOL, 1002}, /* new one within another */
        {SLICE("\x02\x81" M "a\x81\x81" M "b"), ERR_PROTOCOL, 1002},
        {SLICE("\x09\x80" M), ERR_PROTOCOL, 1002},                     /* PING in fragments */
        {SLICE("\x08\x80" M), ERR_PROTOCOL, 1002},                     /* close in fragments */
        {SLICE("\x89\xfe\x00\x7e" M), ERR_PROTOCOL, 1002},             /* PING of 126 bytes */
        {SLICE("\x89\xff"), ERR_PROTOCOL, 1002},                       /* PING of many bytes */
        {SLICE("\x88\x81" M "\x03"), ERR_PROTOCOL, 1002},              /* close of 1 byte */
        {SLICE("\x82\xfe\x00\x7d" M), ERR_PROTOCOL, 1002},             /* 125 in 2 bytes */
        {SLICE("\x82\xff\0\0\0\0\0\0\xff\xff" M), ERR_PROTOCOL, 1002}, /* 65535 in 8 bytes */
        {SLICE("\x82\xff\x80\0\0\0\0\0\0\0" M), ERR_PROTOCOL, 1002},   /* the top bit */
        {SLICE("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" M), ERR_PROTOCOL, 1002},
        {SLICE("\x82\xff\0\0\0\0\x40\0\0\x01" M), ERR_TOO_LARGE, 1009},
        {SLICE("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" M), ERR_TOO_LARGE, 1009},
    };
    static struct story story;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        decode(rows[i].bytes, &story);
        if (story.err != rows[i].err || story.close_code != rows[i].close_code) {
            fail_msg("row %zu: %s %u", i, err_name(story.err), story.close_code);
        }
    }
}

static void a_broken_decoder_stays_broken(void **state)
{
    static struct story story;
    struct ws_decoder d = {0};
    (void)state;
    story_start(&story);
    feed(&d, BYTES("\x81\x80" M), &story);
    assert_int_equal(story.close_code, 1003);
    story_start(&story);
    feed(&d, BYTES("\x82\x81" M "a"), &story);
    assert_int_equal(story.err, ERR_PROTOCOL);
    assert_int_equal(story.data_count, 0);
}

/* A frame as long as the bound allows is begun at once: nothing waits for its end. */
static void a_long_frame_is_streamed(void **state)
{
    static struct story story;
    struct ws_decoder d = {0};
    (void)state;
    story_start(&story);
    feed(&d, BYTES("\x82\xff\0\0\0\0\x40\0\0\0" M "abc"), &story);
    assert_data(&story, "abc");
    assert_int_equal(d.left, WS_FRAME_BYTES_MAX - 3);
    assert_null(d.control);
    ws_decoder_deinit(&d);
}

static void clients_read_unmasked_frames_only(void **state)
{
    static struct story story;
    (void)state;
    decode_as(true, BYTES("\x82\x05Hello\x89\x01x\x88\x02\x03\xe9"), &story);
    assert_data(&story, "Hello");
    assert_memory_equal(story.control, "ixc\x03\xe9", 5);
    decode_as(true, BYTES("\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), &story);
    assert_int_equal(story.err, ERR_PROTOCOL);
}

/* Each length of a header, each alignment: what the client writes, the server reads. */
static void what_is_encoded_is_decoded(void **state)
{
    static const size_t counts[] = {0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, 69000};
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    static struct story story;
    uint8_t *frame = malloc(WS_HEADER_CLIENT_MAX + 70000);
    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        size_t header = ws_header_encode_client(frame, WS_OP_BINARY, counts[i], mask);
        for (size_t k = 0; k < counts[i]; k++) {
            frame[header + k] = (uint8_t)(k * 7);
        }
        ws_mask(frame + header, counts[i], mask, 0);
        decode(slice_of(frame, header + counts[i]), &story);
        assert_int_equal(story.err, OK);
        assert_int_equal(story.data_count, counts[i]);
        for (size_t k = 0; k < counts[i]; k++) {
            assert_int_equal(story.data[k], (uint8_t)(k * 7));
        }
        header = ws_header_encode(frame, WS_OP_BINARY, counts[i]);
        memset(frame + header, 'x', counts[i]);
        decode_as(true, slice_of(frame, header + counts[i]), &story);
        assert_int_equal(story.err, OK);
        assert_int_equal(story.data_count, counts[i]);
    }
    free(frame);
}

static void masking_from_any_offset_is_masking_in_one_go(void **state)
{
    static const uint8_t mask[4] = {0xa1, 0xb2, 0xc3, 0xd4};
    uint8_t whole[40], parts[40];
    (void)state;
    for (size_t cut = 0; cut <= sizeof(whole); cut++) {
        for (size_t i = 0; i < sizeof(whole); i++) {
            whole[i] = parts[i] = (uint8_t)i;
        }
        ws_mask(whole, sizeof(whole), mask, 0);
        ws_mask(parts, cut, mask, 0);
        ws_mask(parts + cut, sizeof(parts) - cut, mask, cut);
        assert_memory_equal(whole, parts, sizeof(whole));
        for (size_t i = 0; i < sizeof(whole); i++) {
            assert_int_equal(whole[i], (uint8_t)(i ^ mask[i % 4]));
        }
    }
}

static void a_close_frame_is_four_bytes(void **state)
{
    uint8_t out[4];
    (void)state;
    assert_int_equal(ws_close_encode(out, WS_CLOSE_UNSUPPORTED), 4);
    assert_memory_equal(out, "\x88\x02\x03\xeb", 4);
}

/*
 * ----- opening handshake ------------------------------------------------------------------------
 */

static uint16_t handshake(const char *text, struct ws_handshake *out)
{
    static struct http_head head;
    assert_int_equal(http_request_parse(slice_text(text), &head), OK);
    return ws_handshake_check(&head, out);
}

#define START    "GET /mqtt HTTP/1.1\r\nHost: a\r\n"
#define UPGRADE  "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION  "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"

/* The key and the answer are the example of RFC 6455 1.3. */
static void a_handshake_is_accepted(void **state)
{
    struct ws_handshake handshake_out;
    struct http_head head;
    uint8_t out[WS_REPLY_MAX];
    (void)state;
    assert_int_equal(
        handshake(START UPGRADE KEY VERSION
                  "Origin: http://x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
                  "Sec-WebSocket-Protocol: chat, mqtt\r\n\r\n",
                  &handshake_out),
        101);
    assert_true(slice_is(handshake_out.path, "/mqtt"));
    assert_true(slice_is(handshake_out.origin, "http://x"));
    size_t count = ws_handshake_accept(&handshake_out, out);
    assert_int_equal(http_response_parse(slice_of(out, count), &head), OK);
    assert_int_equal(head.status, 101);
    assert_true(slice_is(http_header_find(&head, "Sec-WebSocket-Accept")->value,
                         "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_true(slice_is(http_header_find(&head, "Sec-WebSocket-Protocol")->value, "mqtt"));
    assert_null(http_header_find(&head, "Sec-WebSocket-Extensions"));
    assert_int_equal(ws_response_check(&head, (const uint8_t *)"dGhlIHNhbXBsZSBub25jZQ=="), OK);
    assert_int_equal(ws_response_check(&head, (const uint8_t *)"eGhlIHNhbXBsZSBub25jZQ=="),
                     ERR_PROTOCOL);
}

static void mqtt_is_chosen_before_older_names(void **state)
{
    struct ws_handshake out;
    (void)state;
    assert_int_equal(handshake(START UPGRADE KEY VERSION "Sec-WebSocket-Protocol: mqttv3.1\r\n"
                                                         "Sec-WebSocket-Protocol: mqtt\r\n\r\n",
                               &out),
                     101);
    assert_true(slice_is(out.protocol, "mqtt"));
    assert_int_equal(
        handshake(START UPGRADE KEY VERSION "Sec-WebSocket-Protocol: x, mqttv3.1\r\n\r\n", &out),
        101);
    assert_true(slice_is(out.protocol, "mqttv3.1"));
}

static void a_bad_handshake_is_refused(void **state)
{
    static const struct {
        const char *text;
        uint16_t status;
    } rows[] = {
        {START "\r\n", 426},
        {START KEY VERSION PROTOCOL "\r\n", 426},
        {START "Upgrade: websocket\r\n" KEY VERSION PROTOCOL "\r\n", 426},
        {START "Connection: Upgrade\r\n" KEY VERSION PROTOCOL "\r\n", 426},
        {START "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY VERSION PROTOCOL "\r\n", 426},
        {START UPGRADE KEY PROTOCOL "\r\n", 426},
        {START UPGRADE KEY PROTOCOL "Sec-WebSocket-Version: 8\r\n\r\n", 426},
        {START UPGRADE KEY PROTOCOL VERSION VERSION "\r\n", 426},
        {START UPGRADE VERSION PROTOCOL "\r\n", 400},
        {START UPGRADE KEY KEY VERSION PROTOCOL "\r\n", 400},
        {START UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" VERSION PROTOCOL "\r\n",
         400},
        {START UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n" VERSION PROTOCOL "\r\n",
         400},
        {START UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub*5jZQ==\r\n" VERSION PROTOCOL "\r\n",
         400},
        {START UPGRADE "Sec-WebSocket-Key:\r\n" VERSION PROTOCOL "\r\n", 400},
        {START UPGRADE KEY VERSION "\r\n", 400}, /* [MQTT-6.0.0-3] */
        {START UPGRADE KEY VERSION "Sec-WebSocket-Protocol: MQTT, chat\r\n\r\n", 400},
        {START UPGRADE KEY VERSION PROTOCOL "Content-Length: 4\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\n" UPGRADE KEY VERSION PROTOCOL "\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\n" UPGRADE KEY VERSION PROTOCOL "\r\n", 405},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ws_handshake out = {.path = {.count = 77}};
        uint16_t status = handshake(rows[i].text, &out);
        if (status != rows[i].status) {
            fail_msg("row %zu: %u instead of %u", i, status, rows[i].status);
        }
        assert_int_equal(out.path.count, 77);
    }
}

static void a_refusal_tells_what_would_help(void **state)
{
    static const uint16_t refusals[] = {400, 403, 404, 405, 426, 431, 501, 503, 505};
    uint8_t out[WS_REPLY_MAX];
    struct http_head head;
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        size_t count = ws_handshake_refuse(refusals[i], out), scanned = 0, head_bytes = 0;
        struct slice reply = slice_of(out, count);
        assert_int_equal(http_head_find(reply, count, &scanned, &head_bytes), OK);
        assert_int_equal(http_response_parse(slice_head(reply, head_bytes), &head), OK);
        assert_int_equal(head.status, refusals[i]);
        assert_int_equal(head.content_length, count - head_bytes);
        assert_false(head.keep_alive);
        const struct http_header *version = http_header_find(&head, "Sec-WebSocket-Version");
        assert_true((version != NULL) == (refusals[i] == 426));
        assert_true((http_header_find(&head, "Allow") != NULL) == (refusals[i] == 405));
    }
}

static void our_client_and_our_server_agree(void **state)
{
    static const uint8_t random[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t key[WS_KEY_BYTES], text[512], reply[WS_REPLY_MAX];
    struct http_head request, response;
    struct ws_handshake out;
    (void)state;
    ws_key_encode(random, key);
    assert_memory_equal(key, "AQIDBAUGBwgJCgsMDQ4PEA==", WS_KEY_BYTES);
    size_t count = ws_request_encode("127.0.0.1:8083", "/mqtt", key, text, sizeof(text));
    assert_true(count > 0);
    assert_int_equal(ws_request_encode("127.0.0.1:8083", "/mqtt", key, reply, 100), 0);
    assert_int_equal(http_request_parse(slice_of(text, count), &request), OK);
    assert_int_equal(ws_handshake_check(&request, &out), 101);
    count = ws_handshake_accept(&out, reply);
    assert_int_equal(http_response_parse(slice_of(reply, count), &response), OK);
    assert_int_equal(ws_response_check(&response, key), OK);
    response.status = 200;
    assert_int_equal(ws_response_check(&response, key), ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_comes_out_unmasked),
        cmocka_unit_test(a_message_may_come_in_fragments_with_pings_between),
        cmocka_unit_test(a_ping_of_125_bytes_is_whole_however_it_comes),
        cmocka_unit_test(after_a_close_nothing_is_heard),
        cmocka_unit_test(close_codes_are_checked),
        cmocka_unit_test(what_breaks_the_protocol_is_refused),
        cmocka_unit_test(a_broken_decoder_stays_broken),
        cmocka_unit_test(a_long_frame_is_streamed),
        cmocka_unit_test(clients_read_unmasked_frames_only),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(masking_from_any_offset_is_masking_in_one_go),
        cmocka_unit_test(a_close_frame_is_four_bytes),
        cmocka_unit_test(a_handshake_is_accepted),
        cmocka_unit_test(mqtt_is_chosen_before_older_names),
        cmocka_unit_test(a_bad_handshake_is_refused),
        cmocka_unit_test(a_refusal_tells_what_would_help),
        cmocka_unit_test(our_client_and_our_server_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
