#include "core/io/sys.h"

#include "core/base/assert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { NAME_BUFFER_BYTES = 16384, PROC_TEXT_BYTES = 4096 };

enum err sys_open_standard_files(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR); /* the lowest number that is free */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    close(fd);
    return OK;
}

uint64_t sys_raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 0;
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? before : limit.rlim_max;
}

static void signals_ours(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
    sigaddset(set, SIGUSR2);
}

enum err sys_signals_open(void)
{
    sigset_t set;
    signals_ours(&set);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return err_from_errno(errno);
    }
    int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    return rc == 0 ? OK : err_from_errno(rc);
}

enum sys_signal sys_signal_wait(uint64_t wait_ns)
{
    sigset_t set;
    struct timespec timeout = {
        .tv_sec = (time_t)(wait_ns / 1000000000u),
        .tv_nsec = (long)(wait_ns % 1000000000u),
    };
    int signal_number;

    signals_ours(&set);
    do {
        signal_number = wait_ns == UINT64_MAX ? sigwaitinfo(&set, NULL)
                                              : sigtimedwait(&set, NULL, &timeout);
    } while (signal_number < 0 && errno == EINTR);
    switch (signal_number) {
    case SIGTERM:
    case SIGINT:
        return SYS_SIGNAL_STOP;
    case SIGHUP:
        return SYS_SIGNAL_RELOAD;
    case SIGUSR1:
        return SYS_SIGNAL_USER1;
    case SIGUSR2:
        return SYS_SIGNAL_USER2;
    default:
        return SYS_SIGNAL_NONE;
    }
}

/* Read to the end or until the buffer is full; the sizes that files of /proc claim mean nothing. */
static enum err read_all(int fd, char *out, size_t bytes_max, size_t *count_out)
{
    size_t count = 0;
    while (count < bytes_max) {
        ssize_t step = read(fd, out + count, bytes_max - count);
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step < 0) {
            return errno == EISDIR ? ERR_INVALID : err_from_errno(errno);
        }
        if (step == 0) {
            *count_out = count;
            return OK;
        }
        count += (size_t)step;
    }
    char more;
    ssize_t rest = read(fd, &more, 1);
    if (rest != 0) {
        return rest < 0 ? err_from_errno(errno) : ERR_TOO_LARGE;
    }
    *count_out = count;
    return OK;
}

static enum err read_path(const char *path, int flags, char *out, size_t bytes_max, size_t *count)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err err = read_all(fd, out, bytes_max, count);
    close(fd);
    return err;
}

enum err sys_read_file(const char *path, char *out, size_t out_bytes_max, size_t *count_out)
{
    return read_path(path, 0, out, out_bytes_max, count_out);
}

/* Room for what the file claims to hold, and some for those that claim nothing. */
static enum err load_path(const char *path, int flags, const struct stat *file, size_t bytes_max,
                          char **out, size_t *count_out)
{
    size_t count;
    size_t room = file->st_size > 0 ? (size_t)file->st_size + PROC_TEXT_BYTES : bytes_max;
    room = room < bytes_max ? room : bytes_max;
    char *text = malloc(room + 1);
    if (text == NULL) {
        return ERR_NOMEM;
    }
    enum err err = read_path(path, flags, text, room, &count);
    if (err != OK) {
        free(text);
        return err;
    }
    text[count] = '\0';
    *out = text;
    *count_out = count;
    return OK;
}

enum err sys_load_file(const char *path, size_t bytes_max, char **out, size_t *count_out)
{
    struct stat file;
    if (stat(path, &file) < 0) {
        return err_from_errno(errno);
    }
    return load_path(path, 0, &file, bytes_max, out, count_out);
}

enum err sys_load_plain_file(const char *path, size_t bytes_max, char **out, size_t *count_out)
{
    struct stat file;
    if (stat(path, &file) < 0) {
        return err_from_errno(errno);
    }
    if (!S_ISREG(file.st_mode)) {
        return ERR_INVALID;
    }
    /* Should it become a pipe in between, it reads as if it was empty. */
    return load_path(path, O_NONBLOCK, &file, bytes_max, out, count_out);
}

static enum err user_find(const char *name, struct passwd *user, char buffer[NAME_BUFFER_BYTES])
{
    struct passwd *found = NULL;
    int rc = getpwnam_r(name, user, buffer, NAME_BUFFER_BYTES, &found);
    if (found == NULL) {
        return rc == 0 ? ERR_NOT_FOUND : err_from_errno(rc);
    }
    return OK;
}

enum err sys_give_folder(const char *folder, const char *name)
{
    struct passwd user;
    char buffer[NAME_BUFFER_BYTES];
    char *const paths[] = {(char *)(uintptr_t)folder, NULL};
    if (name[0] == '\0') {
        return OK;
    }
    TRY(user_find(name, &user, buffer));
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    enum err err = walk == NULL ? err_from_errno(errno) : OK;
    FTSENT *entry;
    while (err == OK && (entry = fts_read(walk)) != NULL) {
        bool is_gone = entry->fts_info == FTS_NS || entry->fts_info == FTS_DP; /* or seen before */
        if (!is_gone && lchown(entry->fts_path, user.pw_uid, user.pw_gid) < 0 && errno != ENOENT) {
            err = err_from_errno(errno);
        }
    }
    if (walk != NULL) {
        fts_close(walk);
    }
    return err;
}

enum err sys_become_user(const char *name)
{
    struct passwd user;
    char buffer[NAME_BUFFER_BYTES];

    if (name[0] == '\0') {
        return OK;
    }
    TRY(user_find(name, &user, buffer));
    if (user.pw_uid == geteuid()) {
        return OK;
    }
    /* Groups first: afterwards we may not any more. */
    if (initgroups(user.pw_name, user.pw_gid) < 0 ||
        setresgid(user.pw_gid, user.pw_gid, user.pw_gid) < 0 ||
        setresuid(user.pw_uid, user.pw_uid, user.pw_uid) < 0) {
        return err_from_errno(errno);
    }
    ASSERT(user.pw_uid == 0 || setuid(0) < 0); /* for good */
    return OK;
}

void sys_user_name(char out[64])
{
    struct passwd user, *found = NULL;
    char buffer[NAME_BUFFER_BYTES];
    if (getpwuid_r(geteuid(), &user, buffer, sizeof(buffer), &found) == 0 && found != NULL) {
        snprintf(out, 64, "%s", found->pw_name);
    } else {
        snprintf(out, 64, "%u", (unsigned)geteuid());
    }
}

bool sys_may_read(const char *path)
{
    struct stat file;
    int mode = stat(path, &file) == 0 && S_ISDIR(file.st_mode) ? R_OK | X_OK : R_OK;
    return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0;
}

uint32_t sys_others(const char *path)
{
    struct stat file;
    if (stat(path, &file) < 0) {
        return 0;
    }
    return ((file.st_mode & S_IROTH) != 0 ? SYS_OTHERS_READ : 0u) |
           ((file.st_mode & S_IWOTH) != 0 ? SYS_OTHERS_WRITE : 0u) |
           ((file.st_mode & S_IRGRP) != 0 ? SYS_GROUP_READ : 0u) |
           ((file.st_mode & S_IWGRP) != 0 ? SYS_GROUP_WRITE : 0u);
}

void sys_set_dumpable(bool is_dumpable)
{
    prctl(PR_SET_DUMPABLE, is_dumpable ? 1 : 0, 0, 0, 0);
}

enum err sys_give_file(const char *path, const char *name)
{
    struct passwd user, *found = NULL;
    char buffer[NAME_BUFFER_BYTES];
    int rc = getpwnam_r(name, &user, buffer, sizeof(buffer), &found);
    if (found == NULL) {
        return rc == 0 ? ERR_NOT_FOUND : err_from_errno(rc);
    }
    return lchown(path, user.pw_uid, user.pw_gid) < 0 ? err_from_errno(errno) : OK;
}

enum err sys_write_pid_file(const char *path)
{
    char text[32];
    int count = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    bool is_written = write(fd, text, (size_t)count) == count;
    is_written = close(fd) == 0 && is_written;
    return is_written ? OK : ERR_IO;
}

enum err sys_notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (path == NULL || path[0] == '\0') {
        return OK;
    }
    size_t path_bytes = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || path_bytes >= sizeof(to.sun_path)) {
        return ERR_INVALID;
    }
    memcpy(to.sun_path, path, path_bytes);
    if (path[0] == '@') { /* an abstract name */
        to.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_bytes);
    ssize_t sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, bytes);
    enum err err = sent < 0 ? err_from_errno(errno) : OK;
    close(fd);
    return err;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Field 22 of the stat file: ticks after boot. The name in field 2 may hold blanks and brackets. */
static uint64_t start_wall_ms(void)
{
    char text[PROC_TEXT_BYTES];
    size_t count;
    if (sys_read_file("/proc/self/stat", text, sizeof(text) - 1, &count) != OK) {
        return 0;
    }
    text[count] = '\0';
    char *at = strrchr(text, ')');
    for (uint32_t field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return 0;
    }
    uint64_t ticks = strtoull(at + 1, NULL, 10);
    uint64_t boot_ms = (clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME)) / 1000000u;
    return boot_ms + ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

static uint32_t open_file_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint32_t count = 0;
    if (folder == NULL) {
        return 0;
    }
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count < 3 ? 0 : count - 3; /* ".", "..", and the one that reads */
}

enum err sys_usage(struct sys_usage *out)
{
    char text[PROC_TEXT_BYTES];
    size_t count;
    struct rlimit limit = {0};

    TRY(sys_read_file("/proc/self/statm", text, sizeof(text) - 1, &count));
    text[count] = '\0';
    const char *resident = strchr(text, ' ');
    if (resident == NULL) {
        return ERR_IO;
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    *out = (struct sys_usage){
        .resident_bytes = strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE),
        .cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
        .start_wall_ms = start_wall_ms(),
        .open_file_count = open_file_count(),
        .file_limit = limit.rlim_cur,
    };
    return OK;
}

uint64_t sys_memory_bytes(void)
{
    char text[64];
    size_t count;
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    if (sys_read_file("/sys/fs/cgroup/memory.max", text, sizeof(text) - 1, &count) == OK) {
        text[count] = '\0';
        uint64_t limit = strtoull(text, NULL, 10); /* 0 for "max" */
        bytes = limit > 0 && limit < bytes ? limit : bytes;
    }
    return bytes;
}
