/*
 * store_place: a store in a folder of its own, with machines that only note; for the tests of storage/store*.c.
 */
#ifndef TERN_TESTS_LIB_STORE_PLACE_H
#define TERN_TESTS_LIB_STORE_PLACE_H

#include "core/base/list.h"
#include "core/base/log.h"
#include "storage/migrate.h"
#include "storage/store.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000000ull

/* ---- a machine that only notes -------------------------------------------------------------- */

/* Stands for storage/machine.c, which is not linked: what the store makes of a machine's answers. */
struct machine {
    uint32_t partition;
    uint64_t index_last;
    enum err answer; /* to the next calls */
    uint64_t answer_at;
};

enum err machine_apply(struct machine *machine, uint64_t index, uint64_t term, struct slice bytes,
                       struct write_set *writes)
{
    uint8_t key[2] = {(uint8_t)machine->partition, 'A'}, value[16];
    (void)bytes;
    if (machine->answer != OK && index >= machine->answer_at) {
        return machine->answer;
    }
    assert_true(index > machine->index_last); /* in order */
    machine->index_last = index;
    memcpy(value, &index, 8);
    memcpy(value + 8, &term, 8);
    assert_int_equal(write_set_reserve(writes, 1, sizeof(key) + sizeof(value)), OK);
    write_set_put(writes, slice_of(key, 2), slice_of(value, 16));
    return OK;
}

/* The index that the state map has of a partition. */
static inline uint64_t state_index(struct kv *state, uint8_t partition)
{
    uint8_t key[2] = {partition, 'A'};
    struct kv_value value;
    uint64_t index;
    if (kv_get(state, slice_of(key, 2), &value) != OK) {
        return 0;
    }
    memcpy(&index, value.bytes.data, 8);
    kv_value_free(&value);
    return index;
}

/* ---- a folder for each test ----------------------------------------------------------------- */

struct place {
    char root[64], folder[160];
    struct kv_failure failure;
    struct store *store;
};

static inline int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    snprintf(place->root, sizeof(place->root), "/tmp/tern-store-XXXXXX");
    assert_non_null(mkdtemp(place->root));
    snprintf(place->folder, sizeof(place->folder), "%s/data", place->root);
    log_setup(-1, LOG_LOGFMT, 0);
    *state = place;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *status, int kind,
                             struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static inline int tear_down(void **state)
{
    struct place *place = *state;
    store_close(place->store);
    nftw(place->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(place);
    return 0;
}

static inline struct store_config config_of(struct place *place)
{
    return (struct store_config){.folder = place->folder, .space_free_min = 1};
}

static inline void open_with(struct place *place, const struct store_config *config)
{
    enum err err = store_open(config, &place->store, &place->failure);
    if (err != OK) {
        print_error("%s\n", place->failure.text);
    }
    assert_int_equal(err, OK);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        store_applied(place->store, i, 0, 0);
    }
}

static inline void close_store(struct place *place)
{
    store_close(place->store);
    place->store = NULL;
}

/* No file gets larger than that meanwhile: a disk that fails at a place of the test's choice. */
static inline void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* ---- appending ------------------------------------------------------------------------------ */

/* One entry on its way into the log. */
struct append {
    struct store_append append;
    uint32_t order, done_count;
    enum err err;
};

static _Atomic uint32_t order_next;

static inline void on_append_done(struct job *job, enum err err)
{
    struct append *append = CONTAINER_OF(job, struct append, append.job);
    append->order = order_next++;
    append->done_count++;
    append->err = err;
}

static inline void append_new(struct append *append, uint32_t partition, uint64_t index,
                              uint64_t term)
{
    struct raftlog_hard hard = {.term = 99, .vote = 1};
    struct raftlog_entry entry = {index, term, 1, slice_text("an entry of the log")};
    *append = (struct append){.append.job.done = on_append_done, .err = ERR_COUNT};
    append->append.batch = kv_batch_new();
    raftlog_put_hard(append->append.batch, partition, &hard);
    assert_int_equal(raftlog_put(append->append.batch, partition, &entry), OK);
}

static inline void append_free(struct append *append)
{
    kv_batch_free(append->append.batch);
}

struct seen {
    uint64_t first, last;
};

static inline enum err see(void *context, const struct raftlog_entry *entry)
{
    struct seen *seen = context;
    seen->first = seen->first == 0 ? entry->index : seen->first;
    seen->last = entry->index;
    return OK;
}

static inline struct raftlog_hard load(struct place *place, uint32_t partition, struct seen *seen)
{
    struct raftlog_hard hard;
    *seen = (struct seen){0};
    assert_int_equal(
        raftlog_load(store_log(place->store), partition, &hard, see, seen, &place->failure), OK);
    return hard;
}

/* ---- applying ---------------------------------------------------------------------------------- */

struct apply {
    struct store_apply apply;
    uint32_t done_count;
    enum err err;
};

static inline void on_apply_done(struct job *job, enum err err)
{
    struct apply *apply = CONTAINER_OF(job, struct apply, apply.job);
    apply->done_count++;
    apply->err = err;
}

static inline struct apply apply_of(struct machine *machine, uint64_t index, uint64_t term)
{
    return (struct apply){.apply = {.job.done = on_apply_done,
                                    .machine = machine,
                                    .partition = machine->partition,
                                    .index = index,
                                    .term = term,
                                    .bytes = slice_text("x")},
                          .err = ERR_COUNT};
}

/* Append and apply entries of a partition, one after another. */
static inline void live(struct place *place, struct machine *machine, uint64_t first, uint64_t last,
                        uint64_t now_ns)
{
    struct lane_desk log_desk, state_desk;
    lane_desk_init(&log_desk, store_log_lane(place->store), NULL);
    lane_desk_init(&state_desk, store_state_lane(place->store), NULL);
    for (uint64_t index = first; index <= last; index++) {
        struct append append;
        struct apply apply = apply_of(machine, index, index / 10 + 1);
        append_new(&append, machine->partition, index, index / 10 + 1);
        store_append(&log_desk, &append.append);
        lane_turn(store_log_lane(place->store), now_ns);
        lane_collect(&log_desk);
        assert_int_equal(append.err, OK);
        store_apply(&state_desk, &apply.apply);
        lane_turn(store_state_lane(place->store), now_ns);
        lane_collect(&state_desk);
        assert_int_equal(apply.err, OK);
        append_free(&append);
    }
    lane_turn(store_log_lane(place->store), now_ns); /* a cut, if there is one */
    lane_turn(store_state_lane(place->store), now_ns + SECOND);
    lane_desk_close(&log_desk);
    lane_desk_close(&state_desk);
}

#endif
