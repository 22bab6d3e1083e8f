/*
 * acl_parts: what an acl is made of; for acl*.c and nobody else.
 *
 *     acl.c        who is asked for, which list decides, the cache
 *     acl_match.c  one rule or a list of them against a topic; names put into patterns
 *     acl_parse.c  from a file's text to lists of rules
 *
 * Floor:  access.
 * Memory: the acl's, whole: text, users, rules and indexes come and go with it.
 */
#ifndef TERN_ACCESS_ACL_PARTS_H
#define TERN_ACCESS_ACL_PARTS_H

#include "core/access/acl.h"
#include "core/base/map.h"

#include <stdatomic.h>

/* What a rule speaks of. None of them: it denies. */
enum acl_access {
    ACL_DENY = 0,
    ACL_READ = 1,
    ACL_WRITE = 2,
    ACL_SUBSCRIBE = 4,
};

/* What its filter is like. The last three: of patterns only. */
enum acl_trait {
    ACL_HAS_WILDCARD = 1,
    ACL_TAKES_CLIENT_ID = 2,
    ACL_TAKES_USERNAME = 4,
    ACL_BEGINS_WITH_NAME = 8, /* %c or %u are its first letters */
};

/*
 * One line. The filter is the end of the line; the head is the beginning of the filter that every
 * name it matches begins with: its whole levels before the first + # %c or %u. An acl may have
 * millions of rules, so they are small, and say where in the text they stand.
 */
struct acl_rule {
    uint32_t line;
    uint32_t line_at, line_bytes; /* without blanks around it */
    uint16_t filter_bytes, head_bytes;
    uint8_t access, traits;
};

/* The rules of a user, of those without a name, or of everybody (patterns). */
struct acl_user {
    struct slice name;      /* of the acl's text */
    struct acl_rule *rules; /* denials first, then the others; both in the order of the file */
    uint32_t rule_count, deny_count;
    uint8_t access_all;      /* what its rules speak of, together */
    struct acl_index *index; /* NULL: so few rules that they are asked one after the other */
};

struct acl {
    _Atomic uint32_t refs;
    uint64_t seed; /* of hashes; from the system, so that nobody can make up collisions */
    uint8_t *text;
    size_t text_bytes;
    struct acl_user *users; /* ANONYMOUS and PATTERNS, then those with names */
    uint32_t user_count;
    struct acl_rule *rules; /* of all users, one list after the other */
    uint32_t rule_count;
    struct map *by_name;
};

enum { ACL_USER_ANONYMOUS, ACL_USER_PATTERNS, ACL_USER_NAMED };

/* How a rule's filter stands to what is asked: a name, or a filter as a set of names. */
enum acl_relation { ACL_MATCHES, ACL_COVERS, ACL_OVERLAPS };

struct acl_question {
    const struct acl_subject *subject;
    struct slice text; /* a name for ACL_MATCHES, else a filter */
    enum acl_access access;
    enum acl_relation denies, allows; /* which relation lets a rule deny, or allow */
};

/* The first rule of the list that decides: a denial, or a rule that speaks of the access; or NULL. */
const struct acl_rule *acl_list_decides(const struct acl_question *question,
                                        const struct acl_user *list);

/*
 * A list of many rules gets an index by their heads, so that a name is compared with few of them.
 * ERR_NOMEM: it goes without.
 */
enum err acl_index_new(const struct acl *acl, struct acl_user *list);
void acl_index_free(struct acl_index *index); /* accepts NULL */
size_t acl_index_bytes(const struct acl_index *index);

static inline struct slice acl_rule_line(const struct acl *acl, const struct acl_rule *rule)
{
    return slice_of(acl->text + rule->line_at, rule->line_bytes);
}

static inline struct slice acl_rule_filter(const struct acl *acl, const struct acl_rule *rule)
{
    uint32_t end = rule->line_at + rule->line_bytes;
    return slice_of(acl->text + end - rule->filter_bytes, rule->filter_bytes);
}

static inline struct slice acl_rule_head(const struct acl *acl, const struct acl_rule *rule)
{
    return slice_head(acl_rule_filter(acl, rule), rule->head_bytes);
}

#endif
