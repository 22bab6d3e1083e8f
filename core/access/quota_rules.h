/*
 * quota_rules: which limits count for a name. The insides of quota.
 *
 * Floor:  access.
 * Thread: a struct quota_rules is immutable. Sets are immutable and live as long as their store, so
 *         that a shard may use one without asking.
 * Memory: heap. Sets are kept once for each content: reloads to and fro do not grow the store.
 */
#ifndef TERN_ACCESS_QUOTA_RULES_H
#define TERN_ACCESS_QUOTA_RULES_H

#include "core/access/quota.h"

enum { QUOTA_RATE_COUNT = 3 }; /* connects, messages, bytes: by the second */

/* All limits of one account. */
struct quota_set {
    const struct quota_set *next;   /* in the store */
    uint64_t max[QUOTA_WHAT_COUNT]; /* 0: no limit; of rates, a second */
    uint64_t burst[QUOTA_WHAT_COUNT];
    uint64_t tolerance_ns[QUOTA_WHAT_COUNT]; /* of rates: what a full bucket is worth in time */
    uint8_t concerns;                        /* bit 1 << enum quota_what */
};

struct quota_set_store {
    const struct quota_set *first;
};
void quota_set_store_deinit(struct quota_set_store *store);

static inline bool quota_is_rate(enum quota_what what)
{
    return what == QUOTA_CONNECTS || what == QUOTA_MESSAGES || what == QUOTA_BYTES;
}

struct quota_rules;

/* Rules are copied. ERR_NOMEM. */
enum err quota_rules_new(const struct quota_rule *rules, uint32_t rule_count,
                         struct quota_set_store *store, struct quota_rules **out);
void quota_rules_free(struct quota_rules *rules); /* accepts NULL */
bool quota_rules_equal(const struct quota_rules *rules, const struct quota_rule *others,
                       uint32_t other_count);

/* The name of an account: an address is 16 bytes, IPv4 mapped into IPv6. */
enum { QUOTA_NAME_BYTES = 33 };
struct quota_name {
    struct slice text; /* into bytes, or borrowed from who */
    uint8_t bytes[QUOTA_NAME_BYTES];
};

/* Under which name does it count in this slot? false: in none. */
bool quota_rules_name(const struct quota_rules *rules, enum quota_scope slot,
                      const struct quota_who *who, struct quota_name *out);

/* The limits of the account with that name; NULL: none. name empty and is_others: those of all whom
 * no account of their own is left for. */
const struct quota_set *quota_rules_find(const struct quota_rules *rules, enum quota_scope slot,
                                         struct slice name, bool is_others);

/* Some account may be wanted in this slot. */
bool quota_rules_use(const struct quota_rules *rules, enum quota_scope slot);

#endif
