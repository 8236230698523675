/* shard.h: a sweep shared out among processes. A shard is a run of consecutive windows of the whole, about as many tokens as each
 * other's; its ledger holds their tokens alone, with rows and windows numbered as in the whole. It lives in the whole's folder as
 * shard_K_of_N (K from 1); merge.c joins them.
 *
 * Which shard a process is: --shard K/N, else what its launcher says: OMPI_COMM_WORLD_RANK and _SIZE (Open MPI), PMI_RANK and
 * PMI_SIZE (MPICH, Intel MPI, Slurm's PMI), SLURM_PROCID and SLURM_STEP_NUM_TASKS (srun). A launcher of one process means the whole. */
#ifndef STRATA_EXPERIMENTS_SHARD_H
#define STRATA_EXPERIMENTS_SHARD_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/base/strbuf.h"
#include "loaders/windows.h"

typedef struct Shard {
    size_t index, count; /* 1 .. count; count 0: the whole */
} Shard;

enum { SHARD_MAX_COUNT = 100000 };

int shard_find(const char *option, Shard *out, Error *e);
void shard_folder_name(const Shard *s, StrBuf *out); /* "shard_2_of_8", appended */
bool shard_from_folder(const char *name, Shard *out);
/* Windows [first, end) of the shard: those whose first id lies in [total (k-1)/n, total k/n). May be empty. */
void shard_windows(const Shard *s, const Windows *w, size_t *first, size_t *end);

#endif
