/* diff_ablate.c: cause. In each category that claims something, claimed dimensions of the point with the most claims (an eighth of all
 * dimensions at most, those with the smallest bounds) are set to their mean over the held-out corpus at all positions from the edit on, in
 * both sentences; and, for comparison, 19 times as many random other dimensions of the same standard deviation (each drawn among the 33
 * nearest by rank; PCG64, stream 24). Outcomes: the area under the difference curve behind that point, over the dimensions that were left
 * alone, against the same dimensions in the intact model (that the ones held differ no more is arithmetic, no finding); and the loss of
 * the tokens behind the edit. Whether the claimed set stands out among the random ones: diff_stats_set_p. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"
#include "experiments/diff_sample.h"

enum { ABLATE_STREAM = 24, DEFAULT_PAIRS = 24, N_SETS = 2 + DIFF_ABLATION_SETS, NEAREST = 16, PAIRS_A_BLOCK = 12 };

typedef struct Pass {
    Diff *s;
    DiffSample *sample;
    DiffRunner runner;
    DiffAblation *out;
    int32_t *sets;   /* [N_SETS, n_dims] */
    uint8_t *inside; /* [N_SETS, D]: of which set; none of the intact one */
    size_t set, first, n;
    double *row;
} Pass;

static int on_stream(void *user, size_t point, View stream, Error *e)
{
    Pass *p = user;
    const Ops *ops = p->s->bench.session.ops;
    OpsContext *ctx = run_get_context(p->runner.run);
    (void)e;
    if (point != p->out->point || p->set == 0)
        return STATUS_OK;
    const int32_t *dims = p->sets + p->set * p->out->n_dims;
    const float *mean = p->s->sigma.mean + point * p->s->d;
    size_t elem = dtype_block_bytes(stream.dtype);
    for (size_t i = p->first; i < p->first + p->n; i++) {
        const DiffItem *item = &p->sample->items[i];
        for (size_t r = 0; r < 2 * item->n; r++) {
            View one = view_rows(stream, r < item->n ? item->a + r : item->b + r - item->n, 1, elem);
            ops->download(ctx, p->row, one);
            for (size_t k = 0; k < p->out->n_dims; k++)
                p->row[dims[k]] = (double)mean[dims[k]];
            ops->upload(ctx, one, p->row);
        }
    }
    return STATUS_OK;
}

static double distance(const View *v, size_t a, size_t b, const uint8_t *inside)
{
    double sum = 0;
    for (size_t j = 0; j < v->cols; j++) {
        double x = v->dtype == DTYPE_F64
                       ? ((const double *)v->data)[a * v->ld + j] - ((const double *)v->data)[b * v->ld + j]
                       : (double)((const float *)v->data)[a * v->ld + j] - (double)((const float *)v->data)[b * v->ld + j];
        sum += inside[j] ? 0 : x * x;
    }
    return sqrt(sum);
}

static int on_point(void *user, size_t point, View rows, Error *e)
{
    Pass *p = user;
    (void)e;
    if (point <= p->out->point || point + 1 == p->s->n_points)
        return STATUS_OK;
    for (size_t i = p->first; i < p->first + p->n; i++) {
        const DiffItem *item = &p->sample->items[i];
        double share = 1 / (double)item->n / (double)p->sample->n;
        for (size_t r = 0; r < item->n; r++) {
            p->out->area[p->set] += share * distance(&rows, item->a + r, item->b + r, p->inside + p->set * rows.cols);
            for (size_t set = 0; p->set == 0 && set < N_SETS; set++)
                p->out->before[set] += share * distance(&rows, item->a + r, item->b + r, p->inside + set * rows.cols);
        }
    }
    return STATUS_OK;
}

/* Mean loss behind the edit: a's window is whole, b's begins at the edit. */
static int on_results(void *user, const HeadResults *results, Error *e)
{
    Pass *p = user;
    (void)e;
    for (size_t i = p->first; i < p->first + p->n; i++) {
        const DiffItem *item = &p->sample->items[i];
        size_t a_at = item->a - p->sample->window_a[i], b_at = item->b - p->sample->window_b[i];
        double a_sum = 0, b_sum = 0, n = (double)(item->n - 1);
        for (size_t r = 0; r + 1 < item->n && a_at + r < results->n && b_at + r < results->n; r++) {
            a_sum += results->nll[a_at + r];
            b_sum += results->nll[b_at + r];
        }
        if (n > 0) {
            p->out->loss_a[p->set] += a_sum / n;
            p->out->loss_b[p->set] += b_sum / n;
            p->out->n_pairs += p->set == 0;
        }
    }
    return STATUS_OK;
}

static const float *sorting; /* qsort has no context argument */

static int by_sigma(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    float x = sorting[i], y = sorting[j];
    return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

/* Random dimensions with about the same sigma as the chosen ones, none of these, none twice. */
static int draw_sets(Pass *p, Error *e)
{
    size_t d = p->s->d, n = p->out->n_dims;
    int32_t *ranked = malloc(2 * d * sizeof *ranked), *rank = ranked + d;
    uint8_t *taken = malloc(d), *claimed = calloc(d, 1);
    Rng rng;
    rng_seed(&rng, p->s->bench.common->seed + p->out->category, ABLATE_STREAM);
    int status = ranked && taken && claimed ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory");
    for (size_t j = 0; !status && j < d; j++)
        ranked[j] = (int32_t)j;
    if (!status) {
        sorting = p->s->sigma.sigma + p->out->point * d;
        qsort(ranked, d, sizeof *ranked, by_sigma);
        for (size_t j = 0; j < d; j++)
            rank[ranked[j]] = (int32_t)j;
        for (size_t k = 0; k < n; k++)
            claimed[p->out->dims[k]] = 1;
    }
    for (size_t set = 1; !status && set < N_SETS; set++) {
        memcpy(taken, claimed, d);
        for (size_t k = 0; k < n; k++) {
            int32_t near[2 * NEAREST + 1], chosen = p->out->dims[k];
            size_t n_near = 0;
            for (long reach = NEAREST; set > 1 && n_near == 0 && reach < (long)(2 * d); reach *= 2) {
                for (long r = rank[chosen] - reach; r <= rank[chosen] + reach && n_near < 2 * NEAREST + 1; r++)
                    if (r >= 0 && r < (long)d && !taken[ranked[r]])
                        near[n_near++] = ranked[r];
            }
            if (n_near)
                chosen = near[rng_below(&rng, n_near)];
            taken[chosen] = 1;
            p->sets[set * n + k] = chosen;
            p->inside[set * d + (size_t)chosen] = 1;
        }
    }
    free(ranked);
    free(taken);
    free(claimed);
    return status;
}

typedef struct Claimed {
    float upper;
    int32_t dim;
} Claimed;

static int by_upper(const void *a, const void *b)
{
    const Claimed *x = a, *y = b;
    return x->upper != y->upper ? (x->upper > y->upper) - (x->upper < y->upper) : (x->dim > y->dim) - (x->dim < y->dim);
}

/* The claims of one (class, point), smallest bound first; returns how many. out [D]. */
static size_t list_claims(const Diff *s, const DiffResult *r, size_t point, Claimed *out)
{
    size_t n = 0;
    for (size_t j = 0; r->n_claims && j < s->d; j++)
        if (diff_is_claim(s, r, point * s->d + j))
            out[n++] = (Claimed){r->upper[point * s->d + j], (int32_t)j};
    qsort(out, n, sizeof *out, by_upper);
    return n;
}

/* Where the category claims most; n_dims 0: nowhere. */
static int find_claims(Diff *s, size_t category, DiffAblation *out, Error *e)
{
    size_t n_most = 0, most = s->d / 8 > 1 ? s->d / 8 : 1;
    *out = (DiffAblation){.category = category};
    Claimed *claims = malloc(s->d * sizeof *claims);
    out->dims = arena_array(&s->arena, most, sizeof *out->dims);
    if (!claims || !out->dims) {
        free(claims);
        return error_set(e, STATUS_FAILED, "diff: out of memory");
    }
    for (int class = 0; class < DIFF_N_CLASSES; class ++) {
        for (size_t point = 1; point + 2 < s->n_points; point++) { /* the last point has nothing behind it */
            size_t n = list_claims(s, &s->outcomes[category].at[class], point, claims);
            if (n <= n_most)
                continue;
            n_most = n;
            out->n_claims = n;
            out->n_dims = n < most ? n : most;
            out->point = point;
            out->class = (DiffClass) class;
            for (size_t k = 0; k < out->n_dims; k++)
                out->dims[k] = claims[k].dim;
        }
    }
    free(claims);
    return STATUS_OK;
}

static void judge(DiffAblation *a)
{
    double area[1 + DIFF_ABLATION_SETS], loss[1 + DIFF_ABLATION_SETS];
    for (size_t k = 0; k < 1 + DIFF_ABLATION_SETS; k++) {
        area[k] = a->area[1 + k] / a->before[1 + k];
        loss[k] = a->loss_b[1 + k] - a->loss_b[0];
    }
    a->p_area = diff_stats_set_p(area[0], area + 1, DIFF_ABLATION_SETS);
    a->p_loss = diff_stats_set_p(loss[0], loss + 1, DIFF_ABLATION_SETS);
}

static int ablate_category(Diff *s, DiffAblation *out, Error *e)
{
    DiffSample sample;
    size_t wanted = s->options->ablation_pairs ? (size_t)s->options->ablation_pairs : DEFAULT_PAIRS;
    int status = diff_sample_open(s, out->category, wanted, true, &sample, e);
    if (status)
        return status;
    Pass p = {.s = s, .sample = &sample, .out = out};
    p.runner = (DiffRunner){.bench = &s->bench,
                            .session = &s->bench.session,
                            .order = &s->order,
                            .tap = s->tap,
                            .user = &p,
                            .on_point = on_point,
                            .on_stream = on_stream,
                            .on_results = on_results};
    DiffRunnerSizes sizes = {.longest_window = sample.longest,
                             .longest_family = 2 * sample.longest,
                             .total_rows = PAIRS_A_BLOCK * 2 * sample.longest,
                             .head = true};
    p.sets = calloc(N_SETS * out->n_dims, sizeof *p.sets);
    p.inside = calloc(N_SETS, s->d);
    p.row = malloc(s->d * sizeof *p.row);
    status = p.sets && p.inside && p.row ? draw_sets(&p, e) : error_set(e, STATUS_FAILED, "diff: out of memory");
    if (!status)
        status = diff_runner_open(&p.runner, &sizes, e);
    size_t step = PAIRS_A_BLOCK, most = status ? 0 : diff_runner_block_rows(&p.runner);
    while (step > 1 && step * 2 * sample.longest > most)
        step--;
    for (p.set = 0; !status && p.set < N_SETS; p.set++) {
        for (p.first = 0; !status && p.first < sample.n; p.first += p.n) {
            p.n = sample.n - p.first < step ? sample.n - p.first : step;
            diff_sample_fill(&sample, p.first, p.n, false, true);
            status = diff_runner_block(&p.runner, &sample.block, e);
            diff_step_progress(s, (double)p.n);
        }
    }
    for (size_t set = 0; set < N_SETS; set++) {
        out->loss_a[set] /= out->n_pairs ? (double)out->n_pairs : NAN;
        out->loss_b[set] /= out->n_pairs ? (double)out->n_pairs : NAN;
    }
    judge(out);
    diff_runner_close(&p.runner);
    free(p.sets);
    free(p.inside);
    free(p.row);
    diff_sample_close(&sample);
    return status;
}

int diff_ablation_run(Diff *s, Error *e)
{
    size_t wanted = s->options->ablation_pairs ? (size_t)s->options->ablation_pairs : DEFAULT_PAIRS;
    int status = STATUS_OK;
    s->ablations = arena_array(&s->arena, s->categories.n, sizeof *s->ablations);
    if (!s->ablations)
        return error_set(e, STATUS_FAILED, "diff: out of memory");
    if (s->tap != DIFF_TAP_RESID) /* a branch is not what later layers read */
        return STATUS_OK;
    for (size_t c = 0; !status && c < s->categories.n; c++) {
        status = find_claims(s, c, &s->ablations[s->n_ablations], e);
        s->n_ablations += s->ablations[s->n_ablations].n_dims > 0;
    }
    s->rows_done = 0;
    progress_begin(&s->progress, "ablation", "pairs", (double)(s->n_ablations * N_SETS * wanted), 0, s->bench.common->quiet);
    for (size_t i = 0; !status && i < s->n_ablations; i++)
        status = ablate_category(s, &s->ablations[i], e);
    progress_end(&s->progress);
    return status;
}
