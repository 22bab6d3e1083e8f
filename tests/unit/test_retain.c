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
    struct msg *msg = retain_get(retain, slice_text(topic), 1000);
    bool is_so = msg != NULL && slice_is(msg->payload, payload);
    msg_unref(msg);
    return is_so;
}

/* How many messages a scan of the filter gives, `max` at a time. */
static uint32_t scan_count(struct retain *retain, const char *filter, uint32_t max)
{
    struct retain_scan *scan = retain_scan_new(retain, slice_text(filter));
    struct msg *out[64];
    uint32_t count = 0;
    bool is_done = false;
    while (!is_done) {
        uint32_t got = retain_scan_next(scan, 1000, out, max, &is_done);
        assert_true(got <= max);
        for (uint32_t i = 0; i < got; i++) {
            assert_true(topic_matches(slice_text(filter), out[i]->topic));
            msg_unref(out[i]);
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
    struct msg *got = retain_get(retain, slice_text("a"), 0);
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
    assert_null(retain_get(retain, slice_text("a/old"), 1000));
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
    struct msg *out[4];
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
            msg_unref(out[i]);
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
    got = retain_get(retain, msg->topic, 0);
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
    struct msg *out[1];
    bool is_done;
    (void)state;
    for (uint32_t i = 0; i < 500; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "a/b/%u", (unsigned)i);
        assert_int_equal(set(retain, topic, "x"), OK);
    }
    struct retain_scan *scan = retain_scan_new(retain, slice_text("a/+/#"));
    assert_int_equal(retain_scan_next(scan, 0, out, 1, &is_done), 1);
    msg_unref(out[0]);
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

enum { TOPICS = 3000, SCANS = 4, STEPS = 60000, TOPIC_BYTES = 48, BATCH = 16 };

struct oracle_topic {
    char text[TOPIC_BYTES];
    struct msg *msg;   /* what is retained, or NULL */
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

static void scan_step(struct retain *retain, struct oracle_scan *own, uint32_t step,
                      struct rng *rng)
{
    struct msg *out[BATCH];
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
        uint32_t number = (uint32_t)out[i]->publisher; /* where the test keeps it */
        assert_ptr_equal(topics[number].msg, out[i]);
        assert_true(topic_matches(slice_text(own->filter), out[i]->topic));
        assert_int_equal(own->seen[number]++, 0);
        msg_unref(out[i]);
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
                            .publisher = number,
                            .payload = slice_text(want ? "x" : "")};
    struct msg *msg = msg_new(&spec);
    assert_int_equal(retain_set(retain, msg), OK);
    if (topic->msg == NULL || !want) {
        topic->reset_at = step;
    }
    topic->msg = want ? msg : NULL; /* the store's reference keeps it */
    msg_unref(msg);
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
        if (step % 4 == 0) {
            scan_step(retain, &scans[rng_below(&rng, SCANS)], step, &rng);
        }
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < TOPICS; i++) {
        struct msg *msg = retain_get(retain, slice_text(topics[i].text), 0);
        assert_ptr_equal(msg, topics[i].msg);
        msg_unref(msg);
        count += msg != NULL;
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
        cmocka_unit_test(scans_and_changes_interleave_as_a_list_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
