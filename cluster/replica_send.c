#include "cluster/consensus_msg.h"
#include "cluster/replica_parts.h"
#include "core/base/assert.h"
#include "core/base/list.h"

#include <stdlib.h>
#include <string.h>

/*
 * Messages on their way out. To those of the engine goes what it leaves to us, the entries:
 *
 *     APPEND ── in memory ──────────────────────────────────────> send
 *        └── not in memory ──> courier ──> state lane reads log ──> send      in pieces, as the
 *                                 └── the log is cut there ──> INSTALL        follower acknowledges
 *
 * While a courier is on its way, whatever the engine has for that follower is only noted, and a
 * message without entries goes in its place: one that stands on what the follower is known to have,
 * so that it can only be accepted. The engine takes the acknowledgements for those of its own.
 *
 * Invariants
 *   S1  no message leaves while a term or vote that was decided before it is not on the disk.
 *   S2  a courier that is_reading belongs to the state lane as far as `reading` goes.
 *   S3  entries [next, end) are still to be sent by the courier; empty: it is not on its way.
 */
enum {
    SEND_BYTES = 1 << 18, /* of one message, but for its last entry */
    READ_BYTES = 1 << 18, /* of one reading, the same */
    READ_COUNT = 1024,    /* entries of it */
    AHEAD_MAX = 8,        /* readings that are sent and not acknowledged */
    STALL_MS = 3000,      /* then they are sent again */
};

struct courier {
    struct store_apply reading;
    struct replica *replica;
    uint64_t peer;
    uint64_t next, end; /* S3 */
    uint64_t match;     /* that the follower has acknowledged, and when */
    uint64_t match_ms;
    uint64_t ahead[AHEAD_MAX]; /* ends of what is sent and not acknowledged, in order */
    uint32_t ahead_count;
    bool is_reading, is_void; /* what is being read is of no use any more */

    uint64_t read_first, read_end; /* S2, from here on */
    size_t read_bytes;
    uint32_t count;
    struct consensus_entry entries[READ_COUNT];
};

/* ---- out ---------------------------------------------------------------------------------------- */

static bool must_wait(const struct replica *replica)
{
    return replica->mark_hard != 0 && replica->mark_hard >= replica->mark_number; /* S1 */
}

static enum err message_hold(struct replica *replica, uint64_t peer, struct slice bytes)
{
    struct held *held = malloc(sizeof *held + bytes.count);

    if (held == NULL) {
        return ERR_NOMEM;
    }
    *held = (struct held){.peer = peer, .mark = replica->mark_hard, .count = bytes.count};
    memcpy(held->bytes, bytes.data, bytes.count);
    *replica->held_end = held;
    replica->held_end = &held->next;
    return OK;
}

static enum err message_send(struct replica *replica, const struct consensus_message *message)
{
    const struct replica_host *host = replica->config.host;
    struct buf bytes = {0};
    enum err err = consensus_msg_encode(message, &bytes);

    if (err == OK && must_wait(replica)) {
        err = message_hold(replica, message->peer, buf_bytes(&bytes));
    } else if (err == OK) {
        host->send(host->context, replica, message->peer, buf_bytes(&bytes));
    }
    buf_deinit(&bytes);
    return err;
}

void held_send(struct replica *replica)
{
    const struct replica_host *host = replica->config.host;

    while (replica->held != NULL && replica->held->mark < replica->mark_number) {
        struct held *held = replica->held;
        replica->held = held->next;
        if (replica->held == NULL) {
            replica->held_end = &replica->held;
        }
        host->send(host->context, replica, held->peer, slice_of(held->bytes, held->count));
        free(held);
    }
}

void held_free(struct replica *replica)
{
    while (replica->held != NULL) {
        struct held *held = replica->held;
        replica->held = held->next;
        free(held);
    }
}

/* One that would be large goes in pieces: each stands on the one before. */
static enum err pieces_send(struct replica *replica, const struct consensus_message *message)
{
    struct consensus_message piece = *message;
    uint32_t end = 0;

    do {
        size_t bytes = 0;
        uint32_t begin = end;
        while (end < message->append.count && (end == begin || bytes < SEND_BYTES)) {
            bytes += message->append.entries[end++].bytes.count;
        }
        if (begin > 0) {
            piece.append.prev_index = message->append.prev_index + begin;
            piece.append.prev_term = message->append.entries[begin - 1].term;
        }
        piece.append.entries = begin == end ? NULL : &message->append.entries[begin];
        piece.append.count = end - begin;
        TRY(message_send(replica, &piece));
    } while (end < message->append.count);
    return OK;
}

/* The bytes of the entries that an APPEND is to carry, as far as they are in memory. */
static enum err append_fill(struct replica *replica, struct consensus_message *message)
{
    uint32_t count = 0;

    if (message->append.count > replica->sending_capacity) {
        struct consensus_entry *grown = realloc(replica->sending,
                                                message->append.count * sizeof grown[0]);
        if (grown == NULL) {
            return ERR_NOMEM;
        }
        replica->sending = grown;
        replica->sending_capacity = message->append.count;
    }
    while (count < message->append.count) {
        const struct consensus_entry *entry = window_get(&replica->window,
                                                         message->append.prev_index + 1 + count);
        if (entry == NULL) {
            break;
        }
        replica->sending[count++] = *entry;
    }
    message->append.entries = replica->sending;
    message->append.count = count;
    return OK;
}

/* ---- couriers ----------------------------------------------------------------------------------- */

static bool is_on_its_way(const struct courier *courier)
{
    return courier != NULL && courier->next < courier->end;
}

/* That of the peer, made when there is none; NULL: memory, or too many of them. */
static struct courier *courier_of(struct replica *replica, uint64_t peer, bool is_made)
{
    for (uint32_t i = 0; i < CONSENSUS_MEMBERS_MAX; i++) {
        struct courier **at = &replica->couriers[i];
        bool is_idle = *at != NULL && !is_on_its_way(*at) && !(*at)->is_reading;
        if (*at != NULL && (*at)->peer == peer) {
            return *at;
        }
        if (is_made && is_idle && i == CONSENSUS_MEMBERS_MAX - 1) {
            (*at)->peer = peer; /* of one that was a member */
            return *at;
        }
        if (*at == NULL) {
            *at = is_made ? calloc(1, sizeof **at) : NULL;
            if (*at != NULL) {
                (*at)->replica = replica;
                (*at)->peer = peer;
            }
            return *at;
        }
    }
    return NULL;
}

static void entries_free(struct courier *courier)
{
    for (uint32_t i = 0; i < courier->count; i++) {
        free((void *)courier->entries[i].bytes.data);
    }
    courier->count = 0;
    courier->read_bytes = 0;
}

/* In the state lane. */
static enum err on_read_entry(void *context, const struct raftlog_entry *entry)
{
    struct courier *courier = context;
    struct consensus_entry *read = &courier->entries[courier->count];

    if (entry->index >= courier->read_end || courier->count == READ_COUNT ||
        courier->read_bytes >= READ_BYTES) {
        return ERR_LIMIT;
    }
    *read = (struct consensus_entry){entry->term, entry->type, {0}};
    if (entry->bytes.count > 0) {
        uint8_t *copy = malloc(entry->bytes.count);
        if (copy == NULL) {
            return ERR_NOMEM;
        }
        memcpy(copy, entry->bytes.data, entry->bytes.count);
        read->bytes = slice_of(copy, entry->bytes.count);
    }
    courier->read_bytes += entry->bytes.count;
    courier->count++;
    return OK;
}

static enum err run_reading(struct store_apply *apply)
{
    struct courier *courier = CONTAINER_OF(apply, struct courier, reading);
    const struct replica_config *config = &courier->replica->config;
    struct kv_failure failure;
    enum err err = store_read_log(config->store, config->partition, courier->read_first,
                                  on_read_entry, courier, &failure);
    return err == ERR_LIMIT ? OK : err;
}

static void courier_go(struct courier *courier);

static enum err entries_send(struct courier *courier, const struct consensus_entry *entries,
                             uint32_t count)
{
    struct replica *replica = courier->replica;
    struct consensus_status now = consensus_status(replica->consensus);
    uint64_t prev = courier->next - 1;
    struct consensus_message message = {.kind = CONSENSUS_APPEND,
                                        .peer = courier->peer,
                                        .term = now.term,
                                        .append = {.prev_index = prev,
                                                   .commit_index = now.commit_index,
                                                   .entries = entries,
                                                   .count = count}};

    message.append.prev_term = prev == 0 ? 0 : consensus_term_of(replica->consensus, prev);
    if (prev > 0 && message.append.prev_term == 0) {
        courier->end = courier->next; /* the engine will want an image, too */
        return OK;
    }
    courier->next += count;
    courier->ahead[courier->ahead_count++] = courier->next;
    return pieces_send(replica, &message);
}

/*
 * Ask that follower to bring an image. It says of what state at least; how it gets it is its owner's
 * matter. The engine would name the state that we began with, which may be long gone.
 */
static enum err install_send(struct replica *replica, uint64_t peer)
{
    struct consensus_message message = {
        .kind = CONSENSUS_INSTALL, .peer = peer, .term = consensus_status(replica->consensus).term};

    message.install.index = replica->applied;
    message.install.term = consensus_term_of(replica->consensus, replica->applied);
    if (message.install.term == 0 ||
        !replica_members_at(replica, replica->applied, &message.install.members)) {
        return OK; /* with the next heartbeat, perhaps */
    }
    return message_send(replica, &message);
}

static void on_reading(struct job *job, enum err err)
{
    struct courier *courier = CONTAINER_OF(CONTAINER_OF(job, struct store_apply, job),
                                           struct courier, reading);
    struct replica *replica = courier->replica;
    bool is_void = courier->is_void || !is_on_its_way(courier);

    courier->is_reading = courier->is_void = false;
    if (err == ERR_NOMEM) {
        courier->end = courier->next; /* the next heartbeat tries it again */
        err = OK;
    } else if (!is_void && (err == ERR_NOT_FOUND || (err == OK && courier->count == 0))) {
        courier->end = courier->next;
        err = install_send(replica, courier->peer);
    } else if (!is_void && !replica->is_fenced && err == OK) {
        err = entries_send(courier, courier->entries, courier->count);
    } else if (err == ERR_NOT_FOUND) {
        err = OK;
    }
    entries_free(courier);
    if (err != OK) {
        replica_fence(replica); /* its disk fails, or is closed */
    }
    if (!replica->is_fenced) {
        courier_go(courier);
    }
}

static void reading_begin(struct courier *courier)
{
    struct replica *replica = courier->replica;

    courier->is_reading = true;
    courier->read_first = courier->next;
    courier->read_end = courier->end;
    courier->reading = (struct store_apply){
        .job.done = on_reading, .partition = replica->config.partition, .read = run_reading};
    store_apply(replica->config.state_desk, &courier->reading);
}

/* As far as it can without hearing more of the follower. */
static void courier_go(struct courier *courier)
{
    struct replica *replica = courier->replica;

    while (is_on_its_way(courier) && !courier->is_reading && courier->ahead_count < AHEAD_MAX) {
        uint64_t count = courier->end - courier->next;
        struct consensus_message message = {
            .append = {.prev_index = courier->next - 1,
                       .count = count < READ_COUNT ? (uint32_t)count : READ_COUNT}};
        if (window_get(&replica->window, courier->next) == NULL) {
            reading_begin(courier);
            return;
        }
        if (append_fill(replica, &message) != OK ||
            entries_send(courier, replica->sending, message.append.count) != OK) {
            replica_fence(replica);
            return;
        }
    }
}

static void courier_begin(struct courier *courier, uint64_t match)
{
    courier->next = match + 1;
    courier->ahead_count = 0;
    courier->is_void = courier->is_reading;
    courier->match = match;
    courier->match_ms = courier->replica->now_ms;
}

void couriers_note(struct replica *replica, uint64_t peer)
{
    struct courier *courier = courier_of(replica, peer, false);
    uint64_t match = consensus_match_index(replica->consensus, peer);
    uint32_t done = 0;

    if (!is_on_its_way(courier) || match == courier->match) {
        return;
    }
    courier->match = match;
    courier->match_ms = replica->now_ms;
    while (done < courier->ahead_count && courier->ahead[done] <= match + 1) {
        done++;
    }
    courier->ahead_count -= done;
    memmove(&courier->ahead[0], &courier->ahead[done],
            courier->ahead_count * sizeof courier->ahead[0]);
    if (courier->next <= match) {
        courier_begin(courier, match); /* it had more than was thought */
    }
    courier_go(courier);
}

void couriers_stop(struct replica *replica)
{
    for (uint32_t i = 0; i < CONSENSUS_MEMBERS_MAX && replica->couriers[i] != NULL; i++) {
        replica->couriers[i]->end = replica->couriers[i]->next;
        replica->couriers[i]->is_void = replica->couriers[i]->is_reading;
    }
}

void couriers_free(struct replica *replica)
{
    for (uint32_t i = 0; i < CONSENSUS_MEMBERS_MAX && replica->couriers[i] != NULL; i++) {
        ASSERT(!replica->couriers[i]->is_reading);
        entries_free(replica->couriers[i]);
        free(replica->couriers[i]);
    }
}

/* ---- what the engine has to say ----------------------------------------------------------------- */

/* Leave it to a courier: the message goes without its entries. */
static enum err courier_take(struct replica *replica, const struct consensus_message *message)
{
    struct consensus_message bare = *message;
    uint64_t match = consensus_match_index(replica->consensus, message->peer);
    uint64_t match_term = match == 0 ? 0 : consensus_term_of(replica->consensus, match);
    uint64_t end = message->append.prev_index + 1 + message->append.count;
    bool is_known = match_term != 0 || (match == 0 && message->append.prev_index == 0);
    struct courier *courier = courier_of(replica, message->peer, is_known);

    bare.append.count = 0;
    if (!is_known || courier == NULL) { /* where its log begins to differ is still being asked */
        return message_send(replica, &bare);
    }
    if (!is_on_its_way(courier)) {
        courier_begin(courier, match);
        courier->end = end;
    } else if (courier->ahead_count > 0 && courier->match_ms + STALL_MS <= replica->now_ms) {
        courier_begin(courier, match);
    }
    courier->end = courier->end < end ? end : courier->end;
    bare.append.prev_index = match;
    bare.append.prev_term = match_term;
    TRY(message_send(replica, &bare));
    courier_go(courier);
    return OK;
}

static enum err append_send(struct replica *replica, struct consensus_message *message)
{
    bool is_here = message->append.count == 0 ||
                   window_get(&replica->window, message->append.prev_index + 1) != NULL;

    if (replica->config.state_desk != NULL &&
        (!is_here || is_on_its_way(courier_of(replica, message->peer, false)))) {
        return courier_take(replica, message);
    }
    TRY(append_fill(replica, message));
    return pieces_send(replica, message);
}

enum err messages_send(struct replica *replica, const struct consensus_update *update)
{
    for (uint32_t i = 0; i < update->message_count; i++) {
        struct consensus_message *message = &update->messages[i];
        switch (message->kind) {
        case CONSENSUS_APPEND:
            TRY(append_send(replica, message));
            break;
        case CONSENSUS_INSTALL:
            TRY(install_send(replica, message->peer));
            break;
        default:
            TRY(message_send(replica, message));
        }
    }
    return OK;
}
