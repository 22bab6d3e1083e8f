/*
 * Who is asked for, which list decides, the cache.
 *
 *     rules of the user (or of those without a name)      patterns
 *       denials ──> others ──────────────────────────────> denials ──> others ──> no: denied
 *          │           │                            │         │           │
 *        denied     allowed         + or # in a name: denied  denied    allowed
 *
 * One walk answers every question. What differs is how a rule's filter has to stand to what is asked:
 *
 *                                             denies when it       allows when it
 *     publish, read: a name                   matches              matches
 *     subscribe rules: a filter               covers all of it     covers all of it
 *     read rules, may it subscribe            covers all of it     overlaps it
 *     read rules, is all of it readable       overlaps it          covers all of it
 */
#include "core/access/acl_parts.h"

#include <stdlib.h>

/* ---- life ---------------------------------------------------------------------------------- */

struct acl *acl_ref(struct acl *acl)
{
    atomic_fetch_add_explicit(&acl->refs, 1, memory_order_relaxed);
    return acl;
}

void acl_unref(struct acl *acl)
{
    /* acq_rel: who frees it sees all that the others did with it, of whom each released it here. */
    if (acl == NULL || atomic_fetch_sub_explicit(&acl->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (uint32_t i = 0; i < acl->user_count; i++) {
        acl_index_free(acl->users[i].index);
    }
    map_free(acl->by_name);
    free(acl->rules);
    free(acl->users);
    free(acl->text);
    free(acl);
}

struct acl_size acl_size(const struct acl *acl)
{
    enum { MAP_SLOT_BYTES = 16, MAP_SLOTS_EACH = 2 }; /* about, see core/base/map.c */
    uint32_t pattern_count = acl->users[ACL_USER_PATTERNS].rule_count;
    struct acl_size size = {
        .user_count = acl->user_count - ACL_USER_NAMED,
        .rule_count = acl->rule_count - pattern_count,
        .pattern_count = pattern_count,
        .bytes = sizeof(*acl) + acl->text_bytes + acl->user_count * sizeof(acl->users[0]) +
                 acl->rule_count * sizeof(acl->rules[0]),
    };
    size.bytes += (size_t)size.user_count * MAP_SLOT_BYTES * MAP_SLOTS_EACH;
    for (uint32_t i = 0; i < acl->user_count; i++) {
        size.bytes += acl_index_bytes(acl->users[i].index);
    }
    return size;
}

/* ---- who ----------------------------------------------------------------------------------- */

static bool has_wildcard(struct slice text)
{
    return slice_find(text, '+') < text.count || slice_find(text, '#') < text.count;
}

void acl_subject_init(struct acl_subject *subject, const struct acl *acl, bool has_username,
                      struct slice username, struct slice client_id)
{
    if (username.count == 0) {
        has_username = false; /* mosquitto takes an empty name as none */
    }
    *subject = (struct acl_subject){
        .acl = acl,
        .username = username,
        .client_id = client_id,
        .has_username = has_username,
        .has_wildcard = has_wildcard(client_id) || (has_username && has_wildcard(username)),
        .username_has_slash = slice_find(username, '/') < username.count,
        .client_id_has_slash = slice_find(client_id, '/') < client_id.count,
    };
    if (acl != NULL) {
        subject->user = has_username ? map_get(acl->by_name, username)
                                     : &acl->users[ACL_USER_ANONYMOUS];
    }
}

/* ---- which rule decides -------------------------------------------------------------------- */

static const struct acl_user *patterns_of(const struct acl_question *question)
{
    return &question->subject->acl->users[ACL_USER_PATTERNS];
}

static const struct acl_rule *rule_decides(const struct acl_question *question)
{
    const struct acl_subject *subject = question->subject;
    if (subject->user != NULL) {
        const struct acl_rule *rule = acl_list_decides(question, subject->user);
        if (rule != NULL) {
            return rule;
        }
    }
    if (subject->has_wildcard) {
        return NULL; /* put into a pattern it would match what belongs to others */
    }
    return acl_list_decides(question, patterns_of(question));
}

/* Why no rule has decided. */
static const char *why_none(const struct acl_question *question)
{
    const struct acl_subject *subject = question->subject;
    bool has_slash = subject->client_id_has_slash ||
                     (subject->has_username && subject->username_has_slash);
    if (patterns_of(question)->rule_count > 0 && subject->has_wildcard) {
        return "no rule of its own speaks of it, and a client id or user name with + or # is "
               "allowed nothing by patterns";
    }
    if (patterns_of(question)->rule_count > 0 && has_slash) {
        return "no rule speaks of it (a client id or user name with a / is not put into patterns)";
    }
    if (question->access == ACL_SUBSCRIBE) {
        return "no subscribe rule holds all of it";
    }
    return question->allows == ACL_MATCHES ? "no rule speaks of it"
                                           : "no rule lets it read anything of it";
}

static bool decide(const struct acl_question *question, struct acl_decision *decision)
{
    const struct acl_rule *rule = rule_decides(question);
    bool is_allowed = rule != NULL && rule->access != ACL_DENY;

    if (decision == NULL) {
        return is_allowed;
    }
    *decision = (struct acl_decision){.is_allowed = is_allowed};
    if (rule == NULL) {
        decision->why = why_none(question);
        return false;
    }
    decision->line = rule->line;
    decision->rule = acl_rule_line(question->subject->acl, rule);
    decision->why = is_allowed ? "a rule allows it" : "a rule denies it";
    return is_allowed;
}

static bool nothing_guards(struct acl_decision *decision)
{
    if (decision != NULL) {
        *decision = (struct acl_decision){.is_allowed = true, .why = "there are no rules"};
    }
    return true;
}

/* ---- questions ----------------------------------------------------------------------------- */

static bool may(const struct acl_subject *subject, struct slice topic, enum acl_access access,
                struct acl_decision *decision)
{
    if (subject->acl == NULL) {
        return nothing_guards(decision);
    }
    struct acl_question question = {subject, topic, access, ACL_MATCHES, ACL_MATCHES};
    return decide(&question, decision);
}

bool acl_may_publish(const struct acl_subject *subject, struct slice topic,
                     struct acl_decision *decision)
{
    return may(subject, topic, ACL_WRITE, decision);
}

bool acl_may_read(const struct acl_subject *subject, struct slice topic,
                  struct acl_decision *decision)
{
    return may(subject, topic, ACL_READ, decision);
}

/* Is there a subscribe rule that speaks of this subject? Patterns with %u do not of the nameless. */
static bool has_subscribe_rules(const struct acl_subject *subject)
{
    const struct acl_user *patterns = &subject->acl->users[ACL_USER_PATTERNS];

    if (subject->user != NULL && (subject->user->access_all & ACL_SUBSCRIBE) != 0) {
        return true;
    }
    if ((patterns->access_all & ACL_SUBSCRIBE) == 0) {
        return false;
    }
    for (uint32_t i = patterns->deny_count; i < patterns->rule_count; i++) {
        const struct acl_rule *rule = &patterns->rules[i];
        bool is_of_it = subject->has_username || (rule->traits & ACL_TAKES_USERNAME) == 0;
        if ((rule->access & ACL_SUBSCRIBE) != 0 && is_of_it) {
            return true;
        }
    }
    return false;
}

bool acl_may_subscribe(const struct acl_subject *subject, struct slice filter,
                       struct acl_decision *decision)
{
    if (subject->acl == NULL) {
        return nothing_guards(decision);
    }
    struct acl_question question = {subject, filter, ACL_READ, ACL_COVERS, ACL_OVERLAPS};
    if (has_subscribe_rules(subject)) {
        question.access = ACL_SUBSCRIBE;
        question.allows = ACL_COVERS;
    }
    return decide(&question, decision);
}

bool acl_reads_all(const struct acl_subject *subject, struct slice filter)
{
    if (subject->acl == NULL) {
        return true;
    }
    struct acl_question question = {subject, filter, ACL_READ, ACL_OVERLAPS, ACL_COVERS};
    return decide(&question, NULL);
}

/* ---- the cache ----------------------------------------------------------------------------- */

enum { VERDICT_NONE, VERDICT_ALLOWED, VERDICT_DENIED };

static bool may_cached(const struct acl_subject *subject, struct acl_cache *cache,
                       struct slice topic, enum acl_access access)
{
    if (subject->acl == NULL) {
        return true;
    }
    uint64_t hash = hash_bytes_seeded(topic, subject->acl->seed + access);
    for (uint32_t i = 0; i < ACL_CACHE_SLOTS; i++) {
        if (cache->hashes[i] == hash && cache->verdicts[i] != VERDICT_NONE) {
            return cache->verdicts[i] == VERDICT_ALLOWED;
        }
    }
    bool is_allowed = may(subject, topic, access, NULL);
    cache->hashes[cache->next] = hash;
    cache->verdicts[cache->next] = is_allowed ? VERDICT_ALLOWED : VERDICT_DENIED;
    cache->next = (uint8_t)((cache->next + 1) % ACL_CACHE_SLOTS);
    return is_allowed;
}

bool acl_may_publish_cached(const struct acl_subject *subject, struct acl_cache *cache,
                            struct slice topic)
{
    return may_cached(subject, cache, topic, ACL_WRITE);
}

bool acl_may_read_cached(const struct acl_subject *subject, struct acl_cache *cache,
                         struct slice topic)
{
    return may_cached(subject, cache, topic, ACL_READ);
}
