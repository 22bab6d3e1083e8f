#include "cluster/journal_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int shard_of_test; /* only its address matters */
static struct story {
    uint32_t applied, done;
    uint32_t applied_when_done;
    enum op_kind kind;
    enum err answer, heard;
    void *shard;
} story;

static enum err apply(void *shard, const struct op *op)
{
    story.applied++;
    story.shard = shard;
    story.kind = op->kind;
    return story.answer;
}

static void done(void *context, enum err err)
{
    assert_ptr_equal(context, &story);
    story.done++;
    story.heard = err;
    story.applied_when_done = story.applied;
}

static void submit(enum op_kind kind, enum err answer, journal_done told)
{
    struct journal *journal = journal_memory_new(NULL, (struct shard *)(void *)&shard_of_test,
                                                 apply);
    struct op op = {.kind = kind};
    story = (struct story){.answer = answer};
    journal_submit(journal, &op, told, &story);
    journal_memory_free(journal);
}

static void an_op_is_applied_on_its_shard_and_then_done(void **state)
{
    (void)state;
    submit(OP_RELEASE, OK, done);
    assert_int_equal(story.applied, 1);
    assert_int_equal(story.done, 1);
    assert_int_equal(story.applied_when_done, 1);
    assert_int_equal(story.kind, OP_RELEASE);
    assert_ptr_equal(story.shard, &shard_of_test);
    assert_int_equal(story.heard, OK);
}

static void what_apply_says_is_what_is_heard(void **state)
{
    (void)state;
    submit(OP_RETAIN, ERR_QUOTA, done);
    assert_int_equal(story.heard, ERR_QUOTA);
}

static void nobody_needs_to_listen(void **state)
{
    (void)state;
    submit(OP_CLOSE, OK, NULL);
    assert_int_equal(story.applied, 1);
    assert_int_equal(story.done, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_op_is_applied_on_its_shard_and_then_done),
        cmocka_unit_test(what_apply_says_is_what_is_heard),
        cmocka_unit_test(nobody_needs_to_listen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
