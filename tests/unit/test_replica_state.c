/*
 * A group whose state is its owner's (the registry's): alone, on a real store. The state is a text, and each
 * command adds a letter to it.
 */
#include "cluster/replica.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { GROUP = STORE_PARTITIONS, TEXT_MAX = 256 };

static struct place {
    char root[64], folder[128];
    struct store *store;
    struct kv_failure failure;
    struct replica *replica;
    struct kv_batch *batch;
    char text[TEXT_MAX]; /* the state */
    uint64_t index;      /* of its last entry */
    uint32_t restored, applied;
} here;

static enum err on_restore(void *context, uint64_t index, uint64_t term, struct slice bytes)
{
    (void)context;
    assert_true(term > 0);
    assert_true(bytes.count < TEXT_MAX);
    memcpy(here.text, bytes.data, bytes.count);
    here.text[bytes.count] = '\0';
    here.index = index;
    here.restored++;
    return OK;
}

static enum err on_apply(void *context, uint64_t index, uint64_t term, struct slice bytes)
{
    (void)context, (void)term;
    assert_true(index > here.index);
    size_t count = strlen(here.text);
    assert_true(count + bytes.count < TEXT_MAX);
    memcpy(here.text + count, bytes.data, bytes.count);
    here.text[count + bytes.count] = '\0';
    here.index = index;
    here.applied++;
    return OK;
}

static const struct replica_state state_of_ours = {on_restore, on_apply, NULL};

static struct kv_batch *host_batch(void *context, struct replica *replica, bool must_sync)
{
    (void)context, (void)replica, (void)must_sync;
    return here.batch;
}

static void host_committed(void *context, struct replica *replica, uint64_t index, uint64_t term,
                           struct slice bytes)
{
    (void)context, (void)replica;
    if (bytes.count > 0) {
        assert_int_equal(on_apply(NULL, index, term, bytes), OK);
        here.applied--; /* that counts what was found */
    }
}

static void host_leads(void *context, struct replica *replica, uint64_t term)
{
    (void)context, (void)replica, (void)term;
}

static void host_send(void *context, struct replica *replica, uint64_t peer, struct slice message)
{
    (void)context, (void)replica, (void)peer, (void)message;
    fail_msg("it is alone");
}

static const struct replica_host host = {
    .batch = host_batch, .committed = host_committed, .leads = host_leads, .send = host_send};

/* ---- its life --------------------------------------------------------------------------------- */

static enum err begin(void)
{
    struct store_config store = {.folder = here.folder, .space_free_min = 1};
    struct replica_config config = {
        .partition = GROUP, .node_id = 1, .seed = 7, .host = &host, .state = &state_of_ours};
    here.text[0] = '\0';
    here.index = here.restored = here.applied = 0;
    assert_int_equal(store_open(&store, &here.store, &here.failure), OK);
    config.store = here.store;
    return replica_open(&config, 1000, &here.replica, &here.failure);
}

static void end(void)
{
    replica_close(here.replica);
    here.replica = NULL;
    store_close(here.store);
    here.store = NULL;
}

static void written(void)
{
    assert_int_equal(kv_write(store_log(here.store), here.batch), OK);
    kv_batch_clear(here.batch);
    replica_persisted(here.replica, 1000, OK);
}

static void add(const char *letter)
{
    uint64_t index;
    uint8_t *bytes = malloc(1);
    bytes[0] = (uint8_t)letter[0];
    assert_int_equal(replica_propose(here.replica, 1000, slice_of(bytes, 1), &index), OK);
    written();
    replica_applied(here.replica, index);
}

static int set_up(void **state)
{
    (void)state;
    memset(&here, 0, sizeof(here));
    snprintf(here.root, sizeof here.root, "/tmp/tern-state-XXXXXX");
    assert_non_null(mkdtemp(here.root));
    snprintf(here.folder, sizeof here.folder, "%s/data", here.root);
    here.batch = kv_batch_new();
    assert_int_equal(begin(), OK);
    return 0;
}

static int on_file(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat, (void)kind, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    end();
    kv_batch_free(here.batch);
    return nftw(here.root, on_file, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- stories ---------------------------------------------------------------------------------- */

static void what_was_committed_is_found_again(void **state)
{
    (void)state;
    add("a");
    add("b");
    assert_string_equal(here.text, "ab");
    end();
    assert_int_equal(begin(), OK);
    assert_string_equal(here.text, "ab");
    assert_int_equal(here.restored, 0);
    assert_int_equal(here.applied, 2);
    add("c");
    assert_string_equal(here.text, "abc");
}

static void what_was_kept_is_restored_and_what_came_later_is_applied(void **state)
{
    (void)state;
    add("a");
    add("b");
    assert_int_equal(replica_keep(here.replica, slice_text(here.text), 0), OK);
    written();
    add("c");
    end();
    assert_int_equal(begin(), OK);
    assert_string_equal(here.text, "abc");
    assert_int_equal(here.restored, 1);
    assert_int_equal(here.applied, 1);
    add("d");
    end();
    assert_int_equal(begin(), OK);
    assert_string_equal(here.text, "abcd");
}

static uint32_t entry_count;

static enum err count_entry(void *context, const struct raftlog_entry *entry)
{
    (void)context, (void)entry;
    entry_count++;
    return OK;
}

/* One entry made the group. */
static void the_log_is_cut_to_it_but_for_those_that_followers_may_want(void **state)
{
    struct raftlog_hard hard;
    (void)state;
    for (int i = 0; i < 10; i++) {
        add("x");
    }
    assert_int_equal(replica_keep(here.replica, slice_text(here.text), 3), OK);
    written();
    assert_int_equal(replica_keep(here.replica, slice_text(here.text), 3), ERR_AGAIN);
    entry_count = 0;
    assert_int_equal(
        raftlog_load(store_log(here.store), GROUP, &hard, count_entry, NULL, &here.failure), OK);
    assert_int_equal(entry_count, 3);
    assert_int_equal(hard.cut_index, 8);
    end();
    assert_int_equal(begin(), OK);
    assert_string_equal(here.text, "xxxxxxxxxx");
    assert_int_equal(here.applied, 0);
    add("y");
    assert_string_equal(here.text, "xxxxxxxxxxy");
}

static void a_state_that_is_damaged_is_refused_and_named(void **state)
{
    (void)state;
    struct raftlog_state other = {1, 1, slice_text("of another group")};
    struct kv_value value;
    add("a");
    /* A whole record, in the wrong place. */
    assert_int_equal(raftlog_put_state(here.batch, GROUP + 1, &other), OK);
    assert_int_equal(kv_write(store_log(here.store), here.batch), OK);
    kv_batch_clear(here.batch);
    uint8_t from[] = {GROUP + 1, 'S'}, to[] = {GROUP, 'S'};
    assert_int_equal(kv_get(store_log(here.store), slice_of(from, 2), &value), OK);
    kv_batch_put(here.batch, slice_of(to, 2), value.bytes);
    kv_value_free(&value);
    assert_int_equal(kv_write(store_log(here.store), here.batch), OK);
    kv_batch_clear(here.batch);
    end();
    assert_int_equal(begin(), ERR_CORRUPT);
    assert_non_null(strstr(here.failure.text, "its state does not fit its checksum"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_found_again),
        TEST(what_was_kept_is_restored_and_what_came_later_is_applied),
        TEST(the_log_is_cut_to_it_but_for_those_that_followers_may_want),
        TEST(a_state_that_is_damaged_is_refused_and_named),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
