/* The API: a backup is begun, looked at, and refused. */
#include "tests/lib/admin_house.h"

#define BACKUP "/api/v1/backup"
#define POST_HEAD \
    "POST " BACKUP " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define FOLDER "{\"folder\":\"/backups/today\"}"

/* A store of paper. */
static struct paper {
    struct admin_backup backup;
    uint32_t begun;
    enum err err;
} paper;

static enum err paper_begin(void *context, const char *folder)
{
    assert_non_null(context);
    if (paper.err != OK) {
        return paper.err;
    }
    paper.begun++;
    paper.backup = (struct admin_backup){.state = ADMIN_BACKUP_RUNNING, .since_wall_ms = 17};
    snprintf(paper.backup.folder, sizeof(paper.backup.folder), "%s", folder);
    return OK;
}

static void paper_look(void *context, struct admin_backup *out)
{
    assert_non_null(context);
    *out = paper.backup;
}

static void paper_sources(struct admin_sources *sources)
{
    sources->backup_begin = paper_begin;
    sources->backup_look = paper_look;
}

static int build(void **state)
{
    paper = (struct paper){.err = OK};
    return house_build_with(state, "127.0.0.1", paper_sources);
}

/* Until the next one. */
static const char *post(const char *body)
{
    static char text[4096];
    int count = snprintf(text, sizeof(text), POST_HEAD "Content-Length: %zu\r\n\r\n%s",
                         strlen(body), body);
    assert_true(count > 0 && (size_t)count < sizeof(text));
    return text;
}

static void assert_answer(struct house *house, const char *text, uint16_t status, const char *body)
{
    struct reply *reply = ask(house, text);
    assert_int_equal(reply->status, status);
    assert_says(reply, body);
    free(reply);
}

static void a_backup_is_begun_and_looked_at_until_it_is_done(void **state)
{
    struct house *house = *state;
    assert_answer(house, GET(BACKUP), 200, "{\"state\":\"none\"}\n");
    assert_answer(house, post(FOLDER), 202,
                  "{\"state\":\"running\",\"folder\":\"/backups/today\",\"since\":17}\n");
    assert_int_equal(paper.begun, 1);
    assert_answer(house, GET(BACKUP), 200, "\"state\":\"running\"");
    paper.backup.state = ADMIN_BACKUP_DONE;
    paper.backup.until_wall_ms = 18;
    assert_answer(house, GET(BACKUP), 200,
                  "{\"state\":\"done\",\"folder\":\"/backups/today\",\"since\":17,\"until\":18}\n");
}

static void a_backup_that_failed_says_why(void **state)
{
    struct house *house = *state;
    assert_answer(house, post(FOLDER), 202, "running");
    paper.backup.state = ADMIN_BACKUP_FAILED;
    snprintf(paper.backup.why, sizeof(paper.backup.why), "no space: \"make\" some");
    assert_answer(house, GET(BACKUP), 200, "\"why\":\"no space: \\\"make\\\" some\"");
}

static void one_is_made_at_a_time(void **state)
{
    struct house *house = *state;
    paper.err = ERR_BUSY;
    assert_answer(house, post(FOLDER), 409, "wait until it is done");
    paper.err = ERR_NOMEM;
    assert_answer(house, post(FOLDER), 503, "try again");
    assert_int_equal(paper.begun, 0);
}

static void folders_that_are_no_whole_paths_are_refused(void **state)
{
    struct house *house = *state;
    char long_path[ADMIN_BACKUP_PATH_BYTES + 32];
    memset(long_path, 'x', sizeof(long_path));
    memcpy(long_path, "{\"folder\":\"/", 12);
    memcpy(long_path + sizeof(long_path) - 3, "\"}", 3);
    const char *const wrong[] = {
        "",
        "[]",
        "{}",
        "{\"folder\":\"\"}",
        "{\"folder\":\"/\"}",
        "{\"folder\":\"today\"}",
        "{\"folder\":7}",
        "{\"folder\":\"/a\",\"force\":true}",
        long_path,
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_status(house, post(wrong[i]), 400);
    }
    assert_int_equal(paper.begun, 0);
}

static void what_a_page_could_send_begins_nothing(void **state)
{
    struct house *house = *state;
    assert_status(house,
                  "POST " BACKUP " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                  "Content-Length: 27\r\n\r\n" FOLDER,
                  415);
    assert_int_equal(paper.begun, 0);
}

static void a_broker_without_a_store_says_so(void **state)
{
    struct house *house = *state;
    assert_answer(house, GET(BACKUP), 404, "persistence is off");
    assert_answer(house, post(FOLDER), 404, "persistence is off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_is_begun_and_looked_at_until_it_is_done, build,
                                        house_raze),
        cmocka_unit_test_setup_teardown(a_backup_that_failed_says_why, build, house_raze),
        cmocka_unit_test_setup_teardown(one_is_made_at_a_time, build, house_raze),
        cmocka_unit_test_setup_teardown(folders_that_are_no_whole_paths_are_refused, build,
                                        house_raze),
        cmocka_unit_test_setup_teardown(what_a_page_could_send_begins_nothing, build, house_raze),
        cmocka_unit_test_setup_teardown(a_broker_without_a_store_says_so, house_build, house_raze),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
