/* sweep_options.h: the options of a sweep that was run, from its folder's run.json: who takes its records up again (merge, audit) finds
 * model and rows by them. */
#ifndef STRATA_EXPERIMENTS_SWEEP_OPTIONS_H
#define STRATA_EXPERIMENTS_SWEEP_OPTIONS_H

#include "engine/base/json.h"
#include "engine/base/strbuf.h"
#include "experiments/studies.h"

/* DIR/run.json into text, parsed into the arena; a run that is not complete is an error. */
int sweep_options_open(const char *dir, StrBuf *text, Arena *arena, const JsonValue **run, Error *e);
/* given: what goes before it: out, quiet, json, memory, threads, stop, a model found elsewhere. Strings live as long as the arena. */
int sweep_options_read(const JsonValue *run, const char *dir, const StrataCommon *given, StrataSweepOptions *out, Error *e);

#endif
