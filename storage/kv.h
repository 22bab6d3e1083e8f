/*
 * kv: DOOR disk: an ordered map from bytes to bytes, with atomic batches.
 *
 * Floor:  storage.
 * Thread: any, also several at once on one map; every call may block for as long as a disk likes,
 *         so none is made by a shard that serves.
 * Memory: what a call gives is freed as its line says.
 *
 * Behind it stands kv_rocks.c in production and tests/sim/sim_kv.c in the simulator; the build picks.
 *
 * Two ways to write. After a crash of the machine a map holds what it held at some moment not before
 * the last durable kv_sync() or the last kv_flush(): the order of writes is kept, and a batch is there
 * as a whole or not at all:
 *
 *     KV_LOGGED     into a write-ahead log; on stable storage after the next kv_sync()
 *     KV_UNLOGGED   in memory; on stable storage after the next kv_flush()
 *
 * One map is written in one of the two ways only.
 */
#ifndef TERN_STORAGE_KV_H
#define TERN_STORAGE_KV_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct kv;
struct kv_batch;
struct kv_iter;

enum kv_way { KV_LOGGED, KV_UNLOGGED };

struct kv_config {
    const char *folder; /* made when missing; its parent must be there */
    enum kv_way way;
    uint64_t cache_bytes;  /* of blocks read; 0: a small default */
    uint64_t buffer_bytes; /* of what was written and is not in files yet; 0: a default */
    bool must_exist;       /* do not make a new one: ternctl check */
    bool is_read_first;    /* merge no files before kv_merge() */
};

/* One line for people: which file, what is wrong with it, and what to do. */
struct kv_failure {
    char text[1024];
};

/*
 * ERR_BUSY: another process has it open. ERR_CORRUPT: a damaged file, other than a log torn at its
 * end, which is normal after a crash and cut there. ERR_NO_SPACE, ERR_PERMISSION, ERR_IO, ERR_NOMEM,
 * ERR_NOT_FOUND (must_exist).
 */
enum err kv_open(const struct kv_config *config, struct kv **out, struct kv_failure *failure);

/* Everything logged is synced, nothing is flushed. No iterator and no value is open. Accepts NULL. */
void kv_close(struct kv *kv);

/*
 * After ERR_NO_SPACE: start afresh, in place, with what the disk has (see kv_write). Nobody else uses
 * the map meanwhile; no iterator and no value is open. Errors as kv_open(), after which it answers
 * everything with ERR_IO, and may be reopened again or closed.
 */
enum err kv_reopen(struct kv *kv, struct kv_failure *failure);

/*
 * Of a map that was opened with is_read_first: from now on files are merged in the background, as of
 * any other. A start reads all there is, and whatever merges meanwhile takes its processors.
 */
void kv_merge(struct kv *kv);

/* An empty batch, to be used again and again. NULL: memory is exhausted. */
struct kv_batch *kv_batch_new(void);
/* Another one with the same in it. NULL: memory is exhausted. */
struct kv_batch *kv_batch_copy(const struct kv_batch *batch);
void kv_batch_free(struct kv_batch *batch); /* accepts NULL */

/* In the order of the calls. Keys and values are copied. */
void kv_batch_put(struct kv_batch *batch, struct slice key, struct slice value);
void kv_batch_delete(struct kv_batch *batch, struct slice key);
/* All keys from (inclusive) to (exclusive), none when to is not above from. Costly when there are many such: not for single keys. */
void kv_batch_delete_range(struct kv_batch *batch, struct slice from, struct slice to);
void kv_batch_clear(struct kv_batch *batch);
uint64_t kv_batch_bytes(const struct kv_batch *batch); /* about; 0 exactly when it is empty */

/*
 * The batch stays the caller's. May stand still for as long as files cannot be merged as fast as they
 * come (kv_is_stalling).
 *
 * ERR_NO_SPACE, KV_UNLOGGED: nothing of this batch is there, all before it is. Try again: it works
 *     some seconds after there is room (RocksDB looks every five).
 * ERR_NO_SPACE, KV_LOGGED, of kv_write and kv_sync: it takes no more before kv_reopen(). Of what was
 *     written since the last durable sync a part may be there then, whole batches in their order:
 *     write all of that again. Opening needs room, too: for what it finds in the log, at most
 *     buffer_bytes and a little.
 * ERR_IO, ERR_CORRUPT: it takes no more at all; what had been written since the last durable sync or
 *     flush may be lost, now or later.
 */
enum err kv_write(struct kv *kv, const struct kv_batch *batch);

/* KV_LOGGED: hand the log to the operating system; is_durable: and wait until the disk has it.
 * Errors as of kv_write. */
enum err kv_sync(struct kv *kv, bool is_durable);

/* KV_UNLOGGED: everything written before is on stable storage when it returns. ERR_NO_SPACE: not
 * yet, and nothing is lost: try again. ERR_IO, ERR_CORRUPT as of kv_write. */
enum err kv_flush(struct kv *kv);

/* A value of the caller's, freed with kv_value_free(). ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
struct kv_value {
    struct slice bytes;
    void *own; /* private */
};
enum err kv_get(struct kv *kv, struct slice key, struct kv_value *out);
void kv_value_free(struct kv_value *value);

/*
 * Walk the keys from (inclusive) to (exclusive; empty: to the end) as they are now, whatever is
 * written meanwhile. Both are copied. is_bulk: read once and far, do not fill the cache. NULL: memory.
 */
struct kv_iter *kv_iter_new(struct kv *kv, struct slice from, struct slice to, bool is_bulk);
/* false: the end, or an error. key and value are valid until the next call. */
bool kv_iter_next(struct kv_iter *iter, struct slice *key, struct slice *value);
/* After the end: ERR_IO, ERR_CORRUPT: it was none. Who does not go back asks kv_iter_end(). */
enum err kv_iter_error(const struct kv_iter *iter);
/* Go on at the first key not below this one. */
void kv_iter_seek(struct kv_iter *iter, struct slice key);
/* Frees it. OK, ERR_IO, ERR_CORRUPT: what the walk met. */
enum err kv_iter_end(struct kv_iter *iter);

/* Writers are being slowed down or stopped because files cannot be merged as fast as they come. */
bool kv_is_stalling(struct kv *kv);

struct kv_figures {
    uint64_t disk_bytes;    /* of its files */
    uint64_t memory_bytes;  /* buffers, caches, indexes */
    uint64_t key_count;     /* about */
    uint64_t written_bytes; /* to the disk since it was opened, logs, files and merges */
};
void kv_look(struct kv *kv, struct kv_figures *out);

/* Free bytes on the file system of that folder, for an ordinary user. ERR_IO. */
enum err kv_free_bytes(const char *folder, uint64_t *out);

/* A consistent image of the open map in a new folder, hard links where the file system has them.
 * ERR_EXISTS: there is something by that name; ERR_NO_SPACE, ERR_PERMISSION, ERR_IO. */
enum err kv_checkpoint(struct kv *kv, const char *folder, struct kv_failure *failure);

/* Read every file of a closed or open map and compare checksums. ERR_CORRUPT: failure says where. */
enum err kv_verify(struct kv *kv, struct kv_failure *failure);

#endif
