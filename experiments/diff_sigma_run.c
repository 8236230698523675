/* diff_sigma_run.c: the held-out corpus through the model, for sigma. */
#include "experiments/diff.h"

typedef struct Pass {
    Diff *s;
    DiffSigma *sigma;
    TokenBlock block;
} Pass;

static int on_point(void *user, size_t point, View rows, Error *e)
{
    Pass *p = user;
    (void)e;
    diff_sigma_add(p->sigma, point, &p->block, rows);
    return STATUS_OK;
}

int diff_corpus_run(Diff *s, Error *e)
{
    const DiffCorpus *c = &s->corpus;
    DiffSigmaShape shape = {.n_points = s->n_points, .d = s->d, .rotations = s->controls ? &s->rotations : NULL};
    Pass p = {.s = s};
    DiffBlock block = {0}; /* the windows have their BOS */
    int status = diff_sigma_open(&shape, s->bench.session.pool, s->bench.common->seed, &p.sigma, e);
    size_t most = status ? 0 : diff_runner_block_rows(&s->runner);
    s->runner.user = &p;
    s->runner.on_point = on_point;
    for (size_t w = 0; !status && w < c->n_windows;) {
        diff_block_clear(&block);
        for (; w < c->n_windows; w++) {
            size_t n = c->start[w + 1] - c->start[w];
            if (block.n_windows && block.n_rows + n > most)
                break;
            diff_block_whole(&block, c->ids + c->start[w], n);
        }
        p.block = diff_block_tokens(&block);
        status = diff_runner_block(&s->runner, &block, e);
        diff_step_progress(s, (double)block.n_rows);
    }
    if (!status)
        status = diff_sigma_finish(p.sigma, &s->sigma, e);
    diff_sigma_close(p.sigma);
    diff_block_free(&block);
    return status;
}
