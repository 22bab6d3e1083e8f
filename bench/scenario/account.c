#include "bench/scenario/account.h"

#include "bench/crew/crew.h"
#include "bench/load/check.h"
#include "core/base/assert.h"

#include <stdlib.h>

/* A member of a group that shares a subscription. */
struct member {
    uint64_t count;
    uint64_t *next; /* per publisher: the least sequence that is not out of order */
};

struct account {
    const struct shape *shape;
    struct track **ledgers; /* by ledger, then lane; NULL: not ours */
    struct member *members; /* by subscriber; NULL: nothing is shared */
    struct account_totals totals;
};

static enum account_verdict add_to_lane(struct account *account, struct track *track,
                                        uint64_t ordinal)
{
    switch (track_add(track, ordinal)) {
    case TRACK_IN_ORDER:
    case TRACK_AFTER_GAP: /* lost, unless it comes late: settled at the end */
        account->totals.unique_count++;
        return ACCOUNT_GOOD;
    case TRACK_LATE:
        account->totals.unique_count++;
        return ACCOUNT_LATE;
    case TRACK_REPEATED:
        break;
    }
    account->totals.repeated_count++;
    return ACCOUNT_REPEATED;
}

/* Lanes of a group know no order: the member that got it does. */
static enum account_verdict add_to_member(struct account *account, uint32_t subscriber,
                                          uint32_t publisher, uint64_t sequence)
{
    struct member *member = &account->members[subscriber];
    member->count++;
    if (sequence < member->next[publisher]) {
        return ACCOUNT_LATE;
    }
    member->next[publisher] = sequence + 1;
    return ACCOUNT_GOOD;
}

enum account_verdict account_add(struct account *account, uint32_t subscriber, uint32_t publisher,
                                 uint64_t sequence)
{
    struct track *tracks = account->ledgers[shape_ledger_of(account->shape, subscriber)];
    struct shape_place place;

    ASSERT(tracks != NULL);
    if (!shape_hears(account->shape, subscriber, publisher, sequence, &place)) {
        account->totals.misdelivered_count++;
        return ACCOUNT_MISDELIVERED;
    }
    enum account_verdict verdict = add_to_lane(account, &tracks[place.lane], place.ordinal);
    if (account->members != NULL && verdict != ACCOUNT_REPEATED) {
        verdict = add_to_member(account, subscriber, publisher, sequence);
    }
    if (verdict == ACCOUNT_LATE) {
        account->totals.late_count++;
    }
    return verdict;
}

const struct account_totals *account_totals(const struct account *account)
{
    return &account->totals;
}

uint64_t account_expected(const struct account *account, const uint64_t *sent)
{
    const struct shape *shape = account->shape;
    uint64_t expected = 0;
    for (uint32_t ledger = 0; ledger < shape_ledger_count(shape); ledger++) {
        uint32_t lanes = account->ledgers[ledger] == NULL ? 0 : shape_lane_count(shape, ledger);
        for (uint32_t lane = 0; lane < lanes; lane++) {
            expected += shape_lane_expected(shape, ledger, lane, sent);
        }
    }
    return expected;
}

struct account_totals account_settle(const struct account *account, const uint64_t *sent)
{
    const struct shape *shape = account->shape;
    struct account_totals totals = account->totals;
    for (uint32_t ledger = 0; ledger < shape_ledger_count(shape); ledger++) {
        const struct track *tracks = account->ledgers[ledger];
        uint32_t lanes = tracks == NULL ? 0 : shape_lane_count(shape, ledger);
        for (uint32_t lane = 0; lane < lanes; lane++) {
            totals.lost_count += track_lost(&tracks[lane],
                                            shape_lane_expected(shape, ledger, lane, sent));
        }
    }
    return totals;
}

struct fairness fairness_of(const uint64_t *counts, uint32_t count)
{
    struct fairness fairness = {.member_count = count, .member_min = count > 0 ? counts[0] : 0};
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < count; i++) {
        fairness.member_min = counts[i] < fairness.member_min ? counts[i] : fairness.member_min;
        fairness.member_max = counts[i] > fairness.member_max ? counts[i] : fairness.member_max;
        sum += (double)counts[i];
        squares += (double)counts[i] * (double)counts[i];
    }
    fairness.jain = squares > 0 ? sum * sum / (count * squares) : 0;
    return fairness;
}

struct fairness account_fairness(const struct account *account)
{
    const struct shape *shape = account->shape;
    struct fairness fairness = {0};
    uint32_t count = 0;
    if (account->members == NULL) {
        return fairness;
    }
    uint64_t *counts = calloc(shape->subscriber_count, sizeof(counts[0]));
    for (uint32_t i = 0; counts != NULL && i < shape->subscriber_count; i++) {
        if (account->members[i].next != NULL) {
            counts[count++] = account->members[i].count;
        }
    }
    if (count > 0) {
        fairness = fairness_of(counts, count);
    }
    free(counts);
    return fairness;
}

bool account_owns(const struct shape *shape, const struct crew *crew, uint32_t subscriber)
{
    return crew_owns(crew, shape_ledger_of(shape, subscriber));
}

static enum err new_members(struct account *account, const struct crew *crew)
{
    const struct shape *shape = account->shape;
    account->members = calloc(shape->subscriber_count, sizeof(account->members[0]));
    if (account->members == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < shape->subscriber_count; i++) {
        if (!account_owns(shape, crew, i)) {
            continue;
        }
        account->members[i].next = calloc(shape->publisher_count, sizeof(uint64_t));
        if (account->members[i].next == NULL) {
            return ERR_NOMEM;
        }
    }
    return OK;
}

static enum err new_ledgers(struct account *account, const struct crew *crew)
{
    const struct shape *shape = account->shape;
    account->ledgers = calloc(shape_ledger_count(shape), sizeof(account->ledgers[0]));
    if (account->ledgers == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t ledger = 0; ledger < shape_ledger_count(shape); ledger++) {
        if (!crew_owns(crew, ledger)) {
            continue;
        }
        account->ledgers[ledger] = calloc(shape_lane_count(shape, ledger), sizeof(struct track));
        if (account->ledgers[ledger] == NULL) {
            return ERR_NOMEM;
        }
    }
    return shape_is_shared(shape) ? new_members(account, crew) : OK;
}

enum err account_new(const struct shape *shape, const struct crew *crew, struct account **out)
{
    struct account *account = calloc(1, sizeof(*account));
    if (account == NULL) {
        return ERR_NOMEM;
    }
    account->shape = shape;
    enum err err = new_ledgers(account, crew);
    if (err != OK) {
        account_free(account);
        return err;
    }
    *out = account;
    return OK;
}

void account_free(struct account *account)
{
    if (account == NULL) {
        return;
    }
    const struct shape *shape = account->shape;
    for (uint32_t i = 0; account->ledgers != NULL && i < shape_ledger_count(shape); i++) {
        uint32_t lanes = account->ledgers[i] == NULL ? 0 : shape_lane_count(shape, i);
        for (uint32_t lane = 0; lane < lanes; lane++) {
            track_deinit(&account->ledgers[i][lane]);
        }
        free(account->ledgers[i]);
    }
    for (uint32_t i = 0; account->members != NULL && i < shape->subscriber_count; i++) {
        free(account->members[i].next);
    }
    free(account->ledgers);
    free(account->members);
    free(account);
}
