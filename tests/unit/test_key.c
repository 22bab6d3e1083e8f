#include "core/base/rng.h"
#include "storage/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* What a key is of, and how it must sort: partition, kind, number, part, second, text. */
static int compare_bytes(struct slice a, struct slice b)
{
    size_t count = a.count < b.count ? a.count : b.count;
    int order = count == 0 ? 0 : memcmp(a.data, b.data, count);
    return order != 0 ? order : (a.count > b.count) - (a.count < b.count);
}

#define ORDER(x, y)                \
    if ((x) != (y)) {              \
        return (x) < (y) ? -1 : 1; \
    }
static int compare_parts(const struct key_parts *a, const struct key_parts *b)
{
    ORDER(a->partition, b->partition);
    ORDER((int)a->kind, (int)b->kind);
    ORDER(a->source, b->source);
    ORDER(a->number, b->number);
    ORDER((int)a->part, (int)b->part);
    ORDER(a->second, b->second);
    return compare_bytes(a->text, b->text);
}

static void make(struct key *key, const struct key_parts *parts)
{
    switch (parts->kind) {
    case KEY_APPLIED:
        key_of_kind(key, parts->partition, parts->kind);
        return;
    case KEY_RETAINED:
        key_of_retained(key, parts->partition, parts->text);
        return;
    case KEY_TAKEN:
        key_of_taken(key, parts->partition, parts->source, parts->number, parts->second);
        return;
    case KEY_SESSION:
        break;
    default:
        key_of_number(key, parts->partition, parts->kind, parts->number);
        return;
    }
    switch (parts->part) {
    case PART_SESSION:
        key_of_session(key, parts->partition, parts->number);
        return;
    case PART_SUBSCRIPTION:
        key_of_subscription(key, parts->partition, parts->number, parts->text);
        return;
    case PART_PACKET_ID:
        key_of_packet_id(key, parts->partition, parts->number, (uint16_t)parts->second);
        return;
    case PART_ITEM:
        key_of_item(key, parts->partition, parts->number, parts->second);
        return;
    default:
        key_of_session_part(key, parts->partition, parts->number, parts->part);
    }
}

/* Few values, and those at the edges, so that pairs meet in all but the last part. */
static uint64_t edge(struct rng *rng)
{
    static const uint64_t edges[] = {0,   1,      127,     128,        255,
                                     256, 0xFFFF, 0x10000, UINT32_MAX, UINT64_MAX};
    return edges[rng_below(rng, sizeof(edges) / sizeof(edges[0]))];
}

static struct key_parts any(struct rng *rng, uint8_t *text)
{
    static const enum key_kind kinds[] = {KEY_APPLIED, KEY_SHARED_COUNT, KEY_RECEIVED,
                                          KEY_MESSAGE, KEY_OUTBOX,       KEY_RETAINED,
                                          KEY_SESSION, KEY_SESSION,      KEY_TAKEN};
    static const enum key_part all[] = {PART_SESSION,      PART_AWAY,      PART_WILL,
                                        PART_SUBSCRIPTION, PART_PACKET_ID, PART_ITEM};
    struct key_parts parts = {.partition = (uint32_t)rng_below(rng, 2) * 255};
    parts.kind = kinds[rng_below(rng, 9)];
    size_t count = rng_below(rng, 4);
    for (size_t i = 0; i < count; i++) {
        text[i] = (uint8_t)edge(rng);
    }
    if (parts.kind == KEY_RETAINED) {
        parts.text = slice_of(text, count);
    } else if (parts.kind != KEY_APPLIED) {
        parts.number = edge(rng);
    }
    if (parts.kind == KEY_RECEIVED) {
        parts.number &= 255;
    }
    if (parts.kind == KEY_TAKEN) {
        parts.source = (uint32_t)edge(rng) & 255;
        parts.second = edge(rng);
    }
    if (parts.kind != KEY_SESSION) {
        return parts;
    }
    parts.part = all[rng_below(rng, 6)];
    if (parts.part == PART_SUBSCRIPTION) {
        parts.text = slice_of(text, count);
    } else if (parts.part == PART_PACKET_ID) {
        parts.second = edge(rng) & 0xFFFF;
    } else if (parts.part == PART_ITEM) {
        parts.second = edge(rng);
    }
    return parts;
}

static struct key first, second; /* too large for a stack */

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void keys_sort_as_what_they_are_of(void **state)
{
    struct rng rng;
    int orders[3] = {0};
    (void)state;
    rng_init(&rng, 1);
    for (int i = 0; i < 200000; i++) {
        uint8_t texts[2][4];
        struct key_parts a = any(&rng, texts[0]), b = any(&rng, texts[1]);
        if (rng_below(&rng, 2) == 0) { /* neighbours: alike but for the end */
            b.partition = a.partition;
            if (a.kind == KEY_SESSION && b.kind == KEY_SESSION) {
                b.number = a.number;
            }
        }
        make(&first, &a);
        make(&second, &b);
        int order = sign(compare_bytes(key_slice(&first), key_slice(&second)));
        assert_int_equal(order, sign(compare_parts(&a, &b)));
        orders[1 + order]++;
    }
    assert_true(orders[0] > 1000 && orders[1] > 100 && orders[2] > 1000);
}

static void what_a_key_is_of_can_be_read_from_it(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 2);
    for (int i = 0; i < 50000; i++) {
        uint8_t text[4];
        struct key_parts parts = any(&rng, text), again;
        make(&first, &parts);
        assert_true(key_read(key_slice(&first), &again));
        assert_int_equal(compare_parts(&parts, &again), 0);
    }
}

static void the_longest_texts_fit(void **state)
{
    static uint8_t text[2 * 65535];
    struct key_parts parts;
    (void)state;
    memset(text, 'x', sizeof(text));
    key_of_subscription(&first, 3, 4, slice_of(text, sizeof(text)));
    assert_int_equal(first.count, KEY_BYTES_MAX);
    assert_true(key_read(key_slice(&first), &parts));
    assert_int_equal(parts.text.count, sizeof(text));
}

/* Any bytes: read or refused; what is read makes the same key again. */
static void any_bytes_are_a_key_or_refused(void **state)
{
    struct rng rng;
    int read_count = 0;
    (void)state;
    rng_init(&rng, 3);
    assert_false(key_read(slice_of(NULL, 0), &(struct key_parts){0}));
    for (int i = 0; i < 200000; i++) {
        uint8_t text[4];
        struct key_parts parts = any(&rng, text);
        make(&first, &parts);
        size_t count = rng_below(&rng, first.count + 2); /* shorter, as it is, or with one more */
        first.bytes[first.count] = 0;
        if (count > 0 && rng_below(&rng, 2) == 0) {
            first.bytes[rng_below(&rng, count)] = (uint8_t)rng_u64(&rng);
        }
        uint8_t *bytes = malloc(count + 1); /* of that size, so that ASan sees who reads further */
        assert_non_null(bytes);
        memcpy(bytes + 1, first.bytes, count);
        if (key_read(slice_of(bytes + 1, count), &parts)) {
            make(&second, &parts);
            assert_true(slice_equal(key_slice(&second), slice_of(bytes + 1, count)));
            read_count++;
        }
        free(bytes);
    }
    assert_true(read_count > 1000);
}

static void the_end_of_a_range_is_behind_all_that_begin_so(void **state)
{
    static const struct slice text = SLICE("\xFF\xFF\xFF");
    (void)state;
    key_of_session(&first, 7, 0xFF);
    key_end(&first);
    key_of_subscription(&second, 7, 0xFF, text);
    assert_true(compare_bytes(key_slice(&second), key_slice(&first)) < 0);
    key_of_session(&second, 7, 0x100); /* and not behind the next */
    assert_true(compare_bytes(key_slice(&second), key_slice(&first)) >= 0);
    key_of_session(&first, 7, UINT64_MAX);
    key_end(&first);
    key_of_subscription(&second, 7, UINT64_MAX, text);
    assert_true(compare_bytes(key_slice(&second), key_slice(&first)) < 0);
    key_of_partition(&second, 8);
    assert_true(compare_bytes(key_slice(&first), key_slice(&second)) < 0);
    key_of_partition(&first, 255); /* nothing is behind the last partition */
    key_end(&first);
    assert_int_equal(first.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_sort_as_what_they_are_of),
        cmocka_unit_test(what_a_key_is_of_can_be_read_from_it),
        cmocka_unit_test(the_longest_texts_fit),
        cmocka_unit_test(any_bytes_are_a_key_or_refused),
        cmocka_unit_test(the_end_of_a_range_is_behind_all_that_begin_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
