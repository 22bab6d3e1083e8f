/*
 * lease: who is alive, as the meta leader sees it, and as a node may believe of itself.
 *
 * Floor:  cluster; pure: time is an argument, of a monotonic clock that goes on while a process is
 *         stopped. Each side uses its own; nobody compares two clocks.
 * Memory: by value.
 *
 *      node     asks ───────> believes to be live until (when it asked + lease) ──X closes its clients
 *      leader        hears ─────────────────────────────────────────> + gone: declares it GONE
 *
 * Invariants
 *   I1  who is declared gone has stopped believing before: it counts from when it asked, the leader
 *       from when it heard, and gone_ms is longer than lease_ms by more than clocks may drift apart
 *       in that time, and by the time in which a leader that was deposed may go on granting.
 *   I2  a new meta leader declares nobody gone before a full lease is over that it counts itself.
 *   I3  a leader that was away itself (stopped, starved) blames nobody: what was said to it meanwhile
 *       waits to be read. To be late is safe; to be early is not.
 *   I4  when more than a third of all lapse at once, that is rather the network or the leader: it
 *       waits for guard_ms and says so.
 *   I5  what an older incarnation said keeps nobody alive.
 */
#ifndef TERN_CLUSTER_LEASE_H
#define TERN_CLUSTER_LEASE_H

#include "cluster/registry_rows.h"
#include "core/base/err.h"

struct lease_config {
    uint32_t suspect_ms; /* without a word: others are asked to elect new leaders */
    uint32_t lease_ms;   /* what a node is granted */
    uint32_t gone_ms;    /* lease and margin: from then on it is declared gone */
    uint32_t away_ms;    /* two looks farther apart than that: the leader itself was away (I3) */
    uint32_t guard_ms;   /* how long many at once are waited for (I4) */
};
struct lease_config lease_config(void); /* 1 s, 2 s, 4 s, 0.5 s, 10 s */

enum lease_state {
    LEASE_LIVE,
    LEASE_SUSPECT, /* no word for suspect_ms */
    LEASE_LAPSED,  /* its lease is over, by the leader's clock */
    LEASE_GONE,    /* it may be declared */
};

struct lease_row {
    uint64_t number, incarnation;
    uint64_t heard_ms;   /* any frame of it */
    uint64_t renewed_ms; /* its lease */
};

/* The leader's table: whoever is or may be live, itself not. */
struct lease_table {
    struct lease_config config;
    struct lease_row rows[REGISTRY_MEMBERS_MAX];
    uint32_t count;
    uint64_t looked_ms; /* the last look */
    uint64_t held_ms;   /* since when the guard holds; 0: it does not */
    uint64_t away_count, held_count;
};

/* This node has become the meta leader: nobody is known yet. */
void lease_begin(struct lease_table *table, const struct lease_config *config, uint64_t now_ms);

/*
 * REG has it: a full lease from now on, if it is new or in another incarnation. Told again with every
 * look at the members, it changes nothing. ERR_LIMIT: there are as many as a cluster may have.
 */
enum err lease_add(struct lease_table *table, uint64_t number, uint64_t incarnation,
                   uint64_t now_ms);
void lease_forget(struct lease_table *table, uint64_t number);

/*
 * It asks for its lease. OK: grant it config.lease_ms, counted from when it asked. ERR_NOT_FOUND: not in the table:
 * it has to begin a new incarnation. ERR_INVALID: of another incarnation (I5).
 */
enum err lease_renew(struct lease_table *table, uint64_t number, uint64_t incarnation,
                     uint64_t now_ms);
/* Any frame came: it is not suspected. That does not prolong a lease. */
void lease_heard(struct lease_table *table, uint64_t number, uint64_t now_ms);

/* ERR_NOT_FOUND. */
enum err lease_look(const struct lease_table *table, uint64_t number, uint64_t now_ms,
                    enum lease_state *out);

/* What a look at all of them says. */
struct lease_verdict {
    uint64_t numbers[REGISTRY_MEMBERS_MAX]; /* to be declared GONE, with their incarnations */
    uint64_t incarnations[REGISTRY_MEMBERS_MAX];
    uint32_t count;
    bool was_away;         /* this leader: everyone has a full lease again (I3) */
    bool is_held;          /* by the guard (I4), */
    uint32_t held_of, all; /* so many of so many; all counts the leader */
};
/* Every 100 ms or so. Who is declared stays in the table until lease_forget(): it may be told again. */
void lease_turn(struct lease_table *table, uint64_t now_ms, struct lease_verdict *out);

/* The guard by itself: are that many too many to be believed? Also for services. */
bool lease_are_too_many(uint32_t lapsed, uint32_t all);

/* ---- the node's own side ---------------------------------------------------------------------------- */

enum { LEASE_ASKED_MAX = 8 };

struct lease_own {
    uint64_t incarnation;
    uint64_t until_ms; /* live before that; 0: it never was */
    uint64_t asked_last;
    struct {
        uint64_t id, at_ms;
    } asked[LEASE_ASKED_MAX]; /* the latest; an answer to what came before them grants nothing */
};

/* A new incarnation: not live until it is granted a lease. */
void lease_own_begin(struct lease_own *own, uint64_t incarnation);

/* It asks now, before the request leaves: the id that goes with it, 1 or more. */
uint64_t lease_own_ask(struct lease_own *own, uint64_t now_ms);

/*
 * The answer to that request. lease_ms counts from when it was asked, however long it took.
 * ERR_NOT_FOUND: too old, or never asked. ERR_INVALID: it is for another incarnation.
 */
enum err lease_own_granted(struct lease_own *own, uint64_t id, uint64_t incarnation,
                           uint32_t lease_ms);

/* May it believe that it is live? Asked anew whenever something is promised that depends on it. */
bool lease_own_is_live(const struct lease_own *own, uint64_t now_ms);

#endif
