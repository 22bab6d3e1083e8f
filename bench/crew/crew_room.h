/*
 * crew_room: where the members of a crew in this process meet; for those who run them.
 *
 * A room is its own master, and passes a stage when all members have arrived (threads of one
 * process; the leader of agents, whose relay arrives on behalf of those far away). Or it is ruled:
 * an agent's room waits for the leader's word.
 *
 * Floor:  bench; included by crew*.c, agent.c and their tests only.
 * Thread: any; one lock, held for moments.
 * Memory: all of it belongs to the room.
 */
#ifndef TERN_BENCH_CREW_ROOM_H
#define TERN_BENCH_CREW_ROOM_H

#include "bench/crew/crew.h"
#include "core/base/err.h"

enum {
    CREW_MEMBERS_MAX = 1024,
    CREW_NAME_BYTES = 160,
    CREW_PUBLISHERS_MAX = 1000000, /* whose counts can be shared */
};

struct crew_room_config {
    uint32_t count;                         /* members in all, 1 to CREW_MEMBERS_MAX */
    bool is_ruled;                          /* stages are passed by crew_room_pass() only */
    uint32_t first, here_count;             /* ruled: which members are here */
    uint64_t ahead_ns;                      /* from passing CREW_READY to the begin; 0: 200 ms */
    uint64_t patience_ns[CREW_STAGE_COUNT]; /* after the first arrival; 0: our own */
    uint64_t (*clock_ns)(void);             /* NULL: load_clock_ns() */
};

struct crew_room;

/* NULL: no memory. */
struct crew_room *crew_room_new(const struct crew_room_config *config);
void crew_room_free(struct crew_room *room); /* accepts NULL; no member may be running */

/* The place of one member that is here; lives as long as the room. */
struct crew *crew_room_member(struct crew_room *room, uint32_t index);

/* What a member is called when it is missing; else "generator N". Copied, cut to CREW_NAME_BYTES. */
void crew_room_name(struct crew_room *room, uint32_t index, const char *name);

/*
 * The member's run has returned. ERR_... : the crew fails with its text. OK: fails too if it arrived
 * at some stages but not all, for the others would wait in vain. (A scenario without stages is well.)
 */
void crew_room_leave(struct crew_room *room, uint32_t index, enum err err);

/* End everybody's run; who is to blame is said in why already. */
void crew_room_fail(struct crew_room *room, const char *why);

/* False: it has not failed, out is not written. Else out has the first failure's words. */
bool crew_room_problem(struct crew_room *room, char out[CREW_PROBLEM_BYTES]);

/* Whether all members that are here have arrived: what an agent tells its leader. */
bool crew_room_here(struct crew_room *room, enum crew_stage stage);

/* Whether the stage is passed, and, on true, when the run begins on the leader's clock. */
bool crew_room_passed(struct crew_room *room, enum crew_stage stage, uint64_t *begin_common_ns);

/* Fail if somebody has been missing for too long, as crew_all_arrived() does; for who only watches. */
void crew_room_watch(struct crew_room *room);

/* A ruled room: the leader says that all have arrived. begin counts for CREW_READY only. */
void crew_room_pass(struct crew_room *room, enum crew_stage stage, uint64_t begin_common_ns);

/* A ruled room: the sums of the whole crew, before CREW_SENT is passed. ERR_NOMEM. */
enum err crew_room_set_sent(struct crew_room *room, const uint64_t *sent, uint32_t count);

/* The sums so far of those here: borrowed until more is given; *count 0: none was given. */
const uint64_t *crew_room_sent(struct crew_room *room, uint32_t *count);

/* What is added to load_clock_ns() to get the leader's clock. */
void crew_room_set_offset(struct crew_room *room, int64_t offset_ns);

#endif
