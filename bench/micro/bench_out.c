/*
 * What it costs to put a small frame into a connection's output, and to take a flush's worth out:
 * the buffers of the publish path.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/broker/conn_out.h"

#include <string.h>

enum { OPS = 4000000, FRAME_BYTES = 70 };

struct scene {
    uint64_t waiting;
    struct conn_out *outs;
    uint32_t out_count, frames_per_flush;
};

static void flush(struct scene *scene, struct conn_out *out)
{
    struct slice parts[IO_PARTS_MAX];
    uint64_t bytes;
    micro_keep(out_take(out, parts, IO_PARTS_MAX, &bytes));
    out_sent(out, &scene->waiting);
}

/* ops frames, spread over the connections as a fan-out does. */
static void frames(void *context, uint64_t ops)
{
    struct scene *scene = context;
    static const uint8_t frame[FRAME_BYTES] = {0x30, FRAME_BYTES - 2};
    for (uint64_t i = 0; i < ops;) {
        for (uint32_t k = 0; k < scene->frames_per_flush; k++) {
            for (uint32_t c = 0; c < scene->out_count; c++, i++) {
                uint8_t *bytes = out_reserve(&scene->outs[c], &scene->waiting, FRAME_BYTES);
                ASSERT(bytes != NULL);
                memcpy(bytes, frame, FRAME_BYTES);
            }
        }
        for (uint32_t c = 0; c < scene->out_count; c++) {
            flush(scene, &scene->outs[c]);
        }
    }
}

static void payloads(void *context, uint64_t ops)
{
    struct scene *scene = context;
    static uint8_t big[65536];
    struct msg_spec spec = {.topic = slice_text("bench"), .payload = slice_of(big, sizeof(big))};
    struct msg *msg = msg_new(&spec);
    ASSERT(msg != NULL);
    for (uint64_t i = 0; i < ops; i++) {
        bool is_written = out_payload(&scene->outs[0], &scene->waiting, msg);
        ASSERT(is_written);
        flush(scene, &scene->outs[0]);
    }
    msg_unref(msg);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint32_t out_count, frames_per_flush;
    } rows[] = {
        {"out: 70 B frame, 1 connection, 1 per flush", 1, 1},
        {"out: 70 B frame, 1 connection, 16 per flush", 1, 16},
        {"out: 70 B frame, 500 connections, 1 per flush", 500, 1},
        {"out: 70 B frame, 500 connections, 8 per flush", 500, 8},
    };
    micro_begin(argc, argv);
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scene scene = {.out_count = rows[i].out_count,
                              .frames_per_flush = rows[i].frames_per_flush};
        scene.outs = calloc(scene.out_count, sizeof(*scene.outs));
        ASSERT(scene.outs != NULL);
        micro_run(rows[i].name, frames, &scene, OPS);
        if (i == 0) {
            micro_run("out: 64 KiB payload by reference", payloads, &scene, OPS / 4);
        }
        free(scene.outs);
    }
    return 0;
}
