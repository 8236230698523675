/* host.h: what this machine has left for us. */
#ifndef STRATA_BASE_HOST_H
#define STRATA_BASE_HOST_H

#include <stddef.h>

/* Bytes of memory a process may still take: min(MemAvailable, what the cgroup limit leaves); 4 GiB when nothing can be read. */
size_t host_memory_available(void);
/* Largest resident set of this process so far, bytes. */
size_t host_peak_resident(void);

#endif
