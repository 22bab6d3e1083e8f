/*
 * kv.h on RocksDB 7.8, through its C interface.
 *
 * How a map is written
 *   K1  KV_LOGGED: into a buffer of the log (manual_wal_flush), which kv_sync() writes and syncs; so
 *       one write to the file for all batches that gathered. KV_UNLOGGED: past the log, so that after
 *       a crash the map is what the last completed flush made of it.
 *   K2  After each sync the next write leaves a mark (kv_wal.h) of how far the sync had reached.
 *   K3  What a write, a sync or a flush failed with stays the answer for good (fence). But for a full
 *       disk: past the log nothing is lost then, and RocksDB goes on by itself some seconds after there
 *       is room; a log that could not be written to its end is only good for kv_reopen().
 *   K4  An old map is opened, or a new one made, never one for the other: RocksDB would begin anew
 *       in a folder whose CURRENT is gone.
 *   K5  A walk within one first byte (both maps: a partition) asks the filters of the files first.
 */
#include "storage/kv.h"
#include "storage/kv_rocks_batch.h"
#include "storage/kv_rocks_options.h"
#include "storage/kv_wal.h"

#include <rocksdb/c.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
    CACHE_BYTES_DEFAULT = 8 << 20,
    BULK_READAHEAD_BYTES = 512 << 10,
    FLUSH_MS_MAX = 10000,
};

struct kv {
    char folder[PATH_MAX];
    struct kv_config config; /* its folder is the one above */
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
    uint64_t identity;
    int lock_fd; /* -1: not locked */
    /* Relaxed: a late reader meets RocksDB's own error instead. */
    _Atomic(enum err) fence;
    /* The last sequence that is durable; 0: that is marked already. Relaxed: an older one is true too. */
    _Atomic(uint64_t) synced;
};

/* ---- what RocksDB says ---------------------------------------------------------------------- */

/* Its errors are texts; the first row whose words are all in there decides. */
static const struct {
    const char *begin, *word;
    enum err err;
} says[] = {
    /* clang-format off */
    {"Corruption",   "",                                  ERR_CORRUPT},
    {"",             "No space left on device",           ERR_NO_SPACE},
    {"",             "Disk quota exceeded",               ERR_NO_SPACE},
    {"IO error",     "LOCK: Resource temporarily unavail", ERR_BUSY},
    {"IO error",     "lock hold by current process",      ERR_BUSY},
    {"",             "Permission denied",                 ERR_PERMISSION},
    {"",             "Operation not permitted",           ERR_PERMISSION},
    {"",             "Read-only file system",             ERR_PERMISSION},
    {"",             "Cannot allocate memory",            ERR_NOMEM},
    {"Invalid argument", "Directory exists",              ERR_EXISTS},
    {"",             "",                                  ERR_IO},
    /* clang-format on */
};

static enum err err_of(const char *text)
{
    size_t row = 0;
    while (strncmp(text, says[row].begin, strlen(says[row].begin)) != 0 ||
           strstr(text, says[row].word) == NULL) {
        row++;
    }
    return says[row].err;
}

/* Of a call's errptr: OK when it is NULL; frees it. */
static enum err err_take(char *text)
{
    if (text == NULL) {
        return OK;
    }
    enum err err = err_of(text);
    rocksdb_free(text);
    return err;
}

static const char *advice_for(enum err err)
{
    switch (err) {
    case ERR_BUSY:
        return "another process has it open: stop that one, or give each a folder of its own";
    case ERR_CORRUPT:
        return "stored data are damaged: restore a backup (ternctl restore), or look closer with "
               "ternctl check";
    case ERR_NO_SPACE:
        return "no space left on the disk: make room and try again";
    case ERR_PERMISSION:
        return "the system forbids it: let the folder and all in it belong to the user of tern, "
               "writable";
    case ERR_EXISTS:
        return "there is something already: name a folder that is not there yet";
    case ERR_NOT_FOUND:
        return "there is no map: check the path";
    case ERR_NOMEM:
        return "memory is exhausted: give tern more";
    default:
        return "the disk failed: look into the log of the system, and restore a backup if need be";
    }
}

/* The line for people; why: RocksDB's words, or NULL. */
static enum err fail(struct kv_failure *failure, const char *folder, enum err err, const char *why)
{
    bool has_why = why != NULL && why[0] != '\0';
    snprintf(failure->text, sizeof failure->text, "%.300s: %s%s%.500s%s", folder, advice_for(err),
             has_why ? " (" : "", has_why ? why : "", has_why ? ")" : "");
    return err;
}

/* The same of a call's errptr, which is not NULL; frees it. */
static enum err fail_take(struct kv_failure *failure, const char *folder, char *text)
{
    enum err err = fail(failure, folder, err_of(text), text);
    rocksdb_free(text);
    return err;
}

/* ---- the folder ----------------------------------------------------------------------------- */

struct found {
    bool is_there, has_current, has_data; /* the folder, CURRENT, files that hold records */
};

static bool ends_with(const char *name, const char *end)
{
    size_t count = strlen(name), end_count = strlen(end);
    return count >= end_count && strcmp(name + count - end_count, end) == 0;
}

static enum err look_into(const char *folder, struct found *found, uint64_t *bytes_out)
{
    *found = (struct found){false};
    *bytes_out = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return errno == ENOENT ? OK : err_from_errno(errno);
    }
    found->is_there = true;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat stat;
        if (fstatat(dirfd(dir), entry->d_name, &stat, 0) != 0 || !S_ISREG(stat.st_mode)) {
            continue; /* RocksDB removes files while we look */
        }
        *bytes_out += (uint64_t)stat.st_blocks * 512;
        found->has_current = found->has_current || strcmp(entry->d_name, "CURRENT") == 0;
        found->has_data = found->has_data || ends_with(entry->d_name, ".sst") ||
                          (ends_with(entry->d_name, ".log") && stat.st_size > 0);
    }
    closedir(dir);
    return OK;
}

/* A folder that is there after a loss of power, too. */
static enum err make_folder(const char *folder)
{
    char parent[PATH_MAX + 4];
    if (mkdir(folder, 0700) != 0) {
        return err_from_errno(errno);
    }
    snprintf(parent, sizeof parent, "%s/..", folder);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err err = fsync(fd) == 0 ? OK : err_from_errno(errno);
    close(fd);
    return err;
}

enum err kv_free_bytes(const char *folder, uint64_t *out)
{
    struct statvfs space;
    if (statvfs(folder, &space) != 0) {
        return ERR_IO;
    }
    *out = (uint64_t)space.f_bavail * space.f_frsize;
    return OK;
}

/* ---- open and close ------------------------------------------------------------------------- */

/* K4: is_new_out says which of the two RocksDB is asked for. */
static enum err prepare(const struct kv *kv, bool *is_new_out, struct kv_failure *failure)
{
    struct found found;
    uint64_t bytes;
    enum err err = look_into(kv->folder, &found, &bytes);
    if (err != OK) {
        return fail(failure, kv->folder, err, err_text(err));
    }
    if (!found.has_current && found.has_data) {
        return fail(failure, kv->folder, ERR_CORRUPT, "the file CURRENT is missing");
    }
    if (!found.has_current && kv->config.must_exist) {
        return fail(failure, kv->folder, ERR_NOT_FOUND, NULL);
    }
    if (!found.is_there) {
        err = make_folder(kv->folder);
        if (err != OK) {
            return fail(failure, kv->folder, err == ERR_NOT_FOUND ? ERR_IO : err,
                        "cannot make the folder");
        }
    }
    *is_new_out = !found.has_current;
    return OK;
}

/*
 * RocksDB locks too, but later than the log is looked at and perhaps cut; and its kind of lock is lost
 * when the same process closes the same file anywhere. This one is of the folder, for as long as it is
 * open. A file system without such locks leaves it to RocksDB.
 */
static enum err lock_folder(struct kv *kv)
{
    if (kv->lock_fd < 0) {
        kv->lock_fd = open(kv->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (kv->lock_fd < 0) {
        return err_from_errno(errno);
    }
    return flock(kv->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK ? ERR_BUSY : OK;
}

static void close_db(struct kv *kv)
{
    if (kv->db != NULL) {
        rocksdb_close(kv->db);
    }
    if (kv->options != NULL) {
        rocksdb_options_destroy(kv->options);
    }
    kv->db = NULL;
    kv->options = NULL;
}

/* RocksDB has no name for the level of its log that we ask for, cannot finish the file that lists its
 * options, and leaves one such beginning behind at each open. Nothing reads them. */
static void remove_unfinished(const struct kv *kv)
{
    DIR *dir = opendir(kv->folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, "OPTIONS-", 8) == 0 && ends_with(entry->d_name, ".dbtmp")) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static enum err open_db(struct kv *kv, struct kv_failure *failure)
{
    bool is_new = false;
    char why[WAL_WHY_BYTES_MAX] = "", *text = NULL;
    TRY(prepare(kv, &is_new, failure));
    enum err locked = lock_folder(kv);
    if (locked != OK) {
        return fail(failure, kv->folder, locked, NULL);
    }
    enum err checked = is_new || kv->config.way != KV_LOGGED ? OK : wal_check(kv->folder, why);
    if (checked != OK) {
        return fail(failure, kv->folder, checked, why);
    }
    kv->options = kv_rocks_options(&kv->config, kv->cache, is_new, &text);
    if (text == NULL) {
        kv->db = rocksdb_open(kv->options, kv->folder, &text);
    }
    if (text != NULL) {
        /* Of an old map every file that is missing is damage. */
        bool is_gone = !is_new && strstr(text, "No such file or directory") != NULL;
        enum err err = fail(failure, kv->folder, is_gone ? ERR_CORRUPT : err_of(text), text);
        rocksdb_free(text);
        close_db(kv);
        return err;
    }
    remove_unfinished(kv);
    kv->identity = wal_identity(kv->folder);
    atomic_store_explicit(&kv->fence, OK, memory_order_relaxed);
    atomic_store_explicit(&kv->synced, 0, memory_order_relaxed);
    return OK;
}

void kv_merge(struct kv *kv)
{
    const char *key = "disable_auto_compactions", *value = "false";
    char *text = NULL;
    if (!kv->config.is_read_first || kv->db == NULL) {
        return;
    }
    kv->config.is_read_first = false;
    rocksdb_set_options(kv->db, 1, &key, &value, &text);
    rocksdb_free(text); /* the list of its options again, which it cannot finish */
    remove_unfinished(kv);
}

static void free_kv(struct kv *kv)
{
    close_db(kv);
    if (kv->lock_fd >= 0) {
        close(kv->lock_fd);
    }
    if (kv->cache != NULL) {
        rocksdb_cache_destroy(kv->cache);
    }
    if (kv->write != NULL) {
        rocksdb_writeoptions_destroy(kv->write);
    }
    if (kv->read != NULL) {
        rocksdb_readoptions_destroy(kv->read);
    }
    free(kv);
}

enum err kv_open(const struct kv_config *config, struct kv **out, struct kv_failure *failure)
{
    struct kv *kv = calloc(1, sizeof *kv);
    if (kv == NULL) {
        return fail(failure, config->folder, ERR_NOMEM, NULL);
    }
    if (snprintf(kv->folder, sizeof kv->folder, "%s", config->folder) >= PATH_MAX - 64) {
        free(kv);
        return fail(failure, config->folder, ERR_IO, "the path is too long");
    }
    kv->config = *config;
    kv->config.folder = kv->folder;
    kv->cache = rocksdb_cache_create_lru(config->cache_bytes == 0 ? CACHE_BYTES_DEFAULT
                                                                  : config->cache_bytes);
    kv->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(kv->write, config->way == KV_UNLOGGED);
    kv->read = rocksdb_readoptions_create();
    kv->lock_fd = -1;
    kv_rocks_threads();
    enum err err = open_db(kv, failure);
    if (err != OK) {
        free_kv(kv);
        return err;
    }
    *out = kv;
    return OK;
}

static enum err put_mark(struct kv *kv);

void kv_close(struct kv *kv)
{
    if (kv == NULL) {
        return;
    }
    if (kv->db != NULL && kv->config.way == KV_LOGGED && kv_sync(kv, true) == OK &&
        put_mark(kv) == OK) {
        kv_sync(kv, true); /* also what was synced last has a mark behind it now */
    }
    free_kv(kv);
}

enum err kv_reopen(struct kv *kv, struct kv_failure *failure)
{
    close_db(kv);
    atomic_store_explicit(&kv->fence, ERR_IO, memory_order_relaxed);
    kv->config.must_exist = true;
    return open_db(kv, failure);
}

/* ---- writing -------------------------------------------------------------------------------- */

static enum err fence_of(const struct kv *kv)
{
    return atomic_load_explicit(&kv->fence, memory_order_relaxed);
}

/* K3: an error that a later call must not be able to forget. */
static enum err fenced(struct kv *kv, enum err err)
{
    bool passes = err == ERR_NO_SPACE && kv->config.way == KV_UNLOGGED;
    if (err != OK && !passes) {
        atomic_store_explicit(&kv->fence, err, memory_order_relaxed);
    }
    return err;
}

/* K2 */
static enum err put_mark(struct kv *kv)
{
    uint8_t mark[WAL_MARK_BYTES];
    char *text = NULL;
    uint64_t synced = atomic_exchange_explicit(&kv->synced, 0, memory_order_relaxed);
    if (synced == 0) {
        return OK;
    }
    wal_mark(mark, kv->identity, synced);
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writebatch_put_log_data(batch, (const char *)mark, sizeof mark);
    rocksdb_write(kv->db, kv->write, batch, &text);
    rocksdb_writebatch_destroy(batch);
    return fenced(kv, err_take(text));
}

enum err kv_write(struct kv *kv, const struct kv_batch *batch)
{
    char *text = NULL;
    TRY(fence_of(kv));
    if (kv->config.way == KV_LOGGED) {
        TRY(put_mark(kv));
    }
    rocksdb_write(kv->db, kv->write, batch->batch, &text);
    return fenced(kv, err_take(text));
}

enum err kv_sync(struct kv *kv, bool is_durable)
{
    ASSERT(kv->config.way == KV_LOGGED);
    char *text = NULL;
    TRY(fence_of(kv));
    uint64_t sequence = rocksdb_get_latest_sequence_number(kv->db);
    rocksdb_flush_wal(kv->db, is_durable, &text);
    TRY(fenced(kv, err_take(text)));
    if (is_durable) {
        atomic_store_explicit(&kv->synced, sequence, memory_order_relaxed);
    }
    return OK;
}

static uint64_t property(struct kv *kv, const char *name)
{
    uint64_t value = 0;
    return kv->db != NULL && rocksdb_property_int(kv->db, name, &value) == 0 ? value : 0;
}

/*
 * Once it has failed to come back by itself from a full disk, RocksDB 7.8.3 does not wait any more for
 * the flushes it is asked for, for as long as the map is open: it begins them and says OK. A log that
 * is cut to such an answer would be lost, so we wait. What is begun counts, whoever writes meanwhile.
 */
static enum err await_flush(struct kv *kv)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t failed = property(kv, "rocksdb.background-errors");
    for (int i = 0; i < FLUSH_MS_MAX; i++) {
        if (property(kv, "rocksdb.num-immutable-mem-table") == 0) {
            return OK;
        }
        if (property(kv, "rocksdb.background-errors") != failed) {
            break;
        }
        nanosleep(&pause, NULL);
    }
    return ERR_NO_SPACE; /* nothing is lost */
}

enum err kv_flush(struct kv *kv)
{
    ASSERT(kv->config.way == KV_UNLOGGED);
    char *text = NULL;
    TRY(fence_of(kv));
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create(); /* it waits */
    rocksdb_flush(kv->db, options, &text);
    rocksdb_flushoptions_destroy(options);
    TRY(fenced(kv, err_take(text)));
    return await_flush(kv);
}

/* ---- reading -------------------------------------------------------------------------------- */

enum err kv_get(struct kv *kv, struct slice key, struct kv_value *out)
{
    char *text = NULL;
    if (kv->db == NULL) {
        return ERR_IO;
    }
    rocksdb_pinnableslice_t *value = rocksdb_get_pinned(kv->db, kv->read, (const char *)key.data,
                                                        key.count, &text);
    TRY(err_take(text));
    if (value == NULL) {
        return ERR_NOT_FOUND;
    }
    out->own = value;
    out->bytes.data = (const uint8_t *)rocksdb_pinnableslice_value(value, &out->bytes.count);
    return OK;
}

void kv_value_free(struct kv_value *value)
{
    rocksdb_pinnableslice_destroy(value->own);
    *value = (struct kv_value){.own = NULL};
}

struct kv_iter {
    rocksdb_iterator_t *iter;
    rocksdb_readoptions_t *options;
    bool has_begun;   /* it stands on what was given last, not on what comes next */
    size_t to_count;  /* 0: to the end */
    uint8_t bounds[]; /* from, then to: borrowed by options */
};

/* K5: all keys of the walk begin with one and the same byte. */
static bool has_one_first_byte(struct slice from, struct slice to)
{
    return from.count > 0 && to.count > 0 &&
           (to.data[0] == from.data[0] || (to.count == 1 && to.data[0] == from.data[0] + 1));
}

struct kv_iter *kv_iter_new(struct kv *kv, struct slice from, struct slice to, bool is_bulk)
{
    struct kv_iter *iter = kv->db == NULL ? NULL : malloc(sizeof *iter + from.count + to.count);
    if (iter == NULL) {
        return NULL;
    }
    *iter = (struct kv_iter){.options = rocksdb_readoptions_create(), .to_count = to.count};
    char *bounds = (char *)iter->bounds;
    memcpy(bounds, from.count == 0 ? (const uint8_t *)"" : from.data, from.count);
    memcpy(bounds + from.count, to.count == 0 ? (const uint8_t *)"" : to.data, to.count);
    rocksdb_readoptions_set_iterate_lower_bound(iter->options, bounds, from.count);
    if (to.count > 0) {
        rocksdb_readoptions_set_iterate_upper_bound(iter->options, bounds + from.count, to.count);
    }
    rocksdb_readoptions_set_total_order_seek(iter->options, !has_one_first_byte(from, to));
    rocksdb_readoptions_set_fill_cache(iter->options, !is_bulk);
    if (is_bulk) {
        rocksdb_readoptions_set_readahead_size(iter->options, BULK_READAHEAD_BYTES);
    }
    iter->iter = rocksdb_create_iterator(kv->db, iter->options);
    rocksdb_iter_seek(iter->iter, bounds, from.count);
    return iter;
}

bool kv_iter_next(struct kv_iter *iter, struct slice *key, struct slice *value)
{
    if (iter->has_begun && rocksdb_iter_valid(iter->iter)) {
        rocksdb_iter_next(iter->iter);
    }
    iter->has_begun = true;
    if (!rocksdb_iter_valid(iter->iter)) {
        return false;
    }
    key->data = (const uint8_t *)rocksdb_iter_key(iter->iter, &key->count);
    value->data = (const uint8_t *)rocksdb_iter_value(iter->iter, &value->count);
    return true;
}

void kv_iter_seek(struct kv_iter *iter, struct slice key)
{
    rocksdb_iter_seek(iter->iter, (const char *)key.data, key.count);
    iter->has_begun = false;
}

enum err kv_iter_error(const struct kv_iter *iter)
{
    char *text = NULL;
    rocksdb_iter_get_error(iter->iter, &text);
    return err_take(text);
}

enum err kv_iter_end(struct kv_iter *iter)
{
    enum err err = kv_iter_error(iter);
    rocksdb_iter_destroy(iter->iter);
    rocksdb_readoptions_destroy(iter->options);
    free(iter);
    return err;
}

/* ---- looking after it ----------------------------------------------------------------------- */

bool kv_is_stalling(struct kv *kv)
{
    return property(kv, "rocksdb.is-write-stopped") != 0 ||
           property(kv, "rocksdb.actual-delayed-write-rate") != 0;
}

/* "rocksdb.wal.bytes COUNT : 123" of its statistics, which the C interface has as one text. */
static uint64_t statistic(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

void kv_look(struct kv *kv, struct kv_figures *out)
{
    struct found found;
    *out = (struct kv_figures){
        .memory_bytes = property(kv, "rocksdb.size-all-mem-tables") +
                        property(kv, "rocksdb.estimate-table-readers-mem") +
                        rocksdb_cache_get_usage(kv->cache),
        .key_count = property(kv, "rocksdb.estimate-num-keys"),
    };
    look_into(kv->folder, &found, &out->disk_bytes);
    char *text = kv->db == NULL ? NULL : rocksdb_options_statistics_get_string(kv->options);
    if (text != NULL) {
        out->written_bytes = statistic(text, "rocksdb.wal.bytes COUNT : ") +
                             statistic(text, "rocksdb.flush.write.bytes COUNT : ") +
                             statistic(text, "rocksdb.compact.write.bytes COUNT : ");
        free(text);
    }
}

enum err kv_checkpoint(struct kv *kv, const char *folder, struct kv_failure *failure)
{
    char *text = NULL;
    if (kv->db == NULL) {
        return fail(failure, kv->folder, ERR_IO, NULL);
    }
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(kv->db, &text);
    if (text == NULL) {
        rocksdb_checkpoint_create(checkpoint, folder, 0,
                                  &text); /* 0: what is in memory is flushed */
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    return text == NULL ? OK : fail_take(failure, folder, text);
}

enum err kv_verify(struct kv *kv, struct kv_failure *failure)
{
    char *text = NULL;
    if (kv->db == NULL) {
        return fail(failure, kv->folder, ERR_IO, NULL);
    }
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(options, 1);
    rocksdb_readoptions_set_fill_cache(options, 0);
    rocksdb_readoptions_set_readahead_size(options, BULK_READAHEAD_BYTES);
    rocksdb_iterator_t *iter = rocksdb_create_iterator(kv->db, options);
    for (rocksdb_iter_seek_to_first(iter); rocksdb_iter_valid(iter); rocksdb_iter_next(iter)) {
    }
    rocksdb_iter_get_error(iter, &text);
    rocksdb_iter_destroy(iter);
    rocksdb_readoptions_destroy(options);
    return text == NULL ? OK : fail_take(failure, kv->folder, text);
}
