/*
 * kv_disk: a folder for maps, for tests that are built once with RocksDB (kv_disk_rocks.c) and once
 * with the simulator's disk (kv_disk_sim.c).
 */
#ifndef TERN_TESTS_KV_DISK_H
#define TERN_TESTS_KV_DISK_H

#include "storage/kv.h"

/* A new and empty place for maps; its path, until kv_disk_end(). One at a time. */
const char *kv_disk_begin(void);
void kv_disk_end(void);

/* The process ends while the map in that folder is open; it is closed afterwards. */
void kv_disk_crash(struct kv *kv, const char *folder);

#endif
