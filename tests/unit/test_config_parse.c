/*
 * config_parse: files and folders, environment and command line, and what wins.
 */
#include "tests/lib/config_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files --------------------------------------------------------------------------------- */

struct folder {
    char path[64];
    char file[128];
};

static void folder_make(struct folder *folder)
{
    strcpy(folder->path, "/tmp/tern-config-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
}

static const char *folder_path(struct folder *folder, const char *name)
{
    snprintf(folder->file, sizeof(folder->file), "%s/%s", folder->path, name);
    return folder->file;
}

static void folder_write(struct folder *folder, const char *name, const char *text)
{
    FILE *file = fopen(folder_path(folder, name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void folder_remove(struct folder *folder, const char *const *names)
{
    for (; *names != NULL; names++) {
        unlink(folder_path(folder, *names));
        rmdir(folder_path(folder, *names));
    }
    assert_int_equal(rmdir(folder->path), 0);
}

static void a_finding_names_file_and_line(void **state)
{
    static const char *const names[] = {"tern.conf", NULL};
    struct folder folder;
    struct fixture f;
    char *text = NULL, expected[256];
    size_t size;
    (void)state;
    folder_make(&folder);
    folder_write(&folder, "tern.conf", "# ours\n\nmax_qso 1\n");
    f = (struct fixture){.sources = {.path = folder_path(&folder, "tern.conf")}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_INVALID);
    FILE *out = open_memstream(&text, &size);
    config_report_print(&f.report, out);
    fclose(out);
    snprintf(expected, sizeof(expected),
             "%s:3: error: unknown option \"max_qso\": did you mean \"max_qos\"?\n", folder.file);
    assert_string_equal(text, expected);
    free(text);
    unload(&f);
    folder_remove(&folder, names);
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    static const char *const names[] = {"fifo", "big", NULL};
    struct folder folder;
    struct fixture f;
    (void)state;
    folder_make(&folder);
    f = (struct fixture){.sources = {.path = folder_path(&folder, "missing.conf")}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_NOT_FOUND);
    assert_says(&f, CONFIG_ERROR, 0, "missing.conf: No such file or directory");
    unload(&f);

    f = (struct fixture){.sources = {.path = folder.path}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_NOT_FOUND);
    assert_says(&f, CONFIG_ERROR, 0, "not a regular file");
    unload(&f);

    assert_int_equal(mkfifo(folder_path(&folder, "fifo"), 0600), 0);
    f = (struct fixture){.sources = {.path = folder.file}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_NOT_FOUND);
    unload(&f);

    folder_write(&folder, "big", "#");
    assert_int_equal(truncate(folder.file, LIMIT_CONFIG_FILE_BYTES + 1), 0);
    f = (struct fixture){.sources = {.path = folder.file}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_NOT_FOUND);
    assert_says(&f, CONFIG_ERROR, 0, "larger than 1 MiB");
    unload(&f);
    folder_remove(&folder, names);
}

static void include_dir_reads_in_the_order_of_mosquitto(void **state)
{
    /* From mosquitto.conf(5): 00.conf 01.conf A.conf a.conf B.conf b.conf. */
    static const char *const names[] = {"b.conf",  "A.conf",  "01.conf", "a.conf", "B.conf",
                                        "00.conf", "not.txt", "main",    NULL};
    static const char *const ports[] = {"0.0.0.0", "0.0.0.1", "0.0.0.2",
                                        "0.0.0.3", "0.0.0.4", "0.0.0.5"};
    struct folder folder;
    struct fixture f;
    char text[256];
    (void)state;
    folder_make(&folder);
    folder_write(&folder, "00.conf", "listener 1 0.0.0.0\nmax_qos 0\n");
    folder_write(&folder, "01.conf", "listener 1 0.0.0.1\n");
    folder_write(&folder, "A.conf", "listener 1 0.0.0.2\n");
    folder_write(&folder, "a.conf", "listener 1 0.0.0.3\n");
    folder_write(&folder, "B.conf", "listener 1 0.0.0.4\nmax_queued_messages 1\n");
    folder_write(&folder, "b.conf", "listener 1 0.0.0.5\nmax_queued_messages 2\n");
    folder_write(&folder, "not.txt", "nonsense\n");
    snprintf(text, sizeof(text), "listener 2 127.0.0.1\ninclude_dir %s\nmax_qos 1\n", folder.path);
    folder_write(&folder, "main", text);
    f = (struct fixture){.sources = {.path = folder_path(&folder, "main")}};
    load_sources(&f);
    assert_int_equal(f.err, OK);
    assert_int_equal(f.config->listener_count, 7);
    for (uint32_t i = 0; i < 6; i++) {
        assert_string_equal(f.config->listeners[i + 1].addresses[0], ports[i]);
    }
    /* After the folder the main file goes on with its own listener. */
    assert_int_equal(f.config->listeners[0].qos_max, 1);
    assert_int_equal(f.config->listeners[1].qos_max, 0);
    assert_int_equal(f.config->listeners[6].qos_max, 2);
    assert_int_equal(f.config->queue_max, 2);
    unload(&f);
    folder_remove(&folder, names);
}

static void include_dir_goes_one_level_deep(void **state)
{
    static const char *const names[] = {"a.conf", "main", NULL};
    struct folder folder;
    struct fixture f;
    char text[256];
    (void)state;
    folder_make(&folder);
    snprintf(text, sizeof(text), "include_dir %s\n", folder.path);
    folder_write(&folder, "a.conf", text);
    folder_write(&folder, "main", text);
    f = (struct fixture){.sources = {.path = folder_path(&folder, "main")}};
    load_sources(&f);
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.error_count, 1);
    assert_says(&f, CONFIG_ERROR, 1, "include_dir works in the main file only");
    unload(&f);
    folder_write(&folder, "main", "include_dir /nowhere/at/all\n");
    f = (struct fixture){.sources = {.path = folder_path(&folder, "main")}};
    load_sources(&f);
    assert_says(&f, CONFIG_ERROR, 1, "cannot read /nowhere/at/all: No such file");
    unload(&f);
    folder_remove(&folder, names);
}

/* ---- what wins ----------------------------------------------------------------------------- */

static void the_command_line_wins_over_the_environment_and_that_over_the_file(void **state)
{
    char *environment[] = {"PATH=/bin", "TERN_MAX_QUEUED_MESSAGES=2", "TERN_MAX_QUEUED_BYTES=20",
                           "TERN_LOG_TYPE=debug", NULL};
    const struct config_override overrides[] = {{"max-queued-messages=3", "3"}};
    struct fixture f = {.sources = {
                            .text = slice_text("max_queued_messages 1\nmax_queued_bytes 10\n"
                                               "max_inflight_bytes 100\nlog_type error\n"),
                            .environment = environment,
                            .overrides = overrides,
                            .override_count = 1,
                        }};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, OK);
    assert_int_equal(f.report.finding_count, 0);
    assert_int_equal(f.config->queue_max, 3);
    assert_int_equal(f.config->queue_bytes_max, 20);
    assert_int_equal(f.config->inflight_bytes_max, 100);
    assert_int_equal(f.config->log_type, 1 << LOG_TYPE_DEBUG);
    unload(&f);
}

static void listeners_of_a_heavier_source_replace_those_of_the_file(void **state)
{
    char *environment[] = {"TERN_LISTENER=1884 127.0.0.1; 0 /run/tern.sock;", NULL};
    const struct config_override overrides[] = {
        {"max_qos", "1"}, {"listener", "1885 ::1"}, {"max_qos", "0"}, {"listener", "1886 ::1"}};
    struct fixture f = {
        .sources = {.text = slice_text("listener 1883\nport 1882\n"), .environment = environment}};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, OK);
    assert_int_equal(f.config->listener_count, 2);
    assert_int_equal(f.config->listeners[0].port, 1884);
    assert_string_equal(f.config->listeners[1].unix_path, "/run/tern.sock");
    assert_says(&f, CONFIG_NOTE, 0, "takes the place of all listeners of the file");
    unload(&f);

    f.sources.overrides = overrides;
    f.sources.override_count = 4;
    load_sources(&f);
    assert_int_equal(f.err, OK);
    assert_int_equal(f.config->listener_count, 2);
    assert_int_equal(f.config->listeners[0].qos_max, 0);
    assert_int_equal(f.config->listeners[1].qos_max, 1);
    unload(&f);
}

static void a_listener_option_without_its_listener_is_for_all(void **state)
{
    char *environment[] = {"TERN_MAX_QOS=1", "TERN_ALLOW_ANONYMOUS=true", NULL};
    struct fixture f = {
        .sources = {.text = slice_text("listener 1883\nlistener_allow_anonymous false\n"
                                       "listener 1884\nmax_qos 2\n"),
                    .environment = environment}};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, OK);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(f.config->listeners[i].qos_max, 1);
        assert_true(f.config->listeners[i].allow_anonymous);
    }
    unload(&f);
    environment[0] = "TERN_MAX_QOS=3";
    load_sources(&f);
    assert_int_equal(f.err, ERR_INVALID);
    assert_int_equal(f.report.error_count, 1); /* once, not once per listener */
    unload(&f);
}

static void the_environment_of_others_stops_nobody(void **state)
{
    char *environment[] = {"TERN_PORT=tcp://10.0.0.1:1883",
                           "TERN_SERVICE_HOST=10.0.0.1",
                           "TERN_SANITIZE=thread",
                           "TERN",
                           "TERN_",
                           NULL};
    struct fixture f = {.sources = {.environment = environment}};
    (void)state;
    load_sources(&f);
    assert_int_equal(f.err, OK);
    assert_int_equal(f.report.finding_count, 1);
    assert_says(&f, CONFIG_WARNING, 0, "unknown option \"sanitize\"");
    unload(&f);
}

/* ---- the command line ---------------------------------------------------------------------- */

static struct config_command command;

static enum err parse(struct config_report *report, int count, char *const *arguments)
{
    config_report_init(report);
    return config_command_parse(count, arguments, &command, report);
}

#define PARSE(report, ...)                                                   \
    parse((report), (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), \
          (char *[]){__VA_ARGS__})

static void flags_become_an_action_a_path_and_overrides(void **state)
{
    struct config_report report;
    (void)state;
    assert_int_equal(PARSE(&report, "tern"), OK);
    assert_int_equal(command.action, CONFIG_RUN);
    assert_null(command.path);
    assert_int_equal(PARSE(&report, "tern", "-c", "a.conf", "-v", "--max_qos=1", "--listener",
                           "0 127.0.0.1", "-p", "1899", "--max_connections", "-1"),
                     OK);
    assert_string_equal(command.path, "a.conf");
    assert_int_equal(command.override_count, 5);
    assert_string_equal(command.overrides[0].key, "log_type");
    assert_string_equal(command.overrides[0].value, "all");
    assert_string_equal(command.overrides[1].key, "max_qos=1"); /* ends at = */
    assert_string_equal(command.overrides[1].value, "1");
    assert_string_equal(command.overrides[2].value, "0 127.0.0.1");
    assert_string_equal(command.overrides[3].key, "listener");
    assert_string_equal(command.overrides[3].value, "1899 localhost");
    assert_string_equal(command.overrides[4].value, "-1");
    config_report_deinit(&report);
    assert_int_equal(PARSE(&report, "tern", "--test-config"), OK);
    assert_int_equal(command.action, CONFIG_TEST);
    assert_int_equal(PARSE(&report, "tern", "-h"), OK);
    assert_int_equal(command.action, CONFIG_SHOW_HELP);
    assert_int_equal(PARSE(&report, "tern", "--version"), OK);
    assert_int_equal(command.action, CONFIG_SHOW_VERSION);
    assert_int_equal(PARSE(&report, "tern", "--example-config"), OK);
    assert_int_equal(command.action, CONFIG_SHOW_EXAMPLE);
}

static void a_bad_flag_is_answered(void **state)
{
    static const struct {
        char *arguments[4];
        const char *part;
    } cases[] = {
        {{"tern", "-c"}, "-c needs a value: write -c VALUE"},
        {{"tern", "--max_qos"}, "--max_qos needs a value"},
        {{"tern", "--max_qos", "--version"}, "--max_qos needs a value"},
        {{"tern", "-p", "x"}, "is no port"},
        {{"tern", "-d"}, "start it from systemd"},
        {{"tern", "--bogus"}, "unknown flag \"--bogus\": see tern --help"},
        {{"tern", "--max_qoss"}, "unknown flag \"--max_qoss\": did you mean --max_qos"},
        {{"tern", "-x"}, "unknown flag \"-x\": see tern --help"},
        {{"tern", "--"}, "unknown flag"},
        {{"tern", "tern.conf"}, "write -c FILE for a configuration file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f = {.config = NULL};
        int count = 0;
        while (count < 4 && cases[i].arguments[count] != NULL) {
            count++;
        }
        assert_int_equal(parse(&f.report, count, cases[i].arguments), ERR_INVALID);
        assert_says(&f, CONFIG_ERROR, 0, cases[i].part);
        unload(&f);
    }
}

static void the_command_line_has_a_bound(void **state)
{
    char *arguments[2 * LIMIT_CONFIG_OVERRIDES + 3] = {"tern"};
    struct config_report report;
    int count = 1;
    (void)state;
    while (count < 2 * LIMIT_CONFIG_OVERRIDES + 3) {
        arguments[count++] = "--max_qos";
        arguments[count++] = "1";
    }
    assert_int_equal(parse(&report, count - 2, arguments), OK);
    config_report_deinit(&report);
    assert_int_equal(parse(&report, count, arguments), ERR_INVALID);
    assert_int_equal(command.override_count, LIMIT_CONFIG_OVERRIDES);
    config_report_deinit(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finding_names_file_and_line),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(include_dir_reads_in_the_order_of_mosquitto),
        cmocka_unit_test(include_dir_goes_one_level_deep),
        cmocka_unit_test(the_command_line_wins_over_the_environment_and_that_over_the_file),
        cmocka_unit_test(listeners_of_a_heavier_source_replace_those_of_the_file),
        cmocka_unit_test(a_listener_option_without_its_listener_is_for_all),
        cmocka_unit_test(the_environment_of_others_stops_nobody),
        cmocka_unit_test(flags_become_an_action_a_path_and_overrides),
        cmocka_unit_test(a_bad_flag_is_answered),
        cmocka_unit_test(the_command_line_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
