/*
 * Images and installs as in a broker: on RocksDB, with the threads of the lanes, beside entries that are
 * logged and applied.
 */
#include "core/base/list.h"
#include "core/base/log.h"
#include "storage/install.h"
#include "tests/lib/image_map.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PARTITION = 7, ID = 5, CHUNKS = 8, ENTRIES = 60 };

struct node {
    char folder[64];
    struct store *store;
    struct lane *image_lane;
};

static struct node node_new(void)
{
    struct node node = {.folder = "/tmp/tern-images-XXXXXX"};
    struct kv_failure failure;
    log_setup(-1, LOG_LOGFMT, 0);
    assert_non_null(mkdtemp(node.folder));
    strcat(node.folder, "/s");
    struct store_config config = {
        .folder = node.folder, .has_threads = true, .space_free_min = 1, .flush_bytes = 100000};
    assert_int_equal(store_open(&config, &node.store, &failure), OK);
    for (uint32_t i = 0; i < STORE_PARTITIONS; i++) {
        store_applied(node.store, i, 0, 0);
    }
    assert_int_equal(image_lane_new(true, &node.image_lane), OK);
    return node;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void node_free(struct node *node)
{
    lane_free(node->image_lane);
    store_close(node->store);
    *strrchr(node->folder, '/') = '\0';
    nftw(node->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a partition that is written to ---------------------------------------------------------------- */

struct entry_job {
    struct store_append append;
    struct store_apply apply;
    struct slice bytes;
};

struct living {
    struct node *node;
    struct machine *machine; /* the state lane's from the first entry on */
    uint64_t index_first;    /* that it had before */
    struct model model;
    struct lane_desk log_desk, state_desk;
    struct entry_job entries[ENTRIES];
    uint32_t count;
};

static void on_done(struct job *job, enum err err)
{
    (void)job;
    assert_int_equal(err, OK);
}

static void live_begin(struct living *living, struct node *node)
{
    living->node = node;
    living->machine = machine_of(store_state(node->store), PARTITION);
    model_init(&living->model, 77);
    living->index_first = machine_index(living->machine);
    living->model.message_next = machine_message_next(living->machine);
    lane_desk_init(&living->log_desk, store_log_lane(node->store), NULL);
    lane_desk_init(&living->state_desk, store_state_lane(node->store), NULL);
}

static void live(struct living *living)
{
    struct entry_job *entry = &living->entries[living->count++];
    uint64_t index = living->index_first + living->count;
    struct raftlog_hard hard = {.term = 9};
    entry->bytes = model_entry(&living->model);
    struct raftlog_entry record = {index, 9, 1, entry->bytes};
    entry->append = (struct store_append){
        .job.done = on_done, .batch = kv_batch_new(), .must_sync = true};
    raftlog_put_hard(entry->append.batch, PARTITION, &hard);
    assert_int_equal(raftlog_put(entry->append.batch, PARTITION, &record), OK);
    entry->apply = (struct store_apply){.job.done = on_done,
                                        .machine = living->machine,
                                        .partition = PARTITION,
                                        .index = index,
                                        .term = 9,
                                        .bytes = entry->bytes};
    store_append(&living->log_desk, &entry->append);
    store_apply(&living->state_desk, &entry->apply);
}

static void live_end(struct living *living)
{
    lane_desk_close(&living->log_desk);
    lane_desk_close(&living->state_desk);
    for (uint32_t i = 0; i < living->count; i++) {
        kv_batch_free(living->entries[i].append.batch);
        free((void *)living->entries[i].bytes.data);
    }
    model_deinit(&living->model);
    machine_close(living->machine);
}

/* ---- an image of it, read in the lane --------------------------------------------------------------- */

struct reading {
    struct image_work work;
    struct image_out *out;
    uint32_t number;
    struct buf bytes;
    bool is_last, is_done;
};

static enum err read_chunk(struct image_work *work)
{
    struct reading *reading = CONTAINER_OF(work, struct reading, work);
    return image_out_chunk(reading->out, reading->number, &reading->bytes, &reading->is_last);
}

static void on_read(struct job *job, enum err err)
{
    assert_int_equal(err, OK);
    CONTAINER_OF(CONTAINER_OF(job, struct image_work, job), struct reading, work)->is_done = true;
}

static void pause_a_little(void)
{
    nanosleep(&(const struct timespec){.tv_nsec = 200000}, NULL);
}

static void on_step(void *context, enum err err)
{
    assert_int_equal(err, OK);
    *(bool *)context = true;
}

static void step_wait(struct install *install, bool *is_done)
{
    while (!*is_done) {
        pause_a_little();
        install_collect(install);
    }
    *is_done = false;
}

static void an_image_of_a_partition_that_is_written_to_is_installed_elsewhere(void **state)
{
    static struct living living;
    struct node from = node_new(), to = node_new();
    struct reading reading = {.work = {.job.done = on_read, .work = read_chunk}};
    struct install *install;
    struct lane_desk desk;
    bool is_done = false;
    (void)state;
    map_apply(store_state(from.store), PARTITION, 1, 20);
    map_fill(store_state(from.store), PARTITION, 1, CHUNKS, IMAGE_CHUNK_BYTES - 5000);
    map_apply(store_state(to.store), PARTITION, 2, 20);
    struct standing sent = standing_of(store_state(from.store), PARTITION);
    assert_int_equal(image_out_open(store_state(from.store), PARTITION, ID, &reading.out), OK);
    struct image_head head = image_out_head(reading.out);
    struct install_config config = {
        .store = to.store, .image_lane = to.image_lane, .done = on_step, .context = &is_done};
    assert_int_equal(install_new(&config, &install), OK);
    lane_desk_init(&desk, from.image_lane, NULL);
    live_begin(&living, &from);
    install_begin(install, &head);
    step_wait(install, &is_done);
    while (!reading.is_last) {
        image_lane_submit(&desk, &reading.work);
        for (int i = 0; i < ENTRIES / (CHUNKS + 2); i++) {
            live(&living);
        }
        for (reading.is_done = false; !reading.is_done;) {
            pause_a_little();
            lane_collect(&desk);
        }
        install_chunk(install, buf_bytes(&reading.bytes));
        step_wait(install, &is_done);
        buf_consume(&reading.bytes, buf_count(&reading.bytes));
        reading.number++;
    }
    assert_true(reading.number >= CHUNKS);
    assert_true(install_is_whole(install));
    install_end(install);
    step_wait(install, &is_done);
    live_end(&living);
    assert_true(standing_of(store_state(from.store), PARTITION).index > sent.index);
    struct standing got = standing_of(store_state(to.store), PARTITION);
    assert_true(standing_equal(&got, &sent));
    machine_close(install_take_machine(install));
    install_free(install);
    image_out_close(reading.out);
    lane_desk_close(&desk);
    buf_deinit(&reading.bytes);
    node_free(&from);
    node_free(&to);
}

/* Who gives up in the middle of a step waits for that step alone. */
static void an_install_is_given_up_at_any_moment(void **state)
{
    struct node from = node_new(), to = node_new();
    bool is_done = false;
    (void)state;
    map_apply(store_state(from.store), PARTITION, 1, 20);
    struct chunks chunks = chunks_of(store_state(from.store), PARTITION, ID);
    struct install_config config = {
        .store = to.store, .image_lane = to.image_lane, .done = on_step, .context = &is_done};
    for (int steps = 0; steps < 4; steps++) {
        struct install *install;
        is_done = false;
        assert_int_equal(install_new(&config, &install), OK);
        install_begin(install, &chunks.head);
        if (steps > 0) {
            step_wait(install, &is_done);
            install_chunk(install, chunk_at(&chunks, 0));
        }
        if (steps > 1) {
            step_wait(install, &is_done);
            install_end(install);
        }
        if (steps > 2) {
            step_wait(install, &is_done);
        }
        install_free(install);
    }
    assert_int_equal(standing_of(store_state(to.store), PARTITION).index, chunks.head.index);
    chunks_free(&chunks);
    node_free(&from);
    node_free(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_of_a_partition_that_is_written_to_is_installed_elsewhere),
        cmocka_unit_test(an_install_is_given_up_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
