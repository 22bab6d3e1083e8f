#include "core/base/json.h"
#include "core/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct json_limits usual = {.bytes_max = 100000, .depth_max = 8};

static enum err outcome_of(const char *text)
{
    struct json *document = NULL;
    char problem[JSON_PROBLEM_BYTES];
    enum err err = json_read(slice_text(text), &usual, &document, problem);
    assert_true((err == OK) == (document != NULL));
    assert_true((err == OK) == (problem[0] == 0));
    json_free(document);
    return err;
}

static void a_document_is_read_and_asked(void **state)
{
    static const char text[] =
        "{\"name\":\"m\\u00fcll\",\"n\":-7,\"x\":1.5,\"on\":true,\"none\":null,"
        "\"list\":[1,[2],{\"deep\":\"yes\"}],\"big\":9223372036854775807}";
    struct json *document;
    struct slice name;
    uint64_t u = 3;
    int64_t i;
    double f;
    bool on = false;
    (void)state;
    assert_int_equal(json_read(slice_text(text), &usual, &document, NULL), OK);
    assert_int_equal(json_kind(document), JSON_IS_OBJECT);
    assert_int_equal(json_count(document), 7);
    assert_int_equal(json_get_text(json_member(document, "name"), &name), OK);
    assert_true(slice_is(name, "m\xc3\xbcll"));
    assert_int_equal(json_get_i64(json_member(document, "n"), &i), OK);
    assert_int_equal(i, -7);
    assert_int_equal(json_get_u64(json_member(document, "n"), &u), ERR_RANGE);
    assert_int_equal(json_get_u64(json_member(document, "x"), &u), ERR_INVALID);
    assert_int_equal(json_get_u64(json_member(document, "name"), &u), ERR_INVALID);
    assert_int_equal(json_get_u64(json_member(document, "absent"), &u), ERR_INVALID);
    assert_int_equal(u, 3);
    assert_int_equal(json_get_u64(json_member(document, "big"), &u), OK);
    assert_true(u == INT64_MAX);
    assert_int_equal(json_get_f64(json_member(document, "x"), &f), OK);
    assert_true(f == 1.5);
    assert_int_equal(json_get_bool(json_member(document, "on"), &on), OK);
    assert_true(on);
    assert_int_equal(json_kind(json_member(document, "none")), JSON_IS_NULL);

    const struct json *list = json_member(document, "list");
    assert_int_equal(json_count(list), 3);
    assert_int_equal(json_get_text(json_member(json_item(list, 2), "deep"), &name), OK);
    assert_true(slice_is(name, "yes"));
    assert_null(json_item(list, 3));
    assert_null(json_member(list, "deep"));
    assert_null(json_item(json_member(json_member(document, "absent"), "too"), 0));
    json_free(document);
}

static void members_are_walked_each_once(void **state)
{
    struct json *document;
    void *cursor = NULL;
    struct slice key;
    int64_t number, sum = 0;
    size_t count = 0;
    (void)state;
    assert_int_equal(json_read(slice_text("{\"a\":1,\"b\":2,\"c\":4}"), &usual, &document, NULL),
                     OK);
    for (const struct json *value; (value = json_next(document, &cursor, &key)) != NULL; count++) {
        assert_int_equal(json_get_i64(value, &number), OK);
        assert_int_equal(key.data[0], number == 1 ? 'a' : number == 2 ? 'b' : 'c');
        sum += number;
    }
    assert_int_equal(count, 3);
    assert_int_equal(sum, 7);
    cursor = NULL;
    assert_null(json_next(json_member(document, "a"), &cursor, &key)); /* not an object */
    json_free(document);
}

static void what_is_not_a_clean_document_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "1",
        "\"text\"",
        "{",
        "{}x",
        "{}{}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[01]",
        "[nan]",
        "{\"a\":1,\"a\":2}", /* a key twice: which one counts? */
        "[\"\\u0000\"]",
        "{\"\\u0000\":1}", /* a text that other readers would cut */
        "[\"\xff\"]",
        "[\"\xed\xa0\x80\"]",
        "[\"a\nb\"]",
        "[99999999999999999999]",
        "[1e999]",
        "/* c */ []",
        "[\"\\ud800\"]",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(outcome_of(texts[i]), ERR_INVALID);
    }
}

static void size_and_depth_are_bounded(void **state)
{
    static const struct json_limits small = {.bytes_max = 10, .depth_max = 1};
    struct json *document = NULL;
    char deep[2001];
    (void)state;
    assert_int_equal(json_read(slice_text("[1,2,3,4 ]"), &small, &document, NULL), OK);
    json_free(document);
    document = NULL;
    assert_int_equal(json_read(slice_text("[1,2,3,45 ]"), &small, &document, NULL), ERR_TOO_LARGE);
    assert_int_equal(json_read(slice_text("[[1]]"), &small, &document, NULL), ERR_LIMIT);
    assert_null(document);
    assert_int_equal(outcome_of("[[[[[[[[1]]]]]]]]"), OK);
    assert_int_equal(outcome_of("[[[[[[[[[1]]]]]]]]]"), ERR_LIMIT);
    assert_int_equal(outcome_of("[\"[[[[[[[[[[[[\",\"\\\"[[[[[[[[[[[[\"]"), OK); /* only in texts */
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = 0;
    assert_int_equal(outcome_of(deep), ERR_LIMIT);
}

static void a_document_is_written_with_commas_where_they_belong(void **state)
{
    struct buf out = {0};
    struct json_writer w = json_writer(&out, 10000);
    (void)state;
    json_object_begin(&w, NULL);
    json_add_text(&w, "name", slice_text("d1"));
    json_array_begin(&w, "list");
    json_add_u64(&w, NULL, UINT64_MAX);
    json_add_i64(&w, NULL, -3);
    json_object_begin(&w, NULL);
    json_object_end(&w);
    json_array_begin(&w, NULL);
    json_array_end(&w);
    json_array_end(&w);
    json_add_bool(&w, "on", true);
    json_add_bool(&w, "off", false);
    json_add_null(&w, "none");
    json_add_f64(&w, "x", 0.1);
    json_add_f64(&w, "nan", (double)NAN);
    json_object_end(&w);
    assert_int_equal(json_writer_end(&w), OK);
    assert_true(slice_is(buf_bytes(&out),
                         "{\"name\":\"d1\",\"list\":[18446744073709551615,-3,{},[]],\"on\":true,"
                         "\"off\":false,\"none\":null,\"x\":0.1,\"nan\":null}"));
    buf_deinit(&out);
}

static void the_bound_of_a_writer_holds(void **state)
{
    struct buf out = {0};
    struct json_writer w = json_writer(&out, 100);
    (void)state;
    json_array_begin(&w, NULL);
    for (int i = 0; i < 1000; i++) {
        json_add_text(&w, NULL, slice_text("0123456789"));
    }
    json_array_end(&w);
    assert_int_equal(json_writer_end(&w), ERR_TOO_LARGE);
    assert_true(buf_count(&out) < 120); /* the first failure stopped it */
    buf_deinit(&out);
}

static void whatever_is_written_is_read_back(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, 8);
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        size_t count = rng_below(&rng, sizeof(bytes));
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)(rng_below(&rng, 3) == 0 ? rng_u64(&rng)
                                                         : 1 + rng_below(&rng, 127));
        }
        /* U+0000 is written, but our own reader refuses it. */
        for (size_t i = 0; i < count; i++) {
            bytes[i] = bytes[i] == 0 ? 1 : bytes[i];
        }
        struct buf out = {0};
        struct json_writer w = json_writer(&out, 10000);
        double number = (double)(int64_t)rng_u64(&rng) / 1e6;
        json_object_begin(&w, NULL);
        json_add_text(&w, "t", slice_of(bytes, count));
        json_add_f64(&w, "f", number);
        json_object_end(&w);
        assert_int_equal(json_writer_end(&w), OK);

        struct json *document = NULL;
        struct slice text;
        double back;
        assert_int_equal(json_read(buf_bytes(&out), &usual, &document, NULL), OK);
        assert_int_equal(json_get_text(json_member(document, "t"), &text), OK);
        assert_int_equal(json_get_f64(json_member(document, "f"), &back), OK);
        assert_true(back == number);
        bool is_ascii = true;
        for (size_t i = 0; i < count; i++) {
            is_ascii &= bytes[i] < 0x80;
        }
        assert_true(!is_ascii || slice_equal(text, slice_of(bytes, count)));
        json_free(document);
        buf_deinit(&out);
    }
}

static void texts_are_escaped(void **state)
{
    static const char text[] = "a\"\\\n\t\b\f\r\0\x1f\x7f\xc2\x9b\xc3\xbc\xff\xe2\x80\xa8</script>";
    struct buf out = {0};
    (void)state;
    assert_int_equal(json_escape(&out, slice_of(text, sizeof(text) - 1)), OK);
    assert_true(slice_is(buf_bytes(&out), "\"a\\\"\\\\\\n\\t\\b\\f\\r\\u0000\\u001f\\u007f\\u009b"
                                          "\xc3\xbc\\ufffd\\u2028</script>\""));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_read_and_asked),
        cmocka_unit_test(members_are_walked_each_once),
        cmocka_unit_test(what_is_not_a_clean_document_is_refused),
        cmocka_unit_test(size_and_depth_are_bounded),
        cmocka_unit_test(a_document_is_written_with_commas_where_they_belong),
        cmocka_unit_test(the_bound_of_a_writer_holds),
        cmocka_unit_test(whatever_is_written_is_read_back),
        cmocka_unit_test(texts_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
