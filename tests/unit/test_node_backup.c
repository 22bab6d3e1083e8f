#include "cluster/node_backup.h"
#include "core/base/log.h"
#include "storage/store.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- a store that copies when the test says so ----------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char folder_asked[64];
static enum err answer;
static uint32_t asked, allowed;

/* Stands for storage/store_backup.c, which is not linked. */
enum err store_backup(struct store *store, const char *folder, struct kv_failure *failure)
{
    pthread_mutex_lock(&lock);
    assert_ptr_equal(store, &asked);
    snprintf(folder_asked, sizeof(folder_asked), "%s", folder);
    asked++;
    pthread_cond_broadcast(&changed);
    while (allowed < asked) {
        pthread_cond_wait(&changed, &lock);
    }
    enum err err = answer;
    pthread_mutex_unlock(&lock);
    if (err == ERR_NO_SPACE) {
        snprintf(failure->text, sizeof(failure->text), "no space there");
    }
    return err;
}

static void wait_asked(uint32_t count)
{
    pthread_mutex_lock(&lock);
    while (asked < count) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void allow(enum err err)
{
    pthread_mutex_lock(&lock);
    answer = err;
    allowed++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static struct admin_backup look(struct node_backup *backup)
{
    struct admin_backup found;
    node_backup_look(backup, &found);
    return found;
}

static struct admin_backup ended(struct node_backup *backup)
{
    struct admin_backup found = look(backup);
    while (found.state == ADMIN_BACKUP_RUNNING) {
        sched_yield();
        found = look(backup);
    }
    return found;
}

static int begin(void **state)
{
    asked = allowed = 0;
    log_setup(-1, LOG_LOGFMT, 0);
    *state = node_backup_new((struct store *)&asked);
    return *state == NULL ? -1 : 0;
}

static int end(void **state)
{
    node_backup_free(*state);
    return 0;
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void a_backup_runs_beside_and_tells_how_it_ended(void **state)
{
    struct node_backup *backup = *state;
    assert_int_equal(look(backup).state, ADMIN_BACKUP_NONE);
    assert_int_equal(node_backup_begin(backup, "/a"), OK);
    assert_int_equal(look(backup).state, ADMIN_BACKUP_RUNNING);
    wait_asked(1);
    assert_string_equal(folder_asked, "/a");
    assert_int_equal(look(backup).until_wall_ms, 0);
    allow(OK);
    struct admin_backup done = ended(backup);
    assert_int_equal(done.state, ADMIN_BACKUP_DONE);
    assert_string_equal(done.folder, "/a");
    assert_true(done.until_wall_ms >= done.since_wall_ms && done.since_wall_ms > 0);
}

static void one_at_a_time_and_the_next_after_a_failure(void **state)
{
    struct node_backup *backup = *state;
    assert_int_equal(node_backup_begin(backup, "/a"), OK);
    assert_int_equal(node_backup_begin(backup, "/b"), ERR_BUSY);
    assert_string_equal(look(backup).folder, "/a");
    allow(ERR_NO_SPACE);
    struct admin_backup failed = ended(backup);
    assert_int_equal(failed.state, ADMIN_BACKUP_FAILED);
    assert_string_equal(failed.why, "no space there");
    assert_int_equal(node_backup_begin(backup, "/b"), OK);
    allow(ERR_IO);
    failed = ended(backup);
    assert_string_equal(failed.folder, "/b");
    assert_string_equal(failed.why, err_text(ERR_IO)); /* never without a reason */
}

static void *allow_later(void *argument)
{
    (void)argument;
    wait_asked(1);
    allow(OK);
    return NULL;
}

static void the_end_waits_for_the_one_that_is_being_made(void **state)
{
    pthread_t thread;
    assert_int_equal(node_backup_begin(*state, "/a"), OK);
    assert_int_equal(pthread_create(&thread, NULL, allow_later, NULL), 0);
    node_backup_free(*state);
    assert_int_equal(asked, 1); /* also when the thread had not begun yet */
    pthread_join(thread, NULL);
    *state = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_runs_beside_and_tells_how_it_ended, begin, end),
        cmocka_unit_test_setup_teardown(one_at_a_time_and_the_next_after_a_failure, begin, end),
        cmocka_unit_test_setup_teardown(the_end_waits_for_the_one_that_is_being_made, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
