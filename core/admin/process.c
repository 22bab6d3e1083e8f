#include "core/admin/process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/*
 * Since Linux 6.2 the folder's size is the number of descriptors. Older kernels say 0 there and are
 * asked entry by entry.
 */
static uint64_t open_fds(void)
{
    struct stat folder;
    if (stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0) {
        return (uint64_t)folder.st_size;
    }
    uint64_t count = 0;
    DIR *entries = opendir("/proc/self/fd");
    if (entries == NULL) {
        return 0;
    }
    for (const struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        count += entry->d_name[0] != '.';
    }
    closedir(entries);
    return count - 1; /* the one that reads them */
}

void process_read(struct process_figures *out)
{
    struct rusage usage;
    struct rlimit limit;
    unsigned long long virtual_pages = 0, resident_pages = 0;
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

    *out = (struct process_figures){.open_fds = open_fds()};
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        out->cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        out->open_fds_max = limit.rlim_cur;
    }
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%llu %llu", &virtual_pages, &resident_pages) == 2) {
            out->virtual_bytes = virtual_pages * page_bytes;
            out->resident_bytes = resident_pages * page_bytes;
        }
        fclose(statm);
    }
}
