/* sweep.h: the state of one sweep, shared by its story (sweep.c), its loop (sweep_run.c), its protocols side by
 * side (sweep_protocols.c) and its report (sweep_report.c). */
#ifndef STRATA_EXPERIMENTS_SWEEP_H
#define STRATA_EXPERIMENTS_SWEEP_H

#include "engine/ledger.h"
#include "engine/run.h"
#include "experiments/influence.h"
#include "experiments/influence_tap.h"
#include "experiments/results.h"
#include "experiments/run_record.h"
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
    Windows windows;
    OrderSet orders;
    StrBuf dir;
    RunRecord *record;

    RunSizes sizes;
    WindowBlocks blocks;
    Run *run;
    Ledger *ledger;
    InfluenceFile *influence;
    size_t first_block;          /* where this process began */
    double seconds, flops_total; /* of this process; of the whole job */
} Sweep;

int sweep_open_windows(Sweep *s, WindowProtocol protocol, bool bos, Windows *out, Error *e);

/* Chooses sizes and blocks (those of an earlier run in this folder where there is one) and opens the run. */
int sweep_plan(Sweep *s, bool has_earlier, Error *e);
int sweep_print_estimate(Sweep *s, Error *e); /* time, memory and disk, to stderr */
int sweep_run(Sweep *s, Error *e);            /* all blocks that are still to be done, to the finished ledger */
ResultsCounters sweep_counters(const Sweep *s);
void sweep_stamp_timing(Sweep *s);
void sweep_close(Sweep *s);

/* --protocol all: the baseline under every convention, side by side. */
int sweep_all_protocols(Sweep *s, Error *e);

#endif
