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
 * user name with + or # in it is allowed nothing by patterns; what else a name may not do by a
 * pattern is told in core/access/README.md. To a subscribe a filter is judged as a set of topics,
 * see acl_may_subscribe().
 */
#ifndef TERN_ACCESS_ACL_H
#define TERN_ACCESS_ACL_H

#include "core/base/err.h"
#include "core/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { ACL_FILE_BYTES_MAX = 64 * 1024 * 1024, ACL_CACHE_SLOTS = 4 };

struct acl;

/* The first line that is wrong, counted from 1 (0: the file as a whole), and what to do about it. */
struct acl_trouble {
    uint32_t line;
    char text[256];
};

/*
 * Read a file's text; borrowed for the call. Not one line may be wrong. ERR_INVALID with *trouble
 * written, ERR_NOMEM.
 */
enum err acl_parse(struct slice text, struct acl **out, struct acl_trouble *trouble);
struct acl *acl_ref(struct acl *acl);
void acl_unref(struct acl *acl); /* accepts NULL */

/* What it holds: for a log line, and for whoever asks what a file costs. */
struct acl_size {
    uint32_t user_count, rule_count, pattern_count; /* rules: without patterns */
    size_t bytes;
};
struct acl_size acl_size(const struct acl *acl);

/* Of whom it is asked. Borrowed texts; made by acl_subject_init() only. An empty user name is none. */
struct acl_subject {
    const struct acl *acl; /* not referenced: the one of this turn; NULL: everything is allowed */
    const struct acl_user *user; /* NULL: no rules but patterns */
    struct slice username, client_id;
    bool has_username;
    bool has_wildcard;       /* a + or # in the user name or client id */
    bool username_has_slash; /* it would spread over levels in a pattern */
    bool client_id_has_slash;
};
void acl_subject_init(struct acl_subject *subject, const struct acl *acl, bool has_username,
                      struct slice username, struct slice client_id);

/* What was decided, and why. */
struct acl_decision {
    bool is_allowed;
    uint32_t line;     /* of the rule that decided; 0: no rule speaks of it (denied), or no acl */
    struct slice rule; /* the line as written, without blanks around it; "": none; of the acl */
    const char *why;   /* "no rule speaks of it": a phrase for people; a constant, never NULL */
};

/* May it publish to this topic name? decision may be NULL. */
bool acl_may_publish(const struct acl_subject *subject, struct slice topic,
                     struct acl_decision *decision);

/* May it be sent a message of this topic name? */
bool acl_may_read(const struct acl_subject *subject, struct slice topic,
                  struct acl_decision *decision);

/*
 * May it subscribe to this filter (without $share)? Rules are asked in the same order.
 *   - `subscribe` rules that concern it (its own, or patterns): the filter has to lie inside one of
 *     them, else it is denied; a deny rule before that covers the filter whole denies it too;
 *   - without such rules: denied if a deny rule covers the filter whole, or if no read rule overlaps
 *     it, as then nothing could ever come of it; else allowed, and each message is judged by
 *     acl_may_read() on its way, as mosquitto does.
 */
bool acl_may_subscribe(const struct acl_subject *subject, struct slice filter,
                       struct acl_decision *decision);

/*
 * Whatever comes through this filter may be read: no need to look at each message. false: perhaps
 * not (it is not found out when only several rules together allow it all).
 */
bool acl_reads_all(const struct acl_subject *subject, struct slice filter);

/*
 * The same as acl_may_publish()/acl_may_read() with the last answers remembered. Zero-initialised is
 * empty. Made for one subject; cleared by the caller when that changes; one may serve both.
 *
 * Topics are told apart by 64 bits of a hash whose seed the acl has from the system. hash_bytes()
 * will not do: two topics of the same hash are easily made up when the seed is known, and the
 * answer for one that is allowed would open the other.
 */
struct acl_cache {
    uint64_t hashes[ACL_CACHE_SLOTS];
    uint8_t verdicts[ACL_CACHE_SLOTS]; /* 0: empty; 1: allowed; 2: denied */
    uint8_t next;
};
bool acl_may_publish_cached(const struct acl_subject *subject, struct acl_cache *cache,
                            struct slice topic);
bool acl_may_read_cached(const struct acl_subject *subject, struct acl_cache *cache,
                         struct slice topic);

#endif
