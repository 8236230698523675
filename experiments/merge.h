/* merge.h: the finished shards of a sweep (shard.h) become the whole. The sweep's own story runs again on what the shards' run.json
 * say, with the shards' records in place of an evaluation: sweep.c calls these at the few places where the two differ. */
#ifndef STRATA_EXPERIMENTS_MERGE_H
#define STRATA_EXPERIMENTS_MERGE_H

#include "experiments/sweep.h"

typedef struct MergeInput MergeInput;

void merge_folder(const MergeInput *m, StrBuf *dir);               /* where the whole goes: the shards' parent; replaces dir */
void merge_trust(const MergeInput *m, RunRecord *record);          /* weights that the shards have hashed are not read again */
int merge_check(const MergeInput *m, RunRecord *record, Error *e); /* every shard is a part of this very run */
int merge_run(const MergeInput *m, Sweep *s, Error *e);            /* to the finished ledger; on error what is done is kept */

#endif
