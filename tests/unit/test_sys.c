#include "core/io/cpu.h"
#include "core/io/sys.h"

#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *temporary_path(char out[64], const char *name)
{
    snprintf(out, 64, "/tmp/tern_test_sys_%d_%s", (int)getpid(), name);
    return out;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void the_usable_cores_are_those_of_the_mask(void **state)
{
    uint32_t cpus[CPU_COUNT_MAX];
    (void)state;
    uint32_t count = cpu_usable(cpus, CPU_COUNT_MAX);
    assert_true(count >= 1);
    for (uint32_t i = 1; i < count; i++) {
        assert_true(cpus[i] > cpus[i - 1]);
    }
    assert_int_equal(cpu_usable(cpus, 1), 1);
}

static void *pin_and_tell(void *context)
{
    uint32_t *cpu = context;
    uint32_t usable[2] = {UINT32_MAX, UINT32_MAX};
    if (cpu_pin(*cpu) != OK || cpu_usable(usable, 2) != 1 || usable[0] != cpu_current()) {
        *cpu = UINT32_MAX;
    }
    return NULL;
}

static void a_thread_stays_on_the_core_it_was_pinned_to(void **state)
{
    uint32_t cpus[CPU_COUNT_MAX];
    pthread_t thread;
    (void)state;
    uint32_t count = cpu_usable(cpus, CPU_COUNT_MAX);
    uint32_t last = cpus[count - 1];
    assert_int_equal(pthread_create(&thread, NULL, pin_and_tell, &last), 0);
    pthread_join(thread, NULL);
    assert_int_equal(last, cpus[count - 1]);
    assert_int_equal(cpu_usable(cpus, CPU_COUNT_MAX), count); /* ours did not move */
    assert_int_equal(cpu_pin(CPU_COUNT_MAX - 1), ERR_INVALID);
    assert_int_equal(cpu_pin(CPU_COUNT_MAX), ERR_INVALID);
    assert_true(cpu_node(cpus[0]) < 64);
}

static void the_soft_limit_of_files_becomes_the_hard_one(void **state)
{
    struct rlimit limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(sys_raise_file_limit(), limit.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

static void signals_are_fetched_in_the_words_of_the_broker(void **state)
{
    static const struct {
        int number;
        enum sys_signal means;
    } rows[] = {
        {SIGTERM, SYS_SIGNAL_STOP},  {SIGINT, SYS_SIGNAL_STOP},   {SIGHUP, SYS_SIGNAL_RELOAD},
        {SIGUSR1, SYS_SIGNAL_USER1}, {SIGUSR2, SYS_SIGNAL_USER2},
    };
    (void)state;
    assert_int_equal(sys_signals_open(), OK);
    assert_int_equal(sys_signal_wait(0), SYS_SIGNAL_NONE);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(kill(getpid(), rows[i].number), 0);
        assert_int_equal(sys_signal_wait(UINT64_MAX), rows[i].means);
    }
    assert_int_equal(sys_signal_wait(1000000), SYS_SIGNAL_NONE);
    assert_int_equal(raise(SIGPIPE), 0); /* ignored: we are still here */
}

static void a_file_is_read_whole_or_not_at_all(void **state)
{
    char path[64], small[4], *text = NULL;
    size_t count = 99;
    (void)state;
    write_file(temporary_path(path, "file"), "12345");
    assert_int_equal(sys_read_file(path, small, 4, &count), ERR_TOO_LARGE);
    assert_int_equal(sys_load_file(path, 4, &text, &count), ERR_TOO_LARGE);
    assert_int_equal(count, 99);
    assert_null(text);
    assert_int_equal(sys_load_file(path, 5, &text, &count), OK);
    assert_int_equal(count, 5);
    assert_string_equal(text, "12345");
    free(text);
    write_file(path, "");
    assert_int_equal(sys_load_file(path, 5, &text, &count), OK);
    assert_int_equal(count, 0);
    assert_string_equal(text, "");
    free(text);
    unlink(path);
    assert_int_equal(sys_load_file(path, 5, &text, &count), ERR_NOT_FOUND);
    assert_int_equal(sys_load_file("/tmp", 5, &text, &count), ERR_INVALID);
    assert_int_equal(sys_load_file("/proc/self/status", 100000, &text, &count), OK);
    assert_true(count > 100); /* although its size is said to be 0 */
    free(text);
}

static void a_pipe_where_a_file_should_be_does_not_hold_us_up(void **state)
{
    char path[64], *text = NULL;
    size_t count;
    (void)state;
    temporary_path(path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sys_load_plain_file(path, 100, &text, &count), ERR_INVALID);
    /* Who can wait reads pipes, such as those of a shell. */
    pid_t child = fork();
    if (child == 0) {
        write_file(path, "through a pipe");
        _exit(0);
    }
    assert_int_equal(sys_load_file(path, 100, &text, &count), OK);
    assert_string_equal(text, "through a pipe");
    free(text);
    assert_int_equal(waitpid(child, NULL, 0), child);
    unlink(path);
    text = NULL;
    assert_int_equal(sys_load_plain_file("/dev/null", 100, &text, &count), ERR_INVALID);
}

static void who_else_may_read_or_write_is_told(void **state)
{
    static const struct {
        mode_t mode;
        uint32_t others;
    } rows[] = {{0600, 0},
                {0640, SYS_GROUP_READ},
                {0604, SYS_OTHERS_READ},
                {0602, SYS_OTHERS_WRITE},
                {0660, SYS_GROUP_READ | SYS_GROUP_WRITE}};
    char path[64];
    (void)state;
    write_file(temporary_path(path, "mode"), "x");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(chmod(path, rows[i].mode), 0);
        assert_int_equal(sys_others(path), rows[i].others);
    }
    assert_true(sys_may_read(path));
    unlink(path);
    assert_false(sys_may_read(path));
    assert_int_equal(sys_others(path), 0);
}

/* What /metrics says must not depend on whether our memory may be looked at. */
static void a_process_that_is_not_dumped_still_knows_itself(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct sys_usage usage;
        char name[64];
        sys_set_dumpable(false);
        bool is_shut = prctl(PR_GET_DUMPABLE) == 0;
        bool is_nobody = sys_become_user(geteuid() == 0 ? "nobody" : "") == OK;
        bool is_known = sys_usage(&usage) == OK && usage.resident_bytes > 0 &&
                        usage.open_file_count > 0 && usage.start_wall_ms > 0;
        sys_user_name(name);
        sys_set_dumpable(true);
        _exit(is_shut && is_nobody && is_known && name[0] != 0 && prctl(PR_GET_DUMPABLE) == 1 ? 0
                                                                                              : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void the_groups_of_who_started_us_are_given_up_too(void **state)
{
    int status;
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        gid_t groups[] = {0, 4, 27}, left[64];
        bool is_set = setgroups(3, groups) == 0 && sys_become_user("nobody") == OK;
        int count = getgroups(64, left);
        for (int i = 0; i < count; i++) {
            is_set = is_set && left[i] != 0 && left[i] != 4 && left[i] != 27;
        }
        _exit(is_set && count >= 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void privileges_are_given_up_for_good(void **state)
{
    int status;
    (void)state;
    assert_int_equal(sys_become_user(""), OK);
    assert_int_equal(sys_become_user("no_such_user_of_tern"), ERR_NOT_FOUND);
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(sys_become_user("root"), OK);
    pid_t child = fork();
    if (child == 0) {
        bool is_nobody = sys_become_user("nobody") == OK && geteuid() != 0 && getuid() != 0 &&
                         getegid() != 0 && setuid(0) < 0 &&
                         sys_become_user("root") == ERR_PERMISSION;
        _exit(is_nobody ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_pid_file_holds_our_number(void **state)
{
    char path[64], *text;
    size_t count;
    (void)state;
    write_file(temporary_path(path, "pid"), "a very old and much longer content\n");
    assert_int_equal(sys_write_pid_file(path), OK);
    assert_int_equal(sys_load_file(path, 100, &text, &count), OK);
    assert_int_equal(atoi(text), getpid());
    free(text);
    unlink(path);
    assert_int_equal(sys_write_pid_file("/no/such/folder/pid"), ERR_NOT_FOUND);
}

static void the_service_manager_hears_what_is_said(void **state)
{
    char text[64] = "";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(sys_notify("READY=1"), OK); /* nobody listens, nobody minds */
    temporary_path(at.sun_path, "notify");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    assert_int_equal(sys_notify("READY=1"), OK);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 7);
    assert_string_equal(text, "READY=1");
    unlink(at.sun_path);
    close(fd);
    assert_int_not_equal(sys_notify("READY=1"), OK);
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_int_equal(sys_notify("READY=1"), ERR_INVALID);
    unsetenv("NOTIFY_SOCKET");
}

static void the_process_knows_what_it_uses(void **state)
{
    struct sys_usage usage;
    (void)state;
    assert_int_equal(sys_usage(&usage), OK);
    assert_true(usage.resident_bytes > 100000);
    assert_true(usage.cpu_ns > 0);
    assert_true(usage.start_wall_ms > 1500000000000u);
    assert_true(usage.open_file_count >= 3);
    assert_true(usage.file_limit >= usage.open_file_count);
    assert_true(sys_memory_bytes() >= usage.resident_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usable_cores_are_those_of_the_mask),
        cmocka_unit_test(a_thread_stays_on_the_core_it_was_pinned_to),
        cmocka_unit_test(the_soft_limit_of_files_becomes_the_hard_one),
        cmocka_unit_test(signals_are_fetched_in_the_words_of_the_broker),
        cmocka_unit_test(a_file_is_read_whole_or_not_at_all),
        cmocka_unit_test(a_pipe_where_a_file_should_be_does_not_hold_us_up),
        cmocka_unit_test(who_else_may_read_or_write_is_told),
        cmocka_unit_test(a_process_that_is_not_dumped_still_knows_itself),
        cmocka_unit_test(the_groups_of_who_started_us_are_given_up_too),
        cmocka_unit_test(privileges_are_given_up_for_good),
        cmocka_unit_test(the_pid_file_holds_our_number),
        cmocka_unit_test(the_service_manager_hears_what_is_said),
        cmocka_unit_test(the_process_knows_what_it_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
