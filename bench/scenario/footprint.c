#include "bench/scenario/footprint.h"

#include "bench/crew/crew.h"
#include "bench/scenario/scenario_kinds.h"
#include "core/io/sys.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 8192 };

uint64_t footprint_kernel_bytes(void)
{
    static const char *const keys[] = {"\nSlab:", "\nKernelStack:"};
    char text[TEXT_BYTES];
    size_t count;
    uint64_t bytes = 0;

    if (sys_read_file("/proc/meminfo", text, sizeof(text) - 1, &count) != OK) {
        return 0;
    }
    text[count] = '\0';
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *at = strstr(text, keys[i]);
        if (at == NULL) {
            return 0;
        }
        bytes += strtoull(at + strlen(keys[i]), NULL, 10) * 1024;
    }
    return bytes;
}

/* The broker is on this machine, so that its sockets are among those of our kernel. */
static bool is_here(const struct scenario_options *options)
{
    return options->broker_pid > 0 || address_is_loopback(&options->load.to);
}

void footprint_before(const struct scenario_options *options, bool is_of_connections,
                      struct report *report)
{
    report->is_same_machine = is_here(options);
    report->has_target = scenario_sample(options, &report->target_before);
    if (is_of_connections && report->is_same_machine && crew_measures(options->crew)) {
        report->kernel_bytes_before = footprint_kernel_bytes();
    }
}

void footprint_after(const struct scenario_options *options, struct report *report)
{
    report->has_target = report->has_target && scenario_sample(options, &report->target_after);
    if (report->kernel_bytes_before > 0) {
        report->kernel_bytes_after = footprint_kernel_bytes();
    }
}
