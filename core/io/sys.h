/*
 * sys: what a process asks of its system besides sockets: signals, limits, files, its user.
 *
 * Floor:  io.
 * Thread: the main thread, before others are started, unless a function says otherwise.
 */
#ifndef TERN_IO_SYS_H
#define TERN_IO_SYS_H

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Descriptors 0, 1 and 2 are open from now on, to /dev/null where nobody gave us one. Otherwise the
 * next socket would become standard error, and the log would be sent to a client.
 */
enum err sys_open_standard_files(void);

/* Raise the soft limit of open files to the hard one; the limit now in force. */
uint64_t sys_raise_file_limit(void);

enum sys_signal {
    SYS_SIGNAL_NONE, /* time ran out */
    SYS_SIGNAL_STOP, /* SIGTERM, SIGINT */
    SYS_SIGNAL_RELOAD,
    SYS_SIGNAL_USER1,
    SYS_SIGNAL_USER2,
};

/*
 * Take SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 out of the ordinary way: blocked in this thread
 * and in all that it starts from now on, and fetched with sys_signal_wait(). SIGPIPE is ignored.
 */
enum err sys_signals_open(void);

/* The next signal; waits for at most wait_ns (UINT64_MAX: no limit). By one thread. */
enum sys_signal sys_signal_wait(uint64_t wait_ns);

/* Read a whole file of at most out_bytes_max bytes. ERR_TOO_LARGE: it is longer, nothing is said
 * about out; ERR_NOT_FOUND, ERR_PERMISSION, ERR_INVALID (a folder), ERR_IO. */
enum err sys_read_file(const char *path, char *out, size_t out_bytes_max, size_t *count_out);

/* The same into memory of its own, with a NUL behind it (not counted); the caller frees. */
enum err sys_load_file(const char *path, size_t bytes_max, char **out, size_t *count_out);

/*
 * The same of a regular file, for who may not be held up: what else there is under a path (a pipe that
 * nobody writes to) is ERR_INVALID.
 */
enum err sys_load_plain_file(const char *path, size_t bytes_max, char **out, size_t *count_out);

/*
 * The folder and everything in it belong to that user from now on (links are not followed); the empty
 * name changes nothing. ERR_NOT_FOUND: no such user or folder. ERR_PERMISSION: only root may.
 */
enum err sys_give_folder(const char *folder, const char *name);

/*
 * Become that user, with its groups, for good; the empty name and the own name change nothing.
 * ERR_NOT_FOUND: no such user. ERR_PERMISSION: only root may.
 */
enum err sys_become_user(const char *name);

/* Who we are, for messages: the name of the effective user, or its number. */
void sys_user_name(char out[64]);

/* May we read that file as who we are now? Folders too. */
bool sys_may_read(const char *path);

/* Who else may do something with a file: bits of enum sys_others. 0 where there is none. */
enum sys_others {
    SYS_OTHERS_READ = 1,
    SYS_OTHERS_WRITE = 2,
    SYS_GROUP_READ = 4,
    SYS_GROUP_WRITE = 8
};
uint32_t sys_others(const char *path);

/*
 * May a crash, or a debugger of the same user, look at our memory? Becoming another user forbids it
 * too, so this is said again after it. /proc/self stays readable to ourselves.
 */
void sys_set_dumpable(bool is_dumpable);

/* Make a file, or a link itself, that user's and his group's. ERR_NOT_FOUND: no such user. */
enum err sys_give_file(const char *path, const char *name);

/* Write our process id to a file, replacing what is there. */
enum err sys_write_pid_file(const char *path);

/*
 * Tell the service manager, e.g. "READY=1" or "STOPPING=1" (sd_notify(3) by hand). Does nothing when
 * NOTIFY_SOCKET is not set. Any thread.
 */
enum err sys_notify(const char *text);

/* What /metrics says about the process. Any thread. */
struct sys_usage {
    uint64_t resident_bytes;
    uint64_t cpu_ns; /* user and system, all threads */
    uint64_t start_wall_ms;
    uint32_t open_file_count;
    uint64_t file_limit;
};
enum err sys_usage(struct sys_usage *out);

/* Memory of the machine, or what a control group leaves of it if that is less. */
uint64_t sys_memory_bytes(void);

#endif
