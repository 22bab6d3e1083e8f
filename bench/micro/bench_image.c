/*
 * bench_image: what it takes to help a node that joins: a partition of 16,000 sessions (a 64th of a million),
 * each with two subscriptions and four messages owed, as an image out of one store and into another, on
 * RocksDB, in one thread. The folder is made in $TMPDIR, or in /var/tmp: on a disk.
 *
 * Beside bytes per second: CPU for a million sessions, which is what all partitions of a node come to.
 */
#include "bench/micro/micro.h"
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "core/session/op.h"
#include "storage/image.h"
#include "storage/machine.h"

#include <unistd.h>

enum { PARTITION = 7, SESSIONS = 16000, OWED = 4, SUBSCRIPTIONS = 2, PAYLOAD_BYTES = 200, ID = 1 };

struct scene {
    char folder[64];
    struct kv *from, *to;
    uint32_t sessions;
    uint64_t bytes, plain_bytes, chunks; /* of the last image */
    struct buf *kept;                    /* its chunks */
};

static struct kv *map_open(const char *folder, const char *name)
{
    char path[128];
    struct kv_failure failure;
    struct kv *kv;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    const struct kv_config config = {.folder = path, .way = KV_UNLOGGED, .buffer_bytes = 64 << 20};
    enum err err = kv_open(&config, &kv, &failure);
    ASSERT(err == OK);
    return kv;
}

static void put(struct entry_writer *writer, const struct op *op)
{
    uint32_t place;
    enum err err = entry_put(writer, op, &place);
    ASSERT(err == OK);
}

static void put_session(struct entry_writer *writer, struct rng *rng, uint64_t number)
{
    char name[64], filter[96];
    uint8_t payload[PAYLOAD_BYTES];
    struct op op = {.kind = OP_OPEN, .partition = PARTITION, .session = number};
    snprintf(name, sizeof(name), "device-%08llu", (unsigned long long)number);
    op.open.client_id = slice_text(name);
    op.open.expiry_s = 3600;
    put(writer, &op);
    for (uint32_t i = 0; i < SUBSCRIPTIONS; i++) {
        snprintf(filter, sizeof(filter), "site/%u/%s/#", i, name);
        op = (struct op){.kind = OP_SUBSCRIBE, .partition = PARTITION, .session = number};
        op.subscribe.text = op.subscribe.filter = slice_text(filter);
        op.subscribe.qos = 1;
        put(writer, &op);
    }
    for (uint32_t i = 1; i <= OWED; i++) {
        for (uint32_t at = 0; at < PAYLOAD_BYTES; at++) {
            payload[at] = (uint8_t)('a' + rng_below(rng, 16)); /* half of it for lz4 */
        }
        struct msg_spec spec = {
            .qos = 1, .topic = slice_text(filter), .payload = slice_of(payload, PAYLOAD_BYTES)};
        struct msg *msg = msg_new(&spec);
        op = (struct op){.kind = OP_ENQUEUE, .partition = PARTITION, .session = number};
        op.enqueue = (struct op_enqueue){.msg = msg, .sequence = i, .qos = 1};
        put(writer, &op);
        msg_unref(msg);
    }
}

static void fill(struct scene *scene)
{
    struct machine *machine;
    struct write_set *writes = write_set_new();
    struct entry_writer writer = {0};
    struct rng rng;
    rng_init(&rng, 1);
    ASSERT(machine_open(scene->from, PARTITION, &machine) == OK);
    for (uint32_t i = 1; i <= scene->sessions; i++) {
        put_session(&writer, &rng, i * UINT64_C(0x9E3779B97F4A7C15));
        if (i % 50 == 0 || i == scene->sessions) {
            ASSERT(entry_close(&writer, 1000, machine_message_next(machine)) == OK);
            ASSERT(machine_apply(machine, machine_index(machine) + 1, 1, buf_bytes(&writer.bytes),
                                 writes) == OK);
            ASSERT(write_set_write(writes, scene->from) == OK);
            entry_writer_deinit(&writer);
        }
    }
    ASSERT(kv_flush(scene->from) == OK);
    write_set_free(writes);
    machine_close(machine);
}

static void out(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct image_out *image;
        bool is_last = false;
        ASSERT(image_out_open(scene->from, PARTITION, ID, &image) == OK);
        scene->bytes = scene->plain_bytes = scene->chunks = 0;
        while (!is_last) {
            struct buf *chunk = &scene->kept[scene->chunks];
            struct image_chunk read;
            buf_consume(chunk, buf_count(chunk));
            enum err err = image_out_chunk(image, (uint32_t)scene->chunks++, chunk, &is_last);
            ASSERT(err == OK && image_chunk_read(buf_bytes(chunk), &read) == OK);
            scene->bytes += buf_count(chunk);
            scene->plain_bytes += read.plain_count;
        }
        image_out_close(image);
    }
}

static void in(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i++) {
        struct image_head head = {ID, PARTITION, 0, 1};
        struct image_out *image;
        struct image_in *taken;
        ASSERT(image_out_open(scene->from, PARTITION, ID, &image) == OK);
        head = image_out_head(image);
        image_out_close(image);
        ASSERT(image_in_new(scene->to, &head, &taken) == OK && image_in_write(taken) == OK);
        for (uint64_t k = 0; k < scene->chunks; k++) {
            ASSERT(image_in_take(taken, buf_bytes(&scene->kept[k])) == OK);
            ASSERT(image_in_write(taken) == OK);
        }
        ASSERT(image_in_is_whole(taken) && kv_flush(scene->to) == OK);
        image_in_free(taken);
    }
}

int main(int argc, char **argv)
{
    enum { CHUNKS_MAX = 4096 };
    const char *place = getenv("TMPDIR");
    struct scene scene = {.sessions = SESSIONS};
    char name[96], command[96];
    micro_begin(argc, argv);
    scene.sessions = (uint32_t)micro_scaled(SESSIONS);
    scene.kept = calloc(CHUNKS_MAX, sizeof(*scene.kept));
    snprintf(scene.folder, sizeof(scene.folder), "%s/bench_image.XXXXXX",
             place == NULL ? "/var/tmp" : place);
    ASSERT(scene.kept != NULL && mkdtemp(scene.folder) != NULL);
    scene.from = map_open(scene.folder, "from");
    scene.to = map_open(scene.folder, "to");
    fill(&scene);
    out(&scene, 1);
    snprintf(name, sizeof(name), "image out, %u sessions, %llu KiB, %llu KiB sent", scene.sessions,
             (unsigned long long)scene.plain_bytes / 1024, (unsigned long long)scene.bytes / 1024);
    micro_run(name, out, &scene, 1);
    snprintf(name, sizeof(name), "image in, %u sessions, flushed", scene.sessions);
    micro_run(name, in, &scene, 1);
    kv_close(scene.from);
    kv_close(scene.to);
    for (uint32_t i = 0; i < CHUNKS_MAX; i++) {
        buf_deinit(&scene.kept[i]);
    }
    free(scene.kept);
    snprintf(command, sizeof(command), "rm -rf %s", scene.folder);
    return system(command) == 0 ? 0 : 1;
}
