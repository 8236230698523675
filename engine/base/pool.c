/* pool.c: the thread pool. A run is published by raising `generation`; a worker that has just worked watches it for a short
 * time (a layer calls the pool every few tens of microseconds, and waking a sleeper costs as much), then sleeps on a
 * condition variable, so that an idle pool costs nothing. The caller waits for the end in the same two steps.
 *
 * Sleeping is announced before the counter is looked at again, and the counter is raised before the announcements are
 * looked at (sequentially consistent): either the sleeper sees the new value or the other side sees the sleeper. */
#include "engine/base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_THREADS = 1024,
    STACK_BYTES = 4 << 20, /* tasks may hold tiles on the stack; some C libraries start threads with 128 KiB */
    WATCH_NS = 50000,      /* about what going to sleep and being woken costs */
};

typedef struct Worker {
    Pool *pool;
    pthread_t thread;
    int index;
} Worker;

struct Pool {
    int n_threads, n_started;
    bool watch; /* false when there are more threads than processors: watching would take time from those that work */
    Worker *workers;
    pthread_mutex_t mutex;
    pthread_cond_t start, finish;
    PoolTask fn;
    void *arg;
    size_t n_tasks;
    _Alignas(64) atomic_uint generation;
    _Alignas(64) atomic_int n_working;
    _Alignas(64) atomic_int n_sleeping;
    atomic_bool caller_sleeps, closing;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void work(Pool *p, int thread)
{
    for (size_t task = (size_t)thread; task < p->n_tasks; task += (size_t)p->n_threads)
        p->fn(p->arg, task, thread);
}

static void wait_for_start(Pool *p, unsigned seen)
{
    if (p->watch) {
        int64_t until = now_ns() + WATCH_NS;
        do {
            for (int i = 0; i < 32; i++) {
                if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen)
                    return;
                relax();
            }
        } while (now_ns() < until);
    }
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->n_sleeping, 1);
    while (atomic_load(&p->generation) == seen)
        pthread_cond_wait(&p->start, &p->mutex);
    atomic_fetch_sub(&p->n_sleeping, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void wait_for_finish(Pool *p)
{
    if (p->watch) {
        int64_t until = now_ns() + WATCH_NS;
        do {
            for (int i = 0; i < 32; i++) {
                if (atomic_load_explicit(&p->n_working, memory_order_acquire) == 0)
                    return;
                relax();
            }
        } while (now_ns() < until);
    }
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->n_working) != 0)
        pthread_cond_wait(&p->finish, &p->mutex);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg)
{
    Worker *w = arg;
    Pool *p = w->pool;
    for (unsigned seen = 0;; seen++) { /* the caller waits for every worker, so none can miss a generation */
        wait_for_start(p, seen);
        if (atomic_load(&p->closing))
            return NULL;
        work(p, w->index);
        if (atomic_fetch_sub(&p->n_working, 1) == 1 && atomic_load(&p->caller_sleeps)) {
            pthread_mutex_lock(&p->mutex);
            pthread_cond_signal(&p->finish);
            pthread_mutex_unlock(&p->mutex);
        }
    }
}

static void raise_generation(Pool *p)
{
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->n_sleeping) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->start);
        pthread_mutex_unlock(&p->mutex);
    }
}

/* Signals go to the thread that called us: workers block them all. */
static int start_workers(Pool *p)
{
    sigset_t all, before;
    pthread_attr_t attr;
    int error = pthread_attr_init(&attr);
    if (error)
        return error;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < p->n_threads && !error; i++) {
        Worker *w = &p->workers[i];
        *w = (Worker){.pool = p, .index = i};
        error = pthread_create(&w->thread, &attr, worker_main, w);
        if (!error)
            p->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return error;
}

int pool_open(int n_threads, Pool **out, Error *e)
{
    *out = NULL;
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return error_set(e, STATUS_USAGE, "threads: expected 0 to %d, found %d", MAX_THREADS, n_threads);
    int n_processors = pool_default_threads();
    if (n_threads == 0)
        n_threads = n_processors;
    Pool *p = NULL;
    if (posix_memalign((void **)&p, _Alignof(Pool), sizeof *p) != 0)
        return error_set(e, STATUS_FAILED, "thread pool: out of memory");
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads;
    p->watch = n_threads <= n_processors;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->finish, NULL);
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    if (!p->workers) {
        pool_close(p);
        return error_set(e, STATUS_FAILED, "thread pool: out of memory");
    }
    int error = start_workers(p);
    if (error) {
        int n_started = p->n_started + 1;
        pool_close(p);
        return error_set(e, STATUS_FAILED, "thread pool: expected %d threads, the system gave %d: %s", n_threads, n_started,
                         strerror(error));
    }
    *out = p;
    return STATUS_OK;
}

void pool_close(Pool *p)
{
    if (!p)
        return;
    atomic_store(&p->closing, true);
    raise_generation(p);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->finish);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->mutex);
    free(p->workers);
    free(p);
}

int pool_threads(const Pool *p)
{
    return p->n_threads;
}

void pool_run(Pool *p, PoolTask fn, void *arg, size_t n_tasks)
{
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (size_t task = 0; task < n_tasks; task++)
            fn(arg, task, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store(&p->n_working, p->n_threads - 1);
    raise_generation(p);
    work(p, 0);
    wait_for_finish(p);
}

void pool_split(size_t total, size_t grain, size_t n, size_t i, size_t *begin, size_t *end)
{
    size_t units = total / grain + (total % grain != 0);
    size_t each = units / n, more = units % n; /* the first `more` pieces have one unit more */
    size_t first = i * each + (i < more ? i : more);
    size_t last = first + each + (i < more);
    *begin = first < units ? first * grain : total;
    *end = last < units ? last * grain : total;
}

#ifdef __linux__

/* First line of a small file; false when it cannot be read. */
static bool first_line(const char *path, char *line, int line_bytes)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(line, line_bytes, f) != NULL;
    fclose(f);
    return ok;
}

/* Processors a quota of one cgroup folder allows, rounded up; 0 when it sets none. */
static int quota_of(const char *folder, bool v2)
{
    char path[4608], line[128];
    double quota = -1, period = 0;
    if (v2) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        if (!first_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
            return 0; /* "max 100000": no limit */
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        if (!first_line(path, line, sizeof line) || sscanf(line, "%lf", &quota) != 1)
            return 0;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        if (!first_line(path, line, sizeof line) || sscanf(line, "%lf", &period) != 1)
            return 0;
    }
    if (!(quota > 0) || !(period > 0) || quota / period >= MAX_THREADS)
        return 0;
    int n = (int)(quota / period);
    return quota > n * period ? n + 1 : n;
}

static int lower(int a, int b)
{
    return b > 0 && b < a ? b : a;
}

/* Every folder from our cgroup up to the root may set a quota. Inside a container the path may be that of the host and not
 * be there; the root of the mount is then our own. */
static int limit_by_cgroup(int n)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return n;
    char line[4096];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        bool v2 = *controllers == '\0';
        if (!v2 && strcmp(controllers, "cpu") != 0 && strncmp(controllers, "cpu,", 4) != 0 && !strstr(controllers, ",cpu"))
            continue;
        const char *mount = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        for (;;) {
            char folder[4352];
            snprintf(folder, sizeof folder, "%s%s", mount, path);
            n = lower(n, quota_of(folder, v2));
            char *slash = strrchr(path, '/');
            if (!slash)
                break;
            *slash = '\0';
        }
    }
    fclose(f);
    return n;
}

static int processors_by_affinity(void)
{
    for (int n_cpus = 1024; n_cpus <= 1 << 20; n_cpus *= 4) { /* the set must be at least as large as the kernel's */
        cpu_set_t *set = CPU_ALLOC((size_t)n_cpus);
        if (!set)
            return 0;
        size_t bytes = CPU_ALLOC_SIZE((size_t)n_cpus);
        int status = sched_getaffinity(0, bytes, set);
        int n = status == 0 ? CPU_COUNT_S(bytes, set) : 0;
        bool too_small = status != 0 && errno == EINVAL;
        CPU_FREE(set);
        if (!too_small)
            return n;
    }
    return 0;
}

#else

static int limit_by_cgroup(int n)
{
    return n;
}

static int processors_by_affinity(void)
{
    return 0;
}

#endif

int pool_default_threads(void)
{
    int n = processors_by_affinity();
    if (n <= 0)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (n <= 0)
        n = 1;
    if (n > MAX_THREADS)
        n = MAX_THREADS;
    return limit_by_cgroup(n);
}
