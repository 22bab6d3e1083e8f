#include "bench/crew/crew_leader.h"

#include "bench/load/load.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { AGENT_LINE_BYTES_MAX = 512 * 1024 * 1024 }; /* a report with all seconds of a day */

void leader_fail(struct leader *leader, enum err err, const char *format, ...)
{
    va_list arguments;
    if (leader->err != OK) {
        return;
    }
    leader->err = err;
    va_start(arguments, format);
    vsnprintf(leader->problem, CREW_PROBLEM_BYTES, format, arguments);
    va_end(arguments);
    if (leader->room != NULL) {
        crew_room_fail(leader->room, leader->problem);
    }
}

void leader_say(struct leader *leader, const struct crew_message *message)
{
    struct buf line = {0};
    if (crew_message_write(message, &line) != OK) {
        leader_fail(leader, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    } else {
        for (uint32_t i = 0; i < leader->peer_count; i++) {
            if (leader->peers[i].state == WORKING) {
                crew_link_send(&leader->peers[i].link, buf_bytes(&line));
            }
        }
    }
    buf_deinit(&line);
}

static void on_welcome(struct peer *peer, const struct crew_message *welcome)
{
    struct leader *leader = peer->leader;
    if (!slice_is(welcome->version, leader->version)) {
        leader_fail(leader, ERR_VERSION, "%s is of another version than tern-bench %s", peer->name,
                    leader->version);
    } else if (welcome->generators == 0 || welcome->generators > CREW_THREADS_MAX) {
        leader_fail(leader, ERR_UNAVAILABLE, "%s says it has %" PRIu64 " generators", peer->name,
                    welcome->generators);
    } else {
        peer->generators = (uint32_t)welcome->generators;
        peer->state = WELCOMED;
    }
}

static void on_refuse(struct peer *peer, const struct crew_message *refuse)
{
    static const struct {
        const char *reason;
        enum err err;
    } reasons[] = {{"key", ERR_PERMISSION}, {"version", ERR_VERSION}, {"busy", ERR_BUSY}};
    enum err err = ERR_UNAVAILABLE;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (slice_is(refuse->reason, reasons[i].reason)) {
            err = reasons[i].err;
        }
    }
    leader_fail(peer->leader, err, "%s: %.*s", peer->name, (int)refuse->text.count,
                (const char *)refuse->text.data);
}

static void on_arrived(struct peer *peer, const struct crew_message *arrived)
{
    struct leader *leader = peer->leader;
    if (arrived->stage != peer->arrived_count) {
        leader_fail(leader, ERR_UNAVAILABLE, "%s arrives at stage '%s' out of turn", peer->name,
                    crew_stage_name((enum crew_stage)arrived->stage));
        return;
    }
    if (arrived->stage == CREW_SENT) {
        crew_share_sent(crew_room_member(leader->room, peer->first), arrived->sent.values,
                        arrived->sent.count);
    }
    for (uint32_t i = 0; i < peer->generators; i++) {
        crew_arrive(crew_room_member(leader->room, peer->first + i),
                    (enum crew_stage)arrived->stage);
    }
    peer->arrived_count++;
}

/* For eyes only: what does not fit is not shown. */
static void on_second(struct peer *peer, const struct crew_message *message)
{
    const uint64_t *values = message->second.values;
    uint32_t count = message->second.count, cell_count = count < 4 ? 0 : (count - 4) / 2;
    if (count < 4 || count > CREW_SECOND_VALUES_MAX || message->index > UINT32_MAX) {
        return;
    }
    struct histogram_cell *cells = calloc(cell_count + 1, sizeof(cells[0]));
    for (uint32_t i = 0; cells != NULL && i < cell_count; i++) {
        uint64_t index = values[4 + 2 * i];
        cells[i].index = index < HISTOGRAM_CELLS ? (uint32_t)index : HISTOGRAM_CELLS;
        cells[i].count = values[5 + 2 * i];
    }
    struct series_second second = {
        .length_ns = values[0],
        .sent_count = values[1],
        .delivered_count = values[2],
        .max_ns = values[3],
        .cells = cells,
        .cell_count = cells == NULL ? 0 : cell_count,
    };
    crew_progress_add(peer->leader->progress, (uint32_t)message->index, &second);
    free(cells);
}

static void on_report(struct peer *peer, struct slice line)
{
    char problem[REPORT_PROBLEM_BYTES];
    if (report_from_json(line, &peer->saved, problem) != OK) {
        leader_fail(peer->leader, ERR_UNAVAILABLE, "%s: its report: %s", peer->name, problem);
        return;
    }
    report_saved_report(peer->saved)->clock_error_ns = peer->clock_error_ns;
    peer->state = REPORTED;
    crew_link_close(&peer->link, OK);
}

/* False: it is out of place. */
static bool hear(struct peer *peer, const struct crew_message *message)
{
    enum peer_state state = peer->state;
    switch (message->say) {
    case CREW_SAY_WELCOME:
        on_welcome(peer, message);
        return state == GREETED;
    case CREW_SAY_REFUSE:
        on_refuse(peer, message);
        return state == GREETED;
    case CREW_SAY_PING:
        crew_link_say(&peer->link, &(struct crew_message){.say = CREW_SAY_PONG,
                                                          .ns = message->ns,
                                                          .at_ns = load_clock_ns()});
        return state == WORKING;
    case CREW_SAY_ARRIVED:
        if (state == WORKING) {
            on_arrived(peer, message);
        }
        return state == WORKING;
    case CREW_SAY_SECOND:
        if (state == WORKING) {
            on_second(peer, message);
        }
        return state == WORKING;
    case CREW_SAY_FAILED:
        leader_fail(peer->leader, ERR_UNAVAILABLE, "%s: %.*s", peer->name, (int)message->text.count,
                    (const char *)message->text.data);
        return true;
    case CREW_SAY_REPORT:
        peer->is_report_next = true;
        peer->clock_error_ns = message->error_ns;
        return state == WORKING;
    default:
        return false;
    }
}

static void on_line(struct crew_link *link, struct slice line)
{
    struct peer *peer = link->owner;
    struct crew_message message;
    char problem[CREW_PROBLEM_BYTES] = "it is out of place";

    if (peer->is_report_next) {
        peer->is_report_next = false;
        on_report(peer, line);
        return;
    }
    bool is_well = crew_message_read(line, &message, problem) == OK;
    if (is_well) {
        is_well = hear(peer, &message);
        crew_message_deinit(&message);
    }
    if (!is_well) {
        leader_fail(peer->leader, ERR_UNAVAILABLE, "%s: what it says makes no sense: %s",
                    peer->name, problem);
    }
}

static void on_connected(struct crew_link *link)
{
    struct peer *peer = link->owner;
    struct leader *leader = peer->leader;
    const char *key = leader->agents->key;
    peer->state = GREETED;
    crew_link_say(link, &(struct crew_message){.say = CREW_SAY_HELLO,
                                               .version = slice_text(leader->version),
                                               .key = slice_text(key == NULL ? "" : key),
                                               .clock = slice_text(leader->clock)});
}

static void on_closed(struct crew_link *link, enum err why)
{
    struct peer *peer = link->owner;
    enum peer_state state = peer->state;
    if (state == REPORTED) {
        return;
    }
    peer->state = LOST;
    if (state == CONNECTING) {
        leader_fail(peer->leader, ERR_UNAVAILABLE,
                    "%s cannot be reached (%s): is tern-bench agent running?", peer->name,
                    err_text(why));
    } else {
        leader_fail(peer->leader, ERR_UNAVAILABLE, "%s is lost: %s", peer->name, err_text(why));
    }
}

static const struct crew_link_events link_events = {
    .line = on_line,
    .connected = on_connected,
    .closed = on_closed,
};

void peer_connect(struct peer *peer)
{
    enum err err = crew_link_connect(&peer->link, peer->leader->io, &peer->address, &link_events,
                                     peer, AGENT_LINE_BYTES_MAX);
    if (err != OK) {
        peer->state = LOST;
        leader_fail(peer->leader, ERR_UNAVAILABLE, "%s cannot be reached: %s", peer->name,
                    err_text(err));
    }
}
