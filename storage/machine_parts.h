/*
 * machine_parts: what the files of the machine share.
 *
 * Floor:  storage; for machine*.c.
 */
#ifndef TERN_STORAGE_MACHINE_PARTS_H
#define TERN_STORAGE_MACHINE_PARTS_H

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "storage/key.h"
#include "storage/kv.h"
#include "storage/machine_shared.h"
#include "storage/record.h"
#include "storage/record_wire.h"
#include "storage/write_set.h"

enum {
    /* Two more records, each with a key, and 16 bytes of memory: below that many bytes saved a
     * message is cheaper twice. */
    SHARE_BYTES_MIN = 256,
};

/* The value of A. */
struct applied {
    uint64_t index, term, hash, message_next, send_next, wall_ms;
};

/* The value of S 'C'. */
struct away {
    uint64_t closed_wall_ms;
    uint32_t expiry_s;
    uint64_t sent_sequence;
};

struct machine {
    struct kv *state;
    uint32_t partition;
    struct applied applied;
    struct shared shared;
    struct arena *arena;     /* of one call */
    struct buf value;        /* under construction */
    struct key key, key_end; /* likewise */
};

extern const struct shape shape_applied; /* struct applied */
extern const struct shape shape_away;    /* struct away */
extern const struct shape shape_number;  /* uint64_t: the values of C and L */

/* ---- an entry being applied ------------------------------------------------------------------- */

/* A shared message that an item of a session which ends in this entry names. */
struct owed {
    struct owed *next;
    uint64_t sequence, number;
};

struct ending {
    uint64_t session;
    struct owed *owed;
};

/* What is under way. All that may fail is done before the first mutation. */
struct work {
    struct machine *machine;
    struct write_set *writes;
    struct applied applied; /* as it will be */
    struct entry entry;
    uint32_t *uses;         /* by message: how many OP_ENQUEUE name it */
    struct ending *endings; /* by session, ascending */
    uint32_t ending_count;
    uint64_t *touched; /* numbers whose count has changed, in the order of the first change */
    uint32_t touched_count;
    struct owed *owed_spare; /* one for each OP_ENQUEUE, when there are endings */
};

/* NULL: no OP_END of the entry may have to look at its items. */
struct ending *machine_ending_of(const struct work *work, uint64_t session);

/* Into the set: every op, what the counts have come to, and A. */
void machine_carry_out(struct work *work);

#endif
