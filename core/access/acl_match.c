/*
 * One rule, or a list of them, against what is asked.
 *
 * A pattern becomes a filter on the stack, as text, as mosquitto does it; then it is a filter like any
 * other, and one function of core/pubsub/topic.h is the truth about all of them. Most patterns are
 * out before that by their head.
 *
 * Names that come from clients must not widen what a pattern gives (it is only the allowing rules that
 * are careful; a denial takes every name as text):
 *   N1  names with + or # are not put into patterns at all: see acl.c.
 *   N2  a name with a / would spread over levels and reach into what another name owns: "a/b" into
 *       that of "a". Such a pattern allows it nothing. mosquitto would.
 *   N3  a pattern that begins with %c or %u allows nothing that begins with '$', so that nobody gets
 *       $SYS/# by calling himself $SYS. mosquitto would.
 *
 * A list of more than INDEX_RULES_MIN rules has an index. The head of a rule (see acl_parts.h) is cut
 * to HEAD_LEVELS_MAX levels and hashed; rules with the same hash are a chain, in their order. A name
 * asks for the chains of its own beginnings, of none up to HEAD_LEVELS_MAX levels, and compares only
 * what stands there:
 *
 *     name      a/b/c           beginnings   ""   "a"   "a/b"   "a/b/c"
 *     rules     a/b/#, a/+/c, #, x/y         #    a/+/c  a/b/#
 *
 * Invariants
 *   X1  every rule is in the chain of its cut head; a rule that matches a name has a head that is one
 *       of the name's beginnings: so none is missed.
 *   X2  chains ascend, so the first of a chain that decides is the first of all of its chain; of the
 *       chains the one with the smallest place in the list wins: denials stand first.
 */
#include "core/access/acl_parts.h"
#include "core/pubsub/topic.h"

#include <stdlib.h>

enum {
    TOPIC_BYTES_MAX = 65535,
    /* A filter that matches a name has a '+' for an empty level at most, and "/#" behind it. */
    FILTER_BYTES_MAX = 2 * TOPIC_BYTES_MAX + 3,
    FILTER_BYTES_USUAL = 512,
    INDEX_RULES_MIN = 16,
    HEAD_LEVELS_MAX = 8,
};

/* ---- one rule ------------------------------------------------------------------------------ */

static bool relates(enum acl_relation relation, struct slice filter, struct slice text)
{
    switch (relation) {
    case ACL_MATCHES:
        return topic_matches(filter, text);
    case ACL_COVERS:
        return topic_covers(filter, text);
    case ACL_OVERLAPS:
        return topic_overlaps(filter, text);
    }
    return false;
}

/* The pattern with the subject's names in it, in room; its length, or 0: it is longer than that. */
static size_t names_put_in(const struct acl_subject *subject, struct slice pattern, uint8_t *room,
                           size_t room_bytes)
{
    size_t used = 0;
    while (pattern.count > 0) {
        struct slice part = slice_head(pattern, slice_find(pattern, '%'));
        size_t taken = part.count;
        if (taken == 0) { /* at a '%' */
            uint8_t mark = pattern.count > 1 ? pattern.data[1] : 0;
            bool is_name = mark == 'c' || mark == 'u';
            part = mark == 'c'   ? subject->client_id
                   : mark == 'u' ? subject->username
                                 : slice_head(pattern, 1);
            taken = is_name ? 2 : 1;
        }
        if (part.count > room_bytes - used) {
            return 0;
        }
        if (part.count > 0) {
            memcpy(room + used, part.data, part.count);
        }
        used += part.count;
        pattern = slice_skip(pattern, taken);
    }
    return used;
}

/* A long one: it has room on the stack, but only if it is needed. */
static __attribute__((noinline)) bool long_pattern_relates(const struct acl_question *question,
                                                           struct slice pattern,
                                                           enum acl_relation relation)
{
    uint8_t room[FILTER_BYTES_MAX];
    size_t bytes = names_put_in(question->subject, pattern, room, sizeof(room));
    return relates(relation, slice_of(room, bytes), question->text); /* 0: longer than any name */
}

static bool pattern_relates(const struct acl_question *question, const struct acl_rule *rule,
                            enum acl_relation relation)
{
    const struct acl_subject *subject = question->subject;
    struct slice pattern = acl_rule_filter(subject->acl, rule);
    uint8_t room[FILTER_BYTES_USUAL];

    if ((rule->traits & ACL_TAKES_USERNAME) != 0 && !subject->has_username) {
        return false;
    }
    if (rule->access != ACL_DENY) {
        bool spreads = (rule->traits & ACL_TAKES_CLIENT_ID) != 0 && subject->client_id_has_slash;
        spreads |= (rule->traits & ACL_TAKES_USERNAME) != 0 && subject->username_has_slash;
        bool is_dollar = question->text.count > 0 && question->text.data[0] == '$';
        if (spreads || (is_dollar && (rule->traits & ACL_BEGINS_WITH_NAME) != 0)) {
            return false; /* N2, N3 */
        }
    }
    size_t bytes = names_put_in(subject, pattern, room, sizeof(room));
    if (bytes == 0) {
        return long_pattern_relates(question, pattern, relation);
    }
    return relates(relation, slice_of(room, bytes), question->text);
}

static bool rule_relates(const struct acl_question *question, const struct acl_rule *rule,
                         enum acl_relation relation)
{
    struct slice filter = acl_rule_filter(question->subject->acl, rule);

    if (relation == ACL_MATCHES &&
        !slice_starts_with(question->text, slice_head(filter, rule->head_bytes))) {
        return false;
    }
    if ((rule->traits & (ACL_TAKES_CLIENT_ID | ACL_TAKES_USERNAME)) != 0) {
        return pattern_relates(question, rule, relation);
    }
    if (relation == ACL_MATCHES && rule->head_bytes == filter.count) {
        return question->text.count == filter.count; /* it is its own head */
    }
    return relates(relation, filter, question->text);
}

static bool rule_decides(const struct acl_question *question, const struct acl_rule *rule)
{
    if (rule->access == ACL_DENY) {
        return rule_relates(question, rule, question->denies);
    }
    return (rule->access & question->access) != 0 && rule_relates(question, rule, question->allows);
}

/* ---- many rules ---------------------------------------------------------------------------- */

struct acl_index {
    uint32_t chain_mask; /* chains - 1, a power of two */
    uint32_t *firsts;    /* of each chain: a place in the list + 1; 0: none */
    uint32_t *nexts;     /* of each rule, likewise */
    uint32_t rule_count;
};

/* The beginning of a text that reaches up to its levels-th '/'; all of it, if there are less. */
static struct slice levels_cut(struct slice text, uint32_t levels)
{
    size_t end = 0;
    for (uint32_t i = 0; i < levels && end < text.count; i++) {
        end += i > 0; /* over the '/' */
        end += slice_find(slice_skip(text, end), '/');
    }
    return slice_head(text, end);
}

static uint32_t *chain_of(const struct acl *acl, const struct acl_index *index, struct slice head)
{
    return &index->firsts[hash_bytes_seeded(head, acl->seed) & index->chain_mask];
}

enum err acl_index_new(const struct acl *acl, struct acl_user *list)
{
    if (list->rule_count <= INDEX_RULES_MIN) {
        return OK;
    }
    struct acl_index *index = calloc(1, sizeof(*index));
    if (index == NULL) {
        return ERR_NOMEM;
    }
    list->index = index;
    index->rule_count = list->rule_count;
    while (index->chain_mask < list->rule_count) {
        index->chain_mask = 2 * index->chain_mask + 1;
    }
    index->firsts = calloc((size_t)index->chain_mask + 1, sizeof(index->firsts[0]));
    index->nexts = calloc(list->rule_count, sizeof(index->nexts[0]));
    if (index->firsts == NULL || index->nexts == NULL) {
        return ERR_NOMEM; /* freed with the list */
    }
    for (uint32_t i = list->rule_count; i > 0; i--) { /* X2: the last one first */
        struct slice head = acl_rule_head(acl, &list->rules[i - 1]);
        uint32_t *first = chain_of(acl, index, levels_cut(head, HEAD_LEVELS_MAX));
        index->nexts[i - 1] = *first;
        *first = i;
    }
    return OK;
}

void acl_index_free(struct acl_index *index)
{
    if (index == NULL) {
        return;
    }
    free(index->firsts);
    free(index->nexts);
    free(index);
}

static const struct acl_rule *index_decides(const struct acl_question *question,
                                            const struct acl_user *list)
{
    const struct acl_index *index = list->index;
    uint32_t best = list->rule_count; /* no rule has decided */
    struct slice name = question->text;

    for (uint32_t levels = 0; levels <= HEAD_LEVELS_MAX; levels++) { /* X1 */
        struct slice beginning = levels_cut(name, levels);
        uint32_t at = *chain_of(question->subject->acl, index, beginning);
        while (at > 0 && at - 1 < best) {
            if (rule_decides(question, &list->rules[at - 1])) {
                best = at - 1; /* X2 */
            }
            at = index->nexts[at - 1];
        }
        if (levels > 0 && beginning.count == name.count) {
            break;
        }
    }
    return best < list->rule_count ? &list->rules[best] : NULL;
}

const struct acl_rule *acl_list_decides(const struct acl_question *question,
                                        const struct acl_user *list)
{
    if (list->index != NULL && question->allows == ACL_MATCHES) {
        return index_decides(question, list);
    }
    for (uint32_t i = 0; i < list->rule_count; i++) {
        if (rule_decides(question, &list->rules[i])) {
            return &list->rules[i];
        }
    }
    return NULL;
}

size_t acl_index_bytes(const struct acl_index *index)
{
    if (index == NULL) {
        return 0;
    }
    return sizeof(*index) + ((size_t)index->chain_mask + 1) * sizeof(index->firsts[0]) +
           index->rule_count * sizeof(index->nexts[0]);
}
