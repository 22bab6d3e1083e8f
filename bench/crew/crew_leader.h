/*
 * crew_leader: the leader's side of its agents: one peer each, what they say, and whose fault it is.
 *
 *      CONNECTING ──> GREETED ──welcome──> WELCOMED ──job──> WORKING ──report──> REPORTED
 *           └────────────┴─────────────────────┴────────────────┴──> LOST: the run fails
 *
 * The leader's room holds all members of the crew; for those of an agent it arrives when the agent
 * says so, and what the room decides is told to all agents.
 *
 * Floor:  bench; included by crew_agents.c and crew_leader.c only.
 * Thread: the caller of crew_run_agents().
 */
#ifndef TERN_BENCH_CREW_LEADER_H
#define TERN_BENCH_CREW_LEADER_H

#include "bench/crew/crew_clock.h"
#include "bench/crew/crew_link.h"
#include "bench/crew/crew_room.h"
#include "bench/crew/crew_run.h"
#include "bench/crew/crew_team.h"
#include "bench/report/report_json.h"

enum peer_state { CONNECTING, GREETED, WELCOMED, WORKING, REPORTED, LOST };

struct leader;

struct peer {
    struct leader *leader;
    struct crew_link link;
    struct address address;
    enum peer_state state;
    uint32_t first, generators; /* its members of the crew */
    uint32_t arrived_count;     /* stages they have arrived at */
    uint64_t clock_error_ns;    /* of the stamps of its generators, at most */
    bool is_report_next;        /* the next line is the report itself */
    struct report_saved *saved;
    char name[ADDRESS_TEXT_MAX + 8]; /* "agent 10.0.0.2:7883" */
};

struct leader {
    const struct crew_agents *agents;
    const struct scenario *scenario;
    const struct scenario_options *options;
    struct io *io;
    struct peer *peers;
    uint32_t peer_count, member_count;
    struct crew_room *room;
    struct crew_team *team; /* NULL: we generate nothing ourselves */
    struct crew_progress *progress;
    struct series
        *observed;       /* the broker's use by the second, when no generator here looks at it */
    uint32_t told_count; /* stages that the agents know to be passed */
    bool is_stop_told, is_observing;
    struct target_usage before, after; /* of the broker, when no generator is here to look at it */
    bool has_before, has_after;
    enum err err; /* the first failure */
    char *problem;
    char version[CREW_VERSION_BYTES], clock[CREW_CLOCK_NAME_BYTES];
};

/*
 * The first failure counts, and is the caller's problem in the end; the generators here hear of it
 * by the room, those far away when the leader takes its leave.
 */
__attribute__((format(printf, 3, 4))) void leader_fail(struct leader *leader, enum err err,
                                                       const char *format, ...);

/* To all agents at work. */
void leader_say(struct leader *leader, const struct crew_message *message);

/* Connect and greet; the rest follows in events. A failure is the leader's. */
void peer_connect(struct peer *peer);

#endif
