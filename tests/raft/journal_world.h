/*
 * journal_world: whole journals (cluster/journal_raft.h) of up to five nodes in one process, on disks
 * that forget, with links that fail, and an owner of each that logs, waits, loads and lets go as a shard
 * does. The oracle knows nothing but what the port promises:
 *
 *     what was told OK is in the state of every later leader; what a leader did not find comes never
 *     again; two members never lead one term; states are equal at equal index; who waits is told once;
 *     in the end one leads, all have the same, and the members are those that were asked for
 *
 *     links    a queue for each direction, in order within a connection; messages are lost, either
 *              direction is cut; a connection that is opened anew overtakes what is under way
 *     disks    tests/sim/sim_kv.h: a crash forgets what was not synced, or not handed over
 *     faults   crash and start, pause, slow disks, cuts, other members, other leaders
 */
#ifndef TERN_TESTS_RAFT_JOURNAL_WORLD_H
#define TERN_TESTS_RAFT_JOURNAL_WORLD_H

#include "cluster/consensus.h"
#include "cluster/journal_raft.h"
#include "cluster/replica.h"
#include "core/base/rng.h"
#include "tests/sim/sim_kv.h"

enum {
    NODES = 5,
    PARTS = 2, /* partitions in use: 0 and 32, as of one shard of 32 */
    SHARDS = 32,
    FACTS_MAX = 1 << 15,
    INDEX_MAX = 1 << 15,
    TERMS_MAX = 1 << 11,
    OWED_MAX = 1 << 13,
};

/* Behind core/io/io.h, as far as a journal needs it. */
struct io {
    const struct world *world;
    uint64_t ahead_ns;
};

/* A message that was logged. Its id is its place in the list, from 1. */
struct fact {
    uint32_t part;
    uint64_t sequence, stored, term; /* as it was logged, and in which term */
    uint64_t told_term;              /* OK was told, by the leader of that term; 0: not */
    uint64_t missed_term;            /* that leader did not find it; 0: all did */
    bool is_settled, is_settle_told; /* an OP_SETTLE was logged; and told */
    uint64_t settled_term;
};

/* What an owner knows of a partition. */
struct view {
    bool is_led;
    uint64_t term, sequence_next;
    uint32_t owed[OWED_MAX]; /* ids */
    uint32_t owed_count;
    bool has_session;
};

struct letter {
    struct letter *next;
    uint64_t due_ms, generation;
    uint32_t group;
    size_t count;
    uint8_t bytes[];
};

struct link {
    struct letter *letters, **end;
    uint64_t generation, due_ms;
    bool is_cut;
};

struct node {
    struct world *world;
    uint64_t id;
    char root[16];
    struct sim_disk *disk;
    struct io io;
    struct store *store;
    struct journal *journal;
    bool is_up;
    bool was_up; /* ever: the first begins the partitions, the others join */
    uint64_t start_ms, resume_ms, log_ms, state_ms; /* when it, or its lane, goes on */
    struct view views[PARTS];
    struct {
        uint64_t peer, at_ms; /* who has an image, and when it is here; 0: none is fetched */
    } fetches[PARTS];
    uint32_t waiting; /* waits that are open */
};

struct settings {
    uint64_t chaos_ms, quiet_ms;
    bool is_static;  /* the members stay */
    bool is_small;   /* little is kept in memory */
    bool is_cut;     /* and in logs */
    uint32_t stalls; /* of 100000 turns of a lane */
};

struct world {
    struct settings settings;
    struct rng rng;
    uint64_t now_ms;
    bool is_chaos;
    struct node nodes[NODES];
    struct link links[NODES][NODES];
    struct replica_want want[PARTS];

    struct fact *facts;
    uint32_t fact_count;
    uint64_t *hashes[PARTS]; /* of the machine at that index; 0: not seen */
    uint8_t led_by[PARTS][TERMS_MAX];
    char failure[300]; /* "": none yet */

    struct {
        uint64_t told, refused, led, lost, crashes, wants, letters, installs;
    } counts;
};

struct world *world_run(uint64_t seed, const struct settings *settings);
void world_free(struct world *world);

/* ---- between the files of it ---------------------------------------------------------------- */

uint32_t draw(struct world *world, uint32_t bound);
bool chance(struct world *world, uint32_t of_100000);
void fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The owner of a node's journal: journal_owner.c. */
void owner_begin(struct node *node); /* its journal was opened */
void owner_end(struct node *node);   /* it is closed: who waited was told */
void owner_turn(struct node *node);
void owner_led(void *context, uint32_t partition);
void owner_lost(void *context, uint32_t partition);
void on_fetch(void *context, uint32_t partition, uint64_t peer,
              uint64_t index); /* journal_fetch.c */
void fetches_turn(struct node *node);
void states_compare(struct node *node);

static inline uint32_t partition_at(uint32_t part)
{
    return part * SHARDS;
}

#endif
