/*
 * write_set: what is to be written to a map, at most one write for each key.
 *
 *     machines ── put, delete ──> writes by key ──┐ delete_range, or write
 *                                                 └──> batch ── write ──> map
 *
 * Most of what a broker keeps is gone again within milliseconds: a message owed and settled, a count that
 * changed ten times. What is put and deleted in the same set, and was not there before, never reaches
 * the map. What does reach it comes in the order of its keys, which costs a map the least.
 *
 * Floor:  storage.
 * Thread: the owner's.
 * Memory: keys and values are copied; a write's memory comes back when the set is written.
 *
 * The map, once the set is written, is what it had been if each call had gone to it by itself, in order.
 */
#ifndef TERN_STORAGE_WRITE_SET_H
#define TERN_STORAGE_WRITE_SET_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "storage/kv.h"

#include <stdint.h>

struct write_set;

/* Of one map, empty. NULL: memory is exhausted. */
struct write_set *write_set_new(void);
void write_set_free(struct write_set *set); /* accepts NULL; what is in it is dropped */

/* Room for so many more puts and deletes, of so many bytes of keys and values together. ERR_NOMEM:
 * nothing changed. */
enum err write_set_reserve(struct write_set *set, uint64_t count, uint64_t bytes);

/* There is room for each. */
void write_set_put(struct write_set *set, struct slice key, struct slice value);
/* The same of a key that is not there: neither in the map nor, since, in the set. */
void write_set_put_new(struct write_set *set, struct slice key, struct slice value);
void write_set_delete(struct write_set *set, struct slice key);

/* As kv_batch_delete_range(); needs no room. What is in the set by then is only written, and no longer
 * forgotten: for what is rare. */
void write_set_delete_range(struct write_set *set, struct slice from, struct slice to);

/* Drop what is in it. */
void write_set_clear(struct write_set *set);

/* Memory of what is in it, also of what has come to nothing; 0 exactly when nothing was put in since it
 * was written or cleared. */
uint64_t write_set_bytes(const struct write_set *set);

/*
 * Write all of it to the map at once, and empty it. Any error of kv_write(): all of it stays, and is
 * written with the next call.
 */
enum err write_set_write(struct write_set *set, struct kv *kv);

#endif
