#include "core/pubsub/share.h"

#include "core/base/ledger.h"

#include <stdlib.h>
#include <string.h>

/*
 * Members lie side by side for the round, and a small table of their numbers finds one by key.
 *
 * Invariants
 *   I1  index holds 1 + the number of every member exactly once, reachable from the home slot of its
 *       key without crossing a 0; it is at most half full.
 *   I2  cursor <= count: where the next round begins to look.
 */
struct share_group {
    struct share_member *members;
    uint32_t *index;
    uint32_t count, capacity; /* capacity: a power of two; index has twice as many slots */
    uint32_t cursor;
};

enum { CAPACITY_MIN = 4 };

/* Of a group with that capacity. */
static int64_t weight(uint32_t capacity)
{
    int64_t bytes = ledger_block(sizeof(struct share_group));
    return capacity == 0 ? bytes
                         : bytes + ledger_block(capacity * sizeof(struct share_member)) +
                               ledger_block((size_t)capacity * 2 * sizeof(uint32_t));
}

struct share_group *share_group_new(void)
{
    struct share_group *group = calloc(1, sizeof(*group));
    ledger_add(LEDGER_SUBSCRIPTIONS, group == NULL ? 0 : weight(0));
    return group;
}

void share_group_free(struct share_group *group)
{
    if (group == NULL) {
        return;
    }
    ledger_add(LEDGER_SUBSCRIPTIONS, -weight(group->capacity));
    free(group->members);
    free(group->index);
    free(group);
}

static uint32_t mask_of(const struct share_group *group)
{
    return group->capacity * 2 - 1;
}

static uint32_t home_of(const struct share_group *group, uint64_t key)
{
    /* Keys may count upwards: multiply, and take the upper half (Knuth's multiplicative hash). */
    return (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & mask_of(group);
}

/* The slot of key's member, or the EMPTY one where the search ended. capacity > 0. */
static uint32_t slot_of(const struct share_group *group, uint64_t key)
{
    uint32_t at = home_of(group, key);
    while (group->index[at] != 0 && group->members[group->index[at] - 1].key != key) {
        at = (at + 1) & mask_of(group);
    }
    return at;
}

static void index_build(struct share_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        group->index[slot_of(group, group->members[i].key)] = i + 1;
    }
}

/* I1 after the slot became free: who was pushed beyond it by a collision moves back. */
static void index_close_gap(struct share_group *group, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & mask_of(group); group->index[at] != 0;
         at = (at + 1) & mask_of(group)) {
        uint32_t home = home_of(group, group->members[group->index[at] - 1].key);
        uint32_t pushed = (at - home) & mask_of(group), distance = (at - gap) & mask_of(group);
        if (pushed >= distance) {
            group->index[gap] = group->index[at];
            gap = at;
        }
    }
    group->index[gap] = 0;
}

/* ERR_NOMEM: nothing changed. */
static enum err resize(struct share_group *group, uint32_t capacity)
{
    struct share_member *members = malloc(capacity * sizeof(members[0]));
    uint32_t *index = calloc((size_t)capacity * 2, sizeof(index[0]));
    if (members == NULL || index == NULL) {
        free(members);
        free(index);
        return ERR_NOMEM;
    }
    if (group->count > 0) {
        memcpy(members, group->members, group->count * sizeof(members[0]));
    }
    ledger_add(LEDGER_SUBSCRIPTIONS, weight(capacity) - weight(group->capacity));
    free(group->members);
    free(group->index);
    group->members = members;
    group->index = index;
    group->capacity = capacity;
    index_build(group);
    return OK;
}

struct share_member *share_group_find(struct share_group *group, uint64_t key)
{
    if (group->count == 0) {
        return NULL;
    }
    uint32_t number = group->index[slot_of(group, key)];
    return number == 0 ? NULL : &group->members[number - 1];
}

enum err share_group_put(struct share_group *group, const struct share_member *member)
{
    struct share_member *known = share_group_find(group, member->key);
    if (known != NULL) {
        *known = *member;
        return OK;
    }
    if (group->count == group->capacity) {
        TRY(resize(group, group->capacity == 0 ? CAPACITY_MIN : group->capacity * 2));
    }
    group->index[slot_of(group, member->key)] = group->count + 1;
    group->members[group->count++] = *member;
    return OK;
}

bool share_group_remove(struct share_group *group, uint64_t key)
{
    struct share_member *member = share_group_find(group, key);
    if (member == NULL) {
        return false;
    }
    struct share_member *last = &group->members[group->count - 1];
    uint32_t gap = slot_of(group, key);
    if (member != last) {
        group->index[slot_of(group, last->key)] = group->index[gap];
    }
    group->index[gap] = 0;
    *member = *last;
    group->count--;
    index_close_gap(group, gap);
    if (group->cursor > group->count) {
        group->cursor = group->count; /* I2 */
    }
    if (group->capacity > CAPACITY_MIN && group->count <= group->capacity / 4) {
        (void)resize(group, group->capacity / 2); /* without memory it stays large */
    }
    return true;
}

uint32_t share_group_count(const struct share_group *group)
{
    return group->count;
}

/* How good a choice a member is; the best class wins, the round decides within it. */
enum choice { CHOICE_AWAY, CHOICE_BUSY, CHOICE_FREE };

static enum choice choice_of(const struct share_member *member)
{
    if (!member->is_present) {
        return CHOICE_AWAY;
    }
    return member->outstanding < member->window ? CHOICE_FREE : CHOICE_BUSY;
}

struct share_member *share_group_next(struct share_group *group, uint64_t not_key)
{
    struct share_member *best = NULL, *excepted = NULL;

    for (uint32_t i = 0; i < group->count; i++) {
        struct share_member *member = &group->members[(group->cursor + i) % group->count];
        if (not_key != 0 && member->key == not_key) {
            excepted = member;
            continue;
        }
        if (best == NULL || choice_of(member) > choice_of(best)) {
            best = member;
        }
        if (choice_of(best) == CHOICE_FREE) {
            break;
        }
    }
    best = best == NULL ? excepted : best;
    if (best != NULL) {
        group->cursor = (uint32_t)(best - group->members) + 1;
    }
    return best;
}
