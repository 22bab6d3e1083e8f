/*
 * ternctl export: what a closed store, or a backup, holds, as JSON lines (storage/dump.h).
 */
#include "cluster/consensus.h"
#include "cluster/ternctl.h"
#include "cluster/ternctl_store.h"
#include "storage/dump.h"
#include "storage/store.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static const char words[] = "export";

enum { BATCH_BYTES = 1 << 20 };

static enum err print_line(void *context, struct slice line)
{
    (void)context;
    return fwrite(line.data, 1, line.count, stdout) == line.count ? OK : err_from_errno(errno);
}

/* ---- what the log has, and the state has not seen ------------------------------------------------ */

struct replay {
    struct kv *state;
    struct machine *machine;
    struct write_set *writes;
    struct raftlog_hard hard;
    enum err applied;
};

static enum err on_entry(void *context, const struct raftlog_entry *entry)
{
    struct replay *replay = context;
    if (entry->index <= machine_index(replay->machine) || entry->type != CONSENSUS_COMMAND) {
        return OK;
    }
    if (machine_index(replay->machine) < replay->hard.cut_index) {
        return OK; /* what lies between is missing: the state is told as it is */
    }
    replay->applied = machine_apply(replay->machine, entry->index, entry->term, entry->bytes,
                                    replay->writes);
    TRY(replay->applied);
    bool is_enough = write_set_bytes(replay->writes) >= BATCH_BYTES;
    return is_enough ? write_set_write(replay->writes, replay->state) : OK;
}

/*
 * The state holds what was applied when it was last written to the disk. What came after, before a
 * crash or while a backup was made, is in the log: it is applied as the next start would do it. (On a
 * node that was alone: all that is in its log is committed.) Of a damaged log, up to the damage.
 */
static enum err log_apply(struct closed_store *store, uint32_t partition, struct machine *machine,
                          struct kv_failure *failure)
{
    struct replay replay = {.state = store->state, .machine = machine, .writes = write_set_new()};
    uint64_t before = machine_index(machine);
    if (replay.writes == NULL) {
        return ERR_NOMEM;
    }
    enum err err = raftlog_load(store->log, partition, &replay.hard, on_entry, &replay, failure);
    enum err written = replay.applied == OK ? write_set_write(replay.writes, store->state) : OK;
    write_set_free(replay.writes);
    TRY(err);
    if (before < replay.hard.cut_index || (before > 0 && replay.hard.term == 0)) {
        snprintf(failure->text, sizeof(failure->text),
                 "its log and its state are of different times: %s",
                 replay.hard.term == 0 ? "the log is lost" : "what lies between them is missing");
        return ERR_CORRUPT;
    }
    return written;
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* ERR_CORRUPT: an image was taking its place, and there is no state of it; or as raftlog_get_mark(). */
static enum err mark_refuse(struct closed_store *store, uint32_t partition,
                            struct kv_failure *failure)
{
    struct raftlog_mark mark;
    enum err err = raftlog_get_mark(store->log, partition, &mark, failure);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    snprintf(failure->text, sizeof(failure->text),
             "it was being replaced by what another node has of it: start this node and let its "
             "cluster help it, or export another node of it");
    return ERR_CORRUPT;
}

static enum err partition_dump(struct dumper *dumper, struct closed_store *store,
                               uint32_t partition, struct kv_failure *failure)
{
    struct machine *machine;
    TRY(mark_refuse(store, partition, failure));
    TRY(machine_open(store->state, partition, &machine));
    enum err err = log_apply(store, partition, machine, failure);
    enum err dumped = err == OK || err == ERR_CORRUPT ? dump_machine(dumper, partition, machine)
                                                      : OK;
    machine_close(machine);
    return err == OK ? dumped : err;
}

/* What is wrong with a partition. true: others may be written all the same. */
static bool partition_failed(uint32_t partition, enum err err, const struct kv_failure *failure)
{
    bool is_damage = err == ERR_CORRUPT || err == ERR_UNSUPPORTED;
    fprintf(stderr, "ternctl export: partition %u: %s%s%s\n", partition, err_text(err),
            failure->text[0] == '\0' ? "" : ": ", failure->text);
    return is_damage;
}

/* A damaged partition is written up to the damage, then the next one: what can be saved is. */
static int dump_all(struct closed_store *store)
{
    struct dumper dumper = {.write = print_line};
    bool is_whole = true;
    enum err err = dump_begin(&dumper, (uint64_t)time(NULL) * 1000);
    for (uint32_t i = 0; err == OK && i < STORE_PARTITIONS; i++) {
        struct kv_failure failure = {""};
        err = partition_dump(&dumper, store, i, &failure);
        if (err != OK) {
            is_whole = false;
            err = partition_failed(i, err, &failure) ? OK : err;
        }
    }
    err = err == OK && is_whole ? dump_end(&dumper) : err;
    dumper_deinit(&dumper);
    if (!is_whole || err != OK) {
        fprintf(stderr,
                "ternctl export: what was written is not complete, so it has no last line of "
                "type \"end\"; ternctl check says what is damaged\n");
    }
    return err != OK ? TERNCTL_CANNOT_CREATE : is_whole ? TERNCTL_OK : TERNCTL_DATA;
}

int ternctl_export(int argument_count, char *const *arguments)
{
    struct closed_store store;
    if (argument_count != 2 || arguments[1][0] == '\0' || arguments[1][0] == '-') {
        return ternctl_wrong_usage(words, "write the folder of a store, or of a backup");
    }
    int code = closed_store_open(words, arguments[1], &store);
    if (code != TERNCTL_OK) {
        return code;
    }
    code = dump_all(&store);
    closed_store_close(&store);
    return code;
}
