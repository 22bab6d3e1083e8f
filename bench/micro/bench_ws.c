/* bench_ws: MQTT over WebSocket: unmasking, frames, heads, and the opening handshake. */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/wire/http.h"
#include "core/wire/ws.h"

enum { OPS = 2000000, FRAMES = 64, SPAN = 64 * 1024, PACKET_BYTES_MAX = 8192 };

static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};

struct scene {
    uint8_t stream[FRAMES * (PACKET_BYTES_MAX + WS_HEADER_CLIENT_MAX)];
    uint8_t work[FRAMES * (PACKET_BYTES_MAX + WS_HEADER_CLIENT_MAX)];
    size_t stream_count;
    uint32_t packet_bytes;
    struct slice request;
};

/* An operation is a span of 64 KiB. */
static void masks(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        ws_mask(scene->stream, SPAN, mask, i);
    }
}

static void fill(struct scene *scene, uint32_t packet_bytes)
{
    static const uint8_t zeros[PACKET_BYTES_MAX];
    scene->packet_bytes = packet_bytes;
    scene->stream_count = 0;
    for (int i = 0; i < FRAMES; i++) {
        uint8_t *at = scene->stream + scene->stream_count;
        size_t head = ws_header_encode_client(at, WS_OP_BINARY, packet_bytes, mask);
        memcpy(at + head, zeros, packet_bytes);
        ws_mask(at + head, packet_bytes, mask, 0);
        scene->stream_count += head + packet_bytes;
    }
}

/* With the copy that keeps the stream whole: decoding changes it. */
static void frames(void *context, uint64_t ops)
{
    struct scene *scene = context;
    struct ws_decoder decoder = {0};
    for (uint64_t done = 0; done < ops;) {
        uint8_t *at = scene->work;
        size_t left = scene->stream_count;
        enum ws_event event;
        memcpy(scene->work, scene->stream, scene->stream_count);
        for (;;) {
            struct slice out;
            uint16_t close_code;
            enum err err = ws_decode(&decoder, &at, &left, &event, &out, &close_code);
            ASSERT(err == OK);
            if (event == WS_MORE) {
                break;
            }
            ASSERT(out.count == scene->packet_bytes);
            done++;
        }
    }
    ws_decoder_deinit(&decoder);
}

static void heads(void *context, uint64_t ops)
{
    uint8_t out[WS_HEADER_MAX];
    (void)context;
    for (uint64_t i = 0; i < ops; i++) {
        micro_keep(ws_header_encode(out, WS_OP_BINARY, 70 + (i & 127)));
        micro_keep(out[1]);
    }
}

static void handshakes(void *context, uint64_t ops)
{
    const struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct http_head head;
        struct ws_handshake handshake;
        uint8_t reply[WS_REPLY_MAX];
        enum err err = http_request_parse(scene->request, &head);
        ASSERT(err == OK);
        uint16_t status = ws_handshake_check(&head, &handshake);
        ASSERT(status == 101);
        micro_keep(ws_handshake_accept(&handshake, reply));
    }
}

int main(int argc, char **argv)
{
    static struct scene scene;
    static uint8_t request[1024];
    uint8_t key[WS_KEY_BYTES];
    micro_begin(argc, argv);
    micro_run("ws unmask 64 KiB", masks, &scene, OPS / 100);
    fill(&scene, 70);
    micro_run("ws decode a frame of 70 B", frames, &scene, OPS);
    fill(&scene, PACKET_BYTES_MAX);
    micro_run("ws decode a frame of 8 KiB", frames, &scene, OPS / 50);
    micro_run("ws head encode", heads, &scene, OPS * 4);
    ws_key_encode((const uint8_t *)"0123456789abcdef", key);
    size_t count = ws_request_encode("localhost", "/mqtt", key, request, sizeof(request));
    scene.request = slice_of(request, count);
    micro_run("ws handshake", handshakes, &scene, OPS / 10);
    return 0;
}
