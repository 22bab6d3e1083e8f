/*
 * kv_rocks_options: how RocksDB is set up for the two kinds of map, and why.
 *
 * Floor:  storage; only kv_rocks.c looks at it.
 * Thread: who opens the map; it must not be pinned, as threads begun here inherit where it may run.
 */
#ifndef TERN_STORAGE_KV_ROCKS_OPTIONS_H
#define TERN_STORAGE_KV_ROCKS_OPTIONS_H

#include "storage/kv.h"

#include <rocksdb/c.h>

/* Never NULL; the caller destroys it. *text_out: as errptr of RocksDB, NULL when all is well. */
rocksdb_options_t *kv_rocks_options(const struct kv_config *config, rocksdb_cache_t *cache,
                                    bool is_new, char **text_out);

/* Threads for flushes and merges: of the process, for all maps. They never end. */
void kv_rocks_threads(void);

#endif
