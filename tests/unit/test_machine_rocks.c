#include "tests/lib/machine_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The machine on the map it has in production; what it does is said in test_machine.c. */
enum { PARTITION = 7, ENTRIES = 150, SEEDS = 4 };

struct node {
    char folder[64];
    struct kv *kv;
    struct write_set *writes;
    struct machine *machine;
};

static void start(struct node *node)
{
    struct kv_failure failure = {.text = ""};
    struct kv_config config = {.folder = node->folder, .way = KV_UNLOGGED};
    assert_int_equal(kv_open(&config, &node->kv, &failure), OK);
    assert_int_equal(machine_open(node->kv, PARTITION, &node->machine), OK);
}

/* What was not flushed is lost. */
static void stop(struct node *node)
{
    machine_close(node->machine);
    write_set_clear(node->writes);
    kv_close(node->kv);
}

static struct node node_new(void)
{
    struct node node = {.folder = "/tmp/test_machine_rocks.XXXXXX", .writes = write_set_new()};
    assert_non_null(node.writes);
    assert_non_null(mkdtemp(node.folder));
    start(&node);
    return node;
}

static void node_free(struct node *node)
{
    char command[96];
    stop(node);
    write_set_free(node->writes);
    snprintf(command, sizeof(command), "rm -rf %s", node->folder);
    assert_int_equal(system(command), 0);
}

static void apply(struct node *node, uint64_t index, struct slice bytes, bool is_written)
{
    assert_int_equal(machine_apply(node->machine, index, 1, bytes, node->writes), OK);
    if (is_written) {
        assert_int_equal(write_set_write(node->writes, node->kv), OK);
    }
}

static void check_against(struct node *node, const struct model *model)
{
    struct told by_machine = {.text = NULL}, by_model = {.text = NULL};
    tell(&by_machine, "partition\n");
    tell(&by_model, "partition\n");
    assert_int_equal(machine_read(node->machine, &told_reader, &by_machine), OK);
    model_tell(model, &by_model);
    assert_string_equal(by_machine.text, by_model.text);
    free(by_machine.text);
    free(by_model.text);
}

static void a_store_that_lost_what_was_not_flushed_comes_to_the_same_by_its_log(void **state)
{
    static struct model model;
    int losses = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct slice log[ENTRIES + 1];
        struct node straight = node_new(), crashed = node_new();
        struct rng rng;
        uint64_t digests[2];
        rng_init(&rng, seed);
        model_init(&model, seed + 500);
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            log[index] = model_entry(&model);
            apply(&straight, index, log[index], true);
        }
        while (machine_index(crashed.machine) < ENTRIES) {
            uint64_t index = machine_index(crashed.machine) + 1;
            apply(&crashed, index, log[index], rng_below(&rng, 3) == 0);
            if (rng_below(&rng, 10) == 0) {
                assert_int_equal(kv_flush(crashed.kv), OK);
            }
            if (rng_below(&rng, 30) == 0) {
                stop(&crashed);
                start(&crashed);
                losses += machine_index(crashed.machine) < index;
            }
        }
        apply(&crashed, ENTRIES + 1, slice_of(NULL, 0), true);
        assert_int_equal(machine_hash(crashed.machine), machine_hash(straight.machine));
        assert_int_equal(machine_digest(straight.machine, &digests[0]), OK);
        assert_int_equal(machine_digest(crashed.machine, &digests[1]), OK);
        assert_int_equal(digests[0], digests[1]);
        check_against(&crashed, &model);
        for (uint64_t index = 1; index <= ENTRIES; index++) {
            free((void *)log[index].data);
        }
        model_deinit(&model);
        node_free(&straight);
        node_free(&crashed);
    }
    assert_true(losses > SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_lost_what_was_not_flushed_comes_to_the_same_by_its_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
