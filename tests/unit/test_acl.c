#include "core/access/acl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum question { PUBLISH, READ, SUBSCRIBE, READS_ALL };

static struct acl *parse(const char *text)
{
    struct acl *acl = NULL;
    struct acl_trouble trouble = {0};
    if (acl_parse(slice_text(text), &acl, &trouble) != OK) {
        fail_msg("line %u: %s", trouble.line, trouble.text);
    }
    return acl;
}

/* username NULL: none. */
static struct acl_subject subject_of(const struct acl *acl, const char *username, const char *id)
{
    struct acl_subject subject;
    struct slice name = username == NULL ? slice_of(NULL, 0) : slice_text(username);
    acl_subject_init(&subject, acl, username != NULL, name, slice_text(id));
    return subject;
}

static bool ask(const struct acl_subject *subject, enum question question, struct slice text,
                struct acl_decision *decision)
{
    switch (question) {
    case PUBLISH:
        return acl_may_publish(subject, text, decision);
    case READ:
        return acl_may_read(subject, text, decision);
    case SUBSCRIBE:
        return acl_may_subscribe(subject, text, decision);
    case READS_ALL:
        return acl_reads_all(subject, text);
    }
    return false;
}

struct row {
    const char *username, *id;
    enum question question;
    const char *text;
    bool is_allowed;
    uint32_t line;
};

static void rows_hold(const char *file, const struct row *rows, size_t count)
{
    struct acl *acl = parse(file);
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        struct acl_subject subject = subject_of(acl, row->username, row->id);
        struct acl_decision decision = {.line = row->line, .why = ""};
        bool is_allowed = ask(&subject, row->question, slice_text(row->text), &decision);
        if (is_allowed != row->is_allowed || decision.line != row->line) {
            fail_msg("row %zu, %s: expected %d by line %u, got %d by line %u (%s)", i, row->text,
                     row->is_allowed, row->line, is_allowed, decision.line, decision.why);
        }
    }
    acl_unref(acl);
}

#define ROWS_HOLD(file, rows) rows_hold(file, rows, sizeof(rows) / sizeof(rows[0]))

static void the_rules_of_a_user_are_his_own(void **state)
{
    static const char file[] = "topic read public/#\n"
                               "# of alice\n"
                               "user alice\n"
                               "topic write a/+\n"
                               "\n"
                               "topic read a/#\r\n"
                               "user bob\n"
                               "topic readwrite b b/%u\n"
                               "user alice\n"
                               "topic readwrite   more\n";
    static const struct row rows[] = {
        {NULL, "x", READ, "public/1", true, 1},
        {NULL, "x", PUBLISH, "public/1", false, 0},
        {NULL, "x", READ, "a/1", false, 0},
        {"alice", "x", READ, "public/1", false, 0}, /* line 1 is of those without a name */
        {"alice", "x", PUBLISH, "a/1", true, 4},
        {"alice", "x", READ, "a/1", true, 6},
        {"alice", "x", READ, "a", true, 6},
        {"alice", "x", PUBLISH, "a", false, 0},
        {"alice", "x", PUBLISH, "more", true, 10}, /* two blocks add up */
        {"bob", "x", PUBLISH, "b b/%u", true, 8},  /* topics take no names */
        {"bob", "x", PUBLISH, "b b/bob", false, 0},
        {"carol", "x", READ, "a/1", false, 0},
        {"", "x", READ, "public/1", true, 1}, /* an empty name is none */
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void denials_come_first_and_patterns_last(void **state)
{
    static const char file[] = "user u\n"
                               "topic readwrite a/#\n"
                               "topic deny a/secret/#\n"
                               "topic read c/%c/x\n"
                               "pattern write a/secret/%c\n"
                               "pattern deny p/%c/no\n"
                               "pattern readwrite p/%c/#\n"
                               "pattern read n/%u/%c/+\n"
                               "pattern deny a/#\n";
    static const struct row rows[] = {
        {"u", "c", READ, "a/1", true, 2},
        {"u", "c", PUBLISH, "a/1", true, 2},
        {"u", "c", READ, "a/secret", false, 3},
        {"u", "c", PUBLISH, "a/secret/c", false, 3}, /* before the pattern */
        {"other", "c", PUBLISH, "a/secret/c", false, 9},
        {"u", "c", PUBLISH, "p/c/1", true, 7},
        {"u", "c", PUBLISH, "p/c/no", false, 6},
        {"u", "c", PUBLISH, "p/d/1", false, 0},
        {"u", "c", READ, "n/u/c/1", true, 8},
        {"u", "c", READ, "n/u/d/1", false, 0},
        {NULL, "c", READ, "n//c/1", false, 0}, /* without a name there is no %u */
        {NULL, "c", READ, "p/c/1", true, 7},
        {"", "c", READ, "n//c/1", false, 0},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

/* [MQTT-4.7.2-1] as mosquitto extends it to rules. */
static void dollar_topics_need_dollar_rules(void **state)
{
    static const char file[] = "topic readwrite #\n"
                               "topic +/x\n"
                               "topic read $SYS/broker/#\n"
                               "pattern readwrite %c/#\n"
                               "pattern read $own/%c\n";
    static const struct row rows[] = {
        {NULL, "c", READ, "$SYS/broker/x", true, 3},
        {NULL, "c", READ, "$SYS/other", false, 0},
        {NULL, "c", READ, "$SYS/x", false, 0},
        {NULL, "c", READ, "$own/c", true, 5},
        {NULL, "$SYS", READ, "$SYS/other", false, 0}, /* N3 */
        {NULL, "c", SUBSCRIBE, "$SYS/other/#", false, 0},
        {NULL, "c", SUBSCRIBE, "$SYS/#", true, 3},
        {NULL, "c", SUBSCRIBE, "#", true, 1},
        {NULL, "c", READS_ALL, "#", true, 0},
        {NULL, "c", READS_ALL, "$SYS/#", false, 0},
        {NULL, "c", READS_ALL, "$SYS/broker/+", true, 0},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void a_name_widens_no_pattern(void **state)
{
    static const char file[] = "user a+\n"
                               "topic own\n"
                               "pattern readwrite dev/%c\n"
                               "pattern readwrite name/%u/#\n"
                               "pattern readwrite all/#\n"
                               "pattern deny dev/%c/x\n"
                               "pattern read dev/#\n"
                               "pattern read %%c/%x/%\n"
                               "pattern read pre%c%u/post\n";
    static const struct row rows[] = {
        {"u", "c", PUBLISH, "dev/c", true, 3},
        {"u", "+", PUBLISH, "dev/c", false, 0},
        {"u", "+", PUBLISH, "dev/+", false, 0},
        {"u", "#", PUBLISH, "all/x", false, 0},
        {"a+", "c", PUBLISH, "own", true, 2}, /* rules of its own hold */
        {"a+", "c", PUBLISH, "all/x", false, 0},
        {"a+", "c", READS_ALL, "own", true, 0},
        {"a+", "c", READS_ALL, "all/x", false, 0},
        {"a+", "c", SUBSCRIBE, "all/x", false, 0},
        {"u", "c/d", PUBLISH, "dev/c/d", false, 0}, /* N2 */
        {"u", "c/d", PUBLISH, "all/x", true, 5},    /* no name in it */
        {"u/v", "c", PUBLISH, "name/u/v/x", false, 0},
        {"u/v", "c", PUBLISH, "dev/c", true, 3},
        {"u", "c/d", READ, "dev/c/d/x", false, 6}, /* a denial takes the name as it is */
        {"u", "c", READ, "dev/c/d/x", true, 7},
        {"u", "c", READ, "%c/%x/%", true, 8},
        {"u", "c", READ, "precu/post", true, 9},
        {"u", "", READ, "preu/post", true, 9},
        {"u", "%u", READ, "pre%uu/post", true, 9}, /* put in once */
        {NULL, "", READ, "dev/", true, 3},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void a_subscription_must_be_able_to_receive(void **state)
{
    static const char file[] = "user u\n"
                               "topic deny a/secret/#\n"
                               "topic read a/+\n"
                               "topic write w/#\n"
                               "pattern read p/%c/+\n"
                               "pattern deny p/%c/x\n"
                               "user s\n"
                               "topic read a/#\n"
                               "topic subscribe a/b/#\n"
                               "topic deny a/b/c/#\n"
                               "user late\n"
                               "topic read p/late/x\n";
    static const struct row rows[] = {
        {"u", "c", SUBSCRIBE, "a/1", true, 3},
        {"u", "c", SUBSCRIBE, "a/#", true, 3}, /* each message is judged on its way */
        {"u", "c", SUBSCRIBE, "#", true, 3},
        {"u", "c", SUBSCRIBE, "a/secret/x", false, 2},
        {"u", "c", SUBSCRIBE, "a/secret/+/y", false, 2},
        {"u", "c", SUBSCRIBE, "w/1", false, 0},
        {"u", "c", SUBSCRIBE, "p/c/1", true, 5},
        {"u", "c", SUBSCRIBE, "p/c/x", false, 6},
        {"u", "c", SUBSCRIBE, "p/c/x/#", true, 5}, /* "p/c/x" is denied later */
        {"u", "c", SUBSCRIBE, "p/d/1", false, 0},
        {"u", "c", SUBSCRIBE, "p/+/1", true, 5},
        {"late", "late", SUBSCRIBE, "p/late/x", true,
         12}, /* its own rule is before the pattern's */
        /* With subscribe rules, read rules do not count. */
        {"s", "c", SUBSCRIBE, "a/b/d", true, 9},
        {"s", "c", SUBSCRIBE, "a/b/#", true, 9},
        {"s", "c", SUBSCRIBE, "a/b/c/1", false, 10},
        {"s", "c", SUBSCRIBE, "a/+/d", false, 0},
        {"s", "c", SUBSCRIBE, "a/1", false, 0},
        {"s", "c", SUBSCRIBE, "p/c/1", false, 0},
        {"s", "c", READ, "a/1", true, 8},
        {"s", "c", PUBLISH, "a/b/d", false, 0},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void subscribe_patterns_bind_those_they_speak_of(void **state)
{
    static const char file[] = "topic read public/#\n"
                               "user bob\n"
                               "topic read #\n"
                               "pattern subscribe home/%u/#\n";
    static const struct row rows[] = {
        {"bob", "c", SUBSCRIBE, "home/bob/+", true, 4},
        {"bob", "c", SUBSCRIBE, "public/1", false, 0},
        {NULL, "c", SUBSCRIBE, "public/1", true, 1}, /* %u does not speak of the nameless */
        {"bob/x", "c", SUBSCRIBE, "home/bob/x/y", false, 0},
        {"stranger", "c", SUBSCRIBE, "home/stranger/x", true, 4}, /* no rules of his own */
        {"bob", "c#", SUBSCRIBE, "home/bob/+", false, 0},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void all_of_a_filter_is_readable_or_perhaps_not(void **state)
{
    static const char file[] = "user u\n"
                               "topic read a/#\n"
                               "topic deny a/x/y\n"
                               "topic b/+\n"
                               "pattern read dev/%c/#\n"
                               "pattern deny dev/+/key\n"
                               "pattern write w/#\n";
    static const struct row rows[] = {
        {"u", "c", READS_ALL, "a/1/#", true, 0},    {"u", "c", READS_ALL, "a/#", false, 0},
        {"u", "c", READS_ALL, "a/+", true, 0},      {"u", "c", READS_ALL, "a/x/+", false, 0},
        {"u", "c", READS_ALL, "b/+", true, 0},      {"u", "c", READS_ALL, "b/#", false, 0},
        {"u", "c", READS_ALL, "dev/c/1", true, 0},  {"u", "c", READS_ALL, "dev/c/+", false, 0},
        {"u", "c", READS_ALL, "dev/d/1", false, 0}, {"u", "c", READS_ALL, "w/1", false, 0},
        {NULL, "c", READS_ALL, "dev/c/1", true, 0}, {NULL, "c", READS_ALL, "a/1", false, 0},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void without_an_acl_all_is_allowed_and_with_an_empty_one_nothing(void **state)
{
    struct acl_subject free_one = subject_of(NULL, "u", "c");
    struct acl *empty = parse("");
    struct acl_subject bound = subject_of(empty, "u", "c");
    struct acl_cache cache = {0};
    struct acl_decision decision;
    (void)state;
    for (enum question question = PUBLISH; question <= READS_ALL; question++) {
        assert_true(ask(&free_one, question, slice_text("a"), &decision));
        assert_false(ask(&bound, question, slice_text("a"), &decision));
    }
    assert_true(acl_may_publish_cached(&free_one, &cache, slice_text("a")));
    assert_false(acl_may_read_cached(&bound, &cache, slice_text("a")));
    assert_true(acl_may_read(&free_one, slice_text("a"), &decision));
    assert_true(decision.is_allowed && decision.line == 0 && decision.rule.count == 0);
    acl_unref(empty);
}

static void a_decision_tells_the_rule_as_written(void **state)
{
    struct acl *acl = parse("\xEF\xBB\xBFuser u\n   topic   read  a b/# \t\r\n");
    struct acl_subject subject = subject_of(acl, "u", "c");
    struct acl_decision decision;
    (void)state;
    assert_true(acl_may_read(&subject, slice_text("a b/c"), &decision));
    assert_int_equal(decision.line, 2);
    assert_true(slice_is(decision.rule, "topic   read  a b/#"));
    assert_string_equal(decision.why, "a rule allows it");
    assert_false(acl_may_read(&subject, slice_text("a"), &decision));
    assert_false(decision.is_allowed);
    assert_int_equal(decision.rule.count, 0);
    assert_string_equal(decision.why, "no rule speaks of it");
    acl_unref(acl);
}

/* What the last answers were is not mixed up: reading with writing, one topic with another. */
static void a_cache_gives_the_same_answers(void **state)
{
    struct acl *acl = parse("user u\ntopic read r/#\ntopic write w/#\ntopic b/#\n");
    struct acl_subject subject = subject_of(acl, "u", "c");
    struct acl_cache cache = {0};
    static const char *const topics[] = {"r/1", "w/1", "b/1", "n/1", "r/2", "w/2", "b"};
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        struct slice topic = slice_text(topics[(i * 7 + i / 3) % 7]);
        if (i % 2 == 0) {
            assert_int_equal(acl_may_read_cached(&subject, &cache, topic),
                             acl_may_read(&subject, topic, NULL));
        } else {
            assert_int_equal(acl_may_publish_cached(&subject, &cache, topic),
                             acl_may_publish(&subject, topic, NULL));
        }
    }
    acl_unref(acl);
}

static void lines_are_read_as_mosquitto_reads_them(void **state)
{
    static const char file[] = "  topic read  two  blanks \n"
                               "#topic read comment\n"
                               "topic readwrite #\n"
                               "user  with blanks \t\n"
                               "topic deny\n"
                               "topic read $share/g/a\n"
                               "topic read \ttab\n"
                               "   \t \n"
                               "topic write last";
    static const struct row rows[] = {
        {NULL, "c", READ, "two  blanks", true, 1},
        {NULL, "c", READ, "comment", true, 3},
        {"with blanks", "c", READ, "deny", true, 5}, /* the only word is the filter */
        {"with blanks", "c", READ, "\ttab", true, 7},
        {"with blanks", "c", PUBLISH, "last", true, 9},
    };
    (void)state;
    ROWS_HOLD(file, rows);
}

static void a_wrong_line_is_named_and_explained(void **state)
{
    static const struct {
        const char *text;
        uint32_t line;
        const char *said;
    } rows[] = {
        {"topic a\n\n#\ntopik a\n", 4, "unknown word 'topik': a line begins with topic"},
        {"user\n", 1, "user without a name: write user NAME"},
        {"user  \t\n", 1, "user without a name"},
        {"topic", 1, "topic without a filter: write topic readwrite FILTER"},
        {"pattern \n", 1, "pattern without a filter"},
        {"topic a/#/b", 1, "'a/#/b' is no topic filter: + and # fill a whole level"},
        {"topic read a+", 1, "'a+' is no topic filter"},
        {"pattern read %c#", 1, "'%c#' is no topic filter"},
        {"topic raed a", 1, "'raed' is no kind of access: did you mean read?"},
        {"topic kitchen lamp", 1, "'kitchen' is no kind of access: write read, write, readwrite"},
        {" # no comment", 1, "a comment has its # at the very beginning"},
        {"topic\tread a", 1, "a tab in 'topic?read'"},
        {"topic a\nuser \xFF", 2, "no UTF-8"},
        {"alice:$7$101$c2FsdA==$aGFzaA==\n", 1, "a name with a colon: is this a password file?"},
        {"topic a\nb\x1B[2J\n", 2, "unknown word 'b?[2J'"},
        {"t\xC3\xA4st a", 1, "unknown word 't\xC3\xA4st'"},
        {"topic a\xC2\x9B+", 1, "'a?+' is no topic filter"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1,
         "unknown word 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xC3\xA4", 1, "aaa...'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct acl *acl = NULL;
        struct acl_trouble trouble = {0};
        assert_int_equal(acl_parse(slice_text(rows[i].text), &acl, &trouble), ERR_INVALID);
        assert_null(acl);
        if (trouble.line != rows[i].line || strstr(trouble.text, rows[i].said) == NULL) {
            fail_msg("row %zu: line %u: %s", i, trouble.line, trouble.text);
        }
    }
}

static void nul_bytes_and_huge_files_are_refused(void **state)
{
    static const char text[] = "topic a\0b\n";
    struct acl *acl = NULL;
    struct acl_trouble trouble = {0};
    (void)state;
    assert_int_equal(acl_parse(slice_of(text, sizeof(text) - 1), &acl, &trouble), ERR_INVALID);
    assert_non_null(strstr(trouble.text, "NUL"));
    /* The size is looked at before the bytes. */
    assert_int_equal(acl_parse(slice_of(text, ACL_FILE_BYTES_MAX + 1), &acl, &trouble),
                     ERR_INVALID);
    assert_int_equal(trouble.line, 0);
    assert_non_null(strstr(trouble.text, "64 MiB"));
    assert_null(acl);
}

/* Long names, in patterns that take them often: no memory is asked for, and nothing is missed. */
static void long_names_are_put_into_patterns_too(void **state)
{
    enum { LONG = 65535 };
    static char id[LONG + 1], topic[LONG + 1], file[70000];
    (void)state;
    memset(id, 'x', 30000);
    memset(file, 0, sizeof(file));
    strcpy(file, "pattern readwrite %c/#\npattern write ab%c%cz\npattern deny d/%c/+\npattern read "
                 "%c%c%c%c%c/#\n");
    struct acl *acl = parse(file);
    struct acl_subject subject = subject_of(acl, NULL, id);
    memset(topic, 'x', 30000);
    assert_true(acl_may_read(&subject, slice_text(topic), NULL));
    strcpy(topic + 30000, "/1");
    assert_true(acl_may_read(&subject, slice_text(topic), NULL));
    topic[30000] = 'x';
    assert_false(acl_may_read(&subject, slice_text(topic), NULL));
    memset(topic, 0, sizeof(topic));
    memset(topic, 'x', 60003);
    memcpy(topic, "ab", 2);
    topic[60002] = 'z';
    assert_true(acl_may_publish(&subject, slice_text(topic), NULL));
    topic[60001] = 'y';
    assert_false(acl_may_publish(&subject, slice_text(topic), NULL));
    acl_unref(acl);

    /* The longest filter that still matches a name: levels that are empty in the name. */
    memset(id, 'x', 32760);
    memset(file, 0, sizeof(file));
    strcpy(file, "pattern read %c");
    for (uint32_t i = 0; i < 32700; i++) {
        strcat(file + 2 * i, "/+");
    }
    strcat(file + 60000, "/#\n");
    acl = parse(file);
    subject = subject_of(acl, NULL, id);
    memset(topic, 'x', 32760);
    memset(topic + 32760, '/', 32700);
    topic[32760 + 32700] = '\0';
    assert_true(acl_may_read(&subject, slice_text(topic), NULL));
    topic[32760 + 32699] = '\0';
    assert_false(acl_may_read(&subject, slice_text(topic), NULL));
    acl_unref(acl);
}

/* Rules deeper than the index looks, exact ones and with a wildcard at their end. */
static void deep_rules_of_many_are_found(void **state)
{
    enum { DEPTH_MAX = 20 };
    static char file[2 * DEPTH_MAX * 100], deep[100];
    size_t used = (size_t)sprintf(file, "user u\n");
    (void)state;
    for (uint32_t depth = 1; depth <= DEPTH_MAX; depth++) {
        sprintf(deep + strlen(deep), "%s%u", depth > 1 ? "/" : "", depth);
        used += (size_t)sprintf(file + used, "topic read %s\ntopic write %s/+\n", deep, deep);
    }
    struct acl *acl = parse(file);
    struct acl_subject subject = subject_of(acl, "u", "c");
    struct acl_decision decision;
    deep[0] = '\0';
    for (uint32_t depth = 1; depth <= DEPTH_MAX; depth++) {
        sprintf(deep + strlen(deep), "%s%u", depth > 1 ? "/" : "", depth);
        assert_true(acl_may_read(&subject, slice_text(deep), &decision));
        assert_int_equal(decision.line, 2 * depth);
        size_t bytes = strlen(deep);
        strcpy(deep + bytes, "/x");
        assert_true(acl_may_publish(&subject, slice_text(deep), &decision));
        assert_int_equal(decision.line, 2 * depth + 1);
        assert_false(acl_may_read(&subject, slice_text(deep), NULL));
        deep[bytes] = '\0';
    }
    acl_unref(acl);
}

static void references_keep_it(void **state)
{
    struct acl *acl = parse("user u\ntopic a\npattern b\nuser v\ntopic c\ntopic d\n");
    (void)state;
    assert_ptr_equal(acl_ref(acl), acl);
    acl_unref(acl);
    assert_int_equal(acl_size(acl).user_count, 2);
    assert_int_equal(acl_size(acl).rule_count, 3);
    assert_int_equal(acl_size(acl).pattern_count, 1);
    assert_true(acl_size(acl).bytes > 100);
    acl_unref(acl);
    acl_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rules_of_a_user_are_his_own),
        cmocka_unit_test(denials_come_first_and_patterns_last),
        cmocka_unit_test(dollar_topics_need_dollar_rules),
        cmocka_unit_test(a_name_widens_no_pattern),
        cmocka_unit_test(a_subscription_must_be_able_to_receive),
        cmocka_unit_test(subscribe_patterns_bind_those_they_speak_of),
        cmocka_unit_test(all_of_a_filter_is_readable_or_perhaps_not),
        cmocka_unit_test(without_an_acl_all_is_allowed_and_with_an_empty_one_nothing),
        cmocka_unit_test(a_decision_tells_the_rule_as_written),
        cmocka_unit_test(a_cache_gives_the_same_answers),
        cmocka_unit_test(lines_are_read_as_mosquitto_reads_them),
        cmocka_unit_test(a_wrong_line_is_named_and_explained),
        cmocka_unit_test(nul_bytes_and_huge_files_are_refused),
        cmocka_unit_test(long_names_are_put_into_patterns_too),
        cmocka_unit_test(deep_rules_of_many_are_found),
        cmocka_unit_test(references_keep_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
