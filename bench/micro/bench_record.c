/*
 * bench_record: what a lasting change costs on its way to the log and into the state, without a disk:
 * into an entry, out of it, and through the machine into a set of writes. Beside it what protobuf-c takes for
 * the same op. Every op is one of an entry of 1000.
 */
#include "bench/micro/micro.h"
#include "core/base/arena.h"
#include "core/base/assert.h"
#include "storage/kv.h"
#include "storage/machine.h"
#include "storage/record.h"

#include "proto/store.pb-c.h"

#include <unistd.h>

enum { OPS = 400000, ENTRY_OPS = 1000, PAYLOAD_BYTES_MAX = 200, ARENA_BYTES = 1 << 20 };

static uint8_t payload[PAYLOAD_BYTES_MAX];

struct scene {
    struct msg *messages[ENTRY_OPS];
    struct op ops[ENTRY_OPS];
    struct entry_writer writer; /* an entry of them */
    struct slice bytes;
    struct arena *arena;
    struct kv *kv;
    struct write_set *writes;
    struct machine *machine;
};

static struct msg *message(size_t payload_count)
{
    struct msg_spec spec = {
        .qos = 1,
        .publisher = 0x1122334455667788,
        .topic = slice_text("factory/7/line/3/sensor/temperature"),
        .payload = slice_of(payload, payload_count),
    };
    struct msg *msg = msg_new(&spec);
    ASSERT(msg != NULL);
    return msg;
}

/* Of 1000 sessions one each, as messages come to them. per_message: how many get the same one. */
static void fill_enqueue(struct scene *scene, size_t payload_count, uint32_t per_message)
{
    for (uint32_t i = 0; i < ENTRY_OPS; i++) {
        struct msg *last = i % per_message == 0 ? NULL : scene->messages[i - 1];
        scene->messages[i] = last == NULL ? message(payload_count) : msg_ref(last);
        scene->ops[i] = (struct op){
            .kind = OP_ENQUEUE,
            .session = 0x9E3779B97F4A7C15 * (i + 1),
            .enqueue = {.msg = scene->messages[i], .sequence = 100000 + i, .qos = 1},
        };
    }
}

static void fill_settle(struct scene *scene)
{
    for (uint32_t i = 0; i < ENTRY_OPS; i++) {
        scene->messages[i] = NULL;
        scene->ops[i] = (struct op){
            .kind = OP_SETTLE,
            .session = 0x9E3779B97F4A7C15 * (i + 1),
            .settle = {.sequence = 100000 + i, .message = 5000000 + i},
        };
    }
}

static void write_entry(struct scene *scene, uint64_t op_count)
{
    uint32_t place;
    enum err err = OK;
    for (uint64_t i = 0; i < op_count && err == OK; i++) {
        err = entry_put(&scene->writer, &scene->ops[i], &place);
    }
    ASSERT(err == OK && entry_close(&scene->writer, 1700000000000, 5000000) == OK);
}

static void puts_into_entries(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t left = ops; left > 0;) {
        uint64_t count = left < ENTRY_OPS ? left : ENTRY_OPS;
        write_entry(scene, count);
        micro_keep(buf_count(&scene->writer.bytes));
        entry_writer_deinit(&scene->writer);
        left -= count;
    }
}

static void reads(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i += ENTRY_OPS) {
        struct entry entry;
        enum err err = entry_read(scene->bytes, scene->arena, &entry);
        ASSERT(err == OK && entry.op_count == ENTRY_OPS);
        arena_reset(scene->arena);
    }
}

static void applies(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i += ENTRY_OPS) {
        enum err err = machine_open(scene->kv, 0, &scene->machine);
        ASSERT(err == OK);
        micro_part_begin();
        err = machine_apply(scene->machine, 1, 1, scene->bytes, scene->writes);
        micro_part_end();
        ASSERT(err == OK);
        write_set_clear(scene->writes);
        machine_close(scene->machine);
    }
}

/* ---- protobuf-c ----------------------------------------------------------------------------- */

static void unpacks(void *context, uint64_t ops)
{
    struct scene *scene = context;
    for (uint64_t i = 0; i < ops; i += ENTRY_OPS) {
        Tern__Entry *entry = tern__entry__unpack(NULL, scene->bytes.count, scene->bytes.data);
        ASSERT(entry != NULL);
        tern__entry__free_unpacked(entry, NULL);
    }
}

/* An arena for an allocator: what is allocated costs nearly nothing, and is never freed one by one. */
static void *arena_alloc(void *context, size_t bytes)
{
    return arena_take(context, bytes);
}

static void arena_keep(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

static void unpacks_into_an_arena(void *context, uint64_t ops)
{
    struct scene *scene = context;
    ProtobufCAllocator allocator = {arena_alloc, arena_keep, scene->arena};
    for (uint64_t i = 0; i < ops; i += ENTRY_OPS) {
        Tern__Entry *entry = tern__entry__unpack(&allocator, scene->bytes.count, scene->bytes.data);
        ASSERT(entry != NULL);
        arena_reset(scene->arena);
    }
}

static void packs(void *context, uint64_t ops)
{
    struct scene *scene = context;
    Tern__Entry *entry = tern__entry__unpack(NULL, scene->bytes.count, scene->bytes.data);
    uint8_t *bytes = malloc(scene->bytes.count);
    ASSERT(entry != NULL && bytes != NULL);
    for (uint64_t i = 0; i < ops; i += ENTRY_OPS) {
        for (size_t k = 0; k < entry->n_ops; k++) { /* op by op, as they come */
            size_t count = tern__op__get_packed_size(entry->ops[k]);
            ASSERT(count <= scene->bytes.count);
            tern__op__pack(entry->ops[k], bytes);
            if (k < entry->n_messages) {
                count = tern__message__get_packed_size(entry->messages[k]);
                ASSERT(count <= scene->bytes.count);
                tern__message__pack(entry->messages[k], bytes);
            }
            micro_keep(bytes[0]);
        }
    }
    tern__entry__free_unpacked(entry, NULL);
    free(bytes);
}

/* ---- all of one kind of op ------------------------------------------------------------------ */

static void row(const char *what, const char *name, void (*fn)(void *context, uint64_t ops),
                struct scene *scene)
{
    char text[96];
    snprintf(text, sizeof(text), "%s: %s", what, name);
    if (fn == applies) {
        micro_run_part(text, fn, scene, OPS);
    } else {
        micro_run(text, fn, scene, OPS);
    }
}

static void rows(const char *what, struct scene *scene)
{
    char text[96];
    row(what, "entry_put", puts_into_entries, scene);
    write_entry(scene, ENTRY_OPS);
    scene->bytes = buf_bytes(&scene->writer.bytes);
    row(what, "entry_read", reads, scene);
    row(what, "machine_apply", applies, scene);
    row(what, "protobuf-c, pack", packs, scene);
    row(what, "protobuf-c, unpack", unpacks, scene);
    row(what, "protobuf-c, unpack, arena", unpacks_into_an_arena, scene);
    snprintf(text, sizeof(text), "%s: bytes in the entry", what);
    micro_value(text, (double)scene->bytes.count / ENTRY_OPS, "B");
    entry_writer_deinit(&scene->writer);
    for (uint32_t i = 0; i < ENTRY_OPS; i++) {
        msg_unref(scene->messages[i]);
    }
}

int main(int argc, char **argv)
{
    static struct scene scene;
    struct kv_failure failure;
    char folder[] = "/tmp/bench_record.XXXXXX", command[64];
    micro_begin(argc, argv);
    memset(payload, 'x', sizeof(payload));
    ASSERT(mkdtemp(folder) != NULL);
    struct kv_config config = {.folder = folder, .way = KV_UNLOGGED};
    enum err err = kv_open(&config, &scene.kv, &failure);
    ASSERT(err == OK);
    scene.writes = write_set_new();
    scene.arena = arena_new(ARENA_BYTES, 64 * ARENA_BYTES);
    ASSERT(scene.writes != NULL && scene.arena != NULL);

    fill_enqueue(&scene, 64, 1);
    rows("ENQUEUE 64 B", &scene);
    fill_enqueue(&scene, 200, 1);
    rows("ENQUEUE 200 B", &scene);
    fill_enqueue(&scene, 200, 100);
    rows("ENQUEUE 200 B, 1 to 100", &scene);
    fill_settle(&scene);
    rows("SETTLE", &scene);

    arena_free(scene.arena);
    write_set_free(scene.writes);
    kv_close(scene.kv);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) == 0 ? 0 : 1;
}
