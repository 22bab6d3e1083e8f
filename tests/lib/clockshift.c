/*
 * clockshift: put before a program, its wall clock is wrong by so many seconds.
 *
 *     LD_PRELOAD=clockshift.so CLOCK_SHIFT_S=-86400 program
 *
 * The monotonic clock is left alone, as it is when somebody sets the time of a machine.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SEEN __attribute__((visibility("default")))

static time_t shift_s;

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("CLOCK_SHIFT_S");
    shift_s = text == NULL ? 0 : (time_t)strtoll(text, NULL, 10);
}

SEEN int clock_gettime(clockid_t clock, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, clock, out);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        out->tv_sec += shift_s;
    }
    return result;
}

SEEN int gettimeofday(struct timeval *out, void *zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

SEEN time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
