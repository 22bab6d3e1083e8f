/*
 * consensus: one member of one raft group: an event in, what is to be done out.
 *
 * Floor:  cluster.
 * Thread: one; that of the shard of its partition.
 * Memory: the terms of the log as runs, never its bytes. What an update points to is borrowed until
 *         the next call on the same consensus.
 *
 * libraft 0.22.1 decides, through raft_step() alone, and does nothing itself; consensus.c is the only
 * file that knows it. The packaged library has its assertions compiled out, so every event is checked
 * here: a wrong caller trips an ASSERT, a wrong message of a peer is an error and is dropped.
 *
 *     START, SUBMIT, CHANGE, RECEIVE, PERSISTED, INSTALLED, CUT, TIMEOUT, CATCH_UP, TRANSFER
 *          │
 *          v
 *     struct consensus_update: 1. hard state, before any message of this or a later update leaves
 *                              2. entries: cut the log before the first one, then append
 *                              3. a snapshot to install: in place of the whole log
 *                              4. messages: fill in the entries, then send
 *                              5. what is committed
 *
 * The host rules that make the engine safe (cluster.md 2.4), and where each is kept:
 *
 *     E1   consensus_piece()       a CHANGE begins the piece of a message that is handed in
 *     E2   consensus_event.c       a denied pre-vote tells our term when that is higher
 *     E3   consensus_change()      membership changes only when the group can bear it
 *     E4   consensus_receive.c     what was cut here is committed; what was acknowledged stays so
 *     E5   consensus_receive.c     nothing of an older link
 *     E6   consensus_event.c       nothing is committed while a snapshot is being installed
 *     E7   consensus_submit()      a CHANGE is alone: it cannot be submitted otherwise
 *     E8   consensus_timeout()     only when due
 *     E9   consensus_event.c       followers are told of a commit at once (if so configured)
 *     E10  every event             time never goes back
 *     E11  consensus_receive.c     no vote for one election timeout after a start
 *     E12  consensus_persisted()   only what is still in the log is reported as stored
 *     E13  consensus_receive.c     a rejection leads back by a whole term, not by one entry
 *     E14  consensus_receive.c     who does not know yet that it is a voter votes all the same
 *     E15  consensus_event.c       who is to lose its vote hears of it when that is committed
 */
#ifndef TERN_CLUSTER_CONSENSUS_H
#define TERN_CLUSTER_CONSENSUS_H

#include "cluster/consensus_members.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct consensus;

/* On disk and between nodes: none may change. */
enum consensus_entry_type { CONSENSUS_COMMAND = 1, CONSENSUS_BARRIER = 2, CONSENSUS_CHANGE = 3 };

struct consensus_entry {
    uint64_t term;
    uint8_t type; /* a barrier is the engine's own, and has no bytes */
    struct slice bytes;
};

/* What a state is of: entries up to index are in it. data: where to fetch it, the host's matter. */
struct consensus_snapshot {
    uint64_t index, term;
    struct consensus_members members; /* as of index */
    struct slice data;
};

enum consensus_message_kind {
    CONSENSUS_APPEND = 1,
    CONSENSUS_APPEND_RESULT,
    CONSENSUS_VOTE,
    CONSENSUS_VOTE_RESULT,
    CONSENSUS_INSTALL,
    CONSENSUS_TIMEOUT_NOW,
    CONSENSUS_MESSAGE_END,
};

struct consensus_message {
    enum consensus_message_kind kind;
    uint64_t peer;       /* whom it goes to; received: whom it comes from */
    uint64_t generation; /* received only: of the link it came by, growing (E5) */
    uint64_t term;
    union {
        struct {
            uint64_t prev_index, prev_term, commit_index;
            /* To be sent: NULL, the host fills in those from prev_index + 1 on. */
            const struct consensus_entry *entries;
            uint32_t count;
        } append;
        struct {
            uint64_t rejected; /* 0: accepted */
            uint64_t last_index;
        } append_result;
        struct {
            uint64_t last_index, last_term;
            bool disrupt_leader, pre_vote;
        } vote;
        struct {
            bool granted, pre_vote;
        } vote_result;
        struct consensus_snapshot install; /* to be sent: the host fills in data */
        struct {
            uint64_t last_index, last_term;
        } timeout_now;
    };
};

struct consensus_update {
    bool has_hard; /* term and vote changed */
    uint64_t term, vote;

    uint32_t entry_count;
    uint64_t entry_index; /* of the first one; what the log has from there on goes first */
    const struct consensus_entry *entries;

    const struct consensus_snapshot *install; /* NULL: none. Else all entries are void; then
                                                 consensus_installed() */

    struct consensus_message *messages;
    uint32_t message_count;

    bool has_commit; /* commit_index grew, or may be told now */
    uint64_t commit_index;
};

struct consensus_config {
    uint64_t node_id; /* not 0 */
    uint64_t seed;    /* for election timeouts */
    /* 0: 1000, 100, 30000 ms; 1024 entries under way to a follower. */
    uint32_t election_ms, heartbeat_ms, install_ms, inflight_max;
    bool announces_commit; /* E9 */
    /* Bit n: rule n is not kept. For the proof that each is needed; 0 in a broker. */
    uint32_t rules_off;
};

enum err consensus_new(const struct consensus_config *config,
                       struct consensus **out);   /* ERR_NOMEM */
void consensus_free(struct consensus *consensus); /* accepts NULL */
/* Of a member that begins anew, from an image: what it knows of its links (E5) stays. */
void consensus_keep_links(struct consensus *consensus, const struct consensus *before);

/* ---- events: update is written on OK only ---------------------------------------------------- */

/*
 * Any of them may give ERR_NOMEM, or ERR_CORRUPT (a peer's log contradicts what is committed here):
 * then this member takes part no more, every later event is ERR_UNAVAILABLE.
 */

/* One entry of the stored log, in order, before the start. Bytes of a CHANGE are copied, others are
 * not kept. ERR_CORRUPT: a CHANGE that cannot be read, a term that goes back. */
enum err consensus_load(struct consensus *consensus, const struct consensus_entry *entry);

struct consensus_start {
    uint64_t term, vote; /* 0 and 0: a new member, which waits to be added by others */
    uint64_t
        first_index; /* of the first entry loaded; 1 when there is neither entry nor snapshot */
    /* What the state has, with index + 1 >= first_index and no more than what was loaded, unless
     * nothing was. NULL: nothing; then the log begins at 1, with the CHANGE of all first voters. */
    const struct consensus_snapshot *snapshot;
};

/* A member that is the only voter leads at once, and all it has is committed. ERR_CORRUPT: a log that
 * begins without a CHANGE, or that is of a later term. */
enum err consensus_start(struct consensus *consensus, uint64_t now_ms,
                         const struct consensus_start *start, struct consensus_update *update);

/* Propose: COMMANDs of the current term, 1 or more. ERR_UNAVAILABLE: not the leader, or about to
 * hand over. */
enum err consensus_submit(struct consensus *consensus, uint64_t now_ms,
                          const struct consensus_entry *entries, uint32_t count,
                          struct consensus_update *update);

/*
 * Propose that a server is added (as SPARE or STANDBY), gets another role, or is GONE. ERR_UNAVAILABLE:
 * not the leader. ERR_INVALID: ourselves (hand over first), or a new one as VOTER. ERR_EXISTS: it is
 * so already. ERR_NOT_FOUND, ERR_LIMIT. ERR_AGAIN: not now (E3).
 */
enum err consensus_change(struct consensus *consensus, uint64_t now_ms, uint64_t id,
                          enum consensus_role role, struct consensus_update *update);

/*
 * E1: the next piece of a received message. *begin is 0 at first and moves on; more pieces follow
 * while true is returned. A message other than APPEND is one piece. piece borrows from message.
 */
bool consensus_piece(const struct consensus *consensus, const struct consensus_message *message,
                     uint32_t *begin, struct consensus_message *piece);

/* One piece. ERR_PROTOCOL: what it says cannot be; it is dropped, as is what is out of date (OK, with
 * an empty update). */
enum err consensus_receive(struct consensus *consensus, uint64_t now_ms,
                           const struct consensus_message *piece, struct consensus_update *update);

/* Entries up to index, the last of them of that term, are on stable storage (E12). */
enum err consensus_persisted(struct consensus *consensus, uint64_t now_ms, uint64_t index,
                             uint64_t term, struct consensus_update *update);

/* The snapshot that an update asked for is on stable storage. */
enum err consensus_installed(struct consensus *consensus, uint64_t now_ms,
                             struct consensus_update *update);

/*
 * The state has everything up to index, on stable storage; the log keeps `trailing` entries before it
 * (E4: four times inflight_max at least, where there are followers). ERR_AGAIN: not now.
 */
enum err consensus_cut(struct consensus *consensus, uint64_t now_ms, uint64_t index,
                       uint32_t trailing, struct consensus_update *update);

/* E8: nothing happens when it is not due. */
enum err consensus_timeout(struct consensus *consensus, uint64_t now_ms,
                           struct consensus_update *update);

/* Bring a member that is no voter up to date, before it becomes one. ERR_UNAVAILABLE, ERR_NOT_FOUND,
 * ERR_AGAIN. */
enum err consensus_catch_up(struct consensus *consensus, uint64_t now_ms, uint64_t id,
                            struct consensus_update *update);

/* Hand leadership to a voter. ERR_UNAVAILABLE: not the leader, or at it already; ERR_NOT_FOUND. */
enum err consensus_transfer(struct consensus *consensus, uint64_t now_ms, uint64_t id,
                            struct consensus_update *update);

/* ---- what it is ------------------------------------------------------------------------------- */

struct consensus_status {
    bool is_leader; /* and takes part */
    bool is_alone;  /* the only member, and leader */
    bool is_installing;
    bool is_handing_over; /* leader, and nothing can be proposed until that is done or given up */
    bool change_is_open;
    uint64_t leader; /* 0: unknown */
    uint64_t term, vote;
    uint64_t last_index, stored_index, commit_index; /* commit: as it was told */
};
struct consensus_status consensus_status(const struct consensus *consensus);

bool consensus_is_voter(const struct consensus *consensus); /* as far as we know */
/* The last one that was cut at, installed or started from, without its data; index 0: none. */
const struct consensus_snapshot *consensus_snapshot(const struct consensus *consensus);
/* Of an entry of the log, or of the last one of the snapshot; 0: not known. */
uint64_t consensus_term_of(const struct consensus *consensus, uint64_t index);
/* index: of the CHANGE that made it so; it may not be committed yet. */
void consensus_members(const struct consensus *consensus, struct consensus_members *out);
/* The same as far as it is committed; index 0: there is nothing yet. */
void consensus_members_committed(const struct consensus *consensus, struct consensus_members *out);
/* Leader only: how far that member is known to have the log; 0: not at all, or unknown. */
uint64_t consensus_match_index(const struct consensus *consensus, uint64_t id);

/* When consensus_timeout() wants to be called, in the clock of the events; UINT64_MAX: never, as
 * nobody else is there. */
uint64_t consensus_timeout_ms(const struct consensus *consensus);

#endif
