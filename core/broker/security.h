/*
 * security: what guards the listeners: certificates, passwords, rules. Read from files as a whole,
 * swapped as a whole, between two turns of each shard.
 *
 * Floor:  broker.
 * Thread: immutable while shards use it, but for watch, which is the main thread's; loaded by the
 *         main thread.
 * Memory: heap; holds a reference to each part. Who needs a part beyond the turn (a connection its
 *         TLS context, a check in a worker its passwords) takes a reference of its own.
 */
#ifndef TERN_BROKER_SECURITY_H
#define TERN_BROKER_SECURITY_H

#include "core/access/acl.h"
#include "core/access/password.h"
#include "core/base/config.h"
#include "core/io/tls_context.h"

#include <stdbool.h>
#include <stdint.h>

struct watch;

/* Of one listener; NULL: it has none. Listeners that name the same file share what was read. */
struct listener_security {
    struct tls_context *tls;
    struct passwords *passwords;
    struct acl *acl;
};

enum security_kind { SECURITY_TLS, SECURITY_PASSWORDS, SECURITY_ACL, SECURITY_KIND_COUNT };

/* "tls", "passwords", "acl": in logs, /health and metrics. */
const char *security_kind_name(enum security_kind kind);

/* One thing that was read, for logs, /health and metrics. Texts live as long as the security. */
struct security_item {
    enum security_kind kind;
    const char *listener; /* its name as in the configuration; "": all */
    const char *file;     /* of TLS one of its certificates: there is an item for each */
    int64_t expires_s;    /* TLS: when the certificate in use ends, since 1970; else 0 */
    bool is_stale;        /* the files are bad: what was read before goes on */
    const char *trouble;  /* why it is stale; "": it is not */
};

struct security {
    struct listener_security listeners[LIMIT_CONFIG_LISTENERS];
    struct security_item *items;
    uint32_t item_count;
    struct watch *watch; /* the files, and what they looked like when they were read */
    /* The rest is private to security.c. */
    struct security_memory *memory;
};

/*
 * Read everything config names. before: what was read last time, or NULL at start. Findings go into
 * the report as the configuration's own do: "acl.conf:12: error: ...".
 *
 *   OK           all is well
 *   ERR_INVALID  something is bad; the report says what. If all that is bad was good when the same
 *                lines of the configuration were read before, that goes on (is_stale), all else is
 *                new, and *out is made. Otherwise *out is NULL: there is nothing to go back to, and
 *                the configuration that names it cannot be used
 *   ERR_NOMEM    *out is NULL
 *
 * tickets: of the process, borrowed for its life; NULL: no connection is resumed.
 */
enum err security_load(const struct config *config, const struct security *before,
                       struct tls_tickets *tickets, uint64_t wall_ms, struct security **out,
                       struct config_report *report);
void security_free(struct security *security); /* no shard uses it any more; accepts NULL */

/*
 * Did any of the files change since they were read? Looks at size, time and inode; a change counts
 * when two looks in a row saw the same, so that nobody reads half of a file. Main thread.
 */
bool security_files_changed(struct security *security);

/* A warning for each certificate that has ended, or ends within SECURITY_EXPIRY_DAYS. */
enum { SECURITY_EXPIRY_DAYS = 14 };
void security_expiry_check(const struct security *security, uint64_t wall_ms,
                           struct config_report *report);

/* A warning for each file that could not be read again: this process is another user now. */
void security_readable_check(const struct security *security, struct config_report *report);

/* Keys or hashes of passwords are in memory. */
bool security_has_secrets(const struct security *security);

#endif
