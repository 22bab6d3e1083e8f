/*
 * A connection is a guest, and one guest at a time leads, for one job:
 *
 *      STRANGER ──hello──> LEADER ──job──> at work ──report──> DONE ──> it hangs up
 *          └──hello, we have a job──> WAITING ──another one leads for BUSY_NS more──> refused, DONE
 *                                        └──nobody leads any more──> LEADER
 */
#include "bench/crew/agent.h"

#include "bench/crew/agent_work.h"
#include "bench/crew/crew_clock.h"
#include "bench/load/load.h"
#include "bench/report/environment.h"
#include "core/base/list.h"

#include <stdarg.h>
#include <stdlib.h>

enum { GUESTS_MAX = 16, LEADER_LINE_BYTES_MAX = 32 * 1024 * 1024 };

#define MS_NS       ((uint64_t)1000000)
#define TURN_NS     (2 * MS_NS)     /* at work: how late a stage is told */
#define IDLE_NS     (200 * MS_NS)   /* how late a signal is noticed */
#define GREETING_NS (10000 * MS_NS) /* until a stranger says hello */
#define JOB_NS      (60000 * MS_NS) /* until a leader, with all its agents, says what to do */
#define BUSY_NS     (1000 * MS_NS)  /* a leader that has died is noticed by then */
#define DONE_NS     (60000 * MS_NS) /* until our last words are taken */
#define FAREWELL_NS (500 * MS_NS)

enum guest_state { STRANGER, WAITING, LEADER, DONE };

struct guest {
    struct list all;
    struct agent *agent;
    struct crew_link link;
    enum guest_state state;
    uint64_t until_ns; /* our patience with it; a leader at work has its own */
    uint64_t hello_ns; /* when it said so */
    bool is_same_clock;
    char name[ADDRESS_TEXT_MAX];
};

struct agent {
    const struct agent_options *options;
    struct io *io;
    struct io_listener *listener;
    struct list guests;
    struct guest *leader;    /* NULL: nobody leads */
    struct agent_work *work; /* NULL: nothing to do; may outlive its leader for a moment */
    char version[CREW_VERSION_BYTES], clock[CREW_CLOCK_NAME_BYTES];
};

/* "tern-bench agent: 10.0.0.1:50412: ..." */
__attribute__((format(printf, 3, 4))) static void say(const struct agent *agent, const char *whom,
                                                      const char *format, ...)
{
    va_list arguments;
    fprintf(agent->options->log, "tern-bench agent: %s%s", whom, whom[0] == '\0' ? "" : ": ");
    va_start(arguments, format);
    vfprintf(agent->options->log, format, arguments);
    va_end(arguments);
    fprintf(agent->options->log, "\n");
    fflush(agent->options->log);
}

/* ---- hello ----------------------------------------------------------------------------------- */

/* However much of it is right, it takes as long. */
static bool is_key(struct slice given, const char *wanted)
{
    struct slice key = slice_text(wanted == NULL ? "" : wanted);
    uint8_t difference = given.count == key.count ? 0 : 1;
    for (size_t i = 0; i < given.count; i++) {
        difference |= (uint8_t)(given.data[i] ^ (key.count == 0 ? 0xff : key.data[i % key.count]));
    }
    return difference == 0;
}

static void refuse(struct guest *guest, const char *reason, const char *text)
{
    say(guest->agent, guest->name, "refused: %s", text);
    crew_link_say(&guest->link, &(struct crew_message){.say = CREW_SAY_REFUSE,
                                                       .reason = slice_text(reason),
                                                       .text = slice_text(text)});
    crew_link_close(&guest->link, OK);
    guest->state = DONE;
}

static void welcome(struct guest *guest)
{
    struct agent *agent = guest->agent;
    agent->leader = guest;
    guest->state = LEADER;
    guest->until_ns = load_clock_ns() + JOB_NS;
    guest->link.line_bytes_max = LEADER_LINE_BYTES_MAX;
    crew_link_say(&guest->link, &(struct crew_message){.say = CREW_SAY_WELCOME,
                                                       .version = slice_text(agent->version),
                                                       .clock = slice_text(agent->clock),
                                                       .generators = agent->options->thread_count});
}

static void on_hello(struct guest *guest, const struct crew_message *hello)
{
    struct agent *agent = guest->agent;
    char text[CREW_PROBLEM_BYTES];

    if (!is_key(hello->key, agent->options->key)) {
        refuse(guest, "key",
               agent->options->key == NULL
                   ? "it was started without --agent-key: leave it out, or start it with one"
                   : "it was started with another --agent-key");
        return;
    }
    if (!slice_is(hello->version, agent->version)) {
        snprintf(text, sizeof(text),
                 "the agent is tern-bench %s, the leader %.*s: give both the same program",
                 agent->version, (int)(hello->version.count < 80 ? hello->version.count : 80),
                 (const char *)hello->version.data);
        refuse(guest, "version", text);
        return;
    }
    guest->is_same_clock = agent->clock[0] != '\0' && slice_is(hello->clock, agent->clock);
    guest->state = WAITING; /* until the next turn at least */
    guest->hello_ns = load_clock_ns();
    guest->until_ns = guest->hello_ns + JOB_NS;
}

/* ---- the job --------------------------------------------------------------------------------- */

/* Takes the message. */
static void on_job(struct guest *guest, struct crew_message *job)
{
    struct agent *agent = guest->agent;
    char problem[JOB_PROBLEM_BYTES];
    struct buf text = {0};

    uint64_t first = job->first, count = job->count;
    if (agent_work_new(job, agent->options->thread_count, guest->is_same_clock, &agent->work,
                       problem) != OK) {
        say(agent, guest->name, "cannot do its job: %s", problem);
        crew_link_say(&guest->link,
                      &(struct crew_message){.say = CREW_SAY_FAILED, .text = slice_text(problem)});
        crew_link_close(&guest->link, OK);
        guest->state = DONE;
        agent->leader = NULL;
        return;
    }
    if (agent_work_describe(agent->work, &text) == OK) {
        struct slice bytes = buf_bytes(&text);
        say(agent, guest->name, "generators %u to %u of %u: %.*s", (unsigned)first,
            (unsigned)(first + agent->options->thread_count - 1), (unsigned)count, (int)bytes.count,
            (const char *)bytes.data);
    }
    buf_deinit(&text);
}

/* Whoever led has what it needs; the next one may come. */
static void work_end(struct agent *agent)
{
    char text[AGENT_WORK_TEXT_BYTES];
    struct guest *leader = agent->leader;
    bool is_well = agent_work_end(agent->work, leader == NULL ? NULL : &leader->link, text);
    say(agent, leader == NULL ? "" : leader->name, "%s%s", is_well ? "" : "failed: ", text);
    agent_work_free(agent->work);
    agent->work = NULL;
    if (leader != NULL) {
        leader->state = DONE;
        leader->until_ns = load_clock_ns() + DONE_NS;
        agent->leader = NULL;
    }
}

/* ---- the links ------------------------------------------------------------------------------- */

/* False: it is out of place. Takes the message if it wants to keep it. */
static bool hear(struct guest *guest, struct crew_message *message)
{
    struct agent *agent = guest->agent;
    bool is_leader = guest == agent->leader;
    if (message->say == CREW_SAY_HELLO && guest->state == STRANGER) {
        on_hello(guest, message);
        return true;
    }
    if (message->say == CREW_SAY_JOB && is_leader && agent->work == NULL) {
        on_job(guest, message);
        return true;
    }
    if (is_leader && agent->work != NULL) {
        return agent_work_hear(agent->work, message, guest->link.heard_ns) == OK;
    }
    return guest->state == DONE; /* what it said before it knew */
}

static void on_line(struct crew_link *link, struct slice line)
{
    struct guest *guest = link->owner;
    struct crew_message message;
    char problem[CREW_PROBLEM_BYTES] = "it is out of place";

    bool is_well = crew_message_read(line, &message, problem) == OK;
    if (is_well) {
        is_well = hear(guest, &message);
        crew_message_deinit(&message);
    }
    if (!is_well) {
        say(guest->agent, guest->name, "hung up on: what it said makes no sense: %s", problem);
        crew_link_close(link, ERR_MALFORMED);
    }
}

static void on_closed(struct crew_link *link, enum err why)
{
    struct guest *guest = link->owner;
    struct agent *agent = guest->agent;
    if (agent->leader == guest) {
        say(agent, guest->name, "gone: %s", err_text(why));
        agent->leader = NULL; /* what it had us do ends by that */
    } else if (guest->state == STRANGER) {
        say(agent, guest->name, "gone without a hello: %s", err_text(why));
    }
    list_remove(&guest->all);
    free(guest);
}

static const struct crew_link_events link_events = {.line = on_line, .closed = on_closed};

static bool on_accepted(void *owner, struct io_stream *stream, const struct address *peer)
{
    struct agent *agent = owner;
    struct guest *guest = calloc(1, sizeof(*guest));
    if (guest == NULL) {
        return false;
    }
    guest->agent = agent;
    guest->until_ns = load_clock_ns() + GREETING_NS;
    address_text(peer, guest->name);
    list_push_back(&agent->guests, &guest->all);
    crew_link_accept(&guest->link, stream, &link_events, guest, CREW_LINK_STRANGER_BYTES);
    return true;
}

static const struct io_listener_events listener_events = {.accepted = on_accepted};

static void tend(struct agent *agent, struct guest *guest, uint64_t now_ns)
{
    crew_link_turn(&guest->link, now_ns);
    if (guest->state == WAITING && agent->leader == NULL && agent->work == NULL) {
        welcome(guest);
    }
    if (guest->state == WAITING && agent->leader != NULL && now_ns > guest->hello_ns + BUSY_NS) {
        char text[CREW_PROBLEM_BYTES];
        snprintf(text, sizeof(text), "it works for %s", agent->leader->name);
        refuse(guest, "busy", text);
    }
    bool is_at_work = guest == agent->leader && agent->work != NULL;
    if (!is_at_work && now_ns > guest->until_ns) {
        crew_link_close(&guest->link, ERR_TIMEOUT);
    }
}

static void turn(struct agent *agent, uint64_t wait_ns)
{
    io_turn(agent->io, wait_ns);
    uint64_t now_ns = load_clock_ns();
    LIST_EACH_SAFE (&agent->guests, link) {
        tend(agent, CONTAINER_OF(link, struct guest, all), now_ns);
    }
    if (agent->work != NULL) {
        agent_work_turn(agent->work, agent->leader == NULL ? NULL : &agent->leader->link);
        if (agent_work_is_over(agent->work)) {
            work_end(agent);
        }
    }
}

/* The leader hears why; nobody else is owed anything. */
static void farewell(struct agent *agent)
{
    uint64_t until_ns = load_clock_ns() + FAREWELL_NS;
    if (agent->work == NULL) {
        return;
    }
    agent_work_fail(agent->work, "the agent was stopped");
    while (agent->work != NULL || load_clock_ns() < until_ns) {
        turn(agent, TURN_NS);
        if (agent->work == NULL && list_is_empty(&agent->guests)) {
            return;
        }
    }
}

static void forget_guests(struct agent *agent)
{
    struct list *link;
    while ((link = list_pop_front(&agent->guests)) != NULL) {
        struct guest *guest = CONTAINER_OF(link, struct guest, all);
        crew_link_forget(&guest->link);
        free(guest);
    }
}

enum err agent_serve(const struct agent_options *options, const volatile bool *is_stopped)
{
    struct agent agent = {.options = options};
    struct io_config config = {.stream_count_max = GUESTS_MAX};
    struct address address;
    char text[ADDRESS_TEXT_MAX];

    list_init(&agent.guests);
    crew_version(agent.version);
    crew_clock_name(agent.clock);
    TRY(io_new(&config, &agent.io));
    enum err err = io_listen(agent.io, &options->listen, IO_SHARE_NONE, &listener_events, &agent,
                             &agent.listener);
    if (err != OK) {
        io_free(agent.io);
        return err;
    }
    io_listener_address(agent.listener, &address);
    say(&agent, "", "listening on %s", address_text(&address, text));
    while (!*is_stopped) {
        turn(&agent, agent.work == NULL ? IDLE_NS : TURN_NS);
    }
    farewell(&agent);
    agent_work_free(agent.work);
    io_unlisten(agent.listener);
    io_free(agent.io);
    forget_guests(&agent);
    return OK;
}
