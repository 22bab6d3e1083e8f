#include "tests/lib/store_place.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* ---- with threads --------------------------------------------------------------------------- */

struct shard {
    struct store *store;
    pthread_t thread;
    uint32_t partition;
    uint64_t last;
    uint32_t wrong_count;
    _Atomic bool *is_over;
};

static void *run_shard(void *context)
{
    struct shard *shard = context;
    struct machine machine = {.partition = shard->partition};
    struct lane_desk log_desk, state_desk;
    lane_desk_init(&log_desk, store_log_lane(shard->store), NULL);
    lane_desk_init(&state_desk, store_state_lane(shard->store), NULL);
    for (uint64_t index = 1; !atomic_load(shard->is_over); index++) {
        struct append append;
        struct apply apply = apply_of(&machine, index, 1);
        append_new(&append, shard->partition, index, 1);
        store_append(&log_desk, &append.append);
        while (append.err == ERR_COUNT) {
            lane_collect(&log_desk);
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        }
        store_apply(&state_desk, &apply.apply);
        while (apply.err == ERR_COUNT) {
            lane_collect(&state_desk);
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        }
        shard->wrong_count += append.err != OK || apply.err != OK;
        shard->last = index;
        append_free(&append);
    }
    lane_desk_close(&log_desk);
    lane_desk_close(&state_desk);
    return NULL;
}

static void backup_and_look(struct place *place, const char *folder)
{
    struct place copy = {0};
    snprintf(copy.folder, sizeof(copy.folder), "%s", folder);
    struct store_config config = config_of(&copy);
    open_with(&copy, &config);
    for (uint8_t partition = 0; partition < 3; partition++) {
        struct seen seen;
        struct raftlog_hard hard = load(&copy, partition, &seen);
        uint64_t applied = state_index(store_state(copy.store), partition);
        assert_true(applied >= hard.cut_index); /* no hole between the two */
        assert_true(seen.last >= applied || seen.last == 0);
        assert_true(seen.last + hard.cut_index > 0);
    }
    close_store(&copy);
    (void)place;
}

static void shards_live_on_while_the_store_is_copied(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct shard shards[3];
    struct store_figures figures;
    _Atomic bool is_over = false;
    struct seen seen;
    config.has_threads = true;
    config.flush_bytes = 1000; /* flushes and cuts all the time */
    open_with(place, &config);
    for (uint32_t i = 0; i < 3; i++) {
        shards[i] = (struct shard){.store = place->store, .partition = i, .is_over = &is_over};
        assert_int_equal(pthread_create(&shards[i].thread, NULL, run_shard, &shards[i]), 0);
    }
    do {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        store_look(place->store, &figures);
    } while (figures.apply_count < 100);
    for (int i = 0; i < 3; i++) {
        char folder[160];
        snprintf(folder, sizeof(folder), "%s/copy%d", place->root, i);
        assert_int_equal(store_backup(place->store, folder, &place->failure), OK);
        assert_int_equal(store_backup_verify(folder, &place->failure), OK);
        backup_and_look(place, folder);
    }
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(shards[i].thread, NULL);
        assert_int_equal(shards[i].wrong_count, 0);
    }
    close_store(place);
    config.has_threads = false;
    open_with(place, &config);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(state_index(store_state(place->store), i), shards[i].last);
        assert_int_equal(load(place, i, &seen).cut_index, shards[i].last);
    }
}

/* ---- backup --------------------------------------------------------------------------------- */

static void a_backup_needs_a_folder_of_its_own(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    open_with(place, &config);
    assert_int_equal(store_backup(place->store, place->folder, &place->failure), ERR_EXISTS);
    assert_non_null(strstr(place->failure.text, "not empty"));
    assert_int_equal(store_backup_verify(place->root, &place->failure), ERR_NOT_FOUND);
    assert_non_null(strstr(place->failure.text, "SUMS is missing"));
}

static enum err backup_that_fails(struct place *place, const char *folder)
{
    limit_files(1);
    enum err err = store_backup(place->store, folder, &place->failure);
    limit_files(RLIM_INFINITY);
    return err;
}

static void a_backup_that_fails_leaves_nothing(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    char made[160], found[160], others[200];
    open_with(place, &config);
    snprintf(made, sizeof(made), "%s/made", place->root);
    assert_int_equal(backup_that_fails(place, made), ERR_IO);
    assert_int_equal(access(made, F_OK), -1);

    snprintf(found, sizeof(found), "%s/found", place->root);
    assert_int_equal(mkdir(found, 0700), 0);
    assert_int_equal(backup_that_fails(place, found), ERR_IO);
    assert_int_equal(rmdir(found), 0); /* it is there, and nothing is in it */

    snprintf(others, sizeof(others), "%s/state", place->root); /* named like a part, and not ours */
    assert_int_equal(mkdir(others, 0700), 0);
    assert_int_equal(backup_that_fails(place, place->root), ERR_EXISTS);
    assert_int_equal(access(others, F_OK), 0);

    assert_int_equal(store_backup(place->store, made, &place->failure), OK);
    assert_int_equal(store_backup_verify(made, &place->failure), OK);
}

static void flip(const char *path)
{
    struct stat status;
    uint8_t byte;
    int handle = open(path, O_RDWR);
    assert_true(handle >= 0);
    assert_int_equal(fstat(handle, &status), 0);
    assert_int_equal(pread(handle, &byte, 1, status.st_size / 2), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(handle, &byte, 1, status.st_size / 2), 1);
    close(handle);
}

static void what_happened_to_a_backup_is_found(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct machine machine = {.partition = 5};
    char folder[160], path[200], text[256];
    open_with(place, &config);
    live(place, &machine, 1, 20, SECOND);
    snprintf(folder, sizeof(folder), "%s/copy", place->root);
    assert_int_equal(store_backup(place->store, folder, &place->failure), OK);
    assert_int_equal(store_backup_verify(folder, &place->failure), OK);

    snprintf(path, sizeof(path), "%s/log/CURRENT", folder);
    flip(path);
    assert_int_equal(store_backup_verify(folder, &place->failure), ERR_CORRUPT);
    assert_non_null(strstr(place->failure.text, "log/CURRENT"));
    flip(path);
    assert_int_equal(store_backup_verify(folder, &place->failure), OK);

    snprintf(path, sizeof(path), "%s/state/more", folder);
    FILE *file = fopen(path, "w");
    fclose(file);
    assert_int_equal(store_backup_verify(folder, &place->failure), ERR_CORRUPT);
    unlink(path);

    snprintf(path, sizeof(path), "%s/FORMAT", folder);
    unlink(path);
    assert_int_equal(store_backup_verify(folder, &place->failure), ERR_CORRUPT);
    assert_non_null(strstr(place->failure.text, "FORMAT"));
    assert_non_null(strstr(place->failure.text, "missing"));

    snprintf(path, sizeof(path), "%s/SUMS", folder);
    file = fopen(path, "a");
    fputs("XXH3_0123456789abcdef  ../../etc/passwd\n", file);
    fclose(file);
    snprintf(text, sizeof(text), "%s/copy/FORMAT", place->root);
    file = fopen(text, "w");
    fclose(file);
    assert_int_equal(store_backup_verify(folder, &place->failure), ERR_CORRUPT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(shards_live_on_while_the_store_is_copied),
        TEST(a_backup_needs_a_folder_of_its_own),
        TEST(a_backup_that_fails_leaves_nothing),
        TEST(what_happened_to_a_backup_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
