/*
 * Any bytes as entries of the log: two bytes say how long the next one is. The machine applies it or
 * refuses it; what it refuses leaves nothing behind, and the same entries again, in other batches and
 * with a restart in between, give the same state and the same hash.
 */
#include "storage/machine.h"
#include "tests/lib/kv_memory.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTITION = 255, HEAD_BYTES = 2 };

struct replica {
    struct kv *kv;
    struct kv_batch *batch;
    struct machine *machine;
};

static void start(struct replica *replica)
{
    ASSERT(machine_open(replica->kv, PARTITION, &replica->machine) == OK);
}

static void write_batch(struct replica *replica)
{
    ASSERT(kv_write(replica->kv, replica->batch) == OK);
    kv_batch_clear(replica->batch);
}

static bool next_entry(struct slice *rest, struct slice *entry)
{
    if (rest->count < HEAD_BYTES) {
        return false;
    }
    size_t count = (size_t)rest->data[0] << 8 | rest->data[1];
    *rest = slice_skip(*rest, HEAD_BYTES);
    count = count < rest->count ? count : rest->count;
    *entry = slice_head(*rest, count);
    *rest = slice_skip(*rest, count);
    return true;
}

/* is_odd: all in one batch, but for a restart after every third entry. */
static void run(struct replica *replica, struct slice rest, bool is_odd)
{
    struct slice entry;
    for (uint64_t index = 1; next_entry(&rest, &entry); index++) {
        uint64_t hash = machine_hash(replica->machine);
        if (machine_apply(replica->machine, index, 1, entry, replica->batch) != OK) {
            ASSERT(machine_hash(replica->machine) == hash);
            ASSERT(machine_index(replica->machine) < index);
        }
        if (!is_odd || index % 3 == 0) {
            write_batch(replica);
        }
        if (is_odd && index % 3 == 0) {
            machine_close(replica->machine);
            start(replica);
        }
    }
    write_batch(replica);
}

static enum err ignore_item(void *context, uint64_t session, uint64_t sequence,
                            const struct item_record *item)
{
    (void)context, (void)session, (void)sequence, (void)item;
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct machine_reader reader = {.item = ignore_item};
    struct replica replicas[2];
    uint64_t digests[2];
    enum err errs[2];
    for (int i = 0; i < 2; i++) {
        ASSERT(kv_open(NULL, &replicas[i].kv, NULL) == OK);
        replicas[i].batch = kv_batch_new();
        start(&replicas[i]);
        run(&replicas[i], slice_of(data, size), i == 1);
        ASSERT(machine_digest(replicas[i].machine, &digests[i]) == OK);
        /* Ops that no leader would log can leave parts without a session: that is told (I2). */
        errs[i] = machine_read(replicas[i].machine, &reader, NULL);
    }
    ASSERT(digests[0] == digests[1]);
    ASSERT(errs[0] == errs[1] && (errs[0] == OK || errs[0] == ERR_CORRUPT));
    ASSERT(machine_hash(replicas[0].machine) == machine_hash(replicas[1].machine));
    ASSERT(machine_index(replicas[0].machine) == machine_index(replicas[1].machine));
    ASSERT(machine_message_next(replicas[0].machine) == machine_message_next(replicas[1].machine));
    for (int i = 0; i < 2; i++) {
        machine_close(replicas[i].machine);
        kv_batch_free(replicas[i].batch);
        kv_close(replicas[i].kv);
    }
    return 0;
}
