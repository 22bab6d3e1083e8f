/* A program's own file: it is in no library, so it is taken in here. */
#include "cluster/ternctl_file.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char folder[64], path[128];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/tern-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    return 0;
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void assert_text(const char *text)
{
    char found[256] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t count = fread(found, 1, sizeof(found) - 1, file);
    fclose(file);
    found[count] = '\0';
    assert_string_equal(found, text);
}

/* Nothing but the file lies in the folder; it goes with it. */
static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

static void a_file_is_replaced_whole(void **state)
{
    struct ternctl_file file;
    (void)state;
    write_text("one\n");
    assert_int_equal(ternctl_file_open(path, TERNCTL_CHANGE, 100, &file), TERNCTL_OK);
    assert_int_equal(file.text_bytes, 4);
    assert_string_equal(file.text, "one\n");
    assert_int_equal(ternctl_file_replace(&file, slice_text("two\n")), TERNCTL_OK);
    ternctl_file_close(&file);
    assert_text("two\n");
}

static void what_an_editor_wrote_meanwhile_is_not_overwritten(void **state)
{
    struct ternctl_file file;
    (void)state;
    write_text("one\n");
    assert_int_equal(ternctl_file_open(path, TERNCTL_CHANGE, 100, &file), TERNCTL_OK);
    write_text("three\n");
    assert_int_equal(ternctl_file_replace(&file, slice_text("two\n")), TERNCTL_CANNOT_CREATE);
    ternctl_file_close(&file);
    assert_text("three\n");
}

static void what_was_removed_or_made_meanwhile_stays_so(void **state)
{
    struct ternctl_file file;
    (void)state;
    write_text("one\n");
    assert_int_equal(ternctl_file_open(path, TERNCTL_CHANGE, 100, &file), TERNCTL_OK);
    unlink(path);
    assert_int_equal(ternctl_file_replace(&file, slice_text("two\n")), TERNCTL_CANNOT_CREATE);
    ternctl_file_close(&file);
    assert_int_equal(access(path, F_OK), -1);

    assert_int_equal(ternctl_file_open(path, TERNCTL_MAKE, 100, &file), TERNCTL_OK);
    assert_false(file.exists);
    write_text("three\n");
    assert_int_equal(ternctl_file_replace(&file, slice_text("two\n")), TERNCTL_CANNOT_CREATE);
    ternctl_file_close(&file);
    assert_text("three\n");
}

static void a_file_that_is_too_long_or_not_there_is_not_opened(void **state)
{
    struct ternctl_file file;
    (void)state;
    assert_int_equal(ternctl_file_open(path, TERNCTL_CHANGE, 100, &file), TERNCTL_DATA);
    assert_int_equal(ternctl_file_open(path, TERNCTL_READ, 100, &file), TERNCTL_DATA);
    write_text("12345");
    assert_int_equal(ternctl_file_open(path, TERNCTL_READ, 4, &file), TERNCTL_DATA);
    assert_int_equal(ternctl_file_open(path, TERNCTL_READ, 5, &file), TERNCTL_OK);
    assert_int_equal(file.folder, -1); /* who reads only locks nobody out */
    ternctl_file_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_replaced_whole, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_an_editor_wrote_meanwhile_is_not_overwritten,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_was_removed_or_made_meanwhile_stays_so, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_file_that_is_too_long_or_not_there_is_not_opened,
                                        make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
