/*
 * raftlog: term, vote and entries of many replicas in one map, each record with its checksum.
 *
 *     p 'C'          what stands before the first entry: index, term
 *     p 'E' index8   an entry: term, type, plain or lz4, bytes
 *     p 'H'          hard state: term, vote
 *     p 'I'          the partition is being replaced by an image (image.h): index, term of that
 *     p 'M' index8   who belonged to the group from that entry on, when that is committed
 *     p 'S'          a state that is small enough to lie here: index, term of its last entry, bytes
 *
 * Term and vote are the replica's, the cut is the store's: two records, so that neither has to know
 * what the other wrote last. Members outlive the cut of the entry that made them so.
 * A sum (XXH3) goes before each; partition, kind and index go into it, so that a whole record in the
 * wrong place is found too.
 *
 * Floor:  storage.
 * Thread: putting belongs to the owner of the batch; reading blocks.
 */
#ifndef TERN_STORAGE_RAFTLOG_H
#define TERN_STORAGE_RAFTLOG_H

#include "core/base/err.h"
#include "core/base/slice.h"
#include "storage/kv.h"

#include <stdint.h>

/* What an entry has at most; a larger one on disk is damage. */
enum { RAFTLOG_ENTRY_BYTES_MAX = 1 << 30 };

struct raftlog_hard {
    uint64_t term, vote;
    /* Of the entry before the first one that is still there, or 0: what a snapshot covers. */
    uint64_t cut_index, cut_term;
};

struct raftlog_entry {
    uint64_t index, term;
    uint8_t type; /* the engine's */
    struct slice bytes;
};

/* Term and vote of hard. ERR_NOMEM here and below: the batch must not be written. */
enum err raftlog_put_hard(struct kv_batch *batch, uint32_t partition,
                          const struct raftlog_hard *hard);
/* index from 1 on; bytes of at most RAFTLOG_ENTRY_BYTES_MAX, copied. */
enum err raftlog_put(struct kv_batch *batch, uint32_t partition, const struct raftlog_entry *entry);

/* Who belongs to the group since the entry index, in the engine's words; copied. */
void raftlog_put_members(struct kv_batch *batch, uint32_t partition, uint64_t index,
                         struct slice bytes);
/* Those of entries before that one are of no use any more. */
void raftlog_forget_members(struct kv_batch *batch, uint32_t partition, uint64_t index);

/* Remove all entries from index on (they are being replaced). */
void raftlog_truncate(struct kv_batch *batch, uint32_t partition, uint64_t index);
/* Remove all entries up to and with cut_index of hard: the state has them. Its term and vote are not
 * looked at. */
enum err raftlog_cut(struct kv_batch *batch, uint32_t partition, const struct raftlog_hard *hard);

/*
 * A partition that is being replaced by an image: from the mark on, until its end, neither state nor log
 * mean anything; term and vote do. The mark removes what the log has: on stable storage before anything
 * of the state is changed. Its end is the cut to what the state has then.
 */
struct raftlog_mark {
    uint64_t index, term; /* of the image */
};
void raftlog_put_mark(struct kv_batch *batch, uint32_t partition, const struct raftlog_mark *mark);
void raftlog_end_mark(struct kv_batch *batch, uint32_t partition, const struct raftlog_mark *mark);
/* ERR_NOT_FOUND: it is not being replaced. ERR_CORRUPT, ERR_IO, ERR_NOMEM as below. */
enum err raftlog_get_mark(struct kv *log, uint32_t partition, struct raftlog_mark *out,
                          struct kv_failure *failure);

/*
 * The state of a group whose state is kept by its owner, as of that entry: in the batch in which the log is
 * cut to it, or earlier. bytes: at most RAFTLOG_ENTRY_BYTES_MAX, copied. ERR_NOMEM.
 */
struct raftlog_state {
    uint64_t index, term;
    struct slice bytes;
};
enum err raftlog_put_state(struct kv_batch *batch, uint32_t partition,
                           const struct raftlog_state *state);
/* bytes are borrowed for the call of take. ERR_NOT_FOUND: there is none. Errors as of raftlog_load(). */
enum err raftlog_get_state(struct kv *log, uint32_t partition,
                           enum err (*take)(void *context, const struct raftlog_state *state),
                           void *context, struct kv_failure *failure);

/* bytes are borrowed for the call. An error ends the walk. */
typedef enum err (*raftlog_walk)(void *context, const struct raftlog_entry *entry);

/*
 * Hard state (all 0: a new partition) and then every entry from cut_index + 1 on, in order. ERR_CORRUPT:
 * a damaged record or a hole: failure names partition, index and the way out. ERR_IO, ERR_NOMEM.
 */
enum err raftlog_load(struct kv *log, uint32_t partition, struct raftlog_hard *hard,
                      raftlog_walk entry, void *context, struct kv_failure *failure);

/* The entries from that index on, in order; ERR_NOT_FOUND: the log was cut beyond it. Errors as above. */
enum err raftlog_read(struct kv *log, uint32_t partition, uint64_t index, raftlog_walk entry,
                      void *context, struct kv_failure *failure);

/* The members as of that index: the last that were put at it or before. bytes: at most room of them.
 * ERR_NOT_FOUND: none; errors as above. */
enum err raftlog_read_members(struct kv *log, uint32_t partition, uint64_t index,
                              uint64_t *index_out, uint8_t *bytes, size_t room, size_t *count,
                              struct kv_failure *failure);

#endif
