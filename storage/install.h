/*
 * install: an image takes the place of what a store has of a partition; safe to be cut off anywhere.
 *
 *     install_begin ─> state lane: what was applied is written ─> log lane: mark ─> image lane: wipe
 *     install_chunk ─> image lane, one after another
 *     install_end ───> image lane: machine opened ─> state lane: flush ─> log lane: mark away, cut
 *
 * The mark (raftlog.h) is on stable storage before the first byte is changed, and goes when the image is,
 * together with the cut that makes the log one with it. So a start finds
 *
 *     no mark     the old state and its log, or the new one and its log: whole
 *     a mark      nothing that counts: install_recover() removes what there is, and the partition waits to
 *                 be helped again. Its term and vote stay: it is a member that has no log, and not a new one
 *
 * Who votes without the log it once had does no harm here: an image is only installed where the group
 * has committed beyond that log without this member.
 *
 * Meanwhile nothing of the partition may be appended to its log, but term and vote, nor applied (E6).
 *
 * Floor:  storage.
 * Thread: the shard's; it does not block, and calls back from install_collect() and install_turn() only.
 */
#ifndef TERN_STORAGE_INSTALL_H
#define TERN_STORAGE_INSTALL_H

#include "storage/image.h"
#include "storage/image_lane.h"
#include "storage/store.h"

struct install;
struct io;

/* A step is done. Errors below. May call the next step. */
typedef void (*install_done)(void *context, enum err err);

struct install_config {
    struct store *store;
    struct lane *image_lane;
    struct io *io; /* woken when there is news; NULL: nobody is */
    install_done done;
    void *context;
};

/* ERR_NOMEM. */
enum err install_new(const struct install_config *config, struct install **out);
/* Waits for the step that is under way; done is not called any more. What has begun stays begun, on the
 * disk and in the store. Accepts NULL. */
void install_free(struct install *install);

/* One step at a time; any may begin anew at any time when none is under way. A full disk holds up a step
 * until there is space. */

/*
 * The partition is void from here on, and ready for the first chunk when that is done. The machine of the
 * partition is not to be used any more. ERR_NOMEM; ERR_IO, ERR_CORRUPT: the disk has failed.
 */
void install_begin(struct install *install, const struct image_head *head);

/* The next chunk; bytes are copied. ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NOMEM: the image is of no use: begin
 * again, with it or with another one. ERR_IO: the disk has failed. */
void install_chunk(struct install *install, struct slice bytes);

/* All chunks were taken: is it whole? When no step is under way. */
bool install_is_whole(const struct install *install);

/* It is: make it count. From OK on install_machine() is the partition's. ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
void install_end(struct install *install);

/* After the end: the machine, once; the caller's to close. */
struct machine *install_take_machine(struct install *install);

/* What came back from the lanes; and what is to be tried again. When: install_wake_ns(); UINT64_MAX: never. */
void install_collect(struct install *install);
bool install_has_news(const struct install *install);
void install_turn(struct install *install, uint64_t now_ns);
uint64_t install_wake_ns(const struct install *install);
bool install_is_busy(const struct install *install); /* a step is under way */

/*
 * At a start, before the partition is opened: was it being replaced? OK: *was: it is empty now, and its mark
 * is still there. Blocks. ERR_CORRUPT, ERR_IO, ERR_NO_SPACE, ERR_NOMEM: failure says what to do.
 */
enum err install_recover(struct store *store, uint32_t partition, bool *was,
                         struct kv_failure *failure);

#endif
