/* pool.h: the one thread pool. Work is cut into n_tasks numbered pieces by the caller (a fixed partition: results never
 * depend on which thread ran a piece); thread t runs pieces t, t + n_threads, ... The calling thread is thread 0. */
#ifndef STRATA_BASE_POOL_H
#define STRATA_BASE_POOL_H

#include <stddef.h>

#include "engine/base/error.h"

typedef struct Pool Pool;
typedef void (*PoolTask)(void *arg, size_t task, int thread);

/* n_threads 0: one per processor this process may run on (affinity and cgroup quota respected). */
int pool_open(int n_threads, Pool **out, Error *e);
void pool_close(Pool *p);
int pool_threads(const Pool *p);
int pool_default_threads(void);
void pool_run(Pool *p, PoolTask fn, void *arg, size_t n_tasks); /* returns when all pieces are done */

/* Piece i of n of [0, total) in units of `grain`: begin and end, the fixed partition. */
void pool_split(size_t total, size_t grain, size_t n, size_t i, size_t *begin, size_t *end);

#endif
