/*
 * acl: who may publish, read and subscribe what: mosquitto's ACL files as they are, and which rule
 * decided.
 *
 *     topic [read|write|readwrite|deny|subscribe] FILTER     of the user above; before the first
 *     user NAME                                              user line: of clients without a name
 *     pattern [read|write|readwrite|deny|subscribe] FILTER   of everybody; %c client id, %u user
 *
 * Floor:  access.
 * Thread: immutable; references by any thread. A cache belongs to its connection.
 * Memory: heap, references.
 *
 * Decisions, as mosquitto takes them: denials of the user's rules first, then his other rules in
 * the order of the file, then patterns likewise; the first that matches and speaks of the access
 * decides; none: denied. `$` topics are matched only by filters that begin with `$`. A client id or
 * user name with + or # in it (or /, in a pattern that would spread over levels) matches no pattern.
 * To a subscribe a filter is judged as a set of topics, see acl_may_subscribe().
 */
#ifndef TERN_ACCESS_ACL_H
#define TERN_ACCESS_ACL_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { ACL_FILE_BYTES_MAX = 64 * 1024 * 1024, ACL_CACHE_SLOTS = 4 };

struct acl;

struct acl_trouble {
    uint32_t line;
    char text[256];
};

/* Read a file's text; borrowed for the call. Not one line may be wrong. ERR_INVALID, ERR_NOMEM. */
enum err acl_parse(struct slice text, struct acl **out, struct acl_trouble *trouble);
struct acl *acl_ref(struct acl *acl);
void acl_unref(struct acl *acl); /* accepts NULL */

/* Of whom it is asked. Borrowed texts; user found once by acl_subject_init(). */
struct acl_subject {
    const struct acl *acl; /* not referenced: the one of this turn; NULL: everything is allowed */
    const struct acl_user *user; /* NULL: no rules but patterns */
    struct slice username, client_id;
    bool has_username;
};
void acl_subject_init(struct acl_subject *subject, const struct acl *acl, bool has_username,
                      struct slice username, struct slice client_id);

/* What was decided, and why. */
struct acl_decision {
    bool is_allowed;
    uint32_t line;     /* of the rule that decided; 0: no rule speaks of it (denied), or no acl */
    struct slice rule; /* the line as written; "": none; lives as long as the acl */
};

/* May it publish to this topic name? decision may be NULL. */
bool acl_may_publish(const struct acl_subject *subject, struct slice topic,
                     struct acl_decision *decision);

/* May it be sent a message of this topic name? */
bool acl_may_read(const struct acl_subject *subject, struct slice topic,
                  struct acl_decision *decision);

/*
 * May it subscribe to this filter (without $share)?
 *   - `subscribe` rules that concern it (its own, or patterns): the filter has to lie inside one of
 *     them, else it is denied;
 *   - without such rules: denied if a deny rule covers the filter whole, or if no read rule overlaps
 *     it, as then nothing could ever come of it; else allowed, and each message is judged by
 *     acl_may_read() on its way, as mosquitto does.
 */
bool acl_may_subscribe(const struct acl_subject *subject, struct slice filter,
                       struct acl_decision *decision);

/* Whatever comes through this filter may be read: no need to look at each message. */
bool acl_reads_all(const struct acl_subject *subject, struct slice filter);

/*
 * The same as acl_may_publish()/acl_may_read() with the last answers remembered: topic_hash tells
 * topics apart (64 bits of XXH3). Zero-initialised is empty. Made for one subject; cleared by the
 * caller when that changes.
 */
struct acl_cache {
    uint64_t hashes[ACL_CACHE_SLOTS];
    uint8_t verdicts[ACL_CACHE_SLOTS]; /* 0: empty; 1: allowed; 2: denied */
    uint8_t next;
};
bool acl_may_publish_cached(const struct acl_subject *subject, struct acl_cache *cache,
                            struct slice topic, uint64_t topic_hash);
bool acl_may_read_cached(const struct acl_subject *subject, struct acl_cache *cache,
                         struct slice topic, uint64_t topic_hash);

#endif
