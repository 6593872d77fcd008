/* Makes flushes slow and clocks wrong, by LD_PRELOAD: a flush waits for as many milliseconds as the
   file FLUSH_DELAY_FILE says, and the time of day is CLOCK_SHIFT seconds off. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd)
{
    const char *name = getenv("FLUSH_DELAY_FILE");
    FILE *file = name ? fopen(name, "r") : NULL;
    int milliseconds = 0;

    if (file) {
        if (fscanf(file, "%d", &milliseconds) != 1)
            milliseconds = 0;
        fclose(file);
    }
    for (; milliseconds > 0; milliseconds -= 100)
        usleep(100000);
    return syscall(SYS_fdatasync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);
    const char *shift = getenv("CLOCK_SHIFT");

    if (result == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += atoi(shift);
    return result;
}
