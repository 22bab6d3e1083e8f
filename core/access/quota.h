/*
 * quota: how much of the broker one listener, address, network, user or client may take.
 *
 *     limit SCOPE[=NAME] WHAT COUNT [burst COUNT]        limit address connections 1000
 *                                                        limit user=alice messages 500 burst 2000
 *
 *     scope   listener address prefix user client; a NAME makes the limit one's own and beats the
 *             general one of the same WHAT, also with a higher count:
 *               listener   its port, or all of its name in quotes
 *               address    an IP address, a network (each address in it), or unix (Unix sockets)
 *               prefix     a network such as 10.1.0.0/16 (all of it together)
 *               user       a name; in quotes if it has blanks
 *               client     a client id, likewise
 *             Without a name a prefix is the /24 of an IPv4 address, the /64 of an IPv6 one.
 *     what    connections      open at once
 *             connects         a second; decided at accept, before any TLS work (of user and
 *                              client: at CONNECT)
 *             messages bytes   a second, received; by not reading, nothing is dropped
 *             subscriptions    held by their sessions
 *             inflight         QoS 1 and 2 messages not finished, of each session and each way
 *             retained         messages they have set
 *     count   0: no limit. burst, of what is counted by the second: how many at once; else as COUNT
 *
 * What counts without a configuration stands in quota_defaults, with the reason. Loopback and Unix
 * sockets are exempt from these, not from what is written.
 *
 * Floor:  access.
 * Thread: struct quota is shared by all shards: accounts live in stripes with a lock each, taken
 *         when a connection comes or proves itself; what is counted per message is atomic.
 * Memory: an account per name in use, at most accounts_max; beyond it the names of a scope count
 *         together under one account of that scope. An account goes when nobody holds it and its
 *         buckets are full again; a few are looked at whenever one is made.
 */
#ifndef TERN_ACCESS_QUOTA_H
#define TERN_ACCESS_QUOTA_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { QUOTA_ACCOUNTS_MAX = 1 << 22 }; /* more than descriptors times scopes, on most machines */

enum quota_scope {
    QUOTA_LISTENER,
    QUOTA_ADDRESS,
    QUOTA_PREFIX,
    QUOTA_USER,
    QUOTA_CLIENT,
    QUOTA_SCOPE_COUNT,
    QUOTA_NETWORK = QUOTA_SCOPE_COUNT, /* a prefix with a name: beside the general one */
    QUOTA_SLOT_COUNT
};
enum quota_what {
    QUOTA_CONNECTIONS,
    QUOTA_CONNECTS,
    QUOTA_MESSAGES,
    QUOTA_BYTES,
    QUOTA_SUBSCRIPTIONS,
    QUOTA_INFLIGHT,
    QUOTA_RETAINED,
    QUOTA_WHAT_COUNT
};

struct quota;
struct quota_account;

/*
 * Where a connection, or a session, counts. Zero-initialised: nowhere. May be moved in memory and to
 * another shard, not copied.
 */
struct quota_holder {
    struct quota_account *accounts[QUOTA_SLOT_COUNT]; /* NULL: no limit concerns it there */
    uint32_t taken[QUOTA_WHAT_COUNT];   /* of what is taken and given: how much it has */
    bool is_counted;                    /* among their connections */
    uint8_t concerns;                   /* bit 1 << enum quota_what: there is one */
    uint8_t refused_slot, refused_what; /* after a refusal: by which limit, see quota_refusal() */
};

/* Who it is, as far as that is known. Borrowed for the call. */
struct quota_who {
    struct slice listener; /* its name as in the configuration */
    const uint8_t *ip;     /* ip_bytes of it: 4, 16, or 0: a Unix socket */
    uint32_t ip_bytes;
    bool is_proxy;      /* a proxy's address: nobody's own, so it does not count */
    bool is_identified; /* the rest is known */
    bool has_user;
    struct slice username, client_id;
};

/* One line of the configuration. */
struct quota_rule {
    enum quota_scope scope;
    enum quota_what what;
    struct slice name;     /* empty: everybody's */
    uint64_t count, burst; /* burst 0: as count */
};

/* What holds where nothing is written. */
extern const struct quota_rule quota_defaults[];
extern const uint32_t quota_default_count;

/* Read one `limit`; name is borrowed from text. ERR_INVALID: why tells. */
enum err quota_rule_parse(struct slice text, struct quota_rule *out, char why[256]);

/* The default rules hold. NULL: memory is exhausted. */
struct quota *quota_new(uint64_t seed, uint32_t accounts_max);
void quota_free(struct quota *quota); /* no holder is left; accepts NULL */

/*
 * The rules beside the defaults from now on, copied; a rule of the same scope and what, without a
 * name, replaces a default. Accounts keep what they have counted, but a rate that changed begins
 * with a full bucket. *changed: holders should be renewed. Any thread, one at a time.
 * ERR_NOMEM: the old ones stay.
 */
enum err quota_set_rules(struct quota *quota, const struct quota_rule *rules, uint32_t rule_count,
                         bool *changed);

/*
 * A connection came: count it at listener, address and prefix. holder is empty.
 * ERR_CONNECT_RATE, ERR_QUOTA: nothing was counted, holder is empty but tells the limit; ERR_NOMEM.
 */
enum err quota_admit(struct quota *quota, const struct quota_who *who, uint64_t now_ns,
                     struct quota_holder *holder);

/* It has proved who it is: count it at user (if has_user) and client, too. Errors as above. */
enum err quota_identify(struct quota *quota, const struct quota_who *who, uint64_t now_ns,
                        struct quota_holder *holder);

/*
 * There are new rules: count it, and what it has taken, where these want it; nothing is refused.
 * ERR_NOMEM: as it was.
 */
enum err quota_renew(struct quota *quota, const struct quota_who *who, uint64_t now_ns,
                     struct quota_holder *holder);

/* A session outlives its connection: the same accounts for it, no connection is counted. */
void quota_share(const struct quota_holder *holder, struct quota_holder *out);

/* It goes: give back its connection and all it has taken; the holder is empty again. No lock. */
void quota_leave(struct quota_holder *holder);

/* A limit is set for it: false spares the callers all work. */
static inline bool quota_concerns(const struct quota_holder *holder, enum quota_what what)
{
    return (holder->concerns & 1u << what) != 0;
}

/*
 * These were received. When it may be read again; 0: now. Nothing is refused: who took too much at
 * once waits longer. quota_refusal() tells which limit it was.
 */
uint64_t quota_charge(struct quota_holder *holder, uint64_t messages, uint64_t bytes,
                      uint64_t now_ns);

/* So many more of QUOTA_SUBSCRIPTIONS or QUOTA_RETAINED. ERR_QUOTA: none was counted. */
enum err quota_take(struct quota_holder *holder, enum quota_what what, uint32_t count);

/* So many less, but never more than it has taken. */
void quota_give(struct quota_holder *holder, enum quota_what what, uint32_t count);

/* It has so many now, whatever the limits say: those it brings along, or had before there were any. */
void quota_settle(struct quota_holder *holder, enum quota_what what, uint32_t count);

/* The lowest limit set for it; 0: none. For QUOTA_INFLIGHT, which is not counted but agreed. */
uint64_t quota_limit(const struct quota_holder *holder, enum quota_what what);

/* "limit address connects": which one refused, for logs. A constant. */
const char *quota_refusal(const struct quota_holder *holder);

/* Accounts in use. For metrics and tests; relaxed. */
uint32_t quota_account_count(const struct quota *quota);

#endif
