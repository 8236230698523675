/* pos.c: Study A, step 2: the change of next-word prediction by part of speech. Everything is read from a finished sweep's
 * ledger.safetensors, rows.jsonl and ppl.json; the model is not run again. */
#include <signal.h>
#include <string.h>

#include "experiments/pos_figure.h"
#include "experiments/pos_results.h"

static int pos_story(const StrataPosOptions *o, PosRun *run, PosWords *words, PosResults *results, Error *e)
{
    CaptionsLang lang;
    int status = captions_lang(o->lang, &lang, e);
    if (!status)
        status = pos_words_build(run, o->gold, words, e);
    if (!status)
        status = pos_results_compute(run, words, o->fine, o->common.stop, results, e);
    if (!status)
        status = pos_words_write(run, words, e);
    if (!status)
        status = pos_results_write(run, words, results, e);
    if (!status)
        status = pos_figure_write(run, words, results, captions_for_figures(lang, o->common.quiet), e);
    return status;
}

int strata_pos(const StrataPosOptions *options, StrataError *e)
{
    StrBuf dir = {0};
    PosRun run = {0};
    PosWords words = {0};
    PosResults results = {0};
    int status = pos_run_find(options, &dir, e);
    if (!status)
        status = pos_run_open(dir.data, &run, e);
    if (!status)
        status = pos_story(options, &run, &words, &results, e);
    pos_results_free(&results);
    pos_words_free(&words);
    pos_run_close(&run);
    strbuf_free(&dir);
    return status;
}
