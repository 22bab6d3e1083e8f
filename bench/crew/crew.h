/*
 * crew: several generators that load one broker as if they were one: what a member sees of it.
 *
 *      member 0   connect ──> READY ┐          window ──> SENT ┐ share      drain ──> DRAINED ┐
 *      member 1   connect ──> READY ┤ begin    window ──> SENT ┤ of all     drain ──> DRAINED ┤ end
 *      member 2   connect ──> READY ┘ together window ──> SENT ┘ is known   drain ──> DRAINED ┘
 *
 * A member is one thread with one load: of this process (--threads), or of an agent on another
 * machine (--agents). The scenario does not know which. Nothing here waits: a member arrives at a
 * stage, goes on turning its load (acknowledgements, pings and deliveries of the others go on), and
 * asks once a turn:
 *
 *     crew_arrive(crew, CREW_READY);
 *     while (!crew_all_arrived(crew, CREW_READY) && !crew_is_failed(crew)) {
 *         load_turn(run->load, CREW_TURN_NS);
 *     }
 *     uint64_t begin_ns = crew_begin_ns(crew);            // the same moment for all, ahead of now
 *     ...
 *     crew_share_sent(crew, sent, publisher_count);       // own ones; 0 for the others' publishers
 *     crew_arrive(crew, CREW_SENT);                       // and wait as above
 *     const uint64_t *sent_by_all = crew_sent(crew);
 *
 * Invariants
 *   C1  a member arrives at a stage once, and at the stages in their order.
 *   C2  a stage is passed when every member has arrived at it, and then for ever.
 *   C3  the first failure stays: later ones change nothing, and no stage is passed after it.
 *   C4  a member that waits comes to know within CREW_TURN_NS that a stage is passed or the crew has
 *       failed; a missing member is a failure which names it.
 *
 * Floor:  bench.
 * Thread: any member's own; members of one process share a room behind a lock.
 * Memory: the room (bench/crew/crew_room.h) owns everything.
 *
 * crew NULL is a generator alone: index 0 of 1, every stage is passed, nothing fails.
 */
#ifndef TERN_BENCH_CREW_H
#define TERN_BENCH_CREW_H

#include <stdbool.h>
#include <stdint.h>

struct crew; /* one member's place in it */

enum crew_stage {
    CREW_READY,   /* all clients are connected and subscribed */
    CREW_SENT,    /* the window is over, nothing more is sent, crew_share_sent() was called */
    CREW_DRAINED, /* what was on the way to this member's clients has come, or never will */
    CREW_STAGE_COUNT,
};

const char *crew_stage_name(enum crew_stage stage); /* "ready", "sent", "drained" */

enum {
    CREW_THREADS_MAX = 256,   /* generators of one process */
    CREW_PROBLEM_BYTES = 320, /* what went wrong, in words, with the name of whom */
};

#define CREW_TURN_NS ((uint64_t)5000000) /* how long a member that waits turns its load at most */

/* Which member this is, from 0, and of how many. */
uint32_t crew_index(const struct crew *crew);
uint32_t crew_count(const struct crew *crew);

/* Things (publishers, subscribers, pairs, clients) are dealt out by their number, round and round. */
bool crew_owns(const struct crew *crew, uint32_t thing);

/* How many of things 0 to total - 1 are this member's. */
uint32_t crew_own_count(const struct crew *crew, uint32_t total);

/* C1. Does nothing after a failure. */
void crew_arrive(struct crew *crew, enum crew_stage stage);

/*
 * Whether the stage is passed. It fails the crew when the others have been waited for too long, so
 * it has to be asked again and again by whoever waits.
 */
bool crew_all_arrived(struct crew *crew, enum crew_stage stage);

/* Any member failed or left: end the run, settle nothing. Cheap enough for every turn. */
bool crew_is_failed(const struct crew *crew);

/*
 * When the warm-up begins, on this machine's load_clock_ns(): some 100 ms ahead when CREW_READY is
 * passed, and only to be asked after that. Alone, or when the crew failed before: now.
 */
uint64_t crew_begin_ns(struct crew *crew);

/*
 * How many messages each of the scenario's `count` publishers sent, 0 for those of other members.
 * Copied. Once, before arriving at CREW_SENT; every member gives the same count.
 */
void crew_share_sent(struct crew *crew, const uint64_t *sent, uint32_t count);

/*
 * The sums over all members: as many as were given, borrowed as long as the crew lives, and only to
 * be asked after CREW_SENT is passed. NULL: alone, nobody gave any, or the crew failed before.
 */
const uint64_t *crew_sent(struct crew *crew);

/* End all members' runs. why: a phrase for people, copied; the member's name is put before it. */
void crew_fail(struct crew *crew, const char *why);

/*
 * The moment local_ns of load_clock_ns() on the clock of the leader, which stamps of all members
 * are written in; and the other way round. The same number when all are on one machine.
 * Use one of them for a stamp's sent_ns, and for when it was received.
 */
uint64_t crew_common_ns(const struct crew *crew, uint64_t local_ns);
uint64_t crew_local_ns(const struct crew *crew, uint64_t common_ns);

/* crew_common_ns() of this very moment. */
uint64_t crew_clock_ns(const struct crew *crew);

/*
 * What the report of a member has to keep in mind:
 *   - counts of publishers and subscribers are those of the whole crew: each member says the same;
 *   - what was sent, delivered, lost and so on is the member's own, and is added up;
 *   - bench_cpu_ns is of the member's own thread (CLOCK_THREAD_CPUTIME_ID), and is added up;
 *   - the broker is measured by the one of crew_measures() alone;
 *   - whether the whole crew was too slow is judged again when all reports are merged.
 */

/*
 * Whether this member is the one that reads the broker's use: member 0 where it is a thread of the
 * process that was told about the broker; none of an agent. True when alone.
 */
bool crew_measures(const struct crew *crew);

#endif
