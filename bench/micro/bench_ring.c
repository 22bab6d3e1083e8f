/* ring: one thread alone, and two threads that never sleep (CPU time of both, per item). */
#include "bench/micro/micro.h"
#include "core/base/ring.h"

#include <pthread.h>
#include <sched.h>

struct item {
    uint64_t words[4];
};

static void push_then_pop(void *context, uint64_t ops)
{
    struct ring *ring = context;
    struct item item = {{0}};
    for (uint64_t i = 0; i < ops; i++) {
        item.words[0] = i;
        ring_push(ring, &item);
        ring_pop(ring, &item);
    }
    micro_keep(item.words[0]);
}

static void bursts_of_64(void *context, uint64_t ops)
{
    struct ring *ring = context;
    struct item item = {{0}};
    for (uint64_t done = 0; done < ops; done += 64) {
        for (int i = 0; i < 64; i++) {
            ring_push(ring, &item);
        }
        for (int i = 0; i < 64; i++) {
            ring_pop(ring, &item);
        }
    }
    micro_keep(item.words[0]);
}

struct transfer {
    struct ring *ring;
    uint64_t ops;
};

static void *produce(void *context)
{
    const struct transfer *transfer = context;
    struct item item = {{0}};
    for (uint64_t i = 0; i < transfer->ops;) {
        if (ring_push(transfer->ring, &item)) {
            i++;
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void thread_to_thread(void *context, uint64_t ops)
{
    struct transfer transfer = {context, ops};
    pthread_t producer;
    struct item item;
    if (pthread_create(&producer, NULL, produce, &transfer) != 0) {
        abort();
    }
    for (uint64_t i = 0; i < ops;) {
        if (ring_pop(transfer.ring, &item)) {
            i++;
        } else {
            sched_yield();
        }
    }
    pthread_join(producer, NULL);
}

int main(int argc, char **argv)
{
    micro_begin(argc, argv);
    struct ring *ring = ring_new(4096, sizeof(struct item));
    micro_run("ring push and pop, 32 bytes, one thread", push_then_pop, ring, 10000000);
    micro_run("ring bursts of 64, per item, one thread", bursts_of_64, ring, 10000000);
    micro_run("ring from thread to thread, per item", thread_to_thread, ring, 5000000);
    ring_free(ring);
    return 0;
}
