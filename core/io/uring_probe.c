/*
 * Can this kernel and this process do what io needs? By trying it, never by version numbers:
 * a ring as the shards make it, the operations, the buffer ring, one multishot receive for real.
 * Every failure becomes one line with its cause and what to do about it.
 */
#include "core/io/io.h"
#include "core/io/sys.h"
#include "core/io/uring_buffers.h"
#include "core/io/uring_sys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PROBE_OPERATIONS = 256 };

/* clang-format off */
static const struct {
    uint8_t number;
    const char *name;
} operations_needed[] = {
    {IORING_OP_SEND,         "SEND"},
    {IORING_OP_SENDMSG,      "SENDMSG"},
    {IORING_OP_RECV,         "RECV"},
    {IORING_OP_ACCEPT,       "ACCEPT"},
    {IORING_OP_CONNECT,      "CONNECT"},
    {IORING_OP_POLL_ADD,     "POLL_ADD"},
    {IORING_OP_MSG_RING,     "MSG_RING"},
    {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"},
};
/* clang-format on */

/* A number in a file of /proc, after the first place where `key` stands; -1 when there is none. */
static long proc_number(const char *path, const char *key)
{
    char text[8192];
    size_t count = 0;
    if (sys_read_file(path, text, sizeof(text) - 1, &count) != OK) {
        return -1;
    }
    text[count] = '\0';
    const char *at = strstr(text, key);
    return at == NULL ? -1 : strtol(at + strlen(key), NULL, 10);
}

/* EPERM has three causes that look alike; two of them can be told from files. */
static enum err explain_forbidden(char *text, size_t text_bytes)
{
    long disabled = proc_number("/proc/sys/kernel/io_uring_disabled", "");
    if (disabled > 0) {
        snprintf(text, text_bytes,
                 "io_uring is switched off on this host (kernel.io_uring_disabled=%ld): run "
                 "'sysctl kernel.io_uring_disabled=0'%s",
                 disabled,
                 disabled == 1 ? ", or put the user into the group kernel.io_uring_group" : "");
    } else if (proc_number("/proc/self/status", "Seccomp:") == 2) {
        snprintf(text, text_bytes,
                 "io_uring is blocked by a seccomp filter (EPERM): in a container, run with a "
                 "seccomp profile that allows io_uring_setup, io_uring_enter and "
                 "io_uring_register; under systemd, add them to SystemCallFilter=");
    } else {
        snprintf(text, text_bytes,
                 "io_uring is blocked (EPERM): a security module forbids it; allow "
                 "io_uring_setup, io_uring_enter and io_uring_register to this process");
    }
    return ERR_PERMISSION;
}

static enum err explain_locked_memory(char *text, size_t text_bytes)
{
    struct rlimit limit = {0};
    uint32_t needed_bytes = SYS_RING_ENTRIES_MIN * (sizeof(struct io_uring_sqe) + sizeof(uint32_t) +
                                                    SYS_CQ_PER_SQ * sizeof(struct io_uring_cqe)) +
                            3 * 4096;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    snprintf(text, text_bytes,
             "RLIMIT_MEMLOCK is too small for the rings (%llu KiB, at least %u KiB per shard are "
             "needed): raise it with 'ulimit -l' or LimitMEMLOCK=",
             (unsigned long long)limit.rlim_cur / 1024, needed_bytes / 1024 + 1);
    return ERR_LIMIT;
}

static enum err explain_setup(int errno_value, char *text, size_t text_bytes)
{
    switch (errno_value) {
    case EPERM:
    case EACCES:
        return explain_forbidden(text, text_bytes);
    case ENOMEM:
        return explain_locked_memory(text, text_bytes);
    case ENOSYS:
        snprintf(text, text_bytes,
                 "this kernel was built without io_uring: Linux 6.1 or later "
                 "with CONFIG_IO_URING is needed");
        return ERR_UNSUPPORTED;
    case EINVAL:
        snprintf(text, text_bytes,
                 "this kernel lacks SINGLE_ISSUER or DEFER_TASKRUN of io_uring: "
                 "Linux 6.1 or later is needed");
        return ERR_UNSUPPORTED;
    case EMFILE:
    case ENFILE:
        snprintf(text, text_bytes,
                 "no file descriptor is left for a ring: raise it with 'ulimit -n' or "
                 "LimitNOFILE=");
        return ERR_LIMIT;
    default:
        snprintf(text, text_bytes, "io_uring cannot be set up: %s", strerror(errno_value));
        return ERR_UNSUPPORTED;
    }
}

static enum err probe_operations(struct io_uring *ring, char *text, size_t text_bytes)
{
    struct io_uring_probe *probe = calloc(1, sizeof(*probe) + PROBE_OPERATIONS *
                                                                  sizeof(struct io_uring_probe_op));
    if (probe == NULL) {
        snprintf(text, text_bytes, "memory is exhausted");
        return ERR_NOMEM;
    }
    const char *missing = NULL;
    if (io_uring_register_probe(ring, probe, PROBE_OPERATIONS) < 0) {
        missing = "REGISTER_PROBE";
    }
    uint32_t count = sizeof(operations_needed) / sizeof(operations_needed[0]);
    for (uint32_t i = 0; missing == NULL && i < count; i++) {
        uint8_t number = operations_needed[i].number;
        bool is_there = number <= probe->last_op &&
                        (probe->ops[number].flags & IO_URING_OP_SUPPORTED) != 0;
        missing = is_there ? NULL : operations_needed[i].name;
    }
    free(probe);
    if (missing == NULL) {
        return OK;
    }
    snprintf(text, text_bytes, "this kernel's io_uring lacks %s: Linux 6.1 or later is needed",
             missing);
    return ERR_UNSUPPORTED;
}

/* There is a bit for RECV but none for its multishot kind, so two bytes take the way. */
static bool can_receive_multishot(struct io_uring *ring)
{
    int pair[2];
    struct __kernel_timespec timeout = {.tv_sec = 1};
    struct io_uring_cqe *cqe = NULL;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return false;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFERS_GROUP;
    bool is_there = write(pair[1], "go", 2) == 2;
    (void)io_uring_submit_and_wait_timeout(ring, &cqe, 1, &timeout, NULL);
    is_there = is_there && cqe != NULL && cqe->res == 2 && (cqe->flags & IORING_CQE_F_MORE) &&
               (cqe->flags & IORING_CQE_F_BUFFER);
    close(pair[0]);
    close(pair[1]);
    return is_there;
}

static enum err probe_ring(struct io_uring *ring, struct buffers *buffers, char *text,
                           size_t text_bytes)
{
    TRY(probe_operations(ring, text, text_bytes));
    enum err err = buffers_init(buffers, ring, 1, true);
    if (err != OK) {
        snprintf(text, text_bytes, "io_uring takes no ring of receive buffers: %s",
                 err == ERR_NOMEM ? err_text(err) : "Linux 6.1 or later is needed");
        return err == ERR_NOMEM ? ERR_LIMIT : ERR_UNSUPPORTED;
    }
    if (!can_receive_multishot(ring)) {
        snprintf(text, text_bytes,
                 "this kernel's io_uring cannot receive multishot: Linux 6.1 or later is needed");
        return ERR_UNSUPPORTED;
    }
    snprintf(text, text_bytes,
             "io_uring ready: deferred task work, multishot accept and receive, %s receive "
             "buffers, %u ring entries",
             buffers->is_incremental ? "incremental" : "plain", sys_ring_entries());
    return OK;
}

enum err io_probe(char *text, size_t text_bytes)
{
    struct io_uring ring;
    struct buffers buffers = {0};

    int rc = sys_ring_init(&ring, SYS_RING_ENTRIES_MIN);
    if (rc < 0) {
        return explain_setup(-rc, text, text_bytes);
    }
    enum err err = probe_ring(&ring, &buffers, text, text_bytes);
    io_uring_queue_exit(&ring);
    buffers_deinit(&buffers);
    return err;
}
