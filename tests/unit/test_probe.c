/* What io_probe() says when the kernel refuses, each refusal made in a child of ours. */
#include "core/io/io.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_BYTES = 512, NOBODY = 65534 };

struct verdict {
    enum err err;
    char text[TEXT_BYTES];
};

/* Run `spoil`, then the probe, in a child; the verdict comes back through a pipe. */
static struct verdict probe_after(void (*spoil)(void))
{
    struct verdict verdict = {.err = ERR_COUNT};
    int pipe_ends[2], status;

    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        spoil();
        verdict.err = io_probe(verdict.text, sizeof(verdict.text));
        _exit(write(pipe_ends[1], &verdict, sizeof(verdict)) == sizeof(verdict) ? 0 : 1);
    }
    close(pipe_ends[1]);
    assert_int_equal(read(pipe_ends[0], &verdict, sizeof(verdict)), sizeof(verdict));
    close(pipe_ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return verdict;
}

static void filter_setup(uint32_t errno_value)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno_value),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0) {
        _exit(2);
    }
}

static void spoil_nothing(void)
{
}

static void spoil_by_seccomp(void)
{
    filter_setup(EPERM);
}

static void spoil_by_absence(void)
{
    filter_setup(ENOSYS);
}

static void spoil_by_age(void)
{
    filter_setup(EINVAL);
}

static void spoil_by_locked_memory(void)
{
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setuid(NOBODY) < 0) {
        _exit(2);
    }
}

static void spoil_by_files(void)
{
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NOFILE, &none) < 0) {
        _exit(2);
    }
}

static void is_one_line(const char *text)
{
    assert_true(strlen(text) > 20);
    assert_true(strlen(text) < TEXT_BYTES - 1);
    assert_null(strchr(text, '\n'));
}

static void a_good_kernel_is_described(void **state)
{
    (void)state;
    struct verdict verdict = probe_after(spoil_nothing);
    assert_int_equal(verdict.err, OK);
    is_one_line(verdict.text);
    assert_non_null(strstr(verdict.text, "io_uring ready"));
}

static void a_seccomp_filter_is_named_with_the_remedy(void **state)
{
    (void)state;
    struct verdict verdict = probe_after(spoil_by_seccomp);
    assert_int_equal(verdict.err, ERR_PERMISSION);
    is_one_line(verdict.text);
    assert_non_null(strstr(verdict.text, "seccomp"));
    assert_non_null(strstr(verdict.text, "io_uring_setup"));
}

static void a_kernel_without_io_uring_is_named(void **state)
{
    (void)state;
    struct verdict verdict = probe_after(spoil_by_absence);
    assert_int_equal(verdict.err, ERR_UNSUPPORTED);
    is_one_line(verdict.text);
    assert_non_null(strstr(verdict.text, "without io_uring"));
}

static void a_kernel_that_is_too_old_is_named(void **state)
{
    (void)state;
    struct verdict verdict = probe_after(spoil_by_age);
    assert_int_equal(verdict.err, ERR_UNSUPPORTED);
    is_one_line(verdict.text);
    assert_non_null(strstr(verdict.text, "6.1"));
}

static void too_little_locked_memory_is_named_with_the_remedy(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip(); /* becoming somebody without CAP_IPC_LOCK takes root */
    }
    struct verdict verdict = probe_after(spoil_by_locked_memory);
    assert_int_equal(verdict.err, ERR_LIMIT);
    is_one_line(verdict.text);
    assert_non_null(strstr(verdict.text, "LimitMEMLOCK="));
}

static void too_few_files_are_named_with_the_remedy(void **state)
{
    (void)state;
    struct verdict verdict = probe_after(spoil_by_files);
    assert_int_equal(verdict.err, ERR_LIMIT);
    is_one_line(verdict.text);
    assert_non_null(strstr(verdict.text, "LimitNOFILE="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_kernel_is_described),
        cmocka_unit_test(a_seccomp_filter_is_named_with_the_remedy),
        cmocka_unit_test(a_kernel_without_io_uring_is_named),
        cmocka_unit_test(a_kernel_that_is_too_old_is_named),
        cmocka_unit_test(too_little_locked_memory_is_named_with_the_remedy),
        cmocka_unit_test(too_few_files_are_named_with_the_remedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
