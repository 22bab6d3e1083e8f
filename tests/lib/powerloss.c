/*
 * powerloss: put before a program, keep a diary of what it does to the files below one folder.
 *
 *     LD_PRELOAD=powerloss.so POWERLOSS_FOLDER=DIR POWERLOSS_DIARY=FILE \
 *         POWERLOSS_CONTROL=FILE program
 *
 * Everything is done as asked and written down: which file got which bytes where, which names came
 * and went, and which sync covered what. powerloss.py makes of the diary what a disk may hold that
 * lost its power: what was synced, and of the rest as little or as much as chance wants. Nothing of
 * the diary is lost by kill -9, as it is written by system calls.
 *
 * The control file (struct control, shared with the test) makes syncs fail, writes fail, the space
 * end, and syncs slow.
 *
 * Not seen: what stdio writes (the diary's reader leaves RocksDB's LOG out for that), io_uring, a
 * dup()ed descriptor. A shared writable mapping of a file below the folder ends the program: whoever
 * begins to use one has to be told that this test has become blind.
 *
 * Thread: any. One lock around a write and its line in the diary; none is held while a sync waits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SEEN __attribute__((visibility("default")))

enum { DESCRIPTORS = 1 << 16, BLOCK = 4096 };

/* As powerloss.py has them. */
enum line_kind {
    OPENED = 1,
    WRITTEN,
    TRUNCATED,
    SYNCED,
    SYNC_FAILED,
    RENAMED,
    UNLINKED,
    FOLDER_MADE,
    FOLDER_REMOVED,
    LINKED,
    ALL_SYNCED
};
enum opened_how { WAS_MADE = 1, WAS_EMPTIED = 2, IS_FOLDER = 4 };

struct line {
    uint32_t kind;
    uint32_t tail_bytes; /* a path, two with a zero between them, or data */
    uint64_t handle;     /* of one open(), never used again */
    uint64_t number;     /* offset, length, flags, or the place in the diary that a sync covers */
};

struct control {
    _Atomic int32_t sync_fail_count;  /* so many of the next syncs answer EIO */
    _Atomic int32_t write_fail_count; /* and of the next writes */
    _Atomic int64_t space_bytes;      /* so much more can be written; below 0: no limit */
    _Atomic uint32_t sync_delay_us;
    _Atomic uint32_t spare;
    _Atomic uint64_t sync_count, write_count, written_bytes, refused_count; /* told to the test */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t handles[DESCRIPTORS]; /* 0: none of ours */
static struct control no_control = {.space_bytes = -1};
static struct control *control = &no_control;
static char root[PATH_MAX];
static size_t root_length; /* 0: not asked to do anything */
static int diary = -1;
static uint64_t diary_bytes, handle_last;

/* ---- the functions behind ours ------------------------------------------------------------- */

#define BEHIND(type, name, ...)                               \
    static type (*real_##name)(__VA_ARGS__);                  \
    static type (*behind_##name(void))(__VA_ARGS__)           \
    {                                                         \
        if (real_##name == NULL) {                            \
            *(void **)&real_##name = dlsym(RTLD_NEXT, #name); \
        }                                                     \
        return real_##name;                                   \
    }
BEHIND(int, open, const char *, int, ...)
BEHIND(int, openat, int, const char *, int, ...)
BEHIND(int, close, int)
BEHIND(ssize_t, write, int, const void *, size_t)
BEHIND(ssize_t, pwrite, int, const void *, size_t, off_t)
BEHIND(ssize_t, writev, int, const struct iovec *, int)
BEHIND(ssize_t, pwritev, int, const struct iovec *, int, off_t)
BEHIND(int, ftruncate, int, off_t)
BEHIND(int, fallocate, int, int, off_t, off_t)
BEHIND(int, posix_fallocate, int, off_t, off_t)
BEHIND(int, fsync, int)
BEHIND(int, fdatasync, int)
BEHIND(int, syncfs, int)
BEHIND(int, renameat, int, const char *, int, const char *)
BEHIND(int, unlinkat, int, const char *, int)
BEHIND(int, mkdirat, int, const char *, mode_t)
BEHIND(int, linkat, int, const char *, int, const char *, int)
BEHIND(void *, mmap, void *, size_t, int, int, int, off_t)
BEHIND(int, statvfs, const char *, struct statvfs *)
BEHIND(int, fstatvfs, int, struct statvfs *)

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("POWERLOSS_FOLDER");
    const char *diary_path = getenv("POWERLOSS_DIARY");
    const char *control_path = getenv("POWERLOSS_CONTROL");
    struct stat stat;
    if (folder == NULL || diary_path == NULL || realpath(folder, root) == NULL) {
        return;
    }
    diary = behind_open()(diary_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (diary < 0 || fstat(diary, &stat) != 0) {
        abort();
    }
    diary_bytes = (uint64_t)stat.st_size;
    /* Handles of an earlier life are in the same diary: begin where none of them can be. */
    handle_last = (diary_bytes + 1) << 20;
    if (control_path != NULL) {
        int file = behind_open()(control_path, O_RDWR | O_CLOEXEC);
        void *page = behind_mmap()(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (file < 0 || page == MAP_FAILED) {
            abort();
        }
        behind_close()(file);
        control = page;
    }
    root_length = strlen(root);
}

/* ---- the diary ----------------------------------------------------------------------------- */

static void write_down(enum line_kind kind, uint64_t handle, uint64_t number,
                       const struct iovec *tail, int tail_count, size_t tail_bytes)
{
    struct line line = {kind, (uint32_t)tail_bytes, handle, number};
    struct iovec head = {&line, sizeof(line)};
    size_t left = tail_bytes;
    if (behind_writev()(diary, &head, 1) != (ssize_t)sizeof(line)) {
        abort();
    }
    for (int at = 0; at < tail_count && left > 0; at++) {
        size_t part = tail[at].iov_len < left ? tail[at].iov_len : left;
        if (behind_write()(diary, tail[at].iov_base, part) != (ssize_t)part) {
            abort();
        }
        left -= part;
    }
    diary_bytes += sizeof(line) + tail_bytes;
}

static void write_path(enum line_kind kind, uint64_t handle, uint64_t number, const char *path)
{
    struct iovec tail = {(void *)path, strlen(path)};
    write_down(kind, handle, number, &tail, 1, tail.iov_len);
}

static void write_paths(enum line_kind kind, const char *from, const char *to)
{
    struct iovec tail[2] = {{(void *)from, strlen(from) + 1}, {(void *)to, strlen(to)}};
    write_down(kind, 0, 0, tail, 2, tail[0].iov_len + tail[1].iov_len);
}

/* The path below the folder ("" is the folder itself), or NULL: it is none of ours. */
static const char *below(int folder, const char *path, char out[2 * PATH_MAX])
{
    char joined[2 * PATH_MAX], link[64], parent[PATH_MAX];
    if (root_length == 0 || path == NULL) {
        return NULL;
    }
    int saved = errno;
    joined[0] = '\0';
    if (path[0] != '/' && folder != AT_FDCWD) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, joined, PATH_MAX);
        joined[length > 0 ? length : 0] = '\0';
        strcat(joined, "/");
    }
    strncat(joined, path, PATH_MAX - 1);
    size_t length = strlen(joined);
    while (length > 1 && joined[length - 1] == '/') {
        joined[--length] = '\0';
    }
    /* The last part may not be there, or no more: what is above it is made absolute. */
    char *slash = strrchr(joined, '/');
    const char *name = slash == NULL ? joined : slash + 1;
    bool is_dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    if (is_dots || slash == joined) {
        const char *whole = realpath(joined, parent);
        snprintf(out, 2 * PATH_MAX, "%s", whole == NULL ? "" : whole);
    } else {
        if (slash != NULL) {
            *slash = '\0';
        }
        const char *whole = realpath(slash == NULL ? "." : joined, parent);
        if (snprintf(out, 2 * PATH_MAX, "%s/%s", whole == NULL ? "" : whole, name) >=
            2 * PATH_MAX) {
            out[0] = '\0'; /* no path of ours is so long */
        }
    }
    errno = saved;
    if (strncmp(out, root, root_length) != 0) {
        return NULL;
    }
    const char *rest = out + root_length;
    return rest[0] == '\0' ? rest : rest[0] == '/' ? rest + 1 : NULL;
}

static uint64_t handle_of(int file)
{
    return file >= 0 && file < DESCRIPTORS ? handles[file] : 0;
}

/* ---- opening and closing ------------------------------------------------------------------- */

static int open_watched(int folder, const char *path, int flags, mode_t mode)
{
    char buffer[2 * PATH_MAX];
    const char *inside = below(folder, path, buffer);
    if (inside == NULL || (flags & O_TMPFILE) == O_TMPFILE) {
        return behind_openat()(folder, path, flags, mode);
    }
    pthread_mutex_lock(&lock);
    struct stat stat;
    bool was_there = fstatat(folder, path, &stat, 0) == 0;
    if ((flags & O_CREAT) && !was_there && control->space_bytes == 0) {
        control->refused_count++;
        pthread_mutex_unlock(&lock);
        errno = ENOSPC;
        return -1;
    }
    int file = behind_openat()(folder, path, flags, mode);
    if (file >= 0 && file < DESCRIPTORS && fstat(file, &stat) == 0) {
        uint64_t how = S_ISDIR(stat.st_mode) ? IS_FOLDER : 0;
        bool is_writing = (flags & O_ACCMODE) != O_RDONLY;
        how |= !was_there ? WAS_MADE : 0;
        how |= was_there && is_writing && (flags & O_TRUNC) ? WAS_EMPTIED : 0;
        handles[file] = ++handle_last;
        write_path(OPENED, handles[file], how, inside);
    }
    pthread_mutex_unlock(&lock);
    return file;
}

#define MODE_OF(flags, last)                 \
    mode_t mode = 0;                         \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list rest;                        \
        va_start(rest, last);                \
        mode = va_arg(rest, mode_t);         \
        va_end(rest);                        \
    }

SEEN int open(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return open_watched(AT_FDCWD, path, flags, mode);
}

SEEN int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return open_watched(AT_FDCWD, path, flags, mode);
}

SEEN int openat(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return open_watched(folder, path, flags, mode);
}

SEEN int openat64(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return open_watched(folder, path, flags, mode);
}

SEEN int creat(const char *path, mode_t mode)
{
    return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

SEEN int creat64(const char *path, mode_t mode)
{
    return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

SEEN int close(int file)
{
    if (handle_of(file) != 0) {
        handles[file] = 0;
    }
    return behind_close()(file);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* How many of these bytes go in: fewer when the space ends, -1 with errno. The lock is held. */
static ssize_t admit(size_t bytes)
{
    if (control->write_fail_count > 0) {
        control->write_fail_count--;
        control->refused_count++;
        errno = EIO;
        return -1;
    }
    int64_t space = control->space_bytes;
    if (space < 0) {
        return (ssize_t)bytes;
    }
    if (space == 0 && bytes > 0) {
        control->refused_count++;
        errno = ENOSPC;
        return -1;
    }
    return (int64_t)bytes < space ? (ssize_t)bytes : (ssize_t)space;
}

/* offset -1: where the file stands. The parts are written as one, or up to where the space ends. */
static ssize_t write_watched(uint64_t handle, int file, const struct iovec *parts, int count,
                             off_t offset)
{
    size_t bytes = 0;
    struct stat stat;
    for (int at = 0; at < count; at++) {
        bytes += parts[at].iov_len;
    }
    pthread_mutex_lock(&lock);
    ssize_t put = admit(bytes);
    if (put >= 0) {
        off_t place = offset;
        if (fcntl(file, F_GETFL) & O_APPEND) {
            place = fstat(file, &stat) == 0 ? stat.st_size : 0;
        } else if (offset < 0) {
            place = lseek(file, 0, SEEK_CUR);
        }
        if ((size_t)put < bytes) {
            count = 1; /* a short write, as a full disk has them */
            put = put < (ssize_t)parts[0].iov_len ? put : (ssize_t)parts[0].iov_len;
            put = offset < 0 ? behind_write()(file, parts[0].iov_base, (size_t)put)
                             : behind_pwrite()(file, parts[0].iov_base, (size_t)put, offset);
        } else {
            put = offset < 0 ? behind_writev()(file, parts, count)
                             : behind_pwritev()(file, parts, count, offset);
        }
        if (put > 0) {
            write_down(WRITTEN, handle, (uint64_t)place, parts, count, (size_t)put);
            control->write_count++;
            control->written_bytes += (uint64_t)put;
            int64_t space = control->space_bytes;
            if (space >= 0) {
                control->space_bytes = space > put ? space - put : 0;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    return put;
}

SEEN ssize_t write(int file, const void *bytes, size_t count)
{
    uint64_t handle = handle_of(file);
    struct iovec part = {(void *)bytes, count};
    return handle == 0 ? behind_write()(file, bytes, count)
                       : write_watched(handle, file, &part, 1, -1);
}

SEEN ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset)
{
    uint64_t handle = handle_of(file);
    struct iovec part = {(void *)bytes, count};
    return handle == 0 ? behind_pwrite()(file, bytes, count, offset)
                       : write_watched(handle, file, &part, 1, offset);
}

SEEN ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset)
{
    return pwrite(file, bytes, count, offset);
}

SEEN ssize_t writev(int file, const struct iovec *parts, int count)
{
    uint64_t handle = handle_of(file);
    return handle == 0 ? behind_writev()(file, parts, count)
                       : write_watched(handle, file, parts, count, -1);
}

SEEN ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
    uint64_t handle = handle_of(file);
    return handle == 0 ? behind_pwritev()(file, parts, count, offset)
                       : write_watched(handle, file, parts, count, offset);
}

SEEN int ftruncate(int file, off_t length)
{
    uint64_t handle = handle_of(file);
    if (handle == 0) {
        return behind_ftruncate()(file, length);
    }
    pthread_mutex_lock(&lock);
    int result = behind_ftruncate()(file, length);
    if (result == 0) {
        write_down(TRUNCATED, handle, (uint64_t)length, NULL, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SEEN int ftruncate64(int file, off64_t length)
{
    return ftruncate(file, length);
}

/* Blocks beyond the end hold nothing yet; without KEEP_SIZE the file becomes longer by zeros. */
SEEN int fallocate(int file, int mode, off_t offset, off_t length)
{
    uint64_t handle = handle_of(file);
    struct stat stat;
    if (handle == 0) {
        return behind_fallocate()(file, mode, offset, length);
    }
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
        errno = EOPNOTSUPP; /* holes and the like: not in the diary, so not to be had */
        return -1;
    }
    pthread_mutex_lock(&lock);
    int64_t space = control->space_bytes;
    int result = -1;
    if (space >= 0 && space < length) {
        control->refused_count++;
        errno = ENOSPC;
    } else {
        result = behind_fallocate()(file, mode, offset, length);
    }
    if (result == 0 && mode == 0 && fstat(file, &stat) == 0) {
        write_down(TRUNCATED, handle, (uint64_t)stat.st_size, NULL, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SEEN int posix_fallocate(int file, off_t offset, off_t length)
{
    if (handle_of(file) == 0) {
        return behind_posix_fallocate()(file, offset, length);
    }
    int saved = errno;
    int result = fallocate(file, 0, offset, length) == 0 ? 0 : errno;
    errno = saved;
    return result;
}

SEEN void *mmap(void *at, size_t length, int protection, int flags, int file, off_t offset)
{
    if (handle_of(file) != 0 && (protection & PROT_WRITE) && (flags & MAP_TYPE) != MAP_PRIVATE) {
        fprintf(stderr, "powerloss: a shared writable mapping cannot be followed\n");
        abort();
    }
    return behind_mmap()(at, length, protection, flags, file, offset);
}

SEEN void *mmap64(void *at, size_t length, int protection, int flags, int file, off64_t offset)
{
    return mmap(at, length, protection, flags, file, offset);
}

/* ---- syncing ------------------------------------------------------------------------------- */

/* true: this one fails, which covers nothing and spoils what it should have covered. */
static bool sync_fails(void)
{
    int32_t left = control->sync_fail_count;
    while (left > 0) {
        if (__atomic_compare_exchange_n((int32_t *)&control->sync_fail_count, &left, left - 1,
                                        false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

static void sync_slowly(void)
{
    uint32_t us = control->sync_delay_us;
    struct timespec pause = {us / 1000000, (long)(us % 1000000) * 1000};
    if (us > 0) {
        nanosleep(&pause, NULL);
    }
}

static int sync_watched(int file, uint64_t handle, enum line_kind kind, int (*sync_it)(int))
{
    pthread_mutex_lock(&lock);
    uint64_t covered = diary_bytes;
    pthread_mutex_unlock(&lock);
    sync_slowly();
    int result = sync_fails() ? -1 : sync_it(file);
    pthread_mutex_lock(&lock);
    control->sync_count++;
    write_down(result == 0 ? kind : SYNC_FAILED, handle, covered, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    if (result != 0) {
        errno = EIO;
    }
    return result;
}

SEEN int fsync(int file)
{
    uint64_t handle = handle_of(file);
    return handle == 0 ? behind_fsync()(file) : sync_watched(file, handle, SYNCED, behind_fsync());
}

SEEN int fdatasync(int file)
{
    uint64_t handle = handle_of(file);
    return handle == 0 ? behind_fdatasync()(file)
                       : sync_watched(file, handle, SYNCED, behind_fdatasync());
}

SEEN int syncfs(int file)
{
    uint64_t handle = handle_of(file);
    return handle == 0 ? behind_syncfs()(file)
                       : sync_watched(file, handle, ALL_SYNCED, behind_syncfs());
}

/* ---- names --------------------------------------------------------------------------------- */

SEEN int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    char from_buffer[2 * PATH_MAX], to_buffer[2 * PATH_MAX];
    const char *from_inside = below(from_folder, from, from_buffer);
    const char *to_inside = below(to_folder, to, to_buffer);
    if (from_inside == NULL || to_inside == NULL) {
        return behind_renameat()(from_folder, from, to_folder, to);
    }
    pthread_mutex_lock(&lock);
    int result = behind_renameat()(from_folder, from, to_folder, to);
    if (result == 0) {
        write_paths(RENAMED, from_inside, to_inside);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SEEN int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

SEEN int unlinkat(int folder, const char *path, int flags)
{
    char buffer[2 * PATH_MAX];
    const char *inside = below(folder, path, buffer);
    if (inside == NULL) {
        return behind_unlinkat()(folder, path, flags);
    }
    pthread_mutex_lock(&lock);
    int result = behind_unlinkat()(folder, path, flags);
    if (result == 0) {
        write_path(flags & AT_REMOVEDIR ? FOLDER_REMOVED : UNLINKED, 0, 0, inside);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SEEN int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

SEEN int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

SEEN int remove(const char *path)
{
    struct stat stat;
    bool is_folder = lstat(path, &stat) == 0 && S_ISDIR(stat.st_mode);
    return unlinkat(AT_FDCWD, path, is_folder ? AT_REMOVEDIR : 0);
}

SEEN int mkdirat(int folder, const char *path, mode_t mode)
{
    char buffer[2 * PATH_MAX];
    const char *inside = below(folder, path, buffer);
    if (inside == NULL) {
        return behind_mkdirat()(folder, path, mode);
    }
    pthread_mutex_lock(&lock);
    int result = behind_mkdirat()(folder, path, mode);
    if (result == 0) {
        write_path(FOLDER_MADE, 0, 0, inside);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SEEN int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

SEEN int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    char from_buffer[2 * PATH_MAX], to_buffer[2 * PATH_MAX];
    const char *from_inside = below(from_folder, from, from_buffer);
    const char *to_inside = below(to_folder, to, to_buffer);
    if (from_inside == NULL || to_inside == NULL) {
        return behind_linkat()(from_folder, from, to_folder, to, flags);
    }
    pthread_mutex_lock(&lock);
    int result = behind_linkat()(from_folder, from, to_folder, to, flags);
    if (result == 0) {
        write_paths(LINKED, from_inside, to_inside);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

SEEN int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- space --------------------------------------------------------------------------------- */

static void tell_space(struct statvfs *out)
{
    int64_t space = control->space_bytes;
    if (space >= 0 && out->f_frsize > 0) {
        out->f_bavail = out->f_bfree = (fsblkcnt_t)space / out->f_frsize;
    }
}

SEEN int statvfs(const char *path, struct statvfs *out)
{
    char buffer[2 * PATH_MAX];
    int result = behind_statvfs()(path, out);
    if (result == 0 && below(AT_FDCWD, path, buffer) != NULL) {
        tell_space(out);
    }
    return result;
}

SEEN int statvfs64(const char *path, struct statvfs64 *out)
{
    return statvfs(path, (struct statvfs *)out);
}

SEEN int fstatvfs(int file, struct statvfs *out)
{
    int result = behind_fstatvfs()(file, out);
    if (result == 0 && handle_of(file) != 0) {
        tell_space(out);
    }
    return result;
}

SEEN int fstatvfs64(int file, struct statvfs64 *out)
{
    return fstatvfs(file, (struct statvfs *)out);
}
