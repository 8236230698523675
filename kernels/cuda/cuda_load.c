/* cuda_load.c: finding and opening libstrata_cuda.so (see cuda_entry.h). The program itself is linked to nothing of CUDA, so that it
 * starts where there is none. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cuda/cuda_entry.h"

/* Opening a library again gives the same handle; it stays open as long as the process lives. */
static const CudaEntry *open_library(const char *path, Error *e)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        error_set(e, STATUS_FAILED, "%s%s", why,
                  strstr(why, "libcublasLt") ? " (cuBLAS of this CUDA release; LD_LIBRARY_PATH may name its folder)" : "");
        return NULL;
    }
    void *symbol = dlsym(library, CUDA_ENTRY_NAME);
    CudaEntryFunction entry;
    memcpy(&entry, &symbol, sizeof entry);
    const CudaEntry *found = symbol ? entry(cuda_entry_abi()) : NULL;
    if (!found)
        error_set(e, STATUS_FAILED, "%s belongs to another build of strata: make CUDA=1 builds it anew", path);
    return found;
}

const CudaEntry *cuda_load(Error *e)
{
    const char *named = getenv("STRATA_CUDA_LIB");
    if (named && named[0])
        return open_library(named, e);
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!driver) { /* told before some hundred megabytes of cuBLAS are read in */
        error_set(e, STATUS_FAILED, "no GPU: this machine has no NVIDIA driver (libcuda.so.1)");
        return NULL;
    }
    dlclose(driver);
    char program[PATH_MAX], path[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    static const char *const folders[] = {"", "../lib/"};
    for (size_t i = 0; slash && i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, sizeof path, "%.*s/%s" CUDA_LIBRARY, (int)(slash - program), program, folders[i]);
        if (access(path, F_OK) == 0)
            return open_library(path, e);
    }
    const CudaEntry *found = open_library(CUDA_LIBRARY, e);
    if (!found)
        error_prefix(e, STATUS_FAILED,
                     "no GPU: " CUDA_LIBRARY
                     " is neither beside the program nor in ../lib (make CUDA=1 builds it, STRATA_CUDA_LIB "
                     "names it)");
    return found;
}
