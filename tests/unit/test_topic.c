#include "core/pubsub/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* [MQTT-3.3.2-2] [MQTT-4.7.3-1] A name has bytes and no wildcards, and is not too deep. */
static void a_name_is_checked(void **state)
{
    static const struct {
        const char *name;
        enum err err;
    } rows[] = {
        {"a", OK},           {"/", OK},
        {"a/b/c", OK},       {"/finance", OK},
        {"$SYS/x", OK},      {" ", OK},
        {"a//b", OK},        {"", ERR_TOPIC},
        {"+", ERR_TOPIC},    {"a/+/b", ERR_TOPIC},
        {"#", ERR_TOPIC},    {"a/b#", ERR_TOPIC},
        {"a/b/c/d", OK},     {"a/b/c/d/e", ERR_QUOTA},
        {"////", ERR_QUOTA}, {"///", OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (topic_name_check(slice_text(rows[i].name), 4) != rows[i].err) {
            fail_msg("wrong answer for name '%s'", rows[i].name);
        }
    }
}

/* [MQTT-4.7.3-3] */
static void a_name_has_at_most_65535_bytes(void **state)
{
    static uint8_t bytes[65536];
    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    assert_int_equal(topic_name_check(slice_of(bytes, 65535), 1), OK);
    assert_int_equal(topic_name_check(slice_of(bytes, 65536), 1), ERR_TOPIC);
    memset(bytes, '/', sizeof(bytes));
    assert_int_equal(topic_name_check(slice_of(bytes, 65535), 65536), OK);
    assert_int_equal(topic_name_check(slice_of(bytes, 65535), 65535), ERR_QUOTA);
}

/* [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1] [MQTT-4.8.2-2], with the examples of chapter 4. */
static void a_filter_is_checked_and_split(void **state)
{
    static const struct {
        const char *text;
        enum err err;
        const char *share, *filter;
        bool has_wildcard;
    } rows[] = {
        {"sport/tennis/player1", OK, "", "sport/tennis/player1", false},
        {"sport/tennis/player1/#", OK, "", "sport/tennis/player1/#", true},
        {"#", OK, "", "#", true},
        {"sport/tennis/#", OK, "", "sport/tennis/#", true},
        {"sport/tennis#", ERR_FILTER, "", "", false},
        {"sport/tennis/#/ranking", ERR_FILTER, "", "", false},
        {"#/", ERR_FILTER, "", "", false},
        {"##", ERR_FILTER, "", "", false},
        {"+", OK, "", "+", true},
        {"+/tennis/#", OK, "", "+/tennis/#", true},
        {"sport+", ERR_FILTER, "", "", false},
        {"+sport", ERR_FILTER, "", "", false},
        {"++", ERR_FILTER, "", "", false},
        {"+#", ERR_FILTER, "", "", false},
        {"sport/+/player1", OK, "", "sport/+/player1", true},
        {"/+", OK, "", "/+", true},
        {"+/+", OK, "", "+/+", true},
        {"/", OK, "", "/", false},
        {"", ERR_FILTER, "", "", false},
        {"a/b/c/d/e", OK, "", "a/b/c/d/e", false},
        {"a/b/c/d/e/f", ERR_QUOTA, "", "", false},
        {"$SYS/#", OK, "", "$SYS/#", true},
        {"$share/consumer1/sport/tennis/+", OK, "consumer1", "sport/tennis/+", true},
        {"$share/g/a/b/c/d/e", OK, "g", "a/b/c/d/e", false},
        {"$share/g/#", OK, "g", "#", true},
        {"$share/g//", OK, "g", "/", false},
        {"$share/g//finance", OK, "g", "/finance", false},
        {"$share//a", ERR_FILTER, "", "", false},
        {"$share/", ERR_FILTER, "", "", false},
        {"$share/g", ERR_FILTER, "", "", false},
        {"$share/g/", ERR_FILTER, "", "", false},
        {"$share/+/a", ERR_FILTER, "", "", false},
        {"$share/#/a", ERR_FILTER, "", "", false},
        {"$share/g#/a", ERR_FILTER, "", "", false},
        {"$share/g/a/#/b", ERR_FILTER, "", "", false},
        {"$share", OK, "", "$share", false},
        {"$shared/g/a", OK, "", "$shared/g/a", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct topic_filter out = {.share = slice_text("untouched")};
        if (topic_filter_parse(slice_text(rows[i].text), 5, &out) != rows[i].err) {
            fail_msg("wrong answer for filter '%s'", rows[i].text);
        }
        if (rows[i].err != OK) {
            assert_true(slice_is(out.share, "untouched"));
            continue;
        }
        assert_true(slice_is(out.share, rows[i].share));
        assert_true(slice_is(out.filter, rows[i].filter));
        assert_int_equal(out.has_wildcard, rows[i].has_wildcard);
    }
}

/* The examples of 4.7.1 and 4.7.2, and the corners that brokers got wrong. */
static void filters_match_as_the_standard_shows(void **state)
{
    static const struct {
        const char *filter, *name;
        bool matches;
    } rows[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player2", false},
        {"sport/#", "sport", true},
        {"sport/#", "sports", false},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"/finance", "/finance", true},
        {"/finance", "finance", false},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+", "finance", true},
        {"#", "/", true},
        {"+/+", "/", true},
        {"/", "/", true},
        {"/#", "/", true},
        {"/#", "a", false},
        {"+/#", "a", true},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
        {"a/b", "a//b", false},
        {"a/b/", "a/b", false},
        {"a/b", "a/b/", false},
        {"a/b/#", "a/b/", true},
        {"ACCOUNTS", "Accounts", false},
        {"#", "$SYS/broker/load", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"+/#", "$SYS/monitor", false},
        {"$SYS/#", "$SYS/monitor/Clients", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"$SYS/#", "$SYS", true},
        {"a/+", "a/$x", true},
        {"a/#", "a/$x", true},
        {"+", "$", false},
        {"a/+/c/#", "a/b/c", true},
        {"a/+/c/#", "a/b", false},
        {"a/b/c/#", "a/b", false},
        {"", "a", false},
        {"a", "", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slice filter = slice_text(rows[i].filter), name = slice_text(rows[i].name);
        if (topic_matches(filter, name) != rows[i].matches) {
            fail_msg("wrong answer: filter '%s', name '%s'", rows[i].filter, rows[i].name);
        }
    }
}

static void one_filter_covers_another(void **state)
{
    static const struct {
        const char *outer, *inner;
        bool covers;
    } rows[] = {
        {"#", "#", true},         {"#", "+/a", true},         {"+/#", "#", true},
        {"+/+/#", "#", false},    {"a/#", "a/#", true},       {"a/#", "a", true},
        {"a/#", "a/b/#", true},   {"a/#", "a/+/#", true},     {"a/+/#", "a/#", false},
        {"a/+", "a/b", true},     {"a/+", "a/+", true},       {"a/+", "a/#", false},
        {"a/b", "a/+", false},    {"+/b", "a/b", true},       {"#", "$SYS/#", false},
        {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true}, {"$SYS/#", "#", false},
        {"a/+/c", "a/b/c", true}, {"a/+/c", "a/b/d", false},  {"a", "a/#", false},
        {"", "a", false},         {"#", "", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slice outer = slice_text(rows[i].outer), inner = slice_text(rows[i].inner);
        if (topic_covers(outer, inner) != rows[i].covers) {
            fail_msg("wrong answer: outer '%s', inner '%s'", rows[i].outer, rows[i].inner);
        }
    }
}

static void two_filters_overlap(void **state)
{
    static const struct {
        const char *a, *b;
        bool overlaps;
    } rows[] = {
        {"#", "#", true},         {"#", "+/a", true},      {"a/#", "a", true},
        {"a/#", "+", true},       {"a/+", "+/b", true},    {"a/+", "b/+", false},
        {"a/+/c", "a/b/#", true}, {"a/+/c", "a/b", false}, {"#", "$SYS/#", false},
        {"+/x", "$SYS/x", false}, {"+/x", "#", true},      {"$SYS/#", "$SYS/+/x", true},
        {"a/b/#", "a/+", true},   {"a/b/#", "a", false},   {"/#", "+", false},
        {"/#", "+/+", true},      {"+/#", "+", true},      {"", "a", false},
        {"#", "", false},         {"a", "a", true},        {"a", "b", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slice a = slice_text(rows[i].a), b = slice_text(rows[i].b);
        if (topic_overlaps(a, b) != rows[i].overlaps || topic_overlaps(b, a) != rows[i].overlaps) {
            fail_msg("wrong answer: '%s', '%s'", rows[i].a, rows[i].b);
        }
    }
}

/* A rule may name $share as any other word; what is no filter to a subscriber is none here. */
static void a_filter_is_checked_without_splitting(void **state)
{
    static uint8_t bytes[65536];
    (void)state;
    assert_int_equal(topic_filter_check(slice_text("$share/a+/b")), ERR_FILTER);
    assert_int_equal(topic_filter_check(slice_text("$share/+")), OK);
    assert_int_equal(topic_filter_check(slice_text("a b/%c/#")), OK);
    assert_int_equal(topic_filter_check(slice_text("a/#/b")), ERR_FILTER);
    assert_int_equal(topic_filter_check(slice_text("a/b+")), ERR_FILTER);
    assert_int_equal(topic_filter_check(slice_text("")), ERR_FILTER);
    memset(bytes, '/', sizeof(bytes));
    assert_int_equal(topic_filter_check(slice_of(bytes, 65535)), OK);
    assert_int_equal(topic_filter_check(slice_of(bytes, 65536)), ERR_FILTER);
}

/*
 * Every filter of up to three levels against every other, judged by every name of up to five
 * levels. Words that no filter uses stand for "any other name".
 */
enum { TEXT_BYTES = 16, FILTER_COUNT_MAX = 512, NAME_COUNT_MAX = 2048 };

static uint32_t all_texts(const char *const *words, uint32_t word_count, uint32_t levels_max,
                          char (*out)[TEXT_BYTES], uint32_t count_max)
{
    uint32_t count = 0, combinations = 1;
    for (uint32_t levels = 1; levels <= levels_max; levels++) {
        combinations *= word_count;
        for (uint32_t number = 0; number < combinations; number++) {
            char text[TEXT_BYTES] = "";
            uint32_t rest = number;
            for (uint32_t level = 0; level < levels; level++, rest /= word_count) {
                strcat(text, level > 0 ? "/" : "");
                strcat(text, words[rest % word_count]);
            }
            assert_true(count < count_max);
            strcpy(out[count++], text);
        }
    }
    return count;
}

static void covering_and_overlapping_agree_with_brute_force(void **state)
{
    static const char *const filter_words[] = {"", "a", "+", "#", "$"};
    static const char *const name_words[] = {"", "a", "$", "z"};
    static char filters[FILTER_COUNT_MAX][TEXT_BYTES], names[NAME_COUNT_MAX][TEXT_BYTES];
    static bool matches[FILTER_COUNT_MAX][NAME_COUNT_MAX];
    uint32_t filter_count = all_texts(filter_words, 5, 3, filters, FILTER_COUNT_MAX);
    uint32_t name_count = all_texts(name_words, 4, 5, names, NAME_COUNT_MAX);
    uint32_t valid_count = 0;
    (void)state;
    for (uint32_t i = 0; i < filter_count; i++) {
        struct topic_filter parsed;
        if (topic_filter_parse(slice_text(filters[i]), 9, &parsed) != OK) {
            continue;
        }
        memmove(filters[valid_count], filters[i], TEXT_BYTES);
        for (uint32_t k = 0; k < name_count; k++) {
            matches[valid_count][k] = topic_matches(slice_text(filters[valid_count]),
                                                    slice_text(names[k]));
        }
        valid_count++;
    }
    assert_true(valid_count > 50);
    for (uint32_t i = 0; i < valid_count; i++) {
        for (uint32_t j = 0; j < valid_count; j++) {
            struct slice a = slice_text(filters[i]), b = slice_text(filters[j]);
            bool covers = true, overlaps = false;
            for (uint32_t k = 0; k < name_count; k++) {
                covers = covers && (matches[i][k] || !matches[j][k]);
                overlaps = overlaps || (matches[i][k] && matches[j][k]);
            }
            if (topic_covers(a, b) != covers) {
                fail_msg("outer '%s', inner '%s': expected %d", filters[i], filters[j], covers);
            }
            if (topic_overlaps(a, b) != overlaps) {
                fail_msg("'%s' and '%s' overlap: expected %d", filters[i], filters[j], overlaps);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_checked),
        cmocka_unit_test(a_name_has_at_most_65535_bytes),
        cmocka_unit_test(a_filter_is_checked_and_split),
        cmocka_unit_test(filters_match_as_the_standard_shows),
        cmocka_unit_test(a_filter_is_checked_without_splitting),
        cmocka_unit_test(one_filter_covers_another),
        cmocka_unit_test(two_filters_overlap),
        cmocka_unit_test(covering_and_overlapping_agree_with_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
