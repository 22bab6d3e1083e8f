#include "tests/raft/group.h"

#include "core/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMILLE = 100,    /* of_100000 */
    BEHIND_MAX = 1500, /* entries that a member may be behind when all has been quiet */
};

uint32_t draw(struct group *group, uint32_t bound)
{
    return (uint32_t)rng_below(&group->rng, bound);
}

bool chance(struct group *group, uint32_t of_100000)
{
    return draw(group, 100000) < of_100000;
}

uint64_t clock_ms(struct group *group)
{
    bool is_back = group->settings.has_jumping_clocks && chance(group, 5000);

    return is_back ? group->now_ms - draw(group, 200) : group->now_ms;
}

void fail(struct group *group, const char *format, ...)
{
    char text[200];
    va_list arguments;

    if (group->failure[0] != '\0') {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(group->failure, sizeof group->failure, "%lu ms: %s", group->now_ms, text);
}

/* ---- links -------------------------------------------------------------------------------------- */

static void letter_put(struct link *link, struct letter *letter)
{
    letter->next = NULL;
    *link->end = letter;
    link->end = &letter->next;
}

void link_send(struct group *group, struct letter *letter)
{
    struct link *link = &group->links[letter->from][letter->to];

    if (link->is_cut || (group->is_chaos && chance(group, 1500))) {
        free(letter);
        return;
    }
    letter->message.generation = link->generation;
    letter->due_ms = group->now_ms + 1 + draw(group, chance(group, 3000) ? 120 : 8);
    if (letter->due_ms < link->due_ms) {
        letter->due_ms = link->due_ms;
    }
    link->due_ms = letter->due_ms;
    letter_put(link, letter);
}

/* A new connection: what is under way by the old one takes its time, and overtakes nothing. */
void link_reopen(struct group *group, uint32_t from, uint32_t to)
{
    struct link *link = &group->links[from][to];

    link->generation++;
    link->due_ms = 0;
    for (struct letter *letter = link->letters; letter != NULL; letter = letter->next) {
        letter->due_ms += draw(group, 300);
    }
}

static void links_turn(struct group *group, uint32_t to)
{
    for (uint32_t from = 0; from < MEMBERS; from++) {
        struct link *link = &group->links[from][to];
        struct letter **at = &link->letters;
        while (*at != NULL && group->failure[0] == '\0') {
            struct letter *letter = *at;
            if (letter->due_ms > group->now_ms) {
                at = &letter->next;
                continue;
            }
            *at = letter->next;
            if (*at == NULL) {
                link->end = at;
            }
            group->counts.late_letters += letter->message.generation < link->generation;
            if (!link->is_cut && group->members[to].is_up) {
                member_hear(group, &group->members[to], letter);
            }
            free(letter);
        }
    }
}

/* ---- the oracle --------------------------------------------------------------------------------- */

void oracle_applied(struct group *group, struct member *member, uint64_t index)
{
    const struct slot *slot = &member->log[index];
    struct slot *truth = &group->truth[index];

    if (index > group->truth_last) {
        *truth = *slot;
        group->truth_hash[index] = member->hash;
        group->truth_in[index] = consensus_status(member->consensus).term;
        group->truth_last = index;
        group->counts.commits++;
        return;
    }
    if (truth->term != slot->term || truth->id != slot->id || truth->type != slot->type ||
        group->truth_hash[index] != member->hash) {
        fail(group, "SAFETY: member %d applied another entry %lu than was applied before",
             (int)member->id, index);
    }
}

void oracle_leads(struct group *group, const struct member *member)
{
    if (!consensus_status(member->consensus).is_leader) {
        return;
    }
    uint64_t term = consensus_status(member->consensus).term;
    ASSERT(term < TERMS_MAX);
    if (group->led_by[term] == member->id) {
        return;
    }
    if (group->led_by[term] != 0) {
        fail(group, "SAFETY: members %d and %d both lead term %lu", (int)group->led_by[term],
             (int)member->id, term);
        return;
    }
    group->led_by[term] = (uint8_t)member->id;
    group->counts.elections++;
    /* It has all that was committed in earlier terms. (Of a later term it may not have heard: its
     * votes may have come late.) */
    for (uint64_t index = member->image.of.index + 1; index <= group->truth_last; index++) {
        bool has_it = index <= member->last && member->log[index].term == group->truth[index].term;
        if (group->truth_in[index] < term && !has_it) {
            fail(group, "SAFETY: member %d leads term %lu without entry %lu, committed in %lu",
                 (int)member->id, term, index, group->truth_in[index]);
            return;
        }
    }
}

static struct member *leader(struct group *group)
{
    struct member *best = NULL;

    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *member = &group->members[i];
        if (member->is_up && consensus_status(member->consensus).is_leader &&
            (best == NULL ||
             consensus_status(member->consensus).term > consensus_status(best->consensus).term)) {
            best = member;
        }
    }
    return best;
}

void oracle_finally(struct group *group, uint64_t truth_before, uint64_t elections_before)
{
    struct member *first = leader(group);
    struct consensus_members members, others;

    if (first == NULL || group->truth_last <= truth_before) {
        fail(group, "LIVENESS: nothing was committed though all is well (%s)",
             first == NULL ? "no leader" : "a leader");
        return;
    }
    if (group->counts.elections > elections_before) {
        fail(group, "LIVENESS: leaders change though all is well");
        return;
    }
    consensus_members(first->consensus, &members);
    for (uint32_t i = 0; i < members.count; i++) {
        struct member *member = &group->members[members.rows[i].id - 1];
        if (members.rows[i].role == CONSENSUS_SPARE || member == group->dead) {
            continue;
        }
        consensus_members(member->consensus, &others);
        if (member->applied + BEHIND_MAX < group->truth_last) {
            fail(group, "LIVENESS: member %d is at %lu, others at %lu", (int)member->id,
                 member->applied, group->truth_last);
        } else if (others.count != members.count || others.index != members.index) {
            fail(group, "LIVENESS: member %d knows other members (%lu, the leader %lu)",
                 (int)member->id, others.index, members.index);
        } else if (consensus_status(member->consensus).change_is_open &&
                   others.index + BEHIND_MAX < group->truth_last) {
            fail(group, "LIVENESS: the change of members at %lu stays open at member %d",
                 others.index, (int)member->id);
        }
    }
}

/* ---- a turn ------------------------------------------------------------------------------------- */

static void commands_submit(struct group *group, struct member *member)
{
    static uint64_t ids[16];
    struct consensus_entry entries[16];
    struct consensus_update update;
    uint32_t count = 1 + draw(group, 12);

    for (uint32_t i = 0; i < count; i++) {
        ids[i] = ++group->next_id;
        entries[i] = (struct consensus_entry){consensus_status(member->consensus).term,
                                              CONSENSUS_COMMAND, slice_of(&ids[i], sizeof ids[i])};
    }
    enum err err = consensus_submit(member->consensus, clock_ms(group), entries, count, &update);
    if (err != ERR_UNAVAILABLE) {
        member_update(group, member, err, &update);
    }
}

/* Up to five, and no fewer than two voters. */
static void members_change_one(struct group *group, struct member *member)
{
    uint64_t id = 1 + draw(group, MEMBERS);
    const struct consensus_member *row;
    struct consensus_members members;
    struct consensus_update update;
    enum consensus_role role = CONSENSUS_STANDBY;

    consensus_members(member->consensus, &members);
    row = members_find(&members, id);
    if (row != NULL && row->role == CONSENSUS_STANDBY) {
        role = chance(group, 80000) ? CONSENSUS_VOTER : CONSENSUS_GONE;
        if (chance(group, 10000)) {
            enum err err = consensus_catch_up(member->consensus, clock_ms(group), id, &update);
            if (err == OK) {
                member_update(group, member, err, &update);
            }
            return;
        }
    } else if (row != NULL && row->role == CONSENSUS_VOTER) {
        if (members_voter_count(&members) <= 2) {
            return;
        }
        role = chance(group, 50000) ? CONSENSUS_STANDBY : CONSENSUS_GONE;
    }
    enum err err = consensus_change(member->consensus, clock_ms(group), id, role, &update);
    if (err == OK) {
        group->counts.changes++;
        member_update(group, member, err, &update);
    }
}

static void leadership_transfer(struct group *group, struct member *member)
{
    struct consensus_update update;
    enum err err = consensus_transfer(member->consensus, clock_ms(group), 1 + draw(group, MEMBERS),
                                      &update);

    if (err == OK) {
        group->counts.transfers++;
        member_update(group, member, err, &update);
    }
}

static void member_turn(struct group *group, struct member *member)
{
    struct consensus_update update;

    if (!member->is_up) {
        if (group->now_ms >= member->start_ms && member != group->dead) {
            member_boot(group, member);
        }
        return;
    }
    if (group->now_ms < member->resume_ms) {
        return;
    }
    while (member->writes != NULL && member->writes->due_ms <= group->now_ms &&
           group->failure[0] == '\0') {
        member_write_done(group, member);
    }
    links_turn(group, (uint32_t)member->id - 1);
    if (group->failure[0] == '\0' && (group->settings.rules_off >> 8 & 1 ||
                                      group->now_ms >= consensus_timeout_ms(member->consensus))) {
        enum err err = consensus_timeout(member->consensus, clock_ms(group), &update);
        member_update(group, member, err, &update);
    }
    if (group->failure[0] == '\0' && consensus_status(member->consensus).is_leader) {
        if (chance(group, 20000)) {
            commands_submit(group, member);
        }
        if (group->is_chaos && chance(group, 400)) {
            members_change_one(group, member);
        }
        if (group->is_chaos && chance(group, 50)) {
            leadership_transfer(group, member);
        }
    }
    if (!member->is_cutting && !member->is_installing &&
        member->applied > member->image.of.index + 200 && chance(group, 2000)) {
        member_cut(group, member);
    }
}

static void links_cut(struct group *group, uint32_t one, uint32_t other, bool is_both_ways)
{
    group->links[one][other].is_cut = true;
    group->links[other][one].is_cut = group->links[other][one].is_cut || is_both_ways;
}

static void links_heal(struct group *group)
{
    for (uint32_t from = 0; from < MEMBERS; from++) {
        for (uint32_t to = 0; to < MEMBERS; to++) {
            if (group->links[from][to].is_cut) {
                group->links[from][to].is_cut = false;
                link_reopen(group, from, to);
            }
        }
    }
}

static void faults_turn(struct group *group)
{
    uint32_t one = draw(group, MEMBERS), other = draw(group, MEMBERS);
    struct member *member = &group->members[one];

    if (chance(group, 50) && member->is_up) {
        member_crash(group, member);
        group->counts.crashes++;
        for (uint32_t i = 0; i < MEMBERS; i++) {
            link_reopen(group, one, i);
            link_reopen(group, i, one);
        }
    }
    if (chance(group, 20)) {
        member->resume_ms = group->now_ms + draw(group, 2000);
    }
    if (chance(group, 80)) {
        links_cut(group, one, other, chance(group, 70000));
    }
    if (chance(group, 50)) {
        for (uint32_t i = 0; i < MEMBERS; i++) {
            links_cut(group, one, i, true);
        }
    }
    if (chance(group, 100)) {
        link_reopen(group, one, other);
    }
    if (chance(group, 150)) {
        links_heal(group);
    }
}

static void group_turn(struct group *group)
{
    group->now_ms++;
    for (uint32_t i = 0; i < MEMBERS && group->failure[0] == '\0'; i++) {
        member_turn(group, &group->members[i]);
    }
    if (group->is_chaos && group->failure[0] == '\0') {
        faults_turn(group);
    }
}

/* ---- a run -------------------------------------------------------------------------------------- */

static struct group *group_new(uint64_t seed, const struct settings *settings)
{
    struct group *group = calloc(1, sizeof *group);
    struct consensus_members members = {.count = settings->voters};
    uint8_t bytes[CONSENSUS_MEMBERS_BYTES_MAX];

    ASSERT(group != NULL);
    group->settings = *settings;
    rng_init(&group->rng, seed);
    group->now_ms = 1000;
    group->truth = calloc(LOG_MAX, sizeof group->truth[0]);
    group->truth_hash = calloc(LOG_MAX, sizeof group->truth_hash[0]);
    group->truth_in = calloc(LOG_MAX, sizeof group->truth_in[0]);
    for (uint32_t i = 0; i < settings->voters; i++) {
        members.rows[i] = (struct consensus_member){i + 1, CONSENSUS_VOTER};
    }
    uint64_t change = change_number(slice_of(bytes, members_write(&members, bytes)));
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *member = &group->members[i];
        member->id = i + 1;
        member->log = calloc(LOG_MAX, sizeof member->log[0]);
        member->disk_log = calloc(LOG_MAX, sizeof member->log[0]);
        ASSERT(member->log != NULL && member->disk_log != NULL);
        member->disk_first = 1;
        if (i < settings->voters) { /* the others begin with nothing, and wait to be added */
            member->disk_term = 1;
            member->disk_last = 1;
            member->disk_log[1] = (struct slot){1, change, CONSENSUS_CHANGE};
        }
        for (uint32_t k = 0; k < MEMBERS; k++) {
            group->links[i][k].generation = 1;
            group->links[i][k].end = &group->links[i][k].letters;
        }
    }
    return group;
}

/* One stays down, if the others can do without it, whatever they think who belongs to the group. */
static void member_die(struct group *group)
{
    struct member *dead = &group->members[draw(group, MEMBERS)];
    struct consensus_members members;

    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *member = &group->members[i];
        if (!member->is_up) {
            member_boot(group, member); /* it may be the only one who knows */
        }
        if (member->disk_term == 0 && member->last == 0) {
            continue;
        }
        consensus_members(member->consensus, &members);
        const struct consensus_member *row = members_find(&members, dead->id);
        if (row == NULL || (row->role == CONSENSUS_VOTER && members_voter_count(&members) < 3)) {
            return;
        }
    }
    group->dead = dead;
    if (dead->is_up) {
        member_crash(group, dead);
    }
}

struct group *group_run(uint64_t seed, const struct settings *settings)
{
    struct group *group = group_new(seed, settings);

    for (uint32_t i = 0; i < MEMBERS; i++) {
        member_boot(group, &group->members[i]);
    }
    group->is_chaos = true;
    for (uint64_t i = 0; i < settings->chaos_ms && group->failure[0] == '\0'; i++) {
        group_turn(group);
    }
    group->is_chaos = false;
    links_heal(group);
    if (settings->has_dead && group->failure[0] == '\0') {
        member_die(group);
    }
    uint64_t before = group->truth_last, elections = 0;
    for (uint64_t i = 0; i < settings->quiet_ms && group->failure[0] == '\0'; i++) {
        elections = i == settings->quiet_ms / 2 ? group->counts.elections : elections;
        group_turn(group);
    }
    if (group->failure[0] == '\0') {
        oracle_finally(group, before, elections);
    }
    return group;
}

void group_free(struct group *group)
{
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *member = &group->members[i];
        if (member->is_up) {
            member_crash(group, member);
        }
        free(member->log);
        free(member->disk_log);
        for (uint32_t k = 0; k < MEMBERS; k++) {
            while (group->links[i][k].letters != NULL) {
                struct letter *letter = group->links[i][k].letters;
                group->links[i][k].letters = letter->next;
                free(letter);
            }
        }
    }
    free(group->truth);
    free(group->truth_hash);
    free(group->truth_in);
    free(group);
    changes_free();
}
