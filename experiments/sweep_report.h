/* sweep_report.h: what a sweep shows when it is done: the table of the layers that matter most and least, the figures, the next
 * command to type. */
#ifndef STRATA_EXPERIMENTS_SWEEP_REPORT_H
#define STRATA_EXPERIMENTS_SWEEP_REPORT_H

#include "experiments/results.h"
#include "experiments/sweep.h"

int sweep_report(Sweep *s, const ResultsInput *in, const Results *results, Error *e);

#endif
