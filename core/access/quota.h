/*
 * quota: how much of the broker one listener, address, network, user or client may take.
 *
 *     limit SCOPE[=NAME] WHAT COUNT [burst COUNT]        limit address connections 1000
 *                                                        limit user=alice messages 500
 *
 *     scope   listener address prefix user client; a NAME (a listener's, an address, a network such
 *             as 10.1.0.0/16, a user's, a client id) makes it one's own and beats the general one
 *     what    connections      open at once
 *             connects         a second; decided at accept, before any TLS work (of user and
 *                              client: at CONNECT)
 *             messages bytes   a second, received; by not reading, nothing is dropped
 *             subscriptions    held by their sessions
 *             inflight         QoS 1 and 2 messages not finished, either way
 *             retained         messages they have set
 *
 * Floor:  access.
 * Thread: struct quota is shared by all shards: accounts live in stripes with a lock each, taken
 *         when a connection comes, proves itself or goes; what is counted per message is atomic.
 * Memory: an account per name in use, at most QUOTA_ACCOUNTS_MAX; beyond it the general limits of
 *         a scope count together under one account of that scope.
 */
#ifndef TERN_ACCESS_QUOTA_H
#define TERN_ACCESS_QUOTA_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { QUOTA_ACCOUNTS_MAX = 1 << 20 };

enum quota_scope {
    QUOTA_LISTENER,
    QUOTA_ADDRESS,
    QUOTA_PREFIX,
    QUOTA_USER,
    QUOTA_CLIENT,
    QUOTA_SCOPE_COUNT
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

/* Where a connection counts. Zero-initialised: nowhere. Moves with it to another shard. */
struct quota_holder {
    struct quota_account *accounts[QUOTA_SCOPE_COUNT]; /* NULL: no limit concerns it there */
    bool is_counted;
};

/* One line of the configuration. */
struct quota_rule {
    enum quota_scope scope;
    enum quota_what what;
    struct slice name;     /* empty: everybody's */
    uint64_t count, burst; /* burst 0: as count */
};

/* Read one `limit`; name is borrowed from text. ERR_INVALID: why tells. */
enum err quota_rule_parse(struct slice text, struct quota_rule *out, char why[256]);

/* NULL: memory is exhausted. */
struct quota *quota_new(uint64_t seed);
void quota_free(struct quota *quota); /* no holder is left; accepts NULL */

/* New rules, copied; accounts keep what they have counted. Any thread. ERR_NOMEM: the old ones stay. */
enum err quota_set_rules(struct quota *quota, const struct quota_rule *rules, uint32_t rule_count);

/*
 * A connection came: count it at listener, address and prefix. ip has 16 bytes, ip_bytes are 4 or
 * 16 of them, 0: a Unix socket. ERR_CONNECT_RATE, ERR_QUOTA: nothing was counted.
 */
enum err quota_admit(struct quota *quota, struct slice listener, const uint8_t *ip,
                     uint32_t ip_bytes, uint64_t now_ns, struct quota_holder *holder);

/* It has proved who it is: count it at user (if has_user) and client. Errors as above. */
enum err quota_identify(struct quota *quota, struct quota_holder *holder, bool has_user,
                        struct slice username, struct slice client_id, uint64_t now_ns);

/* It goes: give back its connection everywhere; the holder is empty again. */
void quota_leave(struct quota *quota, struct quota_holder *holder);

/* These were received. When it may be read again; 0: now. */
uint64_t quota_charge(struct quota_holder *holder, uint64_t messages, uint64_t bytes,
                      uint64_t now_ns);

/* One more of QUOTA_SUBSCRIPTIONS, QUOTA_INFLIGHT or QUOTA_RETAINED. ERR_QUOTA: nothing was counted. */
enum err quota_take(struct quota_holder *holder, enum quota_what what, uint32_t count);
void quota_give(struct quota_holder *holder, enum quota_what what, uint32_t count);

/* A limit is set for any of it: false spares the callers all work. */
bool quota_concerns(const struct quota_holder *holder, enum quota_what what);

#endif
