/*
 * agent_work: one job of an agent: its generators, and what the leader has to hear of them.
 *
 * Floor:  bench; included by agent*.c only.
 * Thread: the agent's own; generators have theirs.
 */
#ifndef TERN_BENCH_AGENT_WORK_H
#define TERN_BENCH_AGENT_WORK_H

#include "bench/command/job.h"
#include "bench/crew/crew_link.h"

struct agent_work;

/*
 * Begin the job of a message, whose texts are the work's from now on (also on failure). problem:
 * why not, for the leader. is_same_clock: the leader is on this machine.
 */
enum err agent_work_new(struct crew_message *message, uint32_t thread_count, bool is_same_clock,
                        struct agent_work **out, char problem[JOB_PROBLEM_BYTES]);

/* Ends the generators if they are not over, and waits for them. Accepts NULL. */
void agent_work_free(struct agent_work *work);

/* Append the command, as JSON and without secrets. ERR_NOMEM. */
enum err agent_work_describe(const struct agent_work *work, struct buf *out);

/* Tell the leader (NULL: it is gone) what has come to pass: pings, stages, a failure. */
void agent_work_turn(struct agent_work *work, struct crew_link *leader);

/* What the leader said. ERR_MALFORMED: it makes no sense now, and the work has failed by it. */
enum err agent_work_hear(struct agent_work *work, const struct crew_message *message,
                         uint64_t heard_ns);

/* End it early, without a report. why: for the leader, if it still hears us. */
void agent_work_fail(struct agent_work *work, const char *why);

/* All generators have returned. */
bool agent_work_is_over(struct agent_work *work);

/*
 * Once it is over: send the report, or the failure if that was not told yet. False: it failed, and
 * text says why; else text says what was done.
 */
enum { AGENT_WORK_TEXT_BYTES = CREW_PROBLEM_BYTES };
bool agent_work_end(struct agent_work *work, struct crew_link *leader,
                    char text[AGENT_WORK_TEXT_BYTES]);

#endif
