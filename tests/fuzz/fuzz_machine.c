/*
 * Any bytes as entries of the log: two bytes say how long the next one is. The machine applies it or
 * refuses it; what it refuses leaves nothing behind, and the same entries again, written at other times and
 * with a restart in between, give the same state and the same hash. Left out are entries that give a
 * sequence to two messages a session is owed (op.h), about which machine.h promises nothing (I4).
 */
#include "storage/machine.h"
#include "tests/lib/kv_memory.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTITION = 255, HEAD_BYTES = 2, OWED_MAX = 4096 };

/* What sessions are owed, by session and sequence. */
struct owed {
    uint32_t count;
    struct owed_one {
        uint64_t session, sequence;
    } all[OWED_MAX];
};

struct replica {
    struct kv *kv;
    struct write_set *writes;
    struct owed owed;
    struct machine *machine;
};

static void start(struct replica *replica)
{
    ASSERT(machine_open(replica->kv, PARTITION, &replica->machine) == OK);
}

static void write_all(struct replica *replica)
{
    ASSERT(write_set_write(replica->writes, replica->kv) == OK);
}

/* ---- what no leader logs ---------------------------------------------------------------------- */

static struct owed_one *owed_find(struct owed *owed, uint64_t session, uint64_t sequence)
{
    for (uint32_t i = 0; i < owed->count; i++) {
        if (owed->all[i].session == session && owed->all[i].sequence == sequence) {
            return &owed->all[i];
        }
    }
    return NULL;
}

static void owed_end(struct owed *owed, uint64_t session)
{
    for (uint32_t i = 0; i < owed->count; i++) {
        if (owed->all[i].session == session) {
            owed->all[i--] = owed->all[--owed->count];
        }
    }
}

/* false: it gives what is given already, or more than we can note. */
static bool owed_note(struct owed *owed, const struct entry_op *op)
{
    bool settles = op->kind == OP_SETTLE;
    if (op->kind == OP_END && op->has_more) {
        owed_end(owed, op->session);
    } else if (op->kind == OP_ENQUEUE || settles) {
        uint64_t sequence = settles ? op->settle.sequence : op->enqueue.sequence;
        struct owed_one *one = owed_find(owed, op->session, sequence);
        if (settles && !op->settle.awaits_pubcomp) {
            if (one != NULL) {
                *one = owed->all[--owed->count];
            }
        } else if (one == NULL && owed->count < OWED_MAX) {
            owed->all[owed->count++] = (struct owed_one){op->session, sequence};
        } else {
            return settles && one != NULL;
        }
    }
    return true;
}

/* What is owed after that entry; false: it is to be left out. */
static bool owed_after(const struct owed *before, struct slice bytes, struct owed *after)
{
    struct arena *arena = arena_new(4096, 16 << 20);
    struct entry entry;
    ASSERT(arena != NULL);
    *after = *before;
    bool is_usual = true;
    if (entry_read(bytes, arena, &entry) == OK) { /* else the machine refuses it */
        for (uint32_t i = 0; i < entry.op_count; i++) {
            is_usual = is_usual && owed_note(after, &entry.ops[i]);
        }
    }
    arena_free(arena);
    return is_usual;
}

/* ---- entries ------------------------------------------------------------------------------------ */

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

/* is_odd: three are written at once, and a restart follows. */
static void run(struct replica *replica, struct slice rest, bool is_odd)
{
    struct slice entry;
    for (uint64_t index = 1; next_entry(&rest, &entry); index++) {
        static struct owed owed;
        uint64_t hash = machine_hash(replica->machine);
        if (!owed_after(&replica->owed, entry, &owed)) {
            continue;
        }
        if (machine_apply(replica->machine, index, 1, entry, replica->writes) == OK) {
            replica->owed = owed;
        } else {
            ASSERT(machine_hash(replica->machine) == hash);
            ASSERT(machine_index(replica->machine) < index);
        }
        if (!is_odd || index % 3 == 0) {
            write_all(replica);
        }
        if (is_odd && index % 3 == 0) {
            machine_close(replica->machine);
            start(replica);
        }
    }
    write_all(replica);
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
    static struct replica replicas[2];
    uint64_t digests[2];
    enum err errs[2];
    for (int i = 0; i < 2; i++) {
        ASSERT(kv_open(NULL, &replicas[i].kv, NULL) == OK);
        replicas[i].writes = write_set_new();
        replicas[i].owed.count = 0;
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
        write_set_free(replicas[i].writes);
        kv_close(replicas[i].kv);
    }
    return 0;
}
