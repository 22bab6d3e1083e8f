/*
 * security: what guards the listeners: certificates, passwords, rules. Read from files as a whole,
 * swapped as a whole, between two turns of each shard.
 *
 * Floor:  broker.
 * Thread: immutable while shards use it; loaded by the main thread.
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

/* Of one listener; NULL: it has none. Listeners that name the same file share what was read. */
struct listener_security {
    struct tls_context *tls;
    struct passwords *passwords;
    struct acl *acl;
};

enum security_kind { SECURITY_TLS, SECURITY_PASSWORDS, SECURITY_ACL };

/* One thing that was read, for logs, /health and metrics. */
struct security_item {
    enum security_kind kind;
    const char *listener; /* its name as in the configuration; "": all */
    const char *file;     /* of TLS the certificate's */
    int64_t
        expires_s; /* TLS: when the first of its certificates or CRLs ends, since 1970; else 0 */
    bool is_stale; /* the files are bad: what was read before goes on */
    const char *trouble; /* why it is stale; "": it is not */
};

struct security {
    struct listener_security listeners[LIMIT_CONFIG_LISTENERS];
    struct security_item *items;
    uint32_t item_count;
    struct security_watch *watch; /* the files, and what they looked like when they were read */
    /* The rest is private to security.c. */
    struct security_memory *memory;
};

/* What was found: into a report as the configuration's own findings are. */
struct config_report;

/*
 * Read everything config names. before: what was read last time, or NULL at start.
 * At start a bad file is an error. Later it is one too, but *out is made all the same: what is bad
 * keeps what it was (is_stale), all else is new.
 *
 *   OK           all is well
 *   ERR_INVALID  something is bad; the report says what. *out is NULL only if before was
 *   ERR_NOMEM    nothing was made
 *
 * tickets: of the process, borrowed for its life.
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

#endif
