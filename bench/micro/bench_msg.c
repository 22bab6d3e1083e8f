/*
 * bench_msg: what a message costs in memory management: made and let go, shared, adopted from a
 * block; as one shard does it, and when another shard's thread lets it go.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/base/ring.h"
#include "core/pubsub/msg.h"

#include <pthread.h>
#include <sched.h>

enum { OPS = 2000000, FLEET = 1024, RING_SLOTS = 4096 };

static uint8_t bytes[65536];

struct scene {
    struct msg_spec spec;
    struct msg *msg;
    struct ring *ring;
};

static struct msg *make(const struct scene *scene)
{
    struct msg *msg = msg_new(&scene->spec);
    ASSERT(msg != NULL);
    return msg;
}

static void news_and_unrefs(void *context, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        msg_unref(make(context));
    }
}

/* As with QoS 1: many are alive, the oldest goes. */
static void news_with_many_alive(void *context, uint64_t ops)
{
    static struct msg *alive[FLEET];
    for (uint64_t i = 0; i < ops; i++) {
        msg_unref(alive[i % FLEET]);
        alive[i % FLEET] = make(context);
    }
    for (uint32_t i = 0; i < FLEET; i++) {
        msg_unref(alive[i]);
        alive[i] = NULL;
    }
}

static void refs_and_unrefs(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        msg_unref(msg_ref(scene->msg));
    }
}

static void blobs(void *context, uint64_t ops)
{
    const struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct blob *blob = blob_new(sizeof(bytes));
        ASSERT(blob != NULL);
        struct msg_spec spec = scene->spec;
        spec.blob = blob;
        spec.payload = slice_of(blob->bytes, sizeof(bytes));
        struct msg *msg = msg_new(&spec);
        ASSERT(msg != NULL);
        blob_unref(blob);
        msg_unref(msg);
    }
}

struct maker {
    const struct scene *scene;
    uint64_t ops;
};

static void *make_for_another(void *context)
{
    const struct maker *maker = context;
    for (uint64_t i = 0; i < maker->ops; i++) {
        struct msg *msg = make(maker->scene);
        while (!ring_push(maker->scene->ring, &msg)) {
            sched_yield();
        }
    }
    return NULL;
}

static void made_here_freed_there(void *context, uint64_t ops)
{
    struct maker maker = {context, ops};
    pthread_t thread;
    if (pthread_create(&thread, NULL, make_for_another, &maker) != 0) {
        abort();
    }
    for (uint64_t i = 0; i < ops;) {
        struct msg *msg;
        if (ring_pop(maker.scene->ring, &msg)) {
            msg_unref(msg);
            i++;
        } else {
            sched_yield();
        }
    }
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    struct scene scene = {.spec = {.topic = slice_text("factory/7/line/3/temperature"),
                                   .payload = slice_of(bytes, 64)}};
    micro_begin(argc, argv);
    scene.ring = ring_new(RING_SLOTS, sizeof(struct msg *));
    ASSERT(scene.ring != NULL);
    micro_run("msg new, unref; 64 B", news_and_unrefs, &scene, OPS);
    micro_run("msg new, unref; 64 B, 1024 alive", news_with_many_alive, &scene, OPS);
    micro_run("msg new here, unref in another thread", made_here_freed_there, &scene, OPS / 2);
    scene.spec.payload.count = 1024;
    micro_run("msg new, unref; 1 KiB, 1024 alive", news_with_many_alive, &scene, OPS);
    micro_run("msg around a blob of 64 KiB, new, unref", blobs, &scene, OPS / 4);
    scene.msg = make(&scene);
    micro_run("msg ref, unref, held by another", refs_and_unrefs, &scene, OPS * 4);
    msg_unref(scene.msg);
    ring_free(scene.ring);
    return 0;
}
