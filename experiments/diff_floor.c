/* diff_floor.c: what may be called a difference at all. A sample of pairs runs again: with each sentence computed whole (is the shared
 * prefix free of effect?), each pair alone (does the shape of the batch matter?), and in ref64 (what does f32 know?). What is kept
 * is by how much x_b - x_a differs from that of the first run, at every position from the edit on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/diff_sample.h"

enum { DEFAULT_PAIRS = 8 };
static const double MOST_PARAMETERS = 3e9; /* ref64 widens every weight to f64 */

typedef struct Pass {
    const Diff *s;
    DiffSample *sample;
    double *first; /* [n_points, positions, D] of the first run */
    size_t n_positions, begin, n;
    DiffFloor *floor; /* NULL: the first run */
    double *count;    /* [n_points] */
} Pass;

static double element(const View *v, size_t row, size_t col)
{
    return v->dtype == DTYPE_F64 ? ((const double *)v->data)[row * v->ld + col]
                                 : (double)((const float *)v->data)[row * v->ld + col];
}

static int on_point(void *user, size_t point, View rows, Error *e)
{
    Pass *p = user;
    size_t d = p->s->d, at = 0;
    (void)e;
    for (size_t i = 0; i < p->begin; i++)
        at += p->sample->items[i].n;
    for (size_t i = p->begin; i < p->begin + p->n; i++) {
        const DiffItem *item = &p->sample->items[i];
        for (size_t r = 0; r < item->n; r++, at++) {
            double *first = p->first + (point * p->n_positions + at) * d;
            for (size_t j = 0; j < d; j++) {
                double x = element(&rows, item->b + r, j) - element(&rows, item->a + r, j);
                if (!p->floor) {
                    first[j] = x;
                    continue;
                }
                double error = fabs(x - first[j]);
                p->floor->most[point] = error <= p->floor->most[point] ? p->floor->most[point] : error; /* NaN stays */
                p->floor->rms[point] += error * error;
                p->count[point]++;
            }
        }
    }
    return STATUS_OK;
}

/* One way to compute the sample; step: pairs a block. */
static int run_way(Pass *p, const Session *session, DiffFloor *floor, size_t n_pairs, size_t step, bool shared, Error *e)
{
    const Diff *s = p->s;
    DiffRunner runner = {
        .bench = &s->bench, .session = session, .order = &s->order, .tap = s->tap, .user = p, .on_point = on_point};
    DiffRunnerSizes sizes = {.longest_window = p->sample->longest,
                             .longest_family = 4 * p->sample->longest,
                             .total_rows = p->sample->rows,
                             .final_norm = true};
    p->floor = floor;
    int status = diff_runner_open(&runner, &sizes, e);
    size_t most = status ? 0 : diff_runner_block_rows(&runner);
    while (step > 1 && step * 2 * p->sample->longest > most)
        step--;
    for (p->begin = 0; !status && p->begin < n_pairs; p->begin += p->n) {
        p->n = n_pairs - p->begin < step ? n_pairs - p->begin : step;
        diff_sample_fill(p->sample, p->begin, p->n, false, shared);
        status = diff_runner_block(&runner, &p->sample->block, e);
    }
    diff_runner_close(&runner);
    for (size_t i = 0; !status && floor && i < s->n_points; i++)
        floor->rms[i] = sqrt(floor->rms[i] / p->count[i]);
    if (floor)
        floor->n_pairs = status ? 0 : n_pairs;
    return status;
}

static int open_floor(Diff *s, DiffFloor *f, double *count, Error *e)
{
    f->most = arena_array(&s->arena, 2 * s->n_points, sizeof *f->most);
    if (!f->most)
        return error_set(e, STATUS_FAILED, "diff: out of memory");
    f->rms = f->most + s->n_points;
    for (size_t i = 0; i < s->n_points; i++)
        count[i] = 0;
    return STATUS_OK;
}

static int run_ref64(Diff *s, Pass *p, Error *e)
{
    const Workbench *b = &s->bench;
    SessionOptions so = {.device = "cpu",
                         .numerics = "ref64",
                         .dtype = "f32",
                         .threads = pool_threads(b->session.pool),
                         .memory_bytes = b->session.ops->host_memory ? b->session.memory_bytes : 0,
                         .rope = b->session.rope};
    Session ref = {0};
    size_t n = (p->sample->n + 1) / 2;
    if (strcmp(b->numerics, "ref64") == 0 || (double)model_parameters(&b->model) > MOST_PARAMETERS)
        return STATUS_OK;
    int status = session_open(&b->model, &so, &ref, e);
    if (!status)
        status = open_floor(s, &s->floors[DIFF_FLOOR_REF64], p->count, e);
    if (!status)
        status = run_way(p, &ref, &s->floors[DIFF_FLOOR_REF64], n, n, true, e);
    session_close(&ref);
    return status;
}

int diff_floor_run(Diff *s, Error *e)
{
    DiffSample sample;
    size_t wanted = s->options->floor_pairs ? (size_t)s->options->floor_pairs : DEFAULT_PAIRS;
    int status = diff_sample_open(s, SIZE_MAX, wanted, false, &sample, e);
    if (status)
        return status;
    Pass p = {.s = s, .sample = &sample};
    for (size_t i = 0; i < sample.n; i++)
        p.n_positions += sample.pairs[i]->n_ids - sample.pairs[i]->edit_index;
    p.first = malloc(s->n_points * p.n_positions * s->d * sizeof *p.first);
    p.count = malloc(s->n_points * sizeof *p.count);
    if (!p.first || !p.count)
        status = error_set(e, STATUS_FAILED, "diff: out of memory for the sample of %zu pairs", sample.n);
    const Session *same = &s->bench.session;
    if (!status)
        status = run_way(&p, same, NULL, sample.n, sample.n, true, e);
    if (!status)
        status = open_floor(s, &s->floors[DIFF_FLOOR_PREFIX], p.count, e);
    if (!status)
        status = run_way(&p, same, &s->floors[DIFF_FLOOR_PREFIX], sample.n, sample.n, false, e);
    if (!status)
        status = open_floor(s, &s->floors[DIFF_FLOOR_SHAPE], p.count, e);
    if (!status)
        status = run_way(&p, same, &s->floors[DIFF_FLOOR_SHAPE], sample.n, 1, true, e);
    if (!status)
        status = run_ref64(s, &p, e);
    free(p.first);
    free(p.count);
    diff_sample_close(&sample);
    return status;
}
