/*
 * watch: a change counts once it has come to rest.
 */
#include "core/io/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    char folder[64], file[96];
    struct watch *watch;
};

static const char *path_in(const struct world *world, const char *name)
{
    static char path[2][160];
    static uint32_t next;
    char *out = path[next++ % 2];
    snprintf(out, sizeof(path[0]), "%s/%s", world->folder, name);
    return out;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int world_build(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    strcpy(world->folder, "/tmp/tern_test_watch_XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->file, sizeof(world->file), "%s/file", world->folder);
    write_text(world->file, "one");
    world->watch = watch_new();
    assert_non_null(world->watch);
    *state = world;
    return 0;
}

static int world_raze(void **state)
{
    struct world *world = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", world->folder);
    assert_int_equal(system(command), 0);
    watch_free(world->watch);
    free(world);
    return 0;
}

/* At the first look it may still be moving; at the second it has come to rest. */
static void assert_changed(struct world *world)
{
    assert_false(watch_has_changed(world->watch));
    assert_true(watch_has_changed(world->watch));
    assert_true(watch_has_changed(world->watch)); /* until somebody reads it and watches anew */
}

static void what_nobody_touches_has_not_changed(void **state)
{
    struct world *world = *state;
    assert_int_equal(watch_add(world->watch, world->file), OK);
    assert_int_equal(watch_add(world->watch, world->file), OK);
    assert_int_equal(watch_add(world->watch, path_in(world, "none")), OK);
    assert_int_equal(watch_count(world->watch), 2);
    assert_string_equal(watch_path(world->watch, 0), world->file);
    for (int i = 0; i < 3; i++) {
        assert_false(watch_has_changed(world->watch));
    }
}

static void a_change_counts_at_the_second_look_that_sees_the_same(void **state)
{
    struct world *world = *state;
    watch_add(world->watch, world->file);
    write_text(world->file, "a longer text");
    assert_changed(world);
}

static void a_file_that_is_still_being_written_is_left_alone(void **state)
{
    struct world *world = *state;
    char text[16] = "";
    watch_add(world->watch, world->file);
    for (int i = 0; i < 5; i++) {
        strcat(text, "x");
        write_text(world->file, text);
        assert_false(watch_has_changed(world->watch));
    }
    assert_true(watch_has_changed(world->watch));
}

/* A certificate that has come while its key is still on the way. */
static void all_files_have_to_come_to_rest(void **state)
{
    struct world *world = *state;
    watch_add(world->watch, world->file);
    watch_add(world->watch, path_in(world, "key"));
    write_text(world->file, "new certificate");
    assert_false(watch_has_changed(world->watch));
    write_text(path_in(world, "key"), "new key");
    assert_changed(world);
}

static void files_that_come_and_go_have_changed(void **state)
{
    struct world *world = *state;
    watch_add(world->watch, path_in(world, "later"));
    write_text(path_in(world, "later"), "here");
    assert_changed(world);
    watch_add(world->watch, world->file);
    watch_free(world->watch);
    world->watch = watch_new();
    watch_add(world->watch, world->file);
    unlink(world->file);
    assert_changed(world);
}

static void a_file_of_the_same_size_in_its_place_has_changed(void **state)
{
    struct world *world = *state;
    watch_add(world->watch, world->file);
    write_text(path_in(world, "new"), "two");
    assert_int_equal(rename(path_in(world, "new"), world->file), 0);
    assert_changed(world);
}

static void a_change_of_rights_has_changed(void **state)
{
    struct world *world = *state;
    watch_add(world->watch, world->file);
    assert_int_equal(chmod(world->file, 0600), 0);
    assert_changed(world);
}

/* As Kubernetes does it: file -> ..data/file, ..data -> a folder, and the middle link is swapped. */
static void a_link_on_the_way_that_is_swapped_has_changed(void **state)
{
    struct world *world = *state;
    mkdir(path_in(world, "v1"), 0755);
    mkdir(path_in(world, "v2"), 0755);
    write_text(path_in(world, "v1/tls.crt"), "one");
    write_text(path_in(world, "v2/tls.crt"), "two");
    assert_int_equal(symlink("v1", path_in(world, "..data")), 0);
    assert_int_equal(symlink("..data/tls.crt", path_in(world, "tls.crt")), 0);
    watch_add(world->watch, path_in(world, "tls.crt"));
    assert_false(watch_has_changed(world->watch));
    assert_int_equal(symlink("v2", path_in(world, "..new")), 0);
    assert_int_equal(rename(path_in(world, "..new"), path_in(world, "..data")), 0);
    assert_changed(world);
}

static void a_folder_is_watched_with_all_in_it(void **state)
{
    struct world *world = *state;
    watch_add(world->watch, world->folder);
    write_text(world->file, "another text");
    assert_changed(world);
    watch_free(world->watch);
    world->watch = watch_new();
    watch_add(world->watch, world->folder);
    write_text(path_in(world, "new.crt"), "");
    assert_changed(world);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_build, world_raze)
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_touches_has_not_changed),
        TEST(a_change_counts_at_the_second_look_that_sees_the_same),
        TEST(a_file_that_is_still_being_written_is_left_alone),
        TEST(all_files_have_to_come_to_rest),
        TEST(files_that_come_and_go_have_changed),
        TEST(a_file_of_the_same_size_in_its_place_has_changed),
        TEST(a_change_of_rights_has_changed),
        TEST(a_link_on_the_way_that_is_swapped_has_changed),
        TEST(a_folder_is_watched_with_all_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
