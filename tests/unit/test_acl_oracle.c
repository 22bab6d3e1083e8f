/*
 * Random files against a second opinion: all names of up to four levels over a few words, each rule
 * looked at alone, with the functions of topic.h (which test_topic.c holds against all names). What the
 * engine does with lists, indexes and traits, this does rule by rule.
 */
#include "core/access/acl.h"
#include "core/base/rng.h"
#include "core/pubsub/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    LEVELS_MAX = 4,
    NAMES_MAX = 1024,
    TEXT_BYTES = 96,
    RULES_MAX = 400,
    FILE_BYTES = RULES_MAX * TEXT_BYTES,
};

enum { ALLOWS_NONE = 0, ALLOWS_READ = 1, ALLOWS_WRITE = 2, ALLOWS_SUBSCRIBE = 4 };

struct opinion_rule {
    char filter[TEXT_BYTES]; /* with names put in */
    bool is_pattern, is_deny, applies;
    bool is_of_it; /* without %u, where there is no user name */
    uint8_t allows;
    uint32_t line;
};

struct opinion {
    struct opinion_rule rules[RULES_MAX];
    uint32_t count;
    bool has_wildcard_name;
};

static const char *const name_words[] = {"", "a", "b", "$x", "me"};
static char names[NAMES_MAX][TEXT_BYTES];
static uint32_t name_count;

static void names_make(void)
{
    uint32_t combinations = 1;
    name_count = 0;
    for (uint32_t levels = 1; levels <= LEVELS_MAX; levels++) {
        combinations *= 5;
        for (uint32_t number = 0; number < combinations; number++) {
            char text[TEXT_BYTES] = "";
            uint32_t rest = number;
            for (uint32_t level = 0; level < levels; level++, rest /= 5) {
                strcat(text, level > 0 ? "/" : "");
                strcat(text, name_words[rest % 5]);
            }
            assert_true(name_count < NAMES_MAX);
            strcpy(names[name_count++], text);
        }
    }
}

/* A filter of up to LEVELS_MAX - 1 levels, so that the names reach beyond it. */
static void filter_make(struct rng *rng, bool is_pattern, char *out)
{
    static const char *const words[] = {"",  "a", "b", "$x", "me", "+",
                                        "+", "a", "b", "%c", "%u", "m%c"};
    uint32_t levels = 1 + (uint32_t)rng_below(rng, LEVELS_MAX - 1);
    out[0] = '\0';
    for (uint32_t level = 0; level < levels; level++) {
        strcat(out, level > 0 ? "/" : "");
        strcat(out, words[rng_below(rng, is_pattern ? 12 : 9)]);
    }
    if (out[0] == '\0' || rng_below(rng, 4) == 0) {
        strcat(out, out[0] == '\0' ? "#" : "/#");
    }
}

/* What stands in core/access/README.md, once more. */
static void names_put_in(const char *pattern, const char *username, const char *id,
                         struct opinion_rule *out)
{
    bool takes_slash = false;
    out->filter[0] = '\0';
    for (const char *at = pattern; *at != '\0'; at++) {
        char one[2] = {*at, '\0'};
        const char *part = one;
        if (at[0] == '%' && at[1] == 'c') {
            part = id;
        } else if (at[0] == '%' && at[1] == 'u') {
            out->is_of_it = out->is_of_it && username != NULL;
            part = username == NULL ? "" : username;
        }
        takes_slash = takes_slash || (part != one && strchr(part, '/') != NULL);
        at += part != one;
        strcat(out->filter, part);
    }
    out->applies = out->is_of_it && (out->is_deny || !takes_slash);
    if (pattern[0] == '%' && out->filter[0] == '$' && !out->is_deny) {
        out->applies = false;
    }
}

/* A file of rule_count rules, and what they are to the subject. */
static void file_make(struct rng *rng, uint32_t rule_count, const char *username, const char *id,
                      char *file, struct opinion *opinion)
{
    bool has_subscribe = rng_below(rng, 3) == 0;
    static const struct {
        const char *word;
        bool is_deny;
        uint8_t allows;
    } accesses[] = {
        {"read ", false, ALLOWS_READ},
        {"write ", false, ALLOWS_WRITE},
        {"readwrite ", false, ALLOWS_READ | ALLOWS_WRITE},
        {"", false, ALLOWS_READ | ALLOWS_WRITE},
        {"deny ", true, ALLOWS_NONE},
        {"subscribe ", false, ALLOWS_SUBSCRIBE},
    };
    size_t used = 0;
    uint32_t line = 1;
    opinion->count = 0;
    opinion->has_wildcard_name = strpbrk(id, "+#") != NULL ||
                                 (username != NULL && strpbrk(username, "+#") != NULL);
    if (username != NULL) {
        used = (size_t)sprintf(file, "topic readwrite #\nuser %s\n", username);
        line += 2;
    }
    for (uint32_t i = 0; i < rule_count; i++) {
        struct opinion_rule *rule = &opinion->rules[opinion->count];
        char filter[TEXT_BYTES];
        uint32_t which = (uint32_t)rng_below(rng, has_subscribe ? 6 : 5);
        *rule = (struct opinion_rule){
            .is_pattern = rng_below(rng, 3) == 0,
            .is_deny = accesses[which].is_deny && rng_below(rng, 3) == 0,
            .applies = true,
            .is_of_it = true,
            .line = line++,
        };
        which = accesses[which].is_deny && !rule->is_deny ? 0 : which;
        rule->allows = accesses[which].allows;
        filter_make(rng, rule->is_pattern, filter);
        if (rule->is_pattern) {
            names_put_in(filter, username, id, rule);
        } else {
            strcpy(rule->filter, filter);
        }
        opinion->count++;
        used += (size_t)sprintf(file + used, "%s %s%s\n", rule->is_pattern ? "pattern" : "topic",
                                accesses[which].word, filter);
    }
}

enum relation { MATCHES, COVERS, OVERLAPS };

static bool relates(enum relation relation, const char *filter, struct slice text)
{
    switch (relation) {
    case MATCHES:
        return topic_matches(slice_text(filter), text);
    case COVERS:
        return topic_covers(slice_text(filter), text);
    case OVERLAPS:
        return topic_overlaps(slice_text(filter), text);
    }
    return false;
}

/* The line that decides: *is_allowed, and 0 when none does. */
static uint32_t opinion_of(const struct opinion *opinion, struct slice text, uint8_t access,
                           enum relation denies, enum relation allows, bool *is_allowed)
{
    *is_allowed = false;
    for (int pass = 0; pass < 4;
         pass++) { /* denials and others of the user, then of the patterns */
        bool is_pattern = pass >= 2, is_deny = pass % 2 == 0;
        if (is_pattern && opinion->has_wildcard_name) {
            return 0;
        }
        for (uint32_t i = 0; i < opinion->count; i++) {
            const struct opinion_rule *rule = &opinion->rules[i];
            bool counts = rule->applies && rule->is_pattern == is_pattern &&
                          rule->is_deny == is_deny && (is_deny || (rule->allows & access) != 0);
            if (counts && relates(is_deny ? denies : allows, rule->filter, text)) {
                *is_allowed = !is_deny;
                return rule->line;
            }
        }
    }
    return 0;
}

static uint32_t opinion_of_name(const struct opinion *opinion, const char *name, uint8_t access,
                                bool *is_allowed)
{
    return opinion_of(opinion, slice_text(name), access, MATCHES, MATCHES, is_allowed);
}

/* As acl.h has it: subscribe rules that concern it are the only ones that count. */
static uint32_t opinion_of_filter(const struct opinion *opinion, struct slice filter,
                                  bool *has_subscribe, bool *is_allowed)
{
    *has_subscribe = false;
    for (uint32_t i = 0; i < opinion->count; i++) {
        const struct opinion_rule *rule = &opinion->rules[i];
        *has_subscribe |= rule->is_of_it && (rule->allows & ALLOWS_SUBSCRIBE) != 0;
    }
    if (*has_subscribe) {
        return opinion_of(opinion, filter, ALLOWS_SUBSCRIBE, COVERS, COVERS, is_allowed);
    }
    return opinion_of(opinion, filter, ALLOWS_READ, COVERS, OVERLAPS, is_allowed);
}

static const char *const usernames[] = {NULL, "me", "a", "b+", "a/b", "", "$x"};
static const char *const ids[] = {"a", "me", "a/me", "#", "$x", "", "b"};

static void engine_and_opinion_agree(uint64_t seed, uint32_t rule_count, uint32_t file_count)
{
    static char file[FILE_BYTES];
    static struct opinion opinion;
    struct rng rng;
    uint64_t allowed = 0, denied = 0, by_none = 0, readable = 0, refused = 0;

    rng_init(&rng, seed);
    names_make();
    for (uint32_t round = 0; round < file_count; round++) {
        const char *username = usernames[rng_below(&rng, 7)], *id = ids[rng_below(&rng, 7)];
        struct acl *acl = NULL;
        struct acl_trouble trouble;
        struct acl_subject subject;
        struct acl_cache cache = {0};
        bool may_read[NAMES_MAX];
        if (username != NULL && username[0] == '\0') {
            username = "a"; /* a file cannot speak of the empty name */
        }
        file_make(&rng, rule_count, username, id, file, &opinion);
        assert_int_equal(acl_parse(slice_text(file), &acl, &trouble), OK);
        acl_subject_init(&subject, acl, username != NULL,
                         slice_text(username == NULL ? "" : username), slice_text(id));
        for (uint32_t i = 0; i < name_count; i++) {
            struct slice name = slice_text(names[i]);
            struct acl_decision read, write;
            bool is_read, is_write;
            if (name.count == 0) {
                may_read[i] = false;
                continue;
            }
            uint32_t read_line = opinion_of_name(&opinion, names[i], ALLOWS_READ, &is_read);
            uint32_t write_line = opinion_of_name(&opinion, names[i], ALLOWS_WRITE, &is_write);
            may_read[i] = acl_may_read(&subject, name, &read);
            acl_may_publish(&subject, name, &write);
            if (read.is_allowed != is_read || read.line != read_line ||
                write.is_allowed != is_write || write.line != write_line) {
                fail_msg("user %s, id %s, name %s: read %d by %u and not %d by %u, write %d by %u "
                         "and not %d by %u:\n%s",
                         username, id, names[i], read.is_allowed, read.line, is_read, read_line,
                         write.is_allowed, write.line, is_write, write_line, file);
            }
            assert_int_equal(acl_may_read_cached(&subject, &cache, name), is_read);
            assert_int_equal(acl_may_publish_cached(&subject, &cache, name), is_write);
            assert_int_equal(acl_may_publish_cached(&subject, &cache, name), is_write);
            *(is_read ? &allowed : read_line > 0 ? &denied : &by_none) += 1;
        }
        for (uint32_t i = 0; i < 200; i++) { /* filters: as sets of names */
            char text[TEXT_BYTES];
            filter_make(&rng, false, text);
            struct slice filter = slice_text(text);
            struct acl_decision decision;
            bool reads_some = false, reads_all = acl_reads_all(&subject, filter);
            bool may_subscribe = acl_may_subscribe(&subject, filter, &decision);
            bool has_subscribe, expected;
            uint32_t line = opinion_of_filter(&opinion, filter, &has_subscribe, &expected);
            if (may_subscribe != expected || decision.line != line) {
                fail_msg("user %s, id %s, filter %s: %d by %u and not %d by %u:\n%s", username, id,
                         text, may_subscribe, decision.line, expected, line, file);
            }
            for (uint32_t k = 0; k < name_count; k++) {
                if (topic_matches(filter, slice_text(names[k]))) {
                    reads_some = reads_some || may_read[k];
                    if (reads_all && !may_read[k]) {
                        fail_msg("user %s, id %s: not all of %s may be read, %s may not:\n%s",
                                 username, id, text, names[k], file);
                    }
                }
            }
            if (reads_some && !may_subscribe && !has_subscribe) {
                fail_msg("user %s, id %s: something of %s may be read:\n%s", username, id, text,
                         file);
            }
            readable += reads_all;
            refused += !may_subscribe;
        }
        acl_unref(acl);
    }
    /* It was about something. */
    assert_true(allowed > file_count && denied > file_count && by_none > file_count);
    assert_true(readable > file_count / 4 && refused > file_count / 4);
}

static void few_rules_decide_as_each_rule_alone_would(void **state)
{
    (void)state;
    engine_and_opinion_agree(1, 5, 150);
    engine_and_opinion_agree(2, 12, 100);
}

/* Lists with an index. */
static void many_rules_decide_as_each_rule_alone_would(void **state)
{
    (void)state;
    engine_and_opinion_agree(3, 60, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rules_decide_as_each_rule_alone_would),
        cmocka_unit_test(many_rules_decide_as_each_rule_alone_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
