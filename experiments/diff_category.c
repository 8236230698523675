/* diff_category.c: all pairs of one category through the model, block by block, everything added up as it comes; then the moments,
 * tests and curves of the category. Nothing per pair stays. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/diff_curves.h"
#include "experiments/diff_save.h"

enum { GATHERED_ROWS = DIFF_BASES_ROWS };

/* One category on its way. */
typedef struct Pass {
    Diff *s;
    const DiffCategory *c;
    DiffOutcome *out;
    size_t n_templates, n_words; /* groups */
    size_t *template_group, *word_group;
    unsigned char *half; /* [n_templates] */
    DiffBlock block;
    DiffItem *items;
    size_t *item_pair; /* index in the category */
    size_t n_items, cap, identical_row;
    DiffComparisons comparisons;
    DiffCurveValues curves;
    double *inverse_sigma;
    DiffBases bases;
    /* Rows wanted on the host, GATHERED_ROWS at most: in the table's memory, and what came of them. */
    void *gathered;
    double *rows; /* [GATHERED_ROWS, D] */
} Pass;

const Pair *diff_pair(const Diff *s, const DiffCategory *c, size_t i)
{
    return &s->pairs->pairs[c->pairs[i]];
}

double diff_category_rows(const Diff *s, const DiffCategory *c)
{
    double rows = 0;
    for (size_t i = 0; i < c->n_pairs; i++) {
        const Pair *p = diff_pair(s, c, i);
        rows += (double)diff_block_family_rows(s->bench.bos, p->n_ids, p->edit_index, 1 + (c->control[i] >= 0));
    }
    return rows;
}

/* Distinct numbers among the pairs with a control that have class `class` (DIFF_ALL: any). */
static size_t count_distinct(const Diff *s, const DiffCategory *c, const size_t *number, size_t n_numbers, DiffClass class)
{
    unsigned char *seen = calloc(n_numbers + 1, 1);
    size_t n = 0;
    for (size_t i = 0; seen && i < c->n_pairs; i++) {
        const Pair *p = diff_pair(s, c, i);
        bool there = class == DIFF_ONSET ? p->onset_index >= 0 : class == DIFF_NEXT ? p->edit_index + 1 < p->n_ids : true;
        if (c->control[i] < 0 || !there || seen[number[i]])
            continue;
        seen[number[i]] = 1;
        n++;
    }
    free(seen);
    return n;
}

/* Groups of templates and of word pairs, and halves. */
static int make_groups(Pass *p, Error *e)
{
    const DiffCategory *c = p->c;
    size_t most = c->n_templates > c->n_words ? c->n_templates : c->n_words;
    double *counts = calloc(most + p->s->groups + 1, sizeof *counts), *group_counts = counts ? counts + most : NULL;
    p->template_group = calloc(c->n_templates + 1, sizeof *p->template_group);
    p->word_group = calloc(c->n_words + 1, sizeof *p->word_group);
    p->half = calloc(p->s->groups + 1, 1);
    int status = STATUS_FAILED;
    if (!counts || !p->template_group || !p->word_group || !p->half) {
        error_set(e, status, "diff: out of memory for %zu clusters", most);
        goto done;
    }
    for (size_t i = 0; i < c->n_pairs; i++)
        counts[c->word_of[i]] += c->control[i] >= 0;
    p->n_words = diff_stats_group(counts, c->n_words, p->s->groups, p->word_group);
    memset(counts, 0, most * sizeof *counts);
    for (size_t i = 0; i < c->n_pairs; i++)
        counts[c->template_of[i]] += c->control[i] >= 0;
    p->n_templates = diff_stats_group(counts, c->n_templates, p->s->groups, p->template_group);
    if (!p->n_words || !p->n_templates) {
        error_set(e, status, "diff: out of memory for %zu clusters", most);
        goto done;
    }
    for (size_t i = 0; i < c->n_templates; i++)
        group_counts[p->template_group[i]] += counts[i];
    status = diff_stats_split(group_counts, p->n_templates, p->s->bench.common->seed, p->half, e);
done:
    free(counts);
    return status;
}

static void put_pair(Pass *p, size_t i)
{
    const Pair *pair = diff_pair(p->s, p->c, i);
    const int32_t *ids = diff_base_ids(pair);
    size_t edit = pair->edit_index, n = pair->n_ids;
    DiffItem *item = &p->items[p->n_items];
    memset(item, 0, sizeof *item);
    item->n = n - edit;
    item->a = diff_block_whole(&p->block, ids, n) + edit;
    item->b = diff_block_variant(&p->block, ids, n, edit, diff_other_token(pair));
    if (p->c->control[i] >= 0) {
        item->has_control = true;
        item->nearness = p->c->nearness[i];
        item->c = diff_block_variant(&p->block, ids, n, edit, p->c->control[i]);
    }
    if (p->n_items == 0) /* the first of a block comes again as it is: the floor of the arithmetic */
        p->identical_row = diff_block_variant(&p->block, ids, n, edit, ids[edit]);
    item->at[DIFF_NEXT] = edit + 1 < n ? 1 : DIFF_NO_ROW;
    item->at[DIFF_LAST] = (int64_t)(n - 1 - edit);
    item->at[DIFF_ONSET] = pair->onset_index >= (int64_t)edit ? pair->onset_index - (int64_t)edit : DIFF_NO_ROW;
    item->template_group = p->template_group[p->c->template_of[i]];
    item->word_group = p->word_group[p->c->word_of[i]];
    item->half = p->half[item->template_group];
    p->item_pair[p->n_items++] = i;
}

/* Listed rows on the host, until the next call. */
static const double *fetch_rows(Pass *p, View rows, const int32_t *list, size_t n)
{
    const Ops *ops = p->s->bench.session.ops;
    OpsContext *ctx = run_get_context(p->s->runner.run);
    View some = {.data = p->gathered, .dtype = rows.dtype, .rows = n, .cols = rows.cols, .ld = rows.cols};
    ops->gather(ctx, some, rows, list);
    ops->download(ctx, p->rows, some);
    return p->rows;
}

static int save_item(Pass *p, size_t point, View rows, size_t i, Error *e)
{
    const DiffItem *item = &p->items[i];
    int32_t list[GATHERED_ROWS];
    int status = STATUS_OK;
    for (size_t first = 0, n; !status && first < item->n; first += n) {
        n = item->n - first < GATHERED_ROWS / 2 ? item->n - first : GATHERED_ROWS / 2;
        for (size_t r = 0; r < n; r++) {
            list[r] = (int32_t)(item->a + first + r);
            list[n + r] = (int32_t)(item->b + first + r);
        }
        const double *got = fetch_rows(p, rows, list, 2 * n);
        status =
            diff_save_rows(p->s->save, p->c->pairs[p->item_pair[i]], point, item->n, first, n, got, got + n * rows.cols, e);
    }
    return status;
}

static void add_curves(Pass *p, size_t point, View rows)
{
    Diff *s = p->s;
    const float *sigma = s->sigma.sigma + point * s->d;
    for (size_t j = 0; j < s->d; j++)
        p->inverse_sigma[j] = sigma[j] > 0 ? 1 / (double)sigma[j] : 0;
    s->bench.session.ops->compare_rows(run_get_context(s->runner.run), p->comparisons.at, rows, p->comparisons.pairs,
                                       p->comparisons.n, p->inverse_sigma);
    diff_curves_of(s->bench.session.pool, &p->comparisons, p->items, p->n_items, s->d, &p->curves);
    diff_sums_add_values(s->curve_sums, point, p->curves.y, p->curves.x, p->curves.shuffled, p->items, p->n_items);
    p->out->identical = pair_most(p->out->identical, diff_comparisons_identical(&p->comparisons, p->n_items));
}

static int on_point(void *user, size_t point, View rows, Error *e)
{
    Pass *p = user;
    Diff *s = p->s;
    diff_sums_add(s->sums, point, rows, p->items, p->n_items);
    add_curves(p, point, rows);
    if (p->bases.n_samples)
        diff_bases_add(&p->bases, s->bench.session.pool, point, fetch_rows(p, rows, p->bases.rows, 3 * p->bases.n_samples),
                       s->sigma.n_massive + point * s->d);
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < p->n_items; i++)
        if (diff_save_wants(s->save, p->c->pairs[p->item_pair[i]]))
            status = save_item(p, point, rows, i, e);
    return status;
}

static int run_one_block(Pass *p, Error *e)
{
    for (size_t i = 0; i < p->n_items; i++)
        p->items[i].partner = p->s->controls ? (i + 1) % p->n_items : i;
    diff_comparisons_list(&p->comparisons, p->items, p->n_items, p->s->controls ? p->identical_row : SIZE_MAX);
    if (p->s->controls)
        diff_bases_list(&p->bases, p->items, p->n_items);
    int status = diff_runner_block(&p->s->runner, &p->block, e);
    if (!status)
        diff_step_progress(p->s, (double)p->block.n_rows);
    diff_block_clear(&p->block);
    p->n_items = 0;
    return status;
}

static int run_blocks(Pass *p, Error *e)
{
    Diff *s = p->s;
    size_t most = diff_runner_block_rows(&s->runner);
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < p->c->n_pairs; i++) {
        const Pair *pair = diff_pair(s, p->c, i);
        size_t rows = diff_block_family_rows(s->bench.bos, pair->n_ids, pair->edit_index, 3);
        if (p->n_items && (p->block.n_rows + rows > most || p->n_items == p->cap))
            status = run_one_block(p, e);
        if (!status)
            put_pair(p, i);
    }
    return !status && p->n_items ? run_one_block(p, e) : status;
}

/* ---- what is known of a class when all pairs are in ---- */

static int open_result(DiffResult *r, size_t cells, size_t n_points, Arena *arena, Error *e)
{
    r->mean = arena_array(arena, 4 * cells, sizeof *r->mean);
    r->control = arena_array(arena, 9 * cells, sizeof *r->control);
    r->curves = arena_array(arena, n_points * DIFF_N_CURVES, sizeof *r->curves);
    r->kendall = arena_array(arena, 2 * n_points, sizeof *r->kendall);
    r->stable = arena_array(arena, 2 * n_points * (1 + DIFF_RANDOM_BASES), sizeof *r->stable);
    if (!r->mean || !r->control || !r->curves || !r->kendall || !r->stable)
        return error_set(e, STATUS_FAILED, "diff: out of memory for the results of %zu values", cells);
    r->sd = r->mean + cells;
    r->median = r->sd + cells;
    r->p = r->median + cells;
    r->shuffled = r->control + cells;
    r->ratio = r->shuffled + cells;
    r->upper = r->ratio + cells;
    r->se = r->upper + cells;
    for (int half = 0; half < 2; half++) {
        r->half[half] = r->se + (size_t)(1 + half) * cells;
        r->half_upper[half] = r->se + (size_t)(3 + half) * cells;
    }
    r->kendall_control = r->kendall + n_points;
    r->small = r->stable + n_points * (1 + DIFF_RANDOM_BASES);
    return STATUS_OK;
}

typedef struct Finish {
    Pass *p;
    DiffClass class;
    DiffResult *r;
    double *margins; /* [DIFF_STATS_MARGINS, n_points, D]: p of each */
    bool *failed;    /* [n_points] */
    double *bound;   /* [n_points]: largest relative bound of a median; open ones in n_open */
    size_t *n_open;
} Finish;

static void finish_moments(const Finish *f, size_t point, double *scratch)
{
    const Diff *s = f->p->s;
    size_t d = s->d, at = point * d;
    DiffMoments m = {.mean = f->r->mean + at,
                     .sd = f->r->sd + at,
                     .median = f->r->median + at,
                     .median_bound = scratch,
                     .shuffled = scratch + d};
    diff_sums_moments(s->sums, f->class, point, &m);
    f->bound[point] = 0;
    f->n_open[point] = 0;
    for (size_t j = 0; j < d; j++) {
        double sigma = (double)s->sigma.sigma[at + j], bound = scratch[j] / sigma;
        f->r->shuffled[at + j] = (float)scratch[d + j];
        if (isinf(scratch[j]))
            f->n_open[point]++;
        else if (sigma > 0 && bound > f->bound[point])
            f->bound[point] = bound;
    }
}

static void finish_tests(const Finish *f, size_t point, double *scratch, DiffStatsCell *cells)
{
    const Diff *s = f->p->s;
    DiffResult *r = f->r;
    size_t d = s->d, at = point * d, n_t = f->p->n_templates;
    double *scale = scratch, *rest = scratch + d;
    for (size_t j = 0; j < d; j++)
        scale[j] = s->sigma.sigma[at + j] > 0 ? 1 / (double)s->sigma.sigma[at + j] : 1;
    DiffStatsSums sums = diff_sums_row(s->sums, f->class, point, scale, rest);
    diff_stats_row(&r->design, &sums, d, cells);
    bool tested = point + 1 < s->n_points; /* the final norm's output repeats the last stream: shown, not tested again */
    for (size_t j = 0; j < d; j++) {
        const DiffStatsCell *c = &cells[j];
        r->control[at + j] = (float)(c->control / scale[j]);
        r->ratio[at + j] = (float)c->ratio;
        r->upper[at + j] = (float)c->upper;
        r->se[at + j] = (float)c->se;
        r->p[at + j] = tested ? c->p : NAN;
        for (int half = 0; half < 2; half++) {
            r->half[half][at + j] = (float)c->half_ratio[half];
            r->half_upper[half][at + j] = (float)c->half_upper[half];
        }
        for (size_t m = 0; m < DIFF_STATS_MARGINS; m++)
            f->margins[m * s->n_points * d + at + j] =
                tested && sums.y_template ? diff_stats_mean_p(&r->design, c, diff_stats_margins[m]) : NAN;
    }
    for (size_t g = 0; g < n_t; g++) {
        double n = diff_sums_counts(s->sums, f->class, false)[g];
        for (size_t j = 0; j < d; j++) {
            rest[g * d + j] = n > 0 ? rest[g * d + j] / n : NAN;
            rest[(n_t + g) * d + j] = n > 0 ? rest[(n_t + g) * d + j] / n : NAN;
        }
    }
    r->kendall[point] = statistics_kendall_w(rest, n_t, d, NULL);
    r->kendall_control[point] = statistics_kendall_w(rest + n_t * d, n_t, d, NULL);
}

static void finish_curves(const Finish *f, size_t point)
{
    const Diff *s = f->p->s;
    double mean[DIFF_CURVE_COLS], shuffled[DIFF_CURVE_COLS];
    DiffMoments m = {.mean = mean, .shuffled = shuffled};
    diff_sums_moments(s->curve_sums, f->class, point, &m);
    double *scratch = malloc((diff_sums_scratch(s->curve_sums) + 1) * sizeof *scratch);
    DiffStatsCell cells[DIFF_CURVE_COLS];
    f->failed[point] = f->failed[point] || !scratch;
    if (!scratch)
        return;
    DiffStatsSums sums = diff_sums_row(s->curve_sums, f->class, point, NULL, scratch);
    diff_stats_row(&f->r->design, &sums, DIFF_CURVE_COLS, cells);
    for (size_t k = 0; k < DIFF_N_CURVES; k++) {
        cells[k].lo = cells[DIFF_N_CURVES + k].lo; /* the interval of whatever lies between both bounds */
        f->r->curves[point * DIFF_N_CURVES + k] = (DiffCurvePoint){.pairs = mean[k],
                                                                   .control = cells[k].control,
                                                                   .shuffled = shuffled[k],
                                                                   .cell = cells[k],
                                                                   .least = cells[DIFF_N_CURVES + k]};
    }
    free(scratch);
}

static void finish_bases(const Finish *f, size_t point)
{
    const Diff *s = f->p->s;
    const DiffBases *b = &f->p->bases;
    for (size_t k = 0; s->controls && k <= DIFF_RANDOM_BASES; k++) {
        const float *sigma = k ? s->sigma.rotated + (point * DIFF_RANDOM_BASES + k - 1) * s->d : s->sigma.sigma + point * s->d;
        size_t at = point * (1 + DIFF_RANDOM_BASES) + k;
        diff_bases_count(b, f->class, point, k, sigma, &f->r->stable[at], &f->r->small[at]);
    }
}

static void finish_point(void *arg, size_t point, int thread)
{
    const Finish *f = arg;
    const Diff *s = f->p->s;
    (void)thread;
    double *scratch = malloc((diff_sums_scratch(s->sums) + 2 * s->d) * sizeof *scratch);
    DiffStatsCell *cells = malloc(s->d * sizeof *cells);
    f->failed[point] = !scratch || !cells;
    if (scratch && cells) {
        finish_moments(f, point, scratch);
        finish_tests(f, point, scratch, cells);
        finish_curves(f, point);
        finish_bases(f, point);
    }
    free(scratch);
    free(cells);
}

/* Cells chosen in one half as the other sees them, over the stream's points. */
static int crossfit(const Diff *s, DiffResult *r, Error *e)
{
    size_t n = (s->n_points - 1) * s->d;
    double *ratio = malloc(4 * n * sizeof *ratio);
    if (!ratio)
        return error_set(e, STATUS_FAILED, "diff: out of memory for %zu values", n);
    double *upper = ratio + 2 * n;
    for (size_t i = 0; i < n; i++) {
        for (size_t half = 0; half < 2; half++) {
            ratio[2 * i + half] = (double)r->half[half][i];
            upper[2 * i + half] = (double)r->half_upper[half][i];
        }
    }
    int status = diff_stats_crossfit(ratio, upper, n, DIFF_BEST, &r->crossfit, e);
    free(ratio);
    return status;
}

static int finish_class(Pass *p, DiffClass class, Error *e)
{
    Diff *s = p->s;
    DiffResult *r = &p->out->at[class];
    size_t cells = s->n_points * s->d;
    DiffMoments counts = {0};
    diff_sums_moments(s->curve_sums, class, 0, &counts);
    r->n = counts.n;
    r->n_control = counts.n_control;
    r->n_shuffled = counts.n_shuffled;
    if (r->n == 0)
        return STATUS_OK;
    int status = open_result(r, cells, s->n_points, &s->arena, e);
    if (status)
        return status;
    r->design = (DiffStatsDesign){.n_templates = p->n_templates,
                                  .n_words = p->n_words,
                                  .n_template = diff_sums_counts(s->sums, class, false),
                                  .n_word = diff_sums_counts(s->sums, class, true),
                                  .half = p->half,
                                  .true_templates = count_distinct(s, p->c, p->c->template_of, p->c->n_templates, class),
                                  .true_words = count_distinct(s, p->c, p->c->word_of, p->c->n_words, class)};
    if ((status = diff_stats_design_init(&r->design, e)))
        return status;
    Finish f = {.p = p, .class = class, .r = r};
    f.margins = malloc(DIFF_STATS_MARGINS * cells * sizeof *f.margins);
    f.failed = calloc(s->n_points, sizeof *f.failed);
    f.bound = calloc(s->n_points, sizeof *f.bound);
    f.n_open = calloc(s->n_points, sizeof *f.n_open);
    bool failed = !f.margins || !f.failed || !f.bound || !f.n_open;
    if (!failed)
        pool_run(s->bench.session.pool, finish_point, &f, s->n_points);
    for (size_t i = 0; !failed && i < s->n_points; i++) {
        failed = f.failed[i];
        r->median_bound = fmax(r->median_bound, f.bound[i]);
        r->n_median_open += f.n_open[i];
    }
    if (failed)
        status = error_set(e, STATUS_FAILED, "diff: out of memory for the statistics of %s", p->c->name);
    for (size_t m = 0; !status && m < DIFF_STATS_MARGINS; m++) {
        StatisticsFdr fdr;
        status = statistics_fdr(f.margins + m * cells, cells, DIFF_STATS_LEVEL, 0, &fdr, e);
        r->margin[m] = fdr.n_rejected;
    }
    r->n_rotated = p->bases.n[class];
    r->design.n_template = r->design.n_word = NULL;
    r->design.half = NULL;
    free(f.margins);
    free(f.failed);
    free(f.bound);
    free(f.n_open);
    return status ? status : crossfit(s, r, e);
}

DiffPassBytes diff_category_bytes(const Diff *s)
{
    DiffBases bases = {.rotations = &s->rotations, .n_points = s->n_points, .d = s->d};
    size_t row = diff_comparisons_bytes(2, 1) + DIFF_N_CLASSES * DIFF_CURVE_COLS * 3 * sizeof(double) + sizeof(DiffItem) +
                 sizeof(size_t) + 2 * sizeof(PairItem); /* of an item, of which there is one in two rows at most */
    return (DiffPassBytes){.table = GATHERED_ROWS * s->d * dtype_block_bytes(s->bench.session.ops->resid_dtype),
                           .host = GATHERED_ROWS * s->d * sizeof(double) + diff_bases_bytes(&bases),
                           .host_row = row / 2};
}

static int open_pass(Pass *p, Error *e)
{
    Diff *s = p->s;
    size_t block_rows = diff_runner_block_rows(&s->runner);
    p->block.bos = s->bench.bos;
    p->block.bos_id = s->bench.bos_id;
    p->cap = diff_runner_block_items(&s->runner);
    p->items = malloc(p->cap * sizeof *p->items);
    p->item_pair = malloc(p->cap * sizeof *p->item_pair);
    size_t n = p->cap * DIFF_N_CLASSES * DIFF_CURVE_COLS;
    p->curves.y = malloc(3 * n * sizeof(double));
    p->inverse_sigma = malloc(s->d * sizeof(double));
    p->rows = malloc(GATHERED_ROWS * s->d * sizeof *p->rows);
    if (!p->items || !p->item_pair || !p->curves.y || !p->inverse_sigma || !p->rows)
        return error_set(e, STATUS_FAILED, "diff: out of memory for blocks of %zu pairs", p->cap);
    p->curves.x = p->curves.y + n;
    p->curves.shuffled = p->curves.x + n;
    p->bases = (DiffBases){.rotations = &s->rotations, .n_points = s->n_points, .d = s->d};
    int status = diff_comparisons_open(&p->comparisons, block_rows, p->cap, e);
    if (!status)
        status = s->bench.session.ops->alloc(run_get_context(s->runner.run), diff_category_bytes(s).table, &p->gathered, e);
    return status ? status : diff_bases_open(&p->bases, e);
}

static void close_pass(Pass *p)
{
    if (p->gathered)
        p->s->bench.session.ops->free(run_get_context(p->s->runner.run), p->gathered, diff_category_bytes(p->s).table);
    diff_block_free(&p->block);
    diff_bases_close(&p->bases);
    diff_comparisons_close(&p->comparisons);
    free(p->items);
    free(p->item_pair);
    free(p->curves.y);
    free(p->inverse_sigma);
    free(p->rows);
    free(p->template_group);
    free(p->word_group);
    free(p->half);
}

int diff_category_run(Diff *s, size_t category, Error *e)
{
    Pass p = {.s = s, .c = &s->categories.list[category], .out = &s->outcomes[category]};
    for (size_t i = 0; i < p.c->n_pairs; i++)
        p.out->n_matched += p.c->control[i] >= 0;
    int status = open_pass(&p, e);
    if (!status)
        status = make_groups(&p, e);
    if (!status) {
        diff_sums_clear(s->sums, p.n_templates, p.n_words);
        diff_sums_clear(s->curve_sums, p.n_templates, p.n_words);
        s->runner.user = &p;
        s->runner.on_point = on_point;
        s->runner.table_rows = true;
        status = run_blocks(&p, e);
        s->runner.table_rows = false;
    }
    if (!status)
        status = diff_sums_read(s->sums, e);
    for (int class = 0; !status && class < DIFF_N_CLASSES; class ++)
        status = finish_class(&p, (DiffClass) class, e);
    close_pass(&p);
    return status;
}
