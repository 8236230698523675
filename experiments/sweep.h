/* sweep.h: the state of one sweep, shared by its story (sweep.c), its loop (sweep_run.c), its protocols side by
 * side (sweep_protocols.c) and its report (sweep_report.c). */
#ifndef STRATA_EXPERIMENTS_SWEEP_H
#define STRATA_EXPERIMENTS_SWEEP_H

#include "engine/ledger.h"
#include "engine/run.h"
#include "experiments/greedy.h"
#include "experiments/influence.h"
#include "experiments/influence_tap.h"
#include "experiments/results.h"
#include "experiments/run_record.h"
#include "experiments/shard.h"
#include "experiments/workbench.h"
#include "loaders/dataset.h"
#include "loaders/windows.h"

typedef struct Sweep {
    const StrataSweepOptions *options;
    const char *protocol, *split, *output_dir, *experiment;
    WindowProtocol window_protocol;
    uint64_t max_samples;
    bool naive;

    Workbench bench;
    Dataset data;
    Windows windows; /* all of them */
    Shard shard;
    Windows slice;                  /* the shard's, or zeroed */
    const Windows *part;            /* what this process evaluates: &windows or &slice */
    const struct MergeInput *merge; /* NULL: evaluate; else take the records from finished shards */
    OrderSet orders;                /* of the stage at hand; at the end all rows of the ledger */
    size_t n_stages;                /* 1; of greedy:N, N */
    GreedyPath greedy;              /* zeroed unless greedy:N */
    StrBuf dir;
    RunRecord *record;

    RunSizes sizes;
    WindowBlocks blocks;
    Run *run;
    Ledger *ledger;
    InfluenceFile *influence;
    size_t first_block;                            /* where this process began, counted over the stages */
    ResultsCounters counters;                      /* of all stages that were opened, whichever process computed them */
    double seconds, flops, tokens, variant_tokens; /* of this process */
    double flops_total;                            /* of the whole job; an estimate while a greedy path is not known */
} Sweep;

int sweep_open_windows(Sweep *s, WindowProtocol protocol, bool bos, Windows *out, Error *e);

size_t sweep_n_orders(const Sweep *s); /* rows of the ledger */
/* Chooses sizes and blocks (those of an earlier run in this folder where there is one) and opens the run of the first stage. */
int sweep_plan(Sweep *s, Error *e);
int sweep_print_estimate(Sweep *s, const ResultsInput *in, Error *e); /* time, memory and disk, to stderr */
/* Opens ledger and influence sums of the folder for these blocks; first_block says where to go on. */
int sweep_open_ledger(Sweep *s, size_t n_blocks, const size_t *block_tokens, Error *e);
int sweep_run(Sweep *s, Error *e);   /* all blocks that are still to be done, to the finished ledger */
int sweep_story(Sweep *s, Error *e); /* from options to figures; sweep_close follows in any case */
void sweep_stamp_timing(Sweep *s);
void sweep_close(Sweep *s);

/* --protocol all: the baseline under every convention, side by side. */
int sweep_all_protocols(Sweep *s, Error *e);

#endif
