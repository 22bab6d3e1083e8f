/*
 * group: a raft group of up to five members in one process, with links and disks that fail, and an
 * oracle that knows nothing but what raft promises.
 *
 * The members are cluster/consensus*.c itself; the host around them is a model of cluster/replica.c:
 * what it keeps is an array, its state is a hash of all it was given.
 *
 *     links    a queue for each direction: in order within a connection, each with delay; letters are
 *              lost; either direction is cut. A connection that is opened anew does not recall what is
 *              under way by the old one: that arrives late, out of order.
 *     disk     writes are done in order, some after a stall; a crash forgets those under way
 *     faults   crash and start, pause, cuts, changes of members, handing over, snapshots
 */
#ifndef TERN_TESTS_RAFT_GROUP_H
#define TERN_TESTS_RAFT_GROUP_H

#include "cluster/consensus.h"
#include "core/base/rng.h"

enum { MEMBERS = 5, LOG_MAX = 1 << 16, ENTRIES_MAX = 256, TERMS_MAX = 1 << 12 };

/* An entry as the model has it. */
struct slot {
    uint64_t term;
    uint64_t id; /* of a COMMAND; of a CHANGE its number in the list of them */
    uint8_t type;
};

struct image { /* a snapshot */
    struct consensus_snapshot of;
    uint64_t hash;
};

struct write {
    struct write *next;
    enum { WRITE_LOG, WRITE_INSTALL, WRITE_CUT } kind;
    uint64_t due_ms, number;
    bool has_hard;
    uint64_t term, vote;
    uint64_t index;
    uint32_t count;
    struct image image;
    struct slot slots[];
};

struct letter {
    struct letter *next;
    uint32_t from, to;
    uint64_t due_ms, after_write; /* held until that write is done; 0: not */
    struct consensus_message message;
    uint64_t hash; /* of an INSTALL */
    struct slot slots[];
};

struct member {
    uint64_t id;
    bool is_up;
    uint64_t start_ms, resume_ms; /* when it starts again; paused until */
    struct consensus *consensus;
    struct slot *log, *disk_log;
    uint64_t last;
    uint64_t applied, hash;
    bool is_installing, is_cutting;
    struct image image; /* as of the engine's snapshot */

    struct write *writes, **writes_end;
    uint64_t write_number, hard_number;
    struct letter *held, **held_end;

    uint64_t disk_term, disk_vote, disk_first, disk_last;
    struct image disk_image;
};

struct link {
    struct letter *letters, **end;
    uint64_t generation, due_ms; /* no letter of this connection before the one sent earlier */
    bool is_cut;
};

struct settings {
    uint32_t voters; /* at the beginning */
    uint32_t rules_off;
    uint64_t chaos_ms, quiet_ms;
    uint32_t trailing;       /* entries kept before a snapshot */
    uint32_t stalls;         /* of 100000 writes */
    bool has_jumping_clocks; /* that go back, too */
    bool has_dead;           /* one member stays down when all else becomes well */
};

struct group {
    struct settings settings;
    struct rng rng;
    uint64_t now_ms;
    struct member members[MEMBERS];
    struct link links[MEMBERS][MEMBERS];
    bool is_chaos;
    uint64_t next_id;
    struct member *dead; /* NULL: none */

    /* The oracle: what was applied anywhere, first; who led each term. */
    struct slot *truth;
    uint64_t *truth_hash;
    uint64_t *truth_in; /* the term in which it was committed at the latest */
    uint64_t truth_last;
    uint8_t led_by[TERMS_MAX];
    char failure[256]; /* "": none yet */

    struct {
        uint64_t commits, elections, crashes, changes, installs, cuts, transfers, late_letters;
    } counts;
};

/* One run; group->failure says how it ended. The caller frees it. */
struct group *group_run(uint64_t seed, const struct settings *settings);
void group_free(struct group *group);

/* ---- between the files of it ---------------------------------------------------------------- */

uint32_t draw(struct group *group, uint32_t bound);
bool chance(struct group *group, uint32_t of_100000);

/* The first failure counts; the run ends. */
void fail(struct group *group, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct slice change_bytes(uint64_t number);
uint64_t change_number(struct slice bytes);
void changes_free(void);

void member_boot(struct group *group, struct member *member);
void member_crash(struct group *group, struct member *member);
void member_write_done(struct group *group, struct member *member);
void member_hear(struct group *group, struct member *member, struct letter *letter);
void member_update(struct group *group, struct member *member, enum err err,
                   const struct consensus_update *update);
void member_cut(struct group *group, struct member *member);

void link_send(struct group *group, struct letter *letter);
void link_reopen(struct group *group, uint32_t from, uint32_t to);

void oracle_applied(struct group *group, struct member *member, uint64_t index);
void oracle_leads(struct group *group, const struct member *member);
void oracle_finally(struct group *group, uint64_t truth_before, uint64_t elections_before);

/* What that member's clock says. */
uint64_t clock_ms(struct group *group);

#endif
