/*
 * kv_rocks_batch: what is to be written at once, as RocksDB takes it.
 *
 * Floor:  storage; only kv_rocks.c looks at it. Its functions are those of kv.h.
 * Thread: one at a time.
 */
#ifndef TERN_STORAGE_KV_ROCKS_BATCH_H
#define TERN_STORAGE_KV_ROCKS_BATCH_H

#include "storage/kv.h"

#include <rocksdb/c.h>

struct kv_batch {
    rocksdb_writebatch_t *batch;
};

#endif
