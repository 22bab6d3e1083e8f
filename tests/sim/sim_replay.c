#include "tests/sim/sim_replay.h"

#include "cluster/consensus.h"
#include "core/base/assert.h"
#include "core/base/rng.h"
#include "storage/key.h"
#include "storage/store.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_store.h"

#include <stdio.h>

/* What a partition has come to. */
struct outcome {
    uint64_t index, hash, digest, message_next, send_next, wall_ms;
};

static enum err outcome_of(struct kv *state, uint32_t partition, struct outcome *out)
{
    struct machine *machine;
    TRY(machine_open(state, partition, &machine));
    *out = (struct outcome){.index = machine_index(machine),
                            .hash = machine_hash(machine),
                            .message_next = machine_message_next(machine),
                            .send_next = machine_send_next(machine),
                            .wall_ms = machine_wall_ms(machine)};
    enum err err = machine_digest(machine, &out->digest);
    machine_close(machine);
    return err;
}

struct replay {
    struct kv *state;
    struct machine *machine;
    struct write_set *writes;
    struct rng *rng;
    uint32_t partition, batch_max; /* entries */
    uint32_t batch_count;
    bool is_interrupted;
};

static enum err batch_write(struct replay *replay)
{
    TRY(write_set_write(replay->writes, replay->state));
    replay->batch_count = 0;
    if (replay->is_interrupted && rng_below(replay->rng, 3) == 0) {
        machine_close(replay->machine);
        replay->machine = NULL;
        return machine_open(replay->state, replay->partition, &replay->machine);
    }
    return OK;
}

static enum err on_entry(void *context, const struct raftlog_entry *entry)
{
    struct replay *replay = context;
    if (entry->type != CONSENSUS_COMMAND) {
        return OK;
    }
    TRY(machine_apply(replay->machine, entry->index, entry->term, entry->bytes, replay->writes));
    return ++replay->batch_count >= replay->batch_max ? batch_write(replay) : OK;
}

/* text is of the failure. */
static enum err replay_partition(struct kv *log, struct replay *replay, struct kv_failure *failure)
{
    struct raftlog_hard hard;
    failure->text[0] = 0;
    TRY(machine_open(replay->state, replay->partition, &replay->machine));
    enum err err = raftlog_load(log, replay->partition, &hard, on_entry, replay, failure);
    if (err == OK && hard.cut_index != 0) {
        snprintf(failure->text, sizeof(failure->text), "it was cut");
        err = ERR_CORRUPT;
    }
    err = err == OK && replay->batch_count > 0 ? batch_write(replay) : err;
    machine_close(replay->machine);
    replay->machine = NULL;
    replay->batch_count = 0;
    return err;
}

/* The whole log into a map of its own. */
static void replay_all(struct sim *sim, struct rng *rng, bool is_interrupted,
                       struct outcome out[STORE_PARTITIONS])
{
    struct sim_disk *disk = sim_kv_disk_new("/replay", rng);
    struct kv_config config = {.folder = "/replay/state", .way = KV_UNLOGGED};
    struct kv_failure failure;
    struct replay replay = {
        .writes = write_set_new(), .rng = rng, .is_interrupted = is_interrupted};
    enum err err = kv_open(&config, &replay.state, &failure);
    ASSERT(err == OK);
    for (uint32_t i = 0; i < STORE_PARTITIONS && !sim->has_failed; i++) {
        replay.partition = i;
        replay.batch_max = is_interrupted ? 1 + (uint32_t)rng_below(rng, 8) : UINT32_MAX;
        err = replay_partition(store_log(sim->node->store->ports.store), &replay, &failure);
        err = err == OK ? outcome_of(replay.state, i, &out[i]) : err;
        if (err != OK) {
            sim_fail(sim, "P12: the log of partition %u cannot be replayed: %s %.200s", i,
                     err_text(err), failure.text);
        }
    }
    write_set_free(replay.writes);
    kv_close(replay.state);
    sim_kv_disk_free(disk);
}

static void compare(struct sim *sim, const char *what, const struct outcome *one,
                    const struct outcome *two, uint32_t partition)
{
#define SAME(field)                                                                              \
    if (one->field != two->field) {                                                              \
        sim_fail(sim, "P12: partition %u: %s differ in their " #field ": %llx, %llx", partition, \
                 what, (unsigned long long)one->field, (unsigned long long)two->field);          \
    }
    SAME(index)
    SAME(digest)
    SAME(hash)
    SAME(message_next)
    SAME(send_next)
    SAME(wall_ms)
#undef SAME
}

void replay_compare(struct sim *sim, struct rng *rng)
{
    struct outcome state, one[STORE_PARTITIONS], two[STORE_PARTITIONS];
    replay_all(sim, rng, false, one);
    replay_all(sim, rng, true, two);
    for (uint32_t i = 0; i < STORE_PARTITIONS && !sim->has_failed; i++) {
        enum err err = outcome_of(store_state(sim->node->store->ports.store), i, &state);
        ASSERT(err == OK);
        compare(sim, "two replays", &one[i], &two[i], i);
        compare(sim, "the state and a replay of the log", &state, &one[i], i);
    }
}

bool replay_has_healed(struct sim *sim)
{
    struct kv_failure failure;
    struct store *store = sim->node->store->ports.store;
    return kv_verify(store_state(store), &failure) == OK &&
           kv_verify(store_log(store), &failure) == OK;
}

void replay_is_empty(struct sim *sim)
{
    struct kv_iter *iter = kv_iter_new(store_state(sim->node->store->ports.store),
                                       (struct slice){0}, (struct slice){0}, true);
    struct slice key, value;
    ASSERT(iter != NULL);
    while (kv_iter_next(iter, &key, &value)) {
        /* Notes of what share groups took are forgotten some hundreds at a time. */
        bool is_lasting = key.data[1] == KEY_APPLIED || key.data[1] == KEY_RECEIVED ||
                          key.data[1] == KEY_TAKEN || key.data[1] == KEY_RETAINED;
        if (!is_lasting) {
            sim_fail(sim, "after all left, the state of partition %u still has a record '%c'%s%c%s",
                     key.data[0], key.data[1], key.count > 10 ? " '" : "",
                     key.count > 10 ? key.data[10] : ' ', key.count > 10 ? "'" : "");
            break;
        }
    }
    kv_iter_end(iter);
}
