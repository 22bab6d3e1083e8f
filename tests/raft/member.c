#include "core/base/assert.h"
#include "tests/raft/group.h"

#include <stdlib.h>
#include <string.h>

/* ---- entries ------------------------------------------------------------------------------------ */

enum { CHANGES_MAX = 1 << 16 };

/* The bytes of every CHANGE that was ever proposed, by number: two equal ones count as one. */
static struct {
    size_t count;
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];
} * changes;
static uint64_t changes_count;

struct slice change_bytes(uint64_t number)
{
    ASSERT(number < changes_count);
    return slice_of(changes[number].bytes, changes[number].count);
}

uint64_t change_number(struct slice bytes)
{
    for (uint64_t i = 0; i < changes_count; i++) {
        if (slice_equal(change_bytes(i), bytes)) {
            return i;
        }
    }
    if (changes == NULL) {
        changes = calloc(CHANGES_MAX, sizeof changes[0]);
    }
    ASSERT(changes != NULL && changes_count < CHANGES_MAX);
    changes[changes_count].count = bytes.count;
    memcpy(changes[changes_count].bytes, bytes.data, bytes.count);
    return changes_count++;
}

void changes_free(void)
{
    free(changes);
    changes = NULL;
    changes_count = 0;
}

static struct consensus_entry entry_of(const struct slot *slot)
{
    struct consensus_entry entry = {slot->term, slot->type, {0}};

    if (slot->type == CONSENSUS_CHANGE) {
        entry.bytes = change_bytes(slot->id);
    } else if (slot->type == CONSENSUS_COMMAND) {
        entry.bytes = slice_of(&slot->id, sizeof slot->id);
    }
    return entry;
}

static struct slot slot_of(const struct consensus_entry *entry)
{
    struct slot slot = {.term = entry->term, .type = entry->type};

    if (entry->type == CONSENSUS_CHANGE) {
        slot.id = change_number(entry->bytes);
    } else if (entry->type == CONSENSUS_COMMAND) {
        memcpy(&slot.id, entry->bytes.data, sizeof slot.id);
    }
    return slot;
}

/* ---- disk --------------------------------------------------------------------------------------- */

static void write_put(struct group *group, struct member *member, struct write *write)
{
    struct write *before = member->writes;

    write->number = ++member->write_number;
    write->due_ms = group->now_ms + 1 + draw(group, 8);
    if (chance(group, group->settings.stalls)) {
        write->due_ms += draw(group, 400);
    }
    while (before != NULL && before->next != NULL) {
        before = before->next;
    }
    if (before != NULL && before->due_ms > write->due_ms) {
        write->due_ms = before->due_ms;
    }
    *member->writes_end = write;
    member->writes_end = &write->next;
}

static struct write *write_new(uint32_t count)
{
    struct write *write = calloc(1, sizeof *write + count * sizeof write->slots[0]);

    ASSERT(write != NULL);
    write->count = count;
    return write;
}

static void entries_stored(struct group *group, struct member *member, const struct write *write)
{
    struct consensus_update update;

    if (write->has_hard) {
        member->disk_term = write->term;
        member->disk_vote = write->vote;
    }
    while (member->held != NULL && member->held->after_write <= write->number) {
        struct letter *letter = member->held;
        member->held = letter->next;
        if (member->held == NULL) {
            member->held_end = &member->held;
        }
        link_send(group, letter);
    }
    if (write->count == 0) {
        return;
    }
    for (uint32_t i = 0; i < write->count; i++) {
        member->disk_log[write->index + i] = write->slots[i];
    }
    member->disk_last = write->index + write->count - 1;
    enum err err = consensus_persisted(member->consensus, clock_ms(group), member->disk_last,
                                       write->slots[write->count - 1].term, &update);
    member_update(group, member, err, &update);
}

static void snapshot_installed(struct group *group, struct member *member,
                               const struct write *write)
{
    struct consensus_update update;

    member->disk_image = member->image = write->image;
    member->disk_first = write->image.of.index + 1;
    member->disk_last = write->image.of.index;
    member->applied = write->image.of.index;
    member->hash = write->image.hash;
    member->is_installing = false;
    group->counts.installs++;
    if (group->truth_hash[member->applied] != member->hash) {
        fail(group, "member %d installed another state at %lu", (int)member->id, member->applied);
        return;
    }
    enum err err = consensus_installed(member->consensus, clock_ms(group), &update);
    member_update(group, member, err, &update);
}

static void log_cut(struct group *group, struct member *member, const struct write *write)
{
    uint64_t index = write->image.of.index, first = index + 1;
    struct consensus_update update;

    member->is_cutting = false;
    if (member->is_installing || consensus_cut(member->consensus, clock_ms(group), index,
                                               group->settings.trailing, &update) != OK) {
        return;
    }
    member->image = write->image;
    member->image.of = *consensus_snapshot(member->consensus);
    member->disk_image = member->image;
    first = index > group->settings.trailing ? index - group->settings.trailing + 1 : 1;
    member->disk_first = first > member->disk_first ? first : member->disk_first;
    group->counts.cuts++;
    member_update(group, member, OK, &update);
}

void member_write_done(struct group *group, struct member *member)
{
    struct write *write = member->writes;

    member->writes = write->next;
    if (member->writes == NULL) {
        member->writes_end = &member->writes;
    }
    switch (write->kind) {
    case WRITE_LOG:
        entries_stored(group, member, write);
        break;
    case WRITE_INSTALL:
        snapshot_installed(group, member, write);
        break;
    case WRITE_CUT:
        log_cut(group, member, write);
        break;
    }
    free(write);
}

void member_cut(struct group *group, struct member *member)
{
    struct write *write = write_new(0);

    write->kind = WRITE_CUT;
    write->image.of.index = member->applied;
    write->image.hash = member->hash;
    member->is_cutting = true;
    write_put(group, member, write);
}

/* ---- an update ---------------------------------------------------------------------------------- */

static void update_log(struct group *group, struct member *member,
                       const struct consensus_update *update)
{
    if (!update->has_hard && update->entry_count == 0) {
        return;
    }
    struct write *write = write_new(update->entry_count);
    write->kind = WRITE_LOG;
    write->has_hard = update->has_hard;
    write->term = update->term;
    write->vote = update->vote;
    write->index = update->entry_index;
    if (update->entry_count > 0 && update->entry_index <= member->applied) {
        fail(group, "member %d replaces entry %lu, which is applied", (int)member->id,
             update->entry_index);
    }
    if (update->entry_count > 0 && update->entry_index > member->last + 1) {
        fail(group, "member %d leaves a hole before %lu", (int)member->id, update->entry_index);
    }
    for (uint32_t i = 0; i < update->entry_count; i++) {
        uint64_t index = update->entry_index + i;
        ASSERT(index < LOG_MAX);
        write->slots[i] = member->log[index] = slot_of(&update->entries[i]);
        member->last = index;
    }
    write_put(group, member, write);
    if (update->has_hard) {
        member->hard_number = write->number;
    }
}

static void update_install(struct group *group, struct member *member,
                           const struct consensus_update *update)
{
    if (update->install == NULL) {
        return;
    }
    struct write *write = write_new(0);
    write->kind = WRITE_INSTALL;
    write->image.of = *update->install;
    memcpy(&write->image.hash, update->install->data.data, sizeof write->image.hash);
    write->image.of.data = (struct slice){0};
    member->is_installing = true;
    member->last = update->install->index;
    write_put(group, member, write);
}

static void message_send(struct group *group, struct member *member,
                         const struct consensus_message *message)
{
    bool is_append = message->kind == CONSENSUS_APPEND;
    uint32_t count = is_append ? message->append.count : 0;
    struct letter *letter = calloc(1, sizeof *letter + count * sizeof letter->slots[0]);

    ASSERT(letter != NULL);
    letter->from = (uint32_t)member->id - 1;
    letter->to = (uint32_t)message->peer - 1;
    letter->message = *message;
    if (is_append && message->append.prev_index + count > member->last) {
        fail(group, "member %d sends what it does not have", (int)member->id);
        count = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        letter->slots[i] = member->log[message->append.prev_index + 1 + i];
    }
    letter->hash = message->kind == CONSENSUS_INSTALL ? member->image.hash : 0;
    if (member->writes != NULL && member->hard_number >= member->writes->number) {
        letter->after_write = member->hard_number;
        *member->held_end = letter;
        member->held_end = &letter->next;
        return;
    }
    link_send(group, letter);
}

static void update_apply(struct group *group, struct member *member)
{
    uint64_t commit = consensus_status(member->consensus).commit_index;

    while (member->applied < commit && group->failure[0] == '\0') {
        if (member->applied >= member->last) {
            fail(group, "member %d is to apply %lu, which it does not have", (int)member->id,
                 member->applied + 1);
            return;
        }
        const struct slot *slot = &member->log[++member->applied];
        member->hash = (member->hash ^ slot->id ^ slot->term << 40 ^ slot->type) *
                       0x9E3779B97F4A7C15ull;
        oracle_applied(group, member, member->applied);
    }
}

void member_update(struct group *group, struct member *member, enum err err,
                   const struct consensus_update *update)
{
    if (err != OK) {
        fail(group, "member %d has to stop: %s", (int)member->id, err_name(err));
        return;
    }
    update_log(group, member, update);
    update_install(group, member, update);
    for (uint32_t i = 0; i < update->message_count; i++) {
        message_send(group, member, &update->messages[i]);
    }
    if (update->has_commit) {
        update_apply(group, member);
    }
    oracle_leads(group, member);
}

void member_hear(struct group *group, struct member *member, struct letter *letter)
{
    static struct consensus_entry entries[LOG_MAX];
    struct consensus_message message = letter->message, piece;
    struct consensus_update update;
    uint32_t begin = 0;
    bool has_more;

    message.peer = letter->from + 1;
    if (message.kind == CONSENSUS_APPEND) {
        for (uint32_t i = 0; i < message.append.count; i++) {
            entries[i] = entry_of(&letter->slots[i]);
        }
        message.append.entries = entries;
    }
    if (message.kind == CONSENSUS_INSTALL) {
        message.install.data = slice_of(&letter->hash, sizeof letter->hash);
    }
    do {
        has_more = consensus_piece(member->consensus, &message, &begin, &piece);
        enum err err = consensus_receive(member->consensus, clock_ms(group), &piece, &update);
        if (err == ERR_PROTOCOL) {
            fail(group,
                 "member %d, in term %lu, finds a message of %d impossible: kind %d, term %lu",
                 (int)member->id, consensus_status(member->consensus).term, (int)letter->from + 1,
                 (int)message.kind, message.term);
        }
        member_update(group, member, err, &update);
    } while (has_more && group->failure[0] == '\0');
}

/* ---- life --------------------------------------------------------------------------------------- */

void member_boot(struct group *group, struct member *member)
{
    struct consensus_config config = {
        .node_id = member->id,
        .seed = rng_u64(&group->rng),
        .election_ms = 300,
        .heartbeat_ms = 50,
        .install_ms = 2000,
        .inflight_max = 64,
        .announces_commit = chance(group, 50000),
        .rules_off = group->settings.rules_off,
    };
    struct consensus_start start = {
        .term = member->disk_term,
        .vote = member->disk_vote,
        .first_index = member->disk_first,
        .snapshot = member->disk_image.of.index > 0 ? &member->disk_image.of : NULL,
    };
    struct consensus_update update;

    member->is_up = true;
    member->writes = NULL;
    member->writes_end = &member->writes;
    member->held = NULL;
    member->held_end = &member->held;
    member->write_number = member->hard_number = 0;
    member->is_installing = member->is_cutting = false;
    member->image = member->disk_image;
    member->applied = member->disk_image.of.index;
    member->hash = member->disk_image.hash;
    member->last = member->disk_last;
    ASSERT(consensus_new(&config, &member->consensus) == OK);
    for (uint64_t index = member->disk_first; index <= member->disk_last; index++) {
        struct consensus_entry entry = entry_of(&member->disk_log[index]);
        member->log[index] = member->disk_log[index];
        ASSERT(consensus_load(member->consensus, &entry) == OK);
    }
    enum err err = consensus_start(member->consensus, group->now_ms, &start, &update);
    member_update(group, member, err, &update);
}

void member_crash(struct group *group, struct member *member)
{
    while (member->writes != NULL) {
        struct write *write = member->writes;
        member->writes = write->next;
        free(write);
    }
    while (member->held != NULL) {
        struct letter *letter = member->held;
        member->held = letter->next;
        free(letter);
    }
    consensus_free(member->consensus);
    member->consensus = NULL;
    member->is_up = false;
    member->start_ms = group->now_ms + 50 + draw(group, 1500);
}
