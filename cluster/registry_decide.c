#include "cluster/registry_decide.h"

#include "core/base/text.h"

struct look {
    const struct registry_state *state;
    uint64_t wall_ms; /* never behind what REG was stamped with */
    struct registry_command *out;
    uint32_t count;
};

/* NULL: there is room for no more this time. */
static struct registry_command *propose(struct look *look, enum registry_command_kind kind)
{
    if (look->count == DECIDE_COMMANDS_MAX) {
        return NULL;
    }
    struct registry_command *command = &look->out[look->count++];
    *command = (struct registry_command){.kind = kind, .wall_ms = look->wall_ms};
    return command;
}

void decide_begin(struct decide *decide, uint64_t now_ms)
{
    *decide = (struct decide){.begun_ms = now_ms};
}

static void declare_gone(struct look *look, const struct lease_verdict *verdict)
{
    for (uint32_t i = 0; i < verdict->count; i++) {
        const struct registry_member *member = registry_member(look->state, verdict->numbers[i]);
        bool is_news = member != NULL && member->incarnation == verdict->incarnations[i] &&
                       member->state != MEMBER_GONE && member->state != MEMBER_LEFT;
        struct registry_command *command = is_news ? propose(look, REGISTRY_GONE) : NULL;
        if (command != NULL) {
            command->incarnation = (struct registry_incarnation){verdict->numbers[i],
                                                                 verdict->incarnations[i]};
        }
    }
}

static void expire_services(struct decide *decide, struct look *look, uint64_t now_ms)
{
    uint32_t due = registry_services_due(look->state, look->wall_ms);
    if (due == 0 || now_ms - decide->begun_ms < DECIDE_SERVICES_GRACE_MS) {
        decide->held_ms = 0;
        return;
    }
    /* Of two or three, one that dies is not yet a sign of anything. */
    if (due > 1 && lease_are_too_many(due, look->state->service_count)) {
        decide->held_ms = decide->held_ms == 0 ? now_ms : decide->held_ms;
        if (now_ms - decide->held_ms < DECIDE_SERVICES_GUARD_MS) {
            return;
        }
    } else {
        decide->held_ms = 0;
    }
    struct registry_command *command = propose(look, REGISTRY_SERVICE_EXPIRE);
    if (command != NULL) {
        command->expire.count_max = DECIDE_SERVICES_AT_ONCE;
    }
}

/* 0: never. */
static uint64_t auto_replace_ms(const struct registry_state *state)
{
    const char *text = registry_setting(state, "auto_replace_ms");
    uint64_t ms;
    return text != NULL && text_read_u64(slice_text(text), &ms) == OK ? ms : DECIDE_AUTO_REPLACE_MS;
}

/* Would as many copies be made as now, without that node, by nodes that live? */
static bool others_hold_as_many(const struct placement_nodes *nodes, uint64_t number,
                                uint32_t replicas)
{
    uint32_t others = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        const struct placement_node *node = &nodes->rows[i];
        others += node->number != number && node->may_hold && node->is_live;
    }
    return others >= replicas;
}

/* One at a time: the next one is judged when its copies are made. */
static void replace_dead(struct look *look, const struct placement_nodes *nodes, uint32_t replicas,
                         const struct placement_report *reports)
{
    uint64_t after_ms = auto_replace_ms(look->state);
    for (uint32_t i = 0; i < look->state->member_count && after_ms > 0; i++) {
        const struct registry_member *member = &look->state->members[i];
        if (member->state != MEMBER_GONE || look->wall_ms < member->since_ms ||
            look->wall_ms - member->since_ms < after_ms ||
            !others_hold_as_many(nodes, member->number, replicas) ||
            placement_ties(nodes, reports, member->number).stranded > 0) {
            continue;
        }
        struct registry_command *command = propose(look, REGISTRY_REMOVE);
        if (command != NULL) {
            command->node.number = member->number;
        }
        return;
    }
}

static void move_on(struct look *look, const struct placement_nodes *nodes,
                    const struct placement_map *now, uint32_t replicas,
                    const struct placement_report *reports)
{
    struct placement_map want;
    struct registry_assign assign = {.version = look->state->map_version};
    placement_want(nodes, replicas, now, &want);
    placement_plan(nodes, now, &want, reports, &assign);
    struct registry_command *command = assign.count > 0 ? propose(look, REGISTRY_ASSIGN) : NULL;
    if (command != NULL) {
        command->assign = assign;
    }
}

uint32_t decide_look(struct decide *decide, const struct registry_state *state,
                     const struct lease_verdict *verdict,
                     const struct placement_report reports[REGISTRY_PARTITIONS], uint64_t now_ms,
                     uint64_t wall_ms, struct registry_command out[DECIDE_COMMANDS_MAX])
{
    struct look look = {
        .state = state, .wall_ms = wall_ms > state->wall_ms ? wall_ms : state->wall_ms, .out = out};
    struct placement_nodes nodes;
    struct placement_map now;
    char warning[PLACEMENT_WARNING_BYTES];
    if (state->level == 0) {
        return 0;
    }
    placement_read(state, &nodes, &now);
    uint32_t replicas = placement_replicas(&nodes, placement_wished(state), warning);
    declare_gone(&look, verdict);
    replace_dead(&look, &nodes, replicas, reports);
    if (look.count == 0) { /* the members are as REG has them: a plan is good for them */
        move_on(&look, &nodes, &now, replicas, reports);
    }
    expire_services(decide, &look, now_ms);
    return look.count;
}
