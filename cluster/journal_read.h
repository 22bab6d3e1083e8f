/*
 * journal_read: what a shard reads back from the state: a page of a queue, retained messages.
 *
 *     reader_items, reader_retained ──> state lane ──> done, from the shard's collect()
 *
 * Whatever is committed when a reading is handed in, it sees, also what another shard's partition
 * committed: an entry is handed to the state lane before anybody is told that it is committed, who
 * hears of it hands in his reading after that, and the lane is one queue for all desks, which writes
 * what stands in it before a reading to the map before it reads.
 *
 * Floor:  cluster; a part of journal_raft.
 * Thread: the shard's.
 */
#ifndef TERN_CLUSTER_JOURNAL_READ_H
#define TERN_CLUSTER_JOURNAL_READ_H

#include "core/session/journal.h"
#include "storage/key.h"
#include "storage/store.h"

#include <stdbool.h>

struct machine;

struct reader {
    struct store *store;
    struct lane_desk *desk; /* of the state lane */
    bool is_closing;        /* what comes back is told ERR_SHUTDOWN */
    struct key key;         /* the lane's scratch: it does one thing at a time */
};

/* As journal_read(); machine: of the partition, and of this shard, whose desk outlives it. */
enum err reader_items(struct reader *reader, struct machine *machine, uint32_t partition,
                      uint64_t session, uint64_t from_sequence, uint32_t max,
                      journal_read_done done, void *context);

/* As journal_read_retained(). */
enum err reader_retained(struct reader *reader, const struct slice *topics, uint32_t count,
                         journal_retained_done done, void *context);

#endif
