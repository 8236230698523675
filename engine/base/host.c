/* host.c: memory figures of Linux: /proc/meminfo, cgroup v2 (memory.max, memory.current) and v1, getrusage. */
#include "engine/base/host.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static size_t read_number(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return SIZE_MAX;
    unsigned long long value = 0;
    int n = fscanf(f, "%llu", &value); /* "max" does not match: no limit */
    fclose(f);
    return n == 1 ? (size_t)value : SIZE_MAX;
}

static size_t mem_available(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f)
        return SIZE_MAX;
    char line[256];
    size_t bytes = SIZE_MAX;
    while (fgets(line, sizeof line, f)) {
        unsigned long long kib;
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            bytes = (size_t)kib * 1024;
    }
    fclose(f);
    return bytes;
}

size_t host_memory_available(void)
{
    static const char *const cgroups[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    size_t least = mem_available();
    for (size_t i = 0; i < sizeof cgroups / sizeof cgroups[0]; i++) {
        size_t limit = read_number(cgroups[i][0]), used = read_number(cgroups[i][1]);
        if (limit == SIZE_MAX || used == SIZE_MAX)
            continue;
        size_t left = limit > used ? limit - used : 0;
        least = left < least ? left : least;
    }
    return least == SIZE_MAX ? (size_t)4 << 30 : least;
}

size_t host_peak_resident(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage))
        return 0;
    return (size_t)usage.ru_maxrss * 1024;
}
