/*
 * account: what every subscriber of a shape should hear, what it heard, and the difference.
 *
 *     account_add()      a message came     good, late, repeated, or not for this subscriber
 *     account_expected() all has been sent  how many should come, of those that are judged here
 *     account_settle()   nothing comes      lost, repeated, out of order, misdelivered; fairness
 *
 * Order is judged within a lane (shape.h). In a group that shares a subscription each member is
 * judged by itself: what it gets of one publisher comes in the order in which it was sent.
 *
 * Floor:  bench; knows shape, check and crew.
 * Thread: the owner; members of a crew have an account each, of the ledgers that are dealt to them.
 * Memory: heap, the caller owns it: 40 bytes per lane, and for shared subscriptions 8 more per
 *         member and publisher.
 */
#ifndef TERN_BENCH_ACCOUNT_H
#define TERN_BENCH_ACCOUNT_H

#include "bench/scenario/shape.h"

struct account;
struct crew;

enum account_verdict {
    ACCOUNT_GOOD,     /* whether or not others before it have come */
    ACCOUNT_LATE,     /* came after one that was sent later */
    ACCOUNT_REPEATED, /* came before, here or at another member of the group */
    ACCOUNT_MISDELIVERED,
};

struct account_totals {
    uint64_t unique_count; /* good and late: a message counts once per ledger */
    uint64_t lost_count, late_count, repeated_count, misdelivered_count;
};

/* How evenly a shared subscription is served. */
struct fairness {
    uint32_t member_count;
    uint64_t member_min, member_max;
    double jain; /* (sum x)^2 / (n sum x^2): 1 is even, 1 / n is all to one; 0: nothing came */
};

/* shape is borrowed. crew NULL: all ledgers are judged here. ERR_NOMEM. */
enum err account_new(const struct shape *shape, const struct crew *crew, struct account **out);
void account_free(struct account *account); /* accepts NULL */

/* Which subscribers are this generator's: whole ledgers are dealt out, round and round. */
bool account_owns(const struct shape *shape, const struct crew *crew, uint32_t subscriber);

/* Message `sequence` of `publisher` came to `subscriber`, which is ours. */
enum account_verdict account_add(struct account *account, uint32_t subscriber, uint32_t publisher,
                                 uint64_t sequence);

/* What has come so far; lost_count is not known yet and 0. */
const struct account_totals *account_totals(const struct account *account);

/* How many should have come in the end, when publisher p sent sent[p]: unique_count of a good run. */
uint64_t account_expected(const struct account *account, const uint64_t *sent);

struct account_totals account_settle(const struct account *account, const uint64_t *sent);

/* Deliveries of our members of groups; all zero when nothing is shared. */
struct fairness account_fairness(const struct account *account);

/* counts[count], one per member. */
struct fairness fairness_of(const uint64_t *counts, uint32_t count);

#endif
