#include "core/access/quota_rules.h"

#include "core/access/network.h"

#include <stdlib.h>

enum { IP_BYTES = NETWORK_IP_BYTES };

#define SECOND_NS    UINT64_C(1000000000)
#define TOLERANCE_NS (UINT64_C(1) << 60) /* at most: 36 years */

/*
 * Nobody who is honest may notice these: behind one address there may be ten thousand devices, and
 * after an outage they all come at once. So the burst lets them in at once, and the rate, which is
 * for what goes on, lets another thousand in each second. An attacker with one address gets so many
 * TLS handshakes, an eighth of what one core does in a second. A network of 256 addresses, or what
 * one customer has of IPv6, gets four times as much.
 * All else is unlimited: how many connections, messages or subscriptions are right, only the
 * operator knows.
 */
/* clang-format off */
const struct quota_rule quota_defaults[] = {
    /* scope         what             name     count  burst */
    { QUOTA_ADDRESS, QUOTA_CONNECTS, {NULL, 0}, 1000, 10000 },
    { QUOTA_PREFIX,  QUOTA_CONNECTS, {NULL, 0}, 4000, 40000 },
};
const uint32_t quota_default_count = sizeof(quota_defaults) / sizeof(quota_defaults[0]);

/* clang-format on */

static bool is_unix(struct slice name)
{
    return slice_is(name, "unix");
}

/* ---- sets ---------------------------------------------------------------------------------- */

void quota_set_store_deinit(struct quota_set_store *store)
{
    while (store->first != NULL) {
        struct quota_set *set = (struct quota_set *)(uintptr_t)store->first;
        store->first = set->next;
        free(set);
    }
}

/*
 * What a full bucket is worth in time. Connects are taken one by one, each at a cost that is rounded
 * up (quota.c), and a burst of them is as many such costs: else the last one would not fit, and of a
 * burst of 1 none.
 */
static uint64_t tolerance_of(enum quota_what what, uint64_t count, uint64_t burst)
{
    __uint128_t each_ns = (SECOND_NS + (__uint128_t)count - 1) / count;
    __uint128_t tolerance = what == QUOTA_CONNECTS ? burst * each_ns
                                                   : (__uint128_t)burst * SECOND_NS / count;
    return tolerance < TOLERANCE_NS ? (uint64_t)tolerance : TOLERANCE_NS;
}

static void set_limit(struct quota_set *set, enum quota_what what, uint64_t count, uint64_t burst)
{
    burst = burst > 0 ? burst : count;
    set->max[what] = count;
    set->burst[what] = quota_is_rate(what) && count > 0 ? burst : 0;
    set->tolerance_ns[what] = set->burst[what] > 0 ? tolerance_of(what, count, burst) : 0;
    set->concerns = (uint8_t)(set->concerns & ~(1u << what));
    set->concerns = (uint8_t)(set->concerns | (count > 0 ? 1u << what : 0));
}

/* The one in the store of this content. No limits at all: *out is NULL. */
static enum err set_keep(struct quota_set_store *store, const struct quota_set *set,
                         const struct quota_set **out)
{
    *out = NULL;
    if (set->concerns == 0) {
        return OK;
    }
    for (const struct quota_set *known = store->first; known != NULL; known = known->next) {
        if (memcmp(known->max, set->max, sizeof(set->max)) == 0 &&
            memcmp(known->burst, set->burst, sizeof(set->burst)) == 0) {
            *out = known;
            return OK;
        }
    }
    struct quota_set *made = malloc(sizeof(*made));
    if (made == NULL) {
        return ERR_NOMEM;
    }
    *made = *set;
    made->next = store->first;
    store->first = made;
    *out = made;
    return OK;
}

/* ---- rules --------------------------------------------------------------------------------- */

/* [0]: for anybody; [1]: for loopback and Unix sockets, without the defaults. */
struct named {
    enum quota_scope scope;
    struct slice name;
    struct network network;          /* of addresses and prefixes */
    const struct quota_set *sets[2]; /* of a prefix: what was written for it, and no more */
    const struct quota_set *rest[2]; /* of a prefix: the general limits that are left */
};

struct quota_rules {
    const struct quota_set *general[QUOTA_SCOPE_COUNT][2];
    struct named *named;
    uint32_t named_count;
    struct quota_rule *rules; /* as given, their names too */
    uint32_t rule_count;
    bool uses[QUOTA_SLOT_COUNT];
};

void quota_rules_free(struct quota_rules *rules)
{
    if (rules == NULL) {
        return;
    }
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        free((void *)(uintptr_t)rules->rules[i].name.data);
    }
    free(rules->rules);
    free(rules->named);
    free(rules);
}

bool quota_rules_equal(const struct quota_rules *rules, const struct quota_rule *others,
                       uint32_t other_count)
{
    if (rules->rule_count != other_count) {
        return false;
    }
    for (uint32_t i = 0; i < other_count; i++) {
        const struct quota_rule *a = &rules->rules[i], *b = &others[i];
        if (a->scope != b->scope || a->what != b->what || a->count != b->count ||
            a->burst != b->burst || !slice_equal(a->name, b->name)) {
            return false;
        }
    }
    return true;
}

static enum err rules_copy(struct quota_rules *rules, const struct quota_rule *from, uint32_t count)
{
    rules->rules = calloc(count + 1, sizeof(rules->rules[0]));
    rules->named = calloc(count + 1, sizeof(rules->named[0]));
    if (rules->rules == NULL || rules->named == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *name = NULL;
        if (from[i].name.count > 0) {
            name = malloc(from[i].name.count);
            if (name == NULL) {
                return ERR_NOMEM;
            }
            memcpy(name, from[i].name.data, from[i].name.count);
        }
        rules->rules[i] = from[i];
        rules->rules[i].name = slice_of(name, from[i].name.count);
        rules->rule_count = i + 1;
    }
    return OK;
}

static void general_limits(const struct quota_rules *rules, enum quota_scope scope, bool is_local,
                           struct quota_set *set)
{
    *set = (struct quota_set){0};
    for (uint32_t i = 0; i < quota_default_count && !is_local; i++) {
        if (quota_defaults[i].scope == scope) {
            set_limit(set, quota_defaults[i].what, quota_defaults[i].count,
                      quota_defaults[i].burst);
        }
    }
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        const struct quota_rule *rule = &rules->rules[i];
        if (rule->scope == scope && rule->name.count == 0) {
            set_limit(set, rule->what, rule->count, rule->burst);
        }
    }
}

static struct named *named_of(struct quota_rules *rules, const struct quota_rule *rule)
{
    struct named one = {.scope = rule->scope, .name = rule->name};
    bool has_length;
    bool is_network = (rule->scope == QUOTA_ADDRESS && !is_unix(rule->name)) ||
                      rule->scope == QUOTA_PREFIX;
    if (is_network && network_parse(rule->name, &one.network, &has_length) != OK) {
        return NULL; /* quota_rule_parse() lets none of these through */
    }
    for (uint32_t i = 0; i < rules->named_count; i++) {
        struct named *known = &rules->named[i];
        bool is_same = is_network ? network_equal(&known->network, &one.network)
                                  : slice_equal(known->name, one.name);
        if (known->scope == one.scope && is_same) {
            return known;
        }
    }
    rules->named[rules->named_count] = one;
    return &rules->named[rules->named_count++];
}

/* All that was written for this name, over the general limits; of a prefix beside them. */
static enum err named_build(struct quota_rules *rules, struct named *named,
                            struct quota_set_store *store)
{
    for (int is_local = 0; is_local < 2; is_local++) {
        struct quota_set set, rest;
        general_limits(rules, named->scope, is_local, &rest);
        set = named->scope == QUOTA_PREFIX ? (struct quota_set){0} : rest;
        for (uint32_t i = 0; i < rules->rule_count; i++) {
            const struct quota_rule *rule = &rules->rules[i];
            if (rule->name.count > 0 && rule->scope == named->scope &&
                named_of(rules, rule) == named) {
                set_limit(&set, rule->what, rule->count, rule->burst);
                set_limit(&rest, rule->what, 0, 0);
            }
        }
        TRY(set_keep(store, &set, &named->sets[is_local]));
        TRY(set_keep(store, &rest, &named->rest[is_local]));
        enum quota_scope slot = named->scope == QUOTA_PREFIX ? QUOTA_NETWORK : named->scope;
        rules->uses[slot] |= named->sets[is_local] != NULL;
    }
    return OK;
}

static enum err rules_build(struct quota_rules *rules, struct quota_set_store *store)
{
    for (int scope = 0; scope < QUOTA_SCOPE_COUNT; scope++) {
        for (int is_local = 0; is_local < 2; is_local++) {
            struct quota_set set;
            general_limits(rules, (enum quota_scope)scope, is_local, &set);
            TRY(set_keep(store, &set, &rules->general[scope][is_local]));
            rules->uses[scope] |= rules->general[scope][is_local] != NULL;
        }
    }
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        if (rules->rules[i].name.count > 0) {
            named_of(rules, &rules->rules[i]);
        }
    }
    for (uint32_t i = 0; i < rules->named_count; i++) {
        TRY(named_build(rules, &rules->named[i], store));
    }
    return OK;
}

enum err quota_rules_new(const struct quota_rule *rules, uint32_t rule_count,
                         struct quota_set_store *store, struct quota_rules **out)
{
    struct quota_rules *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return ERR_NOMEM;
    }
    enum err err = rules_copy(made, rules, rule_count);
    err = err != OK ? err : rules_build(made, store);
    if (err != OK) {
        quota_rules_free(made);
        return err;
    }
    *out = made;
    return OK;
}

bool quota_rules_use(const struct quota_rules *rules, enum quota_scope slot)
{
    return rules->uses[slot];
}

/* ---- who counts where ---------------------------------------------------------------------- */

/* The longest network written for this scope that the address is in. */
static const struct named *longest_of(const struct quota_rules *rules, enum quota_scope scope,
                                      const uint8_t ip[IP_BYTES])
{
    const struct named *longest = NULL;
    for (uint32_t i = 0; i < rules->named_count; i++) {
        const struct named *named = &rules->named[i];
        if (named->scope == scope && !is_unix(named->name) && network_has(&named->network, ip) &&
            (longest == NULL || named->network.bits > longest->network.bits)) {
            longest = named;
        }
    }
    return longest;
}

/* The name of a network: length and bytes. Of a general prefix: its bytes, then the network written
 * for it, if there is one, as its limits depend on that. */
static void network_name(const struct named *named, uint8_t out[1 + IP_BYTES])
{
    out[0] = named->network.bits;
    memcpy(out + 1, named->network.ip, IP_BYTES);
}

static bool address_name(const struct quota_rules *rules, enum quota_scope slot,
                         const struct quota_who *who, struct quota_name *out)
{
    uint8_t ip[IP_BYTES];
    if (who->is_proxy) {
        return false;
    }
    if (who->ip_bytes == 0) {
        out->text = slice_text("unix");
        return slot == QUOTA_ADDRESS;
    }
    network_widen(who->ip, who->ip_bytes, ip);
    if (slot == QUOTA_ADDRESS) {
        memcpy(out->bytes, ip, IP_BYTES);
        out->text = slice_of(out->bytes, IP_BYTES);
        return true;
    }
    const struct named *network = longest_of(rules, QUOTA_PREFIX, ip);
    if (slot == QUOTA_NETWORK) {
        if (network != NULL) {
            network_name(network, out->bytes);
            out->text = slice_of(out->bytes, 1 + IP_BYTES);
        }
        return network != NULL;
    }
    struct network prefix = network_prefix(ip);
    memcpy(out->bytes, prefix.ip, IP_BYTES);
    out->text = slice_of(out->bytes, IP_BYTES);
    if (network != NULL) {
        network_name(network, out->bytes + IP_BYTES);
        out->text = slice_of(out->bytes, QUOTA_NAME_BYTES);
    }
    return true;
}

bool quota_rules_name(const struct quota_rules *rules, enum quota_scope slot,
                      const struct quota_who *who, struct quota_name *out)
{
    switch ((int)slot) {
    case QUOTA_LISTENER:
        out->text = who->listener;
        return true;
    case QUOTA_USER:
        out->text = who->username;
        return who->is_identified && who->has_user;
    case QUOTA_CLIENT:
        out->text = who->client_id;
        return who->is_identified;
    default:
        return address_name(rules, slot, who, out);
    }
}

static const struct named *named_find(const struct quota_rules *rules, enum quota_scope scope,
                                      struct slice name)
{
    for (uint32_t i = 0; i < rules->named_count; i++) {
        const struct named *named = &rules->named[i];
        if (named->scope == scope && slice_equal(named->name, name)) {
            return named;
        }
    }
    return NULL;
}

/* By the whole name of a listener ("1883 127.0.0.1"), or by its port. */
static const struct named *named_listener(const struct quota_rules *rules, struct slice name)
{
    const struct named *whole = named_find(rules, QUOTA_LISTENER, name);
    return whole != NULL
               ? whole
               : named_find(rules, QUOTA_LISTENER, slice_head(name, slice_find(name, ' ')));
}

/* The network of that length and these bytes. */
static const struct named *named_network(const struct quota_rules *rules, struct slice name)
{
    for (uint32_t i = 0; i < rules->named_count; i++) {
        uint8_t bytes[1 + IP_BYTES];
        network_name(&rules->named[i], bytes);
        if (rules->named[i].scope == QUOTA_PREFIX &&
            slice_equal(name, slice_of(bytes, sizeof(bytes)))) {
            return &rules->named[i];
        }
    }
    return NULL;
}

static const struct quota_set *prefix_find(const struct quota_rules *rules, struct slice name)
{
    /* Of IPv6 the first /64 is loopback's, as nobody else has an address in it. */
    static const uint8_t zeros[IP_BYTES];
    bool is_local = network_is_ip4(name.data) ? network_is_loopback(name.data)
                                              : memcmp(name.data, zeros, IP_BYTES) == 0;
    const struct named *network = NULL;
    if (name.count > IP_BYTES) {
        network = named_network(rules, slice_skip(name, IP_BYTES));
    }
    return network != NULL ? network->rest[is_local] : rules->general[QUOTA_PREFIX][is_local];
}

const struct quota_set *quota_rules_find(const struct quota_rules *rules, enum quota_scope slot,
                                         struct slice name, bool is_others)
{
    const struct named *named = NULL;
    bool is_local = false;
    if (is_others) {
        return slot == QUOTA_NETWORK ? NULL : rules->general[slot][0];
    }
    switch ((int)slot) {
    case QUOTA_NETWORK:
        named = named_network(rules, name);
        return named != NULL ? named->sets[0] : NULL;
    case QUOTA_PREFIX:
        return prefix_find(rules, name);
    case QUOTA_LISTENER:
        named = named_listener(rules, name);
        break;
    case QUOTA_ADDRESS:
        is_local = name.count != IP_BYTES || network_is_loopback(name.data);
        named = name.count == IP_BYTES ? longest_of(rules, QUOTA_ADDRESS, name.data)
                                       : named_find(rules, QUOTA_ADDRESS, name);
        break;
    default:
        named = named_find(rules, slot, name);
        break;
    }
    return named != NULL ? named->sets[is_local] : rules->general[slot][is_local];
}
