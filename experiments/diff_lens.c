/* diff_lens.c: the logit lens's layer curve: KL(a || b), in nats, between what final norm and head read off the stream of either
 * sentence at each point; at the edited, the next and the last token, for a sample of each category's pairs and their controls. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/diff_sample.h"

enum {
    DEFAULT_PAIRS = 16,
    PAIRS_A_BLOCK = 8,
    N_LENS_CLASSES = 3,
    N_SIDES = 3
}; /* classes edited, next, last; sides a, b, control */

typedef struct Pass {
    Diff *s;
    DiffSample sample;
    DiffRunner runner;
    size_t first, n; /* pairs in the block */
    double *rows;    /* [L + 1, n, N_LENS_CLASSES, N_SIDES, D] */
    double *logits;  /* [n * N_LENS_CLASSES * N_SIDES, V] */
    double *kl;      /* [n, N_LENS_CLASSES, 2] */
    double *sums;    /* [N_LENS_CLASSES, L + 1, 2] */
    size_t count[N_LENS_CLASSES];
} Pass;

static size_t rows_a_point(const Pass *p)
{
    return p->n * N_LENS_CLASSES * N_SIDES;
}

static int on_point(void *user, size_t point, View rows, Error *e)
{
    Pass *p = user;
    size_t d = p->s->d;
    (void)e;
    if (point + 1 == p->s->n_points)
        return STATUS_OK;
    double *to = p->rows + point * rows_a_point(p) * d;
    for (size_t i = 0; i < p->n; i++) {
        const DiffItem *item = &p->sample.items[p->first + i];
        const size_t sides[N_SIDES] = {item->a, item->b, item->c};
        for (size_t class = 0; class < N_LENS_CLASSES; class ++) {
            size_t r = item->at[class] == DIFF_NO_ROW ? 0 : (size_t)item->at[class];
            for (size_t side = 0; side < N_SIDES; side++, to += d) {
                const View *v = &rows;
                for (size_t j = 0; j < d; j++)
                    to[j] = v->dtype == DTYPE_F64 ? ((const double *)v->data)[(sides[side] + r) * v->ld + j]
                                                  : (double)((const float *)v->data)[(sides[side] + r) * v->ld + j];
            }
        }
    }
    return STATUS_OK;
}

static double log_sum_exp(const double *z, size_t n)
{
    double most = z[0], sum = 0;
    for (size_t v = 1; v < n; v++)
        most = z[v] > most ? z[v] : most;
    for (size_t v = 0; v < n; v++)
        sum += exp(z[v] - most);
    /* cppcheck-suppress invalidFunctionArg ; the largest logit adds 1 to the sum */
    return most + log(sum);
}

/* KL of both variants against a, of one (pair, class). */
static void one_divergence(void *arg, size_t task, int thread)
{
    const Pass *p = arg;
    size_t vocab = p->s->bench.model.traits.vocab;
    const double *a = p->logits + task * N_SIDES * vocab;
    double lse_a = log_sum_exp(a, vocab);
    (void)thread;
    for (size_t side = 1; side < N_SIDES; side++) {
        const double *b = a + side * vocab;
        double lse_b = log_sum_exp(b, vocab), kl = 0;
        for (size_t v = 0; v < vocab; v++)
            kl += exp(a[v] - lse_a) * (a[v] - lse_a - b[v] + lse_b);
        p->kl[task * 2 + side - 1] = kl;
    }
}

static int run_one_block(Pass *p, Error *e)
{
    const Diff *s = p->s;
    diff_sample_fill(&p->sample, p->first, p->n, true, true);
    int status = diff_runner_block(&p->runner, &p->sample.block, e);
    for (size_t point = 0; !status && point + 1 < s->n_points; point++) {
        status = run_logits(p->runner.run, p->rows + point * rows_a_point(p) * s->d, rows_a_point(p), p->logits, e);
        if (status)
            break;
        pool_run(s->bench.session.pool, one_divergence, p, p->n * N_LENS_CLASSES);
        for (size_t i = 0; i < p->n; i++) {
            for (size_t class = 0; class < N_LENS_CLASSES; class ++) {
                if (p->sample.items[p->first + i].at[class] == DIFF_NO_ROW)
                    continue;
                double *to = p->sums + (class * (s->n_points - 1) + point) * 2;
                to[0] += p->kl[(i * N_LENS_CLASSES + class) * 2];
                to[1] += p->kl[(i * N_LENS_CLASSES + class) * 2 + 1];
                p->count[class] += point == 0;
            }
        }
        if (workbench_stopped(&s->bench))
            status = error_set(e, STATUS_INTERRUPTED, "interrupted");
    }
    return status;
}

static int keep(const Pass *p, DiffOutcome *out, Error *e)
{
    Diff *s = p->s;
    size_t n = s->n_points - 1;
    for (size_t class = 0; class < N_LENS_CLASSES; class ++) {
        DiffResult *r = &out->at[class];
        if (p->count[class] == 0)
            continue;
        r->lens = arena_array(&s->arena, 2 * n, sizeof *r->lens);
        if (!r->lens)
            return error_set(e, STATUS_FAILED, "diff: out of memory");
        r->lens_control = r->lens + n;
        r->n_lens = p->count[class];
        for (size_t i = 0; i < n; i++) {
            r->lens[i] = p->sums[(class * n + i) * 2] / (double)r->n_lens;
            r->lens_control[i] = p->sums[(class * n + i) * 2 + 1] / (double)r->n_lens;
        }
    }
    return STATUS_OK;
}

static int run_category(Pass *p, size_t category, size_t wanted, Error *e)
{
    Diff *s = p->s;
    int status = diff_sample_open(s, category, wanted, true, &p->sample, e);
    if (status)
        return status;
    memset(p->sums, 0, N_LENS_CLASSES * (s->n_points - 1) * 2 * sizeof *p->sums);
    memset(p->count, 0, sizeof p->count);
    for (p->first = 0; !status && p->first < p->sample.n; p->first += p->n) {
        p->n = p->sample.n - p->first < PAIRS_A_BLOCK ? p->sample.n - p->first : PAIRS_A_BLOCK;
        status = run_one_block(p, e);
        diff_step_progress(s, (double)p->n);
    }
    if (!status)
        status = keep(p, &s->outcomes[category], e);
    diff_sample_close(&p->sample);
    return status;
}

int diff_lens_run(Diff *s, Error *e)
{
    size_t wanted = s->options->lens_pairs ? (size_t)s->options->lens_pairs : DEFAULT_PAIRS,
           rows = PAIRS_A_BLOCK * N_LENS_CLASSES * N_SIDES;
    size_t vocab = s->bench.model.traits.vocab, longest = 0, n_pairs = 0;
    if (s->tap != DIFF_TAP_RESID) /* a branch's output is no stream */
        return STATUS_OK;
    for (size_t i = 0; i < s->pairs->n_pairs; i++)
        longest = s->pairs->pairs[i].n_ids > longest ? s->pairs->pairs[i].n_ids : longest;
    longest += s->bench.bos;
    for (size_t c = 0; c < s->categories.n; c++)
        n_pairs += s->outcomes[c].n_matched < wanted ? s->outcomes[c].n_matched : wanted;
    Pass p = {.s = s};
    p.runner = (DiffRunner){
        .bench = &s->bench, .session = &s->bench.session, .order = &s->order, .tap = s->tap, .user = &p, .on_point = on_point};
    p.rows = malloc((s->n_points - 1) * rows * s->d * sizeof *p.rows);
    p.logits = malloc(rows * vocab * sizeof *p.logits);
    p.kl = malloc(PAIRS_A_BLOCK * N_LENS_CLASSES * 2 * sizeof *p.kl);
    p.sums = malloc(N_LENS_CLASSES * s->n_points * 2 * sizeof *p.sums);
    DiffRunnerSizes sizes = {.longest_window = longest,
                             .longest_family = 3 * longest,
                             .total_rows = PAIRS_A_BLOCK * 3 * longest,
                             .reserve_bytes = s->bench.session.ops->host_memory
                                                  ? ((s->n_points - 1) * rows * s->d + rows * vocab) * sizeof(double)
                                                  : 0,
                             .head = true};
    int status = p.rows && p.logits && p.kl && p.sums ? STATUS_OK
                                                      : error_set(e, STATUS_FAILED, "diff: out of memory for the logit lens");
    if (!status)
        status = diff_runner_open(&p.runner, &sizes, e);
    s->rows_done = 0;
    progress_begin(&s->progress, "logit lens", "pairs", (double)n_pairs, 0, s->bench.common->quiet);
    for (size_t c = 0; !status && c < s->categories.n; c++)
        status = run_category(&p, c, wanted, e);
    progress_end(&s->progress);
    diff_runner_close(&p.runner);
    free(p.rows);
    free(p.logits);
    free(p.kl);
    free(p.sums);
    return status;
}
