#include "bench/report/target.h"

#include "core/io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_BYTES = 8192 };

static enum err proc_text(int32_t pid, const char *name, char text[TEXT_BYTES])
{
    char path[64];
    size_t count;
    if (pid == 0) {
        snprintf(path, sizeof(path), "/proc/self/%s", name);
    } else {
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    }
    TRY(sys_read_file(path, text, TEXT_BYTES - 1, &count));
    text[count] = '\0';
    return OK;
}

/* "Threads:\t4": of the line that begins with the key. */
static uint64_t number_of(const char *text, const char *key)
{
    size_t count = strlen(key);
    const char *line = text;
    while (strncmp(line, key, count) != 0) {
        line = strchr(line, '\n');
        if (line == NULL) {
            return 0;
        }
        line++;
    }
    return strtoull(line + count, NULL, 10);
}

/* "Anonymous:   1234 kB" */
static uint64_t kilobytes_of(const char *text, const char *key)
{
    return number_of(text, key) * 1024;
}

enum err target_usage_quick(int32_t pid, struct target_usage *out)
{
    char text[TEXT_BYTES];
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    struct timespec used;
    struct target_usage usage = {0};

    if (pid != 0 && clock_getcpuclockid(pid, &clock) != 0) {
        return ERR_NOT_FOUND;
    }
    if (clock_gettime(clock, &used) != 0) {
        return ERR_NOT_FOUND;
    }
    usage.cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    TRY(proc_text(pid, "stat", text));
    char *at = strrchr(text, ')'); /* the name may hold anything */
    for (uint32_t field = 2; at != NULL && field < 14; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        usage.user_ns = strtoull(at + 1, NULL, 10) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    }
    TRY(proc_text(pid, "status", text));
    usage.resident_bytes = kilobytes_of(text, "VmRSS:");
    usage.thread_count = (uint32_t)number_of(text, "Threads:");
    if (proc_text(pid, "io", text) == OK) {
        usage.written_bytes = number_of(text, "write_bytes:");
    }
    *out = usage;
    return OK;
}

enum err target_usage(int32_t pid, struct target_usage *out)
{
    char text[TEXT_BYTES];
    struct target_usage usage;
    TRY(target_usage_quick(pid, &usage));
    if (proc_text(pid, "smaps_rollup", text) == OK) {
        usage.private_bytes = kilobytes_of(text, "Anonymous:");
        usage.proportional_bytes = kilobytes_of(text, "Pss:");
    }
    *out = usage;
    return OK;
}

uint64_t target_system_ns(const struct target_usage *usage)
{
    return usage->cpu_ns > usage->user_ns ? usage->cpu_ns - usage->user_ns : 0;
}
