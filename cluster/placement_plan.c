/* From what REG knows to what placement asks, and from the map that is wanted to the next steps. */
#include "cluster/placement.h"
#include "core/base/assert.h"

#include <stdio.h>
#include <string.h>

/* ---- what REG knows ------------------------------------------------------------------------------- */

static bool may_hold(const struct registry_member *member)
{
    return member->state != MEMBER_LEFT && member->was_live && !member->is_draining;
}

void placement_read(const struct registry_state *state, struct placement_nodes *nodes,
                    struct placement_map *map)
{
    *nodes = (struct placement_nodes){0};
    *map = (struct placement_map){0};
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct registry_member *member = &state->members[i];
        uint32_t zone = 0;
        while (strcmp(state->members[zone].profile.zone, member->profile.zone) != 0) {
            zone++;
        }
        nodes->rows[nodes->count++] = (struct placement_node){
            .number = member->number,
            .zone = zone,
            .weight = member->profile.weight,
            .may_hold = may_hold(member),
            .is_live = member->state == MEMBER_ACTIVE || member->state == MEMBER_DRAINING};
    }
    for (uint32_t p = 0; p < state->partition_count; p++) {
        const struct registry_partition *row = &state->partitions[p];
        map->rows[p].count = row->replica_count;
        map->rows[p].preferred = row->preferred;
        memcpy(map->rows[p].replicas, row->replicas, sizeof row->replicas);
    }
}

uint32_t placement_wished(const struct registry_state *state)
{
    const char *text = registry_setting(state, "replicas");
    bool is_right = text != NULL && strlen(text) == 1 && strchr("135", text[0]) != NULL;
    return is_right ? (uint32_t)(text[0] - '0') : PLACEMENT_REPLICAS;
}

uint32_t placement_replicas(const struct placement_nodes *nodes, uint32_t wished,
                            char warning[PLACEMENT_WARNING_BYTES])
{
    uint32_t holders = 0, zones[REGISTRY_MEMBERS_MAX] = {0}, zone_count = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        holders += nodes->rows[i].may_hold;
        zone_count += nodes->rows[i].may_hold && zones[nodes->rows[i].zone]++ == 0;
    }
    uint32_t replicas = wished < holders ? wished : holders;
    replicas = replicas > REGISTRY_REPLICAS_MAX ? REGISTRY_REPLICAS_MAX : replicas;
    replicas -= replicas == 4; /* a fourth one only makes the majority larger */
    warning[0] = 0;
    if (replicas == 0) {
        snprintf(warning, PLACEMENT_WARNING_BYTES,
                 "no node may hold partitions: let one join, or stop draining one");
    } else if (wished > 1 && replicas == 1) {
        snprintf(
            warning, PLACEMENT_WARNING_BYTES,
            "%u copies are wanted and there is one node: what it promised is lost with its disk; "
            "let two more join",
            wished);
    } else if (wished > 2 && replicas == 2) {
        snprintf(
            warning, PLACEMENT_WARNING_BYTES,
            "%u copies are wanted and there are two nodes: a disk may be lost, but while a node "
            "is away nothing can be promised; let one more join",
            wished);
    } else if (replicas < wished) {
        snprintf(warning, PLACEMENT_WARNING_BYTES,
                 "%u copies are wanted and %u are made, as %u nodes may hold them; let more join",
                 wished, replicas, holders);
    } else if (zone_count == 2 && replicas > 2) {
        snprintf(warning, PLACEMENT_WARNING_BYTES,
                 "there are two zones, and one of them has most copies of a partition: while it is "
                 "away that partition stands still; let a node of a third zone join");
    }
    return replicas;
}

/* ---- steps ---------------------------------------------------------------------------------------- */

struct plan {
    const struct placement_nodes *nodes;
    const struct placement_map *now, *want;
    const struct placement_report *reports;
    uint32_t moving[REGISTRY_MEMBERS_MAX]; /* moves that a node takes part in */
    uint32_t leading;                      /* leaders that change */
    struct registry_assign *out;
};

static const struct placement_node *node_of(const struct plan *plan, uint64_t number)
{
    for (uint32_t i = 0; i < plan->nodes->count; i++) {
        if (plan->nodes->rows[i].number == number) {
            return &plan->nodes->rows[i];
        }
    }
    return NULL;
}

static bool is_live(const struct plan *plan, uint64_t number)
{
    const struct placement_node *node = node_of(plan, number);
    return node != NULL && node->is_live;
}

static bool has(const uint64_t *numbers, uint32_t count, uint64_t number)
{
    for (uint32_t i = 0; i < count; i++) {
        if (numbers[i] == number) {
            return true;
        }
    }
    return false;
}

/* Counts and bounds are of who lives: nothing is to be spared of a dead one. */
static bool has_room(const struct plan *plan, uint64_t number)
{
    const struct placement_node *node = node_of(plan, number);
    return node == NULL || !node->is_live ||
           plan->moving[node - plan->nodes->rows] < PLACEMENT_MOVES_PER_NODE;
}

static void moves(struct plan *plan, uint64_t number)
{
    const struct placement_node *node = node_of(plan, number);
    if (node != NULL) {
        plan->moving[node - plan->nodes->rows]++;
    }
}

static bool is_group(const uint64_t *replicas, uint32_t count,
                     const struct placement_report *report)
{
    if (!report->is_known || report->count != count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!has(report->members, report->count, replicas[i])) {
            return false;
        }
    }
    return true;
}

static bool is_settled(const struct placement_row *row, const struct placement_report *report)
{
    return is_group(row->replicas, row->count, report);
}

bool placement_is_settled(const struct registry_partition *row,
                          const struct placement_report *report)
{
    return is_group(row->replicas, row->replica_count, report);
}

/* What is under way counts, too. */
static void count_under_way(struct plan *plan)
{
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        const struct placement_row *row = &plan->now->rows[p];
        const struct placement_report *report = &plan->reports[p];
        if (!report->is_known) {
            continue;
        }
        ASSERT(report->count <= REGISTRY_REPLICAS_MAX + 2);
        for (uint32_t i = 0; i < row->count; i++) {
            if (!has(report->members, report->count, row->replicas[i])) {
                moves(plan, row->replicas[i]);
            }
        }
        for (uint32_t i = 0; i < report->count; i++) {
            if (!has(row->replicas, row->count, report->members[i])) {
                moves(plan, report->members[i]);
            }
        }
        plan->leading += is_settled(row, report) && report->leader != row->preferred &&
                         is_live(plan, row->preferred);
    }
}

/* Who of the row is not wanted: first who is dead, then who is to go. 0: nobody. */
static uint64_t leaver_of(const struct plan *plan, const struct placement_row *now,
                          const struct placement_row *want)
{
    uint64_t best = 0;
    int best_key = 0;
    for (uint32_t i = 0; i < now->count; i++) {
        uint64_t number = now->replicas[i];
        const struct placement_node *node = node_of(plan, number);
        int key = node == NULL || !node->is_live ? 3 : !node->may_hold ? 2 : 1;
        if (!has(want->replicas, want->count, number) && key > best_key) {
            best = number;
            best_key = key;
        }
    }
    return best;
}

/* How much it presses: something dead in it, something that leaves, what else. */
static int urgency_of(const struct plan *plan, uint32_t p)
{
    const struct placement_row *now = &plan->now->rows[p], *want = &plan->want->rows[p];
    uint64_t leaver = leaver_of(plan, now, want);
    const struct placement_node *node = node_of(plan, leaver);
    if (leaver != 0 && (node == NULL || !node->is_live)) {
        return 0;
    }
    return now->count < want->count || (leaver != 0 && !node->may_hold) ? 1 : 2;
}

/* The same leader while it stays; else the one that is wanted, if it is there; else one that lives. */
static uint64_t lead_of(const struct plan *plan, const struct registry_assignment *row,
                        uint64_t now, uint64_t want, uint64_t newcomer)
{
    uint64_t any = newcomer;
    if (has(row->replicas, row->replica_count, now)) {
        return now;
    }
    for (uint32_t i = 0; i < row->replica_count; i++) {
        uint64_t number = row->replicas[i];
        if (number == newcomer || !is_live(plan, number)) {
            continue;
        }
        if (number == want) {
            return want;
        }
        any = any == newcomer ? number : any;
    }
    return any != 0 ? any : row->replicas[0];
}

/* One comes, one goes, or one for the other. */
static void step_of(struct plan *plan, uint32_t p)
{
    const struct placement_row *now = &plan->now->rows[p], *want = &plan->want->rows[p];
    struct registry_assignment row = {.partition = p};
    uint64_t newcomer = 0, leaver = leaver_of(plan, now, want);
    for (uint32_t i = 0; i < want->count && newcomer == 0; i++) {
        newcomer = has(now->replicas, now->count, want->replicas[i]) ? 0 : want->replicas[i];
    }
    if (newcomer != 0 && now->count < want->count) {
        leaver = 0; /* there are too few as it is */
    }
    if (newcomer == 0 && leaver == 0) { /* the same nodes: who should lead them? */
        if (now->preferred == want->preferred || plan->leading >= PLACEMENT_LEADS_AT_ONCE) {
            return;
        }
        plan->leading++;
        row.replica_count = now->count;
        memcpy(row.replicas, now->replicas, sizeof row.replicas);
        row.preferred = want->preferred;
        plan->out->rows[plan->out->count++] = row;
        return;
    }
    if ((newcomer != 0 && !has_room(plan, newcomer)) || (leaver != 0 && !has_room(plan, leaver))) {
        return;
    }
    for (uint32_t i = 0; i < now->count; i++) {
        if (now->replicas[i] != leaver) {
            row.replicas[row.replica_count++] = now->replicas[i];
        }
    }
    if (newcomer != 0) {
        row.replicas[row.replica_count++] = newcomer;
    }
    row.preferred = lead_of(plan, &row, now->preferred, want->preferred, newcomer);
    moves(plan, newcomer);
    moves(plan, leaver);
    plan->out->rows[plan->out->count++] = row;
}

void placement_plan(const struct placement_nodes *nodes, const struct placement_map *now,
                    const struct placement_map *want,
                    const struct placement_report reports[REGISTRY_PARTITIONS],
                    struct registry_assign *out)
{
    struct plan plan = {.nodes = nodes, .now = now, .want = want, .reports = reports, .out = out};
    out->count = 0;
    count_under_way(&plan);
    for (int urgency = 0; urgency <= 2; urgency++) {
        for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
            if (urgency_of(&plan, p) == urgency && is_settled(&now->rows[p], &reports[p])) {
                step_of(&plan, p);
            }
        }
    }
}

struct placement_ties placement_ties(const struct placement_nodes *nodes,
                                     const struct placement_report reports[REGISTRY_PARTITIONS],
                                     uint64_t number)
{
    struct plan plan = {.nodes = nodes};
    struct placement_ties ties = {0};
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        const struct placement_report *report = &reports[p];
        uint32_t live = 0;
        if (!has(report->members, report->count, number) &&
            (report->is_known || report->count > 0)) {
            continue;
        }
        for (uint32_t i = 0; i < report->count; i++) {
            live += report->members[i] != number && is_live(&plan, report->members[i]);
        }
        ties.in++;
        ties.stranded += !report->is_known || 2 * live <= report->count;
    }
    return ties;
}

uint32_t placement_distance(const struct placement_map *from, const struct placement_map *to)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < REGISTRY_PARTITIONS; p++) {
        for (uint32_t i = 0; i < to->rows[p].count; i++) {
            count += !has(from->rows[p].replicas, from->rows[p].count, to->rows[p].replicas[i]);
        }
    }
    return count;
}
