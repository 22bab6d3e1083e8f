/*
 * What a message at QoS 1 costs between the match and the client's acknowledgement: queue, window,
 * and the two together, without any bytes.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/session/inflight.h"
#include "core/session/queue.h"

enum { OPS = 2000000 };

struct scene {
    struct msg *msg;
    struct inflight inflight;
    struct queue queue;
    struct queue_totals totals;
    struct queue_bounds bounds;
    struct window window;
    uint64_t inflight_total, sequence;
    uint32_t depth; /* messages in flight while one more comes and the oldest goes */
};

static struct delivery next_delivery(struct scene *scene)
{
    return (struct delivery){.msg = msg_ref(scene->msg), .sequence = ++scene->sequence, .qos = 1};
}

static void send_one(struct scene *scene)
{
    struct delivery delivery = next_delivery(scene);
    uint16_t id;
    enum err err = inflight_send(&scene->inflight, &delivery, &scene->window, &id);
    ASSERT(err == OK);
}

static void ack_one(struct scene *scene, uint64_t sequence)
{
    struct delivery done;
    bool send_pubrel;
    enum err err = inflight_ack(&scene->inflight, inflight_id(sequence), ON_PUBACK, &send_pubrel,
                                &done);
    ASSERT(err == OK);
    delivery_deinit(&done);
}

static void send_and_ack(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        send_one(scene);
        ack_one(scene, scene->sequence - scene->depth);
    }
}

static void queue_in_and_out(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct delivery delivery = next_delivery(scene), victim;
        enum err err = queue_offer(&scene->queue, &scene->bounds, &delivery, &victim);
        ASSERT(err == OK);
        struct delivery taken = queue_pop(&scene->queue);
        delivery_deinit(&taken);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t depths[] = {1, 16, 1000};
    struct msg_spec spec = {.topic = slice_text("bench/topic"), .payload = slice_text("payload")};
    micro_begin(argc, argv);
    for (uint32_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
        struct scene scene = {.msg = msg_new(&spec), .depth = depths[i]};
        char name[64];
        ASSERT(scene.msg != NULL);
        scene.window = (struct window){.count_max = 65535};
        scene.inflight.total = &scene.inflight_total;
        scene.queue.totals = &scene.totals;
        scene.bounds = (struct queue_bounds){.count_max = 1000};
        for (uint32_t k = 0; k < scene.depth; k++) {
            send_one(&scene);
        }
        snprintf(name, sizeof(name), "inflight: send, ack the oldest of %u", scene.depth);
        micro_run(name, send_and_ack, &scene, OPS);
        if (i == 0) {
            micro_run("queue: offer, pop", queue_in_and_out, &scene, OPS);
        }
        inflight_deinit(&scene.inflight);
        queue_deinit(&scene.queue);
        msg_unref(scene.msg);
    }
    return 0;
}
