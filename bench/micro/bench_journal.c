/*
 * bench_journal: what it takes to make a message durable, without a network: one shard, 64 durable
 * sessions in 64 partitions, each with 16 messages of 64 bytes on their way. What is acknowledged is
 * settled, and followed by the next. The folder is made in $TMPDIR, or in /var/tmp: on a disk.
 *
 * Beside it the disk by itself: 4 KiB written behind each other in a file, each with an fdatasync().
 */
#include "bench/micro/micro.h"
#include "cluster/journal_raft.h"
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "core/io/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { SESSIONS = 64, IN_FLIGHT = 16, SLOTS = SESSIONS * IN_FLIGHT, PAYLOAD_BYTES = 64 };
enum { MESSAGES = 400000, DISK_SYNCS = 500, DISK_BYTES = 4096 };

struct shard;

/* One of those that a publisher may have on their way. */
struct slot {
    struct shard *shard;
    struct msg *msg;
    uint32_t session;
    uint64_t sequence, stored; /* of what is on its way, or was acknowledged last; 0: nothing */
};

struct shard {
    struct io *io;
    struct store *store;
    struct journal *journal;
    uint64_t told, logged, logged_max, turns;
    uint64_t sequences[SESSIONS];
    struct slot *ready[SLOTS];
    uint32_t ready_count;
    struct slot slots[SLOTS];
};

static void on_told(void *context, enum err err)
{
    struct slot *slot = context;
    ASSERT(err == OK);
    slot->shard->told++;
    slot->shard->ready[slot->shard->ready_count++] = slot;
}

static void log_next(struct shard *shard, struct slot *slot)
{
    struct op settle = {
        .kind = OP_SETTLE, .partition = slot->session, .session = slot->session + 1};
    struct op enqueue = {
        .kind = OP_ENQUEUE, .partition = slot->session, .session = slot->session + 1};

    if (slot->sequence > 0) {
        settle.settle.sequence = slot->sequence;
        settle.settle.message = slot->stored;
        journal_log(shard->journal, &settle);
    }
    slot->sequence = ++shard->sequences[slot->session];
    enqueue.enqueue.msg = slot->msg;
    enqueue.enqueue.sequence = slot->sequence;
    enqueue.enqueue.qos = 1;
    slot->stored = journal_log(shard->journal, &enqueue);
    shard->logged++;
    ASSERT(journal_await(shard->journal, UINT64_C(1) << slot->session, on_told, slot) == ERR_AGAIN);
}

/* As a shard's turn is: what came back is told, what that lets through is logged, and leaves. */
static void turn(struct shard *shard)
{
    io_turn(shard->io, journal_has_news(shard->journal) ? 0 : UINT64_MAX);
    journal_collect(shard->journal);
    while (shard->ready_count > 0 && shard->logged < shard->logged_max) {
        log_next(shard, shard->ready[--shard->ready_count]);
    }
    journal_flush(shard->journal);
    shard->turns++;
}

static void messages(struct shard *shard, uint64_t count)
{
    shard->logged_max += count;
    while (shard->ready_count > 0 && shard->logged < shard->logged_max) {
        log_next(shard, shard->ready[--shard->ready_count]);
    }
    journal_flush(shard->journal);
    while (shard->told < shard->logged_max) {
        turn(shard);
    }
}

/* ---- the shard ------------------------------------------------------------------------------ */

static void open_shard(struct shard *shard, const char *folder, enum store_durability durability)
{
    uint8_t payload[PAYLOAD_BYTES];
    struct rng rng;
    struct store_config store = {.folder = folder,
                                 .durability = durability,
                                 .gather_ns = STORE_GATHER_NS,
                                 .has_threads = true};
    struct io_config io = {.stream_count_max = 4};
    struct kv_failure failure;

    memset(shard, 0, sizeof(*shard));
    ASSERT(io_new(&io, &shard->io) == OK);
    ASSERT(store_open(&store, &shard->store, &failure) == OK);
    struct journal_raft_config config = {
        .store = shard->store, .io = shard->io, .shard_count = 1, .seed = 1};
    ASSERT(journal_raft_new(&config, &shard->journal, &failure) == OK);
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < SLOTS; i++) {
        for (uint32_t at = 0; at < PAYLOAD_BYTES; at++) {
            payload[at] = (uint8_t)rng_u64(&rng); /* nothing for lz4 but the topic */
        }
        struct msg_spec spec = {.qos = 1,
                                .topic = slice_text("factory/7/line/3/sensor/temperature"),
                                .payload = slice_of(payload, sizeof(payload))};
        shard->slots[i] = (struct slot){
            .shard = shard, .msg = msg_new(&spec), .session = i % SESSIONS};
        ASSERT(shard->slots[i].msg != NULL);
        shard->ready[shard->ready_count++] = &shard->slots[i];
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        struct op op = {.kind = OP_OPEN, .partition = i, .session = i + 1};
        op.open.client_id = slice_text("a client of the bench");
        journal_log(shard->journal, &op);
    }
}

static void close_shard(struct shard *shard)
{
    journal_raft_free(shard->journal);
    store_close(shard->store);
    io_free(shard->io);
    for (uint32_t i = 0; i < SLOTS; i++) {
        msg_unref(shard->slots[i].msg);
    }
}

/* A folder, and the folders in it. */
static void remove_all(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *item;
    while (folder != NULL && (item = readdir(folder)) != NULL) {
        char inner[512];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) {
            continue;
        }
        snprintf(inner, sizeof(inner), "%.200s/%.250s", path, item->d_name);
        if (unlink(inner) != 0) {
            remove_all(inner);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    rmdir(path);
}

static double seconds_since(uint64_t begin_ns)
{
    return (double)(micro_clock_ns(CLOCK_MONOTONIC) - begin_ns) / 1e9;
}

static void value(const char *what, const char *name, double number, const char *unit)
{
    char text[128];
    snprintf(text, sizeof(text), "%s, %s", what, name);
    micro_value(text, number, unit);
}

static void measure(const char *root, const char *name, enum store_durability durability)
{
    struct shard *shard = malloc(sizeof(*shard));
    struct store_figures before, after;
    char folder[256];
    uint64_t count = micro_scaled(MESSAGES);

    snprintf(folder, sizeof(folder), "%s/%s", root, name);
    open_shard(shard, folder, durability);
    messages(shard, count / 10 + SLOTS); /* warm */
    store_look(shard->store, &before);
    uint64_t begin_ns = micro_clock_ns(CLOCK_MONOTONIC), turns = shard->turns;
    uint64_t shard_ns = micro_clock_ns(CLOCK_THREAD_CPUTIME_ID), all_ns = micro_cpu_ns();
    messages(shard, count);
    double seconds = seconds_since(begin_ns);
    shard_ns = micro_clock_ns(CLOCK_THREAD_CPUTIME_ID) - shard_ns;
    all_ns = micro_cpu_ns() - all_ns;
    turns = shard->turns - turns;
    store_look(shard->store, &after);
    value(name, "messages a second", (double)count / seconds, "/s");
    value(name, "CPU of the shard a message", (double)shard_ns / (double)count, "ns");
    value(name, "CPU of lanes and RocksDB", (double)(all_ns - shard_ns) / (double)count, "ns");
    value(name, "syncs a second", (double)(after.sync_count - before.sync_count) / seconds, "/s");
    value(name, "messages a turn", (double)count / (double)turns, "");
    value(name, "log bytes a message",
          (double)(after.append_bytes - before.append_bytes) / (double)count, "B");
    value(name, "disk bytes a message",
          (double)(after.log.written_bytes - before.log.written_bytes + after.state.written_bytes -
                   before.state.written_bytes) /
              (double)count,
          "B");
    close_shard(shard);
    free(shard);
}

/* ---- the disk ------------------------------------------------------------------------------- */

static void measure_disk(const char *root)
{
    static uint8_t bytes[DISK_BYTES];
    char path[256];
    uint64_t count = micro_scaled(DISK_SYNCS);
    snprintf(path, sizeof(path), "%s/disk", root);
    int handle = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT(handle >= 0);
    uint64_t begin_ns = micro_clock_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < count; i++) {
        ASSERT(write(handle, bytes, sizeof(bytes)) == sizeof(bytes));
        ASSERT(fdatasync(handle) == 0);
    }
    micro_value("the disk, 4 KiB and fdatasync", (double)count / seconds_since(begin_ns), "/s");
    close(handle);
}

int main(int argc, char **argv)
{
    const char *base = getenv("TMPDIR");
    char root[128];
    micro_begin(argc, argv);
    snprintf(root, sizeof(root), "%.90s/tern-bench-journal-XXXXXX",
             base == NULL ? "/var/tmp" : base);
    ASSERT(mkdtemp(root) != NULL);
    measure_disk(root);
    measure(root, "fsync", STORE_FSYNC);
    measure(root, "quorum", STORE_QUORUM);
    measure(root, "relaxed", STORE_RELAXED);
    measure_disk(root);
    remove_all(root);
    return 0;
}
