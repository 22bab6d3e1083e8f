#include "core/base/rng.h"
#include "core/pubsub/retain.h"
#include "core/pubsub/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct msg *msg_of(const char *topic, const char *payload, uint64_t expires_wall_ms)
{
    struct msg_spec spec = {.retain = true,
                            .topic = slice_text(topic),
                            .payload = slice_text(payload),
                            .expires_wall_ms = expires_wall_ms};
    return msg_new(&spec);
}

static enum err set_until(struct retain *retain, const char *topic, const char *payload,
                          uint64_t expires_wall_ms)
{
    struct msg *msg = msg_of(topic, payload, expires_wall_ms);
    enum err err = retain_set(retain, msg);
    msg_unref(msg);
    return err;
}

static enum err set(struct retain *retain, const char *topic, const char *payload)
{
    return set_until(retain, topic, payload, 0);
}

static bool has(struct retain *retain, const char *topic, const char *payload)
{
    struct msg *msg = retain_look(retain, slice_text(topic), 1000).msg;
    bool is_so = msg != NULL && slice_is(msg->payload, payload);
    msg_unref(msg);
    return is_so;
}

/* How many messages a scan of the filter gives, `max` at a time. */
static uint32_t scan_count(struct retain *retain, const char *filter, uint32_t max)
{
    struct retain_scan *scan = retain_scan_new(retain, slice_text(filter));
    struct retained out[64];
    uint32_t count = 0;
    bool is_done = false;
    while (!is_done) {
        uint32_t got = retain_scan_next(scan, 1000, out, max, &is_done);
        assert_true(got <= max);
        for (uint32_t i = 0; i < got; i++) {
            assert_true(topic_matches(slice_text(filter), out[i].msg->topic));
            msg_unref(out[i].msg);
        }
        count += got;
    }
    assert_int_equal(retain_scan_next(scan, 1000, out, max, &is_done), 0);
    assert_true(is_done);
    retain_scan_free(scan);
    return count;
}

/* [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] */
static void the_last_message_stays_and_an_empty_one_clears(void **state)
{
    struct retain *retain = retain_new(0, 0, 1);
    (void)state;
    assert_int_equal(set(retain, "a/b", "one"), OK);
    assert_int_equal(set(retain, "a/b", "two"), OK);
    assert_true(has(retain, "a/b", "two"));
    assert_int_equal(retain_count(retain), 1);
    assert_false(has(retain, "a", "two"));
    assert_false(has(retain, "a/b/", "two"));
    assert_int_equal(set(retain, "a/b/c", ""), OK); /* nothing there: nothing happens */
    assert_int_equal(set(retain, "a", ""), OK);
    assert_true(has(retain, "a/b", "two"));
    assert_int_equal(set(retain, "a/b", ""), OK);
    assert_false(has(retain, "a/b", "two"));
    assert_int_equal(retain_count(retain), 0);
    assert_int_equal(retain_bytes(retain), 0);
    retain_free(retain);
    retain_free(NULL);
}

static void each_message_is_referenced_once(void **state)
{
    struct retain *retain = retain_new(0, 0, 1);
    struct msg *msg = msg_of("a", "x", 0);
    (void)state;
    assert_int_equal(retain_set(retain, msg), OK);
    assert_int_equal(msg->refs, 2);
    struct msg *got = retain_look(retain, slice_text("a"), 0).msg;
    assert_ptr_equal(got, msg);
    assert_int_equal(msg->refs, 3);
    msg_unref(got);
    assert_int_equal(retain_set(retain, msg), OK); /* the same once more */
    assert_int_equal(msg->refs, 2);
    retain_free(retain);
    assert_int_equal(msg->refs, 1);
    msg_unref(msg);
}

static void a_bound_refuses_and_keeps_the_old_message(void **state)
{
    struct msg *sample = msg_of("a", "1", 0);
    uint64_t each = msg_bytes(sample);
    struct retain *retain = retain_new(2, 0, 1);
    (void)state;
    msg_unref(sample);
    assert_int_equal(set(retain, "a", "1"), OK);
    assert_int_equal(set(retain, "b", "1"), OK);
    assert_int_equal(set(retain, "c", "1"), ERR_QUOTA);
    assert_int_equal(set(retain, "a", "2"), OK); /* replacing adds none */
    assert_int_equal(retain_count(retain), 2);
    assert_int_equal(scan_count(retain, "#", 8), 2);

    retain_set_limits(retain, 0, 2 * each + 3);
    assert_int_equal(set(retain, "c", "1"), ERR_QUOTA);
    assert_int_equal(set(retain, "a", "12345"), ERR_QUOTA);
    assert_true(has(retain, "a", "2"));
    assert_int_equal(set(retain, "a", "1234"), OK);
    assert_int_equal(retain_bytes(retain), 2 * each + 3);

    retain_set_limits(retain, 1, 1); /* below what is there: it may still become less */
    assert_int_equal(set(retain, "a", "123"), OK);
    assert_int_equal(set(retain, "b", ""), OK);
    assert_int_equal(set(retain, "b", "1"), ERR_QUOTA);
    assert_int_equal(retain_count(retain), 1);
    retain_free(retain);
}

static void an_expired_message_is_not_given_and_a_scan_drops_it(void **state)
{
    struct retain *retain = retain_new(0, 0, 1);
    (void)state;
    assert_int_equal(set_until(retain, "a/old", "x", 1000), OK);
    assert_int_equal(set_until(retain, "a/new", "x", 1001), OK);
    assert_int_equal(set_until(retain, "a/old/below", "x", 0), OK);
    assert_null(retain_look(retain, slice_text("a/old"), 1000).msg);
    assert_true(has(retain, "a/new", "x"));
    assert_int_equal(retain_count(retain), 3);
    assert_int_equal(scan_count(retain, "a/#", 8), 2);
    assert_int_equal(retain_count(retain), 2);
    assert_int_equal(scan_count(retain, "a/#", 8), 2);
    retain_free(retain);
}

static void a_scan_finds_what_the_filter_matches(void **state)
{
    static const char *const topics[] = {
        "a",  "a/b", "a/b/c", "a/c",  "b",         "b/b",      "/",    "/a",
        "a/", "a//", "a//b",  "$SYS", "$SYS/load", "$SYS/a/b", "a/$x", "x/y/z/1/2",
    };
    static const char *const filters[] = {
        "#",           "+",         "+/+",      "a/#",    "a/+",   "a/b",    "a/b/#",
        "+/b",         "/",         "/#",       "/+",     "+/",    "a//",    "a/+/+",
        "a/+/#",       "+/#",       "$SYS/#",   "$SYS/+", "none",  "none/#", "+/+/+/+/+",
        "x/y/z/1/2/#", "x/+/z/+/2", "$SYS/a/b", "+/a/b",  "a/+/b", "//#",
    };
    struct retain *retain = retain_new(0, 0, 1);
    (void)state;
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        assert_int_equal(set(retain, topics[i], "x"), OK);
    }
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        uint32_t expected = 0;
        for (size_t k = 0; k < sizeof(topics) / sizeof(topics[0]); k++) {
            expected += topic_matches(slice_text(filters[i]), slice_text(topics[k]));
        }
        for (uint32_t max = 1; max <= 64; max *= 4) {
            if (scan_count(retain, filters[i], max) != expected) {
                fail_msg("filter '%s' with %u at a time: expected %u", filters[i], max, expected);
            }
        }
    }
    retain_free(retain);
}

static void a_step_of_a_scan_is_bounded(void **state)
{
    enum { COUNT = 20 * RETAIN_SCAN_STEPS };
    struct retain *retain = retain_new(0, 0, 1);
    struct retained out[4];
    bool is_done = false;
    uint32_t calls = 0, count = 0;
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "dev/%u/%s", (unsigned)i, i == 4711 ? "rare" : "usual");
        assert_int_equal(set(retain, topic, "x"), OK);
    }
    struct retain_scan *scan = retain_scan_new(retain, slice_text("dev/+/rare"));
    while (!is_done) {
        uint32_t got = retain_scan_next(scan, 0, out, 4, &is_done);
        for (uint32_t i = 0; i < got; i++) {
            msg_unref(out[i].msg);
        }
        count += got;
        calls++;
    }
    assert_int_equal(count, 1);
    assert_true(calls >= COUNT / RETAIN_SCAN_STEPS);
    retain_scan_free(scan);
    retain_free(retain);
}

static void the_deepest_topic_is_only_long(void **state)
{
    static uint8_t text[65535];
    struct retain *retain = retain_new(0, 0, 1);
    (void)state;
    memset(text, '/', sizeof(text));
    struct msg_spec spec = {.topic = slice_of(text, sizeof(text)), .payload = slice_text("x")};
    struct msg *msg = msg_new(&spec), *got;
    assert_int_equal(retain_set(retain, msg), OK);
    got = retain_look(retain, msg->topic, 0).msg;
    assert_ptr_equal(got, msg);
    msg_unref(got);
    assert_int_equal(scan_count(retain, "#", 1), 1);
    assert_int_equal(scan_count(retain, "/+/#", 1), 1);
    assert_int_equal(scan_count(retain, "/+", 1), 0);
    struct msg_spec empty = {.topic = slice_of(text, sizeof(text))};
    struct msg *clear = msg_new(&empty);
    assert_int_equal(retain_set(retain, clear), OK);
    assert_int_equal(scan_count(retain, "#", 1), 0);
    assert_int_equal(retain_set(retain, msg), OK); /* and freed with the store */
    msg_unref(clear);
    msg_unref(msg);
    retain_free(retain);
}

static void a_scan_stands_where_everything_around_it_went(void **state)
{
    struct retain *retain = retain_new(0, 0, 1);
    struct retained out[1];
    bool is_done;
    (void)state;
    for (uint32_t i = 0; i < 500; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "a/b/%u", (unsigned)i);
        assert_int_equal(set(retain, topic, "x"), OK);
    }
    struct retain_scan *scan = retain_scan_new(retain, slice_text("a/+/#"));
    assert_int_equal(retain_scan_next(scan, 0, out, 1, &is_done), 1);
    msg_unref(out[0].msg);
    for (uint32_t i = 0; i < 500; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "a/b/%u", (unsigned)i);
        assert_int_equal(set(retain, topic, ""), OK);
    }
    assert_int_equal(retain_count(retain), 0);
    assert_int_equal(retain_scan_next(scan, 0, out, 1, &is_done), 0);
    assert_true(is_done);
    retain_scan_free(scan);
    retain_free(retain);
}

/* --- against a list, with scans that go on while topics come and go ------------------------- */

/* ---- on disk alone -------------------------------------------------------------------------- */

static void let_go_of(struct retain *retain, const char *topic)
{
    struct msg *msg = retain_look(retain, slice_text(topic), 0).msg;
    assert_non_null(msg);
    retain_let_go(retain, msg);
    msg_unref(msg);
}

static void what_is_let_go_is_away_until_its_topic_is_set_or_cleared(void **state)
{
    struct retain *retain = retain_new(0, 0, 1);
    struct slice topic = slice_text("a/b");
    struct msg *first = msg_of("a/b", "one", 0);
    (void)state;
    assert_int_equal(retain_set(retain, first), OK);
    uint64_t bytes = retain_bytes(retain);
    assert_int_equal(retain_memory_bytes(retain), bytes);
    retain_let_go(retain, first);
    struct retained away = retain_look(retain, topic, 0);
    assert_null(away.msg);
    assert_true(away.stamp != 0);
    assert_int_equal(retain_count(retain), 1);
    assert_int_equal(retain_bytes(retain), bytes);
    assert_int_equal(retain_memory_bytes(retain), 0);

    assert_int_equal(set(retain, "a/b", "two"), OK);
    assert_true(has(retain, "a/b", "two"));
    retain_let_go(retain, first); /* that is another one */
    assert_true(has(retain, "a/b", "two"));
    let_go_of(retain, "a/b");
    assert_true(retain_look(retain, topic, 0).stamp != 0);
    assert_true(retain_look(retain, topic, 0).stamp != away.stamp);

    retain_drop_away(retain, topic, away.stamp); /* of one that is not there any more */
    assert_int_equal(retain_count(retain), 1);
    assert_int_equal(set(retain, "a/b", ""), OK);
    assert_int_equal(retain_look(retain, topic, 0).stamp, 0);
    assert_int_equal(retain_count(retain), 0);
    assert_int_equal(retain_bytes(retain), 0);
    assert_int_equal(retain_memory_bytes(retain), 0);
    msg_unref(first);
    retain_free(retain);
}

static void what_is_away_counts_for_the_bounds_but_not_for_memory(void **state)
{
    struct retain *retain = retain_new(2, 0, 1);
    uint32_t each = sizeof(struct msg) + 1 + 3;
    (void)state;
    assert_int_equal(retain_set_away(retain, slice_text("a"), each), OK);
    assert_int_equal(set(retain, "b", "123"), OK);
    assert_int_equal(retain_set_away(retain, slice_text("c"), each), ERR_QUOTA);
    assert_int_equal(set(retain, "c", "123"), ERR_QUOTA);
    assert_int_equal(retain_look(retain, slice_text("c"), 0).stamp, 0);
    assert_int_equal(retain_bytes(retain), 2 * each);
    assert_int_equal(retain_memory_bytes(retain), each);
    retain_set_limits(retain, 0, 2 * each + 1);
    assert_int_equal(set(retain, "a", "12345"), ERR_QUOTA);
    assert_true(retain_look(retain, slice_text("a"), 0).stamp != 0); /* nothing changed */
    assert_int_equal(set(retain, "a", "1234"), OK);
    assert_true(has(retain, "a", "1234"));
    retain_free(retain);
}

static void a_store_is_crowded_by_what_is_in_memory(void **state)
{
    struct retain *retain = retain_new(0, 0, 1);
    uint32_t each = sizeof(struct msg) + 1 + 1;
    (void)state;
    retain_set_memory_max(retain, each);
    assert_int_equal(set(retain, "a", "1"), OK);
    assert_false(retain_is_crowded(retain));
    assert_int_equal(set(retain, "b", "1"), OK);
    assert_true(retain_is_crowded(retain));
    let_go_of(retain, "b");
    assert_false(retain_is_crowded(retain));
    retain_free(retain);
}

/* Of one that is away a scan gives the topic, however it is written. */
static void a_scan_names_the_topics_of_what_is_away(void **state)
{
    static const char *const names[] = {"a", "/", "//", "/a", "a/", "a//b", "a/b", "a/b/c"};
    enum { COUNT = sizeof(names) / sizeof(names[0]) };
    struct retain *retain = retain_new(0, 0, 1);
    struct retain_scan *scan = retain_scan_new(retain, slice_text("#"));
    struct retained out[COUNT + 1];
    bool is_done = false;
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(retain_set_away(retain, slice_text(names[i]), 100), OK);
    }
    assert_int_equal(retain_scan_next(scan, 0, out, COUNT + 1, &is_done), COUNT);
    assert_true(is_done);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(out[i].stamp != 0);
        assert_int_equal(out[i].msg->payload.count, 0);
        assert_int_equal(retain_look(retain, out[i].msg->topic, 0).stamp, out[i].stamp);
        for (uint32_t k = 0; k < i; k++) {
            assert_true(out[k].stamp != out[i].stamp);
        }
        msg_unref(out[i].msg);
    }
    retain_scan_free(scan);
    retain_free(retain);
}

enum { TOPICS = 3000, SCANS = 4, STEPS = 60000, TOPIC_BYTES = 48, BATCH = 16 };

struct oracle_topic {
    char text[TOPIC_BYTES];
    struct msg *msg; /* what is retained, or NULL; not there any more when is_away */
    bool is_away;
    uint32_t reset_at; /* the last step that cleared it, or the first without a message */
};

struct oracle_scan {
    struct retain_scan *scan;
    char filter[TOPIC_BYTES];
    uint32_t started_at;
    uint8_t seen[TOPICS];
};

static struct oracle_topic topics[TOPICS];
static struct oracle_scan scans[SCANS];

static void make_filter(struct rng *rng, char *out)
{
    strcpy(out, topics[rng_below(rng, TOPICS)].text);
    switch (rng_below(rng, 5)) {
    case 0:
        strcpy(out, "#");
        break;
    case 1:
        strcpy(out, "+/+/+");
        break;
    case 2:
        strcpy(strchr(out, '/') + 1, "#");
        break;
    case 3:
        strcpy(out, "+/#");
        break;
    default:
        break; /* exactly one topic */
    }
}

/* Topics end with their number. */
static uint32_t number_of(struct slice topic)
{
    uint32_t number = 0, unit = 1;
    for (size_t i = topic.count; i > 0 && topic.data[i - 1] >= '0' && topic.data[i - 1] <= '9';
         i--, unit *= 10) {
        number += unit * (uint32_t)(topic.data[i - 1] - '0');
    }
    assert_true(number < TOPICS);
    assert_true(slice_is(topic, topics[number].text));
    return number;
}

static void scan_step(struct retain *retain, struct oracle_scan *own, uint32_t step,
                      struct rng *rng)
{
    struct retained out[BATCH];
    bool is_done = false;

    if (own->scan == NULL) {
        make_filter(rng, own->filter);
        own->scan = retain_scan_new(retain, slice_text(own->filter));
        own->started_at = step;
        memset(own->seen, 0, sizeof(own->seen));
        return;
    }
    uint32_t count = retain_scan_next(own->scan, 0, out, 1 + (uint32_t)rng_below(rng, BATCH),
                                      &is_done);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = number_of(out[i].msg->topic);
        assert_int_equal(topics[number].is_away, out[i].stamp != 0);
        if (topics[number].is_away) {
            assert_int_equal(out[i].msg->payload.count, 0);
        } else {
            assert_ptr_equal(topics[number].msg, out[i].msg);
        }
        assert_true(topic_matches(slice_text(own->filter), out[i].msg->topic));
        assert_int_equal(own->seen[number]++, 0);
        msg_unref(out[i].msg);
    }
    if (!is_done) {
        return;
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        if (topics[i].msg != NULL && topics[i].reset_at < own->started_at && own->seen[i] == 0 &&
            topic_matches(slice_text(own->filter), slice_text(topics[i].text))) {
            fail_msg("a scan of '%s' missed '%s'", own->filter, topics[i].text);
        }
    }
    retain_scan_free(own->scan);
    own->scan = NULL;
}

static void change(struct retain *retain, uint32_t number, bool want, uint32_t step)
{
    struct oracle_topic *topic = &topics[number];
    struct msg_spec spec = {.topic = slice_text(topic->text),
                            .payload = slice_text(want ? "x" : "")};
    struct msg *msg = msg_new(&spec);
    assert_int_equal(retain_set(retain, msg), OK);
    topic->is_away = false;
    if (topic->msg == NULL || !want) {
        topic->reset_at = step;
    }
    topic->msg = want ? msg : NULL; /* the store's reference keeps it */
    msg_unref(msg);
}

static void let_go(struct retain *retain, uint32_t number)
{
    struct oracle_topic *topic = &topics[number];
    if (topic->msg != NULL && !topic->is_away) {
        retain_let_go(retain, topic->msg);
        topic->is_away = true;
    }
}

static void scans_and_changes_interleave_as_a_list_says(void **state)
{
    struct retain *retain = retain_new(0, 0, 99);
    const char *text = getenv("TERN_SEED");
    uint64_t seed = text == NULL ? 20261121 : strtoull(text, NULL, 10);
    struct rng rng;
    (void)state;
    print_message("TERN_SEED=%llu\n", (unsigned long long)seed);
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < TOPICS; i++) { /* wide, narrow and shared levels */
        snprintf(topics[i].text, TOPIC_BYTES, i % 3 == 0 ? "dev/%u" : "site/%u/x%u",
                 (unsigned)(i % 3 == 0 ? i : i % 37), (unsigned)i);
    }
    for (uint32_t step = 1; step <= STEPS; step++) {
        bool is_flood = step / 10000 % 2 == 0; /* tides: tables grow and shrink */
        uint32_t number = (uint32_t)rng_below(&rng, TOPICS);
        change(retain, number, rng_below(&rng, 10) < (is_flood ? 8 : 1), step);
        let_go(retain, (uint32_t)rng_below(&rng, TOPICS));
        if (step % 4 == 0) {
            scan_step(retain, &scans[rng_below(&rng, SCANS)], step, &rng);
        }
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < TOPICS; i++) {
        struct retained found = retain_look(retain, slice_text(topics[i].text), 0);
        assert_ptr_equal(found.msg, topics[i].is_away ? NULL : topics[i].msg);
        assert_int_equal(found.stamp != 0, topics[i].is_away);
        msg_unref(found.msg);
        count += topics[i].msg != NULL;
    }
    assert_int_equal(retain_count(retain), count);
    for (uint32_t i = 0; i < SCANS; i++) {
        retain_scan_free(scans[i].scan);
    }
    retain_free(retain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_message_stays_and_an_empty_one_clears),
        cmocka_unit_test(each_message_is_referenced_once),
        cmocka_unit_test(a_bound_refuses_and_keeps_the_old_message),
        cmocka_unit_test(an_expired_message_is_not_given_and_a_scan_drops_it),
        cmocka_unit_test(a_scan_finds_what_the_filter_matches),
        cmocka_unit_test(a_step_of_a_scan_is_bounded),
        cmocka_unit_test(the_deepest_topic_is_only_long),
        cmocka_unit_test(a_scan_stands_where_everything_around_it_went),
        cmocka_unit_test(what_is_let_go_is_away_until_its_topic_is_set_or_cleared),
        cmocka_unit_test(what_is_away_counts_for_the_bounds_but_not_for_memory),
        cmocka_unit_test(a_store_is_crowded_by_what_is_in_memory),
        cmocka_unit_test(a_scan_names_the_topics_of_what_is_away),
        cmocka_unit_test(scans_and_changes_interleave_as_a_list_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
