#include "tests/lib/store_place.h"

static void write_file(const struct place *place, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", place->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void read_format(const struct place *place, char *text, size_t bytes)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/FORMAT", place->folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    fclose(file);
}

static void assert_refused(struct place *place, enum err err, const char *why)
{
    struct store_config config = config_of(place);
    struct store *store = NULL;
    assert_int_equal(store_open(&config, &store, &place->failure), err);
    assert_null(store);
    if (strstr(place->failure.text, why) == NULL) {
        print_error("%s\n", place->failure.text);
    }
    assert_non_null(strstr(place->failure.text, why));
    assert_non_null(strchr(place->failure.text, ':')); /* and what to do */
}

static void a_new_store_is_made_and_opened_again(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    char before[256], after[256];
    struct stat status;
    open_with(place, &config);
    read_format(place, before, sizeof(before));
    assert_int_equal(strncmp(before, "tern store\nformat 1\ncreated 20", 30), 0);
    assert_int_equal(stat(place->folder, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    close_store(place);
    open_with(place, &config);
    read_format(place, after, sizeof(after));
    assert_string_equal(before, after);
}

static void an_empty_folder_with_a_slash_behind_it_will_do(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    char folder[200];
    assert_int_equal(mkdir(place->folder, 0755), 0);
    snprintf(folder, sizeof(folder), "%s//", place->folder);
    config.folder = folder;
    open_with(place, &config);
}

static void a_folder_has_one_owner_at_a_time(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    open_with(place, &config);
    assert_refused(place, ERR_BUSY, "in use by another tern");
    close_store(place);
    open_with(place, &config);
}

static void a_folder_of_others_is_left_alone(void **state)
{
    struct place *place = *state;
    assert_int_equal(mkdir(place->folder, 0700), 0);
    write_file(place, "mosquitto.db", "x");
    assert_refused(place, ERR_EXISTS, "other files are in it, as mosquitto.db");
    char path[200];
    snprintf(path, sizeof(path), "%s/log", place->folder);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_folder_without_a_parent_is_not_made(void **state)
{
    struct place *place = *state;
    snprintf(place->folder, sizeof(place->folder), "%s/not/there", place->root);
    assert_refused(place, ERR_NOT_FOUND, "make the folder it stands in");
}

static void a_file_is_no_folder(void **state)
{
    struct place *place = *state;
    FILE *file = fopen(place->folder, "w");
    assert_non_null(file);
    fclose(file);
    assert_refused(place, ERR_NOT_FOUND, "has to be a folder");
}

static void a_damaged_or_missing_FORMAT_is_refused(void **state)
{
    static const char *const damaged[] = {"",
                                          "tern store\nformat ",
                                          "tern store\nformat 1",
                                          "tern store\nformat x\n",
                                          "tern\nformat 1\n",
                                          "tern store\nformat 99999999999999999999\n"};
    struct place *place = *state;
    struct store_config config = config_of(place);
    char path[200];
    open_with(place, &config);
    close_store(place);
    for (size_t i = 0; i < sizeof(damaged) / sizeof(*damaged); i++) {
        write_file(place, "FORMAT", damaged[i]);
        assert_refused(place, ERR_CORRUPT, "FORMAT is damaged");
    }
    snprintf(path, sizeof(path), "%s/FORMAT", place->folder);
    assert_int_equal(unlink(path), 0);
    assert_refused(place, ERR_CORRUPT, "FORMAT is missing");
}

static void a_newer_format_is_refused_with_both_numbers(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    open_with(place, &config);
    close_store(place);
    write_file(place, "FORMAT", "tern store\nformat 7\n");
    assert_refused(place, ERR_UNSUPPORTED, "has format 7, this version of tern knows 1");
    write_file(place, "FORMAT", "tern store\nformat 1\n");
    open_with(place, &config);
}

static void discard(struct place *place, bool was_new)
{
    assert_int_equal(store_discard(place->store), was_new);
    place->store = NULL;
}

static void of_a_new_store_that_nobody_wants_nothing_is_left(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    char path[200];
    open_with(place, &config);
    discard(place, true);
    assert_int_equal(access(place->folder, F_OK), -1);

    assert_int_equal(mkdir(place->folder, 0755),
                     0); /* one that was there stays, with what is not ours */
    open_with(place, &config);
    write_file(place, "notes", "mine");
    discard(place, true);
    snprintf(path, sizeof(path), "%s/notes", place->folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(place->folder), 0);

    open_with(place, &config);
    close_store(place);
    open_with(place, &config);
    discard(place, false);
    open_with(place, &config); /* an old one is only closed */
    assert_false(store_discard(NULL));
}

static enum err open_with_limit(struct place *place, rlim_t bytes)
{
    struct store_config config = config_of(place);
    limit_files(bytes);
    enum err err = store_open(&config, &place->store, &place->failure);
    limit_files(RLIM_INFINITY);
    return err;
}

/* FORMAT fails, or it alone can be written. */
static void a_start_that_fails_in_a_new_folder_leaves_nothing(void **state)
{
    struct place *place = *state;
    struct store_config config = config_of(place);
    char format[256];
    assert_int_equal(open_with_limit(place, 1), ERR_IO);
    assert_int_equal(access(place->folder, F_OK), -1);
    open_with(place, &config);
    read_format(place, format, sizeof(format));
    discard(place, true);
    assert_int_equal(open_with_limit(place, strlen(format)), ERR_IO);
    assert_non_null(strstr(place->failure.text, "MANIFEST"));
    assert_int_equal(access(place->folder, F_OK), -1);

    open_with(place, &config);
    close_store(place);
    assert_int_equal(open_with_limit(place, 1), ERR_IO);
    open_with(place, &config); /* what was there is there */
}

/* A made-up format 0: its state said "old" where ours says "new". */
static uint32_t step_count;
static enum err step_answer;

static enum err step_run(const char *folder, struct kv_failure *failure)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/state", folder);
    struct kv_config config = {.folder = path, .way = KV_UNLOGGED};
    struct kv_batch *batch = kv_batch_new();
    struct kv *kv;
    step_count++;
    assert_int_equal(kv_open(&config, &kv, failure), OK);
    kv_batch_put(batch, slice_text("key"), slice_text("new"));
    assert_int_equal(kv_write(kv, batch), OK);
    assert_int_equal(kv_flush(kv), OK);
    kv_close(kv);
    kv_batch_free(batch);
    if (step_answer != OK) {
        snprintf(failure->text, sizeof(failure->text), "the step was interrupted: again");
    }
    return step_answer;
}

static void an_older_format_is_upgraded_also_after_an_interrupted_step(void **state)
{
    static const struct migrate_step steps[] = {{0, "old becomes new", step_run}, {.run = NULL}};
    struct place *place = *state;
    struct store_config config = config_of(place);
    struct kv_value value;
    struct store *store = NULL;
    char text[256];
    open_with(place, &config);
    struct kv_batch *batch = kv_batch_new();
    kv_batch_put(batch, slice_text("key"), slice_text("old"));
    assert_int_equal(kv_write(store_state(place->store), batch), OK);
    kv_batch_free(batch);
    close_store(place);
    write_file(place, "FORMAT", "tern store\nformat 0\n");

    assert_refused(place, ERR_UNSUPPORTED, "has format 0"); /* this version has no such step */
    config.steps = steps;
    step_count = 0;
    step_answer = ERR_IO;
    assert_int_equal(store_open(&config, &store, &place->failure), ERR_IO);
    read_format(place, text, sizeof(text));
    assert_non_null(strstr(text, "format 0\n"));
    step_answer = OK;
    open_with(place, &config);
    assert_int_equal(step_count, 2);
    assert_int_equal(kv_get(store_state(place->store), slice_text("key"), &value), OK);
    assert_true(slice_is(value.bytes, "new"));
    kv_value_free(&value);
    close_store(place);
    open_with(place, &config); /* and that was it */
    assert_int_equal(step_count, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_new_store_is_made_and_opened_again),
        TEST(an_empty_folder_with_a_slash_behind_it_will_do),
        TEST(a_folder_has_one_owner_at_a_time),
        TEST(a_folder_of_others_is_left_alone),
        TEST(a_folder_without_a_parent_is_not_made),
        TEST(a_file_is_no_folder),
        TEST(a_damaged_or_missing_FORMAT_is_refused),
        TEST(a_newer_format_is_refused_with_both_numbers),
        TEST(of_a_new_store_that_nobody_wants_nothing_is_left),
        TEST(a_start_that_fails_in_a_new_folder_leaves_nothing),
        TEST(an_older_format_is_upgraded_also_after_an_interrupted_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
