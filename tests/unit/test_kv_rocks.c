/* What only a map of files can meet: torn and damaged ones, another process, several threads. */
#include "storage/kv.h"
#include "tests/lib/kv_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct slice none;
static char folder[256], kept[256];
static struct kv_failure failure;

static int begin(void **state)
{
    (void)state;
    const char *root = kv_disk_begin();
    snprintf(folder, sizeof folder, "%s/map", root);
    snprintf(kept, sizeof kept, "%s/kept", root);
    return 0;
}

static int end(void **state)
{
    (void)state;
    kv_disk_end();
    return 0;
}

static enum err open_map(enum kv_way way, struct kv **out)
{
    struct kv_config config = {.folder = folder, .way = way};
    failure.text[0] = '\0';
    return kv_open(&config, out, &failure);
}

static struct kv *opened(enum kv_way way)
{
    struct kv *kv = NULL;
    enum err err = open_map(way, &kv);
    if (err != OK) {
        fprintf(stderr, "%s: %s\n", err_name(err), failure.text);
    }
    assert_int_equal(err, OK);
    return kv;
}

/* Numbers from..to-1, each a batch of its own; the value is value_bytes long and does not compress. */
static enum err write_numbers(struct kv *kv, int from, int to, size_t value_bytes)
{
    uint8_t *value = malloc(value_bytes);
    struct kv_batch *batch = kv_batch_new();
    enum err err = OK;
    uint32_t noise = 1;
    for (int i = from; i < to && err == OK; i++) {
        char key[16];
        for (size_t at = 0; at < value_bytes; at++) {
            noise = noise * 1664525 + 1013904223;
            value[at] = (uint8_t)(noise >> 24);
        }
        snprintf(key, sizeof key, "%08d", i);
        kv_batch_clear(batch);
        kv_batch_put(batch, slice_text(key), slice_of(value, value_bytes));
        err = kv_write(kv, batch);
    }
    kv_batch_free(batch);
    free(value);
    return err;
}

/* How many numbers there are: 0 to that without a hole, or the test fails. */
static int numbers_there(struct kv *kv)
{
    struct slice key, value;
    int count = 0;
    struct kv_iter *iter = kv_iter_new(kv, none, none, true);
    while (kv_iter_next(iter, &key, &value)) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%08d", count);
        assert_true(slice_is(key, wanted));
        count++;
    }
    assert_int_equal(kv_iter_end(iter), OK);
    return count;
}

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

/* The path of the only file of the folder whose name ends so. */
static void path_of(const char *end, char out[256])
{
    char command[512];
    snprintf(command, sizeof command, "ls -S '%s'/*%s | head -n 1", folder, end);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    assert_non_null(fgets(out, 256, list));
    pclose(list);
    out[strcspn(out, "\n")] = '\0';
}

static off_t size_of(const char *path)
{
    struct stat stat_of;
    assert_int_equal(stat(path, &stat_of), 0);
    return stat_of.st_size;
}

static void flip(const char *path, off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void keep(void)
{
    shell("rm -rf '%s'; cp -a '%s' '%s'", kept, folder, kept);
}

static void restore(void)
{
    shell("rm -rf '%s'; cp -a '%s' '%s'", folder, kept, folder);
}

/* ---- a log torn at its end ------------------------------------------------------------------ */

static void a_log_torn_anywhere_opens_with_what_stands_before(void **state)
{
    (void)state;
    char log[256];
    for (int run = 0; run < 2; run++) { /* whole records in a block; records over many blocks */
        shell("rm -rf '%s'", folder);
        struct kv *kv = opened(KV_LOGGED);
        for (int i = 0; i < 12; i += 3) {
            assert_int_equal(write_numbers(kv, i, i + 3, run == 0 ? 100 : 40000), OK);
            assert_int_equal(kv_sync(kv, true), OK);
        }
        kv_disk_crash(kv, folder);
        path_of(".log", log);
        keep();
        off_t size = size_of(log), step = size / 40;
        int last = 0;
        for (off_t at = 0; at < size; at += step) {
            restore();
            assert_int_equal(truncate(log, at), 0);
            kv = opened(KV_LOGGED);
            int there = numbers_there(kv);
            assert_in_range(there, last, 12);
            last = there;
            /* What is written behind the cut is there next time, and so is all before it. */
            assert_int_equal(write_numbers(kv, there, there + 2, 100), OK);
            assert_int_equal(kv_sync(kv, true), OK);
            assert_int_equal(write_numbers(kv, there + 2, there + 3, 100), OK);
            assert_int_equal(kv_sync(kv, false), OK);
            kv_disk_crash(kv, folder);
            kv = opened(KV_LOGGED);
            assert_int_equal(numbers_there(kv), there + 3);
            kv_close(kv);
        }
        assert_int_equal(last, 11);
    }
}

static void what_was_never_synced_may_have_a_hole_and_is_cut_there(void **state)
{
    (void)state;
    char log[256];
    struct kv *kv = opened(KV_LOGGED);
    assert_int_equal(write_numbers(kv, 0, 3, 20000), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    assert_int_equal(write_numbers(kv, 3, 9, 20000), OK);
    assert_int_equal(kv_sync(kv, false), OK);
    kv_disk_crash(kv, folder);
    path_of(".log", log);
    /* A page of record 5 did not make it to the disk, those behind it did. */
    int fd = open(log, O_WRONLY);
    static const uint8_t zeroes[4096];
    assert_int_equal(pwrite(fd, zeroes, sizeof zeroes, 5 * 20050 + 4096), sizeof zeroes);
    close(fd);
    kv = opened(KV_LOGGED);
    assert_int_equal(numbers_there(kv), 5);
    kv_close(kv);
}

/* ---- a log damaged in its middle ------------------------------------------------------------ */

static void damage_to_what_was_synced_is_refused_with_its_place_and_a_way_out(void **state)
{
    (void)state;
    char log[256];
    for (int run = 0; run < 2; run++) {
        shell("rm -rf '%s'", folder);
        struct kv *kv = opened(KV_LOGGED);
        for (int i = 0; i < 12; i += 3) {
            assert_int_equal(write_numbers(kv, i, i + 3, run == 0 ? 100 : 40000), OK);
            assert_int_equal(kv_sync(kv, true), OK);
        }
        kv_close(kv); /* so that what was synced last is known to be, too */
        path_of(".log", log);
        keep();
        off_t size = size_of(log), mark = 7 + 12 + 2 + 24, step = (size - mark) / 60;
        for (off_t at = 0; at < size - mark; at += step) {
            restore();
            flip(log, at);
            for (int again = 0; again < 2; again++) { /* it is not cut away by the refusal */
                assert_int_equal(open_map(KV_LOGGED, &kv), ERR_CORRUPT);
                assert_non_null(strstr(failure.text, strrchr(log, '/') + 1));
                assert_non_null(strstr(failure.text, "restore a backup"));
            }
            flip(log, at);
            kv = opened(KV_LOGGED);
            assert_int_equal(numbers_there(kv), 12);
            kv_close(kv);
        }
    }
}

/* A record in the bytes of a client must not pass for one of ours, whatever is damaged around it. */
static void a_log_within_a_value_is_only_a_value(void **state)
{
    (void)state;
    char log[256];
    static uint8_t image[65536];
    struct kv *kv = opened(KV_LOGGED);
    assert_int_equal(write_numbers(kv, 0, 5, 100), OK);
    assert_int_equal(kv_sync(kv, true), OK);
    kv_close(kv);
    path_of(".log", log);
    int fd = open(log, O_RDONLY);
    ssize_t image_bytes = read(fd, image, sizeof image);
    close(fd);
    assert_true(image_bytes > 500);

    shell("rm -rf '%s'", folder);
    kv = opened(KV_LOGGED);
    struct kv_batch *batch = kv_batch_new();
    kv_batch_put(batch, slice_text("00000000"), slice_of(image, (size_t)image_bytes));
    assert_int_equal(kv_write(kv, batch), OK);
    kv_batch_free(batch);
    assert_int_equal(kv_sync(kv, false), OK);
    kv_disk_crash(kv, folder);
    path_of(".log", log);
    flip(log, 30);
    kv = opened(KV_LOGGED);
    assert_int_equal(numbers_there(kv), 0);
    kv_close(kv);
}

/* ---- other files ---------------------------------------------------------------------------- */

static void make_files(void)
{
    struct kv *kv = opened(KV_UNLOGGED);
    assert_int_equal(write_numbers(kv, 0, 200, 1000), OK);
    assert_int_equal(kv_flush(kv), OK);
    kv_close(kv);
}

static void a_byte_turned_over_in_a_file_is_found_by_verify_and_by_who_reads(void **state)
{
    (void)state;
    char file[256];
    make_files();
    path_of(".sst", file);
    flip(file, size_of(file) / 3);
    struct kv *kv = opened(KV_UNLOGGED); /* it is not read by opening */
    assert_int_equal(kv_verify(kv, &failure), ERR_CORRUPT);
    assert_non_null(strstr(failure.text, strrchr(file, '/') + 1));
    assert_non_null(strstr(failure.text, "restore a backup"));
    struct slice key, value;
    struct kv_iter *iter = kv_iter_new(kv, none, none, false);
    int count = 0;
    while (kv_iter_next(iter, &key, &value)) {
        count++;
    }
    assert_in_range(count, 1, 199);
    assert_int_equal(kv_iter_end(iter), ERR_CORRUPT);
    kv_close(kv);
}

static void a_missing_or_damaged_file_is_refused(void **state)
{
    (void)state;
    static const char *const ends[] = {".sst", "MANIFEST*", "CURRENT"};
    char path[256];
    struct kv *kv = NULL;
    make_files();
    keep();
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        restore();
        path_of(ends[i], path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(open_map(KV_UNLOGGED, &kv), ERR_CORRUPT);
        assert_non_null(strstr(failure.text, "restore a backup"));
        restore();
        flip(path, size_of(path) - 5); /* of an .sst its footer: what opening reads */
        assert_int_equal(open_map(KV_UNLOGGED, &kv), ERR_CORRUPT);
    }
    restore();
    shell("rm '%s'/CURRENT '%s'/*.log", folder, folder); /* RocksDB would begin a new map here */
    for (int again = 0; again < 2; again++) {
        assert_int_equal(open_map(KV_UNLOGGED, &kv), ERR_CORRUPT);
        assert_non_null(strstr(failure.text, "CURRENT"));
    }
    restore();
    path_of(".sst", path);
    assert_int_equal(truncate(path, size_of(path) / 2), 0);
    assert_int_equal(open_map(KV_UNLOGGED, &kv), ERR_CORRUPT);
    restore();
    kv = opened(KV_UNLOGGED);
    assert_int_equal(numbers_there(kv), 200);
    kv_close(kv);
}

static void a_folder_whose_parent_is_missing_is_refused(void **state)
{
    (void)state;
    struct kv *kv = NULL;
    strcat(folder, "/not/there");
    assert_int_equal(open_map(KV_LOGGED, &kv), ERR_IO);
    assert_non_null(strstr(failure.text, folder));
}

/* ---- others --------------------------------------------------------------------------------- */

static void a_map_that_another_process_has_open_is_busy(void **state)
{
    (void)state;
    int ready[2], over[2], status;
    char byte = 0;
    assert_int_equal(pipe(ready) + pipe(over), 0);
    pid_t child = fork();
    if (child == 0) {
        struct kv *kv = NULL;
        byte = (char)open_map(KV_LOGGED, &kv);
        if (write(ready[1], &byte, 1) != 1 || read(over[0], &byte, 1) != 1) {
            _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, OK);
    struct kv *kv = NULL;
    assert_int_equal(open_map(KV_LOGGED, &kv), ERR_BUSY);
    assert_non_null(strstr(failure.text, "another process has it open"));
    assert_int_equal(write(over[1], "x", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    kv_close(opened(KV_LOGGED)); /* it ended without closing: that leaves no lock behind */
    close(ready[0]), close(ready[1]), close(over[0]), close(over[1]);
}

struct hand {
    struct kv *kv;
    pthread_t thread;
    int first;
    enum err err;
};

static void *write_some(void *context)
{
    struct hand *hand = context;
    for (int i = 0; i < 100 && hand->err == OK; i++) {
        hand->err = write_numbers(hand->kv, hand->first + i, hand->first + i + 1, 50);
        if (hand->err == OK && i % 10 == 0) {
            hand->err = kv_sync(hand->kv, i % 20 == 0);
        }
    }
    return NULL;
}

static void *read_some(void *context)
{
    struct hand *hand = context;
    struct slice key, value;
    for (int i = 0; i < 20 && hand->err == OK; i++) {
        struct kv_iter *iter = kv_iter_new(hand->kv, none, none, i % 2 == 0);
        while (kv_iter_next(iter, &key, &value)) {
        }
        hand->err = kv_iter_end(iter);
        struct kv_value got;
        if (kv_get(hand->kv, slice_text("00000000"), &got) == OK) {
            kv_value_free(&got);
        }
        struct kv_figures figures;
        kv_look(hand->kv, &figures);
        kv_is_stalling(hand->kv);
    }
    return NULL;
}

static void several_threads_share_a_map(void **state)
{
    (void)state;
    struct kv *kv = opened(KV_LOGGED);
    struct hand hands[5];
    for (int i = 0; i < 5; i++) {
        hands[i] = (struct hand){.kv = kv, .first = i * 100};
        assert_int_equal(
            pthread_create(&hands[i].thread, NULL, i < 3 ? write_some : read_some, &hands[i]), 0);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pthread_join(hands[i].thread, NULL), 0);
        assert_int_equal(hands[i].err, OK);
    }
    assert_int_equal(numbers_there(kv), 300);
    kv_disk_crash(kv, folder); /* what each had not synced may be lost: but nothing is damaged */
    kv_close(opened(KV_LOGGED));
}

/* While it is full, tables find no room: RocksDB writes them by this. */
static _Atomic bool is_full;
static _Atomic int refused_count;

ssize_t write(int fd, const void *bytes, size_t count)
{
    if (is_full) {
        char link[64], path[PATH_MAX] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, ".sst") != NULL) {
            refused_count++;
            errno = ENOSPC;
            return -1;
        }
    }
    return syscall(SYS_write, fd, bytes, count);
}

/* RocksDB tries to come back every five seconds; a flush that it only says it has made must be none. */
static void a_flush_after_a_full_disk_is_waited_for(void **state)
{
    (void)state;
    struct kv *kv = opened(KV_UNLOGGED);
    assert_int_equal(write_numbers(kv, 0, 5, 1000), OK);
    is_full = true;
    assert_int_equal(kv_flush(kv), ERR_NO_SPACE);
    for (int i = 0; refused_count < 2 && i < 6000; i++) {
        usleep(10000);
    }
    assert_true(refused_count >= 2); /* and did not get there */
    is_full = false;
    enum err err = ERR_NO_SPACE;
    for (int i = 0; err == ERR_NO_SPACE && i < 6000; i++) {
        usleep(10000);
        err = kv_flush(kv);
    }
    assert_int_equal(err, OK);
    assert_int_equal(write_numbers(kv, 5, 6, 8 << 20), OK); /* that takes a moment */
    assert_int_equal(kv_flush(kv), OK);
    kv_disk_crash(kv, folder);
    kv = opened(KV_UNLOGGED);
    assert_int_equal(numbers_there(kv), 6);
    kv_close(kv);
}

static int table_files(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        count += strstr(entry->d_name, ".sst") != NULL;
    }
    closedir(dir);
    return count;
}

static void who_reads_all_of_a_map_first_has_no_merge_beside_him(void **state)
{
    (void)state;
    struct kv_config config = {.folder = folder, .way = KV_UNLOGGED, .is_read_first = true};
    struct kv *kv = NULL;
    assert_int_equal(kv_open(&config, &kv, &failure), OK);
    for (int round = 0; round < 10; round++) { /* RocksDB merges four */
        assert_int_equal(write_numbers(kv, 0, 100, 1000), OK);
        assert_int_equal(kv_flush(kv), OK);
    }
    usleep(200000);
    assert_int_equal(table_files(), 10);
    kv_merge(kv);
    for (int i = 0; table_files() > 4 && i < 2000; i++) {
        usleep(10000);
    }
    assert_in_range(table_files(), 1, 4);
    assert_int_equal(numbers_there(kv), 100);
    kv_close(kv);
    assert_int_equal(kv_open(&config, &kv, &failure), OK);
    assert_int_equal(numbers_there(kv), 100);
    kv_close(kv);
}

/* More than the buffers hold, again and again over the same keys: files are flushed and merged. */
static void a_map_larger_than_its_memory_stays_within_it(void **state)
{
    (void)state;
    struct kv_config config = {
        .folder = folder, .way = KV_UNLOGGED, .cache_bytes = 1 << 20, .buffer_bytes = 2 << 20};
    struct kv_figures figures;
    struct kv *kv = NULL;
    assert_int_equal(kv_open(&config, &kv, &failure), OK);
    for (int round = 0; round < 8; round++) {
        assert_int_equal(write_numbers(kv, 0, 3000, 1000), OK);
        kv_look(kv, &figures);
        assert_true(figures.memory_bytes < 6 << 20);
    }
    assert_int_equal(kv_flush(kv), OK);
    assert_int_equal(numbers_there(kv), 3000);
    kv_look(kv, &figures);
    assert_true(figures.memory_bytes < 6 << 20);
    assert_true(figures.written_bytes > 8 * 3000 * 1000);
    kv_close(kv);
}

/* RocksDB begins a file at each open that it cannot finish, and never removes it. */
static void a_map_that_is_opened_often_does_not_fill_its_folder(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        kv_close(opened(KV_UNLOGGED));
    }
    shell("! ls '%s' | grep OPTIONS", folder);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: a process that RocksDB has begun threads in is not to be forked under TSan. */
        STORY(a_map_that_another_process_has_open_is_busy),
        STORY(a_log_torn_anywhere_opens_with_what_stands_before),
        STORY(what_was_never_synced_may_have_a_hole_and_is_cut_there),
        STORY(damage_to_what_was_synced_is_refused_with_its_place_and_a_way_out),
        STORY(a_log_within_a_value_is_only_a_value),
        STORY(a_byte_turned_over_in_a_file_is_found_by_verify_and_by_who_reads),
        STORY(a_missing_or_damaged_file_is_refused),
        STORY(a_map_that_is_opened_often_does_not_fill_its_folder),
        STORY(a_folder_whose_parent_is_missing_is_refused),
        STORY(several_threads_share_a_map),
        STORY(a_flush_after_a_full_disk_is_waited_for),
        STORY(who_reads_all_of_a_map_first_has_no_merge_beside_him),
        STORY(a_map_larger_than_its_memory_stays_within_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
