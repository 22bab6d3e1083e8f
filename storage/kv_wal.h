/*
 * kv_wal: is the write-ahead log of a closed map whole, torn at its end, or damaged?
 *
 * Floor:  storage; only kv_rocks.c looks at it.
 * Thread: whoever opens the map; blocks.
 *
 * RocksDB has a mode that refuses a log whose end is not as it should be, also after a plain loss of
 * power, and one that opens whatever stands before the first bad byte, also when synced records
 * stand behind it. Neither is a promise kept. So the log says itself how far it was durable: after
 * each sync the next write leaves a mark (data that RocksDB carries in the log and nowhere else) with
 * the last sequence that the sync covered.
 *
 *     records 1..40 │ sync │ mark 40, records 41..90 │ sync │ mark 90, records 91..95 (torn)
 *
 * A bad record is a torn tail, as long as no mark behind it says that it had been durable: it is cut
 * there. Otherwise acknowledged records are gone, and that is damage. What was synced last has no
 * mark behind it before the next write or an orderly close: damage there looks like a torn tail.
 */
#ifndef TERN_STORAGE_KV_WAL_H
#define TERN_STORAGE_KV_WAL_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdint.h>

enum { WAL_MARK_BYTES = 24, WAL_WHY_BYTES_MAX = 512 };

/* The data of a mark. identity: of the store, which no client knows, so that none can forge one. */
void wal_mark(uint8_t out[WAL_MARK_BYTES], uint64_t identity, uint64_t sequence);

/* The identity of the map in that folder: a hash of RocksDB's own; 0 when there is none. */
uint64_t wal_identity(const char *folder);

/*
 * Read all logs of the folder. OK: whole, or torn and cut now. ERR_CORRUPT: why names file and place.
 * ERR_IO, ERR_PERMISSION, ERR_NOMEM: nothing was changed; why says at what.
 */
enum err wal_check(const char *folder, char why[WAL_WHY_BYTES_MAX]);

#endif
